"""Pairs of models as figures have them: what they are by a table, and how alike by a stack."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_name
from pytorch_feature_analysis.chosen_measures import direction_of, whole_name
from pytorch_feature_analysis.linkage import dissimilarities_of
from pytorch_feature_analysis.rdm_stack import check_row, checked_stack, in_words, name_of

FEWEST_PAIRS = 3
"""Two points are always on a line."""
_NO_VALUE = "(none)"


def row_of(similarity_df: Any, variable: str, value: Any, *, argument: str) -> pd.Series:
    """Return the one row of a stack that has a value, such as that of one dataset."""
    stack = checked_stack(similarity_df, columns=[variable], argument="similarity_df")
    check_name(
        value,
        dict.fromkeys(stack[variable]),
        argument=argument,
        what=variable,
        owner=" of `similarity_df`",
    )
    # One row is drawn, and its shuffles are not.
    chosen = stack[(stack[variable] == value) & (stack["perm"] == "orig_data")]
    if len(chosen) > 1:
        chosen = chosen.drop(columns=["entry_keys_sub", "entry_labels_sub"], errors="ignore")
    return check_row(chosen, argument="similarity_df")


def measure_of(row: pd.Series) -> str:
    """Name of the measure of a row, or what its values are where it names none."""
    name = row.get("dissim_metric")
    if not isinstance(name, str):
        return "dissimilarity"
    return whole_name(name, row.get("dissim_metric_sub"))


def values_of(row: pd.Series) -> np.ndarray:
    """Return similarities where the measure of a row is one, and else the distances."""
    found = dissimilarities_of(row["matrix"], symmetrize=True, argument="similarity_df")
    return 1 - found if direction_of(row.get("dissim_metric")) == "similarity" else found


def models_of(row: pd.Series) -> list[Hashable]:
    """Say which model each entry is."""
    labels = row["entry_labels"]
    if all("model" in label for label in labels):
        return [label["model"] for label in labels]
    return [name_of(key) for key in row["entry_keys"]]


def categories_of(
    models: Sequence[Hashable], model_table: Any, column: Any
) -> tuple[list[Any], list[Any]]:
    """Return what a table says of each model, and all that is said, in the table's order."""
    check_columns(model_table, ["model"], argument="model_table")
    known = [name for name in model_table.columns if name != "model"]
    check_name(column, known, argument="column", what="column", owner=" of `model_table`")
    if model_table["model"].duplicated().any():
        twice = model_table["model"][model_table["model"].duplicated()]
        raise ValueError(f"`model_table` has more than one row of {in_words(twice.unique())}.")
    said = dict(zip(model_table["model"].tolist(), model_table[column].tolist(), strict=True))
    absent = [model for model in models if model not in said]
    if absent:
        raise ValueError(
            f"`model_table` has no row of {in_words(absent)}; add them, or leave them out of the"
            " stack with `subset_rdm_df`."
        )
    blank = {model for model, value in said.items() if pd.isna(value)}
    found = [_NO_VALUE if model in blank else said[model] for model in models]
    values = [*(said[model] for model in said if model not in blank), _NO_VALUE]
    said_of_any = set(found)
    return found, [value for value in dict.fromkeys(values) if value in said_of_any]


def pair_kinds(
    found: Sequence[Any],
    values: Sequence[Any],
    first: Sequence[int],
    second: Sequence[int],
    called: Mapping[Any, str],
) -> tuple[np.ndarray, list[str]]:
    """Give each pair the number of its kind, in whatever order, and the names of all kinds."""
    rank = {value: k for k, value in enumerate(values)}
    ranks = np.array([rank[value] for value in found])
    ends = np.sort([ranks[first], ranks[second]], axis=0)
    codes = ends[0] * len(values) + ends[1]
    kinds, numbers = np.unique(codes, return_inverse=True)
    texts = [called.get(value, str(value)) for value in values]
    return numbers, [
        set_pair(texts[kind // len(values)], texts[kind % len(values)]) for kind in kinds.tolist()
    ]


def set_pair(one: str, other: str) -> str:
    """Name a pair of sets of models."""
    return f"{one} – {other}"  # noqa: RUF001 - a dash between two sets, whose names have hyphens


def check_enough(n_pairs: int, what: str) -> None:
    """Raise unless there are pairs enough for a correlation."""
    if n_pairs < FEWEST_PAIRS:
        raise ValueError(
            f"{what} has {n_pairs} pair{'s' * (n_pairs != 1)} of models with both values, and at"
            f" least {FEWEST_PAIRS} are needed."
        )


def check_frame(df: Any, columns: Sequence[str], *, argument: str, maker: str) -> None:
    """Raise unless a frame has the columns; say what makes such frames."""
    if isinstance(df, pd.DataFrame):
        missing = [name for name in columns if name not in df.columns]
        if missing:
            raise ValueError(
                f"`{argument}` has no column {', '.join(map(repr, missing))}; it must be a frame"
                f" of {maker}, with {', '.join(map(repr, columns))}."
            )
    else:
        check_columns(df, columns, argument=argument)
    if df.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to draw.")


def check_single(df: pd.DataFrame, columns: Sequence[str], *, argument: str) -> None:
    """Raise where a frame has several values in a column of which one is drawn."""
    for name in columns:
        if name in df.columns and len(df[name].unique()) > 1:
            raise ValueError(
                f"`{argument}` has several values of {name!r}: {in_words(df[name].unique())}."
                " Take one with df_filter."
            )
