"""Tables of numbers in text files, with or without the names of their rows and columns."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pytorch_feature_analysis.csv_files import EXACT

# What stands above a first column that names the rows, even where the names are numbers.
_HEADS_OF_NAMES = {
    *["", "file", "filename", "id", "image", "index", "name", "path", "stimuli", "stimulus"],
    *["unit", "units"],
}
_MISSING = ["", "NA", "NaN", "nan", "N/A", "null", "NULL"]


@dataclass(frozen=True)
class CsvLayout:
    """Whether the first row and the first column are names; None to tell by what is in them."""

    header: bool | None = None
    index: bool | None = None


class NumberTable(NamedTuple):
    """An array, and the names of rows and columns where the file has them."""

    array: np.ndarray
    row_names: list[Any] | None = None
    column_names: list[Any] | None = None


def read_number_table(path: Path, layout: CsvLayout) -> NumberTable:
    """Read a .csv file, or a .tsv file with tabs; raises a ValueError if not all are numbers."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    first, second = _first_rows(path, separator)
    header = _is_header(first, second) if layout.header is None else layout.header
    example = second if header else first
    # R leaves the place above the names of rows out.
    is_short = header and bool(second) and len(first) == len(second) - 1
    index = layout.index
    if index is None:
        has_head = header and first[0].strip().lower() in _HEADS_OF_NAMES
        index = is_short or has_head or bool(example and not _is_number(example[0]))
    # Rows may bear names that mean missing numbers elsewhere.
    as_text: Any = {0: str} if index else None
    missing: Any = dict.fromkeys(range(1, len(example)), _MISSING) if index else None
    table: Any = pd.read_csv(
        path,
        sep=separator,
        header=None,
        skiprows=1 if header else 0,
        dtype=as_text,
        keep_default_na=not index,
        na_values=missing,
        skipinitialspace=True,
        encoding="utf-8-sig",
        low_memory=False,
        **EXACT,
    )
    row_names = column_names = None
    if layout.index is None and not index and _counts_rows(table):
        index = True
        table[0] = table[0].astype(str)
    if index:
        row_names = [str(name).strip() for name in table.pop(0)]
    if header:
        column_names = [name.strip() for name in (first[1:] if index and not is_short else first)]
        if len(column_names) != table.shape[1]:
            raise ValueError(
                f"its first row names {len(column_names)} columns, and there are {table.shape[1]}"
            )
    return NumberTable(_numbers(table, separator, int(header)), row_names, column_names)


def check_number_table(path: Path) -> None:
    """Raise a ValueError if a file does not begin as one of text."""
    _first_rows(path, ",")


def is_counter(names: Sequence[str]) -> bool:
    """Tell whether names only count from 0 or 1, as libraries write that were given none."""
    return any(list(names) == list(map(str, range(k, len(names) + k))) for k in (0, 1))


def _first_rows(path: Path, separator: str) -> tuple[list[str], list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in itertools.islice(csv.reader(file, delimiter=separator), 2) if row]
    if not rows:
        raise ValueError("its first rows are empty")
    return rows[0], rows[1] if len(rows) > 1 else []


def _is_header(first: Sequence[str], second: Sequence[str]) -> bool:
    """Tell whether the first row are names: where it is no numbers, or counts the columns."""
    first = [field.strip() for field in first]
    head, others = first[0], first[1:] or first
    if not all(map(_is_number, others)):
        return True
    if is_counter(first):
        counts = first
    elif is_counter(others) and not (head and _is_number(head)):
        counts = others
    else:
        return False
    # Two whole numbers that happen to count can be values.
    return (
        len(counts) > 2
        or (counts is others and head.lower() in _HEADS_OF_NAMES)
        or not all(field.strip().isdecimal() for field in second[-len(counts) :])
    )


def _counts_rows(table: pd.DataFrame) -> bool:
    """Tell whether the first column only counts the rows, as no unit does."""
    return (
        len(table) > 2
        and table.shape[1] > 1
        and table[0].dtype.kind == "i"
        and is_counter(table[0].astype(str).tolist())
    )


def _is_number(field: str) -> bool:
    if field.strip() in _MISSING:
        return True
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(table: pd.DataFrame, separator: str, n_above: int) -> np.ndarray:
    wrong: list[Any] = [name for name in table.columns if table[name].dtype.kind not in "biuf"]
    if not wrong:
        return table.to_numpy()
    for place, cell in enumerate(table[wrong[0]].astype(str)):
        if not _is_number(cell):
            between = "tabs" if separator == "\t" else "commas"
            raise ValueError(
                f"{cell!r} in line {place + 1 + n_above}, field {wrong[0] + 1}, is not a number;"
                f" fields have {between} between them, and names stand in the first row and the"
                " first column only (`header=` and `index=` say whether they do)"
            )
    return table.astype(np.float64).to_numpy()
