"""Heat maps: which cells are drawn where, and under which names."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import pytorch_feature_analysis as pfa


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def stack(n_layers=3):
    keys = [(model, f"conv{i}") for model in ("one", "two") for i in range(1, n_layers + 1)]
    n = len(keys)
    matrix = np.arange(n * n, dtype=float).reshape(n, n)
    matrix = (matrix + matrix.T) / (2 * n * n)
    np.fill_diagonal(matrix, 0)
    labels = tuple({"model": model, "layer": layer} for model, layer in keys)
    return pd.DataFrame(
        {
            "matrix": [matrix],
            "entry_keys": [tuple(keys)],
            "entry_labels": [labels],
            "dissim_metric": ["linear_cka"],
        }
    )


def drawn(ax):
    return np.ma.filled(ax.images[0].get_array(), np.nan)


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def texts(ax):
    return {text.get_position()[::-1]: text.get_text() for text in ax.texts}


def test_all_cells_are_drawn_under_their_names():
    row = stack()
    ax = pfa.plot_heatmap(row, show=False)
    np.testing.assert_array_equal(drawn(ax), row["matrix"][0])
    names = [f"{model}, conv{i}" for model in ("one", "two") for i in (1, 2, 3)]
    assert ticks(ax.xaxis) == ticks(ax.yaxis) == names
    assert ax.get_xlabel() == ""
    assert texts(ax)[1, 3] == f"{row['matrix'][0][1, 3]:.2f}"
    assert len(ax.texts) == 36
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "1 \N{MINUS SIGN} linear_cka"
    similarities = pfa.plot_heatmap(pfa.to_similarity(row), show=False)
    assert similarities.figure.axes[1].get_ylabel() == "linear_cka"
    correlations = pfa.plot_heatmap(row.assign(dissim_metric="corr"), show=False)
    assert correlations.figure.axes[1].get_ylabel() == "1 \N{MINUS SIGN} Pearson r"
    distances = pfa.plot_heatmap(row.assign(dissim_metric="procrustes_distance"), show=False)
    assert distances.figure.axes[1].get_ylabel() == "procrustes_distance"


def test_the_rectangle_of_two_networks_is_cut_from_the_square():
    row = stack()
    ax = pfa.plot_heatmap(
        row, {"model": "two"}, {"model": "one", "layer": ["conv3", "conv1"]}, show=False
    )
    np.testing.assert_array_equal(drawn(ax), row["matrix"][0][np.ix_([3, 4, 5], [0, 2])])
    assert ticks(ax.yaxis) == ["conv1", "conv2", "conv3"]
    assert ticks(ax.xaxis) == ["conv1", "conv3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("one", "two")


def test_half_of_a_square_has_its_diagonal_and_what_is_below():
    row = stack()
    ax = pfa.plot_heatmap(row, {"model": "one"}, {"model": "one"}, half=True, show=False)
    below = np.tril(np.ones((3, 3), dtype=bool))
    np.testing.assert_array_equal(np.isfinite(drawn(ax)), below)
    assert len(ax.texts) == 6
    ax = pfa.plot_heatmap(row, {"model": "one"}, {"model": "one"}, half="upper", show=False)
    np.testing.assert_array_equal(np.isfinite(drawn(ax)), below.T)
    with pytest.raises(ValueError, match="`half` leaves out"):
        pfa.plot_heatmap(row, {"model": "one"}, {"model": "two"}, half=True, show=False)


def test_colours_run_between_the_limits_and_values_can_be_left_out():
    ax = pfa.plot_heatmap(stack(), limits=(-1, 1), annotate=False, labels=False, show=False)
    assert ax.images[0].get_clim() == (-1, 1)
    assert not ax.texts
    assert ticks(ax.xaxis) == []
    ax = pfa.plot_heatmap(stack(7), show=False)
    assert not ax.texts


def test_missing_cells_are_no_values():
    row = stack()
    matrix = row["matrix"][0].copy()
    matrix[1] = matrix[:, 1] = np.nan
    ax = pfa.plot_heatmap(row.assign(matrix=[matrix]), show=False)
    assert len(ax.texts) == 25
    assert np.isfinite(ax.images[0].get_clim()).all()


def test_missing_cells_of_a_half_are_grey_and_what_is_left_out_is_white():
    row = stack()
    matrix = row["matrix"][0].copy()
    matrix[1] = matrix[:, 1] = np.nan
    ax = pfa.plot_heatmap(row.assign(matrix=[matrix]), half=True, show=False)
    holes = ax.images[1]
    expected = np.isnan(matrix) & np.tri(6, dtype=bool)
    np.testing.assert_array_equal(~np.ma.getmaskarray(holes.get_array()), expected)
    np.testing.assert_allclose(holes.cmap(0.0)[:3], 0.8)
    assert len(pfa.plot_heatmap(row, half=True, show=False).images) == 1


@pytest.mark.parametrize(
    ("largest", "written"),
    [
        (0.5, ["0.00", "0.50", "\N{MINUS SIGN}0.25"]),
        (0.05, ["0.000", "0.050", "\N{MINUS SIGN}0.025"]),
        (1e-4, ["0", "1e\N{MINUS SIGN}04", "\N{MINUS SIGN}5e\N{MINUS SIGN}05"]),
        (11000, ["0", "11000", "\N{MINUS SIGN}5500"]),
    ],
)
def test_values_have_as_many_digits_as_fit_and_say_something(largest, written):
    table = pd.DataFrame([[0.0, largest, -largest / 2]])
    ax = pfa.plot_heatmap(table, show=False)
    assert [text.get_text() for text in ax.texts] == written
    ax.figure.draw_without_rendering()
    width = ax.bbox.width / 3
    assert all(text.get_window_extent().width < width for text in ax.texts)


def test_values_are_left_out_where_cells_have_no_room():
    figure, ax = plt.subplots(figsize=(1.5, 1.5))
    assert not pfa.plot_heatmap(stack(), ax=ax, show=False).texts
    assert pfa.plot_heatmap(stack(), annotate=True, ax=ax, show=False).texts
    plt.close(figure)


@pytest.mark.parametrize("shape", [(36, 36), (3, 14), (14, 2), (160, 160)])
def test_names_are_whole_and_apart_and_the_bar_no_higher_than_the_cells(shape, tmp_path):
    names = [f"OpenCLIP_ViT-L-14_laion400m_e{k}" for k in range(max(shape))]
    table = pd.DataFrame(
        np.random.default_rng(0).random(shape), index=names[: shape[0]], columns=names[: shape[1]]
    )
    ax = pfa.plot_heatmap(table, bar_label="similarity", show=False)
    ax.figure.draw_without_rendering()
    assert ax.figure.axes[1].bbox.height <= ax.bbox.height
    for axis, low, high in ((ax.xaxis, 0, 2), (ax.yaxis, 1, 3)):
        boxes = [label.get_window_extent().extents for label in axis.get_ticklabels()]
        ends = sorted((box[low], box[high]) for box in boxes)
        assert all(one[1] <= other[0] + 0.5 for one, other in pairwise(ends))
    pfa.plot_heatmap(table, bar_label="similarity", show=False, save_opts=tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()


def test_it_is_saved_or_drawn_where_it_is_told(tmp_path):
    figure, ax = plt.subplots()
    assert pfa.plot_heatmap(stack(), ax=ax, fig_title="layers") is ax
    assert ax.get_title() == "layers"
    pfa.plot_heatmap(stack(), show=False, save_opts=tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"rows": {"depth": 1}}, ValueError, "`rows` names 'depth'"),
        (
            {"columns": {"model": "three"}},
            ValueError,
            r"no entry has model='three'; there are \['one",
        ),
        ({"rows": "one"}, TypeError, "`rows` must be a dict"),
        ({"limits": 3}, (TypeError, ValueError), "`limits`"),
    ],
)
def test_bad_choices_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        pfa.plot_heatmap(stack(), show=False, **options)
    with pytest.raises(ValueError, match="`rdm_df` must have one row"):
        pfa.plot_heatmap(pd.concat([stack(), stack()]), show=False)


def test_a_table_is_drawn_as_it_is_under_its_own_names():
    index = pd.Index(["conv1", "fc1"], name="layer")
    table = pd.DataFrame(
        {"digit": [0.25, 0.5], "prime": [1.0, np.nan], "loop": [0, 0.75]}, index=index
    )
    table.columns.name = "model"
    before = table.copy()
    ax = pfa.plot_heatmap(table, show=False)
    np.testing.assert_array_equal(drawn(ax), table)
    assert ticks(ax.xaxis) == ["digit", "prime", "loop"]
    assert ticks(ax.yaxis) == ["conv1", "fc1"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("model", "layer")
    assert texts(ax)[0, 0] == "0.25"
    assert ax.figure.axes[1].get_ylabel() == ""
    pd.testing.assert_frame_equal(table, before)
    square = pfa.similarity_table(stack().assign(entry_keys=[tuple("abcdef")]))
    assert len(pfa.plot_heatmap(square, half=True, show=False).texts) == 21
    assert ticks(pfa.plot_heatmap(pfa.similarity_table(stack()), show=False).xaxis)[1] == (
        "one, conv2"
    )


@pytest.mark.parametrize(
    ("table", "options", "error", "match"),
    [
        (pd.DataFrame({"a": [1.0]}), {"rows": {"model": "a"}}, ValueError, "`rdm_df` is a table"),
        (pd.DataFrame({"a": [1.0]}), {"half": True}, ValueError, "`half` leaves out"),
        (pd.DataFrame({"a": ["x"]}), {}, TypeError, "columns 'matrix' and 'entry_keys', but its"),
        (pd.DataFrame(), {}, ValueError, "without cells"),
        (pd.DataFrame({"matrix": [1.0]}), {}, ValueError, "no column 'entry_keys'"),
    ],
)
def test_bad_tables_are_refused(table, options, error, match):
    with pytest.raises(error, match=match):
        pfa.plot_heatmap(table, show=False, **options)
