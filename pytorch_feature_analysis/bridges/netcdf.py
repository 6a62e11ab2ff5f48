"""Stacks in NetCDF: written as version 3 by scipy, which needs no other package; both are read.

Variables are those of `hdf5`, with the dimensions ``rdm``, ``entry`` and ``other_entry``, and the
names of rows and entries as coordinates, so that xarray opens the file with its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.array_files import unreadable_as_value_error
from pytorch_feature_analysis.bridges._content import Unread, can_be_rdms
from pytorch_feature_analysis.bridges._layout import (
    TEXT,
    by_size,
    entry_names,
    frame_of,
    in_rows,
    row_names,
    text_of,
)

# No variable but the last may be larger than what 32 bits count.
_MOST_BYTES = 2**32 - 4
_SMALL = 100_000


def read_netcdf(path: Path) -> dict[str, Any] | pd.DataFrame:
    """Read the variables of a file of version 3; a stack where `write_netcdf` wrote it."""
    # Deferred: only a call needs it.
    from scipy.io import netcdf_file

    with unreadable_as_value_error():
        file = netcdf_file(path, "r", mmap=False)
    with file, unreadable_as_value_error():
        if TEXT not in file.variables:
            return {name: _content(one) for name, one in file.variables.items()}
        text = file.variables[TEXT].data.tobytes().decode("ascii")
        return frame_of(text, lambda: _matrices(file.variables), path)


def write_netcdf(df: pd.DataFrame, matrices: Sequence[np.ndarray], path: Path) -> None:
    """Write a stack as NetCDF of version 3, with 64-bit offsets."""
    from scipy.io import netcdf_file

    text = text_of(df, matrices, ".nc")
    sizes = by_size(matrices)
    if any(8 * n * n * len(rows) > _MOST_BYTES for n, rows in sizes.items()):
        raise ValueError(
            "`rdm_df` has more than 4 GB of matrices, too much for a .nc file. Write .h5"
        )
    entries = entry_names(df)
    names = row_names(df) if len(df) else []
    with netcdf_file(path, "w", version=2) as file:
        _write_text(file, TEXT, (), [text])
        for n, rows in sizes.items():
            ending = "" if len(sizes) == 1 else f"_{n}"
            axes = (f"rdm{ending}", f"entry{ending}", f"other_entry{ending}")
            for axis, length in zip(axes, (len(rows), n, n), strict=True):
                file.createDimension(axis, length)
            stacked = np.stack([matrices[row] for row in rows])
            file.createVariable(f"matrix_{n}", "d", axes)[:] = stacked
            file.createVariable(f"row_{n}", "i", axes[:1])[:] = np.array(rows)
            _write_text(file, axes[0], axes[:1], [names[row] for row in rows])
        if entries is not None:
            _write_text(file, "entry", ("entry",), entries)


def _write_text(file: Any, name: str, axes: tuple[str, ...], texts: list[str]) -> None:
    content = [text.encode() for text in texts]
    length = max(1, *map(len, content))
    file.createDimension(f"{name}_length", length)
    variable = file.createVariable(name, "c", (*axes, f"{name}_length"))
    letters = np.array(content, dtype=f"S{length}").view("S1").reshape(len(content), length)
    variable[:] = letters if axes else letters[0]
    variable._Encoding = "utf-8"


def _matrices(variables: Any) -> list[np.ndarray]:
    sizes = [name.removeprefix("matrix_") for name in variables if name.startswith("matrix_")]
    return in_rows([(variables[f"matrix_{n}"].data, variables[f"row_{n}"].data) for n in sizes])


def _content(variable: Any) -> Any:
    data = variable.data
    if data.dtype.kind == "S":
        lines = data.reshape(-1, data.shape[-1]) if data.ndim else data.reshape(1, 1)
        texts = [line.tobytes().decode("utf-8", "replace").rstrip("\0 ") for line in lines]
        return np.array(texts)
    if not can_be_rdms(data.shape) and data.size > _SMALL:
        return Unread(f"{data.shape} of {data.dtype}")
    return data.astype(data.dtype.newbyteorder("="))
