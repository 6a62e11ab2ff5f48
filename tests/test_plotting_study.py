"""Figures of a study of many models: what is drawn, by what numbers, and where it is written."""

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_study import (
    OBJECTIVES,
    consistency_frame,
    gap_pairs,
    model_table,
    objectives_of,
    similarity_stack,
    with_cells,
    with_order,
)
from PIL import Image

import pytorch_feature_analysis as pfa


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def in_words(r):
    return f"r = {r:z.2f}".replace("-", "\N{MINUS SIGN}")


def points_of(ax):
    return [cloud.get_offsets() for cloud in ax.collections]


def is_whole(path):
    """What is cut off reaches the edge; here it is paper."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return all(
        (edge == 255).all() for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    )


def overlaps(ax):
    """Pairs of the texts on a figure that lie on each other, those of ticks in view included."""
    figure = ax.figure
    figure.draw_without_rendering()
    hidden = {
        tick.label1
        for own in figure.axes
        for axis in (own.xaxis, own.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    texts = [
        text
        for text in figure.findobj(plt.Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]
    boxes = [text.get_window_extent() for text in texts]
    return [
        (texts[i].get_text(), texts[j].get_text())
        for i in range(len(texts))
        for j in range(i)
        if boxes[i].overlaps(boxes[j])
    ]


def frame_of(values):
    """Consistency over a dataset pair a value, of the set pairs named in a dict."""
    return pd.DataFrame(
        [
            {"by": by, "set_1": one, "set_2": other, "r": r}
            for (by, one, other), own in values.items()
            for r in own
        ]
    )


def sensitivity():
    """Two pairs of layers at three sizes, whose values are seen at once."""
    return pd.DataFrame(
        [
            {
                "measure": measure,
                "n_stimuli": n,
                "layer_1": "a",
                "layer_2": other,
                "mean": mean,
                "sd": 1 / n,
                "bias": mean - 0.5,
            }
            for measure, add in (("linear_cka", 0.2), ("nbs", 0.0))
            for other, more in (("b", 0.0), ("c", 0.1))
            for n, mean in ((100, 0.5 + more), (10, 0.5 + 2 * add), (30, 0.5 + add + more))
        ]
    )


FIGURES = {
    "scatter": lambda **options: pfa.plot_dataset_scatter(
        similarity_stack(),
        "imagenet",
        "clevr",
        model_table=model_table(),
        column="objective",
        **options,
    ),
    "spread": lambda **options: pfa.plot_similarity_spread(
        similarity_stack(), model_table=model_table(), column="objective", **options
    ),
    "boxes": lambda **options: pfa.plot_consistency_boxes(consistency_frame(), **options),
    "map": lambda **options: pfa.plot_model_map(
        similarity_stack().iloc[[0]], model_table(), "objective", **options
    ),
    "sizes": lambda **options: pfa.plot_sample_sizes(sensitivity(), **options),
    "gaps": lambda **options: pfa.plot_similarity_against_gap(gap_pairs(), **options)[0],
    "ordered": lambda **options: pfa.plot_heatmap(
        similarity_stack().iloc[[0]], order="linkage", **options
    ),
    "grouped": lambda **options: pfa.plot_heatmap(
        similarity_stack().iloc[[0]],
        order=objectives_of(model_table()),
        **options,
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_written_whole_and_closed(name, tmp_path):
    for suffix in ("png", "pdf"):
        FIGURES[name](fig_title="A title", show=False, save_opts=tmp_path / f"figure.{suffix}")
        assert (tmp_path / f"figure.{suffix}").stat().st_size > 1000
    assert is_whole(tmp_path / "figure.png")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another(name):
    ax = FIGURES[name](show=False)
    assert overlaps(ax) == []


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "gaps"])
def test_each_figure_is_drawn_where_it_is_told(name):
    figure, ax = plt.subplots()
    assert FIGURES[name](ax=ax, show=False) is ax
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", FIGURES)
def test_a_path_that_cannot_be_written_is_found_before_anything_is_drawn(name):
    with pytest.raises(ValueError, match="`save_opts` names 'docx'"):
        FIGURES[name](show=False, save_opts="figure.docx")
    assert plt.get_fignums() == []


LONG = {
    "Supervised": "supervised learning of a thousand classes of photographs",
    "Self-Supervised": "learning from two views of each image without any label",
    "Image-Text": "image_and_text_pairs_that_were_collected_from_the_whole_of_the_web",
}


@pytest.mark.parametrize("name", ["scatter", "spread", "boxes", "map"])
def test_long_names_and_titles_take_lines_and_are_whole(name, tmp_path):
    options = {"names": LONG, "fig_title": "A title that needs a line or two " * 2}
    ax = FIGURES[name](**options, show=False)
    assert overlaps(ax) == []
    assert ax.get_title().count("\n") >= 1
    assert (ax.bbox.size > 0.3 * ax.figure.bbox.width).all()
    FIGURES[name](**options, show=False, save_opts=tmp_path / "figure.png")
    assert is_whole(tmp_path / "figure.png")


@pytest.mark.parametrize("shown", ["bias", "change"])
def test_sizes_and_measures_with_long_names_are_whole(shown, tmp_path):
    measures = {"linear_cka": "linear centred kernel alignment, " * 3, "nbs": "Bures"}
    sizes = pd.concat([sensitivity().assign(n_stimuli=n) for n in (1000, 5000, 10_000, 100_000)])
    ax = pfa.plot_sample_sizes(sizes, shown, names=measures, show=False)
    assert overlaps(ax) == []
    pfa.plot_sample_sizes(
        sizes, shown, names=measures, show=False, save_opts=tmp_path / "figure.png"
    )
    assert is_whole(tmp_path / "figure.png")


def test_titles_of_panels_keep_to_their_panels():
    names = {
        "pets": "pets, of which there are cats and dogs in many poses",
        "flowers": "flora " * 9,
    }
    axes = pfa.plot_similarity_against_gap(gap_pairs(), names=names, show=False)
    assert overlaps(axes[0]) == []


def test_points_in_the_legend_are_larger_than_many_small_ones():
    ax = FIGURES["scatter"](show=False)
    for handle, cloud in zip(ax.get_legend().legend_handles, ax.collections, strict=True):
        assert handle.get_sizes() > 1.5 * cloud.get_sizes()
        assert handle.get_alpha() == 1
        np.testing.assert_array_equal(handle.get_facecolor()[0, :3], cloud.get_facecolor()[0, :3])


def test_short_lines_of_the_legend_stand_side_by_side():
    ax = FIGURES["map"](show=False)
    assert len({text.get_window_extent().y0 for text in ax.get_legend().get_texts()}) == 1


# Pairs on two datasets.


def test_a_point_is_a_pair_on_both_datasets_whatever_the_order_of_models():
    stack = similarity_stack()
    turned = with_order(stack, 1, list(range(12))[::-1])
    above = np.triu_indices(12, k=1)
    x, y = (1 - stack["matrix"][k][above] for k in (0, 1))
    ax = pfa.plot_dataset_scatter(turned, "imagenet", "flowers", show=False)
    (drawn,) = points_of(ax)
    np.testing.assert_allclose(drawn, np.column_stack([x, y]))
    assert [text.get_text() for text in ax.texts] == [f"r = {np.corrcoef(x, y)[0, 1]:.2f}"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "linear_cka on imagenet",
        "linear_cka on flowers",
    )
    assert ax.get_xlim() == ax.get_ylim()


def test_similarities_and_their_dissimilarities_are_drawn_alike():
    stack = similarity_stack()
    drawn = [
        points_of(pfa.plot_dataset_scatter(one, "pets", "clevr", show=False))[0]
        for one in (stack, pfa.to_similarity(stack))
    ]
    np.testing.assert_allclose(*drawn)


def test_distances_are_drawn_as_they_are():
    stack = similarity_stack().assign(dissim_metric="procrustes_distance")
    ax = pfa.plot_dataset_scatter(stack, "imagenet", "pets", show=False)
    np.testing.assert_allclose(points_of(ax)[0][0], [stack["matrix"][k][0, 1] for k in (0, 2)])


def test_kinds_of_pairs_have_their_own_r():
    frame = consistency_frame()
    here = frame[(frame["dataset_1"] == "imagenet") & (frame["dataset_2"] == "clevr")]
    here = here[here["by"] == "objective"]
    ax = FIGURES["scatter"](names={"Self-Supervised": "SSL", "imagenet": "IN"}, show=False)
    expected = [
        f"{one} \N{EN DASH} {other}, {in_words(r)}".replace("Self-Supervised", "SSL")
        for one, other, r in zip(here["set_1"], here["set_2"], here["r"], strict=True)
    ]
    assert legend_of(ax) == expected
    assert [len(points) for points in points_of(ax)] == here["n_pairs"].tolist()
    assert ax.get_xlabel() == "linear_cka on IN"
    looks = {
        (tuple(cloud.get_facecolor()[0]), cloud.get_paths()[0].vertices.tobytes())
        for cloud in ax.collections
    }
    assert len(looks) == 6


def test_two_pairs_have_no_r_and_models_without_a_category_are_named():
    table = model_table(5)
    table.loc[4, "objective"] = None
    stack = similarity_stack(n_models=5)
    ax = pfa.plot_dataset_scatter(
        stack, "imagenet", "pets", model_table=table, column="objective", show=False
    )
    assert "Supervised \N{EN DASH} Supervised" in legend_of(ax)
    assert "Supervised \N{EN DASH} (none)" in legend_of(ax)


def test_missing_cells_and_shuffles_are_left_out():
    stack = similarity_stack()
    matrix = stack["matrix"][0].copy()
    matrix[0, 1] = matrix[1, 0] = np.nan
    stack = with_cells(stack, 0, matrix=matrix).assign(perm="orig_data")
    both = pd.concat([stack, stack.assign(perm=1)], ignore_index=True)
    ax = pfa.plot_dataset_scatter(both, "imagenet", "pets", show=False)
    assert len(points_of(ax)[0]) == 65
    assert len(points_of(pfa.plot_similarity_spread(both, show=False))[0]) == 65


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({}, {"dataset_1": "pet"}, "`dataset_1` names 'pet'.* Did you mean 'pets'"),
        ({}, {"dataset_2": "cars"}, "There are: imagenet, flowers, pets, clevr"),
        ({}, {"dataset_variable": "data"}, "`similarity_df` has no column 'data'"),
        ({}, {"column": "objective"}, "`model_table` and `column` belong together"),
        (
            {},
            {"model_table": model_table(), "column": "size"},
            "`column` names 'size'.* There is: objective",
        ),
        (
            {},
            {"model_table": model_table(9), "column": "objective"},
            "`model_table` has no row of 'm9', 'm10', 'm11'",
        ),
        (
            {},
            {"model_table": pd.concat([model_table()] * 2), "column": "objective"},
            "more than one row of 'm0'",
        ),
        (
            {},
            {"model_table": model_table().set_index("model"), "column": "objective"},
            "`model_table` has no column 'model'",
        ),
        ({}, {"names": {"cars": "Cars"}}, "`names` names 'cars'"),
        ({"n_models": 2}, {}, "`similarity_df` has 1 pair of models .* at least 3"),
    ],
)
def test_bad_choices_of_datasets_and_models_are_refused(change, options, match):
    given = {"dataset_1": "imagenet", "dataset_2": "pets", **options}
    with pytest.raises(ValueError, match=match):
        pfa.plot_dataset_scatter(similarity_stack(**change), **given, show=False)
    assert plt.get_fignums() == []


def test_one_of_several_measures_must_be_taken():
    stack = similarity_stack()
    both = pd.concat([stack, stack.assign(dissim_metric="nbs")], ignore_index=True)
    with pytest.raises(ValueError, match=r"`similarity_df` must have one row.*dissim_metric"):
        pfa.plot_dataset_scatter(both, "imagenet", "pets", show=False)
    with pytest.raises(ValueError, match=r"`similarity_df` must have one row.*dissim_metric"):
        pfa.plot_similarity_spread(both, show=False)
    stack.loc[2, "dissim_metric"] = "nbs"
    with pytest.raises(ValueError, match="'imagenet' by 'linear_cka' and 'pets' by 'nbs'"):
        pfa.plot_dataset_scatter(stack, "imagenet", "pets", show=False)


def test_the_spread_of_a_pair_is_its_mean_and_sd():
    stack = similarity_stack()
    before = stack.copy()
    ax = pfa.plot_similarity_spread(stack, names={"linear_cka": "CKA"}, show=False)
    values = np.array([1 - matrix[0, 1] for matrix in stack["matrix"]])
    (drawn,) = points_of(ax)
    np.testing.assert_allclose(drawn[0], [values.mean(), values.std(ddof=1)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mean CKA over 4 datasets", "sd of CKA")
    pd.testing.assert_frame_equal(stack, before)


# Consistency.


def test_boxes_have_the_quartiles_and_the_highest_median_is_on_top():
    values = {
        ("objective", "SSL", "SSL"): [0.1, 0.2, 0.3, 0.4, 0.5],
        ("objective", "SSL", "Sup"): [0.5, 0.6, 0.7, 0.8, 0.9],
        ("objective", "Sup", "Sup"): [0.3, 0.4, 0.5, 0.6, 0.7],
        ("all", "all", "all"): [0.2, 0.4, 0.6, 0.8, 1.0],
    }
    ax = pfa.plot_consistency_boxes(frame_of(values), names={"Sup": "supervised"}, show=False)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [
        "SSL \N{EN DASH} supervised",
        "supervised \N{EN DASH} supervised",
        "SSL \N{EN DASH} SSL",
    ]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    band, *boxes = ax.patches
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.4, 0.8))
    ends = [box.get_path().vertices[:, 0] for box in boxes]
    assert [(x.min(), x.max()) for x in ends] == [
        pytest.approx(pair) for pair in [(0.6, 0.8), (0.4, 0.6), (0.2, 0.4)]
    ]
    assert ax.lines[0].get_xdata()[0] == pytest.approx(0.6)


def test_consistency_without_rows_of_all_has_no_band():
    frame = consistency_frame()
    ax = pfa.plot_consistency_boxes(frame[frame["by"] == "objective"], show=False)
    assert len(ax.patches) == 6
    medians = frame[frame["by"] == "objective"].groupby(["set_1", "set_2"])["r"].median()
    expected = medians.sort_values(ascending=False).index
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        f"{one} \N{EN DASH} {other}" for one, other in expected
    ]


def test_sets_without_an_r_are_left_out_and_named(caplog):
    frame = frame_of({("objective", "a", "a"): [0.1, 0.2], ("objective", "b", "b"): [np.nan]})
    frame["reason"] = ["", "", "1 pair of models"]
    with caplog.at_level(logging.WARNING):
        ax = pfa.plot_consistency_boxes(frame, show=False)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a \N{EN DASH} a"]
    assert "There is no r of b \N{EN DASH} b (1 pair of models): left out." in caplog.text
    with pytest.raises(ValueError, match=r"no r to draw \(1 pair of models\)"):
        pfa.plot_consistency_boxes(frame.iloc[2:], show=False)


def test_bad_consistency_frames_are_refused():
    frame = consistency_frame()
    with pytest.raises(ValueError, match=r"no column 'r'; it must be .* `get_consistency`"):
        pfa.plot_consistency_boxes(frame.drop(columns="r"), show=False)
    with pytest.raises(TypeError, match="`consistency_df` must be a pandas DataFrame, not list"):
        pfa.plot_consistency_boxes([], show=False)
    with pytest.raises(ValueError, match=r"`by` names 'size'.* There is: objective"):
        pfa.plot_consistency_boxes(frame, "size", show=False)
    two = pd.concat([frame, frame[frame["by"] != "all"].assign(by="size_class")])
    with pytest.raises(ValueError, match=r"`by` must be said, .* 'objective', 'size_class'"):
        pfa.plot_consistency_boxes(two, show=False)
    with pytest.raises(ValueError, match=r"`by` must be said, .* nothing but all models"):
        pfa.plot_consistency_boxes(frame[frame["by"] == "all"], show=False)
    measures = pd.concat([frame, frame.assign(dissim_metric="nbs")])
    with pytest.raises(ValueError, match="several values of 'dissim_metric': 'linear_cka', 'nbs'"):
        pfa.plot_consistency_boxes(measures, show=False)
    with pytest.raises(ValueError, match=r"several rows of .* on one pair of datasets"):
        pfa.plot_consistency_boxes(pd.concat([frame, frame]), show=False)
    with pytest.raises(ValueError, match="`consistency_df` has no rows"):
        pfa.plot_consistency_boxes(frame.iloc[:0], show=False)


# The map.


def test_models_are_where_scaling_puts_them_in_the_colours_of_their_category():
    stack = similarity_stack().iloc[[0]]
    ax = FIGURES["map"](names={"Self-Supervised": "SSL"}, show=False)
    assert legend_of(ax) == ["Supervised", "SSL", "Image-Text"]
    coordinates = pfa.mds_coordinates(stack)[["dim1", "dim2"]].to_numpy()
    for k, drawn in enumerate(points_of(ax)):
        own = coordinates[k::3]
        # Moved and scaled alike: distances keep their proportions.
        ratio = np.linalg.norm(np.diff(drawn, axis=0), axis=1)
        ratio /= np.linalg.norm(np.diff(own, axis=0), axis=1)
        np.testing.assert_allclose(ratio, 1 / np.ptp(coordinates, axis=0).max())
        assert len(drawn) == 4
    (note,) = [text.get_text() for text in ax.texts]
    assert note.startswith("MDS, stress-1 0.")


def test_similarities_have_the_map_of_their_dissimilarities():
    stack = similarity_stack().iloc[[0]]
    maps = [
        points_of(pfa.plot_model_map(one, model_table(), "objective", show=False))
        for one in (stack, pfa.to_similarity(stack))
    ]
    np.testing.assert_allclose(*maps)


def t_sne_of(stack, **options):
    return pfa.plot_model_map(stack, model_table(), "objective", method="tsne", **options)


def test_neighbours_stay_together_in_t_sne_which_is_the_same_twice():
    # Three groups, far from each other.
    groups = np.arange(12) % 3
    matrix = np.where(groups[:, None] == groups, 0.1, 1.0)
    np.fill_diagonal(matrix, 0)
    stack = pd.DataFrame({"matrix": [matrix], "entry_keys": [[f"m{k}" for k in range(12)]]})
    twice = [
        points_of(t_sne_of(stack, perplexity=perplexity, show=False)) for perplexity in (3, 3, 50)
    ]
    np.testing.assert_array_equal(twice[0], twice[1])
    places = np.concatenate(twice[0])
    own = np.repeat(np.arange(3), 4)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (own[distances.argmin(axis=1)] == own).all()


def test_labels_name_the_models_and_keep_clear_of_each_other(tmp_path):
    ax = FIGURES["map"](labels=True, show=False)
    assert {f"m{k}" for k in range(12)} <= {text.get_text() for text in ax.texts}
    assert overlaps(ax) == []
    FIGURES["map"](labels=True, show=False, save_opts=tmp_path / "map.png")
    assert is_whole(tmp_path / "map.png")


def test_bad_maps_are_refused():
    stack, table = similarity_stack(), model_table()
    with pytest.raises(ValueError, match="must have one row, and has 4"):
        pfa.plot_model_map(stack, table, "objective", show=False)
    with pytest.raises(ValueError, match="`method` names 'umap'"):
        pfa.plot_model_map(stack.iloc[[0]], table, "objective", method="umap", show=False)
    with pytest.raises(ValueError, match="`perplexity` must be above 0"):
        pfa.plot_model_map(stack.iloc[[0]], table, "objective", perplexity=0, show=False)
    with pytest.raises(ValueError, match="has no row of 'm11'"):
        pfa.plot_model_map(stack.iloc[[0]], table.iloc[:11], "objective", show=False)
    few = similarity_stack(n_models=2).iloc[[0]]
    with pytest.raises(ValueError, match="t-SNE needs at least three items, and there are 2"):
        t_sne_of(few, show=False)
    hole = np.array(stack["matrix"][0])
    hole[0, 1] = hole[1, 0] = np.nan
    holed = with_cells(stack, 0, matrix=hole).iloc[[0]]
    with pytest.raises(ValueError, match="dissimilarities of all pairs"):
        t_sne_of(holed, show=False)


# Similarity and accuracy.


def test_each_dataset_has_a_panel_of_its_pairs():
    pairs = gap_pairs()
    axes = pfa.plot_similarity_against_gap(
        pairs, ["pets", "imagenet"], names={"imagenet": "ImageNet"}, show=False
    )
    assert [ax.get_title() for ax in axes] == ["pets", "ImageNet"]
    for ax, dataset in zip(axes, ["pets", "imagenet"], strict=True):
        own = pairs[pairs["dataset"] == dataset]
        np.testing.assert_array_equal(points_of(ax)[0], own[["gap", "similarity"]])
        np.testing.assert_array_equal(
            ax.collections[0].get_array(), own[["accuracy_1", "accuracy_2"]].max(axis=1)
        )
        r = np.corrcoef(own["gap"], own["similarity"])[0, 1]
        assert ax.texts[0].get_text() == in_words(r)
    assert axes[0].get_xlim() == axes[1].get_xlim()
    assert axes[0].collections[0].get_clim() == axes[1].collections[0].get_clim()


def test_panels_may_be_axes_of_ones_own():
    pairs = gap_pairs().drop(columns="accuracy_2")
    _, axes = plt.subplots(2, 2)
    drawn = pfa.plot_similarity_against_gap(pairs, axes=list(axes.flat), show=False)
    assert drawn == list(axes.flat)
    assert {ax.get_ylabel() for ax in drawn} == {"linear_cka"}
    with pytest.raises(ValueError, match="`axes` must be 4, one for each panel, but there are 1"):
        pfa.plot_similarity_against_gap(pairs, axes=[axes[0, 0]], show=False)


def test_bad_pairs_are_refused():
    pairs = gap_pairs()
    with pytest.raises(ValueError, match=r"no column 'gap'; .*`get_performance_gaps`"):
        pfa.plot_similarity_against_gap(pairs.drop(columns="gap"), show=False)
    with pytest.raises(ValueError, match=r"`datasets` names 'pet'.* There are: imagenet, flowers"):
        pfa.plot_similarity_against_gap(pairs, ["pet"], show=False)
    with pytest.raises(ValueError, match="`datasets` is empty"):
        pfa.plot_similarity_against_gap(pairs, [], show=False)
    with pytest.raises(ValueError, match="'imagenet' in `pairs_df` has 2 pairs"):
        pfa.plot_similarity_against_gap(pairs.iloc[:2], show=False)
    measures = pd.concat([pairs, pairs.assign(dissim_metric="nbs")])
    with pytest.raises(ValueError, match="several values of 'dissim_metric'"):
        pfa.plot_similarity_against_gap(measures, show=False)


# Numbers of stimuli.


@pytest.mark.parametrize(
    ("shown", "sizes", "medians", "quartiles"),
    [
        # Of two pairs, b and c; the first quartile is a quarter of the way from one to the other.
        ("bias", [10, 30, 100], [0.4, 0.25, 0.05], [0.4, 0.225, 0.025]),
        ("mean", [10, 30, 100], [0.9, 0.75, 0.55], [0.9, 0.725, 0.525]),
        ("sd", [10, 30, 100], [0.1, 1 / 30, 0.01], [0.1, 1 / 30, 0.01]),
        ("change", [30, 100], [0.15, 0.2], [0.125, 0.2]),
    ],
)
def test_lines_are_medians_over_pairs(shown, sizes, medians, quartiles):
    table = sensitivity()
    before = table.copy()
    ax = pfa.plot_sample_sizes(table, shown, names={"linear_cka": "CKA"}, show=False)
    line = next(line for line in ax.lines if line.get_label() == "CKA")
    assert list(line.get_xdata()) == sizes
    assert list(line.get_ydata()) == pytest.approx(medians)
    band = ax.collections[0].get_paths()[0].vertices
    lowest = [band[band[:, 0] == size, 1].min() for size in sizes]
    assert lowest == pytest.approx(quartiles)
    assert legend_of(ax) == ["CKA", "nbs"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [str(size) for size in sizes]
    pd.testing.assert_frame_equal(table, before)


def test_crowded_sizes_are_ticks_without_names():
    many = pd.concat([sensitivity().assign(n_stimuli=n) for n in (1000, 1010, 5000)])
    ax = pfa.plot_sample_sizes(many, show=False)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["", "1,010", "5,000"]


def test_bad_tables_of_sizes_are_refused():
    table = sensitivity()
    with pytest.raises(ValueError, match=r"no column 'bias'; .* `sample_size_sensitivity`"):
        pfa.plot_sample_sizes(table.drop(columns="bias"), show=False)
    with pytest.raises(ValueError, match=r"`shown` names 'error'.* bias, mean, sd, change"):
        pfa.plot_sample_sizes(table, "error", show=False)
    with pytest.raises(ValueError, match="one number of stimuli alone"):
        pfa.plot_sample_sizes(table[table["n_stimuli"] == 10], "change", show=False)
    with pytest.raises(ValueError, match="`names` names 'svcca'"):
        pfa.plot_sample_sizes(table, names={"svcca": "SVCCA"}, show=False)
    assert plt.get_fignums() == []


# Heat maps in order.


def drawn_names(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_a_heat_map_is_ordered_by_linkage_or_by_a_list():
    row = similarity_stack().iloc[[0]]
    order = pfa.linkage_order(row)
    names = [key for (key,) in order]
    for given in ("linkage", order, names):
        ax = pfa.plot_heatmap(row, order=given, show=False)
        assert drawn_names(ax) == names
        places = [int(name[1:]) for name in names]
        np.testing.assert_array_equal(
            ax.images[0].get_array(), row["matrix"].item()[np.ix_(places, places)]
        )
    assert names != [f"m{k}" for k in range(12)]


def test_groups_stand_together_with_lines_between_and_rectangles_keep_the_order():
    row = similarity_stack(n_models=6).iloc[[0]]
    said = objectives_of(model_table(6))
    ax = pfa.plot_heatmap(row, order=said, show=False)
    assert drawn_names(ax) == ["m0", "m3", "m1", "m4", "m2", "m5"]
    assert [line.get_ydata()[0] for line in ax.lines[:2]] == [1.5, 3.5]
    assert [line.get_xdata()[0] for line in ax.lines[2:]] == [1.5, 3.5]
    ax = pfa.plot_heatmap(row, {"model": ["m4", "m0", "m3"]}, order=said, show=False)
    assert drawn_names(ax) == ["m0", "m3", "m4"]
    assert len(OBJECTIVES) == len(ax.lines)


def test_entries_of_one_label_stand_together():
    row = similarity_stack(n_models=4).iloc[[0]].copy()
    kinds = [{"model": f"m{k}", "kind": "xy"[k % 2]} for k in range(4)]
    row["entry_labels"] = [tuple(kinds)]
    ax = pfa.plot_heatmap(row, order="kind", show=False)
    assert drawn_names(ax) == ["m0, x", "m2, x", "m1, y", "m3, y"]
    assert [line.get_ydata()[0] for line in ax.lines[:1]] == [1.5]


def test_bad_orders_are_refused():
    row = similarity_stack(n_models=3).iloc[[0]]
    with pytest.raises(ValueError, match=r"`order` must be 'linkage', .* not 'average'"):
        pfa.plot_heatmap(row, order="average", show=False)
    with pytest.raises(ValueError, match=r"names \('m9',\) that is no entry, and lacks \('m2',\)"):
        pfa.plot_heatmap(row, order=["m0", "m1", "m9"], show=False)
    with pytest.raises(ValueError, match="must name every entry once"):
        pfa.plot_heatmap(row, order=["m0", "m1", "m2", "m0"], show=False)
    with pytest.raises(ValueError, match=r"lacks \('m2',\)"):
        pfa.plot_heatmap(row, order={"m0": "a", "m1": "b"}, show=False)
