"""The nested greedy ranking of items by their dissimilarities."""

from __future__ import annotations

import numpy as np

from pytorch_feature_analysis.matrices import add_transposed, is_finite, is_symmetric


def greedy_order(rdm: np.ndarray, *, symmetric: bool = False) -> tuple[int, ...]:
    """Rank all items so that every first k of them are the greedy choice of k different ones.

    Parameters
    ----------
    rdm : ndarray, (n, n)
        Dissimilarities; the diagonal is not read. A pair that is not finite counts as nothing,
        and items without any finite pair come last, in ascending order. Of equal choices, the
        one with the lower index is taken. A matrix that is not symmetric is read as the sum of
        its two directions.
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
