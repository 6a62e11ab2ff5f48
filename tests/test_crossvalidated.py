"""Cross-validated dissimilarities on arrays, beside loops over pairs of runs."""

import itertools

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pytorch_feature_analysis.crossvalidated import (
    correlation_distances,
    correlation_distances_by_run,
    run_means,
    runs_in_common,
    squared_distances,
    squared_distances_by_run,
)

N_RUNS, N_CONDITIONS, N_CHANNELS = 5, 6, 7


def made(seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(N_CONDITIONS, N_CHANNELS)) + rng.normal(
        size=(N_RUNS, N_CONDITIONS, N_CHANNELS)
    )
    present = rng.random((N_RUNS, N_CONDITIONS)) >= missing
    return means * present[:, :, None], present


def by_loops(means, present, covariance_of_pair=None):
    """The definition, one pair of runs after another."""
    n = means.shape[1]
    found = np.full((n, n), np.nan)
    for i, j in itertools.product(range(n), repeat=2):
        products = []
        for a, b in itertools.permutations(range(len(means)), 2):
            if present[[a, a, b, b], [i, j, i, j]].all():
                one, other = means[a, i] - means[a, j], means[b, i] - means[b, j]
                if covariance_of_pair is not None:
                    other = np.linalg.inv(covariance_of_pair(a, b)) @ other
                products.append(one @ other)
        if i == j:
            found[i, j] = 0
        elif products:
            found[i, j] = np.mean(products)
    return found


def test_a_number_worked_by_hand():
    # Differences of 1, 2 and 4: products 2, 4 and 8, whose mean is 14 / 3.
    means = np.array([[[0.0], [1.0]], [[0.0], [2.0]], [[5.0], [9.0]]])
    present = np.ones((3, 2), dtype=bool)
    assert squared_distances(means, present)[0, 1] == pytest.approx(14 / 3)


@pytest.mark.parametrize("missing", [0, 0.2, 0.5, 0.8])
def test_squared_distances_are_the_mean_over_pairs_of_runs_that_have_both(missing):
    means, present = made(3, missing)
    found, expected = squared_distances(means, present), by_loops(means, present)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    assert np.isnan(found).any() == (missing >= 0.5)
    np.testing.assert_array_equal(
        np.isnan(found), (runs_in_common(present) < 2) & ~np.eye(6, dtype=bool)
    )
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)


@pytest.mark.parametrize("missing", [0, 0.4])
def test_noise_of_runs_is_that_of_each_pair_of_them(missing):
    means, present = made(1, missing)
    tables = np.random.default_rng(5).normal(size=(N_RUNS, 20, N_CHANNELS))
    covariances = [table.T @ table for table in tables]
    expected = by_loops(means, present, lambda a, b: (covariances[a] + covariances[b]) / 2)
    found = squared_distances_by_run(means, present, covariances)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    same = squared_distances_by_run(means, present, [np.eye(N_CHANNELS)] * N_RUNS)
    np.testing.assert_allclose(same, squared_distances(means, present), atol=1e-12)
    # A diagonal, beside whole matrices.
    covariances[2] = np.ones(N_CHANNELS)
    as_whole = [*covariances[:2], np.eye(N_CHANNELS), *covariances[3:]]
    np.testing.assert_allclose(
        squared_distances_by_run(means, present, covariances),
        squared_distances_by_run(means, present, as_whole),
    )


@pytest.mark.parametrize("missing", [0, 0.3])
def test_correlation_distances_are_of_covariances_between_runs(missing):
    means, present = made(4, missing)
    # Reliable, so that all variances are above 0.
    means += 3 * np.random.default_rng(9).normal(size=means.shape[1:])
    means *= present[:, :, None]

    def covariance(i, j):
        values = [
            np.cov(means[a, i], means[b, j])[0, 1]
            for a, b in itertools.permutations(range(N_RUNS), 2)
            if present[a, i] and present[b, j]
        ]
        return np.mean(values)

    found = correlation_distances(means, present)
    for i, j in itertools.combinations(range(N_CONDITIONS), 2):
        c = (covariance(i, j) + covariance(j, i)) / 2
        expected = 1 - c / np.sqrt(covariance(i, i) * covariance(j, j))
        assert found[i, j] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(found, found.T, atol=1e-15)


@pytest.mark.parametrize("missing", [0, 0.3])
def test_whitened_correlations_are_those_of_patterns_times_the_root_of_each_pair(missing):
    means, present = made(4, missing)
    means += 3 * np.random.default_rng(9).normal(size=means.shape[1:])
    means *= present[:, :, None]
    tables = np.random.default_rng(5).normal(size=(N_RUNS, 20, N_CHANNELS))
    covariances = [table.T @ table / 20 for table in tables]
    # Oracle: scipy's root of a matrix, and the definition.
    values = {}
    for a, b in itertools.permutations(range(N_RUNS), 2):
        root = np.linalg.inv(sqrtm((covariances[a] + covariances[b]) / 2))
        for i, j in itertools.product(range(N_CONDITIONS), repeat=2):
            if present[a, i] and present[b, j]:
                one, other = means[a, i] @ root, means[b, j] @ root
                values.setdefault((i, j), []).append(np.cov(one, other)[0, 1])
    c = np.array([[np.mean(values[i, j]) for j in range(6)] for i in range(6)])
    deviation = np.sqrt(np.diag(c))
    expected = 1 - (c + c.T) / 2 / np.outer(deviation, deviation)
    found = correlation_distances_by_run(means, present, covariances)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    same = correlation_distances_by_run(means, present, [np.eye(N_CHANNELS)] * N_RUNS)
    np.testing.assert_allclose(same, correlation_distances(means, present), atol=1e-12)


def test_a_pattern_without_reliable_variance_has_no_correlation():
    # The same in both runs, and the opposite: a variance of -1.
    means = np.array([[[0.0, 1, 2], [3, 1, 1]], [[2.0, 1, 0], [3, 1, 1]]])
    found = correlation_distances(means, np.ones((2, 2), dtype=bool))
    np.testing.assert_array_equal(found, [[0, np.nan], [np.nan, 0]])


def test_without_noise_they_are_the_distances_themselves():
    true = np.random.default_rng(0).normal(size=(6, 7))
    means, present = np.stack([true] * 3), np.ones((3, 6), dtype=bool)
    distances = np.sum((true[:, None] - true) ** 2, axis=2)
    np.testing.assert_allclose(squared_distances(means, present), distances, atol=1e-12)
    np.testing.assert_allclose(
        correlation_distances(means, present), 1 - np.corrcoef(true), atol=1e-12
    )


def test_the_order_of_runs_and_channels_makes_no_difference_and_that_of_one_run_does():
    means, present = made(2, 0.2)
    rng = np.random.default_rng(0)
    runs, channels = rng.permutation(N_RUNS), rng.permutation(N_CHANNELS)
    for function in (squared_distances, correlation_distances):
        whole = function(means, present)
        moved = function(means[runs][:, :, channels], present[runs])
        np.testing.assert_allclose(moved, whole, atol=1e-11)
        broken = means.copy()
        broken[0] = broken[0][:, ::-1]
        assert not np.allclose(function(broken, present), whole, equal_nan=True)


def test_what_is_added_to_a_run_makes_no_difference_also_where_it_lacks_conditions():
    means, present = made(2, 0.3)
    offsets = 1e6 * np.random.default_rng(0).normal(size=(N_RUNS, 1, N_CHANNELS))
    shifted = (means + offsets) * present[:, :, None]
    np.testing.assert_allclose(
        squared_distances(shifted, present), squared_distances(means, present), atol=1e-6
    )
    # Correlations are not of differences.
    assert not np.allclose(
        correlation_distances(shifted, present),
        correlation_distances(means, present),
        equal_nan=True,
    )


def test_of_noise_alone_they_are_0_on_average_and_negative_half_of_the_time():
    rng = np.random.default_rng(0)
    present = np.ones((4, 20), dtype=bool)
    present[0, :5] = present[1, 3:9] = False
    draws = rng.normal(size=(200, 4, 20, 30)) * present[:, :, None]
    cells = np.array(
        [squared_distances(means, present)[np.triu_indices(20, 1)] for means in draws]
    )
    error = cells.mean(axis=1).std(ddof=1) / np.sqrt(len(cells))
    assert abs(cells.mean()) < 4 * error
    assert 0.45 < (cells < 0).mean() < 0.6
    # What is not cross-validated is larger by the noise: twice its variance, over runs.
    means = draws.sum(axis=1) / present.sum(axis=0)[:, None]
    biased = np.mean([np.sum((one[9] - one[10]) ** 2) for one in means])
    assert biased == pytest.approx(2 * 30 / 4, rel=0.1)


def test_means_of_runs_are_those_of_loops():
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(40, 3))
    conditions, runs = rng.integers(0, 4, 40), rng.integers(0, 5, 40)
    conditions[0], runs[1] = 3, 4
    means, counts = run_means(observations, conditions, runs)
    for a, i in itertools.product(range(5), range(4)):
        chosen = observations[(runs == a) & (conditions == i)]
        assert counts[a, i] == len(chosen)
        np.testing.assert_allclose(means[a, i], chosen.mean(axis=0) if len(chosen) else 0)


def test_the_arrays_stay_as_they_are():
    means, present = made(0, 0.3)
    before = means.copy(), present.copy()
    squared_distances(means, present)
    correlation_distances(means, present)
    squared_distances_by_run(means, present, [np.eye(N_CHANNELS)] * N_RUNS)
    np.testing.assert_array_equal(means, before[0])
    np.testing.assert_array_equal(present, before[1])
