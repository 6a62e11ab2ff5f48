"""Geometry of a set of patterns, from one matrix product.

Every inner-product metric (correlation, cosine, Euclidean, dot product) follows from the mean of
each pattern, its spread about that mean, and the distances between the standardised patterns
(mean off, length 1). `pattern_geometry` gets these in one reading of the units, in float64 and in
chunks that stay in the processor's caches, so that float32 patterns are never copied as a whole.

Two large inner products must not be subtracted to get a small distance, so the patterns enter the
product as deviations from a reference pattern, the mean of some of them: distances do not change
under a shift, and what is left has the size of the differences. The reference itself and a row of
ones are multiplied along; from their products follow means and spreads. Patterns that are far
closer to each other than to the rest, or whose mean is far larger than their spread, are read
again and go through a product of their own, standardised first (`close_patterns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg.blas import dsyrk

from pytorch_feature_analysis._threads import blas_threads, in_threads, n_blas_threads
from pytorch_feature_analysis.close_patterns import CANCELLED, SOUND_SQUARES, go_over, moments
from pytorch_feature_analysis.pattern_sources import (
    Patterns,
    PatternSource,
    as_source,
    unit_bounds,
    unit_chunks,
)

# Up to this many patterns, the chunks are summed up in so many parts.
_FEW_PATTERNS = 512
_PARTS = 8
# How many patterns the reference is the mean of: enough to lie amidst them.
_REFERENCE_PATTERNS = 16
# Below this share of what it is the difference of, a squared spread has lost three digits.
_SOUND_SPREAD = 1e-3
# Matrices (n, n) are worked on in stretches of rows of about this size.
_STRETCH_ELEMENTS = 2**18


@dataclass(frozen=True)
class PatternGeometry:
    """What is needed of n patterns; patterns with NaN or inf have NaN everywhere."""

    n_units: int
    means: np.ndarray
    """(n,)"""
    spreads: np.ndarray
    """(n,), the length of each pattern after its mean is off; exactly 0 for a constant one."""
    standardised: np.ndarray
    """(n, n), squared distances between the patterns with their means off, scaled to length 1:
    2 (1 - r). A constant pattern has no direction, and 0 here."""
    room: np.ndarray | None = None
    """Where the matrices below are written; None for memory of their own."""

    def for_the_last_time(self) -> PatternGeometry:
        """Give the same geometry, to be asked for one matrix, which takes its place in memory."""
        return replace(self, room=self.standardised)

    def corr(self) -> np.ndarray:
        """1 - r; NaN off the diagonal for a constant pattern."""

        def dissims(rows: slice) -> np.ndarray:
            return np.minimum(self.standardised[rows] / 2, 2)

        return _without_directionless(self._filled(dissims), self.spreads == 0)

    def squared_euclidean(self) -> np.ndarray:
        """Squared distances."""

        def dissims(rows: slice) -> np.ndarray:
            # All three parts are positive, so that nothing is lost in adding them up.
            of_means = np.subtract.outer(self.means[rows], self.means) ** 2 * self.n_units
            of_spreads = np.subtract.outer(self.spreads[rows], self.spreads) ** 2
            return of_means + of_spreads + self._times_both(self.spreads, rows)

        return self._filled(dissims)

    def cosine(self) -> np.ndarray:
        """1 - cosine; NaN off the diagonal for a pattern of zeros."""
        # In the plane of a pattern's mean part and the rest of it, two patterns differ by an
        # angle; beside it, they differ by the directions of the rest.
        along = self.means * np.sqrt(self.n_units)
        lengths = np.hypot(along, self.spreads)
        angles = np.arctan2(self.spreads, along)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self.spreads / lengths

        def dissims(rows: slice) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                in_plane = 2 * np.sin(np.subtract.outer(angles[rows], angles) / 2) ** 2
                beside = self._times_both(shares, rows) / 2
                return np.minimum(in_plane + beside, 2)

        return _without_directionless(self._filled(dissims), lengths == 0)

    def dot_product(self) -> np.ndarray:
        """1 - inner product."""

        def dissims(rows: slice) -> np.ndarray:
            of_means = np.multiply.outer(self.means[rows], self.means) * self.n_units
            of_directions = np.multiply.outer(self.spreads[rows], self.spreads)
            return 1 - (of_means + of_directions * (1 - self.standardised[rows] / 2))

        return self._filled(dissims)

    def _filled(self, dissims: Callable[[slice], np.ndarray]) -> np.ndarray:
        """Make a matrix, by stretches of its rows."""
        matrix = np.empty_like(self.standardised) if self.room is None else self.room
        for rows in stretches(len(matrix)):
            matrix[rows] = dissims(rows)
        return matrix

    def _times_both(self, factors: np.ndarray, rows: slice) -> np.ndarray:
        """``standardised[i, j] * factors[i] * factors[j]``, symmetric to the last bit."""
        roots = np.sqrt(self.standardised[rows])
        return (factors[rows, None] * roots) * (factors * roots)


def stretches(n: int) -> Iterator[slice]:
    """Yield stretches of the rows of an (n, n) matrix that stay in the processor's caches."""
    step = max(1, _STRETCH_ELEMENTS // n)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _without_directionless(dissim: np.ndarray, directionless: np.ndarray) -> np.ndarray:
    """Set NaN off the diagonal and 0 on it, where there is nothing to take an angle to."""
    dissim[directionless] = dissim[:, directionless] = np.nan
    dissim[directionless, directionless] = 0
    return dissim


def pattern_geometry(patterns: Patterns) -> PatternGeometry:
    """Compute the geometry of patterns of one length.

    Parameters
    ----------
    patterns
        Array (n_patterns, n_units); a sequence of n one-dimensional arrays, so that patterns
        that lie in different places need not be gathered first; or a `PatternSource`, which may
        know better by its own method ``own_geometry()``.
    """
    own_geometry = getattr(patterns, "own_geometry", None)
    # What is not a number, or overflows, is seen in the sums.
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        if own_geometry is not None:
            geometry: PatternGeometry = own_geometry()
            return geometry
        source = as_source(patterns)
        return _geometry_from_sums(*_sums_of_products(source), source)


def _sums_of_products(source: PatternSource) -> tuple[np.ndarray, float]:
    """Inner products of patterns, reference and ones, and the offset; see `_geometry_from_sums`.

    Where there are few patterns, several threads that each multiply chunks of their own are
    faster than threads that share each product. The partial sums, and so the result, are the same
    for any number of threads.
    """
    n, n_units = len(source), source.n_units
    every = np.arange(n)
    some = every[:: -(-n // _REFERENCE_PATTERNS)]
    bounds = list(unit_bounds(n_units, n + 2))
    lo, hi = bounds[0]
    first = np.empty((len(some), hi - lo))
    source.read(some, lo, hi, first)
    # A constant that is taken off all units, so that none is squared in vain.
    offset = float(first.mean(axis=0).mean())

    def partial_sum(part: int) -> np.ndarray:
        sums = np.zeros((n + 2, n + 2), order="F")
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            for lo, hi, chunk in unit_chunks(bounds[part::n_parts], n + 2):
                source.read(every, lo, hi, chunk[:n])
                reference = chunk[some].mean(axis=0)
                chunk[:n] -= reference
                np.subtract(reference, offset, out=chunk[n])
                chunk[n + 1] = 1
                if few:
                    # Unlike scipy's product, numpy's lets other threads run.
                    sums += chunk @ chunk.T
                else:
                    sums = dsyrk(1.0, chunk.T, beta=1.0, c=sums, trans=1, overwrite_c=1)
        return sums

    few = n <= _FEW_PATTERNS
    n_parts = min(len(bounds), _PARTS) if few else 1
    n_threads = min(n_parts, n_blas_threads()) if n_parts > 1 else 1
    with blas_threads(1) if n_threads > 1 else nullcontext():
        parts = in_threads(partial_sum, range(n_parts), n_threads)
    for part in parts[1:]:
        parts[0] += part
    return parts[0], offset


def _geometry_from_sums(sums: np.ndarray, offset: float, source: PatternSource) -> PatternGeometry:
    """Geometry from the inner products of patterns, reference and ones; see the module.

    Parameters
    ----------
    sums
        (n + 2, n + 2), of which the upper triangle counts: inner products of the patterns'
        deviations from the reference, of the reference less `offset`, and of a row of ones. In
        Fortran order: the geometry takes their place in memory.
    source
        The patterns, read again where the sums have not kept enough digits.
    """
    n, n_units = len(source), source.n_units
    squares, by_reference, totals = np.diag(sums)[:n].copy(), sums[:n, n], sums[:n, n + 1]
    means = (totals + sums[n, n + 1]) / n_units
    squared_spreads = squares + 2 * by_reference + sums[n, n] - n_units * means**2
    sizes = squares + sums[n, n] + n_units * means**2
    lowest, highest = SOUND_SQUARES
    sound = (squared_spreads > _SOUND_SPREAD * sizes) & (squared_spreads > lowest)
    sound &= sizes < highest
    means = means + offset
    spreads = np.sqrt(np.where(sound, squared_spreads, 0))
    # Each row begins before its products do.
    standardised = sums.ravel("K")[: n * n].reshape(n, n)

    doubtful = np.flatnonzero(~sound)
    again = doubtful
    if len(doubtful):
        means[doubtful], spreads[doubtful] = moments(source, doubtful)
        # Constant patterns have no direction; all others need their products anew.
        if not (spreads[doubtful] == 0).all():
            again = np.arange(n)
    if len(again) < n:
        close = _standardise(sums.T[:n, :n], squares, means, spreads, n_units, standardised)
        again = np.unique(np.r_[close, np.flatnonzero(spreads == 0)])
    if len(again):
        go_over(source, again, means, spreads, standardised)
    return PatternGeometry(n_units, means, spreads, standardised)


def _standardise(
    products: np.ndarray,
    squares: np.ndarray,
    means: np.ndarray,
    spreads: np.ndarray,
    n_units: int,
    standardised: np.ndarray,
) -> np.ndarray:
    """Fill in the distances of the standardised patterns; returns those that are in doubt.

    Of the products, the lower triangle counts. The distances may be written over them, as long
    as no row is reached before its turn.
    """
    n = len(products)
    in_doubt = np.zeros(n, dtype=bool)
    root = np.sqrt(n_units)
    scales = np.zeros(n)
    np.divide(1, spreads, out=scales, where=spreads > 0)
    for here in stretches(n):
        # Only what is below the diagonal is worked out, and then mirrored.
        before = slice(0, here.stop)
        both = np.add.outer(squares[here], squares[before])
        distances = products[here, before] * -2.0
        distances += both
        for values in (root * means, spreads):
            differences = np.subtract.outer(values[here], values[before])
            differences *= differences
            distances -= differences
        both *= CANCELLED
        doubtful = distances <= both
        doubtful[:, here] = np.tril(doubtful[:, here], k=-1)
        if doubtful.any():
            doubtful &= np.multiply.outer(scales[here], scales[before]) > 0
            in_doubt[here] |= doubtful.any(axis=1)
            in_doubt[before] |= doubtful.any(axis=0)
        distances *= scales[before]
        distances *= scales[here, None]
        corner = np.tril(distances[:, here], k=-1)
        distances[:, here] = corner + corner.T
        standardised[here, before] = distances
        standardised[before, here] = distances.T
    return np.flatnonzero(in_doubt)
