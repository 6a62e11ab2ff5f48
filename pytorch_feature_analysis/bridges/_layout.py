"""A stack as arrays and one JSON text, which any format that has both can hold without loss.

Matrices are arrays of their own, as other programs expect them. The text, under the name `TEXT`,
is all else: columns with their types and cells (see `_cells`), and the index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis import _cells
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.array_files import unreadable_as_value_error
from pytorch_feature_analysis.rdm_stack import as_read, differing, name_of
from pytorch_feature_analysis.stack_schema import (
    PROVENANCE_COLUMNS,
    cell_error,
    check_string_columns,
    is_lineage,
)

TEXT = "pfa_stack"
"""What the text is called in files, by which they are known."""

FORMAT = 1


def text_of(df: pd.DataFrame, matrices: Sequence[np.ndarray], suffix: str) -> str:
    """Write all of a stack but its matrices as ASCII text; raises if a cell has no text.

    A digest of both tells whether they still belong together when they are read.
    """
    check_string_columns(df.columns, file=f"a {suffix} file")
    index: dict[str, Any] = {"names": [_plain(name) for name in df.index.names]}
    if isinstance(df.index, pd.RangeIndex):
        index["range"] = [df.index.start, df.index.stop, df.index.step]
    else:
        levels = [df.index.get_level_values(k) for k in range(df.index.nlevels)]
        index["is_multi"] = isinstance(df.index, pd.MultiIndex)
        index["levels"] = [
            _column(pd.Series(level, index=range(len(level))), f"index level {k}", suffix)
            for k, level in enumerate(levels)
        ]
    document: dict[str, Any] = {
        "format": FORMAT,
        "n_rows": len(df),
        "names": list(df.columns),
        "names_dtype": str(df.columns.dtype),
        "names_name": _plain(df.columns.name),
        "index": index,
        "columns": {
            name: _column(df[name], repr(name), suffix) for name in df.columns if name != "matrix"
        },
    }
    document["sha256"] = _digest(document, matrices)
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _digest(document: dict[str, Any], matrices: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(document, separators=(",", ":")).encode())
    for matrix in matrices:
        # Programs that save the numbers anew keep neither the sign of 0 nor the bits of NaN.
        plain = np.where(np.isnan(matrix), np.nan, matrix) + 0.0
        digest.update(np.ascontiguousarray(plain, dtype="<f8").tobytes())
    return digest.hexdigest()


def frame_of(text: str, matrices: Callable[[], Sequence[np.ndarray]], path: Path) -> pd.DataFrame:
    """Rebuild the stack of a text and its matrices, in the order of rows; or raise."""
    try:
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise ValueError(
                f"it was written by a later version of the library (format {document['format']};"
                f" this one reads up to {FORMAT}). Update it with `pip install --upgrade"
                " pytorch_feature_analysis`"
            )
        with unreadable_as_value_error():
            found = [np.array(matrix, dtype=np.float64) for matrix in matrices()]
        if len(found) != document["n_rows"]:
            raise ValueError(
                f"it has {len(found)} matrices, and {document['n_rows']} were written"
            )
        if document.pop("sha256") != _digest(document, found):
            raise ValueError("its numbers or texts are others than were written")
        index = _index(document["index"])
        columns = {
            name: object_series(found, index)
            if name == "matrix"
            else _cells_of(document["columns"][name], name, index)
            for name in document["names"]
        }
        frame = pd.DataFrame(columns, index=index)
        frame.columns = pd.Index(
            document["names"], dtype=document["names_dtype"], name=_value(document["names_name"])
        )
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f"'{path}' has been changed since `write_rdms` wrote it, or is damaged:"
            f" {str(error).rstrip('.')}. Take the variable '{TEXT}' out of it to have its arrays"
            " read as those of any other file, or write it anew."
        ) from error
    return as_read(frame, path)


def row_names(df: pd.DataFrame) -> list[str]:
    """Name each row by what tells it from the others, for people and programs to read."""
    if "name" in df.columns:
        names = [str(cell) for cell in df["name"]]
    else:
        told = [
            name
            for name in differing(df)
            if name not in (*PROVENANCE_COLUMNS, "layer_label", "layer_num")
            and not is_lineage(name)
            and all(isinstance(cell, (str, int, float)) for cell in df[name].tolist())
        ]
        names = [" | ".join(map(str, cells)) for cells in df[told].to_numpy().tolist()]
    names = [name.encode(errors="replace").decode().replace("\0", "?") for name in names]
    if len(set(names)) < len(names) or "" in names or TEXT in names:
        names = [f"{k} {name}".rstrip() for k, name in enumerate(names)]
    return names


def entry_names(df: pd.DataFrame) -> list[str] | None:
    """Name the entries that all rows have in this order; None where rows differ."""
    keys = df["entry_keys"].tolist()
    if not keys or any(one != keys[0] for one in keys):
        return None
    plain = [name_of(key) if isinstance(key, tuple) else key for key in keys[0]]
    names = [item if isinstance(item, str) else str(item) for item in plain]
    return [name.encode(errors="replace").decode() for name in names]


def by_size(matrices: Sequence[np.ndarray]) -> dict[int, list[int]]:
    """List the rows of each number of entries."""
    rows: dict[int, list[int]] = {}
    for k, matrix in enumerate(matrices):
        rows.setdefault(len(matrix), []).append(k)
    return rows


def in_rows(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Put matrices (k, n, n) of several sizes back into the order of their rows."""
    placed = {
        int(row): matrix
        for stacked, rows in parts
        for row, matrix in zip(rows, stacked, strict=True)
    }
    return [placed[row] for row in range(len(placed))]


def _column(column: pd.Series, title: str, suffix: str) -> dict[str, Any]:
    """Write a column; cells of the same text once."""
    dtype = column.dtype
    stored: dict[str, Any] = {"dtype": str(dtype)}
    if isinstance(dtype, pd.CategoricalDtype):
        categories = pd.Series(dtype.categories, index=range(len(dtype.categories)))
        stored["categories"] = _column(categories, f"{title} (categories)", suffix)
        stored["is_ordered"] = bool(dtype.ordered)
        stored["codes"] = column.cat.codes.tolist()
        return stored
    is_time = isinstance(dtype, np.dtype) and dtype.kind in "mM"
    cells = list(column.to_numpy()) if is_time else column.tolist()
    by_id: dict[int, int] = {}
    by_text: dict[str, int] = {}
    codes = []
    for k, cell in enumerate(cells):
        code = by_id.get(id(cell))
        if code is None:
            try:
                code = by_text.setdefault(_cells.encode(cell), len(by_text))
            except TypeError as error:
                raise cell_error(title, k, column.index, error, file=f"a {suffix} file") from None
            by_id[id(cell)] = code
        codes.append(code)
    stored["cells"] = [json.loads(text) for text in by_text]
    stored["codes"] = codes
    return stored


def _cells_of(stored: dict[str, Any], name: str, index: pd.Index) -> pd.Series:
    if "categories" in stored:
        inner = stored["categories"]
        count = pd.RangeIndex(len(inner["codes"]))
        categories = pd.Index(_cells_of(inner, name, count), tupleize_cols=False)
        return pd.Series(
            pd.Categorical.from_codes(
                stored["codes"], categories=categories, ordered=stored["is_ordered"]
            ),
            index=index,
        )
    shared = [_value(cell) for cell in stored["cells"]]
    # Rows of one image set share their labels in memory, as in the stack that was written.
    may_share = [is_lineage(name) or _cells.is_immutable(cell) for cell in shared]
    cells = [
        shared[code] if may_share[code] else _value(stored["cells"][code])
        for code in stored["codes"]
    ]
    if stored["dtype"] == "object":
        return object_series(cells, index)
    if stored["dtype"][:8] in ("datetime", "timedelt"):
        return pd.Series(np.array(cells, dtype=stored["dtype"]), index=index)
    return pd.Series(cells, index=index, dtype=stored["dtype"])


def _index(stored: dict[str, Any]) -> pd.Index:
    names = [_value(name) for name in stored["names"]]
    if "range" in stored:
        start, stop, step = stored["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    levels = [
        _cells_of(level, "", pd.RangeIndex(len(level["codes"]))) for level in stored["levels"]
    ]
    if stored["is_multi"]:
        return pd.MultiIndex.from_arrays(levels, names=names)
    return pd.Index(levels[0], dtype=levels[0].dtype, name=names[0], tupleize_cols=False)


def _plain(value: Any) -> Any:
    return json.loads(_cells.encode(value))


def _value(plain: Any) -> Any:
    return _cells.decode(json.dumps(plain))
