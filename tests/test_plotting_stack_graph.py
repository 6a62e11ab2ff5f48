"""The diagram of a stack: its boxes, arrows and words."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_stacks import make_stack
from matplotlib.patches import FancyBboxPatch

import pytorch_feature_analysis as pfa


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def third():
    first = make_stack(np.random.default_rng(0), layers=[("conv1", 1), ("fc1", 2)])
    grouping = ["model", "activation_type", "dissim_metric"]
    second = pfa.get_meta_rdms(
        first, None, ["obj", "layer"], grouping_variables=grouping, progress=False
    )
    grouping = ["model", "dissim_metric", "dissim_metric_sub"]
    return pfa.get_meta_rdms(
        second, None, ["activation_type"], grouping_variables=grouping, progress=False
    )


def boxes(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]


def texts(ax):
    return [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in ax.texts]


def test_each_order_has_a_box_and_an_arrow_from_the_one_below(third):
    ax = pfa.plot_stack_graph(third, show=False, fig_title="Orders")
    bottoms = [box.get_y() for box in boxes(ax)]
    assert len(bottoms) == 4
    assert bottoms == sorted(bottoms)
    said = texts(ax)
    assert [text for text in said if text.startswith("order ")] == [f"order {k}" for k in range(4)]
    for heading in ("4 stimuli", "32 RDMs of 4 stimuli", "4 RDMs of 8 entries", "Orders"):
        assert heading in said
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(arrows) == 3
    for arrow, below, above in zip(arrows, boxes(ax)[:-1], boxes(ax)[1:], strict=True):
        assert arrow.xyann[1] == pytest.approx(below.get_y() + below.get_height() + 0.04)
        assert arrow.xy[1] == pytest.approx(above.get_y() - 0.04)
    assert "1 \N{MINUS SIGN} Pearson r over 28 pairs" in said


@pytest.mark.parametrize("order", ["first", "third", "own", "long"])
def test_all_words_are_within_their_boxes_and_apart(third, order):
    mine = pd.DataFrame({"matrix": [1.0 - np.eye(3)], "entry_keys": [["a", "b", "c"]]})
    given = {
        "first": make_stack(np.random.default_rng(0), layers=[("conv1", 1)]),
        "third": third,
        "own": mine,
        "long": mine.assign(model="OpenCLIP_ViT-L-14_laion400m_e32 " * 4, layer="visual." * 9),
    }[order]
    ax = pfa.plot_stack_graph(given, show=False, fig_title="A title that is rather long " * 3)
    ax.figure.draw_without_rendering()
    whole = ax.figure.bbox
    # Lines may touch.
    extents = [text.get_window_extent().padded(-0.5) for text in ax.texts if text.get_text()]
    for k, one in enumerate(extents):
        assert whole.x0 <= one.x0 <= one.x1 <= whole.x1
        assert whole.y0 <= one.y0 <= one.y1 <= whole.y1
        assert not any(one.overlaps(other) for other in extents[k + 1 :])
    for box in boxes(ax):
        frame = box.get_window_extent()
        assert not any(one.y0 < frame.y0 < one.y1 or one.y0 < frame.y1 < one.y1 for one in extents)


def test_it_is_drawn_and_saved_where_it_is_told(third, tmp_path):
    figure, ax = plt.subplots(figsize=(5, 6))
    assert pfa.plot_stack_graph(third, ax=ax, show=False) is ax
    pfa.plot_stack_graph(third, show=False, save_opts=tmp_path / "orders.pdf")
    assert (tmp_path / "orders.pdf").read_bytes().startswith(b"%PDF")
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(ValueError, match="`rdm_df` has no rows"):
        pfa.plot_stack_graph(third.iloc[:0], show=False)
    with pytest.raises(TypeError, match="`ax` must be a matplotlib Axes"):
        pfa.plot_stack_graph(third, ax="here", show=False)
