"""The table of a study's models: what is known of each, and which of them are chosen by it."""

from __future__ import annotations

import ast
import bisect
import json
import logging
import numbers
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence, in_words
from pytorch_feature_analysis._files import check_path
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.csv_files import EXACT
from pytorch_feature_analysis.json_files import read_json

logger = logging.getLogger(__name__)

ModelTable = (
    pd.DataFrame | str | os.PathLike[str] | Mapping[str, Mapping[str, Any]] | Sequence[Any]
)
_KEYS = ("model", "name", "model_name")  # the first that is there names the models

# What published tables call a column, where it would not be told from our own nouns: `dataset`
# is what stimuli come from, a module is one of many in `model`.
COLUMN_ALIASES = {
    "model_parameters": "parameters",
    "module_name": "module",
    "dataset": "training_dataset",
    "dataset_class": "training_dataset_class",
}

_SIZE_LIMITS = (100e6, 300e6, 400e6)
_SIZE_CLASSES = ("small", "medium", "large", "xlarge")
_RULE = "(op, column, value), such as ('+', 'objective', 'Supervised') or ('-', 'index', 'vgg16')"


def read_model_table(path_or_frame: ModelTable) -> pd.DataFrame:
    """Read the table of a study's models: one row a model, what is known of it in the columns.

    Parameters
    ----------
    path_or_frame : path, DataFrame, dict or list of dict
        A JSON file (an object from model to the fields of each, or a list of records with a field
        'model'), a CSV file, a frame, or what a JSON file would hold. It is not changed. The
        models are named by the column ``model``, or else by an index of texts, the column
        ``name`` or the column ``model_name``.

    Returns
    -------
    DataFrame
        A new frame, numbered from 0, in the order of the rows, with the columns that are there.
        These have a meaning of their own; all others are kept as they are:

        model : str
            Name of the model in the study, a different one in each row.
        model_name : str
            Its name in its source, where `model` is another one.
        source : str
            Where its network comes from: 'torchvision', 'timm', 'open_clip', or anything else for
            networks of your own; see `table_models`.
        parameters : dict
            What the source needs to know besides, such as ``{'weights': 'IMAGENET1K_V1'}``; also
            read from ``model_parameters``.
        module : str
            The layer that represents the model, as `get_activations` takes it; also read from
            ``module_name``.
        objective : str
            What it was trained for.
        training_dataset, training_dataset_class : str
            What it was trained on, and the class of that; also read from ``dataset`` and
            ``dataset_class``, which elsewhere are the stimuli.
        architecture, architecture_class : str
            Its family, such as 'ResNet', and the class of that, such as 'Convolutional'.
        embedding_dim : int
            Number of units of the layer.
        alignment : str
            How it was aligned to people, missing if not.
        size, size_fmt : float, str
            Number of parameters, and the same in words.
        size_class : str
            'small' below 100 million parameters, 'medium' below 300, 'large' below 400, 'xlarge'
            from there on. Filled in from `size` where it is missing.

    Raises
    ------
    ValueError
        No column names the models, or two rows have the same name.
    TypeError
        A model's name is no text, or its size no number.

    See Also
    --------
    select_models : Choose rows by what is in the columns.
    table_models : Their networks.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.read_model_table({
    ...     "rn50": {"model_name": "resnet50", "dataset": "ImageNet1k", "size": 25557032},
    ...     "dino": {"model_name": "vit_base_patch16", "dataset": "LVD-142M", "size": 304368640},
    ... })
      model        model_name training_dataset       size size_class
    0  rn50          resnet50       ImageNet1k   25557032      small
    1  dino  vit_base_patch16         LVD-142M  304368640      large
    """
    return checked_model_table(path_or_frame, argument="path_or_frame")


def checked_model_table(given: ModelTable, *, argument: str) -> pd.DataFrame:
    """Read a table as `read_model_table` does; `argument` is what the messages call it."""
    table = _named(_as_frame(given, argument), argument)
    _check_models(table["model"].tolist(), argument)
    if "size" in table.columns:
        table["size_class"] = _size_classes(table, argument)
    return table


def select_models(table: ModelTable, criteria: Sequence[Any]) -> pd.DataFrame:
    """Choose models of a table by rules that add and take away, one after the other.

    Parameters
    ----------
    table : DataFrame or path
        As `read_model_table` takes it. It is not changed.
    criteria : list of (op, column, value)
        The rules, in their order, beginning with no model: ``'+'`` adds the models of the table
        that have the value in the column, ``'-'`` takes them away. The column ``'index'`` stands
        for the model's name. A list of values means any of them; None finds missing ones.

    Returns
    -------
    DataFrame
        The chosen rows in the order of the table, numbered anew.

    Raises
    ------
    ValueError
        A column that is not there (with those that are), a value that no model has (with those
        that some have), or rules that leave no model.

    See Also
    --------
    df_filter : Rows that meet several conditions at once.

    Notes
    -----
    The log warns of a rule that changes nothing, such as one that takes away what was not chosen
    before: the order of rules matters.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> table = pd.DataFrame({
    ...     "model": ["vgg16", "vgg19", "dino", "clip"],
    ...     "objective": ["Supervised", "Supervised", "Self-Supervised", "Image-Text"],
    ... })
    >>> rules = [("+", "objective", "Supervised"), ("-", "index", "vgg19"), ("+", "index", "clip")]
    >>> pfa.select_models(table, rules)["model"].tolist()
    ['vgg16', 'clip']
    """
    models = checked_model_table(table, argument="table")
    rules = check_sequence(criteria, argument="criteria", of=f"rules {_RULE}")
    if len(rules) == 3 and isinstance(rules[0], str):  # a rule that stands without its list
        rules = [criteria]
    if not rules:
        raise ValueError(f"`criteria` is empty, which selects no model; give rules {_RULE}.")
    chosen = np.zeros(len(models), dtype=bool)
    for rule in rules:
        op, column, values = _check_rule(rule, models)
        found = _rows_with(models[column], values, column)
        before = chosen
        chosen = before | found if op == "+" else before & ~found
        if (chosen == before).all():
            logger.warning("the rule %r of `criteria` changes nothing; their order matters.", rule)
    if not chosen.any():
        raise ValueError(
            "`criteria` leave no model: '-' takes away all that '+' adds before it. Rules count in"
            " their order."
        )
    return models[chosen].reset_index(drop=True)


def _as_frame(given: Any, argument: str) -> pd.DataFrame:
    """Return a new frame of what was given, its models in a column if they were its index."""
    if isinstance(given, pd.DataFrame):
        return _without_index(given, argument)
    if isinstance(given, (str, os.PathLike)):
        path = check_path(given, argument=argument)
        if path.suffix.lower() == ".csv":
            return _without_index(_read_csv(path), argument)
        if path.suffix.lower() != ".json":
            raise ValueError(
                f"`{argument}` must be a file that ends in .json or .csv, not '{path}'."
            )
        given = read_json(path, argument=argument)
    if isinstance(given, Mapping):
        given = [_record(name, fields, argument) for name, fields in given.items()]
    if not isinstance(given, Sequence) or not all(isinstance(row, Mapping) for row in given):
        raise TypeError(
            f"`{argument}` must be a file, a frame, an object from model to its fields or a list"
            f" of records, not {given!r}."
        )
    names = list(dict.fromkeys(name for row in given for name in row))
    return pd.DataFrame({name: _column([row.get(name) for row in given]) for name in names})


def _record(name: Any, fields: Any, argument: str) -> dict[str, Any]:
    if not isinstance(fields, Mapping):
        raise TypeError(
            f"`{argument}` must give the fields of model {name!r} as an object, not {fields!r}."
        )
    if fields.get("model", name) != name:
        raise ValueError(
            f"`{argument}` has model {name!r} with another name in its field 'model',"
            f" {fields['model']!r}. Rename one of them."
        )
    return {"model": name, **fields}


def _column(cells: list[Any]) -> pd.Series:
    """Make a column of numbers where all are, or of text; dicts and lists stay what they are."""
    return object_series(cells).infer_objects()


def _without_index(frame: pd.DataFrame, argument: str) -> pd.DataFrame:
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()].tolist()
        raise ValueError(f"`{argument}` has several columns {in_words(twice)}. Rename them.")
    table = frame.reset_index(drop=True)
    labels = frame.index.tolist()
    if labels and "model" not in table.columns and all(isinstance(one, str) for one in labels):
        table.insert(0, "model", labels)
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a table in which only an empty field is a missing one: 'None' may be an objective."""
    try:
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(_KEYS, str),
            keep_default_na=False,
            na_values=[""],
            **EXACT,
        )
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read as a CSV file: {error}.") from error
    # The index of a frame that was written with it, under the names that pandas gives it.
    first = frame.columns[0]
    if first == "Unnamed: 0" or (first == "index" and pd.api.types.is_string_dtype(frame[first])):
        frame = frame.set_index(first)
    for column in frame.columns.intersection(["parameters", "model_parameters"]):
        cells = [_parameters(cell, path) for cell in frame[column]]
        frame[column] = object_series(cells, frame.index)
    return frame


def _parameters(cell: Any, path: Path) -> Any:
    """Return the dict that a field of a CSV file spells out, in JSON or as Python prints it."""
    if not isinstance(cell, str):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(cell)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, dict):
            return value
    raise ValueError(
        f"'{path}' must hold the parameters of a model as an object, such as"
        f' {{"weights": "DEFAULT"}}, not {cell!r}.'
    )


def _named(table: pd.DataFrame, argument: str) -> pd.DataFrame:
    """Give the columns their names here, the models' first."""
    renamed = {old: new for old, new in COLUMN_ALIASES.items() if new not in table.columns}
    key = next((name for name in _KEYS if name in table.columns), None)
    if key is not None:
        renamed[key] = "model"
    table = table.rename(columns=renamed)
    check_columns(table, ["model"], argument=argument)
    return table[["model", *table.columns.drop("model")]]


def _check_models(names: list[Any], argument: str) -> None:
    if not names:
        raise ValueError(f"`{argument}` holds no model; give it a row for each.")
    for row, name in enumerate(names):
        if not isinstance(name, str) or not name:
            raise TypeError(
                f"`{argument}` must name each model by a text, but row {row} has {name!r}."
            )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"`{argument}` has several rows of the model {in_words(twice)}. Take out the"
            " doubles, or tell them apart in a column 'model'."
        )


def _size_classes(table: pd.DataFrame, argument: str) -> list[Any]:
    given = table["size_class"] if "size_class" in table.columns else [None] * len(table)
    return [
        _size_class(size, name, argument) if frozen(known) is None else known
        for known, size, name in zip(given, table["size"].tolist(), table["model"], strict=True)
    ]


def _size_class(size: Any, name: str, argument: str) -> str | None:
    if frozen(size) is None:
        return None
    if isinstance(size, bool) or not isinstance(size, numbers.Real) or size < 0:
        raise TypeError(
            f"`{argument}` must give the size of model {name!r} as its number of parameters,"
            f" not {size!r}."
        )
    return _SIZE_CLASSES[bisect.bisect_right(_SIZE_LIMITS, size)]


def _check_rule(rule: Any, models: pd.DataFrame) -> tuple[str, str, list[Hashable]]:
    if isinstance(rule, str) or not isinstance(rule, Sequence) or len(rule) != 3:
        raise TypeError(f"`criteria` must hold rules {_RULE}, not {rule!r}.")
    op, column, value = rule
    if op not in ("+", "-"):
        raise ValueError(f"`criteria` must begin a rule with '+' or '-', not {op!r} in {rule!r}.")
    if column == "index":
        column = "model"
    elif column not in models.columns:
        column = COLUMN_ALIASES.get(column, column)
    check_name(column, models.columns, argument="criteria", what="column", owner=" of `table`")
    values = list(value) if isinstance(value, (list, np.ndarray, pd.Index, pd.Series)) else [value]
    if not values:
        raise ValueError(
            f"`criteria` has a rule without a value, which selects nothing: {rule!r}."
        )
    return op, column, [frozen(value) for value in values]


def _rows_with(column: pd.Series, values: list[Hashable], name: str) -> np.ndarray:
    """Tell which rows have one of the values; each value must be in some row."""
    cells = [frozen(cell) for cell in column.tolist()]
    present = dict.fromkeys(cells)
    for value in values:
        check_name(value, present, argument="criteria", what="value", owner=f" of column {name!r}")
    return np.array([cell in values for cell in cells])
