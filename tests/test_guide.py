"""The calls of the user's guide, as they stand there, with random weights in place of trained."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import nn

import pytorch_feature_analysis as pfa

COLOURS = {"000": "crimson", "120": "seagreen", "240": "royalblue", "300": "orchid"}
ALEXNET_BOOK = (
    "conv1 1, relu1 2, maxpool1 3, conv2 4, relu2 5, maxpool2 6, conv3 7, relu3 8, conv4 9, "
    "relu4 10, conv5 11, relu5 12, maxpool3 13, avgpool1 14, dropout1 15, fc1 16, relu6 17, "
    "dropout2 18, fc2 19, relu7 20, fc3 21"
)
COLUMNS = [
    "df_name",
    "model",
    "layer",
    "layer_num",
    "layer_label",
    "dissim_metric",
    "activation_type",
    "matrix",
    "entry_keys",
    "entry_labels",
    "kernel_set_name",
    "kernel_inds",
    "perm",
    "perm_scramble",
    "dissim_rankings",
    "obj",
]
META_COLUMNS = [
    "activation_type",
    "df_name",
    "dissim_metric",
    "dissim_metric_sub",
    "dissim_rankings",
    "entry_keys",
    "entry_keys_sub",
    "entry_labels",
    "entry_labels_sub",
    "entry_var_subset",
    "layer",
    "matrix",
    "model",
    "perm",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four objects in four colours, drawn."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(1, 5):
        for name, colour in COLOURS.items():
            image = Image.new("RGB", (120, 120), "white")
            draw = ImageDraw.Draw(image)
            draw.regular_polygon((60, 60, 20 + 8 * number), number + 2, fill=colour)
            (folder / f"obj00{number}").mkdir(exist_ok=True)
            image.save(folder / f"obj00{number}" / f"obj00{number}_{name}.png")
    return folder


@pytest.fixture(scope="module")
def image_sets(folder):
    return [
        (
            {"obj": f"obj00{number}"},
            {(c,): str(folder / f"obj00{number}" / f"obj00{number}_{c}.png") for c in COLOURS},
            ("color",),
            [],
        )
        for number in range(1, 5)
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    checkpoint = tmp_path_factory.mktemp("weights") / "resnet50_x.pth.tar"
    weights = torchvision.models.resnet50(weights=None).state_dict()
    torch.save({"state_dict": {f"module.{key}": w for key, w in weights.items()}}, checkpoint)
    return pfa.prepare_models(
        {
            "alexnet": ("alexnet", "random"),
            "alexnet_random": ("alexnet", "random"),
            "vgg19": ("vgg19", "random"),
            "resnet50_x": ("resnet50", str(checkpoint)),
        }
    )


@pytest.fixture(scope="module")
def rdm_df(image_sets, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "demo_rdm.p"
    return pfa.get_rdms(
        image_sets,
        models,
        out,
        "one_object_color_rdms",
        dissim_metrics=["corr", "euclidean_distance"],
        progress=False,
    )


def test_the_address_book_of_alexnet_is_that_of_the_guide(models):
    book = pfa.fetch_layers(models["alexnet"])
    assert ", ".join(f"{name} {number}" for name, number in book) == ALEXNET_BOOK
    assert book["conv1", 1] == ["features", 0]
    assert book["avgpool1", 14] == ["avgpool"]
    assert book["fc3", 21] == ["classifier", 6]
    layer = pfa.index_nested(models["alexnet"]._modules, book["fc2", 19])
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (4096, 4096)


def test_the_stack_has_the_rows_and_columns_of_the_guide(rdm_df):
    assert rdm_df.shape == (3472, 16)
    assert list(rdm_df.columns) == COLUMNS
    n_layers = rdm_df.groupby("model")["layer_label"].nunique()
    assert n_layers.to_dict() == {
        "alexnet": 22,
        "alexnet_random": 22,
        "vgg19": 46,
        "resnet50_x": 127,
    }
    first = rdm_df.iloc[0]
    assert (first["model"], first["layer_label"]) == ("alexnet", ("original_rgb", 0))
    assert first["entry_labels"][0] == {"color": "000"}


def test_the_rows_come_in_the_order_of_the_guide(rdm_df):
    head = rdm_df.head(8)[["layer", "dissim_metric", "activation_type"]].to_numpy().tolist()
    assert head == [
        [layer, metric, kind]
        for layer in ("original_rgb", "conv1")
        for metric in ("corr", "euclidean_distance")
        for kind in ("unit_level", "feature_means")
    ]
    assert rdm_df["obj"].drop_duplicates().tolist() == ["obj001", "obj002", "obj003", "obj004"]


def test_conv1_is_not_overwritten_by_the_relu_behind_it(rdm_df, models, image_sets):
    def matrix(layer):
        return pfa.df_filter(
            rdm_df,
            [
                ("model", "alexnet"),
                ("layer", layer),
                ("activation_type", "unit_level"),
                ("obj", "obj001"),
                ("dissim_metric", "corr"),
                ("activation_type", "unit_level"),
            ],
        )["matrix"].item()

    assert not np.allclose(matrix("conv1"), matrix("relu1"))
    # An independent forward pass: torch on the preprocessed images, numpy on what comes out.
    model = models["alexnet"]
    paths = list(image_sets[0][1].values())
    images = torch.stack([model.preprocessing(pfa.load_image(path)) for path in paths])
    with torch.no_grad():
        conv1 = model.features[0](images)
    assert conv1.min() < 0
    expected = 1 - np.corrcoef(conv1.flatten(1).double())
    np.testing.assert_allclose(matrix("conv1"), expected, atol=1e-6)


def test_unit_level_of_the_image_is_all_its_pixels_and_feature_means_its_three_channels(
    rdm_df, models, image_sets
):
    model = models["vgg19"]
    images = [model.preprocessing(pfa.load_image(path)) for path in image_sets[2][1].values()]
    pixels = np.stack([image.numpy() for image in images]).astype(float)
    patterns = {"unit_level": pixels.reshape(4, -1), "feature_means": pixels.mean(axis=(2, 3))}
    assert patterns["unit_level"].shape[1] == 3 * 224 * 224
    for kind, rows in patterns.items():
        row = pfa.df_filter(
            rdm_df,
            [
                ("model", "vgg19"),
                ("layer", "original_rgb"),
                ("activation_type", kind),
                ("obj", "obj003"),
                ("dissim_metric", "euclidean_distance"),
            ],
        )
        expected = np.linalg.norm(rows[:, None] - rows[None, :], axis=-1)
        np.testing.assert_allclose(row["matrix"].item(), expected, rtol=1e-9, atol=1e-9)


def test_higher_orders_have_the_counts_of_the_guide_and_plots_return_the_stress(
    rdm_df, image_sets, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    alexnet = pfa.df_subset(rdm_df, [("model", "alexnet")])
    by_object = pfa.get_meta_rdms(
        alexnet,
        "demo_meta.p",
        dissim_metrics=["corr", "euclidean_distance"],
        entry_variables=["obj"],
        grouping_variables=["model", "layer", "activation_type", "dissim_metric"],
        df_name="by_object",
    )
    assert by_object.shape == (176, 14)
    assert list(by_object.columns) == META_COLUMNS
    meta_rdm = pfa.get_meta_rdms(
        alexnet,
        "demo_meta.p",
        dissim_metrics=["corr", "euclidean_distance"],
        entry_variables=["obj", "layer"],
        grouping_variables=["model", "activation_type", "dissim_metric"],
        df_name="by_object_and_layer",
    )
    assert len(meta_rdm) == 8
    assert {len(keys) for keys in meta_rdm["entry_keys"]} == {88}
    third = pfa.get_meta_rdms(
        meta_rdm,
        "demo_meta_meta.p",
        dissim_metrics=["corr", "euclidean_distance"],
        entry_variables=["activation_type"],
        grouping_variables=["model", "dissim_metric", "dissim_metric_sub"],
        df_name="third",
    )
    assert third.shape == (8, 15)

    # The second order by hand: correlation of the two upper triangles.
    conditions = [
        ("layer", "conv3"),
        ("activation_type", "unit_level"),
        ("dissim_metric_sub", "corr"),
        ("dissim_metric", "corr"),
    ]
    row = pfa.df_filter(by_object, conditions)
    below = pfa.df_filter(
        alexnet,
        [("layer", "conv3"), ("activation_type", "unit_level"), ("dissim_metric", "corr")],
    )
    triangles = [pfa.get_upper_triang(matrix) for matrix in below["matrix"]]
    np.testing.assert_allclose(row["matrix"].item(), 1 - np.corrcoef(triangles), atol=1e-12)

    sub_rdm, inds = pfa.get_extreme_dissims_total(row["matrix"].item(), 3)
    assert sub_rdm.shape == (3, 3)
    assert len(set(inds)) == 3

    pictures = image_sets[0][1]
    first = pfa.df_filter(
        rdm_df,
        [
            ("model", "alexnet"),
            ("layer", "conv1"),
            ("activation_type", "unit_level"),
            ("obj", "obj001"),
            ("dissim_metric", "corr"),
        ],
    )
    assert isinstance(pfa.rdm_mds(first, cond_pics=pictures), float)
    one = pfa.df_subset(
        meta_rdm,
        [
            ("activation_type", "unit_level"),
            ("dissim_metric", "corr"),
            ("dissim_metric_sub", "corr"),
        ],
    )
    keys = [("obj001", f"conv{k}") for k in range(1, 6)]
    stress = pfa.rdm_mds(one, line_trajectories=[(keys, {"linewidth": 1, "c": "black"})])
    assert stress >= 0
    import matplotlib.pyplot as plt

    plt.close("all")
