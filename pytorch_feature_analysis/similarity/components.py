"""Leading dimensions of a representation, or of what two share: principal components and PLS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.similarity._inputs import (
    centred,
    check_pair,
    check_representation,
    leading_svd,
    rotated,
)


def pca(x: npt.ArrayLike, n_dims: int) -> np.ndarray:
    """Scores of the leading principal components of a representation.

    Parameters
    ----------
    x : array-like (n_stimuli, n_units)
    n_dims : int
        How many components, at most as many as the rank.

    Returns
    -------
    ndarray (n_stimuli, n_dims)
        Uncorrelated columns of decreasing variance, centred. Of the two signs of a component,
        that is taken which makes its largest score positive.

    See Also
    --------
    svcca : CCA of leading dimensions.

    References
    ----------
    Jolliffe, I. T. and Cadima, J. (2016). Principal component analysis: a review and recent
        developments. Phil. Trans. R. Soc. A 374, 20150202. https://doi.org/10.1098/rsta.2015.0202

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.pca([[0, 0], [1, 1], [5, 5]], 2).round(4).tolist()
    [[-2.8284], [-1.4142], [4.2426]]
    """
    n_dims = check_count(n_dims, argument="n_dims")
    left, s = leading_svd(centred(check_representation(x, argument="x")))
    scores = (left * s)[:, :n_dims]
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    return scores * np.where(largest < 0, -1.0, 1.0)


def pls(x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    """Covariances of the dimensions that partial least squares finds.

    The singular values of the matrix of covariances ``X' Y / (n - 1)`` between the units of both
    sides: like `cca`, but directions count by their variance.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    ndarray (k,)
        Decreasing, not negative, in units of x times those of y; as many as the least of p, q and
        n_stimuli.

    See Also
    --------
    cca : Correlations in the place of covariances.

    References
    ----------
    Wegelin, J. A. (2000). A survey of partial least squares methods, with emphasis on the
        two-block case. University of Washington, Technical Report 371.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.pls([[0, 1], [1, 1], [2, 4]], [[0], [10], [20]]).round(4).tolist()
    [18.0278]
    """
    first, second = (rotated(centred(side)) for side in check_pair(x, y))
    singular: np.ndarray = np.linalg.svd(first.T @ second, compute_uv=False)
    return singular / (len(first) - 1)
