"""Model RDMs of categories, numbers and ranks."""

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa


def test_categories_are_alike_within():
    labels = ["a", "b", "a", None]
    stack = pfa.categorical_rdm(labels, entry_keys=["w", "x", "y", "z"], within=0.2, between=2)
    nan = np.nan
    np.testing.assert_array_equal(
        stack["matrix"][0],
        [[0, 2, 0.2, nan], [2, 0, 2, nan], [0.2, 2, 0, nan], [nan, nan, nan, 0]],
    )
    assert stack["entry_keys"][0] == (("w",), ("x",), ("y",), ("z",))
    assert stack["name"].tolist() == ["category"]
    by_key = pfa.categorical_rdm(pd.Series(labels, index=["w", "x", "y", "z"]), name="kind")
    assert by_key["name"].tolist() == ["kind"]
    assert by_key["entry_keys"][0] == stack["entry_keys"][0]
    np.testing.assert_array_equal(by_key["matrix"][0] > 0, stack["matrix"][0] > 1)


def test_numbers_ranks_and_categories_of_a_table():
    table = pd.DataFrame(
        {
            "size": [1.0, 4.0, 2.0, np.nan],
            "grade": pd.Categorical(["low", "high", "mid", "low"], ["low", "mid", "high"], True),
            "is_alive": [True, False, True, True],
        },
        index=pd.MultiIndex.from_tuples([("cat", 1), ("cup", 1), ("cat", 2), ("dog", 1)]),
    )
    before = table.copy()
    stack = pfa.rdm_from_features(table)
    size, grade, alive = stack["matrix"]
    np.testing.assert_array_equal(size[0], [0, 3, 1, np.nan])
    # Ties share their mean rank: 1.5, 4, 3, 1.5.
    np.testing.assert_array_equal(grade[0], [0, 2.5, 1.5, 0])
    np.testing.assert_array_equal(alive[0], [0, 1, 0, 0])
    assert stack["entry_keys"][0] == (("cat", 1), ("cup", 1), ("cat", 2), ("dog", 1))
    pd.testing.assert_frame_equal(table, before)
    ranked = pfa.rdm_from_features(table, "size", kinds={"size": "ranks"})["matrix"][0]
    np.testing.assert_array_equal(ranked[0], [0, 2, 1, np.nan])
    whole = pfa.rdm_from_features(table, ["size", "is_alive"], together=True)["matrix"][0]
    assert whole[0, 1] == pytest.approx(np.sqrt(1 + 1))
    assert whole[0, 2] == pytest.approx(1 / 3)
    assert np.isnan(whole[0, 3])


def test_stacks_of_matrices():
    matrices = {"one": 1 - np.eye(3), "two": 2 - 2 * np.eye(3)}
    stack = pfa.stack_from_matrices(matrices, ["a", ("b", 1), "c"], subject=["s1", "s2"], roi="IT")
    assert stack[["name", "subject", "roi"]].to_numpy().tolist() == [
        *(["one", "s1", "IT"], ["two", "s2", "IT"]),
    ]
    assert stack["entry_keys"][0] == (("a",), ("b", 1), ("c",))
    matrices["one"][0, 1] = 9
    assert stack["matrix"][0][0, 1] == 1


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pfa.categorical_rdm(["a", "a"]), ValueError, "1 categories"),
        (lambda: pfa.categorical_rdm("abc"), TypeError, "a label an entry"),
        (lambda: pfa.categorical_rdm(["a", "b"], entry_keys=["x"]), ValueError, "2 labels"),
        (
            lambda: pfa.categorical_rdm({"x": "a", "y": "b"}, entry_keys=["x", "y"]),
            ValueError,
            "leave them out",
        ),
        (
            lambda: pfa.rdm_from_features(pd.DataFrame({"a": [1, 1]})),
            ValueError,
            "same value in 'a'",
        ),
        (
            lambda: pfa.rdm_from_features(pd.DataFrame({"a": ["x", "y"]}), kinds={"a": "numbers"}),
            TypeError,
            "must have numbers in 'a'",
        ),
        (
            lambda: pfa.rdm_from_features(pd.DataFrame({"a": [1, 2]}), kinds={"a": "number"}),
            ValueError,
            "Did you mean 'numbers'",
        ),
        (lambda: pfa.rdm_from_features(pd.DataFrame({"a": [1, 2]}), "b"), ValueError, "'b'"),
        (lambda: pfa.stack_from_matrices([np.eye(2)], "ab"), TypeError, "must be a dict"),
        (lambda: pfa.stack_from_matrices({"x": np.eye(2)}, ["a"]), ValueError, "1 entry_keys"),
        (
            lambda: pfa.stack_from_matrices({"x": np.eye(2)}, ["a", "b"], roi=["V1", "IT"]),
            ValueError,
            "`roi` has 2 values, and there are 1 matrices",
        ),
        (
            lambda: pfa.stack_from_matrices({"x": np.eye(2)}, ["a", "b"], matrix=1),
            ValueError,
            "'matrix'",
        ),
    ],
)
def test_what_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
