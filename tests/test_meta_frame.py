import numpy as np
import pandas as pd
import pytest
from made_stacks import (
    GUIDE_GROUPING,
    LAYERS,
    corrcoef_of,
    make_stack,
    meta,
    rows_where,
    small_stack,
    upper,
)
from scipy.stats import pearsonr


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_reserved_names_gain_one_sub_and_no_other_name_does(rng):
    stack = make_stack(rng, layers=LAYERS[:3], perms=("orig_data", 1))
    stack = stack.rename(columns={"obj": "supermarket"}).assign(
        supermodel="x", permanent="y", perm_sub_name="z", entry_var_subset="old", my_df_name="w"
    )
    result = meta(stack, ["supermarket"])
    own = {"supermodel", "permanent", "perm_sub_name", "my_df_name"}
    assert own <= set(result.columns)
    assert {f"{name}_sub" for name in own} & set(result.columns) == set()
    assert result["entry_labels"][0][0] == {"supermarket": "obj002"}
    assert result["perm_sub"].tolist()[:2] == [1, "orig_data"]
    assert result["df_name_sub"].unique().tolist() == ["one_object_color_rdms"]
    assert result["entry_var_subset_sub"].unique().tolist() == ["old"]
    again = meta(
        result,
        ["layer"],
        grouping_variables=["activation_type", "perm", "perm_sub", "dissim_metric_sub"],
    )
    assert {"perm", "perm_sub", "perm_sub_sub", "dissim_metric_sub_sub"} <= set(again.columns)
    assert {"perm", "dissim_metric"} <= set(again.columns)
    assert "dissim_metric_sub" not in again


def test_columns_are_in_alphabetical_order_and_kept_ones_behind(rng):
    stack = make_stack(rng, layers=LAYERS[:3])
    result = meta(
        stack,
        ["obj"],
        grouping_variables=GUIDE_GROUPING,
        num_perms=1,
        keep_variables=["layer_num", "df_name", "kernel_inds", "layer"],
    )
    columns = list(result.columns)
    # The layer is there already, as a grouping variable.
    assert columns[-3:] == ["layer_num", "df_name_sub", "kernel_inds"]
    assert columns[:-3] == sorted(columns[:-3])
    assert columns[:-3].index("perm_scramble") == columns.index("perm") + 1
    assert result.groupby("layer")["layer_num"].unique().map(list).to_dict() == {
        "conv1": [1],
        "conv2": [2],
        "original_rgb": [0],
    }


def test_a_kept_column_that_varies_is_named(rng):
    stack = make_stack(rng, layers=LAYERS[:3])
    with pytest.raises(ValueError, match=r"'layer_num' is 0, 1, 2 within .*keep_variables"):
        meta(stack, ["layer"], keep_variables=["layer_num"])


@pytest.mark.parametrize("variable", ["dissim_metric", "perm", "layer_label", "activation_type"])
def test_any_column_may_be_the_entry_variable(rng, variable):
    stack = make_stack(rng, layers=LAYERS[:3], perms=("orig_data", 1, 2))
    result = meta(stack, [variable])
    values = list(dict.fromkeys(stack[variable]))
    assert result["entry_keys"][0] == tuple((value,) for value in values)
    assert result["entry_labels"][0][0] == {variable: values[0]}
    one = result.iloc[0]
    if variable == "dissim_metric":
        fixed = {"layer": one["layer"], "activation_type": one["activation_type"]}
        entries = rows_where(stack, obj=one["obj"], perm=one["perm_sub"], **fixed)
        np.testing.assert_allclose(
            one["matrix"], corrcoef_of(entries["matrix"]), rtol=0, atol=1e-12
        )


def test_levels_farther_below_may_differ_between_entries(rng):
    """Models compared on the images of one data set each, then the data sets compared."""
    frames = []
    for dataset, n in (("cars", 4), ("birds", 6)):
        frame = small_stack(rng, n_rows=5, n_items=n, dataset=dataset)
        frames.append(frame.drop(columns="model").rename(columns={"layer": "model"}))
    second = meta(pd.concat(frames), ["model"])
    third = meta(second, ["dataset"])
    birds, cars = (corrcoef_of(frames[k]["matrix"]) for k in (1, 0))
    # Oracle: the consistency of two data sets, by scipy from the vectors of model pairs.
    np.testing.assert_allclose(
        third["matrix"][0][0, 1], 1 - pearsonr(upper(birds), upper(cars))[0], atol=1e-12
    )
    assert third["entry_keys"][0] == (("birds",), ("cars",))
    assert third["entry_keys_sub"][0] == second["entry_keys"][0]
    assert third["entry_keys_sub_sub"][0] == (
        frames[1]["entry_keys"][0],
        frames[0]["entry_keys"][0],
    )
    assert [len(labels) for labels in third["entry_labels_sub_sub"][0]] == [6, 4]
