import time

import numpy as np
import pytest
from scipy.optimize import minimize

from pytorch_feature_analysis.plotting._separation import common_scale, overlapping, separate


def crowd(n_items, spread=0.2, size=0.06, seed=0):
    generator = np.random.default_rng(seed)
    centres = 0.5 + spread * generator.normal(size=(n_items, 2))
    return centres, size * generator.uniform(0.5, 1, size=(n_items, 2))


def brute_force_overlaps(centres, sizes):
    """Pairs of boxes that share an area, one by one."""
    pairs = []
    for i in range(len(centres)):
        for j in range(i + 1, len(centres)):
            (left, bottom), (right, top) = centres[i] - sizes[i] / 2, centres[i] + sizes[i] / 2
            (west, south), (east, north) = centres[j] - sizes[j] / 2, centres[j] + sizes[j] / 2
            if min(right, east) > max(left, west) and min(top, north) > max(bottom, south):
                pairs.append((i, j))
    return pairs


def test_overlaps_are_those_of_brute_force():
    centres, sizes = crowd(40)
    expected = brute_force_overlaps(centres, sizes)
    assert len(expected) > 10
    found = list(zip(*(side.tolist() for side in overlapping(centres, sizes)), strict=True))
    assert found == expected


@pytest.mark.parametrize("n_items", [2, 10, 60, 200])
def test_separate_boxes_overlap_nowhere(n_items):
    centres, sizes = crowd(n_items)
    assert brute_force_overlaps(separate(centres, sizes), sizes) == []


def test_boxes_in_one_place_are_drawn_apart_around_it():
    centres, sizes = np.full((30, 2), 0.5), np.full((30, 2), 0.1)
    moved = separate(centres, sizes)
    assert brute_force_overlaps(moved, sizes) == []
    np.testing.assert_allclose(moved.mean(axis=0), 0.5, atol=0.05)
    # They fill 0.3 in all, a square of 0.55: neither a row nor a cross.
    assert (np.ptp(moved, axis=0) < 1.2).all()


def test_boxes_that_overlap_nowhere_stay_to_the_last_bit():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), axis=-1).reshape(-1, 2) / 3
    np.testing.assert_array_equal(separate(grid, np.full((25, 2), 0.3)), grid)
    # They touch, which is no overlap.
    np.testing.assert_array_equal(separate(3 * grid, np.ones((25, 2))), 3 * grid)


def test_a_box_far_from_a_crowd_stays():
    centres, sizes = crowd(20, spread=0.05)
    far = np.vstack([centres, [[9.0, 9.0]]])
    moved = separate(far, np.vstack([sizes, [[0.1, 0.1]]]))
    np.testing.assert_array_equal(moved[-1], [9.0, 9.0])
    assert (moved[:-1] != centres).any()


def test_two_boxes_part_along_the_shorter_way_by_half_each():
    # By hand: they overlap by 0.2 along x and 0.9 along y.
    centres, sizes = np.array([[0, 0], [0.8, 0.1]]), np.ones((2, 2))
    np.testing.assert_allclose(separate(centres, sizes), [[-0.1, 0], [0.9, 0.1]], atol=1e-3)


def test_three_boxes_in_a_row_move_the_least_in_sum_of_squares():
    centres = np.array([[0, 0], [0.5, 0], [1.2, 0.0]])
    sizes = np.array([[1, 1], [0.6, 1], [1, 1.0]])
    # Oracle: a general solver of the same programme.
    expected = minimize(
        lambda x: ((x - centres[:, 0]) ** 2).sum(),
        centres[:, 0],
        constraints={"type": "ineq", "fun": lambda x: np.diff(x) - 0.8},
    ).x
    np.testing.assert_allclose(separate(centres, sizes)[:, 0], expected, atol=3e-3)


def test_a_crowd_moves_less_than_by_blowing_it_up():
    centres, sizes = crowd(60)
    moved = separate(centres, sizes)
    middle = centres.mean(axis=0)
    blown_up = middle + (centres - middle) / common_scale(centres, sizes)
    assert brute_force_overlaps(blown_up, 0.999 * sizes) == []
    distance = np.hypot(*(moved - centres).T).mean()
    assert distance < 0.2 * np.hypot(*(blown_up - centres).T).mean()
    assert distance < sizes.max()


def test_the_same_boxes_always_go_to_the_same_places():
    centres, sizes = crowd(50)
    np.testing.assert_array_equal(separate(centres, sizes), separate(centres, sizes))


def test_what_is_given_stays_as_it_is():
    centres, sizes = crowd(20)
    before = centres.copy(), sizes.copy()
    separate(centres, sizes)
    np.testing.assert_array_equal((centres, sizes), before)


def test_two_hundred_boxes_take_less_than_two_seconds():
    centres, sizes = crowd(200)
    start = time.process_time()
    separate(centres, sizes)
    assert time.process_time() - start < 2


def test_the_common_scale_is_the_largest_without_overlap():
    centres, sizes = crowd(12)
    scale = common_scale(centres, sizes)
    assert 0 < scale < 1
    assert brute_force_overlaps(centres, scale * (1 - 1e-9) * sizes) == []
    assert len(brute_force_overlaps(centres, scale * (1 + 1e-9) * sizes)) == 1


def test_boxes_with_room_keep_their_sizes_and_those_in_one_place_have_none():
    assert common_scale(np.array([[0, 0], [3, 0.0]]), np.ones((2, 2))) == 1
    assert common_scale(np.zeros((1, 2)), np.ones((1, 2))) == 1
    assert common_scale(np.zeros((2, 2)), np.ones((2, 2))) == 0
