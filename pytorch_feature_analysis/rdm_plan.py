"""Which rows a `get_rdms` call has, and the key of each: known before any pass.

A row's key is the hash of its names and of everything that its numbers depend on, so that equal
keys mean equal numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_name, child_generator
from pytorch_feature_analysis.accumulation import Cell, KernelSet, SetPlan
from pytorch_feature_analysis.activation_types import check_prefix_tokens
from pytorch_feature_analysis.activations import choose_targets, time_batch
from pytorch_feature_analysis.batches import pass_at_once, preprocessing_of, to_input
from pytorch_feature_analysis.dissimilarity import Metric
from pytorch_feature_analysis.fingerprints import fingerprint, weights_hash
from pytorch_feature_analysis.image_sets import ImageSet
from pytorch_feature_analysis.layers import resolve_layers
from pytorch_feature_analysis.pass_resources import is_out_of_memory
from pytorch_feature_analysis.planning import machine_memory
from pytorch_feature_analysis.preprocessing import description_of
from pytorch_feature_analysis.rdm_jobs import ImagePool
from pytorch_feature_analysis.stream import Target

# Part of every key: raised when the same settings come to give other numbers.
_KEY_VERSION = 2
# Sets that follow each other share passes up to this number of images.
_RUN_IMAGES = 256
# Large networks are fastest in small batches, whose outputs stay in the processor's cache: from
# so many units on, so many images a pass.
_BATCH_SIZES = ((16_000_000, 4), (8_000_000, 8), (0, 16))
# A small set passes a small network at once, in a batch of its own size in steps of so many: none
# of its patterns has to wait for the others.
_STEP = 4
# What `batch_size='auto'` tries.
_MEASURED_BATCH_SIZES = (4, 16, 64)


@dataclass(frozen=True)
class PlannedLayer:
    """What the rows of a layer need to know of it before any pass."""

    label: tuple[str, int]
    n_channels: int
    is_tokens: bool


@dataclass
class ModelPlan:
    """One model of a run: what identifies it, and its layers."""

    name: str
    model: nn.Module
    request: list[Any] | None
    calls: str
    kernel_sets: tuple[KernelSet, ...]
    asked_batch_size: int | str | None
    is_kept: bool = True
    """Whether rows go into a file, where they must tell which weights they were made from."""
    model_hash: str = ""
    preprocessing: str = ""
    layers: list[PlannedLayer] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    batch_size: int = 0
    n_units: int = 0
    """Units of the whole network, of which the size of a batch follows."""

    def __post_init__(self) -> None:
        """Identify the model; an error says when it carries no preprocessing."""
        self.preprocessing = description_of(preprocessing_of(self.model, self.name))
        if self.is_kept:
            self.model_hash = weights_hash(self.model)

    @cached_property
    def layers_text(self) -> str:
        """What was asked for and found, kept with each row so that it need not be found anew."""
        return json.dumps(
            {
                "request": self._request_text,
                "layers": [
                    [*layer.label, layer.n_channels, layer.is_tokens] for layer in self.layers
                ],
                "batch_size": self.batch_size,
                "n_units": self.n_units,
            }
        )

    @property
    def _request_text(self) -> str:
        return repr((self.request, self.calls, self.asked_batch_size))

    def find_layers(self, pool: ImagePool, device: Any) -> list[str]:
        """Survey the model with the first image; returns the layers that are never called."""
        example = to_input(pool.images[0], preprocessing_of(self.model, self.name), pool.names[0])
        self.targets, unfired, self.n_units = choose_targets(
            self.model,
            example,
            self.request,
            calls=self.calls,
            model_name=self.name,
            device=device,
        )
        self.layers = [
            PlannedLayer(target.label, target.layout.n_channels, target.layout.kind == "tokens")
            for target in self.targets
        ]
        if not self.batch_size:
            self.batch_size = self._choose_batch_size(example, device)
        return unfired

    def batch_size_for(self, n_images: int) -> int:
        """Images a pass for a set of so many, whatever other sets there are."""
        at_once = -(-n_images // _STEP) * _STEP
        is_small = self.asked_batch_size is None and pass_at_once(at_once, self.n_units)
        return max(self.batch_size, at_once) if is_small else self.batch_size

    def _choose_batch_size(self, example: torch.Tensor, device: Any) -> int:
        if isinstance(self.asked_batch_size, int):
            return self.asked_batch_size
        if self.asked_batch_size is None:
            return next(size for least, size in _BATCH_SIZES if self.n_units >= least)
        seconds: dict[int, float] = {}
        for size in _MEASURED_BATCH_SIZES:
            try:
                times = time_batch(self.model, example, self.targets, size, device=device)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                break
            seconds[size] = times.total / size
        return min(seconds, key=lambda size: seconds[size], default=1)

    def recall_layers(self, stored: pd.DataFrame) -> bool:
        """Take the layers from rows of the same model and request, without a pass."""
        same = stored[
            (stored["model_hash"] == self.model_hash)
            & (stored["preprocessing"] == self.preprocessing)
        ]
        for text in same["layers"].dropna().unique():
            recorded = json.loads(text)
            if recorded["request"] == self._request_text and "n_units" in recorded:
                self.batch_size, self.n_units = recorded["batch_size"], recorded["n_units"]
                self.layers = [
                    PlannedLayer((name, number), n_channels, is_tokens)
                    for name, number, n_channels, is_tokens in recorded["layers"]
                ]
                return True
        return False

    def check_layers(self, types: Sequence[str], exclude_prefix_tokens: bool) -> None:
        """Check kernel sets and activation types against the layers that were found."""
        channels = {layer.label[0]: layer.n_channels for layer in self.layers}
        for kernel_set in self.kernel_sets:
            for layer, indices in (kernel_set.channels or {}).items():
                # A layer that was left out by `which_layers` needs no check.
                n_channels = channels.get(layer, max(indices) + 1)
                if min(indices) < 0 or max(indices) >= n_channels:
                    raise ValueError(
                        f"`kernel_sets`: '{kernel_set.name}' names channels {list(indices)} of"
                        f" layer '{layer}' of model '{self.name}', which has the channels 0 to"
                        f" {n_channels - 1}."
                    )
        check_prefix_tokens(self.model, self.name, types, exclude_prefix_tokens)


@dataclass(frozen=True)
class Row:
    """One row of the stack to be: its place, its names, and its key."""

    set_index: int
    plan: ModelPlan
    layer: PlannedLayer
    metric_index: int
    activation_type: str
    kernel_set: KernelSet
    perm: int
    """0 for the data as they are."""
    key: str

    @property
    def cell(self) -> Cell:
        """Place of the row's matrices in the result of its model's job."""
        return Cell(
            self.set_index,
            self.layer.label[0],
            self.activation_type,
            self.kernel_set.name,
        )


def plan_rows(
    set_hashes: Sequence[str],
    sets: Sequence[ImageSet],
    plans: Sequence[ModelPlan],
    metrics: Sequence[Metric],
    types: Sequence[str],
    scrambles: Sequence[Sequence[tuple[int, ...]]],
    settings: Mapping[str, Any],
) -> Iterator[Row]:
    """Every row in the guide's order: set, model, layer, metric, type, kernel set, permutation."""
    metric_texts = [fingerprint((metric.name, metric.from_rows)) for metric in metrics]
    for set_index, image_set in enumerate(sets):
        made_of_set = fingerprint(
            (_KEY_VERSION, set_hashes[set_index], image_set.labels, dict(settings))
        )
        scrambled = [fingerprint(scramble) for scramble in scrambles[set_index]]
        for plan in plans:
            made_of = (
                made_of_set,
                *(plan.name, plan.model_hash, plan.preprocessing),
                plan.batch_size_for(len(sets[set_index].images)),
            )
            for layer in plan.layers:
                for metric_index, metric_text in enumerate(metric_texts):
                    for kind in types:
                        if kind == "cls_token" and not layer.is_tokens:
                            continue
                        for kernel_set in plan.kernel_sets:
                            channels = kernel_set.of_layer(layer.label[0])
                            if channels is None:
                                continue
                            cell = (layer.label, metric_text, kind, kernel_set.name, channels)
                            for perm, scramble in enumerate(scrambled):
                                key = fingerprint((made_of, cell, perm, scramble))
                                yield Row(
                                    set_index,
                                    plan,
                                    layer,
                                    metric_index,
                                    kind,
                                    kernel_set,
                                    perm,
                                    key,
                                )


def pack_runs(positions: Sequence[Sequence[int]], *, at_once: bool = False) -> list[list[int]]:
    """Share sets out among runs of images that pass together, by their places.

    Sets that pass at once, a batch each, are together where they have images in common. What is
    in a run follows from the sets before it alone, so that sets added behind change none.
    """
    runs: list[list[int]] = []
    images: set[int] = set()
    for index, of_set in enumerate(positions):
        is_apart = at_once and images.isdisjoint(of_set)
        if not runs or is_apart or len(images.union(of_set)) > max(_RUN_IMAGES, len(images)):
            runs.append([])
            images = set()
        runs[-1].append(index)
        images.update(of_set)
    return runs


def plan_sets(sets: Sequence[ImageSet], pool: ImagePool) -> tuple[list[SetPlan], list[str]]:
    """Places of the images of each set, and the hash of all that its patterns are made from."""
    plans, hashes = [], []
    for image_set, positions in zip(sets, pool.positions, strict=True):
        place = {key: i for i, key in enumerate(image_set.images)}
        combinations = tuple(
            (
                tuple(place[key] for key in combo.keys),
                combo.func,
                combo.kwargs,
                combo.unpack,
            )
            for combo in image_set.combos
        )
        name = ", ".join(f"{label}={value}" for label, value in image_set.labels.items())
        plans.append(SetPlan(f"({name})", positions, image_set.entry_keys, combinations))
        contents = [pool.hashes[position] for position in positions]
        hashes.append(
            fingerprint((image_set.entry_types, image_set.entry_keys, contents, combinations))
        )
    return plans, hashes


def draw_scrambles(
    sets: Sequence[ImageSet], num_perms: int, root: int
) -> list[list[tuple[int, ...]]]:
    """Per set the orders of the entries: as they are, then one scramble a permutation.

    A scramble is a function of the seed, the set's labels and the permutation's number alone.
    """
    scrambles = []
    for image_set in sets:
        n_entries = len(image_set.entry_keys)
        labels = tuple(sorted((name, repr(value)) for name, value in image_set.labels.items()))
        drawn = [
            tuple(child_generator(root, "perm", labels, k).permutation(n_entries).tolist())
            for k in range(1, num_perms + 1)
        ]
        scrambles.append([tuple(range(n_entries)), *drawn])
    return scrambles


def check_memory(n_rdms: int, sets: Sequence[ImageSet], num_perms: int) -> None:
    """Refuse a stack that does not fit the machine's memory, with a word on what to do.

    `n_rdms` counts the RDMs of one image set without permutations.
    """
    cells = sum(len(image_set.entry_keys) ** 2 for image_set in sets)
    needed = 8 * cells * n_rdms * (num_perms + 1)
    memory = machine_memory()
    if needed > memory:
        advice = (
            f"`num_perms`={num_perms} makes {num_perms + 1} copies of each RDM; use fewer, or"
            " permute one level up with get_meta_rdms(num_perms=...), or one layer at a time with"
            " `which_layers`"
            if num_perms
            else "take fewer layers a call with `which_layers`"
        )
        raise ValueError(
            f"the stack needs {needed / 2**30:.1f} GB, more than the {memory / 2**30:.1f} GB of"
            f" this machine: {advice}."
        )


def check_kernel_sets(
    kernel_sets: Sequence[Any], models: Mapping[str, nn.Module]
) -> dict[str, tuple[KernelSet, ...]]:
    """Per model the kernel sets, with layers by name and channels as tuples."""
    form = "`kernel_sets` must hold (name, 'all') or (name, {(model, layer): [channel, ...]}),"
    found: dict[str, list[KernelSet]] = {name: [] for name in models}
    names: list[str] = []
    for kernel_set in kernel_sets:
        if not isinstance(kernel_set, (tuple, list)) or len(kernel_set) != 2:
            raise TypeError(f"{form} not {kernel_set!r}.")
        set_name, of_layers = kernel_set
        names.append(set_name)
        if isinstance(of_layers, str) and of_layers == "all":
            for kernels in found.values():
                kernels.append(KernelSet(set_name, None))
            continue
        if not isinstance(of_layers, Mapping):
            raise TypeError(f"{form} not {kernel_set!r}.")
        channels: dict[str, dict[str, tuple[int, ...]]] = {name: {} for name in models}
        for where, indices in of_layers.items():
            if not isinstance(where, tuple) or len(where) != 2:
                raise TypeError(f"{form} not the key {where!r}.")
            check_name(where[0], models, argument="kernel_sets", what="model")
            model = models[where[0]]
            (request,) = resolve_layers(model, [where[1]], model_name=where[0])
            chosen = tuple(int(index) for index in np.atleast_1d(indices))
            if not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"`kernel_sets`: '{set_name}' must name channels of {where}, each once, not"
                    f" {indices!r}."
                )
            channels[where[0]][request.label[0]] = chosen
        for name, kernels in found.items():
            kernels.append(KernelSet(set_name, channels[name]))
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`kernel_sets` must have at least one set, each name once, not {names}.")
    return {name: tuple(kernels) for name, kernels in found.items()}
