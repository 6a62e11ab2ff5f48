"""Stacks in parquet files.

A matrix is a list of numbers: its upper triangle where that says it all, else the whole, with a
flag. The other columns are those of `arrow_columns`. What is needed to rebuild the frame exactly
stands in the footer, as JSON, under `_FOOTER`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis import _cells
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.arrow_columns import (
    ArrowStore,
    Store,
    items_of_lists,
    read_column,
    store_of,
)
from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.matrices import is_condensable, to_condensed, to_square
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, check_string_columns

FORMAT = 1
"""Version of the files; a reader refuses those of a later one."""

_FOOTER = b"pytorch_feature_analysis"
_MATRIX, _IS_SQUARE, _ORIGIN, _INDEX = (
    "matrix",
    "matrix.is_square",
    "matrix.origin",
    "matrix.index.",
)
_OWN_COLUMNS = ("row_key", "run_id")
# Rows are read in groups: large enough for a file of small matrices to be read in one go, small
# enough that one row of large matrices does not pull in the whole file.
_GROUP_BYTES = 2**23
_GROUP_ROWS = 4096


def write_parquet(
    df: pd.DataFrame,
    matrices: Sequence[np.ndarray] | None,
    path: Path,
    *,
    matrix_dtype: str = "float64",
    note: dict[str, Any] | None = None,
) -> None:
    """Write a frame; `matrices` are the cells of its column `matrix`, None if it has none."""
    import pyarrow as pa
    from pyarrow import parquet

    _check_names(df.columns)
    provenance = [name for name in PROVENANCE_COLUMNS if name in df] if "row_key" in df else []
    own = [name for name in provenance if name in _OWN_COLUMNS]
    stores: dict[str, Store] = {}
    for name in df.columns:
        if name != _MATRIX and (name not in provenance or name in own):
            stores[name] = store_of(df[name], name)
    footer: dict[str, Any] = {
        "format": FORMAT,
        "columns": [name for name in df.columns if name not in provenance],
        "columns_dtype": str(df.columns.dtype),
        "columns_name": _cells.encode(df.columns.name),
        "matrix_dtype": matrix_dtype,
        "index": _index_footer(df.index, stores),
        "note": note or {},
    }
    if provenance:
        run_table = [name for name in provenance if name not in own]
        footer["provenance"] = {name: str(df[name].dtype) for name in provenance}
        footer["runs"], origins = _run_table(df, run_table)
        stores[_ORIGIN] = ArrowStore(pa.array(origins, pa.int32()))
    footer["stores"] = {name: store.footer() for name, store in stores.items()}

    def table(start: int, stop: int) -> pa.Table:
        columns = {name: store.slice(start, stop) for name, store in stores.items()}
        if matrices is not None:
            columns |= _matrix_columns(matrices[start:stop], matrix_dtype)
        return pa.table(columns).replace_schema_metadata({_FOOTER: json.dumps(footer)})

    n_rows = len(df)
    step = _rows_a_group(matrices)
    schema = table(0, 0).schema
    scalars = [name for name, store in stores.items() if isinstance(store, ArrowStore)]
    with parquet.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[*stores],
        write_statistics=scalars,
        write_page_checksum=True,
    ) as writer:
        for start in range(0, n_rows, step):
            writer.write_table(table(start, min(start + step, n_rows)))


def read_parquet(
    path: Path,
    *,
    where: Any = None,
    columns: Sequence[str] | None = None,
    provenance: bool = False,
) -> pd.DataFrame:
    """Read a frame that `write_parquet` wrote, or raise and name the path."""
    with _naming(path), _File(path) as file:
        return file.frame(where, columns, provenance)


def read_note(path: Path) -> dict[str, Any]:
    """Read the note that was given to `write_parquet`."""
    with _naming(path), _File(path) as file:
        return file.footer["note"]


def read_names(path: Path) -> list[str]:
    """Read the names of the columns of the frame that was given to `write_parquet`."""
    with _naming(path), _File(path) as file:
        return list(file.footer["columns"])


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into one that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            # The system's own: not readable for this user, say.
            raise
        raise ValueError(
            f"'{path}' cannot be read as a parquet file: it is damaged, cut short or another kind"
            f" of file ({error}). Copy it again from where it came from, or make it anew."
        ) from error


class _File:
    """An open file with its footer; columns are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(path, page_checksum_verification=True)
        content = (self._file.schema_arrow.metadata or {}).get(_FOOTER)
        if content is None:
            self._file.close()
            raise ValueError(
                f"'{path}' is a parquet file, but not a stack that `write_rdms` wrote. If it holds"
                " one, read it with pandas.read_parquet, make `matrix` and `entry_keys` of it, and"
                " write it with `write_rdms`."
            )
        self.footer = json.loads(content)
        if self.footer["format"] > FORMAT:
            self._file.close()
            raise ValueError(
                f"'{path}' was written by a later version of the library (format"
                f" {self.footer['format']}; this one reads up to {FORMAT}). Update it with"
                " `pip install --upgrade pytorch_feature_analysis`."
            )

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frame(self, where: Any, columns: Sequence[str] | None, provenance: bool) -> pd.DataFrame:
        extra = [*PROVENANCE_COLUMNS] if provenance else []
        # A column of the user's own that happens to be called like one of these stays as it is.
        extra = [name for name in extra if name not in self.footer["columns"]]
        names = self.footer["columns"] if columns is None else _checked(columns, self, extra)
        names = [*(name for name in names if name not in extra), *extra]
        rows = self._rows_where(where) if where is not None else None
        return self._read(names, rows)

    def _rows_where(self, where: Any) -> np.ndarray:
        """Positions of the rows that meet the conditions, from the columns they name alone."""
        known = [*self.footer["columns"], *self.footer.get("provenance", {})]
        for name in condition_names(where):
            check_name(name, known, argument="where", what="column", owner=" of the file")
        frame = self._read(list(dict.fromkeys(condition_names(where))), None)
        frame.index = pd.RangeIndex(len(frame))
        return df_filter(frame, where).index.to_numpy()

    def _read(self, names: Sequence[str], rows: np.ndarray | None) -> pd.DataFrame:
        table = self._table(self._needed(names), rows)
        index = self._index(table, rows)
        columns = {}
        for name in names:
            if name == _MATRIX:
                columns[name] = object_series(self._matrices(rows), index)
            elif name in self.footer["stores"]:
                columns[name] = self._column(table, name, index)
            else:
                columns[name] = self._from_runs(table, name, index)
        frame = pd.DataFrame(columns, index=index)
        labels = pd.Index(
            names,
            dtype=self.footer["columns_dtype"],
            name=_cells.decode(self.footer["columns_name"]),
        )
        frame.columns = labels
        return frame

    def _needed(self, names: Iterable[str]) -> list[str]:
        stores = self.footer["stores"]
        needed = [name for name in names if name in stores]
        if _ORIGIN in stores and any(name in PROVENANCE_COLUMNS for name in names):
            needed.append(_ORIGIN)
        return needed + [name for name in stores if name.startswith(_INDEX)]

    def _table(self, needed: list[str], rows: np.ndarray | None) -> Any:
        if rows is None:
            return self._file.read(columns=needed)
        groups = self._groups(rows)
        table = self._file.read_row_groups([group for group, _, _ in groups], columns=needed)
        before = np.cumsum([0, *(n_rows for _, n_rows, _ in groups)])
        taken = [
            start + place
            for start, (_, _, places) in zip(before.tolist(), groups, strict=False)
            for place in places.tolist()
        ]
        return table.take(taken) if taken else table.slice(0, 0)

    def _matrices(self, rows: np.ndarray | None) -> list[np.ndarray]:
        """Read matrices by groups of rows: what is in the file never stands beside all of them."""
        matrices = []
        for group, n_rows, places in self._groups(rows):
            table = self._file.read_row_groups([group], columns=[_MATRIX, _IS_SQUARE])
            is_whole = len(places) == n_rows
            matrices += _read_matrices(table if is_whole else table.take(places.tolist()))
        return matrices

    def _groups(self, rows: np.ndarray | None) -> list[tuple[int, int, np.ndarray]]:
        """List the groups with some of these ascending rows: number, length and their places."""
        groups = []
        start = 0
        for group in range(self._file.num_row_groups):
            n_rows = self._file.metadata.row_group(group).num_rows
            places = np.arange(n_rows)
            if rows is not None:
                low, high = np.searchsorted(rows, [start, start + n_rows])
                places = rows[low:high] - start
            if len(places):
                groups.append((group, n_rows, places))
            start += n_rows
        return groups

    def _column(self, table: Any, name: str, index: pd.Index) -> pd.Series:
        return read_column(table[name], self.footer["stores"][name], name, index)

    def _from_runs(self, table: Any, name: str, index: pd.Index) -> pd.Series:
        dtype = self.footer.get("provenance", {}).get(name)
        if dtype is None:
            return object_series([None] * len(index), index)
        values = [_cells.decode(run[name]) for run in self.footer["runs"]]
        origins = table[_ORIGIN].to_pylist()
        return object_series([values[k] for k in origins], index).astype(dtype)

    def _index(self, table: Any, rows: np.ndarray | None) -> pd.Index:
        description = self.footer["index"]
        names = [_cells.decode(name) for name in description["names"]]
        if "range" in description:
            start, stop, step = description["range"]
            index: pd.Index = pd.RangeIndex(start, stop, step, name=names[0])
            return index if rows is None else index.take(rows)
        count = pd.RangeIndex(table.num_rows)
        levels = [self._column(table, f"{_INDEX}{k}", count) for k in range(len(names))]
        if description["is_multi"]:
            return pd.MultiIndex.from_arrays(levels, names=names)
        return pd.Index(levels[0], dtype=levels[0].dtype, name=names[0])


def condition_names(where: Any) -> list[Any]:
    """Name the columns that conditions are on, or raise where they are not pairs."""
    if isinstance(where, tuple) and len(where) == 2 and isinstance(where[0], str):
        where = [where]
    pairs = check_sequence(where, argument="where", of="(column, value) pairs")
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                "`where` must be a list of (column, value) or (column, list of values), but holds"
                f" {pair!r}."
            )
    return [pair[0] for pair in pairs]


def _checked(columns: Sequence[str], file: _File, extra: Sequence[str]) -> list[str]:
    names = check_sequence(columns, argument="columns", of="column names")
    for name in names:
        check_name(
            name,
            [*file.footer["columns"], *extra],
            argument="columns",
            what="column",
            owner=" of the file",
        )
    return list(dict.fromkeys(names))


def _check_names(columns: pd.Index) -> None:
    check_string_columns(columns, file="a parquet file")
    taken = [name for name in columns if name in (_IS_SQUARE, _ORIGIN) or name.startswith(_INDEX)]
    if taken:
        raise ValueError(
            f"`rdm_df` has columns named {', '.join(map(repr, taken))}, which the file uses"
            " itself. Rename them."
        )


def _rows_a_group(matrices: Sequence[np.ndarray] | None) -> int:
    if not matrices:
        return _GROUP_ROWS
    mean_bytes = sum(matrix.nbytes for matrix in matrices) / len(matrices)
    return int(np.clip(_GROUP_BYTES / max(mean_bytes, 1), 1, _GROUP_ROWS))


def _matrix_columns(matrices: Sequence[np.ndarray], dtype: str) -> dict[str, Any]:
    import pyarrow as pa

    is_square = [not is_condensable(matrix) for matrix in matrices]
    flat = [
        matrix.ravel() if square else to_condensed(matrix)
        for matrix, square in zip(matrices, is_square, strict=True)
    ]
    offsets = np.cumsum([0, *map(len, flat)], dtype=np.int64)
    values = np.concatenate(flat) if flat else np.empty(0)
    stored = values
    if dtype != "float64":
        with np.errstate(over="ignore"):
            stored = values.astype(dtype)
        if not np.array_equal(np.isinf(stored), np.isinf(values)):
            raise ValueError(
                f"`rdm_df` has dissimilarities too large for `dtype` '{dtype}'. Write 'float64'."
            )
    return {
        _MATRIX: pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(stored)),
        _IS_SQUARE: pa.array(is_square, pa.bool_()),
    }


def _read_matrices(table: Any) -> list[np.ndarray]:
    matrices = []
    is_square = table[_IS_SQUARE].to_pylist()
    for flat, square in zip(items_of_lists(table[_MATRIX]), is_square, strict=True):
        values = flat.astype(np.float64)
        if square:
            n = round(np.sqrt(len(values)))
            matrix = values.reshape(n, n)
        else:
            matrix = to_square(values)
        matrix.flags.writeable = False
        matrices.append(matrix)
    return matrices


def _run_table(df: pd.DataFrame, names: list[str]) -> tuple[list[dict[str, str]], list[int]]:
    """Distinct values of the columns that many rows share, and which of them each row has."""
    columns = [[_cells.encode(cell) for cell in df[name].tolist()] for name in names]
    places: dict[tuple[str, ...], int] = {}
    rows = zip(*columns, strict=True) if names else [()] * len(df)
    origins = [places.setdefault(row, len(places)) for row in rows]
    return [dict(zip(names, row, strict=True)) for row in places], origins


def _index_footer(index: pd.Index, stores: dict[str, Store]) -> dict[str, Any]:
    names = [_cells.encode(name) for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return {"names": names, "range": [index.start, index.stop, index.step]}
    is_multi = isinstance(index, pd.MultiIndex)
    for k in range(index.nlevels):
        level = index.get_level_values(k) if is_multi else index
        values = pd.Series(level, index=pd.RangeIndex(len(level)))
        stores[f"{_INDEX}{k}"] = store_of(values, f"index level {k}")
    return {"names": names, "is_multi": is_multi}
