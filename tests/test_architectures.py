"""Networks that are known by name."""

from contextlib import contextmanager

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import ResNet50_Weights, VGG19_Weights

from pytorch_feature_analysis import architectures
from pytorch_feature_analysis.architectures import (
    CORnetSWeights,
    architecture_names,
    build_random,
    build_with_weights,
    find_weights,
    weights_of,
)
from pytorch_feature_analysis.layers import layer_table

# One of each family, and those whose weights ask for settings of their own. RegNet is not among
# them, since its initialisation needs data, which the meta device does not hold.
SAMPLE = [
    "alexnet",
    "cornet_s",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg16",
    "vit_b_16",
    "vit_h_14",
]


@pytest.fixture
def on_meta(monkeypatch):
    """Build without memory or time; weights are not loaded."""

    @contextmanager
    def meta(seed):
        with torch.device("meta"):
            yield

    monkeypatch.setattr(architectures, "_seeded", meta)
    monkeypatch.setattr(architectures, "load_strictly", lambda *args, **kwargs: None)


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_names_are_torchvisions_classification_networks_and_cornet_s():
    names = architecture_names()
    assert len(names) == len(set(names)) == 81
    assert {"alexnet", "vit_h_14", "cornet_s"} <= set(names)
    assert not {"fcn_resnet50", "raft_large", "r3d_18", "quantized_resnet50"} & set(names)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_random_network_has_the_size_of_its_default_weights(name, on_meta):
    # Oracle: the number of parameters that torchvision publishes with the weights.
    weights = weights_of(name, argument="x").DEFAULT
    expected = weights.meta["num_params"]
    model = build_random(name, 0)
    assert n_parameters(model) == expected
    if "categories" in weights.meta:
        last = [module for module in model.modules() if isinstance(module, nn.Linear)]
        assert not last or last[-1].out_features == len(weights.meta["categories"])


@pytest.mark.parametrize("name", [name for name in SAMPLE if name != "cornet_s"])
def test_a_network_for_given_weights_is_that_of_torchvision(name, on_meta, monkeypatch):
    # Oracle: torchvision's own builders, of which only the loading is left out.
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *a, **k: {})
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *a, **k: None)
    state_dict = {"aux1.fc1.weight": 0}
    for weights in weights_of(name, argument="x"):
        with torch.device("meta"):
            expected = torchvision.models.get_model(name, weights=weights)
        found = build_with_weights(name, weights, state_dict, owner="weights")
        assert repr(found) == repr(expected)
        shapes = {key: value.shape for key, value in expected.state_dict().items()}
        assert {key: value.shape for key, value in found.state_dict().items()} == shapes
        for setting in ("transform_input", "aux_logits", "image_size"):
            assert getattr(found, setting, None) == getattr(expected, setting, None)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_random_inception_rescales_its_input_as_the_trained_one_does(name, on_meta):
    assert build_random(name, 0).transform_input is True


def test_a_random_googlenet_has_the_layers_of_the_trained_one_and_no_bias_at_the_end(on_meta):
    trained = build_with_weights(
        "googlenet", weights_of("googlenet", argument="x").DEFAULT, {"aux1.x": 0}, owner="weights"
    )
    random = build_random("googlenet", 0)
    assert len(layer_table(random)) == 130
    assert [layer.path for layer in layer_table(trained)] == [
        layer.path for layer in layer_table(random)
    ]


def test_the_bias_at_the_end_of_a_random_googlenet_is_zero():
    model = build_random("googlenet", 3)
    assert model.fc.bias.abs().max() == 0
    assert model.fc.weight.abs().max() > 0
    assert model.aux1 is None


@pytest.mark.parametrize("with_aux", [False, True])
def test_googlenet_loads_with_and_without_auxiliary_classifiers(with_aux):
    made = torchvision.models.googlenet(init_weights=False, aux_logits=with_aux)
    weights = weights_of("googlenet", argument="x").DEFAULT
    model = build_with_weights("googlenet", weights, made.state_dict(), owner="weights")
    assert len(layer_table(model)) == 130
    assert torch.equal(model.fc.weight, made.fc.weight)
    assert model.transform_input is True


def test_the_old_names_in_checkpoints_of_densenet_are_understood():
    made = torchvision.models.densenet121().state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in made.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    weights = weights_of("densenet121", argument="x").DEFAULT
    model = build_with_weights("densenet121", weights, old, owner="weights")
    assert all(torch.equal(value, made[key]) for key, value in model.state_dict().items())


def test_the_seed_decides_and_the_global_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_random("squeezenet1_1", seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.features[0].weight, other.features[0].weight)


def test_a_default_device_of_the_caller_does_not_change_the_weights():
    expected = build_random("squeezenet1_1", 1).features[0].weight
    with torch.device("meta"):
        found = build_random("squeezenet1_1", 1).features[0].weight
    assert torch.equal(found, expected)


def test_an_unknown_architecture_is_named_with_those_that_exist_and_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'alexnet'") as caught:
        weights_of("alexnt", argument="models_dict['a']")
    message = str(caught.value)
    assert message.startswith("`models_dict['a']` names 'alexnt', which is not a known arch")
    assert "alexnet, convnext_base, " in message
    assert "cornet_s" in message


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("trained", ResNet50_Weights.DEFAULT),
        ("DEFAULT", ResNet50_Weights.DEFAULT),
        ("IMAGENET1K_V1", ResNet50_Weights.IMAGENET1K_V1),
        ("ResNet50_Weights.IMAGENET1K_V2", ResNet50_Weights.IMAGENET1K_V2),
        (ResNet50_Weights.IMAGENET1K_V1, ResNet50_Weights.IMAGENET1K_V1),
        (ResNet50_Weights.IMAGENET1K_V1.url, ResNet50_Weights.IMAGENET1K_V1),
        ("random", "random"),
        ("https://example.org/resnet50.pth", "https://example.org/resnet50.pth"),
    ],
)
def test_weights_are_understood(given, found):
    assert find_weights("resnet50", given, argument="x") == found


def test_a_path_and_a_state_dict_are_understood(tmp_path):
    path = tmp_path / "resnet50_of_mine"
    path.write_bytes(b"")
    state_dict = {"weight": torch.ones(1)}
    assert find_weights("resnet50", path, argument="x") == path
    assert find_weights("resnet50", str(path), argument="x") == path
    assert find_weights("resnet50", state_dict, argument="x") is state_dict


def test_cornet_s_has_its_published_weights():
    assert find_weights("cornet_s", "trained", argument="x") is CORnetSWeights.IMAGENET1K_V1
    assert CORnetSWeights.DEFAULT.transforms().resize_size == [256]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("trianed", ValueError, "Did you mean 'trained'.*trained, random, IMAGENET1K_V1"),
        ("ResNet18_Weights.DEFAULT", ValueError, "not a name of weights of resnet50, nor a URL"),
        (VGG19_Weights.DEFAULT, ValueError, r"ResNet50_Weights\.IMAGENET1K_V1"),
        ("no_such_file.pth", FileNotFoundError, "gives the path .*where there is no file"),
        (None, TypeError, "must give weights as 'trained', 'random'"),
        (3, TypeError, "not 3"),
    ],
)
def test_weights_that_do_not_exist_are_named(given, error, message):
    with pytest.raises(error, match=message) as caught:
        find_weights("resnet50", given, argument="weights_opt")
    assert "`weights_opt`" in str(caught.value)
