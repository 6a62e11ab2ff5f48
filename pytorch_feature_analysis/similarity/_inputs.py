"""Representations as measures take them: checked, in double precision, centred."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def check_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, *, minimum: int = 2, copy: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return two representations of the same stimuli in float64, neither of them the caller's.

    Parameters
    ----------
    minimum
        The fewest stimuli that the measure is defined for.
    copy
        False: as they are, the caller's, in any precision.

    Raises
    ------
    ValueError
        They are not tables, differ in the number of stimuli, have too few, or hold NaN or inf.
    TypeError
        They are not numbers.
    """
    first, second = (
        check_representation(side, argument=argument, minimum=minimum, copy=copy)
        for argument, side in (("x", x), ("y", y))
    )
    if len(first) != len(second):
        raise ValueError(
            f"`x` and `y` must have the same stimuli in their rows, but `x` has {len(first)} rows"
            f" and `y` has {len(second)}."
        )
    return first, second


def check_representation(
    x: Any, *, argument: str, minimum: int = 2, copy: bool = True
) -> np.ndarray:
    """Return one representation (n_stimuli, n_units) in float64, a copy, or as it is."""
    array = _check_real(x, argument)
    if array.ndim != 2:
        hint = (
            "; flatten it, or see `conv_samples` for what else can be done with positions"
            if array.ndim > 2
            else ""
        )
        raise ValueError(
            f"`{argument}` must be a table (n_stimuli, n_units), not an array of shape"
            f" {array.shape}{hint}."
        )
    n_stimuli, n_units = array.shape
    if n_units == 0:
        raise ValueError(f"`{argument}` has no units: its shape is {array.shape}.")
    if n_stimuli < minimum:
        raise ValueError(
            f"`{argument}` has {n_stimuli} stimuli, and this measure needs at least {minimum}."
            " Rows are stimuli; transpose it, if they are in the columns."
        )
    if copy:
        # So that what is centred in place is nobody else's.
        array = array.astype(np.float64)
    undefined = ~np.isfinite(array)
    if undefined.any():
        units = np.flatnonzero(undefined.any(axis=0))
        raise ValueError(
            f"`{argument}` holds {int(undefined.sum())} values that are NaN or infinite, in"
            f" {len(units)} of {n_units} units (the first is unit {units[0]}). Leave these units"
            " or their stimuli out of both representations."
        )
    return array


def check_maps(maps: Any, *, argument: str) -> np.ndarray:
    """Return activations (n_stimuli, n_channels, height, width) as they are, or raise."""
    array = _check_real(maps, argument)
    if array.ndim != 4:
        raise ValueError(
            f"`{argument}` must be maps (n_stimuli, n_channels, height, width), not an array of"
            f" shape {array.shape}."
        )
    return array


def _check_real(values: Any, argument: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{argument}` must hold real numbers, not {array.dtype}.")
    return array


def centred(x: np.ndarray) -> np.ndarray:
    """Take the mean of each unit off, in place; a unit that does not vary becomes exactly 0."""
    # The mean of equal numbers may differ from them in the last digit.
    x -= x[0].copy()
    x -= x.mean(axis=0)
    return x


def permuted_rows(x: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return a table of the stimuli in another order."""
    rows: np.ndarray = x[order]
    return rows


def permuted_pairs(matrix: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return a matrix of pairs of stimuli for the stimuli in another order."""
    pairs: np.ndarray = matrix[np.ix_(order, order)]
    return pairs


def rotated(x: np.ndarray) -> np.ndarray:
    """Return a representation but for a rotation, with no more units than stimuli."""
    n_stimuli, n_units = x.shape
    return np.asarray(np.linalg.qr(x.T, mode="r")).T if n_units > n_stimuli else x


def leading_svd(x: np.ndarray, scale: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors and singular values, those that are not rounding of `x`."""
    try:
        left, s, _ = np.linalg.svd(x, full_matrices=False)
    except np.linalg.LinAlgError:
        # The fast algorithm fails on some ill-conditioned tables that the slow one solves.
        from scipy.linalg import svd

        left, s, _ = svd(x, full_matrices=False, lapack_driver="gesvd")
    rounding = max(x.shape) * np.finfo(float).eps
    rank = int((s > rounding * max(float(s[0]), scale)).sum())
    return left[:, :rank], s[:rank]
