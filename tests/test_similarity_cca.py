"""CCA, SVCCA, PWCCA, DFT CCA, PLS and PCA, beside scikit-learn and their definitions."""

import numpy as np
import pytest
from made_representations import mapped, related
from scipy.linalg import qr
from sklearn.cross_decomposition import CCA, PLSSVD
from sklearn.decomposition import PCA

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.similarity import cca as cca_module
from pytorch_feature_analysis.similarity.dft_cca import dft_coefficients


def by_qr(x, y):
    """Canonical correlations of data of full rank."""
    bases = [np.linalg.qr(side - side.mean(axis=0))[0] for side in (x, y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def test_coefficients_are_the_singular_values_of_the_bases():
    x, y = related()
    np.testing.assert_allclose(pfa.cca(x, y), by_qr(x, y), atol=1e-12)


def test_scikit_learn_finds_the_same():
    x, y = related(200, 4, 6)
    scores = CCA(n_components=4, max_iter=10_000, tol=1e-12).fit_transform(x, y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(s.T for s in scores), strict=True)]
    np.testing.assert_allclose(pfa.cca(x, y), expected, atol=1e-6)


def test_invertible_maps_and_doubled_units_leave_all_at_one():
    x, _ = related()
    np.testing.assert_allclose(pfa.cca(x, mapped(x)), 1, atol=1e-12)
    doubled = np.hstack([x, x @ np.ones((6, 3)), np.ones((40, 1))])
    assert len(pfa.cca(x, doubled)) == 6
    np.testing.assert_allclose(pfa.cca(x, doubled), 1, atol=1e-12)
    ill = x * 10.0 ** np.arange(-6, 6, 2)
    np.testing.assert_allclose(pfa.cca(ill, x), 1, atol=1e-7)


def test_unrelated_data_have_the_mean_that_theory_says():
    # Of n stimuli, the squared coefficients are the eigenvalues of a Jacobi ensemble (Wachter).
    n, p, q = 2000, 100, 50
    draws = [np.random.default_rng(seed) for seed in range(4)]
    means = [pfa.cca(rng.normal(size=(n, p)), rng.normal(size=(n, q))).mean() for rng in draws]
    a, b = p / n, q / n
    edges = [a + b - 2 * a * b + sign * np.sqrt(4 * a * b * (1 - a) * (1 - b)) for sign in (-1, 1)]
    squared = np.linspace(*edges, 200_001)[1:-1]
    density = np.sqrt((squared - edges[0]) * (edges[1] - squared)) / (squared * (1 - squared))
    expected = (np.sqrt(squared) * density).sum() / density.sum()
    assert np.mean(means) == pytest.approx(expected, abs=0.003)


def test_too_few_stimuli_are_warned_of():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 10, 20))
    with pytest.warns(UserWarning, match="9 and 9 dimensions for 10 stimuli, so that all"):
        found = pfa.cca(x, y)
    np.testing.assert_allclose(found, 1, atol=1e-12)
    with pytest.warns(UserWarning, match="so that 1 of 5 canonical"):
        found = pfa.cca(x[:, :5], y[:, :5])
    assert found[0] == pytest.approx(1)
    assert found[1] < 0.999
    assert len(pfa.svcca_coefficients(x, y, n_dims=4)) == 4


def test_regularization_is_a_ridge_on_the_covariances():
    x, y = related()
    ridge = 0.05
    sides = [side - side.mean(axis=0) for side in (x, y)]
    roots = []
    for side in sides:
        covariance = side.T @ side
        covariance += ridge * np.linalg.eigvalsh(covariance)[-1] * np.eye(len(covariance))
        values, vectors = np.linalg.eigh(covariance)
        roots.append(vectors / np.sqrt(values) @ vectors.T)
    expected = np.linalg.svd(roots[0] @ sides[0].T @ sides[1] @ roots[1], compute_uv=False)
    np.testing.assert_allclose(pfa.cca(x, y, regularization=ridge), expected, atol=1e-12)
    assert (pfa.cca(x, y, regularization=ridge) < pfa.cca(x, y)).all()


@pytest.mark.parametrize("center", [True, False])
def test_svcca_keeps_so_many_dimensions_or_so_much_variance(center):
    x, y = related(60, 8, 12)
    kept = []
    for side in (x, y):
        table = side - side.mean(axis=0) if center else side
        left, s, _ = np.linalg.svd(table, full_matrices=False)
        shares = np.cumsum(s**2) / (s**2).sum()
        kept.append([(left * s)[:, :k] for k in (3, int((shares < 0.9).sum()) + 1)])
    for which, options in enumerate(({"n_dims": 3}, {"variance": 0.9})):
        expected = by_qr(kept[0][which], kept[1][which])
        found = pfa.svcca_coefficients(x, y, center=center, **options)
        np.testing.assert_allclose(found, expected, atol=1e-10)
        assert pfa.svcca(x, y, center=center, **options) == pytest.approx(expected.mean())
    both = pfa.svcca_coefficients(x, y, n_dims=3, variance=0.9999, center=center)
    assert len(both) == 3


def test_a_constant_leaves_no_dimension():
    x, _ = related()
    for dead in (np.ones((40, 3)), np.full((40, 3), 0.1)):
        assert len(pfa.cca(x, dead)) == 0
        for center in (True, False):
            assert len(pfa.svcca_coefficients(dead, x, center=center)) == 0
            assert np.isnan(pfa.svcca(x, dead, center=center))


def test_warnings_point_at_the_call():
    x, y = np.random.default_rng(0).normal(size=(2, 10, 20))
    measures = (
        pfa.cca,
        pfa.svcca,
        pfa.svcca_coefficients,
        pfa.pwcca,
        pfa.MEASURES["cca"].function,
    )
    for measure in measures:
        with pytest.warns(UserWarning, match="canonical correlations") as seen:
            measure(x, y)
        assert [warning.filename for warning in seen] == [__file__]


def test_more_dimensions_than_the_rank_are_cut_to_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 5)) @ rng.normal(size=(5, 80))
    assert len(pfa.svcca_coefficients(x, x, n_dims=60)) == 5
    assert pfa.svcca(x, x, n_dims=60) == pytest.approx(1)
    assert len(pfa.svcca_coefficients(x, x, variance=1)) == 5


@pytest.mark.parametrize("widths", [(4, 9), (9, 4), (5, 5)])
def test_pwcca_is_the_definition_of_the_paper(widths):
    x, y = related(50, *widths)
    sides = [side - side.mean(axis=0) for side in (x, y)]
    if widths[0] > widths[1]:
        sides.reverse()
    (first, r), (second, _) = (qr(side, mode="economic") for side in sides)
    left, rho, _ = np.linalg.svd(first.T @ second, full_matrices=False)
    directions = np.linalg.solve(r, left)
    variates = sides[0] @ directions
    np.testing.assert_allclose(variates.T @ variates, np.eye(variates.shape[1]), atol=1e-10)
    weights = [sum(abs(h @ unit) for unit in sides[0].T) for h in variates.T]
    expected = np.average(rho, weights=weights)
    assert pfa.pwcca(x, y) == pytest.approx(expected, abs=1e-12)


def test_frequencies_together_are_all_units_where_shifts_are_in_the_data():
    rng = np.random.default_rng(0)
    # Few enough channels for 40 base stimuli.
    x, y = rng.normal(size=(40, 2, 3, 3)), rng.normal(size=(40, 3, 3, 3))
    y[:, :2] += x

    def with_shifts(maps):
        rolled = [np.roll(maps, (i, j), axis=(2, 3)) for i in range(3) for j in range(3)]
        return np.concatenate(rolled)

    x, y = with_shifts(x), with_shifts(y)
    found = dft_coefficients(x, y)
    expected = pfa.cca(x.reshape(len(x), -1), y.reshape(len(y), -1))
    assert len(found) == len(expected) == 18
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert pfa.dft_cca(x, y) == pytest.approx(expected.mean())


def test_pls_are_the_singular_values_of_the_cross_covariance():
    for shape in ((40, 6, 9), (10, 25, 40)):
        x, y = related(*shape)
        covariance = np.cov(x.T, y.T)[: x.shape[1], x.shape[1] :]
        expected = np.linalg.svd(covariance, compute_uv=False)[: min(shape)]
        np.testing.assert_allclose(pfa.pls(x, y), expected, atol=1e-10)
    x, y = related()
    scores = PLSSVD(n_components=6, scale=False).fit_transform(x, y)
    covariances = [(a @ b) / (len(x) - 1) for a, b in zip(*(s.T for s in scores), strict=True)]
    np.testing.assert_allclose(pfa.pls(x, y), covariances, atol=1e-10)


def test_pca_is_that_of_scikit_learn():
    x, _ = related()
    expected = PCA(4, svd_solver="full").fit_transform(x)
    found = pfa.pca(x, 4)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-10)
    assert (found.max(axis=0) >= -found.min(axis=0)).all()
    assert pfa.pca(x, 100).shape == (40, 6)


def test_a_decomposition_that_fails_is_made_another_way(monkeypatch):
    x, y = related()
    expected = pfa.cca(x, y)
    real, calls = np.linalg.svd, []

    def fails_once(*args, **options):
        calls.append(args)
        if len(calls) == 1:
            raise np.linalg.LinAlgError("SVD did not converge")
        return real(*args, **options)

    monkeypatch.setattr(cca_module.np.linalg, "svd", fails_once)
    np.testing.assert_allclose(pfa.cca(x, y), expected, atol=1e-12)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda x: pfa.cca(x, x, regularization=-1),
            ValueError,
            "`regularization` must be from 0",
        ),
        (lambda x: pfa.cca(x, x, regularization="a"), TypeError, "`regularization`"),
        (lambda x: pfa.svcca(x, x, n_dims=0), ValueError, "`n_dims` must be at least 1"),
        (lambda x: pfa.svcca(x, x, variance=0), ValueError, "`variance` must be above 0"),
        (lambda x: pfa.svcca(x, x, variance=99), ValueError, "`variance` must be from 0 to 1"),
        (lambda x: pfa.pca(x, 0), ValueError, "`n_dims`"),
        (lambda x: pfa.dft_cca(x, x), ValueError, "`x` must be .* height, width"),
        (
            lambda x: pfa.dft_cca(np.ones((5, 2, 3, 3)), np.ones((5, 2, 4, 4))),
            ValueError,
            "maps of one size",
        ),
    ],
)
def test_bad_input_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(related()[0])
