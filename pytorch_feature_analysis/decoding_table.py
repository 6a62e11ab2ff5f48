"""The table of a decoding analysis on disk, which calls with other settings add their rows to."""

from __future__ import annotations

import io
import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._files import atomic_write, check_writable, file_lock
from pytorch_feature_analysis.arrow_columns import store_of
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.csv_files import read_text
from pytorch_feature_analysis.stack_parquet import read_names, read_parquet, write_parquet

logger = logging.getLogger(__name__)

_VALUE_COLUMNS = ("acc", "p")
_REQUIRED = ("analysis_name", "model", "layer", "decoded_variable", "bin1", "bin2", "acc")
_SUFFIXES = (".csv", ".parquet")
# Seconds to wait for another process that writes the same file.
_LOCK_TIMEOUT = 60.0


def check_save_path(save_path: Any, names: pd.DataFrame) -> Path:
    """Return the file; raises where the table could not go there, before the work is done.

    `names` are columns of the table to be: those whose values are the user's own.
    """
    file = check_writable(save_path, argument="save_path")
    if file.suffix.lower() not in _SUFFIXES:
        raise ValueError(
            f"`save_path` must end in {' or '.join(_SUFFIXES)}, which chooses the format; '{file}'"
            f" ends in {file.suffix or 'nothing'}."
        )
    old = _read_table(file)
    if _is_parquet(file):
        table = names if old is None else _merged(old, names)
        for name in names:
            try:
                store_of(table[name], str(name))
            except TypeError as error:
                kinds = sorted({type(value).__name__ for value in table[name]})
                raise TypeError(
                    f"`save_path` is '{file}', and a parquet file has no form for the values in"
                    f" the column {name!r} ({', '.join(kinds)}). Turn them into strings or"
                    " numbers, or write a .csv file."
                ) from error
    return file


def save_table(df: pd.DataFrame, file: Path) -> None:
    """Put rows into a file: those that say the same are replaced, all others stay."""
    with file_lock(file, timeout=_LOCK_TIMEOUT):
        old = _read_table(file)
        new = df if _is_parquet(file) else _text_table(io.StringIO(df.to_csv(index=False)))
        table = new if old is None else _merged(old, new)
        with atomic_write(file) as temporary:
            if _is_parquet(file):
                write_parquet(table, None, temporary)
            else:
                table.to_csv(temporary, index=False)


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _read_table(file: Path) -> pd.DataFrame | None:
    """Read what is in the file, or raise where it is no table of decoding."""
    if not file.exists() or file.stat().st_size == 0:
        return None
    table = None
    if _is_parquet(file):
        try:
            columns = read_names(file)
        except ValueError as error:
            raise ValueError(
                f"`save_path` is '{file}', which holds no table of decoding ({error}). Choose"
                " another one."
            ) from error
    else:
        table = _text_table(file)
        columns = [str(name) for name in table]
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        raise ValueError(
            f"`save_path` is '{file}', which holds another table: it has no column"
            f" {', '.join(missing)}. Choose another one."
        )
    if len(set(columns)) < len(columns):
        raise ValueError(
            f"`save_path` is '{file}', which has several columns of one name: {columns}. Choose"
            " another one, or mend the file."
        )
    return read_parquet(file) if table is None else table


def _text_table(source: Path | io.StringIO) -> pd.DataFrame:
    """Read a CSV file with its cells as the text they are."""
    rows = read_text(source, argument="save_path")
    return pd.DataFrame(rows.iloc[1:].to_numpy(), columns=rows.iloc[0].tolist(), dtype=object)


def _merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Rows of `old`, with those of `new` in the place of their like, or behind them.

    Columns that one of the tables lacks are blank in its rows, but what an old row has beside its
    accuracy (a p value) is kept where the new row has the same accuracy. Of rows that an old table
    holds twice, those that are replaced lose their doubles.
    """
    columns = [*old, *(name for name in new if name not in old)]
    # A column without a name is the index of a frame that somebody wrote.
    keys = [name for name in columns if name not in ("", *_VALUE_COLUMNS)]

    def key_of(row: Mapping[str, Any]) -> tuple[Hashable, ...]:
        return tuple(_comparable(row.get(name)) for name in keys)

    # Several rows of one key: values that differ, but not as text.
    fresh: dict[tuple[Hashable, ...], list[dict[str, Any]]] = {}
    for row in _records(new):
        fresh.setdefault(key_of(row), []).append(row)
    merged: list[dict[str, Any]] = []
    n_dropped = 0
    for row in _records(old):
        like = fresh.get(key_of(row))
        if like is None:
            merged.append(row)
        elif like:
            replaced = {**row, **like.pop(0)}
            is_other = _comparable(replaced.get("acc")) != _comparable(row["acc"])
            if is_other and "p" not in new and _comparable(row.get("p")) is not None:
                n_dropped += 1
                del replaced["p"]
            merged.append(replaced)
    if n_dropped:
        logger.warning("%d rows had p values of other accuracies, which are gone", n_dropped)
    merged.extend(row for like in fresh.values() for row in like)
    # Cells keep their types whatever else stands in their column.
    cells = {
        name: [row.get(name, np.nan if name in _VALUE_COLUMNS else None) for row in merged]
        for name in columns
    }
    table = pd.DataFrame({name: pd.Series(of, dtype=object) for name, of in cells.items()})
    return table.infer_objects()


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    names = [str(name) for name in table]
    return [
        dict(zip(names, cells, strict=True)) for cells in table.itertuples(index=False, name=None)
    ]


def _comparable(cell: Any) -> Hashable:
    """Return something equal for cells that say the same; None for a blank one."""
    return None if isinstance(cell, str) and not cell else frozen(cell)
