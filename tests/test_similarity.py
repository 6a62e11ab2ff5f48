"""What holds for every measure of the registry."""

import contextlib

import numpy as np
import pytest
from made_representations import MAPS, related

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.similarity import MEASURES

OPTIONS = {"rbf_cka": {"sigma": 6.0}, "mutual_knn": {"k": 5}, "jaccard_knn": {"k": 5}}
NAMES = sorted(MEASURES)
# n_stimuli, p, q: fewer units than stimuli on both sides, on one, on none.
SHAPES = [(40, 6, 9), (12, 5, 30), (10, 25, 40)]


def value(name, x, y, **options):
    return MEASURES[name].function(x, y, **(OPTIONS.get(name, {}) | options))


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_is_public_under_its_name(name):
    measure = MEASURES[name]
    assert measure.name == name
    if name != "cca":  # which gives all coefficients; the measure is their mean
        assert getattr(pfa, name) is measure.function
    assert measure.direction in ("similarity", "distance")
    assert set(measure.ignores) <= set(MAPS)
    assert measure.needs


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_prepared_representations_compare_as_the_function_does(name, shape):
    measure, options = MEASURES[name], OPTIONS.get(name, {})
    x, y = related(*shape)
    tables = [x, y, x[:, :4] + 1]
    prepared = [measure.prepare(table.copy(), **options) for table in tables]
    values = measure.all_pairs(prepared, **options)
    for i, first in enumerate(tables):
        for j, second in enumerate(tables):
            assert values[i, j] == pytest.approx(value(name, first, second), abs=1e-7), (i, j)


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_in_their_range_and_the_best_is_for_the_same(name, shape):
    measure = MEASURES[name]
    x, y = related(*shape)
    low, high = measure.value_range
    assert low - 1e-12 <= value(name, x, y) <= high + 1e-12
    if name == "linear_predictivity":
        assert value(name, *related(60, 5, 5), ridge=1e-6) < value(
            name, *[related(60, 5, 5)[0]] * 2
        )
        return
    best = high if measure.direction == "similarity" else low
    assert value(name, x, x) == pytest.approx(best, abs=1e-7)


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", [0, 1])
def test_a_measure_ignores_what_it_says_and_nothing_else(name, side):
    pair = list(related())
    before = value(name, *pair)
    for what, changed in MAPS.items():
        after = list(pair)
        after[side] = changed(pair[side])
        ignored = what in MEASURES[name].ignores
        # Rotating the wider side of `pwcca` moves no weight; of `linear_predictivity` and `rsa`
        # by some metrics some maps matter on one side alone.
        if not ignored and name in ("pwcca", "linear_predictivity", "rsa"):
            continue
        assert (abs(value(name, *after) - before) < 1e-8) == ignored, what


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_stimuli_does_not_matter_but_must_be_the_same(name):
    x, y = related()
    before = value(name, x, y)
    order = np.random.default_rng(3).permutation(len(x))
    if name != "linear_predictivity":  # whose folds are drawn by place
        assert value(name, x[order], y[order]) == pytest.approx(before, abs=1e-10)
    assert value(name, x, y[order]) != pytest.approx(before, abs=1e-3)


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
def test_exchanging_the_sides_matters_only_where_it_is_said(name):
    x, y = related(40, 6, 6)
    is_same = value(name, x, y) == pytest.approx(value(name, y, x), abs=1e-10)
    assert is_same == MEASURES[name].is_symmetric


@pytest.mark.filterwarnings("ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
def test_what_never_varies_is_nan_and_inputs_stay(name):
    x, y = related()
    copies = x.copy(), y.copy()
    value(name, x, y)
    np.testing.assert_array_equal(
        [*x.ravel(), *y.ravel()], [*copies[0].ravel(), *copies[1].ravel()]
    )
    if name.endswith("knn"):
        return
    # `rsa` names the patterns beside it, as all RDMs do.
    with (
        contextlib.nullcontext() if name != "rsa" else pytest.warns(UserWarning, match="constant")
    ):
        assert np.isnan(value(name, x, np.full_like(y, 3.0)))


@pytest.mark.filterwarnings("ignore:no dissimilarity", "ignore:`x` and `y` have")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("constant", [0.1, 0.3, 1e-9, 1234.567, -1e8 / 3])
@pytest.mark.parametrize("n", [10, 20, 41])
def test_the_rounding_of_a_constant_is_no_response(name, constant, n):
    if name.endswith("knn"):  # which do not centre
        return
    x, _ = related(n)
    dead = np.full((n, 3), constant)
    assert np.isnan(value(name, x, dead))
    if MEASURES[name].is_symmetric:
        assert np.isnan(value(name, dead, np.full((n, 5), constant / 3)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("x", "y", "error", "match"),
    [
        (np.ones((9, 2)), np.ones((8, 2)), ValueError, "`x` has 9 rows and `y` has 8"),
        (np.ones(9), np.ones((9, 2)), ValueError, r"`x` must be a table .* shape \(9,\)"),
        (np.ones((9, 2)), np.ones((9, 2, 2, 2)), ValueError, "`conv_samples`"),
        (np.ones((9, 0)), np.ones((9, 2)), ValueError, "`x` has no units"),
        (np.ones((1, 2)), np.ones((1, 2)), ValueError, "`x` has 1 stimuli"),
        (np.ones((9, 2), complex), np.ones((9, 2)), TypeError, "real numbers"),
        ([["a"]], np.ones((9, 2)), TypeError, "real numbers"),
        (
            np.where(np.arange(18).reshape(9, 2) == 3, np.nan, 1),
            np.ones((9, 2)),
            ValueError,
            "`x` holds 1 values that are NaN or infinite, in 1 of 2 units .* unit 1",
        ),
    ],
)
def test_bad_input_is_named(name, x, y, error, match):
    with pytest.raises(error, match=match):
        value(name, x, y)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_and_yes_or_no_are_numbers_too(name):
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 250, (30, 4)).astype(np.uint8), rng.random((30, 9)) < 0.5
    assert value(name, x, y) == value(name, x.astype(float), y.astype(float))
