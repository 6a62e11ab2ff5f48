"""Stacks on disk: parquet files, and the pickles of the guide with a sidecar for provenance."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._files import (
    atomic_write,
    check_path,
    check_writable,
    keep_previous,
    pickle_read,
    same_content,
)
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.rdm_stack import check_rdm_stack
from pytorch_feature_analysis.stack_parquet import (
    condition_names,
    read_note,
    read_parquet,
    write_parquet,
)
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

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
        whomever it was made: it is read without running code from it, see `pickle_read`.
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
    return _read_pickle(path, where, columns, provenance)


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
    matrices = check_rdm_stack(rdm_df)["matrix"].tolist()
    if _is_parquet(path, argument="path"):
        with atomic_write(path) as temporary:
            write_parquet(rdm_df, matrices, temporary, matrix_dtype=dtype)
            if keep and not same_content(path, temporary):
                keep_previous(path)
    else:
        _write_pickle(rdm_df, path, keep)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.provenance.parquet")


def _write_pickle(rdm_df: pd.DataFrame, path: Path, keep: bool) -> None:
    # Beside a link's target, so that both files stay together.
    path = path.resolve()
    known = [name for name in PROVENANCE_COLUMNS if name in rdm_df] if "row_key" in rdm_df else []
    with atomic_write(path) as temporary:
        with temporary.open("wb") as file:
            pickle.dump(rdm_df.drop(columns=known), file, protocol=pickle.HIGHEST_PROTOCOL)
        digest = _digest(temporary)
        if keep and not same_content(path, temporary):
            kept = keep_previous(path)
            if kept is not None and _sidecar(path).exists():
                _sidecar(path).replace(_sidecar(kept))
    if known:
        with atomic_write(_sidecar(path)) as temporary:
            origin = rdm_df[known].reset_index(drop=True)
            write_parquet(origin, None, temporary, note={"sha256": digest})
    else:
        _sidecar(path).unlink(missing_ok=True)


def _read_pickle(
    path: Path, where: Any, columns: Sequence[str] | None, provenance: bool
) -> pd.DataFrame:
    df = pickle_read(path)
    if not isinstance(df, pd.DataFrame):
        raise ValueError(
            f"'{path}' holds a {type(df).__name__}, not a frame with a stack of RDMs."
            " `pickle_read` reads it as it is."
        )
    wanted = None
    if columns is not None:
        wanted = check_sequence(columns, argument="columns", of="column names")
    if "matrix" in df.columns:
        for matrix in df["matrix"].tolist():
            if isinstance(matrix, np.ndarray):
                matrix.flags.writeable = False
    conditions = [] if where is None else condition_names(where)
    extra: list[str] = []
    if provenance or any(name in PROVENANCE_COLUMNS for name in conditions):
        extra = [name for name in PROVENANCE_COLUMNS if name not in df.columns]
        origin = _read_sidecar(path, len(df))
        for name in extra:
            if origin is not None and name in origin.columns:
                df[name] = origin[name].array
            else:
                df[name] = object_series([None] * len(df), df.index)
    for argument, names in (("columns", wanted or ()), ("where", conditions)):
        for name in names:
            check_name(name, df.columns, argument=argument, what="column", owner=" of the file")
    if where is not None:
        df = df_filter(df, where)
    names = df.columns.tolist() if wanted is None else list(dict.fromkeys(wanted))
    names = [name for name in names if name not in extra]
    return df[[*names, *extra] if provenance else names]


def _read_sidecar(path: Path, n_rows: int) -> pd.DataFrame | None:
    """Read where a pickle's rows came from; None when that is not known of this very file."""
    sidecar = _sidecar(path.resolve())
    if not sidecar.exists():
        return None
    try:
        if read_note(sidecar).get("sha256") == _digest(path):
            origin = read_parquet(sidecar, provenance=True)
            if len(origin) == n_rows:
                return origin
        reason = "it was written with another version of it"
    except (ValueError, OSError) as error:
        reason = str(error)
    logger.warning(
        "'%s' does not say where the rows of '%s' came from: %s. It is ignored.",
        sidecar,
        path,
        reason,
    )
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
