"""Metrics between patterns: what each computes, what has no answer, and what is refused."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import dissimilarity
from pytorch_feature_analysis.dissimilarity import (
    METRICS,
    check_metrics,
    compute_rdms,
    undefined_patterns,
)

SCIPY_NAMES = [
    *["braycurtis", "canberra", "chebyshev", "cityblock", "correlation", "cosine", "dice"],
    *["euclidean", "hamming", "jaccard", "jensenshannon", "mahalanobis", "matching"],
    *["minkowski", "rogerstanimoto", "russellrao", "seuclidean", "sokalsneath", "sqeuclidean"],
    "yule",
]


def noise(n=6, n_units=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_units))


def by_scipy(patterns, name):
    return squareform(pdist(np.asarray(patterns, dtype=float), name))


def unit(patterns):
    return patterns / np.linalg.norm(patterns, axis=1, keepdims=True)


def asymmetric(x, y):
    return float(2 * x.sum() - y.sum())


def test_distances_are_as_worked_by_hand():
    patterns = [[0, 0], [3, 4], [0, 1]]
    expected = np.array([[0, 25, 1], [25, 0, 18], [1, 18, 0]])
    np.testing.assert_allclose(pfa.compute_rdm(patterns, "squared_euclidean"), expected)
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns, "euclidean_distance"), np.sqrt(expected), rtol=1e-15
    )
    # Of (3, 4) and (0, 1), the cosine is 4 / 5 and the product 4.
    assert pfa.compute_rdm(patterns[1:], "cosine")[0, 1] == pytest.approx(0.2, abs=1e-15)
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns[1:], "dot_product"), [[-24, -3], [-3, 0]], atol=1e-14
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_corr_is_one_minus_corrcoef(dtype):
    patterns = (1e4 + noise(20, 5000)).astype(dtype)
    # oracle: np.corrcoef
    expected = 1 - np.corrcoef(patterns.astype(float))
    np.testing.assert_allclose(pfa.compute_rdm(patterns), expected, rtol=0, atol=1e-12)


def test_corr_does_not_see_scale_and_offset_but_sees_a_sign():
    patterns = noise()
    changed = patterns * np.linspace(0.1, 9, 6)[:, None] + np.linspace(-5, 100, 6)[:, None]
    corr = pfa.compute_rdm(patterns)
    np.testing.assert_allclose(pfa.compute_rdm(changed), corr, atol=1e-13)
    changed[2] *= -1
    # The map that must not be ignored.
    np.testing.assert_allclose(pfa.compute_rdm(changed)[2, 3:], 2 - corr[2, 3:], atol=1e-13)
    assert np.abs(pfa.compute_rdm(patterns + noise(1, seed=1)) - corr).max() > 0.01


def test_euclidean_distance_does_not_see_a_rotation_but_sees_a_shear():
    patterns = noise(n_units=5)
    rotation, _ = np.linalg.qr(noise(5, 5, seed=1))
    distances = pfa.compute_rdm(patterns, "euclidean_distance")
    turned = pfa.compute_rdm(patterns @ rotation, "euclidean_distance")
    np.testing.assert_allclose(turned, distances, rtol=1e-12)
    sheared = patterns @ (np.eye(5) + np.eye(5, k=1))
    assert np.abs(pfa.compute_rdm(sheared, "euclidean_distance") - distances).max() > 0.1


@pytest.mark.parametrize("name", SCIPY_NAMES)
@pytest.mark.parametrize("kind", ["real", "positive", "binary"])
def test_every_name_of_pdist_is_that_of_pdist(name, kind):
    patterns = noise(12, 8)
    if kind == "positive":
        patterns = np.abs(patterns)
    elif kind == "binary":
        patterns = (patterns > 0).astype(float)
    # oracle: scipy pdist
    with np.errstate(all="ignore"):
        expected = by_scipy(patterns, name)
    if name == "jensenshannon" and kind == "real":
        assert not np.isfinite(expected).all()  # no distribution has negative values
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = pfa.compute_rdm(patterns, name)
    else:
        found = pfa.compute_rdm(patterns, name)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SCIPY_NAMES)
def test_unit_before_a_name_scales_the_patterns_first(name):
    patterns = np.abs(noise(12, 8))
    found = pfa.compute_rdm(patterns, f"unit_{name}")
    # oracle: scipy pdist of normalised rows
    np.testing.assert_allclose(found, by_scipy(unit(patterns), name), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns * np.arange(1, 13)[:, None], f"unit_{name}"), found, atol=1e-12
    )


def test_spearman_is_one_minus_rho_with_ties():
    patterns = np.round(noise(), 0)
    # oracle: scipy.stats.spearmanr
    expected = 1 - scipy.stats.spearmanr(patterns, axis=1).statistic
    found = pfa.compute_rdm(patterns, "spearman")
    np.testing.assert_allclose(found, expected, atol=1e-13)
    np.testing.assert_allclose(pfa.compute_rdm(np.exp(patterns), "spearman"), found, atol=1e-13)
    assert np.abs(pfa.compute_rdm(patterns**2, "spearman") - found).max() > 0.1


def test_dot_product_is_one_minus_the_inner_product():
    patterns = noise() + 3
    found = pfa.compute_rdm(patterns, "dot_product")
    np.testing.assert_allclose(found, 1 - patterns @ patterns.T, rtol=1e-13, atol=1e-12)
    found = pfa.compute_rdm(patterns, "unit_dot_product")
    np.testing.assert_allclose(found, 1 - unit(patterns) @ unit(patterns).T, atol=1e-14)


def test_identities_between_metrics_hold():
    patterns = noise() + 2
    names = [name for name in METRICS if not METRICS[name].from_rows]
    rdm = {name: pfa.compute_rdm(patterns, name) for name in names}
    # Identity 4: L2squared_normalize = 2 (1 - cosine), and L2_normalize is its root.
    explicit = by_scipy(unit(patterns), "sqeuclidean")
    for found, expected in [
        (rdm["L2squared_normalize"], 2 * rdm["cosine"]),
        (rdm["L2squared_normalize"], explicit),
        (rdm["L2_normalize"] ** 2, rdm["L2squared_normalize"]),
        (rdm["L2"] ** 2, rdm["L2squared"]),
        (rdm["dotproduct_normalize"], rdm["cosine"]),
        (rdm["unit_corr"], rdm["corr"]),
        (rdm["unit_cosine"], rdm["cosine"]),
        (rdm["unit_spearman"], rdm["spearman"]),
    ]:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    # The corr RDM is half the L2squared_normalize RDM after each row's mean is taken off.
    centred = patterns - patterns.mean(axis=1, keepdims=True)
    half = pfa.compute_rdm(centred, "L2squared_normalize") / 2
    np.testing.assert_allclose(rdm["corr"], half, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("pearson", "corr"),
        ("correlation", "corr"),
        ("L2", "euclidean_distance"),
        ("euclidean", "euclidean_distance"),
        ("L2squared", "squared_euclidean"),
        ("sqeuclidean", "squared_euclidean"),
        ("dotproduct", "dot_product"),
        ("L2_normalize", "unit_euclidean_distance"),
        ("L2squared_normalize", "unit_squared_euclidean"),
        ("dotproduct_normalize", "unit_dot_product"),
    ],
)
def test_an_alias_is_the_same_metric_and_keeps_the_name_it_was_asked_for_by(alias, name):
    patterns = noise()
    np.testing.assert_array_equal(
        pfa.compute_rdm(patterns, alias), pfa.compute_rdm(patterns, name)
    )
    assert METRICS[alias] is METRICS[name]
    assert [metric.name for metric in check_metrics([alias, name])] == [alias, name]


def test_several_metrics_at_once_are_as_one_by_one():
    patterns = noise()
    metrics = check_metrics([*METRICS, ("own", asymmetric)])
    metrics = [metric for metric in metrics if "mahalanobis" not in metric.name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for metric, rdm in zip(metrics, compute_rdms(patterns, metrics), strict=True):
            np.testing.assert_array_equal(rdm, pfa.compute_rdm(patterns, metric), metric.name)


def test_rsatoolbox_agrees_on_correlation_and_on_its_own_euclidean():
    import rsatoolbox

    patterns = noise(8, 200).astype(np.float32)
    dataset = rsatoolbox.data.Dataset(patterns.astype(float))
    # oracle: rsatoolbox; its 'euclidean' is squared and divided by the number of channels
    corr = rsatoolbox.rdm.calc_rdm(dataset, method="correlation").get_matrices()[0]
    euclidean = rsatoolbox.rdm.calc_rdm(dataset, method="euclidean").get_matrices()[0]
    np.testing.assert_allclose(pfa.compute_rdm(patterns), corr, atol=1e-12)
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns, "squared_euclidean") / 200, euclidean, rtol=1e-10, atol=1e-12
    )


def test_a_function_of_ones_own_is_called_for_every_ordered_pair():
    patterns = np.array([[1.0, 0], [0, 5], [2, 2]])
    sums = patterns.sum(axis=1)
    expected = 2 * sums[:, None] - sums[None, :]
    rdm = pfa.compute_rdm(patterns, ("asymmetric", asymmetric))
    np.testing.assert_array_equal(rdm, expected)
    assert (rdm != rdm.T).any()
    assert np.diag(rdm).tolist() == [1, 5, 4]


@pytest.mark.parametrize("kind", [int, np.float32, np.array, lambda value: value > 0])
def test_a_function_may_return_any_kind_of_number(kind):
    rdm = pfa.compute_rdm(noise(3), ("own", lambda x, y: kind(asymmetric(x, y))))
    assert rdm.dtype == np.float64


@pytest.mark.parametrize(
    "function",
    [
        scipy.stats.spearmanr,
        lambda x, y: (1.0, [2.0, 3.0]),
        lambda x, y: None,
        lambda x, y: "0.5",
        lambda x, y: 1j,
        lambda x, y: x - y,
        lambda x, y: np.array([1.0]),
    ],
)
def test_a_function_that_returns_no_number_is_refused(function):
    with pytest.raises(TypeError, match=r"`metric`: the function of 'own' must return one number"):
        pfa.compute_rdm(noise(3), ("own", function))
    with pytest.raises(TypeError, match=r"`dissim_metrics`: .* returned .*; wrap it in one that"):
        compute_rdms(noise(3), check_metrics([("own", function)]))


def test_a_function_cannot_change_the_patterns():
    def in_place(x, y):
        x -= x.mean()
        return float(x @ y)

    with pytest.raises(ValueError, match="read-only"):
        pfa.compute_rdm(noise(3), ("in_place", in_place))


def test_an_unknown_metric_is_refused_with_the_nearest_and_the_list():
    with pytest.raises(
        ValueError, match=r"`metric` names 'cor', .*Did you mean 'corr'\?.*spearman"
    ):
        pfa.compute_rdm(noise(), "cor")
    with pytest.raises(
        ValueError, match=r"`dissim_metrics` names 'nonsense', which is not a metr"
    ):
        check_metrics(["corr", "nonsense"])


@pytest.mark.parametrize("given", ["corr", 3, None, ("own", asymmetric)])
def test_metrics_that_are_no_list_are_refused(given):
    with pytest.raises(TypeError, match=r"`dissim_metrics` must be a list .*; write \["):
        check_metrics(given)


@pytest.mark.parametrize("given", [asymmetric, ("own",), ("own", 3), (asymmetric, "own"), 7])
def test_what_is_no_metric_is_refused(given):
    with pytest.raises(TypeError, match=r"`dissim_metrics` must hold names of metrics or \(name"):
        check_metrics(["corr", given])


def test_a_metric_named_twice_and_no_metric_are_refused():
    with pytest.raises(ValueError, match=r"names 'corr', 'own' more than once"):
        check_metrics(["corr", ("own", asymmetric), "corr", ["own", asymmetric]])
    with pytest.raises(ValueError, match=r"`dissim_metrics` is empty; name at least one"):
        check_metrics([])


def test_metrics_that_are_resolved_already_pass_through():
    metrics = check_metrics(["corr", ("own", asymmetric)])
    assert check_metrics(metrics) == metrics
    assert check_metrics(iter(metrics)) == metrics


def test_scipys_refusal_names_the_metric():
    with pytest.raises(ValueError, match=r"'mahalanobis' for 6 patterns of 40 units: The number"):
        pfa.compute_rdm(noise(), "mahalanobis")


@pytest.mark.parametrize("name", ["corr", "spearman", "pearson", "unit_corr"])
def test_a_constant_pattern_gives_nan_off_the_diagonal(name):
    patterns = noise()
    patterns[1], patterns[4] = 0.1, 0.1
    with pytest.warns(UserWarning, match=r"patterns at \[1, 4\] \(constant") as caught:
        rdm = pfa.compute_rdm(patterns, name)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(rdm[1, [0, 2, 3, 4, 5]]).all()
    assert np.isnan(rdm[[0, 1, 2, 3, 5], 4]).all()
    assert (np.diag(rdm) == 0).all()
    others = [0, 2, 3, 5]
    np.testing.assert_allclose(
        rdm[np.ix_(others, others)], pfa.compute_rdm(patterns[others], name), atol=1e-14
    )


def test_a_constant_pattern_is_at_a_distance_and_a_zero_pattern_at_no_angle():
    patterns = noise()
    patterns[1], patterns[4] = 0, 3
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns, "euclidean_distance"), by_scipy(patterns, "euclidean")
    )
    for name in ("cosine", "unit_euclidean_distance", "unit_cityblock", "unit_dot_product"):
        with pytest.warns(UserWarning, match=r"patterns at \[1\] "):
            rdm = pfa.compute_rdm(patterns, name)
        assert np.isnan(rdm[1, [0, 2, 3, 4, 5]]).all()
        assert np.isfinite(rdm[4, [0, 2, 3]]).all()
        assert (np.diag(rdm) == 0).all()


@pytest.mark.parametrize("name", [name for name in METRICS if "mahal" not in name])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_pattern_with_nan_or_inf_is_nan_and_the_others_are_as_without_it(name, broken):
    patterns = np.abs(noise())
    patterns[2, 3] = broken
    with pytest.warns(UserWarning, match=r"patterns at \[2\] .*with NaN or inf"):
        rdm = pfa.compute_rdm(patterns, name)
    assert np.isnan(rdm[2]).all()
    assert np.isnan(rdm[:, 2]).all()
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(
        rdm[np.ix_(others, others)],
        pfa.compute_rdm(patterns[others], name),
        rtol=1e-12,
        atol=1e-13,
    )


def test_only_the_patterns_to_blame_are_named():
    patterns = np.array([[1.0, 1, 1], [1, 2, 3]])
    assert undefined_patterns(patterns, compute_rdms(patterns, check_metrics(["corr"]))[0]) == [0]
    # Where no pattern is to blame, all are without an answer.
    patterns = np.array([[1.0, 2, 5], [1, 3, 3], [1, 8, 8.5]])
    with pytest.warns(UserWarning, match=r"patterns at \[0, 1, 2\]"):
        rdm = pfa.compute_rdm(patterns, "seuclidean")  # the first unit has no variance
    assert np.isnan(rdm[np.triu_indices(3, 1)]).all()


def test_one_pattern_gives_one_cell():
    for name in METRICS:
        expected = 1 - 30 if name in ("dot_product", "dotproduct") else 0
        assert pfa.compute_rdm([[1.0, 2, 5]], name).tolist() == [[pytest.approx(expected)]]
    assert pfa.compute_rdm([[2.0, 2, 2]]).tolist() == [[0]]
    with pytest.warns(UserWarning, match=r"patterns at \[0\]"):
        assert np.isnan(pfa.compute_rdm([[np.nan, 2, 2]])).all()


def test_one_unit_has_distances_but_no_correlation():
    patterns = np.array([[1.0], [4], [-2]])
    np.testing.assert_array_equal(
        pfa.compute_rdm(patterns, "euclidean_distance"), np.abs(patterns - patterns.T)
    )
    with pytest.warns(UserWarning, match=r"\[0, 1, 2\]"):
        rdm = pfa.compute_rdm(patterns)
    assert np.isnan(rdm[0, 1])
    np.testing.assert_allclose(
        pfa.compute_rdm(patterns, "cosine"), [[0, 0, 2], [0, 0, 2], [2, 2, 0]], atol=1e-15
    )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32, object])
def test_any_real_type_of_number_is_taken(dtype):
    patterns = (10 * np.maximum(noise(5, 30), 0)).astype(dtype)
    expected = 1 - np.corrcoef(patterns.astype(float))
    np.testing.assert_allclose(pfa.compute_rdm(patterns), expected, atol=1e-12)


def test_lists_and_arrays_of_patterns_are_equal():
    patterns = noise()
    for given in (patterns.tolist(), list(patterns), tuple(patterns), patterns[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(pfa.compute_rdm(given), pfa.compute_rdm(patterns))
    for name in ("spearman", "cityblock"):
        metrics = check_metrics([name])
        np.testing.assert_array_equal(
            compute_rdms(list(patterns), metrics)[0], compute_rdms(patterns, metrics)[0]
        )


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([[1, 2], [3]], ValueError, "`patterns` must be a table of numbers, with patterns of one"),
        ([1, 2, 3], ValueError, r"at least one of each, not an array of shape \(3,\)"),
        (np.zeros((0, 3)), ValueError, r"not an array of shape \(0, 3\)"),
        (np.zeros((3, 0)), ValueError, r"not an array of shape \(3, 0\)"),
        ([["a", "b"]], TypeError, "`patterns` must hold real numbers, not <U1"),
        (np.ones((2, 3), complex), TypeError, "must hold real numbers, not complex128"),
        ([[None, object()]], ValueError, "`patterns` must be a table of numbers"),
    ],
)
def test_patterns_that_are_no_table_of_numbers_are_refused(given, error, match):
    with pytest.raises(error, match=match):
        pfa.compute_rdm(given)


@pytest.mark.parametrize("name", [name for name in METRICS if "mahal" not in name])
def test_the_patterns_are_not_changed_and_the_rdms_are_new(name):
    patterns = np.abs(noise())
    before = patterns.copy()
    metrics = check_metrics([name, ("again", asymmetric)])
    first, _ = compute_rdms(patterns, metrics)
    kept = first.copy()
    first += 1
    np.testing.assert_array_equal(patterns, before)
    assert patterns.flags.writeable
    np.testing.assert_array_equal(compute_rdms(patterns, metrics)[0], kept)


def test_metrics_that_share_a_product_do_not_share_an_rdm():
    rdms = compute_rdms(noise(), check_metrics(["corr", "pearson", "cosine", "unit_cosine"]))
    for i, rdm in enumerate(rdms):
        assert rdm.flags.writeable
        assert not any(np.shares_memory(rdm, other) for other in rdms[:i])


def test_corr_dissim_is_one_minus_pearson():
    x, y = noise(2)
    # oracle: scipy.stats.pearsonr
    expected = 1 - scipy.stats.pearsonr(x, y).statistic
    assert pfa.corr_dissim(x, y) == pytest.approx(expected, abs=1e-14)
    assert pfa.corr_dissim([1, 2, 4], [1, 2, 4]) == 0
    assert pfa.corr_dissim([1, 2, 4], [-1, -2, -4]) == pytest.approx(2)
    assert math.isnan(pfa.corr_dissim([1, 2], [3, 3]))
    assert math.isnan(pfa.corr_dissim([3, 3], [3, 3]))
    assert math.isnan(pfa.corr_dissim([1, np.nan], [3, 4]))
    assert isinstance(pfa.corr_dissim(x, y), float)


@pytest.mark.parametrize("function", pfa.dissim_defs.values())
@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2, 3]), ([[1, 2]], [[3, 4]]), (1, 2), ([], [])])
def test_patterns_that_are_no_pair_are_refused(function, x, y):
    with pytest.raises(ValueError, match="`x` and `y` must be two patterns of one length, not"):
        function(x, y)


def test_dissim_defs_are_the_guides_two_and_serve_as_metrics():
    assert list(pfa.dissim_defs) == ["corr", "euclidean_distance"]
    assert pfa.dissim_defs["corr"] is pfa.corr_dissim
    assert pfa.dissim_defs["euclidean_distance"]([0, 0], [3, 4]) == 5
    for name, function in pfa.dissim_defs.items():
        np.testing.assert_allclose(
            pfa.compute_rdm(noise(), (f"own_{name}", function)),
            pfa.compute_rdm(noise(), name),
            atol=1e-13,
        )


@pytest.mark.parametrize("exact_in_single_precision", [True, False])
def test_many_patterns_are_ranked_some_at_a_time(exact_in_single_precision, monkeypatch):
    patterns = np.round(noise(11), 1)
    patterns[4, 7] = np.nan
    patterns[6, 0] = np.inf
    # Three patterns at a time, and two at the end.
    monkeypatch.setattr(dissimilarity, "_RANKED_TOGETHER", 3 * 40)
    if not exact_in_single_precision:
        monkeypatch.setattr(dissimilarity, "_SINGLE_PRECISION_HALVES", 39)
    found = compute_rdms(patterns, check_metrics(["spearman"]))[0]
    whole = np.isfinite(patterns).all(axis=1)
    # oracle: scipy.stats.spearmanr
    expected = 1 - scipy.stats.spearmanr(patterns[whole], axis=1).statistic
    np.testing.assert_allclose(found[np.ix_(whole, whole)], expected, rtol=0, atol=1e-13)
    assert np.isnan(found[~whole]).all()
    assert np.isnan(found[:, ~whole]).all()


def test_ranks_of_many_units_keep_their_digits():
    patterns = np.round(noise(3, 5001), 3)
    # oracle: scipy.stats.spearmanr
    expected = 1 - scipy.stats.spearmanr(patterns, axis=1).statistic
    np.testing.assert_allclose(pfa.compute_rdm(patterns, "spearman"), expected, atol=1e-13)


def test_metrics_of_the_same_patterns_share_one_product(monkeypatch):
    products = []
    original = dissimilarity.pattern_geometry

    def counted(patterns):
        products.append(len(patterns))
        return original(patterns)

    monkeypatch.setattr(dissimilarity, "pattern_geometry", counted)
    names = ["corr", "spearman", "cityblock", "cosine", "unit_spearman", "L2"]
    compute_rdms(noise(), check_metrics(names))
    assert products == [6, 6]


def test_single_precision_holds_the_halves_of_ties():
    limit = dissimilarity._SINGLE_PRECISION_HALVES
    halves = np.array([limit - 0.5, limit - 1, 0.5])
    np.testing.assert_array_equal(halves.astype(np.float32), halves)
    assert float(np.float32(2 * limit + 0.5)) != 2 * limit + 0.5
