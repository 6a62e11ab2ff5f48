"""Patterns that wait for the rest of their sets: which, how long, and what comes of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

from pytorch_feature_analysis import accumulation
from pytorch_feature_analysis.accumulation import (
    Cell,
    HeldPositions,
    KernelSet,
    RdmAccumulator,
    SetPlan,
    n_held,
)
from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.dissimilarity import check_metrics
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.pattern_rows import SpillFile, Table
from pytorch_feature_analysis.stream import Target

ALL = KernelSet("all", None)
MAPS = Target(("conv1", 1), "conv", 1, 1, 0, Layout((4, 3, 2), 0, "map"))
VECTOR = Target(("fc1", 2), "fc", 1, 1, 0, Layout((24,), 0, "vector"))


def plan(*positions, name="set", combinations=()):
    keys = tuple((f"p{position}",) for position in positions)
    keys += tuple((f"made{i}",) for i in range(len(combinations)))
    return SetPlan(f"(set={name})", positions, keys, tuple(combinations))


def outputs(n_images, shape=(4, 3, 2)):
    return np.random.default_rng(0).normal(size=(n_images, *shape)).astype(np.float32)


def starts(n_images, batch_size):
    return range(0, n_images, batch_size)


def wait(sets, batch_size, n_images):
    """Per batch the images that must be kept, found by looking at each image and set."""
    waiting = []
    for start in starts(n_images, batch_size):
        here = set()
        for position in range(start + batch_size):
            for one in sets:
                first, last = min(one.positions), max(one.positions)
                # Its own batch does not end the set, and no batch before this one did.
                waits = first <= position and position // batch_size < last // batch_size
                if position in one.positions and waits and last >= start:
                    here.add(position)
        waiting.append({position for position in here if position < n_images})
    return waiting


def random_sets(seed):
    rng = np.random.default_rng(seed)
    n_images = int(rng.integers(4, 40))
    sets = []
    for _ in range(rng.integers(1, 6)):
        size = int(rng.integers(1, n_images))
        low = int(rng.integers(0, n_images - size + 1))
        among = np.arange(low, min(n_images, low + 2 * size))
        sets.append(plan(*rng.permutation(among)[:size].tolist()))
    return sets, 1 + max(max(one.positions) for one in sets)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_an_image_waits_exactly_while_a_set_that_spans_batches_needs_it(seed, batch_size):
    sets, n_images = random_sets(seed)
    held, slots = HeldPositions(sets), {}
    # oracle: every image and set looked at, at every batch
    expected = wait(sets, batch_size, n_images)
    for start, needed in zip(starts(n_images, batch_size), expected, strict=True):
        held.begin_batch(range(start, min(start + batch_size, n_images)))
        assert set(held.slots) == needed
        assert len(set(held.slots.values())) == len(needed)
        # What waits stays in its slot.
        for position in needed & slots.keys():
            assert held.slots[position] == slots[position]
        slots = dict(held.slots)
    most = max(len(needed) for needed in expected)
    assert n_held(sets, batch_size) == held.n_slots == most


def test_held_images_are_as_counted_by_hand():
    # Batches of four: 0-3, 4-7, 8-11. The first set is within one, the last two span two each.
    sets = [plan(0, 1, 2, 3), plan(2, 5), plan(7, 6, 8, 9, 10)]
    assert n_held(sets, 4) == 3  # 2, 6 and 7; 5 and 8 to 10 end their sets
    assert n_held(sets[:2], 4) == 1
    assert n_held(sets[:1], 4) == 0
    assert n_held(sets, 16) == 0
    assert n_held([*sets, plan(0, 8)], 4) == 4  # 0 waits as well
    assert n_held(sets[:2], 1) == 3  # 0 to 2, of which only 2 waits for 5


def test_hearing_of_a_batch_again_changes_nothing():
    held = HeldPositions([plan(0, 1, 2, 3, 4)])
    for _ in range(3):
        held.begin_batch([0, 1, 2])
        assert held.slots == {0: 0, 1: 1, 2: 2}


def accumulate(sets, images, batch_size=4, *, target=MAPS, kinds=("unit_level",), **options):
    """Feed outputs to an accumulator as the stream does."""
    kernel_sets = options.pop("kernel_sets", (ALL,))
    wanted = {
        Cell(index, target.label[0], kind, kernel_set.name)
        for index in range(len(sets))
        for kind in kinds
        for kernel_set in kernel_sets
    }
    accumulator = RdmAccumulator(
        sets,
        check_metrics(options.pop("metrics", ["corr", "euclidean_distance"])),
        kernel_sets,
        frozenset(wanted),
        n_slots=n_held(sets, batch_size),
        **options,
    )
    for start in starts(len(images), batch_size):
        positions = list(range(start, min(start + batch_size, len(images))))
        output = torch.from_numpy(images[positions].copy())
        accumulator(target, Batch(positions, output), output)
        output.zero_()  # as an in-place operation may do behind the hook
    return accumulator


SETS = {
    "within a batch": [plan(0, 1, 2, 3), plan(5, 4)],
    "over batches": [plan(*range(11))],
    "in another order": [plan(9, 2, 0, 7, 1), plan(3, 2)],
    "with shared images": [plan(0, 1, 2, 6), plan(2, 6, 9, 10), plan(1, 10), plan(8, 9, 10)],
}


@pytest.mark.parametrize("spilled", [frozenset(), frozenset({"conv1"})], ids=["table", "file"])
@pytest.mark.parametrize("case", SETS)
def test_rdms_are_those_of_scipy_wherever_patterns_wait(case, spilled):
    images, sets = outputs(11), SETS[case]
    found = accumulate(sets, images, kinds=("unit_level", "feature_means"), spilled=spilled).rdms
    for index, one in enumerate(sets):
        chosen = images[list(one.positions)].astype(float)
        for kind, rows in (
            ("unit_level", chosen.reshape(len(chosen), -1)),
            ("feature_means", chosen.mean(axis=(2, 3))),
        ):
            corr, euclidean = found[Cell(index, "conv1", kind, "all")]
            # oracle: scipy pdist of the outputs
            np.testing.assert_allclose(corr, squareform(pdist(rows, "correlation")), atol=1e-12)
            np.testing.assert_allclose(euclidean, squareform(pdist(rows)), rtol=1e-9)


METRICS = ["corr", "cosine", "spearman", "cityblock", ("mine", lambda x, y: x[0] - y[1])]


@pytest.mark.parametrize("case", SETS)
@pytest.mark.parametrize("room", [float("inf"), 300])
def test_files_tables_and_batches_that_hold_all_give_the_same_bits(case, room):
    images, sets = outputs(11), SETS[case]
    kernel_sets = (ALL, KernelSet("two", {"conv1": (3, 1)}))
    mean = ((0, 1), np.mean, {"axis": 0}, False)
    sets = [plan(*one.positions, combinations=[mean]) for one in sets]
    options = {
        "kinds": ("unit_level", "feature_means"),
        "metrics": METRICS,
        "kernel_sets": kernel_sets,
    }
    one_batch = accumulate(sets, images, 11, **options).rdms
    table = accumulate(sets, images, 4, room=room, **options).rdms
    file = accumulate(sets, images, 4, room=room, spilled=frozenset({"conv1"}), **options).rdms
    assert len(one_batch) == 4 * len(sets)
    for cell, expected in one_batch.items():
        for rdm, in_table, in_file in zip(expected, table[cell], file[cell], strict=True):
            np.testing.assert_array_equal(in_table, rdm)
            np.testing.assert_array_equal(in_file, rdm)


def test_kernel_sets_and_combinations_are_taken_from_patterns_that_waited():
    images = outputs(6)
    difference = ((2, 0), lambda x, y, by: (x - y) / by, {"by": 2}, True)
    accumulator = accumulate(
        [plan(5, 1, 0, combinations=[difference])],
        images,
        2,
        kinds=("unit_level", "feature_means"),
        metrics=["squared_euclidean"],
        kernel_sets=(KernelSet("two", {"conv1": (3, 1)}),),
    )
    chosen = images[[5, 1, 0]].astype(float)
    patterns = np.r_[chosen, (chosen[2:] - chosen[:1]) / 2][:, [3, 1]]
    for kind, rows in (
        ("unit_level", patterns.reshape(4, -1)),
        ("feature_means", patterns.mean(axis=(2, 3))),
    ):
        (found,) = accumulator.rdms[Cell(0, "conv1", kind, "two")]
        # oracle: scipy pdist of the channels
        np.testing.assert_allclose(found, squareform(pdist(rows, "sqeuclidean")), rtol=1e-9)


def test_channels_that_come_last_are_chosen_on_their_axis():
    images = outputs(5, (3, 2, 4))
    target = Target(("conv1", 1), "conv", 1, 1, 0, Layout((3, 2, 4), 2, "map"))
    found = accumulate(
        [plan(*range(5))],
        images,
        2,
        target=target,
        metrics=["euclidean_distance"],
        kernel_sets=(KernelSet("two", {"conv1": (3, 1)}),),
    ).rdms
    rows = images[..., [3, 1]].reshape(5, -1).astype(float)
    (rdm,) = found[Cell(0, "conv1", "unit_level", "two")]
    np.testing.assert_allclose(rdm, squareform(pdist(rows)), rtol=1e-9)


def test_what_is_not_wanted_is_neither_kept_nor_computed():
    sets = [plan(0, 1, 5), plan(2, 3, 4)]
    accumulator = RdmAccumulator(
        sets, check_metrics(["corr"]), (ALL,), frozenset({Cell(1, "conv1", "unit_level", "all")})
    )
    for start in (0, 2, 4):
        output = torch.from_numpy(outputs(6)[start : start + 2])
        for target in (MAPS, VECTOR):
            accumulator(target, Batch([start, start + 1], output), output)
    assert list(accumulator.rdms) == [Cell(1, "conv1", "unit_level", "all")]
    assert not accumulator._stores


def test_both_types_of_a_vector_are_kept_once_and_are_one_matrix(monkeypatch):
    made = []
    monkeypatch.setattr(accumulation, "Table", lambda *size: made.append(size[:2]) or Table(*size))
    images = outputs(6, (24,))
    kinds = ("unit_level", "feature_means")
    found = accumulate([plan(*range(6))], images, 4, target=VECTOR, kinds=kinds).rdms
    assert made == [(4, 24)]  # the last two end the set
    first, second = (found[Cell(0, "fc1", kind, "all")] for kind in kinds)
    assert first is second


@pytest.mark.parametrize("spilled", [frozenset(), frozenset({"conv1"})], ids=["table", "file"])
def test_room_is_given_back_behind_the_last_set_and_where_a_run_ends_early(spilled, monkeypatch):
    stores = []
    for name, kind in (("Table", Table), ("SpillFile", SpillFile)):
        monkeypatch.setattr(
            accumulation,
            name,
            lambda *size, kind=kind: stores.append(kind(*size)) or stores[-1],
        )
    assert not accumulate([plan(0, 4), plan(2, 7)], outputs(9), 4, spilled=spilled)._stores
    unfinished = accumulate([plan(0, 8)], outputs(8), 4, spilled=spilled)
    assert len(unfinished._stores) == 1
    unfinished.close()
    assert not unfinished._stores
    assert len(stores) == 2
    for store in stores:
        assert store._file.closed if spilled else store._rows.size == 0


def test_no_more_is_kept_than_was_counted(monkeypatch):
    made = []
    monkeypatch.setattr(accumulation, "Table", lambda *size: made.append(Table(*size)) or made[-1])
    sets, sizes = [plan(0, 1, 5), plan(6, 7, 8, 9), plan(12, 9)], []
    real = Table.put

    def put(table, slots, patterns):
        real(table, slots, patterns)
        sizes.append(len(table._rows))

    monkeypatch.setattr(Table, "put", put)
    accumulate(sets, outputs(13), 4)
    assert len(made) == 1
    # In the second batch 0 and 1 wait, and 6 and 7.
    assert set(sizes) == {n_held(sets, 4)} == {4}


def test_entries_without_a_dissimilarity_are_named_also_where_they_waited():
    images = outputs(6)
    images[1], images[4, 0, 0, 0] = 3, np.nan
    sets = [plan(0, 1, 2, 4, 5), plan(3, 2)]
    for spilled in (frozenset(), frozenset({"conv1"})):
        found = accumulate(sets, images, 2, spilled=spilled)
        assert found.undefined == {Cell(0, "conv1", "unit_level", "all"): [("p1",), ("p4",)]}


def shaped(*shapes):
    """Batches of the stream: a new one where the shape changes, and after four images."""
    batches, positions = [], []
    for position, shape in enumerate(shapes):
        if positions and (shape != shapes[position - 1] or len(positions) == 4):
            batches.append(Batch(positions, torch.zeros(4, *shapes[position - 1])))
            positions = []
        positions.append(position)
    return [*batches, Batch(positions, torch.zeros(4, *shapes[-1]))]


SMALL, LARGE = (3, 4, 4), (3, 5, 4)
NAMES = [f"{position}.png" for position in range(12)]


def checked(sets, batches):
    return list(RdmAccumulator(sets, [], (), frozenset()).one_shape_a_set(batches, NAMES))


def test_sets_of_one_size_each_pass_and_mixed_ones_are_refused_with_the_names():
    batches = shaped(*[SMALL] * 5, *[LARGE] * 5)
    assert checked([plan(0, 1, 4), plan(9, 5)], batches) == batches
    with pytest.raises(
        ValueError,
        match=r"\(set=mixed\) have different sizes .* 4\.png becomes \(3, 4, 4\), 5\.png"
        r" \(3, 5, 4\)\. Use a transform",
    ):
        checked([plan(0, 1, 4), plan(4, 5, name="mixed")], batches)


def test_a_set_of_mixed_sizes_is_refused_before_its_first_image_of_another_size_is_taken():
    # Else the consumer is handed patterns of another length than those that wait.
    taken = []
    sets = [plan(*range(12), name="mixed")]
    batches = shaped(*[SMALL] * 4, *[LARGE] * 4, *[SMALL] * 4)
    accumulator = RdmAccumulator(sets, [], (), frozenset())
    with pytest.raises(ValueError, match=r"\(set=mixed\) have different sizes"):
        taken.extend(batch.positions[0] for batch in accumulator.one_shape_a_set(batches, NAMES))
    assert taken == [0]


@pytest.mark.parametrize("first", [0, 1], ids=["small first", "large first"])
@pytest.mark.parametrize("spilled", [frozenset(), frozenset({"conv1"})], ids=["table", "file"])
def test_sets_of_different_sizes_wait_side_by_side(spilled, first):
    # A network without a last layer of fixed length takes both.
    sized = [outputs(6), outputs(6, (4, 3, 3))]
    sized = [sized[first], sized[1 - first]]
    sets = [plan(*range(6), name="one"), plan(*range(6, 12), name="other")]
    wanted = frozenset(Cell(index, "conv1", "unit_level", "all") for index in range(2))
    metrics = check_metrics(["euclidean_distance"])
    accumulator = RdmAccumulator(sets, metrics, (ALL,), wanted, spilled=spilled)
    for begin, images in zip((0, 6), sized, strict=True):
        for start in (0, 4):
            output = torch.from_numpy(images[start : start + 4])
            positions = list(range(begin + start, begin + start + len(output)))
            accumulator(MAPS, Batch(positions, output), output)
    for index, images in enumerate(sized):
        (found,) = accumulator.rdms[Cell(index, "conv1", "unit_level", "all")]
        # oracle: scipy pdist
        expected = squareform(pdist(images.reshape(6, -1).astype(float)))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("device", "stays"), [("cpu", False), ("cuda", True), ("mps", True)])
def test_patterns_stay_on_any_device_but_the_processor(device, stays):
    output = SimpleNamespace(device=torch.device(device))
    assert accumulation.stays_on_device(output) is stays
