import logging

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
    same_cells,
    small_stack,
)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_rest_equals_the_same_columns_given(rng):
    stack = make_stack(rng, models=("alexnet", "vgg19"), layers=LAYERS[:3])
    rest = meta(stack, ["obj"])
    given = meta(
        stack,
        ["obj"],
        grouping_variables=[
            "df_name",
            "model",
            "layer",
            "dissim_metric",
            "activation_type",
            "kernel_set_name",
            "perm",
        ],
    )
    same_cells(rest, given)
    guide = meta(stack, ["obj"], grouping_variables=GUIDE_GROUPING)
    assert len(rest) == len(guide) == 24
    wanted = {"model": "vgg19", "layer": "conv2", "activation_type": "unit_level"}
    for metric in ("corr", "euclidean_distance"):
        (a,) = rows_where(rest, dissim_metric_sub=metric, **wanted)["matrix"]
        (b,) = rows_where(guide, dissim_metric_sub=metric, **wanted)["matrix"]
        np.testing.assert_array_equal(a, b)


def test_rest_keeps_the_other_names_of_a_layer_from_tearing_groups_apart(rng):
    stack = make_stack(rng, models=("alexnet", "vgg19"))
    # The same layer has another number in each model.
    stack.loc[stack["model"] == "vgg19", "layer_num"] += 1
    stack["layer_label"] = list(zip(stack["layer"], stack["layer_num"], strict=True))
    by_layer = meta(stack, ["obj", "layer"])
    assert {len(keys) for keys in by_layer["entry_keys"]} == {88}
    assert len(by_layer) == 8
    by_model = meta(stack, ["model"])
    assert {len(keys) for keys in by_model["entry_keys"]} == {2}
    assert "layer" in by_model
    assert "layer_num" not in by_model
    by_label = meta(stack, ["layer_label"], keep_variables=["obj"])
    assert by_label["entry_keys"][0][1] == (("conv1", 1),)
    assert "layer" not in by_label


def test_rest_leaves_out_what_the_entries_determine_and_says_so(rng, caplog):
    stack = make_stack(rng, layers=LAYERS[:3])
    stack["category"] = stack["obj"].isin(["obj001", "obj002"])
    stack["family"] = stack["category"].map({True: "x", False: "y"})
    stack["runtime"] = np.arange(len(stack))
    caplog.set_level(logging.INFO)
    result = meta(stack, ["obj"])
    assert {len(keys) for keys in result["entry_keys"]} == {4}
    assert not {"category", "family", "runtime"} & set(result.columns)
    assert "leaves out category, family, runtime, layer_num" in caplog.text
    # Where objects are not the entries, they tell groups apart, and so may their category.
    assert {"obj", "category"} <= set(meta(stack, ["layer"]).columns)


def test_rest_keeps_models_apart_that_share_no_layer(rng):
    alexnet = make_stack(rng, layers=LAYERS[:3])
    vit = make_stack(rng, models=("vit",), layers=[("block1", 1), ("block2", 2)])
    result = meta(pd.concat([alexnet, vit]), ["layer"])
    assert {len(keys) for keys in result["entry_keys"]} == {2, 3}
    assert result["model"].unique().tolist() == ["alexnet", "vit"]


def test_rest_leaves_out_where_rows_came_from(rng):
    stack = make_stack(rng, layers=LAYERS[:2])
    plain = meta(stack, ["obj"])
    traced = stack.assign(
        row_key=[f"{k:x}" for k in range(len(stack))], run_id="one", device="cpu"
    )
    same_cells(meta(traced, ["obj"]), plain)
    # Without `row_key` these are columns of one's own.
    assert "device" in meta(stack.assign(device="cpu"), ["obj"])


def test_no_grouping_variable_makes_one_group(rng):
    stack = small_stack(rng)
    result = meta(stack, grouping_variables=[])
    assert len(result) == 1
    assert "model" not in result
    np.testing.assert_allclose(
        result["matrix"][0], corrcoef_of(stack["matrix"]), rtol=0, atol=1e-12
    )


def test_groups_may_be_told_apart_by_values_of_any_kind(rng):
    kinds = [("conv1", 1), np.nan, "b", 3, None, 1.5, ("conv1", "x"), "a"]
    stack = pd.concat(
        [
            small_stack(rng, n_rows=2).assign(kind=pd.Series([kind] * 2, dtype=object))
            for kind in kinds
        ]
    )
    # Rows of NaN and of None, the two ways to say that a value is missing, are one group.
    stack["layer"] = [f"layer{k}" for k in range(len(stack))]
    result = meta(stack, grouping_variables=["kind"])
    assert result["kind"].tolist()[:-1] == [1.5, 3, "a", "b", ("conv1", 1), ("conv1", "x")]
    assert pd.isna(result["kind"].tolist()[-1])
    assert [len(keys) for keys in result["entry_keys"]] == [2] * 6 + [4]


def test_groups_may_have_different_entries_and_different_items(rng):
    one = small_stack(rng, n_rows=3, n_items=5).assign(model="one")
    two = small_stack(rng, n_rows=4, n_items=6).assign(model="two")
    result = meta(pd.concat([one, two]))
    assert [len(matrix) for matrix in result["matrix"]] == [3, 4]
    assert [len(keys) for keys in result["entry_keys_sub"]] == [5, 6]
    np.testing.assert_allclose(result["matrix"][1], corrcoef_of(two["matrix"]), rtol=0, atol=1e-12)


def test_rdms_over_different_items_may_be_told_apart_by_their_items(rng):
    one, two = small_stack(rng, n_rows=3, n_items=5), small_stack(rng, n_rows=3, n_items=6)
    result = meta(pd.concat([one, two]), grouping_variables=["entry_keys"])
    assert [len(keys) for keys in result["entry_keys_sub"]] == [5, 6]
    assert [len(keys) for keys in result["entry_keys"]] == [3, 3]


def test_a_group_of_one_entry_is_a_zero_and_a_log_line(rng, caplog):
    stack = small_stack(rng, n_rows=3, model=["one", "one", "two"])
    result = meta(stack, grouping_variables=["model"])
    np.testing.assert_array_equal(result["matrix"][1], [[0]])
    assert result["dissim_rankings"][1] == (0,)
    assert "1 of 2 groups by ['model'] have a single entry by ['layer']" in caplog.text


def test_another_order_of_the_items_is_put_right_by_key(rng):
    stack = small_stack(rng, labels="x")
    order = [3, 0, 4, 1, 2]
    keys = stack["entry_keys"][0]
    shuffled = stack.copy()
    shuffled["entry_keys"] = [
        tuple(keys[k] for k in order) if row in (2, 5) else keys for row in range(6)
    ]
    shuffled["matrix"] = [
        matrix[np.ix_(order, order)] if row in (2, 5) else matrix
        for row, matrix in enumerate(stack["matrix"])
    ]
    same_cells(meta(shuffled, num_perms=3), meta(stack, num_perms=3))
    # The matrices without their keys are other RDMs.
    mislabelled = shuffled.assign(entry_keys=stack["entry_keys"])
    assert not np.allclose(meta(mislabelled)["matrix"][0], meta(stack)["matrix"][0])


def test_other_items_are_refused_and_named(rng):
    stack = small_stack(rng)
    keys = stack["entry_keys"][0]
    stack["entry_keys"] = [*([keys] * 4), (*keys[:4], ("new",)), keys]
    message = (
        r"group of model='mine' are not over the same entries: .* \('layer0',\), that of"
        r" \('layer4',\) lacks \('e',\) and has \('new',\) more.*subset_rdm_df"
    )
    with pytest.raises(ValueError, match=message):
        meta(stack)
    larger = small_stack(rng, n_rows=1, n_items=6).assign(layer="larger")
    with pytest.raises(ValueError, match=r"of \('larger',\) lacks none and has \('f',\) more"):
        meta(pd.concat([small_stack(rng), larger]))


def test_the_same_keys_under_other_labels_are_refused(rng):
    stack = small_stack(rng, n_rows=2)
    labels = tuple({"color": key[0]} for key in stack["entry_keys"][0])
    other = tuple({"hue": key[0]} for key in stack["entry_keys"][0])
    with pytest.raises(ValueError, match=r"other `entry_labels`: {'hue': 'a'} for \('layer1',\)"):
        meta(stack.assign(entry_labels=[labels, other]))
    unsure = tuple({"color": float("nan")} for _ in labels), tuple({"color": None} for _ in labels)
    assert len(meta(stack.assign(entry_labels=list(unsure)))) == 1


def test_repeated_entry_keys_are_named_with_what_tells_them_apart(rng):
    stack = make_stack(rng, models=("alexnet", "vgg19"), layers=LAYERS[:2])
    message = (
        r"group of activation_type='feature_means', dissim_metric='corr' has more than one row"
        r" with the entry key \('obj002',\), .*differ in 'model', 'layer',"
    )
    with pytest.raises(ValueError, match=message):
        meta(stack, ["obj"], grouping_variables=["activation_type", "dissim_metric"])
    doubled = pd.concat([small_stack(rng, n_rows=2)] * 2)
    with pytest.raises(ValueError, match="differ in nothing but the matrix"):
        meta(doubled)


@pytest.mark.parametrize(
    ("column", "values"),
    [("perm", ["orig_data", 1]), ("dissim_metric", ["corr", "cosine"]), ("df_name", ["a", "b"])],
)
def test_a_reserved_column_that_varies_within_a_group_is_named(rng, column, values):
    stack = small_stack(rng, n_rows=4, **{column: values * 2})
    message = (
        rf"the column '{column}' is {values[0]!r}, {values[1]!r} within the group of"
        r" model='mine'. Name it in `grouping_variables`"
    )
    with pytest.raises(ValueError, match=message):
        meta(stack, grouping_variables=["model"])
    assert len(meta(stack, grouping_variables=["model", column])) == 2
    assert len(meta(stack, ["layer", column], grouping_variables=["model"])) == 1


def test_rdms_without_pairs_are_refused(rng):
    with pytest.raises(ValueError, match=r"RDMs of 1 entries in the group of model='mine'"):
        meta(small_stack(rng, n_items=1))


def test_an_entry_without_a_value_is_refused(rng):
    stack = small_stack(rng, n_rows=3).assign(obj=["a", None, np.nan])
    with pytest.raises(ValueError, match=r"'obj', but .* the rows with the index 1, 2"):
        meta(stack, ["layer", "obj"])


def test_an_entry_key_that_cannot_be_hashed_is_refused(rng):
    stack = small_stack(rng, n_rows=2).assign(what=[{"a": 1}, {"a": 2}])
    with pytest.raises(TypeError, match="not hashable"):
        meta(stack, ["what"])
