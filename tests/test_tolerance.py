import itertools

import numpy as np
import pandas as pd
import pytest

from pytorch_feature_analysis.tolerance import category_index, compute_tolerances, selectivity

SHAPES, COLORS = ("cup", "pen", "fan"), ("red", "blue")
DESIGN = tuple(itertools.product(SHAPES, COLORS))


def labels_of(keys, names=("shape", "color")):
    return tuple(dict(zip(names, key, strict=True)) for key in keys)


def stack_of(matrices, keys=DESIGN, names=("shape", "color"), **columns):
    n = len(matrices)
    return pd.DataFrame(
        {
            "matrix": list(matrices),
            "entry_keys": [tuple(keys)] * n,
            "entry_labels": [labels_of(keys, names)] * n,
            **columns,
        }
    )


def random_rdm(rng, n):
    points = rng.random((n, 4))
    return np.linalg.norm(points[:, None] - points, axis=2)


def city_block(shape, color, keys=DESIGN):
    return np.array([[shape * (a != c) + color * (b != d) for c, d in keys] for a, b in keys])


def tolerance_by_loops(matrix, keys, main):
    """Straight from the definition, for the factor that is not `main`."""
    differ, same = [], []
    for i, j in itertools.combinations(range(len(keys)), 2):
        parts = [keys[i][0] != keys[j][0], keys[i][1] != keys[j][1]]
        if np.isnan(matrix[i, j]):
            continue
        if parts[main] and not parts[1 - main]:
            differ.append(matrix[i, j])
        elif parts[1 - main] and not parts[main]:
            same.append(matrix[i, j])
    d, s = np.mean(differ), np.mean(same)
    return (d - s) / (d + s)


def test_infinite_dissimilarities_are_missing_as_nan_is():
    matrix = city_block(3.0, 1.0, DESIGN[:4])
    results = []
    for missing in (np.nan, np.inf):
        matrix[0, 1] = matrix[1, 0] = missing
        stack = stack_of([matrix.copy()], DESIGN[:4])
        found = pd.concat([compute_tolerances(stack), category_index(stack, "shape")], axis=1)
        results.append(found.drop(columns=["matrix", "entry_keys", "entry_labels"]))
    assert results[1]["tolerance_missing_pairs"].tolist() == [1]
    pd.testing.assert_frame_equal(*results)


def test_shape_three_apart_and_color_one_gives_half():
    keys = DESIGN[:4]
    (row,) = compute_tolerances(stack_of([city_block(3, 1, keys)], keys)).to_dict("records")
    assert row["color_tolerance"] == 0.5
    assert row["shape_tolerance"] == -0.5
    assert row["tolerance_missing_pairs"] == 0


def test_a_factor_that_alone_matters_gives_one():
    result = compute_tolerances(stack_of([city_block(2, 0), city_block(0, 2), city_block(2, 2)]))
    assert result["color_tolerance"].tolist() == [1, -1, 0]
    assert result["shape_tolerance"].tolist() == [-1, 1, 0]


def test_tolerances_are_those_of_plain_loops_and_exact_negatives():
    rng = np.random.default_rng(0)
    matrices = [random_rdm(rng, 6) for _ in range(5)]
    result = compute_tolerances(stack_of(matrices))
    expected = [tolerance_by_loops(matrix, DESIGN, main=0) for matrix in matrices]
    np.testing.assert_allclose(result["color_tolerance"], expected, rtol=1e-13)
    np.testing.assert_array_equal(result["shape_tolerance"], -result["color_tolerance"])


def test_tolerances_ignore_scale_and_order_but_not_a_shuffle_of_the_labels():
    rng = np.random.default_rng(1)
    matrix = random_rdm(rng, 6)
    order = rng.permutation(6)
    turned = stack_of([matrix[np.ix_(order, order)]], [DESIGN[i] for i in order])
    shuffled = stack_of([matrix], [DESIGN[i] for i in order])
    plain = compute_tolerances(stack_of([matrix, 7 * matrix]))["color_tolerance"]
    assert plain[0] == pytest.approx(plain[1], rel=1e-13)
    assert compute_tolerances(turned)["color_tolerance"][0] == pytest.approx(plain[0], rel=1e-13)
    assert abs(compute_tolerances(shuffled)["color_tolerance"][0] - plain[0]) > 1e-3


def test_missing_pairs_are_left_out_and_counted():
    matrix = random_rdm(np.random.default_rng(2), 6)
    matrix[0, 1] = matrix[1, 0] = np.nan  # color differs
    matrix[0, 2] = matrix[2, 0] = np.nan  # shape differs
    matrix[0, 3] = matrix[3, 0] = np.nan  # both do, which no mean needs
    result = compute_tolerances(stack_of([matrix]))
    assert result["tolerance_missing_pairs"][0] == 2
    expected = tolerance_by_loops(matrix, DESIGN, main=0)
    assert result["color_tolerance"][0] == pytest.approx(expected, rel=1e-13)


def test_an_rdm_without_any_distance_has_no_tolerance():
    result = compute_tolerances(stack_of([np.zeros((6, 6)), np.full((6, 6), np.nan)]))
    assert result["color_tolerance"].isna().all()
    assert result["tolerance_missing_pairs"].tolist() == [0, 9]


def test_rows_of_different_designs_are_taken_row_by_row():
    rng = np.random.default_rng(3)
    first, second = random_rdm(rng, 6), random_rdm(rng, 4)
    keys = tuple(itertools.product("ab", "xy"))
    both = pd.concat(
        [stack_of([first]), stack_of([second], keys, ("letter", "color"))], ignore_index=True
    )
    result = compute_tolerances(both)
    assert result["color_tolerance"].tolist() == pytest.approx(
        [tolerance_by_loops(first, DESIGN, 0), tolerance_by_loops(second, keys, 0)]
    )
    assert result["shape_tolerance"].isna().tolist() == [False, True]
    assert result["letter_tolerance"].isna().tolist() == [True, False]


def test_missing_combinations_are_named_or_averaged_over():
    keys = DESIGN[:5]
    matrix = random_rdm(np.random.default_rng(4), 5)
    with pytest.raises(ValueError, match=r"position 0 .*no entry for .*\('fan', 'blue'\)"):
        compute_tolerances(stack_of([matrix], keys))
    result = compute_tolerances(stack_of([matrix], keys), allow_missing=True)
    expected = tolerance_by_loops(matrix, keys, main=0)
    assert result["color_tolerance"][0] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        (stack_of([np.zeros((2, 2))], [("a",), ("b",)], ("shape",)), "two labels.*'shape'"),
        (
            stack_of([np.zeros((2, 2))], [("a", 1, 2), ("b", 1, 2)], ("shape", "x", "y")),
            "'shape', 'x', 'y'",
        ),
        (stack_of([np.zeros((2, 2))], [("a", 1), ("b", 1)]), "two levels of 'color'.* only 1"),
        (pd.DataFrame({"matrix": []}), "entry_keys"),
    ],
)
def test_bad_stacks_are_refused(stack, message):
    with pytest.raises(ValueError, match=message):
        compute_tolerances(stack)


def test_allow_missing_must_be_true_or_false():
    with pytest.raises(TypeError, match="`allow_missing`"):
        compute_tolerances(stack_of([city_block(1, 1)]), allow_missing="yes")


@pytest.mark.parametrize(
    "function", [compute_tolerances, lambda df: category_index(df, "shape", num_perms=3)]
)
def test_the_stack_does_not_change_and_keeps_its_index(function):
    matrix = random_rdm(np.random.default_rng(5), 6)
    stack = stack_of([matrix, 2 * matrix], layer=["conv1", "fc1"]).set_index(pd.Index([7, 3]))
    before = stack.copy()
    cells = [matrix.copy(), 2 * matrix]
    result = function(stack)
    assert list(stack.columns) == list(before.columns)
    for cell, expected in zip(stack["matrix"], cells, strict=True):
        np.testing.assert_array_equal(cell, expected)
    assert result.index.tolist() == [7, 3]
    assert list(result.columns[:4]) == list(before.columns)
    assert stack["matrix"].iloc[0].flags.writeable


def index_by_loops(matrix, categories):
    within, between = [], []
    for i, j in itertools.combinations(range(len(categories)), 2):
        if not np.isnan(matrix[i, j]):
            (within if categories[i] == categories[j] else between).append(matrix[i, j])
    w, b = np.mean(within), np.mean(between)
    return w, b, (b - w) / (b + w)


def test_category_index_by_hand():
    # Within: two pairs at 1; between: four at 3.
    matrix = np.full((4, 4), 3.0)
    matrix[:2, :2] = matrix[2:, 2:] = 1
    np.fill_diagonal(matrix, 0)
    stack = stack_of([matrix], list(itertools.product("ab", "xy")))
    (row,) = category_index(stack, "shape").to_dict("records")
    assert (row["shape_within"], row["shape_between"]) == (1, 3)
    assert row["shape_category_index"] == 0.5
    assert "shape_p" not in row


def test_category_index_is_that_of_plain_loops_also_with_missing_cells():
    rng = np.random.default_rng(6)
    matrices = [random_rdm(rng, 6) for _ in range(4)]
    matrices[1][0, 1] = matrices[1][1, 0] = np.nan
    result = category_index(stack_of(matrices), "shape")
    names = ["shape_within", "shape_between", "shape_category_index"]
    expected = [index_by_loops(matrix, [shape for shape, _ in DESIGN]) for matrix in matrices]
    np.testing.assert_allclose(result[names], expected, rtol=1e-13)


def test_p_is_near_that_of_all_relabelings():
    rng = np.random.default_rng(7)
    matrix, categories = random_rdm(rng, 6), [shape for shape, _ in DESIGN]
    observed = index_by_loops(matrix, categories)[2]
    every = [index_by_loops(matrix, order)[2] for order in itertools.permutations(categories)]
    exact = np.mean(np.array(every) >= observed - 1e-12)
    result = category_index(stack_of([matrix]), "shape", num_perms=4000)
    # Four standard errors.
    assert abs(result["shape_p"][0] - exact) < 4 * np.sqrt(exact * (1 - exact) / 4000) + 1e-3


def test_clear_categories_have_the_p_of_relabelings_that_only_rename_them():
    keys = [("animal", i) for i in range(3)] + [("thing", i) for i in range(3)]
    matrix = np.array([[0.1 if a == b else 0.7 for b, _ in keys] for a, _ in keys])
    result = category_index(stack_of([matrix], keys, ("kind", "i")), "kind", num_perms=2000)
    # 2 of the 20 splits of six in halves are this one.
    assert result["kind_p"][0] == pytest.approx(0.1, abs=0.03)
    assert result["kind_p"][0] >= 1 / 2001


def test_p_depends_neither_on_other_rows_nor_on_chunks(monkeypatch):
    rng = np.random.default_rng(8)
    matrices = [random_rdm(rng, 6) for _ in range(3)]
    whole = category_index(stack_of(matrices), "shape", num_perms=50)["shape_p"]
    alone = category_index(stack_of(matrices[2:]), "shape", num_perms=50)["shape_p"]
    assert alone[0] == whole[2]
    monkeypatch.setattr("pytorch_feature_analysis.tolerance._CHUNK_ELEMENTS", 100)
    chunked = category_index(stack_of(matrices), "shape", num_perms=50)["shape_p"]
    assert chunked.tolist() == whole.tolist()


def test_an_index_without_pairs_is_missing_and_so_is_its_p():
    matrix = np.full((6, 6), np.nan)
    result = category_index(stack_of([matrix, np.zeros((6, 6))]), "shape", num_perms=5)
    assert result["shape_category_index"].isna().all()
    assert result["shape_p"].isna().all()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"variable": "size"}, ValueError, "'size'.*labels of one are: 'shape', 'color'"),
        ({"variable": 3}, TypeError, "`variable` must be the name"),
        ({"variable": "shape", "num_perms": -1}, ValueError, "`num_perms`"),
        ({"variable": "shape", "random_state": "x"}, TypeError, "`random_state`"),
    ],
)
def test_bad_arguments_of_category_index_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        category_index(stack_of([city_block(1, 1)]), **options)


@pytest.mark.parametrize("keys", [[("a", 1), ("b", 1)], [("a", 1), ("a", 2)]])
def test_categories_of_one_entry_each_or_one_for_all_are_refused(keys):
    with pytest.raises(ValueError, match="at least two categories"):
        category_index(stack_of([np.zeros((2, 2))], keys), "shape")


def test_selectivity_by_hand():
    # Two of four: A = (2/4)^2 / (2/4) = 1/2, S = (1/2) / (3/4). One, two, three: A = 4 / (14/3).
    np.testing.assert_allclose(selectivity([[3.0], [3.0], [0.0], [0.0]]), [2 / 3])
    np.testing.assert_allclose(selectivity([[1], [2], [3]]), [(1 - 6 / 7) / (2 / 3)])


def test_selectivity_spans_zero_to_one_and_takes_negatives_as_zero():
    values = np.array([[1.0, 5, 0, -1, np.nan, np.inf], [1, 0, 0, 2, 1, 1], [1, -3, 0, -1, 1, 1]])
    before = values.copy()
    found = selectivity(values)
    np.testing.assert_allclose(found, [0, 1, np.nan, 1, np.nan, np.nan], atol=1e-15)
    np.testing.assert_array_equal(values, before)


def test_selectivity_ignores_scale_and_order_but_not_a_shift():
    values = np.random.default_rng(9).random((8, 3, 5))
    found = selectivity(values, axis=0)
    assert found.shape == (3, 5)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(selectivity(1e200 * values[::-1]), found, rtol=1e-12)
    np.testing.assert_allclose(selectivity(np.moveaxis(values, 0, -1), axis=-1), found, rtol=1e-12)
    assert (selectivity(values + 1) < found).all()


@pytest.mark.parametrize(
    ("values", "axis", "kind", "message"),
    [
        (["a", "b"], 0, TypeError, "real numbers"),
        ([[1.0, 2.0]], 0, ValueError, "at least two conditions"),
        ([1.0, 2.0], 1, ValueError, "`axis` must be an axis"),
        ([1.0, 2.0], "0", TypeError, "`axis` must be a whole number"),
    ],
)
def test_bad_values_of_selectivity_are_refused(values, axis, kind, message):
    with pytest.raises(kind, match=message):
        selectivity(values, axis)
