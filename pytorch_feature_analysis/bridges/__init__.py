"""Stacks in files of other packages: one family of formats a module, and what chooses among them.

A file is read by what it is, whatever its name says, and written by its suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.array_files import HDF5_SIGNATURE, MATLAB_HEADER, import_h5py
from pytorch_feature_analysis.bridges._content import frame_of_content
from pytorch_feature_analysis.bridges._descriptors import frame_of_descriptors, is_of_rsatoolbox
from pytorch_feature_analysis.bridges.arrays import read_arrays, write_npz
from pytorch_feature_analysis.bridges.csv_long import is_long, read_long, write_long
from pytorch_feature_analysis.bridges.hdf5 import read_hdf5, write_hdf5
from pytorch_feature_analysis.bridges.mat import read_mat, write_mat
from pytorch_feature_analysis.bridges.netcdf import read_netcdf, write_netcdf
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS

_Content = Mapping[str, Any] | pd.DataFrame


def _read_text(path: Path) -> _Content:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    if is_long(path, separator):
        return read_long(path, separator)
    suffix = path.suffix.lower()
    return read_arrays(path, suffix if suffix in (".tsv", ".txt") else ".csv")


# By what a file begins with.
_READERS: dict[bytes, Callable[[Path], _Content]] = {
    b"\x93NUMPY": partial(read_arrays, suffix=".npy"),
    b"PK\x03\x04": partial(read_arrays, suffix=".npz"),
    b"PK\x05\x06": partial(read_arrays, suffix=".npz"),
    b"MATLAB 5": read_mat,
    HDF5_SIGNATURE: read_hdf5,
    b"CDF\x01": read_netcdf,
    b"CDF\x02": read_netcdf,
}

WRITERS: dict[str, Callable[[pd.DataFrame, Sequence[np.ndarray], Path], None]] = {
    ".h5": write_hdf5,
    ".hdf5": write_hdf5,
    ".mat": write_mat,
    ".npz": write_npz,
    ".nc": write_netcdf,
    ".csv": write_long,
}
"""By suffix, what writes a stack with these matrices to a path."""

SUFFIXES = (*WRITERS, ".npy", ".tsv", ".txt")
"""Of the files that are read here."""


def read_file(path: Path, entry_keys: Any = None) -> pd.DataFrame:
    """Read a stack, by whomever it was written, or raise and list what is in the file."""
    try:
        content, is_of_matlab = _read(path)
    except (ImportError, MemoryError, FileNotFoundError, PermissionError):
        raise
    except (ValueError, OSError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(
            f"'{path}' cannot be read: {str(error).rstrip('.')}. It is damaged, cut short or"
            " another kind of file. Copy it again from where it came from, or make it anew."
        ) from error
    is_stack = isinstance(content, pd.DataFrame)
    if entry_keys is not None and (is_stack or is_of_rsatoolbox(content)):
        raise ValueError(
            f"`entry_keys` is for files that do not name the entries, and '{path}' does. Leave it"
            " out."
        )
    if isinstance(content, pd.DataFrame):
        return content
    if is_of_rsatoolbox(content):
        return frame_of_descriptors(content, what=str(path))
    return frame_of_content(content, path, entry_keys, rdms_last=is_of_matlab)


def _read(path: Path) -> tuple[_Content, bool]:
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(MATLAB_HEADER)
        later = file.read(len(HDF5_SIGNATURE))
    if not start:
        raise ValueError("it is empty")
    if later == HDF5_SIGNATURE:
        return read_hdf5(path, of_matlab=True), True
    for magic, reader in _READERS.items():
        if start.startswith(magic):
            return reader(path), reader is read_mat
    if b"\0" in start + later:
        raise ValueError("it is none of the formats that are known here")
    return _read_text(path), False


def check_can_write(path: Path, dtype: str) -> None:
    """Raise, before the work, where a format needs what is not there."""
    if path.suffix.lower() in (".h5", ".hdf5"):
        import_h5py(path)
    if dtype != "float64":
        raise ValueError(
            f"`dtype` {dtype!r} is for parquet files, and '{path}' holds matrices as they are."
            " Leave it out, or write .parquet."
        )


def pick(df: pd.DataFrame, where: Any, columns: Any, provenance: bool) -> pd.DataFrame:
    """Choose rows and columns of a stack that was read whole; arguments as in `read_rdms`."""
    known = [name for name in PROVENANCE_COLUMNS if name in df] if "row_key" in df else []
    if columns is not None:
        columns = check_sequence(columns, argument="columns", of="column names")
        for name in columns:
            check_name(name, df.columns, argument="columns", what="column", owner=" of the file")
    if where is not None:
        df = df_filter(df, where)
    own = [name for name in df.columns if name not in known]
    names = own if columns is None else list(dict.fromkeys(columns))
    if not provenance:
        return df[names]
    extra = [name for name in PROVENANCE_COLUMNS if name not in own]
    for name in extra:
        if name not in df.columns:
            df = df.assign(**{name: pd.Series([None] * len(df), index=df.index, dtype=object)})
    return df[[*(name for name in names if name not in extra), *extra]]
