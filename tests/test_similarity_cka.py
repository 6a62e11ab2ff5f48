"""CKA and HSIC, beside their definitions by explicit matrices, and rsatoolbox."""

import tracemalloc

import numpy as np
import pytest
from made_representations import related
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.similarity import LINEAR_CKA, cka

SHAPES = [(40, 6, 9), (12, 5, 30), (10, 25, 40)]


def double(k):
    n = len(k)
    h = np.eye(n) - 1 / n
    return h @ k @ h


def u(k):
    """The definition of Szekely and Rizzo, entry by entry."""
    n = len(k)
    k = k - np.diag(np.diag(k))
    found = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                rows = k[i].sum() / (n - 2) + k[:, j].sum() / (n - 2)
                found[i, j] = k[i, j] - rows + k.sum() / ((n - 1) * (n - 2))
    return found


def by_matrices(k, other, centre):
    a, b = centre(k), centre(other)
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("debiased", "centre"), [(False, double), (True, u)])
def test_linear_cka_is_its_definition(shape, debiased, centre):
    x, y = related(*shape)
    expected = by_matrices(x @ x.T, y @ y.T, centre)
    assert pfa.linear_cka(x, y, debiased) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 2**25])
def test_stretches_and_all_pairs_at_once_change_nothing(debiased, chunk, monkeypatch):
    monkeypatch.setattr(cka, "_CHUNK", chunk)
    for n, widths in ((30, (4, 5, 50)), (9, (30, 20, 40, 50)), (20, (15,) * 12)):
        rng = np.random.default_rng(n)
        tables = [rng.normal(size=(n, p)) for p in widths]
        prepared = [LINEAR_CKA.prepare(table.copy()) for table in tables]
        values = LINEAR_CKA.all_pairs(prepared, debiased=debiased)
        centre = u if debiased else double
        expected = [[by_matrices(a @ a.T, b @ b.T, centre) for b in tables] for a in tables]
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_unrelated_data_are_near_zero_debiased_and_near_one_biased():
    rng = np.random.default_rng(0)
    values = np.array(
        [
            [pfa.linear_cka(*pair, debiased) for debiased in (False, True)]
            for pair in (rng.normal(size=(2, 20, 200)) for _ in range(100))
        ]
    )
    assert values[:, 0].mean() == pytest.approx(0.9, abs=0.02)
    assert abs(values[:, 1].mean()) < 0.01


@pytest.mark.parametrize("debiased", [False, True])
def test_the_cosine_of_centred_squared_distances_is_cka(debiased):
    x, y = related()
    rdms = [squareform(pdist(side, "sqeuclidean")) for side in (x, y)]
    centering = "u" if debiased else "double"
    found = pfa.compare_rdms(*rdms, method="cosine", centering=centering)
    assert found == pytest.approx(pfa.linear_cka(x, y, debiased), abs=1e-12)
    if not debiased:
        pearson = pfa.compare_rdms(*rdms, method="pearson", centering="double")
        assert pearson == pytest.approx(found, abs=1e-12)
        # Without the diagonal it is something else.
        habit = pfa.compare_rdms(*rdms, method="pearson", centering="double_upper")
        assert abs(habit - found) > 1e-3


def test_rsatoolbox_finds_the_same():
    rsatoolbox = pytest.importorskip("rsatoolbox")
    x, y = related()
    datasets = [rsatoolbox.data.Dataset(side) for side in (x, y)]
    first, second = (rsatoolbox.rdm.calc_rdm(data, method="euclidean") for data in datasets)
    found = rsatoolbox.rdm.compare(first, second, "cosine_cov").item()
    assert pfa.linear_cka(x, y) == pytest.approx(found, abs=1e-6)
    bures = rsatoolbox.rdm.compare(first, second, "bures").item()
    assert pfa.nbs(x, y) == pytest.approx(bures, abs=1e-6)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("bandwidth", "sigma", "fraction"),
    [("absolute", 0.6, 1), ("median_all", None, 0.8), ("median_nonzero", None, 0.5)],
)
def test_rbf_cka_is_its_definition(debiased, normalize, bandwidth, sigma, fraction):
    x, y = related()
    kernels = []
    for side in (x, y):
        if normalize:
            side = side / np.linalg.norm(side, axis=1, keepdims=True)
        squared = squareform(pdist(side, "sqeuclidean"))
        width = sigma
        if bandwidth == "median_all":
            width = fraction * np.sqrt(np.median(squared))
        elif bandwidth == "median_nonzero":
            width = fraction * np.sqrt(np.median(squared[squared > 0]))
        kernels.append(np.exp(-squared / (2 * width**2)))
    options = {"bandwidth": bandwidth, "sigma": sigma, "fraction": fraction}
    found = pfa.rbf_cka(x, y, normalize=normalize, debiased=debiased, **options)
    assert found == pytest.approx(by_matrices(*kernels, u if debiased else double), abs=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("sigma", [1e4, 1e7, 1e12])
def test_a_wide_kernel_is_linear(sigma, debiased):
    x, y = related()
    found = pfa.rbf_cka(x, y, sigma=sigma, debiased=debiased)
    assert found == pytest.approx(pfa.linear_cka(x, y, debiased), abs=1e-6)


def test_a_narrow_kernel_sees_nothing_but_the_stimulus_itself():
    x, y = related()
    assert pfa.rbf_cka(x, y, sigma=1e-200) == pytest.approx(1)


@pytest.mark.parametrize("debiased", [False, True])
def test_constants_in_batches_are_nan(debiased):
    x, _ = related(40)
    dead = np.full((40, 3), 0.1)
    assert np.isnan(pfa.linear_cka(dead, x, debiased))
    assert np.isnan(pfa.minibatch_cka([(x[:21], dead[:21]), (x[21:], dead[21:])]))


@pytest.mark.parametrize("n", [4, 5, 12])
def test_hsic_is_its_definition(n):
    rng = np.random.default_rng(n)
    k, other = (side @ side.T for side in rng.normal(size=(2, n, 3)))
    h = np.eye(n) - 1 / n
    assert pfa.hsic(k, other) == pytest.approx(np.trace(k @ h @ other @ h) / (n - 1) ** 2)
    expected = (u(k) * u(other)).sum() / (n * (n - 3))
    assert pfa.hsic(k, other, debiased=True) == pytest.approx(expected, abs=1e-10)
    # By the formula of Song et al.
    a, b, ones = k - np.diag(np.diag(k)), other - np.diag(np.diag(other)), np.ones(n)
    song = np.trace(a @ b) + a.sum() * b.sum() / ((n - 1) * (n - 2))
    song = (song - 2 / (n - 2) * ones @ a @ b @ ones) / (n * (n - 3))
    assert expected == pytest.approx(song, abs=1e-10)


def test_one_batch_is_the_whole_and_batches_are_pooled_before_the_ratio():
    x, y = related(60, 5, 8)
    assert pfa.minibatch_cka([(x, y)]) == pytest.approx(pfa.linear_cka(x, y, True), abs=1e-12)
    parts = [slice(0, 20), slice(20, 28), slice(28, 60)]
    sums = np.zeros(3)
    for part in parts:
        a, b = x[part], y[part]
        k, other = a @ a.T, b @ b.T
        sums += [pfa.hsic(*pair, debiased=True) for pair in ((k, other), (k, k), (other, other))]
    expected = sums[0] / np.sqrt(sums[1] * sums[2])
    found = pfa.minibatch_cka((x[part], y[part]) for part in parts)
    assert found == pytest.approx(expected, abs=1e-12)
    assert pfa.minibatch_cka([(x[p], y[p]) for p in parts[::-1]]) == pytest.approx(found)
    ratios = [pfa.linear_cka(x[part], y[part], True) for part in parts]
    assert abs(found - np.mean(ratios)) > 1e-4 < abs(found - ratios[-1])


def test_short_batches_are_merged_and_never_nan():
    x, y = related(30, 5, 8)
    whole = pfa.minibatch_cka([(x[:10], y[:10]), (x[10:], y[10:])])
    cuts = [(0, 2), (2, 10), (10, 28), (28, 30)]
    assert pfa.minibatch_cka([(x[a:b], y[a:b]) for a, b in cuts]) == pytest.approx(whole)
    with pytest.raises(ValueError, match=r"3 stimuli in all; .* at least 4"):
        pfa.minibatch_cka([(x[:2], y[:2]), (x[2:3], y[2:3])])
    with pytest.raises(ValueError, match="batches of `y` with 8 and with 7 units"):
        pfa.minibatch_cka([(x[:9], y[:9]), (x[9:], y[9:, :7])])
    with pytest.raises(ValueError, match="0 stimuli in all"):
        pfa.minibatch_cka([])


@pytest.mark.slow
def test_linear_cka_of_many_stimuli_needs_little_memory():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(10_000, width)).astype(np.float32) for width in (768, 1024))
    tracemalloc.start()
    try:
        pfa.linear_cka(x, y)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * (x.nbytes + y.nbytes)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda x: pfa.linear_cka(x[:3], x[:3], debiased=True), ValueError, "at least 4"),
        (lambda x: pfa.rbf_cka(x, x), ValueError, "`sigma` must be given"),
        (lambda x: pfa.rbf_cka(x, x, sigma=0), ValueError, "`sigma` must be a number above 0"),
        (lambda x: pfa.rbf_cka(x, x, sigma="1"), TypeError, "`sigma` must be a number above 0"),
        (lambda x: pfa.rbf_cka(x, x, bandwidth="mean"), ValueError, "median_all"),
        (
            lambda x: pfa.rbf_cka(x, x, bandwidth="median_all", sigma=1),
            ValueError,
            "`sigma` is the width for the bandwidth 'absolute'",
        ),
        (
            lambda x: pfa.rbf_cka(np.eye(9)[:, :1], x[:9], bandwidth="median_all"),
            ValueError,
            "'median_nonzero' leaves these out",
        ),
        (lambda x: pfa.hsic(x, x), ValueError, "`K` must be"),
        (lambda x: pfa.hsic(np.eye(3), np.eye(4)), ValueError, "`K` has 3 and `L` has 4"),
        (lambda x: pfa.hsic(np.eye(3), np.eye(3), debiased=True), ValueError, "at least 4"),
        (lambda x: pfa.hsic(np.triu(np.ones((4, 4))), np.eye(4)), ValueError, "not symmetric"),
        (lambda x: pfa.hsic(np.eye(4) * np.nan, np.eye(4)), ValueError, "`K` holds NaN"),
    ],
)
def test_bad_input_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call(related()[0])


@pytest.mark.parametrize("width", [12, 60])
@pytest.mark.parametrize("debiased", [False, True])
def test_all_pairs_agree_whatever_fits_into_memory(monkeypatch, width, debiased):
    rng = np.random.default_rng(3)
    tables = [rng.normal(size=(30, width + k)).astype(np.float32) + 5 for k in range(7)]
    measure = pfa.MEASURES["linear_cka"]
    expected = [[pfa.linear_cka(x, y, debiased) for y in tables] for x in tables]
    for chunk in (2**25, 2000, 1):
        monkeypatch.setattr("pytorch_feature_analysis.similarity.cka._CHUNK", chunk)
        prepared = [measure.prepare(x) for x in tables]
        np.testing.assert_allclose(
            measure.all_pairs(prepared, debiased=debiased), expected, atol=1e-12
        )
