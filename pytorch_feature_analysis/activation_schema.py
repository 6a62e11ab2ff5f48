"""The check of a frame of activations: one table of responses a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns
from pytorch_feature_analysis.rdm_stack import Rows, as_keys, each_once, labels_of

_REQUIRED = ("activations", "entry_keys")


def check_activations(
    activations_df: pd.DataFrame, *, columns: Iterable[str] = (), argument: str = "activations_df"
) -> pd.DataFrame:
    """Check a frame of activations; returns a new one with keys and labels as tuples.

    Raises
    ------
    ValueError, TypeError
        A column is missing, or a cell is not what it must be; the message names the row.
    """
    check_columns(activations_df, [*_REQUIRED, *columns], argument=argument)
    rows = Rows(activations_df.index, argument)
    arrays = each_once(rows, as_table, activations_df["activations"].tolist())
    keys = each_once(rows, as_keys, activations_df["entry_keys"].tolist())
    for k, (array, row_keys) in enumerate(zip(arrays, keys, strict=True)):
        if len(array) != len(row_keys):
            rows.fail(
                k,
                f"has {len(row_keys)} entry_keys, but its activations are {array.shape}: one row"
                " is needed for each",
            )
    checked = activations_df.copy(deep=False)
    cells = {"activations": arrays, "entry_keys": keys}
    cells["entry_labels"] = labels_of(activations_df, rows, keys)
    for name, of_rows in cells.items():
        checked[name] = object_series(of_rows, checked.index)
    return checked


def as_table(cell: Any) -> np.ndarray:
    """Return an array, which may be mapped from a file, as (n_entries, n_units)."""
    array = np.asanyarray(cell)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"must have real numbers in `activations`, not {array.dtype}")
    if array.ndim < 2 or not array.size:
        raise ValueError(
            "must have an array (n_entries, n_units) in `activations`, not one of shape"
            f" {array.shape}"
        )
    return array.reshape(len(array), -1)
