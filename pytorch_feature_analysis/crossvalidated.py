"""Cross-validated dissimilarities of conditions that were measured in several runs.

Products are taken between different runs only, whose noise is independent, so that the noise does
not add to them. Arrays are means (n_runs, n_conditions, n_channels), 0 where a run lacks a
condition, and who is present (n_runs, n_conditions).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy import sparse

from pytorch_feature_analysis.noise_covariance import whitened, whitened_by_channel


def run_means(
    observations: np.ndarray, conditions: np.ndarray, runs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each condition in each run, and how many observations it is of.

    `conditions` and `runs` are numbers from 0, one for each of the observations (n, n_channels).
    """
    n_runs, n_conditions = int(runs.max()) + 1, int(conditions.max()) + 1
    cells = runs * n_conditions + conditions
    counts = np.bincount(cells, minlength=n_runs * n_conditions)
    shares = 1 / counts[cells]
    average = sparse.csr_array(
        (shares, (cells, np.arange(len(cells)))), shape=(n_runs * n_conditions, len(cells))
    )
    means = (average @ observations).reshape(n_runs, n_conditions, -1)
    return means, counts.reshape(n_runs, n_conditions)


def squared_distances(means: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean over pairs of different runs of the products of differences between conditions.

    Over the runs that have both conditions; NaN where there are fewer than two of these.
    """
    centred = without_run_means(means, present)
    total, pairs = _nothing(present)
    patterns, group_of = np.unique(present, axis=0, return_inverse=True)
    members = [np.flatnonzero(group_of.reshape(-1) == g) for g in range(len(patterns))]
    sums = [centred[one].sum(axis=0) for one in members]
    # Runs with the same conditions go together: all their pairs are the product of their sums,
    # less that of each with itself.
    for g, (pattern, one) in enumerate(zip(patterns, members, strict=True)):
        if len(one) > 1:
            own = _between(sums[g], sums[g])
            for run in one:
                own -= _between(centred[run], centred[run])
            both = np.outer(pattern, pattern)
            total += np.where(both, own, 0)
            pairs += both * (len(one) * (len(one) - 1))
        for h in range(g + 1, len(patterns)):
            shared = pattern & patterns[h]
            both = np.outer(shared, shared)
            total += np.where(both, 2 * _between(sums[g], sums[h]), 0)
            pairs += both * (2 * len(one) * len(members[h]))
    return _mean_of(total, pairs)


def squared_distances_by_run(
    means: np.ndarray, present: np.ndarray, covariances: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the same in units of noise, which for a pair of runs is the mean of its two."""
    centred = without_run_means(means, present)
    total, pairs = _nothing(present)
    for a in range(len(means)):
        for b in range(a + 1, len(means)):
            shared = np.flatnonzero(present[a] & present[b])
            if len(shared) > 1:
                one, other = _same_form(covariances[a], covariances[b])
                here = np.ix_(shared, shared)
                tables = [centred[a, shared], centred[b, shared]]
                total[here] += _between(*whitened(tables, (one + other) / 2))
                pairs[here] += 1
    return _mean_of(total, pairs)


def correlation_distances(means: np.ndarray, present: np.ndarray) -> np.ndarray:
    """1 minus the covariance over channels between runs, over the root of two such variances.

    NaN in row and column of a condition whose variance is not above 0, or that is in one run.
    """
    centred = _without_channel_means(means)
    sums, counts = centred.sum(axis=0), present.sum(axis=0)
    total = sums @ sums.T
    pairs = np.multiply.outer(counts, counts).astype(float)
    for patterns, here in zip(centred, present, strict=True):
        total -= patterns @ patterns.T
        pairs -= np.outer(here, here)
    return _correlations_of(total, pairs)


def correlation_distances_by_run(
    means: np.ndarray, present: np.ndarray, covariances: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the same of patterns in units of noise, the mean of both for a pair of runs."""
    total, pairs = _nothing(present)
    for a, b in combinations(range(len(means)), 2):
        one, other = _same_form(covariances[a], covariances[b])
        first, second = map(
            _without_channel_means, whitened_by_channel([means[a], means[b]], (one + other) / 2)
        )
        products, both = first @ second.T, np.outer(present[a], present[b])
        total += products + products.T
        pairs += both.astype(float) + both.T
    return _correlations_of(total, pairs)


def _without_channel_means(patterns: np.ndarray) -> np.ndarray:
    centred: np.ndarray = patterns - patterns.mean(axis=-1, keepdims=True)
    return centred


def _correlations_of(total: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Distances by the sums of covariances over ordered pairs of runs, and how many these are."""
    covariances = np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)
    variances = np.diag(covariances)
    deviation = np.sqrt(np.where(variances > 0, variances, np.nan))
    distances = 1 - (covariances + covariances.T) / 2 / deviation / deviation[:, None]
    np.fill_diagonal(distances, 0)
    return distances


def without_run_means(means: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Patterns less the mean of their run, which is the same in a difference: digits are kept."""
    counts = np.maximum(present.sum(axis=1), 1)[:, None, None]
    return (means - means.sum(axis=1, keepdims=True) / counts) * present[:, :, None]


def runs_in_common(present: np.ndarray) -> np.ndarray:
    """How many runs have both conditions of each pair."""
    whole = present.astype(np.intp)
    return whole.T @ whole


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Products of the differences of each two rows in one table with those in another."""
    products = first @ second.T
    own = np.diag(products)
    distances: np.ndarray = own[:, None] + own - (products + products.T)
    return distances


def _nothing(present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = present.shape[1]
    return np.zeros((n, n)), np.zeros((n, n))


def _mean_of(total: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    mean = np.divide(total, pairs, out=np.full_like(total, np.nan), where=pairs > 0)
    np.fill_diagonal(mean, 0)
    return mean


def _same_form(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if one.ndim == other.ndim:
        return one, other
    first, second = (np.diag(table) if table.ndim == 1 else table for table in (one, other))
    return first, second
