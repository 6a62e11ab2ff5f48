"""Geometry of a set of patterns, from one matrix product.

Every inner-product metric (correlation, cosine, Euclidean, dot product) follows from the mean of
each pattern, its spread about that mean, and the distances between the standardised patterns
(mean off, length 1). `pattern_geometry` gets these in two readings of the units, in float64 and
in chunks that stay in the processor's cache, so that patterns in float32 are never copied as a
whole.

Two large inner products must not be subtracted to get a small distance, so the standardised
patterns enter the product as deviations from their common mean pattern: distances do not change
under a shift, and what is left has the size of the differences. Patterns that are still far
closer to each other than to the rest go through a product of their own, about their own mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

# About a megabyte of float64, what a core's own cache holds.
_CHUNK_ELEMENTS = 2**17
_SHORTEST_CHUNK = 1024
# Below this share of the two squared lengths, a squared distance from the product has lost four
# digits of sixteen.
_CANCELLED = 1e-4
# A pattern of length 1 is itself known to 1e-16 only: shorter deviations hold nothing but that.
_ROUNDING = 1e-30
# Within these bounds, and above this share of the pattern's squared length, a sum of squares
# about the mean is right as it is.
_SOUND_SQUARES = (1e-280, 1e280)
_SOUND_SHARE = 1e-20
_SAMPLED_UNITS = 64

Patterns = np.ndarray | Sequence[np.ndarray]


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

    def corr(self) -> np.ndarray:
        """1 - r; NaN off the diagonal for a constant pattern."""
        dissim = np.minimum(self.standardised / 2, 2)
        return _without_directionless(dissim, self.spreads == 0)

    def squared_euclidean(self) -> np.ndarray:
        """Squared distances."""
        # All three parts are positive, so that nothing is lost in adding them up.
        of_means = np.subtract.outer(self.means, self.means) ** 2 * self.n_units
        of_spreads = np.subtract.outer(self.spreads, self.spreads) ** 2
        return of_means + of_spreads + _times_both(self.spreads, self.standardised)

    def cosine(self) -> np.ndarray:
        """1 - cosine; NaN off the diagonal for a pattern of zeros."""
        # In the plane of a pattern's mean part and the rest of it, two patterns differ by an
        # angle; beside it, they differ by the directions of the rest.
        along = self.means * np.sqrt(self.n_units)
        lengths = np.hypot(along, self.spreads)
        angles = np.arctan2(self.spreads, along)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self.spreads / lengths
            in_plane = 2 * np.sin(np.subtract.outer(angles, angles) / 2) ** 2
            beside = _times_both(shares, self.standardised) / 2
        return _without_directionless(np.minimum(in_plane + beside, 2), lengths == 0)

    def dot_product(self) -> np.ndarray:
        """1 - inner product."""
        of_means = np.multiply.outer(self.means, self.means) * self.n_units
        of_directions = np.multiply.outer(self.spreads, self.spreads)
        return 1 - (of_means + of_directions * (1 - self.standardised / 2))


def _times_both(factors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """``matrix[i, j] * factors[i] * factors[j]``, symmetric to the last bit."""
    half = factors[:, None] * np.sqrt(matrix)
    return half * half.T


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
        Array (n_patterns, n_units), or a sequence of n one-dimensional arrays, so that patterns
        that lie in different places need not be gathered first.
    """
    n, n_units = len(patterns), len(patterns[0])
    means, spreads = _moments(patterns)
    whole = np.flatnonzero(np.isfinite(means))
    originals = _originals(patterns, whole)
    means, spreads = means[originals], spreads[originals]

    standardised = np.full((n, n), np.nan)
    standardised[np.ix_(whole, whole)] = 0
    directed = np.flatnonzero(spreads > 0)
    if len(directed):
        distinct, places = np.unique(originals[directed], return_inverse=True)
        scales = np.zeros(n)
        scales[directed] = 1 / spreads[directed]
        inner = _squared_distances(patterns, distinct, means, scales)
        standardised[np.ix_(directed, directed)] = inner[np.ix_(places, places)]
    return PatternGeometry(n_units, means, spreads, standardised)


def _moments(patterns: Patterns) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each pattern; NaN where it holds NaN or inf."""
    n, n_units = len(patterns), len(patterns[0])
    lengths: list[int] = []
    chunk_means: list[np.ndarray] = []
    squares = np.zeros(n)
    with np.errstate(invalid="ignore", over="ignore"):
        for chunk in _chunks(patterns, np.arange(n)):
            lengths.append(chunk.shape[1])
            chunk_means.append(chunk.mean(axis=1))
            chunk -= chunk_means[-1][:, None]
            squares += np.einsum("ij,ij->i", chunk, chunk)
        # Chan, Golub and LeVeque (1983), doi:10.1080/00031305.1983.10483115
        means = np.array(lengths) @ chunk_means / n_units
        squares += np.array(lengths) @ (chunk_means - means) ** 2
        lowest, highest = _SOUND_SQUARES
        sound = (squares > _SOUND_SHARE * n_units * means**2) & (squares > lowest)
        sound &= squares < highest
        spreads = np.sqrt(squares)
    for i in np.flatnonzero(~sound).tolist():
        means[i], spreads[i] = _moments_of(np.asarray(patterns[i], dtype=float))
    return means, spreads


def _moments_of(pattern: np.ndarray) -> tuple[float, float]:
    """Mean and spread of one pattern, directly, and without overflow."""
    if not np.isfinite(pattern).all():
        return np.nan, np.nan
    if pattern.min() == pattern.max():
        return float(pattern[0]), 0.0
    _, exponent = np.frexp(np.abs(pattern).max())
    scaled = np.ldexp(pattern, -exponent)
    mean = scaled.mean()
    deviations = scaled - mean
    residue = deviations.mean()
    spread = np.linalg.norm(deviations - residue)
    return float(np.ldexp(mean + residue, exponent)), float(np.ldexp(spread, exponent))


def _originals(patterns: Patterns, among: np.ndarray) -> np.ndarray:
    """For each pattern the first that is exactly equal to it (itself, as a rule)."""
    originals = np.arange(len(patterns))
    sampled = np.linspace(0, len(patterns[0]) - 1, _SAMPLED_UNITS).astype(int)
    alike: dict[bytes, list[int]] = {}
    for i in among.tolist():
        alike.setdefault(_plain_bytes(patterns[i][sampled]), []).append(i)
    for candidates in alike.values():
        first: dict[bytes, int] = {}
        for i in candidates if len(candidates) > 1 else ():
            content = hashlib.blake2b(_plain_bytes(patterns[i])).digest()
            originals[i] = first.setdefault(content, i)
    return originals


def _plain_bytes(values: np.ndarray) -> bytes:
    # Adding 0 makes 0 of -0.
    return (np.asarray(values, dtype=float) + 0.0).tobytes()


def _squared_distances(
    patterns: Patterns, rows: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Squared distances between the rows ``(pattern - mean) * scale``."""
    gram = np.zeros((len(rows), len(rows)))
    for chunk in _standardised_chunks(patterns, rows, means, scales):
        chunk -= chunk.mean(axis=0)
        gram += chunk @ chunk.T
    lengths = np.diag(gram)
    sums = lengths[:, None] + lengths[None, :]
    distances = np.maximum(sums - 2 * gram, 0)
    np.fill_diagonal(distances, 0)

    close = np.triu((distances <= _CANCELLED * sums) & (sums > _ROUNDING), k=1)
    if not close.any():
        return distances
    n_groups, groups = connected_components(csr_array(close), directed=False)
    if n_groups == 1:
        for i in np.flatnonzero(close.any(axis=1)).tolist():
            others = np.flatnonzero(close[i])
            direct = _squared_distances_to(patterns, rows[i], rows[others], means, scales)
            distances[i, others] = distances[others, i] = direct
        return distances
    for group in np.flatnonzero(np.bincount(groups) > 1).tolist():
        members = np.flatnonzero(groups == group)
        inner = _squared_distances(patterns, rows[members], means, scales)
        distances[np.ix_(members, members)] = inner
    return distances


def _squared_distances_to(
    patterns: Patterns, row: int, others: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Squared distances of some rows to one, each from its own difference."""
    squares = np.zeros(len(others))
    for chunk in _standardised_chunks(patterns, np.array([*others, row]), means, scales):
        chunk -= chunk[-1].copy()
        squares += np.einsum("ij,ij->i", chunk[:-1], chunk[:-1])
    return squares


def _standardised_chunks(
    patterns: Patterns, rows: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> Iterator[np.ndarray]:
    offsets, factors = means[rows, None], scales[rows, None]
    for chunk in _chunks(patterns, rows):
        chunk -= offsets
        chunk *= factors
        yield chunk


def _chunks(patterns: Patterns, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Stretches of the units of some patterns, in float64; each is valid until the next."""
    n_units = len(patterns[0])
    length = min(n_units, max(_SHORTEST_CHUNK, _CHUNK_ELEMENTS // len(rows)))
    buffer = np.empty((len(rows), length))
    table = None
    if isinstance(patterns, np.ndarray) and (np.diff(rows) == 1).all():
        table = patterns[rows[0] : rows[-1] + 1]
    for lo in range(0, n_units, length):
        chunk = buffer[:, : min(length, n_units - lo)]
        if table is not None:
            chunk[...] = table[:, lo : lo + length]
        else:
            for line, i in zip(chunk, rows.tolist(), strict=True):
                line[...] = patterns[i][lo : lo + length]
        yield chunk
