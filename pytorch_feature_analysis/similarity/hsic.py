"""The Hilbert-Schmidt independence criterion, and the batches that its unbiased estimate needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis.matrices import check_square, double_centred, u_centred

FEWEST = 4
"""The fewest stimuli that an unbiased estimate is defined for."""


def hsic(K: npt.ArrayLike, L: npt.ArrayLike, debiased: bool = False) -> float:
    """Hilbert-Schmidt independence criterion of two kernel matrices.

    Parameters
    ----------
    K, L : array-like (n_stimuli, n_stimuli)
        Kernels between the same stimuli, symmetric.
    debiased : bool, default False
        False: ``tr(K H L H) / (n - 1) ** 2`` with the centring matrix H (Gretton et al.). True:
        ``sum(U(K) * U(L)) / (n (n - 3))`` with the U-centring of Szekely and Rizzo, the unbiased
        estimate of Song et al.

    Returns
    -------
    float
        0 for independent representations, or about it where it is unbiased; in the units of K
        times those of L.

    Raises
    ------
    ValueError
        The matrices are not square, of one size, symmetric and finite; fewer than four stimuli
        for the unbiased estimate.

    See Also
    --------
    linear_cka : A ratio of these.

    References
    ----------
    Gretton, A., Bousquet, O., Smola, A. and Schölkopf, B. (2005). Measuring statistical
        dependence with Hilbert-Schmidt norms. ALT. https://doi.org/10.1007/11564089_7
    Song, L. et al. (2012). Feature selection via dependence maximization. JMLR 13, 1393-1434.
    Székely, G. J. and Rizzo, M. L. (2014). Partial distance correlation with methods for
        dissimilarities. Ann. Statist. 42, 2382-2412. https://doi.org/10.1214/14-AOS1255

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    >>> pfa.hsic(x @ x.T, x @ x.T)
    2.7777777777777777
    >>> pfa.hsic(np.eye(4), x @ x.T, debiased=True)
    0.0
    """
    first, second = check_kernel(K, argument="K"), check_kernel(L, argument="L")
    n = len(first)
    if len(second) != n:
        raise ValueError(
            f"`K` and `L` must be kernels between the same stimuli, but `K` has {n} and `L` has"
            f" {len(second)}."
        )
    if not debiased:
        if n < 2:
            raise ValueError("`K` has one stimulus; HSIC needs at least 2.")
        return float(np.vdot(double_centred(first), second) / (n - 1) ** 2)
    if n < FEWEST:
        raise ValueError(f"`K` has {n} stimuli; the unbiased HSIC needs at least {FEWEST}.")
    return float(np.vdot(u_centred(first), u_centred(second)) / (n * (n - 3)))


def check_kernel(matrix: npt.ArrayLike, *, argument: str) -> np.ndarray:
    """Return a kernel in float64; raises unless it is square, symmetric and finite."""
    kernel = check_square(matrix, argument=argument).astype(np.float64)
    if not np.isfinite(kernel).all():
        raise ValueError(
            f"`{argument}` holds NaN or infinite values; leave out the stimuli that give them."
        )
    if not np.allclose(kernel, kernel.T, rtol=1e-8, atol=1e-8 * np.abs(kernel).max(initial=0)):
        raise ValueError(f"`{argument}` is not symmetric, as a kernel is; take (K + K.T) / 2.")
    return kernel


def merge_short(
    batches: Iterable[Sequence[Any]], concatenate: Callable[[Any], Any], *, argument: str
) -> Iterator[Sequence[Any]]:
    """Yield batches of at least four stimuli: shorter ones join the one before, or behind.

    A batch is a sequence of arrays with the same stimuli in the rows.
    """
    waiting: Sequence[Any] | None = None
    for batch in batches:
        if waiting is not None:
            if min(len(waiting[0]), len(batch[0])) < FEWEST:
                batch = [concatenate(pair) for pair in zip(waiting, batch, strict=True)]
            else:
                yield waiting
        waiting = batch
    n = 0 if waiting is None else len(waiting[0])
    if waiting is None or n < FEWEST:
        raise ValueError(
            f"`{argument}` has {n} stimuli in all; the unbiased estimate needs at least {FEWEST}."
        )
    yield waiting
