from pathlib import Path

import pytest
from made_parts import keys_of, rows_of, same_rows, stacked

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import stack_pickle
from pytorch_feature_analysis._files import restricted_load
from pytorch_feature_analysis.stack_files import replace_stack
from pytorch_feature_analysis.stack_pickle import load_frame, settle
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS


class KilledError(BaseException):
    """Stands for the end of the process: what is done after it does not count."""


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def stop_before(monkeypatch, name):
    """Let nothing happen any more once a file is to take the place of `name`."""
    replace = Path.replace
    dead = []

    def watched(self, target):
        if Path(target).name == name:
            dead.append(name)
        if dead:
            raise KilledError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    # Nor does a dead writer tidy up.
    monkeypatch.setattr(stack_pickle, "settle", lambda path: None if dead else settle(path))


@pytest.mark.parametrize(
    "name", ["out.p.provenance.next.parquet", "out.p", "out.p.provenance.parquet"]
)
def test_a_writer_killed_between_pickle_and_sidecar_leaves_no_row_without_its_key(
    name, tmp_path, monkeypatch
):
    out = tmp_path / "out.p"
    before, after = rows_of("a"), stacked(rows_of("a"), rows_of("b"))
    replace_stack(before, out)
    with monkeypatch.context() as context:
        stop_before(context, name)
        with pytest.raises(KilledError):
            replace_stack(after, out)
    is_replaced = name == "out.p.provenance.parquet"
    expected = after if is_replaced else before
    assert same_rows(pfa.read_rdms(out, provenance=True), expected)
    # A second writer, killed in the same way, does not lose what the first one left.
    with monkeypatch.context() as context:
        stop_before(context, "out.p")
        with pytest.raises(KilledError):
            replace_stack(rows_of("c"), out)
    assert same_rows(pfa.read_rdms(out, provenance=True), expected)
    replace_stack(after, out)
    assert names(tmp_path) == ["out.p", "out.p.provenance.parquet"]
    assert same_rows(pfa.read_rdms(out, provenance=True), after)


def test_a_failure_leaves_the_old_pickle_with_its_sidecar_and_nothing_else(tmp_path, monkeypatch):
    out = tmp_path / "out.p"
    replace_stack(rows_of("a"), out)
    replace = Path.replace

    def full(self, target):
        if Path(target).name == "out.p":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        replace_stack(rows_of("b"), out)
    assert names(tmp_path) == ["out.p", "out.p.provenance.parquet"]
    assert same_rows(pfa.read_rdms(out, provenance=True), rows_of("a"))


def test_a_damaged_sidecar_of_a_killed_writer_is_done_away_with(tmp_path):
    out = tmp_path / "out.p"
    replace_stack(rows_of("a"), out)
    (tmp_path / "out.p.provenance.next.parquet").write_bytes(b"nonsense")
    assert keys_of(pfa.read_rdms(out, provenance=True)) == keys_of(rows_of("a"))
    settle(out)
    assert names(tmp_path) == ["out.p", "out.p.provenance.parquet"]


def test_a_digest_is_that_of_the_very_pickle_that_was_read(tmp_path, monkeypatch):
    # Replaced by another one of as many rows while it is read: their origins must not be mixed.
    out = tmp_path / "out.p"
    replace_stack(rows_of("a"), out)

    def replaced_meanwhile(*args):
        found = restricted_load(*args)
        replace_stack(rows_of("b"), out)
        return found

    monkeypatch.setattr(stack_pickle, "restricted_load", replaced_meanwhile)
    found = pfa.read_rdms(out, provenance=True)
    assert found["model"].unique().tolist() == ["a"]
    assert found["row_key"].tolist() == [None] * 4


def test_a_frame_is_loaded_with_read_only_matrices_and_its_digest_when_asked(tmp_path):
    rows = rows_of("a")
    replace_stack(rows, tmp_path / "out.p")
    frame, digest = load_frame(tmp_path / "out.p", with_digest=True)
    assert len(digest) == 64
    assert load_frame(tmp_path / "out.p")[1] == ""
    assert not any(matrix.flags.writeable for matrix in frame["matrix"])
    assert not set(PROVENANCE_COLUMNS) & set(frame.columns)
