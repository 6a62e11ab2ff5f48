"""From the rows that are missing to units of work: which pass of which model serves which sets.

A unit is one pass of one model over the images of a run of sets, for some of its layers. What it
computes does not depend on how rows were shared out among units.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pytorch_feature_analysis.accumulation import Cell, SetPlan, n_held
from pytorch_feature_analysis.activation_types import pooled
from pytorch_feature_analysis.activations import time_batch
from pytorch_feature_analysis.batches import preprocessing_of, to_input
from pytorch_feature_analysis.dissimilarity import Metric
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.layouts import n_prefix_tokens
from pytorch_feature_analysis.pass_resources import is_out_of_memory, using_threads
from pytorch_feature_analysis.planning import (
    Disk,
    LayerLoad,
    NoRoomError,
    Pass,
    probe_disk,
    room_for_patterns,
    share_out,
    size_in_words,
)
from pytorch_feature_analysis.rdm_jobs import ImagePool, Job, twins
from pytorch_feature_analysis.rdm_plan import ModelPlan, Row, pack_runs
from pytorch_feature_analysis.stream import Target

_MEAN_BYTES = 8
_TIMED_IMAGES = 4
# Activations (numbers that are put out) from which on a run takes many seconds.
_LONG_RUN = 4 * 10**9


@dataclass(frozen=True)
class RunSettings:
    """What all units of a call share."""

    metrics: Sequence[Metric]
    exclude_prefix_tokens: bool
    device: Any
    num_threads: int
    num_perms: int
    debug_check: bool
    memory_budget: int
    n_workers: int
    share_memory: bool
    """Whether the workers are on one machine, and the budget is for all of them."""
    projection: int | None
    root: int


@dataclass(frozen=True)
class Run:
    """What of one model is missing for a run of sets."""

    plan: ModelPlan
    sets: tuple[SetPlan, ...]
    set_indices: tuple[int, ...]
    positions: tuple[int, ...]
    """Where the run's images stand in the pool; in `sets` they are numbered from 0."""
    wanted: frozenset[Cell]
    batch_size: int


@dataclass
class Costs:
    """Measured once a model, where more than one way leads through a run."""

    reach: dict[str, float]
    """Seconds an image, by layer."""
    load: float
    """Seconds to read and prepare an image, on one thread."""


def missing_runs(
    plans: Sequence[ModelPlan], sets: Sequence[SetPlan], missing: Sequence[Row]
) -> list[Run]:
    """Group the missing rows by model, size of their batches and run of sets."""
    run_of = {id(plan): _runs_of(plan, sets) for plan in plans}
    wanted: dict[tuple[int, int, int], set[Cell]] = {}
    number_of = {id(plan): number for number, plan in enumerate(plans)}
    for row in missing:
        key = (number_of[id(row.plan)], *run_of[id(row.plan)][row.set_index])
        wanted.setdefault(key, set()).add(row.cell)
    runs = []
    for (number, batch_size, _), cells in sorted(wanted.items(), key=lambda item: item[0]):
        indices = tuple(sorted({cell.set_index for cell in cells}))
        positions = tuple(dict.fromkeys(p for i in indices for p in sets[i].positions))
        place = {position: i for i, position in enumerate(positions)}
        local = tuple(
            replace(sets[i], positions=tuple(place[p] for p in sets[i].positions)) for i in indices
        )
        runs.append(Run(plans[number], local, indices, positions, frozenset(cells), batch_size))
    return runs


def _runs_of(plan: ModelPlan, sets: Sequence[SetPlan]) -> dict[int, tuple[int, int]]:
    """Per set the size of its batches, and the number of its run among those of this size."""
    with_size: dict[int, list[int]] = {}
    for index, one in enumerate(sets):
        with_size.setdefault(plan.batch_size_for(len(one.positions)), []).append(index)
    return {
        indices[place]: (batch_size, number)
        for batch_size, indices in with_size.items()
        for number, run in enumerate(
            pack_runs(
                [sets[index].positions for index in indices],
                at_once=batch_size > plan.batch_size,
            )
        )
        for place in run
    }


class UnitPlanner:
    """Shares the runs of a call out among passes; measures costs only where they matter."""

    def __init__(self, pool: ImagePool, settings: RunSettings, stack_bytes: int) -> None:
        self._pool, self._settings = pool, settings
        self._stack_bytes = stack_bytes
        self._sharing = settings.n_workers if settings.share_memory else 1
        self.room = room_for_patterns(settings.memory_budget, stack_bytes, self._sharing)
        self._costs: dict[str, Costs] = {}
        self._disk: Disk | None = None

    @property
    def n_metrics(self) -> int:
        """Count the metrics of the call."""
        return len(self._settings.metrics)

    @property
    def num_perms(self) -> int:
        """Count the shuffled copies of each RDM."""
        return self._settings.num_perms

    @property
    def num_threads(self) -> int:
        """Count the threads of each worker."""
        return self._settings.num_threads

    def is_long(self, shared_out: Sequence[tuple[Run, Sequence[Pass]]]) -> bool:
        """Tell whether it is worth a few seconds to know how long it will take."""
        units = 0
        for run, passes in shared_out:
            n_units = sum(target.layout.n_units for target in run.plan.targets)
            units += n_units * len(run.positions) * len(passes)
        return units >= _LONG_RUN

    def seconds_on_disk(self, passes: Sequence[Pass]) -> float:
        """Seconds that writing and reading temporary files takes."""
        spilled = sum(one.spilled_bytes for one in passes)
        return 2 * spilled / self._disk.bytes_a_second if self._disk is not None else 0.0

    def costs(self, plan: ModelPlan) -> Costs:
        """Measure a model's costs with the first image."""
        if plan.name not in self._costs:
            transform = preprocessing_of(plan.model, plan.name)
            names, images = self._pool.names, self._pool.images[:_TIMED_IMAGES]
            start = time.perf_counter()
            for image, name in zip(images, names, strict=False):
                example = to_input(image, transform, name)
            load = (time.perf_counter() - start) / len(images)
            with using_threads(self._settings.num_threads):
                reach = self._time_an_image(plan, example)
            self._costs[plan.name] = Costs(reach, load)
        return self._costs[plan.name]

    def _time_an_image(self, plan: ModelPlan, example: torch.Tensor) -> dict[str, float]:
        """Seconds an image, by layer; with smaller batches where there is no memory for one."""
        batch_size, device = plan.batch_size, self._settings.device
        while True:
            try:
                times = time_batch(plan.model, example, plan.targets, batch_size, device=device)
            except (MemoryError, RuntimeError) as error:
                if batch_size == 1 or not is_out_of_memory(error):
                    raise
            else:
                return {layer: spent / batch_size for layer, spent in times.reach.items()}
            batch_size //= 2

    def passes(self, run: Run, *, at_least: int = 1) -> list[Pass]:
        """Share the layers of a run out among passes.

        Raises
        ------
        ValueError
            The budget is too small; names the smallest that works.
        """
        loads = self._loads(run)
        if sum(load.held_bytes for load in loads) > self.room or at_least > 1:
            costs = self.costs(run.plan)
            if self._disk is None:
                self._disk = probe_disk()
            n_images = len(run.positions)
            loads = [
                replace(load, reach=costs.reach.get(load.layer, 0) * n_images) for load in loads
            ]
        try:
            return share_out(loads, self.room, self._disk, at_least=at_least)
        except NoRoomError as error:
            needed = error.needed * self._sharing
            smallest = min(needed + self._stack_bytes, 4 * needed)
            raise ValueError(
                f"`memory_budget` leaves {size_in_words(self.room)} for the patterns of model"
                f" '{run.plan.name}'{error.why} at layer '{error.layer}' take"
                f" {size_in_words(error.needed)}. The smallest budget that works is"
                f" '{-(-smallest // 10**6)}MB'."
            ) from error

    def _loads(self, run: Run) -> list[LayerLoad]:
        n_slots = n_held(run.sets, run.batch_size)
        # What is the same as another layer's output waits with that.
        own = run.wanted - twins(run.wanted, run.plan.targets, run.plan.kernel_sets).keys()
        itemsize = 8 if _is_double(run.plan) else 4
        loads = []
        for target in run.plan.targets:
            layer, layout = target.label[0], target.layout
            if any(cell.layer == layer for cell in run.wanted):
                kinds = {pooled(c.activation_type, layout) for c in own if c.layer == layer}
                a_pattern = sum(self._pattern_bytes(target, kind, itemsize) for kind in kinds)
                loads.append(LayerLoad(layer, a_pattern, a_pattern * n_slots, 0.0))
        return loads

    def _pattern_bytes(self, target: Target, kind: str, itemsize: int) -> int:
        layout, projection = target.layout, self._settings.projection
        n_numbers = layout.n_units if kind == "unit_level" else layout.n_channels
        if projection is not None:
            return 8 * (min(projection, n_numbers) + 2)
        return n_numbers * (_MEAN_BYTES if kind == "feature_means" else itemsize)

    def jobs(self, run: Run, passes: Sequence[Pass]) -> list[Job]:
        """Make the jobs of a run."""
        plan, settings = run.plan, self._settings
        together = {target.label[0]: target.same_as for target in plan.targets if target.same_as}
        owner_pass = {layer: number for number, one in enumerate(passes) for layer in one.layers}
        # All passes use the same memory, so that the system needs to clear it once only.
        most_held = max(one.held_bytes for one in passes)
        jobs = []
        images_key = fingerprint(
            (
                plan.name,
                plan.model_hash,
                plan.preprocessing,
                [self._pool.hashes[position] for position in run.positions],
            )
        )
        for number, one in enumerate(passes):
            # A twin passes with its owner.
            layers = {
                layer
                for layer in owner_pass
                if owner_pass.get(together.get(layer, layer), owner_pass[layer]) == number
            }
            jobs.append(
                Job(
                    model_name=plan.name,
                    model=plan.model,
                    targets=tuple(t for t in plan.targets if t.label[0] in layers),
                    sets=run.sets,
                    set_indices=run.set_indices,
                    images=tuple(self._pool.images[p] for p in run.positions),
                    image_names=tuple(self._pool.names[p] for p in run.positions),
                    images_key=images_key,
                    metrics=tuple(settings.metrics),
                    kernel_sets=plan.kernel_sets,
                    wanted=frozenset(cell for cell in run.wanted if cell.layer in layers),
                    n_prefix_tokens=(
                        n_prefix_tokens(plan.model) if settings.exclude_prefix_tokens else 0
                    ),
                    batch_size=run.batch_size,
                    device=settings.device,
                    num_threads=settings.num_threads,
                    debug_check=settings.debug_check,
                    projection=settings.projection,
                    projection_root=settings.root,
                    spilled=frozenset(one.spilled),
                    held_bytes=most_held,
                    room=max(self.room - one.held_bytes, self.room // 4),
                    keep_inputs=len(passes) > 1,
                )
            )
        return [job for job in jobs if job.wanted]


def _is_double(plan: ModelPlan) -> bool:
    return any(p.dtype == torch.float64 for p in plan.model.parameters())
