"""Choices of different and of alike items, beside brute force and the invariances they have."""

from itertools import combinations

import numpy as np
import pytest
from made_matrices import LINE, noise

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import selection_reports, subsets


def total(rdm, indices):
    return np.nansum(rdm[np.ix_(indices, indices)])


def brute(rdm, k, best=max):
    return best(total(rdm, list(chosen)) for chosen in combinations(range(len(rdm)), k))


@pytest.mark.parametrize("seed", range(100))
def test_five_of_twenty_are_the_best_there_are(seed):
    rdm = noise(20, seed)
    sub_rdm, indices = pfa.get_extreme_dissims_total(rdm, 5)
    pairs = np.array(list(combinations(range(20), 5)))
    best = rdm[pairs[:, :, None], pairs[:, None, :]].sum(axis=(1, 2)).max()
    assert sub_rdm.sum() == pytest.approx(best, abs=1e-12)
    np.testing.assert_array_equal(sub_rdm, rdm[np.ix_(indices, indices)])


@pytest.mark.parametrize("method", ["auto", "search", "exact"])
@pytest.mark.parametrize("direction", ["max", "min"])
def test_each_method_finds_the_best_of_few(direction, method):
    rdm = noise(10, 1)
    for k in range(1, 11):
        options = {"direction": direction, "method": method, "effort": 2000}
        _, indices = pfa.get_extreme_dissims_total(rdm, k, **options)
        assert len(set(indices)) == k
        best = brute(rdm, k, max if direction == "max" else min)
        assert total(rdm, indices) == pytest.approx(best, abs=1e-12)


def test_points_on_a_line_as_worked_by_hand():
    assert pfa.get_extreme_dissims_total(LINE, 4)[1] == [0, 5, 1, 4]
    assert pfa.get_extreme_dissims_total(LINE, 4)[0].sum() / 12 == pytest.approx(8.3333, abs=1e-4)
    assert pfa.get_extreme_dissims_total(LINE, 3, direction="min")[1] == [0, 1, 2]
    assert pfa.get_extreme_dissims_total(LINE, direction="min")[1][:2] == [0, 1]


def test_a_search_is_never_below_the_greedy_choice():
    for seed in range(10):
        rdm = noise(80, seed)
        greedy = pfa.get_extreme_dissims_total(rdm, 12, method="greedy")[0].sum()
        for effort in (0, 10, "low", "default"):
            found, indices = pfa.get_extreme_dissims_total(rdm, 12, effort=effort)
            assert found.sum() >= greedy
            assert len(set(indices)) == 12


def test_the_same_seed_gives_the_same_choice_in_greedy_order():
    rdm = noise(100)
    first, second = (pfa.get_extreme_dissims_total(rdm, 10, random_state=3)[1] for _ in range(2))
    assert first == second
    within = pfa.get_extreme_dissims_total(rdm[np.ix_(first, first)])[1]
    members = sorted(first)
    ranks = pfa.get_extreme_dissims_total(rdm[np.ix_(members, members)])[1]
    assert first == [members[i] for i in ranks]
    assert sorted(within) == list(range(10))


def test_the_choice_follows_the_items_and_ignores_what_is_added_to_all_pairs():
    rdm = np.round(noise(40) * 1000)
    chosen = set(pfa.get_extreme_dissims_total(rdm, 8)[1])
    order = np.random.default_rng(0).permutation(40)
    shuffled = pfa.get_extreme_dissims_total(rdm[np.ix_(order, order)], 8)[1]
    assert {int(order[i]) for i in shuffled} == chosen
    raised = rdm + 512
    np.fill_diagonal(raised, 0)
    assert set(pfa.get_extreme_dissims_total(raised, 8)[1]) == chosen
    # Not ignored: another sign.
    assert set(pfa.get_extreme_dissims_total(-rdm, 8)[1]) != chosen


def test_items_are_in_and_out_as_asked_for():
    rdm = noise(12, 4)
    for must, exclude in (([3], []), ([3, 7], [0, 1]), ([], [2, 5, 9]), ([0, 1, 2, 3], [4])):
        _, indices = pfa.get_extreme_dissims_total(rdm, 4, must_include=must, exclude=exclude)
        allowed = [
            list(chosen)
            for chosen in combinations(range(12), 4)
            if set(must) <= set(chosen) and not set(exclude) & set(chosen)
        ]
        assert sorted(indices) in allowed
        best = max(total(rdm, chosen) for chosen in allowed)
        assert total(rdm, indices) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("method", ["exact", "search"])
def test_each_category_gives_as_many_as_asked_for(method):
    rdm, labels = noise(14, 2), list("aabbbbcccccddd")
    counts = {"c": 2, "a": 1, "b": 2}
    _, indices = pfa.get_extreme_dissims_total(
        rdm, 5, groups=(labels, counts), method=method, effort=4000, must_include=[4]
    )
    chosen = [labels[i] for i in indices]
    assert {name: chosen.count(name) for name in "abcd"} == {**counts, "d": 0}
    assert 4 in indices
    allowed = [
        list(c)
        for c in combinations(range(14), 5)
        if 4 in c and sorted(labels[i] for i in c) == sorted("ccabb")
    ]
    assert total(rdm, indices) == pytest.approx(max(total(rdm, c) for c in allowed), abs=1e-12)


@pytest.mark.parametrize("method", ["auto", "greedy", "search", "exact"])
def test_a_category_that_is_to_give_none_gives_none(method):
    rdm, labels = noise(6), list("aaaaab")
    for counts in ({"a": 0, "b": 1}, {"b": 1}):
        found = pfa.get_extreme_dissims_total(rdm, 1, groups=(labels, counts), method=method)[1]
        assert found == [5]
    counts = {"a": 1, "b": 1}
    options = {"groups": (labels, counts), "must_include": [2], "method": method}
    assert set(pfa.get_extreme_dissims_total(rdm, 2, **options)[1]) == {2, 5}


def test_items_without_a_dissimilarity_come_last():
    rdm = noise(9)
    for dead in (2, 6):
        rdm[dead] = rdm[:, dead] = np.nan
    alive = [i for i in range(9) if i not in (2, 6)]
    for direction in ("max", "min"):
        for k in range(1, 10):
            _, indices = pfa.get_extreme_dissims_total(rdm, k, direction=direction)
            assert indices[min(k, 7) :] == [2, 6][: max(k - 7, 0)]
            best = brute(rdm[np.ix_(alive, alive)], min(k, 7), max if direction == "max" else min)
            assert total(rdm, indices) == pytest.approx(best, abs=1e-12)


def test_missing_pairs_are_never_sought():
    rdm = 1 + np.abs(noise(8))
    np.fill_diagonal(rdm, 0)
    rdm[0, 1] = rdm[1, 0] = np.nan
    for direction in ("max", "min"):
        for method in ("auto", "greedy"):
            _, pair = pfa.get_extreme_dissims_total(rdm, 2, direction=direction, method=method)
            assert set(pair) != {0, 1}


def test_the_mean_of_both_directions_is_taken_where_asked_for():
    rdm = np.random.default_rng(0).random((12, 12))
    with pytest.raises(ValueError, match=r"not symmetric: \[0, 1\] is .*`symmetrize`=True"):
        pfa.get_extreme_dissims_total(rdm, 4)
    _, indices = pfa.get_extreme_dissims_total(rdm, 4, symmetrize=True)
    both = (rdm + rdm.T) / 2
    np.fill_diagonal(both, 0)
    assert total(both, indices) == pytest.approx(brute(both, 4), abs=1e-12)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_items": 0}, "`num_items` must be from 1 to 6"),
        ({"num_items": 7}, "`num_items` must be from 1 to 6"),
        ({"num_items": "some"}, "`num_items` must be a whole number from 1 to 6 or 'all'"),
        ({"direction": "up"}, "`direction` names 'up'.*max, min"),
        ({"method": "best"}, "`method` names 'best'.*auto, greedy, search, exact"),
        ({"effort": "much"}, "`effort` names 'much'.*low, default, high"),
        ({"must_include": [1], "exclude": [1]}, "`must_include` and `exclude` both name 1"),
        ({"must_include": [0, 0]}, "`must_include` names an item twice"),
        ({"must_include": [6]}, "`must_include` must be from 0 to 5"),
        ({"must_include": [0, 1, 2, 3]}, "`must_include` names 4 items"),
        ({"exclude": [0, 1, 2, 3]}, "`exclude` leaves 2"),
        ({"groups": (list("aabbcc"), {"a": 2})}, "`groups` asks for 2 items.*is 3"),
        ({"groups": (list("aabbcc"), {"d": 3})}, "`groups` names 'd'.*a, b, c"),
        ({"groups": (list("aabbcc"), {"a": 3})}, "`groups` must be from 0 to 2"),
        ({"groups": (list("aab"), {"a": 3})}, "`groups` must label each of the 6 items"),
        (
            {"groups": (list("aabbcc"), {"a": 2, "b": 1}), "must_include": [5]},
            "item 5 of category 'c'",
        ),
        (
            {"groups": (list("aabbcc"), {"a": 2, "b": 1}), "exclude": [0]},
            "`exclude` leaves 1 items of category 'a'",
        ),
        ({"num_items": "all", "exclude": [0]}, "`num_items`='all' ranks all items"),
    ],
)
def test_what_cannot_be_is_refused(options, match):
    options = {"num_items": 3, **options}
    with pytest.raises(ValueError, match=match):
        pfa.get_extreme_dissims_total(LINE, options.pop("num_items"), **options)


def test_a_matrix_without_a_number_and_groups_of_another_kind_are_refused():
    rdm = np.full((4, 4), np.nan)
    for num_items in (2, "all"):
        with pytest.raises(ValueError, match="`input_rdm` has no finite dissimilarity"):
            pfa.get_extreme_dissims_total(rdm, num_items)
    with pytest.raises(TypeError, match="`groups` must be"):
        pfa.get_extreme_dissims_total(LINE, 3, groups={"a": 3})


def test_the_input_is_not_changed():
    rdm = noise(30)
    rdm[3, 4] = rdm[4, 3] = np.nan
    before = rdm.copy()
    rdm.flags.writeable = False
    pfa.get_extreme_dissims_total(rdm, 5)
    pfa.selection_report(rdm, [1, 2])
    np.testing.assert_array_equal(rdm, before)


def test_exact_choices_beyond_counting_are_solved_and_proven(monkeypatch):
    monkeypatch.setattr(subsets, "_COUNTABLE_SETS", 10)
    rdm = noise(12, 5)
    _, indices = pfa.get_extreme_dissims_total(rdm, 4, method="exact")
    assert total(rdm, indices) == pytest.approx(brute(rdm, 4), abs=1e-9)
    _, indices = pfa.get_extreme_dissims_total(rdm, 4, method="exact", time_limit=1e-9)
    assert total(rdm, indices) >= total(rdm, pfa.get_extreme_dissims_total(rdm)[1][:4])


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_report_says_how_good_a_choice_is(direction, monkeypatch):
    rdm = 3 + noise(11, 7)
    np.fill_diagonal(rdm, 0)
    best = pfa.get_extreme_dissims_total(rdm, 4, direction=direction)[1]
    report = pfa.selection_report(rdm, best, direction=direction)
    assert report.mean == pytest.approx(total(rdm, best) / 12)
    assert (report.is_exact, report.num_items) == (True, 4)
    assert report.gap == pytest.approx(0, abs=1e-12)
    assert report.random_mean == pytest.approx(rdm.sum() / 110)
    greedy = pfa.get_extreme_dissims_total(rdm, 4, direction=direction, method="greedy")[1]
    assert report.greedy_mean == pytest.approx(total(rdm, greedy) / 12)
    # Beyond counting, no choice is beyond the bound.
    monkeypatch.setattr(selection_reports, "FEW_SETS", 1)
    loose = pfa.selection_report(rdm, best, direction=direction)
    assert not loose.is_exact
    assert loose.gap > 0
    assert (loose.bound >= report.bound) == (direction == "max")
    with pytest.raises(ValueError, match="`indices` must be at least 2"):
        pfa.selection_report(rdm, [1])
