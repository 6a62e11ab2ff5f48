"""Every tutorial runs from its first line to its last, in a folder of its own."""

import runpy
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parent.parent / "tutorials").glob("[0-9][0-9]_*.py"))


def test_there_are_tutorials():
    assert TUTORIALS


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_it_stands(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = path.read_bytes()
    runpy.run_path(str(path), run_name="__main__")
    assert path.read_bytes() == before
    figures = list(tmp_path.rglob("*.png"))
    assert figures
    assert all(figure.stat().st_size for figure in figures)
