import logging

import numpy as np
import pandas as pd
import pytest
from made_parts import keys_of, rows_of, same_rows, stacked
from made_stacks import small_stack
from pandas.testing import assert_frame_equal

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis.stack_parts import (
    part_files,
    part_name,
    parts_folder,
    read_part_keys,
    read_parts,
    write_part,
)
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

SUFFIXES = [".parquet", ".p", ".pkl"]


def keep(folder, suffix, *pieces):
    return [write_as_part(folder, suffix, piece) for piece in pieces]


def write_as_part(folder, suffix, piece):
    path = folder / part_name(keys_of(piece), suffix)
    write_part(piece, path)
    return path


def test_the_folder_of_a_file_has_its_whole_name(tmp_path):
    assert parts_folder(tmp_path / "a.b.parquet") == tmp_path / "a.b.parquet.parts"
    (tmp_path / "link.p").symlink_to(tmp_path / "far.p")
    assert parts_folder(tmp_path / "link.p") == tmp_path / "far.p.parts"
    assert part_files(tmp_path / "a.b.parquet.parts") == []


def test_a_part_is_named_by_its_keys_in_whatever_order():
    assert part_name(["a", "b"], ".p") == part_name(["b", "a"], ".p")
    names = {part_name(keys, ".p") for keys in (["a"], ["b"], ["a", "b"], ["ab"], ["a", "bc"])}
    assert len(names) == 5
    assert part_name(["a"], ".PKL").endswith(".PKL")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_part_is_one_file_with_rows_and_provenance(suffix, tmp_path):
    rows = rows_of("a")
    before = rows.copy()
    (path,) = keep(tmp_path, suffix, rows)
    assert part_files(tmp_path) == [path] == list(tmp_path.iterdir())
    assert read_part_keys(path) == set(keys_of(rows))
    found = read_parts(tmp_path, provenance=True)
    assert same_rows(found, rows)
    assert found.columns.tolist() == rows.columns.tolist()
    assert not any(matrix.flags.writeable for matrix in found["matrix"])
    plain = read_parts(tmp_path)
    assert plain.columns.tolist() == rows.columns.drop([*PROVENANCE_COLUMNS]).tolist()
    # The input has not changed.
    assert_frame_equal(rows, before)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_parts_make_one_stack_with_each_row_once_in_the_order_of_their_names(suffix, tmp_path):
    one, two, three = rows_of("a"), rows_of("b"), rows_of("c")
    # Pieces that another call has cut otherwise: some rows are in two parts.
    overlap = stacked(two, three.iloc[:1])
    paths = keep(tmp_path, suffix, three, overlap, one)
    found = read_parts(tmp_path, provenance=True)
    pieces = dict(zip(paths, (three, overlap, one), strict=True))
    expected = stacked(*(pieces[path] for path in sorted(paths))).drop_duplicates("row_key")
    assert same_rows(found, expected)
    assert found.index.equals(pd.RangeIndex(12))


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_conditions_and_columns_are_those_of_a_file_that_holds_all_parts(suffix, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    labelled = rows_of("b").rename(columns={"obj": "scene"}).assign(number=3)
    keep(folder, suffix, rows_of("a"), labelled, rows_of("a").iloc[:2])
    whole = read_parts(folder, provenance=True)
    # Oracle: the file that `write_rdms` makes of the same rows.
    pfa.write_rdms(whole, tmp_path / f"whole{suffix}")
    for options in (
        {},
        {"columns": ["layer", "obj"]},
        {"columns": ["scene", "layer", "layer"], "provenance": True},
        {"where": [("model", "a")]},
        {"where": ("scene", "obj1"), "columns": ["number"]},
        {"where": [("obj", None)], "columns": ["model", "scene"]},
        {"where": [("number", 3), ("layer", ["conv2", "conv9"])]},
        {"where": [("model_hash", "w1"), ("activation_type", "unit_level")]},
        {"where": [("row_key", keys_of(whole)[5])], "provenance": True},
        {"where": [("model", "nobody")]},
        {"columns": []},
    ):
        found = read_parts(folder, **options)
        expected = pfa.read_rdms(tmp_path / f"whole{suffix}", **options)
        assert found.columns.tolist() == expected.columns.tolist(), options
        assert found.index.tolist() == expected.index.tolist(), options
        for name in found.columns.drop("matrix", errors="ignore"):
            for one, other in zip(found[name], expected[name], strict=True):
                assert one == other or (pd.isna(one) and pd.isna(other)), (options, name)
        if "matrix" in found:
            np.testing.assert_array_equal(found["matrix"].tolist(), expected["matrix"].tolist())


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_unknown_columns_and_bad_conditions_are_named(suffix, tmp_path):
    keep(tmp_path, suffix, rows_of("a"))
    with pytest.raises(ValueError, match=r"`columns` .*'colour'.*of the parts"):
        read_parts(tmp_path, columns=["colour"])
    with pytest.raises(ValueError, match=r"`columns` .*'row_key'"):
        read_parts(tmp_path, columns=["row_key"])
    with pytest.raises(ValueError, match=r"`where` .*'colour'.*of the parts"):
        read_parts(tmp_path, where=[("colour", "red")])
    with pytest.raises(TypeError, match="`where` must be a list"):
        read_parts(tmp_path, where=[3])
    with pytest.raises(TypeError, match="`columns` must be a list"):
        read_parts(tmp_path, columns="layer")


def test_without_the_column_no_matrix_is_read(tmp_path, monkeypatch):
    keep(tmp_path, ".parquet", rows_of("a"))

    def fail(*args):
        raise AssertionError("a matrix was read")

    monkeypatch.setattr("pytorch_feature_analysis.stack_parquet._read_matrices", fail)
    found = read_parts(tmp_path, columns=["layer"], where=[("model", "a")])
    assert found["layer"].tolist() == ["conv1", "conv1", "conv2", "conv2"]
    with pytest.raises(AssertionError, match="a matrix was read"):
        read_parts(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_files_of_others_are_ignored_with_a_word_and_temporary_ones_without(
    suffix, tmp_path, caplog
):
    (part,) = keep(tmp_path, suffix, rows_of("a"))
    stranger = tmp_path / f"{'0' * 32}{suffix}"
    pfa.write_rdms(small_stack(np.random.default_rng(0)), stranger)
    (tmp_path / "notes.txt").touch()
    (tmp_path / f".{part.stem}.0123456789ab{suffix}").write_bytes(b"half of a")
    (tmp_path / ".DS_Store").touch()
    with caplog.at_level(logging.WARNING):
        assert keys_of(read_parts(tmp_path, provenance=True)) == keys_of(rows_of("a"))
    assert [record.args[0] for record in caplog.records] == [tmp_path / "notes.txt", stranger]
    assert "it has no row keys, as parts of a run do" in caplog.text
    assert read_part_keys(stranger) == set()
    part.unlink()
    with pytest.raises(FileNotFoundError, match="holds no part of a stack"):
        read_parts(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_a_part_that_is_damaged_is_named_with_what_to_do(suffix, tmp_path):
    (part,) = keep(tmp_path, suffix, rows_of("a"))
    part.write_bytes(part.read_bytes()[:200])
    for read in (lambda: read_parts(tmp_path), lambda: read_part_keys(part)):
        with pytest.raises(ValueError, match=r"cannot be read.*without it, the run's call") as e:
            read()
        assert str(part) in str(e.value)
