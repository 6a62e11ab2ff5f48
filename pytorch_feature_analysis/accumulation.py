"""RDMs of many image sets and layers from one pass over the images.

A pattern is kept only while a set that it belongs to is not complete: as soon as the batch with a
set's last image is in a hook, the RDMs of the set are computed there, from the network's own
output where the batch holds it. A set that fits into one batch is never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from pytorch_feature_analysis.dissimilarity import Metric, compute_rdms, undefined_patterns
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.stream import Batch, Target, as_float

ACTIVATION_TYPES = ("unit_level", "feature_means", "cls_token")


@dataclass(frozen=True)
class SetPlan:
    """One image set of a run: where its images stand in the run, and what is made of them."""

    name: str
    """The labels as a text, for messages."""
    positions: tuple[int, ...]
    entry_keys: tuple[Any, ...]
    """Keys of the images, then of the combinations."""
    combinations: tuple[tuple[tuple[int, ...], Callable[..., Any], Mapping[str, Any], bool], ...]
    """Per combination the places of its images in the set, the function, its keyword arguments,
    and whether the patterns are passed as separate arguments."""


@dataclass(frozen=True)
class KernelSet:
    """Which channels of which layers enter the patterns; `channels` is None for all of all."""

    name: str
    channels: Mapping[str, tuple[int, ...]] | None

    def of_layer(self, layer: str) -> tuple[int, ...] | str | None:
        """'all', the channel indices, or None where the set leaves the layer out."""
        return "all" if self.channels is None else self.channels.get(layer)


class Cell(NamedTuple):
    """One kind of patterns, of which there is an RDM a metric."""

    set_index: int
    layer: str
    activation_type: str
    kernel_set: str


@dataclass
class RdmAccumulator:
    """Consumer of the stream that turns outputs into RDMs, one list (a metric each) a cell.

    Parameters
    ----------
    wanted
        The cells to compute; nothing else is kept or computed.
    """

    sets: Sequence[SetPlan]
    metrics: Sequence[Metric]
    kernel_sets: Sequence[KernelSet]
    wanted: frozenset[Cell]
    n_prefix_tokens: int = 0
    rdms: dict[Cell, list[np.ndarray]] = field(default_factory=dict)
    undefined: dict[Cell, list[Any]] = field(default_factory=dict)
    """Per cell the entries without a defined dissimilarity, by any of the metrics."""
    _held: dict[tuple[str, str], dict[int, np.ndarray]] = field(default_factory=dict)
    _layers: dict[str, list[tuple[int, list[tuple[str, str]]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = [max(plan.positions) for plan in self.sets]
        self._needed_until: dict[int, int] = {}
        for plan, last in zip(self.sets, self._last, strict=True):
            for position in plan.positions:
                self._needed_until[position] = max(last, self._needed_until.get(position, -1))
        by_layer: dict[str, dict[int, list[tuple[str, str]]]] = {}
        for index, layer, activation_type, kernel_set in self.wanted:
            by_layer.setdefault(layer, {}).setdefault(index, []).append(
                (activation_type, kernel_set)
            )
        self._layers = {layer: sorted(cells.items()) for layer, cells in by_layer.items()}

    def one_shape_a_set(self, batches: Iterable[Batch], names: Sequence[str]) -> Iterator[Batch]:
        """Pass the batches on, and stop at the first set whose images have different sizes."""
        shapes: dict[int, tuple[int, ...]] = {}
        for batch in batches:
            shapes.update(dict.fromkeys(batch.positions, tuple(batch.tensor.shape[1:])))
            for plan, last in zip(self.sets, self._last, strict=True):
                if batch.positions[0] <= last <= batch.positions[-1]:
                    _check_one_shape(plan, shapes, names)
            yield batch

    def __call__(self, target: Target, batch: Batch, output: torch.Tensor) -> None:
        """Take one layer's output of one batch."""
        layer = target.label[0]
        if layer not in self._layers:
            return
        first, last = batch.positions[0], batch.positions[-1]
        types = {kind for _, cells in self._layers[layer] for kind, _ in cells}
        fresh = {kind: self._patterns(target.layout, output, kind) for kind in types}
        for index, cells in self._layers[layer]:
            if first <= self._last[index] <= last:
                self._finish_set(index, layer, target.layout, cells, first, fresh)
        for kind, patterns in fresh.items():
            held = self._held.setdefault((layer, kind), {})
            for row, position in enumerate(batch.positions):
                if self._needed_until.get(position, -1) > last:
                    held[position] = patterns[row].copy()
            for position in [p for p in held if self._needed_until[p] <= last]:
                del held[position]

    def _patterns(self, layout: Layout, output: torch.Tensor, kind: str) -> np.ndarray:
        """Patterns (n_images, ...) of one activation type."""
        if kind == "cls_token":
            return as_float(output[:, 0]).cpu().numpy()
        axes = tuple(axis + 1 for axis in layout.position_axes)
        if kind == "unit_level" or not axes:
            return as_float(output).cpu().numpy()
        if layout.kind == "tokens" and self.n_prefix_tokens:
            output = output[:, self.n_prefix_tokens :]
        # float64 on devices that have none is made on the host.
        if output.device.type == "mps":
            output = output.cpu()
        return output.mean(dim=axes, dtype=torch.float64).cpu().numpy()

    def _finish_set(
        self,
        index: int,
        layer: str,
        layout: Layout,
        cells: list[tuple[str, str]],
        first: int,
        fresh: dict[str, np.ndarray],
    ) -> None:
        plan = self.sets[index]
        kernel_sets = {kernel_set.name: kernel_set for kernel_set in self.kernel_sets}
        done: dict[tuple[str, str], list[np.ndarray]] = {}
        for kind, kernel_name in cells:
            held = self._held.get((layer, kind), {})
            patterns = [
                fresh[kind][position - first] if position >= first else held[position]
                for position in plan.positions
            ]
            # A vector has no positions to average, so both types are one computation.
            pooled = kind if layout.position_axes else "unit_level"
            if (pooled, kernel_name) not in done:
                patterns += [
                    np.asarray(
                        function(*(patterns[i] for i in members), **options)
                        if unpack
                        else function([patterns[i] for i in members], **options)
                    )
                    for members, function, options, unpack in plan.combinations
                ]
                _check_combinations(plan, patterns)
                channels = kernel_sets[kernel_name].of_layer(layer)
                if isinstance(channels, tuple):
                    axis = layout.channel_axis if pooled == "unit_level" else 0
                    patterns = [np.take(pattern, channels, axis=axis) for pattern in patterns]
                rows = [pattern.reshape(-1) for pattern in patterns]
                done[pooled, kernel_name] = compute_rdms(rows, self.metrics)
                undefined = {
                    i for rdm in done[pooled, kernel_name] for i in undefined_patterns(rows, rdm)
                }
                if undefined:
                    cell = Cell(index, layer, kind, kernel_name)
                    self.undefined[cell] = [plan.entry_keys[i] for i in sorted(undefined)]
            self.rdms[Cell(index, layer, kind, kernel_name)] = done[pooled, kernel_name]


def _check_one_shape(
    plan: SetPlan, shapes: Mapping[int, tuple[int, ...]], names: Sequence[str]
) -> None:
    first = plan.positions[0]
    for position in plan.positions:
        if shapes[position] != shapes[first]:
            raise ValueError(
                f"the images of the set {plan.name} have different sizes after the model's"
                f" preprocessing: {names[first]} becomes {shapes[first]}, {names[position]}"
                f" {shapes[position]}. Use a transform that makes them equal, such as"
                " transform='weights' in prepare_models."
            )


def _check_combinations(plan: SetPlan, patterns: list[np.ndarray]) -> None:
    for key, pattern in zip(plan.entry_keys, patterns, strict=True):
        if pattern.shape != patterns[0].shape:
            raise ValueError(
                f"the combination {key} of the set {plan.name} has a pattern of shape"
                f" {pattern.shape}, but the images' patterns have {patterns[0].shape}; its"
                " function must return one pattern of the same shape, such as"
                " np.mean with {'axis': 0}."
            )
