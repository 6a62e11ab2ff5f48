"""Each public figure looks as it did: it is compared with a picture in tests/baseline."""

import inspect
from pathlib import Path

import pytest
from made_figures import FIGURES, drawn

import pytorch_feature_analysis as pfa

BASELINE = Path(__file__).with_name("baseline")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.mpl_image_compare(
    baseline_dir=str(BASELINE),
    style="default",
    savefig_kwargs={"dpi": 70},
    deterministic=True,
)
def test_figure_looks_as_before(name):
    return drawn(name)


def test_each_public_function_that_draws_has_a_figure_here():
    functions = {name: getattr(pfa, name) for name in pfa.__all__ if callable(getattr(pfa, name))}
    drawing = {
        function
        for name, function in functions.items()
        if name.startswith("plot_")
        or (inspect.isfunction(function) and "save_opts" in inspect.signature(function).parameters)
    }
    assert drawing == {function for _, function in FIGURES.values()}


def test_each_baseline_is_of_a_figure_and_each_figure_has_one():
    expected = {f"test_figure_looks_as_before_{name}.png" for name in FIGURES}
    assert {path.name for path in BASELINE.iterdir()} == expected
