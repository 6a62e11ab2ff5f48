"""Figures of RDMs: which cells are drawn where, on which scale, and what stands beside them."""

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

import pytorch_feature_analysis as pfa

KINDS = ("cat", "dog", "bus")


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def matrix_of(seed, n):
    cells = np.random.default_rng(seed).random((n, n))
    cells = cells + cells.T
    np.fill_diagonal(cells, 0)
    return cells


def stack(n=6, rows=1, **columns):
    """Entries of three kinds by turns."""
    keys = tuple((KINDS[k % 3], k) for k in range(n))
    labels = tuple({"kind": kind, "number": k} for kind, k in keys)
    return pd.DataFrame(
        {
            "model": "net",
            "layer": [f"conv{k}" for k in range(rows)],
            "layer_num": range(rows),
            "dissim_metric": "corr",
            "matrix": [matrix_of(k, n) for k in range(rows)],
            "entry_keys": [keys] * rows,
            "entry_labels": [labels] * rows,
            **columns,
        }
    )


def drawn(ax):
    return np.ma.filled(ax.images[0].get_array(), np.nan)


def without_diagonal(matrix):
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def bar_of(figure, panels):
    (bar,) = (ax for ax in figure.axes if ax not in list(np.ravel(panels)))
    return bar


def outlines(ax):
    """Boxes (left, top, right, bottom), of the cells that are outlined."""
    return sorted(
        tuple((patch.get_bbox().extents + 0.5 - np.array([0, 0, 1, 1])).astype(int).tolist())
        for patch in ax.patches
        if isinstance(patch, Rectangle) and not patch.get_fill()
    )


def pictures_along(ax):
    return [child for child in ax.get_children() if type(child) is AxesImage][1:]


def test_cells_are_drawn_as_they_are_and_the_diagonal_is_blank():
    given = stack()
    before = given.copy(deep=True)
    ax = pfa.plot_rdm(given, show=False)
    np.testing.assert_array_equal(drawn(ax), without_diagonal(given["matrix"][0]))
    assert ax.images[0].cmap(np.nan) == (1, 1, 1, 1)
    names = [f"{KINDS[k % 3]}, {k}" for k in range(6)]
    assert texts(ax) == names * 2
    bar = bar_of(ax.figure, ax)
    assert bar.get_ylabel() == "1 \N{MINUS SIGN} Pearson r"
    off = given["matrix"][0][~np.eye(6, dtype=bool)]
    assert ax.images[0].get_clim() == (off.min(), off.max())
    assert ax.get_title() == ""
    pd.testing.assert_frame_equal(given, before)
    alike = pfa.plot_rdm(pfa.to_similarity(given), show=False)
    assert bar_of(alike.figure, alike).get_ylabel() == "Pearson r"
    np.testing.assert_array_equal(drawn(pfa.plot_rdm(given.iloc[0], show=False)), drawn(ax))


def test_rows_are_a_grid_on_one_scale_with_one_bar():
    given = stack(rows=5)
    panels = pfa.plot_rdm(given, show=False, fig_title="layers")
    assert panels.shape == (5,)
    assert [ax.get_title() for ax in panels] == [f"conv{k}" for k in range(5)]
    cells = np.stack(given["matrix"])[:, ~np.eye(6, dtype=bool)]
    assert {ax.images[0].get_clim() for ax in panels} == {(cells.min(), cells.max())}
    bar_of(panels[0].figure, panels)
    for ax, matrix in zip(panels, given["matrix"], strict=True):
        np.testing.assert_array_equal(drawn(ax), without_diagonal(matrix))
    # Three abreast; names stand at the left ones and the lowest ones.
    lefts, bottoms = np.array([ax.get_position().p0 for ax in panels]).round(9).T
    assert (len(set(lefts[:3])), len(set(bottoms[:3]))) == (3, 1)
    assert (lefts[3], lefts[4]) == (lefts[0], lefts[1])
    assert bottoms[3] == bottoms[4] < bottoms[0]
    assert [len(ax.texts) for ax in panels] == [6, 0, 6, 12, 6]
    assert panels[0].figure.texts[0].get_text() == "layers"
    abreast = pfa.plot_rdm(given, num_columns=1, show=False)
    assert len({ax.get_position().x0 for ax in abreast}) == 1


def test_titles_are_what_rows_differ_in_a_column_or_given():
    given = stack(rows=2, activation_type=["unit_level", "feature_means"], seed=[3, 3])
    titles = [ax.get_title() for ax in pfa.plot_rdm(given, show=False)]
    assert titles == ["conv0, unit_level", "conv1, feature_means"]
    by_column = pfa.plot_rdm(given, titles="activation_type", show=False)
    assert [ax.get_title() for ax in by_column] == ["unit_level", "feature_means"]
    assert [ax.get_title() for ax in pfa.plot_rdm(given, titles=["a", "b"], show=False)] == [
        *("a", "b")
    ]


def test_ranks_run_from_0_to_1_within_each_rdm_and_do_not_change_with_the_scale():
    given = stack(rows=2)
    given["matrix"] = [given["matrix"][0], 100 * given["matrix"][1] ** 3]
    panels = pfa.plot_rdm(given, scale="rank", show=False)
    upper = np.triu_indices(6, k=1)
    for ax, matrix in zip(panels, given["matrix"], strict=True):
        # Oracle: scipy's ranks of the triangle.
        expected = (rankdata(matrix[upper]) - 1) / 14
        np.testing.assert_allclose(drawn(ax)[upper], expected, atol=1e-12)
        np.testing.assert_array_equal(drawn(ax), drawn(ax).T)
        assert ax.images[0].get_clim() == (0, 1)
    stretched = pfa.plot_rdm(given.assign(matrix=[m**2 for m in given["matrix"]]), scale="rank")
    np.testing.assert_array_equal(drawn(stretched[0]), drawn(panels[0]))
    label = bar_of(panels[0].figure, panels).get_ylabel()
    assert label == "rank of 1 \N{MINUS SIGN} Pearson r"


def test_ranks_of_ties_are_their_mean_and_missing_cells_have_none():
    matrix = squareform([1.0, 1.0, 2.0, np.nan, 3.0, 4.0])
    row = pd.DataFrame({"matrix": [matrix], "entry_keys": [list("abcd")]})
    ax = pfa.plot_rdm(row, scale="rank", show=False)
    cells = drawn(ax)[np.triu_indices(4, k=1)]
    # Of 1.5, 1.5, 3, 4, 5.
    np.testing.assert_allclose(cells, [0, 0, 1.5 / 3.5, np.nan, 2.5 / 3.5, 1])
    even = row.assign(matrix=[1.0 - np.eye(4)])
    cells = drawn(pfa.plot_rdm(even, scale="rank", show=False))
    np.testing.assert_array_equal(cells, without_diagonal(np.full((4, 4), 0.5)))


def test_metrics_share_ranks_but_no_scale_of_values():
    given = stack(rows=2, dissim_metric=["corr", "euclidean_distance"])
    with pytest.raises(ValueError, match=r"`rdm_df` has RDMs by .* Take scale='rank'"):
        pfa.plot_rdm(given, show=False)
    panels = pfa.plot_rdm(given, scale="rank", show=False)
    assert bar_of(panels[0].figure, panels).get_ylabel() == "rank of dissimilarity"


def test_entries_of_other_rows_are_put_in_the_order_of_the_first():
    given = stack(rows=2)
    turned = [5, 0, 3, 1, 4, 2]
    cells = given.iloc[1].to_dict()
    for name in ("entry_keys", "entry_labels"):
        cells[name] = tuple(cells[name][k] for k in turned)
    cells["matrix"] = cells["matrix"][np.ix_(turned, turned)]
    mixed = pd.DataFrame([given.iloc[0].to_dict(), cells])
    for ax, expected in zip(
        pfa.plot_rdm(mixed, show=False), pfa.plot_rdm(given, show=False), strict=True
    ):
        np.testing.assert_array_equal(drawn(ax), drawn(expected))


def test_rdms_of_other_entries_have_names_of_their_own():
    given = stack(n=3, rows=2)
    other = tuple((f"x{k}", k) for k in range(3))
    given["entry_keys"] = [given["entry_keys"][0], other]
    given = given.drop(columns="entry_labels")
    panels = pfa.plot_rdm(given, show=False)
    assert texts(panels[0]) == ["cat, 0", "dog, 1", "bus, 2"] * 2
    assert texts(panels[1]) == ["x0, 0", "x1, 1", "x2, 2"] * 2


def test_linkage_orders_all_rdms_by_their_mean_and_draws_the_tree():
    given = stack(n=8, rows=3)
    mean = pfa.get_mean_rdms(given, ["layer"])
    mean = mean[mean["statistic"] == "mean"] if "statistic" in mean else mean
    order = [given["entry_keys"][0].index(key) for key in pfa.linkage_order(mean)]
    assert order != list(range(8))
    panels = pfa.plot_rdm(given, order="linkage", show=False)
    for ax, matrix in zip(panels, given["matrix"], strict=True):
        np.testing.assert_array_equal(drawn(ax), without_diagonal(matrix[np.ix_(order, order)]))
    (tree,) = (one for one in panels[0].get_children() if isinstance(one, LineCollection))
    segments = np.array(tree.get_segments())
    # Oracle: scipy's heights.
    heights = linkage(squareform(np.mean(list(given["matrix"]), axis=0)), "average")[:, 2]
    drawn_heights = segments[:, 1, 1] - segments[:, :, 1].min()
    np.testing.assert_allclose(
        np.sort(drawn_heights) / drawn_heights.max(), heights / heights.max(), atol=1e-9
    )
    leaves = segments[:, [0, 3]][segments[:, [0, 3], 1] == segments[:, :, 1].min()][:, 0]
    np.testing.assert_array_equal(np.sort(leaves), np.arange(8))
    # A bracket ends at a leaf, or in the middle of the bracket below.
    middles = {tuple(segment[1:3].mean(axis=0).round(9)) for segment in segments}
    ends = segments[:, [0, 3]].reshape(-1, 2)
    joined = ends[ends[:, 1] > segments[:, :, 1].min()]
    assert len(joined) == 6
    assert {tuple(end.round(9)) for end in joined} < middles


@pytest.mark.parametrize("by", ["groups", "order"])
@pytest.mark.parametrize("given", ["kind", {("bus", 2): 1}])
def test_groups_stand_together_under_their_names(given, by):
    one = stack()
    keys = one["entry_keys"][0]
    if isinstance(given, dict):
        given = {key: {"cat": "animal", "dog": "animal", "bus": "thing"}[key[0]] for key in keys}
    ax = pfa.plot_rdm(one, **{by: given}, show=False)
    order, names, borders = [0, 3, 1, 4, 2, 5], ["cat", "dog", "bus"], [1.5, 3.5]
    if isinstance(given, dict):
        order, names, borders = [0, 1, 3, 4, 2, 5], ["animal", "thing"], [3.5]
    np.testing.assert_array_equal(
        drawn(ax), without_diagonal(one["matrix"][0][np.ix_(order, order)])
    )
    beside = texts(ax)[: len(ax.texts) // 2]
    assert beside[6:] == names
    assert beside[:6] == (
        [str(k) for k in order] if given == "kind" else [f"{KINDS[k % 3]}, {k}" for k in order]
    )
    assert [line.get_ydata()[0] for line in ax.lines[: len(borders)]] == borders
    colours = [patch.get_facecolor() for patch in ax.get_children() if is_bar(patch)]
    assert len(colours) == 2 * len(names)
    assert len(set(colours)) == len(names)


def is_bar(child):
    return type(child) is Rectangle and child.get_fill() and not child.get_clip_on()


def test_groups_that_an_order_mixes_are_named_in_a_legend():
    one = stack()
    order = one["entry_keys"][0]
    ax = pfa.plot_rdm(one, order=list(order), groups="kind", show=False)
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(KINDS)
    bars = [patch for patch in ax.get_children() if is_bar(patch)]
    assert len(bars) == 12
    named = dict(
        zip(KINDS, (patch.get_facecolor() for patch in legend.get_patches()), strict=True)
    )
    assert [bar.get_facecolor() for bar in bars[:6]] == [named[KINDS[k % 3]] for k in range(6)]
    assert not ax.lines


def colours_of(ax):
    """Colours of the bars of groups below, from left to right."""
    ax.figure.draw_without_rendering()
    bars = [(patch.get_window_extent(), patch) for patch in ax.get_children() if is_bar(patch)]
    bottom = ax.get_window_extent().y0
    below = sorted((box.x0, bar.get_facecolor()) for box, bar in bars if box.y1 < bottom)
    return [colour for _, colour in below]


@pytest.mark.parametrize("by", ["label", "dict"])
def test_a_group_has_its_colour_in_whatever_order_entries_are(by):
    one = stack()
    keys = list(one["entry_keys"][0])
    groups = "kind" if by == "label" else {key: key[0] for key in keys}
    first = colours_of(pfa.plot_rdm(one, groups=groups, show=False))
    mixed = colours_of(pfa.plot_rdm(one, order=keys[::-1], groups=groups, show=False))
    assert len(set(first)) == 3
    assert mixed == 2 * first[::-1]


def test_groups_of_which_nothing_is_drawn_are_not_in_the_legend():
    one = stack()
    dead = one["matrix"][0].copy()
    dead[[2, 5]] = dead[:, [2, 5]] = np.nan
    groups = {key: key[0] for key in one["entry_keys"][0]}
    order = list(one["entry_keys"][0])
    ax = pfa.plot_rdm(
        one.assign(matrix=[dead]), order=order, groups=groups, nan_policy="omit", show=False
    )
    (legend,) = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["cat", "dog"]


@pytest.mark.parametrize("title", ["short", "a title that is a good deal longer " * 3])
@pytest.mark.parametrize("options", [{"n": 6}, {"n": 6, "rows": 3}, {"n": 2}])
def test_the_title_is_above_the_middle_of_the_cells_and_within_the_figure(title, options):
    panels = np.ravel(pfa.plot_rdm(stack(**options), groups="kind", fig_title=title, show=False))
    figure = panels[0].figure
    (text,) = figure.texts
    figure.draw_without_rendering()
    box, whole = text.get_window_extent(), figure.bbox
    ends = panels[0].get_window_extent().x0, panels[-1].get_window_extent().x1
    assert (box.x0 + box.x1) / 2 == pytest.approx(np.mean(ends), abs=1)
    assert whole.x0 < box.x0 < box.x1 < whole.x1
    assert box.y0 > max(ax.title.get_window_extent().y1 for ax in panels) - 1


def test_half_is_left_out_with_what_would_stand_beside_it():
    one = stack(n=4)
    lower = pfa.plot_rdm(one, half=True, show=False)
    np.testing.assert_array_equal(np.isfinite(drawn(lower)), np.tri(4, k=-1, dtype=bool))
    np.testing.assert_array_equal(drawn(pfa.plot_rdm(one, half="lower", show=False)), drawn(lower))
    upper = pfa.plot_rdm(one, half="upper", show=False)
    np.testing.assert_array_equal(np.isfinite(drawn(upper)), np.tri(4, k=-1, dtype=bool).T)
    upper.figure.draw_without_rendering()
    box = upper.get_window_extent()
    ends = [text.get_window_extent() for text in upper.texts]
    assert all(end.x0 > box.x1 or end.y0 > box.y1 for end in ends)
    with pytest.raises(ValueError, match="`half` names 'left'"):
        pfa.plot_rdm(one, half="left", show=False)


def test_cells_and_blocks_are_outlined_wherever_they_stand():
    one = stack()
    keys = one["entry_keys"][0]
    ax = pfa.plot_rdm(one, highlight=[(keys[0], keys[4])], show=False)
    assert outlines(ax) == [(0, 4, 0, 4), (4, 0, 4, 0)]
    ax = pfa.plot_rdm(one, highlight=[(keys[0], keys[4])], half=True, show=False)
    assert outlines(ax) == [(0, 4, 0, 4)]
    ax = pfa.plot_rdm(one, highlight=[(keys[0], keys[4])], half="upper", show=False)
    assert outlines(ax) == [(4, 0, 4, 0)]
    block = (list(keys[:2]), list(keys[2:5]))
    assert outlines(pfa.plot_rdm(one, highlight=[block], show=False)) == [
        (0, 2, 1, 4),
        (2, 0, 4, 1),
    ]
    # By kind, 0 and 1 are apart.
    ax = pfa.plot_rdm(one, highlight=[(list(keys[:2]), [keys[5]])], groups="kind", half=True)
    assert outlines(ax) == [(0, 5, 0, 5), (2, 5, 2, 5)]
    diagonal = (list(keys[:3]), list(keys[:3]))
    assert outlines(pfa.plot_rdm(one, highlight=[diagonal], half=True)) == [(0, 0, 2, 2)]


def test_pictures_stand_along_both_sides_in_the_order_of_the_entries():
    one = stack()
    shades = {
        key: np.full((8, 4), 40 * k, dtype=np.uint8) for k, key in enumerate(one["entry_keys"][0])
    }
    ax = pfa.plot_rdm(one, groups="kind", pictures=shades, show=False)
    pictures = pictures_along(ax)
    assert len(pictures) == 12
    order = [0, 3, 1, 4, 2, 5]
    for side in (pictures[:6], pictures[6:]):
        assert [int(image.get_array()[0, 0, 0]) for image in side] == [40 * k for k in order]
    ax.figure.draw_without_rendering()
    cell = ax.bbox.height / 6
    for k, image in enumerate(pictures[:6]):
        box = image.get_window_extent()
        assert (box.y0 + box.y1) / 2 == pytest.approx(ax.bbox.y1 - (k + 0.5) * cell)
        assert box.x1 < ax.bbox.x0
        # Neither stretched nor upside down.
        assert box.height == pytest.approx(2 * box.width)
        assert box.height < cell
    # They tell entries apart, so that names are left out; groups have theirs.
    assert texts(ax) == ["cat", "dog", "bus"] * 2
    named = pfa.plot_rdm(one, pictures=shades, labels=True, show=False)
    assert len(named.texts) == 12


def test_lines_to_pictures_in_other_lines_are_behind_all_pictures():
    many = stack(n=90)
    white = np.full((4, 4, 3), 255, np.uint8)
    ax = pfa.plot_rdm(many, pictures=dict.fromkeys(many["entry_keys"].iloc[0], white), show=False)
    pictures = [x.zorder for x in ax.get_children() if isinstance(x, AxesImage)]
    leaders = [x.zorder for x in ax.get_children() if isinstance(x, LineCollection)]
    assert len(pictures) == 1 + 2 * 90
    assert len(leaders) == 2
    assert max(leaders) < min(pictures)


def test_pictures_are_upright():
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    picture[:10, :10] = (255, 0, 0)
    one = stack(n=2)
    ax = pfa.plot_rdm(one, pictures=dict.fromkeys(one["entry_keys"][0], picture), show=False)
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())
    for image in pictures_along(ax):
        box = image.get_window_extent()
        column, row = int(box.x0 + 0.25 * box.width), int(box.y0 + 0.75 * box.height)
        assert pixels[len(pixels) - row, column, :3].tolist() == [255, 0, 0]


def test_missing_pictures_are_blank_under_their_names_and_counted(tmp_path, caplog):
    one = stack(n=3)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "there.png")
    files = [tmp_path / "no.png", tmp_path / "there.png", str(tmp_path / "none.png")]
    pictures = dict(zip(one["entry_keys"][0], files, strict=True))
    ax = pfa.plot_rdm(one, pictures=pictures, show=False)
    (warned,) = caplog.messages
    assert warned.startswith("`pictures` has 2 of 3 pictures that are not there")
    assert "no.png" in warned
    assert len(pictures_along(ax)) == 2
    assert texts(ax) == ["cat, 0", "bus, 2"] * 2
    (tmp_path / "no.png").write_text("no picture")
    (tmp_path / "none.png").write_text("nor this")
    with pytest.raises(ValueError, match="`pictures` has 2 pictures that cannot be read"):
        pfa.plot_rdm(one, pictures=pictures, show=False)


def holed():
    """Two RDMs; in the second entry 1 is dead, and in the first the pair of 0 and 2 is missing."""
    given = stack(n=4, rows=2)
    first, second = (matrix.copy() for matrix in given["matrix"])
    first[0, 2] = first[2, 0] = np.inf
    second[1] = second[:, 1] = np.nan
    return given.assign(matrix=[first, second])


def test_missing_cells_are_grey_or_their_entries_left_out_of_all_rdms(caplog):
    caplog.set_level(logging.INFO)
    given = holed()
    panels = pfa.plot_rdm(given, show=False)
    for ax, matrix in zip(panels, given["matrix"], strict=True):
        grey = ax.images[1]
        lacking = ~np.isfinite(matrix) & ~np.eye(4, dtype=bool)
        np.testing.assert_array_equal(~np.ma.getmaskarray(grey.get_array()), lacking)
        np.testing.assert_allclose(grey.cmap(0.0)[:3], 0.8)
    assert np.isfinite(panels[0].images[0].get_clim()).all()
    kept = np.ix_([0, 2, 3], [0, 2, 3])
    for ax, matrix in zip(
        pfa.plot_rdm(given, nan_policy="omit", show=False), given["matrix"], strict=True
    ):
        expected = without_diagonal(np.where(np.isfinite(matrix), matrix, np.nan)[kept])
        np.testing.assert_array_equal(drawn(ax), expected)
    assert "leaves out 1 of 4 entries" in caplog.text
    with pytest.raises(ValueError, match=r"4 missing .* in 2 of 2 RDMs: 1 of 6 in row 0, 3 of 6"):
        pfa.plot_rdm(given, nan_policy="raise", show=False)
    dead = given.assign(matrix=[np.full((4, 4), np.nan)] * 2)
    with pytest.raises(ValueError, match="nothing is left to draw"):
        pfa.plot_rdm(dead, nan_policy="omit", show=False)
    # An order of all entries serves what is left of them.
    order = list(reversed(given["entry_keys"][0]))
    ax = pfa.plot_rdm(given, nan_policy="omit", order=order, show=False)[1]
    assert np.isfinite(drawn(ax)[0, 1])
    assert len(drawn(ax)) == 3


def test_names_are_shown_where_there_is_room():
    assert len(pfa.plot_rdm(stack(n=40), show=False).texts) == 80
    assert not pfa.plot_rdm(stack(n=150), show=False).texts
    assert len(pfa.plot_rdm(stack(n=150), labels=True, show=False).texts) == 300
    assert not pfa.plot_rdm(stack(), labels=False, show=False).texts
    one = stack(n=2)
    ax = pfa.plot_rdm(one, labels={("cat", 0): "Katze"}, show=False)
    assert texts(ax) == ["Katze", "dog, 1"] * 2


LONG = "a_name_that_is_as_long_as_those_of_OpenCLIP_ViT-L-14_laion400m"
FIGURES = {
    "two": {"n": 2, "order": "linkage"},
    "many": {"n": 120, "groups": "kind", "fig_title": "a title that is a good deal longer" * 3},
    "grid": {"n": 9, "rows": 7, "order": "linkage", "groups": "kind", "half": "upper"},
    "long": {"n": 5, "rows": 2, "labels": {("cat", 0): LONG}, "titles": [LONG, "b"]},
    "large": {"n": 5, "limits": (0, 123456.0), "bar_label": LONG},
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_nor_lies_on_cells(name):
    options = dict(FIGURES[name])
    given = stack(options.pop("n"), options.pop("rows", 1))
    panels = np.ravel(pfa.plot_rdm(given, show=False, **options))
    figure = panels[0].figure
    figure.draw_without_rendering()
    whole = figure.bbox
    cells = [ax.get_window_extent() for ax in panels]
    written = [text for ax in figure.axes for text in (*ax.texts, ax.title, ax.yaxis.label)]
    for ax in figure.axes:
        low, high = ax.get_ylim()
        written += [tick for tick in ax.get_yticklabels() if low <= tick.get_position()[1] <= high]
    for text in [*written, *figure.texts]:
        if text.get_text():
            box = text.get_window_extent()
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, text
            assert not any(
                box.x0 < c.x1 - 1 and c.x0 + 1 < box.x1 and box.y0 < c.y1 - 1 and c.y0 + 1 < box.y1
                for c in cells
            ), text
    for one in cells:
        assert one.width == pytest.approx(one.height)


def test_it_is_drawn_and_saved_where_it_is_told(tmp_path):
    figure, axes = plt.subplots(1, 2, layout="constrained")
    given = stack(rows=2)
    panels = pfa.plot_rdm(given, ax=axes, groups="kind", order="linkage", fig_title="two")
    assert list(panels) == list(axes)
    assert len(figure.axes) == 3
    assert panels[1].get_legend() is not None
    assert figure.get_suptitle() == "two"
    figure.draw_without_rendering()
    assert pfa.plot_rdm(given.iloc[[0]], ax=axes[0], bar=False) is axes[0]
    with pytest.raises(ValueError, match="`ax` must be 2 matplotlib Axes, one for each row"):
        pfa.plot_rdm(given, ax=axes[0])
    with pytest.raises(TypeError, match="`ax` must be a matplotlib Axes, not str"):
        pfa.plot_rdm(given.iloc[[0]], ax="here")
    pfa.plot_rdm(given, show=False, save_opts=tmp_path / "rdm.pdf")
    assert (tmp_path / "rdm.pdf").read_bytes().startswith(b"%PDF")
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"scale": "ranks"}, ValueError, "`scale` names 'ranks'.*Did you mean 'rank'"),
        (
            {"order": "sort"},
            ValueError,
            r"`order` must be 'linkage', the name of a label .*'kind'",
        ),
        ({"order": [("cat", 0)]}, ValueError, "`order` must name every entry once"),
        ({"groups": "sort"}, ValueError, r"`groups` must be the name of a label .* not 'sort'"),
        ({"groups": {("cat", 0): "a"}}, ValueError, r"`groups` must name every entry, and lacks"),
        ({"groups": 3}, TypeError, "`groups` must be the name of a label"),
        ({"titles": "layr"}, ValueError, "`titles` names 'layr'.*Did you mean 'layer'"),
        ({"titles": ["a", "b"]}, ValueError, "`titles` must be 1 texts"),
        ({"highlight": [("cat", "cow")]}, ValueError, r"`highlight` names \('cat',\)"),
        ({"highlight": ["cat"]}, ValueError, "`highlight` must be pairs of entries"),
        ({"pictures": {"cow": "cow.png"}}, ValueError, "`pictures` names no entry"),
        ({"labels": {"cow": "Kuh"}}, ValueError, "`labels` names no entry"),
        ({"limits": 3}, ValueError, "`limits` must be two numbers"),
        ({"num_columns": 0}, ValueError, "`num_columns` must be at least 1"),
        ({"nan_policy": "drop"}, ValueError, "`nan_policy` names 'drop'"),
    ],
)
def test_bad_choices_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        pfa.plot_rdm(stack(), show=False, **options)
    assert not plt.get_fignums()


def test_a_stack_that_nobody_filtered_is_refused():
    with pytest.raises(ValueError, match=r"1 to 100 rows, .* has 101, which differ in 'layer'"):
        pfa.plot_rdm(stack(n=2, rows=101), show=False)
    with pytest.raises(ValueError, match="and has 0"):
        pfa.plot_rdm(stack().iloc[:0], show=False)


def test_a_tree_of_distances_below_0_stands_on_its_leaves():
    own = stack(5)
    lower = own["matrix"][0] - 0.8
    np.fill_diagonal(lower, 0)
    ax = pfa.plot_rdm(own.assign(matrix=[lower]), order="linkage", show=False)
    (tree,) = ax.findobj(LineCollection)
    heights = np.array(tree.get_segments())[..., 1]
    assert lower.min() < 0
    assert heights.min() > 0
    assert len(heights) == 4


def test_entries_whose_group_is_missing_are_one_group():
    groups = dict(zip(stack()["entry_keys"][0], [*"aab", np.nan, float("nan"), None], strict=True))
    ax = pfa.plot_rdm(stack(), groups=groups, show=False)
    texts = [text.get_text() for text in ax.texts]
    assert [texts.count(name) for name in ("a", "b", "None", "nan")] == [2, 2, 2, 0]


def test_an_order_may_name_the_entries_of_all_rows_where_they_differ():
    whole = stack(6)
    keys, matrix = whole["entry_keys"][0], whole["matrix"][0]
    parts = pd.concat([whole, whole], ignore_index=True).assign(
        layer=["a", "b"],
        matrix=[matrix[:4, :4], matrix[2:, 2:]],
        entry_keys=[keys[:4], keys[2:]],
        entry_labels=[whole["entry_labels"][0][:4], whole["entry_labels"][0][2:]],
    )
    one, other = pfa.plot_rdm(parts, order=list(keys[::-1]), show=False)
    np.testing.assert_allclose(np.tril(drawn(one), -1), np.tril(matrix[3::-1, 3::-1], -1))
    np.testing.assert_allclose(np.tril(drawn(other), -1), np.tril(matrix[:1:-1, :1:-1], -1))
    with pytest.raises(ValueError, match=r"names \('cow',\) that is no entry"):
        pfa.plot_rdm(parts, order=[*keys, "cow"], show=False)


@pytest.mark.parametrize("draw", [pfa.plot_rdm, pfa.plot_heatmap])
def test_limits_from_high_to_low_are_refused(draw):
    with pytest.raises(ValueError, match=r"`limits` must be \(low, high\), not \(1, 0\)"):
        draw(stack(), limits=(1, 0), show=False)
    assert not plt.get_fignums()


@pytest.mark.parametrize("layout", ["tight", "constrained"])
def test_layouts_of_yours_leave_room_for_the_tree(layout):
    figure, ax = plt.subplots(layout=layout)
    pfa.plot_rdm(stack(), ax=ax, labels=True, order="linkage")
    # matplotlib warns of axes that do not fit into a layout.
    figure.draw_without_rendering()
    (tree,) = ax.findobj(LineCollection)
    ends = tree.get_transform().transform(np.concatenate(tree.get_segments()))
    assert ends[:, 1].max() < figure.bbox.height
    assert ends[:, 1].min() > ax.bbox.y1
