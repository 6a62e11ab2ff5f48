"""Which layers there are to capture, and what they put out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.transforms import functional

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import activations
from pytorch_feature_analysis.activations import choose_targets, time_batch

N_IMAGES = 3


class Tiny(nn.Module):
    """A convolution, one ReLU called twice in place, and a part that is never called."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(5, 2)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.relu(self.block(self.relu(self.conv(x))))
        return self.fc(self.pool(x).flatten(1))

    def values(self, x):
        """What is put out, written without anything in place."""
        conv = self.conv(x)
        block = self.block(conv.relu())
        pool = self.pool(block.relu())
        return {
            "original_rgb": x,
            "conv1": conv,
            "relu1@1": conv.relu(),
            "conv2": self.block[0](conv.relu()),
            "batchnorm1": block,
            "block": block,
            "relu1": block.relu(),
            "avgpool1": pool,
            "fc1": self.fc(pool.flatten(1)),
        }


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture
def images():
    return torch.randn(N_IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def alexnet():
    torch.manual_seed(0)
    return torchvision.models.alexnet(weights=None).eval()


def pictures(n_images=N_IMAGES, size=(8, 8)):
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
        for _ in range(n_images)
    ]


def test_all_layers_are_what_they_put_out(tiny, images):
    found = pfa.capture(tiny, images)
    assert list(found) == [
        *["original_rgb", "conv1", "relu1", "conv2", "batchnorm1", "avgpool1", "fc1"]
    ]
    with torch.no_grad():
        expected = tiny.values(images)
    for name, values in found.items():
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float32
        # oracle: the network written without anything in place
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6)
    assert found["conv1"].min() < 0


def test_alexnets_convolutions_are_not_their_relus(alexnet):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = pfa.capture(alexnet, images)
    assert list(found) == ["original_rgb", *(name for name, _ in pfa.fetch_layers(alexnet))]
    for before, after in [("conv1", "relu1"), ("conv5", "relu5"), ("fc1", "relu6")]:
        assert found[before].min() < 0
        np.testing.assert_array_equal(np.maximum(found[before], 0), found[after])
        assert (found[before] != found[after]).any()
    with torch.no_grad():  # oracles: one call of the first layer, and the whole network
        np.testing.assert_allclose(
            found["conv1"], alexnet.features[0](images), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(found["fc3"], alexnet(images), rtol=1e-4, atol=1e-5)


def test_every_call_of_a_reused_module_can_be_had(tiny, images):
    found = pfa.capture(tiny, images, calls="all")
    assert list(found)[:4] == ["original_rgb", "conv1", "relu1@1", "relu1"]
    with torch.no_grad():
        expected = tiny.values(images)
    for name in ("relu1@1", "relu1"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
    assert found["relu1@1"].shape != found["relu1"].shape
    by_name = pfa.capture(tiny, images, ["relu1@2", "relu1@1", "relu1"])
    assert list(by_name) == ["relu1@2", "relu1@1", "relu1"]
    np.testing.assert_array_equal(by_name["relu1@1"], found["relu1@1"])
    np.testing.assert_array_equal(by_name["relu1@2"], found["relu1"])
    both = pfa.capture(tiny, images, ["relu1@1", "relu1"], calls="all")
    assert list(both) == ["relu1@1", "relu1"]


def test_each_call_has_its_own_layout(tiny, images):
    targets, *_ = choose_targets(tiny, images[0], None, calls="all")
    shapes = {target.label: target.layout.shape for target in targets}
    assert shapes["relu1@1", 2] == (4, 6, 6)
    assert shapes["relu1", 2] == (5, 4, 4)


def test_layers_are_named_by_name_label_or_path(tiny, images):
    with torch.no_grad():
        expected = tiny.values(images)
    found = pfa.capture(tiny, images, ["block", ("conv2", 3), "block.0", "original_rgb", "fc"])
    assert list(found) == ["block", "conv2", "block.0", "original_rgb", "fc"]
    np.testing.assert_allclose(found["block"], expected["block"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found["conv2"], found["block.0"])
    np.testing.assert_allclose(found["fc"], expected["fc1"], rtol=1e-4, atol=1e-6)


def test_the_image_alone_needs_no_pass(tiny, images):
    tiny.register_forward_hook(lambda *_: pytest.fail("a pass that nobody asked for"))
    found = pfa.capture(tiny, images, ["original_rgb"])
    np.testing.assert_array_equal(found["original_rgb"], images)


def test_pictures_go_through_the_models_preprocessing(tiny, tmp_path):
    tiny.preprocessing = lambda image: functional.to_tensor(image) * 2 - 1
    drawn = pictures()
    for i, image in enumerate(drawn):
        image.save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(N_IMAGES)]
    tensor = torch.stack([functional.to_tensor(image) * 2 - 1 for image in drawn])
    expected = pfa.capture(tiny, tensor)
    for given in (drawn, paths, [str(path) for path in paths]):
        found = pfa.capture(tiny, given)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_the_numbers_of_an_image_depend_neither_on_its_company_nor_on_what_else_is_asked(alexnet):
    images = torch.randn(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    together = pfa.capture(alexnet, images, batch_size=4)
    alone = pfa.capture(alexnet, images[[5, 2]], ["conv3", "fc3"], batch_size=4)
    for name, values in alone.items():
        np.testing.assert_array_equal(values, together[name][[5, 2]])


def test_model_and_images_are_not_changed(tiny, images):
    tiny.train()
    tiny.block.eval()
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    flags = [module.training for module in tiny.modules()]
    kept = images.clone()
    found = pfa.capture(tiny, images)
    found["original_rgb"][:] = 0
    pfa.list_layers(tiny, input_shape=(3, 8, 8))
    assert torch.equal(images, kept)
    assert [module.training for module in tiny.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in tiny.state_dict().items())
    assert not any(module._forward_hooks for module in tiny.modules())
    assert torch.is_grad_enabled()


def test_half_precision_and_whole_numbers_come_back_as_floats(images):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).to(torch.bfloat16)
    assert pfa.capture(net, images)["conv1"].dtype == np.float32

    class Argmax(nn.Module):
        def forward(self, x):
            return x.flatten(1).argmax(1)

    found = pfa.capture(nn.Sequential(Argmax()), images)["argmax1"]
    assert found.shape == (N_IMAGES,)
    np.testing.assert_array_equal(found, images.flatten(1).argmax(1))


def test_a_layer_that_is_never_called_is_left_out_or_refused_by_name(tiny, images):
    targets, left_out, _ = choose_targets(tiny, images[0], None)
    assert left_out == ["fc2"]
    assert "fc2" not in [target.label[0] for target in targets]
    with pytest.raises(ValueError, match=r"layers of Tiny cannot be captured: fc2 \(never called"):
        pfa.capture(tiny, images, ["conv1", "fc2"])
    with pytest.raises(ValueError, match=r"of model 'mine' cannot .*list_layers\(model\) shows"):
        choose_targets(tiny, images[0], ["unused"], model_name="mine")


def test_an_output_that_cannot_be_captured_is_left_out_or_refused_by_name(images):
    class Mixing(nn.Module):
        def forward(self, x):
            return x.flatten(1).T @ x.flatten(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixing, self.relu = Mixing(), nn.ReLU()

        def forward(self, x):
            self.mixing(x)
            return self.relu(x)

    targets, (left_out,), _ = choose_targets(Net(), images[0], None)
    assert [target.label[0] for target in targets] == ["original_rgb", "relu1"]
    assert left_out.startswith("mixing1 (no one axis of its output follows the images")
    with pytest.raises(ValueError, match=r"cannot be captured: mixing \(no one axis"):
        pfa.capture(Net(), images, ["mixing"])
    with pytest.raises(ValueError, match=r"no output of Sequential can be captured: mixing1 \(no"):
        pfa.capture(nn.Sequential(Mixing()), images)


def test_a_call_that_does_not_happen_is_refused(tiny, images):
    with pytest.raises(ValueError, match=r"relu1@3 \('relu' is called 2 times a pass\)"):
        pfa.capture(tiny, images, ["relu1@3"])


def test_an_unknown_layer_is_refused_with_the_list(tiny, images):
    with pytest.raises(ValueError, match=r"'conv9'.*Its layers are: conv1, relu1, conv2"):
        pfa.capture(tiny, images, ["conv9"])


def test_two_layers_of_one_name_are_refused(images):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.conv1 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.conv1(self.first(x))

    with pytest.raises(
        ValueError, match=r"two layers that are called 'conv1': the modules 'first'"
    ):
        pfa.capture(Net(), images, [("conv1", 1), ("conv1", 2)])
    assert pfa.capture(Net(), images, [("conv1", 2)])["conv1"].shape == (N_IMAGES, 5, 4, 4)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ("one.png", TypeError, "`images` must be a list of paths or PIL images, or a tensor"),
        (Image.new("RGB", (4, 4)), TypeError, "`images` must be a list of paths or PIL images"),
        ([], ValueError, "`images` is empty"),
        (torch.zeros(0, 3, 8, 8), ValueError, "`images` is empty"),
    ],
)
def test_images_that_are_none_are_refused(tiny, given, error, match):
    with pytest.raises(error, match=match):
        pfa.capture(tiny, given)


def test_other_bad_arguments_are_refused(tiny, images):
    with pytest.raises(ValueError, match="`calls` must be 'last' or 'all', not 'first'"):
        pfa.capture(tiny, images, calls="first")
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        pfa.capture(tiny, images, batch_size=0)
    with pytest.raises(ValueError, match=r"Tiny carries no `preprocessing`"):
        pfa.capture(tiny, pictures())
    with pytest.raises(ValueError, match=r"Tiny fails on an input of shape \(4, 8, 8\): Runtime"):
        pfa.capture(tiny, torch.zeros(2, 4, 8, 8))


def test_images_of_different_sizes_are_refused_for_a_layer_that_shows_it(tiny):
    tiny.preprocessing = functional.to_tensor
    mixed = [*pictures(2), *pictures(1, size=(10, 8))]
    with pytest.raises(ValueError, match=r"different sizes .* layer 'conv1' has no one shape"):
        pfa.capture(tiny, mixed, ["conv1"])
    found = pfa.capture(tiny, mixed, ["fc1"])["fc1"]
    np.testing.assert_array_equal(found[:2], pfa.capture(tiny, mixed[:2], ["fc1"])["fc1"])


def test_one_image_gives_the_activations_of_every_layer(tiny):
    tiny.preprocessing = functional.to_tensor
    (image,) = pictures(1)
    found = pfa.get_model_activations_for_image(image, tiny)
    labels = [("original_rgb", 0), *pfa.fetch_layers(tiny)]
    assert list(found) == [label for label in labels if label[0] != "fc2"]
    with torch.no_grad():
        expected = tiny.values(functional.to_tensor(image)[None])
    for (name, _), values in found.items():
        np.testing.assert_allclose(values, expected[name][0], rtol=1e-4, atol=1e-6)
    assert found["conv1", 1].min() < 0
    assert found["conv1", 1].shape == (4, 6, 6)


def test_one_image_is_enough_for_a_network_that_drops_its_axis():
    class Squeezing(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.pool(x).squeeze())

    net = Squeezing()
    net.preprocessing = functional.to_tensor
    (image,) = pictures(1)
    found = pfa.get_model_activations_for_image(image, net)["fc1", 2]
    with torch.no_grad():
        mean = functional.to_tensor(image).mean((1, 2))
        np.testing.assert_allclose(found, net.fc(mean), rtol=1e-5)


def test_the_table_of_layers_is_as_worked_by_hand(tiny):
    table = pfa.list_layers(tiny, input_shape=(3, 8, 8))
    assert list(table) == [
        *["layer", "layer_num", "module", "type", "calls", "output_shape", "n_units"],
        *["channel_axis", "layout", "order", "fired"],
    ]
    expected = [
        ("conv1", 1, "conv", "Conv2d", 1, (4, 6, 6), 144, 0, "map", 1, True),
        ("relu1", 2, "relu", "ReLU", 2, (5, 4, 4), 80, 0, "map", 4, True),
        ("conv2", 3, "block.0", "Conv2d", 1, (5, 4, 4), 80, 0, "map", 2, True),
        ("batchnorm1", 4, "block.1", "BatchNorm2d", 1, (5, 4, 4), 80, 0, "map", 3, True),
        ("avgpool1", 5, "pool", "AdaptiveAvgPool2d", 1, (5, 1, 1), 5, 0, "map", 5, True),
        ("fc1", 6, "fc", "Linear", 1, (2,), 2, 0, "vector", 6, True),
    ]
    assert list(table.head(6).itertuples(index=False, name=None)) == expected
    unused = table.iloc[6]
    assert (unused["layer"], unused["calls"], unused["fired"]) == ("fc2", 0, False)
    columns = ["output_shape", "n_units", "channel_axis", "layout", "order"]
    assert unused[columns].isna().all()
    assert [str(table[name].dtype) for name in ("calls", "n_units", "fired")] == [
        *["int64", "Int64", "bool"]
    ]


def test_a_layer_that_fired_but_cannot_be_captured_has_no_shape():
    class Table(nn.Module):
        def forward(self, x):
            return torch.zeros(2, 7)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.flatten = Table(), nn.Flatten()

        def forward(self, x):
            self.table(x)
            return self.flatten(x)

    table = pfa.list_layers(Net(), input_shape=(3, 2, 2)).set_index("layer")
    assert table.loc["table1", ["calls", "order", "fired"]].tolist() == [1, 1, True]
    assert pd.isna(table.loc["table1", "output_shape"])
    assert table.loc["flatten1", "output_shape"] == (12,)


def test_the_input_is_what_the_preprocessing_makes_or_that_of_imagenet(tiny):
    table = pfa.list_layers(tiny)
    assert table.loc[0, "output_shape"] == (4, 222, 222)
    tiny.preprocessing = lambda image: functional.to_tensor(image.resize((20, 10)))
    assert pfa.list_layers(tiny).loc[0, "output_shape"] == (4, 8, 18)


def test_an_input_that_the_network_does_not_take_is_refused(tiny):
    with pytest.raises(
        ValueError, match=r"Tiny fails on an input of shape \(1, 8, 8\).*Give `input_shape`, such"
    ):
        pfa.list_layers(tiny, input_shape=(1, 8, 8))
    with pytest.raises(
        TypeError, match="`input_shape` must be a list of sizes, without the batch"
    ):
        pfa.list_layers(tiny, input_shape=8)
    with pytest.raises(ValueError, match="`input_shape` must be at least 1"):
        pfa.list_layers(tiny, input_shape=(3, 0, 8))
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module"):
        pfa.list_layers("alexnet")


def network(name, **options):
    torch.manual_seed(0)
    return getattr(torchvision.models, name)(weights=None, **options)


def small_swin():
    return torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=3)


def small_convnext():
    settings = [
        torchvision.models.convnext.CNBlockConfig(8, 12, 1),
        torchvision.models.convnext.CNBlockConfig(12, None, 1),
    ]
    return torchvision.models.ConvNeXt(settings, num_classes=3)


def small_maxvit():
    return torchvision.models.MaxVit((32, 32), 8, 4, [8, 16], [1, 1], 4, 0.0, num_classes=3)


def small_vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 2, 12, 24, num_classes=3)


@pytest.mark.parametrize(
    ("build", "size", "n_unfired", "axes"),
    [
        # Of how many leaves the channels are on which axis, counted in torchvision's sources.
        (lambda: network("alexnet"), 64, 0, {0: 21}),
        (lambda: network("resnet18"), 32, 0, {0: 52}),
        (lambda: network("densenet121"), 32, 0, {0: 366}),
        (lambda: network("googlenet", init_weights=False), 32, 10, {0: 130}),
    ],
)
def test_channels_of_convolutional_networks_come_first(build, size, n_unfired, axes):
    table = pfa.list_layers(build(), input_shape=(3, size, size))
    assert (~table["fired"]).sum() == n_unfired
    fired = table[table["fired"]]
    assert fired["channel_axis"].value_counts().to_dict() == axes
    for row in fired.itertuples():
        assert row.layout == ("map" if len(row.output_shape) == 3 else "vector")


@pytest.mark.parametrize("build", [small_swin, small_convnext, small_maxvit])
def test_maps_with_channels_last_are_told_from_those_with_channels_first(build):
    model = build()
    table = pfa.list_layers(model, input_shape=(3, 32, 32)).dropna(subset="output_shape")
    maps = table[table["output_shape"].map(len) == 3]
    assert set(maps["channel_axis"]) == {0, 2}
    # oracle: the number of channels that the module says it has
    modules = dict(model.named_modules())
    n_checked = 0
    for row in maps.itertuples():
        module = modules[row.module]
        said = getattr(module, "out_channels", getattr(module, "out_features", None))
        if row.type in ("LayerNorm", "LayerNorm2d"):
            said = module.normalized_shape[0]
        elif row.type == "BatchNorm2d":
            said = module.num_features
        if said is not None:
            assert row.output_shape[row.channel_axis] == said, row
            n_checked += 1
    assert n_checked > 8
    # What has no word of its own goes with what it acts on, and a permutation moves it.
    for path in maps["module"]:
        module, (axis,) = modules[path], maps.loc[maps["module"] == path, "channel_axis"]
        if isinstance(module, nn.GELU) and isinstance(modules.get(_before(path)), nn.Linear):
            assert axis == 2, path
        elif isinstance(module, torchvision.ops.Permute):
            assert axis == {(0, 2, 3, 1): 2, (0, 3, 1, 2): 0}[tuple(module.dims)], path


def _before(path):
    parent, _, place = path.rpartition(".")
    return f"{parent}.{int(place) - 1}" if place.isdecimal() else ""


def test_windows_before_and_after_a_swap_of_axes_keep_their_channels_last():
    table = pfa.list_layers(small_maxvit(), input_shape=(3, 32, 32))
    windows = table[table["type"].isin(["WindowPartition", "SwapAxes"])]
    assert len(windows) >= 4
    assert set(windows["channel_axis"]) == {2}
    back = table[table["type"] == "WindowDepartition"]
    assert set(back["channel_axis"]) == {0}


def test_layers_of_a_vision_transformer_are_tokens():
    model = small_vit()
    table = pfa.list_layers(model, input_shape=(3, 32, 32)).set_index("module")
    blocks = table[table.index.str.startswith("encoder.layers")]
    fired = blocks[blocks["fired"]]
    assert set(fired["layout"]) == {"tokens"}
    assert set(fired["output_shape"]) == {(17, 12), (17, 24)}
    assert set(fired["channel_axis"]) == {1}
    # The projection inside of the attention is used without a call.
    unfired = blocks[~blocks["fired"]].index
    assert list(unfired) == [
        f"encoder.layers.encoder_layer_{i}.self_attention.out_proj" for i in range(2)
    ]
    # The residual stream is in no leaf, but can be named.
    path = "encoder.layers.encoder_layer_1"
    images = torch.randn(2, 3, 32, 32)
    found = pfa.capture(model, images, [path, "encoder.ln"])
    assert found[path].shape == (2, 17, 12)
    with torch.no_grad():
        expected = model.encoder.ln(torch.from_numpy(found[path]))
    np.testing.assert_allclose(found["encoder.ln"], expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_the_attention_path_would_skip_has_all_its_leaves():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    table = pfa.list_layers(nn.TransformerEncoder(layer, 2).eval(), input_shape=(5, 8))
    assert table.loc[~table["fired"], "module"].str.endswith("out_proj").all()
    assert (~table["fired"]).sum() == 2


class Handing(nn.Module):
    """Dropout, an identity and a container hand the ReLU's output on."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)
        self.dropout, self.block = nn.Dropout(), nn.Sequential(nn.Identity())

    def forward(self, x):
        return self.block(self.dropout(self.relu(self.conv(x))))


def owners(model, which_layers, **options):
    targets, *_ = choose_targets(model, torch.zeros(3, 8, 8), which_layers, **options)
    return {target.label[0]: target.same_as for target in targets}


def test_a_target_names_the_earlier_one_whose_output_it_is():
    assert owners(Handing(), None) == {
        "original_rgb": "",
        "conv1": "",
        "relu1": "",
        "dropout1": "relu1",
        "identity1": "relu1",
    }


def test_of_targets_with_one_output_the_first_that_is_asked_for_is_the_owner():
    assert owners(Handing(), ["block", "dropout", "conv1", "relu1"]) == {
        "block": "",
        "dropout": "block",
        "conv1": "",
        "relu1": "block",
    }
    # The owner is among those asked for.
    assert owners(Handing(), ["identity1", "conv1"]) == {"identity1": "", "conv1": ""}


def test_a_layer_that_is_asked_for_by_two_names_is_one_output():
    assert owners(Handing(), ["relu1", "relu", ("relu1", 2), "block.0"]) == {
        "relu1": "",
        "relu": "relu1",
        "block.0": "relu1",
    }


def test_calls_of_a_module_are_owners_of_their_own(tiny):
    class Reusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.identity = nn.Conv2d(3, 3, 1), nn.Identity()

        def forward(self, x):
            return self.identity(self.conv(self.identity(self.conv(x))))

    assert owners(Reusing(), ["conv1", "identity1"], calls="all") == {
        "conv1@1": "",
        "conv1": "",
        "identity1@1": "conv1@1",
        "identity1": "conv1",
    }
    assert owners(tiny, None, calls="all")["relu1@1"] == ""


def test_the_units_of_a_network_are_those_of_its_layers_whatever_is_asked_for():
    model = Handing()
    n_units = 4 * 6 * 6 * 4
    for layers in (None, ["conv1"], ["block"], ["block", "block.0", "relu"]):
        assert choose_targets(model, torch.zeros(3, 8, 8), layers).n_units == n_units
    assert choose_targets(model, torch.zeros(3, 8, 8), ["original_rgb"]).n_units == 0


def test_a_batch_is_timed_to_each_layer_in_the_second_of_two_passes(tiny, images, monkeypatch):
    targets, *_ = choose_targets(tiny, images[0], ["original_rgb", "conv1", "avgpool1", "relu1@1"])
    clock = itertools.count(10)
    monkeypatch.setattr(activations.time, "perf_counter", lambda: float(next(clock)))
    passes, sizes = [], []
    tiny.conv.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    tiny.pool.register_forward_hook(lambda *_: passes.append(1))
    tiny.fc.register_forward_hook(lambda *_: pytest.fail("nobody asks for this layer"))
    times = time_batch(tiny, images[0], targets, 5)
    # The clock ticks when it is read: at the start of a batch, and at each output.
    order = ["original_rgb", "conv1", "relu1@1", "avgpool1"]
    assert times.reach == {layer: float(tick) for tick, layer in enumerate(order, start=1)}
    assert times.total == 5.0
    assert sizes == [5, 5]
    assert len(passes) == 2
