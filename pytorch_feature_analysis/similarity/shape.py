"""Distances between the shapes of two clouds of stimuli: Procrustes, and what lies beside it.

All of them are made of the sum of the singular values of ``X' Y``: how well one centred cloud can
be rotated onto the other.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_share
from pytorch_feature_analysis.similarity._inputs import centred, check_pair, rotated
from pytorch_feature_analysis.similarity._measure import Measure


def procrustes_distance(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Procrustes distance of two representations, rotated onto each other as well as can be.

    ``d = 1 - (||X' Y||_* / (||X||_F ||Y||_F)) ** 2`` of centred representations, with the sum of
    singular values on top: the squared differences that are left after the best rotation and
    scaling of one side, which both begin with a sum of squares of 1. Where the sides have unequal
    numbers of units, zeros stand for the missing ones.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    float
        From 0 (the same but for translation, rotation, reflection and scale) to 1. NaN where one
        side is the same for all stimuli.

    See Also
    --------
    nbs : the similarity behind it, ``d = 1 - nbs ** 2``.
    scipy.spatial.procrustes : its third result is the same number, for sides of equal width.

    References
    ----------
    Ding, F., Denain, J.-S. and Steinhardt, J. (2021). Grounding representation similarity with
        statistical testing. NeurIPS. https://doi.org/10.48550/arXiv.2108.01661

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x = [[0, 0], [1, 0], [1, 1], [0, 1]]
    >>> round(pfa.procrustes_distance(x, [[5, 0], [5, 2], [3, 2], [3, 0]]), 6)
    0.0
    >>> round(pfa.procrustes_distance(x, [[0, 0], [1, 0], [0, 1], [1, 1]]), 6)
    0.75
    """
    return 1 - nbs(x, y) ** 2


def angular_procrustes(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Angle between two representations after the best rotation, a metric in the strict sense.

    ``arccos(nbs(x, y))``, the Riemannian shape distance: 0 only for the same shapes, and the way
    over a third representation is never shorter.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    float
        From 0 (the same but for translation, rotation, reflection and scale) to pi / 2, in
        radians. Angles below about 1e-8 cannot be told from 0. NaN where one side is the same for
        all stimuli.

    See Also
    --------
    procrustes_distance : Its squared sine.
    shape_distance : Partly whitened.

    References
    ----------
    Williams, A. H., Kunz, E., Kornblith, S. and Linderman, S. W. (2021). Generalized shape metrics
        on neural representations. NeurIPS. https://doi.org/10.48550/arXiv.2110.14739

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x, y = [[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [1, 0], [0, 1], [1, 1]]
    >>> round(pfa.angular_procrustes(x, y), 6)
    1.047198
    """
    return float(np.arccos(nbs(x, y)))


def shape_distance(x: npt.ArrayLike, y: npt.ArrayLike, alpha: float = 1.0) -> float:
    """Angular distance of partly whitened representations, from CCA to Procrustes.

    Of each centred representation with the singular values s, the whitened one has its variance
    spread evenly over its r dimensions, and the same in all; compared are the representations
    with the singular values ``alpha * s + (1 - alpha) * sqrt(sum(s ** 2) / r)``.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    alpha : float, default 1
        1 whitens nothing: `angular_procrustes`. 0 whitens wholly: the angle whose cosine is the
        sum of the CCA coefficients, over the root of the product of both ranks. In between, small
        directions count more the smaller alpha is.

    Returns
    -------
    float
        From 0 to pi / 2, in radians; a metric for each alpha. NaN where one side is the same for
        all stimuli.

    Raises
    ------
    ValueError
        `alpha` is not from 0 to 1.

    See Also
    --------
    angular_procrustes : Without whitening.
    cca : What whitening wholly goes by.

    References
    ----------
    Williams, A. H., Kunz, E., Kornblith, S. and Linderman, S. W. (2021). Generalized shape metrics
        on neural representations. NeurIPS. https://doi.org/10.48550/arXiv.2110.14739

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x = [[0, 0], [1, 0], [1, 2], [0, 2], [3, 3]]
    >>> sheared = [[a + b, b] for a, b in x]
    >>> [round(pfa.shape_distance(x, sheared, alpha), 3) for alpha in (1, 0.5, 0)]
    [0.273, 0.137, 0.0]
    """
    first, second = check_pair(x, y)
    return _compare_angle(_prepare(first, alpha=alpha), _prepare(second, alpha=alpha))


def nbs(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Normalised Bures similarity: the cosine of the best rotation of one side onto the other.

    ``||X' Y||_* / (||X||_F ||Y||_F)`` of centred representations, which is also the fidelity
    ``tr((K^1/2 L K^1/2)^1/2) / sqrt(tr K tr L)`` of their Gram matrices.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    float
        From 0 (unrelated) to 1 (the same but for translation, rotation, reflection and scale).
        NaN where one side is the same for all stimuli.

    See Also
    --------
    procrustes_distance : ``1 - nbs ** 2``.

    References
    ----------
    Tang, S., Maddox, W. J., Dickens, C., Diethe, T. and Damianou, A. (2020). Similarity of neural
        networks with gradients. https://doi.org/10.48550/arXiv.2003.11498
    Harvey, S. E., Larsen, B. W. and Williams, A. H. (2023). Duality of Bures and shape distances
        with implications for comparing neural representations.
        https://doi.org/10.48550/arXiv.2311.11436

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x, y = [[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 0], [1, 0], [0, 1], [1, 1]]
    >>> round(pfa.nbs(x, y), 6)
    0.5
    """
    first, second = check_pair(x, y)
    return _compare(_prepare(first), _prepare(second))


class _Cloud(NamedTuple):
    """A centred representation but for its rotation, of unit norm."""

    x: np.ndarray
    """(n_stimuli, at most n_stimuli)."""


def _prepare(x: np.ndarray, *, alpha: float = 1.0) -> _Cloud:
    x, alpha = centred(x), check_share(alpha, argument="alpha")
    if alpha < 1:
        left, s, _ = np.linalg.svd(x, full_matrices=False)
        kept = s > s[:1] * max(x.shape) * np.finfo(float).eps
        s = s[kept]
        even = np.sqrt((s**2).sum() / max(len(s), 1))
        x = left[:, kept] * (alpha * s + (1 - alpha) * even)
    else:
        x = rotated(x)
    norm = np.linalg.norm(x)
    return _Cloud(x / norm if norm > 0 else np.full((len(x), 1), np.nan))


def _permuted(cloud: _Cloud, order: np.ndarray) -> _Cloud:
    return _Cloud(cloud.x[order])


def _compare(first: _Cloud, second: _Cloud, **_options: Any) -> float:
    product = first.x.T @ second.x
    if not np.isfinite(product).all():
        return float("nan")
    return min(1.0, float(np.linalg.svd(product, compute_uv=False).sum()))


def _compare_squared(first: _Cloud, second: _Cloud) -> float:
    return 1 - _compare(first, second) ** 2


def _compare_angle(first: _Cloud, second: _Cloud, **_options: Any) -> float:
    return float(np.arccos(_compare(first, second)))


_measure = partial(
    Measure,
    prepare=_prepare,
    permute=_permuted,
    ignores=("translation", "scale", "rotation", "unit order"),
    needs="more stimuli than units: else unrelated data are rotated onto each other too",
    saturates=True,
)
_angle = partial(
    _measure, compare=_compare_angle, direction="distance", value_range=(0.0, np.pi / 2)
)
PROCRUSTES = [
    _measure(
        "procrustes_distance",
        procrustes_distance,
        compare=_compare_squared,
        direction="distance",
        value_range=(0.0, 1.0),
    ),
    _angle("angular_procrustes", angular_procrustes),
    _angle("shape_distance", shape_distance),
    _measure("nbs", nbs, compare=_compare, direction="similarity", value_range=(0.0, 1.0)),
]
