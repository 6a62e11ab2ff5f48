"""Types of activations: what a layer's output gives as the pattern of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._threads import by_rows
from pytorch_feature_analysis.layouts import Layout, n_prefix_tokens

ACTIVATION_TYPES = ("unit_level", "feature_means", "cls_token")


def check_types(activation_types: Any) -> list[str]:
    """Return the types of activations as a list, or raise."""
    types = check_sequence(activation_types, argument="activation_types", of="activation types")
    for kind in types:
        check_name(kind, ACTIVATION_TYPES, argument="activation_types", what="type of activation")
    if not types or len(set(types)) < len(types):
        raise ValueError(f"`activation_types` must name at least one type, each once: {types}.")
    return types


def check_prefix_tokens(
    model: nn.Module, name: str, types: Sequence[str], exclude_prefix_tokens: bool
) -> None:
    """Raise where class tokens are asked for, or are to be left out, and the model has none."""
    if ("cls_token" in types or exclude_prefix_tokens) and not n_prefix_tokens(model):
        argument = "exclude_prefix_tokens" if exclude_prefix_tokens else "activation_types"
        raise ValueError(
            f"`{argument}` speaks of a class token, but model '{name}'"
            f" ({type(model).__name__}) has none; leave it out for this model."
        )


def pooled(activation_type: str, layout: Layout) -> str:
    """Say how patterns are made; a vector has no positions to average."""
    return activation_type if layout.position_axes else "unit_level"


def patterns_of(
    output: torch.Tensor, layout: Layout, kind: str, n_prefix: int = 0, *, on_device: bool = False
) -> Any:
    """Patterns (n_images, n_units) of one type, from an output (n_images, ...).

    Parameters
    ----------
    n_prefix
        Class and register tokens that means leave out.
    on_device
        Leave them where the network runs, a tensor; else they are an array, which shares the
        output's memory where it can.
    """
    output = as_float(output)
    is_mean = kind == "feature_means"
    axes = tuple(axis + 1 for axis in layout.position_axes) if is_mean else ()
    if kind == "cls_token":
        output = output[:, 0]
    elif is_mean and layout.kind == "tokens":
        output = output[:, n_prefix:]
    if on_device:
        means = output.mean(dim=axes) if axes else output
        return means.reshape(len(means), -1)
    table = output.cpu().numpy()
    if axes:
        table = _means(table, axes)
    return table.reshape(len(table), -1)


def as_float(output: torch.Tensor) -> torch.Tensor:
    """Return the output in float32, or in float64 where float32 would not hold it."""
    if output.dtype in (torch.float32, torch.float64):
        return output
    # What runs on MPS has no float64.
    whole = output.dtype in (torch.int32, torch.int64) and output.device.type != "mps"
    return output.double() if whole else output.float()


def _means(table: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Means in float64 over axes other than the first.

    Torch's own mean in float64 of float32 takes seven times as long.
    """
    means = np.empty([n for axis, n in enumerate(table.shape) if axis not in axes])

    def fill(rows: slice) -> None:
        np.mean(table[rows], axis=axes, dtype=np.float64, out=means[rows])

    by_rows(fill, len(table), table.size)
    return means
