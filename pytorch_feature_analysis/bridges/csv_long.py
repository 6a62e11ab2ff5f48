"""Stacks in .csv files: long ones with a line for each pair of entries.

A cell that is text stands there as it is, unless it reads as JSON; all else is JSON, as `_cells`
writes it: ``3``, ``null``, ``["conv1",1]``. So each cell comes back with its type.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis import _cells
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.matrices import is_condensable
from pytorch_feature_analysis.rdm_stack import as_key, as_read
from pytorch_feature_analysis.stack_schema import cell_error, check_string_columns

logger = logging.getLogger(__name__)

_RDM, _FIRST, _SECOND, _VALUE = "rdm", "item_1", "item_2", "value"
_OWN = (_RDM, _FIRST, _SECOND, _VALUE)
# What rsatoolbox calls the value.
_OTHER_VALUE = "dissimilarity"
_PAIRS_AT_ONCE = 2**14


def is_long(path: Path, separator: str) -> bool:
    """Tell whether the first line of a file names the columns of a long table."""
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        first = next(csv.reader(file, delimiter=separator), [])
    return {_FIRST, _SECOND} <= set(first)


def write_long(df: pd.DataFrame, matrices: Sequence[np.ndarray], path: Path) -> None:
    """Write a stack: a line a pair, and the columns of the stack beside each.

    Columns of longer cells (tuples, dicts) stand on the first line of their RDM alone.
    """
    _check_names(df)
    names = [name for name in df.columns if name not in ("matrix", "entry_keys")]
    texts = {name: _texts(df[name]) for name in names}
    on_all = [name for name in names if all(map(_is_single, df[name].tolist()))]
    titles = {"matrix": [_VALUE], "entry_keys": [_FIRST, _SECOND]}
    head = [_RDM, *(title for name in df.columns for title in titles.get(name, [name]))]
    _say_what_is_lost(df, names)
    quoted = functools.cache(_quoted)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(map(quoted, head)) + "\n")
        for k, (matrix, keys) in enumerate(zip(matrices, df["entry_keys"].tolist(), strict=True)):
            keys = [quoted(_text_of_key(key, k)) for key in map(as_key, keys)]
            cells = {_RDM: str(k), **{name: quoted(texts[name][k]) for name in names}}
            for first, second in _pairs(matrix):
                file.write(_lines(matrix, keys, first, second, head, cells))
                cells = {name: cells[name] for name in (_RDM, *on_all)}


def read_long(path: Path, separator: str) -> pd.DataFrame:
    """Read a long table, also one by others: an RDM for each distinct row of other columns."""
    table = _table(path, separator)
    head: list[str] = table.columns.tolist()
    value = _VALUE if _VALUE in head else _OTHER_VALUE
    if value not in head or len(set(head)) < len(head):
        raise ValueError(
            f"'{path}' has the columns {in_words(head, 20)}. One with a line a pair has"
            f" {_FIRST!r}, {_SECOND!r} and {_VALUE!r}, each once; rename what means these."
        )
    pairs = _Pairs.of(table, value, path)
    others = [name for name in head if name not in (_RDM, _FIRST, _SECOND, value)]
    rdms = _number_rows(table[[_RDM] if _RDM in head else others])
    # The lines of each RDM, in the order of the file.
    lines = np.split(np.argsort(rdms, kind="stable"), np.cumsum(np.bincount(rdms)))[:-1]
    first = np.array([own[0] for own in lines], dtype=np.intp)
    varying = [name for name in others if _varies(table[name], first[rdms])]
    if varying:
        logger.warning(
            "'%s': read without %s, which differ between pairs of one RDM",
            *(path, in_words(sorted(varying))),
        )
    entry_keys, matrices = zip(*map(pairs.rdm, lines), strict=True) if lines else ((), ())
    columns: dict[str, Any] = {}
    for name in head:
        if name == value:
            columns["matrix"] = object_series(list(matrices))
        elif name == _FIRST:
            columns["entry_keys"] = object_series(list(entry_keys))
        elif name in others and name not in varying:
            columns[name] = _as_column(list(map(_cell, table[name].iloc[first])))
    return as_read(pd.DataFrame(columns, index=range(len(lines))), path)


@dataclass(frozen=True)
class _Pairs:
    """The pairs of a file, line by line."""

    path: Path
    names: np.ndarray
    """Texts of the items, each once."""
    items: np.ndarray
    """(n_lines, 2), places in `names`."""
    values: np.ndarray

    @classmethod
    def of(cls, table: pd.DataFrame, value: str, path: Path) -> _Pairs:
        """Read the columns that say what a pair is of, and its value."""
        items, names = pd.factorize(table[[_FIRST, _SECOND]].to_numpy().ravel())
        nameless = np.flatnonzero((names == "")[items])
        if len(nameless):
            raise ValueError(
                f"'{path}' does not name both items of the pair in line {nameless[0] // 2 + 2}: it"
                " is cut short or damaged. Copy it again from where it came from, or write it"
                " anew."
            )
        return cls(path, names, items.reshape(-1, 2), _values(table[value].tolist(), path))

    def rdm(self, lines: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
        """Return the entry keys of one RDM, in the order in which they come, and its matrix."""
        flat, own = pd.factorize(self.items[lines].ravel())
        names = self.names[own].tolist()
        first, second = flat.reshape(-1, 2).T
        n = len(names)
        known = np.zeros((n, n), dtype=bool)
        known[first, second] = True
        if known.sum() < len(lines):
            twice = np.flatnonzero(pd.Series(first * n + second).duplicated())[0]
            raise ValueError(
                f"'{self.path}' has the pair {names[first[twice]]!r}, {names[second[twice]]!r} of"
                f" one RDM twice, the second time in line {lines[twice] + 2}. Where it holds"
                " several RDMs, a column must tell them apart."
            )
        matrix = np.full((n, n), np.nan)
        np.fill_diagonal(matrix, 0)
        matrix[first, second] = self.values[lines]
        # Where a file has one direction of a pair, it is that of both.
        turned = known.T & ~known
        matrix[turned] = matrix.T[turned]
        lacking = np.argwhere(~(known | known.T | np.eye(n, dtype=bool)))
        if len(lacking):
            i, j = lacking[0]
            logger.warning(
                "'%s' lacks %d pairs of an RDM of %d entries, such as %r, %r: they are NaN",
                *(self.path, len(lacking) // 2, n, names[i], names[j]),
            )
        return tuple(_key(_cell(name)) for name in names), matrix


def _values(texts: list[str], path: Path) -> np.ndarray:
    """Read numbers; what is empty or NA is missing."""
    import pyarrow as pa

    # Much quicker, where each is a number without blanks around it.
    with contextlib.suppress(pa.ArrowInvalid):
        return pa.array(texts, pa.string()).cast(pa.float64()).to_numpy()
    values = []
    for number, text in enumerate(texts, start=2):
        try:
            values.append(float(text) if text.strip() not in ("", "NA") else np.nan)
        except ValueError:
            raise ValueError(
                f"'{path}' must have numbers in {_VALUE!r}, and has {text!r} in line {number}."
            ) from None
    return np.array(values, dtype=np.float64)


def _number_rows(table: pd.DataFrame) -> np.ndarray:
    """Give equal rows the same number, from 0 in the order in which they come."""
    if table.columns.empty:
        return np.zeros(len(table), dtype=np.intp)
    return table.groupby(list(table), sort=False).ngroup().to_numpy()


def _varies(column: pd.Series, first: np.ndarray) -> bool:
    """Tell whether a cell that is not empty is another than that of the first line of its RDM."""
    cells, texts = pd.factorize(column)
    return bool(((cells != cells[first]) & (texts != "")[cells]).any())


def _pairs(matrix: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and columns of the pairs that are written: the first alone, then many at once."""
    n = len(matrix)
    wanted = np.ones((n, n), dtype=bool)
    # One entry has no pair, and yet is to be named.
    if n > 1 and is_condensable(matrix):
        wanted = np.triu(wanted, k=1)
    step = max(1, _PAIRS_AT_ONCE // max(n, 1))
    for start in range(0, n, step):
        first, second = np.nonzero(wanted[start : start + step])
        first += start
        parts = [slice(1), slice(1, None)] if start == 0 else [slice(None)]
        yield from ((first[part], second[part]) for part in parts)


def _lines(
    matrix: np.ndarray,
    keys: Sequence[str],
    first: np.ndarray,
    second: np.ndarray,
    head: Sequence[str],
    cells: dict[str, str],
) -> str:
    """Lines of pairs, with the same other cells on each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = pa.array(keys, pa.string())
    own = {
        _FIRST: names.take(pa.array(first)),
        _SECOND: names.take(pa.array(second)),
        _VALUE: _reprs(matrix[first, second].astype(np.float64)),
    }
    fields = [own.get(name, cells.get(name, "")) for name in head]
    fields[-1] = pc.binary_join_element_wise(fields[-1], "\n", "")
    return "".join(pc.binary_join_element_wise(*fields, ",").to_pylist())


def _reprs(values: np.ndarray) -> Any:
    """Numbers as Python writes them, in an array of pyarrow, which is quicker at most of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = np.abs(values)
    same = (size >= 1e-4) & (size < 1e10) & (values != np.rint(values))
    others = pa.array(list(map(repr, values[~same].tolist())), pa.string())
    return pc.replace_with_mask(pa.array(values).cast(pa.string()), pa.array(~same), others)


def _quoted(text: str) -> str:
    """Quote a field where it must be."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([text, ""])
    return buffer.getvalue()[:-1]


def _texts(column: pd.Series) -> list[str]:
    texts = []
    for k, cell in enumerate(column.tolist()):
        try:
            texts.append(_text(cell))
        except (TypeError, UnicodeEncodeError) as error:
            raise cell_error(
                repr(column.name), k, column.index, error, file="a .csv file"
            ) from None
    return texts


def _text_of_key(key: tuple[Any, ...], k: int) -> str:
    try:
        return _text(key[0] if len(key) == 1 and not isinstance(key[0], tuple) else key)
    except TypeError as error:
        raise TypeError(
            f"`rdm_df` has, in the entry keys of the row at position {k}, {error}, which a .csv"
            " file cannot hold. Use strings, numbers and tuples."
        ) from None


def _text(cell: Any) -> str:
    if type(cell) is str:
        if _is_plain(cell):
            return cell
    elif type(cell) is float:
        return json.dumps(cell)
    text = json.dumps(json.loads(_cells.encode(cell)), separators=(",", ":"), ensure_ascii=False)
    return text if text.isprintable() else _cells.encode(cell)


def _is_plain(text: str) -> bool:
    """Tell whether a text reads as itself."""
    if not text.isprintable() or text != text.strip() or not text:
        return False
    return _cell(text) is text


def _cell(text: str) -> Any:
    try:
        return _cells.decode(text)
    # What is no JSON, or another's, is text.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


def _key(cell: Any) -> tuple[Any, ...]:
    return cell if isinstance(cell, tuple) else (cell,)


def _as_column(cells: list[Any]) -> Any:
    kinds = set(map(type, cells))
    if len(kinds) == 1 and kinds <= {str, int, float, bool}:
        # Half of a surrogate pair is no text to pandas.
        with contextlib.suppress(UnicodeEncodeError):
            return pd.Series(cells)
    return object_series(cells)


def _is_single(cell: Any) -> bool:
    return cell is None or isinstance(cell, (str, int, float, bool))


def _say_what_is_lost(df: pd.DataFrame, names: Iterable[str]) -> None:
    index = df.index
    if not (isinstance(index, pd.RangeIndex) and index.equals(pd.RangeIndex(len(df)))):
        logger.warning("A .csv file holds no index: that of `rdm_df` is not written")
    others = [name for name in names if _as_column(df[name].tolist()).dtype != df[name].dtype]
    if others and len(df):
        logger.warning(
            "A .csv file holds cells, and not the types of columns: %s will be read with another"
            " one than %s",
            *(in_words(others), in_words(str(df[name].dtype) for name in others)),
        )


def _check_names(df: pd.DataFrame) -> None:
    check_string_columns(df.columns, file="a .csv file")
    taken = [name for name in df.columns if name in (*_OWN, _OTHER_VALUE)]
    if taken:
        raise ValueError(
            f"`rdm_df` has columns named {', '.join(map(repr, taken))}, which a .csv file uses"
            " itself. Rename them."
        )


def _table(path: Path, separator: str) -> pd.DataFrame:
    """Read all fields as the text they are; Python's own reader refuses long ones."""
    try:
        table = pd.read_csv(
            path,
            sep=separator,
            header=None,
            dtype=object,
            na_filter=False,
            encoding="utf-8-sig",
            index_col=False,
        )
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ValueError(
            f"'{path}' cannot be read as a table of text in UTF-8 ({str(error).strip()}). It is"
            " damaged or cut short: copy it again from where it came from, or write it anew."
        ) from error
    return table.iloc[1:].set_axis(table.iloc[0].tolist(), axis=1)
