"""Covariance of noise: values, shrinkage beside other packages, and what is singular."""

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.data.noise import cov_from_residuals, cov_from_unbalanced
from sklearn.covariance import ledoit_wolf

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.noise_covariance import (
    covariance_from,
    covariance_of,
    whitened,
    whitened_by_channel,
)

METHODS = ("shrinkage_diag", "shrinkage_eye", "full", "diag")


def noise(n_samples, n_channels, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_channels, n_channels)) * rng.uniform(0.1, 10, n_channels)
    return rng.normal(size=(n_samples, n_channels)) @ mixing + 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(30, 5), (12, 40), (2, 3), (200, 2)])
@pytest.mark.parametrize("dof", [None, 7])
def test_covariances_are_those_of_rsatoolbox(method, shape, dof):
    residuals = noise(*shape)
    expected = cov_from_residuals(residuals, dof=dof, method=method)
    found = pfa.noise_covariance(residuals, method, dof=dof)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


# rsatoolbox 0.3.2 is wrong in two neighbours of it, which are no oracles here:
# - cov_from_measurements divides by (n_conditions - 1) * n_repetitions, and not by n_conditions *
#   (n_repetitions - 1): 5 conditions of 4 repetitions give 15 / 16 of what cov_from_unbalanced
#   does (the mean is taken off over repetitions, `data/noise.py` counts the other axis);
# - cov_from_residuals([a, b], dof=[n, m]) passes the whole list on for each of its members, and so
#   gives a list of lists.
@pytest.mark.parametrize("method", METHODS)
def test_deviations_from_condition_means_give_what_rsatoolbox_has_for_unbalanced_data(method):
    table = noise(23, 6)
    conditions = np.arange(23) % 4
    means = np.stack([table[conditions == k].mean(axis=0) for k in range(4)])
    expected = cov_from_unbalanced(
        Dataset(table, obs_descriptors={"c": conditions}), "c", method=method
    )
    found = pfa.noise_covariance(table - means[conditions], method, dof=23 - 4)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
def test_shrinkage_to_the_identity_is_that_of_scikit_learn(shape):
    residuals = noise(*shape)
    n_samples = shape[0]
    expected, _ = ledoit_wolf(residuals)
    found = pfa.noise_covariance(residuals, "shrinkage_eye", dof=n_samples)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_the_full_covariance_is_that_of_numpy():
    residuals = noise(30, 5)
    np.testing.assert_allclose(pfa.noise_covariance(residuals, "full"), np.cov(residuals.T))
    variances = np.diag(np.cov(residuals.T))
    np.testing.assert_allclose(pfa.noise_covariance(residuals, "diag"), np.diag(variances))


def test_the_order_of_samples_makes_no_difference_and_that_of_channels_goes_along():
    residuals = noise(30, 5)
    rng = np.random.default_rng(1)
    samples, channels = rng.permutation(30), rng.permutation(5)
    for method in METHODS:
        whole = pfa.noise_covariance(residuals, method)
        moved = pfa.noise_covariance(residuals[samples][:, channels], method)
        np.testing.assert_allclose(moved, whole[np.ix_(channels, channels)], rtol=1e-12)
        # The map that must not be ignored: one channel in other units.
        scaled = pfa.noise_covariance(residuals * [10, 1, 1, 1, 1], method)
        assert not np.allclose(scaled, whole)


def test_shrinkage_to_the_diagonal_goes_with_units_and_that_to_the_identity_does_not():
    residuals, units = noise(12, 8), np.array([1, 2, 3, 4, 5, 6, 7, 8.0])
    in_units = [
        pfa.noise_covariance(residuals * units, m) for m in ("shrinkage_diag", "shrinkage_eye")
    ]
    whole = [pfa.noise_covariance(residuals, m) for m in ("shrinkage_diag", "shrinkage_eye")]
    np.testing.assert_allclose(in_units[0], whole[0] * units * units[:, None], rtol=1e-10)
    assert not np.allclose(in_units[1], whole[1] * units * units[:, None], rtol=0.01)


def test_one_channel_has_its_variance_by_every_method():
    residuals = noise(9, 1)
    for method in METHODS:
        np.testing.assert_allclose(
            pfa.noise_covariance(residuals, method), [[residuals.var(ddof=1)]]
        )


@pytest.mark.parametrize("method", ["shrinkage_diag", "shrinkage_eye", "diag"])
def test_whitened_products_are_those_by_the_inverse(method):
    residuals, (x, y) = noise(12, 20), np.random.default_rng(2).normal(size=(2, 3, 4, 20))
    covariance = covariance_of(residuals - residuals.mean(axis=0), 11, method)
    full = pfa.noise_covariance(residuals, method)
    one, other = whitened([x, y], covariance)
    expected = np.einsum("abi,ij,abj->ab", x, np.linalg.inv(full), y)
    np.testing.assert_allclose(np.einsum("abi,abi->ab", one, other), expected, rtol=1e-8)


def test_by_the_symmetric_root_channels_stay_what_they_are():
    rng = np.random.default_rng(0)
    table, samples = rng.normal(size=(5, 6)), rng.normal(size=(40, 6)) * np.arange(1, 7)
    covariance = np.cov(samples.T)
    (found,) = whitened_by_channel([table], covariance)
    np.testing.assert_allclose(found @ found.T, table @ np.linalg.inv(covariance) @ table.T)
    order = rng.permutation(6)
    turned = table[:, order], covariance[np.ix_(order, order)]
    np.testing.assert_allclose(whitened_by_channel(turned[:1], turned[1])[0], found[:, order])
    # Of triangular roots it does not hold.
    (one,), (other,) = whitened([table], covariance), whitened(turned[:1], turned[1])
    assert not np.allclose(one[:, order], other)
    (of_diagonal,) = whitened_by_channel([table], np.array([1.0, 4, 9, 16, 25, 36]))
    np.testing.assert_allclose(of_diagonal, table / np.arange(1, 7))
    with pytest.raises(ValueError, match="is singular"):
        whitened_by_channel([table], np.ones((6, 6)))
    with pytest.raises(ValueError, match="differs too much for a root"):
        whitened_by_channel([table], np.diag([1e-20, 1, 1, 1, 1, 1]))


def test_what_is_singular_says_so_and_names_shrinkage():
    residuals = noise(12, 20)
    table = np.ones((2, 20))
    full = pfa.noise_covariance(residuals, "full")
    # rsatoolbox inverts this to numbers of 1e16 without a word.
    with pytest.raises(ValueError, match=r"20 channels that is singular.*'shrinkage_diag'"):
        whitened([table], full)
    # What counts as singular does not depend on units.
    fine = pfa.noise_covariance(noise(50, 3) * [1e-9, 1, 1e9], "full")
    whitened([np.ones((2, 3))], fine)
    residuals[:, 4] = 1
    for method in ("shrinkage_diag", "diag"):
        with pytest.raises(
            ValueError, match=r"no variance of noise in the channels 4 .*'shrinkage_eye'"
        ):
            whitened([table], pfa.noise_covariance(residuals, method))
    whitened([table], pfa.noise_covariance(residuals, "shrinkage_eye"))


def test_a_precision_is_turned_into_its_covariance():
    covariance = pfa.noise_covariance(noise(30, 5))
    found = covariance_from(np.linalg.inv(covariance), "precision")
    np.testing.assert_allclose(found, covariance, rtol=1e-9)
    assert covariance_from(covariance, "covariance") is covariance
    np.testing.assert_allclose(covariance_from(np.array([2.0, 4.0]), "precision"), [0.5, 0.25])
    for given, message in (
        (np.zeros((2, 2)), "precision that is singular"),
        (np.array([[1.0, 0.5], [0.0, 1.0]]), "symmetric precision"),
        (np.array([1.0, 0.0]), "above 0 on the diagonal"),
        (np.array([1.0, np.nan]), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            covariance_from(given, "precision")


def test_the_residuals_stay_as_they_are():
    residuals = noise(12, 4)
    before = residuals.copy()
    for method in METHODS:
        pfa.noise_covariance(residuals, method)
    np.testing.assert_array_equal(residuals, before)


@pytest.mark.parametrize(
    ("residuals", "options", "kind", "message"),
    [
        (np.ones((3, 2)), {"method": "ledoit"}, ValueError, "`method` names 'ledoit'"),
        (np.ones((1, 2)), {}, ValueError, "two samples or more"),
        (np.ones(4), {}, ValueError, r"shape \(4,\)"),
        ([[1, 2], [1]], {}, ValueError, "differ in length"),
        ([["a", "b"]] * 3, {}, TypeError, "real numbers"),
        ([[1, np.nan], [2, 3]], {}, ValueError, "in the channels 1; leave"),
        (np.ones((3, 2)), {"dof": 0}, ValueError, "above 0"),
        (np.ones((3, 2)), {"dof": "3"}, TypeError, "degrees of freedom"),
    ],
)
def test_what_it_cannot_take_is_refused(residuals, options, kind, message):
    with pytest.raises(kind, match=message):
        pfa.noise_covariance(residuals, **options)
