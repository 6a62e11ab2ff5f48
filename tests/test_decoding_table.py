import logging
from datetime import date
from multiprocessing.pool import ThreadPool

import numpy as np
import pandas as pd
import pytest
from made_decoding import analyse, noise_images

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import decoding_table
from pytorch_feature_analysis.decoding_table import check_save_path, save_table
from pytorch_feature_analysis.stack_parquet import read_parquet

COLUMNS = [
    *("analysis_name", "model", "layer_label", "layer", "layer_num", "decoded_variable"),
    *("other_variable", "size", "decoding_type", "bin1", "bin2", "acc"),
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_saving_twice_does_not_double_rows(tmp_path, suffix):
    file = tmp_path / f"svm{suffix}"
    read = pd.read_csv if suffix == ".csv" else read_parquet
    images = noise_images()
    df = analyse(images, save_path=file)
    first = file.read_bytes()
    analyse(images, save_path=file)
    assert file.read_bytes() == first
    assert read(file)["acc"].tolist() == df["acc"].tolist()
    assert list(read(file).columns) == COLUMNS
    # Another layer and another analysis are added, and what is there stays.
    analyse(images, layers=["fc1"], save_path=file)
    analyse(images, analysis_name="other", save_path=file)
    found = read(file)
    assert len(found) == 3 * len(df)
    assert found["acc"][: len(df)].tolist() == df["acc"].tolist()
    assert list(tmp_path.glob("*.csv")) + list(tmp_path.glob("*.parquet")) == [file]


def test_a_parquet_file_gives_tuples_back(tmp_path):
    file = tmp_path / "svm.parquet"
    df = analyse(noise_images(), decoding_type="both", num_perms=2, save_path=file)
    pd.testing.assert_frame_equal(pfa.read_rdms(file), df, check_dtype=False, check_exact=True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_keeps_what_a_call_does_not_make(tmp_path, suffix, caplog):
    file = tmp_path / f"svm{suffix}"
    read = pd.read_csv if suffix == ".csv" else read_parquet
    images = noise_images()
    df = analyse(images, save_path=file, num_perms=3)
    analyse(images, save_path=file, decoding_type="both")
    found = read(file)
    assert list(found.columns) == [*COLUMNS, "p", "train_values", "test_values"]
    assert found["p"][: len(df)].tolist() == df["p"].tolist()
    assert found["p"][len(df) :].isna().all()
    assert found["train_values"][: len(df)].isna().all()
    assert len(found) == len(df) + 3 * 4 * 3 + 6 * 3 * 2
    # The p values of accuracies that are no longer so are gone, and that is said.
    with caplog.at_level(logging.WARNING):
        analyse(noise_images(seed=5), save_path=file)
    assert "rows had p values of other accuracies" in caplog.text
    assert len(read(file)) == len(found)


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    def run(path):
        return analyse(noise_images(), save_path=path, layers=["no such layer"])

    with pytest.raises(ValueError, match=r"`save_path` must end in .csv or .parquet"):
        run(tmp_path / "svm.txt")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run(tmp_path / "missing" / "svm.csv")
    other = tmp_path / "other.csv"
    other.write_text("city,height\nboston,71\n")
    with pytest.raises(ValueError, match="holds another table: it has no column analysis_name"):
        run(other)
    assert other.read_text() == "city,height\nboston,71\n"


def table(n=3, **changed):
    """Rows of a made-up analysis."""
    cells = {
        "analysis_name": "svm",
        "model": "net",
        "layer": [f"conv{i}" for i in range(n)],
        "decoded_variable": "obj",
        "bin1": "cup",
        "bin2": "hat",
        "acc": [0.5 + i / 8 for i in range(n)],
    }
    return pd.DataFrame(cells | changed)


def test_a_table_that_stands_twice_in_a_file_loses_the_rows_that_are_replaced(tmp_path):
    file = tmp_path / "svm.csv"
    pd.concat([table(), table()]).to_csv(file, index=False)
    save_table(table(2, acc=[1.0, 0.25]), file)
    found = pd.read_csv(file)
    assert found["layer"].tolist() == ["conv0", "conv1", "conv2", "conv2"]
    assert found["acc"].tolist() == [1.0, 0.25, 0.75, 0.75]


def test_the_index_of_a_frame_that_was_written_with_it_stays_and_doubles_nothing(tmp_path):
    file = tmp_path / "svm.csv"
    table().to_csv(file)
    save_table(table(4, acc=[1.0, 0.25, 0.0, 0.5]), file)
    found = pd.read_csv(file, index_col=0)
    assert found["acc"].tolist() == [1.0, 0.25, 0.0, 0.5]
    assert found.index.tolist()[:3] == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_values_that_differ_only_in_their_type_keep_their_rows(tmp_path, suffix):
    file = tmp_path / f"svm{suffix}"
    df = table(2, layer="conv1", bin1=pd.Series([1, "1"], dtype=object))
    save_table(df, file)
    save_table(df.assign(acc=[0.25, 0.75]), file)
    found = pd.read_csv(file) if suffix == ".csv" else read_parquet(file)
    assert found["acc"].tolist() == [0.25, 0.75]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_other_values_of_a_column_that_a_call_lacks_are_other_rows(tmp_path, suffix):
    file = tmp_path / f"svm{suffix}"
    save_table(table(activation_type="feature_means"), file)
    save_table(table(acc=[0.0, 0.0, 0.0]), file)
    found = pd.read_csv(file) if suffix == ".csv" else read_parquet(file)
    assert found["acc"].tolist() == [0.5, 0.625, 0.75, 0, 0, 0]
    assert found["activation_type"].notna().tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "text",
    [
        "city,height\nboston,71\n",
        # A cell too many in each row: not to be taken for an index, and dropped.
        "analysis_name,model,layer,decoded_variable,bin1,bin2,acc\nsvm,net,fc,obj,a,b,0.5,lost\n",
        "analysis_name,model,layer,decoded_variable,bin1,bin2,acc,acc\nsvm,net,fc,obj,a,b,1,0\n",
    ],
)
def test_a_file_that_rows_cannot_be_added_to_stays_as_it_is(tmp_path, text):
    file = tmp_path / "svm.csv"
    file.write_text(text)
    for refused in (lambda: check_save_path(file, table()), lambda: save_table(table(), file)):
        with pytest.raises(ValueError, match="Choose another"):
            refused()
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_parquet_file_of_something_else_stays_as_it_is(tmp_path):
    file = tmp_path / "other.parquet"
    for write in (
        lambda: pd.DataFrame({"city": ["boston"]}).to_parquet(file),
        lambda: file.write_bytes(b"PAR1 cut short"),
    ):
        write()
        before = file.read_bytes()
        with pytest.raises(ValueError, match=r"`save_path` is .* holds no table of decoding"):
            check_save_path(file, table())
        assert file.read_bytes() == before


def test_what_fails_while_it_is_written_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "svm.csv"
    save_table(table(), file)
    before = file.read_bytes()

    def cut_short(frame, path=None, **options):
        if path is None:
            return "\n".join([",".join(frame), *map(",".join, frame.astype(str).to_numpy())])
        path.write_text("analysis_name,mod")
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", cut_short)
    with pytest.raises(OSError, match="no space left"):
        save_table(table(acc=[0.0, 0.0, 0.0]), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_calls_that_save_at_once_lose_no_row(tmp_path):
    file = tmp_path / "svm.csv"
    names = [f"svm{i}" for i in range(16)]
    with ThreadPool(4) as pool:
        pool.map(lambda name: save_table(table(1, analysis_name=name), file), names)
    assert sorted(pd.read_csv(file)["analysis_name"]) == sorted(names)


def test_a_file_that_another_one_keeps_is_not_touched(tmp_path, monkeypatch):
    file = tmp_path / "svm.csv"
    save_table(table(), file)
    monkeypatch.setattr(decoding_table, "_LOCK_TIMEOUT", 0.1)
    with decoding_table.file_lock(file, timeout=1), pytest.raises(TimeoutError, match="in use"):
        save_table(table(1), file)
    assert len(pd.read_csv(file)) == 3


def test_a_table_that_cannot_be_saved_is_not_lost(tmp_path, monkeypatch):
    file = tmp_path / "svm.csv"
    monkeypatch.setattr(decoding_table, "_LOCK_TIMEOUT", 0.1)
    with decoding_table.file_lock(file, timeout=1), pytest.raises(TimeoutError) as caught:
        analyse(noise_images(), save_path=file)
    (note,) = caught.value.__notes__
    kept = pd.read_csv(note.removeprefix("What was computed is in '").removesuffix("'."))
    made = analyse(noise_images())
    assert kept["acc"].tolist() == made["acc"].tolist()
    assert not file.exists()


def test_values_that_a_parquet_file_cannot_hold_are_refused_before_the_work(tmp_path):
    images = noise_images()
    for image in images:
        image["size"] = date(2020, 1, 1)
    with pytest.raises(TypeError, match=r"no form for the values in the column 'size' \(date\)"):
        analyse(images, save_path=tmp_path / "svm.parquet", layers=["no such layer"])
    analyse(images, save_path=tmp_path / "svm.csv")
    assert pd.read_csv(tmp_path / "svm.csv")["size"].unique().tolist() == ["2020-01-01"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_frame_that_is_saved_does_not_change(tmp_path, suffix):
    file = tmp_path / f"svm{suffix}"
    df = table()
    kept = df.copy(deep=True)
    for _ in range(2):
        check_save_path(file, df)
        save_table(df, file)
    pd.testing.assert_frame_equal(df, kept)
    assert np.array_equal(df["acc"], kept["acc"])
