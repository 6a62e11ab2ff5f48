# On a fresh machine with make and Python >= 3.11, `make demo` and `make test` do all the rest.
# Another interpreter:  make test PYTHON=python3.12
# Another place:        make test VENV=/tmp/venv

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Two processes of one thread each finish the tests sooner than one process of two threads.
PYTEST_ARGS ?= -n 2 --dist loadscope
BENCHMARKS := $(sort $(wildcard benchmarks/[!_]*.py))
SPHINX := $(BIN)/python -m sphinx --fail-on-warning --keep-going
SERIES := 'import sys; print("%d.%d" % sys.version_info[:2])'

export MPLBACKEND ?= Agg

.PHONY: help test lint baselines demo bench agreement docs docs-quick clean distclean same-python

help:
	@echo 'make demo       set up and run the main job, from real images to RDMs of RDMs'
	@echo 'make test       set up and run lint, types, doctests and tests'
	@echo 'make lint       of these, lint and types alone'
	@echo 'make baselines  make the pictures anew that the tests compare figures with'
	@echo 'make bench      set up and print the benchmark ratios'
	@echo 'make agreement  make docs/agreement.rst anew: numbers beside those of other packages'
	@echo 'make docs       set up and make the pages in docs/_build/html; docs-quick: without tutorials'
	@echo 'make clean      remove caches and built files; make distclean: $(VENV) too'

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-test | same-python
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Look at each that git says is another before it is committed.
baselines: $(VENV)/.installed-test | same-python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_figures.py -k looks_as_before \
		--mpl-generate-path=tests/baseline

demo: $(VENV)/.installed | same-python
	$(BIN)/pfa demo

# All of them run; the exit code says whether any failed.
bench: $(VENV)/.installed-test | same-python
	@failed=0; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(BIN)/python "$$script" || failed=1; \
	done; exit $$failed

# A stamp is older than what it was installed from: install again.
$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: setup.cfg pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --editable '.[docs]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python >= 3.11 is needed, and $(PYTHON) is %d.%d: name another, as in" \
		" make PYTHON=python3.12" % sys.version_info[:2])'
	@echo 'Setting up $(VENV): PyTorch is a large download, so this takes some minutes.'
	$(PYTHON) -m venv $(VENV)

# Only where an interpreter was asked for by name, and the environment is of another.
same-python: | $(BIN)/python
ifneq ($(origin PYTHON),file)
	@asked=$$($(PYTHON) -c $(SERIES)) && there=$$($(BIN)/python -c $(SERIES)) && \
	if [ "$$asked" != "$$there" ]; then \
		echo "$(VENV) is of Python $$there, and $$asked was asked for:" \
			"run 'make distclean' first, or add VENV=.venv$$asked" >&2; exit 1; fi
endif

# The page of docs/ that sets numbers beside those of other packages.
agreement: $(VENV)/.installed-test | same-python
	$(BIN)/python docs/agreement_table.py

# Warnings are errors. The gallery runs every tutorial, some minutes in all, and keeps what has not
# changed.
docs: $(VENV)/.installed-docs | same-python
	$(SPHINX) docs docs/_build/html

docs-quick: $(VENV)/.installed-docs | same-python
	$(SPHINX) -D plot_gallery=0 docs docs/_build/quick

clean:
	rm -rf docs/_build docs/api docs/tutorials docs/sg_execution_times.rst
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find pytorch_feature_analysis tests benchmarks tutorials -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) pytorch_feature_analysis.egg-info
