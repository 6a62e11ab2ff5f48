"""A figure or more of each public function that draws one, of data that are written here.

Points of maps lie in a plane, so that there is one map of them and no choice between two that are
about as good; words are of Latin letters, which the font that comes with matplotlib has.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from made_stacks import make_stack
from made_study import consistency_frame, gap_pairs, model_table, similarity_stack
from PIL import Image, ImageDraw
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa

KINDS = {
    "animal": ("cat", "dog", "heron", "pike"),
    "plant": ("fern", "oak", "moss", "tulip"),
    "vehicle": ("bicycle", "bus", "tram", "lorry"),
}
INKS = {"animal": "#0072B2", "plant": "#D55E00", "vehicle": "#009E73"}
ITEMS = [(kind, name) for kind, names in KINDS.items() for name in names]
LAYERS = ("conv1", "conv3", "conv5", "fc2")

FIGURES = {}
"""By name, which starts with that of the function: what draws it, and with which function."""


def figure_of(function, what):
    """Put what draws a figure, by the function it is given, into `FIGURES`."""

    def added(draw):
        FIGURES[f"{function.__name__}-{what}"] = (draw, function)
        return draw

    return added


def drawn(name):
    """Draw the figure of this name, and return it."""
    draw, function = FIGURES[name]
    axes = np.ravel(draw(lambda *args, **kwargs: function(*args, show=False, **kwargs)))
    # `rdm_mds` returns a number.
    return axes[0].figure if isinstance(axes[0], plt.Axes) else plt.gcf()


def places(spread, seed=0):
    """Points of the items: three groups, the further apart the less they spread."""
    middles = np.array([[0, 0], [5, 1], [1.5, 3.5]]).repeat(4, axis=0)
    return middles + spread * np.random.default_rng(seed).normal(size=(12, 2))


def rdms(rows=1, spreads=(2.2, 1.5, 1.0, 0.7), scale=0.1):
    """RDMs of the items in as many layers."""
    return pd.DataFrame(
        {
            "layer": LAYERS[:rows],
            "dissim_metric": "euclidean_distance",
            "matrix": [scale * squareform(pdist(places(spreads[k]))) for k in range(rows)],
            "entry_keys": [tuple((name,) for _, name in ITEMS)] * rows,
            "entry_labels": [tuple({"item": name, "kind": kind} for kind, name in ITEMS)] * rows,
        }
    )


def pictures():
    """A picture an item: a form in the ink of its kind on paper, for each of a kind its own."""
    made = {}
    for k, (kind, name) in enumerate(ITEMS):
        picture = Image.new("RGB", (96, 72), "white")
        pen = ImageDraw.Draw(picture)
        box = [18 + 6 * (k % 4), 8, 78, 64 - 6 * (k % 4)]
        if kind == "animal":
            pen.ellipse(box, fill=INKS[kind])
        elif kind == "plant":
            pen.polygon([(48, 6), (84, 66 - 4 * (k % 4)), (12, 66)], fill=INKS[kind])
        else:
            pen.rectangle(box, fill=INKS[kind])
        made[name] = picture
    return made


def colours():
    return {name: INKS[kind] for kind, name in ITEMS}


@figure_of(pfa.rdm_mds, "labels")
def map_with_labels(draw):
    return draw(
        rdms(),
        cond_labels=True,
        color_by="kind",
        line_trajectories=[(KINDS["animal"], {"color": INKS["animal"]})],
        fig_title="Twelve things as conv1 has them",
        fig_size=4.5,
    )


@figure_of(pfa.rdm_mds, "pictures")
def map_with_pictures(draw):
    return draw(
        rdms(), cond_pics=pictures(), pic_size=0.16, color_by="kind", fig_size=4.5, plot_style=None
    )


@figure_of(pfa.rdm_mds, "repel")
def map_with_pictures_moved(draw):
    close = rdms(4, spreads=(2.2, 1.5, 1.0, 0.25)).iloc[[3]]
    return draw(
        close,
        cond_pics=pictures(),
        pic_points=26,
        add_pic_border=True,
        cond_colors=colours(),
        overlap="repel",
        fig_size=4.5,
        plot_style=None,
    )


@figure_of(pfa.rdm_mds, "3d")
def map_in_three_dimensions(draw):
    points = np.column_stack([places(1.0), np.linspace(0, 3, 12) % 1.3])
    stack = rdms().assign(matrix=[squareform(pdist(points))])
    return draw(
        stack,
        3,
        method="classical",
        cond_labels=True,
        color_by="kind",
        fig_size=4.5,
        plot_style=None,
    )


@figure_of(pfa.plot_mds_panels, "labels")
def maps_with_labels(draw):
    return draw(
        rdms(3),
        cond_labels=True,
        color_by="kind",
        names={"conv5": "last"},
        fig_title="Kinds part from layer to layer",
    )


@figure_of(pfa.plot_mds_panels, "paths")
def maps_with_pictures_and_paths(draw):
    return draw(rdms(4), cond_pics=pictures(), color_by="kind", trajectories=True, columns=3)


@figure_of(pfa.plot_shepard, "metric")
def shepard(draw):
    stack = rdms()
    return draw(stack.assign(matrix=[stack["matrix"][0] ** 0.5]), fig_title="A map of conv1")


@figure_of(pfa.plot_shepard, "nonmetric")
def shepard_of_ranks(draw):
    stack = rdms()
    return draw(stack.assign(matrix=[stack["matrix"][0] ** 2]), method="nonmetric", num_starts=2)


@figure_of(pfa.plot_rdm, "categories")
def rdm_with_categories(draw):
    return draw(
        rdms(4).iloc[[2]],
        groups="kind",
        labels=True,
        highlight=[("cat", "dog"), ([*KINDS["animal"]], [*KINDS["vehicle"]])],
        fig_title="conv5",
    )


@figure_of(pfa.plot_rdm, "pictures")
def rdm_with_pictures_and_tree(draw):
    return draw(rdms(), order="linkage", groups="kind", pictures=pictures())


@figure_of(pfa.plot_rdm, "grid")
def grid_of_rdms(draw):
    return draw(
        rdms(4),
        groups="kind",
        half=True,
        scale="rank",
        fig_title="Kinds part from layer to layer",
    )


@figure_of(pfa.plot_rdm, "linkage_grid")
def grid_of_rdms_with_tree(draw):
    return draw(rdms(3), order="linkage", groups="kind", labels=True, num_columns=3)


@figure_of(pfa.plot_stack_graph, "third_order")
def graph_of_a_stack(draw):
    stack = make_stack(np.random.default_rng(0), layers=[("conv1", 1), ("fc1", 2)])
    by = ["model", "activation_type", "dissim_metric"]
    second = pfa.get_meta_rdms(
        stack, None, ["obj", "layer"], grouping_variables=by, progress=False
    )
    by = ["model", "dissim_metric", "dissim_metric_sub"]
    third = pfa.get_meta_rdms(
        second, None, ["activation_type"], grouping_variables=by, progress=False
    )
    return draw(third, fig_title="What the third order is made of")


@figure_of(pfa.plot_heatmap, "layers")
def heatmap_of_models(draw):
    stack = similarity_stack(8).iloc[[0]]
    hole = stack["matrix"][0].copy()
    hole[5, 2] = hole[2, 5] = np.nan
    kinds = {row.model: row.objective for row in model_table(8).itertuples()}
    return draw(
        stack.assign(matrix=[hole]), order=kinds, half=True, fig_title="Eight models on imagenet"
    )


@figure_of(pfa.plot_heatmap, "table")
def heatmap_of_a_table(draw):
    values = np.linspace(-0.4, 0.9, 40).reshape(5, 8) * np.cos(np.arange(8))
    table = pd.DataFrame(
        values,
        index=pd.Index([f"conv{k}" for k in range(1, 6)], name="layers of AlexNet"),
        columns=pd.Index([f"layer{k}.0.relu" for k in range(1, 9)], name="layers of ResNet-18"),
    )
    return draw(table, bar_label="linear CKA", annotate=False)


@figure_of(pfa.plot_layers, "lines")
def layers_of_three_networks(draw):
    rows = []
    for k, model in enumerate(("trained", "untrained", "a network of another name")):
        for n, layer in enumerate(("conv1", "conv2", "conv3", "features.10.relu", "fc1")):
            r = 0.6 * np.sin(0.5 * n + 0.3) - 0.2 * k
            rows.append((model, layer, r, r - 0.08, r + 0.1, 0.62, 0.74))
    columns = ["model", "layer", "r", "ci_low", "ci_high", "ceiling_low", "ceiling_high"]
    return draw(
        pd.DataFrame(rows, columns=columns),
        lines="model",
        value_label="correlation with the reference",
        fig_title="Where the reference is found",
    )


@figure_of(pfa.plot_montage, "pictures")
def montage(draw):
    return draw(pictures(), [name for _, name in ITEMS], columns=5, fig_title="All stimuli")


def activations():
    """Two representations that share much, and two that are made of the first."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 6)) * np.linspace(1, 3, 6)
    y = x[:, :5] + rng.normal(size=(24, 5))
    return pd.DataFrame(
        {
            "layer": LAYERS,
            "activations": [x, y, np.abs(x), y**3],
            "entry_keys": [tuple(range(24))] * 4,
        }
    )


def similarities():
    measures = [("rsa", {"rdm_metric": "L2"}), "linear_cka", "procrustes_distance"]
    return pfa.get_similarity_rdms(activations(), measures, progress=False)


@figure_of(pfa.plot_metric_comparison, "rdms")
def metrics(draw):
    return draw(activations().iloc[[1]], fig_title="One layer by five metrics")


@figure_of(pfa.plot_metric_comparison, "measures")
def metrics_and_measures(draw):
    return draw(activations().iloc[[1]], similarities(), names={"linear_cka": "linear CKA"})


@figure_of(pfa.plot_measure_comparison, "points")
def measures(draw):
    return draw(similarities(), fig_title="Pairs of layers")


@figure_of(pfa.plot_model_map, "labels")
def models_on_a_map(draw):
    stack = rdms(4).iloc[[2]]
    table = pd.DataFrame(
        {"model": [name for _, name in ITEMS], "objective": [kind for kind, _ in ITEMS]}
    )
    models = tuple({"model": name} for _, name in ITEMS)
    return draw(stack.assign(entry_labels=[models]), table, "objective", labels=True)


@figure_of(pfa.plot_dataset_scatter, "kinds")
def two_datasets(draw):
    return draw(
        similarity_stack(),
        "imagenet",
        "flowers",
        model_table=model_table(),
        column="objective",
        names={"linear_cka": "linear CKA", "imagenet": "ImageNet", "Self-Supervised": "SSL"},
    )


@figure_of(pfa.plot_similarity_spread, "pairs")
def spread_over_datasets(draw):
    return draw(similarity_stack(), fig_title="Over four datasets")


@figure_of(pfa.plot_consistency_boxes, "objectives")
def boxes_of_consistency(draw):
    return draw(consistency_frame(), names={"Self-Supervised": "SSL"}, fig_title="By objective")


@figure_of(pfa.plot_similarity_against_gap, "datasets")
def gaps(draw):
    return draw(gap_pairs(), names={"linear_cka": "linear CKA"}, fig_title="Gaps in accuracy")


@figure_of(pfa.plot_sample_sizes, "bias")
def sample_sizes(draw):
    rows = []
    for k, measure in enumerate(("linear_cka", "linear_cka(debiased=True)", "svcca")):
        for pair in range(5):
            for n in (50, 100, 200, 500, 1000, 2000):
                bias = (1 + 0.2 * pair) * (4, 0.5, 9)[k] / n * (1, -1, 1)[k]
                rows.append((measure, n, "conv1", f"conv{pair + 2}", 0.5 + bias, 0.1, 0.5, bias))
    columns = ["measure", "n_stimuli", "layer_1", "layer_2", "mean", "sd", "full", "bias"]
    return draw(pd.DataFrame(rows, columns=columns))
