"""What a stack is made of, order by order, held against counts of the stacks that it came from."""

import numpy as np
import pandas as pd
import pytest
from made_stacks import make_stack

import pytorch_feature_analysis as pfa

LAYERS = [("conv1", 1), ("conv2", 2), ("fc1", 3)]


@pytest.fixture(scope="module")
def first():
    """RDMs of three objects in four colours; one network has a layer less."""
    stack = make_stack(
        np.random.default_rng(0),
        objects=["cup", "hat", "pen"],
        models=("alexnet", "vgg"),
        layers=LAYERS,
    )
    is_left_out = (stack["model"] == "alexnet") & (stack["layer"] == "fc1")
    return stack[~is_left_out].reset_index(drop=True)


@pytest.fixture(scope="module")
def second(first):
    return pfa.get_meta_rdms(
        first,
        None,
        ["obj", "layer"],
        grouping_variables=["model", "activation_type", "dissim_metric"],
        dissim_metrics=["corr", "spearman"],
        num_perms=3,
        progress=False,
    )


@pytest.fixture(scope="module")
def third(second):
    return pfa.get_meta_rdms(
        second[second["perm"] == "orig_data"],
        None,
        ["activation_type"],
        grouping_variables=["model", "dissim_metric", "dissim_metric_sub"],
        dissim_metrics=["euclidean_distance"],
        progress=False,
    )


def test_a_stack_of_the_first_order_has_stimuli_and_rdms(first):
    before = first.copy(deep=True)
    lineage = pfa.stack_lineage(first)
    assert lineage["order"].tolist() == [0, 1]
    assert lineage["count"].tolist() == [4, len(first)]
    stimuli, rdms = lineage.to_dict("records")
    assert stimuli["told_apart_by"] == {"color": 4}
    assert pd.isna(stimuli["most_entries"])
    assert rdms["told_apart_by"] == {
        "model": 2,
        "layer": 3,
        "dissim_metric": 2,
        "activation_type": 2,
        "obj": 3,
    }
    assert (rdms["fewest_entries"], rdms["most_entries"]) == (4, 4)
    assert rdms["metrics"] == ("corr", "euclidean_distance")
    assert rdms["of"] == {"kernel_set_name": "all"}
    assert rdms["num_perms"] == 0
    pd.testing.assert_frame_equal(first, before)


def test_what_rdms_share_is_said_of_them(first):
    one = first[(first["layer"] == "conv1") & (first["activation_type"] == "unit_level")]
    rdms = pfa.stack_lineage(one).iloc[1]
    assert rdms["of"] == {
        "layer": "conv1",
        "activation_type": "unit_level",
        "kernel_set_name": "all",
    }


def test_each_order_counts_the_rdms_of_the_stack_that_it_came_from(first, second, third):
    lineage = pfa.stack_lineage(third)
    originals = second[second["perm"] == "orig_data"]
    assert lineage["count"].tolist() == [4, len(first), len(originals), len(third)]
    assert lineage["fewest_entries"].tolist()[1:] == [4, 6, 2]
    assert lineage["most_entries"].tolist()[1:] == [4, 9, 2]
    assert lineage["metrics"].tolist()[1:] == [
        ("corr", "euclidean_distance"),
        ("corr", "spearman"),
        ("euclidean_distance",),
    ]
    assert lineage["told_apart_by"].tolist() == [
        {"color": 4},
        {"obj": 3, "layer": 3, "activation_type": 2, "model": 2, "dissim_metric": 2},
        {"activation_type": 2, "model": 2, "dissim_metric": 2, "dissim_metric_sub": 2},
        {"model": 2, "dissim_metric_sub": 2, "dissim_metric_sub_sub": 2},
    ]
    # The lower orders are the same, told by the stack above.
    for k in range(2):
        below = pfa.stack_lineage(second)
        assert below["count"][k] == lineage["count"][k]
        assert below["metrics"][k] == lineage["metrics"][k]


def test_shuffles_are_no_further_rdms(second):
    row = pfa.stack_lineage(second).iloc[-1]
    assert row["count"] * 4 == len(second)
    assert row["num_perms"] == 3


def test_metrics_may_be_what_entries_differ_in(first):
    meta = pfa.get_meta_rdms(
        first, None, ["dissim_metric", "layer"], grouping_variables="rest", progress=False
    )
    lineage = pfa.stack_lineage(meta)
    assert lineage["count"].tolist() == [4, len(first), len(meta)]
    assert lineage["metrics"][1] == ("corr", "euclidean_distance")


def test_subsets_of_entries_do_not_count_what_is_below_twice(first):
    one = first[first["dissim_metric"] == "corr"]
    subsets = [("all", "all"), ("convs", {"layer": ["conv1", "conv2"]})]
    meta = pfa.get_meta_rdms(one, None, ["layer"], subsets, progress=False)
    lineage = pfa.stack_lineage(meta)
    assert lineage["count"].tolist() == [4, len(one), len(meta)]
    assert lineage["told_apart_by"][2]["entry_var_subset"] == 2
    assert lineage["fewest_entries"][2] == 2


def test_entries_that_differ_below_are_followed_one_by_one():
    rng = np.random.default_rng(0)
    parts = [
        make_stack(
            rng,
            objects=[data],
            models=("a", "b", "c"),
            layers=[("fc", 1)],
            metrics=("corr",),
            keys=tuple((f"{data}{k}",) for k in range(size)),
        )
        for data, size in (("photos", 5), ("drawings", 7))
    ]
    stack = pd.concat(parts, ignore_index=True)
    stack = stack[stack["activation_type"] == "unit_level"]
    of_models = pfa.get_meta_rdms(stack, None, ["model"], progress=False)
    of_data = pfa.get_meta_rdms(of_models, None, ["obj"], progress=False)
    lineage = pfa.stack_lineage(of_data)
    assert lineage["count"].tolist() == [12, 6, 2, 1]
    assert lineage["fewest_entries"].tolist()[1:] == [5, 3, 2]
    assert lineage["most_entries"].tolist()[1:] == [7, 3, 2]


def test_models_that_differ_between_entries_far_above_are_counted_for_each():
    rng = np.random.default_rng(0)
    parts = [
        make_stack(
            rng, objects=["x", "y"], models=models, layers=[("fc", 1)], metrics=("corr",)
        ).assign(family=family)
        for family, models in (("old", ("a", "b", "c")), ("new", ("d", "e", "f", "g")))
    ]
    stack = pd.concat(parts, ignore_index=True)
    stack = stack[stack["activation_type"] == "unit_level"]
    grouping = ["family", "obj"]
    # Two cells or one do not correlate.
    options = {"dissim_metrics": ["euclidean_distance"], "progress": False}
    above = pfa.get_meta_rdms(stack, None, ["model"], grouping_variables=grouping, **options)
    for entries, grouping in (["obj"], ["family"]), (["family"], []):
        above = pfa.get_meta_rdms(above, None, entries, grouping_variables=grouping, **options)
    assert pfa.stack_lineage(above)["count"].tolist() == [4, len(stack), 4, 2, 1]


def test_a_frame_that_says_little_is_told_as_far_as_it_goes():
    mine = pd.DataFrame({"matrix": [1.0 - np.eye(3)] * 2, "entry_keys": [["a", "b", "c"]] * 2})
    lineage = pfa.stack_lineage(mine)
    assert lineage["count"].tolist() == [3, 2]
    assert lineage["metrics"].tolist() == [(), ()]
    assert lineage["told_apart_by"][1] == {}
    assert lineage["in_words"].tolist() == [
        "3 stimuli",
        "2 RDMs of 3 stimuli, by a metric that is not recorded",
    ]
    assert pfa.stack_lineage(mine.iloc[0])["count"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="`rdm_df` has no rows"):
        pfa.stack_lineage(mine.iloc[:0])


def test_each_order_is_told_in_a_sentence(first, second, third):
    times, minus = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
    said = pfa.stack_lineage(third)["in_words"].tolist()
    told = [
        "3 values of obj, 3 layers, 2 activation types, 2 networks, 2 metrics",
        times.join(
            ["2 activation types ", " 2 networks ", " 2 metrics ", " 2 metrics of order 1"]
        ),
        times.join(["2 networks ", " 2 metrics of order 2 ", " 2 metrics of order 1"]),
    ]
    pearson = f"1 {minus} Pearson r"
    spearman = f"1 {minus} Spearman \N{GREEK SMALL LETTER RHO}"
    assert said == [
        "4 stimuli (4 values of color)",
        f"60 RDMs of 4 stimuli ({told[0]}), by {pearson}, Euclidean distance of patterns",
        f"16 RDMs of 6 to 9 entries ({told[1]}), by {pearson}, {spearman} over 6 pairs",
        f"8 RDMs of 2 entries ({told[2]}), by Euclidean distance over 15 to 36 pairs",
    ]
    one = first[(first["dissim_metric"] == "corr") & (first["activation_type"] == "unit_level")]
    one = one[(one["model"] == "vgg") & (one["obj"] == "cup")]
    assert pfa.stack_lineage(one)["in_words"][1] == (
        "3 RDMs of 4 stimuli (3 layers; network vgg, activation type unit_level, obj cup),"
        f" by 1 {minus} Pearson r of unit_level patterns"
    )
    assert "and 3 shuffles of each" in pfa.stack_lineage(second)["in_words"][2]
