import logging
import os
import stat
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _files, _locks
from pytorch_feature_analysis._files import (
    atomic_write,
    check_writable,
    keep_previous,
    leftovers,
    same_content,
    save_or_rescue,
)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_an_atomic_write_leaves_the_new_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    with atomic_write(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


def test_an_exception_in_an_atomic_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_an_atomic_write_that_wrote_nothing_fails_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_an_atomic_write_keeps_links_and_permissions_and_obeys_the_umask(tmp_path):
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "data.txt"
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    with atomic_write(link) as temporary:
        temporary.write_text("first")
    plain = tmp_path / "plain.txt"
    plain.write_text("")
    assert target.stat().st_mode == plain.stat().st_mode
    target.chmod(0o640)
    with atomic_write(link) as temporary:
        temporary.write_text("second")
    assert link.is_symlink()
    assert target.read_text() == "second"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_previous_files_are_kept_under_numbered_names_and_logged(tmp_path, caplog):
    path = tmp_path / "stack.p"
    assert keep_previous(path) is None
    kept = []
    for content in ("one", "two", "three"):
        path.write_text(content)
        with caplog.at_level(logging.WARNING):
            kept.append(keep_previous(path))
        assert not path.exists()
    expected = ["stack.superseded.p", "stack.superseded-2.p", "stack.superseded-3.p"]
    assert [item.name for item in kept] == expected
    assert [item.read_text() for item in kept] == ["one", "two", "three"]
    assert "stack.superseded-3.p" in caplog.text


def test_a_file_that_is_kept_stays_until_another_takes_its_place(tmp_path, monkeypatch):
    path = tmp_path / "answer.p"
    pfa.pickle_dump("one", path)
    path.chmod(0o640)
    seen = []
    replace = Path.replace

    def watched(self, target):
        if Path(target) == path:
            seen.append(pfa.pickle_read(path))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    pfa.pickle_dump("two", path)
    assert seen == ["one"]
    assert pfa.pickle_read(path) == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert pfa.pickle_read(tmp_path / "answer.superseded.p") == "one"


def test_a_file_is_kept_where_the_file_system_has_no_hard_links(tmp_path, monkeypatch):
    def refuse(self, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for content in ("one", "two", "three"):
        pfa.pickle_dump(content, tmp_path / "answer.p")
    assert names(tmp_path) == ["answer.p", "answer.superseded-2.p", "answer.superseded.p"]
    assert pfa.pickle_read(tmp_path / "answer.superseded-2.p") == "two"


def test_a_file_that_another_process_takes_away_leaves_no_empty_one(tmp_path, monkeypatch):
    path = tmp_path / "answer.p"
    path.write_text("one")
    touch = Path.touch

    def touch_as_it_goes(self, *args, **options):
        path.unlink()
        touch(self, *args, **options)

    monkeypatch.setattr(Path, "touch", touch_as_it_goes)
    assert keep_previous(path) is None
    assert names(tmp_path) == []


def test_a_previous_folder_is_kept_like_a_file(tmp_path, caplog):
    path = tmp_path / "stack.p.parts"
    (tmp_path / "stack.p.superseded-2.parts").touch()
    for content in ("one", "two"):
        path.mkdir()
        (path / "a.p").write_text(content)
        with caplog.at_level(logging.WARNING):
            kept = keep_previous(path)
        assert (kept / "a.p").read_text() == content
        assert not path.exists()
    # The second name was taken, by a file.
    assert kept.name == "stack.p.superseded-3.parts"
    assert (tmp_path / "stack.p.superseded.parts" / "a.p").read_text() == "one"
    assert f"the previous folder is kept as '{kept}'" in caplog.text


def test_leftovers_are_the_temporary_files_of_an_atomic_write_and_no_others(tmp_path):
    for name in ("out.p", ".hidden", ".out.p", ".out.0123456789ab.p.txt", "out.0123456789ab.p"):
        (tmp_path / name).touch()
    assert leftovers(tmp_path) == []
    with (
        atomic_write(tmp_path / "out.p") as one,
        atomic_write(tmp_path / "a.b") as other,
        atomic_write(tmp_path / "plain") as third,
    ):
        for temporary in (one, other, third):
            temporary.touch()
        assert leftovers(tmp_path) == sorted([one, other, third])
    assert leftovers(tmp_path) == []


def test_the_lock_is_the_one_of_its_module():
    assert _files.file_lock is _locks.file_lock


def test_files_agree_when_their_bytes_do(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"abc")
    assert not same_content(one, other)
    other.write_bytes(b"abd")
    os.utime(other, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
    assert not same_content(one, other)
    other.write_bytes(b"abc")
    assert same_content(one, other)


def test_a_writable_path_comes_back_and_nothing_is_left_in_its_folder(tmp_path):
    assert check_writable(str(tmp_path / "a.p"), argument="out_fname") == tmp_path / "a.p"
    assert names(tmp_path) == []


def test_a_path_that_cannot_be_written_is_named_with_its_argument(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"`out_fname` is .*no folder .*missing"):
        check_writable(tmp_path / "missing" / "a.p", argument="out_fname")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_writable(tmp_path / "file" / "a.p", argument="out_fname")
    with pytest.raises(IsADirectoryError, match=r"is a folder\. Add a file name"):
        check_writable(tmp_path, argument="out_fname")
    with pytest.raises(TypeError, match="`out_fname` must be a file's path, as a str or Path"):
        check_writable(3, argument="out_fname")
    with pytest.raises(ValueError, match="not an empty string"):
        check_writable("", argument="out_fname")

    # Tests may run as root, to whom no folder is closed.
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"nothing can be written .*Permission denied"):
        check_writable(tmp_path / "a.p", argument="out_fname")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write to any folder"
)
def test_a_read_only_folder_is_found_before_the_work(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="nothing can be written"):
        check_writable(tmp_path / "a.p", argument="out_fname")


def test_filedelete_deletes_files_and_folders_and_minds_nothing_missing(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "a.txt").write_text("")
    (tmp_path / "b.txt").write_text("")
    assert pfa.filedelete(tmp_path / "folder") is None
    pfa.filedelete(str(tmp_path / "b.txt"))
    pfa.filedelete(tmp_path / "never there")
    assert names(tmp_path) == []
    with pytest.raises(TypeError, match="`path` must be a file's path"):
        pfa.filedelete(None)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_filedelete_deletes_a_link_and_not_what_it_points_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    pfa.filedelete(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["a.txt"]


def test_what_is_dumped_is_read_back(tmp_path):
    path = tmp_path / "things.p"
    things = {"a": (1, 2.5, None, "ü"), "b": [np.arange(6).reshape(2, 3)], "c": {1, 2}}
    pfa.pickle_dump(things, path)
    again = pfa.pickle_read(str(path))
    assert again["a"] == things["a"]
    assert again["c"] == things["c"]
    np.testing.assert_array_equal(again["b"][0], things["b"][0])
    frame = pd.DataFrame({"x": [1, 2], "y": ["a", None]})
    pfa.pickle_dump(frame, path)
    pd.testing.assert_frame_equal(pfa.pickle_read(path), frame)


def test_a_pickle_of_other_content_is_kept_and_one_of_the_same_is_not(tmp_path):
    path = tmp_path / "numbers.p"
    pfa.pickle_dump([1, 2], path)
    pfa.pickle_dump([1, 2], path)
    assert names(tmp_path) == ["numbers.p"]
    pfa.pickle_dump([1, 2, 3], path)
    assert names(tmp_path) == ["numbers.p", "numbers.superseded.p"]
    assert pfa.pickle_read(path) == [1, 2, 3]
    assert pfa.pickle_read(tmp_path / "numbers.superseded.p") == [1, 2]


def test_what_cannot_be_pickled_leaves_the_old_file(tmp_path):
    path = tmp_path / "numbers.p"
    pfa.pickle_dump([1, 2], path)
    with pytest.raises(Exception, match="lambda"):
        pfa.pickle_dump([lambda: 1], path)
    assert pfa.pickle_read(path) == [1, 2]
    assert names(tmp_path) == ["numbers.p"]


def test_the_folder_of_a_pickle_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` is .*no folder"):
        pfa.pickle_dump(1, tmp_path / "missing" / "a.p")
    with pytest.raises(FileNotFoundError, match="missing"):
        pfa.pickle_read(tmp_path / "missing.p")
    with pytest.raises(TypeError, match="`path` must be a file's path"):
        pfa.pickle_read(Path)


def test_what_cannot_be_saved_is_kept_elsewhere_and_the_error_says_where(tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    target.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        save_or_rescue(lambda path: path.write_text("a long day's work"), target)
    (note,) = caught.value.__notes__
    rescued = Path(note.removeprefix("What was computed is in '").removesuffix("'."))
    assert rescued.name == "table.csv"
    assert rescued.read_text() == "a long day's work"

    def write(path):
        raise OSError("full everywhere")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="full everywhere") as caught:
        save_or_rescue(write, target)
    assert sorted(tmp_path.iterdir()) == before
    assert not hasattr(caught.value, "__notes__")
