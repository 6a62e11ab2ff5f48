"""Stacks on disk: parquet, pickles with a sidecar for provenance, files of other packages."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._files import atomic_write, check_path, check_writable
from pytorch_feature_analysis.bridges import SUFFIXES, WRITERS, check_can_write, pick, read_file
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
_PICKLE = {".p", ".pkl", ".pickle"}
_DTYPES = ("float64", "float32")


def check_stack_path(path: Any, *, argument: str) -> Path:
    """Return a path that a stack can be written to, or raise; to be called before the work.

    The formats of other packages are for `write_rdms` alone: runs go on from the library's own.
    """
    path = check_path(path, argument=argument)
    if not _is_own(path):
        hint = " `write_rdms` turns a stack into it." if path.suffix.lower() in WRITERS else ""
        raise ValueError(
            f"`{argument}` must end in .parquet, .p or .pkl, which choose the format of a stack;"
            f" '{path}' ends in {path.suffix.lower() or 'nothing'}.{hint}"
        )
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
        smaller and faster one to read in parts, and runs no code when it is read; ``.p``,
        ``.pkl`` and ``.pickle`` are pickles of the frame; ``.h5`` or ``.hdf5``, ``.mat``,
        ``.npz``, ``.nc`` and ``.csv`` are for other programs, see Notes. A file that is already
        there with another content is renamed to `<stem>.superseded<suffix>`, and a log line says
        so.
    dtype : {'float64', 'float32'}, default 'float64'
        How matrices are stored in parquet. 'float32' halves the file and keeps seven digits; the
        matrices come back as float64 either way. Other files hold them as they are.

    Raises
    ------
    TypeError
        A column holds something that the format cannot (named, with its row). Strings, numbers,
        None, NaN, numpy scalars and arrays, and tuples, lists, sets and dicts of these can be
        held, and come back with the same values and types.
    ImportError
        ``.h5`` without the package h5py: ``pip install 'pytorch_feature_analysis[hdf5]'``.

    See Also
    --------
    read_rdms : Its inverse.

    Notes
    -----
    The file is whole or absent, also after a crash. Where `rdm_df` has the column ``row_key``, the
    columns that tell where rows came from (`stack_columns`, group 'provenance') are stored beside
    the stack, for ``read_rdms(..., provenance=True)``: in a parquet file's footer, or in a file
    ``<name>.p.provenance.parquet`` next to a pickle, which counts as long as the pickle is the
    one it was written with; in other files they are columns like all others.

    The formats for other programs, each of which `read_rdms` reads back:

    ``.h5``, ``.hdf5``
        For each number n of entries ``matrix_<n>`` (n_rdms, n, n) and the rows ``row_<n>``;
        ``names`` of the rows, and ``entries`` where all rows have the same.
    ``.mat``
        Version 5: a struct array ``RDMs`` with ``RDM``, ``name`` and ``color``, as the RSA
        toolbox for MATLAB has it, and ``entries``.
    ``.npz``
        A square array a row, under its name, and ``entries``.
    ``.nc``
        NetCDF 3: ``matrix_<n>`` (rdm, entry, other_entry), with the names of both as
        coordinates, for xarray. Up to 4 GB; written by scipy, without a further package.
    ``.csv``
        A line a pair: ``item_1``, ``item_2``, ``value`` and the number of the row, ``rdm``, beside
        the other columns; tuples, dicts and the like as JSON, on the first line of the row. Both
        directions of a pair where the matrix is not symmetric.

    In all but ``.csv`` a text ``pfa_stack`` (JSON) holds what arrays cannot: the other columns,
    entries, types and index, so that the stack comes back as it was; a digest in it tells when
    either has been changed or damaged. Columns of times with a time zone cannot be held, and are
    refused. A ``.csv`` file holds every cell with its type, but not the index and the types of
    columns that pandas would not choose itself; a log line names them.

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
    entry_keys: Sequence[Any] | None = None,
) -> pd.DataFrame:
    """Read a stack of RDMs from a file, of this library or of another package.

    Parameters
    ----------
    path : str or Path
        A ``.parquet`` file of `write_rdms`, or a pickle (``.p``, ``.pkl``, ``.pickle``) of a
        frame, by whomever it was made: it is read without running code from it, see
        `pickle_read`. Or a file of another package, which is known by its content: ``.mat``,
        ``.npz``, ``.npy``, ``.h5``, ``.hdf5``, ``.nc``, ``.csv``, ``.tsv``, ``.txt``, see Notes.
        Or the folder ``<file>.parts`` of a `get_rdms` run that is not finished, see Notes.
    where : list of (column, value) or (column, list of values), optional
        Which rows to read; the conditions of `df_filter`. From parquet, only the columns that it
        names are read in full, and of the others only what is near the rows that it finds.
    columns : list of str, optional
        Which columns to read, in this order; default all. Without ``'matrix'``, no matrix is read.
    provenance : bool, default False
        Add the columns that tell where each row came from (`stack_columns`, group 'provenance'),
        with None where nothing is recorded.
    entry_keys : list, optional
        What the rows of the matrices are, where a file of another package does not say it. By
        default such entries are numbered from 0.

    Returns
    -------
    DataFrame
        The stack as it was written: index, order and types of the columns, and types of the cells
        are the same. Matrices are read-only, and from parquet always float64. From a file of
        another package: a row an RDM, with its ``name``, ``matrix``, ``entry_keys``, and what
        else the file says of it.

    Raises
    ------
    ValueError
        The suffix is another one; the file is damaged, cut short, or not what its suffix says; a
        pickle asks for code to be run; a parquet file was not made by `write_rdms`, or by that of
        a later version; a column does not exist; a file of another package in which no RDM is
        found (it lists what there is), or with several lists of names that could be the entries'.
    ImportError
        An HDF5 file (``.h5``, ``.mat`` of version 7.3, NetCDF 4) without the package h5py:
        ``pip install 'pytorch_feature_analysis[hdf5]'``.

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

    In files of other packages, RDMs are square matrices, stacks of these, and triangles of
    n (n - 1) / 2 numbers in the order of `scipy.spatial.distance.pdist`, which is that of
    MATLAB's too: variables of their own, whose name is the row's, or a field ``RDM`` of structs,
    whose other fields become columns (``name``, ``color``). In a stack the RDMs are the first
    axes, in MATLAB the last; what is symmetric decides where both could be. Vectors are taken
    for triangles where something else in the file has as many entries, if anything has. Entries
    are named by the only text array, or cell array, of as many different names. Also read: what
    ``RDMs.save`` of rsatoolbox writes, dicts of arrays in pickles and ``.npy``, and tables with
    the columns ``item_1``, ``item_2`` and ``value``, whose other columns tell RDMs apart. A log
    line (level WARNING) names what is left out.

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
    if not _is_own(path):
        if path.suffix.lower() not in SUFFIXES:
            raise _unknown_suffix(path)
        return read_stack(
            path, where=where, columns=columns, provenance=provenance, entry_keys=entry_keys
        )
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
    return read_stack(
        path, where=where, columns=columns, provenance=provenance, entry_keys=entry_keys
    )


def read_stack(
    path: Path,
    *,
    where: Any = None,
    columns: Sequence[str] | None = None,
    provenance: bool = False,
    entry_keys: Sequence[Any] | None = None,
) -> pd.DataFrame:
    """Read a file alone, whatever parts of an unfinished run lie beside it; see `read_rdms`."""
    suffix = path.suffix.lower()
    if not path.is_file():
        folder = path.resolve().parent
        near = sorted(item.name for item in folder.glob(f"*{path.suffix}"))[:10]
        raise FileNotFoundError(
            f"`path` is '{path}', but there is no such file. In '{folder}' there are:"
            f" {', '.join(near) or '(none of this kind)'}."
        )
    if where is not None:
        condition_names(where)
    if entry_keys is not None:
        entry_keys = check_sequence(entry_keys, argument="entry_keys", of="names")
    if suffix in _PICKLE:
        return read_pickle(path, where, columns, provenance, entry_keys)
    if suffix not in _PARQUET:
        return pick(read_file(path, entry_keys), where, columns, provenance)
    if entry_keys is not None:
        raise ValueError(
            "`entry_keys` is for files of other packages that do not name the entries; a .parquet"
            " file does. Leave it out."
        )
    return read_parquet(path, where=where, columns=columns, provenance=provenance)


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


def _is_own(path: Path) -> bool:
    return path.suffix.lower() in _PARQUET | _PICKLE


def _unknown_suffix(path: Path, others: Sequence[str] = SUFFIXES) -> ValueError:
    return ValueError(
        "`path` must end in .parquet, .p or .pkl, the formats of stacks, or as files of other"
        f" packages do: {', '.join(others)}; '{path}' ends in"
        f" {path.suffix.lower() or 'nothing'}."
    )


def _write(rdm_df: pd.DataFrame, path: Any, *, dtype: str, keep: bool) -> None:
    path = check_path(path, argument="path")
    suffix = path.suffix.lower()
    if not _is_own(path) and suffix not in WRITERS:
        raise _unknown_suffix(path, tuple(WRITERS))
    path = check_writable(path, argument="path")
    check_name(dtype, _DTYPES, argument="dtype", what="type of number")
    if suffix in WRITERS:
        check_can_write(path, dtype)
    matrices = checked_stack(rdm_df)["matrix"].tolist()
    if suffix in _PICKLE:
        write_pickle(rdm_df, path, keep=keep)
        return
    with atomic_write(path, keep=keep) as temporary:
        if suffix in _PARQUET:
            write_parquet(rdm_df, matrices, temporary, matrix_dtype=dtype)
        else:
            WRITERS[suffix](rdm_df, matrices, temporary)
