"""What a call of `get_rdms` or `plan_rdms` asks for: checked, and laid out before any work."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
)
from pytorch_feature_analysis._parallel import check_num_cores, count_workers
from pytorch_feature_analysis.accumulation import KernelSet, SetPlan
from pytorch_feature_analysis.activation_types import check_types
from pytorch_feature_analysis.dissimilarity import Metric, check_metrics
from pytorch_feature_analysis.image_sets import ImageSet, check_image_sets
from pytorch_feature_analysis.model_arguments import check_models, check_which_layers
from pytorch_feature_analysis.models import check_device
from pytorch_feature_analysis.planning import PIXEL_SHARE, Pass, check_memory_budget
from pytorch_feature_analysis.rdm_jobs import ImagePool
from pytorch_feature_analysis.rdm_plan import (
    ModelPlan,
    Row,
    check_kernel_sets,
    check_memory,
    draw_scrambles,
    plan_rows,
    plan_sets,
)
from pytorch_feature_analysis.rdm_units import Run, RunSettings, UnitPlanner, missing_runs
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS

logger = logging.getLogger(__name__)

RESERVED_LABELS = (*RDM_COLUMNS, *PROVENANCE_COLUMNS, "projection")
"""Names that no label of an image set may bear."""
# A run with fewer numbers to put out than this is not worth a second pass for a second worker.
_LARGE_RUN = 10**8


@dataclass
class Call:
    """The arguments of a call, checked."""

    sets: list[ImageSet]
    plans: list[ModelPlan]
    types: list[str]
    rdm_name: str
    num_cores: int | None
    settings: RunSettings

    @classmethod
    def of(
        cls,
        image_sets: Sequence[Any],
        models_dict: Mapping[str, nn.Module],
        *,
        rdm_name: str = "",
        which_layers: Any = None,
        dissim_metrics: Sequence[Any] = ("corr",),
        kernel_sets: Sequence[tuple[str, Any]] = (("all", "all"),),
        num_perms: int = 0,
        num_cores: int | str | None = None,
        debug_check: bool = False,
        activation_types: Sequence[str] = ("unit_level",),
        exclude_prefix_tokens: bool = False,
        calls: str = "last",
        batch_size: int | str | None = None,
        device: Any = None,
        num_threads: int | None = None,
        memory_budget: int | str | None = None,
        projection: int | None = None,
        random_state: RandomState = 0,
        is_kept: bool = False,
    ) -> Call:
        """Check the arguments; nothing is read or computed."""
        sets = check_image_sets(image_sets, reserved=RESERVED_LABELS)
        models = check_models(models_dict)
        metrics = check_metrics(dissim_metrics)
        types = check_types(activation_types)
        requests = check_which_layers(which_layers, models)
        kernels = check_kernel_sets(kernel_sets, models)
        if projection is not None:
            projection = check_count(projection, argument="projection", minimum=2)
            _check_projectable(metrics, sets, kernels)
        num_perms = check_count(num_perms, argument="num_perms", minimum=0)
        asked_batch_size = _check_batch_size(batch_size)
        if num_threads is None:
            num_threads = torch.get_num_threads()
        num_threads = check_count(num_threads, argument="num_threads")
        checked_cores = check_num_cores(num_cores)
        root = check_random_state(random_state)
        n_workers, share_memory = count_workers(checked_cores)
        settings = RunSettings(
            metrics=metrics,
            exclude_prefix_tokens=exclude_prefix_tokens,
            device=check_device(device),
            num_threads=num_threads,
            num_perms=num_perms,
            debug_check=debug_check,
            memory_budget=check_memory_budget(memory_budget),
            n_workers=n_workers,
            share_memory=share_memory,
            projection=projection,
            root=root,
        )
        plans = [
            ModelPlan(name, model, requests[name], calls, kernels[name], asked_batch_size, is_kept)
            for name, model in models.items()
        ]
        return cls(sets, plans, types, rdm_name, checked_cores, settings)

    @property
    def mark(self) -> dict[str, Any]:
        """Column that tells approximate rows from exact ones, where there are any."""
        projection = self.settings.projection
        return {} if projection is None else {"projection": projection}

    @property
    def keep_pixels(self) -> int:
        """Bytes that decoded images may take."""
        return self.settings.memory_budget // PIXEL_SHARE


@dataclass
class LaidOut:
    """A call with its images read, its layers found, and every row known by its key."""

    call: Call
    pool: ImagePool
    set_plans: list[SetPlan]
    set_hashes: list[str]
    scrambles: list[list[tuple[int, ...]]]
    rows: list[Row]

    @classmethod
    def of(cls, call: Call, stored: pd.DataFrame | None) -> LaidOut:
        """Read the images and find the layers, or take these from rows of an earlier call."""
        pool = ImagePool.of_sets(call.sets, decode=stored is None, keep_bytes=call.keep_pixels)
        settings = call.settings
        for plan in call.plans:
            if stored is None or not plan.recall_layers(stored):
                unfired = plan.find_layers(pool, settings.device)
                if unfired:
                    logger.warning(
                        "model '%s': no forward pass calls %s; they have no rows",
                        plan.name,
                        ", ".join(unfired),
                    )
            plan.check_layers(call.types, settings.exclude_prefix_tokens)
        n_kinds = len(settings.metrics) * len(call.types)
        n_rdms = sum(len(plan.layers) * len(plan.kernel_sets) * n_kinds for plan in call.plans)
        check_memory(n_rdms, call.sets, settings.num_perms)
        scrambles = draw_scrambles(call.sets, settings.num_perms, settings.root)
        set_plans, set_hashes = plan_sets(call.sets, pool)
        in_key = {
            "rdm_name": call.rdm_name,
            "exclude_prefix_tokens": settings.exclude_prefix_tokens,
        }
        if settings.projection is not None:
            in_key |= {"projection": settings.projection, "root": settings.root}
        rows = plan_rows(
            set_hashes, call.sets, call.plans, settings.metrics, call.types, scrambles, in_key
        )
        return cls(call, pool, set_plans, set_hashes, scrambles, list(rows))

    def make_ready(self, missing: Sequence[Row]) -> None:
        """Decode the images and survey the models, where that was not needed to know the rows."""
        if not missing:
            return
        if not self.pool.is_decoded:
            keep_bytes = self.call.keep_pixels
            self.pool = ImagePool.of_sets(self.call.sets, decode=True, keep_bytes=keep_bytes)
        for plan in self.call.plans:
            if not plan.targets and any(row.plan is plan for row in missing):
                plan.find_layers(self.pool, self.call.settings.device)

    def passes(self, missing: Sequence[Row]) -> tuple[UnitPlanner, list[tuple[Run, list[Pass]]]]:
        """Share what is missing out among passes."""
        settings = self.call.settings
        sizes = [8 * len(image_set.entry_keys) ** 2 for image_set in self.call.sets]
        planner = UnitPlanner(self.pool, settings, sum(sizes[row.set_index] for row in missing))
        runs = missing_runs(self.call.plans, self.set_plans, missing)
        spread = -(-settings.n_workers // len(runs)) if runs else 1
        shared_out = []
        for run in runs:
            wanted = {cell.layer for cell in run.wanted}
            n_units = sum(
                target.layout.n_units for target in run.plan.targets if target.label[0] in wanted
            )
            is_large = n_units * len(run.positions) >= _LARGE_RUN
            passes = planner.passes(run, at_least=min(spread, len(wanted)) if is_large else 1)
            shared_out.append((run, passes))
        return planner, shared_out


def _check_projectable(
    metrics: Sequence[Metric],
    sets: Sequence[ImageSet],
    kernels: Mapping[str, Sequence[KernelSet]],
) -> None:
    for metric in metrics:
        if metric.from_geometry is None or metric.prepare is not None:
            raise ValueError(
                f"`projection` keeps correlations, cosines and Euclidean distances, not"
                f" '{metric.name}': leave one of them out."
            )
    if any(image_set.combos for image_set in sets):
        raise ValueError("`projection` cannot be combined with combinations in `image_sets`.")
    if any(one.channels is not None for of_model in kernels.values() for one in of_model):
        raise ValueError("`projection` cannot be combined with `kernel_sets`.")


def _check_batch_size(batch_size: Any) -> int | str | None:
    if batch_size is None or (isinstance(batch_size, str) and batch_size == "auto"):
        return batch_size
    if isinstance(batch_size, str):
        raise TypeError(
            "`batch_size` must be a number of images, None for that which suits the network, or"
            f" 'auto' to measure, not {batch_size!r}."
        )
    return check_count(batch_size, argument="batch_size")
