"""Rows of plain frames: filter, sort, index to columns."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from made_tables import towns

import pytorch_feature_analysis as pfa


def stack():
    """Rows with the kinds of cells that a stack of RDMs has."""
    labels = [("conv1", 1), ("relu1", 2), ("conv1", 1), ("original_rgb", 0)]
    return pd.DataFrame(
        {
            "layer_label": labels,
            "layer_num": [1, 2, 1, 0],
            "perm": ["orig_data", 1, 2, 1],
            "entry_keys": [(("a",), ("b",))] * 3 + [(("a",), ("c",))],
            "note": ["x", None, np.nan, "y"],
            "score": [0.5, np.nan, 1.0, 2.0],
            "matrix": [np.eye(2)] * 4,
        },
        index=[10, 11, 12, 12],
    )


def test_df_subset_is_df_filter():
    assert pfa.df_subset is pfa.df_filter


def test_the_worked_example_of_cities_is_filtered():
    df = pfa.df_subset(towns(), [("city", ["New York", "Seattle"]), ("gender", "Male")])
    assert df.index.tolist() == [0, 1, 5]
    assert df["height"].tolist() == [70, 72, 69]
    assert list(df.columns) == ["city", "gender", "height", "income"]


@pytest.mark.parametrize("seed", range(5))
def test_filtering_equals_pandas_own_query(seed):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"a": rng.integers(0, 4, 50), "b": rng.choice(list("xyz"), 50)})
    got = pfa.df_filter(df, [("a", [1, 3]), ("b", "x")])
    # oracle: pandas
    pd.testing.assert_frame_equal(got, df[df["a"].isin([1, 3]) & (df["b"] == "x")])


def test_conditions_commute_and_may_be_repeated_but_a_further_one_narrows():
    conditions = [("city", ["Boston", "Seattle"]), ("gender", "Female")]
    expected = pfa.df_filter(towns(), conditions)
    pd.testing.assert_frame_equal(pfa.df_filter(towns(), conditions[::-1]), expected)
    pd.testing.assert_frame_equal(pfa.df_filter(towns(), conditions * 2), expected)
    assert len(pfa.df_filter(towns(), [*conditions, ("height", 65)])) == 1 < len(expected)


def test_a_tuple_is_one_value_and_a_list_of_tuples_several():
    df = stack()
    assert len(pfa.df_filter(df, [("layer_label", ("conv1", 1))])) == 2
    both = pfa.df_filter(df, [("layer_label", [("conv1", 1), ("original_rgb", 0)])])
    assert both.index.tolist() == [10, 12, 12]
    assert len(pfa.df_filter(df, [("entry_keys", (("a",), ("b",)))])) == 3
    assert pfa.df_filter(df, [("layer_label", ("conv1",))]).empty


def test_a_column_of_numbers_and_words_tells_them_apart():
    df = stack()
    assert len(pfa.df_filter(df, [("perm", 1)])) == 2
    assert len(pfa.df_filter(df, [("perm", ["orig_data", 2])])) == 2
    assert pfa.df_filter(df, [("perm", "1")]).empty
    assert len(pfa.df_filter(df, [("layer_num", np.int32(1))])) == 2
    assert len(pfa.df_filter(df, [("layer_num", np.array([0, 2]))])) == 2
    assert len(pfa.df_filter(df, [("layer_num", range(2))])) == 3


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_cells_are_found_by_a_missing_value_and_by_no_other(missing):
    df = stack()
    assert pfa.df_filter(df, [("note", missing)])["layer_num"].tolist() == [2, 1]
    assert pfa.df_filter(df, [("note", ["y", missing])])["layer_num"].tolist() == [2, 1, 0]
    assert pfa.df_filter(df, [("score", missing)])["layer_num"].tolist() == [2]
    assert pfa.df_filter(df, [("note", "z")]).empty
    assert pfa.df_filter(df, [("layer_num", missing)]).empty


def test_dates_and_categories_are_values_too():
    days = pd.date_range("2020-01-01", periods=3)
    df = pd.DataFrame({"day": days, "kind": pd.Categorical(["b", "a", None])})
    assert pfa.df_filter(df, [("day", days[1])]).index.tolist() == [1]
    assert pfa.df_filter(df, [("day", days[1].to_datetime64())]).index.tolist() == [1]
    assert pfa.df_filter(df, [("day", days[1:])]).index.tolist() == [1, 2]
    assert pfa.df_filter(df, [("kind", ["a", None])]).index.tolist() == [1, 2]


def test_one_condition_may_stand_alone_and_none_keeps_all():
    df = towns()
    expected = df[df["city"] == "Boston"]
    for conditions in [("city", "Boston"), [["city", "Boston"]], (("city", "Boston"),)]:
        pd.testing.assert_frame_equal(pfa.df_filter(df, conditions), expected)
    two = (("city", "Boston"), ("gender", "Male"))
    assert len(pfa.df_filter(df, two)) == 1
    pd.testing.assert_frame_equal(pfa.df_filter(df, []), df)
    assert pfa.df_filter(df, [("city", [])]).empty


def test_the_result_is_a_frame_of_its_own():
    df = towns()
    part = pfa.df_filter(df, [])
    part.loc[:, "height"] = 0
    rows = pfa.df_filtsort(df, [])
    rows.loc[:, "height"] = 0
    pd.testing.assert_frame_equal(df, towns())


@pytest.mark.parametrize("function", [pfa.df_filter, pfa.df_filtsort])
def test_a_misspelt_column_is_named_with_the_nearest(function):
    with pytest.raises(ValueError, match=r"names 'ctiy', which is not a column of `df`.*'city'"):
        function(towns(), [("ctiy", ["Boston"])])


@pytest.mark.parametrize("function", [pfa.df_filter, pfa.df_filtsort])
def test_columns_of_arrays_and_values_without_equality_are_refused(function):
    with pytest.raises(TypeError, match="compares column 'matrix', which holds arrays"):
        function(stack(), [("matrix", [1])])
    with pytest.raises(TypeError, match=r"column 'city' with \{'Boston'\}, a set.*a list"):
        function(towns(), [("city", {"Boston"})])


def test_conditions_of_another_form_are_refused():
    with pytest.raises(TypeError, match=r"`subset_list` must be a list of .*holds 'city'"):
        pfa.df_filter(towns(), ["city", "Boston"])
    with pytest.raises(TypeError, match=r"`sortlist` must be a list of .*holds \('city',\)"):
        pfa.df_filtsort(towns(), [("city",)])
    with pytest.raises(TypeError, match=r"`subset_list` must be a list of .*not 'city'"):
        pfa.df_filter(towns(), "city")
    with pytest.raises(TypeError, match="`df` must be a pandas DataFrame, not dict"):
        pfa.df_filter({"city": ["Boston"]}, [("city", "Boston")])


def test_two_columns_of_one_name_cannot_be_compared():
    df = towns()[["city", "city"]]
    with pytest.raises(ValueError, match="`df` has 2 columns called 'city'"):
        pfa.df_filter(df, [("city", "Boston")])


def test_the_worked_example_of_cities_is_sorted_by_the_lists():
    df = pfa.df_filtsort(
        towns(), [("city", ["Seattle", "New York"]), ("gender", ["Female", "Male"])]
    )
    assert df.index.tolist() == [3, 4, 5, 2, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_sorting_equals_a_loop_over_the_lists(seed):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"a": rng.integers(0, 5, 80), "b": rng.choice(list("wxyz"), 80)})
    a_order, b_order = [4, 0, 2], ["y", "w", "z"]
    got = pfa.df_filtsort(df, [("a", a_order), ("b", b_order)])
    # oracle: one query for each combination, in order; rows within it as they come
    parts = [df[(df["a"] == a) & (df["b"] == b)] for a, b in itertools.product(a_order, b_order)]
    pd.testing.assert_frame_equal(got, pd.concat(parts))


def test_sorting_keeps_equal_rows_in_their_order_and_follows_another_list():
    df = pd.DataFrame({"a": [1, 0] * 50, "row": range(100)})
    up = pfa.df_filtsort(df, ("a", [0, 1]))
    assert up["row"].tolist() == [*range(1, 100, 2), *range(0, 100, 2)]
    assert pfa.df_filtsort(df, ("a", [1, 0]))["row"].tolist() == [
        *range(0, 100, 2),
        *range(1, 100, 2),
    ]


def test_sorting_takes_tuples_missing_values_and_a_single_value():
    df = stack()
    order = [("original_rgb", 0), ("conv1", 1)]
    assert pfa.df_filtsort(df, [("layer_label", order)])["layer_num"].tolist() == [0, 1, 1]
    assert pfa.df_filtsort(df, [("note", [None, "y"])])["layer_num"].tolist() == [2, 1, 0]
    assert pfa.df_filtsort(df, [("layer_label", ("relu1", 2))])["layer_num"].tolist() == [2]
    assert pfa.df_filtsort(df, [("perm", [1, "orig_data", 1])])["layer_num"].tolist() == [2, 0, 1]


def test_all_levels_of_an_index_become_columns_in_front():
    means = towns().groupby(["city", "gender"])[["height", "income"]].mean()
    df = pfa.df_inds2cols(means)
    assert list(df.columns) == ["city", "gender", "height", "income"]
    assert df.index.equals(pd.RangeIndex(6))
    assert df.loc[0].tolist() == ["Boston", "Female", 63.5, 90000.0]
    # and back
    pd.testing.assert_frame_equal(df.set_index(["city", "gender"]), means)


def test_levels_without_a_name_get_one():
    assert list(pfa.df_inds2cols(pd.DataFrame({"a": [1]})).columns) == ["index", "a"]
    df = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", "y")]))
    assert list(pfa.df_inds2cols(df).columns) == ["level_0", "level_1", "a"]


def test_a_series_becomes_a_frame_with_its_name():
    series = pd.Series([1, 2], index=pd.Index(["x", "y"], name="key"), name="value")
    df = pfa.df_inds2cols(series)
    assert df.to_dict("list") == {"key": ["x", "y"], "value": [1, 2]}


def test_an_index_and_a_column_of_one_name_are_refused():
    df = pd.DataFrame({"city": [1]}, index=pd.Index(["Boston"], name="city"))
    with pytest.raises(ValueError, match="both a column and an index level called 'city'"):
        pfa.df_inds2cols(df)
    with pytest.raises(TypeError, match="`df` must be a pandas DataFrame, not list"):
        pfa.df_inds2cols([1])


def test_no_input_is_changed():
    df, conditions = stack(), [("perm", [2, 1]), ("layer_label", ("conv1", 1))]
    kept = df.copy()
    pfa.df_filter(df, conditions)
    pfa.df_filtsort(df, conditions)
    pfa.df_inds2cols(df)
    pd.testing.assert_frame_equal(df, kept)
    assert conditions == [("perm", [2, 1]), ("layer_label", ("conv1", 1))]
    assert df.index.tolist() == [10, 11, 12, 12]
