"""One batch, one pass, several passes or files: the same bits, and no work in vain."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
from made_runs import (
    FAST,
    FULL,
    SLOW,
    TRANSFORM,
    Maps,
    Tokens,
    assert_same_bits,
    budget,
    image_set,
    matrices,
    pictures,
    prepared,
    use_disk,
    watched_passes,
)
from scipy.spatial.distance import pdist, squareform
from torch import nn

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import (
    batches,
    bounded_rdms,
    pattern_rows,
    rdm_call,
    rdm_jobs,
    rdm_plan,
)
from pytorch_feature_analysis.activations import BatchTimes

IN_FOURS = {"batch_size": 4}


def run(sets, models, **options):
    return pfa.get_rdms(sets, models, progress=False, **(IN_FOURS | options))


def far_apart(x, y):
    return float(np.abs(x - 2 * y).max())


METRICS = ["corr", "cosine", "euclidean_distance", "spearman", "cityblock", ("mine", far_apart)]
CASES = {
    "maps": {
        "dissim_metrics": METRICS,
        "kernel_sets": [
            ("all", "all"),
            ("two", {("net", "conv1"): [3, 0], ("net", "dropout1"): [0, 1]}),
        ],
        "num_perms": 1,
    },
    "tokens": {
        "dissim_metrics": METRICS,
        "activation_types": ["unit_level", "feature_means", "cls_token"],
        "exclude_prefix_tokens": True,
    },
    "projected": {"dissim_metrics": METRICS[:3], "projection": 40},
}


def case_of(name):
    """Sets that share images, one of them within a batch; a network; options."""
    images = list(pictures(20).items())
    keys = [key for key, _ in images]
    combinations = [
        (("mean",), keys[:3], np.mean, {"axis": 0}, False),
        (("difference",), [keys[9], keys[0]], np.subtract, {}, True),
    ]
    sets = [
        image_set(images[:10], () if name == "projected" else combinations, set="combined"),
        image_set([images[i] for i in (14, 6, 9, 12, 7, 10, 13, 8, 15, 11)], set="shared"),
        image_set(images[16:], set="within a batch"),
    ]
    models = prepared(Tokens() if name == "tokens" else Maps())
    return sets, models, CASES[name]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A case, and what comes of it without a limit."""
    sets, models, options = case_of(request.param)
    assert pfa.plan_rdms(sets, models, **IN_FOURS, **options)["regime"].item() == "one pass"
    return sets, models, options, run(sets, models, **options)


REGIMES = {
    "several passes": (0.5, SLOW, "several passes"),
    "several passes by a full disk": (0.5, FULL, "several passes"),
    "some layers in files": (0.5, FAST, "file"),
    "all layers in files": (0.07, FAST, "file"),
    "the largest layer in a file, and several passes": (0.338, SLOW, None),
}


@pytest.mark.parametrize("regime", REGIMES)
def test_every_regime_gives_the_same_bits(case, regime, monkeypatch):
    sets, models, options, expected = case
    share, disk, planned = REGIMES[regime]
    use_disk(monkeypatch, disk)
    options = {**options, "memory_budget": budget(sets, models, share, **IN_FOURS, **options)}
    plan = pfa.plan_rdms(sets, models, **IN_FOURS, **options)
    assert plan["regime"].item() == planned or (planned is None and plan["passes"].item() > 1)
    assert_same_bits(run(sets, models, **options), expected)


def test_workers_with_passes_of_their_own_give_the_same_bits(case, monkeypatch):
    sets, models, options, expected = case
    monkeypatch.setattr(rdm_call, "_LARGE_RUN", 0)
    with joblib.parallel_config(backend="threading"):
        found = run(sets, models, num_cores=2, num_threads=1, **options)
    assert_same_bits(found, expected)


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_two_processes_with_passes_of_their_own_give_the_same_bits(monkeypatch):
    sets, models, options = case_of("maps")
    use_disk(monkeypatch, FAST)
    options["memory_budget"] = 2 * budget(sets, models, 0.5, **IN_FOURS, **options)
    monkeypatch.setattr(rdm_call, "_LARGE_RUN", 0)
    with watched_passes(monkeypatch) as here:
        found = run(sets, models, num_cores=2, num_threads=1, **options)
    assert here == []
    assert_same_bits(found, run(sets, models, num_threads=1, **options))


def test_a_set_within_a_batch_has_the_bits_of_one_that_spans_two(monkeypatch):
    others, images = pictures(2, seed=1, prefix="other"), pictures(4)
    alone, models = [image_set(images)], prepared()
    # Behind two others, two of the four are in each batch.
    together = [image_set(others, set="others"), *alone]
    for sets, regime in ((alone, "one batch"), (together, "one batch and one pass")):
        assert pfa.plan_rdms(sets, models, **IN_FOURS)["regime"].item() in (regime, "one pass")
    options = {"dissim_metrics": METRICS}
    found = run(together, models, **options)
    assert_same_bits(found[found["set"] == "a"], run(alone, models, **options))


def test_sets_of_different_sizes_are_told_apart_in_every_regime(monkeypatch):
    models = prepared(nn.Sequential(nn.Conv2d(3, 2, 3)))
    sets = [
        image_set(pictures(6), set="small"),
        image_set(pictures(6, (10, 12), seed=1), set="large"),
    ]
    options = {"dissim_metrics": ["euclidean_distance"], "activation_types": ["unit_level"]}
    expected = {
        ("net", "conv1", "euclidean_distance", "unit_level", "all", "orig_data", name): one
        for name, one in zip(
            ("small", "large"), (_distances(s, models) for s in sets), strict=True
        )
    }
    for share, disk in ((1, SLOW), (0.6, SLOW), (0.6, FAST)):
        use_disk(monkeypatch, disk)
        amount = budget(sets, models, share, **IN_FOURS, **options)
        found = matrices(run(sets, models, memory_budget=amount, **options))
        for row, matrix in expected.items():
            # oracle: scipy pdist of the network's output, one set at a time
            np.testing.assert_allclose(found[row], matrix, rtol=1e-5)


def _distances(one, models):
    _, images, *_ = one
    found = pfa.capture(models["net"], list(images.values()), ["conv1"])["conv1"]
    return squareform(pdist(found.reshape(len(images), -1).astype(float)))


def test_a_set_of_mixed_sizes_is_refused_with_the_names_also_over_several_batches():
    images = {**pictures(6), **pictures(6, (8, 9), 1, "wide"), **pictures(2, (8, 8), 2, "more")}
    models = prepared(nn.Sequential(nn.Conv2d(3, 2, 3)))
    with pytest.raises(
        ValueError, match=r"different sizes after the model's.*\(3, 8, 8\).*\(3, 8, 9\)"
    ):
        run([image_set(images)], models)


class Large(nn.Module):
    """Layers of 1, 2 and 3 MB an image."""

    def __init__(self):
        super().__init__()
        for name, size in (("first", 250_000), ("second", 500_000), ("third", 750_000)):
            self.add_module(name, Repeating(size))

    def forward(self, x):
        return self.third(self.second(self.first(x)))


class Repeating(nn.Module):
    def __init__(self, n_units):
        super().__init__()
        self.n_units = n_units

    def forward(self, x):
        return x.flatten(1)[:, :1].expand(-1, self.n_units)


@pytest.mark.parametrize("disk", [FAST, FULL])
def test_a_budget_that_is_too_small_names_the_smallest_that_works(disk, monkeypatch):
    use_disk(monkeypatch, disk)
    sets, models = [image_set(pictures(3))], prepared(Large())
    options = {
        "which_layers": ["first", "second", "third"],
        "activation_types": ["unit_level"],
        "dissim_metrics": ["squared_euclidean"],
        "batch_size": 2,
    }
    with pytest.raises(ValueError, match="The smallest budget that works is") as caught:
        run(sets, models, memory_budget="300KB", **options)
    said = str(caught.value).rpartition("works is '")[2].removesuffix("'.")
    found = run(sets, models, memory_budget=said, **options)
    # By hand: all units are the first of the image.
    first = [TRANSFORM(image).flatten()[0].item() for image in sets[0][1].values()]
    for matrix, size in zip(found["matrix"], (250_000, 500_000, 750_000), strict=True):
        expected = size * np.subtract.outer(first, first) ** 2
        np.testing.assert_allclose(matrix, expected, rtol=1e-6)


ONE_LAYER = {"activation_types": ["unit_level"]}


def one_layer_at_a_time(sets, models):
    """A budget for which there are passes for the input, for conv1, and for what follows it."""
    n_images = len(sets[0][1])
    return n_images * 192 * 4 + 5 * 8 * n_images**2


def test_a_pass_ends_behind_the_last_layer_that_it_is_for(monkeypatch):
    use_disk(monkeypatch, SLOW)
    sets, models = [image_set(pictures(10))], prepared()
    calls = Counter()
    with watched_passes(monkeypatch) as passes:
        for name in ("conv", "relu", "dropout", "fc"):
            models["net"].get_submodule(name).register_forward_pre_hook(
                lambda *_, name=name: calls.update([(len(passes), name)])
            )
        run(sets, models, memory_budget=one_layer_at_a_time(sets, models), **ONE_LAYER)
    assert [layers for layers, _ in passes] == [["original_rgb"], ["conv1"], ["relu1", "fc1"]]
    in_passes = {where: n for where, n in calls.items() if where[0] > 0}  # not in the survey
    # Three batches each: nothing for the input itself, and nothing behind conv1.
    assert in_passes == {
        (2, "conv"): 3,
        (3, "conv"): 3,
        (3, "relu"): 3,
        (3, "dropout"): 3,
        (3, "fc"): 3,
    }


class Counting:
    """A transform that notes which images it has prepared, and in which process."""

    def __init__(self, path):
        self._path = path

    def __call__(self, image):
        with Path(self._path).open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()} {image.tobytes()[:8].hex()}\n")
        return TRANSFORM(image)

    def clear(self):
        Path(self._path).write_text("", encoding="utf-8")

    def counted(self):
        """How often each image was prepared in each process."""
        return Counter(Path(self._path).read_text(encoding="utf-8").splitlines())


def test_images_are_prepared_once_for_all_passes(tmp_path, monkeypatch):
    use_disk(monkeypatch, SLOW)
    transform = Counting(tmp_path / "prepared")
    sets = [image_set(pictures(10))]
    models = prepared(transform=transform)
    models |= prepared(Maps(1), "second", transform)
    with watched_passes(monkeypatch) as passes:
        real = rdm_jobs.JobRunner.__call__

        def clear_before_the_first(runner, job):
            if not passes:
                transform.clear()  # what the survey has prepared
            return real(runner, job)

        monkeypatch.setattr(rdm_jobs.JobRunner, "__call__", clear_before_the_first)
        amount = one_layer_at_a_time(sets, models) + 5 * 8 * 10**2
        run(sets, models, memory_budget=amount, **ONE_LAYER)
    assert len(passes) == 6
    # Each model has its own inputs: once for each.
    assert sorted(transform.counted().values()) == [2] * 10


@pytest.mark.filterwarnings("ignore:A worker stopped:UserWarning")
def test_one_pass_keeps_no_inputs(monkeypatch):
    monkeypatch.setattr(rdm_jobs, "KeptInputs", lambda: pytest.fail("inputs kept for nothing"))
    run([image_set(pictures(10))], prepared())


@pytest.mark.parametrize("fails", [False, True])
def test_no_temporary_file_stays_open(fails, monkeypatch):
    opened = []
    real = pattern_rows.tempfile.TemporaryFile

    def temporary(**options):
        opened.append(real(**options))
        return opened[-1]

    monkeypatch.setattr(batches.tempfile, "TemporaryFile", temporary)
    sets, models = [image_set(pictures(10))], prepared()
    kept = {"fast": 0, "slow": 0}
    for name, disk in (("fast", FAST), ("slow", SLOW)):
        use_disk(monkeypatch, disk)
        amount = one_layer_at_a_time(sets, models)
        if fails:
            with monkeypatch.context() as patch:
                patch.setattr(rdm_jobs, "n_held", lambda *_: 10)
                patch.setattr(
                    bounded_rdms, "pattern_geometry", lambda *_: (_ for _ in ()).throw(KeyError())
                )
                with pytest.raises(KeyError):
                    run(sets, models, memory_budget=amount, **ONE_LAYER)
        else:
            run(sets, models, memory_budget=amount, **ONE_LAYER)
        kept[name] = len(opened)
    assert 0 < kept["fast"] < kept["slow"]  # patterns, then inputs
    assert all(file.closed for file in opened)


class Handing(Maps):
    """Hands what the ReLU puts out on: through dropout, an identity and a container."""

    def __init__(self):
        super().__init__()
        self.identity = nn.Identity()
        self.block = nn.Sequential(nn.Identity())

    def forward(self, x):
        x = self.relu(self.conv(x))
        return self.fc(self.block(self.identity(self.dropout(x))).flatten(1))


def count_geometries(monkeypatch):
    computed = []
    real = bounded_rdms.pattern_geometry
    monkeypatch.setattr(
        bounded_rdms, "pattern_geometry", lambda source: computed.append(1) or real(source)
    )
    return computed


@pytest.mark.parametrize("n_images", [4, 10], ids=["one batch", "one pass"])
def test_what_is_handed_on_is_computed_once(n_images, monkeypatch):
    computed = count_geometries(monkeypatch)
    layers = ["conv1", "relu1", "dropout1", "identity1", "identity2", "block", "fc1"]
    found = run([image_set(pictures(n_images))], prepared(Handing()), which_layers=layers)
    # Two types of conv1 and relu1, and a vector.
    assert len(computed) == 5
    assert found["layer"].unique().tolist() == layers
    for kind in ("unit_level", "feature_means"):
        rows = found[found["activation_type"] == kind].set_index("layer")["matrix"]
        for layer in layers[2:-1]:
            assert rows[layer] is rows["relu1"]
        assert (rows["conv1"] != rows["relu1"]).any()


def test_what_is_handed_on_is_computed_where_it_is_asked_for_alone(monkeypatch):
    computed = count_geometries(monkeypatch)
    sets, options = [image_set(pictures(10))], {"activation_types": ["unit_level"]}
    alone = run(sets, prepared(), which_layers=["dropout1"], **options)
    assert len(computed) == 1
    both = run(sets, prepared(), which_layers=["dropout1", "relu1"], **options)
    assert len(computed) == 2
    assert_same_bits(both[both["layer"] == "dropout1"], alone)
    with_others = run(sets, prepared(), which_layers=["relu1", "dropout1"], **options)
    np.testing.assert_array_equal(*with_others["matrix"])


def test_other_channels_of_what_is_handed_on_are_computed(monkeypatch):
    computed = count_geometries(monkeypatch)
    kernel_sets = [
        ("same", {("net", "relu1"): [0, 1], ("net", "dropout1"): [0, 1]}),
        ("other", {("net", "relu1"): [0, 1], ("net", "dropout1"): [2, 3]}),
        ("only there", {("net", "dropout1"): [4]}),
    ]
    sets, models = [image_set(pictures(10))], prepared()
    found = run(
        sets,
        models,
        which_layers=["relu1", "dropout1"],
        kernel_sets=kernel_sets,
        dissim_metrics=["euclidean_distance"],
        **ONE_LAYER,
    )
    # Channels 0 and 1 of the ReLU; 2 and 3, and 4, of dropout.
    assert len(computed) == 3
    outputs = pfa.capture(models["net"], list(sets[0][1].values()), ["relu1"], **IN_FOURS)["relu1"]
    for row in found.itertuples():
        rows = outputs[:, list(row.kernel_inds)].reshape(10, -1).astype(float)
        np.testing.assert_allclose(row.matrix, squareform(pdist(rows)), rtol=1e-9)


def test_entries_without_dissimilarity_are_named_at_every_layer_that_hands_them_on():
    class Zero(Maps):
        def forward(self, x):
            return self.dropout(self.relu(-self.conv(x).abs()))

    with pytest.warns(UserWarning, match=r"at layer 'dropout1'.*at layer 'relu1'"):
        run([image_set(pictures(6))], prepared(Zero()), which_layers=["relu1", "dropout1"])


class Small(Maps):
    """As if the memory held four images."""

    limit = 4
    words = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"

    def __init__(self):
        super().__init__()
        self._sizes = []

    def forward(self, x):
        self._sizes.append(len(x))
        if len(x) > self.limit:
            raise RuntimeError(self.words)
        return super().forward(x)


@pytest.mark.parametrize("n_images", [7, 20])
@pytest.mark.parametrize(
    "words", [Small.words, "CUDA out of memory. Tried", "MPS backend out of memory (MPS"]
)
def test_out_of_memory_the_batch_is_halved_and_the_log_says_so(
    n_images, words, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(Small, "words", words)
    sets, models = [image_set(pictures(n_images))], prepared(Small())
    with caplog.at_level(logging.WARNING):
        found = run(sets, models, out_fname=tmp_path / "rdms.parquet", batch_size=16)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for line, size in zip(caplog.messages, (8, 4), strict=True):
        assert line.startswith(f"model 'net': out of memory; going on with batches of {size}")
        assert "batches of 16" in line
    assert models["net"]._sizes[-1] == 4
    written = pfa.read_rdms(tmp_path / "rdms.parquet", provenance=True)
    assert set(written["batch_size"]) == {4}
    expected = matrices(run(sets, prepared(), batch_size=4))
    for row, matrix in matrices(found).items():
        np.testing.assert_allclose(matrix, expected[row], rtol=0, atol=1e-6)


def test_memory_that_does_not_hold_one_image_and_other_errors_are_raised(monkeypatch, caplog):
    monkeypatch.setattr(Small, "limit", 3)  # what the survey takes
    sets = [image_set(pictures(5))]

    class Never(Small):
        def forward(self, x):
            if len(x) not in (2, 3) or len(self._sizes) > 2:
                raise RuntimeError(self.words)
            return super().forward(x)

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        run(sets, prepared(Never()))
    assert [line.split("batches of ")[1][0] for line in caplog.messages] == ["2", "1"]

    monkeypatch.setattr(Small, "words", "a fault of the network's own")
    caplog.clear()
    with pytest.raises(RuntimeError, match="a fault of the network's own"):
        run(sets, prepared(Small()))
    assert caplog.messages == []


def test_patterns_that_waited_are_given_up_when_a_pass_is_begun_again(caplog):
    class Later(Small):
        """Holds two batches of eight, and then no more."""

        def forward(self, x):
            self.limit = 8 if self._sizes.count(8) < 2 else 4
            return super().forward(x)

    sets = [image_set(pictures(20))]
    found = run(sets, prepared(Later()), batch_size=8)
    assert len(caplog.messages) == 1
    for row, matrix in matrices(run(sets, prepared())).items():
        np.testing.assert_array_equal(matrices(found)[row], matrix)


@pytest.mark.parametrize("options", [{"debug_check": True}, {"memory_budget": 24_000}])
def test_checks_and_measurements_are_halved_as_well(options, monkeypatch):
    use_disk(monkeypatch, SLOW)
    sets = [image_set(pictures(10))]
    found = run(sets, prepared(Small()), batch_size=8, **options)
    expected = matrices(run(sets, prepared()))
    for row, matrix in matrices(found).items():
        np.testing.assert_allclose(matrix, expected[row], rtol=0, atol=1e-6)


def test_a_plan_is_made_for_a_network_whose_batch_does_not_fit():
    plan = pfa.plan_rdms([image_set(pictures(10))], prepared(Small()), batch_size=8)
    assert plan["images"].item() == 10


def automatic(monkeypatch, best):
    """Let `batch_size='auto'` find that batches of `best` are fastest; returns what it tries."""
    tried = []

    def time_batch(model, example, targets, size, **options):
        tried.append(size)
        return BatchTimes(size * (1.0 if size == best else 2.0), {})

    monkeypatch.setattr(rdm_plan, "time_batch", time_batch)
    return tried


def test_the_automatic_batch_size_is_recorded_and_taken_by_later_calls(tmp_path, monkeypatch):
    out, models = tmp_path / "rdms.parquet", prepared()
    sets = [image_set(pictures(5, seed=seed), set=str(seed)) for seed in range(2)]
    tried = automatic(monkeypatch, 16)
    first = run(sets[:1], models, out_fname=out, batch_size="auto")
    assert sorted(tried) == [4, 16, 64]
    tried = automatic(monkeypatch, 64)
    with watched_passes(monkeypatch) as passes:
        again = run(sets[:1], models, out_fname=out, batch_size="auto")
        assert passes == []
        # A set that is new passes in batches of what was found first.
        run(sets, models, out_fname=out, batch_size="auto")
    assert len(passes) == 1
    assert_same_bits(again, first)
    written = pfa.read_rdms(out, provenance=True)
    assert (len(written), set(written["batch_size"])) == (20, {16})
    assert tried == []
    # Nothing is known to a call without the file.
    run(sets[:1], models, batch_size="auto")
    assert sorted(tried) == [4, 16, 64]


def test_rows_of_another_batch_size_are_not_served(tmp_path):
    out, models, sets = tmp_path / "rdms.parquet", prepared(), [image_set(pictures(5))]
    run(sets, models, out_fname=out, batch_size=4)
    with pytest.warns(UserWarning, match="batch_size of model net changed"):
        run(sets, models, out_fname=out, batch_size=2)
    written = pfa.read_rdms(out, provenance=True)
    assert (len(written), set(written["batch_size"])) == (10, {2})


def test_rows_are_served_whatever_the_budget_was_that_they_were_made_with(tmp_path, monkeypatch):
    use_disk(monkeypatch, FAST)
    out, sets, models = tmp_path / "rdms.parquet", [image_set(pictures(10))], prepared()
    amount = budget(sets, models, 0.5, **IN_FOURS)
    first = run(sets, models, out_fname=out, memory_budget=amount)
    with watched_passes(monkeypatch) as passes:
        second = run(sets, models, out_fname=out)
    assert passes == []
    assert_same_bits(second, first)


def test_what_is_missing_alone_passes(tmp_path, monkeypatch):
    out, models = tmp_path / "rdms.parquet", prepared()
    sets = [image_set(pictures(6, seed=seed), set=str(seed)) for seed in range(3)]
    run([sets[1]], models, out_fname=out, which_layers=["conv1", "relu1", "fc1"])
    with watched_passes(monkeypatch) as passes:
        whole = run(sets, models, out_fname=out, which_layers=["conv1", "dropout1"])
    # The second set has its conv1; all three stand in one run, whose layers are found missing.
    assert [sorted(layers) for layers, _ in passes] == [["conv1", "dropout1"]]
    assert_same_bits(whole, run(sets, models, which_layers=["conv1", "dropout1"]))


def test_the_progress_bar_counts_every_image_of_every_pass(monkeypatch, capsys):
    use_disk(monkeypatch, SLOW)
    sets, models = [image_set(pictures(10))], prepared()
    amount = one_layer_at_a_time(sets, models)
    pfa.get_rdms(sets, models, memory_budget=amount, **IN_FOURS, **ONE_LAYER)
    assert "30/30" in capsys.readouterr().err.split("\r")[-1]


def test_threads_of_joblib_may_share_a_model(monkeypatch):
    seen = set()
    real = rdm_jobs.stream_outputs

    def noted(*args, **options):
        seen.add(threading.get_ident())
        real(*args, **options)

    monkeypatch.setattr(rdm_jobs, "stream_outputs", noted)
    monkeypatch.setattr(rdm_plan, "_RUN_IMAGES", 6)
    sets = [image_set(pictures(6, seed=seed), set=str(seed)) for seed in range(4)]
    models = prepared()
    with joblib.parallel_config(backend="threading"):
        found = run(sets, models, num_cores=2, num_threads=1)
    assert len(seen) == 2
    assert_same_bits(found, run(sets, models, num_threads=1))
