from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.rdm_stack import checked_stack, greedy_orders
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_schema import (
    PROVENANCE_COLUMNS,
    RDM_COLUMNS,
    is_lineage,
    is_reserved,
)

KEYS = (("a",), ("b",), ("c",))
RDM = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 2.0], [4.0, 2.0, 0.0]])


def own_frame(n_rows=2, **columns):
    """The least that a stack can be."""
    return pd.DataFrame(
        {"matrix": [RDM.copy() for _ in range(n_rows)], "entry_keys": [KEYS] * 2} | columns
    )


def snapshot(df):
    """All that a function could have changed of a frame."""
    return (
        list(df.columns),
        df.index.tolist(),
        [[id(cell) for cell in df[name].tolist()] for name in df if df[name].dtype == object],
        [matrix.copy() for matrix in df["matrix"]],
        [matrix.flags.writeable for matrix in df["matrix"]],
    )


def assert_unchanged(df, before):
    after = snapshot(df)
    assert after[:3] == before[:3]
    np.testing.assert_array_equal(after[3], before[3])
    assert after[4] == before[4]


def test_the_columns_are_those_of_the_guide_in_its_order():
    assert RDM_COLUMNS == (
        "df_name", "model", "layer", "layer_num", "layer_label", "dissim_metric",
        "activation_type", "matrix", "entry_keys", "entry_labels", "kernel_set_name",
        "kernel_inds", "perm", "perm_scramble", "dissim_rankings",
    )  # fmt: skip
    assert PROVENANCE_COLUMNS[:2] == ("row_key", "run_id")


def test_the_table_of_columns_names_each_once_with_its_meaning():
    table = pfa.stack_columns()
    assert table["column"].is_unique
    assert (table.map(len) > 0).all(axis=None)
    assert table.loc[table["group"] == "rdm", "column"].tolist() == list(RDM_COLUMNS)
    assert set(table["group"]) == {"rdm", "meta", "provenance"}


@pytest.mark.parametrize(
    "name",
    ["perm", "perm_scramble", "df_name", "dissim_metric", "entry_keys", "entry_labels",
     "entry_var_subset"],
)  # fmt: skip
def test_exactly_the_reserved_names_are_reserved_at_any_level(name):
    for marks in ("", "_sub", "_sub_sub_sub"):
        assert is_reserved(name + marks)
    for near in (f"super{name}", f"{name}s", f"{name}_subset", f"{name}_sub_", f"{name}\n", None):
        assert not is_reserved(near)


def test_lineage_is_the_entries_of_any_level():
    assert is_lineage("entry_keys")
    assert is_lineage("entry_labels_sub_sub")
    for name in ("perm", "dissim_metric_sub", "entry_keys_subs", "my_entry_keys", ("entry_keys",)):
        assert not is_lineage(name)


def test_a_frame_of_ones_own_is_completed():
    stack = pfa.check_rdm_stack(own_frame())
    assert stack["entry_labels"][0] == ({"entry": "a"}, {"entry": "b"}, {"entry": "c"})
    assert stack["perm"].tolist() == ["orig_data", "orig_data"]
    assert stack["df_name"].tolist() == ["default_name", "default_name"]
    # By hand: (0, 2) are the farthest apart, with 4.
    assert stack["dissim_rankings"].tolist() == [(0, 2, 1)] * 2


def test_nothing_that_is_there_is_replaced():
    labels = tuple({"color": key[0]} for key in KEYS)
    df = own_frame(
        entry_labels=[labels, None],
        perm=pd.Series([7, None], dtype=object),
        df_name=["mine", "mine"],
        dissim_rankings=[(2, 1, 0), None],
        note=["x", None],
    )
    df.index = pd.Index([5, 5], name="row")
    stack = pfa.check_rdm_stack(df)
    assert stack["entry_labels"].tolist() == [labels, tuple({"entry": key[0]} for key in KEYS)]
    assert stack["perm"].tolist() == [7, "orig_data"]
    assert stack["dissim_rankings"].tolist() == [(2, 1, 0), (0, 2, 1)]
    assert stack["df_name"].tolist() == ["mine", "mine"]
    pd.testing.assert_series_equal(stack["note"], df["note"])
    pd.testing.assert_index_equal(stack.index, df.index)
    assert list(stack.columns) == list(df.columns)


def test_the_input_is_not_changed():
    df = own_frame(entry_labels=[None, None], kernel_inds=[[0, 3], "all"])
    before = snapshot(df)
    stack = pfa.check_rdm_stack(df)
    stack["matrix"] = 0
    stack["kernel_inds"] = 1
    stack["model"] = "x"
    assert_unchanged(df, before)


def test_matrices_are_read_only_float64_and_not_copied():
    df = own_frame()
    stack = pfa.check_rdm_stack(df)
    for mine, checked in zip(df["matrix"], stack["matrix"], strict=True):
        assert np.shares_memory(mine, checked)
        assert mine.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            checked[0, 1] = 9
    again = pfa.check_rdm_stack(stack)
    assert again["matrix"][0] is stack["matrix"][0]


@pytest.mark.parametrize(
    "cell",
    [RDM.astype(int), RDM.astype(np.float32), RDM.tolist(), np.matrix(RDM), pd.DataFrame(RDM)],
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_other_square_numbers_become_float64(cell):
    df = pd.DataFrame({"entry_keys": [KEYS]})
    df["matrix"] = pd.Series([cell], dtype=object)
    matrix = pfa.check_rdm_stack(df)["matrix"][0]
    assert type(matrix) is np.ndarray
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, RDM)


def test_matrices_may_lack_symmetry_and_values():
    crooked = np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0], [5.0, np.inf, 0.0]])
    stack = pfa.check_rdm_stack(pd.DataFrame({"matrix": [crooked], "entry_keys": [KEYS]}))
    np.testing.assert_array_equal(stack["matrix"][0], crooked)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("a",), ("b",), ("c",)], KEYS),
        ([["a"], ["b"], ["c"]], KEYS),
        (["a", "b", "c"], KEYS),
        (("a", "b", "c"), KEYS),
        (np.array(["a", "b", "c"]), KEYS),
        ([1, 2, 3], ((1,), (2,), (3,))),
        ([("a", 1), ["a", 2], ("b", 1)], (("a", 1), ("a", 2), ("b", 1))),
        ([("x", ("conv1", 1)), ["x", ["fc1", 2]], ("y", None)],
         (("x", ("conv1", 1)), ("x", ("fc1", 2)), ("y", None))),
    ],
)  # fmt: skip
def test_entry_keys_become_tuples(given, expected):
    df = own_frame()
    df["entry_keys"] = pd.Series([given, given], dtype=object)
    stack = pfa.check_rdm_stack(df)
    assert stack["entry_keys"].tolist() == [expected, expected]
    assert all(type(key) is tuple for key in stack["entry_keys"][0])
    hash(stack["entry_keys"][0])


def test_keys_of_several_parts_are_labelled_by_number():
    keys = (("a", 1), ("a", 2), ("b", 1))
    df = pd.DataFrame({"matrix": [RDM], "entry_keys": [keys]})
    expected = {"entry_1": "b", "entry_2": 1}
    assert pfa.check_rdm_stack(df)["entry_labels"][0][2] == expected


def test_lists_in_columns_of_tuples_become_tuples():
    df = own_frame(
        layer_label=[["conv1", 1], ("conv1", 1)],
        kernel_inds=["all", [0, 3]],
        perm_scramble=[np.array([0, 2, 1]), None],
        dissim_rankings=[[0, 2, 1], np.array([0, 2, 1])],
        entry_labels=[[{"x": 1}, {"x": 2}, {"x": 3}]] * 2,
        entry_keys_sub_sub=[[["a"], ["b"]]] * 2,
        mine=[[1], [2]],
    )
    stack = pfa.check_rdm_stack(df)
    assert stack["layer_label"].tolist() == [("conv1", 1)] * 2
    assert stack["kernel_inds"].tolist() == ["all", (0, 3)]
    assert stack["perm_scramble"].tolist() == [(0, 2, 1), None]
    assert stack["dissim_rankings"].tolist() == [(0, 2, 1)] * 2
    assert stack["entry_labels"][0] == ({"x": 1}, {"x": 2}, {"x": 3})
    assert stack["entry_keys_sub_sub"][1] == (("a",), ("b",))
    assert stack["mine"].tolist() == [[1], [2]]


def test_rows_that_share_their_keys_still_do():
    stack = pfa.check_rdm_stack(own_frame(entry_keys=[["a", "b", "c"]] * 2))
    assert stack["entry_labels"][0] is stack["entry_labels"][1]


def test_an_empty_stack_passes():
    stack = pfa.check_rdm_stack(own_frame().iloc[:0])
    assert len(stack) == 0
    assert {"entry_labels", "perm", "df_name", "dissim_rankings"} <= set(stack.columns)


@pytest.mark.parametrize(
    ("column", "cell", "kind", "message"),
    [
        ("matrix", np.zeros((2, 3)), ValueError, r"n x n .*not of shape \(2, 3\)"),
        ("matrix", np.zeros(3), ValueError, r"shape \(3,\); .*squareform unfolds a triangle"),
        ("matrix", np.zeros((0, 0)), ValueError, "n at least 1"),
        ("matrix", np.zeros((2, 2)), ValueError, "has 3 entry_keys, but its matrix is 2 x 2"),
        ("matrix", np.zeros((3, 3), dtype=complex), TypeError, "real numbers, not of complex128"),
        ("matrix", np.full((3, 3), "x"), TypeError, "real numbers"),
        ("matrix", [[1, 2], [3]], ValueError, "its lines differ in length"),
        ("matrix", None, TypeError, "square numpy array in `matrix`, not NoneType"),
        ("entry_keys", "abc", TypeError, "tuple of tuples in `entry_keys`.*not 'abc'"),
        ("entry_keys", None, TypeError, "tuple of tuples in `entry_keys`"),
        ("entry_keys", (("a",), ("b",)), ValueError, "has 2 entry_keys, but its matrix is 3 x 3"),
        ("entry_keys", (("a",), ("b",), ("a",)), ValueError, r"has \('a',\) more than once"),
        ("entry_keys", ("a", "b", "a"), ValueError, r"has \('a',\) more than once"),
        ("entry_keys", (({},), ("b",), ("c",)), TypeError, r"has the entry key \(\{\},\)"),
        ("entry_labels", ({}, {}), ValueError, "has 3 entry_keys, but 2 entry_labels"),
        ("entry_labels", ("a", "b", "c"), TypeError, "tuple of dicts in `entry_labels`"),
        ("dissim_rankings", (0, 1), ValueError, r"numbers 0 to 2 in `dissim_rankings`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_row(column, cell, kind, message):
    good = pfa.check_rdm_stack(own_frame())[["matrix", "entry_keys", "entry_labels",
                                             "dissim_rankings"]]  # fmt: skip
    good.index = ["first", "second"]
    cells = good[column].tolist()
    cells[1] = cell
    column_of_cells = np.empty(2, dtype=object)
    column_of_cells[:] = [cells[0], None]
    column_of_cells[1] = cell
    good[column] = column_of_cells
    with pytest.raises(kind, match=message) as found:
        pfa.check_rdm_stack(good, argument="my_df")
    assert str(found.value).startswith("`my_df`: the row at position 1 (index 'second') ")


def test_columns_that_are_missing_or_there_twice_are_named():
    with pytest.raises(ValueError, match=r"has no column 'entry_keys'.*are: matrix"):
        pfa.check_rdm_stack(own_frame()[["matrix"]])
    with pytest.raises(ValueError, match="has no column 'model'"):
        pfa.check_rdm_stack(own_frame(), columns=["model"])
    with pytest.raises(TypeError, match="`df` must be a pandas DataFrame, not dict"):
        pfa.check_rdm_stack({}, argument="df")
    twice = pd.concat([own_frame(), own_frame()[["entry_keys"]]], axis=1)
    with pytest.raises(ValueError, match="more than one column 'entry_keys'"):
        pfa.check_rdm_stack(twice)


def test_many_rankings_at_once_are_those_of_one_at_a_time():
    rng = np.random.default_rng(0)
    matrices = []
    for n in (1, 2, 3, 3, 4, 7, 7, 30, 1, 30, 7):
        matrix = rng.integers(0, 4 if n < 8 else 1000, (n, n)).astype(float)
        matrices += [
            matrix,
            matrix + matrix.T,
            np.zeros((n, n)),
            np.where(matrix == 0, np.nan, matrix),
        ]
    with_infinity = np.ones((4, 4))
    with_infinity[0, 2] = np.inf
    matrices.append(with_infinity)
    # Oracle: the search for one matrix.
    expected = [greedy_order(matrix) for matrix in matrices]
    assert greedy_orders(matrices) == expected
    assert all(type(k) is int for order in greedy_orders(matrices) for k in order)
    # What decides is where the cells are: items numbered otherwise have another order.
    assert greedy_orders([RDM, np.roll(RDM, 1, axis=(0, 1))]) == [(0, 2, 1), (0, 1, 2)]


def test_a_check_without_rankings_does_all_else():
    df = own_frame(note=["x", None])
    before = snapshot(df)
    stack = checked_stack(df)
    assert "dissim_rankings" not in stack.columns
    whole = pfa.check_rdm_stack(df).drop(columns="dissim_rankings")
    assert list(stack.columns) == list(whole.columns)
    for name in whole.columns.drop("matrix"):
        assert stack[name].tolist() == whole[name].tolist()
    np.testing.assert_array_equal(stack["matrix"].tolist(), whole["matrix"].tolist())
    assert_unchanged(df, before)


def test_a_check_without_rankings_still_looks_at_those_that_are_there():
    df = own_frame(dissim_rankings=[[0, 2, 1], None])
    assert checked_stack(df)["dissim_rankings"].tolist() == [(0, 2, 1), None]
    df["dissim_rankings"] = [(0, 2, 1), (0, 1)]
    with pytest.raises(ValueError, match=r"row at position 1 .* numbers 0 to 2"):
        checked_stack(df)
