"""Subsets of items whose dissimilarities have a given mean, or are spread evenly.

Both start from a greedy choice, and swap one item at a time as long as that brings the set nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kstest

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.matrices import check_square, to_condensed
from pytorch_feature_analysis.subset_search import Problem, best_set, greedy_set
from pytorch_feature_analysis.subsets import EFFORTS, checked_dissims

# Up to so many sets, all are looked at.
_FEW_SETS = 20_000
# How often a set that cannot be bettered by one swap is shaken, and how many items are replaced.
_SHAKES = 200
_SHAKEN = 3
# A mean that is as near to the target as this share of the range is as good as equal.
_NEAR = 1e-9
# Steps into which the range is cut where many sets are compared.
_STEPS = 512


def get_dissims_that_match(
    input_rdm: npt.ArrayLike,
    target_val: float,
    num_items_final: int | str = "all",
    *,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> tuple[np.ndarray, list[int], float]:
    """Choose items whose mean dissimilarity is as near to a target as can be.

    Parameters
    ----------
    input_rdm : array-like, (n, n)
        The dissimilarities, symmetric. The diagonal is not read.
    target_val : float
        The mean dissimilarity that is sought.
    num_items_final : int or 'all', default 'all'
        How many items, from 2 to n. 'all' ranks all items: the pair that is nearest to the
        target, then one at a time the item that brings the mean nearest to it.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite), see Notes; 'raise' is an error
        that says how many. There is no 'pairwise', which is about two RDMs or more.
    symmetrize : bool, default False
        Take the mean of the two directions of a matrix that is not symmetric.
    random_state : int, Generator or None, default 0
        Seeds the search.

    Returns
    -------
    sub_rdm : ndarray, (k, k)
        The rows and columns of the chosen items, in the order of `indices`.
    indices : list of int
        Where they are in `input_rdm`: k different numbers, each the one that brings the mean of
        those before it nearest to the target.
    mean : float
        Mean of the finite dissimilarities above the diagonal of `sub_rdm`; NaN where there is
        none.

    Raises
    ------
    ValueError
        As `get_extreme_dissims_total`; or the target is not a finite number.

    See Also
    --------
    get_most_uniform_dissims : Evenly spread dissimilarities.
    get_extreme_dissims_total : The most different items.

    Notes
    -----
    All sets are looked at where there are at most 20,000, else the greedy choice is bettered by
    swaps, and shaken where none helps. A target that is beyond what k items can have gives the
    most, or the least, different ones that the search finds.

    With 'omit', a pair that is not finite is left out of the mean, and items without any finite
    pair come last. A log line at level INFO counts both.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0, 1, 3, 7, 12, 13])
    >>> rdm = np.abs(points[:, None] - points)
    >>> sub_rdm, indices, mean = pfa.get_dissims_that_match(rdm, 5, 4)
    >>> sorted(indices), round(mean, 4)
    ([2, 3, 4, 5], 5.8333)
    """
    if isinstance(target_val, bool) or not isinstance(target_val, (int, float, np.number)):
        raise TypeError(f"`target_val` must be a number, not {target_val!r}.")
    if not np.isfinite(target_val):
        raise ValueError(f"`target_val` must be a finite number, not {target_val}.")
    rdm = check_square(input_rdm, argument="input_rdm")
    dissims = checked_dissims(rdm, nan_policy=nan_policy, symmetrize=symmetrize)
    count = _check_number(num_items_final, len(rdm))
    rng = child_generator(check_random_state(random_state), "match")
    sums = _Deviations(dissims, float(target_val))
    members = np.array(sums.greedy(np.arange(len(rdm)))[:count])
    if count < len(sums.alive):
        if comb(len(sums.alive), count) <= _FEW_SETS:
            members = _nearest_of_all(sums.alive, count, members, sums.distance)
        else:
            members = sums.nearest(members, rng)
    indices = sums.greedy(np.sort(members))
    sub_rdm = rdm[np.ix_(indices, indices)]
    values = to_condensed(sub_rdm).astype(float)
    values = values[np.isfinite(values)]
    return sub_rdm, indices, float(values.mean()) if len(values) else np.nan


class _Deviations:
    """Deviations of the dissimilarities from a target: a set matches where they sum to 0."""

    def __init__(self, dissims: np.ndarray, target: float) -> None:
        known = ~np.isnan(dissims)
        np.fill_diagonal(known, val=False)
        self.deviations = np.where(known, dissims - target, 0.0)
        self.known = known.astype(np.float64)
        self.alive = np.flatnonzero(known.any(axis=0))
        self.every_is_known = known.sum() == len(self.alive) * (len(self.alive) - 1)

    def distance(self, members: np.ndarray) -> float:
        """Distance of the mean of a set from the target."""
        here = np.ix_(members, members)
        n_pairs = self.known[here].sum()
        return abs(float(self.deviations[here].sum())) / n_pairs if n_pairs else np.inf

    def greedy(self, among: np.ndarray) -> list[int]:
        """Rank items; those without any pair among them come last, in ascending order."""
        here = np.ix_(among, among)
        deviations, known = self.deviations[here], self.known[here] > 0
        alive = known.any(axis=0)
        last = among[~alive].tolist()
        if not alive.any():
            return last
        off = np.where(known, np.abs(deviations), np.inf)
        first, second = divmod(int(off.argmin()), len(among))
        order = [first, second]
        totals = deviations[first] + deviations[second]
        n_pairs = known[first].astype(int) + known[second]
        total, pairs = deviations[first, second], int(known[first, second])
        open_ = alive.copy()
        open_[order] = False
        while open_.any():
            with np.errstate(invalid="ignore", divide="ignore"):
                distances = np.abs(total + totals) / (pairs + n_pairs)
            distances[~open_] = np.inf
            item = int(distances.argmin())
            order.append(item)
            open_[item] = False
            total, pairs = total + totals[item], pairs + int(n_pairs[item])
            totals, n_pairs = totals + deviations[item], n_pairs + known[item]
        return [*among[order].tolist(), *last]

    def nearest(self, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Swap from the greedy choice on, and from the most and the least different items."""
        best = self._by_swaps(start)
        scale = _NEAR * max(float(np.abs(self.deviations).max()), np.finfo(float).tiny)
        if self.distance(best) > scale:
            problem = Problem(
                np.ascontiguousarray(self.deviations[np.ix_(self.alive, self.alive)]),
                np.zeros(len(self.alive)),
                np.zeros(len(self.alive), dtype=int),
                (len(start),),
            )
            here = np.ix_(best, best)
            if self.deviations[here].sum() > 0:
                problem = replace(problem, weights=-problem.weights)
            moves = EFFORTS["default"] * len(start)
            extreme = best_set(problem, greedy_set(problem), moves, rng)
            best = min(best, self._by_swaps(self.alive[extreme]), key=self.distance)
        for _ in range(_SHAKES):
            if self.distance(best) <= scale:
                break
            best = min(best, self._by_swaps(self._shaken(best, rng)), key=self.distance)
        return best

    def _shaken(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        others = np.setdiff1d(self.alive, members)
        number = min(_SHAKEN, len(others), len(members))
        kept = rng.permutation(members)[number:]
        return np.r_[kept, rng.permutation(others)[:number]]

    def _by_swaps(self, members: np.ndarray) -> np.ndarray:
        """Make the swap that brings the mean nearest, as long as one does."""
        members = np.sort(members)
        distance = self.distance(members)
        while distance > 0:
            others = np.setdiff1d(self.alive, members)
            totals = after_swaps(self.deviations, members, others)
            if self.every_is_known:
                k = len(members)
                pairs: Any = k * (k - 1) / 2
            else:
                pairs = after_swaps(self.known, members, others)
            with np.errstate(invalid="ignore", divide="ignore"):
                distances = np.abs(totals) / pairs
            place = int(np.nanargmin(distances))
            old, new = divmod(place, len(others))
            swapped = np.sort(np.r_[np.delete(members, old), others[new]])
            found = self.distance(swapped)
            if not found < distance:
                break
            members, distance = swapped, found
        return members


def after_swaps(values: np.ndarray, members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Sum of a set's pairs after each swap, (members out, others in)."""
    within, between = values[np.ix_(members, members)], values[np.ix_(members, others)]
    gained = between.sum(axis=0) - between
    return within.sum() / 2 - within.sum(axis=0)[:, None] + gained


def _nearest_of_all(
    among: np.ndarray, count: int, start: np.ndarray, distance: Callable[[np.ndarray], float]
) -> np.ndarray:
    best, least = start, distance(start)
    for chosen in combinations(among.tolist(), count):
        members = np.array(chosen)
        found = distance(members)
        if found < least - 1e-12 * abs(least):
            best, least = members, found
    return best


def get_most_uniform_dissims(
    input_rdm: npt.ArrayLike,
    num_items_final: int,
    *,
    value_range: tuple[float, float] | None = None,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> tuple[np.ndarray, list[int], float]:
    """Choose items whose dissimilarities are spread as evenly over a range as can be.

    The choice has the smallest Kolmogorov-Smirnov distance found between its dissimilarities and
    the uniform distribution on the range, and so the largest p value of that test.

    Parameters
    ----------
    input_rdm : array-like, (n, n)
        The dissimilarities, symmetric. The diagonal is not read.
    num_items_final : int
        How many items, from 2 to n.
    value_range : tuple (low, high), optional
        The range. Default: that of the finite dissimilarities of `input_rdm`. (0, 1) is what an
        earlier release took for all matrices.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite), see Notes; 'raise' is an error
        that says how many. There is no 'pairwise', which is about two RDMs or more.
    symmetrize : bool, default False
        Take the mean of the two directions of a matrix that is not symmetric.
    random_state : int, Generator or None, default 0
        Seeds the search.

    Returns
    -------
    sub_rdm : ndarray, (k, k)
        The rows and columns of the chosen items, in the order of `indices`.
    indices : list of int
        Where they are in `input_rdm`: k different numbers, ascending.
    p_value : float
        Of the Kolmogorov-Smirnov test (`scipy.stats.kstest`) of the dissimilarities above the
        diagonal against the range. The pairs of a set are not independent, so this is a measure
        of evenness and not an error rate.

    Raises
    ------
    ValueError
        As `get_extreme_dissims_total`; or the range is empty.

    See Also
    --------
    get_dissims_that_match : A given mean.
    select_stimuli : The same on rows of a stack.

    Notes
    -----
    With 'omit', items with a missing dissimilarity are chosen last; a log line at level INFO
    counts what is missing. Where there are more than 20,000 sets, the distance is compared on 512
    steps of the range first, and exactly before an item is swapped.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0.0, 0.1, 0.4, 0.5, 0.52, 0.55, 0.9, 1.0])
    >>> rdm = np.abs(points[:, None] - points)
    >>> sub_rdm, indices, p_value = pfa.get_most_uniform_dissims(rdm, 4)
    >>> indices
    [1, 2, 6, 7]
    """
    rdm = check_square(input_rdm, argument="input_rdm")
    dissims = checked_dissims(rdm, nan_policy=nan_policy, symmetrize=symmetrize)
    count = check_count(num_items_final, argument="num_items_final", minimum=2, maximum=len(rdm))
    low, high = _check_range(value_range, dissims)
    rng = child_generator(check_random_state(random_state), "uniform")
    scaled = (dissims - low) / (high - low)
    missing = np.isnan(scaled)
    complete = np.flatnonzero(missing.sum(axis=0) == missing.sum(axis=0).min())
    among = complete if len(complete) >= count else np.argsort(missing.sum(axis=0), kind="stable")
    among = np.sort(among[: max(count, len(complete))])
    members = _most_even(scaled, among, count, rng)
    indices = np.sort(members).tolist()
    sub_rdm = rdm[np.ix_(indices, indices)]
    values = _pairs(scaled, members)
    return sub_rdm, indices, float(kstest(values, "uniform").pvalue) if len(values) else np.nan


def _check_range(
    value_range: tuple[float, float] | None, dissims: np.ndarray
) -> tuple[float, float]:
    if value_range is None:
        off = dissims[~np.eye(len(dissims), dtype=bool)]
        low, high = (float(np.nanmin(off)), float(np.nanmax(off))) if len(off) else (0.0, 0.0)
        where = (
            "all dissimilarities of `input_rdm` are equal; give a `value_range`, such as (0, 1)"
        )
    else:
        where = f"`value_range` must be (low, high), finite, low below high, not {value_range!r}"
        if not isinstance(value_range, (tuple, list, np.ndarray)) or len(value_range) != 2:
            raise TypeError(f"{where}.")
        low, high = (float(value) for value in value_range)
    if not (low < high and np.isfinite([low, high]).all()):
        raise ValueError(f"{where}.")
    return low, high


def _pairs(dissims: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Known dissimilarities of a set, each pair once."""
    values = to_condensed(dissims[np.ix_(members, members)])
    return values[~np.isnan(values)]


def _evenness(scaled: np.ndarray, members: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of a set's dissimilarities from the uniform distribution."""
    values = np.sort(_pairs(scaled, members))
    if not len(values):
        return np.inf
    expected = values.clip(0, 1)
    steps = np.arange(len(values) + 1) / len(values)
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def _most_even(
    scaled: np.ndarray, among: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    steps = _Steps(scaled[np.ix_(among, among)])
    members = among[steps.greedy(count)]
    if comb(len(among), count) <= _FEW_SETS:
        return _nearest_of_all(among, count, members, lambda of: _evenness(scaled, of))
    best, least = members, _evenness(scaled, members)
    # A sweep offers each member for a swap once, in an order drawn anew.
    improves = True
    while improves:
        improves = False
        for old in rng.permutation(best).tolist():
            kept = best[best != old]
            place = np.searchsorted(among, kept)
            others = np.setdiff1d(among, best)
            distances = steps.distances(place, np.searchsorted(among, others))
            new = others[int(distances.argmin())]
            swapped = np.r_[kept, new]
            found = _evenness(scaled, swapped)
            if found < least - 1e-12:
                best, least, improves = swapped, found, True
    return best


class _Steps:
    """Dissimilarities by steps of the range, so that many sets are compared at once."""

    def __init__(self, scaled: np.ndarray) -> None:
        steps = np.floor(np.nan_to_num(scaled, nan=0.0).clip(0, 1) * _STEPS).astype(np.int64)
        # One step more on each side, for what is beyond the range and for what is missing.
        steps = np.where(scaled < 0, -1, np.where(scaled > 1, _STEPS, steps.clip(0, _STEPS - 1)))
        self._steps = np.where(np.isnan(scaled), _STEPS + 1, steps) + 1
        self._n = _STEPS + 3

    def _counts(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """How many dissimilarities of each row are in each step, (rows, steps)."""
        steps = self._steps[np.ix_(rows, columns)] + self._n * np.arange(len(rows))[:, None]
        counts = np.bincount(steps.ravel(), minlength=self._n * len(rows))
        return counts.reshape(len(rows), self._n)[:, :-1]

    def distances(self, kept: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Distance from evenness of a set with each candidate, up to the width of a step."""
        here = to_condensed(self._steps[np.ix_(kept, kept)])
        own = np.bincount(here, minlength=self._n)[:-1]
        counts = self._counts(candidates, kept) + own
        shares = counts.cumsum(axis=1) / np.maximum(counts.sum(axis=1), 1)[:, None]
        expected = np.r_[0.0, np.arange(1, _STEPS + 1) / _STEPS, 1.0]
        return np.abs(shares - expected).max(axis=1)

    def greedy(self, count: int) -> np.ndarray:
        """Add the item that makes the set most even, from the pair in the middle on."""
        middle = np.abs(self._steps - 1.0 - _STEPS / 2)
        np.fill_diagonal(middle, np.inf)
        chosen = list(divmod(int(middle.argmin()), len(middle)))
        while len(chosen) < count:
            others = np.setdiff1d(np.arange(len(self._steps)), chosen)
            distances = self.distances(np.array(chosen), others)
            chosen.append(int(others[int(distances.argmin())]))
        return np.array(chosen)


def _check_number(number: Any, n: int) -> int:
    if isinstance(number, str):
        if number != "all":
            raise ValueError(
                f"`num_items_final` must be a whole number from 2 to {n} or 'all', not {number!r}."
            )
        return n
    return check_count(number, argument="num_items_final", minimum=2, maximum=n)
