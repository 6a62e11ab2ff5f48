"""What commands that draw know of the entries: their pictures in a folder, labels and lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._cli_arguments import values_in_words
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.image_folder import read_image_folder


def pictures_options(what: str) -> Callable[[Any], Any]:
    """Return the options --pictures, which says what becomes of them, and --pattern."""
    pictures = click.option("--pictures", "folder", metavar="FOLDER", help=what)
    pattern = click.option(
        "--pattern",
        metavar="PATTERN",
        help="Where the pictures are within it, with the entries' variables in braces:"
        " '{obj}/{obj}_{color}.png'.",
    )
    return lambda command: pictures(pattern(command))


def read_pictures(folder: str | None, pattern: str | None) -> pd.DataFrame | None:
    """Read which pictures a folder has, None where none is named, or raise."""
    if (folder is None) != (pattern is None):
        raise click.UsageError(
            "--pictures and --pattern go together: a folder, and what is in it."
        )
    return None if folder is None else read_image_folder(folder, str(pattern))


def pictures_of_all(table: pd.DataFrame | None, stack: pd.DataFrame) -> dict[Any, str] | None:
    """Return the picture of each entry, which must be the same in all rows."""
    if table is None:
        return None
    pictures: dict[Any, str] = {}
    found = set()
    variables = [name for name in table.columns[1:] if name in stack]
    for _, row in stack.drop(columns="matrix").iterrows():
        of_row = tuple(str(row[name]) for name in variables)
        alike = of_row, row["entry_keys"], frozen(row["entry_labels"])
        if alike in found:
            continue
        found.add(alike)
        for key, path in find_pictures(table, row).items():
            if pictures.setdefault(key, path) != path:
                raise ValueError(
                    f"`folder` has {pictures[key]} and {path} for the entry {key!r} of different"
                    " RDMs. Choose RDMs of the same images with --where."
                )
    return pictures


def find_pictures(table: pd.DataFrame, row: pd.Series) -> dict[Any, str]:
    """Return the picture of each entry, by the variables that both have in their names.

    A variable of the pattern that is no entry variable but a column of the stack, such as the
    object of an image set, must have the value of this row.
    """
    labels = dict(zip(row["entry_keys"], row["entry_labels"], strict=True))
    entry_variables = {name for label in labels.values() for name in label}
    variables = list(table.columns[1:])
    common = [name for name in variables if name in entry_variables]
    if not common:
        raise ValueError(
            f"`pattern` has the variables {', '.join(variables)}, and the entries of this RDM have"
            f" {', '.join(sorted(entry_variables))}. One at least must be in both."
        )
    of_row = [name for name in variables if name not in entry_variables and name in row.index]
    for name in of_row:
        table = table[table[name] == str(row[name])]
    pictures = {}
    for key, label in labels.items():
        fitting = table
        for name in common:
            fitting = fitting[fitting[name] == str(label.get(name))]
        if len(fitting) > 1:
            raise ValueError(
                f"`pattern` finds {len(fitting)} pictures of the entry {key!r}, such as"
                f" {fitting['path'].iloc[0]} and {fitting['path'].iloc[1]}. Write out in it what"
                " tells them apart, as in '{obj}/{obj}_red.png'."
            )
        if len(fitting):
            pictures[key] = fitting["path"].iloc[0]
    if not pictures:
        raise ValueError(
            f"`folder` has no picture of any entry of this RDM; the entries are:"
            f" {values_in_words(list(labels))}."
        )
    return pictures


def label_entries(row: pd.Series, joined_by: str | None) -> dict[Any, str]:
    """Return the key of each entry in words.

    What all entries share tells nothing, nor does the variable that colours stand for.
    """
    values: dict[str, set[Any]] = {}
    for label in row["entry_labels"]:
        for name, value in label.items():
            values.setdefault(name, set()).add(value)
    shown = [name for name, found in values.items() if len(found) > 1 and name != joined_by]
    return {
        key: ", ".join(str(label[name]) for name in shown or label if name in label)
        for key, label in zip(row["entry_keys"], row["entry_labels"], strict=True)
    }


def join_by(row: pd.Series, variable: str) -> dict[str, Any]:
    """Return lines and colours, as `rdm_mds` takes them, for each value of an entry variable."""
    import matplotlib as mpl

    values = {
        key: label.get(variable)
        for key, label in zip(row["entry_keys"], row["entry_labels"], strict=True)
    }
    variables = list(dict.fromkeys(name for label in row["entry_labels"] for name in label))
    check_name(variable, variables, argument="lines", what="variable of the entries")
    palette = mpl.colormaps["tab10"]
    colours = {
        value: palette(i % palette.N) for i, value in enumerate(dict.fromkeys(values.values()))
    }
    return {
        "line_trajectories": [
            ([key for key in values if values[key] == value], {"c": colour, "label": str(value)})
            for value, colour in colours.items()
        ],
        "cond_colors": {key: colours[value] for key, value in values.items()},
    }
