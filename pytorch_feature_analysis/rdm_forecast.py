"""What the passes of a call will cost, before they are made."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd

from pytorch_feature_analysis.activation_types import pooled
from pytorch_feature_analysis.planning import Pass, seconds_a_unit, size_in_words
from pytorch_feature_analysis.rdm_units import Run, UnitPlanner

# How fast patterns are copied to where they wait.
_BYTES_A_SECOND = 2e9


@dataclass
class ModelForecast:
    """The columns of `plan_rdms`."""

    model: str
    image_sets: int
    images: int
    layers: int
    rdms: int
    regime: str
    passes: int
    full_passes: float
    batch_size: int
    activation_bytes: int
    memory_bytes: int
    file_bytes: int
    stack_bytes: int
    seconds: float

    def in_words(self) -> str:
        """One line for the log."""
        file = f", {size_in_words(self.file_bytes)} in files" if self.file_bytes else ""
        return (
            f"plan for model '{self.model}': {self.images} images, {self.layers} layers,"
            f" {self.regime} ({self.passes} passes, as long as {self.full_passes:.1f} full ones),"
            f" {size_in_words(self.memory_bytes)} in memory{file} of"
            f" {size_in_words(self.activation_bytes)} of activations, about {self.seconds:.0f} s"
        )


@dataclass
class Forecast:
    """One forecast a model, in the order of the call."""

    models: list[ModelForecast]

    def in_words(self) -> list[str]:
        """One line a model."""
        return [model.in_words() for model in self.models]

    def as_frame(self) -> pd.DataFrame:
        """One row a model."""
        columns = [field.name for field in fields(ModelForecast)]
        return pd.DataFrame([asdict(model) for model in self.models], columns=columns)


def forecast(planner: UnitPlanner, shared_out: Sequence[tuple[Run, Sequence[Pass]]]) -> Forecast:
    """Sum up what the runs of each model cost."""
    by_model: dict[str, list[tuple[Run, Sequence[Pass]]]] = {}
    for run, passes in shared_out:
        by_model.setdefault(run.plan.name, []).append((run, passes))
    return Forecast([_of_model(planner, runs) for runs in by_model.values()])


def _of_model(planner: UnitPlanner, runs: Sequence[tuple[Run, Sequence[Pass]]]) -> ModelForecast:
    plan = runs[0][0].plan
    costs = planner.costs(plan)
    n_metrics = planner.n_metrics
    full = max(costs.reach.values(), default=0.0)
    units = {target.label[0]: target.layout.n_units for target in plan.targets}
    regimes: dict[str, None] = {}
    images: set[int] = set()
    seconds = forward = whole_forward = 0.0
    n_passes = activation_bytes = stack_bytes = n_rdms = 0
    for run, passes in runs:
        images.update(run.positions)
        regimes[_regime(passes)] = None
        n_padded = -(-len(run.positions) // run.batch_size) * run.batch_size
        reached = [max(costs.reach.get(layer, 0) for layer in one.layers) for one in passes]
        forward += n_padded * sum(reached)
        whole_forward += n_padded * full
        n_passes = max(n_passes, len(passes))
        layers = {cell.layer for cell in run.wanted}
        bytes_of_run = 4 * len(run.positions) * sum(units[layer] for layer in layers)
        activation_bytes += bytes_of_run
        sizes = dict(zip(run.set_indices, run.sets, strict=True))
        for cell in run.wanted:
            n_entries = len(sizes[cell.set_index].entry_keys)
            n_rdms += n_metrics
            stack_bytes += 8 * n_metrics * n_entries**2
        seconds += _comparing(planner, run) + costs.load * len(run.positions)
        if any(one.held_bytes or one.spilled_bytes for one in passes):
            seconds += bytes_of_run / _BYTES_A_SECOND
        seconds += planner.seconds_on_disk(passes)
    return ModelForecast(
        model=plan.name,
        image_sets=sum(len(run.sets) for run, _ in runs),
        images=len(images),
        layers=len({cell.layer for run, _ in runs for cell in run.wanted}),
        rdms=n_rdms * (planner.num_perms + 1),
        regime=" and ".join(regimes),
        passes=n_passes,
        full_passes=forward / whole_forward if whole_forward else float(n_passes),
        batch_size=max(run.batch_size for run, _ in runs),
        activation_bytes=activation_bytes,
        memory_bytes=max(one.held_bytes for _, passes in runs for one in passes),
        file_bytes=max(one.spilled_bytes for _, passes in runs for one in passes),
        stack_bytes=stack_bytes * (planner.num_perms + 1),
        seconds=seconds + forward,
    )


def _regime(passes: Sequence[Pass]) -> str:
    if any(one.spilled for one in passes):
        return "file"
    if len(passes) > 1:
        return "several passes"
    return "one pass" if passes[0].held_bytes else "one batch"


def _comparing(planner: UnitPlanner, run: Run) -> float:
    """Seconds that the products of a run take."""
    targets = {target.label[0]: target for target in run.plan.targets}
    sets = dict(zip(run.set_indices, run.sets, strict=True))
    layers = {cell.layer for cell in run.wanted}
    patterns = set()
    for cell in run.wanted:
        target = targets[cell.layer]
        if target.same_as not in layers:
            kind = pooled(cell.activation_type, target.layout)
            patterns.add((cell.set_index, cell.layer, kind))
    seconds = 0.0
    for index, layer, kind in patterns:
        layout = targets[layer].layout
        n_units = layout.n_units if kind == "unit_level" else layout.n_channels
        seconds += n_units * _seconds_a_unit(len(sets[index].entry_keys), planner.num_threads)
    return seconds


@functools.cache
def _seconds_a_unit(n_patterns: int, num_threads: int) -> float:
    del num_threads  # which the time depends on
    return seconds_a_unit(n_patterns)
