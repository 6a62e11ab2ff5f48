"""Canonical correlations of two representations, and means of them: SVCCA and PWCCA.

Canonical correlations are the singular values of ``U' V``, for orthonormal bases U and V of what
the centred units of either side span. The bases come from singular value decompositions cut at
the rank, so that units that depend on each other do no harm.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count, check_share
from pytorch_feature_analysis._threads import blas_threads, in_threads, n_blas_threads
from pytorch_feature_analysis.similarity._inputs import (
    centred,
    check_pair,
    leading_svd,
)
from pytorch_feature_analysis.similarity._measure import Measure


def cca(x: npt.ArrayLike, y: npt.ArrayLike, *, regularization: float = 0.0) -> np.ndarray:
    """Canonical correlation coefficients of two representations.

    The first is the correlation of the two linear combinations of units, one of each side, that
    correlate most; each further one that of the best combinations that are uncorrelated with
    those before. They ignore any invertible linear map of either side.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    regularization : float, default 0
        Added to the variances along the principal axes of each side, as a share of the largest of
        that side: directions with less variance count little.

    Returns
    -------
    ndarray (k,)
        Decreasing, from 1 (the same) to 0; as many as the lower of both ranks. Empty where one
        side is the same for all stimuli.

    Warns
    -----
    UserWarning
        There are so many units that some coefficients, or all, are 1 for any data.

    See Also
    --------
    svcca : The mean over leading dimensions.
    pwcca : A weighted mean.

    References
    ----------
    Hotelling, H. (1936). Relations between two sets of variates. Biometrika 28, 321-377.
        https://doi.org/10.1093/biomet/28.3-4.321
    Björck, Å. and Golub, G. H. (1973). Numerical methods for computing angles between linear
        subspaces. Math. Comp. 27, 579-594. https://doi.org/10.2307/2005662

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 3))
    >>> pfa.cca(x, x @ [[1, 2, 0], [0, 1, 5], [1, 0, 1]]).round(6).tolist()
    [1.0, 1.0, 1.0]
    >>> pfa.cca(x, np.column_stack([x[:, 0], rng.normal(size=50)])).round(3).tolist()
    [1.0, 0.142]
    """
    one, other = _bases(x, y, _prepare_cca, regularization=regularization)
    _warn_of_width(one, other)
    return _coefficients(one, other)


def svcca(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    n_dims: int | None = None,
    variance: float = 0.99,
    center: bool = True,
) -> float:
    """Singular vector CCA: the mean canonical correlation of the leading dimensions.

    The mean of `svcca_coefficients`, which see.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    n_dims, variance, center
        As in `svcca_coefficients`.

    Returns
    -------
    float
        From 0 (unrelated) to 1 (the same leading dimensions). NaN where one side is the same for
        all stimuli.

    See Also
    --------
    svcca_coefficients : All of them.
    cca : Without a choice of dimensions.

    References
    ----------
    Raghu, M., Gilmer, J., Yosinski, J. and Sohl-Dickstein, J. (2017). SVCCA: singular vector
        canonical correlation analysis for deep learning dynamics and interpretability. NeurIPS.
        https://doi.org/10.48550/arXiv.1706.05806

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 5))
    >>> round(pfa.svcca(x, x @ rng.normal(size=(5, 40))), 6)
    1.0
    >>> round(pfa.svcca(x, rng.normal(size=(200, 40)), n_dims=5), 3)
    0.118
    """
    one, other = _bases(x, y, _prepare_svcca, n_dims=n_dims, variance=variance, center=center)
    _warn_of_width(one, other)
    return _compare_mean(one, other)


def svcca_coefficients(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    n_dims: int | None = None,
    variance: float = 0.99,
    center: bool = True,
) -> np.ndarray:
    """Canonical correlations of the leading dimensions of two representations.

    Of either side, so many singular vectors are kept as `n_dims` says, or as hold the share
    `variance` of the sum of squares; then `cca` of these.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    n_dims : int, optional
        Dimensions to keep, at most as many as the rank. Wins over `variance`.
    variance : float, default 0.99
        Share of the sum of squares to keep, above 0, at most 1.
    center : bool, default True
        Take the mean of each unit off before the singular value decomposition. Without it, the
        mean pattern uses up a dimension, as a rule the first. The CCA behind it centres anyway.

    Returns
    -------
    ndarray (k,)
        Decreasing, from 1 to 0, one for each dimension of the side that keeps fewer.

    Warns
    -----
    UserWarning
        Both sides keep so many dimensions that some coefficients are 1 for any data.

    See Also
    --------
    svcca : Their mean.

    References
    ----------
    Raghu, M., Gilmer, J., Yosinski, J. and Sohl-Dickstein, J. (2017). SVCCA: singular vector
        canonical correlation analysis for deep learning dynamics and interpretability. NeurIPS.
        https://doi.org/10.48550/arXiv.1706.05806

    Examples
    --------
    Two of three dimensions hold nearly all of the variance:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(50, 3)) * [10, 5, 0.1]
    >>> pfa.svcca_coefficients(x, x[:, [2, 0, 1]]).round(6).tolist()
    [1.0, 1.0]
    >>> len(pfa.svcca_coefficients(x, x, n_dims=7))
    3
    """
    one, other = _bases(x, y, _prepare_svcca, n_dims=n_dims, variance=variance, center=center)
    _warn_of_width(one, other)
    return _coefficients(one, other)


def pwcca(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Projection-weighted CCA: canonical correlations weighted by what they explain of the units.

    ``sum(a * rho) / sum(a)`` with ``a_i = sum_j |<h_i, x_j>|`` over the units of the side with the
    lower rank (the first of equal ones), for its canonical variates h (Morcos et al.).

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.

    Returns
    -------
    float
        From 0 to 1. Where both sides have the same rank, exchanging them gives another number.
        NaN where one side is the same for all stimuli.

    Warns
    -----
    UserWarning
        As `cca`.

    See Also
    --------
    cca : The coefficients.

    References
    ----------
    Morcos, A. S., Raghu, M. and Bengio, S. (2018). Insights on representational similarity in
        neural networks with canonical correlation. NeurIPS.
        https://doi.org/10.48550/arXiv.1806.05759

    Examples
    --------
    What is shared is what most units carry, so that the weighted mean is above the plain one:

    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(100, 4)) * [10, 1, 1, 1]
    >>> y = np.column_stack([x[:, 0], rng.normal(size=(100, 6))])
    >>> round(pfa.pwcca(x, y), 3), round(float(pfa.cca(x, y).mean()), 3)
    (0.74, 0.412)
    """
    one, other = _bases(x, y, _prepare_cca)
    _warn_of_width(one, other)
    return _compare_weighted(one, other)


class _Basis(NamedTuple):
    """What a centred representation spans."""

    x: np.ndarray
    """(n_stimuli, n_units) as it was, centred."""
    basis: np.ndarray
    """(n_stimuli, rank), orthonormal, or shorter where it was regularised."""


def _permuted(prepared: _Basis, order: np.ndarray) -> _Basis:
    return _Basis(prepared.x[order], prepared.basis[order])


def _bases(
    x: npt.ArrayLike, y: npt.ArrayLike, prepare: Callable[..., _Basis], **options: Any
) -> tuple[_Basis, _Basis]:
    first, second = check_pair(x, y)
    return prepare(first, **options), prepare(second, **options)


def _prepare_cca(x: np.ndarray, *, regularization: float = 0.0) -> _Basis:
    regularization = check_share(regularization, argument="regularization")
    x = centred(x)
    left, s = leading_svd(x)
    if regularization and len(s):
        left = left * (s / np.sqrt(s**2 + regularization * s[0] ** 2))
    return _Basis(x, left)


def _prepare_svcca(
    x: np.ndarray, *, n_dims: int | None = None, variance: float = 0.99, center: bool = True
) -> _Basis:
    if n_dims is not None:
        n_dims = check_count(n_dims, argument="n_dims")
    variance = check_share(variance, argument="variance")
    if variance == 0:
        raise ValueError("`variance` must be above 0, at most 1, not 0.")
    left, s = leading_svd(centred(x) if center else x)
    if n_dims is None:
        shares = np.cumsum(s**2) / max((s**2).sum(), np.finfo(float).tiny)
        # Rounding of the sum is no reason for one more.
        n_dims = int(np.searchsorted(shares, variance * (1 - 1e-12))) + 1
    left, s = left[:, :n_dims], s[:n_dims]
    if not center:
        # Where the mean pattern was all there is, what is left is its rounding.
        left, _ = leading_svd(centred(left * s), scale=float(s[0]) if len(s) else 0.0)
    return _Basis(left, left)


def _coefficients(first: _Basis, second: _Basis) -> np.ndarray:
    singular: np.ndarray = np.linalg.svd(first.basis.T @ second.basis, compute_uv=False)
    return np.clip(singular, 0, 1)


def _warn_of_width(first: _Basis, second: _Basis) -> None:
    n = len(first.basis)
    ranks = first.basis.shape[1], second.basis.shape[1]
    n_trivial = min(sum(ranks) - (n - 1), *ranks)
    if n_trivial > 0:
        which = "all" if n_trivial == min(ranks) else f"{n_trivial} of {min(ranks)}"
        warnings.warn(
            f"`x` and `y` have {ranks[0]} and {ranks[1]} dimensions for {n} stimuli, so that"
            f" {which} canonical correlations are 1 for any data. Take more stimuli, or fewer"
            " dimensions: svcca(..., n_dims=...).",
            stacklevel=3,
        )


def _compare_mean(first: _Basis, second: _Basis, **_options: Any) -> float:
    return _mean(_coefficients(first, second))


def _mean(coefficients: np.ndarray) -> float:
    return float(coefficients.mean()) if len(coefficients) else float("nan")


def _all_means(prepared: Sequence[_Basis], **_options: Any) -> np.ndarray:
    """Means of all pairs, in threads that each decompose products of their own."""
    values = np.full((len(prepared),) * 2, np.nan)

    def fill(pair: tuple[int, int]) -> None:
        i, j = pair
        narrow, wide = sorted((prepared[i].basis, prepared[j].basis), key=lambda u: u.shape[1])
        if narrow.shape[1]:
            product = narrow.T @ wide
            # Faster than singular values, and exact to 1e-8 where these are 0.
            squares = np.linalg.eigvalsh(product @ product.T)
            values[i, j] = values[j, i] = np.sqrt(np.clip(squares, 0, 1)).mean()

    n_threads = n_blas_threads()
    with blas_threads(1):
        in_threads(fill, combinations_with_replacement(range(len(prepared)), 2), n_threads)
    return values


def _compare_weighted(first: _Basis, second: _Basis) -> float:
    if first.basis.shape[1] > second.basis.shape[1]:
        first, second = second, first
    if not first.basis.shape[1]:
        return float("nan")
    left, rho, _ = np.linalg.svd(first.basis.T @ second.basis, full_matrices=False)
    weights = np.abs((first.basis @ left).T @ first.x).sum(axis=1)
    return float(weights @ np.clip(rho, 0, 1) / weights.sum())


def mean_cca(x: npt.ArrayLike, y: npt.ArrayLike, *, regularization: float = 0.0) -> float:
    """Mean canonical correlation of two representations; see `cca`."""
    one, other = _bases(x, y, _prepare_cca, regularization=regularization)
    _warn_of_width(one, other)
    return _compare_mean(one, other)


_measure = partial(Measure, direction="similarity", value_range=(0.0, 1.0), permute=_permuted)
CCA = [
    _measure(
        *("cca", mean_cca, _prepare_cca, _compare_mean),
        ignores=("translation", "scale", "rotation", "invertible", "unit order"),
        needs="several times more stimuli than dimensions: else all coefficients are 1",
        saturates=True,
        compare_all=_all_means,
    ),
    _measure(
        *("svcca", svcca, _prepare_svcca, _compare_mean),
        ignores=("translation", "scale", "rotation", "unit order"),
        needs="several times more stimuli than dimensions that are kept",
        compare_all=_all_means,
    ),
    _measure(
        *("pwcca", pwcca, _prepare_cca, _compare_weighted),
        ignores=("translation", "scale", "unit order"),
        needs="several times more stimuli than dimensions: else all coefficients are 1",
        saturates=True,
        is_symmetric=False,
    ),
]
