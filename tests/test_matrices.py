"""Triangles, ranks and small statistics of matrices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import matrices
from pytorch_feature_analysis.matrices import (
    add_transposed,
    dead_items,
    is_condensable,
    is_finite,
    is_symmetric,
    to_condensed,
    to_square,
)


def random_rdm(n, seed=0):
    values = np.random.default_rng(seed).random(n * (n - 1) // 2)
    return squareform(values) if n > 1 else np.zeros((1, 1))


def test_the_upper_triangle_is_read_row_by_row():
    matrix = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(pfa.get_upper_triang(matrix), [1, 2, 3, 6, 7, 11])


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_upper_triangle_is_numpys_triu_for_every_dtype_and_memory_order(n, dtype, order):
    matrix = np.random.default_rng(n).integers(0, 2, (n, n)).astype(dtype, order=order)
    triangle = pfa.get_upper_triang(matrix)
    # oracle: numpy
    np.testing.assert_array_equal(triangle, matrix[np.triu_indices(n, 1)])
    assert triangle.dtype == dtype


def test_the_upper_triangle_ignores_the_lower_half_and_the_diagonal_but_not_the_upper_half():
    matrix = random_rdm(5)
    other = np.triu(matrix, 1) + np.tril(np.full((5, 5), 9.0))
    np.testing.assert_array_equal(pfa.get_upper_triang(matrix), pfa.get_upper_triang(other))
    assert not np.array_equal(pfa.get_upper_triang(other), pfa.get_upper_triang(other.T))


def test_the_upper_triangle_is_a_copy_also_of_a_view():
    matrix = np.arange(36.0).reshape(6, 6)
    triangle = pfa.get_upper_triang(matrix[1:4, 1:4])
    np.testing.assert_array_equal(triangle, [8, 9, 15])
    triangle[:] = -1
    assert (matrix >= 0).all()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2), (0, 0)])
def test_only_a_square_matrix_has_an_upper_triangle(shape):
    with pytest.raises(ValueError, match=r"`matrix` must be one square matrix.*squareform"):
        pfa.get_upper_triang(np.zeros(shape))


def test_a_matrix_of_words_is_refused():
    with pytest.raises(TypeError, match="`matrix` must hold real numbers, not <U"):
        pfa.get_upper_triang([["a", "b"], ["c", "d"]])


def test_the_correlation_of_triangles_is_scipys():
    one, other = random_rdm(8, 1), random_rdm(8, 2)
    x, y = squareform(one), squareform(other)
    # oracle: scipy and numpy
    assert pfa.correlate_upper_triang(one, other) == pytest.approx(
        scipy.stats.pearsonr(x, y).statistic, abs=1e-14
    )
    assert pfa.correlate_upper_triang(one, other) == pytest.approx(
        np.corrcoef(x, y)[0, 1], abs=1e-14
    )


def test_a_function_with_a_result_of_scipy_gives_its_statistic():
    one, other = random_rdm(8, 1), random_rdm(8, 2)
    expected = scipy.stats.kendalltau(squareform(one), squareform(other)).statistic
    assert pfa.correlate_upper_triang(one, other, scipy.stats.kendalltau) == expected
    assert pfa.correlate_upper_triang(one, other, func=lambda x, y: len(x) + y.sum()) == (
        pytest.approx(28 + squareform(other).sum())
    )


def test_the_correlation_is_blind_to_scale_and_shift_but_not_to_a_bend():
    one, other = random_rdm(6, 1), random_rdm(6, 2)
    r = pfa.correlate_upper_triang(one, other)
    assert pfa.correlate_upper_triang(one, 1e6 * other + 7) == pytest.approx(r, abs=1e-9)
    assert pfa.correlate_upper_triang(one, -other) == pytest.approx(-r)
    assert pfa.correlate_upper_triang(one, other**4) != pytest.approx(r, abs=1e-3)


def test_the_correlation_of_a_matrix_with_itself_is_one_and_never_above():
    for seed in range(50):
        rdm = random_rdm(5, seed)
        assert 1 - 1e-15 <= pfa.correlate_upper_triang(rdm, rdm) <= 1


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3])
def test_a_constant_triangle_has_no_correlation_and_gives_no_warning(constant):
    flat = np.full((11, 11), constant)
    assert np.isnan(pfa.correlate_upper_triang(flat, random_rdm(11)))
    assert np.isnan(pfa.correlate_upper_triang(random_rdm(11), flat))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_leaves_no_correlation(bad):
    rdm = random_rdm(4)
    rdm[0, 2] = rdm[2, 0] = bad
    assert np.isnan(pfa.correlate_upper_triang(rdm, random_rdm(4, 1)))


@pytest.mark.parametrize("n", [1, 2])
def test_fewer_than_three_items_have_no_correlation(n):
    assert np.isnan(pfa.correlate_upper_triang(random_rdm(n), random_rdm(n, 1)))


def test_matrices_of_different_size_are_not_correlated():
    with pytest.raises(ValueError, match=r"`m1` and `m2` must be of the same items.*4 x 4 and"):
        pfa.correlate_upper_triang(random_rdm(4), random_rdm(5))


def test_a_function_must_return_one_number():
    with pytest.raises(TypeError, match=r"`func` must return one number.*ndarray of shape \(2, 2"):
        pfa.correlate_upper_triang(random_rdm(4), random_rdm(4), np.corrcoef)


def test_ranks_count_from_zero_and_equal_values_keep_their_order():
    np.testing.assert_array_equal(pfa.get_array_ranks([[3, 1], [1, 2]]), [[3, 0], [1, 2]])


def test_ranks_are_scipys_ordinal_ranks_less_one():
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 3))
    # oracle: scipy
    expected = scipy.stats.rankdata(array, method="ordinal").reshape(array.shape) - 1
    np.testing.assert_array_equal(pfa.get_array_ranks(array), expected)


def test_ranks_do_not_change_under_a_rising_function_but_under_a_falling_one():
    array = np.random.default_rng(0).random((3, 4))
    ranks = pfa.get_array_ranks(array)
    np.testing.assert_array_equal(pfa.get_array_ranks(np.exp(array)), ranks)
    np.testing.assert_array_equal(pfa.get_array_ranks(-array), 11 - ranks)


def test_nan_ranks_last_and_an_empty_array_has_no_ranks():
    np.testing.assert_array_equal(pfa.get_array_ranks([np.nan, 5, -1]), [2, 1, 0])
    assert pfa.get_array_ranks(np.zeros((0, 3))).shape == (0, 3)


def test_the_standard_error_divides_by_n_or_by_less():
    sample = [1, 3, 1, 3]
    assert pfa.stderr(sample) == 0.5
    # oracle: scipy
    assert pfa.stderr(sample, ddof=1) == pytest.approx(scipy.stats.sem(sample), abs=1e-15)
    assert pfa.stderr(sample) == pytest.approx(scipy.stats.sem(sample, ddof=0), abs=1e-15)


def test_the_standard_error_ignores_a_shift_and_follows_a_scale():
    sample = np.random.default_rng(0).random(20)
    assert pfa.stderr(sample + 3) == pytest.approx(pfa.stderr(sample))
    assert pfa.stderr(-3 * sample) == pytest.approx(3 * pfa.stderr(sample))


def test_the_standard_error_of_too_few_or_of_nan_is_nan():
    assert np.isnan(pfa.stderr([]))
    assert np.isnan(pfa.stderr([4.0], ddof=1))
    assert pfa.stderr([4.0]) == 0
    assert np.isnan(pfa.stderr([1.0, np.nan]))


def test_the_standard_error_wants_one_list_and_a_whole_ddof():
    with pytest.raises(ValueError, match=r"`array` must be one list of numbers.*\(2, 2\)"):
        pfa.stderr([[1, 2], [3, 4]])
    with pytest.raises(TypeError, match=r"`ddof` must be a whole number, not 0.5"):
        pfa.stderr([1, 2], ddof=0.5)


def test_almost_equals_is_strict_and_looks_at_every_value():
    assert pfa.almost_equals((0, 10), (4, 6))
    assert not pfa.almost_equals((0, 10), (5, 10))
    assert not pfa.almost_equals((10, 0), (10, 5))
    assert pfa.almost_equals((10, 0), (10, 5), thresh=5.001)
    assert pfa.almost_equals([1.5], [1.0], 1) is True


def test_almost_equals_does_not_wrap_bytes_round():
    black, white = np.zeros(3, np.uint8), np.full(3, 255, np.uint8)
    assert not pfa.almost_equals(black, white)
    assert not pfa.almost_equals(white, black)
    assert not pfa.almost_equals(black, np.array([0, 0, 254], np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_almost_equal_to_nothing(value):
    assert not pfa.almost_equals([value], [value])
    assert not pfa.almost_equals([1.0], [value])


def test_almost_equals_wants_equal_shapes():
    with pytest.raises(ValueError, match=r"same shape, but have \(3,\) and \(1,\)"):
        pfa.almost_equals([1, 2, 3], [1])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("missing", [False, True])
def test_condensing_and_squaring_undo_each_other(n, missing):
    rdm = random_rdm(n)
    if missing and n > 1:
        rdm[0, 1:] = rdm[1:, 0] = np.nan
    assert is_condensable(rdm)
    np.testing.assert_array_equal(to_square(to_condensed(rdm)), rdm)


def test_only_a_symmetric_matrix_with_a_zero_diagonal_is_condensable():
    rdm = random_rdm(4)
    broken = {
        "not symmetric": (0, 1, 9.0),
        "NaN on one side": (2, 1, np.nan),
        "diagonal": (3, 3, 1e-300),
        "NaN on the diagonal": (3, 3, np.nan),
    }
    for what, (row, column, value) in broken.items():
        changed = rdm.copy()
        changed[row, column] = value
        assert not is_condensable(changed), what
    for shape in [(0, 0), (2, 3), (4,)]:
        assert not is_condensable(np.zeros(shape))
    assert is_condensable(np.array([[0, 2], [2, 0]]))
    assert not is_condensable(np.array([[0, 2], [1, 0]]))


def test_an_item_is_dead_without_a_finite_pair():
    rdm = random_rdm(5)
    assert not dead_items(rdm).any()
    rdm[1] = rdm[:, 1] = np.nan
    rdm[1, 1] = 0
    np.testing.assert_array_equal(dead_items(rdm), [False, True, False, False, False])
    rdm[3, 1] = 0.5  # one direction is enough
    assert not dead_items(rdm).any()
    assert not dead_items(rdm.T).any()
    np.testing.assert_array_equal(dead_items(np.full((2, 2), np.inf)), [True, True])
    np.testing.assert_array_equal(dead_items(np.zeros((1, 1))), [True])


def test_no_input_is_changed():
    rdm = random_rdm(4)
    rdm.flags.writeable = False  # a write would raise
    pair = [(rdm,), (rdm, rdm)]
    functions = [pfa.get_upper_triang, pfa.get_array_ranks, is_condensable, dead_items]
    for function, arguments in itertools.product(functions, pair[:1]):
        function(*arguments)
    for function in (pfa.correlate_upper_triang, pfa.almost_equals):
        function(*pair[1])
    pfa.stderr(rdm[0])
    to_square(to_condensed(rdm))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(bad):
    assert is_finite(np.array([[1e308, 1e308], [-1e308, 5e-324]]))
    for place in itertools.product(range(3), range(4)):
        array = np.ones((3, 4))
        array[place] = bad
        assert not is_finite(array)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_symmetry_is_seen_in_tiles(n, monkeypatch):
    monkeypatch.setattr(matrices, "_TILE", 3)
    rdm = random_rdm(n)
    assert is_symmetric(rdm)
    for i, j in itertools.permutations(range(n), 2):
        other = rdm.copy()
        other[i, j] += 1e-15
        assert not is_symmetric(other)
        other[i, j] = other[j, i] = np.nan
        assert not is_symmetric(other)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_the_transpose_is_added_in_place(n, monkeypatch):
    monkeypatch.setattr(matrices, "_TILE", 3)
    matrix = np.random.default_rng(n).random((n, n))
    expected = matrix + matrix.T
    add_transposed(matrix)
    np.testing.assert_array_equal(matrix, expected)
