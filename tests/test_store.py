import contextlib
import errno
import logging
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_parts import keys_of, rows_of, same_rows, stacked
from made_stacks import small_stack
from pandas.testing import assert_frame_equal

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import store
from pytorch_feature_analysis._files import file_lock
from pytorch_feature_analysis.stack_parts import part_files, parts_folder
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS
from pytorch_feature_analysis.store import RunStore

SCRIPT = Path(__file__).with_name("killed_runs.py")
A, B, C = rows_of("a"), rows_of("b"), rows_of("c")


@pytest.fixture(params=[".parquet", ".p", ".pkl"])
def out(request, tmp_path):
    return tmp_path / f"rdms{request.param}"


def names(folder):
    return sorted(item.name for item in folder.iterdir() if ".provenance." not in item.name)


def whole(*args, **kwargs):
    """The rows of a file, with provenance."""
    return pfa.read_rdms(*args, provenance=True, **kwargs)


def finish(out, *units, append=True):
    runs = RunStore.open(out, append=append)
    for unit in units:
        runs.keep(unit)
    runs.merge(stacked(*units))


def keep(out, *units):
    runs = RunStore.open(out, append=True)
    for unit in units:
        runs.keep(unit)


def state(path):
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, path.read_bytes()


def test_without_a_path_nothing_is_read_or_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for append in (True, False):
        runs = RunStore.open(None, append=append)
        assert runs.finished is None
        runs.keep(A)
        runs.merge(A)
    assert names(tmp_path) == []


def test_a_new_run_finds_nothing_and_leaves_nothing_before_its_first_piece(out):
    runs = RunStore.open(out, append=True)
    assert runs.finished is None
    runs.keep(A.iloc[:0])
    runs.merge(A.iloc[:0])
    assert names(out.parent) == []


def test_a_kept_piece_is_one_file_in_the_folder_of_parts(out):
    runs = RunStore.open(out, append=True)
    before = A.copy()
    runs.keep(A)
    assert names(out.parent) == [f"{out.name}.parts"]
    (part,) = parts_folder(out).iterdir()
    assert part.suffix == out.suffix
    runs.keep(A)
    assert [part] == list(parts_folder(out).iterdir())
    assert same_rows(RunStore.open(out, append=True).finished, A)
    assert_frame_equal(A, before)


def test_a_new_file_has_the_rows_in_the_order_of_the_call_and_no_parts_are_left(out):
    runs = RunStore.open(out, append=True)
    for unit in (C, A, B):
        runs.keep(unit)
    rows = stacked(B, A, C).iloc[::-1]
    before = rows.copy()
    runs.merge(rows)
    assert runs.finished is None
    assert same_rows(whole(out), rows)
    assert whole(out).index.equals(pd.RangeIndex(12))
    assert names(out.parent) == [out.name]
    assert_frame_equal(rows, before)


def test_what_is_finished_is_in_the_file_and_in_parts_each_row_once(out):
    finish(out, B)
    # A call that was killed before it could delete its parts, and one of other rows.
    keep(out, B, stacked(A, B.iloc[:1]))
    finished = RunStore.open(out, append=True).finished
    assert same_rows(finished, stacked(B, A))
    assert finished.index.equals(pd.RangeIndex(8))


def test_rows_served_from_parts_go_into_the_file_with_those_computed(out):
    keep(out, A)
    runs = RunStore.open(out, append=True)
    served = runs.finished
    runs.keep(B)
    runs.merge(stacked(B, served))
    assert same_rows(whole(out), stacked(B, A))
    assert names(out.parent) == [out.name]


def test_where_nothing_is_to_be_added_nothing_is_rewritten_and_parts_go(out):
    finish(out, A, B)
    before = state(out)
    keep(out, B)
    runs = RunStore.open(out, append=True)
    runs.merge(stacked(B, A))
    assert state(out) == before
    assert names(out.parent) == [out.name]


def test_rows_that_are_there_stay_where_they_are_and_the_others_follow(out):
    finish(out, B)
    finish(out, C, B, A)
    assert same_rows(whole(out), stacked(B, C, A))


def test_a_file_that_another_call_has_written_meanwhile_is_added_to(out):
    runs = RunStore.open(out, append=True)
    other = RunStore.open(out, append=True)
    runs.keep(A)
    other.keep(B)
    other.keep(A.iloc[:2])
    other.merge(stacked(B, A.iloc[:2]))
    # The part of the first call is not all in the file.
    assert len(part_files(parts_folder(out))) == 1
    runs.merge(A)
    assert same_rows(whole(out), stacked(B, A))
    assert names(out.parent) == [out.name]


def test_parts_of_other_calls_stay_until_all_their_rows_are_in_the_file(out):
    keep(out, C, A)
    finish(out, A)
    assert same_rows(whole(out), A)
    (part,) = part_files(parts_folder(out))
    assert same_rows(RunStore.open(out, append=True).finished, stacked(A, C))
    finish(out, B, C.iloc[:3])
    assert part_files(parts_folder(out)) == [part]
    finish(out, C)
    assert names(out.parent) == [out.name]


def test_a_changed_row_moves_aside_with_one_warning_that_says_what_changed(out):
    old = stacked(A, B)
    finish(out, old)
    new = rows_of("a", weights="w2")
    message = (
        f"4 rows in {out} are computed anew, because the weights or the architecture of model a"
        f" changed; the old ones are kept in {out}.superseded.parquet."
    )
    with pytest.warns(UserWarning, match="computed anew") as caught:
        finish(out, new, C)
    assert [str(warning.message) for warning in caught] == [message]
    assert same_rows(whole(out), stacked(B, new, C))
    assert same_rows(whole(f"{out}.superseded.parquet"), A)
    images = rows_of("a", weights="w2", images_hash="others", batch_size=3)
    with pytest.warns(UserWarning, match="the images changed and batch_size of model a changed;"):
        finish(out, images)
    assert same_rows(whole(f"{out}.superseded.parquet"), stacked(A, new))
    assert same_rows(whole(out), stacked(B, C, images))


def test_the_warning_points_to_the_line_that_called_get_rdms(out):
    finish(out, A)

    def get_rdms():
        RunStore.open(out, append=True).merge(rows_of("a", weights="w2"))

    with pytest.warns(UserWarning, match="computed anew") as caught:
        get_rdms()
    assert caught[0].filename == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[caught[0].lineno - 1]
    assert line.strip() == "get_rdms()"


def test_rows_of_the_same_names_and_another_label_are_not_replaced(out):
    finish(out, A)
    other = rows_of("a", weights="w2", objects=("obj2",))
    finish(out, other)
    assert same_rows(whole(out), stacked(A, other))


def test_a_warning_that_is_made_an_error_comes_when_all_is_written(out):
    finish(out, A)
    new = rows_of("a", weights="w2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="computed anew"):
            finish(out, new)
    assert same_rows(whole(out), new)
    assert names(out.parent) == [out.name, f"{out.name}.superseded.parquet"]


def test_rows_go_back_and_forth_and_none_is_lost(out):
    new = rows_of("a", weights="w2")
    finish(out, A, B)
    for unit in (new, A, new):
        with pytest.warns(UserWarning, match="computed anew"):
            finish(out, unit)
    assert same_rows(whole(out), stacked(B, new))
    aside = whole(f"{out}.superseded.parquet")
    assert same_rows(aside, stacked(A, new))


def test_parts_of_rows_that_were_superseded_go_too(out):
    finish(out, A)
    # Left by a call that was killed when the file was written already.
    keep(out, A)
    with pytest.warns(UserWarning, match="computed anew"):
        finish(out, rows_of("a", weights="w2"))
    assert not parts_folder(out).exists()
    assert same_rows(whole(f"{out}.superseded.parquet"), A)


@pytest.mark.parametrize("suffix", [".p", ".pkl"])
def test_rows_of_a_pickle_of_which_nothing_is_recorded_are_kept_and_have_no_key(suffix, tmp_path):
    out = tmp_path / f"rdms{suffix}"
    plain = stacked(A, B).drop(columns=list(PROVENANCE_COLUMNS))
    out.write_bytes(pickle.dumps(plain))
    keep(out, C)
    finished = RunStore.open(out, append=True).finished
    assert finished["row_key"].tolist() == [None] * 8 + keys_of(C)
    for _ in range(2):
        # As a call does that is killed between the two files, and made again.
        with pytest.warns(UserWarning, match="nothing is recorded of what made them"):
            finish(out, A, C)
        found = whole(out)
        assert found["row_key"].isna().tolist() == [True] * 4 + [False] * 8
        assert keys_of(found)[4:] == keys_of(stacked(A, C))
        assert found["model"].tolist() == ["b"] * 4 + ["a"] * 4 + ["c"] * 4
        aside = whole(f"{out}.superseded.parquet")
        assert aside["row_key"].isna().all()
        assert aside["model"].tolist() == ["a"] * 4
        out.write_bytes(pickle.dumps(plain))


def test_without_append_nothing_is_served_and_all_is_kept_aside(out, caplog):
    finish(out, A)
    keep(out, B)
    before = state(out)
    runs = RunStore.open(out, append=False)
    assert runs.finished is None
    # Nothing has moved before there is something to write.
    assert state(out) == before
    assert part_files(parts_folder(out))
    with caplog.at_level(logging.WARNING):
        runs.keep(C)
    aside = out.parent / f"{out.name}.superseded.parts"
    assert str(aside) in caplog.text
    assert same_rows(whole(aside), B)
    assert state(out) == before
    new = rows_of("a", weights="w2")
    runs.keep(new)
    runs.merge(stacked(new, C))
    assert same_rows(whole(out), stacked(new, C))
    assert same_rows(whole(out.with_stem("rdms.superseded")), A)
    assert names(out.parent) == sorted([out.name, aside.name, f"rdms.superseded{out.suffix}"])
    # What the call has written is its own to be added to.
    runs.merge(stacked(B, new))
    assert same_rows(whole(out), stacked(new, C, B))


def test_a_call_without_append_that_is_killed_has_kept_its_pieces(out):
    finish(out, A)
    RunStore.open(out, append=False).keep(B)
    assert same_rows(RunStore.open(out, append=True).finished, stacked(A, B))


def test_two_calls_without_append_keep_each_others_rows_aside(out):
    one, other = (RunStore.open(out, append=False) for _ in range(2))
    one.keep(A)
    other.keep(B)
    one.keep(C)
    one.merge(stacked(A, C))
    other.merge(B)
    assert same_rows(whole(out), B)
    assert same_rows(whole(out.with_stem("rdms.superseded")), stacked(A, C))


def test_a_file_of_another_kind_is_named_before_the_work(out):
    stack = small_stack(np.random.default_rng(0))
    pfa.write_rdms(stack, out)
    before = state(out)
    with pytest.raises(ValueError, match=r"holds a stack of another kind: it has no column df_n"):
        RunStore.open(out, append=True)
    finish(out, A, append=False)
    assert same_rows(whole(out), A)
    (aside,) = out.parent.glob("rdms.superseded.p*")
    assert aside.read_bytes() == before[2]


def test_a_damaged_part_is_named_before_the_work(out):
    keep(out, A)
    (part,) = part_files(parts_folder(out))
    part.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=rf"{part.name}.*without it, the run's call computes"):
        RunStore.open(out, append=True)
    part.unlink()
    assert RunStore.open(out, append=True).finished is None


@pytest.mark.parametrize("kind", ["another kind", "damaged"])
def test_what_others_put_there_meanwhile_is_kept_aside(kind, out, caplog):
    runs = RunStore.open(out, append=True)
    runs.keep(A)
    if kind == "damaged":
        out.write_bytes(b"nonsense")
    else:
        pfa.write_rdms(small_stack(np.random.default_rng(0)), out)
    content = out.read_bytes()
    with caplog.at_level(logging.WARNING):
        runs.merge(A)
    assert f"'{out}' is not added to: " in caplog.text
    assert same_rows(whole(out), A)
    assert out.with_stem("rdms.superseded").read_bytes() == content


def test_files_of_others_among_the_parts_are_ignored_and_stay(out, caplog):
    keep(out, A)
    stranger = parts_folder(out) / "notes.txt"
    stranger.touch()
    with caplog.at_level(logging.WARNING):
        runs = RunStore.open(out, append=True)
    assert f"'{stranger}' is ignored" in caplog.text
    assert same_rows(runs.finished, A)
    runs.merge(A)
    assert names(parts_folder(out)) == ["notes.txt"]
    assert same_rows(RunStore.open(out, append=True).finished, A)
    # A stack under the name of a part, and no part beside it.
    (parts_folder(out) / f"{'0' * 32}{out.suffix}").write_bytes(out.read_bytes())
    pfa.filedelete(out)
    pfa.filedelete(f"{out}.provenance.parquet")
    if out.suffix != ".parquet":
        assert RunStore.open(out, append=True).finished is None


@contextlib.contextmanager
def full_disk():
    """Writing starts, and ends with an error when half a file is there."""
    original = Path.replace

    def fail(self, target):
        assert self.stat().st_size
        if self.name.startswith("."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        yield


def test_a_full_disk_ends_the_call_with_a_word_on_what_is_kept_and_how_to_go_on(out):
    runs = RunStore.open(out, append=True)
    with full_disk(), pytest.raises(OSError, match="Nothing was finished"):
        runs.keep(A)
    assert names(out.parent) == []
    runs.keep(A)
    with full_disk(), pytest.raises(OSError, match="No space left") as caught:
        runs.keep(B)
    assert caught.value.errno == errno.ENOSPC
    text = str(caught.value)
    assert f"`out_fname` is '{out}', but what was finished last could not be written" in text
    assert f"What was finished before is kept in '{parts_folder(out)}'. Make room" in text
    assert "make the same call again: it computes only what is missing." in text
    # No half of a file takes up the room.
    assert len(list(parts_folder(out).iterdir())) == 1
    assert same_rows(RunStore.open(out, append=True).finished, A)


def test_a_folder_that_may_not_be_written_to_is_named(out, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match="make the folder writable, and make the same call"):
        RunStore.open(out, append=True).keep(A)


def test_a_merge_on_a_full_disk_leaves_the_file_as_it_was_and_keeps_all_parts(out):
    finish(out, A)
    before = state(out)
    runs = RunStore.open(out, append=True)
    runs.keep(B)
    with full_disk(), pytest.raises(OSError, match="the file could not") as e:
        runs.merge(stacked(A, B))
    assert f"is kept in '{parts_folder(out)}'" in str(e.value)
    assert state(out) == before
    assert names(out.parent) == [out.name, f"{out.name}.parts"]
    assert same_rows(RunStore.open(out, append=True).finished, stacked(A, B))


def test_a_file_in_use_all_the_while_is_named_with_what_is_kept(out, monkeypatch):
    runs = RunStore.open(out, append=True)
    runs.keep(A)
    monkeypatch.setattr(store, "_LOCK_SECONDS", 0.1)
    with file_lock(out, timeout=0):
        with pytest.raises(TimeoutError, match=r"in use by process .* is kept in '.*\.parts'\.$"):
            runs.merge(A)
        with pytest.raises(TimeoutError, match="in use by process"):
            RunStore.open(out, append=True)
        # Pieces are kept without the lock: a call that hangs costs the others nothing.
        runs.keep(B)
    assert same_rows(RunStore.open(out, append=True).finished.sort_values("model"), stacked(A, B))


def test_a_piece_is_written_again_when_its_folder_is_deleted_meanwhile(out, monkeypatch):
    runs = RunStore.open(out, append=True)
    trials = []
    write = store.write_part

    def deleted_first(rows, path):
        trials.append(path)
        if len(trials) < 3:
            path.parent.rmdir()
        write(rows, path)

    monkeypatch.setattr(store, "write_part", deleted_first)
    runs.keep(A)
    assert len(trials) == 3
    assert same_rows(RunStore.open(out, append=True).finished, A)
    pfa.filedelete(parts_folder(out))

    def always_deleted(rows, path):
        path.parent.rmdir()
        write(rows, path)

    monkeypatch.setattr(store, "write_part", always_deleted)
    with pytest.raises(FileNotFoundError, match="what was finished last could not be written"):
        runs.keep(A)


def test_what_killed_writers_left_is_ignored_and_swept(out):
    finish(out, A)
    keep(out, B)
    (part,) = part_files(parts_folder(out))
    (parts_folder(out) / f".{part.stem}.0123456789ab{out.suffix}").write_bytes(b"half")
    beside = [out.parent / f".rdms.{k:012x}{out.suffix}" for k in range(2)]
    others = out.parent / f".other.0123456789ab{out.suffix}"
    for path in (*beside, others):
        path.write_bytes(b"half")
    for path in (beside[0], others):
        os.utime(path, (time.time() - 4000,) * 2)
    runs = RunStore.open(out, append=True)
    assert same_rows(runs.finished, stacked(A, B))
    runs.merge(B)
    # The younger one may be that of a writer at work, and the other one is of another file.
    assert names(out.parent) == sorted([out.name, beside[1].name, others.name])


def test_a_part_that_is_damaged_meanwhile_does_not_end_a_call_that_is_done(out, caplog):
    runs = RunStore.open(out, append=True)
    keep(out, B)
    (part,) = part_files(parts_folder(out))
    part.write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        runs.merge(A)
    assert same_rows(whole(out), A)
    assert f"'{part}' stays where it is: " in caplog.text
    assert part.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_parts_lie_beside_the_target_of_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "link.parquet"
    link.symlink_to(tmp_path / "far" / "rdms.parquet")
    keep(link, A)
    assert names(tmp_path) == ["far", "link.parquet"]
    assert same_rows(RunStore.open(link, append=True).finished, A)
    finish(link, B, A)
    assert names(tmp_path / "far") == ["rdms.parquet"]
    assert link.is_symlink()
    assert same_rows(whole(tmp_path / "far" / "rdms.parquet"), stacked(B, A))


def run_script(tmp_path, suffix, task):
    """Numbers of moments or rounds that `killed_runs.py` went through; its own checks passed."""
    command = [sys.executable, str(SCRIPT), str(tmp_path), suffix, task]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forked processes")
@pytest.mark.parametrize("suffix", [".parquet", ".p"])
def test_a_call_killed_at_any_moment_loses_nothing_that_was_kept(suffix, tmp_path):
    # Two parts, the file and the lock: each is made, written to the disk, named or deleted.
    new, resumed, without_append = run_script(tmp_path, suffix, "killed")
    assert min(new, resumed, without_append) > 15


@pytest.mark.skipif(sys.platform == "win32", reason="forked processes")
@pytest.mark.parametrize("suffix", [".parquet", ".p"])
def test_two_calls_on_one_file_at_once_end_well_and_leave_each_row_once(suffix, tmp_path):
    assert run_script(tmp_path, suffix, "at once") == [8]
