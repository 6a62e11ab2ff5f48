"""Sets with a given mean, and evenly spread ones."""

from itertools import combinations

import numpy as np
import pytest
from made_matrices import LINE, noise
from scipy.stats import kstest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import target_subsets


def mean_of(rdm, indices):
    return np.nanmean(rdm[np.ix_(indices, indices)][np.triu_indices(len(indices), k=1)])


def nearest(rdm, target, k):
    return min(abs(mean_of(rdm, list(c)) - target) for c in combinations(range(len(rdm)), k))


def test_points_on_a_line_as_worked_by_hand():
    sub_rdm, indices, mean = pfa.get_dissims_that_match(LINE, 5, 4)
    assert sorted(indices) == [2, 3, 4, 5]
    assert mean == pytest.approx(5.8333, abs=1e-4)
    np.testing.assert_array_equal(sub_rdm, LINE[np.ix_(indices, indices)])
    # The pair with the distance 4 and, of equal ones, the item that brings the mean nearest.
    _, ranked, mean = pfa.get_dissims_that_match(LINE, 4)
    assert ranked[:2] == [2, 3]
    assert sorted(ranked) == [0, 1, 2, 3, 4, 5]
    assert mean == pytest.approx(6.8)


def test_a_target_of_zero_gives_different_items():
    _, indices, mean = pfa.get_dissims_that_match(LINE, 0, 4)
    assert sorted(indices) == [0, 1, 2, 3]
    assert mean == pytest.approx(23 / 6)


@pytest.mark.parametrize("seed", range(8))
def test_few_items_match_as_well_as_brute_force(seed, monkeypatch):
    rdm = noise(11, seed)
    for k, target in ((2, 0.3), (4, 0.1), (6, -0.4), (10, 0.0), (11, 5)):
        expected = nearest(rdm, target, k)
        _, indices, mean = pfa.get_dissims_that_match(rdm, target, k)
        assert len(set(indices)) == k
        assert mean == pytest.approx(mean_of(rdm, indices), abs=1e-12)
        assert abs(mean - target) == pytest.approx(expected, abs=1e-12)
    # The search alone comes near.
    monkeypatch.setattr(target_subsets, "_FEW_SETS", 0)
    mean = pfa.get_dissims_that_match(rdm, 0.1, 5)[2]
    assert abs(mean - 0.1) <= nearest(rdm, 0.1, 5) + 0.02


@pytest.mark.parametrize("target", [0.1, -0.25, 0.3])
def test_many_items_match_to_a_millionth(target):
    rdm = noise(300)
    _, indices, mean = pfa.get_dissims_that_match(rdm, target, 40)
    assert len(set(indices)) == 40
    assert abs(mean - target) < 1e-6
    assert pfa.get_dissims_that_match(rdm, target, 40)[1] == indices


@pytest.mark.parametrize(("target", "direction"), [(9.0, "max"), (-9.0, "min")])
def test_what_is_out_of_reach_gives_the_extreme_choice(target, direction):
    rdm = noise(60)
    mean = pfa.get_dissims_that_match(rdm, target, 8)[2]
    extreme = pfa.get_extreme_dissims_total(rdm, 8, direction=direction)[1]
    assert abs(mean - mean_of(rdm, extreme)) < 0.02


def test_missing_pairs_are_left_out_and_dead_items_come_last():
    rdm = noise(40)
    rdm[3, 5:20] = rdm[5:20, 3] = np.nan
    rdm[7] = rdm[:, 7] = np.nan
    _, indices, mean = pfa.get_dissims_that_match(rdm, 0.2, 10)
    assert 7 not in indices
    assert mean == pytest.approx(mean_of(rdm, indices))
    assert abs(mean - 0.2) < 1e-6
    assert pfa.get_dissims_that_match(rdm, 0.2)[1][-1] == 7


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((LINE, 1, 1), ValueError, "`num_items_final` must be from 2 to 6"),
        ((LINE, 1, "most"), ValueError, "`num_items_final` must be a whole number"),
        ((LINE, np.nan, 3), ValueError, "`target_val` must be a finite number"),
        ((LINE, "1", 3), TypeError, "`target_val` must be a number"),
        ((LINE[:, ::-1], 1, 3), ValueError, "not symmetric"),
        ((np.full((3, 3), np.nan), 1, 2), ValueError, "no finite dissimilarity"),
    ],
)
def test_what_cannot_be_matched_is_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        pfa.get_dissims_that_match(*arguments)


def p_value(rdm, indices, low, high):
    values = rdm[np.ix_(indices, indices)][np.triu_indices(len(indices), k=1)]
    return kstest((values - low) / (high - low), "uniform").pvalue


@pytest.mark.parametrize("seed", range(4))
def test_few_items_are_as_even_as_brute_force_makes_them(seed):
    rdm = np.abs(noise(9, seed))
    low, high = rdm[np.triu_indices(9, k=1)].min(), rdm.max()
    _, indices, p = pfa.get_most_uniform_dissims(rdm, 4)
    best = max(p_value(rdm, list(c), low, high) for c in combinations(range(9), 4))
    assert p == pytest.approx(best)
    assert p == pytest.approx(p_value(rdm, indices, low, high))
    assert indices == sorted(set(indices))


@pytest.mark.parametrize("value_range", [None, (0, 1), (0, 2)])
def test_many_items_are_more_even_than_random_ones(value_range):
    patterns = np.random.default_rng(0).normal(size=(120, 12))
    rdm = 1 - np.corrcoef(patterns)  # from 0 to 2
    low, high = value_range or (rdm[np.triu_indices(120, k=1)].min(), rdm.max())
    _, indices, p = pfa.get_most_uniform_dissims(rdm, 12, value_range=value_range)
    assert len(set(indices)) == 12
    draw = np.random.default_rng(1)
    others = [p_value(rdm, draw.permutation(120)[:12], low, high) for _ in range(200)]
    assert p > max(others)
    assert pfa.get_most_uniform_dissims(rdm, 12, value_range=value_range)[1] == indices


def test_evenness_follows_the_items_and_a_scale_but_not_a_power():
    rdm = np.abs(noise(9, 5))
    chosen = set(pfa.get_most_uniform_dissims(rdm, 4)[1])
    order = np.random.default_rng(0).permutation(9)
    shuffled = pfa.get_most_uniform_dissims(rdm[np.ix_(order, order)], 4)[1]
    assert {int(order[i]) for i in shuffled} == chosen
    assert set(pfa.get_most_uniform_dissims(8 * rdm, 4)[1]) == chosen
    assert set(pfa.get_most_uniform_dissims(rdm**4, 4)[1]) != chosen


def test_items_with_missing_pairs_are_chosen_last():
    rdm = np.abs(noise(12))
    rdm[2, 3] = rdm[3, 2] = np.nan
    assert not {2, 3} & set(pfa.get_most_uniform_dissims(rdm, 6)[1])
    assert {2, 3} & set(pfa.get_most_uniform_dissims(rdm, 11)[1])


def test_a_range_without_width_is_refused():
    with pytest.raises(ValueError, match="all dissimilarities of `input_rdm` are equal"):
        pfa.get_most_uniform_dissims(1 - np.eye(4), 3)
    for wrong in ((1, 1), (0, np.inf), (np.nan, 1), (0, 1, 2), 3, "01"):
        with pytest.raises((ValueError, TypeError), match="`value_range` must be"):
            pfa.get_most_uniform_dissims(LINE, 3, value_range=wrong)
    assert pfa.get_most_uniform_dissims(1 - np.eye(4), 3, value_range=(0, 2))[1] == [0, 1, 2]
