"""Choices of stimuli on rows of a stack."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

import pytorch_feature_analysis as pfa


def noise(n, seed=0):
    rdm = np.random.default_rng(seed).random((n, n))
    rdm = rdm + rdm.T
    np.fill_diagonal(rdm, 0)
    return rdm


def stack(*matrices, orders=None):
    """Rows over the same stimuli, each row in its own order."""
    n = len(matrices[0])
    keys = [(f"s{i}", "ab"[i % 2]) for i in range(n)]
    rows = []
    for number, matrix in enumerate(matrices):
        order = list(range(n)) if orders is None else orders[number]
        rows.append(
            {
                "layer": f"conv{number}",
                "matrix": matrix[np.ix_(order, order)],
                "entry_keys": tuple(keys[i] for i in order),
                "entry_labels": tuple({"name": keys[i][0], "kind": keys[i][1]} for i in order),
            }
        )
    return pd.DataFrame(rows)


def pair_mean(matrix, chosen):
    return np.mean([matrix[i, j] for i, j in combinations(chosen, 2)])


def test_one_row_gives_the_choice_of_its_matrix_with_labels():
    rdm = noise(12)
    chosen = pfa.select_stimuli(stack(rdm), 4)
    _, indices = pfa.get_extreme_dissims_total(rdm, 4)
    assert list(chosen) == ["entry_key", "name", "kind", "index", "mean_dissim", "n_missing"]
    assert chosen["index"].tolist() == indices
    assert chosen["entry_key"].tolist() == [(f"s{i}", "ab"[i % 2]) for i in indices]
    assert chosen["name"].tolist() == [f"s{i}" for i in indices]
    expected = [np.mean([rdm[i, j] for j in indices if j != i]) for i in indices]
    np.testing.assert_allclose(chosen["mean_dissim"], expected)
    pd.testing.assert_frame_equal(pfa.select_stimuli(stack(rdm).iloc[0], 4), chosen)


def test_several_rows_are_taken_on_one_scale_in_any_order():
    first, second = noise(10), 1000 * noise(10, 1)
    orders = [list(range(10)), np.random.default_rng(2).permutation(10).tolist()]
    rows = stack(first, second, orders=orders)
    off = ~np.eye(10, dtype=bool)
    both = first / first[off].mean() + second / second[off].mean()
    best = max(combinations(range(10), 4), key=lambda of: pair_mean(both, of))
    assert sorted(pfa.select_stimuli(rows, 4)["index"]) == list(best)
    # As they are, the second outweighs the first.
    best = max(combinations(range(10), 4), key=lambda of: pair_mean(first + second, of))
    assert sorted(pfa.select_stimuli(rows, 4, scale="none")["index"]) == list(best)
    ranks = np.zeros((10, 10))
    upper = np.triu_indices(10, k=1)
    ranks[upper] = rankdata(first[upper]) + rankdata(second[upper])
    best = max(combinations(range(10), 4), key=lambda of: pair_mean(ranks + ranks.T, of))
    assert sorted(pfa.select_stimuli(rows, 4, scale="rank")["index"]) == list(best)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_worst_row_is_made_as_good_as_can_be(direction):
    matrices = [noise(11, seed) for seed in range(3)]
    rows = stack(*matrices)
    chosen = pfa.select_stimuli(rows, 4, combine="min", scale="none", direction=direction)
    if direction == "max":
        value = max(min(pair_mean(m, of) for m in matrices) for of in combinations(range(11), 4))
        found = min(pair_mean(m, chosen["index"]) for m in matrices)
    else:
        value = min(max(pair_mean(m, of) for m in matrices) for of in combinations(range(11), 4))
        found = max(pair_mean(m, chosen["index"]) for m in matrices)
    assert found == pytest.approx(value)


def test_among_many_the_worst_row_is_better_off_than_with_the_mean():
    # What differs most by the first row is alike by the second.
    first = noise(80)
    second = 2.2 - 0.9 * first + 0.2 * noise(80, 1)
    np.fill_diagonal(second, 0)
    rows = stack(first, second)
    values = []
    for combine in ("mean", "min"):
        chosen = pfa.select_stimuli(rows, 10, combine=combine, scale="none", effort="low")
        values.append(min(pair_mean(m, chosen["index"]) for m in (first, second)))
    assert values[1] >= values[0]


def test_categories_and_stimuli_are_named_by_label_and_key():
    rows = stack(noise(12))
    options = {"must_include": [("s1", "b")], "exclude": [("s0", "a")]}
    chosen = pfa.select_stimuli(rows, 6, groups=("kind", {"a": 4, "b": 2}), **options)
    assert sorted(chosen["kind"]) == list("aaaabb")
    assert ("s1", "b") in chosen["entry_key"].tolist()
    assert ("s0", "a") not in chosen["entry_key"].tolist()
    each = pfa.select_stimuli(rows, 6, groups=("kind", 3))
    assert sorted(each["kind"]) == list("aaabbb")


def ranks_of(rdm):
    ranks, upper = np.zeros_like(rdm), np.triu_indices(len(rdm), k=1)
    ranks[upper] = (rankdata(rdm[upper]) - 1) / (len(upper[0]) - 1)
    return ranks + ranks.T


def correlation_of(first, second, chosen):
    return pfa.correlate_upper_triang(*(m[np.ix_(chosen, chosen)] for m in (first, second)))


@pytest.mark.parametrize("seed", range(4))
def test_disagreement_is_the_lowest_correlation_of_ranks(seed):
    first, second = noise(10, seed), noise(10, seed + 9) ** 3
    rows = stack(first, second, orders=[list(range(10)), list(range(10))[::-1]])
    chosen = pfa.max_disagreement(rows.iloc[[0]], rows.iloc[1], 5)
    first, second = ranks_of(first), ranks_of(second)
    lowest = min(correlation_of(first, second, list(of)) for of in combinations(range(10), 5))
    indices = chosen["index"].tolist()
    assert correlation_of(first, second, indices) == pytest.approx(lowest)
    np.testing.assert_allclose(chosen["correlation"], lowest)
    expected = [np.mean([abs(first - second)[i, j] for j in indices if j != i]) for i in indices]
    np.testing.assert_allclose(chosen["mean_disagreement"], expected)
    assert expected == sorted(expected, reverse=True)


def test_a_correlation_that_is_not_defined_is_nan():
    chosen = pfa.max_disagreement(stack(1 - np.eye(5)), stack(noise(5)), 3)
    assert chosen["correlation"].isna().all()


def test_disagreement_heeds_categories_and_named_stimuli():
    rows = stack(noise(12), noise(12, 1))
    options = {"must_include": [("s1", "b")], "exclude": [("s0", "a")], "groups": ("kind", 3)}
    chosen = pfa.max_disagreement(rows.iloc[[0]], rows.iloc[[1]], 6, **options)
    assert sorted(chosen["kind"]) == list("aaabbb")
    assert ("s1", "b") in chosen["entry_key"].tolist()
    assert ("s0", "a") not in chosen["entry_key"].tolist()
    allowed = [
        list(of) for of in combinations(range(1, 12), 6) if 1 in of and sum(i % 2 for i in of) == 3
    ]
    first, second = (ranks_of(m) for m in rows["matrix"])
    lowest = min(correlation_of(first, second, of) for of in allowed)
    assert chosen["correlation"][0] == pytest.approx(lowest)


def test_a_whole_category_stays_where_no_swap_within_it_is_left():
    for seed in range(5):
        rows = stack(noise(12, seed), noise(12, seed + 9))
        for counts, expected in (({"a": 6, "b": 0}, "aaaaaa"), ({"a": 6, "b": 1}, "aaaaaab")):
            n = len(expected)
            chosen = pfa.max_disagreement(
                rows.iloc[[0]], rows.iloc[[1]], n, groups=("kind", counts)
            )
            assert sorted(chosen["kind"]) == list(expected)
    fixed = [("s1", "b"), ("s3", "b"), ("s5", "b")]
    options = {"groups": ("kind", {"a": 6, "b": 3}), "must_include": fixed}
    chosen = pfa.max_disagreement(rows.iloc[[0]], rows.iloc[[1]], 9, **options)
    assert set(fixed) < set(chosen["entry_key"])
    assert sorted(chosen["kind"]) == list("aaaaaabbb")


def test_rdms_that_are_one_agree_everywhere():
    rows = stack(noise(9))
    chosen = pfa.max_disagreement(rows, rows, 4)
    assert chosen["mean_disagreement"].max() == 0
    assert chosen["correlation"][0] == pytest.approx(1)


def test_missing_pairs_do_not_count_in_a_disagreement():
    first, second = noise(9), noise(9, 1)
    first[0, 1] = first[1, 0] = np.nan
    options = {"must_include": [("s0", "a"), ("s1", "b")]}
    chosen = pfa.max_disagreement(stack(first), stack(second), 4, **options)
    i, j = np.array(list(combinations(sorted(chosen["index"]), 2))).T
    known = ~np.isnan(first[i, j])
    upper = np.triu_indices(9, k=1)
    ranks = rankdata(first[upper], nan_policy="omit")
    of_first = np.zeros((9, 9))
    of_first[upper] = ranks
    x, y = of_first[i, j][known], ranks_of(second)[i, j][known]
    assert chosen["correlation"][0] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_dead_stimuli_of_any_row_come_last():
    first, second = noise(8), noise(8, 1)
    second[3] = second[:, 3] = np.nan
    assert 3 not in pfa.select_stimuli(stack(first, second), 7)["index"].tolist()
    assert pfa.select_stimuli(stack(first, second), 8)["index"].tolist()[-1] == 3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"combine": "max"}, "`combine` names 'max'.*mean, min"),
        ({"scale": "z"}, "`scale` names 'z'.*mean, rank, none"),
        ({"must_include": [("s99", "a")]}, "`must_include` names .*, which is not an entry key"),
        ({"groups": ("color", 2)}, "`groups` names 'color'.*name, kind"),
        ({"groups": ("kind", {"c": 2})}, "`groups` names 'c'.*a, b"),
        ({"method": "all"}, "`method` names 'all'"),
    ],
)
def test_wrong_names_get_the_right_ones(options, match):
    with pytest.raises(ValueError, match=match):
        pfa.select_stimuli(stack(noise(6)), 3, **options)


def test_rows_over_other_entries_and_several_rows_for_one_are_refused():
    other = stack(noise(6))
    other["entry_keys"] = [tuple((f"t{i}", "a") for i in range(6))]
    with pytest.raises(ValueError, match=r"all rows must have the same entries.*subset_rdm_df"):
        pfa.select_stimuli(pd.concat([stack(noise(6)), other]), 3)
    with pytest.raises(ValueError, match="`row_a` must be one row of a stack, not 2"):
        pfa.max_disagreement(stack(noise(6), noise(6)), other, 3)
    with pytest.raises(ValueError, match="`num_items` must be from 3 to 6"):
        pfa.max_disagreement(stack(noise(6)), stack(noise(6)), 2)
    with pytest.raises(ValueError, match="has no rows"):
        pfa.select_stimuli(stack(noise(6)).iloc[:0], 3)
    with pytest.raises(TypeError, match="`groups` must be"):
        pfa.select_stimuli(stack(noise(6)), 3, groups={"kind": 3})


def test_the_stack_is_not_changed():
    rows = stack(noise(8), noise(8, 1))
    before = rows.copy()
    matrices = [matrix.copy() for matrix in rows["matrix"]]
    pfa.select_stimuli(rows, 3, combine="min")
    pd.testing.assert_frame_equal(rows, before)
    for matrix, expected in zip(rows["matrix"], matrices, strict=True):
        np.testing.assert_array_equal(matrix, expected)
