"""Amounts of memory, and layers shared out among passes, held against cases worked by hand."""

from __future__ import annotations

import itertools
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from pytorch_feature_analysis import planning
from pytorch_feature_analysis.planning import (
    Disk,
    LayerLoad,
    NoRoomError,
    Pass,
    check_memory_budget,
    machine_memory,
    probe_disk,
    room_for_patterns,
    seconds_a_unit,
    share_out,
    size_in_words,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2GB", 2_000_000_000),
        ("512MB", 512_000_000),
        ("1.5GiB", 1_610_612_736),
        ("3kb", 3_000),
        ("7 KiB", 7_168),
        ("  1 tb ", 1_000_000_000_000),
        ("2TiB", 2_199_023_255_552),
        ("100", 100),
        (1, 1),
        (10**10, 10**10),
        (np.int32(5), 5),
    ],
)
def test_budgets_are_read_as_bytes(given, expected):
    found = check_memory_budget(given)
    assert found == expected
    assert type(found) is int


def test_without_a_budget_a_run_takes_a_quarter_of_the_machine(monkeypatch):
    monkeypatch.setattr(planning, "machine_memory", lambda: 16 * 10**9 + 3)
    assert check_memory_budget(None) == 4 * 10**9


@pytest.mark.parametrize(
    "bad", ["lots", "GB", "-1GB", "1,5GB", "2 GB of it", "", 1e9, True, [1], "1e9", "2PB"]
)
def test_what_is_no_amount_is_refused_with_examples(bad):
    with pytest.raises(
        TypeError, match=r"`memory_budget` must be an amount such as '2GB', '512MB' or a number"
    ) as caught:
        check_memory_budget(bad)
    assert str(caught.value).endswith(f"not {bad!r}.")


@pytest.mark.parametrize("bad", [0, -5, "0", "0.0GB", np.int64(-1)])
def test_no_memory_at_all_is_refused(bad):
    with pytest.raises(ValueError, match=r"`memory_budget` must be more than nothing, not") as e:
        check_memory_budget(bad)
    assert repr(bad) in str(e.value)


def test_less_than_a_byte_is_no_memory_at_all():
    with pytest.raises(ValueError, match=r"`memory_budget` must be more than nothing, not '0.5'"):
        check_memory_budget("0.5")


def test_the_machines_memory_is_that_of_the_system(monkeypatch):
    # oracle: /proc/meminfo, where there is one
    try:
        with Path("/proc/meminfo").open(encoding="utf-8") as file:
            total = 1024 * int(next(line for line in file if "MemTotal" in line).split()[1])
    except OSError:
        total = machine_memory()
    assert machine_memory() == pytest.approx(total, rel=0.01)

    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(planning.os, "sysconf", unknown)
    assert machine_memory() == 8 * 10**9


@pytest.mark.parametrize(
    ("size", "words"),
    [
        *[(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (123_456, "123 KB")],
        *[(1_234_567, "1.23 MB"), (2_500_000_000, "2.5 GB"), (2e13, "2e+04 GB")],
    ],
)
def test_sizes_are_said_in_words(size, words):
    assert size_in_words(size) == words


def test_the_stack_comes_off_the_budget_but_leaves_a_quarter_of_it():
    assert room_for_patterns(1000, 300, 1) == 700
    assert room_for_patterns(1000, 300, 3) == 233
    assert room_for_patterns(1000, 750, 1) == 250
    assert room_for_patterns(1000, 10**6, 1) == 250
    assert room_for_patterns(1000, 10**6, 2) == 125
    assert room_for_patterns(1000, 0, 0) == 1000


def load(name, held, reach, pattern=1):
    return LayerLoad(name, pattern, held, reach)


def shared(passes):
    """Layers of each pass, and those of them that wait in a file."""
    return [(one.layers, one.spilled) for one in passes]


A, B, C = load("a", 4, 1.0), load("b", 4, 2.0), load("c", 4, 3.0)
HUGE = 10**12


@pytest.mark.parametrize("room", [12, 100])
@pytest.mark.parametrize("order", list(itertools.permutations([A, B, C])))
def test_what_fits_passes_at_once(room, order):
    # No disk is needed to know this.
    assert share_out(order, room) == [Pass(("c", "b", "a"), (), 12, 0, 3.0)]


def test_passes_are_filled_from_the_deepest_layer_on_and_the_shallow_one_is_first():
    # From the shallowest on there would be (a, b) and c, which reach 2 + 3 and not 1 + 3.
    assert share_out([A, B, C], 8) == [
        Pass(("a",), (), 4, 0, 1.0),
        Pass(("c", "b"), (), 8, 0, 3.0),
    ]
    assert shared(share_out([A, B, C], 7)) == [(("a",), ()), (("b",), ()), (("c",), ())]
    assert shared(share_out([load("d", 1, 4.0), A, B, C], 9)) == [
        (("a",), ()),
        (("d", "c", "b"), ()),
    ]


def test_a_layer_that_keeps_nothing_takes_no_room():
    twin = load("twin", 0, 3.5)
    assert shared(share_out([A, B, C, twin], 12)) == [(("twin", "c", "b", "a"), ())]
    assert shared(share_out([A, twin], 4)) == [(("twin", "a"), ())]


def test_files_take_what_the_memory_does_not_where_they_cost_less_than_a_pass():
    # Two passes in memory take 1 + 3 s; in one, 4 bytes are written and read.
    for speed, expected in (
        (9.0, [(("c", "b", "a"), ("a",))]),  # 3 + 8 / 9 s
        (7.0, [(("a",), ()), (("c", "b"), ())]),  # 3 + 8 / 7 s
    ):
        assert shared(share_out([A, B, C], 8, Disk("/tmp", HUGE, speed))) == expected
    (one,) = share_out([A, B, C], 8, Disk("/tmp", HUGE, 9.0))
    assert one == Pass(("c", "b", "a"), ("a",), 8, 4, 3.0)


def test_a_layer_that_is_too_large_for_the_memory_waits_in_a_file():
    giant = load("giant", 20, 2.0)
    # Whatever the file costs, the other layers go along for nothing.
    for speed in (1.0, 1e9):
        assert share_out([A, giant, C], 8, Disk("/tmp", 20, speed)) == [
            Pass(("c", "giant", "a"), ("giant",), 8, 20, 3.0)
        ]


def test_a_layer_that_is_too_large_has_a_pass_of_its_own_where_files_are_dear():
    first, giant, last = load("first", 8, 1.0), load("giant", 20, 2.0), load("last", 8, 3.0)
    # In one pass 28 bytes go through the disk, 3 + 56 s; in three 20, 6 + 40 s.
    assert share_out([first, giant, last], 8, Disk("/tmp", HUGE, 1.0)) == [
        Pass(("first",), (), 8, 0, 1.0),
        Pass(("giant",), ("giant",), 0, 20, 2.0),
        Pass(("last",), (), 8, 0, 3.0),
    ]
    assert shared(share_out([first, giant, last], 8, Disk("/tmp", HUGE, 100.0))) == [
        (("last", "giant", "first"), ("giant", "first"))
    ]


def test_a_disk_that_is_full_takes_nothing():
    full = Disk("/tmp", 0, 1.0)
    assert share_out([A, B, C], 8, full) == share_out([A, B, C], 8)


def test_a_disk_with_little_room_makes_further_passes():
    loads = [load(name, 10, float(reach)) for reach, name in enumerate("abcdef", start=1)]
    # 10 bytes in memory and 20 on the disk at a time: f, e and d, then c, b and a.
    assert share_out(loads, 10, Disk("/tmp", 20, 1e9)) == [
        Pass(("c", "b", "a"), ("b", "a"), 10, 20, 3.0),
        Pass(("f", "e", "d"), ("e", "d"), 10, 20, 6.0),
    ]


def test_every_layer_passes_exactly_once_within_the_room():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(1, 12))
        loads = [
            load(f"layer{i}", int(rng.integers(0, 50)), float(rng.integers(1, 9)))
            for i in range(n)
        ]
        room, speed = int(rng.integers(1, 60)), float(10 ** rng.integers(0, 4))
        disk, at_least = Disk("/tmp", 60, speed), int(rng.integers(1, 4))
        passes = share_out(loads, room, disk, at_least=at_least)
        held = {one.layer: one.held_bytes for one in loads}
        reach = {one.layer: one.reach for one in loads}
        assert sorted(layer for one in passes for layer in one.layers) == sorted(held)
        assert [one.reach for one in passes] == sorted(one.reach for one in passes)
        for one in passes:
            in_memory = set(one.layers) - set(one.spilled)
            assert one.held_bytes == sum(held[layer] for layer in in_memory) <= room
            assert one.spilled_bytes == sum(held[layer] for layer in one.spilled) <= 60
            assert one.reach == max(reach[layer] for layer in one.layers)


def test_a_pattern_that_does_not_fit_is_refused_with_its_layer():
    with pytest.raises(NoRoomError) as caught:
        share_out([A, load("b", 40, 1.0, pattern=9)], 8, Disk("/tmp", HUGE, 1.0))
    assert (caught.value.layer, caught.value.needed) == ("b", 9)
    assert str(caught.value) == caught.value.why == ", but those of one image"
    assert isinstance(caught.value, ValueError)


def test_patterns_that_fit_neither_into_the_memory_nor_on_the_disk_are_refused():
    with pytest.raises(NoRoomError) as caught:
        share_out([A, load("b", 21 * 10**8, 1.0)], 8, Disk("/tmp", 2 * 10**9, 1.0))
    assert (caught.value.layer, caught.value.needed) == ("b", 21 * 10**8)
    assert caught.value.why == ", and the folder of temporary files 2 GB, but those of a set"
    with pytest.raises(NoRoomError, match=r"temporary files 0 bytes, but those of a set"):
        share_out([A, B], 3)


@pytest.mark.parametrize("order", [1, -1])
def test_the_layer_that_needs_most_is_the_one_that_is_refused(order):
    # Else the smallest budget that is said to work does not.
    for loads, room, disk in (
        ([load("small", 90, 1.0, pattern=20), load("large", 90, 2.0, pattern=30)], 10, HUGE),
        ([load("small", 90, 1.0, pattern=2), load("large", 99, 2.0, pattern=3)], 10, 0),
        ([load("small", 40, 1.0, pattern=20), load("large", 99, 2.0, pattern=1)], 10, 0),
    ):
        with pytest.raises(NoRoomError) as caught:
            share_out(loads[::order], room, Disk("/tmp", disk, 1.0))
        assert caught.value.layer == "large"


def test_a_pass_for_each_worker_is_made_where_there_are_as_many_layers():
    loads = [load(name, 3, float(reach)) for reach, name in enumerate("abcd", start=1)]
    disk = Disk("/tmp", HUGE, 1e9)
    assert shared(share_out(loads, 100, disk, at_least=2)) == [
        (("b", "a"), ()),
        (("d", "c"), ()),
    ]
    assert len(share_out(loads, 100, disk, at_least=4)) == 4
    assert len(share_out(loads, 100, disk, at_least=1)) == 1
    # A layer is not cut in two, and none goes into a file for the sake of the workers.
    uneven = [load("a", 1, 1.0), load("b", 90, 2.0), load("c", 1, 3.0)]
    passes = share_out(uneven, 100, disk, at_least=2)
    assert len(passes) >= 2
    assert not any(one.spilled for one in passes)
    assert len(share_out(uneven[:1], 100, disk, at_least=2)) == 1


DiskUsage = namedtuple("DiskUsage", "total used free")


def test_half_of_what_is_free_may_be_used_and_the_disk_is_timed(tmp_path, monkeypatch):
    clock = itertools.count()
    written = []
    real = planning.tempfile.TemporaryFile

    def temporary(**options):
        written.append(options)
        return real(**options)

    monkeypatch.setattr(planning, "_PROBE_BYTES", 5000)
    monkeypatch.setattr("shutil.disk_usage", lambda where: DiskUsage(10**6, 0, 10**5))
    monkeypatch.setattr(planning.time, "perf_counter", lambda: 2.0 * next(clock))
    monkeypatch.setattr(planning.tempfile, "TemporaryFile", temporary)
    # 5,000 bytes in 2 seconds, of which pace a disk keeps up half.
    assert probe_disk(str(tmp_path)) == Disk(str(tmp_path), 5 * 10**4, 1250.0)
    assert [options["dir"] for options in written] == [str(tmp_path)]
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_temporary_files_is_taken_and_a_full_one_is_not_written_to(monkeypatch):
    asked = []

    def usage(where):
        asked.append(where)
        return DiskUsage(10**9, 0, 5 * 10**8)

    monkeypatch.setattr("shutil.disk_usage", usage)
    monkeypatch.setattr(
        planning.tempfile, "TemporaryFile", lambda **_: pytest.fail("the disk is full")
    )
    assert probe_disk().free_bytes == 0
    assert asked == [tempfile.gettempdir()]


@pytest.mark.parametrize(("n_patterns", "times"), [(10, 1), (256, 1), (512, 4), (1024, 16)])
def test_the_time_of_a_product_grows_with_the_square_of_the_patterns(
    n_patterns, times, monkeypatch
):
    measured = []
    clock = itertools.count()
    monkeypatch.setattr(planning, "pattern_geometry", lambda rows: measured.append(rows.shape))
    monkeypatch.setattr(planning.time, "perf_counter", lambda: float(next(clock)))
    found = seconds_a_unit(n_patterns)
    n, n_units = measured[-1]
    assert n == min(n_patterns, 256)
    assert found == pytest.approx(times / n_units)
