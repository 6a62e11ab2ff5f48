"""One map of points turned to lie on another: Procrustes alignment."""

from __future__ import annotations

import numpy as np


def procrustes_aligned(
    points: np.ndarray, reference: np.ndarray, *, rescale: bool = True
) -> np.ndarray:
    """Shift, turn and mirror points so that they are nearest to those of a reference.

    The orthogonal matrix is that of Schönemann: with :math:`X^T Y = U S V^T` of both
    configurations, centred, it is :math:`U V^T`.

    Parameters
    ----------
    points, reference : ndarray, shape (n_items, dims)
        Rows belong together. Those with NaN in either have no say, and are moved with the others.
    rescale : bool, default True
        Give the points the size of the reference: the root mean square of the distances from the
        middle, over the rows that have a say. The factor that is nearest by least squares is
        smaller the worse both agree, so that a chain of maps would shrink to a point.

    Returns
    -------
    ndarray, shape (n_items, dims)

    References
    ----------
    Schönemann (1966). A generalized solution of the orthogonal Procrustes problem. Psychometrika
    31, 1-10. doi:10.1007/BF02289451
    """
    shared = np.isfinite(points).all(axis=1) & np.isfinite(reference).all(axis=1)
    if not shared.any():
        raise ValueError(
            "two maps have no item in common, so that neither can be turned to lie on the other"
        )
    middle, target = points[shared].mean(axis=0), reference[shared].mean(axis=0)
    own, other = points[shared] - middle, reference[shared] - target
    left, _, right = np.linalg.svd(own.T @ other)
    turned = (points - middle) @ (left @ right)
    sizes = np.linalg.norm(own), np.linalg.norm(other)
    if rescale and min(sizes) > 0:
        turned *= sizes[1] / sizes[0]
    return turned + target
