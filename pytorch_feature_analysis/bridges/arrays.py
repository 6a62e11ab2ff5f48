"""Stacks in files of numpy: ``.npy`` with an array, ``.npz`` with one RDM an array.

What `write_rdms` writes into an ``.npz`` is what others read from one, an array a row under its
name, with the text of `_layout` beside them.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.array_files import list_arrays, unreadable_as_value_error
from pytorch_feature_analysis.bridges._content import Unread
from pytorch_feature_analysis.bridges._layout import (
    TEXT,
    entry_names,
    frame_of,
    row_names,
    text_of,
)
from pytorch_feature_analysis.number_tables import CsvLayout

_ROWS = "pfa_rows"
_ENTRIES = "entries"


def read_arrays(path: Path, suffix: str) -> dict[str, Any] | pd.DataFrame:
    """Read all arrays of a file; a stack where `write_npz` wrote them."""
    stored = list_arrays(path, CsvLayout(), suffix=suffix)
    if TEXT in stored and _ROWS in stored:
        with unreadable_as_value_error():
            text = str(stored[TEXT].load().array)
            members = json.loads(str(stored[_ROWS].load().array))
        return frame_of(text, lambda: [stored[name].load().array for name in members], path)
    content: dict[str, Any] = {}
    for name, one in stored.items():
        with unreadable_as_value_error():
            table = one.load()
        array = np.asarray(table.array)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        content[name] = array if array.dtype.kind in "biufU" else Unread(f"{array.dtype}")
        for axis, names in (("rows", table.row_names), ("columns", table.column_names)):
            if names is not None and len(array) == len(names):
                content[f"names of {axis} {name}".strip()] = np.array([str(one) for one in names])
    return content


def write_npz(df: pd.DataFrame, matrices: Sequence[np.ndarray], path: Path) -> None:
    """Write a stack, an array a row."""
    names = [name if name != _ENTRIES else f"{name} (RDM)" for name in row_names(df)]
    arrays: dict[str, Any] = dict(zip(names, matrices, strict=True))
    entries = entry_names(df)
    if entries is not None:
        arrays[_ENTRIES] = np.array(entries, dtype=np.str_)
    arrays[_ROWS] = np.array(json.dumps(names))
    arrays[TEXT] = np.array(text_of(df, matrices, ".npz"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # Without the time, so that the same stack is the same file.
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
