"""Data frames in CSV files: written row by row over many runs, and read back together."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_sequence
from pytorch_feature_analysis._files import (
    atomic_write,
    check_path,
    check_writable,
    file_lock,
    pickle_read,
)

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".p", ".pkl")
# Seconds to wait for another process that writes the same file.
_LOCK_TIMEOUT = 60.0

# Before 3.1, pandas' quick reading of numbers could miss the last digit.
PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
EXACT: dict[str, Any] = {} if PANDAS >= (3, 1) else {"float_precision": "round_trip"}


def create_or_append_csv(
    df: pd.DataFrame, path: str | os.PathLike[str], *, keys: Sequence[str] = ()
) -> None:
    """Write a frame to a CSV file, or add its rows to the file where there is one.

    Parameters
    ----------
    df : DataFrame
        The rows. Its index is written too, as `DataFrame.to_csv` does.
    path : str or Path
        The file. Its folder must exist.
    keys : list of columns, default ()
        The columns that tell rows apart. A row of the file whose keys are those of a row of `df`
        is replaced by it, in its place; the other rows of `df` are added at the end. Running an
        analysis again then changes its rows instead of doubling them. By default, all are added.

    Raises
    ------
    ValueError
        If the columns of the file are others than those of `df` (they may come in another order;
        the file's order is kept), or if two rows of `df` have the same keys.
    TimeoutError
        If another process has been writing to the file for a minute.
    TypeError
        If a column holds arrays: a CSV file would keep their abridged print alone.

    See Also
    --------
    combine_csvs : read one or many such files.

    Notes
    -----
    Added rows are appended in one write; a new file, or one with replaced rows, takes the place
    of the old one only when complete. Several processes may write to one file: they take turns.
    Keys are compared as the text that stands in the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "accuracy.csv"
    ...     first = pd.DataFrame({"layer": ["conv1", "conv2"], "acc": [0.5, 0.75]})
    ...     pfa.create_or_append_csv(first, path)
    ...     again = pd.DataFrame({"layer": ["conv2", "conv3"], "acc": [0.875, 1.0]})
    ...     pfa.create_or_append_csv(again, path, keys=["layer"])
    ...     pfa.combine_csvs(path)
       layer    acc
    0  conv1  0.500
    1  conv2  0.875
    2  conv3  1.000
    """
    check_columns(df, [], argument="df")
    for column, cells in df.items():
        if any(isinstance(cell, (np.ndarray, pd.DataFrame)) for cell in cells):
            raise TypeError(
                f"`df` holds arrays in column {column!r}, which a CSV file would abridge. Drop"
                " the column, or write a stack of RDMs with write_rdms."
            )
    key_names = check_sequence(keys, argument="keys", of="columns")
    check_columns(df, key_names, argument="df")

    file = check_writable(path, argument="path")
    new = read_text(io.StringIO(df.to_csv()))
    _check_distinct_rows(new, key_names)
    with file_lock(file, timeout=_LOCK_TIMEOUT):
        if not file.exists() or file.stat().st_size == 0:
            _write_text(new, file)
            return
        old = read_text(file, rows=None if key_names else 1)
        new = _align(new, old.iloc[0].tolist(), df, file)
        if key_names:
            _write_text(_upsert(old, new, key_names), file)
        else:
            _append_text(new, file)


def combine_csvs(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    keys: Sequence[str] = (),
    *,
    dtype: Any = None,
) -> pd.DataFrame:
    """Read CSV files and pickled frames, and put them under one another.

    Parameters
    ----------
    path : str or Path, or list of these
        A folder, of which all files that end in .csv, .p or .pkl are read, in the order of their
        names (without the older versions that the library keeps as `*.superseded.*`); or a file;
        or a list of files, read in its order.
    keys : list of str, default ()
        Read only files with any of these in their name. By default, all.
    dtype : type or dict, optional
        The types of columns of CSV files, as for `pandas.read_csv`: without
        `dtype={'color': str}`, a color '000' comes back as the number 0.

    Returns
    -------
    DataFrame
        The rows of all files, numbered anew. The columns of all files, in the order in which they
        come up; a column that one file lacks is NaN in its rows, and the log says so. Named
        levels of an index are columns, an index without a name is dropped.

    Raises
    ------
    ValueError
        If there is no such file, or one cannot be read as what its suffix says.

    See Also
    --------
    create_or_append_csv : Writes such files.
    pickle_read : One pickle alone.

    Notes
    -----
    Pickles are read as `pickle_read` does: they can hold frames, and nothing that runs code.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for city, height in [("boston", 71), ("seattle", 69)]:
    ...         df = pd.DataFrame({"city": [city], "height": [height]})
    ...         pfa.create_or_append_csv(df, Path(folder) / f"{city}.csv")
    ...     pfa.combine_csvs(folder)
          city  height
    0   boston      71
    1  seattle      69
    """
    words = check_sequence(keys, argument="keys", of="parts of file names")
    files = _table_files(path)
    chosen = [file for file in files if not words or any(word in file.name for word in words)]
    if not chosen:
        raise ValueError(
            f"`path` has no .csv, .p or .pkl file with any of {words} in its name. There are:"
            f" {', '.join(file.name for file in files) or '(none)'}."
            if words
            else f"`path` has no .csv, .p or .pkl file: {path}."
        )
    frames = [_read_table(file, dtype) for file in chosen]
    known = list(dict.fromkeys(column for frame in frames for column in frame.columns))
    for file, frame in zip(chosen, frames, strict=True):
        missing = [str(column) for column in known if column not in frame.columns]
        if missing:
            logger.warning("%s has no column %s: NaN in its rows.", file, ", ".join(missing))
    return pd.concat(frames, ignore_index=True)


def read_text(
    source: Path | io.StringIO, rows: int | None = None, *, argument: str = "path"
) -> pd.DataFrame:
    """Read all fields of a CSV file as the text they are, the header as the first row."""
    try:
        return pd.read_csv(source, header=None, dtype=str, na_filter=False, nrows=rows)
    except ValueError as error:  # pandas' parser errors and wrong encodings are all of this kind
        raise ValueError(
            f"'{source}' cannot be read as a CSV file ({error}). Choose another"
            f" `{argument}`, or mend the file."
        ) from error


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table without its index, whole or not at all; another one that stood there is kept.

    What it replaces has the name that `keep_previous` gives it, and the log says so.
    """
    with atomic_write(path, keep=True) as temporary:
        table.to_csv(temporary, index=False)


def _write_text(table: pd.DataFrame, file: Path) -> None:
    with atomic_write(file) as temporary:
        table.to_csv(temporary, header=False, index=False)


def _append_text(table: pd.DataFrame, file: Path) -> None:
    """Add the rows behind the header of a table to a file, in one write."""
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        ended = stream.read(1) in b"\r\n"
    text = table.iloc[1:].to_csv(header=False, index=False)
    with file.open("ab", buffering=0) as raw:
        raw.write((text if ended else os.linesep + text).encode())


def _align(new: pd.DataFrame, names: list[str], df: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Put the columns of `new` in the order of those of the file, or raise if they are others."""
    header = new.iloc[0].tolist()
    if header == names:
        return new
    if "" not in names and df.index.names == [None]:  # the file was written without its index
        new, header = new.iloc[:, 1:], header[1:]
    if sorted(header) != sorted(names) or len(set(names)) < len(names):
        extra = [name or "(index)" for name in header if name not in names]
        missing = [name or "(index)" for name in names if name not in header]
        raise ValueError(
            f"`df` must have the columns of '{file}'. Not in the file: {', '.join(extra) or '-'}."
            f" Not in `df`: {', '.join(missing) or '-'}. The file has, in order:"
            f" {', '.join(name or '(index)' for name in names)}. Choose another `path` for"
            " another table."
        )
    return new.iloc[:, [header.index(name) for name in names]]


def _key_rows(table: pd.DataFrame, keys: list[Any]) -> list[tuple[str, ...]]:
    """Return the key of each row, without that of the header."""
    header = table.iloc[0].tolist()
    columns = [table.iloc[1:, header.index(str(key))] for key in keys]
    return list(zip(*columns, strict=True))


def _check_distinct_rows(table: pd.DataFrame, keys: list[Any]) -> None:
    seen: set[tuple[str, ...]] = set()
    for key in _key_rows(table, keys):
        if key in seen:
            raise ValueError(
                f"`keys` must tell the rows of `df` apart, but {keys} = {list(key)} occurs twice."
                " Add another column to `keys`."
            )
        seen.add(key)


def _upsert(old: pd.DataFrame, new: pd.DataFrame, keys: list[Any]) -> pd.DataFrame:
    """Replace the rows of `old` that have the keys of rows of `new`, and add the others."""
    fresh = dict(zip(_key_rows(new, keys), _rows(new)[1:], strict=True))
    header, *rows = _rows(old)
    merged = {}
    for position, (key, row) in enumerate(zip(_key_rows(old, keys), rows, strict=True)):
        # Rows that are not touched keep their duplicates; those that are replaced lose them.
        merged[key if key in fresh else position] = row
    return pd.DataFrame([header, *(merged | fresh).values()])


def _rows(table: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(table.itertuples(index=False, name=None))


def _table_files(path: Any) -> list[Path]:
    """Return the files that `path` stands for."""
    if isinstance(path, (str, os.PathLike)):
        folder = check_path(path, argument="path")
        if folder.is_dir():
            return sorted(file for file in folder.iterdir() if _is_table(file))
        path = [path]
    listed = check_sequence(path, argument="path", of="files, or the path of a folder")
    files = [check_path(file, argument="path") for file in listed]
    absent = [str(file) for file in files if not file.is_file()]
    if absent:
        raise FileNotFoundError(
            f"`path` names what is no file: {', '.join(absent)}. Correct these paths."
        )
    foreign = [str(file) for file in files if file.suffix.lower() not in SUFFIXES]
    if foreign:
        raise ValueError(
            f"`path` must name files that end in {', '.join(SUFFIXES)}, not {', '.join(foreign)}."
        )
    return files


def _is_table(file: Path) -> bool:
    superseded = re.search(r"\.superseded(-\d+)?$", file.stem)
    hidden = file.name.startswith(".")  # among them, files that are just being written
    return file.suffix.lower() in SUFFIXES and not superseded and not hidden and file.is_file()


def _read_table(file: Path, dtype: Any) -> pd.DataFrame:
    """Read one frame by the suffix of its file, without an index."""
    if file.suffix.lower() != ".csv":
        frame = pickle_read(file)
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(
                f"'{file}' holds a {type(frame).__name__}, not a data frame; leave"
                " it out of `path`."
            )
        return frame.reset_index(drop=all(name is None for name in frame.index.names))
    try:
        frame = pd.read_csv(file, dtype=dtype, **EXACT)
    except ValueError as error:
        raise ValueError(
            f"'{file}' cannot be read as a CSV file: {error}. Mend it, or leave it out of `path`."
        ) from error
    # Without a name, a level of the index has a blank header, which pandas replaces by this.
    blank = [name == f"Unnamed: {place}" for place, name in enumerate(frame.columns)]
    return frame.iloc[:, blank.index(False) :] if False in blank else frame
