"""The table of agreement with other packages: each line, each case, and the page itself."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / "docs" / "agreement_table.py"

pytestmark = [
    pytest.mark.slow,
    # Of rsatoolbox and statsmodels, about their own arrays.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def table():
    spec = importlib.util.spec_from_file_location("agreement_table", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_number_is_that_of_the_other_package(table):
    lines = [line for part in table.all_lines().values() for line in part]
    assert len(lines) > 35
    apart = [line for line in lines if not line.difference <= line.bound]
    assert apart == []


def test_where_others_are_not_followed_they_are_still_wrong(table):
    cases = list(table.wrong_ones())
    assert len(cases) == 3
    for case in cases:
        assert abs(case.given - case.right) > 0.05 * abs(case.right), case


def test_the_page_has_every_line_and_case(table):
    page = table.PAGE.read_text(encoding="utf-8")
    for part in table.all_lines().values():
        for line in part:
            assert f"``{line.ours}``\n     - ``{line.theirs}``" in page
    for case in table.wrong_ones():
        assert case.case in page
        assert f"It gives {case.given:.4g}, and {case.right:.4g} is right." in page
