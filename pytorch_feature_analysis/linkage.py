"""The entries of an RDM in an order that has alike ones side by side."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import numpy as np
import pandas as pd

from pytorch_feature_analysis.matrices import (
    check_symmetric,
    dead_items,
    mean_of_both,
    to_condensed,
    to_square,
)
from pytorch_feature_analysis.missing_cells import (
    finite_or_nan,
    known_matrix,
    report_missing,
)
from pytorch_feature_analysis.rdm_stack import check_row

logger = logging.getLogger(__name__)

# How far the diagonal may be from 0, or from 1.
_ROUNDING = 1e-6


def linkage_order(
    rdm_df: pd.DataFrame | pd.Series, *, nan_policy: str = "omit", symmetrize: bool = False
) -> list[tuple[Hashable, ...]]:
    """Order the entries of an RDM by average linkage, so that alike ones stand side by side.

    The two entries, or groups of entries, of the least mean dissimilarity are joined until all
    are in one tree; the order is that of its leaves.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, or that row. Similarities, with 1 on the diagonal, are read as 1 less
        each.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': entries without any
        finite one stand last, and single ones are left out of the means; groups with none between
        them are joined last. 'raise': an error that says how many. There is no 'pairwise', which
        is about two RDMs or more.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric and its transpose.

    Returns
    -------
    list of tuple
        The entry keys in their order.

    Raises
    ------
    ValueError
        Several rows; other values on the diagonal than 0, or than 1; missing dissimilarities with
        'raise'.

    See Also
    --------
    plot_heatmap : Takes the order, so that several RDMs can be drawn in that of one.
    get_mean_rdms : One RDM of several, to order all of them by.

    Notes
    -----
    As `scipy.cluster.hierarchy.linkage` by 'average', and `leaves_list`. A log line counts what
    is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0, 8, 1, 9], [8, 0, 9, 2], [1, 9, 0, 8], [9, 2, 8, 0]])],
    ...     "entry_keys": [["vgg16", "dino", "vgg19", "simclr"]],
    ... })
    >>> pfa.linkage_order(stack)
    [('vgg16',), ('vgg19',), ('dino',), ('simclr',)]
    """
    row = check_row(rdm_df)
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")
    report_missing(logger, logging.WARNING, "Average linkage leaves out", matrix)
    keys = row["entry_keys"]
    return [keys[k] for k in average_linkage(matrix, symmetrize=symmetrize)]


def average_linkage(matrix: np.ndarray, *, symmetrize: bool = False) -> list[int]:
    """Give the positions of the entries of one RDM in the order of `linkage_order`."""
    return average_tree(matrix, symmetrize=symmetrize)[0]


def average_tree(
    matrix: np.ndarray, *, symmetrize: bool = False
) -> tuple[list[int], np.ndarray | None]:
    """Give that order, and the tree of those that are not dead, which stand first in it.

    The tree is as of `scipy.cluster.hierarchy`, its leaves numbered by their places in the order;
    None where there is but one.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    dissimilarities = dissimilarities_of(finite_or_nan(matrix), symmetrize=symmetrize)
    dead = dead_items(dissimilarities)
    kept = np.flatnonzero(~dead)
    last = np.flatnonzero(dead).tolist()
    if len(kept) < 2:
        return [*kept.tolist(), *last], None
    known = to_condensed(dissimilarities[np.ix_(kept, kept)])
    # Estimates of distances may be below 0, which trees of scipy may not be. Means, and so joins,
    # are the same from any zero.
    lowest = min(float(np.nanmin(known)), 0.0)
    known = known - lowest
    tree = (
        linkage(known, method="average") if np.isfinite(known).all() else linkage_of_known(known)
    )
    leaves = leaves_list(tree)
    # What is joined are leaves up to their number, and trees above it.
    places = np.arange(2 * len(kept) - 1)
    places[leaves] = np.arange(len(kept))
    tree[:, :2] = places[tree[:, :2].astype(int)]
    tree[:, 2] += lowest
    return [*kept[leaves].tolist(), *last], tree


def linkage_of_known(condensed: np.ndarray) -> np.ndarray:
    """Join by the means of known dissimilarities; a tree as of `scipy.cluster.hierarchy`.

    Groups without any between them are joined last, at the height of the last ones that have.
    """
    sums = to_square(np.nan_to_num(condensed, nan=0.0))
    counts = to_square(np.isfinite(condensed).astype(float))
    n = len(sums)
    clusters = np.arange(n)
    sizes = np.ones(n)
    alive = np.ones(n, dtype=bool)
    tree = np.zeros((n - 1, 4))
    for step in range(n - 1):
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, sums / counts, np.inf)
        means[~alive] = means[:, ~alive] = np.inf
        np.fill_diagonal(means, np.inf)
        one, other = np.unravel_index(np.argmin(means), means.shape)
        height = means[one, other]
        if np.isinf(height):
            one, other = np.flatnonzero(alive)[:2]
            height = tree[step - 1, 2]
        for table in (sums, counts):
            table[one] += table[other]
            table[:, one] = table[one]
        sizes[one] += sizes[other]
        tree[step] = (*sorted((clusters[one], clusters[other])), height, sizes[one])
        clusters[one] = n + step
        alive[other] = False
    return tree


def dissimilarities_of(
    matrix: np.ndarray, *, symmetrize: bool = False, argument: str = "rdm_df"
) -> np.ndarray:
    """Return the dissimilarities of an RDM, 1 less each where 1 is on its diagonal.

    Raises where the diagonal is neither, or where the RDM is not symmetric and need be.
    """
    diagonal = matrix.diagonal()[np.isfinite(matrix.diagonal())]
    if np.allclose(diagonal, 0, atol=_ROUNDING):
        found = matrix
    elif np.allclose(diagonal, 1, atol=_ROUNDING):
        found = 1 - matrix
    else:
        odd = diagonal[np.minimum(np.abs(diagonal), np.abs(diagonal - 1)) > _ROUNDING]
        raise ValueError(
            f"`{argument}` must have 0 on the diagonal of its matrix, or 1 for similarities, not"
            f" {odd[0] if len(odd) else 'both'}."
        )
    if symmetrize:
        return mean_of_both(found)
    check_symmetric(found, what=f"`{argument}`: its matrix")
    return found
