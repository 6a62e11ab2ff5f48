import numpy as np
import pandas as pd
import pytest

from pytorch_feature_analysis.cell_values import codes_of, crossed, determines, frozen


def test_values_of_several_kinds_are_sorted_as_pandas_sorts_groups():
    values = ["b", 2, ("conv1", 1), None, 1.5, "a", float("nan"), ("conv1", "x"), "b"]
    codes = codes_of(pd.Series(values, dtype=object))
    assert codes.tolist() == [3, 1, 4, 6, 0, 2, 6, 5, 3]


def test_the_order_is_that_of_a_pandas_groupby_where_values_are_of_one_kind():
    series = pd.Series([3.0, 1.0, np.nan, 2.0, 1.0])
    # Oracle: pandas' own numbering of groups.
    assert codes_of(series).tolist() == series.groupby(series, dropna=False).ngroup().tolist()


def test_a_categorical_column_keeps_the_order_of_its_categories():
    column = pd.Series(
        pd.Categorical(["late", "early", None, "early"], categories=["early", "unused", "late"])
    )
    assert codes_of(column).tolist() == [1, 0, 2, 0]


def test_many_categories_leave_missing_values_last():
    column = pd.Series(pd.Categorical([None, *map(str, range(127))]))
    assert codes_of(column)[0] == 127


def test_equal_cells_freeze_to_equal_values_whatever_holds_them():
    assert frozen([1, (2, np.int64(3))]) == frozen((1, [2, 3]))
    assert frozen({"a": np.nan, "b": 1}) == frozen({"b": 1, "a": None})
    assert frozen(np.array([[1, 2]])) == frozen(np.array([[1.0, 2.0]]))
    assert frozen(np.array([[1, 2]])) != frozen(np.array([1, 2]))
    assert frozen(np.str_("a")) == "a"
    assert frozen(pd.NaT) is frozen(pd.NA) is frozen(np.float32("nan")) is None
    assert frozen({1, 2}) == frozen(frozenset({2, 1}))


def test_dates_are_sorted_by_time():
    column = pd.Series(pd.to_datetime(["2021-05-01", "2020-01-01", None]))
    assert codes_of(column).tolist() == [1, 0, 2]


def test_a_column_of_what_cannot_be_compared_is_named():
    column = pd.Series([bytearray(b"x")], name="blob")
    with pytest.raises(TypeError, match=r"column 'blob' .*strings, numbers or tuples"):
        codes_of(column)


def test_pairs_of_values_are_counted_and_functions_recognised():
    layer = np.array([0, 1, 0, 1, 2])
    depth = np.array([1, 0, 1, 0, 0])
    model = np.array([0, 0, 1, 1, 1])
    assert crossed(layer, model).max() + 1 == len(set(zip(layer, model, strict=True))) == 5
    assert determines(layer, depth)
    assert not determines(depth, layer)
    assert not determines(layer, model)
