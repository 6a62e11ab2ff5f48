"""Correlation of similarities with a number of each pair: which pairs, r and p."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from made_layers import NETWORKS, layer_stack, with_hole
from made_stacks import same_cells

import pytorch_feature_analysis as pfa

PAIRS = list(itertools.permutations(NETWORKS, 2))


def gains_of(rng, pairs=PAIRS):
    frame = pd.DataFrame(pairs, columns=["source", "target"])
    return frame.assign(gain=rng.normal(size=len(frame)))


def with_correlation(x, r, rng):
    """Numbers whose Pearson correlation with x is exactly r."""
    x = (x - x.mean()) / np.linalg.norm(x - x.mean())
    noise = rng.normal(size=len(x))
    noise -= noise.mean()
    noise -= (noise @ x) * x
    return r * x + np.sqrt(1 - r**2) * noise / np.linalg.norm(noise)


def test_the_30_pairs_of_a_table_of_6_by_6_with_r_0_2338_have_p_0_2137():
    rng = np.random.default_rng(0)
    stack = layer_stack([1], symmetric=False)
    similar = pfa.similarity_table(stack)
    table = pd.DataFrame(np.full((6, 6), 1e6), index=NETWORKS, columns=NETWORKS)
    off = ~np.eye(6, dtype=bool)
    table = table.mask(off)
    values = table.to_numpy(copy=True)
    values[off] = with_correlation(similar.to_numpy()[off], 0.23381535, rng)
    table = pd.DataFrame(values, index=NETWORKS, columns=NETWORKS)
    (result,) = pfa.correlate_with(stack, table, method="pearson").itertuples()
    assert result.n_pairs == 30
    assert result.n_missing == 0
    assert result.r == pytest.approx(0.23381535, abs=1e-12)
    assert result.p == pytest.approx(0.21365895, abs=1e-8)
    assert result.reason == ""


def test_r_and_p_are_those_of_scipy_for_each_row_and_method():
    # Oracle: scipy on pairs that are collected one by one.
    rng = np.random.default_rng(1)
    gains = gains_of(rng)
    stack = layer_stack(range(3), metrics=("svcca", "procrustes_distance"))
    results = pfa.correlate_with(stack, gains, "gain")
    assert results.columns.tolist() == [
        *[
            "layer",
            "dissim_metric",
            "direction",
            "method",
            "r",
            "p",
            "n_pairs",
            "n_missing",
            "reason",
        ]
    ]
    assert len(results) == 3 * 2 * 2
    for row in results.itertuples():
        matrix = stack.loc[
            (stack["layer"] == row.layer) & (stack["dissim_metric"] == row.dissim_metric), "matrix"
        ].item()
        x = [matrix[NETWORKS.index(a), NETWORKS.index(b)] for a, b in PAIRS]
        if row.dissim_metric == "svcca":
            x = [1 - value for value in x]
        test = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[row.method]
        expected = test(x, gains["gain"])
        assert row.r == pytest.approx(expected.statistic, abs=1e-12)
        assert row.p == pytest.approx(expected.pvalue, abs=1e-12)
        assert row.n_pairs == 30
        assert row.direction == ("similarity" if row.dissim_metric == "svcca" else "distance")


def test_one_worked_by_hand():
    stack = layer_stack([1], ("a", "b", "c"))
    stack["matrix"] = [np.array([[0, 0.1, 0.2], [0.1, 0, 0.6], [0.2, 0.6, 0]])]
    # Similarities 0.9, 0.8, 0.4 against 3, 1, 2: ranks 3, 2, 1 against 3, 1, 2.
    gains = pd.DataFrame([("a", "b", 3), ("a", "c", 1), ("b", "c", 2)], columns=list("stg"))
    results = pfa.correlate_with(
        stack, gains, "g", method=["spearman"], pair_columns=("s", "t")
    ).iloc[0]
    assert results["r"] == pytest.approx(0.5)
    assert (results["n_pairs"], results["n_missing"]) == (3, 0)


def test_the_order_of_rows_and_columns_of_the_numbers_does_not_matter():
    rng = np.random.default_rng(2)
    stack = layer_stack([1], symmetric=False)
    gains = gains_of(rng)
    expected = pfa.correlate_with(stack, gains, "gain")
    shuffled = gains.sample(frac=1, random_state=0)
    table = gains.pivot_table(index="source", columns="target", values="gain")
    for frame, column in ((shuffled, "gain"), (table, None), (table.iloc[::-1, ::-1], None)):
        again = pfa.correlate_with(stack, frame, column)
        pd.testing.assert_frame_equal(again, expected)
    # The other direction is another question, where the measure is not symmetric.
    other = pfa.correlate_with(stack, table.T)
    assert abs(other["r"][0] - expected["r"][0]) > 1e-3


def test_no_network_is_paired_with_itself():
    rng = np.random.default_rng(3)
    stack = layer_stack([1])
    gains = gains_of(rng)
    selves = pd.DataFrame({"source": NETWORKS, "target": NETWORKS, "gain": 1e6})
    pd.testing.assert_frame_equal(
        pfa.correlate_with(stack, pd.concat([gains, selves]), "gain"),
        pfa.correlate_with(stack, gains, "gain"),
    )


def test_pairs_that_are_missing_are_left_out_and_counted():
    rng = np.random.default_rng(4)
    stack = with_hole(layer_stack([1, 2]), 1, 0, 1)
    gains = gains_of(rng).iloc[1:]
    gains.loc[7, "gain"] = np.nan
    results = pfa.correlate_with(stack, gains, "gain", method="pearson")
    # The first pair, (revenue, churn), is not there, and one is NaN; then (churn, revenue) too.
    assert results["n_pairs"].tolist() == [28, 27]
    assert results["n_missing"].tolist() == [2, 3]
    used = gains.dropna()
    similar = pfa.similarity_table(stack[:1])
    x = [similar.loc[a, b] for a, b in zip(used["source"], used["target"], strict=True)]
    assert results["r"][0] == pytest.approx(scipy.stats.pearsonr(x, used["gain"]).statistic)


def test_pairs_in_one_direction_are_half_as_many():
    rng = np.random.default_rng(5)
    stack = layer_stack([1])
    gains = gains_of(rng, list(itertools.combinations(NETWORKS, 2)))
    results = pfa.correlate_with(stack, gains.iloc[2:], "gain")
    assert results["n_pairs"].tolist() == [13, 13]
    assert results["n_missing"].tolist() == [2, 2]
    # A triangle says the same, with nothing below its diagonal.
    table = gains.pivot_table(index="source", columns="target", values="gain", sort=False)
    assert pfa.correlate_with(stack, table)["n_pairs"].tolist() == [15, 15]
    assert pfa.correlate_with(stack, table)["n_missing"].tolist() == [0, 0]


def test_where_there_is_no_correlation_the_reason_is_said():
    rng = np.random.default_rng(6)
    stack = layer_stack([1, 2, 3], metrics=("svcca",))
    stack["dissim_metric"] = ["svcca", "svcca", "procrustes_distance"]
    flat = np.full((6, 6), 0.3)
    np.fill_diagonal(flat, 0)
    # Equal but for rounding.
    flat[0, 1] = flat[1, 0] = 0.1 + 0.2
    stack["matrix"] = [stack["matrix"][0], flat, flat]
    gains = gains_of(rng)
    results = pfa.correlate_with(stack, gains, "gain")
    assert results["reason"].tolist() == [
        *["", "", "equal similarities", "equal similarities"],
        *["equal distances", "equal distances"],
    ]
    assert results[["r", "p"]].isna().all(axis=1).tolist() == [False, False, *[True] * 4]
    few = pfa.correlate_with(stack[:1], gains.iloc[:2], "gain")
    assert few["reason"].tolist() == ["fewer than 3 pairs"] * 2
    assert few["n_pairs"].tolist() == [2, 2]
    assert few["r"].isna().all()
    even = pfa.correlate_with(stack[:1], gains.assign(gain=1), "gain")
    assert even["reason"].tolist() == ["equal numbers"] * 2
    none = pfa.correlate_with(stack[:1], gains.iloc[:0], "gain")
    assert none["n_pairs"].tolist() == [0, 0]


def test_groups_of_layers_are_told_apart_by_their_names():
    rng = np.random.default_rng(7)
    net = pfa.get_net_similarity(layer_stack(), pfa.grid_groups(range(4, 24), 4))
    results = pfa.correlate_with(net, gains_of(rng), "gain", method="pearson")
    assert results["layer_group"].tolist() == net["layer_group"].tolist()
    assert results["group_layers"].tolist() == net["group_layers"].tolist()
    assert not {"matrix", "entry_keys", "dissim_rankings"} & {*results.columns}


def test_nothing_that_was_given_changes():
    rng = np.random.default_rng(8)
    stack, gains = layer_stack(range(3)), gains_of(rng)
    before = stack.copy(), gains.copy()
    pfa.correlate_with(stack, gains, "gain")
    same_cells(stack, before[0])
    pd.testing.assert_frame_equal(gains, before[1])


@pytest.mark.parametrize(
    ("change", "options", "error", "match"),
    [
        (lambda g: g.replace("churn", "chum"), {}, ValueError, "`frame` names 'chum'.*'churn'"),
        (lambda g: pd.concat([g, g[:1]]), {}, ValueError, "'revenue', 'churn' in more than one"),
        (lambda g: g.drop(columns="gain"), {}, ValueError, "`frame` has no column 'gain'"),
        (lambda g: g.assign(gain="x"), {}, TypeError, "`frame` must hold numbers"),
        (lambda g: g, {"column": None}, TypeError, "networks by networks, where `column` is None"),
        (lambda g: g[["gain"]], {"column": None}, ValueError, "Without `column`, its index"),
        (lambda g: g, {"method": "kendal"}, ValueError, "`method` names 'kendal'.*pearson, spear"),
        (lambda g: g, {"method": []}, ValueError, "`method` names none"),
        (lambda g: g, {"method": 3}, TypeError, "`method` must be a list"),
        (lambda g: g, {"pair_columns": "source"}, TypeError, "`pair_columns`"),
        (lambda g: g, {"pair_columns": ["source"]}, ValueError, "`pair_columns` must be two"),
        (lambda g: g, {"pair_columns": ["a", "b"]}, ValueError, "`frame` has no column 'a', 'b'"),
        (lambda g: g["gain"], {}, TypeError, "`frame` must be a pandas DataFrame"),
    ],
)
def test_bad_numbers_are_refused(change, options, error, match):
    gains = change(gains_of(np.random.default_rng(9)))
    with pytest.raises(error, match=match):
        pfa.correlate_with(layer_stack([1]), gains, **{"column": "gain"} | options)


def test_bad_stacks_are_refused():
    gains = gains_of(np.random.default_rng(9))
    stack = layer_stack([1])
    with pytest.raises(ValueError, match="no column 'dissim_metric'"):
        pfa.correlate_with(stack.drop(columns="dissim_metric"), gains, "gain")
    with pytest.raises(ValueError, match="`rdm_df` has a column 'method'"):
        pfa.correlate_with(stack.assign(method="x"), gains, "gain")
    with pytest.raises(ValueError, match="before `to_similarity`"):
        pfa.correlate_with(pfa.to_similarity(stack), gains, "gain")
    twice = pd.DataFrame(np.eye(2), index=["churn", "churn"], columns=["churn", "visits"])
    with pytest.raises(ValueError, match="a network more than once"):
        pfa.correlate_with(stack, twice)
