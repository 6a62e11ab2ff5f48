"""Stacks in files of MATLAB, up to version 7: struct arrays with an RDM, its name and colour.

That is how the RSA toolbox for MATLAB keeps them. Files of version 7.3 are HDF5, see `hdf5`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.array_files import unreadable_as_value_error
from pytorch_feature_analysis.bridges._content import Structs, Unread
from pytorch_feature_analysis.bridges._layout import (
    TEXT,
    entry_names,
    frame_of,
    row_names,
    text_of,
)

_RDMS = "RDMs"
_HEADER = b"MATLAB 5.0 MAT-file, RDMs of pytorch_feature_analysis"
_HEADER_LENGTH = 116


def read_mat(path: Path) -> dict[str, Any] | pd.DataFrame:
    """Read all variables of a file; a stack where `write_mat` wrote them."""
    # Deferred: only a call needs it.
    from scipy.io import loadmat

    with unreadable_as_value_error():
        variables = loadmat(path)
    variables = {name: value for name, value in variables.items() if not name.startswith("__")}
    if TEXT in variables:
        with unreadable_as_value_error():
            text = str(variables[TEXT].item())
        return frame_of(text, lambda: _matrices(variables), path)
    return {name: _plain(value) for name, value in variables.items()}


def write_mat(df: pd.DataFrame, matrices: Sequence[np.ndarray], path: Path) -> None:
    """Write a stack as a struct array, and the names of its entries where rows share them."""
    from scipy.io import savemat
    from scipy.io.matlab import MatWriteError

    structs = np.zeros((1, len(matrices)), [(name, object) for name in ("RDM", "name", "color")])
    for k, (matrix, name) in enumerate(zip(matrices, row_names(df), strict=True)):
        structs[0, k] = (matrix, name, np.zeros((1, 3)))
    variables: dict[str, Any] = {_RDMS: structs, TEXT: text_of(df, matrices, ".mat")}
    entries = entry_names(df)
    if entries is not None:
        cells = np.empty((len(entries), 1), dtype=object)
        cells[:, 0] = entries
        variables["entries"] = cells
    try:
        # Compressed, since scipy may crash on damage that nothing has checked.
        savemat(path, variables, do_compression=True)
    except MatWriteError as error:
        raise ValueError(
            f"`rdm_df` has a matrix too large for a .mat file ({error}). Write .h5 or .parquet."
        ) from error
    with path.open("r+b") as file:
        # In place of the time, so that the same stack is the same file.
        file.write(_HEADER.ljust(_HEADER_LENGTH))


def _matrices(variables: dict[str, Any]) -> list[np.ndarray]:
    structs = variables[_RDMS]
    # MATLAB saves a struct array without elements as one without fields.
    return [one["RDM"] for one in structs.ravel(order="F")] if structs.size else []


def _plain(value: Any) -> Any:
    """Turn what scipy makes of a variable into nested dicts, lists and arrays."""
    if hasattr(value, "toarray"):
        value = value.toarray()
    if not isinstance(value, np.ndarray):
        return Unread(type(value).__name__)
    if value.dtype.names is not None:
        items = [
            {name: _plain(one[name]) for name in value.dtype.names}
            for one in value.ravel(order="F")
        ]
        return Structs(items)
    if value.dtype == object:
        cells = [_plain(cell) for cell in value.ravel(order="F")]
        texts = [text_cell(cell) for cell in cells]
        return np.array(texts) if texts and None not in texts else cells
    return value if value.dtype.kind in "biufU" else Unread(str(value.dtype))


def text_cell(cell: Any) -> str | None:
    """Return a cell of one text as such, None for any other."""
    if isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size < 2:
        return str(cell.item()) if cell.size else ""
    return None
