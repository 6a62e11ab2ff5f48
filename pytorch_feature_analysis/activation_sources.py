"""Which arrays in which files are the rows of a frame of activations."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_name, in_words
from pytorch_feature_analysis.array_files import SUFFIXES, Stored, list_arrays
from pytorch_feature_analysis.name_patterns import (
    NamePattern,
    filled_in,
    find_files,
    variables_of,
    without_double_braces,
)
from pytorch_feature_analysis.number_tables import CsvLayout, NumberTable, is_counter

# What the frame, or a stack that is made of it, calls its own columns.
_TAKEN = (
    *["activations", "df_name", "dissim_metric", "dissim_rankings", "entry_keys", "entry_labels"],
    *["entry_var_subset", "matrix", "perm", "perm_scramble"],
)
_RESERVED = dict.fromkeys(_TAKEN, "is a column of the library; rename the variable")
_SHOWN = 10
_MOST = 100


@dataclass(frozen=True)
class FoundFile:
    """A file, and the values of the pattern's variables in its path."""

    path: Path
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """An array in a file: one row of the frame."""

    name: str
    """For messages."""
    labels: Mapping[str, str]
    load: Callable[[], NumberTable]
    load_names: Callable[[], NumberTable] | None


def find_sources(pattern: Any) -> list[FoundFile]:
    """List the files that fit a pattern, whose first folders may be fixed; raises if none does."""
    if not isinstance(pattern, (str, os.PathLike)) or not os.fspath(pattern):
        raise TypeError(
            f"`pattern` must be the path of files, such as 'acts/{{layer}}.npy', not {pattern!r}."
        )
    text = pattern if isinstance(pattern, str) else PurePath(pattern).as_posix()
    if "%s" in text:
        raise ValueError(
            f"`pattern` {text!r} holds '%s'; put a name in braces in its place, such as"
            " '{model}', which becomes a column."
        )
    *folders, last = text.split("/")
    fixed = 0
    while fixed < len(folders) and _is_literal(folders[fixed]):
        fixed += 1
    rest = NamePattern.parse(
        "/".join([*folders[fixed:], last]),
        argument="pattern",
        reserved=_RESERVED,
        needs_variable=False,
    )
    root = Path(without_double_braces("/".join(folders[:fixed]) + ("/" if fixed else "")))
    if not root.is_dir():
        raise FileNotFoundError(
            f"`pattern` {text!r} begins with the folder '{root}', which does not exist"
            f"{'' if root.is_absolute() else f' in {os.fspath(Path.cwd())!r}'}."
        )
    found = find_files(root, rest, where=f"the folder {os.fspath(root)!r}")
    files = [FoundFile(root / relative, values) for relative, values in found]
    wrong = [str(file.path) for file in files if file.path.suffix.lower() not in SUFFIXES]
    if wrong:
        raise ValueError(
            f"`pattern` {text!r} fits {in_words(wrong)}, of a kind that is not read here. There"
            f" are: {', '.join(SUFFIXES)}."
        )
    return files


def _is_literal(folder: str) -> bool:
    return not set("{}*?\\") & set(folder.replace("{{", "").replace("}}", ""))


def check_variable(variable: Any) -> list[str]:
    """Name the variables in `variable`, the pattern of names of arrays, or raise."""
    if variable is None:
        return []
    NamePattern.parse(variable, argument="variable", reserved=_RESERVED, needs_variable=False)
    return list(dict.fromkeys(variables_of(variable)))


def choose_arrays(
    files: Sequence[FoundFile],
    variable: str | None,
    names_in: str | None,
    layout: CsvLayout,
    *,
    parts: str | None = None,
    axis: int = 0,
) -> list[Source]:
    """Choose the arrays that are rows, and those of their stimuli's names; none is read yet.

    Arrays that differ in the variable `parts` alone are one row, joined along `axis`.

    Raises if files cannot be read, and then names all that cannot.
    """
    contents, failures = [], []
    for file in files:
        try:
            contents.append(list_arrays(file.path, layout))
        except ValueError as error:
            failures.append(f"'{file.path}': {error}")
    if len(failures) == 1:
        raise ValueError(f"A file cannot be read: {failures[0]}")
    if failures:
        listed = "".join(f"\n- {failure}" for failure in failures[:_MOST])
        more = f"\n- and {len(failures) - _MOST} more" if len(failures) > _MOST else ""
        raise ValueError(f"{len(failures)} of {len(files)} files cannot be read:{listed}{more}")
    sources = []
    for file, stored in zip(files, contents, strict=True):
        for name, values in _arrays_of(file, stored, variable):
            sources.append(
                Source(
                    f"'{file.path}'" + (f", array '{name}'," if name else ""),
                    {**file.labels, **values},
                    stored[name].load,
                    _names_of(file, stored, names_in, {**file.labels, **values}),
                )
            )
    _check_distinct_rows([(source.name, source.labels) for source in sources])
    return sources if parts is None else _joined_parts(sources, parts, axis)


def _joined_parts(sources: Sequence[Source], parts: str, axis: int) -> list[Source]:
    rows: dict[tuple[tuple[str, str], ...], list[Source]] = {}
    for source in sources:
        others = {name: value for name, value in source.labels.items() if name != parts}
        rows.setdefault(tuple(others.items()), []).append(source)
    joined = []
    for labels, members in rows.items():
        more = f" and {len(members) - 1} more parts" if len(members) > 1 else ""
        named = [one.load_names for one in members if one.load_names is not None]
        joined.append(
            Source(
                members[0].name + more,
                dict(labels),
                partial(_join, members, [one.labels[parts] for one in members], axis),
                partial(_join_names, named) if named else None,
            )
        )
    return joined


def _join(members: Sequence[Source], values: Sequence[str], axis: int) -> NumberTable:
    """Read the parts of an array; parts of one stimulus each are named by what they are called."""
    tables = [one.load() for one in members]
    arrays = [table.array for table in tables]
    shapes = {np.moveaxis(array, axis, 0).shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"its parts have different units, {in_words(array.shape for array in arrays)}"
        )
    names: list[Any] | None = None
    own = [table.row_names if axis == 0 else table.column_names for table in tables]
    if all(one is not None and not is_counter(list(map(str, one))) for one in own):
        names = [name for one in own for name in one or ()]
    elif all(array.shape[axis] == 1 for array in arrays):
        names = list(values)
    joined = np.concatenate(arrays, axis=axis)
    return NumberTable(joined, names, None) if axis == 0 else NumberTable(joined, None, names)


def _join_names(loads: Sequence[Callable[[], NumberTable]]) -> NumberTable:
    return NumberTable(np.concatenate([np.ravel(load().array) for load in loads]))


def _arrays_of(
    file: FoundFile, stored: Mapping[str, Stored], variable: str | None
) -> list[tuple[str, dict[str, str]]]:
    """Name the arrays of a file that are rows, each with the values in its name."""
    tables = [name for name, one in stored.items() if one.is_table]
    if variable is None:
        if len(tables) == 1:
            return [(tables[0], {})]
        if not tables:
            raise ValueError(
                f"'{file.path}' holds no array of numbers with two axes or more"
                f"{f', but {in_words(stored)}' if any(stored) else ''}."
            )
        raise ValueError(
            f"'{file.path}' holds {len(tables)} arrays, {in_words(tables, _SHOWN)}, and one is"
            " needed. `variable` says which, by its name; variable='{layer}' makes a row of each,"
            " with its name in the column 'layer'."
        )
    if list(stored) == [""]:
        raise ValueError(
            f"`variable` is {variable!r}, but '{file.path}' holds one array without a name; leave"
            " `variable` out."
        )
    filled = filled_in(variable, file.labels, argument="variable")
    if not variables_of(filled):
        name = without_double_braces(filled)
        _check_has(name, stored, "variable", file)
        return [(name, {})]
    pattern = NamePattern.parse(filled, argument="variable")
    fitting = [(name, pattern.values(name)) for name in tables]
    chosen = [(name, values) for name, values in fitting if values is not None]
    if not chosen:
        raise ValueError(
            f"`variable` {variable!r} fits no array of '{file.path}', which holds"
            f" {in_words(tables, _SHOWN) or 'none'}."
        )
    return chosen


def _names_of(
    file: FoundFile, stored: Mapping[str, Stored], names_in: Any, values: Mapping[str, str]
) -> Callable[[], NumberTable] | None:
    if names_in is None:
        return None
    if not isinstance(names_in, str):
        raise TypeError(f"`stimuli_variable` must be the name of an array, not {names_in!r}.")
    name = without_double_braces(filled_in(names_in, values, argument="stimuli_variable"))
    _check_has(name, stored, "stimuli_variable", file)
    return stored[name].load


def _check_has(name: str, stored: Mapping[str, Stored], argument: str, file: FoundFile) -> None:
    check_name(name, list(stored), argument=argument, what="array", owner=f" of '{file.path}'")


def _check_distinct_rows(named: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    """Raise if two files, or arrays, have the same values in all columns."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    for name, values in named:
        columns = {key: value for key, value in values.items() if not key.startswith("_")}
        key = tuple(columns.items())
        if key in first:
            listed = ", ".join(f"{column}={value!r}" for column, value in key) or "no column"
            raise ValueError(
                f"{first[key]} and {name} are both the row with {listed}; leave one out, or name"
                " what tells them apart without '_' in front."
            )
        first[key] = name
