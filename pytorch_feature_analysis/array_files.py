"""Arrays in files of numpy, torch, MATLAB, HDF5, pickles and text: what is there, then the values.

Nothing in a file is run. An array is read when it is asked for; where the format allows it, it is
mapped from the file.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import torch

from pytorch_feature_analysis._files import pickle_read, restricted_load
from pytorch_feature_analysis.checkpoints import load_without_code
from pytorch_feature_analysis.name_patterns import natural_key
from pytorch_feature_analysis.number_tables import (
    CsvLayout,
    NumberTable,
    check_number_table,
    read_number_table,
)

# Numbers that can be a table of activations.
_NUMBERS = "biuf"
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MAT_NUMBERS = {"double", "single", "logical"} | {
    f"{sign}int{n_bits}" for sign in ("", "u") for n_bits in (8, 16, 32, 64)
}
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Where MATLAB's own header ends in its files of version 7.3.
MATLAB_HEADER = 512


@dataclass(frozen=True)
class Stored:
    """An array in a file."""

    is_table: bool
    """Whether it is numbers with two axes or more, and not one alone."""
    load: Callable[[], NumberTable]


def list_arrays(path: Path, layout: CsvLayout, *, suffix: str = "") -> dict[str, Stored]:
    """List the arrays of a file by name; the only one of a format without names is ''.

    `suffix` is that of its format, where its name does not tell.

    Raises a ValueError or an OSError if it cannot be read as what its suffix says.
    """
    with unreadable_as_value_error():
        if not path.stat().st_size:
            raise ValueError("it is empty")
        suffix = suffix or path.suffix.lower()
        if suffix in (".csv", ".tsv"):
            check_number_table(path)
            return {"": Stored(True, partial(read_number_table, path, layout))}
        return _FORMATS[suffix](path)


@contextlib.contextmanager
def unreadable_as_value_error() -> Iterator[None]:
    """Turn what readers raise on a damaged file into a ValueError of one line."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    # A damaged file can fail in any step of its format, with any exception.
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(reason or type(error).__name__) from error


def _npy(path: Path) -> dict[str, Stored]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        with path.open("rb") as file:
            if not _read_header(file)[1].hasobject:
                raise
            return _stored(restricted_load(file, path))
    return {"": _in_memory(array)}


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and type of an array in numpy's format; its content comes next."""
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"it is of version {version} of numpy's format, which holds no numbers")
    shape, _, dtype = _NPY_HEADERS[version](file)
    return shape, dtype


def _npz(path: Path) -> dict[str, Stored]:
    listed = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                shape, dtype = _read_header(file)
            listed[member.removesuffix(".npy")] = Stored(
                _is_table(dtype, shape), partial(_member, path, member, dtype.hasobject)
            )
    return listed


def _member(path: Path, member: str, has_objects: bool) -> NumberTable:
    with zipfile.ZipFile(path) as archive, archive.open(member) as file:
        if not has_objects:
            return NumberTable(np.lib.format.read_array(file, allow_pickle=False))
        _read_header(file)
        return NumberTable(_as_array(restricted_load(file, path)))


def _torch(path: Path) -> dict[str, Stored]:
    loaded = load_without_code(
        path,
        name="it",
        content="tensors",
        remedy="save tensors alone: torch.save({'conv1': torch.as_tensor(array)}, path)",
        # Only the format that torch has by now can be mapped.
        mmap=zipfile.is_zipfile(path),
    )
    return _stored(loaded)


def _pickle(path: Path) -> dict[str, Stored]:
    return _stored(pickle_read(path))


def _mat(path: Path) -> dict[str, Stored]:
    with path.open("rb") as file:
        file.seek(MATLAB_HEADER)
        if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
            return _hdf5(path, of_matlab=True)
    # Deferred: only a call needs it.
    from scipy.io import whosmat

    return {
        name: Stored(
            kind in _MAT_NUMBERS and math.prod(shape) > 1, partial(_mat_variable, path, name)
        )
        for name, shape, kind in whosmat(path)
    }


def _mat_variable(path: Path, name: str) -> NumberTable:
    from scipy.io import loadmat

    return NumberTable(np.asarray(loadmat(path, variable_names=[name])[name]))


def _hdf5(path: Path, of_matlab: bool = False) -> dict[str, Stored]:
    h5py = import_h5py(path)
    listed = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            is_text = item.attrs.get("MATLAB_class") == b"char"
            listed[name] = Stored(
                _is_table(item.dtype, item.shape) and not is_text,
                partial(_dataset, path, name, of_matlab),
            )

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return {name: listed[name] for name in sorted(listed, key=natural_key)}


def _dataset(path: Path, name: str, of_matlab: bool) -> NumberTable:
    h5py = import_h5py(path)
    with h5py.File(path, "r") as file:
        item = file[name]
        if h5py.check_ref_dtype(item.dtype) is not None:
            # A cell array of texts, each of them a dataset elsewhere in the file.
            cells = [_text_of_codes(file[cell][()]) for cell in np.ravel(item[()], order="F")]
            return NumberTable(np.array(cells))
        if item.attrs.get("MATLAB_class") == b"char":
            return NumberTable(np.array([_text_of_codes(line) for line in item[()].T]))
        if h5py.check_string_dtype(item.dtype) is not None:
            return NumberTable(np.asarray(item.asstr()[()]))
        # MATLAB writes its axes in the opposite order.
        return NumberTable(item[()].T if of_matlab else item[()])


def _text_of_codes(codes: np.ndarray) -> str:
    return "".join(chr(code) for code in np.ravel(codes))


def import_h5py(path: Path) -> Any:
    """Import h5py for a file that takes it, or raise and say how to get it."""
    try:
        import h5py
    except ImportError as error:
        kind = "MATLAB 7.3, which is HDF5" if path.suffix.lower() == ".mat" else "HDF5"
        raise ImportError(
            f"'{path}' is a file of {kind}, which takes the package h5py to read:"
            " pip install 'pytorch_feature_analysis[hdf5]'"
        ) from error
    return h5py


def _stored(content: Any) -> dict[str, Stored]:
    """List the arrays of nested dicts and lists, named as in '0/conv1'; of one alone, ''."""
    return {name: _in_memory(item) for name, item in _leaves(content, "")}


def _leaves(content: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(content, np.ndarray) and content.dtype == object and content.ndim == 0:
        content = content.item()
    is_list = isinstance(content, (list, tuple)) and any(map(_holds_arrays, content))
    if isinstance(content, Mapping) or is_list:
        items = content.items() if isinstance(content, Mapping) else enumerate(content)
        for key, item in items:
            yield from _leaves(item, f"{name}/{key}" if name else str(key))
    elif isinstance(content, (torch.Tensor, np.ndarray, pd.DataFrame, list, tuple)):
        yield name, content


def _holds_arrays(item: Any) -> bool:
    return isinstance(item, (torch.Tensor, np.ndarray, pd.DataFrame, Mapping))


def _in_memory(item: Any) -> Stored:
    array = _as_array(item)
    names: list[list[Any] | None] = [None, None]
    if isinstance(item, pd.DataFrame):
        # Rows and columns that pandas has counted itself have no names.
        names = [
            None if isinstance(axis, pd.RangeIndex) else axis.tolist()
            for axis in (item.index, item.columns)
        ]
    return Stored(_is_table(array.dtype, array.shape), partial(NumberTable, array, *names))


def _is_table(dtype: np.dtype, shape: tuple[int, ...]) -> bool:
    # To MATLAB, a single number has two axes.
    return dtype.kind in _NUMBERS and len(shape) > 1 and math.prod(shape) > 1


def _as_array(item: Any) -> np.ndarray:
    if isinstance(item, torch.Tensor):
        item = item.detach()
        if item.layout != torch.strided:
            item = item.to_dense()
        # numpy has no such numbers, and these have all of them.
        return item.float().numpy() if item.dtype == torch.bfloat16 else item.numpy()
    try:
        return np.asanyarray(item)
    except ValueError:  # lists of different lengths
        return np.array(None)


def _text(path: Path) -> dict[str, Stored]:
    """Numbers with blanks between them, as numpy.savetxt writes them."""
    try:
        return {"": _in_memory(np.loadtxt(path, ndmin=2, encoding="utf-8"))}
    except ValueError as error:
        raise ValueError(
            f"{error}; a .txt file must hold numbers with blanks between them, a row a line"
        ) from error


_FORMATS: dict[str, Callable[[Path], dict[str, Stored]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".pt": _torch,
    ".pth": _torch,
    ".p": _pickle,
    ".pkl": _pickle,
    ".pickle": _pickle,
    ".mat": _mat,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".txt": _text,
}
SUFFIXES = (*_FORMATS, ".csv", ".tsv")
