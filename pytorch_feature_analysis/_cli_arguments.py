"""What is typed on the command line, as the library's functions take it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence, Sized
from pathlib import Path, PurePath
from typing import Any

import click
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import check_writable
from pytorch_feature_analysis.image_folder import read_image_folder
from pytorch_feature_analysis.stack_files import read_rdms

logger = logging.getLogger(__name__)

_MODEL = re.compile(r"(?:(?P<name>[^=:/]+)=)?(?P<architecture>[^:=]+)(?::(?P<weights>.+))?")
_MOST_VALUES = 12


def read_images(folder: str, pattern: str, **variables: Sequence[str]) -> pd.DataFrame:
    """Read the images of a folder, whose pattern has all these variables, named by argument."""
    table = read_image_folder(folder, pattern)
    for argument, names in variables.items():
        for name in names:
            check_name(name, table.columns[1:], argument=argument, what="variable of `pattern`")
    return table


def parse_model(text: str) -> tuple[str, str, str]:
    """Name, architecture and weights of ``[NAME=]NETWORK[:WEIGHTS]``."""
    found = _MODEL.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a model; write [NAME=]NETWORK[:WEIGHTS], as in alexnet:random."
        )
    architecture, weights = found["architecture"], found["weights"] or "trained"
    ending = "" if weights == "trained" else f"_{PurePath(weights).stem}"
    return found["name"] or architecture + ending, architecture, weights


def parse_models(texts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the models as `prepare_models` takes them."""
    models: dict[str, tuple[str, str]] = {}
    for text in texts:
        name, *model = parse_model(text)
        value = (model[0], model[1])
        if models.get(name) == value:
            logger.warning(
                "--model %s is given twice and computed once; for two networks, name one: %s",
                text,
                f"--model {name}_2={model[0]}:{model[1]}",
            )
        if models.setdefault(name, value) != value:
            raise ValueError(
                f"--model {text!r} is the second one called {name!r}; give it a name of its own:"
                f" --model {name}_2={model[0]}:{model[1]}."
            )
    return models


def parse_layers(texts: Sequence[str], models: Mapping[str, Any]) -> Any:
    """Return the layers as `get_rdms` takes them."""
    if not texts:
        return None
    of_all = [text for text in texts if "=" not in text]
    own: dict[str, list[str]] = {}
    for text in texts:
        name, is_own, layer = text.partition("=")
        if is_own:
            own.setdefault(name, []).append(layer)
    if not own:
        return of_all
    wanted = {name: [*of_all, *own.get(name, [])] for name in dict.fromkeys([*models, *own])}
    return {name: layers for name, layers in wanted.items() if layers}


def check_new(file: str, argument: str, overwrite: bool, suffix: str = "") -> None:
    """Raise unless a file can be written there, ends so, and is new or may be replaced."""
    check_writable(file, argument=argument)
    if suffix and Path(file).suffix.lower() != suffix:
        raise ValueError(f"`{argument}` must end in {suffix}, not '{file}'.")
    if Path(file).exists() and not overwrite:
        raise click.UsageError(f"{file} exists; choose another name, or --overwrite.")


def read_where(path: str, conditions: Sequence[str], *, provenance: bool = False) -> pd.DataFrame:
    """Read the rows of a stack that meet the conditions ``COLUMN=VALUE``."""
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        column, equals, text = condition.partition("=")
        if not equals or not column:
            raise ValueError(f"--where {condition!r} is no condition; write --where COLUMN=VALUE.")
        wanted.setdefault(column, []).append(text)
    if not wanted:
        return read_rdms(path, provenance=provenance)
    # The matrices of other rows are never read.
    table = read_rdms(path, columns=list(wanted))
    where: list[tuple[str, list[Any]]] = []
    for column, texts in wanted.items():
        try:
            values = list(dict.fromkeys(table[column].tolist()))
        except TypeError as error:
            raise TypeError(
                f"--where names the column {column!r}, which holds arrays or dicts: no value can"
                " be written for it. Use another column."
            ) from error
        chosen = [value for value in values if any(_is_meant(value, text) for text in texts)]
        for text in texts:
            if not any(_is_meant(value, text) for value in values):
                raise ValueError(_no_such_row(column, text, values, where))
        table = table[[value in chosen for value in table[column].tolist()]]
        where.append((column, chosen))
    return read_rdms(path, where=where, provenance=provenance)


def _is_meant(value: Any, text: str) -> bool:
    """Whether a cell is what the user wrote, by the kind of the cell."""
    if isinstance(value, tuple):
        try:
            return value == _as_tuple(json.loads(text))
        except ValueError:
            return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return value == float(text)
        except ValueError:
            return False
    return str(value) == text


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _no_such_row(column: str, text: str, values: Sequence[Any], where: Sequence[Any]) -> str:
    among = " and ".join(f"{name}={values_in_words(found)}" for name, found in where)
    return (
        f"no row{f' with {among}' if among else ''} has {column}={text}."
        f" There is: {values_in_words(values)}."
    )


def values_in_words(values: Sequence[Any]) -> str:
    shown = [json.dumps(v) if isinstance(v, tuple) else str(v) for v in values[:_MOST_VALUES]]
    more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
    return ", ".join(shown) + more


def only_row(stack: pd.DataFrame) -> pd.Series:
    """Return the row of a stack of one, or raise and say what its rows differ in."""
    if len(stack) == 1:
        return stack.iloc[0]
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to draw.")
    differing = [
        f"{name} ({values_in_words(values)})"
        for name, values in _distinct(stack).items()
        if len(values) > 1
    ]
    raise ValueError(
        f"one RDM can be drawn, and these are {len(stack)}. Choose by --where; they differ in:"
        f" {'; '.join(differing) or 'their matrices alone'}."
    )


def _distinct(stack: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the different values of the columns that tell rows apart."""
    plain = {}
    for name in stack.columns:
        cells = stack[name].tolist()
        if all(isinstance(cell, (str, int, float)) for cell in cells):
            plain[str(name)] = list(dict.fromkeys(cells))
    return plain


def what_is_in(stack: pd.DataFrame, path: str) -> str:
    """Say in a line how many RDMs there are, and how many values the columns have."""
    several = [
        f"{name} {len(values)}" for name, values in _distinct(stack).items() if len(values) > 1
    ]
    told = f" ({', '.join(several)})" if several else ""
    return f"{path}: {counted(stack, 'RDM')}{told}"


def counted(things: Sized, word: str) -> str:
    """Say how many there are."""
    return f"{len(things)} {word}{'s' if len(things) != 1 else ''}"
