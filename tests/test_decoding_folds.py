import numpy as np
import pytest
from made_decoding import accuracy_by_sklearn
from scipy.spatial.distance import pdist, squareform
from sklearn.svm import SVC

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.decoding_folds import (
    Comparison,
    Fold,
    accuracy,
    centred_products,
    cross_splits,
    decision_values,
    decode,
    within_folds,
)


def random_distances(rng, n, n_units=20):
    patterns = rng.normal(size=(n, n_units))
    return patterns, squareform(pdist(patterns, "sqeuclidean"))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_decision_values_are_those_of_scikit_learn_on_the_units(rng, scale):
    patterns, _ = random_distances(rng, 16)
    patterns *= scale
    products = centred_products(squareform(pdist(patterns, "sqeuclidean")))
    labels = np.repeat([False, True], 8)
    folds, _ = within_folds(labels, np.tile(np.arange(8), 2))
    for fold in folds:
        machine = SVC(kernel="linear", C=1).fit(patterns[fold.train], labels[fold.train])
        expected = machine.decision_function(patterns[fold.test])
        found = decision_values(products, labels, fold)
        # libsvm ends within 1e-3 of the optimum.
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)
        np.testing.assert_array_equal(found > 0, machine.predict(patterns[fold.test]))


def test_a_large_mean_that_all_patterns_share_changes_nothing(rng):
    patterns = rng.normal(size=(16, 50))
    labels, others = np.repeat([False, True], 8), np.tile(np.arange(8), 2)
    fold = within_folds(labels, others)[0][0]
    near, far = (
        decision_values(centred_products(pfa.compute_rdm(x, "squared_euclidean")), labels, fold)
        for x in (patterns, patterns + 1e6)
    )
    np.testing.assert_allclose(near, far, rtol=0, atol=1e-3)


def test_patterns_that_are_all_the_same_have_exactly_a_half():
    labels, others = np.repeat([False, True], 5), np.tile(np.arange(5), 2)
    comparison = Comparison(
        np.arange(10), labels, *map(tuple, within_folds(labels, others)), seed=0
    )
    np.testing.assert_array_equal(decode(np.zeros((10, 10)), [comparison], 9), [[0.5, 1.0]])


def test_patterns_of_any_size_are_decoded(rng):
    # As small as this, every image is a support vector, and decision values are tiny.
    patterns = rng.normal(size=(12, 3)) + np.repeat([0, 9], 6)[:, None]
    labels, others = np.repeat([False, True], 6), np.tile(np.arange(6), 2)
    comparison = Comparison(
        np.arange(12), labels, *map(tuple, within_folds(labels, others)), seed=0
    )
    for scale in (1e-9, 1e-3, 1.0, 1e6):
        distances = squareform(pdist(scale * patterns, "sqeuclidean"))
        assert decode(distances, [comparison])[0, 0] == 1.0


def test_a_tie_counts_half_and_bins_count_alike():
    labels = np.array([False, False, False, True])
    assert accuracy(np.array([-1, -1, 1, 1]), labels) == pytest.approx((2 / 3 + 1) / 2)
    assert accuracy(np.array([-1, 0, 1, 0]), labels) == 0.5


def test_folds_are_matched_by_the_other_variable():
    #              0      1      2      3     4     5     6
    labels = np.array([False, False, False, True, True, True, True])
    others = np.array([5, 7, 9, 7, 5, 5, 8])
    folds, strata = within_folds(labels, others)
    # 9 and 8 are values of one bin only: always learnt from.
    assert [fold.test.tolist() for fold in folds] == [[0, 4, 5], [1, 3]]
    assert [fold.train.tolist() for fold in folds] == [[1, 2, 3, 6], [0, 2, 4, 5, 6]]
    assert [stratum.tolist() for stratum in strata] == [[0, 4, 5], [1, 3]]


def test_bins_that_share_less_than_two_values_leave_out_the_ith_of_each_in_circles():
    labels = np.array([False, False, False, True, True])
    others = np.array([2, 1, 3, 9, 8])
    folds, strata = within_folds(labels, others)
    assert [fold.test.tolist() for fold in folds] == [[1, 4], [0, 3], [2, 4]]
    assert folds[0].train.tolist() == [0, 2, 3]
    assert [stratum.tolist() for stratum in strata] == [[0, 1, 2, 3, 4]]
    # All images of both bins at one value: matched folds would leave nothing to learn from.
    folds, _ = within_folds(np.array([False, False, True, True]), np.zeros(4, dtype=int))
    assert [fold.test.tolist() for fold in folds] == [[0, 2], [1, 3]]


def test_cross_decoding_by_hand():
    # On a line: learnt at value 0 the border lies at 1, at value 1 it lies at 11.
    position = np.array([0.0, 2.0, 10.0, 12.0])
    labels, others = np.array([False, True, False, True]), np.array([0, 0, 1, 1])
    distances = (position[:, None] - position) ** 2
    products = centred_products(distances)
    at_0, at_1 = np.array([0, 1]), np.array([2, 3])
    for fold, expected in ((Fold(at_0, at_1), [9, 11]), (Fold(at_1, at_0), [-11, -9])):
        values = decision_values(products, labels, fold)
        np.testing.assert_allclose(values, expected, atol=1e-2)
        assert accuracy(values, labels[fold.test]) == 0.5
    assert list(cross_splits(labels, others, "pairs")) == [([0], [1]), ([1], [0])]


def test_cross_decoding_learns_at_some_values_and_tests_at_others():
    labels, others = np.repeat([False, True], 4), np.array([0, 1, 2, 3, 0, 1, 2, 9])
    assert list(cross_splits(labels, others, "pairs")) == [
        ([train], [test]) for train in (0, 1, 2) for test in (0, 1, 2) if train != test
    ]
    assert list(cross_splits(labels, others, "leave_one_out")) == [
        ([1, 2], [0]),
        ([0, 2], [1]),
        ([0, 1], [2]),
    ]
    assert list(cross_splits(labels, np.arange(8), "leave_one_out")) == []


def test_p_values_of_labels_without_meaning_are_spread_evenly(rng):
    labels, others = np.repeat([False, True], 8), np.tile(np.arange(8), 2)
    folds, strata = map(tuple, within_folds(labels, others))
    p_values = []
    for seed in range(40):
        _, distances = random_distances(rng, 16, 4)
        comparison = Comparison(np.arange(16), labels, folds, strata, seed)
        p_values.append(decode(distances, [comparison], 19)[0, 1])
    assert set(np.round(np.array(p_values) * 20, 9)) <= set(range(1, 21))
    # At most as often as they should be small, but for chance (40 draws); ties make them larger.
    assert np.mean(np.array(p_values) <= 0.1) < 0.22
    assert 0.4 < np.mean(p_values) < 0.8


def test_p_values_of_bins_that_differ_are_as_small_as_can_be(rng):
    labels, others = np.repeat([False, True], 10), np.tile(np.arange(10), 2)
    patterns = rng.normal(size=(20, 5)) + 50 * labels[:, None]
    comparison = Comparison(
        np.arange(20), labels, *map(tuple, within_folds(labels, others)), seed=1
    )
    distances = squareform(pdist(patterns, "sqeuclidean"))
    acc, p = decode(distances, [comparison], 99)[0]
    assert (acc, p) == (1.0, pytest.approx(0.01, abs=0.0101))


def test_p_values_count_shuffles_within_each_value(rng):
    # Oracle: the same count, with scikit-learn on the patterns and shuffles drawn here.
    patterns, distances = random_distances(rng, 12, 6)
    labels, others = np.repeat([False, True], 6), np.tile([0, 0, 1, 1, 2, 2], 2)
    folds, strata = within_folds(labels, others)
    comparison = Comparison(np.arange(12), labels, tuple(folds), tuple(strata), 5)
    acc, p = decode(distances, [comparison], 19)[0]
    generator = np.random.default_rng(5)
    hits = 0
    for _ in range(19):
        shuffled = labels.copy()
        for stratum in strata:
            shuffled[stratum] = labels[generator.permutation(stratum)]
        for value in range(3):
            assert shuffled[others == value].sum() == 2
        accs = [accuracy_by_sklearn(patterns, shuffled, *fold) for fold in folds]
        low, high = np.mean(accs, axis=0)
        assert low == high
        hits += low >= acc - 1e-12
    assert p == (1 + hits) / 20
