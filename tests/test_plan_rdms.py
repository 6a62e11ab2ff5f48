"""`plan_rdms`: what is said before a run is what the run then does."""

from __future__ import annotations

import numpy as np
import pytest
from made_runs import (
    FAST,
    FULL,
    SLOW,
    Maps,
    budget,
    image_set,
    pictures,
    prepared,
    use_disk,
    watched_passes,
)

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import accumulation, rdm_forecast, rdm_plan, rdm_units
from pytorch_feature_analysis.activations import BatchTimes
from pytorch_feature_analysis.pattern_rows import SpillFile, Table

COLUMNS = [
    *["model", "image_sets", "images", "layers", "rdms", "regime", "passes", "full_passes"],
    *["batch_size", "activation_bytes", "memory_bytes", "file_bytes", "stack_bytes", "seconds"],
]
BATCHES_OF_4 = {"batch_size": 4}
# Bytes of one image's patterns, both types together: float32 units, and float64 means.
INPUT, CONV, FC = 4 * 192 + 8 * 3, 4 * 180 + 8 * 5, 4 * 4


def twelve():
    """Ten images and a mean of two of them; five images, three of which are of the ten."""
    images = list(pictures(12).items())
    mean = (("mean",), [key for key, _ in images[:2]], np.mean, {"axis": 0}, False)
    return [image_set(images[:10], [mean], set="ten"), image_set(images[7:], set="five")]


def plan_of(sets, models, **options):
    (row,) = pfa.plan_rdms(sets, models, **(BATCHES_OF_4 | options)).to_dict("records")
    return row


def test_the_columns_are_as_documented_and_counted_by_hand():
    table = pfa.plan_rdms(
        twelve(), prepared(), dissim_metrics=["corr", "cosine"], num_perms=2, batch_size=4
    )
    assert list(table) == COLUMNS
    (row,) = table.to_dict("records")
    assert row["seconds"] > 0
    expected = {
        "model": "net",
        "image_sets": 2,
        "images": 12,
        "layers": 5,
        "rdms": 2 * 5 * 2 * 2 * 3,  # sets, layers, types, metrics, and the permutations
        "regime": "one pass",
        "passes": 1,
        "full_passes": 1.0,
        "batch_size": 4,
        "activation_bytes": 4 * 12 * (192 + 3 * 180 + 4),
        # The first eight wait for the last batch, which ends both sets; dropout's are those of
        # the ReLU.
        "memory_bytes": 8 * (INPUT + 2 * CONV + FC),
        "file_bytes": 0,
        "stack_bytes": 8 * (11**2 + 5**2) * 5 * 2 * 2 * 3,
    }
    assert {name: row[name] for name in expected} == expected


def test_the_counts_are_those_of_the_stack_that_is_made():
    options = {"dissim_metrics": ["corr", "cosine"], "num_perms": 1}
    kernels = [("all", "all"), ("two", {("net", "conv1"): [0, 3]})]
    plan = plan_of(twelve(), prepared(), kernel_sets=kernels, **options)
    made = pfa.get_rdms(twelve(), prepared(), kernel_sets=kernels, progress=False, **options)
    assert plan["rdms"] == len(made)
    assert plan["stack_bytes"] == sum(matrix.nbytes for matrix in made["matrix"])
    assert plan["layers"] == made["layer"].nunique()


def test_every_model_has_its_row():
    models = {**prepared(name="second"), **prepared(Maps(1), "first")}
    table = pfa.plan_rdms(twelve(), models, which_layers={"first": ["fc1", "relu"]})
    assert table["model"].tolist() == ["second", "first"]
    assert table["layers"].tolist() == [5, 2]
    assert table["batch_size"].tolist() == [16, 16]
    assert table["regime"].tolist() == ["one batch", "one batch"]
    assert table["memory_bytes"].tolist() == [0, 0]


def test_a_plan_of_nothing_has_its_columns():
    table = pfa.plan_rdms(
        twelve(),
        prepared(),
        which_layers=["fc1"],
        kernel_sets=[("two", {("net", "conv1"): [0, 3]})],
    )
    assert list(table) == COLUMNS
    assert len(table) == 0


REGIMES = [
    # A share of what one pass keeps, the disk, and what comes of them.
    (1.0, SLOW, "one pass", 1),
    (0.99, SLOW, "several passes", 2),
    (0.4, SLOW, "several passes", 3),
    (0.99, FULL, "several passes", 2),
    (0.99, FAST, "file", 1),
    (0.05, FAST, "file", 1),
    (0.05, SLOW, "file", 1),
]


@pytest.mark.parametrize(("share", "disk", "regime", "n_passes"), REGIMES)
def test_the_plan_says_the_passes_that_are_made(share, disk, regime, n_passes, monkeypatch):
    use_disk(monkeypatch, disk)
    sets, models = twelve(), prepared()
    amount = budget(sets, models, share, **BATCHES_OF_4)
    plan = plan_of(sets, models, memory_budget=amount)
    assert (plan["regime"], plan["passes"]) == (regime, n_passes)
    kept = []

    def noted(kind, real):
        def put(store, slots, patterns):
            real(store, slots, patterns)
            kept.append((len(passes), kind, patterns.nbytes))

        return put

    with watched_passes(monkeypatch) as passes:
        monkeypatch.setattr(Table, "put", noted("memory_bytes", Table.put))
        monkeypatch.setattr(SpillFile, "put", noted("file_bytes", SpillFile.put))
        pfa.get_rdms(sets, models, memory_budget=amount, progress=False, **BATCHES_OF_4)
    assert len(passes) == n_passes
    # Each goes over all images, and each layer is in one.
    assert all(batches == [4, 4, 4] for _, batches in passes)
    layers = [layer for layers, _ in passes for layer in layers]
    assert sorted(layers) == ["conv1", "fc1", "original_rgb", "relu1"]
    # And what waits, all of it for the last batch, is what was said.
    for kind in ("memory_bytes", "file_bytes"):
        of_passes = [
            sum(size for number, where, size in kept if (number, where) == (one, kind))
            for one in range(1, n_passes + 1)
        ]
        assert max(of_passes) == plan[kind], kind


def test_runs_of_sets_that_differ_are_told_together(monkeypatch):
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 5)
    images = list(pictures(17).items())
    sets = [image_set(images[:9], set="large")]
    sets += [image_set(images[9:13], set="small"), image_set(images[13:], set="also small")]
    plan = plan_of(sets, prepared())
    assert plan["regime"] == "one pass and one batch"
    assert (plan["image_sets"], plan["images"], plan["passes"]) == (3, 17, 1)
    assert plan["memory_bytes"] == 8 * (INPUT + 2 * CONV + FC)
    with watched_passes(monkeypatch) as passes:
        pfa.get_rdms(sets, prepared(), progress=False, **BATCHES_OF_4)
    assert [batches for _, batches in passes] == [[4, 4, 1], [4], [4]]


# Seconds from the input to a layer's output, of a batch of four.
REACH = {"original_rgb": 0.0, "conv1": 4000.0, "relu1": 8000.0, "dropout1": 9000.0, "fc1": 16000.0}


@pytest.fixture
def timed(monkeypatch):
    """As if the network took hours, and the products nothing."""
    rdm_forecast._seconds_a_unit.cache_clear()
    monkeypatch.setattr(rdm_forecast, "seconds_a_unit", lambda n_patterns: 0.0)
    monkeypatch.setattr(rdm_units, "time_batch", lambda *_, **__: BatchTimes(16000.0, REACH))
    yield
    rdm_forecast._seconds_a_unit.cache_clear()


def test_the_time_is_that_of_the_layers_that_each_pass_reaches(timed, monkeypatch):
    images = pictures(10)  # in three batches of four, the last one padded
    plan = plan_of([image_set(images)], prepared())
    assert plan["full_passes"] == 1
    assert plan["seconds"] == pytest.approx(3 * 16000, rel=1e-3)

    use_disk(monkeypatch, SLOW)
    amount = 8 * 10 * 10 * 10 + 8 * INPUT  # the stack, and one layer at a time
    plan = plan_of([image_set(images)], prepared(), memory_budget=amount)
    # The input; conv1; the ReLU and what is behind it.
    assert plan["passes"] == 3
    assert plan["full_passes"] == pytest.approx((0 + 4000 + 16000) / 16000)
    assert plan["seconds"] == pytest.approx(3 * (0 + 4000 + 16000), rel=1e-3)


def test_a_pass_that_ends_early_is_less_than_a_full_one(timed):
    plan = plan_of([image_set(pictures(4))], prepared(), which_layers=["conv1"])
    assert plan["seconds"] == pytest.approx(4000, rel=1e-3)


def test_products_count_by_units_and_patterns(timed, monkeypatch):
    seen = []
    rdm_forecast._seconds_a_unit.cache_clear()
    monkeypatch.setattr(
        rdm_forecast, "seconds_a_unit", lambda n_patterns: seen.append(n_patterns) or 1e6
    )
    plan = plan_of(twelve(), prepared())
    # Two sets, of 11 and of 5 patterns; units and means, those of dropout with those of the ReLU.
    n_units = 192 + 3 + 2 * (180 + 5) + 4
    assert sorted(seen) == [5, 11]
    assert plan["seconds"] == pytest.approx(2 * n_units * 1e6 + 3 * 16000, rel=1e-4)


def test_a_disk_that_is_written_and_read_takes_its_time(timed, monkeypatch):
    disk = FAST.__class__(FAST.folder, FAST.free_bytes, 10.0)
    use_disk(monkeypatch, disk)
    amount = 8 * 10 * 10 * 10 + 10 * INPUT
    plan = plan_of([image_set(pictures(10))], prepared(), memory_budget=amount)
    assert plan["regime"] == "file"
    assert plan["file_bytes"] > 0
    forward = plan["full_passes"] * 3 * 16000
    assert plan["seconds"] == pytest.approx(forward + 2 * plan["file_bytes"] / 10, rel=1e-3)


def test_patterns_that_wait_are_copied_once_whatever_the_number_of_runs(timed, monkeypatch):
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 5)
    monkeypatch.setattr(rdm_forecast, "_BYTES_A_SECOND", 1e-3)
    images = list(pictures(30).items())
    sets = [image_set(images[k : k + 10], set=k) for k in (0, 10, 20)]
    one, three = plan_of(sets[:1], prepared()), plan_of(sets, prepared())
    assert three["activation_bytes"] == 3 * one["activation_bytes"]
    assert three["seconds"] == pytest.approx(3 * one["seconds"], rel=1e-3)


def test_projected_patterns_are_counted_by_their_numbers():
    options = {"projection": 50, "dissim_metrics": ["corr"]}
    plan = plan_of([image_set(pictures(10))], prepared(), **options)
    # 50 numbers, or all where there are less, and mean and spread, in float64.
    of_units, of_means, of_vector = 3 * (50 + 2), (3 + 2) + 2 * (5 + 2), 4 + 2
    assert plan["memory_bytes"] == 8 * 8 * (of_units + of_means + of_vector)


def test_a_plan_computes_nothing_and_leaves_all_as_it_was(monkeypatch):
    monkeypatch.setattr(
        accumulation, "compute_bounded_rdms", lambda *_: pytest.fail("an RDM was computed")
    )
    models, sets = prepared(), twelve()
    models["net"].train()
    plan_of(sets, models, memory_budget=50_000)
    assert models["net"].training
    assert not any(module._forward_hooks for module in models["net"].modules())
    assert [labels for labels, *_ in sets] == [{"set": "ten"}, {"set": "five"}]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"memory_budget": "much"}, TypeError, "`memory_budget` must be an amount"),
        ({"memory_budget": 1}, ValueError, "smallest budget that works"),
        ({"which_layers": ["conv9"]}, ValueError, "no such layer"),
        ({"projection": 1}, ValueError, "`projection` must be at least 2"),
        ({"num_perms": 10**9}, ValueError, "`num_perms`=1000000000"),
    ],
)
def test_what_a_run_refuses_its_plan_refuses(options, error, match):
    for function in (pfa.plan_rdms, pfa.get_rdms):
        with pytest.raises(error, match=match):
            function(twelve(), prepared(), **options)
