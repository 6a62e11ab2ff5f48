import sys
import types
from typing import ClassVar

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform
from sklearn.isotonic import IsotonicRegression
from sklearn.manifold import smacof

from pytorch_feature_analysis.embedding import METHODS, embed_items
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.nonmetric_mds import disparities


def correlation_rdm(n_items, seed=0):
    return 1 - np.corrcoef(np.random.default_rng(seed).normal(size=(n_items, 40)))


def clusters(n_each=8, seed=0):
    """Dissimilarities of three clusters far from each other, in five dimensions."""
    generator = np.random.default_rng(seed)
    centres = np.repeat(10 * np.eye(3, 5), n_each, axis=0)
    return squareform(pdist(centres + generator.normal(size=centres.shape)))


def are_apart(points, n_each=8):
    """Whether all of a cluster are nearer to its middle than to any other."""
    middles = points.reshape(3, n_each, -1).mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - middles, axis=-1).argmin(axis=1)
    return (nearest == np.repeat(np.arange(3), n_each)).all()


def test_disparities_are_those_of_monotone_regression():
    generator = np.random.default_rng(0)
    wanted, distances = generator.random(50), generator.random(50)
    # Oracle: scikit-learn's isotonic regression; no ties here.
    expected = IsotonicRegression().fit_transform(wanted, distances)
    np.testing.assert_allclose(disparities(distances, wanted), expected)


def test_tied_dissimilarities_may_have_different_disparities():
    np.testing.assert_array_equal(
        disparities(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 1.0])), [3, 1, 2]
    )


def test_nonmetric_scaling_recovers_points_from_the_order_of_their_distances():
    truth = np.random.default_rng(0).normal(size=(30, 2))
    bent = squareform(pdist(truth) ** 3)
    found = embed_items(bent, method="nonmetric")
    assert found.stress_1 < 1e-2
    assert procrustes(truth, found.points)[2] < 1e-3
    assert procrustes(truth, embed(bent)[0])[2] > 0.02


def test_nonmetric_scaling_fits_no_worse_than_sklearn():
    rdm = correlation_rdm(15)
    # Oracle: scikit-learn's nonmetric SMACOF from many random starts.
    _, reference = smacof(
        rdm,
        metric=False,
        n_init=4,
        init=None,
        max_iter=300,
        eps=1e-9,
        random_state=0,
        normalized_stress=True,
    )
    found = embed_items(rdm, method="nonmetric", num_starts=12)
    assert found.stress_1 <= reference + 1e-3
    assert found.stress_1 < embed_items(rdm).stress_1


def test_the_stress_of_nonmetric_scaling_is_that_of_its_disparities():
    rdm = correlation_rdm(12)
    found = embed_items(rdm, method="nonmetric")
    distances, cells = pdist(found.points), squareform(rdm, checks=False)
    fitted = IsotonicRegression().fit_transform(cells, distances)
    stress = ((distances - fitted) ** 2).sum()
    assert found.fit == pytest.approx(stress)
    assert found.stress_1 == pytest.approx(np.sqrt(stress / (distances**2).sum()))
    assert stress_1(7 * found.points, rdm, method="nonmetric") == pytest.approx(found.stress_1)


def test_missing_dissimilarities_have_no_say_in_nonmetric_scaling():
    truth = np.random.default_rng(1).normal(size=(25, 2))
    matrix = squareform(pdist(truth) ** 2)
    holes = np.triu(np.random.default_rng(2).random(matrix.shape) < 0.2, k=1)
    matrix[holes | holes.T] = np.nan
    points, _ = embed(matrix, method="nonmetric")
    assert procrustes(truth, points)[2] < 5e-3


def test_the_gradient_is_that_of_finite_differences():
    # Where it is 0, no small step may lower the stress.
    rdm = correlation_rdm(10)
    points, _ = embed(rdm, method="nonmetric")
    least = stress_1(points, rdm, method="nonmetric")
    generator = np.random.default_rng(0)
    for _ in range(30):
        step = 1e-3 * np.std(points) * generator.normal(size=points.shape)
        assert stress_1(points + step, rdm, method="nonmetric") > least - 1e-7


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_neighbours_stay_together(method):
    rdm = clusters()
    found = embed_items(rdm, method=method, num_neighbors=5)
    assert found.points.shape == (24, 2)
    assert are_apart(found.points)
    assert found.stress_1 is None
    assert 0.9 < found.fit <= 1
    assert f"trustworthiness {found.fit:.2f}" in found.note
    again = embed_items(rdm, method=method, num_neighbors=5)
    np.testing.assert_array_equal(found.points, again.points)
    # Few items will do. All in one test, since UMAP is compiled when it is first used.
    for n_items, dims in ((3, 2), (4, 3), (6, 3)):
        found = embed_items(correlation_rdm(n_items), dims, method=method)
        assert np.isfinite(found.points).all()
        assert found.points.shape == (n_items, dims)


class Unmoved:
    """In the place of UMAP: leaves the points where they start."""

    told: ClassVar[dict] = {}

    def __init__(self, **options):
        Unmoved.told = options

    def fit_transform(self, matrix):
        return np.asarray(self.told["init"], dtype=float) + 3


@pytest.fixture
def unmoved(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Unmoved))


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_items_without_dissimilarities_are_left_out_and_gaps_refused(method):
    rdm = clusters()
    rdm[3] = rdm[:, 3] = np.nan
    found = embed_items(rdm, method=method)
    assert np.flatnonzero(np.isnan(found.points).any(axis=1)).tolist() == [3]
    rdm[0, 1] = rdm[1, 0] = np.nan
    with pytest.raises(ValueError, match="needs the dissimilarities of all pairs"):
        embed_items(rdm, method=method)
    with pytest.raises(ValueError, match=r"at least three items, and there are 2"):
        embed_items(correlation_rdm(2), method=method)


def test_umap_that_is_not_installed_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"pip install 'pytorch_feature_analysis\[umap\]'"):
        embed_items(correlation_rdm(5), method="umap")


@pytest.mark.usefixtures("unmoved")
def test_umap_is_told_what_it_needs():
    found = embed_items(correlation_rdm(9), method="umap", num_neighbors=50, random_state=4)
    told = Unmoved.told
    assert (told["metric"], told["n_neighbors"], told["n_components"]) == ("precomputed", 8, 2)
    assert told["init"].shape == (9, 2)
    np.testing.assert_allclose(found.points.mean(axis=0), 0, atol=1e-6)


def test_an_unknown_method_is_named_with_those_that_there_are():
    with pytest.raises(ValueError, match=rf"`method` names 'pca'.*{', '.join(METHODS)}"):
        embed_items(correlation_rdm(5), method="pca")
    with pytest.raises(ValueError, match="`num_neighbors` must be at least 2, not 1"):
        embed_items(correlation_rdm(5), num_neighbors=1)


def test_the_matrix_is_not_changed():
    rdm = clusters()
    rdm[3] = rdm[:, 3] = np.nan
    before = rdm.copy()
    rdm.flags.writeable = False
    for method in ("nonmetric", "tsne"):
        embed_items(rdm, method=method)
    np.testing.assert_array_equal(rdm, before)
