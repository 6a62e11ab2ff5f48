"""The table of probes on disk, to which each row is added as soon as it is there."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pytorch_feature_analysis._files import atomic_write, check_writable, file_lock
from pytorch_feature_analysis.csv_files import read_text

# Seconds to wait for another process that writes the same file.
_LOCK_TIMEOUT = 60.0
_WHOLE = ("seed", "n_train", "n_test", "n_features", "n_classes")
_TEXT = ("solver", "mode", "settings", "data_key")

RESULTS = (
    *("seed", "solver", "mode", "learning_rate", "weight_decay", "C", "validation_accuracy"),
    *("accuracy", "accuracy_top5", "mean_per_class_recall"),
    *("n_train", "n_test", "n_features", "n_classes", "settings", "data_key"),
)
"""Columns behind those of the labels."""
# What tells rows apart, beside the labels. Rows of other data replace those that were there.
_KEYS = ("seed", "mode", "settings")

Row = Mapping[str, Any]


class ProbeTable:
    """Rows by their labels, mode, settings and seed, kept in a CSV file or in memory alone."""

    def __init__(self, labels: Sequence[str], file: Any) -> None:
        self._labels = tuple(labels)
        self._columns = [*labels, *RESULTS]
        self._file = None if file is None else self._check_file(file)
        # Returned even where another process has put rows of other data in their place.
        self._made: dict[Hashable, dict[str, str]] = {}
        self._rows = {} if self._file is None else self._read(self._file)

    def get(self, row: Row) -> dict[str, Any] | None:
        """Return the row with the same keys, if there is one that was made of the same data."""
        key = self._key(row)
        found = self._made.get(key, self._rows.get(key))
        if found is None or found["data_key"] != row["data_key"]:
            return None
        cells = {name: _as_cell(name, found[name]) for name in RESULTS}
        return {**{name: row[name] for name in self._labels}, **cells}

    def add(self, rows: Sequence[Row]) -> None:
        """Put rows in the place of those with the same keys, or behind all others."""
        # As text, so that a label reads the same here, in the file, and in a key.
        told = [{**row, **{name: str(row[name]) for name in self._labels}} for row in rows]
        table = pd.DataFrame(told, columns=self._columns)
        text = read_text(io.StringIO(table.to_csv(index=False)))
        new = dict(self._numbered(text))
        self._made |= new
        if self._file is None:
            self._rows |= new
            return
        with file_lock(self._file, timeout=_LOCK_TIMEOUT):
            # Others may have written since.
            self._rows = self._read(self._file) | new
            self.write(self._file)

    def write(self, file: Path) -> None:
        """Write all rows."""
        table = pd.DataFrame(list(self._rows.values()), columns=self._columns)
        with atomic_write(file) as temporary:
            table.to_csv(temporary, index=False)

    def _check_file(self, file: Any) -> Path:
        path = check_writable(file, argument="out_fname")
        if path.suffix.lower() != ".csv":
            raise ValueError(f"`out_fname` must end in .csv, and is '{path}'.")
        return path

    def _read(self, file: Path) -> dict[Hashable, dict[str, str]]:
        if not file.exists() or file.stat().st_size == 0:
            return {}
        text = read_text(file, argument="out_fname")
        names = text.iloc[0].tolist()
        if sorted(names) != sorted(self._columns):
            missing = [name for name in self._columns if name not in names]
            extra = [name for name in names if name not in self._columns]
            raise ValueError(
                f"`out_fname` is '{file}', which holds another table: it lacks the columns"
                f" {', '.join(missing) or '-'}, and has {', '.join(extra) or '-'} beside. Choose"
                " another file."
            )
        return dict(self._numbered(text))

    def _numbered(self, text: pd.DataFrame) -> list[tuple[Hashable, dict[str, str]]]:
        names, *cells = text.itertuples(index=False, name=None)
        rows = [dict(zip(names, of_row, strict=True)) for of_row in cells]
        return [(self._key(row), row) for row in rows]

    def _key(self, row: Row) -> Hashable:
        return tuple(str(row[name]) for name in (*self._labels, *_KEYS))


def _as_cell(name: str, text: str) -> Any:
    if name in _TEXT:
        return text
    if name in _WHOLE:
        return int(text)
    return float(text or "nan")
