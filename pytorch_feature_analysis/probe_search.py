"""The search for a learning rate and a weight decay: a coarse sweep, then ever smaller steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# Nine points a decade, so that every ninth is a power of ten.
WEIGHT_DECAYS: tuple[float, ...] = tuple(np.logspace(-6, 1, 64).tolist())
_COARSE = range(0, 64, 9)
_STEPS = (4, 2, 1)


class Setting(NamedTuple):
    """What a probe is trained with."""

    learning_rate: float
    weight_decay: float


Scores = Callable[[Sequence[Setting]], Sequence[float]]
"""Gives the validation accuracies of several settings, which may be trained side by side."""


def search(
    scores_of: Scores,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float] | None = None,
) -> tuple[Setting, float]:
    """Return the best setting, and its score.

    For each learning rate, all `weight_decays` are tried. Without these, eight points of the grid
    `WEIGHT_DECAYS` are, and then, three times, both neighbours of the best so far, 4, 2 and 1
    points away. Among those tried together the larger weight decay wins a tie; a neighbour has to
    be better than the best so far. The first of the learning rates wins a tie.
    """
    grid = WEIGHT_DECAYS if weight_decays is None else sorted(set(weight_decays))
    coarse = _COARSE if weight_decays is None else range(len(grid))
    # Of each learning rate the points tried, with their scores.
    tried: list[dict[int, float]] = [{} for _ in learning_rates]

    def sweep(points: Sequence[set[int]]) -> list[int]:
        """Try points for each learning rate; returns the best of these."""
        new = [
            (of_rate, rate, point)
            for of_rate, rate, wanted in zip(tried, learning_rates, points, strict=True)
            for point in sorted(wanted - of_rate.keys())
        ]
        scores = scores_of([Setting(rate, grid[point]) for _, rate, point in new]) if new else []
        for (of_rate, _, point), score in zip(new, scores, strict=True):
            of_rate[point] = score
        return [
            max((of_rate[point], point) for point in wanted)[1]
            for of_rate, wanted in zip(tried, points, strict=True)
        ]

    peaks = sweep([set(coarse)] * len(learning_rates))
    for step in _STEPS if weight_decays is None else ():
        around = [{max(peak - step, 0), min(peak + step, len(grid) - 1)} for peak in peaks]
        best = sweep(around)
        peaks = [
            new if of_rate[new] > of_rate[peak] else peak
            for of_rate, new, peak in zip(tried, best, peaks, strict=True)
        ]
    scores = [of_rate[peak] for of_rate, peak in zip(tried, peaks, strict=True)]
    first = scores.index(max(scores))
    return Setting(learning_rates[first], grid[peaks[first]]), scores[first]
