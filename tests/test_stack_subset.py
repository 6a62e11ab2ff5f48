from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.selection import greedy_order

POINTS = np.array([0.0, 1.0, 3.0, 7.0, 12.0])
LINE = np.abs(POINTS[:, None] - POINTS)
KEYS = tuple((name,) for name in "abcde")


def make_stack(**columns):
    labels = tuple({"color": key[0]} for key in KEYS)
    return pd.DataFrame(
        {
            "layer": ["conv1", "fc1"],
            "matrix": [LINE, LINE**2],
            "entry_keys": [KEYS] * 2,
            "entry_labels": [labels] * 2,
            "dissim_rankings": [(0, 4, 3, 1, 2)] * 2,
        }
        | columns
    )


def test_listed_cells_are_kept_in_their_own_order():
    small = pfa.subset_rdm_df(make_stack(), [("d",), ("a",), ("b",), ("a",)])
    assert small["entry_keys"].tolist() == [(("a",), ("b",), ("d",))] * 2
    assert small["entry_labels"][1] == ({"color": "a"}, {"color": "b"}, {"color": "d"})
    # By hand: 0, 1 and 7 on a line.
    np.testing.assert_array_equal(small["matrix"][0], [[0, 1, 7], [1, 0, 6], [7, 6, 0]])
    np.testing.assert_array_equal(small["matrix"][1], [[0, 1, 49], [1, 0, 36], [49, 36, 0]])
    assert not small["matrix"][0].flags.writeable
    assert small["dissim_rankings"].tolist() == [(0, 2, 1)] * 2
    assert small["layer"].tolist() == ["conv1", "fc1"]


def test_the_order_of_the_request_does_not_matter_but_its_content_does():
    one = pfa.subset_rdm_df(make_stack(), [("a",), ("c",), ("e",)])
    other = pfa.subset_rdm_df(make_stack(), [("e",), ("a",), ("c",)])
    np.testing.assert_array_equal(one["matrix"][0], other["matrix"][0])
    third = pfa.subset_rdm_df(make_stack(), [("e",), ("a",), ("b",)])
    assert not np.array_equal(one["matrix"][0], third["matrix"][0])


def test_all_entries_give_the_same_stack():
    stack = pfa.check_rdm_stack(make_stack())
    every = pfa.subset_rdm_df(stack, list(reversed(KEYS)))
    for one, other in zip(stack["matrix"], every["matrix"], strict=True):
        np.testing.assert_array_equal(one, other)
    columns = ["layer", "entry_keys", "entry_labels", "perm", "df_name"]
    pd.testing.assert_frame_equal(every[columns], stack[columns])


def test_keys_may_stand_without_their_tuple():
    small = pfa.subset_rdm_df(make_stack(), ["b", "e"])
    assert small["entry_keys"][0] == (("b",), ("e",))


def test_rankings_are_those_of_the_smaller_matrix():
    rng = np.random.default_rng(1)
    matrix = rng.random((5, 5))
    small = pfa.subset_rdm_df(make_stack(matrix=[matrix, matrix.T]), ["a", "c", "d", "e"])
    # Oracle: the search itself, on a matrix cut by hand.
    cut = np.delete(np.delete(matrix, 1, axis=0), 1, axis=1)
    np.testing.assert_array_equal(small["matrix"][0], cut)
    assert small["dissim_rankings"][0] == greedy_order(cut)


def test_the_input_is_not_changed():
    stack = make_stack()
    stack.index = ["x", "y"]
    wanted = [("a",), ("b",)]
    small = pfa.subset_rdm_df(stack, wanted)
    assert small.index.tolist() == ["x", "y"]
    assert wanted == [("a",), ("b",)]
    pd.testing.assert_frame_equal(
        stack.drop(columns="matrix"), make_stack().set_axis(["x", "y"]).drop(columns="matrix")
    )
    assert stack["matrix"].iloc[0] is LINE
    assert LINE.flags.writeable
    assert LINE.shape == (5, 5)


def test_results_can_be_grouped_and_cut_again():
    small = pfa.subset_rdm_df(make_stack(), ["a", "b", "d"])
    assert small.groupby("entry_keys").ngroups == 1
    smaller = pfa.subset_rdm_df(small, ["d", "a"])
    np.testing.assert_array_equal(smaller["matrix"][0], [[0, 7], [7, 0]])


def test_a_scramble_among_the_kept_entries_is_renumbered():
    among, across, identity = (3, 1, 2, 0, 4), (4, 1, 2, 3, 0), (0, 1, 2, 3, 4)
    scrambles = [identity, among, across]
    stack = pd.DataFrame(
        {
            "matrix": [LINE[np.ix_(scramble, scramble)] for scramble in scrambles],
            "entry_keys": [KEYS] * 3,
            "perm": ["orig_data", 1, 2],
            "perm_scramble": scrambles,
        }
    )
    small = pfa.subset_rdm_df(stack, ["a", "b", "d"])
    assert small["perm_scramble"].tolist() == [(0, 1, 2), (2, 1, 0), None]
    original = small["matrix"][0]
    # The meaning of a scramble: it takes the original to the permuted matrix.
    np.testing.assert_array_equal(small["matrix"][1], original[np.ix_((2, 1, 0), (2, 1, 0))])
    # And none of the kept entries does so for the last row.
    assert not np.isin(small["matrix"][2], original).all()


def test_scrambles_and_levels_below_that_are_per_entry_are_cut_with_them():
    shared_keys, shared_labels = (("x",), ("y",)), ({"c": "x"}, {"c": "y"})
    per_entry = tuple(((f"{key[0]}1",), (f"{key[0]}2",)) for key in KEYS)
    per_entry_labels = tuple(tuple({"i": key[0]} for key in keys) for keys in per_entry)
    stack = make_stack(
        perm_scramble=[tuple((k % 2, 1 - k % 2) for k in range(5))] * 2,
        entry_keys_sub=[shared_keys] * 2,
        entry_labels_sub=[shared_labels] * 2,
        entry_keys_sub_sub=[per_entry, shared_keys],
        entry_labels_sub_sub=[per_entry_labels, shared_labels],
    )
    small = pfa.subset_rdm_df(stack, ["b", "c"])
    assert small["perm_scramble"][0] == ((1, 0), (0, 1))
    assert small["entry_keys_sub"][0] == shared_keys
    assert small["entry_labels_sub"][0] == shared_labels
    assert small["entry_keys_sub_sub"].tolist() == [per_entry[1:3], shared_keys]
    assert small["entry_labels_sub_sub"].tolist() == [per_entry_labels[1:3], shared_labels]


def test_rows_may_have_different_entries():
    stack = pd.DataFrame(
        {
            "matrix": [LINE, LINE[:2, :2]],
            "entry_keys": [KEYS, (("z",), ("a",))],
        }
    )
    small = pfa.subset_rdm_df(stack, ["a", "b", "z"])
    assert small["entry_keys"].tolist() == [(("a",), ("b",)), (("z",), ("a",))]
    with pytest.raises(ValueError, match=r"position 1 \(index 1\) has none of the `entry_keys`"):
        pfa.subset_rdm_df(stack, ["b", "c"])


def test_unknown_entries_are_named_with_those_that_exist():
    with pytest.raises(
        ValueError, match=r"lists \('q',\), which no row .* are: \('a',\), \('b',\)"
    ):
        pfa.subset_rdm_df(make_stack(), ["a", "q"])
    with pytest.raises(ValueError, match="`entry_keys` is empty"):
        pfa.subset_rdm_df(make_stack(), [])
    with pytest.raises(TypeError, match="`entry_keys` must be a list of entry keys, not 'a'"):
        pfa.subset_rdm_df(make_stack(), "a")
    with pytest.raises(ValueError, match="`df` has no column 'matrix'"):
        pfa.subset_rdm_df(make_stack().drop(columns="matrix"), ["a"])


def test_an_empty_stack_stays_one():
    assert len(pfa.subset_rdm_df(make_stack().iloc[:0], ["a"])) == 0
