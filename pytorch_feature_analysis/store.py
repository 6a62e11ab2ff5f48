"""Finished rows on disk: what is there is not computed again, and nothing is lost.

A row is the same *row* when its names agree (model, layer, metric, labels, ...), and has the same
*key* when everything that its numbers depend on agrees (image contents, weights, preprocessing,
settings). Same key: served from the file. Same names under another key: computed anew, and the
old row moves to ``<file>.superseded.parquet``.

What is finished before the whole is goes into parts (`stack_parts`). Each step leaves every row in
the file, in a part, or in both, so that a run may be killed between any two: a part is written
whole or not at all, the file is replaced in one go, and only then are its parts deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pytorch_feature_analysis._files import file_lock, keep_previous, leftovers
from pytorch_feature_analysis.stack_files import read_stack, replace_stack, write_rdms
from pytorch_feature_analysis.stack_parts import (
    part_files,
    part_name,
    parts_folder,
    read_part_keys,
    read_parts,
    write_part,
)
from pytorch_feature_analysis.stack_pickle import settle
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS

logger = logging.getLogger(__name__)

_NAMES = (
    "df_name",
    "model",
    "layer_label",
    "dissim_metric",
    "activation_type",
    "kernel_set_name",
    "perm",
    "projection",
)
_CHANGES = {
    "model_hash": "the weights or the architecture",
    "images_hash": "the images",
    "preprocessing": "the preprocessing",
    "batch_size": "batch_size",
    "random_state": "random_state",
}
# Another call's merge reads and writes the whole file, which may be large and far away.
_LOCK_SECONDS = 1800.0
# Another call may delete or rename the folder of parts while one is being written.
_WRITE_TRIALS = 20
# Without a sign of life for so long, what writes a file is taken for dead.
_DEAD_SECONDS = 3600.0


class RunStore:
    """What one call of `get_rdms` finds and leaves on disk: a file, and parts beside it.

    `keep` each piece once it is finished, and `merge` the whole in the end, also where all rows
    were found finished: rows that come from parts have yet to go into the file.
    """

    def __init__(
        self, path: Path | None, *, append: bool, finished: pd.DataFrame | None = None
    ) -> None:
        self.finished = finished
        """Rows of earlier calls with their provenance, those of the file first; or None. Rows of
        which nothing is recorded have no `row_key`. `merge` lets go of it, to save memory."""
        self._path = path
        self._adds = append
        self._has_way = append
        self._kept: dict[str, set[str]] = {}

    @classmethod
    def open(cls, path: Path | None, *, append: bool) -> RunStore:
        """Read what earlier calls have finished.

        Parameters
        ----------
        path : Path or None
            The file of the stack. None: nothing is read or written by any method.
        append : bool
            Whether the call serves what is there, and adds to it. Otherwise nothing is read; what
            is there is kept under another name as soon as there is something to write: parts with
            the first piece, the file with the whole.

        Raises
        ------
        ValueError
            The file, or a part, is damaged or holds something else.
        TimeoutError
            Another call has been writing to the file all the while.
        """
        if path is None or not append:
            return cls(path, append=append)
        # So that no other call moves rows from parts into the file between the two readings.
        with file_lock(path, timeout=_LOCK_SECONDS):
            finished = _read_rows(path) if path.exists() else None
            folder = parts_folder(path)
            if part_files(folder):
                # A folder may hold nothing but files of others.
                with contextlib.suppress(FileNotFoundError):
                    finished = _with_parts(finished, read_parts(folder, provenance=True))
        return cls(path, append=append, finished=finished)

    def keep(self, rows: pd.DataFrame) -> None:
        """Write the rows of one finished piece, with their provenance, as a part.

        Raises
        ------
        OSError
            The disk is full, say; the message tells what is kept of the run, and how to go on.
        """
        if self._path is None or rows.empty:
            return
        self._make_way(self._path)
        keys = rows["row_key"].tolist()
        folder = parts_folder(self._path)
        name = part_name(keys, self._path.suffix)
        with _telling_what_is_kept(self._path, "what was finished last"):
            for trial in range(1, _WRITE_TRIALS + 1):
                try:
                    folder.mkdir(exist_ok=True)
                    write_part(rows, folder / name)
                    break
                except FileNotFoundError:
                    if trial == _WRITE_TRIALS:
                        raise
        self._kept[name] = set(keys)

    def merge(self, rows: pd.DataFrame) -> None:
        """Bring the rows of the call, computed and served, into the file, and delete its parts.

        The file is read anew, since other calls may have written to it. Rows that it has stay
        where they are, the others follow in their order. Rows of the file with the same names
        under another key are moved to the file of superseded rows; one warning says what changed.
        Parts of other calls stay, unless all their rows are in the file.

        Raises
        ------
        OSError
            The file cannot be written, or (TimeoutError) another call has been writing to it all
            the while; the message tells what is kept of the run, and how to go on.
        """
        self.finished = None
        if self._path is None or rows.empty:
            return
        self._make_way(self._path)
        keys = set(rows["row_key"].tolist())
        known: set[str] | None = None
        change = None
        with (
            _telling_what_is_kept(self._path, "the file"),
            file_lock(self._path, timeout=_LOCK_SECONDS),
        ):
            stored = None
            if self._adds and self._path.exists():
                try:
                    known = _read_keys(self._path)
                    stored = None if keys <= known else _read_rows(self._path)
                except ValueError as error:
                    # It was sound, or not there, when the call began.
                    logger.warning("'%s' is not added to: %s", self._path, error)
                    known = None
            if known is None:
                # What may be there is not this call's to add to: `write_rdms` keeps it aside.
                write_rdms(rows.reset_index(drop=True), self._path)
            elif stored is not None:
                change = _add(rows, stored, self._path)
            self._adds = True
            self._clear(self._path, keys | (known or set()))
        # Outside, since a warning may be made an error.
        if change is not None:
            warnings.warn(change, stacklevel=3)

    def _make_way(self, path: Path) -> None:
        """Keep the parts of earlier runs aside, once, where the call does not add to them."""
        if self._has_way:
            return
        with file_lock(path, timeout=_LOCK_SECONDS):
            if part_files(parts_folder(path)):
                keep_previous(parts_folder(path))
        self._has_way = True

    def _clear(self, path: Path, in_file: set[str]) -> None:
        """Delete the parts whose rows are all in the file, and what killed writers left."""
        folder = parts_folder(path)
        for part in part_files(folder):
            # Whatever goes wrong here, the file is written, and parts too many do no harm.
            try:
                keys = self._kept.get(part.name) or read_part_keys(part)
                if keys and keys <= in_file:
                    part.unlink()
            except (OSError, ValueError) as error:
                logger.warning("'%s' stays where it is: %s", part, error)
        with contextlib.suppress(OSError):
            # One of them may be of a call that is writing a part: it will write it once more.
            for item in leftovers(folder):
                item.unlink()
            folder.rmdir()
        path = path.resolve()
        with contextlib.suppress(OSError):
            settle(path)
            for item in leftovers(path.parent):
                age = time.time() - item.stat().st_mtime
                if item.name.startswith(f".{path.stem}.") and age > _DEAD_SECONDS:
                    item.unlink()


@contextlib.contextmanager
def _telling_what_is_kept(path: Path, what: str) -> Iterator[None]:
    """Say in the error of a block that writes `what` where the work is, and what to do."""
    try:
        yield
    except OSError as error:
        folder = parts_folder(path)
        with contextlib.suppress(OSError):
            folder.rmdir()
        kept = f"What was finished before is kept in '{folder}'"
        if not part_files(folder):
            kept = "Nothing was finished before"
        reason = str(error).rstrip(".")
        text = f"`out_fname` is '{path}', but {what} could not be written: {reason}. {kept}."
        if not isinstance(error, TimeoutError):
            text += (
                " Make room on the disk, or make the folder writable, and make the same call"
                " again: it computes only what is missing."
            )
        raise (type(error)(text) if error.errno is None else OSError(error.errno, text)) from error


def _read_keys(path: Path) -> set[str]:
    keys = read_stack(path, columns=[], provenance=True)["row_key"]
    return set(keys.dropna().tolist())


def _read_rows(path: Path) -> pd.DataFrame:
    stored = read_stack(path, provenance=True)
    missing = [column for column in RDM_COLUMNS if column not in stored.columns]
    if missing:
        raise ValueError(
            f"`out_fname` {path} holds a stack of another kind: it has no column"
            f" {', '.join(missing)}. Choose another name, so that nothing is lost."
        )
    return stored


def _with_parts(finished: pd.DataFrame | None, parts: pd.DataFrame) -> pd.DataFrame:
    if finished is None:
        return parts
    fresh = parts[~parts["row_key"].isin(finished["row_key"].dropna())]
    return pd.concat([finished, fresh], ignore_index=True) if len(fresh) else finished


def _add(rows: pd.DataFrame, stored: pd.DataFrame, path: Path) -> str | None:
    """Write the union of what is stored and the rows; returns what to say of replaced ones."""
    labels = _label_columns(rows)
    place = {names: i for i, names in enumerate(_row_names(rows, labels))}
    keys = rows["row_key"].tolist()
    replaced = np.array(
        [
            names in place and key != keys[place[names]]
            for names, key in zip(
                _row_names(stored, labels), stored["row_key"].tolist(), strict=True
            )
        ],
        dtype=bool,
    )
    change = None
    if replaced.any():
        old = stored[replaced]
        new = rows.iloc[[place[names] for names in _row_names(old, labels)]]
        _supersede(old, _aside(path))
        change = (
            f"{int(replaced.sum())} rows in {path} are computed anew, because"
            f" {_what_changed(old, new)}; the old ones are kept in {_aside(path)}."
        )
    stays = stored[~replaced]
    missing = rows[~rows["row_key"].isin(stays["row_key"].dropna())]
    replace_stack(pd.concat([stays, missing], ignore_index=True), path)
    return change


def _supersede(old: pd.DataFrame, aside: Path) -> None:
    """Add rows to those that were superseded before, each once.

    A call that was killed before it could take them out of the file has moved them already.
    """
    if not aside.exists():
        replace_stack(old.reset_index(drop=True), aside)
        return
    before = read_stack(aside, provenance=True)
    there = set(_identities(before))
    fresh = old[[identity not in there for identity in _identities(old)]]
    if not fresh.empty:
        replace_stack(pd.concat([before, fresh], ignore_index=True), aside)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.superseded.parquet")


def _identities(stack: pd.DataFrame) -> list[str]:
    """Tell rows apart by their keys; those of which nothing is recorded by names and matrix."""
    names = _row_names(stack, sorted(_label_columns(stack)))
    return [
        key if isinstance(key, str) else name + hashlib.sha256(matrix.tobytes()).hexdigest()
        for key, name, matrix in zip(
            stack["row_key"].tolist(), names, stack["matrix"].tolist(), strict=True
        )
    ]


def _label_columns(stack: pd.DataFrame) -> list[str]:
    return [c for c in stack.columns if c not in RDM_COLUMNS and c not in PROVENANCE_COLUMNS]


def _row_names(stack: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    columns = [
        stack[name].tolist() if name in stack.columns else [None] * len(stack)
        for name in (*_NAMES, *(name for name in labels if name not in _NAMES))
    ]
    # In a file with exact rows too, where it is missing, the number of a projection is a float.
    place = _NAMES.index("projection")
    columns[place] = [None if pd.isna(number) else int(number) for number in columns[place]]
    return [repr(names) for names in zip(*columns, strict=True)]


def _what_changed(old: pd.DataFrame, new: pd.DataFrame) -> str:
    if old["row_key"].isna().any():
        return "nothing is recorded of what made them"
    changed = []
    for column, words in _CHANGES.items():
        differs = old[column].astype(str).to_numpy() != new[column].astype(str).to_numpy()
        if differs.any():
            models = sorted({str(model) for model in new.loc[differs, "model"]})
            of_models = f" of model {', '.join(models)}" if column != "images_hash" else ""
            changed.append(f"{words}{of_models} changed")
    return " and ".join(changed) or "their settings changed"
