"""Stacks in HDF5: the library's own layout, MATLAB's version 7.3, NetCDF-4, and any other.

The layout: `TEXT` (see `_layout`), and for each number n of entries a dataset ``matrix_<n>``
(k, n, n) and the rows that they are, ``row_<n>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.array_files import import_h5py, unreadable_as_value_error
from pytorch_feature_analysis.bridges._content import Structs, Unread, can_be_rdms
from pytorch_feature_analysis.bridges._descriptors import is_of_rsatoolbox
from pytorch_feature_analysis.bridges._layout import (
    TEXT,
    by_size,
    entry_names,
    frame_of,
    in_rows,
    row_names,
    text_of,
)

# MATLAB keeps there what its cells and structs refer to.
_HIDDEN = "#"
# What cannot be RDMs is read where it may say something of them, and is not large.
_SMALL = 100_000


def read_hdf5(path: Path, *, of_matlab: bool = False) -> dict[str, Any] | pd.DataFrame:
    """Read what may be RDMs, and all that is small; a stack where `write_hdf5` wrote it."""
    h5py = import_h5py(path)
    with unreadable_as_value_error():
        file = h5py.File(path, "r")
    with file, unreadable_as_value_error():
        if TEXT not in file:
            return _Reader(h5py, file, of_matlab).group(file)
        text = file[TEXT].asstr()[()]
        return frame_of(text, lambda: _matrices(file), path)


def write_hdf5(df: pd.DataFrame, matrices: Sequence[np.ndarray], path: Path) -> None:
    """Write a stack in the library's own layout."""
    text = text_of(df, matrices, ".h5")
    h5py = import_h5py(path)
    as_text = h5py.string_dtype("utf-8")
    entries = entry_names(df)
    with h5py.File(path, "w") as file:
        file[TEXT] = text
        for n, rows in by_size(matrices).items():
            file[f"matrix_{n}"] = np.stack([matrices[row] for row in rows])
            file[f"row_{n}"] = np.array(rows)
        if len(df):
            file.create_dataset("names", data=row_names(df), dtype=as_text)
        if entries is not None:
            file.create_dataset("entries", data=entries, dtype=as_text)


def _matrices(file: Any) -> list[np.ndarray]:
    sizes = [name.removeprefix("matrix_") for name in file if name.startswith("matrix_")]
    return in_rows([(file[f"matrix_{n}"][()], file[f"row_{n}"][()]) for n in sizes])


class _Reader:
    """Turns the groups of an open file into nested dicts."""

    def __init__(self, h5py: Any, file: Any, of_matlab: bool) -> None:
        self._h5py, self._file, self._of_matlab = h5py, file, of_matlab
        # It keeps texts as attributes; elsewhere these are about the file.
        self._of_rsatoolbox = is_of_rsatoolbox(dict.fromkeys(file))

    def group(self, group: Any) -> dict[str, Any]:
        """Read all members of a group."""
        content = {
            name: self._item(item)
            for name, item in group.items()
            if not (self._of_matlab and name.startswith(_HIDDEN))
        }
        if self._of_rsatoolbox:
            content |= {key: text for key, text in group.attrs.items() if isinstance(text, str)}
        return content

    def _item(self, item: Any) -> Any:
        if isinstance(item, self._h5py.Group):
            return self._struct(item) if self._of_matlab else self.group(item)
        if not isinstance(item, self._h5py.Dataset):
            return Unread(type(item).__name__)
        return self._dataset(item)

    def _struct(self, group: Any) -> Any:
        fields = dict(group.items())
        of_many = fields and all(map(self._refers, fields.values()))
        # The fields of a struct array are references to its elements; so are those of one struct
        # whose fields are all cell arrays, but MATLAB says that they are.
        if not of_many or any(self._is_class(item, b"cell") for item in fields.values()):
            return self.group(group)
        columns = {name: self._referred(item) for name, item in fields.items()}
        n_items = min(map(len, columns.values()))
        return Structs([{name: columns[name][k] for name in columns} for k in range(n_items)])

    def _dataset(self, item: Any) -> Any:
        if item.shape is None:
            return None
        if self._refers(item):
            cells = self._referred(item)
            texts = [one.item() if _is_text(one) else None for one in cells]
            return np.array(texts) if texts and None not in texts else cells
        if self._h5py.check_string_dtype(item.dtype) is not None:
            return np.asarray(item.asstr(errors="replace")[()], dtype=np.str_)
        if item.dtype.kind not in "biuf":
            return Unread(str(item.dtype))
        if not can_be_rdms(item.shape) and item.size > _SMALL:
            return Unread(f"{item.shape} of {item.dtype}")
        if self._of_matlab and "MATLAB_empty" in item.attrs:
            return np.array("") if self._is_class(item, b"char") else np.empty(0)
        if self._is_class(item, b"char"):
            lines = np.atleast_2d(item[()].T)
            return np.array(["".join(map(chr, line)) for line in lines])
        return item[()].T if self._of_matlab else item[()]

    def _refers(self, item: Any) -> bool:
        is_dataset = isinstance(item, self._h5py.Dataset)
        return is_dataset and self._h5py.check_ref_dtype(item.dtype) is not None

    def _referred(self, item: Any) -> list[Any]:
        return [self._item(self._file[one]) for one in np.ravel(item[()].T, order="F")]

    def _is_class(self, item: Any, name: bytes) -> bool:
        return self._of_matlab and bytes(item.attrs.get("MATLAB_class", b"")) == name


def _is_text(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size == 1
