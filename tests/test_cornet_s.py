"""CORnet-S: names, size and computation."""

from collections import OrderedDict

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.cornet_s import CORnetS

AREAS = {"V2": (64, 128, 2), "V4": (128, 256, 4), "IT": (256, 512, 2)}


def published_shapes():
    """Names and shapes of a published checkpoint, written out from the naming rule."""
    shapes = {}

    def conv(name, out_channels, in_channels, size):
        shapes[f"{name}.weight"] = (out_channels, in_channels, size, size)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    conv("V1.conv1", 64, 3, 7)
    norm("V1.norm1", 64)
    conv("V1.conv2", 64, 64, 3)
    norm("V1.norm2", 64)
    for area, (before, channels, times) in AREAS.items():
        conv(f"{area}.conv_input", channels, before, 1)
        conv(f"{area}.skip", channels, channels, 1)
        norm(f"{area}.norm_skip", channels)
        conv(f"{area}.conv1", 4 * channels, channels, 1)
        conv(f"{area}.conv2", 4 * channels, 4 * channels, 3)
        conv(f"{area}.conv3", channels, 4 * channels, 1)
        for step in range(times):
            norm(f"{area}.norm1_{step}", 4 * channels)
            norm(f"{area}.norm2_{step}", 4 * channels)
            norm(f"{area}.norm3_{step}", channels)
    shapes["decoder.linear.weight"] = (1000, 512)
    shapes["decoder.linear.bias"] = (1000,)
    return shapes


@pytest.fixture(scope="module")
def checkpoint():
    generator = torch.Generator().manual_seed(0)
    state_dict = OrderedDict()
    for name, shape in published_shapes().items():
        if name.endswith("num_batches_tracked"):
            state_dict[name] = torch.tensor(1)
        elif name.endswith("running_var"):
            state_dict[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = max(1, torch.Size(shape[1:]).numel())
            state_dict[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
    return state_dict


def unrolled(weights, images):
    """CORnet-S step by step, with torch's functions alone."""

    def norm(x, name):
        mean, var = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale = weights[f"{name}.weight"] / torch.sqrt(var + 1e-5)
        shift = weights[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def conv(x, name, stride=1, padding=0):
        return F.conv2d(x, weights[f"{name}.weight"], None, stride, padding)

    x = norm(conv(images, "V1.conv1", 2, 3), "V1.norm1").relu()
    x = F.max_pool2d(x, 3, 2, 1)
    x = norm(conv(x, "V1.conv2", 1, 1), "V1.norm2").relu()
    for area, (_, _, times) in AREAS.items():
        x = conv(x, f"{area}.conv_input")
        for step in range(times):
            first = step == 0
            kept = norm(conv(x, f"{area}.skip", 2), f"{area}.norm_skip") if first else x
            x = norm(conv(x, f"{area}.conv1"), f"{area}.norm1_{step}").relu()
            x = norm(conv(x, f"{area}.conv2", 2 if first else 1, 1), f"{area}.norm2_{step}").relu()
            x = norm(conv(x, f"{area}.conv3"), f"{area}.norm3_{step}")
            x = (x + kept).relu()
    x = x.mean((2, 3))
    return x @ weights["decoder.linear.weight"].T + weights["decoder.linear.bias"]


def test_the_state_dict_has_exactly_the_published_keys_and_shapes():
    with torch.device("meta"):
        model = CORnetS()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == published_shapes()


def test_it_has_the_published_number_of_parameters():
    total = 64 * 3 * 49 + 64 * 64 * 9 + 2 * 2 * 64  # V1
    for before, channels, times in AREAS.values():
        wide = 4 * channels
        total += before * channels + channels**2 + 2 * channels  # input, shortcut, its norm
        total += channels * wide + 9 * wide**2 + wide * channels  # the bottleneck
        total += times * 2 * (wide + wide + channels)  # norms of every time step
    total += 512 * 1000 + 1000
    assert total == 53_416_616
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in CORnetS().parameters()) == total


def test_its_modules_have_the_published_names():
    with torch.device("meta"):
        modules = dict(CORnetS().named_modules())
    v1 = {"conv1", "norm1", "nonlin1", "pool", "conv2", "norm2", "nonlin2", "output"}
    assert {name.split(".")[1] for name in modules if name.startswith("V1.")} == v1
    shared = {"conv_input", "skip", "norm_skip", "output"}
    shared |= {f"{kind}{k}" for kind in ("conv", "nonlin") for k in (1, 2, 3)}
    for area, (_, _, times) in AREAS.items():
        norms = {f"norm{k}_{step}" for k in (1, 2, 3) for step in range(times)}
        assert {n.split(".")[1] for n in modules if n.startswith(f"{area}.")} == shared | norms
    decoder = {"avgpool", "flatten", "linear", "output"}
    assert {name.split(".")[1] for name in modules if name.startswith("decoder.")} == decoder


@pytest.mark.parametrize("form", ["plain", "prefixed", "wrapped", "file"])
def test_a_published_checkpoint_loads_strictly(checkpoint, form, tmp_path):
    source = checkpoint
    if form != "plain":
        source = OrderedDict((f"module.{name}", value) for name, value in checkpoint.items())
    if form in ("wrapped", "file"):
        source = {"state_dict": source, "epoch": 43}
    if form == "file":
        torch.save(source, tmp_path / "cornet_s.pth")
        source = tmp_path / "cornet_s.pth"
    model = pfa.prepare_models({"cornet": ("cornet_s", source)})["cornet"]
    loaded = model.state_dict()
    assert loaded.keys() == checkpoint.keys()
    assert all(torch.equal(loaded[name], value) for name, value in checkpoint.items())


def test_it_computes_what_the_unrolled_network_does(checkpoint):
    # Oracle: torch's functions, unrolled over time; in float64, so that any order of sums does.
    model = pfa.prepare_models({"cornet": ("cornet_s", checkpoint)})["cornet"].double()
    weights = {name: value.double() for name, value in checkpoint.items()}
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected = unrolled(weights, images)
        torch.testing.assert_close(model(images), expected, rtol=1e-9, atol=1e-9)
    assert expected.std() > 0.01


def test_every_time_step_runs_and_the_settings_stay_as_they_are(checkpoint):
    model = pfa.prepare_models({"cornet": ("cornet_s", checkpoint)})["cornet"]
    calls = []
    before = {path: repr(module) for path, module in model.named_modules()}
    for area in AREAS:
        module = model.get_submodule(f"{area}.output")
        module.register_forward_hook(
            lambda module, args, output, area=area: calls.append((area, output.shape[-1]))
        )
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    assert calls == [("V2", 8)] * 2 + [("V4", 4)] * 4 + [("IT", 2)] * 2
    assert {path: repr(module) for path, module in model.named_modules()} == before


def test_the_random_weights_follow_the_rule_of_he():
    model = pfa.prepare_model("cornet_s", "random")
    weight = model.V4.conv2.weight
    # Standard deviation sqrt(2 / fan out), fan out = kernel area times output channels.
    assert weight.std().item() == pytest.approx((2 / (9 * 1024)) ** 0.5, rel=0.01)
    assert torch.equal(model.IT.norm1_1.weight, torch.ones(2048))
