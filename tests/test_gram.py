"""The geometry of a set of patterns: all digits of it, also in hard cases."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist, squareform

from pytorch_feature_analysis import close_patterns, gram, pattern_sources
from pytorch_feature_analysis._threads import blas_threads, n_blas_threads
from pytorch_feature_analysis.gram import pattern_geometry
from pytorch_feature_analysis.pattern_rows import Chosen, Gathered, Slots, SpillFile, Table
from pytorch_feature_analysis.pattern_sources import as_source

N_UNITS = 3000


def noise(n=12, n_units=N_UNITS, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_units))


def exact(patterns):
    """1 - r, 1 - cosine and squared distance, pair by pair, in 80-bit numbers."""
    rows = np.asarray(patterns).astype(np.longdouble)
    centred = rows - rows.mean(axis=1, keepdims=True)
    centred -= centred.mean(axis=1, keepdims=True)
    kinds = (_unit(centred) / np.sqrt(np.longdouble(2)), _unit(rows) / np.sqrt(np.longdouble(2)))
    return [
        np.array([[float(((x - y) ** 2).sum()) for y in kind] for x in kind])
        for kind in (*kinds, rows)
    ]


def _unit(rows):
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


def all_of(geometry):
    return [geometry.corr(), geometry.cosine(), geometry.squared_euclidean()]


def test_three_patterns_are_as_worked_by_hand():
    geometry = pattern_geometry(np.array([[1.0, 2, 3], [3, 2, 1], [2, 2, 5]]))
    np.testing.assert_allclose(geometry.means, [2, 2, 3])
    np.testing.assert_allclose(geometry.spreads**2, [2, 2, 6])
    # Means off: (-1, 0, 1), (1, 0, -1), (-1, -1, 2); the product of the first and last is 3.
    r = 3 / np.sqrt(12)
    np.testing.assert_allclose(
        geometry.corr(), [[0, 2, 1 - r], [2, 0, 1 + r], [1 - r, 1 + r, 0]], atol=1e-15
    )
    np.testing.assert_allclose(
        geometry.squared_euclidean(), [[0, 8, 5], [8, 0, 17], [5, 17, 0]], atol=1e-14
    )
    dots = np.array([[14, 10, 21], [10, 14, 15], [21, 15, 33]])
    np.testing.assert_allclose(geometry.dot_product(), 1 - dots, atol=1e-14)
    lengths = np.sqrt(np.diag(dots))
    np.testing.assert_allclose(
        geometry.cosine(), 1 - dots / np.multiply.outer(lengths, lengths), atol=1e-15
    )


HARD_CASES = {
    "a common mean of 1e4": (noise() + 1e4).astype(np.float32),
    "offsets of their own": (noise() + 1e4 * noise(n_units=1, seed=1)).astype(np.float32),
    "scales of their own": noise() * 10.0 ** np.linspace(-8, 8, 12)[:, None],
    "faint contrast beside strong": np.r_[noise()[:6], 1e-6 * noise()[6:] + 0.5],
    "what a random deep network does": (noise(1, seed=1) + 0.02 * noise()).astype(np.float32),
    "that, at different contrasts": (
        (noise(1, seed=1) + 0.02 * noise()) * np.linspace(0.1, 10, 12)[:, None] + noise(12, 1)
    ).astype(np.float32),
    "a chain of small steps": noise(1, seed=1) + np.linspace(0, 1, 12)[:, None] ** 3 * noise(1),
    "three units": noise(n_units=3),
    "beyond the range of squares": noise() * 1e-200,
}


@pytest.mark.parametrize("case", HARD_CASES)
def test_hard_cases_keep_their_digits(case):
    patterns = HARD_CASES[case]
    # oracle: brute force in longdouble
    for found, expected in zip(all_of(pattern_geometry(patterns)), exact(patterns), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 * expected.max())


@pytest.mark.parametrize("case", [case for case in HARD_CASES if "range" not in case])
def test_the_correlation_is_that_of_numpy(case):
    patterns = HARD_CASES[case]
    # oracle: np.corrcoef
    expected = 1 - np.corrcoef(patterns.astype(float))
    np.testing.assert_allclose(pattern_geometry(patterns).corr(), expected, rtol=0, atol=1e-12)


def test_small_dissimilarities_of_a_random_deep_network_are_right_to_ten_digits():
    patterns = HARD_CASES["what a random deep network does"]
    expected = exact(patterns)[0]
    off_diagonal = ~np.eye(12, dtype=bool)
    assert 3e-4 < np.median(expected[off_diagonal]) < 5e-4
    np.testing.assert_allclose(pattern_geometry(patterns).corr(), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7, 1e-9])
def test_near_duplicates_keep_the_digits_that_they_have(size):
    patterns = noise()
    patterns[1] = patterns[0] * (1 + size * noise(1, seed=1)[0])
    patterns[7] = patterns[6] + size * noise(1, seed=2)[0]
    patterns[8] = patterns[6] + size * noise(1, seed=3)[0]
    # oracle: brute force in longdouble; a pattern's own rounding is 1e-16
    for found, expected in zip(all_of(pattern_geometry(patterns)), exact(patterns), strict=True):
        near = expected < 1e-2 * np.median(expected)
        assert near.sum() == 12 + 8
        np.testing.assert_allclose(found[near], expected[near], rtol=1e-15 / size)


def test_near_duplicates_among_near_duplicates_keep_their_digits():
    patterns = noise()
    patterns[:10] = patterns[0] + 1e-3 * noise(10, seed=1)
    patterns[3:6] = patterns[3] + 1e-6 * noise(3, seed=2)
    for found, expected in zip(all_of(pattern_geometry(patterns)), exact(patterns), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_patterns_that_are_all_near_duplicates_keep_their_digits():
    patterns = noise(1, seed=1) * (1 + 1e-7 * noise())
    for found, expected in zip(all_of(pattern_geometry(patterns)), exact(patterns), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_scaled_and_shifted_copy_is_no_copy_but_correlates_to_one():
    patterns = noise(4)
    patterns[1] = 3 * patterns[0] + 5
    patterns[2] = -2 * patterns[0]
    geometry = pattern_geometry(patterns)
    assert geometry.corr()[0, 1] < 1e-15
    assert geometry.corr()[0, 2] == pytest.approx(2, abs=1e-14)
    assert geometry.squared_euclidean()[0, 1] > 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.uint8])
def test_identical_patterns_are_exactly_zero_apart(dtype):
    patterns = (10 * noise(9, 501) + 100).astype(dtype)
    patterns[[3, 7]] = patterns[1]
    for matrix in all_of(pattern_geometry(patterns)):
        assert (matrix[np.ix_([1, 3, 7], [1, 3, 7])] == 0).all()
        # And stand alike to all others.
        np.testing.assert_array_equal(matrix[3], matrix[1])
        np.testing.assert_array_equal(matrix[:, 7], matrix[:, 1])
        assert (matrix[0, 1:] > 0).all()


@pytest.mark.parametrize("shape", [(60, 3000), (37, 1001), (201, 5000)])
def test_copies_stand_alike_wherever_they_stand_and_minus_zero_is_zero(shape):
    # In a product the rounding of equal rows depends on their places.
    patterns = np.maximum(noise(*shape), 0)
    patterns[1:30] = patterns[0]
    patterns[31:] = patterns[30]
    patterns[(patterns == 0) & (noise(*shape, seed=1) > 0)] = -0.0
    for matrix in all_of(pattern_geometry(patterns)):
        assert len(np.unique(matrix)) == 2
        assert (matrix[:30, :30] == 0).all()


def test_near_copies_are_not_taken_for_copies():
    # Equal wherever the copies are looked for first, and different in a single unit.
    patterns = np.repeat(noise(1), 3, axis=0)
    patterns[1, 1] += 1e-3
    geometry = pattern_geometry(patterns)
    assert geometry.squared_euclidean()[0, 2] == 0
    assert geometry.squared_euclidean()[0, 1] == pytest.approx(1e-6)


def test_of_many_exact_copies_only_one_enters_the_product(monkeypatch):
    patterns = noise(2, 8000).astype(np.float32)
    entered = []
    real = close_patterns._squared_distances

    def counted(patterns, rows, means, scales):
        entered.append(len(rows))
        return real(patterns, rows, means, scales)

    monkeypatch.setattr(close_patterns, "_squared_distances", counted)
    geometry = pattern_geometry(np.repeat(patterns, 100, axis=0))
    assert entered == [2]
    assert np.unique(geometry.corr()).size == 2


@pytest.mark.parametrize("small", [1e-3, 1e-6])
def test_many_near_copies_cost_a_few_products_at_most(small, monkeypatch):
    patterns = noise(200, 5000)
    near = patterns[0] + small * patterns
    near[:5] = patterns[:5]
    readings = []
    real = close_patterns._standardised_chunks

    def counted(patterns, rows, means, scales):
        readings.append(len(rows))
        return real(patterns, rows, means, scales)

    monkeypatch.setattr(close_patterns, "_standardised_chunks", counted)
    pattern_geometry(near)
    # In readings of all patterns; a loop over the pairs would be about 200 of them.
    assert sum(readings) < 5 * 200


@pytest.mark.parametrize("shape", [(5, 7), (4, 40_000), (200, 1500), (3, 1), (1, 10)])
def test_distances_are_those_of_scipy_for_any_shape(shape):
    patterns = noise(*shape).astype(np.float32)
    # oracle: scipy pdist; the sizes take one chunk and several, whole and with a rest
    expected = squareform(pdist(patterns.astype(float), "sqeuclidean"))
    found = pattern_geometry(patterns).squared_euclidean()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_constant_pattern_has_distances_but_no_direction():
    patterns = noise(4, 50)
    patterns[1], patterns[2] = 0.1, 0.3
    geometry = pattern_geometry(patterns)
    assert (geometry.spreads[1:3] == 0).all()
    # oracle: scipy pdist
    expected = squareform(pdist(patterns, "sqeuclidean"))
    np.testing.assert_allclose(geometry.squared_euclidean(), expected, rtol=1e-14)
    defined = np.array([True, False, False, True])
    assert np.isnan(geometry.corr()[1, [0, 2, 3]]).all()
    assert np.isnan(geometry.corr()[[0, 1, 3], 2]).all()
    assert (np.diag(geometry.corr()) == 0).all()
    np.testing.assert_allclose(
        geometry.corr()[np.ix_(defined, defined)],
        1 - np.corrcoef(patterns[defined]),
        atol=1e-13,
    )
    assert geometry.cosine()[1, 2] == pytest.approx(0, abs=1e-30)
    assert np.isfinite(geometry.cosine()).all()


def test_constants_whose_mean_would_be_rounded_are_constant():
    # 0.1 + ... + 0.1 divided by their number is not 0.1.
    for value in (0.1, 1e-5, -7.3, 1e30):
        for n_units in (3, 1001, 100_003):
            patterns = np.stack([np.full(n_units, value), np.arange(float(n_units))])
            assert pattern_geometry(patterns).spreads[0] == 0


def test_almost_constant_patterns_are_not_constant():
    patterns = np.r_[1e6 + 1e-3 * noise(5, 400), 1e5 + 1e-8 * noise(2, 400)]
    assert (pattern_geometry(patterns).spreads > 0).all()
    expected = 1 - np.corrcoef(patterns[5:] - 1e5)
    np.testing.assert_allclose(pattern_geometry(patterns).corr()[5:, 5:], expected, atol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_pattern_with_nan_or_inf_is_nan_and_leaves_the_others_alone(broken):
    patterns = noise(5, 3000)
    patterns[3, 2000] = broken
    others = [0, 1, 2, 4]
    alone = pattern_geometry(patterns[others])
    for found, expected in zip(all_of(pattern_geometry(patterns)), all_of(alone), strict=True):
        assert np.isnan(found[3]).all()
        assert np.isnan(found[:, 3]).all()
        np.testing.assert_allclose(found[np.ix_(others, others)], expected, rtol=1e-13)


def test_patterns_that_are_all_broken_are_all_nan():
    geometry = pattern_geometry(np.full((3, 4), np.nan))
    assert all(np.isnan(matrix).all() for matrix in all_of(geometry))


def test_a_list_of_patterns_gives_the_same_bits_as_a_table():
    table = noise(7, 30_000).astype(np.float32)
    listed = pattern_geometry(list(table))
    for found, expected in zip(all_of(listed), all_of(pattern_geometry(table)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_strided_and_reversed_patterns_are_read_as_they_stand():
    big = noise(8, 4000)
    strided = [row[::4] for row in big]
    whole = pattern_geometry(np.ascontiguousarray(big[:, ::4]))
    for view in (strided, big[:, ::4], np.asfortranarray(big[:, ::4])):
        found = pattern_geometry(view).corr()
        np.testing.assert_allclose(found, whole.corr(), rtol=1e-13)
    backwards = pattern_geometry(big[::-1, ::4])
    np.testing.assert_allclose(backwards.corr(), whole.corr()[::-1, ::-1], rtol=1e-12)


def test_the_order_of_the_patterns_does_not_matter_but_that_of_the_units_does():
    patterns = noise(6, 500)
    order = [3, 0, 5, 1, 4, 2]
    corr = pattern_geometry(patterns).corr()
    np.testing.assert_allclose(
        pattern_geometry(patterns[order]).corr(), corr[np.ix_(order, order)], rtol=1e-12
    )
    patterns[0] = patterns[0, ::-1]
    assert np.abs(pattern_geometry(patterns).corr() - corr).max() > 0.01


def test_rdms_are_symmetric_to_the_last_bit_with_zero_on_the_diagonal():
    patterns = np.r_[noise(20, 300), 1 + 1e-8 * noise(5, 300)].astype(np.float32)
    for matrix in [*all_of(pattern_geometry(patterns)), pattern_geometry(patterns).dot_product()]:
        np.testing.assert_array_equal(matrix, matrix.T)
    for matrix in all_of(pattern_geometry(patterns)):
        assert (np.diag(matrix) == 0).all()


def test_a_long_chain_of_near_duplicates_falls_into_no_groups_and_is_right():
    # Each is close to its neighbours and far from the rest, so no part can be split off.
    angles = np.linspace(0, 6.2, 700)[:, None]
    patterns = np.cos(angles) * noise(1, 40) + np.sin(angles) * noise(1, 40, seed=1)
    found = pattern_geometry(patterns).corr()
    # oracle: scipy cdist, which takes the difference of each pair
    unit = _unit(patterns - patterns.mean(axis=1, keepdims=True))
    expected = cdist(unit, unit, "sqeuclidean") / 2
    off_diagonal = ~np.eye(700, dtype=bool)
    assert expected[off_diagonal].min() < 1e-4
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("case", HARD_CASES)
def test_stretches_of_rows_change_no_more_than_rounding(case, monkeypatch):
    patterns = HARD_CASES[case]
    # With two copies and a constant.
    patterns = np.r_[patterns, patterns[:2], np.full_like(patterns[:1], 2.5)]
    whole = pattern_geometry(patterns)
    # Two rows of 15 at a time, and a single one at the end.
    monkeypatch.setattr(gram, "_STRETCH_ELEMENTS", 30)
    parts = pattern_geometry(patterns)
    for found, expected in zip(
        [*all_of(parts), parts.dot_product()], [*all_of(whole), whole.dot_product()], strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(found, found.T)


def test_a_matrix_asked_for_the_last_time_takes_the_place_of_the_geometry():
    patterns = noise()
    patterns[3] = patterns[5]
    patterns[7] = 2
    for name in ("corr", "cosine", "squared_euclidean", "dot_product"):
        geometry = pattern_geometry(patterns)
        expected = getattr(geometry, name)()
        before = geometry.standardised.copy()
        assert not np.shares_memory(expected, geometry.standardised)
        np.testing.assert_array_equal(geometry.standardised, before)
        found = getattr(geometry.for_the_last_time(), name)()
        np.testing.assert_array_equal(found, expected)
        assert np.shares_memory(found, geometry.standardised)


@pytest.mark.parametrize("size", [1, 1e-7])
def test_a_geometry_takes_the_place_of_its_sums(size):
    patterns = noise()
    # Near copies, which are read again, and a constant.
    patterns[8] = patterns[2] + size * noise(1, seed=1)[0]
    patterns[4] = 1
    reference = patterns[:3].mean(axis=0)
    rows = np.r_[patterns - reference, [reference - 0.5], np.ones((1, N_UNITS))]
    sums = np.asfortranarray(rows @ rows.T)
    geometry = gram._geometry_from_sums(sums, 0.5, as_source(patterns))
    assert np.shares_memory(geometry.standardised, sums)
    directed = np.arange(12) != 4
    # oracle: brute force in longdouble; a pattern's own rounding is 1e-16
    expected = exact(patterns[directed])[0]
    found = geometry.corr()[np.ix_(directed, directed)]
    np.testing.assert_allclose(found, expected, rtol=max(1e-11, 1e-15 / size), atol=1e-15)
    assert np.isnan(geometry.corr()[4, directed]).all()


def test_patterns_are_not_changed():
    patterns = HARD_CASES["a common mean of 1e4"].copy()
    patterns[3] = patterns[1]
    before = patterns.copy()
    pattern_geometry(patterns)
    pattern_geometry(list(patterns))
    np.testing.assert_array_equal(patterns, before)


def test_the_length_of_the_chunks_changes_no_more_than_rounding(monkeypatch):
    patterns = noise(6, 5000)
    whole = all_of(pattern_geometry(patterns))
    monkeypatch.setattr(pattern_sources, "_CHUNK_ELEMENTS", 7)
    monkeypatch.setattr(pattern_sources, "_SHORTEST_CHUNK", 7)
    for found, expected in zip(all_of(pattern_geometry(patterns)), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


class Spy:
    """A source that notes who reads which units."""

    def __init__(self, patterns):
        self.n_units = patterns.shape[1]
        self.readings = []
        self._patterns = patterns

    def __len__(self):
        return len(self._patterns)

    def read(self, rows, lo, hi, out):
        self.readings.append((threading.get_ident(), len(rows), lo, hi))
        out[...] = self._patterns[rows, lo:hi]


def test_the_number_of_threads_of_blas_is_held_and_given_back():
    before = n_blas_threads()
    with blas_threads(1):
        assert n_blas_threads() == 1
        with blas_threads(2):
            assert n_blas_threads() == 2
        assert n_blas_threads() == 1
    assert n_blas_threads() == before


@pytest.mark.parametrize("shape", [(5, 300), (40, 60_000), (512, 12_000)])
def test_the_number_of_threads_changes_no_bit(shape):
    patterns, found, readers = noise(*shape).astype(np.float32), [], []
    for number in (1, 2):
        spy = Spy(patterns)
        with blas_threads(number):
            found.append(all_of(pattern_geometry(spy)))
            assert n_blas_threads() == number  # also behind the threads of the parts
        readers.append({thread for thread, *_ in spy.readings})
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    assert readers[0] == {threading.get_ident()}
    if shape[1] > 1000:  # several chunks
        assert len(readers[1] - readers[0]) == 2


def test_many_patterns_are_multiplied_by_one_thread_after_the_other():
    spy = Spy(noise(513, 5000))
    with blas_threads(2):
        pattern_geometry(spy)
    assert {thread for thread, *_ in spy.readings} == {threading.get_ident()}


def test_sums_in_parts_are_those_of_the_whole(monkeypatch):
    patterns = noise(30, 9000)
    monkeypatch.setattr(pattern_sources, "_CHUNK_ELEMENTS", 1024)
    whole = {}
    for parts in (1, 3, 8):
        monkeypatch.setattr(gram, "_PARTS", parts)
        whole[parts] = all_of(pattern_geometry(patterns))
    for parts in (3, 8):
        for found, expected in zip(whole[parts], whole[1], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(20, 300), (40, 60_000), (513, 5000)])
def test_units_are_read_once(shape):
    spy = Spy(noise(*shape).astype(np.float32))
    pattern_geometry(spy)
    stretches = sorted((lo, hi) for _, n, lo, hi in spy.readings if n == shape[0])
    assert stretches[0][0] == 0
    assert stretches[-1][1] == shape[1]
    assert all(before[1] == after[0] for before, after in pairwise(stretches))
    # Beside these, a few patterns' first stretch, for the offset.
    more = [reading for reading in spy.readings if reading[1] != shape[0]]
    assert len(more) == 1


def doubtful():
    """Patterns of which some must be read again: near copies, copies, a constant, NaN."""
    patterns = noise(12, 30_000).astype(np.float32)
    patterns[1] = patterns[0] * (1 + 1e-5 * patterns[2])
    patterns[3], patterns[4], patterns[5, 7] = patterns[2], 0.1, np.nan
    return patterns


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("where", ["table", "file", "file of short stretches", "list", "gathered"])
def test_the_same_patterns_have_the_same_bits_wherever_they_are(where, dtype):
    patterns = doubtful().astype(dtype)
    order = [7, 2, 11, 4, 3, 0, 9, 8, 1, 5, 6, 10]
    store = None
    if where in ("list", "gathered"):
        source = [patterns[i] for i in order]
        if where == "gathered":
            first, rest = np.array(source[:5]), source[5:]
            source = Gathered.behind_each_other(Spy(first), as_source(rest))
    else:
        make = Table if where == "table" else lambda *size: SpillFile(*size, None)
        store = make(*patterns.shape, np.dtype(dtype))
        if "short" in where:
            store._length = 1000
        store.put(range(12), patterns)
        source = Slots(store, order)
    found = pattern_geometry(source)
    for one, expected in zip(
        all_of(found), all_of(pattern_geometry(patterns[order])), strict=True
    ):
        np.testing.assert_array_equal(one, expected)
    if store is not None:
        store.close()


def test_chosen_units_have_the_bits_of_a_table_of_them():
    patterns = doubtful()
    units = np.r_[np.arange(5000, 9000), np.arange(100), 29_999]
    found = pattern_geometry(Chosen(Spy(patterns), units))
    expected = pattern_geometry(np.ascontiguousarray(patterns[:, units]))
    for one, other in zip(all_of(found), all_of(expected), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_source_that_knows_its_geometry_is_asked_for_it():
    class Knowing(Spy):
        def own_geometry(self):
            return "its own"

    spy = Knowing(noise(3))
    assert pattern_geometry(spy) == "its own"
    assert spy.readings == []


def test_a_fault_in_reading_comes_out_and_leaves_the_threads_as_they_were():
    class Failing(Spy):
        def read(self, rows, lo, hi, out):
            super().read(rows, lo, hi, out)
            if lo > 20_000:
                raise OSError("the disk is gone")

    with blas_threads(2):
        with pytest.raises(OSError, match="the disk is gone"):
            pattern_geometry(Failing(noise(40, 60_000)))
        assert n_blas_threads() == 2


@pytest.mark.parametrize("seed", range(5))
def test_means_of_any_size_beside_small_spreads_are_right(seed):
    # A stretch of the sums is right only as long as the mean is not far larger than the spread.
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-3, 9, (12, 1))
    patterns = noise(seed=seed) * 10.0 ** rng.uniform(-3, 3, (12, 1)) + sizes
    found = pattern_geometry(patterns)
    # oracle: brute force in longdouble; the patterns themselves are rounded at 1e-16 of the mean
    rows = patterns.astype(np.longdouble)
    centred = rows - rows.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.means, rows.mean(axis=1).astype(float), rtol=1e-14)
    expected = np.sqrt((centred**2).sum(axis=1)).astype(float)
    np.testing.assert_allclose(found.spreads, expected, rtol=1e-11)
    for one, other in zip(all_of(found), exact(patterns), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * other.max())
