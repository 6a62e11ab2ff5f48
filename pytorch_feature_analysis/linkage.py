"""The entries of an RDM in an order that has alike ones side by side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage

from pytorch_feature_analysis.matrices import (
    check_symmetric,
    dead_items,
    mean_of_both,
    to_condensed,
)
from pytorch_feature_analysis.rdm_stack import check_row, in_words

# How far the diagonal may be from 0, or from 1.
_ROUNDING = 1e-6


def linkage_order(
    rdm_df: pd.DataFrame | pd.Series, *, symmetrize: bool = False
) -> list[tuple[Hashable, ...]]:
    """Order the entries of an RDM by average linkage, so that alike ones stand side by side.

    The two entries, or groups of entries, of the least mean dissimilarity are joined until all
    are in one tree; the order is that of its leaves.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, or that row. Similarities, with 1 on the diagonal, are read as 1 less
        each.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric and its transpose.

    Returns
    -------
    list of tuple
        The entry keys in their order. Those without a finite dissimilarity come last.

    Raises
    ------
    ValueError
        Several rows; single dissimilarities that are missing; other values on the diagonal than 0,
        or than 1.

    See Also
    --------
    plot_heatmap : Takes the order, so that several RDMs can be drawn in that of one.
    get_mean_rdms : One RDM of several, to order all of them by.

    Notes
    -----
    As `scipy.cluster.hierarchy.linkage` by 'average', and `leaves_list`.

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
    keys = row["entry_keys"]
    return [keys[k] for k in average_linkage(row["matrix"], keys, symmetrize=symmetrize)]


def average_linkage(
    matrix: np.ndarray, names: Sequence[Any], *, symmetrize: bool = False
) -> list[int]:
    """Give the positions of the entries of one RDM in the order of `linkage_order`."""
    dissimilarities = dissimilarities_of(matrix, symmetrize=symmetrize)
    dead = dead_items(dissimilarities)
    kept = np.flatnonzero(~dead)
    known = dissimilarities[np.ix_(kept, kept)]
    missing = np.argwhere(~np.isfinite(known))
    if len(missing):
        pair = [names[kept[k]] for k in missing[0]]
        raise ValueError(
            f"`rdm_df` has no finite dissimilarity of {in_words(pair)}, and average linkage needs"
            " those of all pairs; leave entries out with `subset_rdm_df`."
        )
    if len(kept) > 1:
        kept = kept[leaves_list(linkage(to_condensed(known), method="average"))]
    return [*kept.tolist(), *np.flatnonzero(dead).tolist()]


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
