"""Neighbourhoods, predictivity, samples of maps, and agreement of RDMs."""

import itertools

import numpy as np
import pytest
import torch
from made_representations import related
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold

import pytorch_feature_analysis as pfa


def nearest(x, k):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    products = unit @ unit.T
    return [
        set(sorted(set(range(len(x))) - {i}, key=lambda j, i=i: -products[i, j])[:k])
        for i in range(len(x))
    ]


@pytest.mark.parametrize("k", [1, 5, 39])
def test_neighbours_are_those_with_the_largest_inner_products(k):
    x, y = related()
    pairs = list(zip(nearest(x, k), nearest(y, k), strict=True))
    overlap = np.mean([len(a & b) / k for a, b in pairs])
    assert pfa.mutual_knn(x, y, k) == pytest.approx(overlap)
    jaccard = np.mean([len(a & b) / len(a | b) for a, b in pairs])
    assert pfa.jaccard_knn(x, y, k) == pytest.approx(jaccard)


def test_k_is_below_the_number_of_stimuli():
    for measure in (pfa.mutual_knn, pfa.jaccard_knn):
        with pytest.raises(ValueError, match="`k` must be from 1 to 39"):
            measure(*related(), k=40)


def test_predictivity_is_that_of_ridge_regression_fold_by_fold():
    x, y = related()
    errors = spread = 0
    for train, test in KFold(4, shuffle=True, random_state=5).split(x):
        predicted = Ridge(alpha=2.5).fit(x[train], y[train]).predict(x[test])
        errors += ((y[test] - predicted) ** 2).sum()
        spread += ((y[test] - y[train].mean(axis=0)) ** 2).sum()
    found = pfa.linear_predictivity(x, y, cv=4, ridge=2.5, random_state=5)
    assert found == pytest.approx(1 - errors / spread, abs=1e-10)
    chosen = pfa.linear_predictivity(x, y, cv=4, ridge=[2.5, 1e9], random_state=5)
    assert chosen == pytest.approx(found, abs=1e-10)
    assert pfa.linear_predictivity(x, y[:, :1]) <= 1
    with pytest.raises(ValueError, match="`cv` must be from 2 to 40"):
        pfa.linear_predictivity(x, y, cv=41)
    for penalty in ([1, -1], 0):
        with pytest.raises(ValueError, match="`ridge` must hold penalties above 0"):
            pfa.linear_predictivity(x, y, ridge=penalty)


def test_samples_of_maps():
    maps = np.random.default_rng(0).normal(size=(4, 3, 5, 6))
    np.testing.assert_array_equal(pfa.conv_samples(maps), maps.reshape(4, -1))
    np.testing.assert_allclose(pfa.conv_samples(maps, "avgpool"), maps.mean(axis=(2, 3)))
    positions = pfa.conv_samples(maps, "positions")
    assert positions.shape == (120, 3)
    np.testing.assert_array_equal(positions[1 * 30 + 2 * 6 + 3], maps[1, :, 2, 3])


@pytest.mark.parametrize("mode", ["flatten", "positions", "avgpool"])
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (4, 1, 5, 6), (4, 3, 1, 1)])
def test_samples_are_no_view_of_the_maps(mode, shape):
    maps = np.ones(shape)
    pfa.conv_samples(maps, mode)[:] = 0
    assert maps.all()


@pytest.mark.parametrize("size", [(5, 6), (3, 4), (10, 12), (1, 1), (7, 2)])
def test_maps_are_resized_as_by_torch(size):
    maps = np.random.default_rng(0).normal(size=(4, 3, 5, 6))
    resized = torch.nn.functional.interpolate(torch.as_tensor(maps), size, mode="bilinear")
    expected = resized.permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    np.testing.assert_allclose(
        pfa.conv_samples(maps, "interpolate", size=size), expected, atol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"mode": "mean"}, ValueError, "avgpool"),
        ({"mode": "interpolate"}, ValueError, "`size` must be given"),
        ({"size": 3}, ValueError, "`size` is for the mode 'interpolate'"),
        ({"mode": "interpolate", "size": (1, 2, 3)}, ValueError, "one number or two"),
        ({"mode": "interpolate", "size": 1.5}, TypeError, "one number or two"),
        ({"mode": "interpolate", "size": 0}, ValueError, "`size` must be at least 1"),
    ],
)
def test_bad_samples_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        pfa.conv_samples(np.ones((2, 3, 4, 4)), **options)


def test_maps_must_have_four_axes():
    with pytest.raises(ValueError, match="`maps` must be maps"):
        pfa.conv_samples(np.ones((2, 3)))


def tau_a(x, y):
    pairs = list(itertools.combinations(range(len(x)), 2))
    return sum(np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in pairs) / len(pairs)


ORACLES = {
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
    "cosine": lambda x, y: x @ y / np.linalg.norm(x) / np.linalg.norm(y),
    "kendall_tau_a": tau_a,
    "kendall_tau_b": lambda x, y: stats.kendalltau(x, y).statistic,
}


@pytest.mark.parametrize("method", ORACLES)
@pytest.mark.parametrize("entries", ["upper", "all"])
@pytest.mark.parametrize("ties", [False, True])
def test_rdms_agree_as_by_scipy(method, entries, ties):
    rdms = [squareform(pdist(side)) for side in related(12, 4, 5)]
    if ties:
        rdms = [rdm.round(0) for rdm in rdms]
    upper = np.triu_indices(12, k=1)
    flat = [rdm.ravel() if entries == "all" else rdm[upper] for rdm in rdms]
    found = pfa.compare_rdms(*rdms, method=method, entries=entries)
    assert found == pytest.approx(ORACLES[method](*flat), abs=1e-12)


@pytest.mark.parametrize("method", ORACLES)
def test_missing_cells_are_left_out_of_both(method):
    rdms = [squareform(pdist(side)) for side in related(9, 4, 5)]
    rdms[0][2, 5] = rdms[0][5, 2] = np.nan
    rdms[1][0, 1] = rdms[1][1, 0] = np.inf
    flat = np.array([rdm[np.triu_indices(9, k=1)] for rdm in rdms])
    known = flat[:, np.isfinite(flat).all(axis=0)]
    assert known.shape[1] == 34
    assert pfa.compare_rdms(*rdms, method=method) == pytest.approx(ORACLES[method](*known))
    with pytest.raises(ValueError, match="`rdm1` has missing cells"):
        pfa.compare_rdms(*rdms, method=method, centering="u")


def test_an_rdm_that_does_not_vary_agrees_with_nothing():
    rdm = squareform(pdist(related(9, 4, 5)[0]))
    same = 1 - np.eye(9)
    for method in ("pearson", "spearman", "kendall_tau_b"):
        assert np.isnan(pfa.compare_rdms(rdm, same, method=method))
    assert pfa.compare_rdms(rdm, same, method="kendall_tau_a") in (
        0,
        pytest.approx(np.nan, nan_ok=True),
    )
    assert pfa.compare_rdms(rdm, same, method="cosine") > 0.5


@pytest.mark.parametrize("metric", ["corr", "euclidean_distance", "cosine"])
@pytest.mark.parametrize("compare", ORACLES)
def test_rsa_is_the_agreement_of_rdms(metric, compare):
    x, y = related(15, 6, 7)
    names = {"corr": "correlation", "euclidean_distance": "euclidean", "cosine": "cosine"}
    expected = ORACLES[compare](pdist(x, names[metric]), pdist(y, names[metric]))
    assert pfa.rsa(x, y, metric, compare) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("centering", ["double", "u", "double_upper"])
def test_rsa_centres_rdms_as_their_comparison_does(centering):
    x, y = related(15, 6, 7)
    # From the same digits: over all entries ranks see which way two halves were rounded.
    rdms = [pfa.compute_rdm(side, "squared_euclidean") for side in (x, y)]
    for how in ("pearson", "cosine", "spearman"):
        found = pfa.rsa(x, y, "squared_euclidean", how, centering)
        expected = pfa.compare_rdms(*rdms, method=how, centering=centering)
        assert found == pytest.approx(expected, abs=1e-12)
    assert found != pytest.approx(pfa.rsa(x, y, "squared_euclidean", how), abs=1e-3)
    with pytest.raises(ValueError, match="`centering` names 'rows'"):
        pfa.rsa(x, y, centering="rows")
    x[3] = 1
    with (
        pytest.warns(UserWarning, match="no dissimilarity is defined"),
        pytest.raises(ValueError, match="`centering`: an RDM by 'corr' has missing cells"),
    ):
        pfa.rsa(x, y, centering=centering)


def test_the_squared_distance_correlation_is_a_cosine_of_centred_distances():
    x, y = related()
    rdms = [squareform(pdist(side)) for side in (x, y)]
    cosine = pfa.compare_rdms(*rdms, method="cosine", centering="double")
    assert pfa.distance_correlation(x, y) ** 2 == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "euclidean"}, "kendall_tau_a"),
        ({"centering": "rows"}, "double_upper"),
        ({"entries": "lower"}, "upper"),
        ({"centering": "u", "entries": "all"}, "compares the triangle"),
    ],
)
def test_unknown_ways_to_compare_name_those_there_are(options, match):
    with pytest.raises(ValueError, match=match):
        pfa.compare_rdms(np.zeros((3, 3)), np.zeros((3, 3)), **options)


def test_rdms_are_square_symmetric_and_of_one_size():
    rdm = np.ones((3, 3))
    for bad, match in (
        (np.ones((3, 4)), "`rdm2` must be"),
        (np.triu(rdm), "`rdm2` is not symmetric"),
        (np.ones((4, 4)), "they have 3 and 4"),
    ):
        with pytest.raises(ValueError, match=match):
            pfa.compare_rdms(rdm, bad)


def test_rdm_metrics_hold_to_their_identities():
    x, _ = related()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = 2 * pfa.compute_rdm(x, "cosine")
    np.testing.assert_allclose(pfa.compute_rdm(x, "L2squared_normalize"), cosine, atol=1e-12)
    squared = pfa.compute_rdm(x, "L2_normalize") ** 2
    np.testing.assert_allclose(squared, cosine, atol=1e-12)
    np.testing.assert_allclose(squared, squareform(pdist(unit, "sqeuclidean")), atol=1e-12)
    off = x - x.mean(axis=1, keepdims=True)
    halves = pfa.compute_rdm(off, "L2squared_normalize") / 2
    np.testing.assert_allclose(pfa.compute_rdm(x, "pearson"), halves, atol=1e-12)
