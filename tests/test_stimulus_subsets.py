"""Stimuli chosen by their classes: so many in all, so many of each."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pytorch_feature_analysis as pfa


def of_sizes(*sizes, mixed=True):
    """Targets of classes 0, 1, ... with these many stimuli, in a mixed order."""
    targets = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(0).permutation(targets) if mixed else targets


def counts(targets, chosen):
    return np.unique(np.asarray(targets)[chosen], return_counts=True)[1].tolist()


@pytest.mark.parametrize(
    ("n_classes", "quota", "total"),
    # ceil(10000 / C) and C times it, by hand
    [(211, 48, 10_128), (196, 52, 10_192), (43, 233, 10_019), (100, 100, 10_000)],
)
def test_each_class_gives_the_share_rounded_up(n_classes, quota, total):
    targets = of_sizes(*[250] * n_classes)
    chosen = pfa.stratified_subset(targets)
    assert counts(targets, chosen) == [quota] * n_classes
    assert len(chosen) == total


def test_a_class_below_its_quota_gives_all_it_has_and_is_named(caplog):
    targets = of_sizes(6000, 5000, 7)
    chosen = pfa.stratified_subset(targets, max_total=9000)  # quota 3000
    assert counts(targets, chosen) == [3000, 3000, 7]
    assert set(np.flatnonzero(targets == 2)) <= set(chosen)
    assert caplog.messages == [
        "1 of 3 classes have fewer than 3000 stimuli, and are taken whole: 2 (7)."
    ]


def test_only_the_first_of_many_short_classes_are_named(caplog):
    pfa.per_class_subset(of_sizes(*[1] * 12, mixed=False), 2, short="all")
    assert caplog.messages[0].endswith("8 (1), 9 (1) and 2 more.")


def test_a_dataset_that_is_small_enough_is_taken_whole():
    targets = of_sizes(9, 1)
    np.testing.assert_array_equal(pfa.stratified_subset(targets, max_total=10), np.arange(10))
    # One stimulus more than asked for, and the quota of five a class takes its part.
    targets = of_sizes(10, 1)
    assert counts(targets, pfa.stratified_subset(targets, max_total=10)) == [5, 1]


def test_the_quota_is_said_to_be_no_cap(caplog):
    pfa.stratified_subset(of_sizes(10, 10, 10), max_total=10)
    (message,) = caplog.messages
    assert message == (
        "12 stimuli are taken, more than max_total=10: 4 of each class is a quota rounded up."
        " With cap=True there are 10 at most."
    )


def test_the_log_tells_the_sizes(caplog):
    with caplog.at_level(logging.INFO):
        pfa.stratified_subset(of_sizes(10, 10), max_total=10)
        pfa.stratified_subset(of_sizes(2, 2), max_total=10)
    assert caplog.messages == [
        "10 of 20 stimuli are taken: 5 to 5 of each of 2 classes.",
        "all 4 stimuli are taken: max_total=10.",
    ]


def test_a_cap_takes_one_stimulus_from_as_many_full_classes_as_needed(caplog):
    targets = of_sizes(*[250] * 211)
    capped = pfa.stratified_subset(targets, cap=True)
    # 211 · 48 - 10000 = 128 classes lose one
    assert sorted(counts(targets, capped)) == [47] * 128 + [48] * 83
    assert set(capped) < set(pfa.stratified_subset(targets))
    assert len(caplog.messages) == 1  # of the uncapped one
    np.testing.assert_array_equal(capped, pfa.stratified_subset(targets, cap=True))


def test_a_cap_leaves_small_classes_alone():
    targets = of_sizes(100, 100, 100, 3)
    # quota ceil(10 / 4) = 3; of 12 stimuli, two classes lose one
    chosen = pfa.stratified_subset(targets, max_total=10, cap=True)
    assert sorted(counts(targets, chosen)) == [2, 2, 3, 3]
    targets = of_sizes(100, 100, 100, 1)
    # now there are 10 as it is
    assert counts(targets, pfa.stratified_subset(targets, 10, cap=True)) == [3, 3, 3, 1]


@pytest.mark.parametrize("seed", range(30))
def test_a_cap_holds_for_any_sizes(seed):
    rng = np.random.default_rng(seed)
    targets = of_sizes(*rng.integers(1, 30, size=rng.integers(1, 12)))
    max_total = int(rng.integers(1, 80))
    sizes = np.bincount(targets)
    # oracle: the rule, class by class
    quota = math.ceil(max_total / len(sizes))
    free = [int(min(size, quota)) for size in sizes]
    if len(targets) <= max_total:
        free = sizes.tolist()
    chosen = pfa.stratified_subset(targets, max_total)
    assert counts(targets, chosen) == free
    capped = pfa.stratified_subset(targets, max_total, cap=True)
    assert len(capped) == min(max_total, len(chosen))
    lost = np.array(free) - np.bincount(targets[capped], minlength=len(sizes))
    assert set(lost) <= {0, 1}
    assert (np.array(free)[lost == 1] == quota).all()


def test_a_cap_below_the_number_of_classes_leaves_some_without_a_stimulus_and_names_them(caplog):
    targets = ["a", "a", "b", "b", "c", "c"]
    chosen = pfa.stratified_subset(targets, max_total=2, cap=True)
    (gone,) = {"a", "b", "c"} - {targets[k] for k in chosen}
    assert len(chosen) == 2
    (message,) = caplog.messages
    assert message == (
        "1 of 3 classes have no stimulus in the subset, since max_total is smaller than the"
        f" number of classes: '{gone}'."
    )


@pytest.mark.parametrize("per_class", [1, 5, 10, 20, 30, 40])
def test_each_class_gives_exactly_as_many_as_asked(per_class):
    targets = of_sizes(50, 40, 45, 60)
    chosen = pfa.per_class_subset(targets, per_class)
    assert counts(targets, chosen) == [per_class] * 4


def test_classes_that_are_too_small_are_an_error_that_names_them():
    targets = ["cup"] * 5 + ["hat"] * 3 + ["pen"] * 2
    with pytest.raises(ValueError, match=r"4 stimuli of each class, which 'hat' \(3\), 'pen' \(2"):
        pfa.per_class_subset(targets, 4)
    with pytest.raises(ValueError, match="Ask for 2 at most"):
        pfa.per_class_subset(targets, 4)
    assert counts(targets, pfa.per_class_subset(targets, 4, short="all")) == [4, 3, 2]


@pytest.mark.parametrize(
    "choose",
    [lambda targets, **k: pfa.per_class_subset(targets, 5, **k),
     lambda targets, **k: pfa.stratified_subset(targets, 20, **k)],
)  # fmt: skip
def test_positions_are_ascending_whole_numbers_that_come_once(choose):
    targets = of_sizes(40, 40, 40, 40)
    kept = targets.copy()
    chosen = choose(targets)
    assert chosen.dtype.kind == "i"
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(targets, kept)
    np.testing.assert_array_equal(chosen, choose(targets))
    assert chosen.tolist() != choose(targets, random_state=43).tolist()
    assert chosen.tolist() != choose(targets, random_state=None).tolist()
    generator = np.random.default_rng(1)
    assert (
        choose(targets, random_state=generator).tolist()
        != choose(targets, random_state=generator).tolist()
    )


def test_the_global_generator_plays_no_part():
    np.random.seed(0)  # noqa: NPY002 - the state that must not matter
    first = pfa.per_class_subset(of_sizes(40), 5)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(first, pfa.per_class_subset(of_sizes(40), 5))


def test_the_draw_from_a_class_does_not_depend_on_the_others():
    alone = np.flatnonzero(np.array(["cup"] * 30) == "cup")[pfa.per_class_subset(["cup"] * 30, 4)]
    among = np.array((["cup", "hat"] * 30) + ["pen"] * 50)
    chosen = pfa.per_class_subset(among, 4)
    cups = np.flatnonzero(among == "cup")
    np.testing.assert_array_equal(cups[alone], chosen[among[chosen] == "cup"])
    # but on its own name, so that classes do not all give the same places
    hats = np.flatnonzero(among == "hat")
    assert set(hats[alone]) != set(chosen[among[chosen] == "hat"])


def test_smaller_subsets_are_parts_of_larger_ones_and_of_the_stratified_one():
    targets = of_sizes(50, 60, 70)
    one, five, ten = (set(pfa.per_class_subset(targets, k)) for k in (1, 5, 10))
    assert one < five < ten
    assert ten == set(pfa.stratified_subset(targets, max_total=28))  # ceil(28 / 3) = 10


def test_draws_are_uniform():
    hits = np.zeros(20)
    for seed in range(2000):
        hits[pfa.per_class_subset(np.zeros(20), 5, random_state=seed)] += 1
    # 500 each, and a standard deviation of sqrt(2000 · 1/4 · 3/4) = 19.4
    assert np.abs(hits - 500).max() < 4.5 * 19.4


def test_targets_may_come_in_any_kind_of_sequence():
    targets = of_sizes(10, 12)
    expected = pfa.per_class_subset(targets, 3)
    for same in [
        targets.tolist(),
        list(targets),
        targets.astype(np.float32),
        targets.astype(np.uint8),
        pd.Series(targets, index=range(100, 122)),
        torch.tensor(targets),
    ]:
        np.testing.assert_array_equal(pfa.per_class_subset(same, 3), expected)


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        ([], ValueError, "`targets` is empty"),
        ("cup", TypeError, "one item a stimulus, not 'cup'"),
        (3, TypeError, "`targets` must be a list or array"),
        (np.array(3), TypeError, "one item a stimulus, not 3"),
        ([[0, 1], [1, 0]], TypeError, r"one class a stimulus, but stimulus 0 has \[0, 1\]"),
        ([0, 1, float("nan")], ValueError, "whole numbers or names, but stimulus 2 has nan"),
        (["cup", None], ValueError, "stimulus 1 has None"),
        ([0.5, 1.0], ValueError, "stimulus 0 has 0.5"),
    ],
)
def test_targets_that_are_no_classes_are_refused(targets, error, match):
    with pytest.raises(error, match=match):
        pfa.stratified_subset(targets)
    with pytest.raises(error, match=match):
        pfa.per_class_subset(targets, 1)


def test_bad_numbers_and_options_are_refused():
    with pytest.raises(ValueError, match="`max_total` must be at least 1, not 0"):
        pfa.stratified_subset([0, 1], 0)
    with pytest.raises(TypeError, match=r"`per_class` must be a whole number, not 1.5"):
        pfa.per_class_subset([0, 1], 1.5)
    with pytest.raises(ValueError, match=r"`short` names 'al'.*Did you mean 'all'"):
        pfa.per_class_subset([0, 1], 1, short="al")
    with pytest.raises(TypeError, match="`random_state` must be an int"):
        pfa.per_class_subset([0, 1], 1, random_state="42")
