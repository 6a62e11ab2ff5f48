"""From missing rows to passes: which sets go together, and what waits, counted by hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from made_runs import FAST, FULL, SLOW, Maps, image_set, pictures, prepared, use_disk
from torch import nn

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import rdm_call, rdm_plan, rdm_units
from pytorch_feature_analysis.activations import BatchTimes
from pytorch_feature_analysis.rdm_call import Call, LaidOut
from pytorch_feature_analysis.rdm_plan import pack_runs

OPTIONS = {
    "rdm_name": "",
    "which_layers": None,
    "dissim_metrics": ("corr",),
    "kernel_sets": (("all", "all"),),
    "num_perms": 0,
    "num_cores": 1,
    "debug_check": False,
    "activation_types": ("unit_level", "feature_means"),
    "exclude_prefix_tokens": False,
    "calls": "last",
    "batch_size": 4,
    "device": None,
    "num_threads": 1,
    "memory_budget": "1GB",
    "projection": None,
    "random_state": 0,
    "is_kept": False,
}


def laid_out(sets, models, **options):
    return LaidOut.of(Call.of(sets, models, **(OPTIONS | options)), None)


def planned(sets, models, **options):
    """The planner, and runs with their passes."""
    found = laid_out(sets, models, **options)
    return found.passes(found.rows)


def test_sets_share_a_run_until_its_images_are_too_many(monkeypatch):
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 10)
    sets = [range(4), range(2, 8), range(8, 10), range(10, 12), range(3), range(11, 13)]
    # The fourth set would make twelve; it and those behind it have 2 + 3 + 1.
    assert pack_runs(sets) == [[0, 1, 2], [3, 4, 5]]
    assert pack_runs([]) == []
    # A set is never cut in two, and what it holds already goes along.
    assert pack_runs([range(30), range(5, 20), range(29, 31)]) == [[0, 1], [2]]
    assert pack_runs([range(4), range(30)]) == [[0], [1]]


def test_sets_that_are_added_behind_change_no_run():
    rng = np.random.default_rng(0)
    sets = [rng.choice(2000, int(rng.integers(1, 200)), replace=False) for _ in range(40)]
    runs = pack_runs(sets)
    assert len(runs) > 5
    for n in range(1, 40):
        fewer = [[index for index in run if index < n] for run in runs]
        assert pack_runs(sets[:n]) == [run for run in fewer if run]


def test_images_of_a_run_are_numbered_anew_and_sets_keep_their_places(monkeypatch):
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 5)
    images = list(pictures(8).items())
    sets = [image_set(images[:4], set="a"), image_set([images[6], images[2], images[7]], set="b")]
    _, shared_out = planned(sets, prepared())
    (first, _), (second, _) = shared_out
    assert (first.positions, first.set_indices) == ((0, 1, 2, 3), (0,))
    # In the pool the new images follow in order of their appearance.
    assert (second.positions, second.set_indices) == ((4, 2, 5), (1,))
    assert second.sets[0].positions == (0, 1, 2)
    assert {cell.set_index for cell in second.wanted} == {1}


@pytest.mark.parametrize(
    "types", [["unit_level"], ["feature_means"], ["unit_level", "feature_means"]]
)
def test_what_waits_is_counted_in_bytes(types):
    sets = [image_set(pictures(10))]
    planner, ((run, _),) = planned(sets, prepared(), activation_types=types)
    loads = {load.layer: load for load in planner._loads(run)}
    units = {"original_rgb": 192, "conv1": 180, "relu1": 180, "dropout1": 180, "fc1": 4}
    channels = {"original_rgb": 3, "conv1": 5, "relu1": 5, "dropout1": 5}
    for layer, n_units in units.items():
        # Outputs are float32, and means float64; a vector is kept once, whatever its type.
        expected = 4 * n_units if "unit_level" in types or layer == "fc1" else 0
        if "feature_means" in types:
            expected += 8 * channels.get(layer, 0)
        # Eight wait for the last two; what hands its input on waits with that.
        assert loads[layer].held_bytes == (0 if layer == "dropout1" else 8 * expected), layer
        assert layer == "dropout1" or loads[layer].pattern_bytes == expected, layer


def test_class_tokens_and_numbers_of_double_precision_are_counted():
    class Double(nn.Module):
        def __init__(self):
            super().__init__()
            self.class_token = nn.Parameter(torch.zeros(1, 1, 7, dtype=torch.float64))
            self.norm = nn.LayerNorm(7, dtype=torch.float64)

        def forward(self, x):
            return self.norm(x.flatten(1)[:, :42].reshape(-1, 6, 7) + self.class_token)

    planner, ((run, _),) = planned(
        [image_set(pictures(5))],
        prepared(Double()),
        which_layers=["norm"],
        activation_types=["cls_token", "feature_means", "unit_level"],
    )
    (load,) = planner._loads(run)
    assert load.pattern_bytes == 8 * (7 + 7 + 42)


def test_a_layer_that_hands_its_input_on_waits_itself_where_other_channels_are_asked_for():
    kernel_sets = [("one", {("net", "relu1"): [0]}), ("two", {("net", "dropout1"): [1]})]
    planner, ((run, _),) = planned(
        [image_set(pictures(10))],
        prepared(),
        which_layers=["relu1", "dropout1"],
        kernel_sets=kernel_sets,
        activation_types=["unit_level"],
    )
    held = {load.layer: load.held_bytes for load in planner._loads(run)}
    assert held == {"relu1": 8 * 180 * 4, "dropout1": 8 * 180 * 4}


def test_a_layer_that_hands_its_input_on_passes_with_the_layer_that_it_has_it_from(monkeypatch):
    use_disk(monkeypatch, SLOW)
    sets = [image_set(pictures(10))]
    # relu1 and conv1 do not fit at once.
    planner, ((run, passes),) = planned(
        sets,
        prepared(),
        which_layers=["conv1", "relu1", "dropout1"],
        activation_types=["unit_level"],
        memory_budget=5760 + 3 * 8 * 10 * 10,
    )
    assert len(passes) == 2
    layers = [{t.label[0] for t in job.targets} for job in planner.jobs(run, passes)]
    assert sorted(map(sorted, layers)) == [["conv1"], ["dropout1", "relu1"]]


def test_costs_are_measured_only_where_more_than_one_way_leads_through_a_run(monkeypatch):
    timed = []
    real = rdm_units.time_batch
    monkeypatch.setattr(
        rdm_units, "time_batch", lambda *args, **more: timed.append(1) or real(*args, **more)
    )
    monkeypatch.setattr(rdm_units, "probe_disk", lambda: timed.append("disk") or SLOW)
    models = {**prepared(), **prepared(Maps(1), "second")}
    sets = [image_set(pictures(10, seed=seed), set=str(seed)) for seed in (0, 1)]
    planned(sets, models)
    assert timed == []
    planned(sets, models, memory_budget=40_000)
    # Each model once, and the disk once.
    assert sorted(map(str, timed)) == ["1", "1", "disk"]


def test_workers_on_one_machine_share_the_budget_and_those_elsewhere_do_not(monkeypatch):
    sets, models = [image_set(pictures(10))], prepared()
    stack = 8 * 10 * 10 * 10  # ten rows
    for workers, share, expected in ((1, True, 10**6), (4, True, 10**6 // 4), (4, False, 10**6)):
        monkeypatch.setattr(rdm_call, "count_workers", lambda _, found=(workers, share): found)
        planner, _ = planned(sets, models, memory_budget=10**6 + stack)
        assert planner.room == expected


def test_each_worker_gets_a_pass_where_a_run_is_large(monkeypatch):
    use_disk(monkeypatch, FAST)
    monkeypatch.setattr(rdm_call, "count_workers", lambda _: (2, True))
    sets, models = [image_set(pictures(10))], prepared()
    ((_, passes),) = planned(sets, models)[1]
    assert len(passes) == 1
    monkeypatch.setattr(rdm_call, "_LARGE_RUN", 0)
    ((_, passes),) = planned(sets, models)[1]
    assert len(passes) >= 2
    # Two models are work for two already.
    shared_out = planned(sets, {**models, **prepared(Maps(1), "second")})[1]
    assert [len(passes) for _, passes in shared_out] == [1, 1]


NEEDED = 4 * 192 + 8 * 3  # of one image at the input, which is the largest


def test_a_budget_for_less_than_one_pattern_is_refused_with_the_one_that_works(monkeypatch):
    use_disk(monkeypatch, FAST)
    with pytest.raises(
        ValueError,
        match=r"`memory_budget` leaves 791 bytes for the patterns of model 'net', but those of one"
        r" image at layer 'original_rgb' take 792 bytes\. The smallest budget that works is"
        r" '1MB'\.",
    ):
        planned([image_set(pictures(10))], prepared(), memory_budget=4 * NEEDED - 4)
    planned([image_set(pictures(10))], prepared(), memory_budget=4 * NEEDED)


def test_a_budget_for_too_little_of_a_layer_is_refused_where_the_disk_is_full(monkeypatch):
    use_disk(monkeypatch, FULL)
    sets = [image_set(pictures(10))]
    budget = 8 * NEEDED + 10 * 8 * 10 * 10  # and ten rows
    with pytest.raises(
        ValueError,
        match=r"for the patterns of model 'net', and the folder of temporary files 0 bytes, but"
        r" those of a set at layer 'original_rgb' take 6\.34 KB\. The smallest budget that works"
        r" is '1MB'",
    ):
        planned(sets, prepared(), memory_budget=budget - 1)
    planned(sets, prepared(), memory_budget=budget)


class Growing(nn.Module):
    """Layers of which each asks for more than the one before: 1, 2 and 3 MB an image."""

    def forward(self, x):
        return self.third(self.second(self.first(x)))

    def __init__(self):
        super().__init__()
        for name, n_units in (("first", 10), ("second", 20), ("third", 30)):
            self.add_module(name, Repeating(25_000 * n_units))


class Repeating(nn.Module):
    def __init__(self, n_units):
        super().__init__()
        self.n_units = n_units

    def forward(self, x):
        # All units are one in memory.
        return x.flatten(1)[:, :1].expand(-1, self.n_units)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("disk", [FAST, FULL])
@pytest.mark.parametrize("order", [1, -1])
def test_the_budget_that_is_said_to_work_works_and_less_does_not(
    order, disk, workers, monkeypatch
):
    use_disk(monkeypatch, disk)
    monkeypatch.setattr(rdm_call, "count_workers", lambda _: (workers, True))
    options = {
        "which_layers": ["first", "second", "third"][::order],
        "activation_types": ["unit_level"],
    }
    sets, models = [image_set(pictures(5))], prepared(Growing())
    with pytest.raises(ValueError, match="smallest budget that works is") as caught:
        planned(sets, models, memory_budget=1000, **options)
    said = str(caught.value).rpartition("works is '")[2].removesuffix("'.")
    # Of one image, or of the four that wait for the last where there is no disk.
    per_worker = 3 if disk is FAST else 12
    assert said == f"{per_worker * workers + 1}MB"  # beside the stack
    planned(sets, models, memory_budget=said, **options)
    with pytest.raises(ValueError, match="smallest budget"):
        planned(sets, models, memory_budget=f"{per_worker * workers - 1}MB", **options)


def test_layers_are_shared_out_in_the_order_of_the_network():
    # The order of a set of texts is another one in each process.
    planner, ((run, passes),) = planned([image_set(pictures(10))], prepared())
    loads = [load.layer for load in planner._loads(run)]
    assert loads == [target.label[0] for target in run.plan.targets]
    assert len(passes) == 1


UNITS = [(10_000_000, 8), (7_999_999, 16), (8_000_000, 8), (15_999_999, 8), (16_000_000, 4)]


@pytest.mark.parametrize(("n_units", "expected"), UNITS)
def test_large_networks_pass_in_small_batches(n_units, expected):
    models = prepared(nn.Sequential(Repeating(n_units)))
    options = {"which_layers": ["original_rgb", "0"], "batch_size": None}
    (plan,) = laid_out([image_set(pictures(2))], models, **options).call.plans
    assert plan.batch_size == expected


def test_the_batch_size_follows_from_the_network_and_not_from_what_is_asked_for():
    # One layer and a container around it: the same numbers, which are there once.
    inner = nn.Sequential(Repeating(5_000_000))
    models = prepared(nn.Sequential(inner, nn.Flatten(), Repeating(1)))
    for layers in (["repeating1"], ["repeating2"], ["0"], ["0", "0.0"], None):
        options = {"which_layers": layers, "batch_size": None}
        (plan,) = laid_out([image_set(pictures(2))], models, **options).call.plans
        assert plan.batch_size == 8, layers  # 10 million units with the flattened ones


AT_ONCE = [(16, 16), (17, 20), (20, 20), (92, 92), (125, 128), (128, 128), (129, 16), (1000, 16)]


@pytest.mark.parametrize(("n_images", "expected"), AT_ONCE)
def test_sets_of_middling_size_pass_at_once(n_images, expected):
    options = {"which_layers": ["fc1"], "batch_size": None}
    (plan,) = laid_out([image_set(pictures(2))], prepared(), **options).call.plans
    assert plan.batch_size_for(n_images) == expected


def test_sets_pass_at_once_only_where_the_network_is_small_and_nothing_else_was_asked_for():
    def plan_of(n_units, batch_size):
        models = prepared(nn.Sequential(Repeating(n_units)))
        options = {"which_layers": ["original_rgb", "0"], "batch_size": batch_size}
        return laid_out([image_set(pictures(2))], models, **options).call.plans[0]

    assert plan_of(1_000_000, None).batch_size_for(128) == 128
    assert plan_of(1_000_001, None).batch_size_for(128) == 16
    assert plan_of(1_000_001, None).batch_size_for(124) == 124
    assert plan_of(8_000_000, None).batch_size_for(16) == 16
    assert plan_of(9_000_000, None).batch_size_for(12) == 12
    assert plan_of(9_000_000, None).batch_size_for(16) == 8
    assert plan_of(1000, 16).batch_size_for(92) == 16


def test_sets_that_pass_at_once_go_together_where_they_share_images():
    images = list(pictures(100).items())
    sets = [
        image_set(images[start:stop], set=name)
        for name, start, stop in (
            *(("a", 0, 18), ("b", 20, 38), ("of both", 10, 28), ("of b", 21, 38)),
            *(("few", 38, 40), ("fewer", 50, 51), ("more", 0, 30)),
        )
    ]
    _, shared_out = planned(sets, prepared(), batch_size=None)
    of_run = [
        (run.batch_size, [sets[i][0]["set"] for i in run.set_indices]) for run, _ in shared_out
    ]
    assert of_run == [
        *((16, ["few", "fewer"]), (20, ["a"]), (20, ["b", "of both", "of b"]), (32, ["more"]))
    ]


def test_a_set_that_passes_at_once_has_its_numbers_whatever_else_is_asked_for(tmp_path):
    def rows_of(sets):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        pfa.get_rdms(sets, prepared(), out_fname=out, progress=False)
        return pfa.read_rdms(out, provenance=True)

    images = list(pictures(40).items())
    first, second = image_set(images[:30], set="a"), image_set(images[5:22], set="b")
    third = image_set(images[25:], set="c")
    together = rows_of([third, first, second])
    for one, size in ((first, 32), (second, 20), (third, 16)):
        alone = rows_of([one])
        same = together[together["set"] == one[0]["set"]]
        assert set(alone["batch_size"]) == set(same["batch_size"]) == {size}
        for a, b in zip(alone["matrix"], same["matrix"], strict=True):
            assert a.tobytes() == b.tobytes()


def test_automatic_batches_are_those_that_take_least_time_an_image(monkeypatch):
    for seconds, expected in (
        ({4: 4.0, 16: 8.0, 64: 64.0}, 16),
        ({4: 1.0, 16: 8.0, 64: 64.0}, 4),
        ({4: 4.0, 16: 16.0, 64: 32.0}, 64),
    ):
        monkeypatch.setattr(
            rdm_plan,
            "time_batch",
            lambda *args, seconds=seconds, **_: BatchTimes(seconds[args[3]], {}),
        )
        found = laid_out([image_set(pictures(2))], prepared(), batch_size="auto")
        assert found.call.plans[0].batch_size == expected


def test_automatic_batches_are_none_that_the_memory_does_not_hold():
    class Small(Maps):
        def forward(self, x):
            if len(x) > 4:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().forward(x)

    found = laid_out([image_set(pictures(2))], prepared(Small()), batch_size="auto")
    assert found.call.plans[0].batch_size == 4


@pytest.mark.parametrize(
    ("bad", "error", "match"),
    [
        (0, ValueError, "`batch_size` must be at least 1, not 0"),
        (2.5, TypeError, "`batch_size` must be a whole number, not 2.5"),
        (True, TypeError, "`batch_size` must be a whole number, not True"),
        ("large", TypeError, "`batch_size` must be a number of images, None .* not 'large'"),
        ("16", TypeError, "'auto' to measure, not '16'"),
    ],
)
@pytest.mark.parametrize("function", [pfa.get_rdms, pfa.plan_rdms])
def test_batch_sizes_that_are_none_are_refused_before_any_pass(function, bad, error, match):
    models = prepared()
    models["net"].register_forward_hook(lambda *_: pytest.fail("a pass that nobody asked for"))
    with pytest.raises(error, match=match):
        function([image_set(pictures(2))], models, batch_size=bad)


def test_a_run_is_long_from_so_many_activations_on(monkeypatch):
    use_disk(monkeypatch, SLOW)
    sets, models = [image_set(pictures(10))], prepared()
    n_units = 192 + 3 * 180 + 4
    for amount, n_passes in (("1GB", 1), (24_000, 2)):
        planner, shared_out = planned(sets, models, memory_budget=amount)
        assert [len(passes) for _, passes in shared_out] == [n_passes]
        monkeypatch.setattr(rdm_units, "_LONG_RUN", 10 * n_units * n_passes)
        assert planner.is_long(shared_out)
        monkeypatch.setattr(rdm_units, "_LONG_RUN", 10 * n_units * n_passes + 1)
        assert not planner.is_long(shared_out)
    assert not planner.is_long([])


def test_before_a_long_run_the_log_says_how_long(monkeypatch, caplog):
    sets, models = [image_set(pictures(10))], prepared()
    for limit, is_said in ((10**15, False), (0, True)):
        monkeypatch.setattr(rdm_units, "_LONG_RUN", limit)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            pfa.get_rdms(sets, models, batch_size=4, progress=False)
        lines = [line for line in caplog.messages if line.startswith("plan for")]
        assert len(lines) == is_said
    assert lines[0].startswith(
        "plan for model 'net': 10 images, 5 layers, one pass (1 passes, as long as 1.0 full ones),"
        " 18.6 KB in memory of 29.4 KB of activations, about"
    )
    assert [r.levelname for r in caplog.records if r.getMessage() in lines] == ["INFO"]
    caplog.clear()
    pfa.get_rdms(sets, models, batch_size=4, progress=False, verbose=True)
    assert sum(line.startswith("plan for") for line in caplog.messages) == 1
