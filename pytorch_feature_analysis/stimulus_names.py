"""Which stimuli the rows of arrays from files are: their names, what is read off them, choices."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_name, check_sequence, child_generator, in_words
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.name_patterns import (
    NamePattern,
    filled_in,
    variables_of,
    without_double_braces,
)
from pytorch_feature_analysis.rdm_stack import as_key


@dataclass(frozen=True)
class Entries:
    """Entry keys, and their labels where the names say more than one thing."""

    keys: tuple[EntryKey, ...]
    labels: tuple[dict[str, Any], ...] | None

    def taken(self, places: Sequence[int]) -> Entries:
        """Return some of the entries, in the order of their places."""
        labels = None if self.labels is None else tuple(self.labels[k] for k in places)
        return Entries(tuple(self.keys[k] for k in places), labels)


def check_stimuli(stimuli: Any, fields: Sequence[str]) -> list[Any] | str | None:
    """Return a list of names, the pattern of text files, or None; or raise."""
    if stimuli is None:
        return None
    if isinstance(stimuli, (str, os.PathLike)):
        pattern = PurePath(stimuli).as_posix() if isinstance(stimuli, os.PathLike) else stimuli
        filled_in(pattern, {}, argument="stimuli")
        for name in variables_of(pattern):
            check_name(name, fields, argument="stimuli", what="variable", owner=" of the files")
        return pattern
    names = [plain_name(name) for name in check_sequence(stimuli, argument="stimuli", of="names")]
    check_distinct(names, "`stimuli`")
    return names


def read_name_lists(patterns: Sequence[Mapping[str, str]], stimuli: str) -> list[list[Any]]:
    """Read a text file of names for each row, whose values are put into its path."""
    paths = [
        without_double_braces(filled_in(stimuli, values, argument="stimuli"))
        for values in patterns
    ]
    missing = [path for path in dict.fromkeys(paths) if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f"`stimuli` names text files with one name a line, and there is no {in_words(missing)}"
            f" (from {os.fspath(Path.cwd())!r})."
        )
    lists = {path: _read_lines(Path(path)) for path in dict.fromkeys(paths)}
    return [lists[path] for path in paths]


def _read_lines(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`stimuli` names '{path}', which is no text in UTF-8 ({error}); save it as such."
        ) from error
    names = [plain_name(line) for line in text.splitlines() if line.strip()]
    check_distinct(names, f"'{path}'")
    return names


def plain_name(name: Any) -> Any:
    """Return a name as text, number or tuple: paths with '/', text stripped and in NFC."""
    if isinstance(name, np.generic):
        name = name.item()
    if isinstance(name, bytes):
        name = name.decode()
    if isinstance(name, PurePath):
        name = name.as_posix()
    if isinstance(name, str):
        return unicodedata.normalize("NFC", name.strip())
    return as_key(name) if isinstance(name, (tuple, list)) else name


def names_of_cells(cells: np.ndarray) -> list[str]:
    """Return the names in an array of a file, such as a cell array of MATLAB, as text."""
    names = []
    for cell in np.ravel(cells):
        while isinstance(cell, np.ndarray) and cell.size == 1:
            cell = cell.ravel()[0]
        name = plain_name(cell)
        is_whole = isinstance(name, float) and name.is_integer()
        names.append(str(int(name) if is_whole else name))
    return names


def check_distinct(names: Sequence[Any], where: str) -> None:
    """Raise if a name stands twice in `where`."""
    if len(set(names)) < len(names):
        seen: set[Any] = set()
        twice = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise ValueError(
            f"{where} has {in_words(dict.fromkeys(twice))} more than once: names must tell the"
            " stimuli apart."
        )


def as_entries(names: Sequence[Any], pattern: NamePattern | None, where: str) -> Entries:
    """Make entry keys and labels of names; with a pattern, of the variables in their paths."""
    if pattern is None:
        if any(isinstance(name, tuple) for name in names):
            return Entries(tuple(map(as_key, names)), None)
        return Entries(
            tuple((name,) for name in names), tuple({"stimulus": name} for name in names)
        )
    labels = [_values(name, pattern) for name in names]
    wrong = [name for name, found in zip(names, labels, strict=True) if found is None]
    if wrong:
        raise ValueError(
            f"`stimulus_pattern` {pattern.text!r} does not fit {len(wrong)} of the {len(names)}"
            f" names in {where}, such as {wrong[0]!r}. It is compared with the end of a path, its"
            f" last {pattern.depth} part{'s' if pattern.depth > 1 else ''}."
        )
    kept = tuple(
        {key: value for key, value in found.items() if not key.startswith("_")}
        for found in labels
        if found is not None
    )
    keys = tuple(tuple(found.values()) for found in kept)
    first: dict[EntryKey, Any] = {}
    for key, name in zip(keys, names, strict=True):
        if key in first:
            raise ValueError(
                f"`stimulus_pattern` {pattern.text!r} gives {first[key]!r} and {name!r} in {where}"
                f" the same values, {key!r}; name what tells them apart as well."
            )
        first[key] = name
    return Entries(keys, kept)


def _values(name: Any, pattern: NamePattern) -> dict[str, str] | None:
    if not isinstance(name, str):
        return None
    parts = name.replace("\\", "/").split("/")
    return pattern.values("/".join(parts[-pattern.depth :]))


class OnePer:
    """Picks one stimulus of each category: the same one in every row that has the same stimuli."""

    def __init__(self, variable: str, pick: str, root: int) -> None:
        self._variable, self._pick, self._root = variable, pick, root
        self._picked: dict[tuple[str, frozenset[EntryKey]], EntryKey] = {}

    def places(self, entries: Entries) -> list[int]:
        """Return the places of the stimuli that are picked, in their order."""
        members: dict[str, list[EntryKey]] = {}
        for key, label in zip(entries.keys, entries.labels or (), strict=True):
            members.setdefault(label[self._variable], []).append(key)
        picked = {self._one(category, keys) for category, keys in members.items()}
        return [place for place, key in enumerate(entries.keys) if key in picked]

    def _one(self, category: str, keys: list[EntryKey]) -> EntryKey:
        known = category, frozenset(keys)
        if known not in self._picked:
            if self._pick == "first":
                self._picked[known] = keys[0]
            else:
                generator = child_generator(self._root, "one_per", category)
                self._picked[known] = sorted(keys, key=repr)[generator.integers(len(keys))]
        return self._picked[known]
