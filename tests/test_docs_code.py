"""Every code block of the pages in docs/ runs as it stands (with random weights for trained)."""

import ast
import configparser
import doctest
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from made_pages import blocks_of, commands_of, draw_stimuli, pages_in, untrained

from pytorch_feature_analysis.cli import main

ROOT = Path(__file__).parents[1]
# `text` is output, or code of packages that are not installed here.
LANGUAGES = {"python", "pycon", "console", "text", "toml"}
RUN = ("python", "pycon", "console")
# What a reader types beside the commands that are tested.
OF_THE_SHELL = {".", "cd", "git", "python", "source"}


PAGES = pages_in(ROOT / "docs")
NAMES = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES]


def read(page):
    return blocks_of(page.read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder with stimuli, as the current one."""
    draw_stimuli(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_page(blocks, name):
    """Run all that a page shows, in one namespace; raise what the first block to fail raises."""
    names = {"__name__": "__main__"}
    for block in blocks:
        where = f"{name}, line {block.line}"
        if block.language == "python":
            # Errors name the line of the page.
            code = "\n" * (block.line - 1) + untrained(block.text)
            exec(compile(code, name, "exec"), names)  # noqa: S102 - the page itself
        elif block.language == "pycon":
            check_session(untrained(block.text), names, where)
        elif block.language == "console":
            for words in commands_of(untrained(block.text)):
                check_command(words, where)


def check_session(text, names, where):
    test = doctest.DocTestParser().get_doctest(text, {}, where, where, 0)
    assert test.examples, f"{where}: no line begins with >>>"
    test.globs = names
    said = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.DocTestRunner(optionflags=flags, verbose=False).run(
        test, out=said.append, clear_globs=False
    )
    assert not failed, "".join(said)


def check_command(words, where):
    """Run a command of pfa; of others, check that there is such a thing."""
    program = words[0]
    if program == "pfa":
        result = CliRunner().invoke(main, words[1:])
        assert result.exit_code == 0, f"{where}: {shlex.join(words)}\n{result.output}"
    elif program == "make":
        if shutil.which("make") is not None:
            command = ["make", "--dry-run", *words[1:]]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{where}: {done.stderr}"
    elif program == "pip":
        check_pip(words, where)
    else:
        assert program in OF_THE_SHELL, f"{where}: no test knows the command {program!r}"


def check_pip(words, where):
    """What is installed is this package, with extras that it has, or what it depends on."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    needed = [*config["options"]["install_requires"].split(), *" ".join(extras.values()).split()]
    known = {re.split(r"[^\w.-]", line)[0].lower() for line in needed}
    assert words[1] in ("download", "install", "list", "wheel"), where
    for word in words[2:]:
        own = re.fullmatch(r"(?:\.|pytorch_feature_analysis)\[([\w,]+)\]", word)
        if own is not None:
            missing = set(own[1].split(",")) - set(extras)
            assert not missing, f"{where}: there are no extras {sorted(missing)}"
        elif re.fullmatch(r"[A-Za-z][\w.-]*", word) and word != "dist":
            assert word.lower() in known | {"pytorch_feature_analysis"}, f"{where}: {word}"


def is_python(text):
    """Whether a text is code, and not numbers or words that happen to be."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    kinds = (ast.Call, ast.Assign, ast.Import, ast.ImportFrom)
    return any(isinstance(node, kinds) for node in ast.walk(tree))


# dask looks for this machine's address as others would see it, and finds one without.
@pytest.mark.filterwarnings("ignore:Couldn't detect a suitable IP address:RuntimeWarning")
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, page in zip(NAMES, PAGES, strict=True)
        if any(block.language in RUN for block in read(page))
    ],
)
def test_what_a_page_shows_runs(name, folder):
    run_page(read(ROOT / "docs" / name), name)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_code_of_a_page_escapes_the_tests(page):
    for block in read(page):
        where = f"{page.name}, line {block.line}"
        if block.language == "::":
            assert not is_python(block.text), f"{where}: write `.. code-block:: python`"
            assert not re.search(r"^(>>>|\$) ", block.text, re.MULTILINE), where
        else:
            assert block.language in LANGUAGES, f"{where}: {block.language!r}"
        if block.language == "console":
            assert commands_of(block.text), f"{where}: no line begins with $"
        if block.language == "python":
            assert ">>>" not in block.text, f"{where}: write `.. code-block:: pycon`"


# What follows shows that the checks above can fail.

PAGE = """\
Title
=====

.. code-block:: python
   :caption: with an option

   value = 1 + 1

- An item:

  .. code-block:: pycon

     >>> value
     2

Output::

    value  2

.. note::

   No code.
"""


def test_blocks_are_found_with_their_lines():
    code, session, output = blocks_of(PAGE)
    assert (code.language, code.text) == ("python", "value = 1 + 1\n")
    assert (session.language, session.text) == ("pycon", ">>> value\n2\n")
    assert (output.language, output.text) == ("::", "value  2\n")
    assert [PAGE.splitlines()[block.line - 2].strip() for block in (code, session, output)] == [
        *(".. code-block:: python", ".. code-block:: pycon", "Output::"),
    ]
    run_page([code, session], "page")


def test_a_page_that_is_wrong_fails():
    code, session, *_ = blocks_of(PAGE)
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        run_page([code, session._replace(text=">>> value\n3\n")], "page")
    with pytest.raises(AssertionError, match="page, line 12: no line begins with >>>"):
        run_page([session._replace(text="2\n")], "page")
    with pytest.raises(ZeroDivisionError) as caught:
        run_page([code._replace(text="1 / 0\n")], "page")
    assert caught.traceback[-1].lineno + 1 == code.line
    console = code._replace(language="console")
    for text, message in {
        "$ pfa nowhere\n": "No such command 'nowhere'",
        "$ make nothing\n": "No rule to make target",
        "$ pip install '.[nothing]'\n": r"there are no extras \['nothing'\]",
        "$ pip install another-package\n": "another-package",
        "$ rm stimuli\n": "no test knows the command 'rm'",
    }.items():
        with pytest.raises(AssertionError, match=message):
            run_page([console._replace(text=text)], "page")


def test_code_is_told_from_output():
    assert is_python("rdm_df = pfa.get_rdms(image_sets)")
    assert not is_python("   value  2")
    assert not is_python("0.5\n")
