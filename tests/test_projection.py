"""Random projections: right on average, as far off as is said, and marked as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from made_runs import (
    FAST,
    SLOW,
    Maps,
    assert_same_bits,
    budget,
    image_set,
    matrices,
    pictures,
    prepared,
    use_disk,
)
from PIL import Image

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.gram import pattern_geometry
from pytorch_feature_analysis.pattern_sources import as_source
from pytorch_feature_analysis.projection import Projected, Projector

N_UNITS, N_NUMBERS = 5000, 50


def noise(n=6, n_units=N_UNITS, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_units))


def projected(patterns, n_numbers=N_NUMBERS, root=0, *key):
    projector = Projector(patterns.shape[1], n_numbers, root, *key)
    return Projected(as_source(projector.project(patterns)), patterns.shape[1])


def geometry(*args):
    return pattern_geometry(projected(*args))


def directions(rows):
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def drawn():
    """Two pairs of patterns, near and far, and their squared distances by 400 projections."""
    patterns = noise(4)
    patterns[1] = patterns[0] + 0.1 * patterns[1]
    unit = directions(patterns)
    exact = np.array([((unit[i] - unit[j]) ** 2).sum() for i, j in ((0, 1), (2, 3))])
    found = np.array(
        [geometry(patterns, N_NUMBERS, root).standardised[[0, 2], [1, 3]] for root in range(400)]
    )
    return exact, found


def test_squared_distances_are_right_on_average(drawn):
    exact, found = drawn
    assert exact[0] < 0.02 < 1.9 < exact[1]
    standard_error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - exact) < 4 * standard_error).all()
    assert (standard_error < 0.012 * exact).all()


def test_squared_distances_are_off_by_the_square_root_of_two_over_the_numbers(drawn):
    exact, found = drawn
    # 400 draws know a spread to 4 %; the theory is that of the sum of many squares.
    np.testing.assert_allclose(found.std(axis=0) / exact, np.sqrt(2 / N_NUMBERS), rtol=0.15)


def test_more_numbers_are_less_off():
    patterns = noise(2)
    (exact,) = ((np.diff(directions(patterns), axis=0)) ** 2).sum(axis=1)
    spreads = [
        np.std([geometry(patterns, k, root).standardised[0, 1] / exact for root in range(200)])
        for k in (20, 80, 320)
    ]
    np.testing.assert_allclose(spreads, np.sqrt(2 / np.array([20, 80, 320])), rtol=0.25)


@pytest.mark.parametrize("n_numbers", [300, 301, 10**6])
def test_with_a_number_for_each_unit_nothing_is_approximate(n_numbers):
    patterns = noise(6, 300) * 10.0 ** np.arange(6)[:, None] + 5
    found, exact = geometry(patterns, n_numbers), pattern_geometry(patterns)
    assert Projector(300, n_numbers, 0).width == 302
    for name in ("corr", "cosine", "squared_euclidean", "dot_product"):
        np.testing.assert_allclose(
            getattr(found, name)(), getattr(exact, name)(), rtol=1e-11, atol=1e-12
        )


def test_means_and_spreads_are_exact_and_distances_use_the_number_of_units():
    patterns = noise() * 3 + np.arange(6)[:, None]
    found, exact = geometry(patterns, 10), pattern_geometry(patterns)
    assert found.n_units == N_UNITS
    np.testing.assert_allclose(found.means, exact.means, rtol=1e-13)
    np.testing.assert_allclose(found.spreads, exact.spreads, rtol=1e-13)
    # So that what a distance owes to the means is exact: these are 1 apart, in 5000 units.
    shifted = np.r_[noise(1), noise(1) + 1]
    assert geometry(shifted, 10).squared_euclidean()[0, 1] == pytest.approx(N_UNITS, rel=1e-9)


def test_each_unit_is_in_one_bin_with_a_sign_and_bins_are_of_one_size():
    projector = Projector(1003, 10, 0, "conv1")
    # By hand: the projection of the standardised pattern is linear, so that of a unit alone, with
    # its mean off, is the sign in its bin less the same of the means.
    columns = np.stack([projector.project(row[None])[0, :-2] for row in np.eye(1003)])
    own = np.abs(columns).argmax(axis=1)
    sizes = np.bincount(own, minlength=10)
    assert set(sizes.tolist()) == {100, 101}
    signs = np.sign(columns[np.arange(1003), own])
    assert 400 < (signs > 0).sum() < 600
    # Neighbouring units do not stand together.
    assert (np.diff(own) == 0).mean() < 0.2


def test_the_same_seed_and_layer_give_the_same_projection_and_others_another():
    patterns = noise(2)
    first = Projector(N_UNITS, 9, 0, "conv1", "unit_level").project(patterns)
    again = Projector(N_UNITS, 9, 0, "conv1", "unit_level").project(patterns)
    np.testing.assert_array_equal(first, again)
    for root, *key in ((1, "conv1", "unit_level"), (0, "conv2", "unit_level"), (0, "conv1", "x")):
        assert (Projector(N_UNITS, 9, root, *key).project(patterns) != first)[:, :-2].all()


def test_a_pattern_is_projected_alike_in_any_company():
    projector, patterns = Projector(N_UNITS, 9, 0), noise().astype(np.float32)
    together = projector.project(patterns)
    for i in range(6):
        np.testing.assert_array_equal(projector.project(patterns[i : i + 1])[0], together[i])


def test_constant_patterns_have_exact_distances_and_no_direction():
    patterns = noise(4, 400)
    patterns[1], patterns[3] = 0.25, 1.5
    found, exact = geometry(patterns, 20), pattern_geometry(patterns)
    constant = [1, 3]
    np.testing.assert_allclose(
        found.squared_euclidean()[constant], exact.squared_euclidean()[constant], rtol=1e-12
    )
    assert found.squared_euclidean()[1, 3] == 400 * 1.25**2
    corr = found.corr()
    assert np.isnan(corr[1, [0, 2, 3]]).all()
    assert np.isnan(corr[[0, 1, 2], 3]).all()
    assert (np.diag(corr) == 0).all()
    assert np.isfinite(corr[0, 2])
    assert found.cosine()[1, 3] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_pattern_with_nan_or_inf_is_nan_and_leaves_the_others_alone(broken):
    patterns = noise(5, 400)
    patterns[3, 17] = broken
    others = [0, 1, 2, 4]
    alone = geometry(patterns[others], 20)
    found = geometry(patterns, 20)
    for name in ("corr", "squared_euclidean"):
        matrix, expected = getattr(found, name)(), getattr(alone, name)()
        assert np.isnan(matrix[3]).all()
        assert np.isnan(matrix[:, 3]).all()
        np.testing.assert_allclose(matrix[np.ix_(others, others)], expected, rtol=1e-13)


def test_copies_are_exactly_zero_apart():
    patterns = noise(4)
    patterns[2] = patterns[0]
    found = geometry(patterns)
    for matrix in (found.corr(), found.squared_euclidean()):
        assert matrix[0, 2] == 0
        np.testing.assert_array_equal(matrix[0], matrix[2, [2, 1, 0, 3]])


METRICS = ["corr", "cosine", "euclidean_distance", "unit_squared_euclidean", "dot_product"]


def run(sets, models, **options):
    return pfa.get_rdms(sets, models, progress=False, **({"batch_size": 4} | options))


def test_approximate_rdms_are_near_the_exact_ones_and_marked():
    sets, models = [image_set(pictures(10))], prepared()
    exact = run(sets, models, dissim_metrics=METRICS)
    found = run(sets, models, dissim_metrics=METRICS, projection=100)
    assert "projection" not in exact
    assert list(found) == [*exact, "projection"]
    assert found["projection"].tolist() == [100] * len(found)
    assert found["projection"].dtype.kind == "i"
    expected = matrices(exact)
    off_diagonal = ~np.eye(10, dtype=bool)
    for row, matrix in matrices(found).items():
        _, layer, metric, kind, *_ = row
        if kind == "feature_means" or layer == "fc1":  # less units than numbers: exact
            np.testing.assert_allclose(matrix, expected[row], rtol=1e-9, atol=1e-12)
        elif metric == "corr":
            error = np.abs(matrix[off_diagonal] / expected[row][off_diagonal] - 1)
            assert 0.02 < error.max() < 5 * np.sqrt(2 / 100)
            np.testing.assert_array_equal(matrix, matrix.T)


def test_batches_and_regimes_change_nothing_and_the_seed_does(monkeypatch):
    sets, models = [image_set(pictures(10))], prepared()
    options = {"dissim_metrics": METRICS, "projection": 50}
    expected = run(sets, models, **options)
    for disk in (SLOW, FAST):
        use_disk(monkeypatch, disk)
        amount = budget(sets, models, 0.4, batch_size=4, **options)
        plan = pfa.plan_rdms(sets, models, batch_size=4, memory_budget=amount, **options)
        assert plan["regime"].item() in ("several passes", "file")
        assert_same_bits(run(sets, models, memory_budget=amount, **options), expected)
    whole = run(sets, models, **(options | {"batch_size": 10}))
    rows = matrices(expected)
    for row, matrix in matrices(whole).items():
        np.testing.assert_allclose(matrix, rows[row], rtol=1e-4, atol=1e-6)
    row = ("net", "conv1", "corr", "unit_level", "all", "orig_data", "a")
    other = matrices(run(sets, models, random_state=1, **options))
    assert (other[row] != rows[row]).sum() == 90


def test_a_projection_needs_little_memory():
    sets, models = [image_set(pictures(10))], prepared()
    options = {"batch_size": 4, "activation_types": ["unit_level"], "which_layers": ["conv1"]}
    found = pfa.plan_rdms(sets, models, projection=8, **options)["memory_bytes"].item()
    assert found == 8 * (8 + 2) * 8  # eight wait for the last two
    assert pfa.plan_rdms(sets, models, **options)["memory_bytes"].item() == 8 * 180 * 4


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"dissim_metrics": ["corr", "spearman"]}, ValueError, r"not 'spearman': leave one"),
        ({"dissim_metrics": ["cityblock"]}, ValueError, "not 'cityblock'"),
        ({"dissim_metrics": [("mine", np.dot)]}, ValueError, "not 'mine'"),
        ({"kernel_sets": [("k", {("net", "conv1"): [0]})]}, ValueError, "with `kernel_sets`"),
        ({"projection": 1}, ValueError, "`projection` must be at least 2, not 1"),
        ({"projection": 2.0}, TypeError, "`projection` must be a whole number, not 2.0"),
    ],
)
def test_what_cannot_be_projected_is_refused_before_any_pass(options, error, match):
    models = prepared()
    models["net"].register_forward_hook(lambda *_: pytest.fail("a pass that nobody asked for"))
    with pytest.raises(error, match=match):
        run([image_set(pictures(3))], models, **({"projection": 20} | options))


def test_combinations_are_refused():
    images = pictures(3)
    mean = (("mean",), list(images)[:2], np.mean, {"axis": 0}, False)
    with pytest.raises(ValueError, match="cannot be combined with combinations in `image_sets`"):
        run([image_set(images, [mean])], prepared(), projection=20)


def test_a_label_may_not_be_called_projection():
    with pytest.raises(ValueError, match="projection"):
        run([image_set(pictures(3), projection="a")], prepared())


def test_constant_images_are_all_named():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    images = {**pictures(4), ("black",): Image.new("RGB", (8, 8)), ("grey",): grey}
    options = {"which_layers": ["original_rgb"], "activation_types": ["unit_level"]}
    for projection in (None, 20):
        with pytest.warns(UserWarning, match=r"\('black',\), \('grey',\) of \(set=a\) at layer"):
            run([image_set(images)], prepared(), projection=projection, **options)


@pytest.fixture
def stored(tmp_path):
    """A file with exact rows; the call that made them, and one for approximate ones."""
    out, sets = tmp_path / "rdms.parquet", [image_set(pictures(5))]

    def call(projection=None, model=None, **options):
        models = prepared(model or Maps())
        return run(sets, models, out_fname=out, projection=projection, **options)

    return out, call, call()


def test_exact_rows_stay_in_the_file_beside_approximate_ones(stored):
    out, call, exact = stored
    approximate, other = call(20), call(30)
    written = pfa.read_rdms(out)
    assert len(written) == 3 * len(exact)
    assert written["projection"].isna().tolist() == [True] * 10 + [False] * 20
    assert_same_bits(written[written["projection"].isna()], exact)
    assert_same_bits(written[written["projection"] == 20], approximate)
    assert_same_bits(written[written["projection"] == 30], other)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_rows_that_are_served_are_those_that_were_made(stored, monkeypatch):
    _, call, exact = stored
    made = call(20)
    monkeypatch.setattr(
        "pytorch_feature_analysis.rdm_jobs.stream_outputs", lambda *_, **__: pytest.fail("a pass")
    )
    again = call(20)
    assert_same_bits(again, made)
    assert again["projection"].tolist() == made["projection"].tolist()
    assert again["projection"].dtype == made["projection"].dtype
    assert list(call()) == list(exact)
    assert_same_bits(call(), exact)


def test_approximate_rows_stay_in_the_file_beside_exact_ones_that_are_made_later(tmp_path):
    out, sets = tmp_path / "rdms.parquet", [image_set(pictures(5))]
    approximate = run(sets, prepared(), out_fname=out, projection=20)
    exact = run(sets, prepared(), out_fname=out)
    written = pfa.read_rdms(out)
    assert_same_bits(written[written["projection"] == 20], approximate)
    assert_same_bits(written[written["projection"].isna()], exact)


def test_approximate_rows_of_other_weights_replace_those_of_the_same_projection(stored):
    out, call, exact = stored
    call(20)
    call(30)
    with pytest.warns(UserWarning, match="10 rows .* weights or the architecture of model net"):
        changed = call(20, Maps(1))
    written = pfa.read_rdms(out)
    assert len(written) == 30
    assert_same_bits(written[written["projection"] == 20], changed)
    assert_same_bits(written[written["projection"].isna()], exact)
