import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from made_stacks import (
    GUIDE_GROUPING,
    LAYERS,
    make_stack,
    meta,
    random_rdm,
    rows_where,
    same_cells,
    small_stack,
    upper,
    with_dead,
)
from scipy.stats import pearsonr, spearmanr

from pytorch_feature_analysis import pairwise_complete
from pytorch_feature_analysis.meta_rdms import get_meta_rdms
from pytorch_feature_analysis.selection import greedy_order


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_a_dead_item_is_left_out_of_its_pairs(rng, caplog):
    stack = small_stack(rng, n_items=8)
    matrices = list(stack["matrix"])
    matrices[1] = with_dead(matrices[1], 3)
    matrices[4] = with_dead(matrices[4], 0, 3)
    matrices[5] = with_dead(matrices[5], 7)
    matrices[5][1, 2] = np.nan
    stack["matrix"] = matrices
    result = meta(stack, dissim_metrics=["corr", "euclidean_distance", "spearman"])
    # Oracle: scipy on the items alive in both, in a loop over pairs.
    dead = {1: {3}, 4: {0, 3}, 5: {7}}
    for i, j in itertools.combinations(range(6), 2):
        alive = [k for k in range(8) if k not in dead.get(i, set()) | dead.get(j, set())]
        x, y = (upper(matrices[k][np.ix_(alive, alive)]) for k in (i, j))
        both = np.isfinite(x) & np.isfinite(y)
        assert both.sum() == len(x) - (j == 5)
        x, y = x[both], y[both]
        expected = 1 - pearsonr(x, y)[0], np.linalg.norm(x - y), 1 - spearmanr(x, y)[0]
        for matrix, value in zip(result["matrix"], expected, strict=True):
            np.testing.assert_allclose([matrix[i, j], matrix[j, i]], value, rtol=0, atol=1e-12)
    for matrix in result["matrix"]:
        assert np.isfinite(matrix).all()
        np.testing.assert_array_equal(np.diag(matrix), 0)
    assert "3 of 6 RDMs have missing cells" in caplog.text
    assert "are 4 items without any finite dissimilarity, and 1 further cells" in caplog.text
    assert len(caplog.records) == 1


def test_an_rdm_without_variance_has_nan_and_one_warning_names_it(rng):
    stack = small_stack(rng, n_rows=4)
    stack["matrix"] = [*stack["matrix"][:3], np.ones((5, 5)) - np.eye(5)]
    with pytest.warns(UserWarning, match=r"6 cells of 1 .* \('layer3',\) by 'corr'") as caught:
        result = get_meta_rdms(
            stack, None, ["layer"], dissim_metrics=["corr", "euclidean_distance"]
        )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    matrix = result["matrix"][0]
    assert np.isnan(matrix[3, :3]).all()
    assert np.isnan(matrix[:3, 3]).all()
    assert matrix[3, 3] == 0
    assert result["dissim_rankings"][0][-1] == 3
    assert np.isfinite(result["matrix"][1]).all()


def test_pairs_without_common_cells_are_nan(rng):
    stack = small_stack(rng, n_rows=3, n_items=4)
    matrices = [matrix.copy() for matrix in stack["matrix"]]
    stack["matrix"] = [with_dead(matrices[0], 0, 1), with_dead(matrices[1], 2, 3), matrices[2]]
    with pytest.warns(UserWarning, match="2 cells of 1 meta-RDMs are NaN: "):
        result = meta(stack, dissim_metrics=["euclidean_distance"])
    matrix = result["matrix"][0]
    assert np.isnan(matrix[0, 1])
    assert np.isfinite(matrix[[0, 1], [2, 2]]).all()


def test_shuffled_rdms_are_recomputed_from_the_scrambles(rng):
    stack = make_stack(rng, layers=LAYERS[:3])
    result = meta(
        stack,
        ["obj"],
        grouping_variables=GUIDE_GROUPING,
        num_perms=3,
        dissim_metrics=["corr", "euclidean_distance"],
    )
    assert len(result) == 12 * 2 * 4
    assert result["perm"].tolist()[:4] == ["orig_data", 1, 2, 3]
    for row in result.itertuples():
        entries = rows_where(
            stack,
            layer=row.layer,
            activation_type=row.activation_type,
            dissim_metric=row.dissim_metric_sub,
        )
        shuffled = [
            upper(matrix[np.ix_(scramble, scramble)])
            for matrix, scramble in zip(entries["matrix"], row.perm_scramble, strict=True)
        ]
        # Oracle: numpy on matrices indexed by the column.
        if row.dissim_metric == "corr":
            expected = 1 - np.corrcoef(shuffled)
        else:
            expected = [[np.linalg.norm(x - y) for x in shuffled] for y in shuffled]
        np.testing.assert_allclose(row.matrix, expected, rtol=0, atol=1e-12)
        if row.perm == "orig_data":
            assert row.perm_scramble == ((0, 1, 2, 3),) * 4
        else:
            assert all(sorted(scramble) == [0, 1, 2, 3] for scramble in row.perm_scramble)
    by_perm = result.groupby("perm")["perm_scramble"].agg(lambda cells: len(set(cells)))
    # One for all layers, activation types and metrics.
    assert by_perm.tolist() == [1, 1, 1, 1]


def test_entries_are_shuffled_apart_and_numbers_differ(rng):
    result = meta(small_stack(rng, n_items=10), num_perms=5)
    scrambles = [scramble for cell in result["perm_scramble"][1:] for scramble in cell]
    assert len(set(scrambles)) == len(scrambles) == 30
    assert all(type(place) is int for place in scrambles[0])


def test_shuffled_rdms_with_dead_items_are_right_too(rng):
    stack = small_stack(rng, n_rows=12, n_items=9)
    stack["matrix"] = [with_dead(matrix, 4) for matrix in stack["matrix"]]
    (row,) = meta(stack, num_perms=1).iloc[1:].itertuples()
    shuffled = [
        upper(matrix[np.ix_(scramble, scramble)])
        for matrix, scramble in zip(stack["matrix"], row.perm_scramble, strict=True)
    ]
    for i, j in itertools.combinations(range(12), 2):
        both = np.isfinite(shuffled[i]) & np.isfinite(shuffled[j])
        expected = 1 - pearsonr(shuffled[i][both], shuffled[j][both])[0]
        np.testing.assert_allclose(row.matrix[i, j], expected, rtol=0, atol=1e-12)


def test_missing_cells_are_counted_once_however_often_rdms_are_shuffled(rng, caplog):
    stack = small_stack(rng, n_rows=3, n_items=6)
    stack["matrix"] = [with_dead(stack["matrix"][0], 4), *stack["matrix"][1:]]
    assert len(meta(stack, num_perms=101)) == 102
    assert "1 of 3 RDMs" in caplog.text
    assert "are 1 items" in caplog.text


def test_a_seed_gives_the_same_answer_and_another_seed_another(rng):
    stack = small_stack(rng)
    first = meta(stack, num_perms=2)
    same_cells(first, meta(stack, num_perms=2))
    same_cells(first, meta(stack, num_perms=2, random_state=0))
    other = meta(stack, num_perms=2, random_state=1)
    np.testing.assert_array_equal(first["matrix"][0], other["matrix"][0])
    assert not np.allclose(first["matrix"][1], other["matrix"][1])
    generator = np.random.default_rng(3)
    drawn = [meta(stack, num_perms=1, random_state=generator) for _ in range(2)]
    assert drawn[0]["perm_scramble"][1] != drawn[1]["perm_scramble"][1]


def test_shuffles_do_not_depend_on_what_else_is_in_the_stack(rng):
    stack = make_stack(rng, models=("alexnet", "vgg19"), layers=LAYERS[:2])
    options = {"grouping_variables": GUIDE_GROUPING, "num_perms": 2}
    whole = meta(stack, ["obj"], dissim_metrics=["cosine", "corr"], **options)
    part = meta(stack[stack["model"] == "vgg19"], ["obj"], **{**options, "num_perms": 3})
    both = whole[(whole["model"] == "vgg19") & (whole["dissim_metric"] == "corr")]
    for row in both.itertuples():
        (other,) = rows_where(
            part[part["perm"].map(str) == str(row.perm)],
            layer=row.layer,
            activation_type=row.activation_type,
            dissim_metric_sub=row.dissim_metric_sub,
        ).itertuples()
        assert row.perm_scramble == other.perm_scramble
        np.testing.assert_allclose(row.matrix, other.matrix, rtol=0, atol=1e-14)
    # Other rows first, so every entry stands elsewhere.
    turned = meta(stack[::-1], ["obj"], **options)
    a = dict(zip(whole["entry_keys"][1], whole["perm_scramble"][1], strict=True))
    b = dict(zip(turned["entry_keys"][1], turned["perm_scramble"][1], strict=True))
    assert a == b


def test_shuffles_follow_the_items_not_their_places(rng):
    stack = small_stack(rng, n_items=7)
    order = [3, 0, 4, 1, 2, 6, 5]
    keys = stack["entry_keys"][0]
    turned = stack.assign(
        entry_keys=[tuple(keys[k] for k in order)] * 6,
        matrix=[matrix[np.ix_(order, order)] for matrix in stack["matrix"]],
    )
    a, b = meta(stack, num_perms=1), meta(turned, num_perms=1)
    for left, right in zip(a["matrix"], b["matrix"], strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-12)
    assert a["perm_scramble"][1] != b["perm_scramble"][1]


@pytest.mark.slow
def test_two_workers_give_the_same_frame(rng):
    stack = make_stack(rng, layers=LAYERS[:2])
    options = {"num_perms": 101, "grouping_variables": ["model", "activation_type"]}
    stack = stack[stack["dissim_metric"] == "corr"].drop(columns=["obj"])
    stack = stack.assign(obj=[f"obj{k // 4}" for k in range(len(stack))])
    metrics = ["corr", "euclidean_distance", ("furthest", lambda x, y: np.abs(x - y).max())]
    serial = meta(stack, ["obj", "layer"], dissim_metrics=metrics, **options)
    parallel = meta(stack, ["obj", "layer"], dissim_metrics=metrics, num_cores=2, **options)
    same_cells(serial, parallel)


def test_rankings_of_a_function_of_ones_own_that_is_not_symmetric_are_its_own(rng):
    def crooked(x, y):
        return float(2 * x.sum() - y.max())

    result = meta(small_stack(rng), dissim_metrics=["corr", ("crooked", crooked), "cityblock"])
    matrix = result["matrix"][1]
    assert not np.allclose(matrix, matrix.T)
    # Oracle: the ranking of the matrix alone.
    assert result["dissim_rankings"].tolist() == [greedy_order(m) for m in result["matrix"]]


def test_subsets_of_all_and_of_some_entries_are_parts_of_one_rdm(rng):
    stack = small_stack(rng)
    some = ["layer1", "layer4", "layer5"]
    result = meta(
        stack,
        entry_var_subsets=[("all", "all"), ("some", some), ("every", stack["layer"].tolist())],
        num_perms=2,
        dissim_metrics=["corr", "euclidean_distance"],
    )
    by_name = result.groupby("entry_var_subset")["matrix"].agg(list)
    assert list(map(len, by_name)) == [6, 6, 6]
    for whole, part, every in zip(by_name["all"], by_name["some"], by_name["every"], strict=True):
        np.testing.assert_array_equal(part, whole[np.ix_([1, 4, 5], [1, 4, 5])])
        np.testing.assert_array_equal(every, whole)
        assert not any(matrix.flags.writeable for matrix in (whole, part, every))


@pytest.mark.parametrize("how", ["whole", "a dead item", "dead items of their own"])
@pytest.mark.parametrize("metric", ["corr", "spearman", "euclidean_distance"])
def test_memory_stays_within_a_few_copies_of_the_triangles(rng, how, metric, monkeypatch):
    n_rows, n_items = 1500, 80
    stack = pd.DataFrame(
        {
            "layer": range(n_rows),
            "matrix": [random_rdm(rng, n_items) for _ in range(n_rows)],
            "entry_keys": [tuple((k,) for k in range(n_items))] * n_rows,
        }
    )
    if how == "a dead item":
        stack["matrix"] = [with_dead(matrix, 3) for matrix in stack["matrix"]]
    elif how == "dead items of their own":
        if metric == "spearman":
            pytest.skip("each of the 80 sets of common items is ranked on its own")
        stack["matrix"] = list(map(with_dead, stack["matrix"], rng.integers(n_items, size=n_rows)))
    meta(small_stack(rng), dissim_metrics=[metric])
    # What is worked on at a time, which does not grow with the RDMs, would be half of these few.
    monkeypatch.setattr(pairwise_complete, "_TABLE_ELEMENTS", 2**16)
    tracemalloc.start()
    try:
        meta(stack, dissim_metrics=[metric])
        _, highest = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    triangles = n_rows * n_items * (n_items - 1) // 2 * 8
    assert highest < 4 * triangles
