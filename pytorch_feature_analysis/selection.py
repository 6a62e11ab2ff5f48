"""Subsets of items chosen by their dissimilarities: the most different ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.matrices import add_transposed, check_square, is_finite, is_symmetric


def greedy_order(rdm: np.ndarray, *, symmetric: bool = False) -> tuple[int, ...]:
    """Rank all items so that every first k of them are the greedy choice of k different ones.

    Parameters
    ----------
    rdm : ndarray, (n, n)
        Dissimilarities; the diagonal is not read. See `get_extreme_dissims_total` for NaN, for
        ties and for a matrix that is not symmetric.
    symmetric : bool, default False
        Whether it is known to be symmetric, so that this need not be looked for.

    Returns
    -------
    tuple of int
        A permutation of 0 ... n - 1.
    """
    rdm = np.asarray(rdm, dtype=np.float64)
    n = len(rdm)
    if n > 1 and is_finite(rdm) and (symmetric or is_symmetric(rdm)):
        # Half of both directions added, and no second matrix of its size.
        dissims, alive = rdm, np.ones(n, dtype=bool)
        first, second = _farthest_pair(dissims)
    else:
        known = np.isfinite(rdm)
        np.fill_diagonal(known, val=False)
        # Both directions are added.
        dissims = np.where(known, rdm, 0.0)
        add_transposed(dissims)
        known |= known.T
        alive = known.any(axis=0)
        np.copyto(dissims, -np.inf, where=~known)
        first, second = _farthest_pair(dissims)
        np.copyto(dissims, 0.0, where=~known)
    dead = tuple(np.flatnonzero(~alive).tolist())
    if len(dead) == n:
        return dead
    order = [first, second]
    totals = np.where(alive, dissims[first] + dissims[second], -np.inf)
    totals[order] = -np.inf
    for _ in range(n - len(dead) - 2):
        item = int(totals.argmax())
        order.append(item)
        totals += dissims[item]
        totals[item] = -np.inf
    return (*order, *dead)


def _farthest_pair(dissims: np.ndarray) -> tuple[int, int]:
    """Find the first largest value of a symmetric matrix, row by row, off the diagonal."""
    first, second = divmod(int(dissims.argmax()), len(dissims))
    if first < second:
        return first, second
    # It is on the diagonal.
    largest, first, second = -np.inf, 0, 0
    for i, row in enumerate(dissims[:-1]):
        beyond = row[i + 1 :]
        j = int(beyond.argmax())
        if beyond[j] > largest:
            largest, first, second = beyond[j], i, i + 1 + j
    return first, second


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
