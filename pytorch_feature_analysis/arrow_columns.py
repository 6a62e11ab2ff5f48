"""Columns of a frame as columns of an Arrow table, and back, with the same values and types.

Columns of one scalar type are stored as such, tuples of integers as lists, categories as numbers,
and all other cells as JSON text (see `_cells`).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis import _cells
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.stack_schema import cell_error, is_lineage


class Store:
    """One column on its way into a file."""

    kind = ""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype

    def footer(self) -> dict[str, Any]:
        """Return what the reader needs to know of it."""
        return {"kind": self.kind, "dtype": self._dtype}

    def slice(self, start: int, stop: int) -> Any:
        """Return some of its rows as an Arrow array."""
        raise NotImplementedError


class ArrowStore(Store):
    """Scalars of one type, as Arrow has them."""

    def __init__(self, array: Any, dtype: str = "object", kind: str = "objects") -> None:
        super().__init__(dtype)
        self._array = array
        self.kind = kind

    def slice(self, start: int, stop: int) -> Any:
        """Return some of its rows, without a copy."""
        return self._array.slice(start, stop - start)


class _IntsStore(Store):
    """Tuples of integers."""

    kind = "ints"

    def __init__(self, cells: list[tuple[int, ...]]) -> None:
        super().__init__("object")
        self._cells = cells

    def slice(self, start: int, stop: int) -> Any:
        import pyarrow as pa

        cells = self._cells[start:stop]
        offsets = np.cumsum([0, *map(len, cells)], dtype=np.int64)
        values = np.fromiter(chain.from_iterable(cells), np.int64, offsets[-1])
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


class _CategoryStore(Store):
    """Numbers of categories, which stand in the footer."""

    kind = "category"

    def __init__(self, column: pd.Series) -> None:
        super().__init__(str(column.cat.categories.dtype))
        self._column = column

    def footer(self) -> dict[str, Any]:
        """Add the categories and their order."""
        categorical = self._column.cat
        return {
            **super().footer(),
            "categories": [_cells.encode(value) for value in categorical.categories.tolist()],
            "is_ordered": bool(categorical.ordered),
        }

    def slice(self, start: int, stop: int) -> Any:
        import pyarrow as pa

        return pa.array(self._column.cat.codes.to_numpy()[start:stop], pa.int32())


class _TextsStore(Store):
    """Any cells, as JSON text; cells of the same text are written once."""

    kind = "json"

    def __init__(self, codes: list[int], texts: list[str]) -> None:
        super().__init__("object")
        self._codes, self._texts = codes, texts

    def slice(self, start: int, stop: int) -> Any:
        import pyarrow as pa

        return pa.array([self._texts[k] for k in self._codes[start:stop]], pa.string())


def store_of(column: pd.Series, name: str) -> Store:
    """Choose the form that gives back the same cells of the same types, or raise."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _CategoryStore(column)
    if column.dtype == object:
        return _object_store(column, name)
    import pyarrow as pa

    is_numpy = isinstance(column.dtype, np.dtype)
    try:
        if not is_numpy and not _can_be_stored(column):
            raise TypeError("there is no such type")
        # Numpy's NaN stays NaN; a missing value of pandas becomes a null.
        array = pa.array(column.to_numpy() if is_numpy else column)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise TypeError(
            f"`rdm_df` has a column {name!r} of type {column.dtype}, which a parquet file cannot"
            f" hold ({error}). Turn it into strings, or write a pickle (.p)."
        ) from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return ArrowStore(array, str(column.dtype), kind="numpy" if is_numpy else "pandas")


def _can_be_stored(column: pd.Series) -> bool:
    """Tell whether a column is of one of those types of pandas' own that come back from a list."""
    masked = (pd.arrays.IntegerArray, pd.arrays.FloatingArray, pd.arrays.BooleanArray)
    return isinstance(column.dtype, (pd.StringDtype, pd.DatetimeTZDtype)) or isinstance(
        column.array, masked
    )


def _object_store(column: pd.Series, name: str) -> Store:
    import pyarrow as pa

    cells = column.tolist()
    kinds = set(map(type, cells))
    for kind, arrow_type in ((str, pa.string()), (bool, pa.bool_()), (int, pa.int64())):
        if kinds <= {kind, type(None)} and kind in kinds:
            try:
                return ArrowStore(pa.array(cells, arrow_type))
            # What the type has no room for (large integers, half of a surrogate pair) is text.
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):
                break
    if kinds == {float}:
        return ArrowStore(pa.array(np.array(cells, dtype=np.float64)))
    if kinds == {tuple} and set(map(type, chain.from_iterable(cells))) == {int}:
        try:
            np.fromiter(chain.from_iterable(cells), np.int64)
        except OverflowError:
            pass
        else:
            return _IntsStore(cells)
    return _texts_of(cells, column.index, name)


def _texts_of(cells: list[Any], index: pd.Index, name: str) -> _TextsStore:
    # Encoding is slow, and most cells repeat: the same object is known by its id, an equal one by
    # its pickle, which unlike == tells 1 from 1.0.
    by_id: dict[int, int] = {}
    by_content: dict[bytes, int] = {}
    by_text: dict[str, int] = {}
    codes = []
    for k, cell in enumerate(cells):
        code = by_id.get(id(cell))
        if code is None:
            try:
                content = pickle.dumps(cell, protocol=pickle.HIGHEST_PROTOCOL)
            # What pickle cannot hold, encode() names.
            except Exception:
                content = b""
            code = by_content.get(content) if content else None
            if code is None:
                try:
                    text = _cells.encode(cell)
                except TypeError as error:
                    raise cell_error(repr(name), k, index, error, file="a parquet file") from None
                code = by_text.setdefault(text, len(by_text))
                by_content[content] = code
            by_id[id(cell)] = code
        codes.append(code)
    return _TextsStore(codes, list(by_text))


def read_column(column: Any, footer: dict[str, Any], name: str, index: pd.Index) -> pd.Series:
    """Rebuild a column from its part of a table and what its store left in the footer."""
    return _READERS[footer["kind"]](column, footer, name, index)


def _read_objects(column: Any, _footer: dict[str, Any], _name: str, index: pd.Index) -> pd.Series:
    return object_series(column.to_pylist(), index)


def _read_numpy(column: Any, footer: dict[str, Any], _name: str, index: pd.Index) -> pd.Series:
    return pd.Series(column.to_numpy().astype(footer["dtype"], copy=False), index=index)


def _read_pandas(column: Any, footer: dict[str, Any], _name: str, index: pd.Index) -> pd.Series:
    dtype: Any = footer["dtype"]
    # Arrow's own objects of time would lose nanoseconds; all other types are exact as a list.
    is_time = dtype.startswith("datetime64")
    values = column.to_pandas().array if is_time else column.to_pylist()
    return pd.Series(values, index=index, dtype=dtype)


def _read_category(column: Any, footer: dict[str, Any], _name: str, index: pd.Index) -> pd.Series:
    values = object_series([_cells.decode(text) for text in footer["categories"]])
    categories = pd.Index(values, dtype=footer["dtype"])
    ordered = footer["is_ordered"]
    return pd.Series(
        pd.Categorical.from_codes(column.to_numpy(), categories=categories, ordered=ordered),
        index=index,
    )


def _read_ints(column: Any, _footer: dict[str, Any], _name: str, index: pd.Index) -> pd.Series:
    return object_series([tuple(items.tolist()) for items in items_of_lists(column)], index)


def _read_texts(column: Any, _footer: dict[str, Any], name: str, index: pd.Index) -> pd.Series:
    shared: dict[str, Any] = {}
    cells = []
    for text in column.to_pylist():
        if text in shared:
            cells.append(shared[text])
            continue
        cell = _cells.decode(text)
        # Rows of one image set share their labels in memory, as in the stack that was written.
        if is_lineage(name) or _cells.is_immutable(cell):
            shared[text] = cell
        cells.append(cell)
    return object_series(cells, index)


_READERS = {
    "objects": _read_objects,
    "numpy": _read_numpy,
    "pandas": _read_pandas,
    "category": _read_category,
    "ints": _read_ints,
    "json": _read_texts,
}


def items_of_lists(column: Any) -> Iterator[np.ndarray]:
    """Yield the items of each cell of a column of lists, over the memory of the table."""
    for chunk in column.chunks:
        offsets = chunk.offsets.to_pylist()
        # Arrow's `values`, unlike `flatten()`, are what the offsets count.
        values = chunk.values.to_numpy(zero_copy_only=False)  # noqa: PD011 - no pandas here
        for start, stop in pairwise(offsets):
            yield values[start:stop]
