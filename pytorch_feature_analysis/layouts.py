"""Where the channels of a layer's output are: maps, tokens and vectors told apart.

The mean over positions needs the channel axis, and no shape tells it: (56, 56, 96) is a map of 96
channels in a Swin transformer, (96, 56, 56) one in a ResNet, and a ConvNeXt block holds both. The
kind of module that made the output tells it; modules that act element by element (ReLU, dropout,
containers) hand on what came before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.pooling import (
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    _AvgPoolNd,
    _LPPoolNd,
    _MaxPoolNd,
)

_CHANNELS_FIRST = (
    _ConvNd,
    _BatchNorm,
    _InstanceNorm,
    _MaxPoolNd,
    _AvgPoolNd,
    _LPPoolNd,
    _AdaptiveAvgPoolNd,
    _AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.PixelShuffle,
    nn.Upsample,
    nn.Dropout2d,
    nn.Dropout3d,
)
_CHANNELS_LAST = (
    nn.Linear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.RNNBase,
)


@dataclass(frozen=True)
class Layout:
    """Shape of one image's output and the axis of it that holds the channels."""

    shape: tuple[int, ...]
    channel_axis: int
    kind: str
    """'vector', 'map' (channels over space) or 'tokens' (n_tokens, n_features)."""

    @property
    def n_units(self) -> int:
        """Number of units in one image's output."""
        units = 1
        for size in self.shape:
            units *= size
        return units

    @property
    def n_channels(self) -> int:
        """Length of the channel axis."""
        return self.shape[self.channel_axis] if self.shape else 1

    @property
    def position_axes(self) -> tuple[int, ...]:
        """All axes but that of the channels."""
        return tuple(axis for axis in range(len(self.shape)) if axis != self.channel_axis)


def infer_layout(module: nn.Module, shape: tuple[int, ...], earlier: Sequence[Layout]) -> Layout:
    """Layout of an output of `shape` (without the batch) of `module`.

    `earlier` holds the layouts of the outputs before it, in order of execution.
    """
    if len(shape) <= 1:
        return Layout(shape, 0, "vector")
    name = type(module).__name__
    # torchvision's ConvNeXt norm is a LayerNorm by inheritance, over channels that come first.
    if isinstance(module, _CHANNELS_FIRST) or name in ("LayerNorm2d", "FrozenBatchNorm2d"):
        return _laid_out(shape, 0)
    if isinstance(module, _CHANNELS_LAST):
        return _laid_out(shape, len(shape) - 1)
    if name == "Permute" and earlier and hasattr(module, "dims"):
        moved = _permuted(shape, earlier[-1], tuple(module.dims))
        if moved is not None:
            return moved
    for known in reversed(earlier):
        if known.shape == shape:
            return Layout(shape, known.channel_axis, known.kind)
    for known in reversed(earlier):
        if len(known.shape) == len(shape):
            return Layout(shape, known.channel_axis, known.kind)
    return _laid_out(shape, len(shape) - 1 if len(shape) == 2 else 0)


def _laid_out(shape: tuple[int, ...], channel_axis: int) -> Layout:
    tokens = len(shape) == 2 and channel_axis == 1
    return Layout(shape, channel_axis, "tokens" if tokens else "map")


def _permuted(shape: tuple[int, ...], before: Layout, dims: tuple[int, ...]) -> Layout | None:
    """Layout after torchvision's Permute, whose dims count the batch axis."""
    if len(dims) != len(before.shape) + 1 or dims[0] != 0:
        return None
    order = [dim - 1 for dim in dims[1:]]
    if tuple(before.shape[axis] for axis in order) != shape:
        return None
    return _laid_out(shape, order.index(before.channel_axis))
