"""RDMs of many image sets and layers from one pass over the images.

A pattern is kept only while a set that it belongs to is not complete: as soon as the batch with a
set's last image is in a hook, the RDMs of the set are computed there. The images of that batch
are read off the network's own output, and never copied for the set.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from pytorch_feature_analysis.activation_types import patterns_of, pooled
from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.bounded_rdms import compute_bounded_rdms
from pytorch_feature_analysis.device_patterns import DevicePatterns, DeviceTable
from pytorch_feature_analysis.dissimilarity import Metric, undefined_patterns
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.pattern_rows import (
    Arena,
    Chosen,
    Gathered,
    PatternStore,
    Slots,
    SpillFile,
    Table,
)
from pytorch_feature_analysis.pattern_sources import PatternSource, as_source, whole_pattern
from pytorch_feature_analysis.projection import Projected, Projector
from pytorch_feature_analysis.stream import Target


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


class HeldPositions:
    """Which images of a run wait for a later batch with the rest of a set, and in which slots.

    Batches are gone through in order; a slot is free again when the last set that needs its image
    is complete.
    """

    def __init__(self, sets: Sequence[SetPlan]) -> None:
        self._spans = [(min(plan.positions), max(plan.positions), plan) for plan in sets]
        self._needed_until: dict[int, int] = {}
        for _, last, plan in self._spans:
            for position in plan.positions:
                self._needed_until[position] = max(last, self._needed_until.get(position, -1))
        self._free: list[int] = []
        self._batch: tuple[int, int] = (-1, -1)
        self.slots: dict[int, int] = {}
        self.n_slots = 0
        """How many were ever in use at the same time."""

    def begin_batch(self, positions: Sequence[int]) -> None:
        """Free what the batches before have done with, and find slots for what must wait."""
        first, last = positions[0], positions[-1]
        if (first, last) == self._batch:
            return
        for position in [p for p in self.slots if self._needed_until[p] < first]:
            heapq.heappush(self._free, self.slots.pop(position))
        waiting: set[int] = set()
        for begin, end, plan in self._spans:
            if begin <= last < end:
                waiting.update(p for p in plan.positions if first <= p <= last)
        for position in sorted(waiting):
            if not self._free:
                heapq.heappush(self._free, self.n_slots)
                self.n_slots += 1
            self.slots[position] = heapq.heappop(self._free)
        self._batch = (first, last)


def n_held(sets: Sequence[SetPlan], batch_size: int) -> int:
    """Count the patterns that are kept at the same time, at most."""
    held = HeldPositions(sets)
    n_images = 1 + max(position for plan in sets for position in plan.positions)
    for start in range(0, n_images, batch_size):
        held.begin_batch(range(start, min(start + batch_size, n_images)))
    return held.n_slots


@dataclass
class RdmAccumulator:
    """Consumer of the stream that turns outputs into RDMs, one list (a metric each) a cell.

    Parameters
    ----------
    wanted
        The cells to compute; nothing else is kept or computed.
    n_slots
        Patterns that are kept at the same time, as `n_held` counts them.
    spilled
        Layers whose patterns are kept in a file, in `folder`, and not in memory.
    room
        Bytes that copies of patterns may take, for metrics that need whole patterns.
    projection, projection_root
        To how many numbers patterns are projected, and the seed; None keeps them as they are.
    """

    sets: Sequence[SetPlan]
    metrics: Sequence[Metric]
    kernel_sets: Sequence[KernelSet]
    wanted: frozenset[Cell]
    n_prefix_tokens: int = 0
    n_slots: int = 0
    spilled: frozenset[str] = frozenset()
    folder: str | None = None
    room: float = float("inf")
    arena: Arena | None = None
    projection: int | None = None
    projection_root: int = 0
    rdms: dict[Cell, list[np.ndarray]] = field(default_factory=dict)
    undefined: dict[Cell, list[Any]] = field(default_factory=dict)
    """Per cell the entries without a defined dissimilarity, by any of the metrics."""
    _stores: dict[tuple[str, str, int], PatternStore | DeviceTable] = field(default_factory=dict)
    _projectors: dict[tuple[str, str, int], Projector] = field(default_factory=dict)
    _layers: dict[str, list[tuple[int, list[tuple[str, str]]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = [max(plan.positions) for plan in self.sets]
        self._held = HeldPositions(self.sets)
        by_layer: dict[str, dict[int, list[tuple[str, str]]]] = {}
        for index, layer, activation_type, kernel_set in self.wanted:
            by_layer.setdefault(layer, {}).setdefault(index, []).append(
                (activation_type, kernel_set)
            )
        self._layers = {layer: sorted(cells.items()) for layer, cells in by_layer.items()}
        self._channels = {kernel_set.name: kernel_set for kernel_set in self.kernel_sets}

    def one_shape_a_set(self, batches: Iterable[Batch], names: Sequence[str]) -> Iterator[Batch]:
        """Pass the batches on, and stop at the first set whose images have different sizes."""
        shapes: dict[int, tuple[int, ...]] = {}
        for batch in batches:
            shapes.update(dict.fromkeys(batch.positions, tuple(batch.tensor.shape[1:])))
            fresh = set(batch.positions)
            for plan in self.sets:
                if not fresh.isdisjoint(plan.positions):
                    _check_one_shape(plan, shapes, names)
            yield batch

    def close(self) -> None:
        """Give back what is still kept."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def __call__(self, target: Target, batch: Batch, output: torch.Tensor) -> None:
        """Take one layer's output of one batch."""
        layer, layout = target.label[0], target.layout
        if layer not in self._layers:
            return
        self._held.begin_batch(batch.positions)
        kinds = {pooled(kind, layout) for _, cells in self._layers[layer] for kind, _ in cells}
        fresh = {kind: self._patterns(layer, layout, output, kind) for kind in kinds}
        waiting = [row for row, p in enumerate(batch.positions) if p in self._held.slots]
        if waiting:
            slots = [self._held.slots[batch.positions[row]] for row in waiting]
            rows = slice(waiting[0], waiting[-1] + 1)
            chosen = rows if waiting == list(range(rows.start, rows.stop)) else waiting
            for kind, patterns in fresh.items():
                store: Any = self._store(layer, kind, patterns)
                store.put(slots, patterns[chosen])
        first, last = batch.positions[0], batch.positions[-1]
        for index, cells in self._layers[layer]:
            if first <= self._last[index] <= last:
                shape = tuple(output.shape[1:])
                self._finish_set(index, layer, replace(layout, shape=shape), cells, first, fresh)
        if max(self._last[index] for index, _ in self._layers[layer]) <= last:
            for key in [key for key in self._stores if key[0] == layer]:
                self._stores.pop(key).close()

    def _patterns(
        self, layer: str, layout: Layout, output: torch.Tensor, kind: str
    ) -> np.ndarray | torch.Tensor:
        """Patterns (n_images, n_units) of one activation type, where they are compared."""
        is_plain = self.projection is None
        on_device = stays_on_device(output) and is_plain and layer not in self.spilled
        patterns: np.ndarray | torch.Tensor = patterns_of(
            output, layout, kind, self.n_prefix_tokens, on_device=on_device
        )
        if is_plain or isinstance(patterns, torch.Tensor):
            return patterns
        return self._projector(layer, kind, patterns.shape[1]).project(patterns)

    def _projector(self, layer: str, kind: str, n_units: int) -> Projector:
        if (layer, kind, n_units) not in self._projectors:
            n_numbers = self.projection or n_units
            key = (self.projection_root, layer, kind)
            self._projectors[layer, kind, n_units] = Projector(n_units, n_numbers, *key)
        return self._projectors[layer, kind, n_units]

    def _store(
        self, layer: str, kind: str, patterns: np.ndarray | torch.Tensor
    ) -> PatternStore | DeviceTable:
        # Sets of images of different sizes may wait side by side.
        key = (layer, kind, patterns.shape[1])
        if key not in self._stores:
            self._stores[key] = self._make_store(layer, patterns)
        return self._stores[key]

    def _make_store(
        self, layer: str, patterns: np.ndarray | torch.Tensor
    ) -> PatternStore | DeviceTable:
        if isinstance(patterns, torch.Tensor):
            return DeviceTable(self.n_slots, patterns)
        n_units, dtype = patterns.shape[1], patterns.dtype
        if layer in self.spilled:
            return SpillFile(1 + max(self._last), n_units, dtype, self.folder)
        return Table(self.n_slots, n_units, dtype, self.arena)

    def _finish_set(
        self,
        index: int,
        layer: str,
        layout: Layout,
        cells: list[tuple[str, str]],
        first: int,
        fresh: dict[str, np.ndarray | torch.Tensor],
    ) -> None:
        plan = self.sets[index]
        done: dict[tuple[str, Any], tuple[list[np.ndarray], list[int]]] = {}
        for activation_type, kernel_name in cells:
            kind = pooled(activation_type, layout)
            channels = self._channels[kernel_name].of_layer(layer)
            if (kind, channels) not in done:
                shape = layout.shape if kind == "unit_level" else (layout.n_channels,)
                source = self._source(layer, kind, plan, first, fresh[kind])
                if plan.combinations:
                    combined = as_source(_combine(plan, source, shape))
                    source = Gathered.behind_each_other(source, combined)
                if isinstance(channels, tuple):
                    axis = layout.channel_axis if kind == "unit_level" else 0
                    units = np.arange(source.n_units).reshape(shape)
                    source = Chosen(source, np.take(units, channels, axis=axis).ravel())
                if self.projection is not None:
                    source = Projected(source, int(np.prod(shape)))
                done[kind, channels] = self._rdms_of(source)
            rdms, undefined = done[kind, channels]
            cell = Cell(index, layer, activation_type, kernel_name)
            self.rdms[cell] = rdms
            if undefined:
                self.undefined[cell] = [plan.entry_keys[i] for i in undefined]

    def _source(
        self, layer: str, kind: str, plan: SetPlan, first: int, fresh: np.ndarray | torch.Tensor
    ) -> PatternSource:
        """Patterns of a set's images, in its order."""
        is_fresh = [position >= first for position in plan.positions]
        places = [
            position - first if new else self._held.slots[position]
            for position, new in zip(plan.positions, is_fresh, strict=True)
        ]
        if all(is_fresh):
            return _of_rows(fresh, places)
        store: Any = self._stores[layer, kind, fresh.shape[1]]
        if isinstance(fresh, torch.Tensor):
            return DevicePatterns(store.gathered(places, is_fresh, fresh))
        if not any(is_fresh):
            return Slots(store, places)
        return Gathered([store, as_source(fresh)], is_fresh, places)

    def _rdms_of(self, source: PatternSource) -> tuple[list[np.ndarray], list[int]]:
        """RDMs, and the entries that have no dissimilarity by any of them."""

        def make_store(n_patterns: int, n_units: int, dtype: np.dtype) -> PatternStore:
            if n_patterns * n_units * dtype.itemsize > self.room:
                return SpillFile(n_patterns, n_units, dtype, self.folder)
            return Table(n_patterns, n_units, dtype)

        rdms = compute_bounded_rdms(source, self.metrics, self.room, make_store)
        undefined = {i for rdm in rdms for i in undefined_patterns(source, rdm)}
        return rdms, sorted(undefined)


def stays_on_device(output: torch.Tensor) -> bool:
    """Tell whether patterns wait and are compared where the network runs."""
    return output.device.type != "cpu"


def _of_rows(patterns: np.ndarray | torch.Tensor, rows: list[int]) -> PatternSource:
    """Read some of the patterns of a batch."""
    is_stretch = rows == list(range(rows[0], rows[0] + len(rows)))
    chosen = patterns[rows[0] : rows[-1] + 1] if is_stretch else patterns[rows]
    return DevicePatterns(chosen) if isinstance(chosen, torch.Tensor) else as_source(chosen)


def _combine(plan: SetPlan, source: PatternSource, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Patterns of the combinations of a set, each made of those of its images."""
    members = sorted({i for places, *_ in plan.combinations for i in places})
    patterns = {i: whole_pattern(source, i).reshape(shape) for i in members}
    combined = []
    n_images = len(plan.positions)
    for key, (places, function, options, unpack) in zip(
        plan.entry_keys[n_images:], plan.combinations, strict=True
    ):
        chosen = [patterns[i] for i in places]
        made = function(*chosen, **options) if unpack else function(chosen, **options)
        pattern = np.asarray(made)
        if pattern.shape != shape:
            raise ValueError(
                f"the combination {key} of the set {plan.name} has a pattern of shape"
                f" {pattern.shape}, but the images' patterns have {shape}; its"
                " function must return one pattern of the same shape, such as"
                " np.mean with {'axis': 0}."
            )
        combined.append(pattern.reshape(-1))
    return combined


def _check_one_shape(
    plan: SetPlan, shapes: Mapping[int, tuple[int, ...]], names: Sequence[str]
) -> None:
    passed = [position for position in plan.positions if position in shapes]
    first = passed[0]
    for position in passed:
        if shapes[position] != shapes[first]:
            raise ValueError(
                f"the images of the set {plan.name} have different sizes after the model's"
                f" preprocessing: {names[first]} becomes {shapes[first]}, {names[position]}"
                f" {shapes[position]}. Use a transform that makes them equal, such as"
                " transform='weights' in prepare_models."
            )
