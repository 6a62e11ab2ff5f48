"""The activation stream: what each layer put out, at the moment it did.

One idea: a consumer sees every output inside the forward hook, before a later in-place operation
can overwrite it, and takes from it what it needs (a product, a mean, a copy).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.held_models import as_it_came, first_tensor, hooked
from pytorch_feature_analysis.layouts import Layout


class _LastWantedLayerReached(BaseException):
    """Ends a forward pass; not an Exception, so that no model's own handler swallows it."""


@dataclass(frozen=True)
class Target:
    """One output of one pass: which call of which module, and what it looks like."""

    label: tuple[str, int]
    path: str
    call: int
    """Which call in a pass, from 1; 0 for the input itself."""
    n_calls: int
    """How often the module is called in a pass."""
    batch_axis: int
    layout: Layout
    same_as: str = ""
    """Name of an earlier target whose output this one is, unchanged (dropout in eval mode)."""


def stream_outputs(
    model: nn.Module,
    batches: Iterable[Batch],
    targets: Sequence[Target],
    consume: Callable[[Target, Batch, torch.Tensor], None],
    *,
    device: Any = None,
) -> None:
    """Pass the batches and hand every wanted output to `consume` as it is made.

    Parameters
    ----------
    consume
        Called as ``consume(target, batch, output)`` with the output (n_images, ...) of the
        batch's images, padding taken off, batch axis first. The tensor is the network's own: it
        is valid during the call only, and must not be changed.
    """
    wanted: dict[tuple[str, int], list[Target]] = {}
    for target in targets:
        if target.call:
            wanted.setdefault((target.path, target.call), []).append(target)
    inputs = [target for target in targets if not target.call]
    n_calls = {target.path: target.n_calls for target in targets if target.call}
    missing = set(wanted)
    batch: Batch

    def on_output(path: str, call: int, output: Any) -> None:
        if call > n_calls[path]:
            raise RuntimeError(
                _other_way(f"module '{path}' is called more often than in the first pass")
            )
        for target in wanted.get((path, call), ()):
            consume(target, batch, _rows_of_images(target, batch, output))
        missing.discard((path, call))
        if not missing:
            raise _LastWantedLayerReached

    with as_it_came(model, device) as place, hooked(model, n_calls, on_output) as calls:
        for batch in batches:
            for target in inputs:
                consume(target, batch, batch.tensor[: len(batch.positions)])
            if not wanted:
                continue
            calls.clear()
            missing.update(wanted)
            try:
                model(place(batch.tensor))
            except _LastWantedLayerReached:
                continue
            if missing:
                paths = ", ".join(f"'{path}'" for path, _ in sorted(missing))
                raise RuntimeError(
                    _other_way(f"module {paths} is called less often than in the first pass")
                )


def _rows_of_images(target: Target, batch: Batch, output: Any) -> torch.Tensor:
    tensor = first_tensor(output)
    axis = target.batch_axis
    if tensor is None or tensor.shape[axis : axis + 1] != (len(batch.tensor),):
        came = "no tensor" if tensor is None else f"the shape {tuple(tensor.shape)}"
        raise RuntimeError(
            f"module '{target.path}' puts out {came} for a batch of {len(batch.tensor)}, but held"
            f" the images on axis {axis} in the first pass. A network that drops the axis of a"
            " batch of one takes `batch_size` of at least 2."
        )
    return tensor.movedim(axis, 0)[: len(batch.positions)]


def _other_way(what: str) -> str:
    return (
        f"{what}: a network whose path depends on the images cannot be captured in batches."
        " Capture its images in one call each, or name in `which_layers` only layers that every"
        " image passes alike."
    )
