"""Maps side by side, and the diagram of Shepard."""

import logging

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.plotting import _fonts

KEYS = tuple((f"item{k}",) for k in range(8))


@pytest.fixture(autouse=True)
def closed_figures():
    mpl.use("agg")
    plt.close("all")
    yield
    plt.close("all")


def layers(n_layers=3, seed=0):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(8, 2))
    rows = []
    for k in range(n_layers):
        turn = np.linalg.qr(generator.normal(size=(2, 2)))[0]
        rows.append(
            {
                "layer": f"conv{k + 1}",
                "matrix": squareform(pdist(points @ turn)),
                "entry_keys": KEYS,
                "entry_labels": tuple(
                    {"item": key[0], "kind": "ab"[i % 2]} for i, key in enumerate(KEYS)
                ),
            }
        )
        points = points + 0.1 * generator.normal(size=points.shape)
    return pd.DataFrame(rows)


def drawn(stack, *args, **kwargs):
    axes = pfa.plot_mds_panels(stack, *args, show=False, **kwargs)
    axes[0].figure.draw_without_rendering()
    return axes


def dots_of(ax):
    return np.concatenate(
        [dots.get_offsets() for dots in ax.collections if isinstance(dots, PathCollection)]
    )


def test_there_is_a_panel_a_row_with_its_name_and_one_scale():
    axes = drawn(layers(), names={"conv2": "second"})
    assert isinstance(axes, np.ndarray)
    assert [ax.get_title() for ax in axes] == ["conv1", "second", "conv3"]
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in axes}) == 1
    assert len(axes[0].figure.axes) == 3


def test_dots_are_where_the_aligned_coordinates_are():
    stack = layers()
    frame = pfa.aligned_mds_coordinates(stack)
    axes = drawn(stack)
    found = np.concatenate([dots_of(ax) for ax in axes])
    expected = frame[["dim1", "dim2"]].to_numpy()
    # One scale for all, both axes alike.
    scale = pdist(found) / pdist(expected)
    np.testing.assert_allclose(scale, scale[0])
    np.testing.assert_allclose(np.ptp(found, axis=0).max(), 1)


def test_entries_stay_near_their_places_from_panel_to_panel():
    first, second, third = (dots_of(ax) for ax in drawn(layers()))
    assert np.abs(first - second).max() < 0.25
    assert np.abs(second - third).max() < 0.25


def test_paths_go_through_the_places_of_all_panels():
    axes = drawn(layers(), trajectories=True)
    assert [ax.get_title() for ax in axes] == ["conv1", "conv2", "conv3", "paths"]
    paths = [lines for lines in axes[-1].collections if isinstance(lines, LineCollection)]
    assert len(paths) == 8
    places = [dots_of(ax) for ax in axes[:3]]
    for k, lines in enumerate(paths):
        segments = np.array(lines.get_segments())
        np.testing.assert_allclose(segments[:, 0], [places[0][k], places[1][k]])
        np.testing.assert_allclose(segments[:, 1], [places[1][k], places[2][k]])
        alphas = lines.get_colors()[:, 3]
        assert 0 < alphas[0] < alphas[1] == 1
    np.testing.assert_allclose(dots_of(axes[-1]), places[2])


@pytest.mark.parametrize("n_layers", [1, 2, 4, 7])
def test_the_last_stretch_of_a_path_is_opaque_however_many_panels_there_are(n_layers):
    # 0.2 + 0.8 is a little more than 1 as some of these numbers round it.
    axes = drawn(layers(n_layers), trajectories=True, method="classical")
    for lines in axes[-1].collections:
        if isinstance(lines, LineCollection) and n_layers > 1:
            assert lines.get_colors()[-1, 3] == 1


def test_paths_can_be_those_of_chosen_entries_and_skip_panels():
    stack = layers()
    holed = stack.loc[1, "matrix"].copy()
    holed[3] = holed[:, 3] = np.nan
    stack["matrix"] = [stack["matrix"][0], holed, stack["matrix"][2]]
    axes = drawn(stack, trajectories=["item3", ("item5",)])
    third, fifth = (
        np.array(lines.get_segments())
        for lines in axes[-1].collections
        if isinstance(lines, LineCollection)
    )
    assert (len(third), len(fifth)) == (1, 2)
    assert len(dots_of(axes[1])) == 7
    assert len(dots_of(axes[-1])) == 2
    with pytest.raises(TypeError, match="`trajectories` must be True, False or a list"):
        drawn(stack, trajectories="item3")
    with pytest.raises(ValueError, match="`trajectories` names no entry of this RDM"):
        drawn(stack, trajectories=["nobody"])


def test_pictures_labels_and_colours_are_in_all_panels_and_the_legend_is_one():
    pictures = dict.fromkeys(KEYS[:4], Image.new("RGB", (30, 20), "teal"))
    axes = drawn(
        layers(),
        cond_pics=pictures,
        cond_labels={key: key[0] for key in KEYS},
        color_by="kind",
        overlap="repel",
        fig_title="Layers",
    )
    for ax in axes:
        assert len(ax.images) == 4
        assert {text.get_text() for text in ax.texts} >= {key[0] for key in KEYS}
        assert ax.get_legend() is None
    (legend,) = axes[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert axes[0].figure.get_suptitle() == "Layers"
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in axes}) == 1
    # Each label once, though labels were placed twice.
    assert len(axes[0].texts) == len(KEYS) + 1


def test_the_stress_of_each_panel_is_below_it():
    stack = layers()
    stack["matrix"] = [matrix**2 for matrix in stack["matrix"]]
    axes = drawn(stack)
    for ax, matrix in zip(axes, stack["matrix"], strict=True):
        expected = f"stress-1 {stress_1(embed(matrix)[0], matrix):.2f}"
        assert [text.get_text() for text in ax.texts] == [expected]
    assert [text.get_text() for text in drawn(stack, show_stress=False)[0].texts] == [""]


def test_axes_that_are_given_are_drawn_on():
    figure, axes = plt.subplots(1, 4)
    found = pfa.plot_mds_panels(layers(), trajectories=True, axes=axes)
    assert list(found) == list(axes)
    assert figure.legends == []
    with pytest.raises(ValueError, match="`axes` must be 4, one for each panel, but there are 3"):
        pfa.plot_mds_panels(layers(), trajectories=True, axes=axes[:3])


def test_panels_are_saved_and_closed(tmp_path):
    for suffix in ("png", "pdf"):
        pfa.plot_mds_panels(layers(), columns=2, save_opts=tmp_path / f"panels.{suffix}")
    assert plt.get_fignums() == []
    assert (tmp_path / "panels.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "panels.png") as image:
        assert image.size[0] == 2 * 1.9 * 200


def test_letters_that_no_font_has_are_told_of_once(caplog, monkeypatch):
    monkeypatch.setattr(_fonts, "_installed", dict)
    caplog.set_level(logging.WARNING)
    axes = drawn(layers(), cond_labels=dict.fromkeys(KEYS, "猫"), names={"conv1": "犬"})
    assert len([line for line in caplog.messages if "No font" in line]) == 1
    assert axes[0].get_title() == "\u25a1"


def test_what_is_given_to_panels_is_not_changed():
    stack = layers()
    before = stack.copy()
    options = {"s": 4}
    drawn(stack, plot_opts=options, label_opts={"color": "red"})
    pd.testing.assert_frame_equal(stack, before)
    assert options == {"s": 4}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"panels": "depth"}, ValueError, "`panels` names 'depth'"),
        ({"panels": "entry_keys"}, ValueError, "has 3 rows of entry_keys"),
        ({"plot_opts": [1]}, TypeError, "`plot_opts` must be a dict of options"),
        ({"names": {"conv9": "x"}}, ValueError, "`names` names 'conv9'"),
        ({"columns": 0}, ValueError, "`columns` must be at least 1"),
        ({"save_opts": "/no/such/a.png"}, FileNotFoundError, "`save_opts` is"),
    ],
)
def test_wrong_arguments_of_panels_are_named(given, error, message):
    with pytest.raises(error, match=message):
        pfa.plot_mds_panels(layers(), show=False, **given)
    assert plt.get_fignums() == []


# Shepard's diagram


def correlation_row(n_items=12):
    rdm = 1 - np.corrcoef(np.random.default_rng(0).normal(size=(n_items, 20)))
    return pd.DataFrame({"matrix": [rdm], "entry_keys": [tuple((k,) for k in range(n_items))]})


def note_of(ax):
    return ax.texts[0].get_text().splitlines()


@pytest.mark.parametrize("method", ["metric", "classical"])
def test_distances_are_drawn_against_dissimilarities(method):
    row = correlation_row()
    ax = pfa.plot_shepard(row, method=method, show=False)
    points = pfa.mds_coordinates(row, method=method)[["dim1", "dim2"]].to_numpy()
    cells = squareform(row["matrix"][0], checks=False)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), np.c_[cells, pdist(points)])
    expected = stress_1(points, row["matrix"][0])
    rho = spearmanr(cells, pdist(points)).statistic
    assert note_of(ax) == [f"stress-1 {expected:.2f}", f"\u03c1 = {rho:.2f}"]
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())


@pytest.mark.parametrize("method", ["nonmetric", "tsne"])
def test_the_line_of_orders_is_monotone_regression(method):
    row = correlation_row()
    ax = pfa.plot_shepard(row, method=method, show=False)
    x, y = np.asarray(ax.collections[0].get_offsets()).T
    order = np.argsort(x)
    # Oracle: scikit-learn's isotonic regression.
    expected = IsotonicRegression().fit_transform(x[order], y[order])
    np.testing.assert_allclose(ax.lines[0].get_xydata(), np.c_[x[order], expected], atol=1e-6)
    stress = np.sqrt(((y[order] - expected) ** 2).sum() / (y**2).sum())
    assert note_of(ax)[0] == f"stress-1 {stress:.2f}"


def test_missing_pairs_are_left_out_and_equal_ones_have_no_correlation():
    row = correlation_row(6)
    matrix = row.loc[0, "matrix"].copy()
    matrix[0, 1] = matrix[1, 0] = np.nan
    matrix[5] = matrix[:, 5] = np.nan
    ax = pfa.plot_shepard(row.assign(matrix=[matrix]), show=False)
    assert len(ax.collections[0].get_offsets()) == 9
    alike = pd.DataFrame({"matrix": [1 - np.eye(3)], "entry_keys": [KEYS[:3]]})
    assert note_of(pfa.plot_shepard(alike, show=False)) == ["stress-1 0.00", "no \u03c1"]


def test_a_diagram_is_drawn_on_axes_of_yours_and_saved(tmp_path):
    ax = plt.figure().add_subplot()
    assert pfa.plot_shepard(correlation_row(), 3, ax=ax, fig_title="Fit") is ax
    assert ax.get_title() == "Fit"
    plt.close("all")
    pfa.plot_shepard(correlation_row(), save_opts=tmp_path / "fit.pdf")
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="`method` names 'metrc'"):
        pfa.plot_shepard(correlation_row(), method="metrc", show=False)
