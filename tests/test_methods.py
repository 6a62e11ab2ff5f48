"""The methods section says what is in the stack, number by number, and nothing that is not."""

import re

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.dissimilarity import METRICS
from pytorch_feature_analysis.measured_rdms import CROSSVALIDATED
from pytorch_feature_analysis.metric_words import metric_in_full
from pytorch_feature_analysis.similarity import MEASURES

KEYS = tuple((name,) for name in ("cup", "hat", "car", "dog"))


def first_order(metric="corr", n_entries=4):
    rng = np.random.default_rng(0)
    matrices = []
    for _ in range(6):
        upper = np.triu(rng.random((n_entries, n_entries)), 1)
        matrices.append(upper + upper.T)
    return pd.DataFrame(
        {
            "model": np.repeat(["small", "large"], 3),
            "layer": ["conv1", "conv2", "fc1"] * 2,
            "matrix": matrices,
            "entry_keys": [KEYS[:n_entries]] * 6,
            "dissim_metric": metric,
        }
    )


def second_order(**options):
    groups = {"grouping_variables": ["model"], "progress": False} | options
    return pfa.get_meta_rdms(first_order(), None, ["layer"], **groups)


def paragraphs(*args, **options):
    return pfa.methods_text(*args, **options).split("\n\n")


def test_numbers_of_a_first_order():
    first, *_ = paragraphs(first_order())
    assert first == (
        "6 representational dissimilarity matrices (RDMs) were computed, which differ in model (2)"
        " and layer (3). Each holds the dissimilarities of 4 entries, 6 pairs."
        " Dissimilarity was 1 \N{MINUS SIGN} Pearson's correlation."
    )


def test_numbers_of_a_second_order():
    _, second, *_ = paragraphs(second_order(dissim_metrics=["spearman"], num_perms=20))
    assert second.startswith(
        "These RDMs were compared with each other, which gave 2 RDMs of the second order, which"
        " differ in model (2). Each holds the dissimilarities of 3 entries (layer), 3 pairs."
    )
    assert "Spearman's rank correlation of the 6 cells above the diagonals of two RDMs." in second
    assert "20 shuffles" in second


def test_a_metric_that_a_stack_does_not_know_is_asked_for_and_the_stack_below_says_it():
    stack = second_order()
    assert "does not say by what metric" in paragraphs(stack)[0]
    first, *_ = paragraphs(stack, below=[first_order("euclidean_distance")])
    assert "does not say" not in first
    assert "Dissimilarity was the Euclidean distance." in first


def test_metrics_below_are_named_by_their_order():
    stack = pd.concat([first_order("corr"), first_order("cosine")], ignore_index=True)
    second = pfa.get_meta_rdms(
        stack, None, ["layer"], grouping_variables=["model", "dissim_metric"], progress=False
    )
    assert "differ in model (2) and metric of the first order (2)" in paragraphs(second)[1]


def test_a_file_says_how_the_networks_were_run(tmp_path):
    made = {
        "row_key": [f"key {k}" for k in range(6)],
        "run_id": "run",
        "model_hash": ["a"] * 3 + ["b"] * 3,
        "images_hash": "c",
        "preprocessing": "resize 256",
        "layers": "{}",
        "random_state": 7,
        "batch_size": 16,
        "num_threads": 2,
        "device": "cpu",
        "versions": "pytorch_feature_analysis 9.9, torch 8.8",
    }
    path = tmp_path / "rdms.parquet"
    pfa.write_rdms(first_order().assign(**made), path)
    text = pfa.methods_text(path)
    for words in (
        "Images were prepared so: resize 256.",
        "16 images at a time",
        "The seed was 7.",
        "2 different sets of weights and 1 of images",
        "computed with pytorch_feature_analysis 9.9, torch 8.8.",
    ):
        assert words in text
    # Without the file none of it is known.
    assert "9.9" not in pfa.methods_text(first_order())
    assert pfa.__version__ in pfa.methods_text(first_order())
    # The stack of a higher order has it from the one below.
    assert "The seed was 7." in paragraphs(second_order(), below=[path])[0]


def test_missing_cells_are_counted():
    stack = first_order()
    for row in (1, 4):
        stack["matrix"][row][[0, 1], [1, 0]] = np.nan
    assert "2 cells, in 2 of 6 RDMs, have no value (NaN)." in pfa.methods_text(stack)


def test_missing_cells_of_shuffles_are_not_counted():
    stack = first_order()
    for row in (1, 4):
        stack["matrix"][row][[0, 1], [1, 0]] = np.nan
    both = pd.concat([stack.assign(perm="orig_data"), stack.assign(perm=1)], ignore_index=True)
    assert "2 cells, in 2 of 6 RDMs, have no value (NaN)." in pfa.methods_text(both)


def test_measures_compare_representations_and_bring_their_papers():
    rng = np.random.default_rng(0)
    rows = [{"layer": layer, "activations": rng.normal(size=(8, 5))} for layer in ("a", "b", "c")]
    frame = pd.DataFrame(rows)
    keys = tuple((f"image {k}",) for k in range(8))
    frame["entry_keys"] = [keys] * 3
    stack = pfa.get_similarity_rdms(frame, ["linear_cka", "svcca"], progress=False)
    first, second, *_ = paragraphs(stack)
    assert first.startswith("Patterns of 8 entries")
    assert "3 sources" in first
    assert second.startswith("These representations were compared with each other")
    assert "1 \N{MINUS SIGN} linear CKA or 1 \N{MINUS SIGN} SVCCA." in second
    lineage = pfa.stack_lineage(stack)
    assert lineage["in_words"][1] == "3 representations of 8 stimuli (3 layers), as patterns"
    assert "by 1 \N{MINUS SIGN} linear_cka" in lineage["in_words"][2]
    text = pfa.methods_text(stack)
    assert re.search(r"^Kornblith, S\..+\(2019\).+1905\.00414$", text, re.MULTILINE)
    assert re.search(r"^Raghu, M\..+\(2017\).+1706\.05806$", text, re.MULTILINE)
    assert "Examples" not in text


@pytest.mark.parametrize("name", [*METRICS, *CROSSVALIDATED, *MEASURES, "svm_accuracy"])
def test_every_metric_has_words(name):
    assert metric_in_full(name) != f"'{name}'"


def test_a_metric_of_ones_own_keeps_its_name():
    assert metric_in_full("mine") == "'mine'"


def test_similarities_are_taken_from_one():
    assert metric_in_full("linear_cka(debiased=True)").startswith("1 \N{MINUS SIGN} linear CKA")
    assert metric_in_full("angular_procrustes") == "the angular Procrustes distance"


def activations(names="abc", **columns):
    rng = np.random.default_rng(0)
    patterns = [rng.normal(size=(8, 5)) for _ in names]
    keys = [list(range(8))] * len(names)
    return pd.DataFrame(
        {"model": [*names], "activations": patterns, "entry_keys": keys, **columns}
    )


def similarities(measures=("linear_cka",), frame=None, **options):
    frame = activations() if frame is None else frame
    return pfa.get_similarity_rdms(frame, [*measures], ["model"], progress=False, **options)


def own_measure(x, y):
    return float(abs(x - y).sum())


def test_the_metric_inside_of_a_measure_makes_no_further_sources():
    # `rsa` has a metric of its own, which stands one order below; there are three networks.
    stack = similarities(["linear_cka", "rsa"])
    assert paragraphs(stack)[0].endswith("taken from 3 sources, which differ in model (3).")
    assert pfa.stack_lineage(stack)["count"].tolist() == [8, 3, 2]
    assert pfa.stack_lineage(stack)["metrics"].tolist()[1] == ()


def test_a_measure_of_ones_own_among_others_is_one_of_them():
    first, second, *_ = paragraphs(similarities(["linear_cka", ("mine", own_measure)]))
    assert first.startswith("Patterns of 8 entries")
    assert "cells above" not in second


def test_nothing_is_said_of_cells_where_only_a_name_of_ones_own_is_known():
    second = paragraphs(similarities([("mine", own_measure)]))[1]
    assert second.endswith("Dissimilarity was 'mine'.")


def test_sets_of_models_are_of_the_third_order_alone():
    parts = [activations("abcdef", dataset=name) for name in ("pets", "cars")]
    frame = pd.concat(parts, ignore_index=True)
    stack = similarities(frame=frame, grouping_variables=["dataset"])
    table = pd.DataFrame({"model": [*"abcdef"], "kind": [*"xxxyyy"]})
    third = pfa.get_consistency_rdms(stack, table, ["kind"])
    assert len(third) > 1
    # The networks and the RDMs that it was made of.
    assert pfa.stack_lineage(third)["count"].tolist() == [8, 12, 2, len(third)]
    assert "which differ in model (6) and dataset (2)." in paragraphs(third)[0]
    assert "set_1 (3)" in paragraphs(third)[2]


def test_entries_of_mean_similarities_are_no_stimuli():
    parts = [activations(dataset=name) for name in ("pets", "cars")]
    frame = pd.concat(parts, ignore_index=True)
    means = pfa.get_mean_rdms(similarities(frame=frame, grouping_variables=["dataset"]))
    assert "or the standard deviation of 1 \N{MINUS SIGN} linear CKA." in paragraphs(means)[0]
    words = pfa.stack_lineage(means)["in_words"]
    assert words[0] == "3 representations (3 networks)"
    assert words[1].startswith("2 RDMs of 3 entries")


def test_metrics_that_tell_entries_apart_are_named_in_words():
    options = {"progress": False, "dissim_metrics": ["euclidean_distance"]}
    stack = pd.concat([first_order("corr"), first_order("cosine")], ignore_index=True)
    grouping = {"grouping_variables": ["model", "dissim_metric"]}
    second = pfa.get_meta_rdms(stack, None, ["layer"], **grouping, **options)
    third = pfa.get_meta_rdms(
        second, None, ["dissim_metric_sub"], grouping_variables=["model"], **options
    )
    assert "2 entries (metric of the first order), 1 pair." in paragraphs(third)[2]


def test_each_activation_type_has_a_sentence_that_stands_alone():
    means = "are of the means of a layer's channels over positions."
    text = pfa.methods_text(first_order().assign(activation_type="feature_means"))
    assert f"Patterns called 'feature_means' {means}" in text
    both = first_order().assign(activation_type=["feature_means", "unit_level", "mine"] * 2)
    units = "'unit_level' are of all units of a layer"
    assert f"Patterns called {units}, 'feature_means' {means}" in pfa.methods_text(both)
    assert "Patterns called" not in pfa.methods_text(first_order().assign(activation_type="mine"))


def test_no_stack_below_is_asked_for_where_there_can_be_none():
    text = pfa.methods_text(first_order().drop(columns="dissim_metric"))
    assert "[The stack does not say by what metric.]" in text


def test_rows_of_which_nothing_is_on_record_are_counted():
    known = first_order().assign(row_key="key", random_state=7, batch_size=16)
    both = pd.concat([known, first_order("cosine")], ignore_index=True)
    text = pfa.methods_text(both)
    assert "How 6 of 12 rows were computed is on record." in text
    assert "on 16 images at a time. The seed was 7." in text
    assert "on record" not in pfa.methods_text(known)


def test_a_single_entry_is_no_entries():
    one = pd.DataFrame({"matrix": [np.zeros((1, 1))], "entry_keys": [["cup"]]})
    assert "the dissimilarities of 1 entry, 0 pairs." in pfa.methods_text(one)
    assert pfa.stack_lineage(one)["in_words"][1].startswith("1 RDM of 1 stimulus")


def test_cells_and_labels_of_any_type_are_written_as_text():
    labels = tuple({0: key[0], "size": k} for k, key in enumerate(KEYS))
    odd = first_order().assign(
        dissim_metric=[["corr", 1]] * 6,
        activation_type=[["unit_level"]] * 6,
        versions=[{"torch": "8.8"}] * 6,
        entry_labels=[labels] * 6,
    )
    text = pfa.methods_text(odd)
    assert "4 entries (0 (4) and size (4))" in text
    assert "Dissimilarity was '['corr', 1]'." in text
    assert "computed with {'torch': '8.8'}." in text


def test_stacks_below_must_be_of_lower_orders():
    with pytest.raises(ValueError, match=r"`below\[0\]` is of order 2, and `rdm_df` of order 1"):
        pfa.methods_text(first_order(), below=[second_order()])
    with pytest.raises(ValueError, match="two stacks of order 1"):
        pfa.methods_text(second_order(), below=[first_order(), first_order()])
