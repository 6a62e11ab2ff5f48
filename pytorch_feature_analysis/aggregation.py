"""Data frames summed up: aggregate columns within groups, or spread groups over columns.

The columns of a result are plain and have plain names: no index of several levels comes back.
Missing values form groups of their own, and groups are sorted whatever their values are, numbers
before strings before tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence
from pytorch_feature_analysis.cell_values import sort_key
from pytorch_feature_analysis.dataframes import single_column

AggFunc = str | Callable[..., Any] | tuple[str, Callable[..., Any]]

REDUCTIONS = (
    *("mean", "median", "std", "var", "sem", "min", "max", "sum", "prod", "count", "nunique"),
    *("first", "last", "skew", "any", "all", "idxmin", "idxmax", "size"),
)

# pandas called its own method for these until 3.0, and the function itself since: np.std would
# divide by n where it had divided by n - 1.
PANDAS_NAMES: dict[Any, str] = {
    function: name
    for name, functions in {
        "mean": (np.mean, np.nanmean),
        "median": (np.median, np.nanmedian),
        "std": (np.std, np.nanstd),
        "var": (np.var, np.nanvar),
        "min": (min, np.min, np.nanmin),
        "max": (max, np.max, np.nanmax),
        "sum": (sum, np.sum, np.nansum),
        "prod": (np.prod, np.nanprod),
    }.items()
    for function in functions
}


def df_agg(
    df: pd.DataFrame,
    group_vars: Sequence[Hashable] | str,
    data_vars: Sequence[Hashable] | str,
    agg_funcs: Sequence[AggFunc] | AggFunc,
) -> pd.DataFrame:
    """Aggregate columns within groups, as plain columns with plain names.

    Parameters
    ----------
    df : DataFrame
        Any frame.
    group_vars : list of columns, or 'rem'
        The rows with the same values in these form a group; none makes one group of all. 'rem'
        takes all columns that are not in `data_vars`.
    data_vars : list of columns, or 'rem'
        What to aggregate. 'rem' takes all columns that are not in `group_vars`.
    agg_funcs : list of str, callable or (name, callable)
        pandas' names ('mean', 'std', 'sem', 'median', 'count', ...), or functions of one group's
        values. numpy's functions stand for pandas' of the same name.

    Returns
    -------
    DataFrame
        One row per group, sorted by the groups: the columns `group_vars`, then for each data
        column and function `<column>_<function>`.

    See Also
    --------
    df_pivot : Groups over columns.

    Notes
    -----
    As everywhere in pandas, 'std' and 'var' divide by n - 1, and NaN is left out; so it is for
    `np.std` too. `('std', lambda x: x.std(ddof=0))` divides by n.

    A missing value in a grouping column is a group of its own, sorted last.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "city": ["New York"] * 4 + ["Boston"] * 4,
    ...     "gender": ["Male", "Male", "Female", "Female"] * 2,
    ...     "height": [70, 72, 66, 65, 69, 73, 64, 63],
    ...     "income": [50000, 100000, 80000, 150000, 120000, 90000, 70000, 110000],
    ... })
    >>> pfa.df_agg(df, ["city", "gender"], ["height", "income"], [np.mean, np.std])
           city  gender  height_mean  height_std  income_mean    income_std
    0    Boston  Female         63.5    0.707107      90000.0  28284.271247
    1    Boston    Male         71.0    2.828427     105000.0  21213.203436
    2  New York  Female         65.5    0.707107     115000.0  49497.474683
    3  New York    Male         71.0    1.414214      75000.0  35355.339059
    >>> pfa.df_agg(df[["city", "height"]], ["city"], "rem", ["max", pfa.stderr])
           city  height_max  height_stderr
    0    Boston          73       2.011685
    1  New York          72       1.430690
    """
    check_columns(df, [], argument="df")
    if _is_rem(group_vars) and _is_rem(data_vars):
        raise ValueError(
            "`group_vars` and `data_vars` must not both be 'rem': each stands for what the other"
            " leaves. List the columns of one."
        )
    listed = {
        argument: _columns(df, value, argument=argument)
        for argument, value in (("group_vars", group_vars), ("data_vars", data_vars))
        if not _is_rem(value)
    }
    rest: list[Hashable] = [
        column for column in df.columns if all(column not in cols for cols in listed.values())
    ]
    groups = listed.get("group_vars", rest)
    data = listed.get("data_vars", rest)
    functions = _functions(agg_funcs, argument="agg_funcs")

    group_of, labels = _number_groups(df, groups, argument="group_vars")
    names: list[Hashable] = [
        *groups,
        *(f"{column}_{name}" for column in data for name in functions),
    ]
    _check_distinct(names)
    columns: list[pd.Series] = [labels[column] for column in groups]
    columns += [
        _reduce(df, column, [group_of], name, function)
        for column in data
        for name, function in functions.items()
    ]
    return _table(columns, names, len(labels))


def df_pivot(
    df: pd.DataFrame,
    index_cols: Sequence[Hashable] | Hashable,
    var_cols: Sequence[Hashable] | Hashable,
    value_cols: Sequence[Hashable] | Hashable,
    aggfunc: AggFunc = "mean",
) -> pd.DataFrame:
    """Turn the values of some columns into columns, with plain names and no index.

    Parameters
    ----------
    df : DataFrame
        Any frame, in long form.
    index_cols : list of columns
        They stay columns: one row for each combination of their values.
    var_cols : list of columns
        One new column for each combination of their values that occurs.
    value_cols : list of columns
        What fills the cells. A single column may be given by its name, here and above.
    aggfunc : str, callable or (name, callable), default 'mean'
        What makes one number of several rows that fall into one cell; see `df_agg`.

    Returns
    -------
    DataFrame
        The columns `index_cols`, then the new ones: named by the value ('Female'), several values
        joined by an underscore ('Female_adult'), and with several value columns also by these
        ('Female_height', 'Male_height', 'Female_income', ...). Rows and columns are sorted by
        their values. NaN where no row falls into a cell.

    See Also
    --------
    df_agg : Groups over rows.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "city": ["New York"] * 3 + ["Seattle"] * 3 + ["Boston"] * 3,
    ...     "gender": ["Male", "Male", "Female", "Female", "Female", "Male", "Male", "Female",
    ...                "Female"],
    ...     "height": [70, 72, 65, 66, 65, 69, 73, 64, 63],
    ...     "income": [50000, 100000, 120000, 80000, 150000, 120000, 90000, 70000, 110000],
    ... })
    >>> pfa.df_pivot(df, ["city"], ["gender"], ["height", "income"])
           city  Female_height  Male_height  Female_income  Male_income
    0    Boston           63.5         73.0        90000.0      90000.0
    1  New York           65.0         71.0       120000.0      75000.0
    2   Seattle           65.5         69.0       115000.0     120000.0
    """
    check_columns(df, [], argument="df")
    index = _columns(df, index_cols, argument="index_cols")
    variables = _columns(df, var_cols, argument="var_cols")
    values = _columns(df, value_cols, argument="value_cols")
    for argument, columns in (("var_cols", variables), ("value_cols", values)):
        if not columns:
            raise ValueError(f"`{argument}` must name at least one column.")
    functions = _functions(aggfunc, argument="aggfunc")
    if len(functions) != 1:
        raise ValueError(f"`aggfunc` must be one function, not {len(functions)}; see df_agg.")
    ((name, function),) = functions.items()

    rows, row_labels = _number_groups(df, index, argument="index_cols")
    cells, cell_labels = _number_groups(df, variables, argument="var_cols")
    heads = ["_".join(map(str, label)) for label in cell_labels.itertuples(index=False)]
    names: list[Hashable] = list(index)
    table: list[pd.Series] = [row_labels[column] for column in index]
    for value in values:
        # Every value column has the same rows: they are joined by group, not by position.
        wide = _reduce(df, value, [rows, cells], name, function).unstack()  # noqa: PD010 - groups are made
        names += [f"{head}_{value}" if len(values) > 1 else head for head in heads]
        table += [wide[position] for position in range(len(heads))]
    _check_distinct(names)
    return _table(table, names, len(row_labels))


def _is_rem(value: Any) -> bool:
    return isinstance(value, str) and value == "rem"


def _columns(df: pd.DataFrame, value: Any, *, argument: str) -> list[Hashable]:
    """Return the columns that an argument names, one or a list of them."""
    if not isinstance(value, (list, tuple, np.ndarray, pd.Index)) or (
        isinstance(value, tuple) and value in df.columns
    ):
        value = [value]
    names = list(value)
    for name in names:
        check_name(name, df.columns, argument=argument, what="column", owner=" of `df`")
    twice = [name for position, name in enumerate(names) if name in names[:position]]
    if twice:
        raise ValueError(f"`{argument}` names {twice[0]!r} more than once; name each column once.")
    return names


def _check_distinct(names: list[Hashable]) -> None:
    """Raise if two columns of the result would have one name."""
    twice = [name for position, name in enumerate(names) if name in names[:position]]
    if twice:
        raise ValueError(
            f"There would be two columns of the result called {twice[0]!r}. Rename one of them."
        )


def _functions(agg_funcs: Any, *, argument: str) -> dict[str, Any]:
    """Return the functions of an aggregation by their names, as pandas takes them."""
    if isinstance(agg_funcs, str) or callable(agg_funcs) or _is_named(agg_funcs):
        agg_funcs = [agg_funcs]
    functions: dict[str, Any] = {}
    for item in check_sequence(agg_funcs, argument=argument, of="functions or their names"):
        if isinstance(item, str):
            check_name(item, REDUCTIONS, argument=argument, what="function of pandas")
            name, function = item, item
        elif _is_named(item):
            name, function = item
        elif callable(item) and hasattr(item, "__name__"):
            name, function = item.__name__, PANDAS_NAMES.get(item, item)
        else:
            raise TypeError(
                f"`{argument}` must hold pandas' names ('mean'), functions, or (name, function)"
                f" pairs, not {item!r}."
            )
        if name in functions:
            raise ValueError(
                f"`{argument}` has two functions called {name!r}. Name them apart by"
                " (name, function) pairs."
            )
        functions[name] = function
    if not functions:
        raise ValueError(f"`{argument}` must hold at least one function.")
    return functions


def _is_named(item: Any) -> bool:
    return (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[0], str)
        and callable(item[1])
    )


def _number_groups(
    df: pd.DataFrame, columns: list[Hashable], *, argument: str
) -> tuple[np.ndarray, pd.DataFrame]:
    """Give the rows numbers by group: those equal in `columns` share one, in sorted order.

    Returns
    -------
    group_of : ndarray of int, one for each row of `df`
    labels : DataFrame, one row for each group, with `columns`
    """
    if not columns:
        return np.zeros(len(df), dtype=np.intp), pd.DataFrame(index=range(min(len(df), 1)))
    ranks = [_ranks(single_column(df, column), argument=argument) for column in columns]
    _, first, group_of = np.unique(
        np.stack(ranks, axis=1), axis=0, return_index=True, return_inverse=True
    )
    labels = df.iloc[first].loc[:, columns]
    return group_of.reshape(-1), labels


def _ranks(column: pd.Series, *, argument: str) -> np.ndarray:
    """Rank the values of a column, 0 for the lowest, equal for equal ones, missing ones last."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        ranks = column.cat.codes.to_numpy().astype(np.intp)
        return np.where(ranks < 0, len(column.cat.categories), ranks)
    try:
        codes, uniques = pd.factorize(column.to_numpy())
    except TypeError as error:
        raise TypeError(
            f"`{argument}` groups by column {column.name!r}, which holds arrays, lists or dicts."
            " Group by columns of numbers, strings or tuples."
        ) from error
    values = list(uniques)
    try:
        order = sorted(range(len(values)), key=values.__getitem__)
    except TypeError:
        order = sorted(range(len(values)), key=lambda position: sort_key(values[position]))
    ranks = np.empty(len(values) + 1, dtype=np.intp)
    ranks[order] = np.arange(len(values))
    ranks[-1] = len(values)  # where the code of a missing value, -1, points
    return ranks[codes]


def _reduce(
    df: pd.DataFrame, column: Hashable, by: list[np.ndarray], name: str, function: Any
) -> pd.Series:
    """Aggregate one column by one function within the numbered groups."""
    values = single_column(df, column)
    try:
        return values.groupby(by).agg(function)
    except TypeError as error:
        raise TypeError(
            f"Column {column!r} ({values.dtype}) cannot be aggregated by {name!r}: {error}"
        ) from error


def _table(columns: list[pd.Series], names: list[Hashable], length: int) -> pd.DataFrame:
    """Put columns of equal length side by side, by position."""
    table = pd.DataFrame(
        {place: column.array for place, column in enumerate(columns)}, index=range(length)
    )
    table.columns = pd.Index(names, tupleize_cols=False)
    return table
