"""Net similarity: which layers a mean is over, and that it is a stack like any other."""

import numpy as np
import pandas as pd
import pytest
from made_layers import NETWORKS, layer_stack, turned_round, with_hole
from made_stacks import same_cells

import pytorch_feature_analysis as pfa


def matrices(stack):
    return np.array(stack["matrix"].tolist())


def test_the_groups_of_the_layers_4_to_23_are_the_rows_and_the_heads_of_their_grid():
    groups = pfa.grid_groups(range(4, 24), ["revenue", "churn", "returns", "visits"])
    assert groups == {
        "row 1": [4, 5, 6, 7],
        "row 2": [8, 9, 10, 11],
        "row 3": [12, 13, 14, 15],
        "row 4": [16, 17, 18, 19],
        "row 5": [20, 21, 22, 23],
        "revenue": [4, 8, 12, 16, 20],
        "churn": [5, 9, 13, 17, 21],
        "returns": [6, 10, 14, 18, 22],
        "visits": [7, 11, 15, 19, 23],
    }
    for row in range(5):
        for head, name in enumerate(["revenue", "churn", "returns", "visits"]):
            layer = 4 + 4 * row + head
            assert layer in groups[f"row {row + 1}"]
            assert layer in groups[name]


def test_heads_can_be_counted_and_layers_have_names():
    groups = pfa.grid_groups(["a", "b", "c", "d"], 2)
    assert groups == {
        "row 1": ["a", "b"],
        "row 2": ["c", "d"],
        "head 1": ["a", "c"],
        "head 2": ["b", "d"],
    }


@pytest.mark.parametrize(
    ("layers", "heads", "error", "match"),
    [
        (range(4, 24), 3, ValueError, "`layers` are 20 and `heads` 3"),
        ([], 2, ValueError, "`layers` are 0"),
        (range(4), [], ValueError, "`heads` 0"),
        (range(4), 0, ValueError, "`heads` must be at least 1"),
        (range(4), "ab", TypeError, "`heads` must be a list of names"),
        ("abcd", 2, TypeError, "`layers` must be a list of layers"),
        (range(4), ["row 1", "b"], ValueError, "`heads` names 'row 1'"),
        (range(4), ["b", "b"], ValueError, "`heads` names 'b'"),
    ],
)
def test_what_is_no_grid_is_refused(layers, heads, error, match):
    with pytest.raises(error, match=match):
        pfa.grid_groups(layers, heads)


def test_the_net_similarity_is_the_mean_of_the_layers_and_1_with_oneself():
    stack = layer_stack()
    net = pfa.get_net_similarity(stack)
    assert net["layer_group"].tolist() == ["all"]
    assert net["group_layers"].tolist() == [tuple(range(4, 24))]
    similar = pfa.to_similarity(net)["matrix"][0]
    np.testing.assert_allclose(similar, (1 - matrices(stack)).mean(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(np.diag(similar), 1)


def test_a_mean_worked_by_hand():
    stack = pd.DataFrame(
        {
            "layer": ["conv1", "conv2", "fc1"],
            "dissim_metric": "svcca",
            "matrix": [np.array([[0, d], [d, 0]]) for d in (0.125, 0.25, 0.75)],
            "entry_keys": [["a", "b"]] * 3,
        }
    )
    net = pfa.get_net_similarity(stack, {"late": ["fc1", "conv2"], "first": ["conv1"]})
    assert net["layer_group"].tolist() == ["late", "first"]
    assert net["group_layers"].tolist() == [("fc1", "conv2"), ("conv1",)]
    assert [matrix[0, 1] for matrix in net["matrix"]] == [0.5, 0.125]
    assert net["dissim_metric"].tolist() == ["svcca", "svcca"]


def test_each_group_is_the_mean_of_its_own_layers():
    stack = layer_stack()
    groups = pfa.grid_groups(range(4, 24), 4)
    net = pfa.get_net_similarity(stack, groups)
    assert net["layer_group"].tolist() == list(groups)
    by_layer = dict(zip(stack["layer"], stack["matrix"], strict=True))
    for name, matrix in zip(net["layer_group"], net["matrix"], strict=True):
        expected = np.mean([by_layer[layer] for layer in groups[name]], axis=0)
        np.testing.assert_allclose(matrix, expected, rtol=1e-12)


def test_measures_and_whatever_else_tells_rows_apart_stay_apart():
    both = [
        layer_stack(range(3), metrics=("svcca", "procrustes_distance"), seed=k) for k in (0, 1)
    ]
    stack = pd.concat([part.assign(images=k) for k, part in enumerate(both)], ignore_index=True)
    stack["depth"] = stack["layer"] * 10
    net = pfa.get_net_similarity(stack, {"late": [1, 2]})
    assert len(net) == 4
    assert "depth" not in net
    assert "layer" not in net
    for row in net.itertuples():
        chosen = stack[
            (stack["images"] == row.images)
            & (stack["dissim_metric"] == row.dissim_metric)
            & (stack["layer"] > 0)
        ]
        np.testing.assert_allclose(row.matrix, matrices(chosen).mean(axis=0), rtol=1e-12)
    assert net["images"].dtype == stack["images"].dtype


def test_entries_are_matched_by_their_keys_and_not_by_their_places():
    for symmetric in (True, False):
        stack = layer_stack(range(3), symmetric=symmetric)
        expected = pfa.get_net_similarity(stack)["matrix"][0]
        turned = pfa.get_net_similarity(turned_round(stack, 1))["matrix"][0]
        np.testing.assert_allclose(turned, expected, rtol=1e-12)


def test_a_missing_cell_of_a_layer_is_missing_in_the_mean_and_the_others_are_not():
    stack = with_hole(layer_stack(range(3)), 1, 0, 2)
    net = pfa.get_net_similarity(stack, {"all": [0, 1, 2], "whole": [0, 2]})
    missing = np.zeros((6, 6), dtype=bool)
    missing[0, 2] = missing[2, 0] = True
    np.testing.assert_array_equal(np.isnan(net["matrix"][0]), missing)
    assert np.isfinite(net["matrix"][1]).all()


def test_it_comes_from_activations_and_goes_into_all_that_takes_a_stack(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [
            {
                "model": model,
                "layer": layer,
                "activations": rng.normal(size=(20, 3)),
                "entry_keys": list(range(20)),
            }
            for layer in ("conv1", "conv2", "fc1")
            for model in "abcd"
        ]
    )
    stack = pfa.get_similarity_rdms(frame, ["svcca"], ["model"], ["layer"], progress=False)
    net = pfa.get_net_similarity(stack, {"conv": ["conv1", "conv2"], "fc": ["fc1"]})
    assert net["entry_keys_sub"][0] == tuple((k,) for k in range(20))
    same_cells(net, pfa.check_rdm_stack(net))
    for name in ("net.parquet", "net.pkl"):
        pfa.write_rdms(net, tmp_path / name)
        same_cells(net, pfa.read_rdms(tmp_path / name))
    meta = pfa.get_meta_rdms(net, None, ["layer_group"], progress=False)
    assert meta["entry_keys"][0] == (("conv",), ("fc",))
    assert pfa.mds_coordinates(net.iloc[:1]).shape[0] == 4
    # Rankings are those of the means, not of the first layer.
    again = pfa.check_rdm_stack(net.drop(columns="dissim_rankings"))
    assert net["dissim_rankings"].tolist() == again["dissim_rankings"].tolist()
    # And means of means, over the groups.
    whole = pfa.get_net_similarity(net.drop(columns="group_layers"), layer_variable="layer_group")
    np.testing.assert_allclose(whole["matrix"][0], matrices(net).mean(axis=0), rtol=1e-12)


def test_what_the_layers_do_not_share_is_not_said_of_their_mean():
    stack = layer_stack(range(2))
    stack["entry_keys_sub"] = [(("x",), ("y",)), (("x",), ("z",))]
    net = pfa.get_net_similarity(stack, {"first": [0], "all": [0, 1]})
    assert net["entry_keys_sub"].tolist() == [(("x",), ("y",)), None]


def test_nothing_that_was_given_changes():
    stack = layer_stack(range(3))
    groups = {"late": [1, 2]}
    before = stack.copy(), [matrix.copy() for matrix in stack["matrix"]]
    net = pfa.get_net_similarity(stack, groups)
    same_cells(stack, before[0])
    for matrix, copy in zip(stack["matrix"], before[1], strict=True):
        np.testing.assert_array_equal(matrix, copy)
    assert groups == {"late": [1, 2]}
    with pytest.raises(ValueError, match="read-only"):
        net["matrix"][0][0, 0] = 1


@pytest.mark.parametrize(
    ("groups", "error", "match"),
    [
        ({"row 1": [4, 99]}, ValueError, r"`layer_groups\['row 1'\]` names 99.*There are: 4, 5"),
        ({"row 1": []}, ValueError, r"`layer_groups\['row 1'\]` is empty"),
        ({"row 1": [4, 5, 4]}, ValueError, r"names 4 more than once"),
        ({"row 1": "conv1"}, TypeError, r"`layer_groups\['row 1'\]` must be a list of layers"),
        ({}, ValueError, "`layer_groups` is empty"),
        ([4, 5], TypeError, "`layer_groups` must be a dict"),
    ],
)
def test_bad_groups_are_refused_with_the_right_layers(groups, error, match):
    with pytest.raises(error, match=match):
        pfa.get_net_similarity(layer_stack(), groups)


def test_bad_stacks_are_refused():
    stack = layer_stack(range(3))
    with pytest.raises(ValueError, match="no column 'depth'"):
        pfa.get_net_similarity(stack, layer_variable="depth")
    with pytest.raises(ValueError, match="no rows"):
        pfa.get_net_similarity(stack.iloc[:0])
    with pytest.raises(ValueError, match=r"2 rows of 1.*nothing but the matrix"):
        pfa.get_net_similarity(pd.concat([stack, stack.iloc[1:2]], ignore_index=True))
    other = pd.concat([stack, layer_stack([3], NETWORKS[:-1])], ignore_index=True)
    with pytest.raises(ValueError, match="not over the same entries"):
        pfa.get_net_similarity(other)
    # A layer of other networks that is in no group does not matter.
    assert len(pfa.get_net_similarity(other, {"some": [0, 1]})) == 1
    uneven = layer_stack(range(3), metrics=("svcca", "pwcca")).iloc[:-1]
    with pytest.raises(ValueError, match=r"names 2, of which there is no row of .*'pwcca'"):
        pfa.get_net_similarity(uneven, {"late": [1, 2]})
    named = stack.assign(layer_group=["x", "x", "y"], dissim_metric="svcca")
    assert pfa.get_net_similarity(named)["layer_group"].tolist() == ["all"]
    crossed = pd.concat([stack.assign(layer_group=name) for name in ("x", "y")], ignore_index=True)
    with pytest.raises(ValueError, match="`rdm_df` has a column 'layer_group'"):
        pfa.get_net_similarity(crossed)
