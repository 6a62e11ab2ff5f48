"""Measures compared with one of them over pairs of representations."""

import numpy as np
import pandas as pd
import pytest
from made_representations import related
from scipy.stats import pearsonr, spearmanr

import pytorch_feature_analysis as pfa

CENTRED = {"rdm_metric": "L2squared", "compare": "cosine"}


def activations(n=30, groups=("a", "b")):
    rows = []
    for seed, group in enumerate(groups):
        x, y = related(n, 4, 6, seed=seed)
        tables = (x, y, np.hstack([x[:, :2], y[:, 1:2] ** 2]), np.abs(x), y**3)
        rows += [
            {
                "data": group,
                "layer": f"conv{k}",
                "activations": table,
                "entry_keys": tuple(range(n)),
            }
            for k, table in enumerate(tables, start=1)
        ]
    return pd.DataFrame(rows)


def stack_of(measures, **options):
    return pfa.get_similarity_rdms(activations(**options), measures, progress=False)


def made(matrices, names=None, **columns):
    """A stack of one's own."""
    n = len(matrices[0])
    return pd.DataFrame(
        {
            "matrix": [np.array(m, dtype=float) for m in matrices],
            "entry_keys": [list("abcdef"[:n])] * len(matrices),
            "dissim_metric": names or ["linear_cka", "nbs", "cca"][: len(matrices)],
            **columns,
        }
    )


def square(upper):
    matrix = np.zeros((3, 3))
    matrix[np.triu_indices(3, k=1)] = upper
    return matrix + matrix.T


def test_three_pairs_by_hand():
    table = pfa.compare_measures(made([square([1, 2, 3]), square([2, 4, 9]), square([3, 2, 1])]))
    assert list(table) == ["measure", "r", "rho", "mean_abs_diff", "n_pairs"]
    assert table["measure"].tolist() == ["nbs", "cca"]
    assert table["rho"].tolist() == pytest.approx([1, -1])
    # Of (1, 2, 3) and (2, 4, 9): 7 / sqrt(2 * 26).
    assert table["r"].tolist() == pytest.approx([7 / np.sqrt(52), -1])
    assert table["mean_abs_diff"].tolist() == pytest.approx([(1 + 2 + 6) / 3, 4 / 3])
    assert table["n_pairs"].tolist() == [3, 3]


def test_each_group_has_its_own_agreement_as_scipy_has_it():
    stack = stack_of(
        ["svcca", "linear_cka", ("rsa", {"rdm_metric": "L2"}), "rsa", "procrustes_distance"]
    )
    table = pfa.compare_measures(stack)
    names = ["svcca", "rsa(rdm_metric=L2)", "rsa(rdm_metric=corr)", "procrustes_distance"]
    assert table["measure"].tolist() == names * 2
    assert table["data"].tolist() == ["a"] * 4 + ["b"] * 4
    upper = np.triu_indices(5, k=1)
    found = iter(table.itertuples())
    for start in (0, 5):
        one = stack["matrix"][start + 1][upper]
        for place in (0, 2, 3, 4):
            other, row = stack["matrix"][start + place][upper], next(found)
            assert row.r == pytest.approx(pearsonr(one, other)[0])
            assert row.rho == pytest.approx(spearmanr(one, other)[0])
            assert row.mean_abs_diff == pytest.approx(np.abs(one - other).mean())
            assert row.n_pairs == 10


def test_centred_rsa_is_cka():
    stack = stack_of(
        [
            "linear_cka",
            ("linear_cka", {"debiased": True}),
            *(("rsa", {**CENTRED, "centering": how}) for how in ("double", "u", "double_upper")),
        ]
    )
    for reference, twin in (("linear_cka", "double"), ("linear_cka(debiased=True)", "u")):
        table = pfa.compare_measures(stack, reference).groupby("measure")["mean_abs_diff"].max()
        same = table[f"rsa(centering={twin}, compare=cosine, rdm_metric=L2squared)"]
        assert same == pytest.approx(0, abs=1e-12)
        assert table.drop([name for name in table.index if f"={twin}," in name]).min() > 1e-4


def test_both_directions_of_a_measure_that_has_two_are_pairs():
    stack = stack_of(["linear_cka", "linear_predictivity"], groups=["a"])
    row = pfa.compare_measures(stack).iloc[0]
    off = ~np.eye(5, dtype=bool)
    one, other = (stack["matrix"][k][off] for k in (0, 1))
    assert row["n_pairs"] == 20
    assert row["r"] == pytest.approx(pearsonr(one, other)[0])


def test_missing_pairs_and_other_orders():
    first, second = square([1, 2, 3]), square([2, 4, 9])
    order = [2, 0, 1]
    stack = made([first, second[np.ix_(order, order)]])
    stack["entry_keys"] = [["a", "b", "c"], ["c", "a", "b"]]
    assert pfa.compare_measures(stack)["r"].item() == pytest.approx(7 / np.sqrt(52))
    second[0, 1] = second[1, 0] = np.nan
    row = pfa.compare_measures(made([first, second])).iloc[0]
    assert row["n_pairs"] == 2
    assert row["mean_abs_diff"] == pytest.approx((2 + 6) / 2)
    row = pfa.compare_measures(made([first, square([np.nan] * 3)])).iloc[0]
    assert row["n_pairs"] == 0
    assert row[["r", "rho", "mean_abs_diff"]].isna().all()


def test_inputs_stay_as_they_were():
    stack = made([square([1, 2, 3]), square([2, 4, 9])])
    before = stack.copy()
    before["matrix"] = [matrix.copy() for matrix in stack["matrix"]]
    pfa.compare_measures(stack)
    pd.testing.assert_frame_equal(stack, before)


def test_bad_stacks_are_refused():
    matrices = [square([1, 2, 3]), square([2, 4, 9])]
    with pytest.raises(ValueError, match="`reference` names 'cka', which is not a measure"):
        pfa.compare_measures(made(matrices), "cka")
    with pytest.raises(ValueError, match=r"`reference` names 'linear_cka', .* of data='b'"):
        pfa.compare_measures(
            made(matrices * 2, ["linear_cka", "nbs", "nbs", "cca"], data=[*"aabb"])
        )
    with pytest.raises(ValueError, match="more than one row by 'nbs'; keep one"):
        pfa.compare_measures(made([*matrices, matrices[0]], ["linear_cka", "nbs", "nbs"]))
    with pytest.raises(ValueError, match="no measure beside 'linear_cka' to compare"):
        pfa.compare_measures(made(matrices[:1]))
    with pytest.raises(ValueError, match="`similarity_df` has no column 'dissim_metric'"):
        pfa.compare_measures(made(matrices).drop(columns="dissim_metric"))
    with pytest.raises(ValueError, match="has a column 'measure'"):
        pfa.compare_measures(made(matrices, measure=1))
    with pytest.raises(ValueError, match="`similarity_df` has no rows"):
        pfa.compare_measures(made(matrices).iloc[:0])
