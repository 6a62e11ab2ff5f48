"""How good a choice of the items of an RDM is, beside others and the best there can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count, check_name
from pytorch_feature_analysis.matrices import check_square, to_condensed
from pytorch_feature_analysis.subset_search import (
    FEW_SETS,
    Problem,
    best_of_all_sets,
    upper_bound,
)
from pytorch_feature_analysis.subsets import Choice, as_weights, check_items, checked_dissims


@dataclass(frozen=True)
class SelectionReport:
    """How good a choice of items is; means are over the pairs of chosen items."""

    num_items: int
    direction: str
    mean: float
    """Mean dissimilarity of the chosen items."""
    greedy_mean: float
    """That of the greedy choice of as many."""
    random_mean: float
    """Of a random choice, as expected: the mean of all pairs."""
    bound: float
    """No choice has a larger mean (with 'min': a smaller one)."""
    is_exact: bool
    """Whether the bound is the best choice itself."""

    @property
    def gap(self) -> float:
        """How far the mean may be from the best, as a share of the bound; 0 where it is proven."""
        return abs(self.bound - self.mean) / abs(self.bound) if self.bound else 0.0


def selection_report(
    input_rdm: npt.ArrayLike,
    indices: Sequence[int],
    *,
    direction: str = "max",
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> SelectionReport:
    """Say how good a choice is, beside the greedy one, a random one, and the best there can be.

    Parameters
    ----------
    input_rdm : array-like, (n, n)
        The dissimilarities that the items were chosen by.
    indices : sequence of int
        The chosen items, at least two.
    direction : {'max', 'min'}, default 'max'
        Whether they were to be different or alike.
    nan_policy, symmetrize
        As in `get_extreme_dissims_total`.

    Returns
    -------
    SelectionReport
        With `mean`, `greedy_mean`, `random_mean`, `bound`, `is_exact` and `gap`. Where there are
        at most 50,000 sets the bound is the best one; else the smaller of two bounds: each item
        with its own best companions, and the largest eigenvalue of the centred matrix. On noise
        these lie far above what can be reached.

    See Also
    --------
    get_extreme_dissims_total : Makes such a choice.

    Notes
    -----
    Pairs that are not finite count as in `get_extreme_dissims_total`. Takes of the order of n³
    steps: about half a second for 1,000 items.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0, 1, 3, 7, 12, 13])
    >>> rdm = np.abs(points[:, None] - points)
    >>> report = pfa.selection_report(rdm, [0, 1, 4, 5])
    >>> round(report.mean, 4), round(report.random_mean, 4), report.is_exact, report.gap
    (8.3333, 6.8, True, 0.0)
    """
    check_name(direction, ("max", "min"), argument="direction", what="direction")
    rdm = check_square(input_rdm, argument="input_rdm")
    weights = as_weights(
        checked_dissims(rdm, nan_policy=nan_policy, symmetrize=symmetrize), direction
    )
    chosen = check_items(indices, len(rdm), argument="indices")
    count = check_count(len(chosen), argument="indices", minimum=2)
    choice = Choice.of(weights, count, (), (), None)
    greedy = choice.members("greedy", 0, np.random.default_rng(0), None)
    known = np.nan_to_num(weights, nan=0.0)
    sign = 1 if direction == "max" else -1
    n_pairs = count * (count - 1) / 2

    def mean(items: Any) -> float:
        return sign * float(known[np.ix_(items, items)].sum()) / 2 / n_pairs

    problem = Problem(known, np.zeros(len(known)), np.zeros(len(known), dtype=int), (count,))
    is_exact = problem.n_sets() <= FEW_SETS
    bound = problem.value(best_of_all_sets(problem)) if is_exact else upper_bound(problem)
    return SelectionReport(
        count,
        direction,
        mean(chosen),
        mean(greedy),
        sign * float(to_condensed(known).mean()),
        sign * bound / n_pairs,
        is_exact,
    )
