"""What a stack is made of, against counts that were made by hand."""

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa

COLOURS = ("red", "green", "blue", "grey", "pink")
LAYERS = {"small": ("conv1", "fc1"), "large": ("conv1", "conv2", "fc1")}


def rdm(rng, n):
    matrix = np.triu(rng.random((n, n)), 1)
    return matrix + matrix.T


def first_order(objects=("cup", "hat")):
    """Five layers of two networks, two objects: ten RDMs of five colours."""
    rng = np.random.default_rng(0)
    rows = [
        {"model": model, "layer": layer, "obj": obj, "matrix": rdm(rng, len(COLOURS))}
        for model, layers in LAYERS.items()
        for layer in layers
        for obj in objects
    ]
    keys = tuple((colour,) for colour in COLOURS)
    labels = tuple({"colour": colour} for colour in COLOURS)
    columns = {"entry_keys": [keys] * len(rows), "entry_labels": [labels] * len(rows)}
    return pd.DataFrame(rows).assign(dissim_metric="corr", perm="orig_data", **columns)


def meta(stack, entries, groups, **options):
    return pfa.get_meta_rdms(
        stack, None, entries, grouping_variables=groups, progress=False, **options
    )


def lines(stack):
    return pfa.stack_lineage(stack).to_dict("records")


def test_a_stack_of_the_first_order_is_one_line():
    (line,) = lines(first_order())
    assert line == {
        "order": 1,
        "n_rdms": 10,
        "told_apart_by": {"model": 2, "layer": 3, "obj": 2},
        "entry_variables": {"colour": 5},
        "n_entries": (5, 5),
        "dissim_metrics": ("corr",),
        "num_perms": 0,
    }


def test_each_order_is_counted_and_named_as_it_was_there():
    second = meta(first_order(), ["model", "layer"], ["obj", "dissim_metric"])
    third = meta(
        second, ["obj"], ["dissim_metric", "dissim_metric_sub"], dissim_metrics=["spearman"]
    )
    first, middle, last = lines(third)
    assert (first["n_rdms"], middle["n_rdms"], last["n_rdms"]) == (10, 2, 1)
    assert first["told_apart_by"] == {"obj": 2, "model": 2, "layer": 3}
    assert middle["told_apart_by"] == {"obj": 2}
    assert last["told_apart_by"] == {}
    assert [line["dissim_metrics"] for line in (first, middle, last)] == [
        ("corr",),
        ("corr",),
        ("spearman",),
    ]
    assert [line["n_entries"] for line in (first, middle, last)] == [(5, 5), (5, 5), (2, 2)]


def test_several_metrics_and_shuffles_do_not_multiply_what_is_below():
    stack = meta(
        first_order(),
        ["model", "layer"],
        ["obj"],
        num_perms=3,
        dissim_metrics=["corr", "spearman"],
    )
    assert len(stack) == 2 * 2 * 4
    first, second = lines(stack)
    assert first["n_rdms"] == 10
    assert (second["n_rdms"], second["num_perms"]) == (4, 3)
    assert second["told_apart_by"] == {"obj": 2, "dissim_metric": 2}
    assert first["dissim_metrics"] == ()


def test_rows_of_different_size_are_counted_each():
    """Two layers of one network, and three of the other: five RDMs, not six."""
    first, second = lines(meta(first_order(("cup",)), ["layer"], ["model"]))
    assert (first["n_rdms"], second["n_rdms"]) == (5, 2)
    assert second["n_entries"] == (2, 3)


def test_data_sets_with_images_of_their_own_are_counted_each():
    rng = np.random.default_rng(1)
    rows = []
    for name, n in (("digits", 4), ("faces", 6)):
        for model in ("a", "b", "c"):
            keys = tuple((f"{name} {k}",) for k in range(n))
            labels = tuple({"image": key[0]} for key in keys)
            rows.append(
                {
                    "dataset": name,
                    "model": model,
                    "matrix": rdm(rng, n),
                    "entry_keys": keys,
                    "entry_labels": labels,
                }
            )
    second = meta(pd.DataFrame(rows), ["model"], ["dataset"])
    third = meta(second, ["dataset"], [])
    first, middle, last = lines(third)
    assert first["n_entries"] == (4, 6)
    assert first["entry_variables"] == {"image": 10}
    assert (first["n_rdms"], middle["n_rdms"], last["n_rdms"]) == (6, 2, 1)


def test_a_frame_of_ones_own_needs_no_more_than_matrices_and_keys():
    (line,) = lines(pd.DataFrame({"matrix": [1 - np.eye(3)], "entry_keys": [("a", "b", "c")]}))
    assert (line["n_rdms"], line["n_entries"]) == (1, (3, 3))


def test_the_stack_stays_as_it_was():
    stack = first_order()
    before = stack.copy()
    pfa.stack_lineage(stack)
    pd.testing.assert_frame_equal(stack, before)


def test_what_is_no_stack_is_refused():
    with pytest.raises(ValueError, match="entry_keys"):
        pfa.stack_lineage(pd.DataFrame({"matrix": [np.eye(2)]}))
