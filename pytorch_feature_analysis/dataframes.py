"""Rows of plain data frames: filter them, sort them, and turn an index into columns.

A stack of RDMs is a plain frame, so all of it serves stacks. In a condition, a *list* means
several values and a *tuple* is one value, since tuples are cells of a stack (`('conv1', 1)`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence

Condition = tuple[Hashable, Any]


def df_filter(df: pd.DataFrame, subset_list: Sequence[Condition] | Condition) -> pd.DataFrame:
    """Keep the rows that meet all conditions. `df_subset` is the same function.

    Parameters
    ----------
    df : DataFrame
        Any frame, such as a stack of RDMs.
    subset_list : list of (column, value) or (column, list of values)
        The conditions; a single one may stand without the list. A list (or array, or index)
        means any of its values; everything else, a tuple too, is one value. A missing value (NaN
        or None) finds the missing cells. The same condition may occur twice.

    Returns
    -------
    DataFrame
        The rows in their own order, with their index kept. Empty if none is left.

    Raises
    ------
    ValueError
        If a column does not exist.
    TypeError
        If a column holds arrays, lists or dicts, which have no equality to filter by.

    See Also
    --------
    df_filtsort : put the rows in the order of the values too.

    Notes
    -----
    Values are equal as in Python: 1 finds 1.0, and '1' does not find 1.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "city": ["New York", "New York", "Seattle", "Seattle", "Seattle", "Boston", "Boston",
    ...              "Boston"],
    ...     "gender": ["Male", "Male", "Female", "Female", "Male", "Male", "Female", "Female"],
    ...     "height": [70, 72, 66, 65, 69, 73, 64, 63],
    ...     "income": [50000, 100000, 80000, 150000, 120000, 90000, 70000, 110000],
    ... })
    >>> pfa.df_subset(df, [("city", ["New York", "Seattle"]), ("gender", "Male")])
           city gender  height  income
    0  New York   Male      70   50000
    1  New York   Male      72  100000
    4   Seattle   Male      69  120000
    """
    keep = np.ones(len(df), dtype=bool)
    for column, values in _conditions(df, subset_list, argument="subset_list"):
        keep &= _positions(df, column, values, argument="subset_list") >= 0
    return df.loc[keep]


df_subset = df_filter


def df_filtsort(df: pd.DataFrame, sortlist: Sequence[Condition] | Condition) -> pd.DataFrame:
    """Keep the rows with the listed values, and put them in the order of the lists.

    Parameters
    ----------
    df : DataFrame
        Any frame, such as a stack of RDMs.
    sortlist : list of (column, list of values)
        As for `df_filter`. The rows are sorted by the first column, in the order in which its
        values are listed, rows equal in it by the second, and so on.

    Returns
    -------
    DataFrame
        The rows that meet all conditions, index kept. Rows that are equal in all columns stay in
        the order they had.

    See Also
    --------
    df_filter : Leave the rows in their own order.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "city": ["New York", "New York", "New York", "Seattle", "Seattle", "Seattle", "Boston",
    ...              "Boston", "Boston"],
    ...     "gender": ["Male", "Male", "Female", "Female", "Female", "Male", "Male", "Female",
    ...                "Female"],
    ...     "height": [70, 72, 65, 66, 65, 69, 73, 64, 63],
    ...     "income": [50000, 100000, 120000, 80000, 150000, 120000, 90000, 70000, 110000],
    ... })
    >>> pfa.df_filtsort(df, [("city", ["Seattle", "New York"]), ("gender", ["Female", "Male"])])
           city  gender  height  income
    3   Seattle  Female      66   80000
    4   Seattle  Female      65  150000
    5   Seattle    Male      69  120000
    2  New York  Female      65  120000
    0  New York    Male      70   50000
    1  New York    Male      72  100000
    """
    positions = [
        _positions(df, column, values, argument="sortlist")
        for column, values in _conditions(df, sortlist, argument="sortlist")
    ]
    if not positions:
        return df.copy()
    order = np.lexsort(positions[::-1])  # stable; the last key is the primary one
    keep = np.min(positions, axis=0) >= 0
    return df.iloc[order[keep[order]]]


def df_inds2cols(df: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Turn all levels of the index into columns.

    Parameters
    ----------
    df : DataFrame or Series
        The result of a `groupby` or `pivot_table`, say. A Series becomes a frame first.

    Returns
    -------
    DataFrame
        A new frame: the levels of the index in their order, then the columns. A level without a
        name is called 'index', or 'level_0', 'level_1', ... where there are several.

    See Also
    --------
    df_agg : Aggregate within groups, without an index from the start.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "city": ["New York", "Boston", "New York", "Boston"],
    ...     "gender": ["Male", "Male", "Female", "Female"],
    ...     "height": [70, 69, 66, 64],
    ... })
    >>> pfa.df_inds2cols(df.groupby(["city", "gender"])["height"].mean())
           city  gender  height
    0    Boston  Female    64.0
    1    Boston    Male    69.0
    2  New York  Female    66.0
    3  New York    Male    70.0
    """
    if isinstance(df, pd.Series):
        df = df.to_frame()
    check_columns(df, [], argument="df")
    taken = [name for name in df.index.names if name is not None and name in df.columns]
    if taken:
        raise ValueError(
            f"`df` has both a column and an index level called {taken[0]!r}. Rename one of them"
            " first."
        )
    return df.reset_index()


def _conditions(
    df: pd.DataFrame, conditions: Any, *, argument: str
) -> list[tuple[Any, list[Any]]]:
    """Return the conditions as pairs of a column of `df` and a list of values."""
    check_columns(df, [], argument="df")
    if isinstance(conditions, tuple) and len(conditions) == 2:
        column = conditions[0]
        if not isinstance(column, tuple) or column in df.columns:
            conditions = [conditions]
    pairs = check_sequence(conditions, argument=argument, of="(column, value) pairs")
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                f"`{argument}` must be a list of (column, value) or (column, list of values), but"
                f" holds {pair!r}."
            )
        check_name(pair[0], df.columns, argument=argument, what="column", owner=" of `df`")
    return [(column, _values(value)) for column, value in pairs]


def _values(value: Any) -> list[Any]:
    """Return the values that a condition lists: only a tuple or a scalar is one value."""
    if isinstance(value, (list, range)):
        return list(value)
    if isinstance(value, (np.ndarray, np.generic, pd.Series, pd.Index)):
        return pd.Series(np.atleast_1d(value)).tolist()
    return [value]


def _positions(
    df: pd.DataFrame, name: Hashable, values: list[Any], *, argument: str
) -> np.ndarray:
    """Give each row the place of its value among `values`, -1 if it is none of them."""
    column = single_column(df, name)
    places: dict[Hashable, int] = {}
    missing = -1
    for place, value in enumerate(values):
        if pd.api.types.is_scalar(value) and pd.isna(value):
            missing = place if missing < 0 else missing
            continue
        try:
            places.setdefault(value, place)
        except TypeError as error:
            raise TypeError(
                f"`{argument}` compares column {name!r} with {value!r}, a"
                f" {type(value).__name__}. Values are numbers, strings or tuples, and several of"
                " them a list."
            ) from error
    try:
        found = np.fromiter((places.get(cell, -1) for cell in column.tolist()), np.intp, len(df))
    except TypeError as error:
        raise TypeError(
            f"`{argument}` compares column {name!r}, which holds arrays, lists or dicts: they"
            " have no equality to filter by. Use another column."
        ) from error
    found[column.isna().to_numpy()] = missing
    return found


def single_column(df: pd.DataFrame, name: Hashable) -> pd.Series:
    """Return the column called `name`, or raise when there are several."""
    column = df[name]
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"`df` has {column.shape[1]} columns called {name!r}. Rename them first.")
    return column
