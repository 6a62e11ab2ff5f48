"""The public names: what they are, what they say of themselves, and what importing them costs."""

import ast
import inspect
import re
import subprocess
import sys

import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis._version import __version__

# A second name and what it must be the very same object as.
ALIASES = {
    "compute_etas_for_model_and_imageset_fast": "compute_etas",
    "df_subset": "df_filter",
    "rdm_mds": "my_mds",
}

PUBLIC = [getattr(pfa, name) for name in pfa.__all__]
FUNCTIONS = {f.__name__: f for f in PUBLIC if inspect.isfunction(f)}
SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}$", re.MULTILINE)


def sections_of(docstring):
    """Text under each underlined heading of a numpydoc docstring."""
    pieces = SECTION.split(inspect.cleandoc(docstring))
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def described(section):
    """Names of a Parameters section, each as often as it stands there."""
    heads = [line for line in section.splitlines() if line and not line.startswith(" ")]
    names = [name for head in heads for name in re.split(r"\s*,\s*", head.partition(":")[0])]
    return [name.strip().lstrip("*") for name in names]


def faults(function):
    """What a public function's docstring lacks, one sentence a fault."""
    docstring = function.__doc__ or ""
    summary, _, rest = docstring.partition("\n")
    wrong = []
    if not summary.endswith(".") or (rest and rest.lstrip(" ")[:1] != "\n"):
        wrong.append("its first line is one sentence, and a blank line follows")
    sections = sections_of(docstring)
    signature = inspect.signature(function)
    parameters = list(signature.parameters)
    if parameters and described(sections.get("Parameters", "")) != parameters:
        there = described(sections.get("Parameters", ""))
        wrong.append(f"Parameters describes {there}, the signature has {parameters}")
    returns_none = signature.return_annotation in (None, "None")
    if not returns_none and not {"Returns", "Yields"} & sections.keys():
        wrong.append("there is no Returns")
    names = [function.__name__, *(name for name in ALIASES if function is getattr(pfa, name))]
    if not any(f"pfa.{name}(" in sections.get("Examples", "") for name in names):
        wrong.append(f"Examples does not call pfa.{names[0]}(...)")
    unannotated = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is inspect.Parameter.empty
    ]
    if unannotated or signature.return_annotation is inspect.Signature.empty:
        wrong.append(f"not all is annotated: {unannotated or 'what it returns'}")
    return [f"{function.__name__}: {sentence}" for sentence in wrong]


def test_all_is_sorted_and_is_what_the_package_imports():
    tree = ast.parse(inspect.getsource(pfa))
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if alias.name != "__version__"
    ]
    assert list(pfa.__all__) == sorted(set(imported))
    assert len(imported) == len(set(imported))


def test_star_import_gives_exactly_the_public_names():
    namespace = {}
    exec("from pytorch_feature_analysis import *", namespace)  # noqa: S102 - the statement itself
    assert sorted(namespace.keys() - {"__builtins__"}) == list(pfa.__all__)


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_same_object(alias, name):
    assert getattr(pfa, alias) is getattr(pfa, name)


def test_only_the_known_aliases_share_an_object():
    shared = [name for name in pfa.__all__ if PUBLIC.count(getattr(pfa, name)) > 1]
    assert sorted(shared) == sorted([*ALIASES.keys(), *ALIASES.values()])


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=list(FUNCTIONS))
def test_a_public_function_documents_itself(function):
    wrong = faults(function)
    assert not wrong, "\n".join(wrong)


def test_the_check_of_docstrings_can_fail():
    def sound(values: list[int], *others: int, scale: float = 1.0) -> float:
        """Sum of values.

        Parameters
        ----------
        values : list of int
            What is summed.
        *others : int
            More of them.
        scale : float, default 1.0
            What each is multiplied with.

        Returns
        -------
        float
            The sum.

        Examples
        --------
        >>> pfa.sound([1, 2])
        3.0
        """

    assert faults(sound) == []

    docstring = sound.__doc__
    for changed, sentence in {
        docstring.replace("scale :", "factor :"): "'factor'], the signature has ['values', 'othe",
        docstring.replace("values : list of int", "values, others : int"): "the signature has",
        docstring.replace("Returns\n        -------", "Gives"): "there is no Returns",
        docstring.replace("pfa.sound(", "sum("): "Examples does not call pfa.sound(...)",
        docstring.replace("Sum of values.", "Sum of values"): "its first line is one sentence",
        "": "its first line is one sentence",
    }.items():
        sound.__doc__ = changed
        assert any(sentence in fault for fault in faults(sound)), changed

    sound.__doc__ = docstring
    del sound.__annotations__["scale"]
    assert faults(sound) == ["sound: not all is annotated: ['scale']"]


def test_the_package_docstring_is_a_map_that_names_each_public_name():
    named = re.findall(r"[A-Za-z_]\w*", pfa.__doc__)
    assert [name for name in pfa.__all__ if name not in named] == []


def test_the_version_is_one():
    assert pfa.__version__ == __version__


# What the package needs is imported before it, for what that sets or loads is not the package's:
# scipy adds filters of warnings, and pandas imports pyarrow from version 3 on.
FRESH_PROCESS = """
import logging, os, random, sys, warnings
import joblib, numpy, pandas, scipy.stats, torch, torchvision

def lazy():
    names = ("bokeh", "click", "h5py", "matplotlib", "mpl_toolkits", "pyarrow", "rsatoolbox",
             "sklearn")
    return {name for name in sys.modules if name.partition(".")[0] in names}

def states():
    return {
        "pandas options": pandas.get_option("display.max_rows"),
        "numpy options": (numpy.get_printoptions(), numpy.geterr()),
        "numpy seed": repr(numpy.random.get_state()),
        "python seed": random.getstate(),
        "torch seed": (torch.initial_seed(), torch.get_rng_state().tolist()),
        "torch options": (torch.get_default_dtype(), torch.is_grad_enabled()),
        "threads": torch.get_num_threads(),
        "warnings": warnings.filters[:],
        "logging": (logging.getLogger().handlers[:], logging.getLogger().level),
        "environment": dict(os.environ),
    }

loaded, before = lazy(), states()
print("printed:", end="")
IMPORT
print()
print("loaded:", *sorted(lazy() - loaded))
after = states()
import matplotlib
own, after["style"] = (
    {key: value for key, value in style.items() if key != "backend"}
    for style in (matplotlib.rc_params(), matplotlib.rcParams)
)
print("changed:", *(key for key, value in after.items() if value != before.get(key, own)))
"""


def in_a_fresh_process(statement):
    """What a statement prints (warnings too), which slow libraries it loads, what it changes."""
    done = subprocess.run(
        [sys.executable, "-u", "-c", FRESH_PROCESS.replace("IMPORT", statement)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout[done.stdout.index("printed:") :].splitlines()


def test_importing_prints_nothing_loads_no_slow_library_and_changes_no_state():
    lines = in_a_fresh_process("import pytorch_feature_analysis")
    assert lines == ["printed:", "loaded:", "changed:"]


def test_the_check_of_importing_can_fail():
    statements = [
        "import click.testing, matplotlib",
        "matplotlib.rcParams['lines.linewidth'] = 7",
        "print('Welcome!', end='')",
        "torch.manual_seed(3)",
        "warnings.simplefilter('ignore')",
    ]
    printed, loaded, changed = in_a_fresh_process("; ".join(statements))
    assert printed == "printed:Welcome!"
    assert {"click", "click.testing", "matplotlib"} < set(loaded.split())
    assert changed == "changed: torch seed warnings style"
