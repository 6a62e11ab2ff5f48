"""Locks that hold between processes, and that no killed process leaves behind."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
# Some network file systems are mounted without locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str], *, timeout: float) -> Iterator[None]:
    """Keep all other processes and threads that ask for the same lock out of the block.

    The lock belongs to an open file `<path>.lock`, so that the system releases it however the
    process ends; a file that a killed process left behind locks nothing. It is advisory: who does
    not ask is not kept out.

    Parameters
    ----------
    path : str or Path
        What is to be changed by one at a time. It need not exist; its folder must.
    timeout : float
        Seconds to wait for the one who has it.

    Raises
    ------
    TimeoutError
        Names who has had it since when.

    Notes
    -----
    Where the file system has no locks, a log line says so, and the block runs without one.
    """
    target = Path(path).resolve()
    lock = target.with_name(f"{target.name}.lock")
    descriptor = _acquire(lock, target, timeout)
    try:
        yield
    finally:
        if sys.platform != "win32" and _is_open_at(descriptor, lock):
            # Before it is let go of: the next one must find that its file is not there any more.
            lock.unlink(missing_ok=True)
        os.close(descriptor)
        if sys.platform == "win32":
            # There a file that somebody has open cannot be deleted, and is not.
            with contextlib.suppress(OSError):
                lock.unlink()


def _acquire(lock: Path, target: Path, timeout: float) -> int:
    """Open and lock the file, or raise; the descriptor is the lock."""
    deadline = time.monotonic() + timeout
    is_told = False
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # The one before may have deleted the file between its opening and its locking here.
            if _try_lock(descriptor, target) and _is_open_at(descriptor, lock):
                _sign(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"'{target}' is in use by {_holder(lock)} (lock file '{lock}'), and was not free"
                f" within {timeout:g} s. Wait until that process is done, or end it if it hangs,"
                " and make the same call again."
            )
        if not is_told:
            logger.info("waiting for '%s', in use by %s", target, _holder(lock))
            is_told = True
        time.sleep(_POLL_SECONDS)


def _try_lock(descriptor: int, target: Path) -> bool:
    try:
        if sys.platform == "win32":
            # A locked byte cannot be read there: one that is far behind the text.
            os.lseek(descriptor, 2**30, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(
            "the file system of '%s' has no locks (%s): let no two calls write to it at once",
            target,
            error.strerror,
        )
    return True


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    since = datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
    text = f"process {os.getpid()} on {platform.node()} since {since}\n"
    # A full disk keeps nobody from locking.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text.encode())


def _holder(lock: Path) -> str:
    try:
        return lock.read_text(encoding="utf-8").strip() or "another process"
    except OSError:
        return "another process"
