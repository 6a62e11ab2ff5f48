"""The pages in docs/ speak of what there is."""

import re
from pathlib import Path

import pytest

import pytorch_feature_analysis as pfa

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))
VERBS = r"(?:get|compute|compare|run|plot|read|write|check|extract|regress|train|fit)_\w+"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_functions_that_a_page_names_are_public(page):
    named = set(re.findall(rf"``({VERBS})", page.read_text(encoding="utf-8")))
    assert named <= set(pfa.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_pages_that_a_page_points_to_are_there(page):
    linked = re.findall(r":doc:`(?:[^`<]*<)?([\w./]+)>?`", page.read_text(encoding="utf-8"))
    assert [name for name in linked if not (page.parent / f"{name}.rst").exists()] == []
