"""Scores beside chance: explicit shuffles, known laws, and what is no stack of shuffles."""

import numpy as np
import pandas as pd
import pytest
from made_representations import related
from scipy.integrate import quad
from scipy.stats import kstest

import pytorch_feature_analysis as pfa

KEYS = tuple((f"s{i}",) for i in range(24))
SPECS = [
    "linear_cka",
    ("linear_cka", {"debiased": True}),
    ("rbf_cka", {"bandwidth": "median_all"}),
    "cca",
    ("svcca", {"n_dims": 2}),
    "pwcca",
    "procrustes_distance",
    ("shape_distance", {"alpha": 0.5}),
    "nbs",
    "distance_correlation",
    "rsa",
    ("rsa", {"compare": "kendall_tau_a"}),
    ("mutual_knn", {"k": 4}),
    ("jaccard_knn", {"k": 4}),
    "linear_predictivity",
    ("own", lambda x, y: float(np.abs(x[:, 0] - y[:, 0]).mean())),
]


def frame(n=24, seed=0):
    x, y = related(n, 3, 4, seed=seed)
    z = np.random.default_rng(seed + 100).normal(size=(n, 3))
    keys = KEYS[:n]
    return pd.DataFrame(
        {"layer": ["a", "b", "c"], "activations": [x, y, z], "entry_keys": [keys] * 3}
    )


def stack_of(df, measures, num_perms, **options):
    return pfa.get_similarity_rdms(df, measures, num_perms=num_perms, progress=False, **options)


@pytest.mark.parametrize("spec", SPECS)
def test_shuffles_are_those_of_the_stimuli(spec):
    df = frame()
    stack = stack_of(df, [spec], 3)
    assert stack["perm"].tolist() == ["orig_data", 1, 2, 3]
    assert stack["perm_scramble"][0] == (tuple(range(24)),) * 3
    assert len(set(stack["perm_scramble"][1])) == 3
    name, options = (spec, {}) if isinstance(spec, str) else spec
    plain = stack_of(df, [spec], 0)
    np.testing.assert_array_equal(stack["matrix"][0], plain["matrix"][0])
    for row in stack.itertuples():
        shuffled = df.assign(
            activations=[
                array[list(order)]
                for array, order in zip(df["activations"], row.perm_scramble, strict=True)
            ]
        )
        expected = stack_of(shuffled, [(name, options)], 0)
        np.testing.assert_allclose(row.matrix, expected["matrix"][0], atol=1e-9)


def test_the_table_is_what_the_shuffles_say():
    df = frame(seed=1)
    stack = stack_of(df, ["nbs", "procrustes_distance", "pwcca"], 19)
    copy = stack.copy()
    table = pfa.calibrate_similarity(stack)
    pd.testing.assert_frame_equal(stack, copy)
    assert table["dissim_metric"].tolist() == [
        *["nbs"] * 3,
        *["procrustes_distance"] * 3,
        *["pwcca"] * 6,
    ]
    assert table["entry_1"].tolist()[:3] == [("a",), ("a",), ("b",)]
    assert table["entry_2"].tolist()[:3] == [("b",), ("c",), ("c",)]
    assert (table["num_perms"] == 19).all()
    for row in table.itertuples():
        i, j = ("abc".index(key[0]) for key in (row.entry_1, row.entry_2))
        of_measure = stack[stack["dissim_metric"] == row.dissim_metric]
        cells = np.array([matrix[i, j] for matrix in of_measure["matrix"]])
        assert row.direction == pfa.MEASURES[row.dissim_metric].direction
        if row.direction == "similarity":
            score, null = 1 - cells[0], 1 - cells[1:]
            hits = (null >= score).sum()
            corrected = (score - null.mean()) / (1 - null.mean())
        else:
            score, null = cells[0], cells[1:]
            hits = (null <= score).sum()
            corrected = 1 - score / null.mean()
        assert row.score == score
        assert row.null_mean == pytest.approx(null.mean())
        assert row.null_sd == pytest.approx(null.std(ddof=1))
        assert row.z == pytest.approx((score - null.mean()) / null.std(ddof=1))
        assert row.p == (1 + hits) / 20
        assert row.corrected == pytest.approx(corrected)
    one = table[table["dissim_metric"] == "nbs"]
    assert one["p"].iloc[0] == 0.05
    assert one["p"].iloc[1] > 0.1


def test_the_null_mean_of_cca_is_that_of_its_law():
    # Wachter's limiting law of squared canonical correlations of independent normal data.
    n, p, q = 2000, 100, 50
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            "layer": ["wide", "narrow"],
            "activations": [rng.normal(size=(n, p)), rng.normal(size=(n, q))],
            "entry_keys": [list(range(n))] * 2,
        }
    )
    wide, narrow = p / (n - 1), q / (n - 1)
    low, high = (
        (np.sqrt(wide * (1 - narrow)) + sign * np.sqrt(narrow * (1 - wide))) ** 2
        for sign in (-1, 1)
    )

    def density(square):
        root = np.sqrt((high - square) * (square - low))
        return root / (2 * np.pi * narrow * square * (1 - square))

    assert quad(density, low, high)[0] == pytest.approx(1, abs=1e-6)
    expected = quad(lambda square: np.sqrt(square) * density(square), low, high)[0]
    table = pfa.calibrate_similarity(stack_of(df, ["cca"], 5))
    assert table["null_mean"].item() == pytest.approx(expected, abs=2e-3)
    assert table["score"].item() == pytest.approx(expected, abs=8e-3)
    assert abs(table["corrected"].item()) < 1e-2


def test_p_values_of_unrelated_representations_are_uniform():
    p_values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        df = frame().assign(activations=[rng.normal(size=(24, 8)) for _ in range(3)])
        table = pfa.calibrate_similarity(stack_of(df, ["linear_cka"], 39, random_state=seed))
        # Biased, and far above 0 for all that.
        assert table["score"].min() > 0.1
        p_values.append(table["p"].iloc[0])
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_shuffles_follow_from_the_seed_and_the_entry_alone():
    df = frame()
    measures = ["nbs", "linear_cka"]
    one = stack_of(df, measures, 4)
    two = stack_of(df, measures, 4, num_cores=2)
    pd.testing.assert_frame_equal(one, two)
    fewer = stack_of(df.iloc[:2], ["nbs"], 2)
    assert fewer["perm_scramble"][2] == one["perm_scramble"][2][:2]
    np.testing.assert_allclose(fewer["matrix"][2], one["matrix"][2][:2, :2])
    other = stack_of(df, measures, 4, random_state=1)
    assert other["perm_scramble"][1] != one["perm_scramble"][1]


def test_they_go_through_files_and_meta_rdms_have_them_too(tmp_path):
    df = frame()
    stack = stack_of(df, ["nbs"], 9, out_fname=tmp_path / "similar.parquet")
    table = pfa.calibrate_similarity(stack)
    back = pfa.calibrate_similarity(pfa.read_rdms(tmp_path / "similar.parquet"))
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    rdm_df = df.assign(matrix=[pfa.compute_rdm(x) for x in df["activations"]])
    meta = pfa.get_meta_rdms(
        rdm_df.drop(columns="activations"), None, ["layer"], num_perms=9, progress=False
    )
    found = pfa.calibrate_similarity(meta)
    rsa = pfa.calibrate_similarity(stack_of(df, ["rsa"], 9))
    np.testing.assert_allclose(found["null_mean"], rsa["null_mean"], atol=1e-9)
    np.testing.assert_array_equal(found["p"], rsa["p"])


def test_scores_without_a_value_stay_so():
    df = frame()
    dead = np.full((24, 3), 0.1)
    table = pfa.calibrate_similarity(
        stack_of(df.assign(activations=[*df["activations"][:2], dead]), ["nbs"], 5)
    )
    assert table["score"].isna().tolist() == [False, True, True]
    assert table["p"].isna().tolist() == [False, True, True]
    assert table["corrected"].isna().tolist() == [False, True, True]


def test_what_is_no_stack_of_shuffles_is_refused():
    df = frame()
    with pytest.raises(ValueError, match="`num_perms` of at least 1"):
        pfa.calibrate_similarity(stack_of(df, ["nbs"], 0))
    stack = stack_of(df, ["nbs"], 2)
    with pytest.raises(ValueError, match="one row 'orig_data'"):
        pfa.calibrate_similarity(stack.iloc[1:])
    with pytest.raises(ValueError, match="one row 'orig_data'"):
        pfa.calibrate_similarity(pd.concat([stack, stack], ignore_index=True))
    with pytest.raises(ValueError, match="`num_perms` must be"):
        stack_of(df, ["nbs"], -1)


def test_a_shuffle_that_is_as_good_counts():
    cells = [0.5, 0.5, 0.6, 0.4]
    stack = pd.DataFrame(
        {
            "dissim_metric": "nbs",
            "matrix": [np.array([[0, cell], [cell, 0]]) for cell in cells],
            "entry_keys": [("a", "b")] * 4,
            "perm": ["orig_data", 1, 2, 3],
        }
    )
    table = pfa.calibrate_similarity(stack)
    assert table["p"].item() == (1 + 2) / 4
    assert table["null_mean"].item() == pytest.approx(0.5)
    assert table["z"].item() == pytest.approx(0)
    assert table["corrected"].item() == pytest.approx(0)
    with_one = pfa.calibrate_similarity(stack.iloc[:2])
    assert with_one["null_sd"].item() == 0
    assert np.isnan(with_one["z"].item())
