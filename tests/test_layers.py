"""Names and addresses of layers."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cornet_s import CORnetS
from pytorch_feature_analysis.layers import (
    LayerRequest,
    address_of,
    layer_table,
    resolve_layers,
)

ALEXNET_BOOK = [
    (("conv1", 1), ["features", 0]),
    (("relu1", 2), ["features", 1]),
    (("maxpool1", 3), ["features", 2]),
    (("conv2", 4), ["features", 3]),
    (("relu2", 5), ["features", 4]),
    (("maxpool2", 6), ["features", 5]),
    (("conv3", 7), ["features", 6]),
    (("relu3", 8), ["features", 7]),
    (("conv4", 9), ["features", 8]),
    (("relu4", 10), ["features", 9]),
    (("conv5", 11), ["features", 10]),
    (("relu5", 12), ["features", 11]),
    (("maxpool3", 13), ["features", 12]),
    (("avgpool1", 14), ["avgpool"]),
    (("dropout1", 15), ["classifier", 0]),
    (("fc1", 16), ["classifier", 1]),
    (("relu6", 17), ["classifier", 2]),
    (("dropout2", 18), ["classifier", 3]),
    (("fc2", 19), ["classifier", 4]),
    (("relu7", 20), ["classifier", 5]),
    (("fc3", 21), ["classifier", 6]),
]
NETWORKS = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vgg19",
    "vit_b_16",
    "wide_resnet50_2",
]


def network(name):
    settings = {}
    if name in ("googlenet", "inception_v3"):
        settings["init_weights"] = False
    device = "cpu" if name.startswith("regnet") else "meta"  # its initialisation needs data
    with torch.device(device):
        return torchvision.models.get_model(name, weights=None, **settings)


def label_of(module):
    return layer_table(nn.Sequential(module))[0].label


def test_alexnet_has_the_book_of_the_guide():
    assert list(pfa.fetch_layers(network("alexnet")).items()) == ALEXNET_BOOK


@pytest.mark.parametrize(("name", "n_layers"), [("vgg19", 45), ("resnet50", 126)])
def test_the_books_of_the_guide_have_its_lengths(name, n_layers):
    assert len(pfa.fetch_layers(network(name))) == n_layers


def test_googlenet_without_auxiliary_classifiers_has_130_layers():
    with torch.device("meta"):
        model = torchvision.models.googlenet(init_weights=False, aux_logits=False)
    assert len(pfa.fetch_layers(model)) == 130


@pytest.mark.parametrize("name", NETWORKS)
def test_every_leaf_is_listed_once_and_every_address_leads_to_it(name):
    model = network(name)
    # Oracle: torch's own walk over the modules.
    leaves = [
        (path, module) for path, module in model.named_modules() if not list(module.children())
    ]
    table = layer_table(model)
    assert [layer.path for layer in table] == [path for path, _ in leaves]
    assert [layer.module_type for layer in table] == [type(leaf).__name__ for _, leaf in leaves]
    book = pfa.fetch_layers(model)
    assert [label[1] for label in book] == list(range(1, len(leaves) + 1))
    assert len({label[0] for label in book}) == len(leaves)
    for address, (_, leaf) in zip(book.values(), leaves, strict=True):
        assert pfa.index_nested(model._modules, address) is leaf
        assert pfa.index_nested(model, address) is leaf


def test_a_network_is_read_only():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    before = copy.deepcopy({k: v for k, v in vars(model).items() if k != "_modules"})
    pfa.fetch_layers(model)
    resolve_layers(model, ["conv1"], model_name="net")
    assert {k: v for k, v in vars(model).items() if k != "_modules"} == before
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.ConvTranspose2d(1, 1, 1), "conv1"),
        (nn.Conv1d(1, 1, 1), "conv1"),
        (nn.Linear(1, 1), "fc1"),
        (nn.modules.linear.NonDynamicallyQuantizableLinear(1, 1), "fc1"),
        (nn.Bilinear(1, 1, 1), "bilinear1"),
        (nn.UpsamplingBilinear2d(2), "upsamplingbilinear1"),
        (nn.AdaptiveAvgPool2d(1), "avgpool1"),
        (nn.AdaptiveMaxPool2d(1), "maxpool1"),
        (nn.MaxUnpool2d(2), "maxunpool1"),
        (nn.ReLU6(), "relu1"),
        (nn.LeakyReLU(), "relu1"),
        (nn.ELU(), "elu1"),
        (nn.GELU(), "gelu1"),
        (nn.SiLU(), "silu1"),
        (nn.SyncBatchNorm(2), "batchnorm1"),
        (nn.InstanceNorm2d(2), "instancenorm1"),
        (nn.LayerNorm(2), "layernorm1"),
        (torchvision.models.convnext.LayerNorm2d(2), "layernorm1"),
        (nn.Dropout2d(), "dropout1"),
        (nn.Flatten(), "flatten1"),
        (nn.Unflatten(1, (1, 1)), "unflatten1"),
        (nn.Identity(), "identity1"),
        (spectral_norm(nn.Conv2d(1, 1, 1)), "conv1"),
        (nn.Sequential(), "sequential1"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else value,
)
def test_the_type_is_read_off_the_class_name(module, name):
    assert label_of(module) == (name, 1)


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("ConvertDtype", "convertdtype1"),
        ("Nonlinearity", "nonlinearity1"),
        ("Conv3x3", "conv1"),
        ("MyBlock7", "myblock1"),
        ("Net2Net", "net2net1"),
        ("Norm_2d", "norm1"),
        ("_7", "module1"),
    ],
)
def test_a_class_of_the_users_gets_a_type_that_does_not_end_in_a_digit(class_name, name):
    assert label_of(type(class_name, (nn.Module,), {})()) == (name, 1)
    assert not name.removesuffix("1")[-1].isdigit()


def test_labels_cannot_be_confused_by_digits_in_class_names():
    # 'x1' number 1 against 'x' number 11.
    kinds = [type("X", (nn.Module,), {}), type("X1", (nn.Module,), {})]
    model = nn.Sequential(*(kinds[position % 2]() for position in range(24)))
    names = [label[0] for label in pfa.fetch_layers(model)]
    assert names == [f"x{k}" for k in range(1, 25)]


def test_a_module_registered_twice_is_listed_once():
    relu = nn.ReLU()
    shared = nn.Sequential(nn.Linear(2, 2), relu)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Sequential(relu, nn.Identity())})
    assert list(pfa.fetch_layers(model)) == [("fc1", 1), ("relu1", 2), ("identity1", 3)]


def test_containers_that_cannot_run_are_not_layers():
    model = nn.Sequential(nn.ReLU(), nn.ModuleList(), nn.ModuleDict(), nn.ParameterList())
    assert list(pfa.fetch_layers(model)) == [("relu1", 1)]


def test_a_convolution_with_a_padding_module_inside_is_a_layer():
    class PaddedConv(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 3, 3)
            self.static_padding = nn.ZeroPad2d(1)

    model = nn.Sequential(PaddedConv(), nn.ReLU())
    book = pfa.fetch_layers(model)
    assert list(book) == [("conv1", 1), ("zeropad1", 2), ("relu1", 3)]
    assert pfa.index_nested(model._modules, book["zeropad1", 2]) is model[0].static_padding


def test_a_parametrised_layer_is_one_layer():
    model = nn.Sequential(spectral_norm(nn.Linear(3, 3)), nn.ReLU())
    assert list(pfa.fetch_layers(model)) == [("fc1", 1), ("relu1", 2)]


def test_numbering_follows_definition_not_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(2, 2)
            self.first = nn.Conv2d(1, 1, 1)

    assert list(pfa.fetch_layers(Backwards())) == [("fc1", 1), ("conv1", 2)]


def test_an_address_uses_positions_only_where_they_are_the_names():
    named = nn.Sequential()
    named.add_module("1", nn.ReLU())
    named.add_module("0", nn.Identity())
    model = nn.ModuleDict(
        {
            "listed": nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Identity())]),
            "named": named,
            "keyed": nn.ModuleDict({"0": nn.ReLU()}),
        }
    )
    book = pfa.fetch_layers(model)
    assert list(book.values()) == [
        ["listed", 0],
        ["listed", 1, 0],
        ["named", ("attr", "1")],
        ["named", ("attr", "0")],
        ["keyed", ("attr", "0")],
    ]
    for address, layer in zip(book.values(), layer_table(model), strict=True):
        found = pfa.index_nested(model._modules, address)
        assert found is model.get_submodule(layer.path)
    assert address_of(model, "listed.1") == ["listed", 1]


def test_index_nested_takes_items_and_attributes():
    alexnet = network("alexnet")
    fc2 = alexnet.classifier[4]
    assert (fc2.in_features, fc2.out_features) == (4096, 4096)
    assert pfa.index_nested(alexnet._modules, ["classifier", 4]) is fc2
    assert pfa.index_nested(alexnet, ["classifier", 4]) is fc2
    assert pfa.index_nested(alexnet, ["classifier", 4, ("attr", "in_features")]) == 4096
    assert pfa.index_nested({"a": [10, {"b": 11}]}, ("a", 1, "b")) == 11
    assert pfa.index_nested("item", []) == "item"


@pytest.mark.parametrize(
    "indices", [["classifier", 9], ["nowhere"], ["classifier", ("attr", "no")], ["avgpool", 0]]
)
def test_an_address_that_leads_nowhere_is_named_with_its_step(indices):
    message = rf"step {len(indices) - 1} \({indices[-1]!r}\)".replace("('attr', 'no')", ".*")
    with pytest.raises(LookupError, match=message):
        pfa.index_nested(network("alexnet"), indices)


def test_index_nested_refuses_a_bare_string():
    with pytest.raises(TypeError, match="`indices` must be a list of steps, not 'classifier'"):
        pfa.index_nested({}, "classifier")


def test_fetch_layers_takes_networks_only():
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module, not dict"):
        pfa.fetch_layers({})


def test_layers_are_found_by_name_label_and_path_in_the_order_asked_for():
    found = resolve_layers(
        network("resnet18"),
        ["fc1", ("conv1", 1), "layer4.1", "original_rgb", "relu2", "conv1", ("layer4.1", 50)],
        model_name="resnet18",
    )
    assert found == [
        LayerRequest(("fc1", 52), "fc", None),
        LayerRequest(("conv1", 1), "conv1", None),
        LayerRequest(("layer4.1", 50), "layer4.1", None),
        LayerRequest(("original_rgb", 0), None, None),
        LayerRequest(("relu2", 7), "layer1.0.relu", None),
    ]


def test_the_number_of_a_module_path_is_that_of_the_last_layer_inside():
    model = network("vit_b_16")
    path = "encoder.layers.encoder_layer_5"
    ((label, found, _),) = resolve_layers(model, [path], model_name="vit")
    inside = [layer.label[1] for layer in layer_table(model) if layer.path.startswith(f"{path}.")]
    assert (label, found) == ((path, max(inside)), path)
    ((label, _, _),) = resolve_layers(model, ["heads.head"], model_name="vit")
    assert label == ("heads.head", 112)


def test_earlier_calls_of_a_reused_module_can_be_named():
    model = network("resnet18")
    requests = resolve_layers(
        model,
        ["relu2@1", ("relu2@1", 7), "layer1.0.relu@1", "relu2@12", "relu2"],
        model_name="resnet18",
    )
    assert requests == [
        LayerRequest(("relu2@1", 7), "layer1.0.relu", 1),
        LayerRequest(("layer1.0.relu@1", 7), "layer1.0.relu", 1),
        LayerRequest(("relu2@12", 7), "layer1.0.relu", 12),
        LayerRequest(("relu2", 7), "layer1.0.relu", None),
    ]


def test_a_name_means_the_layer_and_the_label_the_module_path():
    # In GoogLeNet `conv1` is a block of convolution and normalisation.
    model = network("googlenet")
    found = resolve_layers(model, ["conv1", ("conv1", 1), ("conv1", 2)], model_name="g")
    assert [request.path for request in found] == ["conv1.conv", "conv1"]


def test_cornet_s_is_named_like_any_other_network():
    with torch.device("meta"):
        model = CORnetS()
    ((label, path, _),) = resolve_layers(model, ["V4.output@1"], model_name="cornet_s")
    assert (label[0], path) == ("V4.output@1", "V4.output")


@pytest.mark.parametrize(
    ("entry", "hint"),
    [
        ("conv9", "Did you mean 'conv5'"),
        ("feature.3", r"Did you mean 'features\.3'"),
        ("original_rbg", "Did you mean 'original_rgb'"),
        (("conv1", 2), r"Did you mean \('conv1', 1\)"),
        ("relu1@0", "counted from 1"),
        ("original_rgb@1", "the image has none"),
        ("relu1@first", "Did you mean 'relu1'"),
        ("", "Its layers are"),
    ],
)
def test_an_unknown_layer_is_named_with_those_that_exist(entry, hint):
    with pytest.raises(ValueError, match=hint) as caught:
        resolve_layers(network("alexnet"), [entry], model_name="alexnet")
    message = str(caught.value)
    assert message.startswith(
        f"`which_layers` names {entry!r} for model 'alexnet', which has no such layer."
    )
    assert "Its layers are: conv1, relu1, maxpool1, conv2," in message
    assert "relu7, fc3." in message


@pytest.mark.parametrize("entry", [3, None, ("conv1",), ("conv1", "1"), ("conv1", 1.0)])
def test_an_entry_of_another_kind_is_refused(entry):
    with pytest.raises(TypeError, match="`which_layers` must hold layer names"):
        resolve_layers(network("alexnet"), [entry], model_name="alexnet")


def test_a_bare_string_is_no_list_of_layers():
    with pytest.raises(TypeError, match="`which_layers` must be a list of layer names"):
        resolve_layers(network("alexnet"), "conv1", model_name="alexnet")
