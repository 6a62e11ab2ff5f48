"""Each public figure looks as it did: it is compared with a picture in tests/baseline.

Pictures are of one series of matplotlib and of one FreeType, as each says within itself: others
draw letters, and with them layouts, so differently that no tolerance would tell them from a fault.
With another these comparisons are skipped. All letters are of the font that comes with matplotlib.
"""

import inspect
from pathlib import Path

import matplotlib as mpl
import pytest
from made_figures import FIGURES, drawn
from matplotlib import ft2font
from PIL import Image

import pytorch_feature_analysis as pfa

BASELINE = Path(__file__).with_name("baseline")
SERIES = ".".join(mpl.__version__.split(".")[:2])
DRAWN_BY = f"matplotlib {SERIES}, FreeType {ft2font.__freetype_version__}"
# Of 255, the root of the mean square over all pixels. It is 0 on one machine, and room for edges
# that another one rounds by a shade. What is to be seen is more: one cell of the grid of RDMs that
# is off by 5 % of the scale is 0.4, one letter or one dot of a cloud in another colour 2.
TOLERANCE = 0.3


def file_of(name):
    return f"test_figure_looks_as_before_{name}.png"


@pytest.fixture
def same_letters(request, name):
    """Skip what cannot be compared here, unless it is made anew."""
    file = BASELINE / file_of(name)
    if request.config.getoption("--mpl-generate-path") or not file.exists():
        return
    with Image.open(file) as image:
        drawn_by = image.info["Software"]
    if drawn_by != DRAWN_BY:
        pytest.skip(f"drawn by {drawn_by}, and this is {DRAWN_BY}")


@pytest.mark.usefixtures("same_letters")
@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.mpl_image_compare(
    baseline_dir=str(BASELINE),
    style="default",
    savefig_kwargs={"dpi": 70, "metadata": {"Software": DRAWN_BY}},
    deterministic=False,
    tolerance=TOLERANCE,
)
def test_figure_looks_as_before(name):
    return drawn(name)


def test_pictures_are_compared_in_each_run(pytestconfig):
    assert pytestconfig.getoption("--mpl")


def test_each_public_function_that_draws_has_a_figure_here():
    functions = {name: getattr(pfa, name) for name in pfa.__all__ if callable(getattr(pfa, name))}
    drawing = {
        function
        for name, function in functions.items()
        if name.startswith("plot_")
        or (inspect.isfunction(function) and "save_opts" in inspect.signature(function).parameters)
    }
    assert drawing == {function for _, function in FIGURES.values()}


def test_each_figure_has_its_picture_and_each_picture_its_figure():
    assert {path.name for path in BASELINE.iterdir()} == set(map(file_of, FIGURES))


def test_all_pictures_are_drawn_by_one_version():
    found = set()
    for path in BASELINE.iterdir():
        with Image.open(path) as image:
            found.add(image.info["Software"])
    assert len(found) == 1
