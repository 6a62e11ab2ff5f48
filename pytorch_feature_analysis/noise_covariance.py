"""Covariance of measurement noise between channels, and patterns whitened by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from pytorch_feature_analysis._checks import check_name, in_words

NOISE_METHODS = ("shrinkage_diag", "shrinkage_eye", "full", "diag")
_HELP = (
    "use a method with shrinkage ('shrinkage_diag' or 'shrinkage_eye'), or 'diag', or give fewer"
    " channels or more samples"
)


def noise_covariance(
    residuals: npt.ArrayLike, method: str = "shrinkage_diag", *, dof: float | None = None
) -> np.ndarray:
    """Covariance of noise between channels, shrunk so that it can be inverted.

    With S the sample covariance, and a share w that is estimated from the residuals,
    'shrinkage_eye' is ``w m I + (1 - w) S``, where m is the mean variance, and 'shrinkage_diag'
    is ``w diag(S) + (1 - w) S``.

    Parameters
    ----------
    residuals : array-like (n_samples, n_channels)
        Samples of noise: residuals of a general linear model, or deviations of trials from the
        mean of their condition. The mean of each channel is taken off.
    method : {'shrinkage_diag', 'shrinkage_eye', 'full', 'diag'}, default 'shrinkage_diag'
        'full' is S itself, which has no inverse with as many channels as samples; 'diag' holds
        its variances alone.
    dof : float, optional
        Degrees of freedom, by which sums of squares are divided; default ``n_samples - 1``. Fewer
        where a model was fitted: n_samples minus the number of its regressors.

    Returns
    -------
    ndarray (n_channels, n_channels), float64
        The covariance, in squared units of the channels. It is not changed by the order of
        samples.

    Raises
    ------
    ValueError
        An unknown method; fewer than two samples; values that are NaN or infinite; degrees of
        freedom that are not positive.

    See Also
    --------
    get_pattern_rdms : Takes it from a column ``covariance``, or estimates it.

    Notes
    -----
    'shrinkage_eye' is the estimate of Ledoit and Wolf, as of `sklearn.covariance.ledoit_wolf`
    times ``n_samples / dof``. 'shrinkage_diag' is that of Schäfer and Strimmer with the constants
    of rsatoolbox: the squared mean in the variance of a correlation counts ``n / (n - 1)`` times
    what it does in the paper. Both equal ``rsatoolbox.data.noise.cov_from_residuals``. Room is
    needed for one or two matrices of channels by channels.

    References
    ----------
    Ledoit, O. and Wolf, M. (2004). A well-conditioned estimator for large-dimensional covariance
        matrices. J. Multivar. Anal. 88, 365-411. https://doi.org/10.1016/S0047-259X(03)00096-4
    Schäfer, J. and Strimmer, K. (2005). A shrinkage approach to large-scale covariance matrix
        estimation and implications for functional genomics. Stat. Appl. Genet. Mol. Biol. 4, 32.
        https://doi.org/10.2202/1544-6115.1175

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> residuals = [[1, 1], [-1, -1], [2, 1], [-2, -3], [0, 1], [1, 2]]
    >>> pfa.noise_covariance(residuals, "full").round(3)
    array([[2.167, 2.367],
           [2.367, 3.367]])
    >>> pfa.noise_covariance(residuals, "shrinkage_diag").round(3)
    array([[2.167, 1.837],
           [1.837, 3.367]])
    """
    check_name(method, NOISE_METHODS, argument="method", what="method")
    table = _check_residuals(residuals)
    if dof is None:
        dof = len(table) - 1
    if isinstance(dof, bool) or not isinstance(dof, (int, float, np.number)):
        raise TypeError(f"`dof` must be a number of degrees of freedom, not {dof!r}.")
    if not (np.isfinite(dof) and dof > 0):
        raise ValueError(f"`dof` must be above 0, not {dof!r}; give more samples than regressors.")
    found = covariance_of(table - table.mean(axis=0), float(dof), method)
    return np.diag(found) if found.ndim == 1 else found


def _check_residuals(residuals: Any) -> np.ndarray:
    try:
        table = np.asarray(residuals)
    except ValueError:
        raise ValueError("`residuals` must be a table, and its lines differ in length.") from None
    if table.dtype.kind not in "biuf":
        raise TypeError(f"`residuals` must hold real numbers, not {table.dtype}.")
    if table.ndim != 2 or len(table) < 2 or not table.shape[1]:
        raise ValueError(
            "`residuals` must be a table (n_samples, n_channels) of two samples or more, not an"
            f" array of shape {table.shape}."
        )
    table = table.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=0)).tolist()
    if bad:
        raise ValueError(
            f"`residuals` holds NaN or infinite values in the channels {in_words(bad)}; leave"
            " these channels out."
        )
    return table


def covariance_of(deviations: np.ndarray, dof: float, method: str) -> np.ndarray:
    """Covariance (n_channels, n_channels) of deviations from a mean; variances for 'diag'."""
    n_samples = len(deviations)
    variances = np.einsum("ij,ij->j", deviations, deviations) / dof
    if method == "diag":
        return variances
    covariance = deviations.T @ deviations / dof
    if method == "shrinkage_eye":
        share, target = _share_of_identity(deviations, covariance * (dof / n_samples))
        covariance *= 1 - share
        np.fill_diagonal(covariance, np.diag(covariance) + share * target * n_samples / dof)
    elif method == "shrinkage_diag":
        covariance *= 1 - _share_of_diagonal(deviations, covariance, dof)
        np.fill_diagonal(covariance, variances)
    return covariance


def _share_of_identity(deviations: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Weight of the identity, and the mean variance (lemmas 3.2 to 3.4 of Ledoit and Wolf)."""
    n_samples = len(deviations)
    mean = float(np.diag(covariance).mean())
    squares = float(np.sum(covariance**2))
    spread = squares - len(covariance) * mean**2
    # The squared norm of the product of a sample with itself is the fourth power of its length.
    lengths = np.einsum("ij,ij->i", deviations, deviations)
    error = (float(np.mean(lengths**2)) - squares) / n_samples
    if spread <= 0:
        return 1.0, mean
    return min(max(error, 0.0), spread) / spread, mean


def _share_of_diagonal(deviations: np.ndarray, covariance: np.ndarray, dof: float) -> float:
    """Weight of the diagonal: variances of correlations over their squares."""
    n_samples = len(deviations)
    deviation = np.sqrt(np.diag(covariance))
    inverse = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    scaled = deviations * inverse
    squares = scaled**2
    # Sums over pairs of different channels: all pairs less those of a channel with itself.
    fourth = float(np.sum(squares.sum(axis=1) ** 2 - (squares**2).sum(axis=1)))
    correlations = covariance * inverse[:, None] * inverse * (dof / (n_samples - 1))
    np.fill_diagonal(correlations, 0)
    total = float(np.sum(correlations**2))
    if total <= 0:
        return 1.0
    share = n_samples / dof**2 * (fourth / (n_samples - 1) - total) / total
    return min(max(share, 0.0), 1.0)


def whitened(tables: Sequence[np.ndarray], covariance: np.ndarray) -> list[np.ndarray]:
    """Tables (..., n_channels) in units of noise: their inner products are ``x inv(S) y'``.

    `covariance` is a matrix, or the variances alone. Raises where it has no inverse; the message
    goes on from the name of what has it.
    """
    variances = covariance if covariance.ndim == 1 else np.diag(covariance)
    flat = np.flatnonzero(~(variances > 0)).tolist()
    if flat:
        raise ValueError(
            f"has no variance of noise in the channels {in_words(flat)} (of those kept), so its"
            " noise covariance is singular; leave these channels out, or use"
            " 'shrinkage_eye', the shrinkage that gives them the mean variance"
        )
    deviation = np.sqrt(variances)
    if covariance.ndim == 1:
        return [table / deviation for table in tables]
    # As correlations, so that what counts as singular does not depend on the channels' units.
    scaled = covariance / deviation / deviation[:, None]
    try:
        lower = cholesky(scaled, lower=True, overwrite_a=True, check_finite=False)
        # Squared, these are what of a channel's variance those before it do not explain.
        least = float(np.diag(lower).min()) ** 2
    except LinAlgError:
        least = 0.0
    if least <= 10 * len(covariance) * np.finfo(float).eps:
        raise ValueError(
            f"has a noise covariance of {len(covariance)} channels that is singular, and so has"
            f" no inverse; {_HELP}"
        )
    found = []
    for table in tables:
        rows = (table / deviation).reshape(-1, table.shape[-1])
        solved = solve_triangular(lower, rows.T, lower=True, overwrite_b=True, check_finite=False)
        found.append(solved.T.reshape(table.shape))
    return found


def whitened_by_channel(tables: Sequence[np.ndarray], covariance: np.ndarray) -> list[np.ndarray]:
    """Tables in units of noise by the symmetric root, ``x inv(S)^(1/2)``, as `whitened` else.

    Each column stays the channel that it was, so that a mean over channels has a meaning.
    """
    if covariance.ndim == 1:
        return whitened(tables, covariance)
    # For its checks.
    whitened([], covariance)
    values, axes = np.linalg.eigh(covariance)
    if values[0] <= 10 * len(values) * np.finfo(float).eps * values[-1]:
        raise ValueError(
            "has channels whose noise differs too much for a root of its covariance; give them in"
            " like units"
        )
    root = axes / np.sqrt(values) @ axes.T
    return [table @ root for table in tables]


def covariance_from(given: np.ndarray, kind: str) -> np.ndarray:
    """Covariance that was given as such, or as its inverse, the precision; checked.

    `given` is a symmetric matrix, or the diagonal of one.
    """
    if not np.isfinite(given).all():
        raise ValueError(f"holds NaN or infinite values in its {kind} of the channels that stay")
    if given.ndim == 1:
        if not (given > 0).all():
            raise ValueError(f"must have values above 0 on the diagonal of its {kind}")
        return given if kind == "covariance" else 1 / given
    if not np.allclose(given, given.T, rtol=1e-8, atol=1e-12 * float(np.abs(given).max())):
        raise ValueError(f"must have a symmetric {kind}, and it is not the same transposed")
    if kind == "covariance":
        return given
    # One inverse is the product of the whitened axes.
    try:
        (axes,) = whitened([np.eye(len(given))], given)
    except ValueError:
        raise ValueError(
            "has a precision that is singular or not positive definite; give the 'covariance', or"
            " estimate it with shrinkage (`noise_covariance`)"
        ) from None
    return axes @ axes.T
