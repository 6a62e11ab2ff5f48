"""Subsets of the items of an RDM: as different, or as alike, as they can be."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_sequence,
    child_generator,
)
from pytorch_feature_analysis.matrices import (
    check_square,
    check_symmetric,
    mean_of_both,
)
from pytorch_feature_analysis.missing_cells import (
    finite_or_nan,
    known_matrix,
    report_missing,
)
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.subset_search import (
    FEW_SETS,
    FIRST_MOVES,
    Problem,
    best_by_integer_program,
    best_of_all_sets,
    best_set,
    greedy_set,
    is_larger,
    random_set,
)

logger = logging.getLogger(__name__)

METHODS = ("auto", "greedy", "search", "exact")
# Moves of the search for each chosen item.
EFFORTS = {"low": FIRST_MOVES // 8, "default": FIRST_MOVES, "high": 12 * FIRST_MOVES}
# Up to so many sets, 'exact' looks at all of them instead of solving a program.
_COUNTABLE_SETS = 2_000_000

Groups = tuple[Sequence[Hashable], Mapping[Any, int]]


def get_extreme_dissims_total(
    input_rdm: npt.ArrayLike,
    num_items: int | str = "all",
    *,
    direction: str = "max",
    method: str = "auto",
    effort: str | int = "default",
    must_include: Sequence[int] = (),
    exclude: Sequence[int] = (),
    groups: Groups | None = None,
    time_limit: float | None = None,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> tuple[np.ndarray, list[int]]:
    """Choose the items of an RDM that are as different from each other as possible.

    For a number of items, the set with the largest sum of pairwise dissimilarities: by looking at
    all sets where they are few, else by a search that starts from the greedy choice and is never
    worse. For 'all', the nested greedy ranking of all items (the column `dissim_rankings` of a
    stack): the most dissimilar pair, then one at a time the item with the largest summed
    dissimilarity to those before it.

    Parameters
    ----------
    input_rdm : array-like, (n, n)
        The dissimilarities, symmetric. The diagonal is not read.
    num_items : int or 'all', default 'all'
        How many items to choose, from 1 to n.
    direction : {'max', 'min'}, default 'max'
        'min' chooses items that are as alike as possible.
    method : {'auto', 'greedy', 'search', 'exact'}, default 'auto'
        'greedy' takes the first `num_items` of the ranking; 'search' swaps items from there on
        (tabu search, and recombination of good sets with `effort='high'`); 'exact' looks at all
        sets, or solves an integer program (scipy's HiGHS) where there are more than two million,
        which takes minutes from about 30 items on; 'auto' is exact up to 50,000 sets, and else
        searches.
    effort : {'low', 'default', 'high'} or int, default 'default'
        How many swaps the search makes: 200, 1,600 or 19,200 for each chosen item, or a number in
        all. The same number gives the same set on any machine.
    must_include, exclude : sequence of int, optional
        Items that are chosen in any case, and items that are not.
    groups : tuple (labels, counts), optional
        `labels` gives the category of each item, (n,), and `counts` how many to take from each:
        ``(['cat', 'dog', ...], {'cat': 10, 'dog': 10})``. Their sum is `num_items`; categories
        that are not named give none.
    time_limit : float, optional
        Seconds after which 'search' and the program of 'exact' end with the best set so far. The
        result then depends on the machine.
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
        Where they are in `input_rdm`: k different numbers, in greedy order within the set. The
        first pair is ascending.

    Raises
    ------
    ValueError
        The matrix is not square, not symmetric, or without any finite dissimilarity; `num_items`
        is not within 1 to n; `must_include`, `exclude` and `groups` contradict each other.

    See Also
    --------
    selection_report : how good a choice is, and how good any could be.
    select_stimuli : the same on rows of a stack.

    Notes
    -----
    Of equal choices, the one with the lower index is taken.

    With 'omit', a pair whose dissimilarity is not finite (NaN or infinite) counts as nothing (with
    'min', as the largest dissimilarity there is). Items without any finite pair come last, in
    ascending order. A log line at level INFO counts both.

    The largest sum does not keep like items apart: several items from each far corner may be
    chosen. `groups` does, and so does `get_most_uniform_dissims`.

    The search takes about 5 µs a swap for 1,000 items: half a second for 50 of them.

    References
    ----------
    Wu, Q., & Hao, J.-K. (2013). A hybrid metaheuristic method for the maximum diversity problem.
    European Journal of Operational Research, 231(2), 452-464.
    https://doi.org/10.1016/j.ejor.2013.06.002

    Examples
    --------
    Six points on a line, of which the two at the ends are the farthest apart:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0, 1, 3, 7, 12, 13])
    >>> rdm = np.abs(points[:, None] - points)
    >>> sub_rdm, indices = pfa.get_extreme_dissims_total(rdm, 3)
    >>> indices
    [0, 5, 1]
    >>> sub_rdm
    array([[ 0, 13,  1],
           [13,  0, 12],
           [ 1, 12,  0]])
    >>> pfa.get_extreme_dissims_total(rdm)[1]
    [0, 5, 1, 4, 2, 3]
    >>> pfa.get_extreme_dissims_total(rdm, 3, direction="min")[1]
    [0, 1, 2]
    """
    rdm = check_square(input_rdm, argument="input_rdm")
    dissims = checked_dissims(rdm, nan_policy=nan_policy, symmetrize=symmetrize)
    check_name(direction, ("max", "min"), argument="direction", what="direction")
    check_name(method, METHODS, argument="method", what="method")
    weights = as_weights(dissims, direction)
    ranking = dissims if direction == "max" else weights
    root = check_random_state(random_state)
    if isinstance(num_items, str):
        if num_items != "all":
            raise ValueError(
                f"`num_items` must be a whole number from 1 to {len(rdm)} or 'all',"
                f" not {num_items!r}."
            )
        if len(must_include) or len(exclude) or groups is not None:
            raise ValueError(
                "`num_items`='all' ranks all items; give a number of items where `must_include`,"
                " `exclude` or `groups` are to be heeded."
            )
        indices = list(greedy_order(ranking, symmetric=True))
        return rdm[np.ix_(indices, indices)], indices
    choice = Choice.of(weights, num_items, must_include, exclude, groups)
    moves = check_effort(effort, choice.count)
    members = choice.members(method, moves, child_generator(root, "search"), time_limit)
    indices = in_greedy_order(ranking, members)
    return rdm[np.ix_(indices, indices)], indices


def checked_dissims(rdm: np.ndarray, *, nan_policy: str, symmetrize: bool) -> np.ndarray:
    """Make a float64 matrix with NaN for what is missing, of one RDM; raise where it is none."""
    dissims = known_matrix(rdm.astype(np.float64), nan_policy, owner="`input_rdm`")
    dissims = symmetric_dissims(dissims, symmetrize=symmetrize)
    report_missing(logger, logging.INFO, "The choice of items comes last to", dissims)
    return dissims


def symmetric_dissims(rdm: np.ndarray, *, symmetrize: bool) -> np.ndarray:
    """Make a float64 matrix with NaN for what is missing; raise where it is no RDM."""
    dissims = finite_or_nan(rdm.astype(np.float64))
    np.fill_diagonal(dissims, 0)
    if len(dissims) > 1 and np.isnan(dissims).sum() == dissims.size - len(dissims):
        raise ValueError(
            "`input_rdm` has no finite dissimilarity, so that no choice is better than another."
            " A layer whose patterns are all constant gives such a matrix."
        )
    if not symmetrize:
        check_symmetric(dissims, what="`input_rdm`")
    return mean_of_both(dissims)


def as_weights(dissims: np.ndarray, direction: str) -> np.ndarray:
    """Make what is to be maximised; missing pairs count as nothing, and dead items stay NaN."""
    missing = np.isnan(dissims)
    dead = missing.sum(axis=0) == max(len(dissims) - 1, 1)
    weights = dissims if direction == "max" else -dissims
    nothing = 0.0 if direction == "max" else float(np.nanmin(weights, initial=0.0))
    weights = np.where(missing, nothing, weights)
    weights[dead] = weights[:, dead] = np.nan
    return weights


def check_effort(effort: Any, count: int) -> int:
    """Count the moves of a search."""
    if isinstance(effort, str):
        check_name(effort, EFFORTS, argument="effort", what="effort")
        return EFFORTS[effort] * count
    return check_count(effort, argument="effort", minimum=0)


def in_greedy_order(ranking: np.ndarray, members: np.ndarray) -> list[int]:
    """Rank the members of a set among themselves."""
    members = np.sort(members)
    order = greedy_order(ranking[np.ix_(members, members)], symmetric=True)
    return members[list(order)].tolist()


@dataclass(frozen=True)
class Choice:
    """What is asked for: items that are in already, a problem on the free ones, and the rest."""

    count: int
    fixed: np.ndarray
    free: np.ndarray
    """Items that the problem chooses among, by category and place."""
    problem: Problem
    last: np.ndarray
    """Items without any pair that are needed to make up the number."""

    @classmethod
    def of(
        cls,
        weights: np.ndarray,
        num_items: Any,
        must_include: Sequence[int],
        exclude: Sequence[int],
        groups: Groups | None,
    ) -> Choice:
        """Check what was asked for."""
        n = len(weights)
        count = check_count(num_items, argument="num_items", minimum=1, maximum=n)
        fixed = check_items(must_include, n, argument="must_include")
        excluded = check_items(exclude, n, argument="exclude")
        both = np.intersect1d(fixed, excluded)
        if len(both):
            raise ValueError(
                f"`must_include` and `exclude` both name {', '.join(map(str, both.tolist()))}."
            )
        if len(fixed) > count or n - len(excluded) < count:
            raise ValueError(
                f"`num_items` is {count}, but `must_include` names {len(fixed)} items and"
                f" `exclude` leaves {n - len(excluded)}."
            )
        categories, counts = _check_groups(groups, n, count, fixed)
        dead = np.isnan(weights).all(axis=1)
        is_free = ~dead
        is_free[np.r_[fixed, excluded]] = False
        can_come_last = dead.copy()
        can_come_last[np.r_[fixed, excluded]] = False
        of_problem, last = [], []
        for category, wanted in enumerate(counts):
            n_free = int((is_free & (categories == category)).sum())
            rest = np.flatnonzero(can_come_last & (categories == category))
            if n_free + len(rest) < wanted:
                where = "" if groups is None else f" of category {list(groups[1])[category]!r}"
                raise ValueError(
                    f"`exclude` leaves {n_free + len(rest)} items{where} where {wanted} more are"
                    " asked for; exclude fewer or ask for fewer."
                )
            of_problem.append(min(wanted, n_free))
            last.append(rest[: wanted - of_problem[-1]])
        # Categories beyond the last give none, and so do those that have given all they should.
        gives = np.array([*counts, 0])[categories] > 0
        free = np.flatnonzero(is_free & gives)
        free = free[np.argsort(categories[free], kind="stable")]
        known = np.nan_to_num(weights, nan=0.0)
        problem = Problem(
            np.ascontiguousarray(known[np.ix_(free, free)]),
            known[np.ix_(free, fixed)].sum(axis=1),
            categories[free],
            tuple(of_problem),
        )
        return cls(count, fixed, free, problem, np.sort(np.concatenate(last)))

    def members(
        self, method: str, moves: int, rng: np.random.Generator, time_limit: float | None
    ) -> np.ndarray:
        """Choose the items."""
        problem = self.problem
        if problem.n_chosen in (0, len(self.free)):
            chosen = np.arange(problem.n_chosen)
        elif method == "exact" or (method == "auto" and problem.n_sets() <= FEW_SETS):
            chosen = self._best(time_limit, rng)
        else:
            chosen = greedy_set(problem)
            if method != "greedy":
                chosen = best_set(problem, chosen, moves, rng, time_limit)
        return np.r_[self.fixed, self.free[chosen], self.last].astype(int)

    def random_members(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a choice that is allowed."""
        drawn = self.free[random_set(self.problem, rng)]
        return np.r_[self.fixed, drawn, self.last].astype(int)

    def _best(self, time_limit: float | None, rng: np.random.Generator) -> np.ndarray:
        problem = self.problem
        start = greedy_set(problem)
        if problem.n_sets() <= _COUNTABLE_SETS:
            found, is_proven = best_of_all_sets(problem), True
        else:
            found, is_proven = best_by_integer_program(problem, time_limit)
        if not is_proven:
            # The search may have found more in less time.
            start = best_set(problem, start, EFFORTS["default"] * self.count, rng)
        if len(found) and is_larger(problem.value(found), problem.value(start)):
            return found
        return start


def check_items(items: Any, n: int, *, argument: str) -> np.ndarray:
    """Return the positions of items, each of which is named once, or raise."""
    listed = [
        check_count(item, argument=argument, minimum=0, maximum=n - 1)
        for item in check_sequence(items, argument=argument, of="places of items, such as [0, 3]")
    ]
    if len(set(listed)) < len(listed):
        raise ValueError(f"`{argument}` names an item twice: {listed}; name each once.")
    return np.array(listed, dtype=int)


def _check_groups(
    groups: Groups | None, n: int, count: int, fixed: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Category of each item, by number (beyond the last for one that gives none), and counts."""
    if groups is None:
        return np.zeros(n, dtype=int), [count - len(fixed)]
    if not isinstance(groups, tuple) or len(groups) != 2 or not isinstance(groups[1], Mapping):
        raise TypeError(
            "`groups` must be (labels, counts), such as (['cat', 'dog', ...], {'cat': 10}), not"
            f" {groups!r}."
        )
    labels, counts = list(groups[0]), dict(groups[1])
    if len(labels) != n:
        raise ValueError(f"`groups` must label each of the {n} items, not {len(labels)}.")
    for name in counts:
        check_name(name, dict.fromkeys(labels), argument="groups", what="category")
    wanted = [
        check_count(number, argument="groups", minimum=0, maximum=labels.count(name))
        for name, number in counts.items()
    ]
    if sum(wanted) != count:
        raise ValueError(
            f"`groups` asks for {sum(wanted)} items in all, but `num_items` is {count}."
        )
    number_of = {name: number for number, name in enumerate(counts)}
    categories = np.array([number_of.get(label, len(counts)) for label in labels])
    for item in fixed.tolist():
        if categories[item] == len(counts) or not wanted[categories[item]]:
            raise ValueError(
                f"`must_include` names item {item} of category {labels[item]!r}, from which"
                " `groups` takes fewer."
            )
        wanted[categories[item]] -= 1
    return categories, wanted
