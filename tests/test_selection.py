"""The choice of items that are as different as possible."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from made_matrices import LINE

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import matrices
from pytorch_feature_analysis.matrices import get_upper_triang
from pytorch_feature_analysis.selection import greedy_order


def random_rdm(n, seed=0, high=None):
    rng = np.random.default_rng(seed)
    matrix = rng.random((n, n)) if high is None else rng.integers(0, high, (n, n)).astype(float)
    matrix = np.triu(matrix, 1)
    return matrix + matrix.T


def brute_greedy(rdm):
    """Follow the definition word by word, pair by pair, in plain Python."""
    n = len(rdm)

    def dissim(i, j):
        return rdm[i][j] if np.isfinite(rdm[i][j]) else None

    dead = [i for i in range(n) if all(dissim(i, j) is None for j in range(n) if j != i)]
    if len(dead) == n:
        return tuple(range(n))
    pairs = [pair for pair in itertools.combinations(range(n), 2) if dissim(*pair) is not None]
    best = max(dissim(*pair) for pair in pairs)
    order = list(next(pair for pair in pairs if dissim(*pair) == best))
    rest = [i for i in range(n) if i not in order and i not in dead]
    while rest:
        sums = [sum(dissim(i, j) or 0 for j in order) for i in rest]
        order.append(rest.pop(sums.index(max(sums))))
    return tuple(order + dead)


def test_points_on_a_line_are_ranked_as_worked_by_hand():
    # 0 and 13 are farthest apart; 1 adds 1 + 12 = 13, as does every point between: lower index.
    assert greedy_order(LINE) == (0, 5, 1, 4, 2, 3)


@pytest.mark.parametrize(("k", "mean"), [(2, 13), (3, 26 / 3), (4, 25 / 3)])
def test_the_choice_on_the_line_is_the_best_there_is(k, mean):
    sub_rdm, indices = pfa.get_extreme_dissims_total(LINE, k)
    assert get_upper_triang(sub_rdm).mean() == pytest.approx(mean)
    # oracle: brute force over all subsets
    best = max(
        LINE[np.ix_(subset, subset)].sum() for subset in itertools.combinations(range(6), k)
    )
    assert sub_rdm.sum() == best
    if k == 4:
        assert set(indices) == {0, 1, 4, 5}


@pytest.mark.parametrize("seed", range(20))
def test_the_order_follows_the_definition_also_with_ties_and_nan(seed):
    rng = np.random.default_rng(seed)
    # Small whole numbers: many ties, and sums without rounding.
    rdm = random_rdm(int(rng.integers(1, 12)), seed, high=4)
    holes = random_rdm(len(rdm), seed + 100) > [1.0, 0.7, 0.3][seed % 3]
    rdm[holes] = np.nan
    # oracle: brute force in Python
    assert greedy_order(rdm) == brute_greedy(rdm)


def test_the_sub_matrix_is_in_the_order_of_the_choice():
    rdm = random_rdm(7)
    sub_rdm, indices = pfa.get_extreme_dissims_total(rdm, 5)
    np.testing.assert_array_equal(sub_rdm, rdm[indices][:, indices])
    assert isinstance(indices, list)
    assert all(type(index) is int for index in indices)


def test_every_choice_is_the_beginning_of_the_choice_of_all():
    rdm = random_rdm(9)
    everything = pfa.get_extreme_dissims_total(rdm)[1]
    assert everything == list(greedy_order(rdm))
    for k in range(1, 10):
        sub_rdm, indices = pfa.get_extreme_dissims_total(rdm, k, method="greedy")
        assert indices == everything[:k]
        assert sub_rdm.shape == (k, k)


@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan, np.inf])
def test_a_matrix_of_one_value_is_taken_in_its_own_order(fill):
    rdm = np.full((4, 4), fill)
    np.fill_diagonal(rdm, 0)
    assert greedy_order(rdm) == (0, 1, 2, 3)


def test_a_single_item_is_chosen():
    assert greedy_order(np.zeros((1, 1))) == (0,)
    assert pfa.get_extreme_dissims_total([[0]], 1) == ([[0]], [0])


def test_dead_items_come_last_in_ascending_order():
    rdm = random_rdm(6)
    alive = [1, 2, 4, 5]
    for dead in (3, 0):
        rdm[dead] = rdm[:, dead] = np.nan
    np.fill_diagonal(rdm, 0)
    order = greedy_order(rdm)
    assert order[4:] == (0, 3)
    without = greedy_order(rdm[np.ix_(alive, alive)])
    assert order[:4] == tuple(alive[index] for index in without)


def test_missing_pairs_count_as_nothing():
    rdm = np.array([[0, 9, 4, 1], [9, 0, np.nan, 4], [4, np.nan, 0, 1], [1, 4, 1, 0]])
    # After 0 and 1: item 2 has 4 + nothing, item 3 has 1 + 4.
    assert greedy_order(rdm) == (0, 1, 3, 2)


def test_negative_dissimilarities_are_never_beaten_by_the_diagonal_or_by_nan():
    rdm = -1 - random_rdm(5)
    rdm[0, 1] = rdm[1, 0] = np.nan
    np.fill_diagonal(rdm, 0)
    assert greedy_order(rdm) == brute_greedy(rdm)


def test_the_diagonal_is_not_read():
    rdm = random_rdm(6)
    expected = greedy_order(rdm)
    for value in (99.0, np.nan, -1.0):
        np.fill_diagonal(rdm, value)
        assert greedy_order(rdm) == expected


def test_the_order_follows_the_items_and_ignores_a_scale_but_not_a_changed_pair():
    rdm = random_rdm(8)
    order = greedy_order(rdm)
    shuffle = np.random.default_rng(1).permutation(8)
    shuffled = greedy_order(rdm[np.ix_(shuffle, shuffle)])
    # The first pair is ascending by index, so only as a set does it follow the items.
    assert {shuffle[index] for index in shuffled[:2]} == set(order[:2])
    assert [shuffle[index] for index in shuffled[2:]] == list(order[2:])
    assert greedy_order(1024 * rdm) == order
    rdm[order[-1], order[-2]] = rdm[order[-2], order[-1]] = 9
    assert set(greedy_order(rdm)[:2]) == set(order[-2:])


def test_a_matrix_and_its_transpose_give_the_same_order():
    matrix = np.random.default_rng(0).random((7, 7))
    assert greedy_order(matrix) == greedy_order(matrix.T)
    both = matrix + matrix.T
    np.fill_diagonal(both, 0)
    assert greedy_order(matrix) == brute_greedy(both)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32])
def test_small_number_types_do_not_overflow(dtype):
    line = (19 * LINE).astype(dtype)  # up to 247; the sums go beyond a byte
    assert greedy_order(line) == (0, 5, 1, 4, 2, 3)
    assert pfa.get_extreme_dissims_total(line, 3)[0].dtype == dtype


def test_sums_are_not_rounded_to_single_precision():
    rdm = np.zeros((4, 4), np.float32)
    rdm[0, 1] = 2**25
    rdm[0, 2:] = 2**24
    rdm[1, 3] = 1  # 2**24 + 1 is the first whole number that single precision lacks
    assert greedy_order(rdm + rdm.T) == (0, 1, 3, 2)


@pytest.mark.parametrize("k", [0, -1, 7])
def test_the_number_of_items_must_fit_the_matrix(k):
    with pytest.raises(ValueError, match=f"`num_items` must be from 1 to 6, not {k}"):
        pfa.get_extreme_dissims_total(LINE, k)


@pytest.mark.parametrize(("k", "error"), [("three", ValueError), (2.0, TypeError)])
def test_the_number_of_items_must_be_a_whole_number_or_all(k, error):
    with pytest.raises(error, match="`num_items` must be a whole number"):
        pfa.get_extreme_dissims_total(LINE, k)


def test_only_a_square_matrix_has_items_to_choose():
    with pytest.raises(ValueError, match=r"`input_rdm` must be one square matrix.*\(2, 3\)"):
        pfa.get_extreme_dissims_total(np.zeros((2, 3)))


def test_the_input_is_not_changed_and_the_result_is_no_view():
    rdm = random_rdm(5)
    rdm.flags.writeable = False
    sub_rdm, _ = pfa.get_extreme_dissims_total(rdm)
    sub_rdm[:] = -1
    assert (rdm >= 0).all()


@pytest.mark.parametrize("kind", ["symmetric", "crooked", "nan", "dead"])
def test_large_matrices_are_ranked_as_small_ones_are(kind, monkeypatch):
    monkeypatch.setattr(matrices, "_TILE", 4)
    for n in (5, 11, 40):
        rdm = random_rdm(n, seed=n, high=9)
        if kind == "crooked":
            rdm = np.random.default_rng(n).integers(0, 9, (n, n)).astype(float)
        elif kind == "nan":
            rdm[random_rdm(n, 1) > 0.8] = np.nan
        elif kind == "dead":
            rdm[3] = rdm[:, 3] = np.nan
        both = rdm + rdm.T if kind == "crooked" else rdm
        rdm.flags.writeable = False
        # oracle: brute force in Python
        assert greedy_order(rdm) == brute_greedy(both)
        if kind != "crooked":
            assert greedy_order(rdm, symmetric=True) == brute_greedy(both)


def test_the_largest_value_may_be_on_the_diagonal_as_of_inner_products():
    rdm = -random_rdm(9, high=3) - 1
    expected = greedy_order(rdm)
    np.fill_diagonal(rdm, 5)
    assert greedy_order(rdm) == greedy_order(rdm, symmetric=True) == expected
    assert expected == brute_greedy(rdm)
