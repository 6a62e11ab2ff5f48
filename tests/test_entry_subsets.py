import numpy as np
import pandas as pd
import pytest
from made_stacks import (
    GUIDE_GROUPING,
    LAYERS,
    OBJECTS,
    make_stack,
    meta,
    rows_where,
    small_stack,
)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize(
    "chosen",
    [
        ["obj003", "obj002"],
        ("obj002", "obj003"),
        [("obj003",), ("obj002",)],
        np.array(["obj002", "obj003"]),
        {"obj": ["obj002", "obj003"]},
    ],
)
def test_a_subset_is_the_corresponding_part_of_the_whole(rng, chosen):
    stack = make_stack(rng, layers=LAYERS[:2])
    result = meta(
        stack,
        ["obj"],
        entry_var_subsets=[("all", "all"), ("two", chosen)],
        grouping_variables=GUIDE_GROUPING,
        num_perms=1,
    )
    whole = rows_where(result, entry_var_subset="all").reset_index()
    part = rows_where(result, entry_var_subset="two").reset_index()
    assert len(whole) == len(part) == 16
    places = [OBJECTS.index("obj002"), OBJECTS.index("obj003")]
    for a, b in zip(whole.itertuples(), part.itertuples(), strict=True):
        np.testing.assert_array_equal(a.matrix[np.ix_(places, places)], b.matrix)
        assert b.entry_keys == (("obj002",), ("obj003",))
        assert b.entry_labels == ({"obj": "obj002"}, {"obj": "obj003"})
        assert b.perm_scramble == tuple(a.perm_scramble[place] for place in places)
        assert sorted(b.dissim_rankings) == [0, 1]


def test_a_subset_alone_is_the_same_as_beside_the_whole(rng):
    stack = make_stack(rng, layers=LAYERS[:2])
    both = meta(stack, ["obj"], entry_var_subsets=[("all", "all"), ("two", ["obj001", "obj004"])])
    alone = meta(stack, ["obj"], entry_var_subsets=[("two", ["obj001", "obj004"])])
    for a, b in zip(
        rows_where(both, entry_var_subset="two")["matrix"], alone["matrix"], strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_subsets_of_several_entry_variables_may_name_values(rng):
    stack = make_stack(rng, layers=LAYERS[:4])
    result = meta(
        stack,
        ["obj", "layer"],
        entry_var_subsets=[
            ("some", {"layer": ["conv1", "conv3"], "obj": "obj001"}),
            ("keys", [("obj003", "conv2"), ("obj002", "original_rgb")]),
        ],
    )
    assert result["entry_keys"][0] == (("obj001", "conv1"), ("obj001", "conv3"))
    assert result["entry_keys"][1] == (("obj002", "original_rgb"), ("obj003", "conv2"))


def test_entries_outside_all_subsets_need_not_fit(rng):
    stack = small_stack(rng, n_rows=3)
    odd = small_stack(rng, n_rows=1, n_items=4).assign(layer="odd")
    stack = pd.concat([stack, odd])
    assert len(meta(stack, entry_var_subsets=[("fit", ["layer0", "layer1"])])["matrix"][0]) == 2
    with pytest.raises(ValueError, match="not over the same entries"):
        meta(stack)


def test_a_group_without_entries_of_a_subset_has_no_row_for_it(rng):
    stack = small_stack(rng, n_rows=4, model=["one", "one", "two", "two"])
    result = meta(
        stack,
        entry_var_subsets=[("all", "all"), ("first", ["layer0", "layer2"]), ("last", ["layer3"])],
    )
    assert list(zip(result["model"], result["entry_var_subset"], strict=True)) == [
        ("one", "all"),
        ("one", "first"),
        ("two", "all"),
        ("two", "first"),
        ("two", "last"),
    ]


@pytest.mark.parametrize(
    ("subsets", "error", "message"),
    [
        (
            [("two", ["layer0", "layer9"])],
            ValueError,
            r"'layer9'.* not a known entry .*layer5",
        ),
        ([("two", {"layer": ["layer9"]})], ValueError, r"'layer9', which is not a value of"),
        ([("two", {"model": "mine"})], ValueError, "'model', which is not a name among"),
        ([("two", "layer0")], TypeError, r"a list of entry keys, a dict .* not 'layer0'"),
        (("all", "all"), TypeError, r"list of \(name, entries\) tuples.* it holds 'all'"),
        ([("a", "all"), ("a", "all")], ValueError, "a name of its own"),
        ([], ValueError, "at least one subset"),
        ([("none", [])], ValueError, "gives 'none' no entry"),
        ([("none", {})], ValueError, "gives 'none' no entry"),
        ("all", TypeError, r"`entry_var_subsets` must be a list"),
    ],
)
def test_subsets_that_make_no_sense_are_refused(rng, subsets, error, message):
    with pytest.raises(error, match=message):
        meta(small_stack(rng), entry_var_subsets=subsets)
