"""Choosing stimuli by the RDMs of a stack: one row, or several layers and networks at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_sequence,
    child_generator,
)
from pytorch_feature_analysis.matrices import to_condensed
from pytorch_feature_analysis.missing_cells import (
    cells_of_pairs,
    check_nan_policy,
    common_cells,
    refuse_missing,
)
from pytorch_feature_analysis.rdm_stack import as_key, checked_stack, in_words
from pytorch_feature_analysis.subset_search import FEW_SETS, all_sets, is_larger
from pytorch_feature_analysis.subsets import (
    METHODS,
    Choice,
    as_weights,
    check_effort,
    in_greedy_order,
    symmetric_dissims,
)
from pytorch_feature_analysis.target_subsets import after_swaps

# How often the rows' shares in the sum are set anew, and by how much.
_ROUNDS = 24
_PULL = 2.0
# From how many sets the lowest correlation is sought.
_STARTS = 24

Groups = tuple[str, Mapping[Any, int] | int]


def select_stimuli(
    rdm_df: pd.DataFrame | pd.Series,
    num_items: int,
    *,
    combine: str = "mean",
    scale: str | None = None,
    direction: str = "max",
    method: str = "auto",
    effort: str | int = "default",
    must_include: Sequence[Any] = (),
    exclude: Sequence[Any] = (),
    groups: Groups | None = None,
    time_limit: float | None = None,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Choose the stimuli that differ most for a network's layer, or for several at once.

    Parameters
    ----------
    rdm_df : pandas.DataFrame or Series
        One or several rows of a stack, with the same entries in any order.
    num_items : int
        How many stimuli to choose.
    combine : {'mean', 'min'}, default 'mean'
        With several rows: make the mean over rows as large as can be, or the smallest row's mean
        dissimilarity (with ``direction='min'``, the largest as small as can be), so that the
        stimuli are different for every row.
    scale : {'mean', 'rank', 'none'}, optional
        How rows are brought to one scale: divided by the mean dissimilarity of each (the default
        with several rows), as ranks from 0 to 1, or not at all (the default with one).
    direction, method, effort
        As in `get_extreme_dissims_total`. With ``combine='min'``, all sets are looked at where
        there are at most 50,000, else the search is repeated with other shares of the rows.
    must_include, exclude : sequence of entry keys, optional
        Stimuli that are chosen in any case, and that are not.
    groups : tuple (variable, counts), optional
        How many from each category, by a variable of the entry labels:
        ``('animal', {'cat': 10, 'dog': 5})``, or ``('animal', 5)`` for five of each.
    time_limit : float, optional
        As in `get_extreme_dissims_total`.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': what any row lacks is
        left out for all rows, and counts as in `get_extreme_dissims_total`; a stimulus without any
        dissimilarity in a row is chosen last. 'pairwise': the mean of each pair of stimuli is over
        the rows that have it, and that of each row over the pairs that it has. 'raise': an error
        that names rows and counts.
    symmetrize, random_state
        As in `get_extreme_dissims_total`.

    Returns
    -------
    pandas.DataFrame
        One row per chosen stimulus, in greedy order: `entry_key`; the variables of its label;
        `index`, its place in the first row of `rdm_df`; `mean_dissim`, its mean dissimilarity to
        the other chosen ones (over rows, on the common scale); `n_missing`, how many of these it
        has no dissimilarity to, which are left out of its mean.

    Raises
    ------
    ValueError
        The rows have different entries; a key, variable or value does not exist; or as
        `get_extreme_dissims_total`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0.0, 1, 3, 7, 12, 13])
    >>> row = {
    ...     "layer": "conv1",
    ...     "matrix": np.abs(points[:, None] - points),
    ...     "entry_keys": tuple((name,) for name in "abcdef"),
    ... }
    >>> pfa.select_stimuli(pd.DataFrame([row]), 3)[["entry_key", "index", "mean_dissim"]]
      entry_key  index  mean_dissim
    0      (a,)      0          7.0
    1      (f,)      5         12.5
    2      (b,)      1          6.5
    """
    check_name(combine, ("mean", "min"), argument="combine", what="way to combine rows")
    check_name(direction, ("max", "min"), argument="direction", what="direction")
    check_name(method, METHODS, argument="method", what="method")
    check_nan_policy(nan_policy)
    keys, labels, matrices, names = _entries(rdm_df)
    if scale is None:
        scale = "none" if len(matrices) == 1 else "mean"
    check_name(scale, SCALES, argument="scale", what="scale")
    dissims = _dissims(matrices, names, nan_policy, symmetrize)
    if np.isnan(dissims).all(axis=0).sum() == dissims[0].size - len(keys) > 0:
        raise ValueError(
            "`rdm_df`: each entry is without any dissimilarity in one row or another; leave out"
            " the rows of layers that are dead."
        )
    dissims = np.stack([SCALES[scale](one) for one in dissims])
    together = _over_rows(dissims, np.ones(len(dissims))) / len(dissims)
    weights = as_weights(together, direction)
    asked = (
        num_items,
        _places(must_include, keys, argument="must_include"),
        _places(exclude, keys, argument="exclude"),
        _categories(groups, labels),
    )
    choice = Choice.of(weights, *asked)
    moves = check_effort(effort, choice.count)
    root = check_random_state(random_state)

    def choose(shares: np.ndarray, number: int) -> np.ndarray:
        mixed = as_weights(_over_rows(dissims, shares), direction)
        rng = child_generator(root, "stimuli", number)
        return Choice.of(mixed, *asked).members(method, moves, rng, time_limit)

    n_rows = len(dissims)
    members = choose(np.full(n_rows, 1 / n_rows), 0)
    if combine == "min" and n_rows > 1 and 0 < choice.problem.n_chosen < len(choice.free):
        values = _Values.of(dissims, direction, apart=nan_policy == "pairwise")
        members = _good_for_each(choice, values, members, choose)
    return _frame(keys, labels, in_greedy_order(weights, members), together)


def max_disagreement(
    row_a: pd.DataFrame | pd.Series,
    row_b: pd.DataFrame | pd.Series,
    num_items: int,
    *,
    must_include: Sequence[Any] = (),
    exclude: Sequence[Any] = (),
    groups: Groups | None = None,
    nan_policy: str = "pairwise",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Choose the stimuli on which two RDMs disagree most: where a new experiment tells most.

    The choice has the lowest correlation found between the two RDMs of the chosen stimuli, each
    dissimilarity taken as its rank among all pairs.

    Parameters
    ----------
    row_a, row_b : pandas.Series or DataFrame of one row
        Two rows of stacks with the same entries, in any order.
    num_items : int
        How many stimuli to choose, at least 3. With few, RDMs are opposites by chance.
    must_include, exclude, groups
        As in `select_stimuli`.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing dissimilarities (NaN or infinite). 'pairwise': ranks are among the
        pairs that each RDM has, and the correlation is over those that both have. 'omit': what
        either lacks is left out of both, and of their ranks. 'raise': an error that names rows
        and counts.
    symmetrize : bool, default False
        As in `select_stimuli`.
    random_state : int, Generator or None, default 0
        Seeds the search: swaps as long as one lowers the correlation, from many starts.

    Returns
    -------
    pandas.DataFrame
        One row per chosen stimulus: `entry_key`; the variables of its label; `index`, its place in
        `row_a`; `mean_disagreement`, its mean difference in rank to the other chosen ones, as a
        share of all pairs, from 0 to 1; `n_missing` as in `select_stimuli`; `correlation`, that of
        the two RDMs (of ranks) over the chosen stimuli, the same in each row. The most disagreed
        upon come first.

    References
    ----------
    Golan, T., Raju, P. C., & Kriegeskorte, N. (2020). Controversial stimuli: Pitting neural
    networks against each other as models of human cognition. PNAS, 117(47), 29330-29337.
    https://doi.org/10.1073/pnas.1912334117 (the idea; these make stimuli, here they are chosen).

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> keys = tuple((name,) for name in "abcde")
    >>> one, other = np.array([0.0, 1, 5, 6, 9]), np.array([0.0, 5, 1, 6, 9])
    >>> rows = [
    ...     pd.DataFrame([{"matrix": np.abs(x[:, None] - x), "entry_keys": keys}])
    ...     for x in (one, other)
    ... ]
    >>> chosen = pfa.max_disagreement(*rows, 3)
    >>> sorted(chosen["entry_key"])
    [('a',), ('b',), ('c',)]
    """
    check_nan_policy(nan_policy)
    rows = []
    for argument, row in (("row_a", row_a), ("row_b", row_b)):
        row = row.to_frame().T if isinstance(row, pd.Series) else row
        if isinstance(row, pd.DataFrame) and len(row) != 1:
            raise ValueError(
                f"`{argument}` must be one row of a stack, not {len(row)}; df_filter chooses one."
            )
        rows.append(row)
    keys, labels, matrices, _ = _entries(pd.concat(rows, ignore_index=True))
    check_count(num_items, argument="num_items", minimum=3, maximum=len(keys))
    own = _dissims(matrices, ["`row_a`", "`row_b`"], nan_policy, symmetrize)
    ranks = [_ranks(one) for one in own]
    differences = np.abs(ranks[0] - ranks[1])
    choice = Choice.of(
        as_weights(differences, "max"),
        num_items,
        _places(must_include, keys, argument="must_include"),
        _places(exclude, keys, argument="exclude"),
        _categories(groups, labels),
    )
    rng = child_generator(check_random_state(random_state), "disagreement")
    correlations = _Correlations(*ranks)
    best = choice.members("greedy", 0, rng, None)
    lowest = np.inf
    for number in range(_STARTS):
        start = best if number == 0 else choice.random_members(rng)
        found, correlation = correlations.lowered(choice, start)
        if correlation < lowest or number == 0:
            best, lowest = found, correlation
    frame = _frame(keys, labels, np.sort(best).tolist(), differences)
    frame = frame.rename(columns={"mean_dissim": "mean_disagreement"})
    frame["correlation"] = lowest
    most_first = np.argsort(-frame["mean_disagreement"], kind="stable")
    return frame.iloc[most_first].reset_index(drop=True)


class _Correlations:
    """Correlation of two RDMs over subsets, from sums over pairs."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        known = ~np.isnan(first) & ~np.isnan(second) & ~np.eye(len(first), dtype=bool)
        # About their middle, where sums of squares keep their digits.
        x, y = (np.where(known, values - 0.5, 0.0) for values in (first, second))
        self._summands = (known.astype(float), x, y, x * x, y * y, x * y)

    def of(self, members: np.ndarray) -> float:
        """Correlation over one subset; inf where there is none."""
        here = np.ix_(members, members)
        sums = [np.array(values[here].sum() / 2) for values in self._summands]
        return float(_correlation(*sums))

    def lowered(self, choice: Choice, members: np.ndarray) -> tuple[np.ndarray, float]:
        """Make the swap that lowers it most, as long as one does."""
        correlation = self.of(members)
        category = np.full(len(self._summands[0]), -1)
        category[choice.free] = choice.problem.categories
        while True:
            others = np.setdiff1d(choice.free, members)
            sums = [after_swaps(values, members, others) for values in self._summands]
            after = _correlation(*sums)
            # Fixed items stay, and each category keeps its number.
            after[category[members][:, None] != category[others]] = np.inf
            if np.isinf(after).all():
                return members, correlation
            old, new = divmod(int(after.argmin()), len(others))
            swapped = np.r_[np.delete(members, old), others[new]]
            found = self.of(swapped)
            if not found < correlation - 1e-12:
                return members, correlation
            members, correlation = swapped, found


def _correlation(
    n: np.ndarray, x: np.ndarray, y: np.ndarray, xx: np.ndarray, yy: np.ndarray, xy: np.ndarray
) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        varying = (xx - x * x / n) * (yy - y * y / n)
        r = (xy - x * y / n) / np.sqrt(varying)
    return np.where((varying > 1e-20) & np.isfinite(r), r, np.inf)


def _divided(dissims: np.ndarray) -> np.ndarray:
    mean = np.nanmean(to_condensed(dissims))
    if not mean > 0:
        raise ValueError(
            f"`scale`='mean' divides by the mean dissimilarity, which is {mean:g} in a row of"
            " `rdm_df`; use 'rank'."
        )
    return dissims / mean


def _ranks(dissims: np.ndarray) -> np.ndarray:
    ranks = np.full_like(dissims, np.nan)
    known = ~np.isnan(dissims) & ~np.eye(len(dissims), dtype=bool)
    # Each pair is there twice.
    ordered = rankdata(dissims[known])
    ranks[known] = (ordered - 1.5) / max(len(ordered) - 2, 1)
    np.fill_diagonal(ranks, 0)
    return ranks


SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": _divided,
    "rank": _ranks,
    "none": lambda dissims: dissims,
}


def _dissims(
    matrices: Sequence[np.ndarray], names: Sequence[str], nan_policy: str, symmetrize: bool
) -> np.ndarray:
    """Dissimilarities (n_rows, n, n), with NaN for what is left out."""
    cells = (cells_of_pairs(matrix) for matrix in matrices)
    refuse_missing(nan_policy, cells, owner="`rdm_df`", names=names)
    dissims = np.stack([symmetric_dissims(m, symmetrize=symmetrize) for m in matrices])
    if nan_policy == "omit":
        dissims = np.where(common_cells(dissims), dissims, np.nan)
    return dissims


def _over_rows(dissims: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Sum over rows by shares; of the rows that have a cell, as if the others were like them."""
    total: np.ndarray = np.asarray(
        sum(share * one for share, one in zip(shares, dissims, strict=True))
    )
    known = ~np.isnan(dissims)
    some = known.any(axis=0) & ~known.all(axis=0)
    if some.any():
        own = shares[:, None]
        sums = (own * np.where(known, dissims, 0)[:, some]).sum(axis=0)
        total[some] = sums / (own * known[:, some]).sum(axis=0) * shares.sum()
    return total


class _Values(NamedTuple):
    """What each row is to have as much of as can be, pair by pair."""

    values: np.ndarray
    """(n_rows, n, n), 0 where there is none."""
    counted: np.ndarray | None
    """Pairs that count in a row, where rows are to have means over other pairs."""

    @classmethod
    def of(cls, dissims: np.ndarray, direction: str, *, apart: bool) -> _Values:
        """Of all rows; `apart` takes the mean of each over the pairs that it has."""
        known = ~np.isnan(dissims)
        if apart and not known.all():
            sign = 1 if direction == "max" else -1
            counted = known & ~np.eye(dissims.shape[1], dtype=bool)
            return cls(sign * np.where(counted, dissims, 0), counted)
        weights = [as_weights(one, direction) for one in dissims]
        return cls(np.nan_to_num(np.stack(weights), nan=0.0), None)

    def sums(self, members: np.ndarray) -> np.ndarray:
        """Sum, or mean, of each row over a set."""
        found: np.ndarray = self.values[:, members[:, None], members].sum(axis=(1, 2))
        if self.counted is None:
            return found
        counts = self.counted[:, members[:, None], members].sum(axis=(1, 2))
        return found / np.maximum(counts, 1)


def _entries(
    rdm_df: pd.DataFrame | pd.Series,
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...], list[np.ndarray], list[str]]:
    """Entry keys and labels of the first row, all rows' matrices in its order, their names."""
    if isinstance(rdm_df, pd.Series):
        rdm_df = rdm_df.to_frame().T
    stack = checked_stack(rdm_df, argument="rdm_df", rank=False)
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to choose from.")
    keys = stack["entry_keys"].iloc[0]
    place = {key: i for i, key in enumerate(keys)}
    matrices = []
    for number, (matrix, own) in enumerate(zip(stack["matrix"], stack["entry_keys"], strict=True)):
        if set(own) != place.keys():
            differing = set(own) ^ place.keys()
            raise ValueError(
                "`rdm_df`: all rows must have the same entries, but the first and row"
                f" {number} differ in {in_words(sorted(differing, key=repr))}. subset_rdm_df"
                " cuts rows to the entries that they share."
            )
        order = np.argsort([place[key] for key in own])
        matrices.append(matrix[np.ix_(order, order)])
    names = [f"row {index!r}" for index in stack.index]
    return keys, stack["entry_labels"].iloc[0], matrices, names


def _places(keys: Any, known: Sequence[Any], *, argument: str) -> list[int]:
    places = []
    for key in check_sequence(keys, argument=argument, of="entry keys"):
        check_name(as_key(key), known, argument=argument, what="entry key")
        places.append(known.index(as_key(key)))
    return places


def _categories(
    groups: Groups | None, labels: Sequence[Mapping[str, Hashable]]
) -> tuple[list[Hashable], dict[Any, int]] | None:
    if groups is None:
        return None
    if not isinstance(groups, (tuple, list)) or len(groups) != 2:
        raise TypeError(
            "`groups` must be (variable, counts), such as ('animal', {'cat': 10, 'dog': 5}), not"
            f" {groups!r}."
        )
    variable, counts = groups
    names = dict.fromkeys(name for label in labels for name in label)
    check_name(variable, names, argument="groups", what="variable of the entries")
    values = [label.get(variable) for label in labels]
    if not isinstance(counts, Mapping):
        counts = dict.fromkeys(values, counts)
    return values, dict(counts)


def _good_for_each(
    choice: Choice,
    values: _Values,
    start: np.ndarray,
    choose: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Make the smallest of the rows' sums as large as can be."""
    sums = values.sums
    best, largest = start, sums(start).min()
    if choice.problem.n_sets() <= FEW_SETS:
        around = np.r_[choice.fixed, choice.last]
        for sets in all_sets(choice.problem):
            members = np.hstack([choice.free[sets], np.tile(around, (len(sets), 1))])
            for one in members:
                found = sums(one).min()
                if is_larger(found, largest):
                    best, largest = one, found
        return best
    shares = np.full(len(values.values), 1 / len(values.values))
    found = sums(start)
    for number in range(1, _ROUNDS + 1):
        # Rows that came off badly get a larger share in the next sum.
        spread = max(float(np.abs(found).max()), np.finfo(float).tiny)
        shares = shares * np.exp(-_PULL * (found - found.mean()) / spread)
        shares /= shares.sum()
        members = choose(shares, number)
        found = sums(members)
        if is_larger(found.min(), largest):
            best, largest = members, found.min()
    return best


def _frame(
    keys: Sequence[Any],
    labels: Sequence[Mapping[str, Any]],
    indices: list[int],
    dissims: np.ndarray,
) -> pd.DataFrame:
    within = dissims[np.ix_(indices, indices)].copy()
    np.fill_diagonal(within, np.nan)
    counts = (~np.isnan(within)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(within, axis=1) / counts
    names = dict.fromkeys(name for i in indices for name in labels[i])
    columns: dict[str, Any] = {"entry_key": pd.Series([keys[i] for i in indices], dtype=object)}
    columns |= {name: [labels[i].get(name) for i in indices] for name in names}
    columns |= {"index": indices, "mean_dissim": means, "n_missing": len(indices) - 1 - counts}
    return pd.DataFrame(columns)
