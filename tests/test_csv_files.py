"""Frames in CSV files: created, appended to, changed by key, combined."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.csv_files import write_table


def results(layers=("conv1", "conv2"), accs=(0.5, 0.75)):
    return pd.DataFrame({"layer": list(layers), "acc": list(accs)})


def test_a_new_file_is_what_pandas_writes(tmp_path):
    path = tmp_path / "new.csv"
    pfa.create_or_append_csv(results(), path)
    # oracle: pandas
    assert path.read_text(encoding="utf-8") == results().to_csv()
    pd.testing.assert_frame_equal(pd.read_csv(path, index_col=0), results())
    assert [file.name for file in tmp_path.iterdir()] == ["new.csv"]


def test_a_table_that_is_replaced_is_kept_unless_it_is_the_same(tmp_path, caplog):
    path = tmp_path / "table.csv"
    for number in (1, 1, 2, 2):
        write_table(pd.DataFrame({"a": [number], "b": ["x"]}, index=[7]), path)
    assert path.read_text() == "a,b\n2,x\n"
    assert (tmp_path / "table.superseded.csv").read_text() == "a,b\n1,x\n"
    assert len(list(tmp_path.iterdir())) == 2
    assert caplog.text.count("would have been overwritten") == 1


def test_an_empty_file_counts_as_none(tmp_path):
    path = tmp_path / "empty.csv"
    path.touch()
    pfa.create_or_append_csv(results(), path)
    assert len(pfa.combine_csvs(path)) == 2


def test_further_rows_come_after_the_old_ones_without_a_header(tmp_path):
    path = tmp_path / "rows.csv"
    pfa.create_or_append_csv(results(), path)
    before = path.read_bytes()
    pfa.create_or_append_csv(results(["relu1"], [1.0]), path)
    assert path.read_bytes() == before + b"0,relu1,1.0\n"
    pfa.create_or_append_csv(results().iloc[:0], path)
    assert len(pfa.combine_csvs(path)) == 3


def test_a_file_that_does_not_end_its_last_line_is_not_run_into(tmp_path):
    path = tmp_path / "cut.csv"
    path.write_text(",layer,acc\n0,conv1,0.5", encoding="utf-8")
    pfa.create_or_append_csv(results(), path)
    assert pfa.combine_csvs(path)["layer"].tolist() == ["conv1", "conv1", "conv2"]


def test_columns_find_their_place_by_name(tmp_path):
    path = tmp_path / "order.csv"
    pfa.create_or_append_csv(results(), path)
    pfa.create_or_append_csv(results()[["acc", "layer"]], path)
    twice = pd.concat([results(), results()], ignore_index=True)
    pd.testing.assert_frame_equal(pfa.combine_csvs(path), twice)


def test_a_file_without_an_index_stays_without(tmp_path):
    path = tmp_path / "bare.csv"
    results().to_csv(path, index=False)
    pfa.create_or_append_csv(results(["relu1"], [1.0]), path)
    pfa.create_or_append_csv(results(["relu2"], [0.0])[["acc", "layer"]], path)
    assert path.read_text(encoding="utf-8") == (
        "layer,acc\nconv1,0.5\nconv2,0.75\nrelu1,1.0\nrelu2,0.0\n"
    )


def test_an_index_with_a_name_is_a_column_by_that_name(tmp_path):
    path = tmp_path / "named.csv"
    df = results().set_index("layer")
    pfa.create_or_append_csv(df, path)
    pfa.create_or_append_csv(results(["relu1"], [1.0]).set_index("layer"), path)
    assert pfa.combine_csvs(path).to_dict("list") == {
        "layer": ["conv1", "conv2", "relu1"],
        "acc": [0.5, 0.75, 1.0],
    }


@pytest.mark.parametrize("keys", [(), ("layer",)])
def test_other_columns_are_refused_by_name_and_the_file_stays(tmp_path, keys):
    path = tmp_path / "other.csv"
    pfa.create_or_append_csv(results(), path)
    before = path.read_bytes()
    df = results().rename(columns={"acc": "accuracy"})
    with pytest.raises(ValueError, match=r"Not in the file: accuracy\. Not in `df`: acc\."):
        pfa.create_or_append_csv(df, path, keys=keys)
    with pytest.raises(ValueError, match=r"Not in the file: run\. Not in `df`: -\."):
        pfa.create_or_append_csv(results().assign(run=1), path, keys=keys)
    assert path.read_bytes() == before


def test_rows_with_the_same_keys_are_replaced_in_their_place(tmp_path):
    path = tmp_path / "keys.csv"
    pfa.create_or_append_csv(results(["a", "b", "c"], [1, 2, 3]), path, keys=["layer"])
    pfa.create_or_append_csv(results(["d", "b"], [4, 20]), path, keys=["layer"])
    df = pfa.combine_csvs(path)
    assert df["layer"].tolist() == ["a", "b", "c", "d"]
    assert df["acc"].tolist() == [1, 20, 3, 4]


def test_running_again_with_keys_changes_nothing_but_without_doubles(tmp_path):
    path = tmp_path / "again.csv"
    df = pd.DataFrame({"model": ["m", "m", "n"], "layer": ["x", "y", "x"], "acc": [0.1, 0.2, 1]})
    pfa.create_or_append_csv(df, path)
    before = path.read_bytes()
    for _ in range(2):
        pfa.create_or_append_csv(df, path, keys=["model", "layer"])
    assert path.read_bytes() == before
    pfa.create_or_append_csv(df, path)
    assert len(pfa.combine_csvs(path)) == 6


@pytest.mark.parametrize("seed", range(5))
def test_replacing_by_keys_is_a_dict_updated(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "many.csv"
    expected: dict = {}
    for _ in range(4):
        pairs = rng.permutation(30)[:12]
        df = pd.DataFrame({"a": pairs // 6, "v": rng.random(12), "b": pairs % 6})
        pfa.create_or_append_csv(df, path, keys=["b", "a"])
        # oracle: a Python dict, which replaces in place and adds at the end
        expected |= {(a, b): v for a, v, b in df.itertuples(index=False)}
    got = pfa.combine_csvs(path)
    assert dict(zip(zip(got["a"], got["b"], strict=True), got["v"], strict=True)) == expected
    assert list(zip(got["a"], got["b"], strict=True)) == list(expected)


def test_rows_that_are_not_replaced_keep_their_text(tmp_path):
    path = tmp_path / "text.csv"
    path.write_text(
        'color,acc,note\n000,1.50,NA\n090,0.10,"a, b"\n090,9,"two\nlines"\n', encoding="utf-8"
    )
    df = pd.DataFrame({"color": ["180", "000"], "acc": [0.5, 0.25], "note": ["ü", None]})
    pfa.create_or_append_csv(df, path, keys=["color"])
    assert path.read_text(encoding="utf-8") == (
        'color,acc,note\n000,0.25,\n090,0.10,"a, b"\n090,9,"two\nlines"\n180,0.5,ü\n'
    )


def test_doubles_of_a_replaced_row_go_too(tmp_path):
    path = tmp_path / "doubles.csv"
    for _ in range(2):
        pfa.create_or_append_csv(results(), path)
    pfa.create_or_append_csv(results(["conv2"], [1.0]), path, keys=["layer"])
    df = pfa.combine_csvs(path)
    assert df["layer"].tolist() == ["conv1", "conv2", "conv1"]
    assert df["acc"].tolist() == [0.5, 1.0, 0.5]


@pytest.mark.parametrize("exists", [False, True])
def test_keys_must_be_columns_that_tell_the_rows_apart(tmp_path, exists):
    path = tmp_path / "bad.csv"
    if exists:
        pfa.create_or_append_csv(results(), path)
    with pytest.raises(ValueError, match="`df` has no column 'unit'"):
        pfa.create_or_append_csv(results(), path, keys=["unit"])
    with pytest.raises(ValueError, match=r"\['layer'\] = \['x'\] occurs twice"):
        pfa.create_or_append_csv(results(["x", "x"]), path, keys=["layer"])
    with pytest.raises(TypeError, match="`keys` must be a list of columns, not 'layer'"):
        pfa.create_or_append_csv(results(), path, keys="layer")
    assert path.exists() == exists


def test_arrays_have_no_place_in_a_csv_file(tmp_path):
    df = results().assign(matrix=[np.eye(2)] * 2)
    with pytest.raises(TypeError, match=r"arrays in column 'matrix'.*write_rdms"):
        pfa.create_or_append_csv(df, tmp_path / "stack.csv")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` is .*there is no folder"):
        pfa.create_or_append_csv(results(), tmp_path / "none" / "x.csv")
    with pytest.raises(TypeError, match="`df` must be a pandas DataFrame, not list"):
        pfa.create_or_append_csv([1], tmp_path / "x.csv")


def test_a_file_that_is_no_table_is_refused_whole(tmp_path):
    path = tmp_path / "ragged.csv"
    path.write_text("layer,acc\na,1\nb,2,3,4\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ragged\.csv' cannot be read as a CSV file"):
        pfa.create_or_append_csv(results(), path, keys=["layer"])
    with pytest.raises(ValueError, match=r"ragged\.csv' cannot be read as a CSV file"):
        pfa.combine_csvs(path)
    path.write_bytes(b"\xff\xfe\x00bin\x80")
    with pytest.raises(ValueError, match=r"ragged\.csv' cannot be read as a CSV file"):
        pfa.create_or_append_csv(results(), path)
    assert path.read_bytes() == b"\xff\xfe\x00bin\x80"


def folder_of_tables(tmp_path):
    results(["b1"], [1.0]).to_csv(tmp_path / "cat_b.csv")
    results(["a1"], [2.0]).to_pickle(tmp_path / "dog_a.p")
    results(["c1"], [3.0]).to_pickle(tmp_path / "dog_c.PKL")
    for foreign in ("figure.png", "figure.pdf", "script.py", "notes.csv.txt", "cat_x.parquet"):
        (tmp_path / foreign).write_text("no table", encoding="utf-8")
    for own in ("dog_a.superseded.p", "dog_a.superseded-2.p", ".cat_b.0123.csv"):
        results(["old"], [9.0]).to_csv(tmp_path / own)
    (tmp_path / "folder.csv").mkdir()
    return tmp_path


def test_a_folder_gives_its_tables_in_the_order_of_their_names_and_nothing_else(tmp_path):
    folder = folder_of_tables(tmp_path)
    expected = results(["b1", "a1", "c1"], [1.0, 2.0, 3.0])
    pd.testing.assert_frame_equal(pfa.combine_csvs(folder), expected)
    pd.testing.assert_frame_equal(pfa.combine_csvs(str(folder)), expected)


def test_keys_are_parts_of_file_names_of_which_any_will_do(tmp_path):
    folder = folder_of_tables(tmp_path)
    assert pfa.combine_csvs(folder, ["dog"])["layer"].tolist() == ["a1", "c1"]
    assert pfa.combine_csvs(folder, ["cat", "_c"])["layer"].tolist() == ["b1", "c1"]
    # The folder's own name is no part of the file's.
    with pytest.raises(ValueError, match=rf"\['{folder.name}'\] in its name.*cat_b\.csv, dog_a"):
        pfa.combine_csvs(folder, [folder.name])
    with pytest.raises(TypeError, match="`keys` must be a list of parts of file names, not 'cat'"):
        pfa.combine_csvs(folder, "cat")


def test_listed_files_are_read_in_the_order_of_the_list(tmp_path):
    folder = folder_of_tables(tmp_path)
    files = [folder / "dog_c.PKL", str(folder / "cat_b.csv"), folder / "dog_c.PKL"]
    assert pfa.combine_csvs(files)["layer"].tolist() == ["c1", "b1", "c1"]
    assert pfa.combine_csvs(files, ["dog"])["layer"].tolist() == ["c1", "c1"]


def test_numbers_come_back_to_the_last_digit(tmp_path):
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"v": np.append(rng.random(500), [1e-310, 0.1 + 0.2, np.nan, np.inf])})
    pfa.create_or_append_csv(df, tmp_path / "v.csv")
    pd.testing.assert_frame_equal(pfa.combine_csvs(tmp_path), df, check_exact=True)


def test_leading_zeros_survive_when_the_type_is_said(tmp_path):
    df = pd.DataFrame({"color": ["000", "090"], "acc": [1, 2]})
    pfa.create_or_append_csv(df, tmp_path / "c.csv")
    assert pfa.combine_csvs(tmp_path)["color"].tolist() == [0, 90]
    pd.testing.assert_frame_equal(pfa.combine_csvs(tmp_path, dtype={"color": str}), df)


def test_a_column_that_one_file_lacks_is_nan_and_the_log_says_so(tmp_path, caplog):
    pfa.create_or_append_csv(results(["a"], [1.0]), tmp_path / "1.csv")
    pfa.create_or_append_csv(pd.DataFrame({"layer": ["b"], "run": [7]}), tmp_path / "2.csv")
    with caplog.at_level(logging.WARNING):
        df = pfa.combine_csvs(tmp_path)
    assert list(df.columns) == ["layer", "acc", "run"]
    np.testing.assert_array_equal(df["acc"], [1, np.nan])
    np.testing.assert_array_equal(df["run"], [np.nan, 7])
    assert "1.csv has no column run" in caplog.text
    assert "2.csv has no column acc" in caplog.text


def test_indices_without_names_go_and_those_with_names_stay(tmp_path):
    named = results(["a"], [1.0]).set_index("layer")
    named.to_pickle(tmp_path / "1.p")
    levels = pd.MultiIndex.from_tuples([("x", "y")])
    results(["b"], [2.0]).set_index(levels).to_csv(tmp_path / "2.csv")
    pd.testing.assert_frame_equal(pfa.combine_csvs(tmp_path), results(["a", "b"], [1.0, 2.0]))


def test_what_cannot_be_combined_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"`path` has no \.csv, \.p or \.pkl file: "):
        pfa.combine_csvs(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"names what is no file: .*one\.csv, .*two\.p"):
        pfa.combine_csvs([tmp_path / "one.csv", tmp_path / "two.p"])
    image = tmp_path / "figure.png"
    image.touch()
    with pytest.raises(ValueError, match=r"must name files that end in \.csv.*figure\.png"):
        pfa.combine_csvs([image])
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"empty\.csv' cannot be read as a CSV file"):
        pfa.combine_csvs(tmp_path / "empty.csv")
    (tmp_path / "list.p").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(TypeError, match=r"list\.p' holds a list, not a data frame"):
        pfa.combine_csvs(tmp_path / "list.p")
    with pytest.raises(TypeError, match="`path` must be a list of files, or the path of a folder"):
        pfa.combine_csvs(3)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (tmp_path / "trap.p").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"builtins\.eval"):
        pfa.combine_csvs(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_no_input_is_changed(tmp_path):
    df, keys, files = results(), ["layer"], [tmp_path / "a.csv"]
    for _ in range(2):
        pfa.create_or_append_csv(df, files[0], keys=keys)
    pfa.combine_csvs(files, keys=[])
    pfa.combine_csvs(files, keys=["a"])
    pd.testing.assert_frame_equal(df, results())
    assert keys == ["layer"]
    assert files == [tmp_path / "a.csv"]


def test_threads_that_write_one_file_at_once_lose_no_row(tmp_path):
    path = tmp_path / "together.csv"

    def write(number):
        pfa.create_or_append_csv(results([f"conv{number}"], [0.5]), path, keys=["layer"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(24)))
    assert sorted(pfa.combine_csvs(path)["layer"]) == sorted(f"conv{k}" for k in range(24))
    assert [file.name for file in tmp_path.iterdir()] == ["together.csv"]
