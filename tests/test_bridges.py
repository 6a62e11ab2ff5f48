"""Stacks to files of other formats and back: nothing is lost, or it is said."""

import csv
import io
import itertools
import logging
import sys

import numpy as np
import pandas as pd
import pytest
from test_stack_files import assert_same, guide_stack, names, random_stack, with_provenance

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.bridges import csv_long
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

WHOLE = [".h5", ".hdf5", ".mat", ".npz", ".nc"]
ALL = [*WHOLE, ".csv"]


def unlike_stack():
    """Rows of several sizes, with all that is hard to keep."""
    crooked = np.array([[0.0, 1e-310, np.nan], [1 / 3, 0.5, -0.0], [np.inf, 2.0, 0.0]])
    symmetric = np.array([[0.0, 0.1, np.nan], [0.1, 0.0, 0.7], [np.nan, 0.7, 0.0]])
    keys = (("ü\u2603", 1), ('b, "c"', 2), ("\U0001f408\n", ("x", 3)))
    return pd.DataFrame(
        {
            "note": ["1", "null", "", "NaN"],
            "number": [1, 2.5, True, None],
            "matrix": [crooked, symmetric, np.array([[0.0]]), symmetric.T[::-1, ::-1]],
            "label": [("conv1", 1), [1, (2,)], {"a": float("nan")}, np.float32(0.1)],
            "entry_keys": [keys, keys, (("only",),), (("a",), ("1",), (1,))],
            "entry_labels": [
                tuple({"name": k, "größe": k / 3} for k in range(3)),
                tuple({"name": k, "größe": str(k)} for k in range(3)),
                ({"entry": "only"},),
                ({"entry": "a"}, {"entry": "1"}, {"entry": 1}),
            ],
            "price": [0.1, float("nan"), 3.0, float("-inf")],
        }
    )


@pytest.mark.parametrize("suffix", ALL)
def test_what_is_written_is_read_back(suffix, tmp_path):
    for k, stack in enumerate([guide_stack(), unlike_stack(), unlike_stack().iloc[:0]]):
        path = tmp_path / f"stack{k}{suffix}"
        before = stack.copy(deep=False)
        pfa.write_rdms(stack, path)
        again = pfa.read_rdms(path)
        if suffix == ".csv" and not len(stack):
            assert again.columns.tolist() == stack.columns.tolist()
        else:
            assert_same(again, stack)
        assert not any(matrix.flags.writeable for matrix in again["matrix"])
        assert_same(stack, before)
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("seed", range(40))
def test_any_stack_comes_back_with_its_values_types_and_index(seed, tmp_path):
    stack = random_stack(seed)
    suffix = WHOLE[seed % len(WHOLE)]
    zoned = [name for name in stack if isinstance(stack[name].dtype, pd.DatetimeTZDtype)]
    pfa.write_rdms(stack.drop(columns=zoned), tmp_path / f"stack{suffix}")
    assert_same(pfa.read_rdms(tmp_path / f"stack{suffix}"), stack.drop(columns=zoned))


@pytest.mark.parametrize("seed", range(20))
def test_cells_of_any_stack_come_back_from_a_csv_file(seed, tmp_path):
    stack = random_stack(seed)
    typed = [name for name in stack if stack[name].dtype != object]
    stack = stack.drop(columns=typed).reset_index(drop=True)
    pfa.write_rdms(stack, tmp_path / "stack.csv")
    again = pfa.read_rdms(tmp_path / "stack.csv")
    assert again.columns.tolist() == stack.columns.tolist()
    assert_same(again.astype(object), stack.set_axis(again.columns, axis=1).set_axis(again.index))


def test_columns_of_all_types_of_pandas_come_back_but_for_zoned_times(tmp_path):
    stack = guide_stack(4).assign(
        category=pd.Categorical(
            ["b", "a", None, "b"], categories=["b", "unused", "a"], ordered=True
        ),
        integer=pd.array([1, None, 2**60 + 1, 3], dtype="Int64"),
        real=pd.array([0.5, None, 1.5, 2.5], dtype="Float32"),
        text=pd.array(["a", None, "ü", ""], dtype="str"),
        time=pd.to_datetime(["2020-01-01", None, "2021-01-01", "1600-01-01"]),
        span=pd.to_timedelta([1, None, 2, 3], unit="ns"),
        half=np.array([0.5, np.nan, np.inf, 1], dtype=np.float16),
    )
    stack = stack.set_index(pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None]))
    for suffix in WHOLE:
        pfa.write_rdms(stack, tmp_path / f"stack{suffix}")
        again = pfa.read_rdms(tmp_path / f"stack{suffix}")
        pd.testing.assert_frame_equal(again.drop(columns="matrix"), stack.drop(columns="matrix"))
    zoned = stack.assign(time=stack["time"].dt.tz_localize("UTC"))
    for suffix in ALL:
        with pytest.raises(TypeError, match=r"'time'.*Timestamp, which a \.\w+ file cannot"):
            pfa.write_rdms(zoned, tmp_path / f"zoned{suffix}")
    assert not any(name.startswith("zoned") for name in names(tmp_path))


def test_a_csv_file_says_what_it_does_not_hold(tmp_path, caplog):
    pfa.write_rdms(guide_stack(), tmp_path / "stack.csv")
    assert caplog.text == ""
    stack = guide_stack(4, small=np.arange(4, dtype=np.int8)).set_axis(list("abcd"))
    pfa.write_rdms(stack, tmp_path / "other.csv")
    assert "holds no index" in caplog.text
    assert "'small' will be read with another one than 'int8'" in caplog.text


@pytest.mark.parametrize("suffix", ALL)
def test_a_file_of_other_content_is_kept_and_one_of_the_same_is_not(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"stack{suffix}"
    pfa.write_rdms(guide_stack(), path)
    # The second time, the clock has gone on.
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    monkeypatch.setattr("time.asctime", lambda *args: "another time")
    pfa.write_rdms(guide_stack(), path)
    assert names(tmp_path) == [path.name]
    pfa.write_rdms(guide_stack(seed=1), path)
    assert_same(pfa.read_rdms(tmp_path / f"stack.superseded{suffix}"), guide_stack())
    assert_same(pfa.read_rdms(path), guide_stack(seed=1))


@pytest.mark.parametrize("suffix", ALL)
def test_conditions_columns_and_provenance_are_those_of_a_parquet_file(suffix, tmp_path):
    stack = with_provenance(guide_stack()).astype({"num_threads": object})
    for name in (f"stack{suffix}", "stack.parquet"):
        pfa.write_rdms(stack, tmp_path / name)
    for options in (
        {},
        {"where": [("layer", "conv1"), ("model", ["vgg19", "alexnet"])]},
        {"columns": ["matrix", "model"], "where": ("perm", 3)},
        {"provenance": True},
        {"provenance": True, "columns": ["model"]},
        {"where": [("run_id", "two")]},
    ):
        found = pfa.read_rdms(tmp_path / f"stack{suffix}", **options)
        expected = pfa.read_rdms(tmp_path / "stack.parquet", **options)
        if suffix == ".csv":
            found, expected = found.astype(object), expected.astype(object)
        assert_same(found, expected)
    with pytest.raises(ValueError, match=r"`columns` names 'modell'.*Did you mean 'model'"):
        pfa.read_rdms(tmp_path / f"stack{suffix}", columns=["modell"])
    bare = guide_stack()
    pfa.write_rdms(bare, tmp_path / f"bare{suffix}")
    found = pfa.read_rdms(tmp_path / f"bare{suffix}", provenance=True)
    assert found.columns.tolist() == [*bare.columns, *PROVENANCE_COLUMNS]
    assert found["row_key"].tolist() == [None] * 12


@pytest.mark.parametrize("suffix", WHOLE)
def test_a_file_is_known_by_its_content(suffix, tmp_path):
    pfa.write_rdms(guide_stack(), tmp_path / f"stack{suffix}")
    other = ".npz" if suffix != ".npz" else ".h5"
    (tmp_path / f"stack{suffix}").rename(tmp_path / f"renamed{other}")
    assert_same(pfa.read_rdms(tmp_path / f"renamed{other}"), guide_stack())


@pytest.mark.parametrize("suffix", WHOLE)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_file_cut_short_is_named(suffix, share, tmp_path):
    path = tmp_path / f"stack{suffix}"
    pfa.write_rdms(guide_stack(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"stack\{suffix}'"):
        pfa.read_rdms(path)


def test_files_of_no_known_kind_are_named(tmp_path):
    path = tmp_path / "stack.h5"
    path.write_bytes(b"\0\1\2\3" * 300)
    with pytest.raises(ValueError, match=r"stack\.h5' cannot be read: it is none of the formats"):
        pfa.read_rdms(path)
    with pytest.raises(ValueError, match=r"must end in \.parquet.*ends in \.xlsx"):
        pfa.read_rdms(tmp_path / "stack.xlsx")
    with pytest.raises(ValueError, match=r"must end in .*\.npz, \.nc, \.csv; .*ends in \.npy"):
        pfa.write_rdms(guide_stack(), tmp_path / "stack.npy")
    with pytest.raises(FileNotFoundError, match="no such file"):
        pfa.read_rdms(tmp_path / "stack.mat")
    with pytest.raises(ValueError, match=r"`out_fname` must end in.*`write_rdms` turns"):
        pfa.get_meta_rdms(guide_stack(), tmp_path / "a.mat", ["layer"])


def test_a_file_that_was_changed_meanwhile_is_not_taken_for_the_stack(tmp_path):
    import h5py

    path = tmp_path / "stack.h5"
    pfa.write_rdms(guide_stack(), path)
    with h5py.File(path, "r+") as file:
        matrices = file["matrix_4"][:5]
        del file["matrix_4"], file["row_4"]
        file["matrix_4"], file["row_4"] = matrices, np.arange(5)
    with pytest.raises(ValueError, match=r"changed since .*5 matrices, and 12.*'pfa_stack'"):
        pfa.read_rdms(path)
    with h5py.File(path, "r+") as file:
        text = file["pfa_stack"].asstr()[()]
        del file["pfa_stack"]
        file["pfa_stack"] = text.replace('"format":1', '"format":2', 1)
    with pytest.raises(ValueError, match=r"a later version .*format 2; this one reads up to 1"):
        pfa.read_rdms(path)


def test_entry_keys_are_for_files_that_do_not_say_them(tmp_path):
    for suffix in (".parquet", ".p", *ALL):
        pfa.write_rdms(guide_stack(), tmp_path / f"stack{suffix}")
        with pytest.raises(ValueError, match=r"`entry_keys` is for files.*Leave it out"):
            pfa.read_rdms(tmp_path / f"stack{suffix}", entry_keys=list("abcd"))
    with pytest.raises(TypeError, match="`entry_keys` must be a list of names, not 'abcd'"):
        pfa.read_rdms(tmp_path / "stack.npz", entry_keys="abcd")


def test_float32_is_for_parquet(tmp_path):
    with pytest.raises(ValueError, match=r"`dtype` 'float32' is for parquet files"):
        pfa.write_rdms(guide_stack(), tmp_path / "stack.h5", dtype="float32")


def test_without_h5py_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    pfa.write_rdms(guide_stack(), tmp_path / "stack.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (
        lambda: pfa.read_rdms(tmp_path / "stack.h5"),
        lambda: pfa.write_rdms(guide_stack(), tmp_path / "other.h5"),
    ):
        with pytest.raises(ImportError, match=r"(stack|other)\.h5' .*feature_analysis\[hdf5\]"):
            call()
    # NetCDF is written by scipy.
    pfa.write_rdms(guide_stack(), tmp_path / "stack.nc")


def test_what_a_csv_file_cannot_hold_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"columns named 'value', which a \.csv file uses"):
        pfa.write_rdms(guide_stack(value=1), tmp_path / "stack.csv")
    stack = guide_stack(2).rename(columns={"obj": 3})
    for suffix in ALL:
        with pytest.raises(TypeError, match="columns named 3; a"):
            pfa.write_rdms(stack, tmp_path / f"stack{suffix}")


def test_a_csv_file_is_what_the_csv_module_writes(tmp_path, monkeypatch):
    numbers = [0.0, -0.0, 1.0, 1e-5, 1e-4, 0.1 + 0.2, 1e9 + 0.5, 1e10 + 0.5, 1e16, 5e-324, np.inf]
    names = ["50 % s", "a,b", 'say "hi"', "%s", "ü"]
    monkeypatch.setattr(csv_long, "_PAIRS_AT_ONCE", 10)
    rng = np.random.default_rng(0)
    whole = np.concatenate([numbers, -np.array(numbers), [np.nan, *rng.normal(size=2)]])
    matrices = [whole.reshape(5, 5), pfa.compute_rdm(rng.normal(size=(5, 9)), "L2")]
    stack = pd.DataFrame({"layer": ["x, %d", "y"], "entry_keys": [names] * 2, "matrix": matrices})
    pfa.write_rdms(stack.assign(pair=[("a", 1), ("b", 2)]), tmp_path / "stack.csv")
    with (tmp_path / "stack.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    places = [itertools.product(range(5), repeat=2), itertools.combinations(range(5), 2)]
    expected = [
        [str(k), layer, names[i], names[j], repr(float(matrix[i, j])), "" if n else pair]
        for k, layer, matrix, pair in zip(
            range(2), stack["layer"], matrices, ['["a",1]', '["b",2]'], strict=True
        )
        for n, (i, j) in enumerate(places[k])
    ]
    assert head == ["rdm", "layer", "item_1", "item_2", "value", "pair"]
    assert lines == expected
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *expected])
    assert (tmp_path / "stack.csv").read_bytes().decode() == text.getvalue()


def test_numbers_with_blanks_and_gaps_are_read(tmp_path):
    text = "item_1,item_2,value\na,b, 1.5\na,c,NA\nb,c,\na,d,1e3\nb,d,.5\nc,d,-inf\n"
    (tmp_path / "stack.csv").write_text(text)
    (matrix,) = pfa.read_rdms(tmp_path / "stack.csv")["matrix"]
    np.testing.assert_array_equal(
        matrix[np.triu_indices(4, 1)], [1.5, np.nan, 1e3, np.nan, 0.5, -np.inf]
    )


def test_a_csv_file_is_a_long_table_that_pandas_reads(tmp_path):
    stack = guide_stack(2, 3)
    pfa.write_rdms(stack, tmp_path / "stack.csv")
    table = pd.read_csv(tmp_path / "stack.csv", dtype={"item_1": str, "item_2": str})
    assert table["model"].tolist() == ["alexnet"] * 3 + ["vgg19"] * 3
    assert (
        table["item_1"].tolist() == ['"000"', '"000"', '"001"'] * 2
        or table["item_1"].tolist() == ["000", "000", "001"] * 2
    )
    # Oracle: numpy's order of the upper triangle.
    expected = [matrix[np.triu_indices(3, 1)] for matrix in stack["matrix"]]
    np.testing.assert_array_equal(table["value"], np.concatenate(expected))


def test_reading_is_silent_where_nothing_is_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for suffix in ALL:
        pfa.write_rdms(guide_stack(), tmp_path / f"stack{suffix}")
        pfa.read_rdms(tmp_path / f"stack{suffix}")
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", WHOLE)
def test_equal_cells_that_can_be_changed_are_not_shared_and_entries_are(suffix, tmp_path):
    stack = guide_stack(4, options=[[1], [1], {"a": 1}, {"a": 1}])
    stack["entry_keys"] = [[["a"], ["b"], ["c"], ["d"]]] * 4
    pfa.write_rdms(stack, tmp_path / f"stack{suffix}")
    again = pfa.read_rdms(tmp_path / f"stack{suffix}")
    again["options"][0].append(2)
    again["options"][2]["b"] = 2
    assert again["options"].tolist() == [[1, 2], [1], {"a": 1, "b": 2}, {"a": 1}]
    assert again["entry_keys"][0] == [["a"], ["b"], ["c"], ["d"]]
    assert len({id(cell) for cell in again["entry_labels"]}) == 1


@pytest.mark.parametrize("suffix", ALL)
def test_a_failure_while_writing_leaves_the_old_file(suffix, tmp_path):
    path = tmp_path / f"stack{suffix}"
    pfa.write_rdms(guide_stack(), path)
    before = path.read_bytes()
    with pytest.raises(
        TypeError, match=r"column 'bad' of the row at position 3 .*builtins.object"
    ):
        pfa.write_rdms(guide_stack(bad=[1, 2, 3, object(), *[5] * 8]), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


def test_other_programs_find_numbers_and_names_where_they_look(tmp_path):
    import h5py
    import scipy.io

    stack = guide_stack(2, 3).drop(columns=["kernel_inds", "perm", "perm_scramble"])
    stack["entry_keys"] = [(("ü",), ("b",), ("c",))] * 2
    for suffix in WHOLE:
        pfa.write_rdms(stack, tmp_path / f"stack{suffix}")
    squares = np.stack(stack["matrix"])
    structs = scipy.io.loadmat(tmp_path / "stack.mat")["RDMs"]
    assert structs.shape == (1, 2)
    np.testing.assert_array_equal(np.stack(structs["RDM"][0]), squares)
    assert [str(name.item()) for name in structs["name"][0]] == ["alexnet", "vgg19"]
    with np.load(tmp_path / "stack.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["vgg19"], squares[1])
        assert arrays["entries"].tolist() == ["ü", "b", "c"]
    with h5py.File(tmp_path / "stack.h5") as file:
        np.testing.assert_array_equal(file["matrix_3"], squares)
        assert file["entries"].asstr()[()].tolist() == ["ü", "b", "c"]
        assert file["names"].asstr()[()].tolist() == ["alexnet", "vgg19"]
    with scipy.io.netcdf_file(tmp_path / "stack.nc", mmap=False) as file:
        assert file.variables["matrix_3"].dimensions == ("rdm", "entry", "other_entry")
        np.testing.assert_array_equal(file.variables["matrix_3"].data, squares)
        letters = file.variables["entry"].data
        assert [line.tobytes().rstrip(b"\0").decode() for line in letters] == ["ü", "b", "c"]


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".h5"])
def test_a_number_that_was_changed_in_a_file_does_not_go_unseen(suffix, tmp_path):
    stack = guide_stack()
    path = tmp_path / f"stack{suffix}"
    pfa.write_rdms(stack, path)
    content = path.read_bytes()
    number = stack["matrix"][7][0, 1]
    order = ">f8" if suffix == ".nc" else "<f8"
    place = content.index(np.array(number, dtype=order).tobytes())
    path.write_bytes(content[:place] + b"\1\2" + content[place + 2 :])
    with pytest.raises(ValueError, match=rf"stack\{suffix}' (has been changed since|.*CRC)"):
        pfa.read_rdms(path)
