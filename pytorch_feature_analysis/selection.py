"""Subsets of items chosen by their dissimilarities: the most different ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.matrices import check_square


def greedy_order(rdm: np.ndarray) -> tuple[int, ...]:
    """Rank all items so that every first k of them are the greedy choice of k different ones.

    Parameters
    ----------
    rdm : ndarray, (n, n)
        Dissimilarities; the diagonal is not read. See `get_extreme_dissims_total` for NaN, for
        ties and for a matrix that is not symmetric.

    Returns
    -------
    tuple of int
        A permutation of 0 ... n - 1.
    """
    rdm = np.asarray(rdm, dtype=np.float64)
    finite = np.isfinite(rdm)
    np.fill_diagonal(finite, val=False)
    # Both directions are added: for a symmetric matrix that doubles every value exactly.
    dissims = np.where(finite, rdm, 0.0)
    dissims = dissims + dissims.T
    known = finite | finite.T

    n = len(rdm)
    alive = known.any(axis=0)
    dead = tuple(np.flatnonzero(~alive).tolist())
    if len(dead) == n:
        return dead
    # The first largest entry, row by row, of a symmetric matrix lies above the diagonal.
    first, second = divmod(int(np.where(known, dissims, -np.inf).argmax()), n)
    order = [first, second]
    totals = np.where(alive, dissims[first] + dissims[second], -np.inf)
    totals[order] = -np.inf
    for _ in range(n - len(dead) - 2):
        item = int(totals.argmax())
        order.append(item)
        totals += dissims[item]
        totals[item] = -np.inf
    return (*order, *dead)


def get_extreme_dissims_total(
    input_rdm: npt.ArrayLike, num_items: int | str = "all"
) -> tuple[np.ndarray, list[int]]:
    """Choose the items of an RDM that are as different from each other as possible.

    Greedy: the most dissimilar pair comes first; then, one at a time, the item with the largest
    summed dissimilarity to those already chosen. The choice of k items is thus the first k of
    the choice of all, and `num_items='all'` ranks them (the column `dissim_rankings` of a stack).

    Parameters
    ----------
    input_rdm : array-like, (n, n)
        The dissimilarities. The diagonal is not read.
    num_items : int or 'all', default 'all'
        How many items to choose, from 1 to n.

    Returns
    -------
    sub_rdm : ndarray, (k, k)
        The rows and columns of the chosen items, in the order in which they were chosen.
    indices : list of int
        Where they are in `input_rdm`: k different numbers. The first pair is ascending.

    Notes
    -----
    Of equal choices, the one with the lower index is taken.

    A pair whose dissimilarity is not finite (NaN or infinite) counts as nothing: an item's sum
    runs over its finite pairs. Items without any finite pair come last, in ascending order; a
    matrix of NaN is therefore taken in its own order.

    A matrix that is not symmetric is read as the sum of its two directions, so that it and its
    transpose give the same choice.

    The greedy choice takes of the order of n² steps, and is not always the best one there is.

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
    """
    rdm = check_square(input_rdm, argument="input_rdm")
    if isinstance(num_items, str):
        if num_items != "all":
            raise ValueError(
                f"`num_items` must be a whole number from 1 to {len(rdm)} or 'all',"
                f" not {num_items!r}."
            )
        num_items = len(rdm)
    count = check_count(num_items, argument="num_items", minimum=1, maximum=len(rdm))
    indices = list(greedy_order(rdm)[:count])
    return rdm[np.ix_(indices, indices)], indices
