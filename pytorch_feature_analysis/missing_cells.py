"""What the words of `nan_policy` mean, wherever RDMs with missing cells are used.

A dissimilarity that is NaN or infinite is missing.

'raise'
    An error that names the RDMs and says how many they lack.
'omit'
    Entries without any finite dissimilarity are left out, and cells that any of the RDMs that are
    used together lacks are left out for all of them.
'pairwise'
    Each two RDMs are used on the cells that both have; in a mean, each cell is of the RDMs that
    have it.

Where a single RDM is used, there is no other for 'pairwise' to be about.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.matrices import dead_items, to_condensed, to_square

NAN_POLICIES = ("omit", "pairwise", "raise")
POLICIES_OF_ONE = ("omit", "raise")
"""For a single RDM, and where numbers must be of the same cells to be used together."""
_ONE_RDM = "is about two RDMs or more, and here is one"
# How many RDMs a message lists.
_MOST_LISTED = 5


def check_nan_policy(nan_policy: str, *, no_pairs: str = "") -> None:
    """Raise unless it is a policy; `no_pairs` says why 'pairwise' is none here."""
    if no_pairs and isinstance(nan_policy, str) and nan_policy == "pairwise":
        raise ValueError(f"`nan_policy` is 'pairwise', which {no_pairs}; take 'omit' or 'raise'.")
    allowed = POLICIES_OF_ONE if no_pairs else NAN_POLICIES
    check_name(nan_policy, allowed, argument="nan_policy", what="policy")


def refuse_missing(
    nan_policy: str,
    rows_of_cells: Iterable[np.ndarray],
    *,
    owner: str,
    names: Sequence[str] = (),
    pairs: bool = True,
) -> None:
    """Raise where the policy is to and a cell is missing, and say where.

    Parameters
    ----------
    nan_policy
        Nothing is read unless it is 'raise'.
    rows_of_cells
        The cells that are used of each RDM, (n_cells,).
    owner
        What the RDMs came by, such as "`rdm_df`".
    names
        What each is called in the message, such as "row 3"; none for a single one without a name.
    pairs
        Whether 'pairwise' would do instead.
    """
    if nan_policy != "raise":
        return
    counts = [(int((~np.isfinite(cells)).sum()), len(cells)) for cells in rows_of_cells]
    lacking = [(*count, k) for k, count in enumerate(counts) if count[0]]
    if not lacking:
        return
    where = f" of {lacking[0][1]}"
    if names:
        listed = [f"{n} of {of} in {names[k]}" for n, of, k in lacking[:_MOST_LISTED]]
        if len(lacking) > _MOST_LISTED:
            listed.append(f"and {len(lacking) - _MOST_LISTED} more")
        where = f", in {len(lacking)} of {len(counts)} RDMs: {', '.join(listed)}"
    others = "'omit' or 'pairwise'" if pairs else "'omit'"
    raise ValueError(
        f"`nan_policy` is 'raise', and {owner} has {sum(n for n, _, _ in lacking)} missing"
        f" dissimilarities (NaN or infinite){where}. Take {others}, or leave out what lacks them,"
        " rows by `df_filter` or entries by `subset_rdm_df`."
    )


def finite_or_nan(array: np.ndarray) -> np.ndarray:
    """Return the array with NaN for what is missing; itself where nothing is infinite."""
    return np.where(np.isinf(array), np.nan, array) if np.isinf(array).any() else array


def known_matrix(matrix: np.ndarray, nan_policy: str, *, owner: str, name: str = "") -> np.ndarray:
    """Return a single RDM with NaN for what is missing, or raise where the policy is to.

    A pair is known where one of its two cells is. There is no 'pairwise'.
    """
    check_nan_policy(nan_policy, no_pairs=_ONE_RDM)
    refuse_missing(
        nan_policy,
        [cells_of_pairs(matrix)],
        owner=owner,
        names=[name] if name else (),
        pairs=False,
    )
    return finite_or_nan(matrix)


def cells_of_pairs(matrix: np.ndarray) -> np.ndarray:
    """Return a cell of each pair that is known where one of the two directions is."""
    return to_condensed(np.where(np.isfinite(matrix), matrix, matrix.T))


def common_cells(rows_of_cells: np.ndarray) -> np.ndarray:
    """Mark the cells (n_cells,) that all RDMs have."""
    common: np.ndarray = np.isfinite(rows_of_cells).all(axis=0)
    return common


def dead_entries(triangles: np.ndarray) -> np.ndarray:
    """Mark the entries (n_rdms, n_entries) without any finite cell, by upper triangles."""
    return np.stack([dead_items(to_square(triangle)) for triangle in triangles])


def count_missing(matrix: np.ndarray) -> tuple[int, int]:
    """Count dead entries, and the pairs of others that are missing in both directions."""
    dead = dead_items(matrix)
    alive = np.flatnonzero(~dead)
    known = np.isfinite(matrix[np.ix_(alive, alive)])
    return int(dead.sum()), int((~to_condensed(known | known.T)).sum())


def report_missing(logger: logging.Logger, level: int, what: str, matrix: np.ndarray) -> None:
    """Log what of a single RDM is left out, after the words that say where it is."""
    if np.isfinite(matrix).all():
        return
    dead, pairs = count_missing(matrix)
    if dead or pairs:
        logger.log(
            level,
            "%s %d of %d entries, which have no finite dissimilarity, and %d further pairs.",
            what,
            dead,
            len(matrix),
            pairs,
        )


def whole_part(matrix: np.ndarray, *, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the entries that are not dead, and their matrix, in which all is known.

    Raises where it is not, or is of fewer than three; `method` is what needs it.
    """
    kept = np.flatnonzero(~dead_items(matrix))
    known = matrix[np.ix_(kept, kept)]
    if len(kept) < 3:
        raise ValueError(f"{method} needs at least three items, and there are {len(kept)}.")
    if not np.isfinite(known).all():
        raise ValueError(
            f"{method} needs the dissimilarities of all pairs, and some are missing; leave items"
            " out, or take another method."
        )
    return kept, known
