"""RDM metrics compared, beside RDMs of scipy, and numbers worked by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr

import pytorch_feature_analysis as pfa

FIVE = ["pearson", "L2", "L2squared", "L2_normalize", "L2squared_normalize"]


def frame(n=12, widths=(5, 8)):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "model": ["one"] * len(widths),
            "layer": [f"conv{k}" for k in range(1, len(widths) + 1)],
            "activations": [rng.normal(size=(n, p)) + rng.normal(size=p) for p in widths],
            "entry_keys": [tuple(range(n))] * len(widths),
        },
        index=[7, 7][: len(widths)],
    )


def triangles(x):
    """By scipy."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return {
        "pearson": pdist(x, "correlation"),
        "L2": pdist(x),
        "L2squared": pdist(x, "sqeuclidean"),
        "L2_normalize": pdist(unit),
        "L2squared_normalize": pdist(unit, "sqeuclidean"),
    }


@pytest.mark.parametrize("num_cores", [1, 2])
def test_all_pairs_of_the_five_metrics_are_compared_by_their_triangles(num_cores):
    df = frame()
    table = pfa.compare_rdm_metrics(df, num_cores=num_cores, progress=False)
    assert list(table) == ["model", "layer", "metric_1", "metric_2", "mean_abs_diff", "r"]
    assert table.index.tolist() == list(range(20))
    assert table["layer"].tolist() == ["conv1"] * 10 + ["conv2"] * 10
    pairs = list(combinations(FIVE, 2))
    assert list(zip(table["metric_1"], table["metric_2"], strict=True)) == pairs * 2
    for x, (_, rows) in zip(df["activations"], table.groupby("layer"), strict=True):
        rdms = triangles(x)
        for row in rows.itertuples():
            one, other = rdms[row.metric_1], rdms[row.metric_2]
            assert row.mean_abs_diff == pytest.approx(np.abs(one - other).mean())
            assert row.r == pytest.approx(pearsonr(one, other)[0])


def test_a_triangle_of_sides_3_4_and_5():
    df = pd.DataFrame({"activations": [[[0, 0], [3, 0], [0, 4]]], "entry_keys": [["a", "b", "c"]]})
    upper, whole = (
        pfa.compare_rdm_metrics(df, ["L2", "L2squared"], entries=entries, progress=False)
        for entries in ("upper", "all")
    )
    # (9 - 3 + 16 - 4 + 25 - 5) / 3, and the same twice among 9 cells.
    assert upper["mean_abs_diff"].item() == pytest.approx(38 / 3)
    assert whole["mean_abs_diff"].item() == pytest.approx(76 / 9)
    # Of (3, 4, 5) and (9, 16, 25): 16 / sqrt(2 * 386 / 3).
    assert upper["r"].item() == pytest.approx(16 / np.sqrt(2 * 386 / 3))
    cells = np.array([0, 0, 0, 3, 3, 4, 4, 5, 5])
    assert whole["r"].item() == pytest.approx(np.corrcoef(cells, cells**2)[0, 1])


def test_functions_of_each_other_are_recognized_as_such():
    df = frame()
    df["activations"] = [x - x.mean(axis=1, keepdims=True) for x in df["activations"]]
    table = pfa.compare_rdm_metrics(
        df, ["pearson", "L2squared_normalize", "cosine"], progress=False
    )
    np.testing.assert_allclose(table["r"], 1, atol=1e-12)
    # Without means of patterns, correlation is cosine, and half the squared distance.
    same = table[table["metric_2"] == "cosine"].iloc[::2]
    np.testing.assert_allclose(same["mean_abs_diff"], 0, atol=1e-12)
    own = ("root", lambda x, y: np.sqrt(np.abs(x - y).sum()))
    for name in ("spearman", "kendall_tau_b"):
        ranks = pfa.compare_rdm_metrics(df, ["cityblock", own], method=name, progress=False)
        np.testing.assert_allclose(ranks["r"], 1, atol=1e-12)
    x = df["activations"].iloc[0]
    found = pfa.compare_rdm_metrics(df, ["L2", "cosine"], method="spearman", progress=False)["r"]
    assert found[0] == pytest.approx(spearmanr(pdist(x), pdist(x, "cosine"))[0])


def test_patterns_without_a_dissimilarity_are_named_and_left_out():
    df = frame(widths=(5,))
    x = df["activations"].iloc[0].copy()
    x[4] = 2.0
    df["activations"] = [x]
    with pytest.warns(UserWarning, match=r"rows with the index 7 have patterns without") as seen:
        table = pfa.compare_rdm_metrics(df, ["pearson", "L2"], progress=False)
    assert len(seen) == 1
    kept = np.delete(x, 4, axis=0)
    one, other = pdist(kept, "correlation"), pdist(kept)
    assert table["r"].item() == pytest.approx(pearsonr(one, other)[0])
    assert table["mean_abs_diff"].item() == pytest.approx(np.abs(one - other).mean())


def test_inputs_stay_as_they_were():
    df = frame()
    copies = [x.copy() for x in df["activations"]]
    shallow = df.copy()
    pfa.compare_rdm_metrics(df, progress=False)
    pd.testing.assert_frame_equal(
        df.drop(columns="activations"), shallow.drop(columns="activations")
    )
    for now, before in zip(df["activations"], copies, strict=True):
        np.testing.assert_array_equal(now, before)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"metrics": ["L2"]}, ValueError, "`metrics` names 'L2' alone; name two or more"),
        ({"metrics": ["L2", "L3"]}, ValueError, "`metrics` names 'L3'"),
        ({"metrics": "L2"}, TypeError, "`metrics` must be a list"),
        ({"metrics": ["L2", ("first", lambda x, _y: x[0])]}, ValueError, "'first' is not symm"),
        ({"entries": "lower"}, ValueError, "`entries` names 'lower'"),
        ({"method": "kendall"}, ValueError, "`method` names 'kendall'"),
    ],
)
def test_bad_options_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        pfa.compare_rdm_metrics(frame(), progress=False, **options)


def test_bad_frames_are_refused():
    with pytest.raises(ValueError, match=r"the row at position 0 .*7.* has 2 stimuli"):
        pfa.compare_rdm_metrics(frame(n=2))
    with pytest.raises(ValueError, match="`activations_df` has a column 'r', as the result"):
        pfa.compare_rdm_metrics(frame().assign(r=1))
    with pytest.raises(ValueError, match="has no column 'activations'"):
        pfa.compare_rdm_metrics(frame().drop(columns="activations"))
