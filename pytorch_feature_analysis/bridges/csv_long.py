"""Stacks in .csv files: long ones with a line for each pair of entries.

A cell that is text stands there as it is, unless it reads as JSON; all else is JSON, as `_cells`
writes it: ``3``, ``null``, ``["conv1",1]``. So each cell comes back with its type.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis import _cells
from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.matrices import is_condensable
from pytorch_feature_analysis.rdm_stack import as_key, as_read

logger = logging.getLogger(__name__)

_RDM, _FIRST, _SECOND, _VALUE = "rdm", "item_1", "item_2", "value"
_OWN = (_RDM, _FIRST, _SECOND, _VALUE)
# What rsatoolbox calls the value.
_OTHER_VALUE = "dissimilarity"


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
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        for k, (matrix, keys) in enumerate(zip(matrices, df["entry_keys"].tolist(), strict=True)):
            keys = [_text_of_key(key, k) for key in map(as_key, keys)]
            cells: dict[str, str] = {_RDM: str(k), **{name: texts[name][k] for name in names}}
            for i, j in _pairs(matrix):
                cells[_FIRST], cells[_SECOND] = keys[i], keys[j]
                cells[_VALUE] = repr(float(matrix[i, j]))
                writer.writerow([cells.get(title, "") for title in head])
                cells = {name: cells[name] for name in (_RDM, *on_all)}


def read_long(path: Path, separator: str) -> pd.DataFrame:
    """Read a long table, also one by others: an RDM for each distinct row of other columns."""
    lines = _lines(path, separator)
    head = next(lines)
    value = _VALUE if _VALUE in head else _OTHER_VALUE
    if value not in head or len(set(head)) < len(head):
        raise ValueError(
            f"'{path}' has the columns {in_words(head, 20)}. One with a line a pair has"
            f" {_FIRST!r}, {_SECOND!r} and {_VALUE!r}, each once; rename what means these."
        )
    others = [name for name in head if name not in (_RDM, _FIRST, _SECOND, value)]
    places = {name: head.index(name) for name in head}
    rows: dict[Any, _Row] = {}
    varying: set[str] = set()
    for number, line in enumerate(lines, start=2):
        if not line[places[_FIRST]] or not line[places[_SECOND]]:
            raise ValueError(
                f"'{path}' does not name both items of the pair in line {number}: it is cut short"
                " or damaged. Copy it again from where it came from, or write it anew."
            )
        said = tuple(line[places[name]] for name in others)
        row = rows.setdefault(line[places[_RDM]] if _RDM in places else said, _Row(said))
        if said != row.said:
            varying |= {
                name
                for name, cell, before in zip(others, said, row.said, strict=True)
                if cell not in ("", before)
            }
        row.add(line[places[_FIRST]], line[places[_SECOND]], line[places[value]], path, number)
    if varying:
        logger.warning(
            "'%s': read without %s, which differ between pairs of one RDM",
            *(path, in_words(sorted(varying))),
        )
    columns: dict[str, Any] = {}
    for name in head:
        if name == value:
            columns["matrix"] = object_series([row.matrix(path) for row in rows.values()])
        elif name == _FIRST:
            columns["entry_keys"] = object_series([row.keys() for row in rows.values()])
        elif name in others and name not in varying:
            place = others.index(name)
            columns[name] = _as_column([_cell(row.said[place]) for row in rows.values()])
    return as_read(pd.DataFrame(columns, index=range(len(rows))), path)


class _Row:
    """The pairs of one RDM."""

    def __init__(self, said: tuple[str, ...]) -> None:
        self.said = said
        self._numbers: dict[str, int] = {}
        self._values: dict[tuple[int, int], float] = {}

    def add(self, first: str, second: str, value: str, path: Path, number: int) -> None:
        i, j = (self._numbers.setdefault(name, len(self._numbers)) for name in (first, second))
        if (i, j) in self._values:
            raise ValueError(
                f"'{path}' has the pair {first!r}, {second!r} of one RDM twice, the second time in"
                f" line {number}. Where it holds several RDMs, a column must tell them apart."
            )
        try:
            self._values[i, j] = float(value) if value.strip() not in ("", "NA") else np.nan
        except ValueError:
            raise ValueError(
                f"'{path}' must have numbers in {_VALUE!r}, and has {value!r} in line {number}."
            ) from None

    def keys(self) -> tuple[Any, ...]:
        return tuple(_key(_cell(name)) for name in self._numbers)

    def matrix(self, path: Path) -> np.ndarray:
        n = len(self._numbers)
        matrix = np.full((n, n), np.nan)
        np.fill_diagonal(matrix, 0)
        known = np.eye(n, dtype=bool)
        for (i, j), value in self._values.items():
            matrix[i, j] = value
            known[i, j] = True
            # Where a file has one direction of a pair, it is that of both.
            if (j, i) not in self._values:
                matrix[j, i] = value
                known[j, i] = True
        if not known.all():
            i, j = np.argwhere(~known)[0]
            names = list(self._numbers)
            logger.warning(
                "'%s' lacks %d pairs of an RDM of %d entries, such as %r, %r: they are NaN",
                *(path, (~known).sum() // 2, n, names[i], names[j]),
            )
        return matrix


def _pairs(matrix: np.ndarray) -> Iterator[tuple[int, int]]:
    n = len(matrix)
    # One entry has no pair, and yet is to be named.
    if n > 1 and is_condensable(matrix):
        return ((i, j) for i in range(n) for j in range(i + 1, n))
    return ((i, j) for i in range(n) for j in range(n))


def _texts(column: pd.Series) -> list[str]:
    texts = []
    for k, cell in enumerate(column.tolist()):
        try:
            texts.append(_text(cell))
        except (TypeError, UnicodeEncodeError) as error:
            raise TypeError(
                f"`rdm_df` has, in column {column.name!r} of the row at position {k} (index"
                f" {column.index[k]!r}), {error}, which a .csv file cannot hold. Turn it into"
                " strings, numbers, tuples or dicts of these, or write a pickle (.p)."
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
    wrong = [name for name in df.columns if not isinstance(name, str)]
    if wrong:
        raise TypeError(
            f"`rdm_df` has columns named {', '.join(map(repr, wrong))}; a .csv file names them by"
            " strings. Rename them, or write a pickle (.p)."
        )
    taken = [name for name in df.columns if name in (*_OWN, _OTHER_VALUE)]
    if taken:
        raise ValueError(
            f"`rdm_df` has columns named {', '.join(map(repr, taken))}, which a .csv file uses"
            " itself. Rename them."
        )


def _lines(path: Path, separator: str) -> Iterator[list[str]]:
    """Yield the fields of each line; Python's own reader refuses long ones."""
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
    return iter(table.to_numpy().tolist())
