"""The stream: what a layer put out at that moment, and a model that leaves as it came."""

from __future__ import annotations

import copy
import gc
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from pytorch_feature_analysis.activation_types import as_float
from pytorch_feature_analysis.batches import Batch, tensor_batches
from pytorch_feature_analysis.held_models import first_tensor
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.stream import Target, stream_outputs
from pytorch_feature_analysis.survey import survey

IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Overwriting(nn.Module):
    """All that overwrites an output behind its hook: in-place ReLU, +=, and F.relu_."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        out = self.bn(self.conv2(x))
        out += x
        F.relu_(out)
        out = self.fc(out.mean((2, 3)))
        return out.sub_(out.mean())

    def values(self, x):
        """What each module puts out, with nothing in place."""
        conv1 = self.conv1(x)
        relu = conv1.clamp(min=0)
        conv2 = self.conv2(relu)
        bn = self.bn(conv2)
        fc = self.fc((bn + relu).clamp(min=0).mean((2, 3)))
        return {"conv1": conv1, "relu": relu, "conv2": conv2, "bn": bn, "fc": fc}


def seeded(build):
    torch.manual_seed(0)
    return build().eval()


def targets_of(model, example, paths, calls=None):
    """Targets at the last calls, or at those given."""
    seen = survey(model, example, paths)
    return [
        Target(
            (path, i),
            path,
            call,
            seen.n_calls[path],
            seen.outputs[path, call].batch_axis,
            seen.outputs[path, call].layout,
        )
        for i, path in enumerate(paths)
        for call in [(calls or {}).get(path, seen.n_calls[path])]
    ]


def collect(model, images, targets, batch_size=2, **options):
    """Rows of all images, by label."""
    rows = {}

    def keep(target, batch, output):
        rows.setdefault(target.label[0], {}).update(
            zip(batch.positions, output.clone(), strict=True)
        )

    stream_outputs(model, tensor_batches(images, batch_size), targets, keep, **options)
    return {
        name: torch.stack([found[i] for i in range(len(images))]) for name, found in rows.items()
    }


def state_of(model):
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: value.clone() for name, value in model.state_dict().items()},
        [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in model.modules()
        ],
        {value.device for value in model.state_dict().values()},
        [value.requires_grad for value in model.parameters()],
        [value.grad is None for value in model.parameters()],
        torch.backends.mha.get_fastpath_enabled(),
        torch.is_grad_enabled(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
    )


def assert_unchanged(model, before):
    after = state_of(model)
    for name, value in before[1].items():
        assert torch.equal(value, after[1][name]), name
    assert after[0] == before[0]
    assert after[2:] == before[2:]


@pytest.fixture(params=[True, False], ids=["train", "mixed"])
def model_in_use(request):
    """A model in training mode, or with a part of it frozen, and hooks of its own."""
    model = seeded(Overwriting)
    model.train()
    model.bn.train(request.param)
    model.fc.register_forward_hook(lambda module, inputs, output: output * 2)
    model.conv1.weight.requires_grad_(False)
    return model


def test_every_output_is_what_the_module_put_out_at_that_moment():
    model = seeded(Overwriting)
    model.bn.running_mean += 1
    paths = ["conv1", "relu", "conv2", "bn", "fc"]
    with torch.no_grad():
        expected = model.values(IMAGES)
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], paths))
    for path in paths:
        # oracle: the same network written without anything in place
        torch.testing.assert_close(found[path], expected[path], rtol=1e-5, atol=1e-6)
    assert found["conv1"].min() < 0
    assert torch.equal(found["conv1"].relu(), found["relu"])
    assert found["bn"].min() < 0
    # The hazard is there: tensors that are kept without a copy end up overwritten.
    kept = {}

    def keep(target, batch, output):
        kept[target.path] = output

    stream_outputs(model, tensor_batches(IMAGES, 5), targets_of(model, IMAGES[0], paths), keep)
    assert kept["conv1"].min() == 0
    assert kept["bn"].min() == 0


def test_the_model_leaves_as_it_came(model_in_use):
    before = state_of(model_in_use)
    collect(model_in_use, IMAGES, targets_of(model_in_use, IMAGES[0], ["bn", "fc"]))
    assert_unchanged(model_in_use, before)


def test_batch_norm_uses_its_running_statistics(model_in_use):
    model_in_use.bn.running_mean += 5
    in_eval = copy.deepcopy(model_in_use).eval()
    found = collect(model_in_use, IMAGES, targets_of(model_in_use, IMAGES[0], ["bn"]))["bn"]
    with torch.no_grad():
        torch.testing.assert_close(found, in_eval.values(IMAGES)["bn"])


def test_the_hooks_of_the_user_stay_and_are_heard():
    model = seeded(Overwriting)
    model.fc.register_forward_hook(lambda module, inputs, output: output * 2)
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["fc"]))["fc"]
    with torch.no_grad():
        plain = Overwriting.values(model, IMAGES)["fc"]
    torch.testing.assert_close(found, plain)  # `values` calls fc, and with it the hook
    assert len(model.fc._forward_hooks) == 1


class BrokenError(Exception):
    pass


@pytest.mark.parametrize("at_batch", [0, 1])
def test_the_model_leaves_as_it_came_when_the_consumer_fails(model_in_use, at_batch):
    before = state_of(model_in_use)
    targets = targets_of(model_in_use, IMAGES[0], ["conv1", "bn"])

    def fail(target, batch, output):
        if batch.positions[0] == 2 * at_batch and target.path == "bn":
            raise BrokenError

    with pytest.raises(BrokenError):
        stream_outputs(model_in_use, tensor_batches(IMAGES, 2), targets, fail)
    assert_unchanged(model_in_use, before)


def test_the_model_leaves_as_it_came_when_the_model_fails(model_in_use):
    before = state_of(model_in_use)
    targets = targets_of(model_in_use, IMAGES[0], ["fc"])

    def fail(*_):
        raise BrokenError

    handle = model_in_use.bn.register_forward_pre_hook(fail)
    with pytest.raises(BrokenError):
        collect(model_in_use, IMAGES, targets)
    with pytest.raises(ValueError, match=r"Overwriting fails on an input of shape .*Broken"):
        survey(model_in_use, IMAGES[0])
    handle.remove()
    assert_unchanged(model_in_use, before)


def test_the_model_leaves_as_it_came_when_the_images_fail(model_in_use):
    before = state_of(model_in_use)
    targets = targets_of(model_in_use, IMAGES[0], ["fc"])

    def batches():
        yield from tensor_batches(IMAGES[:2], 2)
        raise BrokenError

    with pytest.raises(BrokenError):
        stream_outputs(model_in_use, batches(), targets, lambda *_: None)
    assert_unchanged(model_in_use, before)


def test_settings_of_the_user_come_back(model_in_use):
    torch.backends.mha.set_fastpath_enabled(False)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with torch.no_grad():
            collect(model_in_use, IMAGES, targets_of(model_in_use, IMAGES[0], ["fc"]))
            assert not torch.is_grad_enabled()
        assert not torch.backends.mha.get_fastpath_enabled()
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        torch.backends.cuda.matmul.fp32_precision = before


def test_inside_there_are_no_gradients_no_rounding_and_no_training():
    model = seeded(Overwriting).train()
    seen = []

    def look(target, batch, output):
        seen.append(
            (
                output.requires_grad,
                torch.is_grad_enabled(),
                model.training,
                torch.backends.mha.get_fastpath_enabled(),
                torch.backends.cudnn.conv.fp32_precision,
                torch.backends.cuda.matmul.fp32_precision,
            )
        )

    targets = targets_of(model, IMAGES[0], ["fc"])
    stream_outputs(model, tensor_batches(IMAGES, 8), targets, look)
    assert seen == [(False, False, False, False, "ieee", "ieee")]


def test_the_network_ends_at_the_last_wanted_layer():
    model = seeded(Overwriting)
    calls = []
    targets = targets_of(model, IMAGES[0], ["relu"])
    model.conv2.register_forward_hook(lambda *_: calls.append(1))
    collect(model, IMAGES, targets)
    assert not calls
    collect(model, IMAGES, targets_of(model, IMAGES[0], ["bn"]))
    assert calls


def test_a_models_own_handler_does_not_swallow_the_end():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.seconds = 0

        def forward(self, x):
            try:
                x = self.first(x)
            except Exception:
                x = torch.zeros_like(x)
            self.seconds += 1
            return self.second(x)

    model = seeded(Careful)
    targets = targets_of(model, torch.zeros(3), ["first"])
    model.seconds = 0
    found = collect(model, torch.ones(4, 3), targets)["first"]
    with torch.no_grad():
        torch.testing.assert_close(found, model.first(torch.ones(4, 3)))
    assert model.seconds == 0


def test_short_batches_are_padded_and_the_padding_is_not_handed_on():
    sizes, inputs = [], []
    model = seeded(Overwriting)
    targets = targets_of(model, IMAGES[0], ["conv1"])
    model.register_forward_pre_hook(lambda module, args: inputs.append(len(args[0])))
    stream_outputs(
        model,
        tensor_batches(IMAGES, 3),
        targets,
        lambda target, batch, output: sizes.append((batch.positions, len(output))),
    )
    assert inputs == [3, 3]
    assert sizes == [([0, 1, 2], 3), ([3, 4], 2)]


@pytest.mark.parametrize("batch_size", [4, 16])
def test_an_images_numbers_do_not_depend_on_its_company(batch_size):
    net = seeded(
        lambda: nn.Sequential(
            *[nn.Conv2d(3, 16, 5), nn.ReLU(inplace=True), nn.Conv2d(16, 32, 3), nn.Flatten()],
            *[nn.Linear(32 * 26 * 26, 100), nn.ReLU(), nn.Linear(100, 10)],
        )
    )
    images = torch.randn(21, 3, 32, 32)
    paths = [name for name, _ in net.named_children()]
    targets = targets_of(net, images[0], paths)
    together = collect(net, images, targets, batch_size)
    some = [3, 17, 9]
    alone = collect(net, images[some], targets, batch_size)
    for path in paths:
        assert torch.equal(alone[path], together[path][some])


class Reusing(nn.Module):
    """One ReLU at three places, at two sizes."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.relu(self.fc(x.mean((2, 3))))


def test_each_call_of_a_reused_module_has_its_own_output_and_layout():
    model = seeded(Reusing)
    seen = survey(model, IMAGES[0])
    assert seen.n_calls["relu"] == 3
    assert seen.outputs["relu", 1].layout == Layout((4, 6, 6), 0, "map")
    assert seen.outputs["relu", 2].layout == Layout((6, 4, 4), 0, "map")
    assert seen.outputs["relu", 3].layout == Layout((5,), 0, "vector")
    with torch.no_grad():  # oracle: a manual forward
        one = model.conv1(IMAGES).relu()
        two = model.conv2(one).relu()
        three = model.fc(two.mean((2, 3))).relu()
    for call, expected in enumerate([one, two, three], start=1):
        found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["relu"], {"relu": call}))
        torch.testing.assert_close(found["relu"], expected)


def test_one_output_may_be_wanted_under_two_names():
    model = seeded(Reusing)
    (target,) = targets_of(model, IMAGES[0], ["conv1"])
    again = Target(("again", 9), *list(vars(target).values())[1:])
    found = collect(model, IMAGES, [target, again])
    assert torch.equal(found["conv1"], found["again"])


def test_the_input_is_handed_on_as_it_is():
    seen = []
    target = Target(("original_rgb", 0), "", 0, 0, 0, Layout((3, 8, 8), 0, "map"))
    stream_outputs(
        nn.Sequential(nn.ReLU(inplace=True)),
        tensor_batches(IMAGES, 4),
        [target],
        lambda target, batch, output: seen.append(output),
    )
    assert torch.equal(torch.cat(seen), IMAGES)


def test_a_model_that_overwrites_its_input_leaves_the_users_images_alone():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    before = IMAGES.clone()
    for batch_size in (1, 4, 5):
        found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["1"]), batch_size)
        assert torch.equal(IMAGES, before)
        assert torch.equal(found["1"], before.relu().flatten(1))


class Giving(nn.Module):
    """Puts out what its function makes of the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class WithGiving(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.giving = Giving(function)

    def forward(self, x):
        self.giving(x)
        return x


@dataclass
class Output:
    note: str
    logits: torch.Tensor | None = None
    hidden: tuple = ()


class HubOutput(OrderedDict):
    """A dict that is a dataclass as well, as Hugging Face's outputs are."""

    __dataclass_fields__ = {"loss": None, "logits": None}  # noqa: RUF012 - as dataclass makes it

    loss = None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x, x + 1),
        lambda x: [[None, x], x + 1],
        lambda x: {"note": "text", "out": x, "aux": x + 1},
        lambda x: OrderedDict(out=x, aux=x + 1),
        lambda x: Output("text", x, (x + 1,)),
        lambda x: Output("text", None, (x, x + 1)),
        lambda x: HubOutput(logits=x, hidden=(x + 1,)),
        lambda x: torch.return_types.max((x, x.argmax(1))),
        lambda x: nn.utils.rnn.PackedSequence(x, torch.ones(1)),
    ],
)
def test_the_first_tensor_of_an_output_is_taken(function):
    model = WithGiving(function)
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["giving"]))
    assert torch.equal(found["giving"], IMAGES)


@pytest.mark.parametrize("output", [None, 3.0, "text", (), {}, [None], SimpleNamespace(x=IMAGES)])
def test_an_output_without_a_tensor_is_refused(output):
    assert first_tensor(output) is None
    seen = survey(WithGiving(lambda x: output), IMAGES[0])
    assert seen.refused == {("giving", 1): "its output holds no tensor"}
    assert seen.n_calls == {"giving": 1}
    assert not seen.outputs


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: torch.zeros(2, 7), r"no one axis .*two of them give the shape \(2, 7\), three"),
        (lambda x: torch.arange(14.0).reshape(2, 7), r"no one axis"),
        (lambda x: torch.full((2, 7), float("nan")), r"no one axis"),
        (lambda x: x.new_zeros(2, 0), r"no one axis"),
        (lambda x: torch.zeros(()), r"no one axis"),
        (lambda x: x.mean(), r"no one axis"),
        (lambda x: x.flatten(0, 1), r"the shape \(6, 8, 8\), three \(9, 8, 8\)"),
        (lambda x: x.flatten(1) @ x.flatten(1).T, r"\(2, 2\), three \(3, 3\)"),
        (lambda x: x.new_zeros(len(x), 2 * len(x)), r"no one axis"),
        (lambda x: x[: 4 - len(x)].squeeze(0) * 0, r"no one axis"),
        (torch.fft.fft2, "its output is complex"),
    ],
)
def test_an_output_that_does_not_follow_the_images_is_refused(function, match):
    seen = survey(WithGiving(function), IMAGES[0])
    assert not seen.outputs
    with pytest.raises(AssertionError, match=match):
        raise AssertionError(seen.refused["giving", 1])


@pytest.mark.parametrize(
    ("function", "axis", "shape"),
    [
        # Sizes of two and three that are not the images.
        (lambda x: x.new_zeros(len(x), 2, 2, 2), 0, (2, 2, 2)),
        (lambda x: x.new_zeros(2, len(x), 3), 1, (2, 3)),
        (lambda x: x.new_zeros(3, 2, len(x)), 2, (3, 2)),
        (lambda x: x.new_zeros(7, len(x), 6), 1, (7, 6)),
        (lambda x: x.new_zeros(len(x)), 0, ()),
        (lambda x: x.argmax(1), 0, (8, 8)),
        (lambda x: x > 0, 0, (3, 8, 8)),
    ],
)
def test_the_axis_of_the_images_is_found(function, axis, shape):
    found = survey(WithGiving(function), IMAGES[0]).outputs["giving", 1]
    assert (found.batch_axis, found.layout.shape) == (axis, shape)


def test_images_on_another_axis_are_brought_to_the_front():
    model = WithGiving(lambda x: x.flatten(2).movedim(0, 1))  # (3, n, 64)
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["giving"]))["giving"]
    assert torch.equal(found, IMAGES.flatten(2))


def test_a_final_map_of_two_channels_and_two_by_two_is_captured():
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 7)))
    assert survey(model, IMAGES[0]).outputs["0", 1].layout == Layout((2, 2, 2), 0, "map")
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["0"]), batch_size=2)["0"]
    with torch.no_grad():
        torch.testing.assert_close(found, model(IMAGES))


def test_a_loop_over_the_images_is_refused():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return torch.cat([self.conv(image[None]) for image in x])

    seen = survey(Loop(), IMAGES[0])
    assert set(seen.refused.values()) == {"the number of its calls follows that of the images"}
    assert not seen.outputs


def test_a_module_that_only_some_numbers_of_images_reach_is_refused():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 4, 3, bias=False), nn.ReLU()

        def forward(self, x):
            x = self.conv(x)
            return self.relu(x) if len(x) == 2 else x

    # Zeros do not tell which axis is that of the images, so that three are passed as well.
    model = Picky()
    seen = survey(model, torch.zeros_like(IMAGES[0]))
    assert list(seen.outputs) == [("conv", 1)]
    assert seen.refused == {("relu", 1): "the number of its calls follows that of the images"}
    # Else it is seen as soon as a batch passes.
    with pytest.raises(RuntimeError, match="module 'relu' is called less often"):
        collect(model, IMAGES, targets_of(model, IMAGES[0], ["conv", "relu"]), batch_size=4)


def test_a_second_pass_is_made_only_where_the_first_leaves_doubt():
    passes = []

    def noted(x):
        passes.append(len(x))
        return x

    def two_channels(x):
        return noted(x)[:, :2]

    survey(WithGiving(noted), IMAGES[0])
    assert passes == [2]
    survey(WithGiving(two_channels), IMAGES[0])
    assert passes == [2, 2, 3]


class Dynamic(nn.Module):
    """Its path depends on what it sees."""

    def __init__(self):
        super().__init__()
        self.body, self.extra, self.fc = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

    def forward(self, x):
        x = self.body(x)
        if x.flatten(1).mean(1).max() > 5:
            x = self.body(x)
        if x.flatten(1).mean(1).max() < 500:
            x = self.extra(x)
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def dynamic():
    model = Dynamic()
    for conv in (model.body, model.extra):
        nn.init.dirac_(conv.weight)
        nn.init.zeros_(conv.bias)
    return model


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (100, r"module 'body' is called more often than in the first pass: a network whose path"),
        (1000, r"module 'body' is called more often"),
    ],
)
def test_a_network_whose_path_depends_on_the_images_is_refused(dynamic, value, match):
    images = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), value)])
    targets = targets_of(dynamic, images[0], ["body", "fc"])
    before = state_of(dynamic)
    with pytest.raises(RuntimeError, match=match):
        collect(dynamic, images, targets, batch_size=1)
    assert_unchanged(dynamic, before)


def test_a_module_that_is_left_out_for_some_images_is_never_served_stale(dynamic):
    images = torch.stack([torch.zeros(3, 4, 4), torch.full((3, 4, 4), 1000.0)])
    targets = targets_of(dynamic, images[0], ["extra", "fc"])
    with pytest.raises(RuntimeError, match=r"module 'extra' is called less often than in the fi"):
        collect(dynamic, images, targets, batch_size=1)


def test_a_network_that_drops_the_axis_of_one_image_is_refused_with_batches_of_one():
    model = WithGiving(lambda x: x.mean((2, 3)).squeeze())
    targets = targets_of(model, IMAGES[0], ["giving"])
    torch.testing.assert_close(
        collect(model, IMAGES, targets, batch_size=2)["giving"], IMAGES.mean((2, 3))
    )
    with pytest.raises(
        RuntimeError, match=r"puts out the shape \(3,\) for a batch of 1.* least 2"
    ):
        collect(model, IMAGES, targets, batch_size=1)


def test_leaves_of_a_transformer_fire():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = seeded(lambda: nn.TransformerEncoder(layer, 2))
    tokens = torch.randn(4, 5, 8)
    fired = []
    model.layers[0].norm1.forward = lambda x: fired.append(1) or nn.LayerNorm.forward(norm, x)
    norm = model.layers[0].norm1
    with torch.no_grad():
        model(tokens)
    assert not fired  # the fused path calls no submodule
    seen = survey(model, tokens[0])
    assert "layers.1.linear2" in seen.n_calls
    assert seen.outputs["layers.0.norm1", 1].layout == Layout((5, 8), 1, "tokens")
    assert fired
    found = collect(model, tokens, targets_of(model, tokens[0], ["layers.1.norm2"]))
    with torch.no_grad():  # oracle: the output of the encoder, by the fused path
        torch.testing.assert_close(found["layers.1.norm2"], model(tokens), rtol=1e-4, atol=1e-5)
    assert torch.backends.mha.get_fastpath_enabled()


def test_sequence_first_tokens_and_recurrent_outputs_are_captured():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.attention = nn.LSTM(6, 8), nn.MultiheadAttention(8, 2)

        def forward(self, x):
            out, _ = self.lstm(x.movedim(1, 0))
            return self.attention(out, out, out)[0]

    model, x = seeded(Recurrent), torch.randn(5, 7, 6)
    seen = survey(model, x[0], ["attention"])
    for path in ("lstm", "attention"):
        assert seen.outputs[path, 1].batch_axis == 1
        assert seen.outputs[path, 1].layout == Layout((7, 8), 1, "tokens")
    assert "attention.out_proj" not in seen.n_calls
    found = collect(model, x, targets_of(model, x[0], ["lstm", "attention"]))
    with torch.no_grad():
        expected = model.lstm(x.movedim(1, 0))[0].movedim(1, 0)
        torch.testing.assert_close(found["lstm"], expected)
        torch.testing.assert_close(found["attention"], model(x).movedim(1, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_are_brought_to_the_networks_type_of_number(dtype):
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(inplace=True))).to(dtype)
    x = torch.randn(3, 6)
    found = collect(model, x, targets_of(model, x[0], ["0"]))["0"]
    assert found.dtype == dtype
    with torch.no_grad():
        torch.testing.assert_close(found, model[0](x.to(dtype)))


def test_whole_numbers_go_in_as_they_are():
    model = seeded(lambda: nn.Sequential(nn.Embedding(10, 4)))
    tokens = torch.randint(10, (3, 5))
    found = collect(model, tokens, targets_of(model, tokens[0], ["0"]))["0"]
    with torch.no_grad():
        assert torch.equal(found, model(tokens))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bool, torch.float32),
        (torch.uint8, torch.float32),
        (torch.int32, torch.float64),
        (torch.int64, torch.float64),
    ],
)
def test_outputs_become_floats_without_loss(dtype, expected):
    values = torch.tensor([0, 1, 1 if dtype == torch.bool else 100]).to(dtype)
    assert as_float(values).dtype == expected
    assert as_float(values).tolist() == values.tolist()
    if dtype == torch.int64:
        assert as_float(torch.tensor([2**40 + 1])).item() == 2**40 + 1


def test_several_devices_and_one_device_do_not_go_together():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, device="meta"))
    for call in (
        lambda: stream_outputs(model, [], [], lambda *_: None, device="cpu"),
        lambda: survey(model, torch.zeros(3), device="cpu"),
    ):
        with pytest.raises(ValueError, match=r"^`device` is 'cpu', .*\(cpu, meta\); leave it out"):
            call()


def test_a_model_without_parameters_runs_where_the_images_are():
    model = nn.Sequential(nn.Flatten())
    assert torch.equal(
        collect(model, IMAGES, targets_of(model, IMAGES[0], ["0"]), device="cpu")["0"],
        IMAGES.flatten(1),
    )


def test_a_model_that_is_a_layer_is_its_own_leaf():
    model = seeded(lambda: nn.Linear(8, 2))
    found = collect(model, torch.ones(3, 8), targets_of(model, torch.ones(8), [""]))[""]
    with torch.no_grad():
        torch.testing.assert_close(found, model(torch.ones(3, 8)))


def test_order_is_that_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(3, 3), nn.Linear(3, 3)
            self.norm = nn.LayerNorm(3)

        def forward(self, x):
            return self.norm(self.last(self.norm(self.first(x))))

    assert survey(Backwards(), torch.zeros(3)).order == {"first": 1, "last": 2, "norm": 3}


def test_nothing_wanted_passes_nothing():
    model = seeded(Overwriting)
    model.register_forward_hook(lambda *_: pytest.fail("a pass that nobody asked for"))
    stream_outputs(model, [Batch([0], IMAGES[:1])], [], lambda *_: None)


class Handing(nn.Module):
    """Calls its parts one after the other, with functions of the test between them."""

    def __init__(self, *between, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._between = between

    def forward(self, x):
        for part, between in zip(self.children(), (*self._between, lambda x: x), strict=True):
            x = between(part(x))
        return x


def as_it_is(x):
    return x


def first_and_same(between, second, paths=()):
    model = Handing(between, conv=nn.Conv2d(3, 4, 3), second=second).train()
    return survey(model, IMAGES[0], paths).same


FIRST, SECOND = ("conv", 1), ("second", 1)


@pytest.mark.parametrize(
    "second", [nn.Dropout(), nn.Dropout2d(), nn.Identity(), nn.AlphaDropout(), nn.Dropout(0.0)]
)
def test_a_module_that_hands_its_input_on_is_known(second):
    assert first_and_same(as_it_is, second) == {SECOND: FIRST}


@pytest.mark.parametrize(
    "second",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),  # another output in the same memory
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Hardtanh(-1e9, 1e9),  # changes nothing, but computes
        Giving(lambda x: x + 0),
        Giving(lambda x: x.clone()),
        Giving(lambda x: x[:]),
        Giving(lambda x: x.view_as(x)),
        Giving(lambda x: x.mul_(1)),
    ],
)
def test_what_a_module_makes_anew_is_its_own_also_where_the_numbers_are_equal(second):
    assert first_and_same(as_it_is, second) == {}


@pytest.mark.parametrize(
    "between",
    [
        F.relu_,
        lambda x: x.add_(1),
        lambda x: x.mul_(1),
        lambda x: (x[:, 0].zero_(), x)[1],  # by a view
        lambda x: (x.detach().sub_(3), x)[1],
        lambda x: (x.__setitem__(0, 0), x)[1],
        lambda x: x + 1,
    ],
)
def test_what_was_changed_on_the_way_is_not_the_same(between):
    assert first_and_same(between, nn.Identity()) == {}


def test_what_is_changed_behind_both_is_the_same():
    model = Handing(as_it_is, F.relu_, conv=nn.Conv2d(3, 4, 3), a=nn.Identity(), b=nn.Identity())
    # The last has what the in-place operation left of it.
    assert survey(model, IMAGES[0]).same == {("a", 1): FIRST}


def test_all_that_hand_an_output_on_name_the_first_and_containers_their_last_part():
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout())
    parts = {"conv": nn.Conv2d(3, 4, 3), "a": nn.Identity(), "b": nn.Dropout(), "inner": inner}
    seen = survey(Handing(*[as_it_is] * 3, **parts), IMAGES[0], ["inner", ""])
    assert seen.same == {
        ("a", 1): FIRST,
        ("b", 1): FIRST,
        ("inner.1", 1): ("inner.0", 1),
        ("inner", 1): ("inner.0", 1),
        ("", 1): ("inner.0", 1),
    }


def test_calls_of_one_module_are_told_apart():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.identity = nn.Conv2d(3, 3, 1), nn.Identity()

        def forward(self, x):
            x = self.identity(self.conv(x))
            return self.identity(self.conv(x))

    assert survey(Twice(), IMAGES[0]).same == {
        ("identity", 1): ("conv", 1),
        ("identity", 2): ("conv", 2),
    }


def test_an_output_that_is_gone_is_not_taken_for_one_that_has_its_place_in_memory():
    class Forgetting(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(Giving(lambda x: x + 1) for _ in range(20))

        def forward(self, x):
            for part in self.parts:
                part(x)  # freed at once, so that the next one may lie there
            return x

    assert survey(Forgetting(), IMAGES[0]).same == {}


def test_outputs_that_cannot_be_captured_are_no_others():
    class Pair(nn.Module):
        def forward(self, x):
            return x.flatten(1).T @ x.flatten(1)

    model = Handing(as_it_is, pair=Pair(), second=nn.Identity())
    seen = survey(model, IMAGES[0])
    assert set(seen.refused) == {("pair", 1), SECOND}
    assert seen.same == {}


def test_the_first_of_several_tensors_is_handed_on():
    def pair(x):
        return (x, x + 1)

    model = Handing(as_it_is, as_it_is, conv=nn.Conv2d(3, 4, 3), a=Giving(pair), b=nn.Identity())
    assert survey(model, IMAGES[0]).same == {("a", 1): FIRST, ("b", 1): FIRST}


def test_a_network_in_inference_mode_is_captured_and_none_of_its_outputs_is_said_to_be_another():
    class Inferring(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.identity = nn.Conv2d(3, 4, 3), nn.Identity()

        @torch.inference_mode()
        def forward(self, x):
            return self.identity(self.conv(x)).relu_()

    model = seeded(Inferring)
    # Such tensors do not tell whether they were changed.
    assert survey(model, IMAGES[0]).same == {}
    found = collect(model, IMAGES, targets_of(model, IMAGES[0], ["conv", "identity"]))
    with torch.no_grad():
        torch.testing.assert_close(found["conv"], model.conv(IMAGES))
    assert torch.equal(found["conv"], found["identity"])


def test_two_threads_take_turns_with_a_model():
    class Slow(Overwriting):
        def __init__(self):
            super().__init__()
            self._inside = []

        def forward(self, x):
            self._inside.append(1)
            try:
                assert len(self._inside) == 1
                time.sleep(0.002)
                return super().forward(x)
            finally:
                self._inside.pop()

    model = seeded(Slow).train()
    inputs = [torch.randn(6, 3, 8, 8) for _ in range(4)]
    targets = targets_of(model, inputs[0][0], ["conv1", "bn", "fc"])
    together = threading.Barrier(4)

    def capture(images):
        together.wait(30)
        return collect(model, images, targets)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(capture, inputs))
    in_eval = copy.deepcopy(model).eval()
    for images, found in zip(inputs, results, strict=True):
        with torch.no_grad():
            expected = in_eval.values(images)
        for path in ("conv1", "bn", "fc"):
            torch.testing.assert_close(found[path], expected[path], rtol=1e-5, atol=1e-6)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_threads_with_models_of_their_own_do_not_wait_for_each_other():
    first, second = seeded(Overwriting), seeded(Overwriting)
    inside = threading.Barrier(2)

    def meet(model):
        targets = targets_of(model, IMAGES[0], ["fc"])
        # Each waits, in the middle of its pass, until the other is there too.
        stream_outputs(model, tensor_batches(IMAGES, 5), targets, lambda *_: inside.wait(30))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(meet, [first, second]))


def test_a_thread_may_survey_a_model_in_the_middle_of_its_own_stream():
    model, seen = seeded(Overwriting), []

    def look(target, batch, output):
        if not seen:
            seen.append(None)
            seen.append(survey(model.conv1, IMAGES[0]).n_calls)

    stream_outputs(model, tensor_batches(IMAGES, 5), targets_of(model, IMAGES[0], ["bn"]), look)
    assert seen[1] == {"": 1}


def test_models_that_are_gone_leave_no_lock_behind():
    from pytorch_feature_analysis import held_models

    gc.collect()
    before = len(held_models._turns)
    model = seeded(Overwriting)
    survey(model, IMAGES[0])
    assert len(held_models._turns) == before + 1
    del model
    gc.collect()
    assert len(held_models._turns) == before
