import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytorch_feature_analysis import _locks
from pytorch_feature_analysis._locks import file_lock

# The module alone: a process that imports the whole package takes seconds to start.
START = f"""
import importlib.util, os, pathlib, sys, time
spec = importlib.util.spec_from_file_location("_locks", {_locks.__file__!r})
locks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(locks)
target = pathlib.Path(sys.argv[1])
"""
HOLD = """
with locks.file_lock(target, timeout=10):
    print("held", flush=True)
    sys.stdin.read()
"""
# Reading and writing take their time, so that two at once would lose counts.
COUNT = """
locks._POLL_SECONDS = 0.0001
for _ in range(int(sys.argv[2])):
    with locks.file_lock(target, timeout=60):
        number = int(target.read_text())
        time.sleep(0.0005)
        target.write_text(str(number + 1))
"""


def process(code, *arguments):
    command = [sys.executable, "-c", START + code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `out` until its standard input ends."""
    with process(HOLD, tmp_path / "out") as other:
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_a_second_process_is_kept_out_and_told_who_is_inside(tmp_path, holder):
    out = tmp_path / "out"
    with pytest.raises(TimeoutError) as caught, file_lock(out, timeout=0.2):
        pytest.fail("two at once")
    text = str(caught.value)
    assert f"'{out}' is in use by process {holder.pid} on " in text
    assert f" since {time.strftime('%Y-')}" in text
    assert f"lock file '{out}.lock'" in text
    assert "within 0.2 s. Wait until that process is done, or end it if it hangs" in text


def test_a_process_that_waits_goes_in_when_the_other_is_done(tmp_path, holder, caplog):
    threading.Timer(0.3, holder.stdin.close).start()
    start = time.monotonic()
    with caplog.at_level(logging.INFO), file_lock(tmp_path / "out", timeout=30):
        assert time.monotonic() - start > 0.25
        assert holder.wait(10) == 0
        assert f"process {os.getpid()} on" in (tmp_path / "out.lock").read_text()
    assert f"waiting for '{tmp_path / 'out'}', in use by process {holder.pid}" in caplog.text
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_killed_process_lets_go_of_the_lock(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    # It had no time to tidy up.
    assert names(tmp_path) == ["out.lock"]
    with file_lock(tmp_path / "out", timeout=5):
        assert str(holder.pid) not in (tmp_path / "out.lock").read_text()
    assert names(tmp_path) == []


def test_processes_that_come_and_go_are_never_inside_together(tmp_path):
    # The file is deleted and made again at each turn: who waits on a deleted one must not go in.
    (tmp_path / "count").write_text("0")
    others = [process(COUNT, tmp_path / "count", 300) for _ in range(3)]
    for other in others:
        other.communicate(timeout=120)
        assert other.returncode == 0
    assert (tmp_path / "count").read_text() == "900"
    assert names(tmp_path) == ["count"]


def test_who_waited_on_a_lock_file_that_is_gone_waits_anew(tmp_path, monkeypatch):
    lock = tmp_path / "out.lock"
    opened = []

    def deleted_first(descriptor, target):
        opened.append(os.fstat(descriptor).st_ino)
        if len(opened) == 1:
            # The one before deletes its file, and another one makes it anew.
            (tmp_path / "new").touch()
            (tmp_path / "new").replace(lock)
        return True

    monkeypatch.setattr(_locks, "_try_lock", deleted_first)
    with file_lock(tmp_path / "out", timeout=1):
        assert opened[1:] == [lock.stat().st_ino]


def test_threads_of_one_process_exclude_each_other(tmp_path):
    inside, most = [], []

    def work():
        for _ in range(20):
            with file_lock(tmp_path / "out", timeout=60):
                inside.append(1)
                time.sleep(0.001)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_an_exception_in_the_block_lets_go_of_the_lock(tmp_path):
    def fail():
        with file_lock(tmp_path / "out", timeout=0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with file_lock(tmp_path / "out", timeout=0):
        assert names(tmp_path) == ["out.lock"]


def test_locks_of_two_files_have_nothing_to_do_with_each_other(tmp_path):
    with file_lock(tmp_path / "one", timeout=0), file_lock(tmp_path / "other", timeout=0):
        assert names(tmp_path) == ["one.lock", "other.lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_and_its_target_have_one_lock(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with (
        file_lock(tmp_path / "out", timeout=0),
        pytest.raises(TimeoutError),
        file_lock(tmp_path / "link", timeout=0),
    ):
        pass


def test_a_lock_file_that_was_deleted_by_hand_takes_no_other_with_it(tmp_path):
    lock = tmp_path / "out.lock"
    with file_lock(tmp_path / "out", timeout=0):
        lock.unlink()
        lock.write_text("somebody else's")
    assert lock.read_text() == "somebody else's"


@pytest.mark.skipif(sys.platform == "win32", reason="flock")
def test_a_file_system_without_locks_is_named_in_the_log(tmp_path, monkeypatch, caplog):
    def refuse(*args):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(_locks.fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING), file_lock(tmp_path / "out", timeout=0):
        pass
    assert "has no locks (Operation not supported): let no two calls write" in caplog.text
    assert names(tmp_path) == []


def test_a_full_disk_keeps_nobody_from_locking(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with (
        file_lock(tmp_path / "out", timeout=0),
        pytest.raises(TimeoutError, match="in use by another process"),
    ):
        file_lock(tmp_path / "out", timeout=0).__enter__()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        file_lock(Path(tmp_path / "missing" / "out"), timeout=0).__enter__()
