"""Aggregation and pivoting of plain frames."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
from made_tables import towns

import pytorch_feature_analysis as pfa


def people():
    return pd.DataFrame(
        {
            "city": ["New York"] * 4 + ["Boston"] * 4,
            "gender": ["Male", "Male", "Female", "Female"] * 2,
            "height": [70, 72, 66, 65, 69, 73, 64, 63],
            "income": [50000, 100000, 80000, 150000, 120000, 90000, 70000, 110000],
        }
    )


def random_frame(seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.choice(list("xyz"), 60),
            "b": rng.integers(0, 3, 60),
            "c": rng.choice(["left", "right"], 60),
            "v": rng.normal(size=60),
            "w": np.where(rng.random(60) < 0.3, np.nan, rng.normal(size=60)),
        }
    )


def test_the_worked_example_of_cities_is_aggregated():
    df = pfa.df_agg(people(), ["city", "gender"], ["height", "income"], [np.mean, np.std])
    expected = pd.DataFrame(
        {
            "city": ["Boston", "Boston", "New York", "New York"],
            "gender": ["Female", "Male"] * 2,
            "height_mean": [63.5, 71.0, 65.5, 71.0],
            "height_std": [0.707107, 2.828427, 0.707107, 1.414214],
            "income_mean": [90000.0, 105000.0, 115000.0, 75000.0],
            "income_std": [28284.271247, 21213.203436, 49497.474683, 35355.339059],
        }
    )
    pd.testing.assert_frame_equal(df, expected, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_aggregation_equals_pandas_own(seed):
    df = random_frame(seed)
    got = pfa.df_agg(df, ["b", "a"], ["w", "v"], ["median", "sem", "count"])
    # oracle: pandas
    wide = df.groupby(["b", "a"])[["w", "v"]].agg(["median", "sem", "count"])
    wide.columns = ["_".join(pair) for pair in wide.columns]
    pd.testing.assert_frame_equal(got, wide.reset_index(), check_column_type=False)


def test_rem_stands_for_all_other_columns_on_either_side():
    df = people()
    listed = pfa.df_agg(df, ["city", "gender"], ["height", "income"], ["max"])
    pd.testing.assert_frame_equal(pfa.df_agg(df, ["city", "gender"], "rem", ["max"]), listed)
    pd.testing.assert_frame_equal(pfa.df_agg(df, "rem", ["height", "income"], ["max"]), listed)
    with pytest.raises(ValueError, match="must not both be 'rem'"):
        pfa.df_agg(df, "rem", "rem", ["max"])


def test_the_order_of_the_rows_is_nothing_but_their_groups_are_everything():
    df = random_frame(0)
    expected = pfa.df_agg(df, ["a"], ["v"], ["mean"])
    shuffled = df.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(pfa.df_agg(shuffled, ["a"], ["v"], ["mean"]), expected)
    df["a"] = df["a"].sample(frac=1, random_state=0).to_numpy()
    assert not np.allclose(pfa.df_agg(df, ["a"], ["v"], ["mean"])["v_mean"], expected["v_mean"])


def test_one_column_and_one_function_need_no_list():
    df = pfa.df_agg(people(), "city", "height", "mean")
    assert df.to_dict("list") == {"city": ["Boston", "New York"], "height_mean": [67.25, 68.25]}
    pd.testing.assert_frame_equal(pfa.df_agg(people(), "city", "height", np.mean), df)


def test_functions_go_by_their_name_or_by_the_one_given():
    functions = [pfa.stderr, ("spread", lambda x: x.max() - x.min()), ("n", "count"), np.nanmin]
    with pytest.raises(TypeError, match=r"\(name, function\) pairs, not \('n', 'count'\)"):
        pfa.df_agg(people(), ["city"], ["height"], functions)
    del functions[2]
    df = pfa.df_agg(people(), ["city"], ["height"], functions)
    assert list(df.columns) == ["city", "height_stderr", "height_spread", "height_nanmin"]
    # Boston: 69, 73, 64, 63; their mean is 67.25, the squares about it sum to 64.75.
    assert df.loc[0, "height_stderr"] == pytest.approx(np.sqrt(64.75 / 4) / 2)
    assert df.loc[0].tolist()[2:] == [10, 63]


@pytest.mark.parametrize("function", [np.std, "std", np.nanstd])
def test_a_standard_deviation_divides_by_n_less_one(function):
    got = pfa.df_agg(people(), [], ["height"], function).iloc[0, 0]
    # oracle: numpy
    assert got == pytest.approx(people()["height"].to_numpy().std(ddof=1))


def test_no_grouping_column_makes_one_group():
    df = pfa.df_agg(people(), [], "height", ["sum", "size"])
    assert df.to_dict("list") == {"height_sum": [542], "height_size": [8]}


def test_missing_group_values_form_a_group_that_comes_last():
    df = pd.DataFrame({"g": ["b", None, "a", np.nan], "h": [1.0, np.nan, 1.0, np.nan], "v": 1})
    got = pfa.df_agg(df, ["g", "h"], ["v"], ["sum"])
    assert got["v_sum"].tolist() == [1, 1, 2]
    assert got["g"].tolist()[:2] == ["a", "b"]
    assert got.loc[2, ["g", "h"]].isna().all()


def test_groups_of_words_numbers_and_tuples_are_sorted():
    cells = ["orig_data", 10, ("b", 1), 2, ("a", "z"), ("a", 1), None, 2]
    df = pd.DataFrame({"g": pd.Series(cells, dtype=object), "v": 1})
    got = pfa.df_agg(df, ["g"], ["v"], ["sum"])
    assert got["g"].tolist()[:-1] == [2, 10, "orig_data", ("a", 1), ("a", "z"), ("b", 1)]
    assert got["v_sum"].tolist() == [2, 1, 1, 1, 1, 1, 1]


def test_group_columns_keep_their_types():
    df = pd.DataFrame(
        {
            "day": pd.to_datetime(["2020-02-01", "2020-01-01"] * 2),
            "kind": pd.Categorical([None, "a", "c", "b"], categories=["b", "a", "c", "unused"]),
            "flag": [True, False] * 2,
            "v": [1, 2, 3, 4],
        }
    )
    got = pfa.df_agg(df, ["kind", "day", "flag"], ["v"], ["sum"])
    assert got["kind"].tolist()[:3] == ["b", "a", "c"]  # in the order of the categories
    assert got["v_sum"].tolist() == [4, 2, 3, 1]
    for column in ("day", "kind", "flag"):
        assert got[column].dtype == df[column].dtype


def test_an_empty_frame_has_no_groups():
    df = pfa.df_agg(people().iloc[:0], ["city"], ["height"], ["mean"])
    assert df.shape == (0, 2)
    assert pfa.df_agg(people().iloc[:0], [], ["height"], ["mean"]).shape == (0, 1)


def test_bad_columns_and_functions_are_named():
    df = people().assign(matrix=[np.eye(2)] * 8)
    with pytest.raises(ValueError, match="`group_vars` names 'town', which is not a column of"):
        pfa.df_agg(df, ["town"], ["height"], ["mean"])
    with pytest.raises(ValueError, match=r"`data_vars` names 'hight'.*Did you mean 'height'"):
        pfa.df_agg(df, ["city"], "hight", ["mean"])
    with pytest.raises(ValueError, match=r"`agg_funcs` names 'meen'.*Did you mean 'mean'"):
        pfa.df_agg(df, ["city"], ["height"], ["meen"])
    with pytest.raises(TypeError, match=r"Column 'gender' \(.*\) cannot be aggregated by 'mean'"):
        pfa.df_agg(df, ["city"], ["gender"], ["mean"])
    with pytest.raises(TypeError, match="`group_vars` groups by column 'matrix', which holds"):
        pfa.df_agg(df, "rem", ["height"], ["mean"])
    with pytest.raises(ValueError, match="two functions called '<lambda>'"):
        pfa.df_agg(df, ["city"], ["height"], [lambda x: 1, lambda x: 2])
    with pytest.raises(TypeError, match=r"functions, or \(name, function\) pairs, not functools"):
        pfa.df_agg(df, ["city"], ["height"], [functools.partial(np.quantile, q=0.5)])
    with pytest.raises(ValueError, match="`agg_funcs` must hold at least one"):
        pfa.df_agg(df, ["city"], ["height"], [])
    with pytest.raises(ValueError, match="`data_vars` names 'height' more than once"):
        pfa.df_agg(df, ["city"], ["height", "height"], ["mean"])
    with pytest.raises(ValueError, match="two columns of the result called 'a_mean'"):
        pfa.df_agg(pd.DataFrame({"a": [1], "a_mean": [2]}), ["a_mean"], ["a"], ["mean"])


def test_the_worked_example_of_cities_is_pivoted():
    got = pfa.df_pivot(towns(), ["city"], ["gender"], ["height", "income"])
    expected = pd.DataFrame(
        {
            "city": ["Boston", "New York", "Seattle"],
            "Female_height": [63.5, 65.0, 65.5],
            "Male_height": [73.0, 71.0, 69.0],
            "Female_income": [90000.0, 120000.0, 115000.0],
            "Male_income": [90000.0, 75000.0, 120000.0],
        }
    )
    pd.testing.assert_frame_equal(got, expected)


def test_one_value_column_leaves_its_name_out_and_needs_no_list():
    got = pfa.df_pivot(towns(), "city", "gender", "height")
    assert list(got.columns) == ["city", "Female", "Male"]
    pd.testing.assert_frame_equal(got, pfa.df_pivot(towns(), ["city"], ["gender"], ["height"]))


@pytest.mark.parametrize("seed", range(3))
def test_two_variables_are_crossed_as_pandas_pivots_them(seed):
    df = random_frame(seed)
    got = pfa.df_pivot(df, ["a"], ["b", "c"], ["v", "w"], "sum")
    # oracle: pandas
    wide = df.pivot_table(["v", "w"], ["a"], ["b", "c"], "sum")
    assert len(got.columns) == 1 + 2 * 3 * 2
    for value, b, c in wide.columns:
        np.testing.assert_allclose(got[f"{b}_{c}_{value}"], wide[value, b, c])


def test_value_columns_are_joined_by_their_rows_not_by_position():
    df = pd.DataFrame(
        {
            "item": ["p", "q", "r"],
            "hand": ["left"] * 3,
            "size": ["S", "S", "L"],
            "v": [1.0, 2.0, 3.0],
            "w": [np.nan, 20.0, 30.0],  # pandas drops item p here, and so shifts the others
        }
    )
    got = pfa.df_pivot(df, ["item"], ["hand", "size"], ["v", "w"])
    assert got["item"].tolist() == ["p", "q", "r"]
    nan = np.nan
    expected = {
        "left_L_v": [nan, nan, 3],
        "left_S_v": [1, 2, nan],
        "left_L_w": [nan, nan, 30],
        "left_S_w": [nan, 20, nan],
    }
    assert list(got.columns) == ["item", *expected]
    for column, cells in expected.items():
        np.testing.assert_array_equal(got[column], cells)


def test_values_of_any_type_become_names():
    df = pd.DataFrame({"i": [1, 1, 1, 1], "g": [2, 10, None, "x"], "v": [1, 2, 3, 4]})
    got = pfa.df_pivot(df, "i", "g", "v")
    assert list(got.columns) == ["i", "2", "10", "x", "None"]
    assert got.iloc[0].tolist() == [1, 1, 2, 4, 3]


def test_another_function_fills_the_cells_and_none_leaves_nan():
    df = towns().drop(index=5)  # Seattle has no man
    got = pfa.df_pivot(df, "city", "gender", "height", ("range", np.ptp))
    assert got["Female"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(got["Male"], [0, 2, np.nan])


def test_pivoting_undoes_melting():
    wide = pd.DataFrame({"city": ["a", "b"], "f": [1.0, 2.0], "m": [3.0, 4.0]})
    long = wide.melt(id_vars="city", var_name="gender", value_name="height")
    pd.testing.assert_frame_equal(pfa.df_pivot(long, "city", "gender", "height"), wide)


def test_rows_may_be_identified_by_no_or_several_columns():
    got = pfa.df_pivot(towns(), [], ["gender"], ["height"], "count")
    assert got.to_dict("list") == {"Female": [5], "Male": [4]}
    df = random_frame(0)
    rows = pfa.df_pivot(df, ["a", "b"], "c", "v")
    assert rows[["a", "b"]].to_numpy().tolist() == sorted(
        df[["a", "b"]].drop_duplicates().to_numpy().tolist()
    )


def test_an_empty_frame_pivots_to_an_empty_one():
    assert list(pfa.df_pivot(towns().iloc[:0], "city", "gender", "height").columns) == ["city"]


def test_bad_pivots_are_named():
    df = towns()
    with pytest.raises(ValueError, match="`var_cols` names 'sex', which is not a column"):
        pfa.df_pivot(df, "city", "sex", "height")
    with pytest.raises(ValueError, match="`var_cols` must name at least one column"):
        pfa.df_pivot(df, "city", [], "height")
    with pytest.raises(ValueError, match="`value_cols` must name at least one column"):
        pfa.df_pivot(df, "city", "gender", [])
    with pytest.raises(ValueError, match="`aggfunc` must be one function, not 2"):
        pfa.df_pivot(df, "city", "gender", "height", ["mean", "std"])
    with pytest.raises(ValueError, match="`aggfunc` names 'avg'"):
        pfa.df_pivot(df, "city", "gender", "height", "avg")
    clash = pd.DataFrame({"i": [1, 1], "g": [1, "1"], "v": [1, 2]})
    with pytest.raises(ValueError, match="two columns of the result called '1'"):
        pfa.df_pivot(clash, "i", "g", "v")


def test_no_input_is_changed():
    df, groups, values = towns(), ["city"], ["height"]
    pfa.df_agg(df, groups, values, ["mean"])
    pfa.df_agg(df, groups, "rem", ["max"])
    pfa.df_pivot(df, groups, ["gender"], values)
    pd.testing.assert_frame_equal(df, towns())
    assert (groups, values) == (["city"], ["height"])
