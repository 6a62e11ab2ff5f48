"""Oracle: each pair by numpy and scipy on the cells that both patterns have, one by one."""

import numpy as np
import pytest
from scipy.spatial.distance import cityblock
from scipy.stats import pearsonr, spearmanr

from pytorch_feature_analysis import pairwise_complete
from pytorch_feature_analysis.dissimilarity import check_metrics, compute_rdms
from pytorch_feature_analysis.pairwise_complete import compute_rdms_pairwise

BY_PAIR = {
    "corr": lambda x, y: 1 - pearsonr(x, y)[0],
    "pearson": lambda x, y: 1 - pearsonr(x, y)[0],
    "spearman": lambda x, y: 1 - spearmanr(x, y)[0],
    "euclidean_distance": lambda x, y: np.linalg.norm(x - y),
    "squared_euclidean": lambda x, y: np.sum((x - y) ** 2),
    "cosine": lambda x, y: 1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y),
    "cityblock": cityblock,
}


def _pair_by_pair(rows, name):
    rdm = np.zeros((len(rows), len(rows)))
    for i, x in enumerate(rows):
        for j, y in enumerate(rows):
            if i != j:
                both = np.isfinite(x) & np.isfinite(y)
                rdm[i, j] = BY_PAIR[name](x[both], y[both])
    return rdm


def _rows(rng, n, n_masks, n_units=40):
    rows = rng.random((n, n_units))
    masks = rng.random((n_masks, n_units)) < 0.2
    masks[0] = False
    rows[masks[np.arange(n) % n_masks]] = np.nan
    return rows


@pytest.mark.parametrize("n_masks", [2, 5, 25])
def test_each_pair_is_compared_on_its_common_cells(rng, n_masks):
    rows = _rows(rng, 25, n_masks)
    before = rows.copy()
    rdms = compute_rdms_pairwise(rows, check_metrics(list(BY_PAIR)))
    for name, rdm in zip(BY_PAIR, rdms, strict=True):
        np.testing.assert_allclose(rdm, _pair_by_pair(rows, name), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rows, before)


def test_a_hand_worked_pair():
    rows = np.array([[0.0, 3.0, np.nan, 1.0], [4.0, np.nan, 7.0, 4.0]])
    # Common are the first and the last cell: (0, 1) and (4, 4).
    assert compute_rdms_pairwise(rows, check_metrics(["euclidean_distance"]))[0][0, 1] == 5


def test_without_missing_cells_it_is_the_plain_rdm(rng):
    rows = rng.random((6, 30))
    metrics = check_metrics(["corr", "cityblock"])
    for ours, plain in zip(
        compute_rdms_pairwise(rows, metrics), compute_rdms(rows, metrics), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


def test_infinite_cells_are_missing_too(rng):
    rows = _rows(rng, 12, 12)
    infinite = np.where(np.isnan(rows), np.inf, rows)
    metrics = check_metrics(["corr", "euclidean_distance"])
    for ours, plain in zip(
        compute_rdms_pairwise(infinite, metrics), compute_rdms_pairwise(rows, metrics), strict=True
    ):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize("n_others", [1, 20])
def test_a_pattern_without_cells_has_nan_throughout(rng, n_others):
    rows = np.vstack([_rows(rng, n_others, n_others), np.full(40, np.nan)])
    for rdm in compute_rdms_pairwise(rows, check_metrics(["corr", "euclidean_distance"])):
        assert np.isnan(rdm[-1]).all()
        assert np.isnan(rdm[:, -1]).all()
        assert np.isfinite(rdm[:-1, :-1]).all()


def test_sums_give_way_to_cells_where_digits_are_lost(rng):
    """Near copies, and patterns whose variance lies in the cells that the other lacks."""
    rows = _rows(rng, 20, 20)
    rows[1] = rows[2] + 1e-9 * rng.random(40)
    rows[3, :] = 1
    rows[3, 5] = 1e9
    rows[4, 5] = np.nan
    rows[7, 5] = 1e9
    rows[5] = rows[6]
    corr, euclid = compute_rdms_pairwise(rows, check_metrics(["corr", "euclidean_distance"]))
    # The variance of row 7 lies in a cell that row 4 lacks; row 3 is constant without it.
    both = np.isfinite(rows[4]) & np.isfinite(rows[7])
    expected = 1 - pearsonr(rows[4, both], rows[7, both])[0]
    np.testing.assert_allclose(corr[4, 7], expected, rtol=0, atol=1e-12)
    assert np.isnan(corr[3, 4])
    assert np.isnan(corr[4, 3])
    assert corr[5, 6] == euclid[5, 6] == 0
    both = np.isfinite(rows[1]) & np.isfinite(rows[2])
    expected = np.linalg.norm(rows[1, both] - rows[2, both])
    np.testing.assert_allclose(euclid[1, 2], expected, rtol=1e-6)


def test_many_sets_of_missing_cells_take_no_pair_loop(rng, monkeypatch):
    calls = []

    def counted(rows, metrics):
        calls.append(len(rows))
        return compute_rdms(rows, metrics)

    monkeypatch.setattr(pairwise_complete, "compute_rdms", counted)
    compute_rdms_pairwise(_rows(rng, 30, 30), check_metrics(["corr", "euclidean_distance"]))
    assert len(calls) == 0
    compute_rdms_pairwise(_rows(rng, 30, 3), check_metrics(["corr", "cityblock"]))
    assert sorted(calls) == [10, 10, 10, 20, 20, 20]


def test_own_functions_may_be_asymmetric(rng):
    rows = _rows(rng, 5, 3)
    rdm = compute_rdms_pairwise(
        rows, check_metrics([("sum", lambda x, y: float(x.sum() - 2 * y.sum()))])
    )[0]
    for i in range(5):
        for j in range(5):
            both = np.isfinite(rows[i]) & np.isfinite(rows[j])
            expected = rows[i, both].sum() - 2 * rows[j, both].sum()
            np.testing.assert_allclose(rdm[i, j], expected, atol=1e-12)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("metric", ["corr", "euclidean_distance", "squared_euclidean"])
def test_sums_of_a_few_patterns_at_a_time_are_those_of_all(rng, metric, monkeypatch):
    rows = _rows(rng, 23, 23)
    # Near copies in one table and in two, a copy, and a pattern without cells.
    rows[1] = rows[2] * (1 + 1e-7 * rng.random(40))
    rows[20] = rows[4] * (1 + 1e-7 * rng.random(40))
    rows[21] = rows[5]
    rows[9] = np.nan
    before = rows.copy()
    # Five patterns a table, and three in the last.
    monkeypatch.setattr(pairwise_complete, "_TABLE_ELEMENTS", 5 * 40)
    (rdm,) = compute_rdms_pairwise(rows, check_metrics([metric]))
    there = np.arange(23) != 9
    expected = _pair_by_pair(rows[there], metric)
    np.testing.assert_allclose(rdm[np.ix_(there, there)], expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(rdm, rdm.T)
    assert np.isnan(rdm[9]).all()
    assert rdm[5, 21] == 0
    np.testing.assert_array_equal(rows, before)
    # oracle: the difference itself, which keeps its digits
    both = np.isfinite(rows[4]) & np.isfinite(rows[20])
    squared = np.sum((rows[4, both] - rows[20, both]) ** 2)
    expected = {"euclidean_distance": np.sqrt(squared), "squared_euclidean": squared}
    if metric in expected:
        np.testing.assert_allclose(rdm[4, 20], expected[metric], rtol=1e-6)


@pytest.mark.parametrize("metric", ["corr", "euclidean_distance"])
def test_patterns_without_cells_take_no_pair_loop(rng, metric, monkeypatch):
    rows = _rows(rng, 20, 20)
    rows[[3, 8, 9]] = np.nan
    calls = []

    def counted(rows, finite, chosen, metrics):
        calls.append(chosen)

    monkeypatch.setattr(pairwise_complete, "_on_common_cells", counted)
    (rdm,) = compute_rdms_pairwise(rows, check_metrics([metric]))
    assert calls == []
    expected = np.zeros((20, 20), dtype=bool)
    expected[[3, 8, 9]] = expected[:, [3, 8, 9]] = True
    np.testing.assert_array_equal(np.isnan(rdm), expected)


def test_patterns_that_all_lack_the_same_are_compared_at_once(rng, monkeypatch):
    rows = rng.random((12, 40))
    rows[:, [3, 17]] = np.nan
    calls = []

    def counted(some, metrics):
        calls.append(some.shape)
        return compute_rdms(some, metrics)

    monkeypatch.setattr(pairwise_complete, "compute_rdms", counted)
    names = ["corr", "spearman", "cityblock"]
    for name, rdm in zip(names, compute_rdms_pairwise(rows, check_metrics(names)), strict=True):
        np.testing.assert_allclose(rdm, _pair_by_pair(rows, name), rtol=0, atol=1e-12)
    assert calls == [(12, 38)]
    nothing = np.full((3, 4), np.nan)
    assert np.isnan(compute_rdms_pairwise(nothing, check_metrics(["corr"]))[0]).all()
