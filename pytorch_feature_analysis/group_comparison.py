"""Representations of a group compared by one measure, as they are and with stimuli shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytorch_feature_analysis._threads import blas_threads, in_threads, n_blas_threads
from pytorch_feature_analysis.chosen_measures import ChosenMeasure
from pytorch_feature_analysis.rdm_comparison import Scramble
from pytorch_feature_analysis.similarity import Measure


@dataclass(frozen=True)
class GroupComparison:
    """A group's representations, and the measure that compares them."""

    tables: Sequence[np.ndarray]
    orders: Sequence[np.ndarray | None]
    """Where the stimuli of the first are in each; None where they are in the same places."""
    scrambles: Sequence[tuple[Scramble, ...]]
    """For each shuffle the order of each one's stimuli."""
    chosen: ChosenMeasure


def compare_group(comparison: GroupComparison) -> list[np.ndarray]:
    """RDMs of a group by one measure, as it is and shuffled."""
    measure, options = comparison.chosen.measure, comparison.chosen.options

    def prepare(place: int, scramble: Scramble | None = None) -> Any:
        table, order = comparison.tables[place], comparison.orders[place]
        x = table if order is None else table[order]
        if scramble is not None:
            x = x[list(scramble)]
        return measure.prepare(x if measure.copies else np.array(x, dtype=np.float64), **options)

    def shuffle(place: int, scramble: Scramble) -> Any:
        if measure.permute is None:
            return prepare(place, scramble)
        return measure.permute(prepared[place], np.array(scramble))

    n_threads = n_blas_threads()
    # Decompositions are faster side by side than each in several threads.
    with blas_threads(1):
        prepared = in_threads(prepare, range(len(comparison.tables)), n_threads)
    rdms = [_rdm(measure, prepared, options)]
    for scrambles in comparison.scrambles:
        shuffled = [shuffle(place, scramble) for place, scramble in enumerate(scrambles)]
        rdms.append(_rdm(measure, shuffled, options))
    return rdms


def _rdm(measure: Measure, prepared: Sequence[Any], options: Mapping[str, Any]) -> np.ndarray:
    values = measure.all_pairs(prepared, **options)
    rdm: np.ndarray = 1 - values if measure.direction == "similarity" else values
    if measure.is_symmetric:
        # What is left of it is rounding.
        rdm = (rdm + rdm.T) / 2
        np.fill_diagonal(rdm, 0)
    return rdm
