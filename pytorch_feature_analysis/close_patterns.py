"""Patterns whose digits a product with all others loses, worked out anew among themselves.

They are far closer to each other than to the rest, or their means are far larger than their
spreads: each is standardised first, and copies of one are told by their units.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pytorch_feature_analysis.pattern_sources import (
    PatternSource,
    unit_bounds,
    unit_chunks,
    whole_pattern,
)

# Below this share of the two squared lengths, a squared distance from the product has lost four
# digits of sixteen.
CANCELLED = 1e-4
# A pattern of length 1 is itself known to 1e-16 only: shorter deviations hold nothing but that.
_ROUNDING = 1e-30
# Within these bounds, and above this share of the pattern's squared length, a sum of squares
# about the mean is right as it is.
SOUND_SQUARES = (1e-280, 1e280)
_SOUND_SHARE = 1e-20
_SAMPLED_UNITS = 64


def go_over(
    source: PatternSource,
    rows: np.ndarray,
    means: np.ndarray,
    spreads: np.ndarray,
    standardised: np.ndarray,
) -> None:
    """Work out some patterns anew, among themselves, and let copies of one stand alike."""
    means[rows], spreads[rows] = moments(source, rows)
    whole = rows[np.isfinite(means[rows])]
    originals = _originals(source, whole)
    means[whole], spreads[whole] = means[originals], spreads[originals]
    broken = rows[~np.isfinite(means[rows])]
    standardised[broken] = standardised[:, broken] = np.nan

    directed = spreads[whole] > 0
    places = whole[directed]
    if len(places):
        owners = originals[directed]
        distinct, place = np.unique(owners, return_inverse=True)
        scales = np.zeros(len(means))
        scales[distinct] = 1 / spreads[distinct]
        inner = _squared_distances(source, distinct, means, scales)
        standardised[np.ix_(places, places)] = inner[np.ix_(place, place)]
        if len(distinct) < len(places):
            others = np.setdiff1d(np.arange(len(means)), rows)
            standardised[np.ix_(places, others)] = standardised[np.ix_(owners, others)]
            standardised[np.ix_(others, places)] = standardised[np.ix_(others, owners)]
    still = whole[~directed]
    standing = np.flatnonzero(np.isfinite(means))
    standardised[np.ix_(still, standing)] = standardised[np.ix_(standing, still)] = 0


def moments(source: PatternSource, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of some patterns, from their own units; NaN where one holds NaN or inf."""
    lengths: list[int] = []
    chunk_means: list[np.ndarray] = []
    squares = np.zeros(len(rows))
    with np.errstate(invalid="ignore", over="ignore"):
        for lo, hi, chunk in unit_chunks(unit_bounds(source.n_units, len(rows)), len(rows)):
            source.read(rows, lo, hi, chunk)
            lengths.append(hi - lo)
            chunk_means.append(chunk.mean(axis=1))
            chunk -= chunk_means[-1][:, None]
            squares += np.einsum("ij,ij->i", chunk, chunk)
        # Chan, Golub and LeVeque (1983), doi:10.1080/00031305.1983.10483115
        means = np.array(lengths) @ chunk_means / source.n_units
        squares += np.array(lengths) @ (chunk_means - means) ** 2
        lowest, highest = SOUND_SQUARES
        sound = (squares > _SOUND_SHARE * source.n_units * means**2) & (squares > lowest)
        sound &= squares < highest
        spreads = np.sqrt(squares)
    for i in np.flatnonzero(~sound).tolist():
        means[i], spreads[i] = _moments_of(whole_pattern(source, rows[i]))
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


def _originals(source: PatternSource, among: np.ndarray) -> np.ndarray:
    """For each of some patterns the first that is exactly equal to it (itself, as a rule)."""
    last = source.n_units - 1
    sampled = np.unique(np.linspace(0, last, _SAMPLED_UNITS).astype(int)).tolist()
    samples = np.empty((len(among), len(sampled)))
    for column, unit in enumerate(sampled if len(among) else ()):
        source.read(among, unit, unit + 1, samples[:, column : column + 1])
    alike: dict[bytes, list[int]] = {}
    for i, sample in zip(among.tolist(), samples, strict=True):
        alike.setdefault(_plain_bytes(sample), []).append(i)
    originals = {i: i for i in among.tolist()}
    for candidates in alike.values():
        first: dict[bytes, int] = {}
        for i in candidates if len(candidates) > 1 else ():
            content = hashlib.blake2b(_plain_bytes(whole_pattern(source, i))).digest()
            originals[i] = first.setdefault(content, i)
    return np.array([originals[i] for i in among.tolist()], dtype=int)


def _plain_bytes(values: np.ndarray) -> bytes:
    # Adding 0 makes 0 of -0.
    return (values + 0.0).tobytes()


def _squared_distances(
    source: PatternSource, rows: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Squared distances between the rows ``(pattern - mean) * scale``."""
    gram = np.zeros((len(rows), len(rows)))
    for chunk in _standardised_chunks(source, rows, means, scales):
        chunk -= chunk.mean(axis=0)
        gram += chunk @ chunk.T
    lengths = np.diag(gram)
    sums = lengths[:, None] + lengths[None, :]
    distances = np.maximum(sums - 2 * gram, 0)
    np.fill_diagonal(distances, 0)

    close = np.triu((distances <= CANCELLED * sums) & (sums > _ROUNDING), k=1)
    if not close.any():
        return distances
    n_groups, groups = connected_components(csr_array(close), directed=False)
    if n_groups == 1:
        for i in np.flatnonzero(close.any(axis=1)).tolist():
            others = np.flatnonzero(close[i])
            direct = _squared_distances_to(source, rows[i], rows[others], means, scales)
            distances[i, others] = distances[others, i] = direct
        return distances
    for group in np.flatnonzero(np.bincount(groups) > 1).tolist():
        members = np.flatnonzero(groups == group)
        inner = _squared_distances(source, rows[members], means, scales)
        distances[np.ix_(members, members)] = inner
    return distances


def _squared_distances_to(
    source: PatternSource, row: int, others: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> np.ndarray:
    """Squared distances of some rows to one, each from its own difference."""
    squares = np.zeros(len(others))
    for chunk in _standardised_chunks(source, np.array([*others, row]), means, scales):
        chunk -= chunk[-1].copy()
        squares += np.einsum("ij,ij->i", chunk[:-1], chunk[:-1])
    return squares


def _standardised_chunks(
    source: PatternSource, rows: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> Iterator[np.ndarray]:
    offsets, factors = means[rows, None], scales[rows, None]
    for lo, hi, chunk in unit_chunks(unit_bounds(source.n_units, len(rows)), len(rows)):
        source.read(rows, lo, hi, chunk)
        chunk -= offsets
        chunk *= factors
        yield chunk
