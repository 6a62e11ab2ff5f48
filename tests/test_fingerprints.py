"""Hashes of networks and of transforms."""

import copy
import functools
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from pytorch_feature_analysis.fingerprints import fingerprint, weights_hash


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.times = 2
        self.windows = [7, 7]
        self.register_buffer("mask", torch.ones(4), persistent=False)
        self.table = np.arange(3.0)


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net()


def test_equal_networks_have_equal_hashes(net):
    found = weights_hash(net)
    assert len(found) == 64
    assert weights_hash(copy.deepcopy(net)) == found
    reloaded = Net()
    assert weights_hash(reloaded) != found
    reloaded.load_state_dict(net.state_dict())
    assert weights_hash(reloaded) == found


def test_the_hash_ignores_mode_gradients_hooks_layout_and_preprocessing(net):
    found = weights_hash(net)
    net.eval()
    net.requires_grad_(False)
    net.preprocessing = "a transform"
    net.conv.register_forward_hook(lambda *args: None)
    net.conv.weight.data = net.conv.weight.data.contiguous(memory_format=torch.channels_last)
    assert weights_hash(net) == found


def _set(path, value):
    def change(net):
        owner, _, name = path.rpartition(".")
        setattr(net.get_submodule(owner), name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.conv.weight.data[0, 0, 0].mul_(1.000001),
        lambda net: net.norm.running_mean.add_(1),
        lambda net: net.norm.num_batches_tracked.add_(1),
        lambda net: net.mask.zero_(),
        lambda net: net.double(),
        lambda net: setattr(net.conv, "bias", nn.Parameter(torch.zeros(4))),
        lambda net: net.add_module("extra", nn.Identity()),
        lambda net: net.add_module("again", net.act),
        _set("act", nn.ReLU6(inplace=True)),
        _set("act.inplace", False),
        _set("times", 3),
        _set("windows", [7, 8]),
        _set("table", np.arange(3.0) + 1),
        _set("conv.stride", (2, 2)),
        _set("norm.eps", 1e-3),
        _set("transform_input", True),
        _set("activation", torch.nn.functional.gelu),
    ],
)
def test_whatever_changes_the_output_changes_the_hash(net, change):
    found = weights_hash(net)
    change(net)
    assert weights_hash(net) != found


def test_the_order_of_values_counts_and_names_are_kept_apart(net):
    found = weights_hash(net)
    net.conv.weight.data = net.conv.weight.data.flip(0)
    assert weights_hash(net) != found
    first, second = nn.ParameterDict({"a": torch.ones(2)}), nn.ParameterDict({"b": torch.ones(2)})
    assert weights_hash(first) != weights_hash(second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64, torch.bool, torch.int8])
def test_every_kind_of_number_can_be_hashed(dtype):
    class Holder(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.register_buffer("values", torch.tensor(values).to(dtype))

    assert weights_hash(Holder([0, 1])) == weights_hash(Holder([0, 1]))
    assert weights_hash(Holder([0, 1])) != weights_hash(Holder([1, 0]))
    assert weights_hash(Holder([])) != weights_hash(Holder([0]))
    strided = Holder([0, 1])
    strided.values = torch.tensor([0, 7, 1, 7]).to(dtype)[::2]
    assert weights_hash(strided) == weights_hash(Holder([0, 1]))


def test_a_network_without_data_is_refused():
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="without data"):
        weights_hash(model)
    with pytest.raises(ValueError, match="without data"):
        weights_hash(nn.LazyLinear(2))


def test_transforms_are_told_apart_by_their_settings():
    def make(size=224, scale=1.0):
        return transforms.Compose(
            [transforms.Resize(size), transforms.Lambda(lambda image: image), v2.Identity(), scale]
        )

    assert fingerprint(make()) == fingerprint(make())
    assert fingerprint(make()) != fingerprint(make(size=225))
    assert fingerprint(make()) != fingerprint(make(scale=2.0))


def test_functions_are_told_apart_by_code_defaults_and_closures():
    def multiplier(factor):
        def multiply(x, plus=0):
            return x * factor + plus

        return multiply

    assert fingerprint(multiplier(2)) == fingerprint(multiplier(2))
    assert fingerprint(multiplier(2)) != fingerprint(multiplier(3))
    lambdas = [lambda x: x * 2, lambda x: x * 2, lambda x: x * 3]
    assert fingerprint(lambdas[0]) == fingerprint(lambdas[1]) != fingerprint(lambdas[2])
    wrapped = [v2.Lambda(function) for function in lambdas]
    assert fingerprint(wrapped[0]) == fingerprint(wrapped[1]) != fingerprint(wrapped[2])
    halves = [functools.partial(round, ndigits=digits) for digits in (1, 1, 2)]
    assert fingerprint(halves[0]) == fingerprint(halves[1]) != fingerprint(halves[2])
    assert fingerprint(np.sqrt) != fingerprint(np.exp)


def test_a_function_is_told_apart_by_the_constants_of_its_module():
    def subtract(x):
        return torch.sub(x, MEAN)  # noqa: F821 - the constant of a module made below

    half, less = (types.FunctionType(subtract.__code__, {"MEAN": mean}) for mean in (0.5, 0.4))
    assert fingerprint(half) != fingerprint(less)
    # `sub` is an attribute, not a name of the module.
    with_sub = types.FunctionType(subtract.__code__, {"MEAN": 0.5, "torch": torch})
    assert fingerprint(half) == fingerprint(with_sub)


def test_objects_are_told_apart_by_their_code_and_state():
    def kind(call):
        return type("Scale", (), {"__slots__": ("by",), "__call__": call})

    objects = [kind(lambda self, x: x)(), kind(lambda self, x: x + 1)()]
    assert fingerprint(objects[0]) != fingerprint(objects[1])
    found = fingerprint(objects[0])
    objects[0].by = 2
    assert fingerprint(objects[0]) != found


def test_a_value_that_holds_itself_is_fingerprinted():
    class Node:
        pass

    node = Node()
    node.me = node
    assert fingerprint(node) == fingerprint(node)
    assert fingerprint({1, 2}) == fingerprint({2, 1}) != fingerprint({1, 3})


def test_hashes_are_the_same_in_another_process():
    source = (
        "import textwrap, torch; from torchvision import transforms as t;"
        "from pytorch_feature_analysis.fingerprints import fingerprint, weights_hash;"
        "made = t.Compose([t.Resize(8), t.Lambda(textwrap.wrap), {'a', 'b', 'c'}]);"
        "torch.manual_seed(0);"
        "print(fingerprint(made), weights_hash(torch.nn.Linear(3, 3)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    made = transforms.Compose(
        [transforms.Resize(8), transforms.Lambda(textwrap.wrap), {"a", "b", "c"}]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        linear = nn.Linear(3, 3)
    assert done.stdout.split() == [fingerprint(made), weights_hash(linear)]
