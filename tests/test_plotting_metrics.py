"""Figures of RDM metrics and of measures: what is drawn where, and what the legend says of it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_representations import related
from PIL import Image

import pytorch_feature_analysis as pfa

FIVE = ["pearson", "L2", "L2squared", "L2_normalize", "L2squared_normalize"]


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def activations():
    x, y = related(30, 4, 6)
    tables = (x, y, np.abs(x), y**3)
    return pd.DataFrame(
        {
            "layer": [f"conv{k}" for k in range(1, 5)],
            "activations": tables,
            "entry_keys": [tuple(range(30))] * 4,
        }
    )


@pytest.fixture(scope="module")
def stack():
    measures = [("rsa", {"rdm_metric": "L2"}), "linear_cka", "procrustes_distance"]
    return pfa.get_similarity_rdms(activations(), measures, progress=False)


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def is_whole(path):
    """What is cut off reaches the edge; here it is paper."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return all(
        (edge == 255).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    )


@pytest.mark.parametrize("title", ["short", "a title that is a good deal longer " * 7])
@pytest.mark.parametrize("with_points", [False, True])
def test_the_title_is_above_the_names_of_all_panels(title, with_points, stack):
    measures = stack if with_points else None
    axes = pfa.plot_metric_comparison(
        activations().iloc[[1]], measures, fig_title=title, show=False
    )
    figure = axes[0].figure
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.y1 <= figure.bbox.y1
    assert box.y0 >= max(ax.title.get_window_extent().y1 for ax in axes)
    assert box.y0 >= max(ax.get_window_extent().y1 for ax in axes)


def test_each_rdm_is_drawn_under_its_name_in_its_own_colours():
    df = activations().iloc[[1]]
    axes = pfa.plot_metric_comparison(df, show=False)
    assert [ax.get_title() for ax in axes] == FIVE
    off = ~np.eye(30, dtype=bool)
    for ax, metric in zip(axes, FIVE, strict=True):
        rdm = pfa.compute_rdm(df["activations"].item(), metric)
        np.testing.assert_allclose(ax.images[0].get_array(), rdm, atol=1e-12)
        assert ax.images[0].get_clim() == pytest.approx((rdm[off].min(), rdm[off].max()))
        assert ax.images[0].colorbar is not None


def test_missing_cells_do_not_matter_to_the_colours():
    x = activations()["activations"][0].copy()
    x[3] = 1
    df = pd.DataFrame({"activations": [x], "entry_keys": [tuple(range(30))]})
    (ax,) = pfa.plot_metric_comparison(df, metrics=["pearson"], show=False)
    assert np.isfinite(ax.images[0].get_clim()).all()
    assert ax.images[0].get_array().mask.sum() == 2 * 29


def test_points_are_the_pairs_by_each_measure(stack):
    ax = pfa.plot_measure_comparison(stack, show=False)
    upper = np.triu_indices(4, k=1)
    cka = 1 - stack["matrix"][1][upper]
    for cloud, place in zip(ax.collections, (0, 2), strict=True):
        expected = np.column_stack([cka, 1 - stack["matrix"][place][upper]])
        np.testing.assert_allclose(cloud.get_offsets(), expected)
    table = pfa.compare_measures(stack)
    assert legend_of(ax) == [
        f"rsa(rdm_metric=L2), r = {table['r'][0]:.3f}",
        f"1 \N{MINUS SIGN} procrustes_distance, r = {table['r'][1]:.3f}",
        "the same as linear_cka",
    ]
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert ax.get_xlim() == ax.get_ylim()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("linear_cka", "similarity")


def test_measures_are_called_what_they_are_told(stack):
    names = {"procrustes_distance": "shape", "linear_cka": "CKA"}
    ax = pfa.plot_measure_comparison(stack, names=names, fig_title="layers", show=False)
    assert [text.partition(",")[0] for text in legend_of(ax)[1:]] == ["shape", "the same as CKA"]
    assert (ax.get_xlabel(), ax.get_title()) == ("CKA", "layers")
    ax = pfa.plot_measure_comparison(
        stack, "procrustes_distance", names=names, legend=False, show=False
    )
    assert ax.get_legend() is None
    assert ax.get_xlabel() == "shape"


def test_points_of_all_groups_are_drawn_together(stack):
    both = pd.concat([stack.assign(data="a"), stack.assign(data="b")])
    ax = pfa.plot_measure_comparison(both, show=False)
    assert [len(cloud.get_offsets()) for cloud in ax.collections] == [12, 12]


def test_no_two_of_many_measures_look_alike():
    x = activations()
    names = [("rsa", {"rdm_metric": metric}) for metric in [*FIVE, "cosine", "cityblock"]]
    measures = ["linear_cka", "nbs", "svcca", "distance_correlation", *names]
    many = pfa.get_similarity_rdms(x, measures, progress=False)
    ax = pfa.plot_measure_comparison(many, show=False)
    looks = {
        (tuple(cloud.get_facecolor()[0]), cloud.get_paths()[0].vertices.tobytes())
        for cloud in ax.collections
    }
    assert len(looks) == len(measures) - 1


def test_a_further_panel_has_the_points_and_all_is_on_the_page(stack, tmp_path):
    df = activations().iloc[[0]]
    axes = pfa.plot_metric_comparison(
        df, stack, fig_title="conv1", show=False, save_opts=tmp_path / "all.png"
    )
    assert len(axes) == 6
    assert len(legend_of(axes[5])) == 3
    pfa.plot_metric_comparison(df, fig_title="conv1", save_opts=tmp_path / "rdms.png")
    pfa.plot_measure_comparison(stack, show=False, save_opts=tmp_path / "points.png")
    for name in ("all", "rdms", "points"):
        assert is_whole(tmp_path / f"{name}.png"), name
    assert plt.get_fignums() == []


def test_it_is_drawn_where_it_is_told(stack, tmp_path):
    figure, axes = plt.subplots(1, 3, layout="constrained")
    drawn = pfa.plot_metric_comparison(
        activations().iloc[[0]],
        stack,
        ["L2", "cosine"],
        names={"L2": "Euclid"},
        axes=list(axes),
        save_opts=tmp_path / "mine.png",
    )
    assert drawn == list(axes)
    assert [ax.get_title() for ax in axes] == ["Euclid", "cosine", ""]
    assert (tmp_path / "mine.png").exists()
    assert plt.get_fignums() == [figure.number]
    _, ax = plt.subplots()
    assert pfa.plot_measure_comparison(stack, ax=ax, show=False) is ax


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"metrics": ["L3"]}, ValueError, "`metrics` names 'L3'"),
        ({"names": {"cosine": "angle"}}, ValueError, "`names` names 'cosine'"),
        ({"names": ["angle"]}, TypeError, "`names` must be a dict"),
        ({"axes": []}, ValueError, "`axes` must be 5, one for each panel, but there are 0"),
        ({"axes": [1] * 5}, TypeError, "`ax` must be a matplotlib Axes"),
        ({"activations_df": activations()}, ValueError, "must have one row, and has 4"),
    ],
)
def test_bad_choices_are_refused(options, error, match):
    given = {"activations_df": activations().iloc[[0]], **options}
    with pytest.raises(error, match=match):
        pfa.plot_metric_comparison(**given, show=False)


def test_bad_stacks_are_refused(stack):
    with pytest.raises(ValueError, match="`reference` names 'cka'"):
        pfa.plot_measure_comparison(stack, "cka", show=False)
    with pytest.raises(TypeError, match="`ax` must be a matplotlib Axes"):
        pfa.plot_measure_comparison(stack, ax=3, show=False)
    assert plt.get_fignums() == []
