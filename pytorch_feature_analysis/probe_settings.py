"""How a linear probe is trained, as it is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pytorch_feature_analysis._checks import check_count, check_name, check_sequence, check_share
from pytorch_feature_analysis.models import check_device

SOLVERS = ("logistic", "adamw")
# The largest that scikit-learn takes.
_LAST_SEED = 2**32 - 1


@dataclass(frozen=True)
class ProbeSettings:
    """What the public functions were asked for, checked."""

    solver: str
    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...] | None
    C: tuple[float, ...]
    validation: float
    device: torch.device
    num_threads: int | None

    @classmethod
    def of(
        cls,
        *,
        solver: Any,
        epochs: Any,
        batch_size: Any,
        learning_rates: Any,
        weight_decays: Any,
        C: Any,
        validation: Any,
        device: Any,
        num_threads: Any,
    ) -> ProbeSettings:
        """Check them all."""
        check_name(solver, SOLVERS, argument="solver", what="solver")
        share = check_share(validation, argument="validation")
        if share in (0, 1):
            raise ValueError(
                f"`validation` must lie between 0 and 1, not be {share:g}: some samples are learnt"
                " from, and others set aside."
            )
        return cls(
            solver=solver,
            epochs=check_count(epochs, argument="epochs"),
            batch_size=check_count(batch_size, argument="batch_size"),
            learning_rates=_numbers(learning_rates, argument="learning_rates"),
            weight_decays=None
            if weight_decays is None
            else _numbers(weight_decays, argument="weight_decays", with_zero=True),
            C=_numbers(C, argument="C"),
            validation=share,
            device=check_device(device) or torch.device("cpu"),
            num_threads=None
            if num_threads is None
            else check_count(num_threads, argument="num_threads"),
        )

    @property
    def is_choice(self) -> bool:
        """Whether there is anything to be chosen by validation."""
        if self.solver == "logistic":
            return len(self.C) > 1
        return self.weight_decays is None or len(self.weight_decays) * len(self.learning_rates) > 1

    @property
    def depends_on_seed(self) -> bool:
        """Whether another seed can give another probe."""
        return self.solver == "adamw" or self.is_choice

    @property
    def name(self) -> str:
        """All that the numbers depend on, in words."""
        told: dict[str, Any] = {"C": self.C}
        if self.solver == "adamw":
            told = {
                name: getattr(self, name)
                for name in ("epochs", "batch_size", "learning_rates", "weight_decays")
            }
        if self.is_choice:
            told["validation"] = self.validation
        return f"{self.solver}({', '.join(f'{name}={value}' for name, value in told.items())})"


def check_seed(seed: Any, *, argument: str = "seed") -> int:
    """Return a seed as an int, or raise."""
    return check_count(seed, argument=argument, minimum=0, maximum=_LAST_SEED)


def check_seeds(seeds: Any) -> list[int]:
    """Return the seeds, each once, or raise."""
    checked = [
        check_seed(seed, argument="seeds")
        for seed in check_sequence(seeds, argument="seeds", of="whole numbers")
    ]
    if not checked or len(set(checked)) < len(checked):
        raise ValueError(f"`seeds` must be one seed or more, each once, not {checked}.")
    return checked


def _numbers(value: Any, *, argument: str, with_zero: bool = False) -> tuple[float, ...]:
    is_single = isinstance(value, (int, float, np.number))
    listed = [value] if is_single else check_sequence(value, argument=argument, of="numbers")
    for one in listed:
        if isinstance(one, bool) or not isinstance(one, (int, float, np.number)):
            raise TypeError(f"`{argument}` must be a list of numbers, not {value!r}.")
        if not math.isfinite(one) or one < 0 or (one == 0 and not with_zero):
            least = "0 or more" if with_zero else "above 0"
            raise ValueError(f"`{argument}` must be numbers {least}, not {one!r}.")
    if not listed:
        raise ValueError(f"`{argument}` is empty; give at least one number.")
    return tuple(dict.fromkeys(map(float, listed)))
