"""Places where patterns wait: what is read is what was put there."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pytorch_feature_analysis import pattern_rows
from pytorch_feature_analysis.pattern_rows import Arena, Chosen, Gathered, Slots, SpillFile, Table
from pytorch_feature_analysis.pattern_sources import as_source

N_SLOTS, N_UNITS = 9, 3000


def noise(n=N_SLOTS, n_units=N_UNITS, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, n_units)).astype(dtype)


def table_in_an_arena(n_slots, n_units, dtype):
    arena = Arena()
    arena.clear(n_slots * n_units * np.dtype(dtype).itemsize)
    return Table(n_slots, n_units, dtype, arena)


def file_of_many_stretches(n_slots, n_units, dtype):
    store = SpillFile(n_slots, n_units, dtype, None)
    store._length = 700
    return store


KINDS = {
    "table": Table,
    "table in an arena": table_in_an_arena,
    "file": lambda *size: SpillFile(*size, None),
    "file of many stretches": file_of_many_stretches,
}


@pytest.fixture(params=KINDS)
def make_store(request):
    made = []

    def make(n_slots=N_SLOTS, n_units=N_UNITS, dtype=np.float32):
        made.append(KINDS[request.param](n_slots, n_units, np.dtype(dtype)))
        return made[-1]

    yield make
    for store in made:
        store.close()


def read(source, rows, lo=0, hi=None):
    rows, hi = np.asarray(rows), source.n_units if hi is None else hi
    out = np.full((len(rows), hi - lo), np.inf)
    source.read(rows, lo, hi, out)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "groups", [[[0, 1, 2, 3, 4, 5, 6, 7, 8]], [[8], [0, 1, 4], [7, 6, 5], [2, 3]]]
)
def test_patterns_come_back_from_their_slots_by_any_rows_and_units(make_store, groups, dtype):
    patterns, store = noise(dtype=dtype), make_store(dtype=dtype)
    for slots in groups:
        store.put(slots, patterns[slots])
    for rows in (range(N_SLOTS), [4], [8, 0, 1, 2, 2, 7, 6]):
        for lo, hi in ((0, N_UNITS), (0, 1), (N_UNITS - 1, N_UNITS), (699, 701), (650, 2150)):
            # oracle: the table itself
            np.testing.assert_array_equal(
                read(store, rows, lo, hi), patterns[list(rows)][:, lo:hi]
            )


def test_a_slot_that_is_used_again_holds_the_later_pattern(make_store):
    store = make_store()
    store.put(range(N_SLOTS), noise())
    store.put([2, 3], noise(2, seed=1))
    expected = noise()
    expected[2:4] = noise(2, seed=1)
    np.testing.assert_array_equal(read(store, range(N_SLOTS)), expected)


@pytest.mark.parametrize("n_units", [1, 2, 700, 701])
def test_any_number_of_units_fits(make_store, n_units):
    store = make_store(3, n_units)
    store.put([0, 1, 2], noise(3, n_units))
    np.testing.assert_array_equal(read(store, [2, 0, 1]), noise(3, n_units)[[2, 0, 1]])


def test_patterns_of_a_wider_type_are_rounded_to_that_of_the_store(make_store):
    store, patterns = make_store(), noise(dtype=np.float64)
    store.put(range(N_SLOTS), patterns)
    np.testing.assert_array_equal(read(store, range(N_SLOTS)), patterns.astype(np.float32))
    assert (read(store, range(N_SLOTS)) != patterns).any()


def test_patterns_are_copied(make_store):
    store, patterns = make_store(), noise()
    store.put(range(N_SLOTS), patterns)
    patterns[:] = 0
    np.testing.assert_array_equal(read(store, range(N_SLOTS)), noise())


def test_patterns_that_do_not_lie_together_are_put(make_store):
    store, wide = make_store(), noise(2 * N_SLOTS, 2 * N_UNITS)
    store.put(range(N_SLOTS), wide[::-2, 1::2])
    np.testing.assert_array_equal(read(store, range(N_SLOTS)), wide[::-2, 1::2])


def test_a_table_grows_where_more_patterns_come_than_were_planned():
    table = Table(2, 5, np.dtype(np.float32))
    patterns = noise(6, 5)
    table.put([0, 1], patterns[:2])
    table.put([4, 5, 2], patterns[[4, 5, 2]])
    table.put([3], patterns[3:4])
    np.testing.assert_array_equal(read(table, range(6)), patterns)


@pytest.mark.parametrize("stretch_bytes", [1, 4 * N_SLOTS * 1100, 2**23])
def test_a_file_is_as_large_as_its_patterns_and_holds_stretches_of_all_of_them(
    stretch_bytes, monkeypatch
):
    monkeypatch.setattr(pattern_rows, "_STRETCH_BYTES", stretch_bytes)
    store, patterns = SpillFile(N_SLOTS, N_UNITS, np.dtype(np.float32), None), noise()
    for slot in (3, 8, 0, 1, 2, 7, 6, 5, 4):
        store.put([slot], patterns[slot : slot + 1])
    size = os.fstat(store._file.fileno()).st_size
    assert size == 4 * N_SLOTS * N_UNITS
    length = {1: 1024, 4 * N_SLOTS * 1100: 1100, 2**23: N_UNITS}[stretch_bytes]
    stretches = [patterns[:, lo : lo + length] for lo in range(0, N_UNITS, length)]
    store._file.seek(0)
    assert store._file.read() == b"".join(part.tobytes() for part in stretches)
    np.testing.assert_array_equal(read(store, range(N_SLOTS)), patterns)
    store.close()


def test_a_file_has_no_name_and_lies_where_it_is_told(tmp_path, monkeypatch):
    opened = []
    real = pattern_rows.tempfile.TemporaryFile
    monkeypatch.setattr(
        pattern_rows.tempfile,
        "TemporaryFile",
        lambda **options: opened.append(options) or real(**options),
    )
    store = SpillFile(2, 5, np.dtype(np.float32), str(tmp_path))
    store.put([0, 1], noise(2, 5))
    assert list(tmp_path.iterdir()) == []
    assert opened[0]["dir"] == str(tmp_path)
    store.close()
    assert store._file.closed


def test_a_pattern_that_was_never_put_is_not_made_up():
    store = SpillFile(3, 5, np.dtype(np.float32), None)
    store.put([0], noise(1, 5))
    with pytest.raises(EOFError, match="a temporary file of patterns ends before the pattern"):
        read(store, [2])
    store.close()


def test_several_threads_may_read_a_file_at_the_same_time(monkeypatch):
    monkeypatch.setattr(pattern_rows, "_STRETCH_BYTES", 1)
    store, patterns = SpillFile(N_SLOTS, N_UNITS, np.dtype(np.float32), None), noise()
    store.put(range(N_SLOTS), patterns)
    starts = np.random.default_rng(1).integers(0, N_UNITS - 50, 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda lo: read(store, [7, 2, 3], lo, lo + 50), starts))
    for lo, part in zip(starts, found, strict=True):
        np.testing.assert_array_equal(part, patterns[[7, 2, 3], lo : lo + 50])
    store.close()


def test_slots_are_a_source_of_their_patterns_in_any_order(make_store):
    store, patterns = make_store(), noise()
    store.put(range(N_SLOTS), patterns)
    source = Slots(store, [5, 6, 1, 1])
    assert (len(source), source.n_units) == (4, N_UNITS)
    np.testing.assert_array_equal(read(source, range(4)), patterns[[5, 6, 1, 1]])
    np.testing.assert_array_equal(read(source, [3, 0], 10, 20), patterns[[1, 5], 10:20])


@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 4], [4, 0, 3, 2], [3], [1]])
def test_patterns_of_one_source_stand_behind_those_of_another(rows):
    first, more = noise(3, 40), noise(2, 40, seed=1, dtype=np.float64)
    source = Gathered.behind_each_other(as_source(first), as_source(list(more)))
    assert (len(source), source.n_units) == (5, 40)
    expected = np.concatenate([first, more])
    np.testing.assert_array_equal(read(source, rows, 7, 33), expected[rows, 7:33])


@pytest.mark.parametrize("rows", [range(6), [3], [5, 0, 1, 4, 4, 2], [1, 3]])
def test_patterns_of_a_store_and_of_a_table_are_gathered_in_any_order(make_store, rows):
    store, kept, fresh = make_store(), noise(), noise(4, seed=1)
    store.put(range(N_SLOTS), kept)
    which, places = [0, 0, 1, 0, 1, 1], [7, 8, 0, 2, 3, 2]
    source = Gathered([store, as_source(fresh)], which, places)
    assert (len(source), source.n_units) == (6, N_UNITS)
    expected = np.stack([(kept, fresh)[i][place] for i, place in zip(which, places, strict=True)])
    np.testing.assert_array_equal(read(source, rows, 10, 2000), expected[list(rows), 10:2000])


@pytest.mark.parametrize(
    "units", [[0], [39], [3, 4, 5, 20, 21, 0], [9, 8, 7], list(range(40)), [5, 5]]
)
def test_units_are_chosen_in_any_order(units):
    patterns = noise(4, 40)
    source = Chosen(as_source(patterns), np.array(units))
    assert (len(source), source.n_units) == (4, len(units))
    np.testing.assert_array_equal(read(source, [3, 0, 1]), patterns[[3, 0, 1]][:, units])
    half = len(units) // 2
    np.testing.assert_array_equal(
        read(source, [2], half, len(units)), patterns[[2]][:, units[half:]]
    )


def test_units_that_follow_each_other_are_read_in_one_go():
    class Counting:
        n_units = 40
        stretches = ()

        def __len__(self):
            return 4

        def read(self, rows, lo, hi, out):
            self.stretches += ((lo, hi),)
            out[...] = 0

    source = Counting()
    read(Chosen(source, np.array([3, 4, 5, 6, 20, 21, 2])), range(4))
    assert source.stretches == ((3, 7), (20, 22), (2, 3))


def test_sources_of_sources_are_read_through(make_store):
    store, patterns = make_store(), noise()
    store.put(range(N_SLOTS), patterns)
    more = [noise(1, seed=1)[0]]
    units = [2999, 0, 1, 1500]
    source = Chosen(
        Gathered.behind_each_other(Slots(store, [8, 2, 3]), as_source(more)), np.array(units)
    )
    expected = np.r_[patterns[[8, 2, 3]], more][:, units]
    np.testing.assert_array_equal(read(source, range(4)), expected)
    np.testing.assert_array_equal(read(source, [3, 1], 1, 3), expected[[3, 1], 1:3])


def test_tables_in_an_arena_lie_apart_and_later_ones_take_their_place():
    arena = Arena()
    arena.clear(1000)
    first, second = (arena.array((3, 5), np.dtype(np.float32)) for _ in range(2))
    assert not np.shares_memory(first, second)
    arena.clear(400)  # smaller: the same memory
    again = arena.array((6, 11), np.dtype(np.float32))
    assert np.shares_memory(again, first)
    assert np.shares_memory(again, second)
    arena.clear(2000)  # larger: other memory
    assert not np.shares_memory(arena.array((3, 5), np.dtype(np.float32)), again)


def test_what_does_not_fit_into_an_arena_lies_elsewhere():
    arena = Arena()
    arena.clear(64 + 60)
    small = arena.array((3, 5), np.dtype(np.float32))  # 60 bytes, of which 64 are taken
    large = arena.array((4, 4), np.dtype(np.float32))
    fitting = arena.array((3, 5), np.dtype(np.float32))
    for one, other in ((small, large), (large, fitting), (small, fitting)):
        assert not np.shares_memory(one, other)
    assert np.shares_memory(arena._bytes, fitting)
    assert not np.shares_memory(arena._bytes, large)
    assert large.shape == (4, 4)


def test_an_arena_begins_empty_in_another_process():
    arena = Arena()
    arena.clear(10**6)
    assert len(pickle.dumps(arena)) < 1000
    copy = pickle.loads(pickle.dumps(arena))
    assert copy.array((2, 3), np.dtype(np.float64)).shape == (2, 3)
