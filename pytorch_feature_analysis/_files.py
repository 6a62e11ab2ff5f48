"""Files that are whole or absent, never overwritten unseen, and pickles that cannot run code."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import logging
import os
import pickle
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from pytorch_feature_analysis._locks import file_lock as file_lock
from pytorch_feature_analysis._unpickling import (
    ForgedError,
    Pair,
    RefusedError,
    RestrictedUnpickler,
)

logger = logging.getLogger(__name__)

# What `atomic_write` calls a file that is not whole yet.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}(\.[^.]*)?")
_NAME_IS_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}


def check_path(path: Any, *, argument: str) -> Path:
    """Return `path` as a Path, or raise a TypeError unless it is a string or a path."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"`{argument}` must be a file's path, as a str or Path, not {path!r}.")
    if not os.fspath(path):
        raise ValueError(f"`{argument}` must be a file's path, not an empty string.")
    return Path(path)


def save_or_rescue(write: Callable[[Path], Any], path: str | os.PathLike[str]) -> None:
    """Write what took long to compute; where that fails, write it into a temporary folder.

    The error then says where it lies.
    """
    try:
        write(Path(path))
    except Exception as error:
        folder = Path(tempfile.mkdtemp(prefix="pfa-"))
        rescued = folder / Path(path).name
        try:
            write(rescued)
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            error.add_note(f"What was computed is in '{rescued}'.")
        raise


def check_writable(path: Any, *, argument: str) -> Path:
    """Return `path` as a Path, or raise unless a file can be written there.

    To be called before the work, so that hours of it are not lost to a misspelt folder. The folder
    is tried with a nameless temporary file: permission bits alone mislead for root, for network
    drives and for read-only mounts.
    """
    path = check_path(path, argument=argument)
    if path.is_dir():
        raise IsADirectoryError(
            f"`{argument}` must be a file's path, and '{path}' is a folder. Add a file name to it."
        )
    folder = path.resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(
            f"`{argument}` is '{path}', but there is no folder '{folder}'."
            " Make it first, or choose another one."
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"`{argument}` is '{path}', but nothing can be written to the folder '{folder}'"
            f" ({error.strerror}). Choose another one."
        ) from error
    return path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, keep: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the new one, never half of one; after an exception the old one
    stands as it was. The temporary name keeps the suffix, by which many writers choose a format.
    A symbolic link stays one, and its target is what is written. With `keep`, an old file of
    another content stays under the name that `keep_previous` gives it.
    """
    target = Path(path).resolve()
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(6)}{target.suffix}")
    try:
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        # Without this, a power cut can leave the new name with none of its content.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if keep and not same_content(target, temporary):
            keep_previous(target, stays=True)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(folder: Path) -> list[Path]:
    """List the temporary files of `atomic_write` in a folder, which killed writers leave behind.

    A writer that is at work has one too.
    """
    return sorted(item for item in folder.iterdir() if _TEMPORARY.fullmatch(item.name))


def keep_previous(path: str | os.PathLike[str], *, stays: bool = False) -> Path | None:
    """Rename what is at `path` to `<stem>.superseded<suffix>`, numbered from the second on.

    With `stays` a file has both names, so that there is one at `path` until another takes its
    place (where the file system has no hard links, it is renamed all the same).

    Returns
    -------
    pathlib.Path or None
        Where the file, or the folder, is kept now; None when there was none.
    """
    path = Path(path).resolve()
    is_folder = path.is_dir()
    take = _rename_folder if is_folder else _link if stays else _rename
    number = 1
    while path.exists():
        ending = ".superseded" if number == 1 else f".superseded-{number}"
        kept = path.with_name(f"{path.stem}{ending}{path.suffix}")
        # Taking the name and finding it free are one step: two processes never agree on one.
        try:
            take(path, kept)
        except FileNotFoundError:
            # Another process has just taken it away.
            continue
        except OSError as error:
            if error.errno not in _NAME_IS_TAKEN:
                raise
            number += 1
            continue
        logger.warning(
            "'%s' would have been overwritten; the previous %s is kept as '%s'.",
            path,
            "folder" if is_folder else "file",
            kept,
        )
        return kept
    return None


def _rename_folder(path: Path, kept: Path) -> None:
    path.rename(kept)


def _rename(path: Path, kept: Path) -> None:
    kept.touch(exist_ok=False)
    try:
        path.replace(kept)
    except OSError:
        kept.unlink()
        raise


def _link(path: Path, kept: Path) -> None:
    try:
        kept.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:
        _rename(path, kept)


def same_content(first: Path, second: Path) -> bool:
    """Tell whether two files exist and agree byte by byte."""
    return first.exists() and second.exists() and filecmp.cmp(first, second, shallow=False)


def filedelete(path: str | os.PathLike[str]) -> None:
    """Delete a file, or a folder with all that is in it.

    Parameters
    ----------
    path : str or Path
        What to delete. Nothing happens when it does not exist. A symbolic link is deleted itself,
        never what it points to.

    See Also
    --------
    pickle_dump : Keeps what it would overwrite.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pytorch_feature_analysis as pfa
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "notes.txt").write_text("to be forgotten")
    >>> pfa.filedelete(folder)
    >>> folder.exists()
    False
    """
    path = check_path(path, argument="path")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pickle_dump(obj: Any, path: str | os.PathLike[str]) -> None:
    """Write an object to a pickle file.

    The file is whole or absent, also after a crash. One that is already there with another content
    is not lost: it is renamed to `<stem>.superseded<suffix>`, and a log line says so.

    Parameters
    ----------
    obj
        Anything that can be pickled. `pickle_read` reads frames, arrays and plain Python values;
        classes of other packages have to be named to it.
    path : str or Path
        The file to write. Its folder must exist.

    See Also
    --------
    pickle_read : Its inverse.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "answer.p"
    ...     pfa.pickle_dump({"answer": (4, 2)}, path)
    ...     pfa.pickle_read(path)
    {'answer': (4, 2)}
    """
    path = check_writable(path, argument="path")
    with atomic_write(path, keep=True) as temporary, temporary.open("wb") as file:
        pickle.dump(obj, file, protocol=pickle.HIGHEST_PROTOCOL)


def pickle_read(path: str | os.PathLike[str], *, allow: Iterable[Pair] = ()) -> Any:
    """Read a pickle of frames, arrays and plain Python values, without running code from it.

    A pickle is a program, and `pickle.load` runs it. This reader carries out only what pandas and
    numpy need to rebuild a frame, an index, a series or an array of numbers, text or objects, as
    old and new versions of both have written them, besides Python's own containers and dates.
    Everything else is refused by name before it is called.

    Parameters
    ----------
    path : str or Path
        The file to read.
    allow : iterable of (str, str)
        Further classes and functions that the pickle may use, as exact pairs of module and name:
        ``[("fractions", "Fraction")]``. They are imported and called, so name only what you know
        to do no harm with any argument.

    Returns
    -------
    object
        What was pickled.

    Raises
    ------
    ValueError
        The pickle asks for something else (named in the message), or is cut short, or the file is
        no pickle at all.

    See Also
    --------
    pickle_dump : Its inverse.
    read_rdms : For stacks of RDMs, pickled or in the library's own format.

    Notes
    -----
    Arrays with named fields and subclasses of ndarray are refused. A hostile file can still fill
    the memory; what it cannot do is call a function of its choice.

    Examples
    --------
    >>> import os, pathlib, pickle, tempfile
    >>> import pytorch_feature_analysis as pfa
    >>> class Trap:
    ...     def __reduce__(self):
    ...         return os.mkdir, ("trapped",)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "trap.p"
    ...     _ = path.write_bytes(pickle.dumps(Trap()))
    ...     pfa.pickle_read(path)
    Traceback (most recent call last):
    ValueError: ... asks for posix.mkdir, ...
    """
    path = check_path(path, argument="path")
    with path.open("rb") as file:
        return restricted_load(file, path, allow=allow)


def restricted_load(
    file: IO[bytes], path: str | os.PathLike[str], *, allow: Iterable[Pair] = ()
) -> Any:
    """Load one pickle from an open file; `path` is what the errors call it. See `pickle_read`."""
    extra = frozenset(_check_pair(pair) for pair in allow)
    try:
        return RestrictedUnpickler(file, extra).load()
    except ForgedError as refusal:
        raise ValueError(
            f"'{path}' is a pickle that asks for {refusal}, which no stack of RDMs and no array"
            " needs. It is damaged, or made to do harm: get it anew from where it came from."
        ) from None
    except RefusedError as refusal:
        raise ValueError(
            f"'{path}' is a pickle that asks for {refusal}, which no stack of RDMs and no array"
            " needs. It was not run. If you made the file and know that this does no harm,"
            " `pickle_read(path, allow=[(module, name)])` lets it through by its exact name."
        ) from None
    # A damaged pickle can fail in any of the steps it is made of, with any exception.
    except Exception as error:
        raise ValueError(
            f"'{path}' cannot be read as a pickle: it is damaged, cut short or another kind of"
            f" file ({type(error).__name__}: {error}). Copy it again from where it came from, or"
            " make it anew."
        ) from error


def _check_pair(pair: Any) -> Pair:
    if not (
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
    ):
        raise TypeError(f"`allow` must hold pairs of names, (module, name), not {pair!r}.")
    return pair
