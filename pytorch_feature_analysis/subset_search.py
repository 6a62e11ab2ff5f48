"""Search for the k of n items whose summed pairwise weights are largest, on arrays.

This is the maximum diversity problem, which is NP-hard. The search is a tabu search that swaps
one item a move: the gain of each item is kept up to date, so that a move costs a few additions of
rows of length n. Longer searches recombine the best sets found so far, as in [1]_.

References
----------
.. [1] Wu, Q., & Hao, J.-K. (2013). A hybrid metaheuristic method for the maximum diversity
   problem. European Journal of Operational Research, 231(2), 452-464.
   https://doi.org/10.1016/j.ejor.2013.06.002
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np

# Per chosen item: a first search of up to so many moves; longer ones go on with shorter searches
# from new sets.
FIRST_MOVES = 1600
_FURTHER_MOVES = 400
_POPULATION = 10
# Share of items that a new set has from neither of the two that it is made of.
_FRESH = 0.1
# For how many moves an item that was moved stays out, or in, at least and at most; with few items,
# for these shares of them.
_STAYS_OUT, _OUT_SHARES = (10, 20), (8, 4)
_STAYS_IN, _IN_SHARES = (10, 30), (12, 6)
# Sums that differ by less are taken for equal.
_ROUNDING = 1e-12
# Up to so many sets, all are looked at where no way to look is asked for.
FEW_SETS = 50_000
_MOVES_A_CLOCK = 256
# Numbers of a chunk of sets that are summed up at a time.
_CHUNK = 2**21


@dataclass(frozen=True)
class Problem:
    """Which sets are sought: `counts[c]` items of each category c, with the largest value.

    The value of a set is the sum of its pairs' weights and of its items' `linear` parts.
    """

    weights: np.ndarray
    """(n, n), symmetric, finite, with a diagonal of zeros."""
    linear: np.ndarray
    """(n,)"""
    categories: np.ndarray
    """(n,) whole numbers from 0, ascending."""
    counts: tuple[int, ...]

    @property
    def n_chosen(self) -> int:
        """Size of a set."""
        return sum(self.counts)

    def value(self, members: np.ndarray) -> float:
        """Value of one set."""
        within = self.weights[np.ix_(members, members)]
        return float(within.sum() / 2 + self.linear[members].sum())

    def gains(self, members: np.ndarray) -> np.ndarray:
        """Add up what each item would bring, (n,), in the order of the members."""
        gains = self.linear.copy()
        for member in members.tolist():
            gains += self.weights[member]
        return gains

    def n_sets(self) -> int:
        """Count the sets."""
        sizes = np.bincount(self.categories, minlength=len(self.counts)).tolist()
        product = 1
        for size, count in zip(sizes, self.counts, strict=True):
            product *= comb(size, count)
        return product


def is_larger(value: float, other: float) -> bool:
    """Tell whether a sum is larger than another by more than rounding."""
    return bool(value > other + _ROUNDING * abs(other))


def greedy_set(problem: Problem) -> np.ndarray:
    """Items added one at a time, each with the largest gain; the first two as the best pair."""
    open_places = np.array(problem.counts)
    blocked = np.where(open_places[problem.categories] > 0, 0.0, -np.inf)
    gains = problem.linear.copy()
    chosen: list[int] = []

    def take(item: int) -> None:
        nonlocal gains
        chosen.append(item)
        gains += problem.weights[item]
        blocked[item] = -np.inf
        category = problem.categories[item]
        open_places[category] -= 1
        if not open_places[category]:
            blocked[problem.categories == category] = -np.inf

    if problem.n_chosen and not problem.linear.any():
        for item in _best_pair(problem, blocked)[: problem.n_chosen]:
            take(item)
    while len(chosen) < problem.n_chosen:
        take(int((gains + blocked).argmax()))
    return np.array(chosen, dtype=int)


def _best_pair(problem: Problem, blocked: np.ndarray) -> tuple[int, int]:
    """First pair, row by row, with the largest weight, of items that may go together."""
    largest, pair = -np.inf, (0, 0)
    alone = np.array(problem.counts)[problem.categories] < min(2, problem.n_chosen)
    for i, row in enumerate(problem.weights[:-1]):
        beyond = row[i + 1 :] + blocked[i + 1 :] + blocked[i]
        if alone[i]:
            beyond[problem.categories[i + 1 :] == problem.categories[i]] = -np.inf
        j = int(beyond.argmax())
        if beyond[j] > largest:
            largest, pair = float(beyond[j]), (i, i + 1 + j)
    return pair


def best_set(
    problem: Problem,
    start: np.ndarray,
    moves: int,
    rng: np.random.Generator,
    time_limit: float | None = None,
) -> np.ndarray:
    """Search from a set; returns the best one found, which is `start` unless one is better.

    Parameters
    ----------
    moves
        How many swaps are made in all, so that the result does not depend on the machine.
    time_limit
        Seconds after which the search ends earlier.
    """
    if not moves or problem.n_chosen in (0, len(problem.weights)):
        return start
    deadline = None if time_limit is None else time.perf_counter() + time_limit
    first_moves, further_moves = FIRST_MOVES * len(start), _FURTHER_MOVES * len(start)
    found = _tabu(problem, start, min(moves, first_moves), rng, deadline)
    population = [(problem.value(found), found)]
    for _ in range((moves - first_moves) // further_moves):
        if deadline is not None and time.perf_counter() > deadline:
            break
        if len(population) < _POPULATION:
            fresh = random_set(problem, rng)
        else:
            first, second = rng.choice(len(population), 2, replace=False).tolist()
            fresh = _recombined(problem, population[first][1], population[second][1], rng)
        found = _tabu(problem, fresh, further_moves, rng, deadline)
        if not any(np.array_equal(found, known) for _, known in population):
            population.append((problem.value(found), found))
            population.sort(key=lambda of: -of[0])
            del population[_POPULATION:]
    value, best = population[0]
    return best if is_larger(value, problem.value(start)) else start


def _tabu(
    problem: Problem,
    start: np.ndarray,
    moves: int,
    rng: np.random.Generator,
    deadline: float | None,
) -> np.ndarray:
    """Swap items for `moves` moves; the best set on the way, ascending."""
    weights, n, k = problem.weights, len(problem.weights), len(start)
    in_set = np.zeros(n, dtype=bool)
    in_set[start] = True
    gains = problem.gains(np.sort(start))
    # Added to what an item would bring or cost, so that blocked items are never the best.
    to_add, to_drop = np.where(in_set, -np.inf, 0.0), np.where(in_set, 0.0, np.inf)
    out_for = _tenures(rng, _STAYS_OUT, _OUT_SHARES, n - k, moves)
    in_for = _tenures(rng, _STAYS_IN, _IN_SHARES, k, moves)
    freed: list[list[int]] = [[] for _ in range(moves + _STAYS_OUT[1] + _STAYS_IN[1])]
    bounds = np.flatnonzero(np.r_[True, np.diff(problem.categories) > 0])
    change = best_change = 0.0
    best = in_set.copy()
    adding, dropping = np.empty(n), np.empty(n)
    for move in range(moves):
        for item in freed[move]:
            (to_drop if in_set[item] else to_add)[item] = 0.0
        if deadline is not None and move % _MOVES_A_CLOCK == 0 and time.perf_counter() > deadline:
            break
        np.add(gains, to_add, out=adding)
        low, high = 0, n
        if len(bounds) > 1:
            np.add(gains, to_drop, out=dropping)
            most = np.maximum.reduceat(adding, bounds)
            category = int((most - np.minimum.reduceat(dropping, bounds)).argmax())
            low, high = int(bounds[category]), n
            if category + 1 < len(bounds):
                high = int(bounds[category + 1])
        new = low + int(adding[low:high].argmax())
        row = weights[new]
        np.add(gains[low:high], row[low:high], out=dropping[low:high])
        dropping[low:high] += to_drop[low:high]
        old = low + int(dropping[low:high].argmin())
        gain = adding[new] - dropping[old]
        if not np.isfinite(gain):  # all are blocked
            continue
        change += float(gain)
        gains += row
        gains -= weights[old]
        in_set[new], in_set[old] = True, False
        to_add[new] = to_add[old] = -np.inf
        to_drop[new] = to_drop[old] = np.inf
        freed[move + 1 + out_for[move]].append(old)
        freed[move + 1 + in_for[move]].append(new)
        if change > best_change + _ROUNDING:
            best_change = change
            best[:] = in_set
    return np.flatnonzero(best)


def _tenures(
    rng: np.random.Generator,
    bounds: tuple[int, int],
    shares: tuple[int, int],
    n_items: int,
    moves: int,
) -> list[int]:
    """Draw for how many moves the item of each move is blocked."""
    low, high = (
        max(1, min(bound, n_items // share)) for bound, share in zip(bounds, shares, strict=True)
    )
    return rng.integers(low, high + 1, moves).tolist()


def random_set(problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Draw a set that has the counts."""
    members = [
        rng.permutation(np.flatnonzero(problem.categories == category))[:count]
        for category, count in enumerate(problem.counts)
    ]
    return np.concatenate(members)


def _recombined(
    problem: Problem, first: np.ndarray, second: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Fill up what two sets share, from both and with a few items of neither."""
    made = [np.intersect1d(first, second)]
    for category, count in enumerate(problem.counts):
        here = problem.categories[made[0]] == category
        missing = count - int(here.sum())
        of_one = np.setxor1d(first, second)
        of_one = rng.permutation(of_one[problem.categories[of_one] == category])
        others = np.flatnonzero(problem.categories == category)
        others = rng.permutation(np.setdiff1d(others, np.union1d(made[0], of_one)))
        n_fresh = min(len(others), int(rng.binomial(missing, _FRESH)))
        made += [others[:n_fresh], of_one[: missing - n_fresh]]
    return np.concatenate(made)


def all_sets(problem: Problem) -> Iterator[np.ndarray]:
    """Every set, in chunks (m, k)."""
    k = problem.n_chosen
    wanted = np.array(problem.counts)
    every = combinations(range(len(problem.weights)), k)
    step = max(1, _CHUNK // max(1, k * k))
    while chunk := list(islice(every, step)):
        sets = np.array(chunk, dtype=int).reshape(len(chunk), k)
        if len(wanted) > 1:
            kinds = problem.categories[sets]
            fits = [(kinds == c).sum(axis=1) == count for c, count in enumerate(wanted.tolist())]
            sets = sets[np.logical_and.reduce(fits)]
        yield sets


def best_of_all_sets(problem: Problem) -> np.ndarray:
    """Look at every set; of equal ones, the greedy one or the first."""
    best = greedy_set(problem)
    largest = problem.value(best)
    for sets in all_sets(problem):
        if not len(sets):
            continue
        values = problem.weights[sets[:, :, None], sets[:, None, :]].sum(axis=(1, 2)) / 2
        values += problem.linear[sets].sum(axis=1)
        i = int(values.argmax())
        if is_larger(values[i], largest):
            best, largest = sets[i], values[i]
    return best


def best_by_integer_program(problem: Problem, time_limit: float | None) -> tuple[np.ndarray, bool]:
    """Find the best set by scipy's HiGHS; tells whether it is proven to be the best.

    Each item's part of the sum is a variable of its own, bounded by what the chosen items give
    it (Glover's linearisation).
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    weights, n, k = problem.weights, len(problem.weights), problem.n_chosen
    ordered = np.sort(weights, axis=1)
    most = ordered[:, n - k :].clip(min=0).sum(axis=1)
    least = ordered[:, :k].clip(max=0).sum(axis=1)
    eye = np.eye(n)
    in_category = np.stack([problem.categories == c for c in range(len(problem.counts))])
    # Variables: n choices, then n parts of the sum.
    constraints = [
        LinearConstraint(
            np.hstack([in_category, np.zeros_like(in_category)]).astype(float),
            problem.counts,
            problem.counts,
        ),
        LinearConstraint(np.hstack([-np.diag(most), eye]), -np.inf, 0),
        LinearConstraint(np.hstack([-weights - np.diag(least), eye]), -np.inf, -least),
    ]
    result = milp(
        -np.r_[problem.linear, np.full(n, 0.5)],
        constraints=constraints,
        integrality=np.r_[np.ones(n), np.zeros(n)],
        bounds=Bounds(np.r_[np.zeros(n), least], np.r_[np.ones(n), most]),
        options={} if time_limit is None else {"time_limit": time_limit},
    )
    if result.x is None:
        return np.empty(0, dtype=int), False
    return np.sort(np.argsort(-result.x[:n], kind="stable")[:k]), result.status == 0


def upper_bound(problem: Problem) -> float:
    """Give a value that no set exceeds: the smaller of two bounds.

    The first gives each item its own best companions. The second bounds the part of the sum that
    varies with the choice by the largest eigenvalue of the centred weights.
    """
    weights, n, k = problem.weights, len(problem.weights), problem.n_chosen
    others = weights + np.diag(np.full(n, -np.inf))
    companions = -np.sort(-others, axis=1)[:, : k - 1].sum(axis=1) if k > 1 else np.zeros(n)
    parts = companions / 2 + problem.linear
    by_companions = sum(
        np.sort(parts[problem.categories == c])[::-1][:count].sum()
        for c, count in enumerate(problem.counts)
    )
    # A set's indicator is k/n everywhere and a part that sums to 0, of squared length k - k²/n.
    means = weights.mean(axis=0)
    centred = weights - means - means[:, None] + means.mean()
    free = np.sqrt(max(k - k * k / n, 0.0))
    slope = k * (means - means.mean()) + problem.linear - problem.linear.mean()
    by_eigenvalue = (
        k * k * means.mean() / 2
        + k * problem.linear.mean()
        + np.linalg.norm(slope) * free
        + max(np.linalg.eigvalsh(centred)[-1], 0.0) * free**2 / 2
    )
    return float(min(by_companions, by_eigenvalue))
