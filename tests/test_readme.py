"""What README.rst shows can be typed as it stands (with random weights in place of trained)."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from made_pages import blocks_of, commands_of, draw_stimuli, untrained
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text(encoding="utf-8")


def code_blocks(language):
    """Code blocks of the README, dedented."""
    return [block.text for block in blocks_of(README) if block.language == language]


def commands():
    """Commands of the console blocks, each as its words."""
    return commands_of("".join(code_blocks("console")))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder with the README's stimuli, drawn, as the current one."""
    draw_stimuli(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_quickstart_runs(folder):
    (quickstart,) = code_blocks("python")
    assert untrained(quickstart) != quickstart
    names = {}
    exec(compile(untrained(quickstart), "README.rst", "exec"), names)  # noqa: S102 - the README itself

    # AlexNet's 21 layers and the image, in 2 networks, 2 activation types and 2 objects.
    assert len(names["rdm_df"]) == 22 * 2 * 2 * 2
    assert len(names["colors"]) == 1
    # One RDM an object and activation type, of all layers of both networks.
    assert [len(keys) for keys in names["layer_df"]["entry_keys"]] == [22 * 2] * 4
    for name in ("colors.png", "layers.png"):
        with Image.open(folder / name) as figure:
            assert min(figure.size) > 500


def test_the_commands_of_pfa_run(folder):
    from click.testing import CliRunner

    from pytorch_feature_analysis.cli import main

    of_pfa = [words[1:] for words in commands() if words[0] == "pfa"]
    assert any("alexnet:trained" in words for words in of_pfa)
    assert [words[0] for words in of_pfa] == ["layers", "rdms", "meta", "mds"]
    for words in of_pfa:
        words = [untrained(word) for word in words]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"pfa {shlex.join(words)}\n{result.output}"
    assert (folder / "stack.parquet").is_file()
    with Image.open(folder / "layers_of_cup.png") as figure:
        assert min(figure.size) > 500


def test_the_commands_of_make_exist():
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert targets == ["demo", "test"]
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_files_that_the_readme_names_exist():
    figures = re.findall(r"^\.\. (?:image|figure):: (\S+)", README, re.MULTILINE)
    assert len(figures) == 1
    names = [*figures, *re.findall(r"``([A-Z]+\.\w+|LICENSE)``", README)]
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_the_readme_opens_with_what_the_library_does_and_shows_a_figure_first():
    headings = re.findall(r"^(.+)\n[-=]{3,}$", README, re.MULTILINE)
    assert headings[0] == "pytorch_feature_analysis"
    assert README.index(".. image::") < README.index(headings[1])
    assert all(len(line) < 100 for line in README.splitlines())
