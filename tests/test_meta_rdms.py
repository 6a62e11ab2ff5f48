import itertools
import re

import numpy as np
import pandas as pd
import pytest
from made_stacks import (
    COLORS,
    GUIDE_GROUPING,
    LAYERS,
    OBJECTS,
    corrcoef_of,
    make_stack,
    meta,
    rows_where,
    same_cells,
    small_stack,
    upper,
)
from scipy.stats import pearsonr, spearmanr

from pytorch_feature_analysis import rdm_stack
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.stack_files import read_rdms


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_the_three_orders_of_the_guide_have_its_rows_and_columns(rng):
    stack = make_stack(rng)
    assert stack.shape == (352, 16)
    metrics = ["corr", "euclidean_distance"]
    second = get_meta_rdms(
        stack,
        None,
        dissim_metrics=metrics,
        entry_variables=["obj"],
        grouping_variables=GUIDE_GROUPING,
        df_name="by_object",
    )
    assert second.shape == (176, 14)
    assert list(second.columns) == [
        "activation_type",
        "df_name",
        "dissim_metric",
        "dissim_metric_sub",
        "dissim_rankings",
        "entry_keys",
        "entry_keys_sub",
        "entry_labels",
        "entry_labels_sub",
        "entry_var_subset",
        "layer",
        "matrix",
        "model",
        "perm",
    ]
    assert second.index.tolist() == list(range(176))

    layers = get_meta_rdms(
        stack,
        None,
        dissim_metrics=metrics,
        entry_variables=["obj", "layer"],
        grouping_variables=["model", "activation_type", "dissim_metric"],
    )
    assert layers.shape == (8, 13)
    assert {len(keys) for keys in layers["entry_keys"]} == {88}

    third = get_meta_rdms(
        layers,
        None,
        dissim_metrics=metrics,
        entry_variables=["activation_type"],
        grouping_variables=["model", "dissim_metric", "dissim_metric_sub"],
    )
    assert third.shape == (8, 15)
    assert {"dissim_metric", "dissim_metric_sub", "dissim_metric_sub_sub"} <= set(third.columns)
    assert third["entry_keys_sub"][0] == layers["entry_keys"][0]
    assert third["entry_labels_sub"][0] == layers["entry_labels"][0]
    assert third["entry_keys_sub_sub"][0] == COLORS
    assert third["entry_labels_sub_sub"][0] == stack["entry_labels"][0]


def test_the_guide_passes_its_arguments_by_position(rng):
    stack = make_stack(rng, layers=LAYERS[:3])
    by_position = get_meta_rdms(
        stack, None, ["obj"], [("all", "all")], GUIDE_GROUPING, "mine", 2, ["euclidean_distance"]
    )
    by_name = get_meta_rdms(
        rdm_df=stack,
        out_fname=None,
        entry_variables=["obj"],
        entry_var_subsets=[("all", "all")],
        grouping_variables=GUIDE_GROUPING,
        df_name="mine",
        num_perms=2,
        dissim_metrics=["euclidean_distance"],
    )
    same_cells(by_position, by_name)
    assert by_position["df_name"].unique().tolist() == ["mine"]


def test_entries_stand_in_the_order_of_the_rows_object_first(rng):
    stack = make_stack(rng, layers=LAYERS[:3])
    result = meta(stack, ["obj", "layer"])
    assert result["entry_keys"][0] == tuple(
        (obj, layer) for obj in OBJECTS for layer, _ in LAYERS[:3]
    )
    assert result["entry_labels"][0][1] == {"obj": "obj002", "layer": "conv1"}
    turned = meta(stack, ["layer", "obj"])
    assert turned["entry_keys"][0] == tuple(key[::-1] for key in result["entry_keys"][0])
    np.testing.assert_array_equal(turned["matrix"][0], result["matrix"][0])


def test_rows_are_sorted_by_group_then_subset_then_metric_then_shuffle(rng):
    stack = make_stack(rng, models=("vgg19", "alexnet"), layers=LAYERS[:2])
    result = meta(
        stack,
        ["obj"],
        grouping_variables=["model", "layer", "activation_type", "dissim_metric"],
        entry_var_subsets=[("z", "all"), ("a", ["obj001", "obj003"])],
        dissim_metrics=["euclidean_distance", "corr"],
        num_perms=2,
    )
    groups = result[["model", "layer", "activation_type", "dissim_metric_sub"]]
    expected = sorted(
        itertools.product(
            ("alexnet", "vgg19"),
            ("conv1", "original_rgb"),
            ("feature_means", "unit_level"),
            ("corr", "euclidean_distance"),
        )
    )
    assert list(groups.drop_duplicates().itertuples(index=False, name=None)) == expected
    inner = result.loc[:11, ["entry_var_subset", "dissim_metric", "perm"]]
    assert list(inner.itertuples(index=False, name=None)) == list(
        itertools.product(("z", "a"), ("euclidean_distance", "corr"), ("orig_data", 1, 2))
    )


def test_a_hand_worked_meta_rdm():
    def rdm(ab, ac, bc):
        return np.array([[0, ab, ac], [ab, 0, bc], [ac, bc, 0]])

    stack = pd.DataFrame(
        {
            "layer": ["x", "y", "z"],
            # Deviations (-1, 0, 1), (-1, 2, -1) and (1, 0, -1) from their means.
            "matrix": [rdm(1, 2, 3), rdm(2, 5, 2), rdm(4, 3, 2)],
            "entry_keys": [(("a",), ("b",), ("c",))] * 3,
        }
    )
    result = meta(stack, dissim_metrics=["corr", "euclidean_distance", "cosine"])
    np.testing.assert_allclose(
        result["matrix"][0], [[0, 1, 2], [1, 0, 1], [2, 1, 0]], rtol=0, atol=1e-15
    )
    np.testing.assert_allclose(result["matrix"][1][0], np.sqrt([0, 1 + 9 + 1, 9 + 1 + 1]))
    np.testing.assert_allclose(result["matrix"][2][0, 1], 1 - 18 / np.sqrt(14 * 33))


def test_every_cell_is_the_correlation_of_two_upper_triangles(rng):
    stack = make_stack(rng, models=("vgg19", "alexnet"), layers=LAYERS[:4])
    result = meta(stack, ["obj"], grouping_variables=GUIDE_GROUPING)
    for row in result.itertuples():
        entries = rows_where(
            stack,
            model=row.model,
            layer=row.layer,
            activation_type=row.activation_type,
            dissim_metric=row.dissim_metric_sub,
        )
        np.testing.assert_allclose(row.matrix, corrcoef_of(entries["matrix"]), rtol=0, atol=1e-12)
        assert row.entry_keys == tuple((obj,) for obj in entries["obj"])


def test_metrics_agree_with_scipy_pair_by_pair(rng):
    stack = small_stack(rng)
    result = meta(
        stack,
        dissim_metrics=["corr", "spearman", "euclidean_distance", "cityblock"],
    ).set_index("dissim_metric")["matrix"]
    # Oracles: scipy and the definitions, in a loop over pairs.
    by_pair = {
        "corr": lambda x, y: 1 - pearsonr(x, y)[0],
        "spearman": lambda x, y: 1 - spearmanr(x, y)[0],
        "euclidean_distance": lambda x, y: np.sqrt(((x - y) ** 2).sum()),
        "cityblock": lambda x, y: np.abs(x - y).sum(),
    }
    triangles = [upper(matrix) for matrix in stack["matrix"]]
    for name, function in by_pair.items():
        for i, j in itertools.permutations(range(len(triangles)), 2):
            expected = function(triangles[i], triangles[j])
            np.testing.assert_allclose(result[name][i, j], expected, rtol=0, atol=1e-12)


def test_stretching_an_rdm_changes_distances_but_not_correlations(rng):
    stack = small_stack(rng)
    stretched = stack.assign(
        matrix=[stack["matrix"][0] * 3 + 1, *stack["matrix"][1:]],
    )
    metrics = ["corr", "euclidean_distance"]
    before, after = meta(stack, dissim_metrics=metrics), meta(stretched, dissim_metrics=metrics)
    np.testing.assert_allclose(before["matrix"][0], after["matrix"][0], rtol=0, atol=1e-12)
    assert (np.abs(before["matrix"][1] - after["matrix"][1])[0, 1:] > 0.1).all()


def test_the_diagonal_is_not_compared(rng):
    stack = small_stack(rng)
    other = stack.assign(matrix=[matrix + np.diag(rng.random(5)) for matrix in stack["matrix"]])
    same_cells(meta(stack), meta(other))
    noise = [np.triu(rng.random((5, 5)), k=1) for _ in range(len(stack))]
    above = stack.assign(
        matrix=[matrix + one + one.T for matrix, one in zip(stack["matrix"], noise, strict=True)]
    )
    assert not np.allclose(meta(stack)["matrix"][0], meta(above)["matrix"][0])


def test_a_function_of_ones_own_gets_the_triangles(rng):
    stack = small_stack(rng, n_rows=3)
    result = meta(stack, dissim_metrics=["corr", ("furthest", lambda x, y: np.abs(x - y).max())])
    assert result["dissim_metric"].tolist() == ["corr", "furthest"]
    x, y = upper(stack["matrix"][0]), upper(stack["matrix"][2])
    assert result["matrix"][1][0, 2] == np.abs(x - y).max()


def test_rankings_are_those_of_the_meta_rdm():
    # Three points on a line at 0, 1 and 3: the ends first.
    matrices = [np.array([[0, v], [v, 0]]) for v in (1, 0, 3)]
    stack = pd.DataFrame(
        {"layer": list("abc"), "matrix": matrices, "entry_keys": [(("x",), ("y",))] * 3}
    )
    result = meta(stack, dissim_metrics=["euclidean_distance"])
    np.testing.assert_array_equal(result["matrix"][0], [[0, 1, 2], [1, 0, 3], [2, 3, 0]])
    assert result["dissim_rankings"][0] == (1, 2, 0)


def test_the_rdms_that_go_in_are_not_ranked(rng, monkeypatch):
    def never(matrices):
        raise AssertionError

    expected = meta(small_stack(rng))
    monkeypatch.setattr(rdm_stack, "greedy_orders", never)
    assert list(meta(small_stack(rng)).columns) == list(expected.columns)


def test_matrices_are_read_only_and_nothing_that_came_in_changes(rng):
    stack = make_stack(rng, layers=LAYERS[:2])
    before = stack.copy()
    matrices = [matrix.copy() for matrix in stack["matrix"]]
    entries, grouping, metrics = ["obj"], list(GUIDE_GROUPING), ["corr"]
    subsets, keep = [("two", ["obj001", "obj002"])], ["layer_num"]
    result = get_meta_rdms(
        stack,
        None,
        entries,
        subsets,
        grouping,
        num_perms=1,
        dissim_metrics=metrics,
        keep_variables=keep,
    )
    assert (entries, metrics, keep) == (["obj"], ["corr"], ["layer_num"])
    assert grouping == GUIDE_GROUPING
    assert subsets == [("two", ["obj001", "obj002"])]
    same_cells(stack, before)
    for matrix, old in zip(stack["matrix"], matrices, strict=True):
        np.testing.assert_array_equal(matrix, old)
        assert matrix.flags.writeable
    assert not any(matrix.flags.writeable for matrix in result["matrix"])


def test_columns_of_the_stack_keep_their_dtypes(rng):
    stack = small_stack(rng, run=np.repeat(np.array([2, 1], dtype="int16"), 3))
    stack["layer"] = ["a", "b", "c"] * 2
    stack["model"] = pd.Categorical(["z"] * 6, categories=["z", "y"])
    result = meta(stack, grouping_variables=["model", "run"])
    assert result["run"].tolist() == [1, 2]
    assert result["run"].dtype == "int16"
    assert result["model"].dtype == stack["model"].dtype


@pytest.mark.parametrize("suffix", [".parquet", ".p", ".pkl"])
def test_the_suffix_chooses_the_format_and_the_file_reads_back(rng, tmp_path, suffix):
    stack = make_stack(rng, layers=LAYERS[:2])
    path = tmp_path / f"meta{suffix}"
    result = get_meta_rdms(stack, path, ["obj"], num_perms=1, keep_variables=["layer_label"])
    same_cells(read_rdms(path), result)
    get_meta_rdms(stack, str(path), ["obj"], dissim_metrics=["cosine"])
    assert (tmp_path / f"meta.superseded{suffix}").exists()


def test_a_file_that_cannot_be_written_is_found_before_the_work(rng, tmp_path):
    stack = small_stack(rng)

    def never(x, y):
        raise AssertionError

    for path in (tmp_path / "meta.csv", tmp_path / "nowhere" / "meta.p"):
        with pytest.raises((ValueError, OSError), match="out_fname"):
            get_meta_rdms(stack, path, ["layer"], dissim_metrics=[("never", never)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"entry_variables": ["lyer"]}, ValueError, r"'lyer', which .* Did you mean 'layer'"),
        ({"entry_variables": "layer"}, TypeError, r"`entry_variables` must be a list"),
        ({"entry_variables": []}, ValueError, "`entry_variables` is empty"),
        ({"entry_variables": ["layer", "layer"]}, ValueError, "'layer' more than once"),
        ({"entry_variables": ["matrix"]}, ValueError, "'matrix', which is not a column that can"),
        ({"grouping_variables": ["modl"]}, ValueError, r"`grouping_variables` names 'modl'"),
        ({"grouping_variables": ["layer"]}, ValueError, "'layer' stands in both"),
        (
            {"grouping_variables": "model"},
            ValueError,
            r"or 'rest', not 'model'; write \['model'\]",
        ),
        ({"grouping_variables": ["dissim_rankings"]}, ValueError, "'dissim_rankings', which"),
        ({"keep_variables": ["modl"]}, ValueError, "`keep_variables` names 'modl'"),
        ({"dissim_metrics": ["nonsense"]}, ValueError, "'nonsense', which is not a metric"),
        ({"dissim_metrics": "corr"}, TypeError, "`dissim_metrics` must be a list"),
        ({"num_perms": -1}, ValueError, "`num_perms` must be at least 0"),
        ({"num_perms": 1.5}, TypeError, "`num_perms` must be a whole number"),
        ({"df_name": 3}, TypeError, "`df_name` must be a string"),
        ({"random_state": "a"}, TypeError, "`random_state` must be"),
        ({"num_cores": 0}, ValueError, "`num_cores` must not be 0"),
    ],
)
def test_bad_arguments_are_refused_in_words(rng, kwargs, error, message):
    kwargs = {"entry_variables": ["layer"], **kwargs}
    with pytest.raises(error, match=message):
        get_meta_rdms(small_stack(rng), None, **kwargs)


def test_frames_that_are_no_stack_are_refused(rng):
    stack = small_stack(rng)
    with pytest.raises(ValueError, match="`rdm_df` has no rows"):
        meta(stack[:0])
    with pytest.raises(ValueError, match=re.escape("`rdm_df` has no column 'matrix'")):
        meta(stack.drop(columns="matrix"))
    with pytest.raises(TypeError, match="`rdm_df` must be a pandas DataFrame, not list"):
        meta([stack])
    bad = stack.assign(matrix=[*stack["matrix"][:5], np.zeros((4, 4))])
    with pytest.raises(ValueError, match="position 5"):
        meta(bad)


def test_rdms_that_are_not_symmetric_are_taken_on_request(rng):
    items = tuple((k,) for k in range(5))
    crooked = [rng.uniform(1, 2, (5, 5)) for _ in range(3)]
    for rdm in crooked:
        np.fill_diagonal(rdm, 0)
    # The other direction is known where this one is not.
    crooked[1][0, 1] = np.nan
    stack = pd.DataFrame({"layer": list("abc"), "matrix": crooked, "entry_keys": [items] * 3})
    with pytest.raises(ValueError, match=r"row 0 of `rdm_df` is not symmetric.*`symmetrize`=True"):
        get_meta_rdms(stack, None, ["layer"])
    both = [(rdm + rdm.T) / 2 for rdm in crooked]
    both[1][0, 1] = both[1][1, 0] = crooked[1][1, 0]
    upper = [rdm[np.triu_indices(5, 1)] for rdm in both]
    meta = get_meta_rdms(stack, None, ["layer"], symmetrize=True)
    np.testing.assert_allclose(meta["matrix"][0], 1 - np.corrcoef(upper), atol=1e-12)
    assert np.isnan(stack["matrix"][1][0, 1])
    straight = stack.assign(matrix=both)
    got = get_meta_rdms(straight, None, ["layer"])
    np.testing.assert_array_equal(got["matrix"][0], meta["matrix"][0])
