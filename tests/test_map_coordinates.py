from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.map_alignment import procrustes_aligned

KEYS = tuple((f"item{k}",) for k in range(9))


def points_of(seed=0, n_items=9, dims=2):
    return np.random.default_rng(seed).normal(size=(n_items, dims))


def stack_of(maps, keys=None, **columns):
    keys = keys or [KEYS] * len(maps)
    return pd.DataFrame(
        {
            "layer": [f"conv{k + 1}" for k in range(len(maps))],
            "matrix": [squareform(pdist(points)) for points in maps],
            "entry_keys": keys,
            **columns,
        }
    )


def drifting(n_maps=4):
    """Maps each of which is a little different from the one before, and turned at random."""
    generator = np.random.default_rng(1)
    maps = [points_of()]
    for _ in range(n_maps - 1):
        maps.append(maps[-1] + 0.1 * generator.normal(size=(9, 2)))
    turns = [np.linalg.qr(generator.normal(size=(2, 2)))[0] for _ in maps]
    return [points @ turn + 5 for points, turn in zip(maps, turns, strict=True)]


def coordinates(frame, layer):
    own = frame[frame["layer"] == layer].set_index("entry_key")[["dim1", "dim2"]]
    return own.reindex(list(KEYS)).to_numpy()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_points_are_turned_as_scipy_turns_them(dims):
    points, reference = points_of(0, dims=dims), points_of(1, dims=dims)
    centred = [each - each.mean(axis=0) for each in (points, reference)]
    # Oracle: scipy's orthogonal Procrustes, of centred points.
    turn, _ = orthogonal_procrustes(*centred)
    expected = centred[0] @ turn + reference.mean(axis=0)
    found = procrustes_aligned(points, reference, rescale=False)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    size = np.linalg.norm(centred[1]) / np.linalg.norm(centred[0])
    expected = size * (centred[0] @ turn) + reference.mean(axis=0)
    np.testing.assert_allclose(procrustes_aligned(points, reference), expected, atol=1e-12)


def test_a_map_that_was_shifted_turned_mirrored_and_enlarged_comes_back():
    points = points_of()
    turn = np.linalg.qr(points_of(2, n_items=2))[0] @ np.diag([1, -1])
    moved = 3 * points @ turn + 7
    np.testing.assert_allclose(procrustes_aligned(moved, points), points, atol=1e-12)
    stretched = moved * [1, 2]
    assert not np.allclose(procrustes_aligned(stretched, points), points, atol=0.1)


def test_rows_that_either_lacks_have_no_say_and_move_along():
    points = points_of()
    moved = points[:, ::-1] + 4
    reference = points.copy()
    reference[2] = np.nan
    moved[5] = np.nan
    found = procrustes_aligned(moved, reference)
    kept = np.arange(9) != 5
    np.testing.assert_allclose(found[kept], points[kept], atol=1e-12)
    assert np.isnan(found[5]).all()
    with pytest.raises(ValueError, match="no item in common"):
        procrustes_aligned(np.full((3, 2), np.nan), np.zeros((3, 2)))


def test_one_shared_row_and_points_in_one_place_are_no_trouble():
    reference = np.full((9, 2), np.nan)
    reference[4] = [1.0, 2.0]
    found = procrustes_aligned(points_of(), reference)
    np.testing.assert_allclose(found[4], [1, 2])
    together = procrustes_aligned(np.zeros((9, 2)), points_of())
    np.testing.assert_allclose(np.ptp(together, axis=0), 0, atol=1e-12)


def test_entries_keep_their_places_from_layer_to_layer():
    frame = pfa.aligned_mds_coordinates(stack_of(drifting()))
    maps = [coordinates(frame, f"conv{k}") for k in range(1, 5)]
    for one, following in pairwise(maps):
        assert np.abs(one - following).max() < 0.5 < np.ptp(one)
    # Unaligned they do not.
    stack = stack_of(drifting())
    alone = [pfa.mds_coordinates(stack.iloc[[k]])[["dim1", "dim2"]].to_numpy() for k in range(4)]
    assert max(np.abs(alone[0] - other).max() for other in alone[1:]) > 0.5


def test_alignment_changes_no_distance_within_a_map():
    stack = stack_of(drifting())
    frame = pfa.aligned_mds_coordinates(stack, rescale=False)
    for k, matrix in enumerate(stack["matrix"]):
        found = pdist(coordinates(frame, f"conv{k + 1}"))
        np.testing.assert_allclose(found, squareform(matrix), atol=1e-6)


def test_maps_get_one_size_unless_they_keep_their_units():
    maps = [points_of(), 10 * points_of()]
    frame = pfa.aligned_mds_coordinates(stack_of(maps))
    np.testing.assert_allclose(coordinates(frame, "conv1"), coordinates(frame, "conv2"), atol=1e-6)
    frame = pfa.aligned_mds_coordinates(stack_of(maps), rescale=False)
    np.testing.assert_allclose(
        10 * coordinates(frame, "conv1"), coordinates(frame, "conv2"), atol=1e-5
    )


def test_a_reference_stays_and_the_others_are_turned_to_it():
    stack = stack_of(drifting())
    frame = pfa.aligned_mds_coordinates(stack, align_to="conv3")
    own = pfa.mds_coordinates(stack.iloc[[2]])[["dim1", "dim2"]].to_numpy()
    np.testing.assert_allclose(coordinates(frame, "conv3"), own)
    for layer in ("conv1", "conv4"):
        np.testing.assert_allclose(
            coordinates(frame, layer),
            procrustes_aligned(coordinates(frame, layer), own),
            atol=1e-9,
        )
    assert frame["layer"].drop_duplicates().tolist() == ["conv1", "conv2", "conv3", "conv4"]


def test_entries_are_matched_by_key_and_not_by_place():
    maps = drifting(2)
    order = np.random.default_rng(0).permutation(9)
    shuffled = stack_of([maps[0], maps[1][order]], [KEYS, tuple(KEYS[k] for k in order)])
    found = pfa.aligned_mds_coordinates(shuffled, num_starts=1)
    expected = pfa.aligned_mds_coordinates(stack_of(maps), num_starts=1)
    np.testing.assert_allclose(
        coordinates(found, "conv2"), coordinates(expected, "conv2"), atol=1e-4
    )
    assert found.loc[found["layer"] == "conv2", "entry_key"].tolist() == [KEYS[k] for k in order]


def test_an_entry_that_one_layer_lacks_is_looked_for_where_it_was_last():
    maps = [points_of()] * 3
    stack = stack_of(maps)
    # Only the ends know the first five, and the middle the last four.
    middle = stack.loc[1, "matrix"].copy()
    middle[:5] = middle[:, :5] = np.nan
    stack["matrix"] = [stack["matrix"][0], middle, stack["matrix"][2]]
    frame = pfa.aligned_mds_coordinates(stack)
    np.testing.assert_allclose(coordinates(frame, "conv1"), coordinates(frame, "conv3"), atol=1e-6)
    assert np.isnan(coordinates(frame, "conv2")[:5]).all()
    np.testing.assert_allclose(
        coordinates(frame, "conv1")[5:], coordinates(frame, "conv2")[5:], atol=1e-5
    )


def test_the_frame_has_the_columns_of_the_row_and_those_of_the_entries():
    labels = tuple({"name": key[0]} for key in KEYS)
    stack = stack_of(drifting(2), model=["vgg", "vgg"], entry_labels=[labels] * 2)
    frame = pfa.aligned_mds_coordinates(stack, dims=3)
    assert list(frame.columns) == ["layer", "model", "entry_key", "name", "dim1", "dim2", "dim3"]
    assert len(frame) == 18
    assert frame["name"].tolist() == [key[0] for key in KEYS] * 2
    assert list(stack.columns) == ["layer", "matrix", "entry_keys", "model", "entry_labels"]


def test_rows_of_one_panel_and_panels_without_a_common_entry_are_refused():
    stack = stack_of(drifting(3), model=["vgg", "vgg", "alexnet"])
    with pytest.raises(ValueError, match=r"`panels` names 'layr', which .*Did you mean 'layer'"):
        pfa.aligned_mds_coordinates(stack, "layr")
    with pytest.raises(ValueError, match=r"has 2 rows of model 'vgg', .*differ in layer.*df_filt"):
        pfa.aligned_mds_coordinates(stack, "model")
    with pytest.raises(ValueError, match=r"`align_to` names 'conv9', .*conv1, conv2, conv3"):
        pfa.aligned_mds_coordinates(stack, align_to="conv9")
    with pytest.raises(ValueError, match="a row for each panel, and has none"):
        pfa.aligned_mds_coordinates(stack.iloc[:0])
    others = tuple((f"other{k}",) for k in range(9))
    apart = stack_of(drifting(2), [KEYS, others])
    with pytest.raises(ValueError, match=r"no entry of layer 'conv2' in what it is to be turned"):
        pfa.aligned_mds_coordinates(apart)
    with pytest.raises(ValueError, match=r"has a column 'dim1', which is a column of the coord"):
        pfa.aligned_mds_coordinates(stack.assign(dim1=3))
