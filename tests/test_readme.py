"""What README.rst shows can be typed as it stands (with random weights in place of trained)."""

import re
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


def test_ten_lines_make_what_the_readme_says(folder, capsys):
    (quickstart,) = code_blocks("python")
    assert untrained(quickstart) != quickstart
    assert len([line for line in quickstart.splitlines() if line]) == 10
    names = {}
    exec(compile(untrained(quickstart), "README.rst", "exec"), names)  # noqa: S102 - the README itself

    # 22 layers of AlexNet and 53 of ResNet-18, the image among them, of 2 objects in 2 ways.
    assert len(names["rdm_df"]) == (22 + 53) * 2 * 2
    assert [len(keys) for keys in names["layer_df"]["entry_keys"]] == [22 + 53] * 4
    assert len(names["cup"]) == 1
    for name in ("layers.png", "layers_map.png"):
        with Image.open(folder / name) as figure:
            assert min(figure.size) > 500
    (shown,) = code_blocks("text")
    assert capsys.readouterr().out.split() == shown.split()


def test_the_commands_that_the_readme_names_exist():
    from pytorch_feature_analysis.cli import main

    named = set(re.findall(r"``pfa (\w+) ", README))
    assert named == {"explore", "report"}
    assert named <= set(main.commands)


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
    named = re.findall(r"``([A-Z]+\.\w+|LICENSE|tutorials|docs/(?!_build)[\w/.]+)``", README)
    assert len(named) > 10
    assert [name for name in [*figures, *named] if not (ROOT / name).exists()] == []


def test_the_readme_opens_with_what_the_library_does_and_shows_a_figure_first():
    headings = re.findall(r"^(.+)\n[-=]{3,}$", README, re.MULTILINE)
    assert headings[0] == "pytorch_feature_analysis"
    assert README.index(".. image::") < README.index(headings[1])
    assert all(len(line) < 100 for line in README.splitlines())
