"""Choosing the stimuli on which two RDMs disagree most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    child_generator,
)
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
from pytorch_feature_analysis.subsets import Choice, as_weights
from pytorch_feature_analysis.target_subsets import after_swaps

# From how many sets the lowest correlation is sought.
_STARTS = 24


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
    random_state : int, numpy Generator or None, default 0
        Seeds the search: swaps as long as one lowers the correlation, from many starts.

    Returns
    -------
    pandas.DataFrame
        One row per chosen stimulus: `entry_key`; the variables of its label; `index`, its place in
        `row_a`; `mean_disagreement`, its mean difference in rank to the other chosen ones, as a
        share of all pairs, from 0 to 1; `n_missing` as in `select_stimuli`; `correlation`, that of
        the two RDMs (of ranks) over the chosen stimuli, the same in each row, NaN where all sets
        have equal ranks in one of them. The most disagreed upon come first.

    See Also
    --------
    select_stimuli : Stimuli that differ most.

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
    keys, labels, matrices, _ = read_entries(pd.concat(rows, ignore_index=True))
    check_count(num_items, argument="num_items", minimum=3, maximum=len(keys))
    own = dissims_of(matrices, ["`row_a`", "`row_b`"], nan_policy, symmetrize)
    ranks = [ranks_of(one) for one in own]
    differences = np.abs(ranks[0] - ranks[1])
    choice = Choice.of(
        as_weights(differences, "max"),
        num_items,
        places_of(must_include, keys, argument="must_include"),
        places_of(exclude, keys, argument="exclude"),
        categories_of(groups, labels),
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
    frame = chosen_frame(keys, labels, np.sort(best).tolist(), differences)
    frame = frame.rename(columns={"mean_dissim": "mean_disagreement"})
    frame["correlation"] = lowest if np.isfinite(lowest) else np.nan
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
