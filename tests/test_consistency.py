"""Consistency of models' similarity across datasets."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.model_sets import check_model_sets
from pytorch_feature_analysis.resampling import expanded_interval, resampled_correlations

SIX = ["a", "b", "c", "d", "e", "f"]
ORACLES = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
TABLE = pd.DataFrame({"model": SIX, "kind": ["x"] * 3 + ["y"] * 3})


def square(cells, n):
    """The matrix with these cells above its diagonal."""
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n, k=1)] = cells
    return matrix + matrix.T


def noise(n_datasets, n_models, seed=0, common=1.0):
    """Matrices that have a part in common."""
    rng = np.random.default_rng(seed)
    n = n_models * (n_models - 1) // 2
    shared = rng.normal(size=n) * common
    return [square(shared + rng.normal(size=n), n_models) for _ in range(n_datasets)]


def stack_of(matrices, models=SIX, **columns):
    return pd.DataFrame(
        {
            "dataset": [f"data{k}" for k in range(len(matrices))],
            "dissim_metric": "linear_cka",
            "matrix": list(matrices),
            "entry_keys": [tuple((name,) for name in models[: len(matrices[0])])] * len(matrices),
            **columns,
        }
    )


def row_of(df, set_1, set_2, dataset_1="data0", dataset_2="data1"):
    (row,) = df[
        (df["set_1"] == set_1)
        & (df["set_2"] == set_2)
        & (df["dataset_1"] == dataset_1)
        & (df["dataset_2"] == dataset_2)
    ].to_dict("records")
    return row


def frozen_copy(df):
    return pd.DataFrame({name: [repr(cell) for cell in df[name]] for name in df})


# What r is.


def test_three_datasets_of_known_pairs_have_the_correlations_worked_by_hand():
    # Three models, so three pairs. The means are 2, 2 and 4; the products of deviations
    # 1 (-1 -> 0, 0 -> -1, 1 -> 1), for sums of squares of 2 and 2: r is 1/2.
    matrices = [square([1, 2, 3], 3), square([2, 1, 3], 3), square([6, 4, 2], 3)]
    found = pfa.get_consistency(stack_of(matrices), ci=None)
    assert found["dataset_1"].tolist() == ["data0", "data0", "data1"]
    assert found["dataset_2"].tolist() == ["data1", "data2", "data2"]
    np.testing.assert_allclose(found["r"], [0.5, -1, -0.5], atol=1e-12)
    assert found["n_pairs"].tolist() == [3, 3, 3]
    assert found["reason"].tolist() == [""] * 3
    assert list(found) == [
        *["dissim_metric", "by", "dataset_1", "dataset_2", "set_1", "set_2", "r", "n_pairs"],
        "reason",
    ]


@pytest.mark.parametrize("method", ORACLES)
def test_r_is_that_of_scipy_over_the_pairs_between_two_sets(method):
    # Rounded, so that there are ties.
    matrices = [matrix.round(0) for matrix in noise(3, 6)]
    found = pfa.get_consistency(stack_of(matrices), TABLE, ["kind"], ci=None, method=method)
    pairs = {
        ("all", "all"): list(combinations(range(6), 2)),
        ("x", "x"): [(0, 1), (0, 2), (1, 2)],
        ("x", "y"): [(i, j) for i in range(3) for j in range(3, 6)],
        ("y", "y"): [(3, 4), (3, 5), (4, 5)],
    }
    assert len(found) == 4 * 3
    for row in found.to_dict("records"):
        chosen = pairs[row["set_1"], row["set_2"]]
        a, b = (matrices[int(row[name][-1])] for name in ("dataset_1", "dataset_2"))
        x, y = ([matrix[pair] for pair in chosen] for matrix in (a, b))
        assert row["n_pairs"] == len(chosen)
        np.testing.assert_allclose(row["r"], ORACLES[method](x, y)[0], atol=1e-12)


def test_identical_datasets_have_1_and_similarities_the_same_r_as_dissimilarities():
    a, b = noise(2, 6)
    found = pfa.get_consistency(stack_of([a, a, b]), ci=None)
    np.testing.assert_allclose(found["r"][0], 1, atol=1e-12)
    turned = pfa.get_consistency(stack_of([1 - a, 1 - a, 1 - b]), ci=None)
    np.testing.assert_allclose(found["r"], turned["r"], atol=1e-12)
    one_turned = pfa.get_consistency(stack_of([a, a, 1 - b]), ci=None)
    np.testing.assert_allclose(one_turned["r"][1], -found["r"][1], atol=1e-12)


def test_models_are_matched_by_name_not_by_place():
    a, b = noise(2, 6)
    order = np.array([3, 1, 5, 0, 2, 4])
    stack = stack_of([a, b])
    keys = list(stack["entry_keys"])
    moved = stack.assign(
        matrix=[a, b[np.ix_(order, order)]],
        entry_keys=[keys[0], tuple(keys[1][k] for k in order)],
    )
    expected = pfa.get_consistency(stack, TABLE, ["kind"], num_boot=20)
    found = pfa.get_consistency(moved, TABLE.sample(frac=1, random_state=1), ["kind"], num_boot=20)
    pd.testing.assert_frame_equal(found, expected)
    # The same matrices without the names tell another story.
    mixed = pfa.get_consistency(moved.assign(entry_keys=keys), ci=None)
    assert abs(mixed["r"][0] - expected["r"][0]) > 0.1


def test_64_models_in_objectives_of_30_20_and_14_give_the_published_counts():
    models = [f"m{k:02d}" for k in range(64)]
    objective = ["Supervised"] * 30 + ["Self-Supervised"] * 20 + ["Image-Text"] * 14
    order = ["Supervised", "Self-Supervised", "Image-Text"]
    table = pd.DataFrame(
        {"model": models, "objective": pd.Categorical(objective, categories=order)}
    )
    found = pfa.get_consistency(stack_of(noise(23, 64), models), table, ci=None)
    counts = found.groupby(["by", "set_1", "set_2"], sort=False)["n_pairs"].agg(["min", "max"])
    assert counts["min"].tolist() == counts["max"].tolist() == [2016, 435, 600, 420, 190, 280, 91]
    assert counts.index.tolist()[2] == ("objective", "Supervised", "Self-Supervised")
    assert set(found.groupby(["by", "set_1", "set_2"]).size()) == {253}


def test_fewer_than_three_pairs_are_nan_with_the_reason():
    table = pd.DataFrame({"model": SIX, "kind": ["x", "x", "y", "z", "z", "z"]})
    found = pfa.get_consistency(stack_of(noise(2, 6)), table, ["kind"], num_boot=10)
    row = row_of(found, "x", "y")
    assert np.isnan([row["r"], row["ci_low"], row["ci_high"]]).all()
    assert (row["n_pairs"], row["n_boot"]) == (2, 0)
    assert row["reason"] == "2 pairs of models, and a correlation needs 3"
    none = row_of(found, "y", "y")
    assert (none["n_pairs"], none["reason"][:7]) == (0, "0 pairs")
    assert np.isfinite(row_of(found, "x", "z")["ci_low"])


@pytest.mark.parametrize("method", ORACLES)
def test_a_dataset_where_all_are_equally_similar_is_named(method):
    a, b = noise(2, 4)
    flat = square(np.full(6, 0.1), 4)
    found = pfa.get_consistency(stack_of([a, flat, b, flat]), method=method, num_boot=20)
    known = [1]
    unknown = found.drop(index=known)
    assert np.isfinite(found.loc[known, ["r", "ci_low", "ci_high"]]).all(axis=None)
    assert np.isnan(unknown[["r", "ci_low", "ci_high"]]).all(axis=None)
    assert (unknown["n_boot"] == 0).all()
    start = "all pairs of models are equally similar on "
    expected = [f"{start}{named}" for named in ["'data1'", "'data3'", "'data1'"]]
    expected += [f"{start}'data1', 'data3'", f"{start}'data3'"]
    assert unknown["reason"].tolist() == expected


@pytest.mark.parametrize("method", ORACLES)
def test_two_pairs_that_are_left_are_no_correlation(method):
    a, b = noise(2, 3)
    b[0, 1] = b[1, 0] = np.nan
    found = pfa.get_consistency(stack_of([a, b]), method=method, num_boot=10)
    assert np.isnan(found["r"][0])
    assert found["reason"][0] == "2 pairs of models, and a correlation needs 3"


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_a_pair_missing_on_one_dataset_is_left_out_of_that_comparison_alone(method):
    a, b, c = noise(3, 6)
    b[0, 1] = b[1, 0] = np.nan
    b[2, 5] = b[5, 2] = np.inf
    found = pfa.get_consistency(stack_of([a, b, c]), method=method, num_boot=50)
    assert found["n_pairs"].tolist() == [13, 15, 13]
    kept = [(i, j) for i, j in combinations(range(6), 2) if (i, j) not in [(0, 1), (2, 5)]]
    x, y = ([matrix[pair] for pair in kept] for matrix in (a, b))
    np.testing.assert_allclose(found["r"][0], ORACLES[method](x, y)[0], atol=1e-12)
    # What is missing in b does not touch a and c.
    whole = pfa.get_consistency(stack_of(noise(3, 6)), method=method, num_boot=50)
    pd.testing.assert_series_equal(found.loc[1], whole.loc[1])


def test_an_anchor_is_compared_with_the_others_of_every_set():
    a, b = noise(2, 6)
    found = pfa.get_consistency(stack_of([a, b]), TABLE, ["kind"], anchors=["a", "e"], num_boot=20)
    assert found[["by", "set_1", "set_2", "n_pairs"]].to_numpy().tolist() == [
        ["all", "a", "all", 5],
        ["all", "e", "all", 5],
        ["kind", "a", "x", 2],
        ["kind", "a", "y", 3],
        ["kind", "e", "x", 3],
        ["kind", "e", "y", 2],
    ]
    assert np.isnan(row_of(found, "a", "x")["r"])
    expected = stats.pearsonr(a[0, 3:], b[0, 3:])[0]
    np.testing.assert_allclose(row_of(found, "a", "y")["r"], expected, atol=1e-12)
    expected = stats.pearsonr(a[4, [0, 1, 2, 3, 5]], b[4, [0, 1, 2, 3, 5]])[0]
    np.testing.assert_allclose(row_of(found, "e", "all")["r"], expected, atol=1e-12)


def test_a_model_without_a_category_is_in_no_set():
    table = pd.DataFrame(
        {"model": [*SIX, "more"], "kind": ["x", "x", "x", "x", None, np.nan, "z"]}
    )
    found = pfa.get_consistency(stack_of(noise(2, 6)), table, ["kind"], ci=None)
    assert found["set_1"].tolist() == ["all", "x"]
    assert found["n_pairs"].tolist() == [15, 6]


def test_the_four_categories_of_the_study_are_taken_where_the_table_has_them():
    table = TABLE.rename(columns={"kind": "objective"}).assign(size_class="small", colour="red")
    found = pfa.get_consistency(stack_of(noise(2, 6)), table, ci=None)
    assert list(dict.fromkeys(found["by"])) == ["all", "objective", "size_class"]


def test_similarities_of_activations_run_through_all_orders():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "dataset": np.repeat(["pets", "cars"], 5),
            "model": SIX[:5] * 2,
            "activations": [rng.normal(size=(12, 4)) for _ in range(10)],
            "entry_keys": [list(range(12))] * 10,
        }
    )
    stack = pfa.get_similarity_rdms(
        frame, ["linear_cka", "rsa"], ["model"], ["dataset"], num_perms=2, progress=False
    )
    found = pfa.get_consistency(stack, num_boot=10)
    meta = pfa.get_meta_rdms(stack, None, ["dataset"], progress=False)
    # A measure, and a shuffle, is a group of its own.
    assert found["dissim_metric"].nunique() == 2
    for name in ("perm", "dissim_metric", "dissim_metric_sub"):
        assert found[name].tolist() == meta[f"{name}_sub"].tolist()
    np.testing.assert_allclose(found["r"], [1 - rdm[0, 1] for rdm in meta["matrix"]], atol=1e-12)


# Draws of models.


def expanded(values, i, j, counts):
    """The list of pairs that a draw stands for, each as often as it was drawn."""
    times = [int(counts[a] * counts[b]) for a, b in zip(i, j, strict=True)]
    return [value for value, n in zip(values, times, strict=True) for _ in range(n)]


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("missing", [False, True])
def test_draws_are_the_correlations_of_scipy_over_the_expanded_lists_of_pairs(method, missing):
    rng = np.random.default_rng(3)
    n = 8
    i, j = np.triu_indices(n, k=1)
    # Whole numbers from 0 to 9 have ties, far from 0 they try the digits.
    rows = rng.integers(0, 10, size=(4, len(i))) + 1e4
    if missing:
        rows[0, :3] = np.nan
        rows[2, 5] = np.nan
    counts = np.array([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(30)])
    found = resampled_correlations(rows, (i, j), counts, method)
    assert found.shape == (30, 6)
    for number, own in enumerate(counts):
        for k, (a, b) in enumerate(combinations(range(4), 2)):
            known = np.isfinite(rows[a]) & np.isfinite(rows[b])
            x, y = (expanded(rows[row][known], i[known], j[known], own) for row in (a, b))
            n_distinct = sum(own[i[known]] * own[j[known]] > 0)
            is_defined = n_distinct >= 3 and len(set(x)) > 1 and len(set(y)) > 1
            expected = ORACLES[method](x, y)[0] if is_defined else np.nan
            np.testing.assert_allclose(found[number, k], expected, atol=1e-9)
    assert np.isfinite(found).mean() > 0.9


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_draws_done_in_several_steps_are_those_done_in_one(method, monkeypatch):
    rng = np.random.default_rng(4)
    i, j = np.triu_indices(6, k=1)
    rows = rng.normal(size=(3, 15))
    counts = rng.multinomial(6, np.full(6, 1 / 6), size=11)
    whole = resampled_correlations(rows, (i, j), counts, method)
    monkeypatch.setattr("pytorch_feature_analysis.resampling._STEP_NUMBERS", 100)
    np.testing.assert_allclose(
        resampled_correlations(rows, (i, j), counts, method), whole, atol=1e-12
    )


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_draws_without_three_pairs_or_with_equal_pairs_alone_are_nan(method):
    i, j = np.triu_indices(4, k=1)
    # Of the pairs 01 02 03 12 13 23, those of the models 0, 1, 2 are alike in the first row.
    rows = np.array([[5.1, 5.1, 1.7, 5.1, 2.3, 3.9], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    counts = np.array([[2, 2, 0, 0], [1, 1, 1, 1], [0, 1, 1, 2], [4, 0, 0, 0]])
    (found,) = resampled_correlations(rows, (i, j), counts, method).T
    assert np.isfinite(found).tolist() == [False, True, True, False]
    # Sums round in several ways.
    alike = np.array([[a, b, c, 0] for a in range(1, 5) for b in range(1, 5) for c in range(1, 5)])
    for first in np.linspace(4.1, 5.1, 11):
        rows[0, [0, 1, 3]] = first
        assert np.isnan(resampled_correlations(rows, (i, j), alike, method)).all()


def test_the_interval_is_that_of_its_draws_one_by_one():
    a, b = noise(2, 6)
    found = pfa.get_consistency(
        stack_of([a, b]), TABLE, ["kind"], ci=0.9, num_boot=200, random_state=5
    )
    for sets in check_model_sets(TABLE, ["kind"], None, SIX, SIX).pairs_among(SIX):
        drawn = []
        for counts in sets.draw(5, 200, SIX):
            x, y = (
                expanded(matrix[sets.first, sets.second], sets.first, sets.second, counts)
                for matrix in (a, b)
            )
            if len(set(x)) >= 3:
                drawn.append(stats.pearsonr(x, y)[0])
        n = {"all": 6, "kind": 3}[sets.by]
        # Hesterberg's expanded percentiles.
        share = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.95, n - 1))
        row = row_of(found, sets.set_1, sets.set_2)
        assert row["n_boot"] == len(drawn)
        expected = np.quantile(drawn, [share, 1 - share])
        np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected, atol=1e-9)
    # Three models of one set: all three must be drawn, which 3! of 27 draws do.
    assert 0.12 < row_of(found, "x", "x")["n_boot"] / 200 < 0.33
    assert row_of(found, "all", "all")["n_boot"] > 190


def test_draws_keep_the_size_of_each_set_and_the_anchor():
    models = [f"m{k}" for k in range(9)]
    table = pd.DataFrame({"model": models, "kind": list("xxxyyyyyz")})
    sets = check_model_sets(table, ["kind"], None, models, models).pairs_among(models)
    sizes = {"x": range(3), "y": range(3, 8), "z": range(8, 9), "all": range(9)}
    for pair in sets:
        counts = pair.draw(0, 50, models)
        for name in {pair.set_1, pair.set_2}:
            assert (counts[:, list(sizes[name])].sum(axis=1) == len(sizes[name])).all()
        others = set(range(9)) - {*sizes[pair.set_1], *sizes[pair.set_2]}
        assert not counts[:, sorted(others)].any()
    sets = check_model_sets(table, ["kind"], ["m4"], models, models).pairs_among(models)
    for pair in sets:
        counts = pair.draw(0, 50, models)
        assert (counts[:, 4] == 1).all()
        others = [k for k in sizes[pair.set_2] if k != 4]
        assert (counts[:, others].sum(axis=1) == len(others)).all()
    # Each model is drawn as often as any other.
    counts = sets[0].draw(0, 4000, models)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.08)


def test_intervals_do_not_depend_on_what_else_is_asked():
    matrices = noise(3, 6)
    stack = pd.concat(
        [stack_of(matrices), stack_of(noise(3, 6, 1), dissim_metric="rsa")], ignore_index=True
    )
    table = TABLE.assign(other=list("uvuvuv"))
    found = pfa.get_consistency(stack, table, ["other", "kind"], num_boot=30)
    assert (found["n_boot"] > 0).all()
    alone = pfa.get_consistency(stack_of(matrices[:2]), table, ["kind"], num_boot=30)
    chosen = found["by"].isin(["all", "kind"]) & (found["dissim_metric"] == "linear_cka")
    chosen &= (found["dataset_1"] == "data0") & (found["dataset_2"] == "data1")
    pd.testing.assert_frame_equal(
        found[chosen].sort_values(["by", "set_1", "set_2"], ignore_index=True),
        alone.sort_values(["by", "set_1", "set_2"], ignore_index=True),
    )
    # The order of sets is that of the categories, and their draws are the same.
    turned = table.assign(kind=pd.Categorical(table["kind"], categories=["y", "x"]))
    again = pfa.get_consistency(stack_of(matrices[:2]), turned, ["kind"], num_boot=30)
    assert again["set_1"].tolist() == ["all", "y", "y", "x"]
    for name in ("r", "ci_low", "ci_high", "n_boot"):
        assert row_of(again, "y", "x")[name] == row_of(alone, "x", "y")[name]
    sets = check_model_sets(table, ["kind"], None, SIX, SIX).pairs_among(SIX)[2]
    np.testing.assert_array_equal(sets.draw(0, 10, SIX), sets.draw(0, 30, SIX)[:10])
    assert (sets.draw(0, 30, SIX) != sets.draw(1, 30, SIX)).any()


def test_intervals_do_not_depend_on_the_order_of_models():
    order = np.array([4, 0, 5, 2, 1, 3])
    matrices = noise(2, 6)
    expected = pfa.get_consistency(stack_of(matrices), TABLE, ["kind"], num_boot=50)
    moved = stack_of([matrix[np.ix_(order, order)] for matrix in matrices], [*"eafcbd"])
    found = pfa.get_consistency(moved, TABLE, ["kind"], num_boot=50)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


def test_a_set_of_one_model_is_taken_as_it_is():
    table = pd.DataFrame({"model": SIX, "kind": [*"xxxxxy"]})
    pairs = check_model_sets(table, ["kind"], None, SIX, SIX).pairs_among(SIX)
    assert [(pair.set_1, pair.set_2, pair.n_items) for pair in pairs] == [
        ("all", "all", 6),
        ("x", "x", 5),
        ("x", "y", 5),
        ("y", "y", 1),
    ]
    with pytest.warns(UserWarning, match=r"NaN within kind: 'y' with 'y': fewer than 3 pairs"):
        third = pfa.get_consistency_rdms(stack_of(noise(2, 6)), table, ["kind"])
    assert third["entry_keys_sub"][3] == (("f",),)
    assert np.isnan(third["matrix"][3][0, 1])


def test_measures_and_datasets_share_their_draws():
    a, b = noise(2, 6)
    stack = pd.concat([stack_of([a, b, b]), stack_of([a, b, b], dissim_metric="rsa")])
    found = pfa.get_consistency(stack.reset_index(drop=True), num_boot=40)
    ends = found[["ci_low", "ci_high"]].to_numpy()
    np.testing.assert_array_equal(ends[0], ends[1])
    np.testing.assert_array_equal(ends[:3], ends[3:])


def test_the_random_state_alone_decides():
    stack = stack_of(noise(2, 6))
    first = pfa.get_consistency(stack, num_boot=30, random_state=1)
    pd.testing.assert_frame_equal(first, pfa.get_consistency(stack, num_boot=30, random_state=1))
    for other in (2, None, np.random.default_rng(1)):
        found = pfa.get_consistency(stack, num_boot=30, random_state=other)
        assert found["ci_low"][0] != first["ci_low"][0]
        assert found["r"][0] == first["r"][0]


def test_expanded_percentiles_are_plain_ones_for_many_items_and_skip_draws_that_are_nan():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(500, 2))
    drawn[10:200, 1] = np.nan
    low, high, count = expanded_interval(drawn, 0.95, 10**9)
    assert count.tolist() == [500, 310]
    expected = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([low, high], expected, atol=1e-6)
    wider = expanded_interval(drawn, 0.95, 10)
    assert (wider[0] < low).all()
    assert (wider[1] > high).all()
    low, high, count = expanded_interval(np.full((5, 1), np.nan), 0.95, 10)
    assert np.isnan([low, high]).all()
    assert count.tolist() == [0]


def sums_of_parts(rng, n, rho):
    """Similarities that are sums of two models' own parts: a population whose r is rho."""
    i, j = np.triu_indices(n, k=1)
    common = rng.normal(size=n)
    own = rng.normal(size=n)
    other = rho * common + np.sqrt(1 - rho**2) * own
    return [square(parts[i] + parts[j], n) for parts in (common, other)]


def products_of_features(rng, n, rho):
    """Inner products of five features; those of both datasets correlate by the root of rho."""
    common, own = rng.normal(size=(2, n, 5))
    other = np.sqrt(rho) * common + np.sqrt(1 - rho) * own
    matrices = [features @ features.T for features in (common, other)]
    return [(matrix + matrix.T) / 2 for matrix in matrices]


def noise_of_pairs(rng, n, rho):
    """Pairs that have nothing in common with others: draws of models make too much of them."""
    common, own = rng.normal(size=(2, n * (n - 1) // 2))
    return [square(cells, n) for cells in (common, rho * common + np.sqrt(1 - rho**2) * own)]


@pytest.mark.parametrize("population", [sums_of_parts, products_of_features, noise_of_pairs])
def test_intervals_hold_the_truth_of_a_population_of_models(population):
    # 200 of the 2,000 simulations of benchmarks/consistency_at_scale.py.
    n_simulations, n, rho = 200, 20, 0.7
    models = [f"m{k}" for k in range(n)]
    held = 0
    for seed in range(n_simulations):
        matrices = population(np.random.default_rng(seed), n, rho)
        found = pfa.get_consistency(
            stack_of(matrices, models), num_boot=300, random_state=seed
        ).loc[0]
        held += found["ci_low"] <= rho <= found["ci_high"]
    error = np.sqrt(0.9 * 0.1 / n_simulations)
    assert held / n_simulations > 0.9 - 2 * error


# The third order.


def test_rows_by_all_models_are_those_of_get_meta_rdms():
    stack = pd.concat(
        [stack_of(noise(4, 6)), stack_of(noise(4, 6, 1), dissim_metric="rsa")], ignore_index=True
    )
    order = [5, 0, 3, 1, 2, 4]
    stack["entry_keys"] = [
        tuple(keys[k] for k in order) if number == 1 else keys
        for number, keys in enumerate(stack["entry_keys"])
    ]
    for method, metric in [("pearson", "corr"), ("spearman", "spearman")]:
        meta = pfa.get_meta_rdms(stack, None, ["dataset"], dissim_metrics=[metric], progress=False)
        third = pfa.get_consistency_rdms(stack, method=method, df_name="meta_rdm")
        assert third[["by", "set_1", "set_2"]].to_numpy().tolist() == [["all"] * 3] * 2
        pd.testing.assert_frame_equal(third.drop(columns=["by", "set_1", "set_2"]), meta)
        for ours, theirs in zip(third["matrix"], meta["matrix"], strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert not ours.flags.writeable


def test_rdms_of_sets_hold_1_less_r_and_name_their_models(tmp_path):
    stack = stack_of(noise(4, 6))
    for anchors in (None, ["b"]):
        table = pfa.get_consistency(stack, TABLE, ["kind"], anchors=anchors, ci=None)
        if anchors:
            with pytest.warns(UserWarning, match=r"NaN within kind: 'b' with 'x': fewer than 3"):
                third = pfa.get_consistency_rdms(stack, TABLE, ["kind"], anchors=anchors)
        else:
            third = pfa.get_consistency_rdms(stack, TABLE, ["kind"])
        upper = np.concatenate([pfa.get_upper_triang(matrix) for matrix in third["matrix"]])
        np.testing.assert_allclose(1 - upper, table["r"], atol=1e-12)
        for row in third.to_dict("records"):
            own = {"x": SIX[:3], "y": SIX[3:], "all": SIX, "b": ["b"]}
            members = sorted({*own[row["set_1"]], *own[row["set_2"]]})
            assert row["entry_keys_sub"] == tuple((name,) for name in members)
            assert row["entry_labels_sub"] == tuple({"entry": name} for name in members)
            assert row["entry_keys"] == (("data0",), ("data1",), ("data2",), ("data3",))
    path = tmp_path / "third.parquet"
    third = pfa.get_consistency_rdms(stack, TABLE, ["kind"], out_fname=path)
    read = pfa.read_rdms(path)
    assert read["set_2"].tolist() == ["all", "x", "y", "y"]
    np.testing.assert_array_equal(read["matrix"][3], third["matrix"][3])


# Tests between pairs of sets.


def many_r(seed=0, n=20):
    rng = np.random.default_rng(seed)
    pairs = list(combinations([f"d{k}" for k in range(7)], 2))[:n]
    frames = [
        pd.DataFrame(
            {
                "dissim_metric": measure,
                "by": "kind",
                "dataset_1": [a for a, _ in pairs],
                "dataset_2": [b for _, b in pairs],
                "set_1": one,
                "set_2": other,
                "r": np.tanh(rng.normal(shift, 0.3, size=n)),
            }
        )
        for measure in ("linear_cka", "rsa")
        for one, other, shift in [("x", "x", 0), ("x", "y", 0.25), ("y", "y", 0.2)]
    ]
    return pd.concat(frames, ignore_index=True)


def test_rank_sums_and_corrections_are_those_of_scipy_and_statsmodels():
    found = many_r()
    found.loc[[3, 25], "r"] = np.nan
    before = found.copy()
    tests = pfa.compare_consistency(found)
    pd.testing.assert_frame_equal(found, before)
    assert tests["dissim_metric"].tolist() == ["linear_cka"] * 3 + ["rsa"] * 3
    for measure, own in tests.groupby("dissim_metric"):
        rows = found[found["dissim_metric"] == measure]
        for test in own.to_dict("records"):
            one, other = (
                rows.loc[(rows["set_1"] == a) & (rows["set_2"] == b), "r"].dropna()
                for a, b in [
                    (test["set_1"], test["set_2"]),
                    (test["other_set_1"], test["other_set_2"]),
                ]
            )
            expected = stats.ranksums(one, other)
            np.testing.assert_allclose(test["statistic"], expected.statistic)
            np.testing.assert_allclose(test["p"], expected.pvalue)
            assert (test["n"], test["n_other"]) == (len(one), len(other))
            assert (test["median"], test["median_other"]) == (one.median(), other.median())
        for name, method in [("p_bonferroni", "bonferroni"), ("p_fdr", "fdr_bh")]:
            np.testing.assert_allclose(own[name], multipletests(own["p"], method=method)[1])
    assert tests["n"].tolist() == [19, 19, 19, 20, 20, 20]


def test_a_pair_of_sets_without_r_is_nan_and_counts_as_no_test():
    found = many_r()
    found = found[found["dissim_metric"] == "rsa"].copy()
    found.loc[found["set_1"] == "y", "r"] = np.nan
    tests = pfa.compare_consistency(found)
    assert tests["n_other"].tolist() == [20, 0, 0]
    assert np.isnan(tests[["statistic", "p", "p_bonferroni", "p_fdr", "median_other"]][1:]).all(
        axis=None
    )
    assert tests["p_bonferroni"][0] == tests["p_fdr"][0] == tests["p"][0]


def test_one_pair_of_sets_is_compared_with_nothing():
    tests = pfa.compare_consistency(pfa.get_consistency(stack_of(noise(4, 6)), ci=None))
    assert len(tests) == 0
    assert list(tests)[-3:] == ["p", "p_bonferroni", "p_fdr"]
    found = pfa.get_consistency(stack_of(noise(4, 6)), TABLE, ["kind"], num_boot=5)
    tests = pfa.compare_consistency(found)
    assert tests["by"].tolist() == ["kind"] * 3
    assert list(tests)[-3:] == ["p", "p_bonferroni", "p_fdr"]


def test_values_of_one_pair_of_sets_from_two_measures_are_not_mixed():
    mixed = many_r().drop(columns="dissim_metric")
    with pytest.raises(ValueError, match=r"more than one row of the same datasets.*'x', 'x'"):
        pfa.compare_consistency(mixed)
    with pytest.raises(ValueError, match=r"`consistency_df` has no column 'set_2'"):
        pfa.compare_consistency(many_r().drop(columns="set_2"))
    with pytest.raises(TypeError, match=r"numbers in `r`, not"):
        pfa.compare_consistency(many_r().assign(r="high"))


# Bad input.


def test_a_model_that_a_dataset_lacks_is_named_and_left_out_on_request_alone():
    a, b, c = noise(3, 6)
    # data1 has no c, data2 a model of its own in place of f.
    kept = [0, 1, 3, 4, 5]
    matrices = [a, b[np.ix_(kept, kept)], c]
    stack = stack_of(matrices, entry_keys=[list("abcdef"), list("abdef"), list("abcdeg")])
    message = (
        r"datasets of dissim_metric='linear_cka' have different models.*'data0' lacks 'g';"
        r" 'data1' lacks 'c', 'g'; 'data2' lacks 'f'\. .*`intersect`=True"
    )
    for function in (pfa.get_consistency, pfa.get_consistency_rdms):
        with pytest.raises(ValueError, match=message):
            function(stack)
    found = pfa.get_consistency(stack, intersect=True, num_boot=20)
    cut = pfa.subset_rdm_df(stack_of([a, b, c]), ["a", "b", "d", "e"])
    pd.testing.assert_frame_equal(found, pfa.get_consistency(cut[list(stack)], num_boot=20))
    third = pfa.get_consistency_rdms(stack, intersect=True)
    assert third["entry_keys_sub"][0] == (("a",), ("b",), ("d",), ("e",))
    stack["entry_keys"] = [list("abcdef"), list("pqrst"), list("abcdeg")]
    with pytest.raises(ValueError, match=r"no model is in all datasets.*'data0', 'data1'"):
        pfa.get_consistency(stack, intersect=True)


def test_models_that_the_table_lacks_or_has_twice_are_named():
    stack = stack_of(noise(2, 6))
    with pytest.raises(ValueError, match=r"`model_table` has no row of 'b', 'f', which"):
        pfa.get_consistency(stack, TABLE[~TABLE["model"].isin(["b", "f"])], ["kind"])
    with pytest.raises(ValueError, match=r"more than one row of 'a'"):
        pfa.get_consistency(stack, pd.concat([TABLE, TABLE[:1]]), ["kind"])
    with pytest.raises(ValueError, match=r"`model_table` has no column 'model'"):
        pfa.get_consistency(stack, TABLE.rename(columns={"model": "name"}), ["kind"])
    with pytest.raises(TypeError, match=r"`model_table` must be a pandas DataFrame"):
        pfa.get_consistency(stack, {"model": SIX}, ["kind"])


def test_columns_to_tell_models_apart_by_must_be_there():
    stack = stack_of(noise(2, 6))
    with pytest.raises(ValueError, match=r"`by` names 'kinds'.*Did you mean 'kind'"):
        pfa.get_consistency(stack, TABLE, ["kinds"])
    with pytest.raises(ValueError, match=r"`by` names 'kind', but there is no `model_table`"):
        pfa.get_consistency(stack, by=["kind"])
    with pytest.raises(ValueError, match=r"none of the columns 'objective'.*columns are: kind"):
        pfa.get_consistency(stack, TABLE)
    with pytest.raises(TypeError, match=r"`by` must be a list of names of columns, not 'kind'"):
        pfa.get_consistency(stack, TABLE, "kind")
    with pytest.raises(ValueError, match=r"`by` must name each column once"):
        pfa.get_consistency(stack, TABLE, ["kind", "kind"])
    with pytest.raises(ValueError, match=r"none that is called 'all'"):
        pfa.get_consistency(stack, TABLE.assign(all="x"), ["all"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"anchors": ["z"]}, ValueError, r"`anchors` names 'z', which is not a model"),
        ({"anchors": "a"}, TypeError, r"`anchors` must be a list of names of models"),
        ({"anchors": []}, ValueError, r"`anchors` must name one model or more"),
        ({"anchors": ["a", "a"]}, ValueError, r"each once, not \['a', 'a'\]"),
        ({"method": "kendall"}, ValueError, r"`method` names 'kendall'.*pearson, spearman"),
        ({"ci": 1.0}, ValueError, r"`ci` must be between 0 and 1"),
        ({"ci": 95}, ValueError, r"`ci` must be from 0 to 1, not 95"),
        ({"num_boot": 0}, ValueError, r"`num_boot` must be at least 1"),
        ({"random_state": -1}, ValueError, r"`random_state` must not be negative"),
        ({"dataset_variable": "data"}, ValueError, r"`dataset_variable` names 'data'"),
        ({"dataset_variable": ["dataset"]}, TypeError, r"`dataset_variable` must be a column"),
        ({"grouping_variables": ["dataset"]}, ValueError, r"stands in both"),
    ],
)
def test_bad_arguments_are_refused_with_a_word_on_what_to_pass(options, error, message):
    with pytest.raises(error, match=message):
        pfa.get_consistency(stack_of(noise(2, 6)), **options)


def test_bad_stacks_are_refused():
    stack = stack_of(noise(2, 6))
    with pytest.raises(ValueError, match=r"has no rows"):
        pfa.get_consistency(stack[:0])
    with pytest.raises(ValueError, match=r"one dataset of dissim_metric='linear_cka', 'data0'"):
        pfa.get_consistency(stack[:1])
    with pytest.raises(ValueError, match=r"more than one row with the entry key \('data0',\)"):
        pfa.get_consistency(stack.assign(dataset="data0"))
    with pytest.raises(ValueError, match=r"`grouping_variables` has 'r', which is the name of"):
        pfa.get_consistency(stack.assign(r=1))
    with pytest.raises(ValueError, match=r"has \('a',\) more than once in its `entry_keys`"):
        pfa.get_consistency(stack.assign(entry_keys=[list("abcdea")] * 2))
    with pytest.raises(TypeError, match=r"`df_name` must be a string"):
        pfa.get_consistency_rdms(stack, df_name=3)


def test_rdms_that_are_not_symmetric_are_averaged_on_request():
    a, b = noise(2, 6)
    skew = np.triu(np.random.default_rng(9).normal(size=(6, 6)), k=1)
    stack = stack_of([a + skew - skew.T, b])
    with pytest.raises(ValueError, match=r"row 0 of `similarity_stack` is not symmetric"):
        pfa.get_consistency(stack)
    found = pfa.get_consistency(stack, symmetrize=True, ci=None)
    np.testing.assert_allclose(found["r"], pfa.get_consistency(stack_of([a, b]), ci=None)["r"])


def test_inputs_are_not_changed():
    stack, table = stack_of(noise(3, 6)), TABLE.copy()
    by, anchors = ["kind"], ["a", "b"]
    before = frozen_copy(stack), [matrix.copy() for matrix in stack["matrix"]]
    pfa.get_consistency(stack, table, by, num_boot=5)
    pfa.get_consistency(stack, table, by, anchors=anchors, method="spearman", num_boot=5)
    pfa.get_consistency_rdms(stack, table, by)
    pd.testing.assert_frame_equal(frozen_copy(stack), before[0])
    for matrix, copy in zip(stack["matrix"], before[1], strict=True):
        np.testing.assert_array_equal(matrix, copy)
    pd.testing.assert_frame_equal(table, TABLE)
    assert (by, anchors) == (["kind"], ["a", "b"])
