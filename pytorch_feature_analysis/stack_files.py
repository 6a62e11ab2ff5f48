"""Stacks on disk: parquet files, and the pickles of the guide with a sidecar for provenance."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import (
    atomic_write,
    check_path,
    check_writable,
    keep_previous,
    same_content,
)
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.stack_parquet import condition_names, read_parquet, write_parquet
from pytorch_feature_analysis.stack_parts import (
    PARTS_SUFFIX,
    part_files,
    parts_folder,
    read_parts,
)
from pytorch_feature_analysis.stack_pickle import read_pickle, write_pickle

logger = logging.getLogger(__name__)

_PARQUET = {".parquet"}
_PICKLE = {".p", ".pkl"}
_DTYPES = ("float64", "float32")


def check_stack_path(path: Any, *, argument: str) -> Path:
    """Return a path that a stack can be written to, or raise; to be called before the work."""
    path = check_path(path, argument=argument)
    _is_parquet(path, argument=argument)
    return check_writable(path, argument=argument)


def write_rdms(
    rdm_df: pd.DataFrame, path: str | os.PathLike[str], *, dtype: str = "float64"
) -> None:
    """Write a stack of RDMs to a file.

    Parameters
    ----------
    rdm_df : DataFrame
        The stack, see `check_rdm_stack`. It is not changed, and nothing is filled in.
    path : str or Path
        The file to write. Its suffix chooses the format: ``.parquet`` is the library's own, the
        smaller and faster one to read in parts, and runs no code when it is read; ``.p`` and
        ``.pkl`` are pickles of the frame. A file that is already there with another content is
        renamed to `<stem>.superseded<suffix>`, and a log line says so.
    dtype : {'float64', 'float32'}, default 'float64'
        How matrices are stored in parquet. 'float32' halves the file and keeps seven digits; the
        matrices come back as float64 either way. A pickle holds them as they are.

    Raises
    ------
    TypeError
        A column holds something that parquet cannot (named, with its row). Strings, numbers, None,
        NaN, numpy scalars and arrays, and tuples, lists, sets and dicts of these can be held, and
        come back with the same values and types.

    See Also
    --------
    read_rdms : Its inverse.

    Notes
    -----
    The file is whole or absent, also after a crash. Where `rdm_df` has the column ``row_key``, the
    columns that tell where rows came from (`stack_columns`, group 'provenance') are stored beside
    the stack, for ``read_rdms(..., provenance=True)``: in a parquet file's footer, or in a file
    ``<name>.p.provenance.parquet`` next to a pickle, which counts as long as the pickle is the
    one it was written with.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "fc1"],
    ...     "matrix": [np.array([[0.0, 1.0], [1.0, 0.0]])] * 2,
    ...     "entry_keys": [(("cat",), ("dog",))] * 2,
    ... })
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "stack.parquet"
    ...     pfa.write_rdms(stack, path)
    ...     pfa.read_rdms(path, where=[("layer", "fc1")], columns=["layer", "entry_keys"])
      layer          entry_keys
    1   fc1  ((cat,), (dog,))
    """
    _write(rdm_df, path, dtype=dtype, keep=True)


def replace_stack(rdm_df: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a stack in place of one whose rows it already holds: nothing is kept of the file."""
    _write(rdm_df, path, dtype="float64", keep=False)


def read_rdms(
    path: str | os.PathLike[str],
    *,
    where: Any = None,
    columns: Sequence[str] | None = None,
    provenance: bool = False,
) -> pd.DataFrame:
    """Read a stack of RDMs from a file.

    Parameters
    ----------
    path : str or Path
        A ``.parquet`` file of `write_rdms`, or a pickle (``.p``, ``.pkl``) of a frame, by
        whomever it was made: it is read without running code from it, see `pickle_read`. Or the
        folder ``<file>.parts`` of a `get_rdms` run that is not finished, see Notes.
    where : list of (column, value) or (column, list of values), optional
        Which rows to read; the conditions of `df_filter`. From parquet, only the columns that it
        names are read in full, and of the others only what is near the rows that it finds.
    columns : list of str, optional
        Which columns to read, in this order; default all. Without ``'matrix'``, no matrix is read.
    provenance : bool, default False
        Add the columns that tell where each row came from (`stack_columns`, group 'provenance'),
        with None where nothing is recorded.

    Returns
    -------
    DataFrame
        The stack as it was written: index, order and types of the columns, and types of the cells
        are the same. Matrices are read-only, and from parquet always float64.

    Raises
    ------
    ValueError
        The suffix is another one; the file is damaged, cut short, or not what its suffix says; a
        pickle asks for code to be run; a parquet file was not made by `write_rdms`, or by that of
        a later version; a column does not exist.

    See Also
    --------
    write_rdms : Its inverse.

    Notes
    -----
    `get_rdms` keeps what it has finished as parts, in a folder ``<file>.parts``, until the whole
    goes into the file. As long as there is no file, its path reads the parts, and a log line warns
    that rows are missing; the same call of `get_rdms` computes these and writes the file. Where
    there is a file, it is read alone, and parts beside it are mentioned in the log (level INFO);
    the folder's own path reads them. Parts make one stack, each row once, in an order that depends
    on the rows alone and is not that of the file to be; `where`, `columns` and `provenance` go for
    it as for a file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0.0, np.nan], [np.nan, 0.0]])],
    ...     "entry_keys": [(("cat",), ("dog",))],
    ...     "perm": ["orig_data"],
    ... })
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pfa.write_rdms(stack, pathlib.Path(folder) / "stack.p")
    ...     again = pfa.read_rdms(pathlib.Path(folder) / "stack.p")
    >>> again.loc[0, "matrix"]
    array([[ 0., nan],
           [nan,  0.]])
    """
    path = check_path(path, argument="path")
    if path.suffix == PARTS_SUFFIX and not path.is_file():
        return _read_folder(path, where, columns, provenance)
    _is_parquet(path, argument="path")
    folder = parts_folder(path)
    n_parts = len(part_files(folder))
    if n_parts and not path.is_file():
        logger.warning(
            "'%s' is not finished: its rows are those of the parts in '%s' that its run has"
            " written so far (%d). Where the run has ended, its call of get_rdms(...,"
            " out_fname='%s') made once more computes what is missing and writes the file",
            *(path, folder, n_parts, path),
        )
        try:
            return read_parts(folder, where=where, columns=columns, provenance=provenance)
        except FileNotFoundError:
            # The run has finished just now, and has put the parts into its file.
            if not path.is_file():
                raise
    elif n_parts:
        logger.info(
            "'%s' is read without the parts in '%s' of a run that is not finished (%d): its call"
            " of get_rdms(..., out_fname='%s') made once more adds them",
            *(path, folder, n_parts, path),
        )
    return read_stack(path, where=where, columns=columns, provenance=provenance)


def read_stack(
    path: Path,
    *,
    where: Any = None,
    columns: Sequence[str] | None = None,
    provenance: bool = False,
) -> pd.DataFrame:
    """Read a file alone, whatever parts of an unfinished run lie beside it; see `read_rdms`."""
    is_parquet = _is_parquet(path, argument="path")
    if not path.is_file():
        folder = path.resolve().parent
        near = sorted(item.name for item in folder.glob(f"*{path.suffix}"))[:10]
        raise FileNotFoundError(
            f"`path` is '{path}', but there is no such file. In '{folder}' there are:"
            f" {', '.join(near) or '(none of this kind)'}."
        )
    if where is not None:
        condition_names(where)
    if is_parquet:
        return read_parquet(path, where=where, columns=columns, provenance=provenance)
    return read_pickle(path, where, columns, provenance)


def _read_folder(
    folder: Path, where: Any, columns: Sequence[str] | None, provenance: bool
) -> pd.DataFrame:
    file = folder.with_name(folder.name.removesuffix(PARTS_SUFFIX))
    try:
        return read_parts(folder, where=where, columns=columns, provenance=provenance)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`path` is '{folder}', where no part of a stack is to be found. When a run has"
            f" finished, its parts have gone into its file: read '{file}'."
        ) from error


def _is_parquet(path: Path, *, argument: str) -> bool:
    suffix = path.suffix.lower()
    if suffix not in _PARQUET | _PICKLE:
        raise ValueError(
            f"`{argument}` must end in .parquet, .p or .pkl, which choose the format of a stack;"
            f" '{path}' ends in {suffix or 'nothing'}."
        )
    return suffix in _PARQUET


def _write(rdm_df: pd.DataFrame, path: Any, *, dtype: str, keep: bool) -> None:
    path = check_stack_path(path, argument="path")
    check_name(dtype, _DTYPES, argument="dtype", what="type of number")
    matrices = checked_stack(rdm_df)["matrix"].tolist()
    if _is_parquet(path, argument="path"):
        with atomic_write(path) as temporary:
            write_parquet(rdm_df, matrices, temporary, matrix_dtype=dtype)
            if keep and not same_content(path, temporary):
                keep_previous(path)
    else:
        write_pickle(rdm_df, path, keep=keep)
