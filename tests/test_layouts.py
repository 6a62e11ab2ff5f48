"""Where the channels of an output are."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.maxvit import SwapAxes, WindowDepartition, WindowPartition
from torchvision.ops import FrozenBatchNorm2d, Permute, StochasticDepth

from pytorch_feature_analysis.layouts import Layout, infer_layouts, n_prefix_tokens


class LayerNorm2d(nn.LayerNorm):
    pass


class HubNorm(nn.LayerNorm):
    data_format = "channels_first"


def axes_of(*outputs):
    return [layout.channel_axis for layout in infer_layouts(outputs)]


def test_a_layout_counts_units_channels_and_positions():
    layout = Layout((8, 5, 3), 2, "map")
    assert (layout.n_units, layout.n_channels, layout.position_axes) == (120, 3, (0, 1))
    vector = Layout((7,), 0, "vector")
    assert (vector.n_units, vector.n_channels, vector.position_axes) == (7, 7, ())
    scalar = Layout((), 0, "vector")
    assert (scalar.n_units, scalar.n_channels, scalar.position_axes) == (1, 1, ())


@pytest.mark.parametrize(
    ("module", "shape", "axis", "kind"),
    [
        (nn.Conv2d(3, 8, 3), (8, 5, 5), 0, "map"),
        (nn.Conv1d(3, 8, 3), (8, 5), 0, "map"),
        (nn.Conv3d(3, 8, 3), (8, 5, 5, 5), 0, "map"),
        (nn.BatchNorm2d(8), (8, 5, 5), 0, "map"),
        (nn.MaxPool2d(2), (8, 5, 5), 0, "map"),
        (nn.AdaptiveAvgPool2d(1), (8, 1, 1), 0, "map"),
        (nn.GroupNorm(2, 8), (8, 5, 5), 0, "map"),
        (FrozenBatchNorm2d(8), (8, 5, 5), 0, "map"),
        (LayerNorm2d(8), (8, 5, 5), 0, "map"),
        (HubNorm(8), (8, 5, 5), 0, "map"),
        (nn.LayerNorm(8), (5, 5, 8), 2, "map"),
        (nn.LayerNorm(8), (5, 8), 1, "tokens"),
        (nn.RMSNorm(8), (5, 8), 1, "tokens"),
        (nn.Linear(4, 8), (5, 8), 1, "tokens"),
        (nn.Linear(4, 8), (5, 5, 8), 2, "map"),
        (nn.Linear(4, 8), (8,), 0, "vector"),
        (nn.BatchNorm1d(8), (8,), 0, "vector"),
        (nn.LSTM(4, 8), (5, 8), 1, "tokens"),
        (nn.MultiheadAttention(8, 2), (5, 8), 1, "tokens"),
        (nn.ReLU(), (), 0, "vector"),
        # Nothing is known: maps have their channels first, as torch has it, and tokens last.
        (nn.ReLU(), (8, 5, 5), 0, "map"),
        (nn.ReLU(), (5, 8), 1, "tokens"),
    ],
)
def test_the_kind_of_module_tells_the_channel_axis(module, shape, axis, kind):
    assert infer_layouts([(module, shape)]) == [Layout(shape, axis, kind)]


def test_modules_without_a_kind_hand_on_what_came_before():
    linear = (nn.Linear(6, 6), (5, 5, 6))
    conv = (nn.Conv2d(5, 5, 1), (5, 5, 6))
    relu = (nn.ReLU(), (5, 5, 6))
    assert axes_of(conv, relu, linear, relu, nn_pair(), conv, relu) == [0, 0, 2, 2, 2, 0, 0]


def nn_pair():
    return nn.Sequential(nn.Linear(6, 6), nn.ReLU()), (5, 5, 6)


def test_the_nearest_of_one_shape_counts_and_else_the_nearest_with_as_many_axes():
    assert axes_of(
        (nn.Linear(6, 6), (5, 5, 6)),
        (nn.Conv2d(6, 4, 1), (4, 3, 3)),
        (nn.GELU(), (5, 5, 6)),
        (nn.GELU(), (2, 2, 6)),
    ) == [2, 0, 2, 2]


def test_a_module_without_a_kind_looks_ahead_where_nothing_like_it_came_before():
    class Rearrange(nn.Module):
        pass

    outputs = [(Rearrange(), (49, 4, 6)), (nn.LayerNorm(6), (49, 4, 6))]
    assert axes_of(*outputs) == [2, 2]
    assert axes_of(outputs[0]) == [0]


def test_a_permutation_moves_the_channels():
    conv = (nn.Conv2d(3, 4, 1), (4, 4, 4))
    there, back = Permute([0, 2, 3, 1]), Permute([0, 3, 1, 2])
    norm = (nn.LayerNorm(4), (4, 4, 4))
    # All axes are equally long, so that only the module's own word tells.
    assert axes_of(conv, (there, (4, 4, 4)), norm, (back, (4, 4, 4))) == [0, 2, 2, 0]
    assert axes_of(conv, (Permute([0, -1, 1, 2]), (4, 4, 4))) == [0, 1]
    assert axes_of(norm, (SwapAxes(-2, -3), (4, 4, 4)), (SwapAxes(1, 3), (4, 4, 4))) == [2, 2, 0]


def test_a_permutation_of_something_else_is_no_guide():
    conv = (nn.Conv2d(3, 4, 1), (4, 5, 6))
    # Not of the output before it, or with the batch: by shape then.
    assert axes_of(conv, (Permute([0, 2, 3, 1]), (9, 9, 9))) == [0, 0]
    assert axes_of(conv, (Permute([1, 0, 2, 3]), (4, 5, 6))) == [0, 0]
    assert axes_of((Permute([0, 2, 3, 1]), (9, 9, 9))) == [0]


def test_flattened_positions_leave_the_channels_first():
    conv = (nn.Conv2d(3, 8, 1), (8, 5, 5))
    assert infer_layouts([conv, (nn.Flatten(2), (8, 25))])[1] == Layout((8, 25), 0, "map")
    assert infer_layouts([conv, (nn.Flatten(), (200,))])[1].kind == "vector"


def test_windows_of_a_map_have_their_channels_last():
    conv = (nn.Conv2d(3, 8, 1), (8, 14, 14))
    partition, departition = (WindowPartition(), (4, 49, 8)), (WindowDepartition(), (8, 14, 14))
    assert axes_of(conv, partition, (nn.GELU(), (4, 49, 8)), departition) == [0, 2, 2, 0]


def test_a_norm_over_all_axes_of_a_map_tells_nothing():
    norm = (nn.LayerNorm([8, 5, 5]), (8, 5, 5))
    assert axes_of((nn.Conv2d(3, 8, 1), (8, 5, 5)), norm) == [0, 0]
    assert axes_of((nn.Linear(3, 5), (8, 5, 5)), norm) == [2, 2]


def test_stochastic_depth_and_dropout_hand_on():
    tokens = (nn.Linear(8, 8), (5, 8))
    for module in (StochasticDepth(0.1, "row"), nn.Dropout(), nn.Identity(), nn.GELU()):
        assert infer_layouts([tokens, (module, (5, 8))])[1] == Layout((5, 8), 1, "tokens")


def test_prefix_tokens_are_counted():
    class Tokens(nn.Module):
        def __init__(self, **tokens):
            super().__init__()
            for name, value in tokens.items():
                setattr(self, name, value)

    def zeros(*shape):
        return nn.Parameter(torch.zeros(shape))

    assert n_prefix_tokens(nn.Conv2d(3, 4, 3)) == 0
    assert n_prefix_tokens(Tokens(class_token=zeros(1, 1, 8))) == 1
    assert n_prefix_tokens(nn.Sequential(nn.ReLU(), Tokens(cls_token=zeros(1, 1, 8)))) == 1
    assert n_prefix_tokens(Tokens(class_embedding=zeros(8))) == 1
    registers = Tokens(cls_token=zeros(1, 1, 8), register_tokens=zeros(1, 4, 8))
    assert n_prefix_tokens(registers) == 5
    assert n_prefix_tokens(Tokens(cls_token=zeros(1, 1, 8), register_tokens=None)) == 1
    distilled = Tokens(cls_token=zeros(1, 1, 8), distillation_token=zeros(1, 1, 8))
    assert n_prefix_tokens(distilled) == 2
    # timm's own word counts, also where it is none.
    assert n_prefix_tokens(Tokens(cls_token=zeros(1, 1, 8), num_prefix_tokens=5)) == 5
    assert n_prefix_tokens(Tokens(cls_token=None, num_prefix_tokens=0)) == 0
    # A setting of that name is no token.
    assert n_prefix_tokens(Tokens(class_token=True)) == 0
