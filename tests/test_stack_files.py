from __future__ import annotations

import hashlib
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_cells import same
from made_parts import rows_of
from pyarrow import parquet

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _files, rdm_stack, stack_files, stack_parquet
from pytorch_feature_analysis.stack_files import check_stack_path, replace_stack
from pytorch_feature_analysis.stack_parts import part_name, parts_folder, write_part
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

DATA = Path(__file__).parent / "data"
FORMATS = ["stack.parquet", "stack.p", "stack.pkl"]


def assert_same(one, other):
    """Equality of frames: columns, index, types, and the type of each cell."""
    pd.testing.assert_index_equal(one.columns, other.columns, exact=True)
    pd.testing.assert_index_equal(one.index, other.index, exact=True)
    assert one.dtypes.tolist() == other.dtypes.tolist()
    for name in one:
        for cell, expected in zip(one[name].tolist(), other[name].tolist(), strict=True):
            assert same(cell, expected), (name, cell, expected)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def random_rdm(rng, n, kind=None):
    matrix = rng.random((n, n))
    kind = kind or rng.choice(["symmetric", "symmetric", "dead", "crooked", "diagonal", "nan"])
    if kind in ("symmetric", "dead", "diagonal", "nan"):
        matrix = matrix + matrix.T
        np.fill_diagonal(matrix, 0)
    if kind == "dead":
        matrix[0, 1:] = matrix[1:, 0] = np.nan
    elif kind == "diagonal":
        matrix[0, 0] = 1e-300
    elif kind == "nan":
        matrix[-1, 0] = np.nan
    matrix.flags.writeable = False
    return matrix


def guide_stack(n_rows=12, n=4, seed=0, **columns):
    """A stack with the guide's columns, in its order."""
    rng = np.random.default_rng(seed)
    keys = tuple((f"{k:03d}",) for k in range(n))
    labels = tuple({"color": key[0]} for key in keys)
    stack = pd.DataFrame(
        {
            "df_name": "demo",
            "model": ["alexnet", "vgg19"] * (n_rows // 2),
            "layer": [f"conv{k // 2 % 3 + 1}" for k in range(n_rows)],
            "layer_num": [k // 2 % 3 + 1 for k in range(n_rows)],
            "layer_label": [(f"conv{k // 2 % 3 + 1}", k // 2 % 3 + 1) for k in range(n_rows)],
            "dissim_metric": "corr",
            "activation_type": "unit_level",
            "matrix": [random_rdm(rng, n, "symmetric") for _ in range(n_rows)],
            "entry_keys": [keys] * n_rows,
            "entry_labels": [labels] * n_rows,
            "kernel_set_name": "all",
            "kernel_inds": ["all", (0, 3)] * (n_rows // 2),
            "perm": ["orig_data", *range(1, n_rows)],
            "perm_scramble": [tuple(rng.permutation(n).tolist()) for _ in range(n_rows)],
            "dissim_rankings": [tuple(range(n))] * n_rows,
            "obj": "obj001",
        }
    )
    return stack.assign(**columns)


def with_provenance(stack):
    """The stack as `get_rdms` hands it to a file: rows of two runs, and one of nobody knows."""
    n = len(stack)
    cells = {
        "row_key": [hashlib.sha256(bytes([k])).hexdigest() for k in range(n - 1)] + [None],
        "run_id": ["one", "two"] * (n // 2),
        "model_hash": [f"hash of {model}" for model in stack["model"]],
        "images_hash": ["images"] * n,
        "preprocessing": ["resize ü"] * (n - 1) + [None],
        "layers": [json.dumps({"request": "None"})] * n,
        "random_state": [0, "Generator"] * (n // 2),
        "batch_size": [16] * n,
        "num_threads": pd.array([1] * (n - 1) + [None], dtype="Int64"),
        "device": ["cpu"] * n,
        "versions": ["torch 2"] * n,
    }
    return stack.assign(**cells)


SCALARS = [
    "a", "", "ü\u2603", "orig_data", 1, -7, 2**70, True, False, 1.5, float("nan"), float("inf"),
    None, np.float32(0.1), np.int64(3), np.bool_(True), np.str_("x"), pd.NA,
]  # fmt: skip


def random_cell(rng, depth=2):
    kind = rng.integers(8) if depth else 0
    if kind < 4:
        return SCALARS[rng.integers(len(SCALARS))]
    items = [random_cell(rng, depth - 1) for _ in range(rng.integers(4))]
    if kind < 6:
        return tuple(items)
    if kind == 6:
        return items
    return {f"key{k}": item for k, item in enumerate(items)}


def random_column(rng, n, kind):
    if kind == "any":
        return [random_cell(rng) for _ in range(n)]
    choices = {
        "text": ["conv1", "fc2", "ü"],
        "text or none": ["conv1", None],
        "text or nan": ["conv1", float("nan")],
        "perm": ["orig_data", 1, 2],
        "integers": [1, -5, 2**40],
        "large": [2**63, 1, -1],
        "integers or none": [1, None],
        "floats": [0.1, float("nan"), float("-inf")],
        "floats or none": [0.1, float("nan"), None],
        "integers and floats": [1, 1.0, True],
        "booleans": [True, False],
        "broken text": ["\ud800", "a"],
        "tuples": [(1, 2), (), (3,)],
        "tuples of booleans": [(True, 1), (0,)],
        "large tuples": [(2**63,), (1,)],
    }[kind]
    cells = [choices[rng.integers(len(choices))] for _ in range(n)]
    return pd.Series(cells, dtype=object)


KINDS = [
    "any", "text", "text or none", "text or nan", "perm", "integers", "large", "integers or none",
    "floats", "floats or none", "integers and floats", "booleans", "broken text", "tuples",
    "tuples of booleans", "large tuples",
]  # fmt: skip


def random_stack(seed):
    """A stack with entries, columns, values and an index of all kinds."""
    rng = np.random.default_rng(seed)
    n_rows = int(rng.choice([0, 1, 2, 5, 20]))
    sizes = rng.integers(1, 6, n_rows)
    index = {
        0: pd.RangeIndex(n_rows),
        1: pd.RangeIndex(3, 3 + 2 * n_rows, 2, name="row"),
        2: pd.Index(rng.integers(0, 3, n_rows)),
        3: pd.Index([f"r{k % 3}" for k in range(n_rows)], name=("a", 1), dtype=object),
        4: pd.Index(
            [("x", k) if k % 2 else "y" for k in range(n_rows)], dtype=object, tupleize_cols=False
        ),
        5: pd.MultiIndex.from_arrays(
            [np.arange(n_rows), [f"r{k}" for k in range(n_rows)]], names=["number", None]
        ),
    }[int(rng.integers(6))]
    columns = {
        "matrix": [random_rdm(rng, n) for n in sizes],
        "entry_keys": [tuple((f"{k}", int(k)) for k in range(n)) for n in sizes],
        "entry_labels": [tuple({"x": f"{k}", "y": int(k)} for k in range(n)) for n in sizes],
        **{
            f"column {k}": random_column(rng, n_rows, rng.choice(KINDS))
            for k in range(rng.integers(8))
        },
    }
    order = rng.permutation(list(columns)).tolist()
    stack = pd.DataFrame(
        {name: pd.Series(list(columns[name]), dtype=object) for name in order}
    ).set_axis(index)
    typed = {
        "int32": np.int32, "uint64": np.uint64, "float32": np.float32, "bool": bool, "str": str,
        "category": "category", "Int64": "Int64", "boolean": "boolean", "string": "string",
        "datetime64[ms]": "datetime64[ms]", "timedelta64[ns]": "timedelta64[ns]",
        "datetime64[us, UTC]": "datetime64[us, UTC]",
    }  # fmt: skip
    for name in rng.choice(list(typed), rng.integers(4), replace=False).tolist():
        values = rng.integers(0, 2, n_rows)
        stack[f"typed {name}"] = pd.Series(values, index=index).astype(typed[name])
    return stack


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(name, tmp_path):
    stack = guide_stack()
    pfa.write_rdms(stack, tmp_path / name)
    again = pfa.read_rdms(str(tmp_path / name))
    assert_same(again, stack)
    assert not any(matrix.flags.writeable for matrix in again["matrix"])
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("name", FORMATS[:2])
def test_any_stack_comes_back_with_its_values_types_and_index(name, seed, tmp_path):
    stack = random_stack(seed)
    before = stack.copy(deep=False), [cell for row in stack.to_numpy() for cell in row]
    pfa.write_rdms(stack, tmp_path / name)
    again = pfa.read_rdms(tmp_path / name)
    assert_same(again, stack)
    # The input has not changed.
    assert_same(stack, before[0])
    assert all(
        one is other or one == other or one != one
        for one, other in zip((c for row in stack.to_numpy() for c in row), before[1], strict=True)
        if not isinstance(one, (np.ndarray, tuple, list, dict)) and one is not pd.NA
    )


def test_columns_of_all_types_of_pandas_come_back(tmp_path):
    stack = guide_stack(4).assign(
        category=pd.Categorical(
            ["b", "a", None, "b"], categories=["b", "unused", "a"], ordered=True
        ),
        of_tuples=pd.Categorical(
            [("a", 1), ("b", 2), ("a", 1), ("b", 2)],
            categories=pd.Index([("b", 2), ("a", 1)], tupleize_cols=False),
        ),
        integer=pd.array([1, None, 2**60 + 1, 3], dtype="Int64"),
        small=pd.array([1, None, 2, 3], dtype="UInt8"),
        real=pd.array([0.5, None, 1.5, 2.5], dtype="Float32"),
        boolean=pd.array([True, None, False, True], dtype="boolean"),
        string=pd.array(["a", None, "ü", ""], dtype="string"),
        text=pd.array(["a", None, "ü", ""], dtype="str"),
        time=pd.to_datetime(["2020-01-01", None, "2021-01-01", "1600-01-01"]),
        zoned=pd.to_datetime(["2020-01-01", None, "2021-01-01", "2022-01-01"]).tz_localize("CET"),
        span=pd.to_timedelta([1, None, 2, 3], unit="ns"),
        half=np.array([0.5, np.nan, np.inf, 1], dtype=np.float16),
    )
    pfa.write_rdms(stack, tmp_path / "stack.parquet")
    again = pfa.read_rdms(tmp_path / "stack.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="matrix"), stack.drop(columns="matrix"))
    # Also of some rows of them.
    some = pfa.read_rdms(tmp_path / "stack.parquet", where=[("layer", "conv2")])
    pd.testing.assert_frame_equal(
        some.drop(columns="matrix"), stack.iloc[2:].drop(columns="matrix")
    )


def test_the_names_of_columns_keep_their_type_and_title(tmp_path):
    for columns in (
        pd.Index(["matrix", "entry_keys", "model"], name="what"),
        pd.Index(["matrix", "entry_keys", "model"], dtype=object),
    ):
        stack = guide_stack(2)[["matrix", "entry_keys", "model"]].set_axis(columns, axis=1)
        pfa.write_rdms(stack, tmp_path / "stack.parquet")
        assert_same(pfa.read_rdms(tmp_path / "stack.parquet"), stack)


def test_numbers_of_a_meta_stack_come_back_without_bloat(tmp_path):
    n = 88
    below = tuple((f"{k:03d}",) for k in range(60))
    keys = tuple((f"obj{k // 22}", f"layer{k % 22}") for k in range(n))
    per_entry = tuple(below for _ in range(n))
    rows = {
        "matrix": [random_rdm(np.random.default_rng(k), n, "symmetric") for k in range(40)],
        "entry_keys": [keys] * 40,
        "entry_labels": [tuple({"obj": key[0], "layer": key[1]} for key in keys)] * 40,
        "entry_keys_sub": [below] * 40,
        "entry_labels_sub": [tuple({"color": key[0]} for key in below)] * 40,
        "entry_keys_sub_sub": [per_entry] * 40,
        "perm_scramble": [tuple(tuple(range(60)) for _ in range(n)) for _ in range(40)],
    }
    stack = pd.DataFrame(rows)
    pfa.write_rdms(stack, tmp_path / "stack.parquet")
    again = pfa.read_rdms(tmp_path / "stack.parquet")
    assert_same(again, stack)
    triangles = 40 * n * (n - 1) / 2 * 8
    assert (tmp_path / "stack.parquet").stat().st_size < 1.2 * triangles
    # Rows that shared their entries do so again, also those with dicts.
    for name in ("entry_keys", "entry_labels", "entry_labels_sub", "entry_keys_sub_sub"):
        assert len({id(cell) for cell in again[name]}) == 1


def test_equal_cells_that_can_be_changed_are_not_shared(tmp_path):
    stack = guide_stack(4, options=[[1], [1], {"a": 1}, {"a": 1}])
    pfa.write_rdms(stack, tmp_path / "stack.parquet")
    again = pfa.read_rdms(tmp_path / "stack.parquet")
    again["options"][0].append(2)
    again["options"][2]["b"] = 2
    assert again["options"].tolist() == [[1, 2], [1], {"a": 1, "b": 2}, {"a": 1}]


def test_a_symmetric_matrix_takes_the_room_of_its_triangle(tmp_path):
    rng = np.random.default_rng(0)
    symmetric = [random_rdm(rng, 60, "symmetric") for _ in range(10)]
    for name, matrices in (("half", symmetric), ("whole", [m + np.eye(60) for m in symmetric])):
        stack = guide_stack(10, 60).assign(matrix=matrices)
        pfa.write_rdms(stack, tmp_path / f"{name}.parquet")
        assert_same(pfa.read_rdms(tmp_path / f"{name}.parquet"), stack)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["half"] < 0.75 * sizes["whole"]
    # Read by pyarrow itself, the cells are the triangles.
    cell = parquet.read_table(tmp_path / "half.parquet")["matrix"][3].as_py()
    np.testing.assert_array_equal(cell, symmetric[3][np.triu_indices(60, 1)])


def test_float32_halves_the_file_and_comes_back_as_float64(tmp_path):
    stack = guide_stack(20, 60)
    crooked = random_rdm(np.random.default_rng(5), 60, "crooked")
    stack["matrix"] = [*stack["matrix"][:3], crooked, *stack["matrix"][4:]]
    for dtype in ("float64", "float32"):
        pfa.write_rdms(stack, tmp_path / f"{dtype}.parquet", dtype=dtype)
    again = pfa.read_rdms(tmp_path / "float32.parquet")
    for one, other in zip(again["matrix"], stack["matrix"], strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other.astype(np.float32))
    sizes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["float32"] < 0.6 * sizes["float64"]
    footer = parquet.read_schema(tmp_path / "float32.parquet").metadata[
        b"pytorch_feature_analysis"
    ]
    assert json.loads(footer)["matrix_dtype"] == "float32"


def test_what_float32_cannot_hold_is_said(tmp_path):
    stack = guide_stack(2)
    stack["matrix"] = [matrix * 1e300 for matrix in stack["matrix"]]
    with pytest.raises(ValueError, match="too large for `dtype` 'float32'"):
        pfa.write_rdms(stack, tmp_path / "stack.parquet", dtype="float32")
    assert names(tmp_path) == []
    with pytest.raises(ValueError, match=r"`dtype` names 'float16'.*float64, float32"):
        pfa.write_rdms(stack, tmp_path / "stack.parquet", dtype="float16")


CONDITIONS = [
    [("layer", "conv1"), ("model", ["vgg19", "alexnet"])],
    [("layer", "conv2"), ("layer", "conv2"), ("model", "vgg19")],
    [("layer_num", [1, 3])],
    [("layer_label", ("conv3", 3))],
    [("kernel_inds", [(0, 3)])],
    [("perm", "orig_data")],
    [("perm", [1, 5, 11])],
    [("obj", "obj002")],
    [("note", None)],
    ("layer", "conv1"),
    [],
]


@pytest.mark.parametrize("name", FORMATS[:2])
@pytest.mark.parametrize("where", CONDITIONS)
@pytest.mark.parametrize("columns", [None, ["matrix", "model", "perm"], ["layer"], []])
def test_conditions_and_columns_are_those_of_the_whole_frame(
    name, where, columns, tmp_path, monkeypatch
):
    # Several groups of rows in one file.
    monkeypatch.setattr(stack_parquet, "_GROUP_ROWS", 5)
    stack = guide_stack(note=["a", None, float("nan"), "b"] * 3)
    stack.index = pd.Index([k % 5 for k in range(12)], name="row")
    pfa.write_rdms(stack, tmp_path / name)
    # Oracle: the frame, filtered in memory.
    expected = pfa.df_filter(stack, where)
    expected = expected if columns is None else expected[columns]
    found = pfa.read_rdms(tmp_path / name, where=where, columns=columns)
    assert_same(found, expected)
    if columns is not None:
        assert_same(pfa.read_rdms(tmp_path / name, columns=columns), stack[columns])


def test_only_groups_with_such_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(stack_parquet, "_GROUP_ROWS", 4)
    stack = guide_stack(12, place=list(range(12)))
    pfa.write_rdms(stack, tmp_path / "stack.parquet")
    read = []
    original = parquet.ParquetFile.read_row_groups

    def watched(self, groups, columns, **kwargs):
        read.append((list(groups), "matrix" in columns))
        return original(self, groups, columns=columns, **kwargs)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_groups", watched)
    found = pfa.read_rdms(tmp_path / "stack.parquet", where=[("place", [1, 9, 10])])
    assert found["place"].tolist() == [1, 9, 10]
    # Matrices by groups, so that only one of these is in memory beside them.
    assert read == [([0, 2], False), ([0], True), ([2], True)]


@pytest.mark.parametrize("where", [None, [("half", 1)]])
def test_of_what_is_in_the_file_one_group_at_a_time_is_in_memory(tmp_path, where, monkeypatch):
    monkeypatch.setattr(stack_parquet, "_GROUP_BYTES", 2**20)
    stack = guide_stack(400, 60, half=[k % 2 for k in range(400)])
    path = tmp_path / "stack.parquet"
    pfa.write_rdms(stack, path)
    held = []
    original = stack_parquet._read_matrices

    def watched(table):
        held.append(pa.total_allocated_bytes() - before)
        return original(table)

    monkeypatch.setattr(stack_parquet, "_read_matrices", watched)
    before = pa.total_allocated_bytes()
    found = pfa.read_rdms(path, where=where)
    assert_same(found, stack if where is None else stack[stack["half"] == 1])
    assert len(held) == 12
    # A group with what its reading takes, and the other columns; twice as much would be all.
    assert max(held) < 400 * (60 * 59 // 2) * 8 / 2


def test_large_matrices_are_kept_in_small_groups_and_small_ones_in_large(tmp_path):
    pfa.write_rdms(guide_stack(20, 400), tmp_path / "large.parquet")
    pfa.write_rdms(guide_stack(400, 2), tmp_path / "small.parquet")
    large = parquet.ParquetFile(tmp_path / "large.parquet").metadata
    assert large.num_row_groups == 4
    assert parquet.ParquetFile(tmp_path / "small.parquet").metadata.num_row_groups == 1


@pytest.mark.parametrize("name", FORMATS[:2])
def test_unknown_columns_and_conditions_are_named(name, tmp_path):
    path = tmp_path / name
    pfa.write_rdms(guide_stack(), path)
    with pytest.raises(
        ValueError, match=r"`columns` names 'layers', which is not a column.*'layer'"
    ):
        pfa.read_rdms(path, columns=["model", "layers"])
    with pytest.raises(ValueError, match=r"`where` names 'laier', which is not a column.*'layer'"):
        pfa.read_rdms(path, where=[("laier", "conv1")])
    with pytest.raises(TypeError, match="`columns` must be a list of column names, not 'model'"):
        pfa.read_rdms(path, columns="model")
    for wrong in ("layer", [("layer",)], [("layer", "conv1", 2)], [3]):
        with pytest.raises(TypeError, match="`where` must be a list of"):
            pfa.read_rdms(path, where=wrong)
    with pytest.raises(TypeError, match="arrays, lists or dicts"):
        pfa.read_rdms(path, where=[("entry_labels", "a")])


@pytest.mark.parametrize("name", FORMATS)
def test_where_rows_came_from_is_kept_beside_the_stack(name, tmp_path):
    stack = guide_stack()
    pfa.write_rdms(with_provenance(stack), tmp_path / name)
    assert_same(pfa.read_rdms(tmp_path / name), stack)
    again = pfa.read_rdms(tmp_path / name, provenance=True)
    expected = with_provenance(stack)
    assert list(again.columns) == [*stack.columns, *PROVENANCE_COLUMNS]
    assert_same(again, expected[[*stack.columns, *PROVENANCE_COLUMNS]])
    # And once more, from what was read.
    pfa.write_rdms(again, tmp_path / f"second-{name}")
    assert_same(pfa.read_rdms(tmp_path / f"second-{name}", provenance=True), again)


@pytest.mark.parametrize("name", FORMATS[:2])
def test_provenance_joins_rows_and_columns_that_are_chosen(name, tmp_path):
    stack = with_provenance(guide_stack())
    pfa.write_rdms(stack, tmp_path / name)
    found = pfa.read_rdms(
        tmp_path / name, where=[("model", "vgg19")], columns=["layer"], provenance=True
    )
    expected = pfa.df_filter(stack, [("model", "vgg19")])[["layer", *PROVENANCE_COLUMNS]]
    assert_same(found, expected)
    by_run = pfa.read_rdms(tmp_path / name, where=[("run_id", "two")], columns=["model"])
    assert_same(by_run, pfa.df_filter(stack, [("run_id", "two")])[["model"]])
    by_hash = pfa.read_rdms(tmp_path / name, where=[("model_hash", ["hash of vgg19"])])
    assert by_hash["model"].tolist() == ["vgg19"] * 6


@pytest.mark.parametrize("name", FORMATS[:2])
def test_what_is_not_recorded_is_none(name, tmp_path):
    pfa.write_rdms(guide_stack(), tmp_path / name)
    again = pfa.read_rdms(tmp_path / name, provenance=True)
    assert list(again.columns[-len(PROVENANCE_COLUMNS) :]) == list(PROVENANCE_COLUMNS)
    assert all(cell is None for column in PROVENANCE_COLUMNS for cell in again[column])
    partly = guide_stack().assign(row_key=[f"{k}" for k in range(12)])
    pfa.write_rdms(partly, tmp_path / name)
    again = pfa.read_rdms(tmp_path / name, provenance=True)
    assert again["row_key"].tolist() == partly["row_key"].tolist()
    assert again["device"].tolist() == [None] * 12


@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_column_of_ones_own_with_such_a_name_stays_a_column(name, tmp_path):
    stack = guide_stack(device="camera")
    pfa.write_rdms(stack, tmp_path / name)
    assert_same(pfa.read_rdms(tmp_path / name), stack)
    again = pfa.read_rdms(tmp_path / name, provenance=True)
    assert again["device"].tolist() == ["camera"] * 12
    assert again["row_key"].tolist() == [None] * 12


def test_runs_stand_once_in_the_footer_of_a_parquet_file(tmp_path):
    pfa.write_rdms(with_provenance(guide_stack(100)), tmp_path / "stack.parquet")
    schema = parquet.read_schema(tmp_path / "stack.parquet")
    assert {"row_key", "run_id"} <= set(schema.names)
    assert "model_hash" not in schema.names
    footer = json.loads(schema.metadata[b"pytorch_feature_analysis"])
    # Two models in turn with two seeds, and the last row of which little is known.
    assert len(footer["runs"]) == 3


def test_a_pickle_holds_the_plain_stack_and_its_sidecar_the_rest(tmp_path):
    stack = guide_stack()
    pfa.write_rdms(with_provenance(stack), tmp_path / "stack.p")
    assert names(tmp_path) == ["stack.p", "stack.p.provenance.parquet"]
    # Oracle: what others read it with.
    assert_same(pickle.loads((tmp_path / "stack.p").read_bytes()), stack)
    assert_same(pd.read_pickle(tmp_path / "stack.p"), stack)


def test_a_sidecar_of_another_version_of_its_pickle_is_ignored(tmp_path, caplog):
    pfa.write_rdms(with_provenance(guide_stack()), tmp_path / "stack.p")
    guide_stack(seed=1).to_pickle(tmp_path / "stack.p")
    with caplog.at_level(logging.WARNING):
        again = pfa.read_rdms(tmp_path / "stack.p", provenance=True)
    assert again["row_key"].tolist() == [None] * 12
    assert "it was written with another version of it. It is ignored" in caplog.text
    (tmp_path / "stack.p.provenance.parquet").write_bytes(b"nonsense")
    caplog.clear()
    again = pfa.read_rdms(tmp_path / "stack.p", provenance=True)
    assert again["run_id"].tolist() == [None] * 12
    assert "cannot be read as a parquet file" in caplog.text


def test_a_pickle_without_provenance_leaves_no_sidecar_of_another(tmp_path):
    pfa.write_rdms(with_provenance(guide_stack()), tmp_path / "stack.p")
    replace_stack(guide_stack(), tmp_path / "stack.p")
    assert names(tmp_path) == ["stack.p"]


@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_file_of_other_content_is_kept_and_one_of_the_same_is_not(name, tmp_path):
    one, other = with_provenance(guide_stack()), guide_stack(seed=1)
    path = tmp_path / name
    pfa.write_rdms(one, path)
    pfa.write_rdms(one, path)
    assert not any("superseded" in found for found in names(tmp_path))
    pfa.write_rdms(other, path)
    kept = path.with_name(f"stack.superseded{path.suffix}")
    assert_same(pfa.read_rdms(path), other)
    assert_same(pfa.read_rdms(kept, provenance=True), one[[*other.columns, *PROVENANCE_COLUMNS]])
    replace_stack(one, path)
    assert_same(pfa.read_rdms(path), one[other.columns])
    assert sum(found.startswith("stack.superseded") for found in names(tmp_path)) == 1 + (
        path.suffix == ".p"
    )


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "stack.parquet"
    pfa.write_rdms(guide_stack(), path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(parquet.ParquetWriter, "write_table", fail)
    with pytest.raises(OSError, match="No space left"):
        pfa.write_rdms(guide_stack(seed=1), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["stack.parquet"]


def test_the_path_is_checked_before_the_stack(tmp_path):
    for name in ("stack.xlsx", "stack", "stack.parquet.gz", "stack.pt"):
        with pytest.raises(ValueError, match=r"`path` must end in \.parquet, \.p or \.pkl"):
            pfa.write_rdms(None, tmp_path / name)
        with pytest.raises(ValueError, match=r"`path` must end in \.parquet, \.p or \.pkl"):
            pfa.read_rdms(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no folder"):
        pfa.write_rdms(None, tmp_path / "missing" / "stack.p")
    with pytest.raises(ValueError, match="`out_fname` must end in"):
        check_stack_path(tmp_path / "stack.png", argument="out_fname")
    assert check_stack_path(str(tmp_path / "A.PKL"), argument="out_fname") == tmp_path / "A.PKL"


def test_a_missing_file_is_named_with_its_neighbours(tmp_path):
    pfa.write_rdms(guide_stack(), tmp_path / "demo_rdm.p")
    with pytest.raises(FileNotFoundError, match=r"demo\.p'.*no such file.*there are: demo_rdm\.p"):
        pfa.read_rdms(tmp_path / "demo.p")
    with pytest.raises(FileNotFoundError, match="none of this kind"):
        pfa.read_rdms(tmp_path / "demo.parquet")


def test_a_stack_is_written_without_ranking_it(tmp_path, monkeypatch):
    def never(matrices):
        raise AssertionError

    monkeypatch.setattr(rdm_stack, "greedy_orders", never)
    stack = guide_stack().drop(columns="dissim_rankings")
    for name in FORMATS:
        pfa.write_rdms(stack, tmp_path / name)
        assert_same(pfa.read_rdms(tmp_path / name), stack)


def test_what_is_no_stack_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="`rdm_df` has no column 'entry_keys'"):
        pfa.write_rdms(guide_stack().drop(columns="entry_keys"), tmp_path / "stack.parquet")
    broken = guide_stack()
    broken["matrix"] = [*broken["matrix"][:3], np.zeros((2, 3)), *broken["matrix"][4:]]
    with pytest.raises(ValueError, match="the row at position 3"):
        pfa.write_rdms(broken, tmp_path / "stack.p")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"where_from": [Path("a")] * 2}, TypeError,
         r"'where_from' of the row at position 0 \(index 0\), a value of pathlib\.\w+"),
        ({"where_from": pd.period_range("2020", periods=2, freq="D")}, TypeError,
         r"column 'where_from' of type period\[D\]"),
        ({"matrix.is_square": 1}, ValueError, "which the file uses itself. Rename"),
    ],
)  # fmt: skip
def test_what_parquet_cannot_hold_is_named(change, kind, message, tmp_path):
    stack = guide_stack(2).assign(**change)
    with pytest.raises(kind, match=message):
        pfa.write_rdms(stack, tmp_path / "stack.parquet")
    assert names(tmp_path) == []


def test_columns_without_a_string_for_a_name_are_for_pickles(tmp_path):
    stack = guide_stack(2)[["matrix", "entry_keys", "model"]]
    stack.columns = pd.Index(["matrix", "entry_keys", 3], dtype=object)
    with pytest.raises(TypeError, match="columns named 3; a parquet file names them"):
        pfa.write_rdms(stack, tmp_path / "stack.parquet")
    pfa.write_rdms(stack, tmp_path / "stack.p")
    assert_same(pfa.read_rdms(tmp_path / "stack.p"), stack)


@pytest.mark.parametrize("version", ["1.0", "1.5"])
def test_stacks_of_others_are_read_and_can_be_used(version):
    rdm_df = pfa.read_rdms(DATA / f"rdms_pandas_{version}.p")
    assert rdm_df["entry_keys"].iloc[0] == [("000",), ("001",), ("002",)]
    assert not rdm_df["matrix"].iloc[0].flags.writeable
    stack = pfa.check_rdm_stack(rdm_df)
    assert stack["entry_keys"].iloc[0] == (("000",), ("001",), ("002",))
    assert stack["entry_labels"].iloc[0] == ({"color": "000"}, {"color": "001"}, {"color": "002"})
    fc1 = pfa.read_rdms(DATA / f"rdms_pandas_{version}.p", where=[("layer", "fc1"), ("perm", 1)])
    np.testing.assert_array_equal(fc1["matrix"].iloc[0], [[0, 4, 6], [4, 0, 2], [6, 2, 0]])


def test_a_pickle_of_something_else_is_named(tmp_path):
    pfa.pickle_dump({"a": 1}, tmp_path / "stack.p")
    with pytest.raises(ValueError, match=r"stack\.p' holds a dict, not a frame"):
        pfa.read_rdms(tmp_path / "stack.p")


def test_a_pickle_that_would_run_code_is_refused_and_nothing_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'trapped')!r}, 'w').close()",)

    (tmp_path / "stack.p").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"stack\.p' is a pickle that asks for builtins\.eval"):
        pfa.read_rdms(tmp_path / "stack.p")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", FORMATS[:2])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_file_cut_short_is_named(name, share, tmp_path):
    path = tmp_path / name
    pfa.write_rdms(guide_stack(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        ValueError, match=r"/stack\.p(arquet)?' cannot be read as a p.*Copy it again"
    ):
        pfa.read_rdms(path)


@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_table_of_another_kind_is_named(name, tmp_path):
    path = tmp_path / name
    pd.DataFrame({"a": [1, 2]}).to_csv(path)
    with pytest.raises(ValueError, match="another kind of file"):
        pfa.read_rdms(path)


def test_no_damage_to_the_content_of_a_parquet_file_goes_unseen(tmp_path):
    path = tmp_path / "stack.parquet"
    stack = guide_stack(200, 20)
    pfa.write_rdms(stack, path)
    content = path.read_bytes()
    length_of_footer = int.from_bytes(content[-8:-4], "little")
    for place in np.linspace(4, len(content) - length_of_footer - 9, 40).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"stack\.parquet' cannot be read as a parquet file"):
            pfa.read_rdms(path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "stack.parquet"
    pfa.write_rdms(guide_stack(), path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(parquet, "ParquetFile", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        pfa.read_rdms(path)


def test_a_parquet_file_of_others_is_named(tmp_path):
    path = tmp_path / "stack.parquet"
    pd.DataFrame({"a": [1, 2]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"stack\.parquet' is a parquet file, but not a stack"):
        pfa.read_rdms(path)


def test_a_file_of_a_later_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "stack.parquet"
    monkeypatch.setattr(stack_parquet, "FORMAT", 2)
    pfa.write_rdms(guide_stack(), path)
    assert len(pfa.read_rdms(path)) == 12
    monkeypatch.setattr(stack_parquet, "FORMAT", 1)
    with pytest.raises(ValueError, match=r"a later version.*format 2; this one reads up to 1"):
        pfa.read_rdms(path)


def test_every_file_is_written_by_way_of_a_temporary_one(tmp_path, monkeypatch):
    replaced = []
    original = Path.replace

    def watched(self, target):
        replaced.append(Path(target).name)
        return original(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    pfa.write_rdms(with_provenance(guide_stack()), tmp_path / "stack.p")
    pfa.write_rdms(guide_stack(), tmp_path / "stack.parquet")
    assert replaced == [
        "stack.p.provenance.next.parquet",
        "stack.p",
        "stack.p.provenance.parquet",
        "stack.parquet",
    ]
    assert _files.same_content(tmp_path / "stack.p", tmp_path / "stack.p")


def test_others_can_read_the_columns(tmp_path):
    pfa.write_rdms(guide_stack(), tmp_path / "stack.parquet")
    table = parquet.read_table(tmp_path / "stack.parquet", filters=[("layer", "==", "conv1")])
    assert table.num_rows == 4
    assert table.schema.field("layer_num").type == pa.int64()
    assert table["perm"].to_pylist()[:2] == ['"orig_data"', "1"]


def keep_parts(out, *pieces):
    """The folder of parts of `out`, written as a run that is not finished leaves it."""
    folder = parts_folder(out)
    folder.mkdir(exist_ok=True)
    for piece in pieces:
        write_part(piece, folder / part_name(piece["row_key"].tolist(), out.suffix))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_not_there_yet_is_read_from_its_parts_with_a_warning(
    name, tmp_path, caplog
):
    out = tmp_path / name
    one, two = rows_of("one"), rows_of("two")
    folder = keep_parts(out, one, two)
    with caplog.at_level(logging.INFO):
        found = pfa.read_rdms(out, provenance=True)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert f"'{out}' is not finished: its rows are those of the parts in '{folder}'" in message
    assert f"get_rdms(..., out_fname='{out}') made once more computes what is missing" in message
    assert set(found["row_key"]) == {*one["row_key"], *two["row_key"]}
    assert len(found) == 8
    caplog.clear()
    assert_same(pfa.read_rdms(folder, provenance=True), found)
    assert caplog.text == ""
    some = pfa.read_rdms(out, where=[("model", "two"), ("layer", "conv2")], columns=["layer"])
    assert_same(some, found[(found["model"] == "two") & (found["layer"] == "conv2")][["layer"]])


@pytest.mark.parametrize("name", FORMATS[:2])
def test_a_file_is_read_alone_and_parts_beside_it_are_mentioned(name, tmp_path, caplog):
    out = tmp_path / name
    stack = guide_stack()
    pfa.write_rdms(stack, out)
    folder = keep_parts(out, rows_of("one"))
    with caplog.at_level(logging.INFO):
        assert_same(pfa.read_rdms(out), stack)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert f"'{out}' is read without the parts in '{folder}'" in record.getMessage()
    assert pfa.read_rdms(folder)["model"].unique().tolist() == ["one"]


def test_an_empty_folder_of_parts_is_as_good_as_none(tmp_path, caplog):
    out = tmp_path / "stack.parquet"
    folder = keep_parts(out)
    with pytest.raises(FileNotFoundError, match=r"stack\.parquet', but there is no such file"):
        pfa.read_rdms(out)
    with pytest.raises(FileNotFoundError, match=r"no part of a stack.*parts have gone.*read '"):
        pfa.read_rdms(folder)
    folder.rmdir()
    with pytest.raises(FileNotFoundError, match=r"no part of a stack.*read '.*stack\.parquet'"):
        pfa.read_rdms(folder)
    pfa.write_rdms(guide_stack(), out)
    with caplog.at_level(logging.INFO):
        pfa.read_rdms(out)
    assert caplog.text == ""


def test_a_run_that_finishes_while_its_parts_are_read_is_read_from_its_file(tmp_path, monkeypatch):
    out = tmp_path / "stack.parquet"
    piece = rows_of("one")
    folder = keep_parts(out, piece)
    whole = piece.drop(columns=[*PROVENANCE_COLUMNS])

    def finish(*args, **kwargs):
        pfa.write_rdms(piece, out)
        pfa.filedelete(folder)
        raise FileNotFoundError(folder / "a part")

    monkeypatch.setattr(stack_files, "read_parts", finish)
    assert_same(pfa.read_rdms(out), whole)
