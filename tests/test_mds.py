import itertools
import logging

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import smacof

from pytorch_feature_analysis.mds import embed, stress_1


def distances_of(points):
    return squareform(pdist(points))


def correlation_rdm(n_items, n_units=30, seed=0):
    rdm = 1 - np.corrcoef(np.random.default_rng(seed).normal(size=(n_items, n_units)))
    np.fill_diagonal(rdm, 0)
    return (rdm + rdm.T) / 2


def with_gaps(matrix, share, seed=0):
    gaps = np.triu(np.random.default_rng(seed).random(matrix.shape) < share, k=1)
    return np.where(gaps | gaps.T, np.nan, matrix)


def brute_force_stress(points, matrix):
    return sum(
        (np.linalg.norm(points[i] - points[j]) - matrix[i, j]) ** 2
        for i, j in itertools.combinations(range(len(matrix)), 2)
        if np.isfinite(matrix[i, j])
    )


@pytest.mark.parametrize("n_items", [3, 4, 30])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_planar_points_come_back_up_to_a_rigid_motion(n_items, scale):
    truth = scale * np.random.default_rng(1).normal(size=(n_items, 2))
    points, stress = embed(distances_of(truth))
    assert stress < 1e-6
    assert procrustes(truth, points)[2] < 1e-12
    np.testing.assert_allclose(distances_of(points), distances_of(truth), atol=1e-9 * scale)


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_classical_scaling_recovers_euclidean_distances(dims):
    truth = np.random.default_rng(2).normal(size=(20, dims))
    points, stress = embed(distances_of(truth), dims, method="classical")
    np.testing.assert_allclose(distances_of(points), distances_of(truth), rtol=0, atol=1e-10)
    assert stress < 1e-18


def test_classical_scaling_is_the_hand_computed_eigendecomposition():
    # Oracle: J D^2 J with the centring matrix J written out, which the function never forms.
    rdm = correlation_rdm(12)
    centring = np.eye(12) - np.ones((12, 12)) / 12
    eigenvalues, eigenvectors = np.linalg.eigh(-centring @ rdm**2 @ centring / 2)
    expected = eigenvectors[:, :-4:-1] * np.sqrt(eigenvalues[:-4:-1])
    points, _ = embed(rdm, 3, method="classical")
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-10)


def test_three_items_around_a_fourth_that_is_too_near():
    # By hand: an equilateral triangle of side s has its middle at s / sqrt(3) from its corners.
    # With dissimilarities of 2 along its sides and 1 to the middle, classical scaling draws the
    # triangle of side 2, and the least stress is where 3 (s - 2)^2 + 3 (s / sqrt(3) - 1)^2 is.
    star = 2.0 * (1 - np.eye(4))
    star[3, :3] = star[:3, 3] = 1.0
    radius = (2 * np.sqrt(3) + 1) / 4
    least = 3 * (np.sqrt(3) * radius - 2) ** 2 + 3 * (radius - 1) ** 2
    for dims in (2, 3):
        assert embed(star, dims)[1] == pytest.approx(least)
        assert embed(star, dims, method="classical")[1] == pytest.approx(
            3 * (2 / np.sqrt(3) - 1) ** 2
        )


def test_the_stress_is_the_sum_over_pairs():
    rdm = correlation_rdm(9)
    for method in ("metric", "classical"):
        points, stress = embed(rdm, method=method)
        assert stress == pytest.approx(brute_force_stress(points, rdm), rel=1e-12)


def test_the_stress_is_no_higher_than_that_of_many_runs_of_sklearn():
    rdm = correlation_rdm(15)
    # Oracle: scikit-learn's SMACOF from random starts, with the settings of the guide.
    _, reference = smacof(
        rdm, n_init=12, max_iter=3000, eps=1e-9, random_state=0, normalized_stress=False
    )
    assert embed(rdm, num_starts=12)[1] <= reference + 1e-6
    assert embed(rdm)[1] <= reference * 1.05


def test_metric_scaling_ends_where_smacof_no_longer_moves():
    rdm = correlation_rdm(15)
    points, stress = embed(rdm)
    # Oracle: further iterations of scikit-learn's SMACOF.
    moved, lower = smacof(rdm, init=points, n_init=1, max_iter=50, eps=0, normalized_stress=False)
    np.testing.assert_allclose(moved, points, atol=1e-3)
    assert lower == pytest.approx(stress, rel=1e-7)


def test_metric_scaling_fits_better_than_classical():
    rdm = correlation_rdm(15)
    assert embed(rdm)[1] < 0.9 * embed(rdm, method="classical")[1]


def test_more_starts_never_fit_worse():
    rdm = correlation_rdm(15, seed=3)
    stresses = [embed(rdm, num_starts=k)[1] for k in (1, 2, 4, 16)]
    assert stresses == sorted(stresses, reverse=True)
    assert stresses[-1] < stresses[0]


def test_one_seed_gives_one_map():
    rdm = correlation_rdm(15, seed=3)
    np.testing.assert_array_equal(embed(rdm)[0], embed(rdm)[0])
    np.testing.assert_array_equal(
        embed(rdm, random_state=np.random.default_rng(5))[0],
        embed(rdm, random_state=np.random.default_rng(5))[0],
    )
    assert len({embed(rdm, num_starts=2, random_state=seed)[1] for seed in range(8)}) > 1


def test_the_global_generator_is_neither_used_nor_moved():
    rdm = correlation_rdm(10)
    np.random.seed(0)  # noqa: NPY002 - the global generator is what is tested
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = embed(rdm, random_state=None)[0]
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert first.shape == (10, 2)


def test_points_are_centred_and_on_principal_axes():
    points, _ = embed(correlation_rdm(15), 3)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    covariance = points.T @ points
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-10)
    assert (np.diff(np.diag(covariance)) < 0).all()
    assert (points.max(axis=0) >= -points.min(axis=0)).all()


def test_the_map_depends_on_distances_alone_not_on_where_the_points_came_from():
    truth = np.random.default_rng(4).normal(size=(10, 2))
    angle = 2.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points, _ = embed(distances_of(truth))
    np.testing.assert_allclose(embed(distances_of(truth @ turn + 7))[0], points, atol=1e-9)
    np.testing.assert_allclose(embed(distances_of(truth * [-1, 1]))[0], points, atol=1e-9)
    assert not np.allclose(embed(distances_of(truth * [2, 1]))[0], points, atol=0.1)


def test_the_order_of_items_and_the_unit_do_not_matter():
    rdm = correlation_rdm(12)
    points, _ = embed(rdm, num_starts=1)
    order = np.random.default_rng(0).permutation(12)
    shuffled, _ = embed(rdm[np.ix_(order, order)], num_starts=1)
    np.testing.assert_allclose(shuffled, points[order], atol=1e-4)
    scaled, larger = embed(1000 * rdm)
    np.testing.assert_allclose(scaled, 1000 * embed(rdm)[0], rtol=1e-9)
    assert larger == pytest.approx(1e6 * embed(rdm)[1])


def test_two_items_lie_at_their_dissimilarity():
    points, stress = embed(np.array([[0, 3], [3, 0]]))
    np.testing.assert_allclose(points, [[1.5, 0], [-1.5, 0]], atol=1e-12)
    assert stress < 1e-20


def test_items_without_differences_share_a_point():
    points, stress = embed(np.zeros((3, 3)))
    np.testing.assert_array_equal(points, np.zeros((3, 2)))
    assert stress == 0
    twins = distances_of(np.array([[0, 0], [0, 0], [3, 4.0], [3, 0]]))
    points, stress = embed(twins)
    assert stress < 1e-6
    np.testing.assert_allclose(points[0], points[1], atol=1e-6)


def test_more_dimensions_than_items_are_zero():
    points, stress = embed(distances_of(np.array([[0.0], [1.0], [3.0]])), 5)
    assert points.shape == (3, 5)
    np.testing.assert_allclose(points[:, 1:], 0, atol=1e-6)
    assert stress < 1e-12


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_planar_points_come_back_although_dissimilarities_are_missing(share):
    truth = np.random.default_rng(5).normal(size=(25, 2))
    matrix = with_gaps(distances_of(truth), share)
    assert np.isnan(matrix).any()
    points, stress = embed(matrix)
    assert stress < 1e-6
    assert procrustes(truth, points)[2] < 1e-6


def test_missing_dissimilarities_have_no_pull():
    matrix = with_gaps(correlation_rdm(12), 0.2)
    points, stress = embed(matrix)
    assert stress == pytest.approx(brute_force_stress(points, matrix), rel=1e-12)
    # Oracle: with the distances of the solution in the gaps, scikit-learn's SMACOF has no reason
    # to move (expectation-maximisation has the same fixed points as weights of zero).
    filled = np.where(np.isnan(matrix), distances_of(points), matrix)
    moved, same = smacof(filled, init=points, n_init=1, eps=0, normalized_stress=False)
    np.testing.assert_allclose(moved, points, atol=1e-3)
    assert same == pytest.approx(stress, rel=1e-6)


def test_a_missing_dissimilarity_is_not_the_same_as_a_zero():
    matrix = distances_of(np.random.default_rng(6).normal(size=(8, 2)))
    gap, zero = matrix.copy(), matrix.copy()
    gap[0, 1] = gap[1, 0] = np.nan
    zero[0, 1] = zero[1, 0] = 0
    assert embed(gap)[1] < 1e-6 < 1e-3 < embed(zero)[1]


def test_classical_scaling_takes_the_shortest_path_for_a_missing_dissimilarity():
    line = distances_of(np.array([[0.0], [1.0], [4.0], [4.0]]))
    gap = line.copy()
    gap[0, 2] = gap[2, 0] = np.nan
    np.testing.assert_allclose(
        embed(gap, method="classical")[0], embed(line, method="classical")[0], atol=1e-10
    )


def test_items_without_finite_dissimilarity_are_left_out_and_named(caplog):
    rdm = correlation_rdm(8)
    dead = rdm.copy()
    dead[[2, 5], :] = dead[:, [2, 5]] = np.nan
    np.fill_diagonal(dead, 0)
    with caplog.at_level(logging.WARNING):
        points, stress = embed(dead, names=[("item", i) for i in range(8)])
    assert "2 of 8 items" in caplog.text
    assert "('item', 2), ('item', 5)" in caplog.text
    assert np.isnan(points[[2, 5]]).all()
    kept = [0, 1, 3, 4, 6, 7]
    expected, expected_stress = embed(rdm[np.ix_(kept, kept)])
    np.testing.assert_array_equal(points[kept], expected)
    assert stress == expected_stress
    assert stress_1(points, dead) == stress_1(expected, rdm[np.ix_(kept, kept)])


def test_a_matrix_that_is_not_symmetric_enters_as_its_mean_on_request():
    rdm = correlation_rdm(8)
    noise = np.triu(np.random.default_rng(0).uniform(0, 0.1, rdm.shape), k=1)
    with pytest.raises(ValueError, match=r"`matrix` is not symmetric: \[0, 1\] is .*`symmetrize`"):
        embed(rdm + noise - noise.T)
    points, _ = embed(rdm + noise - noise.T, symmetrize=True)
    np.testing.assert_allclose(points, embed(rdm)[0], atol=1e-5)
    embed(rdm + 1e-14 * noise)


def test_a_cell_that_is_known_on_one_side_alone_serves_for_both():
    rdm = correlation_rdm(8)
    one_sided = rdm.copy()
    one_sided[0, 3] = np.nan
    np.testing.assert_array_equal(embed(one_sided)[0], embed(rdm)[0])


def test_stress_1_is_that_of_kruskal():
    rdm = correlation_rdm(10)
    points, _ = embed(rdm)
    # Oracle: scikit-learn's normalised stress, after no more than one iteration at the minimum.
    _, reference = smacof(rdm, init=points, n_init=1, max_iter=1, normalized_stress=True)
    assert stress_1(points, rdm) == pytest.approx(reference, rel=1e-6)
    assert stress_1(10 * points, 10 * rdm) == pytest.approx(reference, rel=1e-6)
    assert stress_1(np.zeros((10, 2)), np.zeros((10, 10))) == 0


def test_the_input_is_not_changed():
    matrix = with_gaps(correlation_rdm(8), 0.2)
    matrix[0, 0] = np.nan
    before = matrix.copy()
    matrix.flags.writeable = False
    embed(matrix)
    stress_1(embed(matrix)[0], matrix)
    np.testing.assert_array_equal(matrix, before)


def wrong(**cells):
    matrix = correlation_rdm(6)
    for name, value in cells.items():
        i, j = int(name[1]), int(name[2])
        matrix[i, j] = matrix[j, i] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (wrong(c14=-0.3), r"2 negative ones, the first -0\.3 in row 1, column 4"),
        (wrong(c14=np.inf), r"2 infinite ones, the first inf in row 1, column 4"),
        (wrong(c11=1.0), r"0 on its diagonal, and has 1 in row 1.*1 - similarity"),
        (np.abs(1 - wrong()), r"0 on its diagonal"),
        (np.full((4, 4), np.nan), r"0 of 4 items with a finite dissimilarity"),
        (np.zeros((1, 1)), r"needs at least two"),
        (np.zeros((3, 4)), r"`matrix` must be one square matrix"),
        (np.zeros((0, 0)), r"`matrix` must be one square matrix"),
    ],
)
def test_what_is_no_dissimilarity_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        embed(matrix)


def test_groups_that_nothing_connects_are_refused_by_name():
    matrix = correlation_rdm(5)
    matrix[:2, 2:] = matrix[2:, :2] = np.nan
    with pytest.raises(ValueError, match=r"falls into 2 groups .* One group is a, b\."):
        embed(matrix, names=list("abcde"))


def test_negative_rounding_is_taken_for_zero():
    matrix = correlation_rdm(6)
    clean = matrix.copy()
    clean[0, 1] = clean[1, 0] = 0
    matrix[0, 1] = matrix[1, 0] = -1e-15
    np.testing.assert_array_equal(embed(matrix)[0], embed(clean)[0])


def test_wrong_settings_are_refused():
    rdm = correlation_rdm(5)
    with pytest.raises(ValueError, match=r"`method` names 'metrc'.*Did you mean 'metric'"):
        embed(rdm, method="metrc")
    with pytest.raises(ValueError, match=r"`dims` must be at least 1, not 0"):
        embed(rdm, 0)
    with pytest.raises(TypeError, match=r"`dims` must be a whole number"):
        embed(rdm, 2.0)
    with pytest.raises(ValueError, match=r"`num_starts` must be at least 1"):
        embed(rdm, num_starts=0)
    with pytest.raises(TypeError, match=r"`random_state` must be"):
        embed(rdm, random_state="0")
    with pytest.raises(ValueError, match=r"`mine` must be one square matrix"):
        embed(np.zeros(3), argument="mine")
