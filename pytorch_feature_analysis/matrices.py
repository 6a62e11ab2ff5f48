"""Square matrices of dissimilarities as numpy arrays: triangles, ranks, dead items.

The upper triangle is always the part above the diagonal, row by row (row-major), which is the
condensed form of `scipy.spatial.distance.squareform` too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import squareform

from pytorch_feature_analysis._checks import check_count

# Rows and columns of the part of a large matrix that is worked on at a time.
_TILE = 256
# What differs by a smaller share of the largest cell is the same but for rounding.
_ROUNDING = 1e-8


def check_square(matrix: npt.ArrayLike, *, argument: str) -> np.ndarray:
    """Return `matrix` as a numeric array, or raise unless it is square and not empty.

    No copy is made of what already is an array.
    """
    array = np.asarray(matrix)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{argument}` must hold real numbers, not {array.dtype}.")
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(
            f"`{argument}` must be one square matrix, n x n with n at least 1, not of shape"
            f" {array.shape}. A condensed triangle becomes one by"
            " scipy.spatial.distance.squareform."
        )
    return array


def get_upper_triang(matrix: npt.ArrayLike) -> np.ndarray:
    """Give the values above the diagonal of a square matrix, row by row.

    The diagonal and what lies below it are ignored, so a matrix that is not symmetric is read
    from its upper half alone.

    Parameters
    ----------
    matrix : array-like, (n, n)
        An RDM, or any square matrix of real numbers.

    Returns
    -------
    ndarray, (n * (n - 1) / 2,)
        A new array of the same dtype: the pairs (0, 1), (0, 2), ..., (0, n - 1), (1, 2), ...
        Empty for a single item.

    See Also
    --------
    correlate_upper_triang : compare two matrices by it.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.get_upper_triang([[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    array([1, 2, 3])
    """
    return to_condensed(check_square(matrix, argument="matrix"))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two vectors; NaN when either is constant or holds a NaN."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    # Compared as they are: the mean of equal numbers may differ from them in the last bit.
    if x.size == 0 or x.min() == x.max() or y.min() == y.max():
        return np.nan
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return np.nan
    x, y = x - x.mean(), y - y.mean()
    r = (x / np.linalg.norm(x)) @ (y / np.linalg.norm(y))
    return float(np.clip(r, -1.0, 1.0))


def correlate_upper_triang(
    m1: npt.ArrayLike,
    m2: npt.ArrayLike,
    func: Callable[[np.ndarray, np.ndarray], Any] = pearson,
) -> float:
    """Correlate the upper triangles of two matrices: how alike two RDMs are.

    Parameters
    ----------
    m1, m2 : array-like, (n, n)
        Two RDMs of the same items in the same order. Each is read from above its diagonal.
    func : callable, default Pearson's correlation
        Called with the two triangles; returns a number, or a result with a `statistic`, as
        `scipy.stats.spearmanr` and its like do.

    Returns
    -------
    float
        The correlation, from -1 to 1 for the default; 1 is the same pattern of dissimilarities.

    Raises
    ------
    ValueError
        If the matrices differ in size.
    TypeError
        If `func` does not return one number.

    See Also
    --------
    compare_rdms : Further ways to compare, and missing cells.

    Notes
    -----
    The default gives NaN, without a warning, when a triangle is constant (as with fewer than
    three items) or holds a value that is not finite. To leave dead items out, cut them from both
    matrices first.

    References
    ----------
    Kriegeskorte, N., Mur, M., & Bandettini, P. (2008). Representational similarity analysis.
    Frontiers in Systems Neuroscience, 2, 4. https://doi.org/10.3389/neuro.06.004.2008

    Examples
    --------
    >>> import scipy.stats
    >>> import pytorch_feature_analysis as pfa
    >>> one = [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    >>> other = [[0, 1, 2], [1, 0, 9], [2, 9, 0]]
    >>> round(pfa.correlate_upper_triang(one, other), 4)
    0.9177
    >>> round(pfa.correlate_upper_triang(one, other, scipy.stats.spearmanr), 4)
    1.0
    """
    first, second = check_square(m1, argument="m1"), check_square(m2, argument="m2")
    if first.shape != second.shape:
        raise ValueError(
            f"`m1` and `m2` must be of the same items, but are {first.shape[0]} x"
            f" {first.shape[1]} and {second.shape[0]} x {second.shape[1]}."
        )
    result = func(to_condensed(first), to_condensed(second))
    result = getattr(result, "statistic", result)
    if np.ndim(result) != 0:
        raise TypeError(
            "`func` must return one number, or a result with a `statistic`, not"
            f" {type(result).__name__} of shape {np.shape(result)}."
        )
    return float(result)


def get_array_ranks(array: npt.ArrayLike) -> np.ndarray:
    """Replace every value by its rank among all values of the array.

    Parameters
    ----------
    array : array-like of any shape
        Values that can be sorted.

    Returns
    -------
    ndarray of int, of the same shape
        0 for the smallest value, size - 1 for the largest. Every rank occurs once: of equal
        values, the one that comes first (row by row) has the lower rank. NaN ranks last.

    See Also
    --------
    scipy.stats.rankdata : 1-based, with shared ranks for ties.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.get_array_ranks([[3, 1], [1, 2]])
    array([[3, 0],
           [1, 2]])
    """
    values = np.asarray(array)
    ranks = np.empty(values.size, dtype=np.intp)
    ranks[np.argsort(values, axis=None, kind="stable")] = np.arange(values.size)
    return ranks.reshape(values.shape)


def stderr(array: npt.ArrayLike, *, ddof: int = 0) -> float:
    """Give the standard error of the mean, the standard deviation over the root of n.

    Parameters
    ----------
    array : array-like, (n,)
        The sample.
    ddof : int, default 0
        The standard deviation divides by n - `ddof`. 0 takes the numbers as the whole
        population; 1 estimates from a sample, as `scipy.stats.sem` and `pandas` do.

    Returns
    -------
    float
        std(array, ddof) / sqrt(n). NaN if a value is NaN, or if n is not above `ddof`.

    See Also
    --------
    df_agg : Takes it as a function of groups.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.stderr([1, 3, 1, 3])
    0.5
    >>> round(pfa.stderr([1, 3, 1, 3], ddof=1), 4)
    0.5774
    """
    values = np.asarray(array, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(
            f"`array` must be one list of numbers, not of shape {values.shape}. Flatten it, or"
            " take one column."
        )
    ddof = check_count(ddof, argument="ddof", minimum=0)
    if values.size <= ddof:
        return np.nan
    return float(values.std(ddof=ddof) / np.sqrt(values.size))


def almost_equals(x: npt.ArrayLike, y: npt.ArrayLike, thresh: float = 5) -> bool:
    """Tell whether all values of `x` are within `thresh` of those of `y`.

    Parameters
    ----------
    x, y : array-like of the same shape
        Numbers, such as the RGB values of two pixels; unsigned bytes do not wrap round.
    thresh : float, default 5
        The difference that is already too large: the comparison is ``|x - y| < thresh``, strict.

    Returns
    -------
    bool
        False if any value is NaN.

    See Also
    --------
    alphatize_image : The same for all pixels of a picture.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.almost_equals((255, 250, 251), (255, 255, 255))
    False
    >>> pfa.almost_equals((255, 251, 251), (255, 255, 255))
    True
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"`x` and `y` must have the same shape, but have {first.shape} and {second.shape}."
        )
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and so not within any distance
        return bool((np.abs(first - second) < thresh).all())


def to_condensed(matrix: np.ndarray) -> np.ndarray:
    """Copy the values above the diagonal of an (n, n) array, row by row."""
    # Unchecked, squareform reads the upper half alone: ten times faster than numpy's indexing.
    return squareform(matrix, force="tovector", checks=False)


def to_square(condensed: np.ndarray) -> np.ndarray:
    """Turn a condensed triangle back into a new symmetric matrix with a zero diagonal.

    The inverse of `to_condensed` for every matrix that `is_condensable`. An empty triangle is
    that of a single item.
    """
    return squareform(condensed, force="tomatrix", checks=False)


def is_condensable(matrix: np.ndarray) -> bool:
    """Tell whether the upper triangle says it all: symmetric, NaN included, with zero diagonal."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        return False
    if matrix.diagonal().any():
        return False
    same = matrix == matrix.T
    if same.all():
        return True
    missing = np.isnan(matrix)
    return bool((same | (missing & missing.T)).all())


def is_finite(array: np.ndarray) -> bool:
    """Tell whether an array holds no NaN and no inf, without a second one of its size."""
    # NaN is passed on by both.
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def is_symmetric(matrix: np.ndarray) -> bool:
    """Tell whether a square matrix is its own transpose; one with NaN is not."""
    return all(
        np.array_equal(matrix[rows, columns], matrix[columns, rows].T)
        for rows, columns in _tiles(len(matrix))
    )


def check_symmetric(matrix: np.ndarray, *, what: str, one_sided: bool = False) -> None:
    """Raise unless both cells of each pair are the same but for rounding.

    With `one_sided` a cell may be NaN where the other is known.
    """
    different = asymmetric_pairs(matrix, one_sided=one_sided)
    if len(different):
        i, j = different[0].tolist()
        raise ValueError(
            f"{what} is not symmetric: [{i}, {j}] is {matrix[i, j]:g} and [{j}, {i}] is"
            f" {matrix[j, i]:g}. `symmetrize`=True takes the mean of both directions."
        )


def asymmetric_pairs(matrix: np.ndarray, *, one_sided: bool = False) -> np.ndarray:
    """Give the places (n_cells, 2) that `check_symmetric` would refuse."""
    if is_symmetric(matrix):
        return np.empty((0, 2), dtype=np.intp)
    values = np.where(np.isfinite(matrix), matrix, np.nan).astype(np.float64)
    scale = np.nanmax(np.abs(values), initial=0.0)
    different = np.abs(values - values.T) > _ROUNDING * scale
    if not one_sided:
        different |= np.isnan(values) != np.isnan(values.T)
    return np.argwhere(different)


def mean_of_both(matrix: np.ndarray) -> np.ndarray:
    """Return the mean of a matrix and its transpose; a cell that is NaN takes the other's."""
    both = np.where(np.isnan(matrix), matrix.T, matrix)
    mean: np.ndarray = (both + both.T) / 2
    return mean


def double_centred(matrix: np.ndarray) -> np.ndarray:
    """Take the means of rows and columns off a symmetric matrix: ``H A H``."""
    means = matrix.mean(axis=0)
    centred: np.ndarray = matrix - means
    centred -= (means - means.mean())[:, None]
    return centred


def u_centred(matrix: np.ndarray) -> np.ndarray:
    """U-centre a symmetric matrix of at least three items (Szekely and Rizzo, 2014).

    The diagonal is left out of all sums and is 0 in the result, whose rows sum to 0.
    """
    n = len(matrix)
    centred = matrix.astype(np.float64)
    np.fill_diagonal(centred, 0)
    sums = centred.sum(axis=0)
    centred -= sums / (n - 2)
    centred -= (sums / (n - 2) - sums.sum() / ((n - 1) * (n - 2)))[:, None]
    np.fill_diagonal(centred, 0)
    return centred


def add_transposed(matrix: np.ndarray) -> None:
    """Add its transpose to a square matrix, in place."""
    for rows, columns in _tiles(len(matrix)):
        both = matrix[rows, columns] + matrix[columns, rows].T
        matrix[rows, columns] = both
        matrix[columns, rows] = both.T


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Yield parts of the lower half of an (n, n) matrix that stay in the processor's caches."""
    for start in range(0, n, _TILE):
        for other in range(0, start + 1, _TILE):
            yield slice(start, start + _TILE), slice(other, other + _TILE)


def dead_items(matrix: np.ndarray) -> np.ndarray:
    """Mark the items with no finite value off the diagonal, neither in their row nor column.

    Parameters
    ----------
    matrix : ndarray, (n, n)
        An RDM. An item whose pattern is constant is dead in a correlation RDM: NaN off the
        diagonal, 0 on it.

    Returns
    -------
    ndarray of bool, (n,)
        True for a dead item. The only item of a 1 x 1 matrix is dead: it has no pair.
    """
    finite = np.isfinite(matrix)
    np.fill_diagonal(finite, val=False)
    return ~(finite.any(axis=0) | finite.any(axis=1))
