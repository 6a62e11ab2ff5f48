"""Tables of similarity: which number stands where."""

import numpy as np
import pandas as pd
import pytest
from made_layers import NETWORKS, layer_stack, turned_round

import pytorch_feature_analysis as pfa


def test_a_table_of_20_layers_and_6_networks_has_the_net_similarities_as_its_column_means():
    stack = layer_stack()
    table = pfa.layerwise_table(stack, "returns")
    assert table.shape == (20, 6)
    assert table.index.tolist() == list(range(4, 24))
    assert table.index.name == "layer"
    assert table.columns.tolist() == list(NETWORKS)
    assert table.columns.name == "model"
    net = pfa.similarity_table(pfa.get_net_similarity(stack))
    np.testing.assert_allclose(table.mean(), net["returns"], rtol=1e-12)
    np.testing.assert_array_equal(table["returns"], 1)
    for layer, matrix in zip(stack["layer"], stack["matrix"], strict=True):
        np.testing.assert_array_equal(table.loc[layer], 1 - matrix[:, 2])


def test_layers_stand_in_the_order_of_the_stack():
    stack = layer_stack(["relu2", "conv1", "fc1"])
    assert pfa.layerwise_table(stack, "churn").index.tolist() == ["relu2", "conv1", "fc1"]
    labels = layer_stack([("conv1", 1), ("conv2", 3)])
    assert pfa.layerwise_table(labels, ("churn",)).index.tolist() == [("conv1", 1), ("conv2", 3)]


@pytest.mark.parametrize("symmetric", [True, False])
def test_entries_of_the_layers_are_matched_by_their_keys(symmetric):
    stack = layer_stack(range(3), symmetric=symmetric)
    expected = pfa.layerwise_table(stack, "churn")
    pd.testing.assert_frame_equal(pfa.layerwise_table(turned_round(stack, 2), "churn"), expected)
    # From the network, the row, to the target, the column.
    np.testing.assert_array_equal(expected.iloc[2], 1 - stack["matrix"][2][:, 1])


def test_groups_of_layers_go_into_a_table_too():
    net = pfa.get_net_similarity(layer_stack(), pfa.grid_groups(range(4, 24), 4))
    table = pfa.layerwise_table(net, "visits", layer_variable="layer_group")
    assert table.index.tolist()[:2] == ["row 1", "row 2"]
    assert table.shape == (9, 6)


def test_a_row_is_a_square_table_from_rows_to_columns():
    stack = layer_stack([1], symmetric=False)
    table = pfa.similarity_table(stack)
    assert table.index.tolist() == table.columns.tolist() == list(NETWORKS)
    assert table.loc["churn", "region"] == 1 - stack["matrix"][0][1, 5]
    pd.testing.assert_frame_equal(pfa.similarity_table(stack.iloc[0]), table)
    table.loc["churn", "region"] = 7
    assert stack["matrix"][0][1, 5] < 1


def test_distances_stay_distances():
    stack = layer_stack([1], metrics=("procrustes_distance",))
    np.testing.assert_array_equal(pfa.similarity_table(stack), stack["matrix"][0])
    np.testing.assert_array_equal(
        pfa.layerwise_table(stack, "churn").iloc[0], stack["matrix"][0][:, 1]
    )


def test_keys_of_several_parts_are_several_levels():
    keys = (("a", 1), ("a", 2), ("b", 1))
    stack = layer_stack([1], ("x", "y", "z"))
    stack["entry_keys"] = [keys]
    stack["entry_labels"] = [tuple({"model": name, "seed": seed} for name, seed in keys)]
    table = pfa.similarity_table(stack)
    assert table.index.names == ["model", "seed"]
    assert table.loc[("a", 2), ("b", 1)] == 1 - stack["matrix"][0][1, 2]
    assert pfa.layerwise_table(stack, ("a", 2)).columns.tolist() == list(keys)
    uneven = (("a", 1), ("a",), ("b", 1))
    stack["entry_keys"] = [uneven]
    assert pfa.similarity_table(stack).index.tolist() == list(uneven)


def test_bad_input_is_refused():
    stack = layer_stack(range(3))
    with pytest.raises(ValueError, match=r"`target` names 'chur'.*Did you mean 'churn'"):
        pfa.layerwise_table(stack, "chur")
    with pytest.raises(ValueError, match="2 rows of 0, which differ in dissim_metric"):
        pfa.layerwise_table(layer_stack(range(3), metrics=("svcca", "pwcca")), "churn")
    mixed = stack.assign(dissim_metric=["svcca", "svcca", "pwcca"])
    with pytest.raises(ValueError, match="layers by 'svcca', 'pwcca'"):
        pfa.layerwise_table(mixed, "churn")
    with pytest.raises(ValueError, match="no column 'dissim_metric'"):
        pfa.similarity_table(stack.drop(columns="dissim_metric").iloc[:1])
    with pytest.raises(ValueError, match="must have one row, and has 3"):
        pfa.similarity_table(stack)
    with pytest.raises(ValueError, match="no rows"):
        pfa.layerwise_table(stack.iloc[:0], "churn")
    for table in (pfa.similarity_table, lambda one: pfa.layerwise_table(one, "churn")):
        with pytest.raises(ValueError, match="before `to_similarity`"):
            table(pfa.to_similarity(stack).iloc[:1])
