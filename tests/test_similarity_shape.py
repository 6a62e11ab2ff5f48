"""Procrustes and its relatives, beside scipy and definitions by matrix roots."""

import numpy as np
import pytest
from made_representations import mapped, related
from scipy.linalg import sqrtm
from scipy.spatial import procrustes

import pytorch_feature_analysis as pfa

SHAPES = [(40, 6, 9), (40, 9, 6), (12, 5, 30), (10, 25, 40)]


@pytest.mark.parametrize("shape", SHAPES)
def test_scipy_finds_the_same_distance(shape):
    x, y = related(*shape)
    width = max(x.shape[1], y.shape[1])
    padded = [np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (x, y)]
    assert pfa.procrustes_distance(x, y) == pytest.approx(procrustes(*padded)[2], abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_nbs_is_the_fidelity_of_gram_matrices(shape):
    x, y = related(*shape)
    k, other = ((side - side.mean(axis=0)) @ (side - side.mean(axis=0)).T for side in (x, y))
    root = sqrtm(k).real
    fidelity = np.trace(sqrtm(root @ other @ root).real)
    expected = fidelity / np.sqrt(np.trace(k) * np.trace(other))
    # The roots of matrices without full rank are exact to about half of the digits.
    assert pfa.nbs(x, y) == pytest.approx(expected, abs=1e-6)
    assert pfa.procrustes_distance(x, y) == pytest.approx(1 - pfa.nbs(x, y) ** 2, abs=1e-12)
    assert np.cos(pfa.angular_procrustes(x, y)) == pytest.approx(pfa.nbs(x, y), abs=1e-12)


def test_whitening_leads_from_procrustes_to_cca():
    x, y = related()
    assert pfa.shape_distance(x, y, 1) == pytest.approx(pfa.angular_procrustes(x, y), abs=1e-12)
    expected = np.arccos(pfa.cca(x, y).sum() / np.sqrt(6 * 9))
    assert pfa.shape_distance(x, y, alpha=0) == pytest.approx(expected, abs=1e-12)
    assert pfa.shape_distance(x, mapped(x), alpha=0) == pytest.approx(0, abs=1e-7)
    between = [pfa.shape_distance(x, mapped(x), alpha) for alpha in (0.2, 0.6, 1)]
    assert 0.01 < between[0] < between[1] < between[2]


def test_partial_whitening_mixes_singular_values():
    x, y = related()
    alpha, clouds = 0.3, []
    for side in (x, y):
        left, s, right = np.linalg.svd(side - side.mean(axis=0), full_matrices=False)
        mixed = alpha * s + (1 - alpha) * np.sqrt((s**2).mean())
        cloud = left * mixed @ right
        clouds.append(cloud / np.linalg.norm(cloud))
    cosine = np.linalg.norm(clouds[0].T @ clouds[1], "nuc")
    assert pfa.shape_distance(x, y, alpha) == pytest.approx(np.arccos(cosine), abs=1e-10)


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_the_way_over_a_third_is_never_shorter(alpha):
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = (rng.normal(size=(8, 3)) for _ in range(3))
        direct = pfa.shape_distance(a, c, alpha)
        way = pfa.shape_distance(a, b, alpha) + pfa.shape_distance(b, c, alpha)
        assert direct <= way + 1e-9


@pytest.mark.parametrize(
    ("alpha", "error"), [(-0.1, ValueError), (2, ValueError), ("1", TypeError)]
)
def test_alpha_is_a_share(alpha, error):
    with pytest.raises(error, match="`alpha` must be"):
        pfa.shape_distance(*related(), alpha)
