"""The order of average linkage, and where it is used."""

import numpy as np
import pandas as pd
import pytest
from made_study import similarity_stack
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.linkage import average_tree


def row_of(matrix, names="abcdefgh"):
    matrix = np.asarray(matrix, dtype=float)
    keys = [(name,) for name in names[: len(matrix)]]
    return pd.DataFrame({"matrix": [matrix], "entry_keys": [keys]})


def test_the_order_of_mean_similarities_is_that_of_scipy():
    stack = similarity_stack(n_models=24)
    similarity = np.mean([1 - matrix for matrix in stack["matrix"]], axis=0)
    tree = linkage(squareform(1 - similarity, checks=False), "average")
    expected = [(f"m{k}",) for k in leaves_list(tree)]
    means = pfa.get_mean_rdms(stack)
    assert pfa.linkage_order(means[means["statistic"] == "mean"]) == expected
    assert expected != [(f"m{k}",) for k in range(24)]


def test_average_linkage_joins_what_single_linkage_would_not():
    # By hand: a-b (1) and c-d (2) are joined first. e is 3.5 from both of a and b, and 3 and 5
    # from c and d: by the means (3.5 and 4) it joins a and b, by the least (3) it would join c.
    matrix = np.array(
        [
            [0, 1, 9, 9, 3.5],
            [1, 0, 9, 9, 3.5],
            [9, 9, 0, 2, 3],
            [9, 9, 2, 0, 5],
            [3.5, 3.5, 3, 5, 0],
        ]
    )
    order = "".join(key for (key,) in pfa.linkage_order(row_of(matrix)))
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset("cd"), frozenset("abe")}
    assert order.endswith("ab")


def test_similarities_are_ordered_as_their_dissimilarities():
    stack = similarity_stack().iloc[[0]]
    assert pfa.linkage_order(pfa.to_similarity(stack)) == pfa.linkage_order(stack)


def test_entries_without_dissimilarities_come_last():
    matrix = np.array([[0, np.nan, 9, 1], [np.nan] * 4, [9, np.nan, 0, 8], [1, np.nan, 8, 0]])
    order = [key for (key,) in pfa.linkage_order(row_of(matrix))]
    assert order[-1] == "b"
    assert abs(order.index("a") - order.index("d")) == 1


def test_one_entry_is_in_order():
    assert pfa.linkage_order(row_of([[0]])) == [("a",)]


def test_what_has_no_order_is_refused():
    one_sided = np.array([[0, 1, 2], [3, 0, 1], [2, 1, 0]])
    with pytest.raises(ValueError, match="not symmetric"):
        pfa.linkage_order(row_of(one_sided))
    assert len(pfa.linkage_order(row_of(one_sided), symmetrize=True)) == 3
    hole = np.array([[0, np.nan, 2], [np.nan, 0, 1], [2, 1, 0]])
    with pytest.raises(ValueError, match="`nan_policy` is 'raise', and `rdm_df` has 1 missing"):
        pfa.linkage_order(row_of(hole), nan_policy="raise")
    with pytest.raises(ValueError, match=r"0 on the diagonal of its matrix, or 1 .* not 0\.5"):
        pfa.linkage_order(row_of(np.full((3, 3), 0.5)))
    with pytest.raises(ValueError, match="must have one row, and has 4, which differ in dataset"):
        pfa.linkage_order(similarity_stack())


@pytest.mark.parametrize("hole", [False, True])
def test_distances_below_0_are_joined_as_they_would_be_from_another_zero(hole):
    # As crossvalidated ones are, which are 0 in the mean where nothing differs.
    cells = np.random.default_rng(3).normal(size=28)
    if hole:
        cells[3] = np.nan
    matrix = squareform(cells, checks=False)
    order, tree = average_tree(matrix)
    above, expected = average_tree(squareform(cells + 5, checks=False))
    assert order == above
    np.testing.assert_allclose(tree[:, 2] + 5, expected[:, 2])
    assert pfa.linkage_order(row_of(matrix)) == [("abcdefgh"[k],) for k in order]
