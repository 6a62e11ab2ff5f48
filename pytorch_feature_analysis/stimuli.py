"""Choosing stimuli by the RDMs of a stack: one row, or several layers and networks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_name,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.matrices import to_condensed
from pytorch_feature_analysis.missing_cells import check_nan_policy
from pytorch_feature_analysis.stimulus_rows import (
    Groups,
    categories_of,
    chosen_frame,
    dissims_of,
    places_of,
    ranks_of,
    read_entries,
)
from pytorch_feature_analysis.subset_search import FEW_SETS, all_sets, is_larger
from pytorch_feature_analysis.subsets import (
    METHODS,
    Choice,
    as_weights,
    check_effort,
    in_greedy_order,
)

# How often the rows' shares in the sum are set anew, and by how much.
_ROUNDS = 24
_PULL = 2.0


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

    See Also
    --------
    max_disagreement : Stimuli on which two RDMs disagree most.
    get_extreme_dissims_total : The same of a matrix.
    plot_montage : Draws the chosen pictures.

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
    keys, labels, matrices, names = read_entries(rdm_df)
    if scale is None:
        scale = "none" if len(matrices) == 1 else "mean"
    check_name(scale, SCALES, argument="scale", what="scale")
    dissims = dissims_of(matrices, names, nan_policy, symmetrize)
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
        places_of(must_include, keys, argument="must_include"),
        places_of(exclude, keys, argument="exclude"),
        categories_of(groups, labels),
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
    return chosen_frame(keys, labels, in_greedy_order(weights, members), together)


def _divided(dissims: np.ndarray) -> np.ndarray:
    mean = np.nanmean(to_condensed(dissims))
    if not mean > 0:
        raise ValueError(
            f"`scale`='mean' divides by the mean dissimilarity, which is {mean:g} in a row of"
            " `rdm_df`; use 'rank'."
        )
    return dissims / mean


SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": _divided,
    "rank": ranks_of,
    "none": lambda dissims: dissims,
}


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
