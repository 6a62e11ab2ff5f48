"""Stacks of similarity, beside the measures one pair at a time, and stacks of other calls."""

import numpy as np
import pandas as pd
import pytest
from made_representations import related
from made_runs import image_set, pictures, prepared

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.similarity import Measure

MEASURES = [
    "linear_cka",
    ("linear_cka", {"debiased": True}),
    ("rbf_cka", {"bandwidth": "median_nonzero", "debiased": True}),
    ("svcca", {"n_dims": 3}),
    "procrustes_distance",
    ("mutual_knn", {"k": 3}),
    ("rsa", {"compare": "spearman", "rdm_metric": "cosine"}),
    "pwcca",
    "linear_predictivity",
]
NAMES = [
    *("linear_cka", "linear_cka(debiased=True)"),
    *("rbf_cka(bandwidth=median_nonzero, debiased=True)", "svcca(n_dims=3)"),
    *("procrustes_distance", "mutual_knn(k=3)", "rsa(compare=spearman)", "pwcca"),
    "linear_predictivity",
]


def table(n=30, groups=("a", "b")):
    """Three layers of two networks in each group; in one row the stimuli are shuffled."""
    rows = []
    for seed, group in enumerate(groups):
        x, y = related(n, 4, 5, seed=seed)
        z = np.hstack([x[:, :2], y[:, 1:2] ** 2])
        for model, tables in (("one", (x, y, z)), ("two", (y, z**2, np.hstack([x, y])))):
            for number, activations in enumerate(tables, start=1):
                rows.append(
                    {
                        "model": model,
                        "layer": f"conv{number}",
                        "data": group,
                        "activations": activations,
                        "entry_keys": tuple((f"image{i}",) for i in range(n)),
                    }
                )
    order = np.random.default_rng(9).permutation(n)
    rows[1]["activations"] = rows[1]["activations"][order]
    rows[1]["entry_keys"] = tuple(rows[1]["entry_keys"][i] for i in order)
    return pd.DataFrame(rows)


def stack_of(df, measures, entries=("model", "layer"), **options):
    return pfa.get_similarity_rdms(df, measures, list(entries), progress=False, **options)


@pytest.mark.parametrize("num_cores", [1, 2])
def test_each_cell_is_the_measure_of_its_pair(num_cores):
    df = table()
    stack = stack_of(df, MEASURES, num_cores=num_cores)
    assert stack["dissim_metric"].tolist() == NAMES * 2
    assert stack["data"].tolist() == ["a"] * 9 + ["b"] * 9
    assert stack["dissim_metric_sub"].tolist() == [*[None] * 6, "cosine", None, None] * 2
    straight = {}
    for row in df.itertuples():
        order = np.argsort([int(key[0][5:]) for key in row.entry_keys])
        straight[row.data, (row.model, row.layer)] = row.activations[order]
    for number, row in enumerate(stack.itertuples()):
        spec = MEASURES[number % 9]
        name, options = (spec, {}) if isinstance(spec, str) else spec
        measure = pfa.MEASURES[name]
        for i, first in enumerate(row.entry_keys):
            for j, second in enumerate(row.entry_keys):
                if i == j and measure.is_symmetric:
                    assert row.matrix[i, j] == 0
                    continue
                pair = straight[row.data, first], straight[row.data, second]
                value = measure.function(*pair, **options)
                value = 1 - value if measure.direction == "similarity" else value
                assert row.matrix[i, j] == pytest.approx(value, abs=1e-7), (name, i, j)
    symmetric = [np.array_equal(matrix, matrix.T) for matrix in stack["matrix"]]
    assert symmetric == [True] * 7 + [False] * 2 + [True] * 7 + [False] * 2


def test_it_has_the_columns_of_meta_rdms_and_goes_where_they_go(tmp_path):
    df = table()
    stack = stack_of(df, ["linear_cka", "pwcca"], out_fname=tmp_path / "similar.parquet")
    rdm_df = df.assign(matrix=[pfa.compute_rdm(a) for a in df["activations"]])
    meta = pfa.get_meta_rdms(
        rdm_df.drop(columns="activations"), None, ["model", "layer"], progress=False
    )
    assert set(meta.columns) - set(stack.columns) <= {"perm_sub", "df_name_sub"}
    assert set(stack.columns) <= set(meta.columns)
    first = stack.iloc[0]
    assert first["entry_keys"][:2] == (("one", "conv1"), ("one", "conv2"))
    assert first["entry_keys_sub"] == df["entry_keys"][0]
    pd.testing.assert_frame_equal(
        pfa.read_rdms(tmp_path / "similar.parquet"), stack, check_dtype=False
    )
    subset = pfa.subset_rdm_df(stack, [("one", "conv1"), ("two", "conv2")])
    assert subset["matrix"][0].shape == (2, 2)
    # Consistency: similarity of models, compared over data sets.
    third = pfa.get_meta_rdms(stack.iloc[::2], None, ["data"], progress=False)
    upper = np.triu_indices(6, k=1)
    r = np.corrcoef(*(stack["matrix"][k][upper] for k in (0, 2)))[0, 1]
    assert third["matrix"][0][0, 1] == pytest.approx(1 - r)
    assert third["entry_keys_sub_sub"][0] == df["entry_keys"][0]


def test_rsa_is_what_meta_rdms_of_rdms_are():
    sets, models = [image_set(pictures(8), set="a")], prepared()
    layers = ["original_rgb", "conv1", "relu1", "fc1"]
    df = pfa.get_activations(sets, models, layers, progress=False)
    rdm_df = pfa.get_rdms(
        sets, models, which_layers=layers, activation_types=["unit_level"], progress=False
    )
    meta = pfa.get_meta_rdms(
        rdm_df, None, ["layer"], dissim_metrics=["corr", "spearman"], progress=False
    )
    specs = ["rsa", ("rsa", {"compare": "spearman"})]
    stack = stack_of(df, specs, ["layer"])
    assert stack["dissim_metric_sub"].tolist() == meta["dissim_metric_sub"].tolist()
    for found, expected in zip(stack["matrix"], meta["matrix"], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_a_representation_alone_needs_is_made_once():
    calls = []

    def prepare(x):
        calls.append(x.shape)
        return x

    def compare(x, y):
        return float(np.abs(x.mean() - y.mean()))

    own = Measure(
        *("own", compare, prepare, compare),
        direction="distance",
        value_range=(0, np.inf),
        ignores=(),
        needs="nothing",
    )
    stack = stack_of(table(groups=["a"]), [own])
    assert len(calls) == 6
    assert stack["matrix"][0].shape == (6, 6)
    same = stack_of(table(groups=["a"]), [("mine", compare)])
    np.testing.assert_array_equal(stack["matrix"][0], same["matrix"][0])
    assert same["dissim_metric"].tolist() == ["mine"]


def test_similarities_come_back():
    df = table(groups=["a"])
    stack = stack_of(df, ["linear_cka", ("mutual_knn", {"k": 3})])
    back = pfa.to_similarity(stack)
    for before, after in zip(stack["matrix"], back["matrix"], strict=True):
        np.testing.assert_array_equal(after, 1 - before)
    assert back["matrix"][0][0, 1] == pytest.approx(
        pfa.linear_cka(df["activations"][0], straightened(df, 1))
    )
    with pytest.raises(ValueError, match="rows by 'procrustes_distance'"):
        pfa.to_similarity(stack_of(df, ["procrustes_distance"]))
    with pytest.raises(ValueError, match="'mine'"):
        pfa.to_similarity(stack_of(df, [("mine", lambda x, y: 0.0)]))


def straightened(df, k):
    return df["activations"][k][np.argsort([int(key[0][5:]) for key in df["entry_keys"][k]])]


def with_cell(df, k, name, value):
    cells = df[name].tolist()
    cells[k] = value
    return df.assign(**{name: cells})


def test_inputs_stay_as_they_were():
    df = table()
    copies = [array.copy() for array in df["activations"]]
    shallow = df.copy()
    stack_of(df, MEASURES)
    pd.testing.assert_frame_equal(
        df.drop(columns="activations"), shallow.drop(columns="activations")
    )
    for now, before in zip(df["activations"], copies, strict=True):
        np.testing.assert_array_equal(now, before)


def test_wide_representations_are_warned_of_once():
    df = table(n=5, groups=["a"])
    with pytest.warns(
        UserWarning, match=r"linear_cka, cca: .*'two', 'conv1'.* \(5 units, 5 stim"
    ) as seen:
        stack_of(df, ["linear_cka", "cca", ("linear_cka", {"debiased": True}), "rsa"])
    assert len(seen) == 1


def test_a_representation_that_does_not_vary_is_nan_but_on_the_diagonal():
    df = table(groups=["a"])
    df = with_cell(df, 2, "activations", np.ones((30, 3)))
    (matrix,) = stack_of(df, ["linear_cka"])["matrix"]
    assert np.isnan(np.delete(matrix[2], 2)).all()
    assert np.isfinite(np.delete(np.delete(matrix, 2, 0), 2, 1)).all()
    assert not np.diag(matrix).any()


def test_dead_representations_are_not_alike():
    df = table(groups=["a"])
    df = with_cell(df, 2, "activations", np.full((30, 3), 0.1))
    df = with_cell(df, 4, "activations", np.full((30, 5), 0.3))
    measures = ["linear_cka", ("linear_cka", {"debiased": True}), "cca", "svcca", "nbs", "pwcca"]
    for matrix in stack_of(df, measures)["matrix"]:
        assert np.isnan(matrix[2, 4])
        assert np.isnan(np.delete(matrix[2], 2)).all()
        assert np.isfinite(matrix[np.ix_([0, 1, 3, 5], [0, 1, 3, 5])]).all()


def test_random_folds_are_the_same_for_all_pairs():
    df = table(groups=["a"])
    df = with_cell(df, 5, "activations", df["activations"][4])
    for seed in (None, np.random.default_rng(3)):
        spec = ("linear_predictivity", {"random_state": seed})
        (matrix,) = stack_of(df, [spec])["matrix"]
        np.testing.assert_array_equal(matrix[0, 4], matrix[0, 5])
        np.testing.assert_array_equal(matrix[4, 0], matrix[5, 0])


@pytest.mark.parametrize(
    ("measures", "error", "match"),
    [
        ([], ValueError, "`measures` names none; there are: angular_procrustes"),
        ("linear_cka", TypeError, "`measures`"),
        (["linear_ckaa"], ValueError, "linear_cka"),
        ([("linear_cka", {"biased": True})], ValueError, "debiased"),
        ([("linear_cka", 3)], TypeError, "a dict of options or a function"),
        ([("linear_cka", max)], ValueError, "cannot be the name of a function"),
        ([("cosine", max)], ValueError, "cannot be the name of a function"),
        ([("minibatch_cka", max)], ValueError, "cannot be the name of a function"),
        ([("nbs(mine)", max)], ValueError, "cannot be the name of a function"),
        ([("linear_cka", {}, {})], ValueError, "takes names"),
        (["rsa", ("rsa", {})], ValueError, "names 'rsa' more than once"),
        ([("svcca", {"variance": 99})], ValueError, "`variance` must be from 0 to 1"),
        ([("cca", {"regularization": -1})], ValueError, "`regularization`"),
        ([("shape_distance", {"alpha": 3})], ValueError, "`alpha`"),
        ([("mutual_knn", {"k": 30})], ValueError, "`k` must be from 1 to 29"),
        ([("rsa", {"compare": "euclid"})], ValueError, "pearson"),
        ([("linear_predictivity", {"cv": 1})], ValueError, "`cv`"),
    ],
)
def test_bad_measures_are_refused(measures, error, match):
    with pytest.raises(error, match=match):
        stack_of(table(groups=["a"]), measures)


def test_bad_frames_are_refused():
    df = table()
    with pytest.raises(ValueError, match="`entry_variables` do not tell the rows apart"):
        stack_of(df, ["linear_cka"], ["layer"], grouping_variables=["data"])
    with pytest.raises(ValueError, match=r"'data'.*stands in both"):
        stack_of(df, ["linear_cka"], ["data"], grouping_variables=["data"])
    with pytest.raises(ValueError, match="`entry_variables` names 'depth'"):
        stack_of(df, ["linear_cka"], ["depth"])
    with pytest.raises(ValueError, match="`activations_df` has no rows"):
        stack_of(df.iloc[:0], ["linear_cka"])
    few = df.assign(
        activations=[a[:3] for a in df["activations"]], entry_keys=[("x", "y", "z")] * len(df)
    )
    with pytest.raises(ValueError, match=r"needs at least 4 stimuli, .* of data='a' have 3"):
        stack_of(few, [("linear_cka", {"debiased": True})])
    other = with_cell(df, 4, "entry_keys", (*df["entry_keys"][4][:-1], ("imageX",)))
    with pytest.raises(
        ValueError, match="activations of the group of data='a' are not over the same"
    ):
        stack_of(other, ["linear_cka"])
    holed = np.where(np.arange(150).reshape(30, 5) == 7, np.nan, 1.0)
    holes = with_cell(df, 3, "activations", holed)
    with pytest.raises(ValueError, match=r"activations of .*'two', 'conv1'.* hold 1 values"):
        stack_of(holes, ["linear_cka"])
