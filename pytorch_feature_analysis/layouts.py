"""Where the channels of a layer's output are: maps, tokens and vectors told apart.

The mean over positions needs the channel axis, and no shape tells it: (56, 56, 96) is a map of 96
channels in a Swin transformer, (96, 56, 56) one in a ResNet, and a ConvNeXt block holds both. The
kind of module that made the output tells it; what modules without a kind (ReLU, dropout,
containers) put out is laid out like outputs of the same shape before or after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
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
    nn.PixelUnshuffle,
    nn.Upsample,
    nn.Softmax2d,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
)
_CHANNELS_LAST = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.RNNBase,
)
# Known by name, so that the packages that they are from need not be there.
_CHANNELS_FIRST_BY_NAME = ("FrozenBatchNorm2d", "WindowDepartition")
_CHANNELS_LAST_BY_NAME = ("WindowPartition",)
_PREFIX_TOKENS = (
    *("class_token", "cls_token", "class_embedding"),
    *("distillation_token", "dist_token"),
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
        return math.prod(self.shape)

    @property
    def n_channels(self) -> int:
        """Length of the channel axis."""
        return self.shape[self.channel_axis] if self.shape else 1

    @property
    def position_axes(self) -> tuple[int, ...]:
        """All axes but that of the channels."""
        return tuple(axis for axis in range(len(self.shape)) if axis != self.channel_axis)


def infer_layouts(outputs: Sequence[tuple[nn.Module, tuple[int, ...]]]) -> list[Layout]:
    """Layouts of the outputs of one pass.

    Parameters
    ----------
    outputs
        Module and shape (without the batch) of every output, in order of execution.
    """
    told = [_told_by_kind(module, shape) for module, shape in outputs]
    layouts: list[Layout] = []
    for place, (module, shape) in enumerate(outputs):
        layout = told[place] or _told_by_input(module, shape, layouts[-1] if layouts else None)
        layouts.append(layout or _like_others(shape, layouts, told[place + 1 :]))
    return layouts


def _told_by_kind(module: nn.Module, shape: tuple[int, ...]) -> Layout | None:
    if len(shape) <= 1:
        return Layout(shape, 0, "vector")
    if isinstance(module, nn.LayerNorm):
        # A LayerNorm over channels that come first is named LayerNorm2d (torchvision, timm) or
        # says so (Hugging Face); one over all axes of a map says nothing.
        named_first = type(module).__name__.endswith("2d")
        if named_first or getattr(module, "data_format", "") == "channels_first":
            return _laid_out(shape, 0)
        return _laid_out(shape, len(shape) - 1) if len(module.normalized_shape) == 1 else None
    name = type(module).__name__
    if isinstance(module, _CHANNELS_FIRST) or name in _CHANNELS_FIRST_BY_NAME:
        return _laid_out(shape, 0)
    if isinstance(module, _CHANNELS_LAST) or name in _CHANNELS_LAST_BY_NAME:
        return _laid_out(shape, len(shape) - 1)
    return None


def _told_by_input(
    module: nn.Module, shape: tuple[int, ...], before: Layout | None
) -> Layout | None:
    """Layout of what a module made of the output before it by moving or joining its axes."""
    if before is None:
        return None
    order = _moved_axes(module, len(before.shape) + 1)
    if order is not None:
        axes = [axis - 1 for axis in order[1:]]
        moved = tuple(before.shape[axis] for axis in axes)
        return _laid_out(shape, axes.index(before.channel_axis)) if moved == shape else None
    joined = isinstance(module, nn.Flatten) and before.channel_axis == 0
    return _laid_out(shape, 0) if joined and before.shape[:1] == shape[:1] else None


def _moved_axes(module: nn.Module, ndim: int) -> list[int] | None:
    """Where the axes (with the batch) come from in torchvision's modules that only move them."""
    name, order = type(module).__name__, list(range(ndim))
    if name == "Permute":
        order = [dim % ndim for dim in getattr(module, "dims", ())]
    elif name == "SwapAxes":
        a, b = getattr(module, "a", 0) % ndim, getattr(module, "b", 0) % ndim
        order[a], order[b] = order[b], order[a]
    else:
        return None
    return order if order[:1] == [0] and sorted(order) == list(range(ndim)) else None


def _like_others(
    shape: tuple[int, ...], earlier: Sequence[Layout], later: Sequence[Layout | None]
) -> Layout:
    """Layout like that of the nearest output of the same shape, or number of axes."""
    for known in (*reversed(earlier), *later):
        if known is not None and known.shape == shape:
            return known
    for known in reversed(earlier):
        if len(known.shape) == len(shape):
            axis = known.channel_axis
            return Layout(shape, axis, known.kind)
    return _laid_out(shape, len(shape) - 1 if len(shape) == 2 else 0)


def _laid_out(shape: tuple[int, ...], channel_axis: int) -> Layout:
    tokens = len(shape) == 2 and channel_axis == 1
    return Layout(shape, channel_axis, "tokens" if tokens else "map")


def n_prefix_tokens(model: nn.Module) -> int:
    """Class and register tokens before those of the image; 0 for a model without class token.

    timm's models say it in `num_prefix_tokens`; others hold the tokens as parameters.
    """
    for module in model.modules():
        declared = getattr(module, "num_prefix_tokens", None)
        if isinstance(declared, int):
            return declared
        tokens = [getattr(module, name, None) for name in _PREFIX_TOKENS]
        if any(isinstance(token, torch.Tensor) for token in tokens):
            tokens.append(getattr(module, "register_tokens", None))
            return sum(_n_tokens(token) for token in tokens if isinstance(token, torch.Tensor))
    return 0


def _n_tokens(tokens: torch.Tensor) -> int:
    # A parameter of tokens is (..., n_tokens, n_features).
    return tokens.shape[-2] if tokens.ndim > 1 else 1
