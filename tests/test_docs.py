"""The pages in docs/ speak of what there is."""

import re
from pathlib import Path

import pytest
from made_pages import pages_in

import pytorch_feature_analysis as pfa

DOCS = Path(__file__).parents[1] / "docs"
PAGES = pages_in(DOCS)
NAMES = [page.relative_to(DOCS).as_posix() for page in PAGES]
VERBS = r"(?:get|compute|compare|run|plot|read|write|check|extract|regress|train|fit)_\w+"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_functions_that_a_page_names_are_public(page):
    named = set(re.findall(rf"``({VERBS})", page.read_text(encoding="utf-8")))
    assert named <= set(pfa.__all__)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_that_a_page_points_to_are_there(page):
    text = page.read_text(encoding="utf-8")
    for with_title, alone in re.findall(r":doc:`(?:[^`<]*<([^`>]+)>|([^`]+))`", text):
        name = with_title or alone
        target = (DOCS / name[1:]) if name.startswith("/") else (page.parent / name)
        made = target.parent.name in ("api", "tutorials")
        assert made or target.with_name(f"{target.name}.rst").exists(), name


def test_pages_that_sphinx_makes_are_not_looked_at(tmp_path):
    for name in ("one.rst", "how_to/two.rst", "api/three.rst", "tutorials/four.rst"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "five.rst").touch()
    found = [page.relative_to(tmp_path).as_posix() for page in pages_in(tmp_path)]
    assert found == ["how_to/two.rst", "one.rst"]
