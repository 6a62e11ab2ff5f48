"""The check of a stack: a plain frame with one RDM a row, completed where it says too little."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns
from pytorch_feature_analysis._checks import in_words as in_words
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_schema import REQUIRED_COLUMNS, TUPLE_COLUMNS


def check_rdm_stack(
    rdm_df: pd.DataFrame, *, columns: Iterable[str] = (), argument: str = "rdm_df"
) -> pd.DataFrame:
    """Check a stack of RDMs, and fill in what can be told from the rest.

    A frame of your own will do, with one square matrix a row in `matrix` and the names of its
    rows in `entry_keys`.

    Parameters
    ----------
    rdm_df : DataFrame
        The stack. It is not changed.
    columns : iterable of str, default none
        Further columns that it must have.
    argument : str, default 'rdm_df'
        What the messages call it.

    Returns
    -------
    DataFrame
        A new frame with the same rows, index and other columns, in which

        matrix : ndarray (n, n)
            is float64 and read-only. Nothing is copied that is float64 already.
        entry_keys : tuple of n tuples
            are tuples, also where they came as lists. An entry named by a single string or number
            gets a tuple of one: ``'cat'`` becomes ``('cat',)``.
        entry_labels : tuple of n dicts
            are filled in where missing, as ``{'entry': value}``, or ``{'entry_1': value, ...}``
            for keys of several parts.
        perm, df_name : str
            are 'orig_data' and 'default_name' where missing.
        dissim_rankings : tuple of n int
            are filled in where missing, see `get_extreme_dissims_total`.

        Other columns of the library that hold tuples have them in place of lists.

    Raises
    ------
    ValueError, TypeError
        A column is missing, or a cell is not what it must be; the message names the first such
        row by its position and its index.

    See Also
    --------
    stack_columns : What the columns mean.
    subset_rdm_df : Fewer entries.

    Notes
    -----
    Matrices may hold NaN and need not be symmetric.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> mine = pd.DataFrame({
    ...     "matrix": [np.array([[0, 2], [2, 0]])],
    ...     "entry_keys": [["cat", "dog"]],
    ... })
    >>> stack = pfa.check_rdm_stack(mine)
    >>> stack.loc[0, "entry_keys"], stack.loc[0, "entry_labels"]
    ((('cat',), ('dog',)), ({'entry': 'cat'}, {'entry': 'dog'}))
    >>> stack.loc[0, "matrix"].dtype, stack.loc[0, "perm"], stack.loc[0, "dissim_rankings"]
    (dtype('float64'), 'orig_data', (0, 1))
    """
    return checked_stack(rdm_df, columns=columns, argument=argument, rank=True)


def checked_stack(
    rdm_df: pd.DataFrame,
    *,
    columns: Iterable[str] = (),
    argument: str = "rdm_df",
    rank: bool = False,
) -> pd.DataFrame:
    """Check a stack as `check_rdm_stack` does; rankings are filled in where that is asked for.

    They take longer than all else, and who compares RDMs or writes them does not read them.
    """
    check_columns(rdm_df, [*REQUIRED_COLUMNS, *columns], argument=argument)
    if not rdm_df.columns.is_unique:
        twice = rdm_df.columns[rdm_df.columns.duplicated()].unique()
        raise ValueError(
            f"`{argument}` has more than one column {', '.join(map(repr, twice))}. Keep one."
        )
    rows = Rows(rdm_df.index, argument)
    matrices = [rows.checked(k, _as_matrix, m) for k, m in enumerate(rdm_df["matrix"].tolist())]
    keys = each_once(rows, as_keys, rdm_df["entry_keys"].tolist())
    for k, (matrix, row_keys) in enumerate(zip(matrices, keys, strict=True)):
        if len(matrix) != len(row_keys):
            rows.fail(
                k,
                f"has {len(row_keys)} entry_keys, but its matrix is {len(matrix)} x {len(matrix)}",
            )
    filled: dict[str, list[Any]] = {"matrix": matrices, "entry_keys": keys}
    filled["entry_labels"] = labels_of(rdm_df, rows, keys)
    if rank or "dissim_rankings" in rdm_df.columns:
        filled["dissim_rankings"] = _rankings(rdm_df, rows, matrices, rank)
    stack = rdm_df.copy(deep=False)
    for name in rdm_df.columns:
        if name not in filled and _base(name) in TUPLE_COLUMNS:
            filled[name] = [_as_tuple(cell) for cell in rdm_df[name].tolist()]
    for name, cells in filled.items():
        stack[name] = object_series(cells, stack.index)
    for name, default in (("perm", "orig_data"), ("df_name", "default_name")):
        if name not in rdm_df.columns:
            stack[name] = default
        elif rdm_df[name].isna().any():
            cells = rdm_df[name].tolist()
            gaps = rdm_df[name].isna().tolist()
            stack[name] = object_series(
                [default if gap else cell for cell, gap in zip(cells, gaps, strict=True)],
                stack.index,
            )
    return stack


def as_read(frame: pd.DataFrame, path: Any) -> pd.DataFrame:
    """Return the stack of a file, its matrices read-only; an error names the file."""
    try:
        checked = checked_stack(frame, argument="rdm_df")
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{path}' does not hold a stack of RDMs: {error}") from error
    frame["matrix"] = checked["matrix"]
    return frame


def check_row(rdm_df: Any, *, argument: str = "rdm_df") -> pd.Series:
    """Return the only row of a stack, completed, or raise and say what the rows differ in."""
    if isinstance(rdm_df, pd.Series):
        rdm_df = rdm_df.to_frame().T
    if isinstance(rdm_df, pd.DataFrame) and len(rdm_df) != 1:
        if len(rdm_df) == 0:
            raise ValueError(
                f"`{argument}` must have one row, and has none: no row passed the filter that made"
                " it."
            )
        raise ValueError(
            f"`{argument}` must have one row, and has {len(rdm_df)}, which differ in"
            f" {', '.join(differing(rdm_df)) or 'nothing'}. Take one with df_filter."
        )
    return check_rdm_stack(rdm_df, argument=argument).iloc[0]


def differing(rdm_df: pd.DataFrame) -> list[str]:
    """Name the columns that tell rows apart, the numbers in the matrices aside."""
    aside = ("matrix", "dissim_rankings", "perm_scramble")
    return [
        str(column)
        for column in rdm_df.columns
        if column not in aside and len(set(rdm_df[column].map(repr))) > 1
    ]


def greedy_orders(matrices: Sequence[np.ndarray]) -> list[tuple[int, ...]]:
    """Compute `greedy_order` of many matrices; those of one size go through it together."""
    orders: list[tuple[int, ...]] = [()] * len(matrices)
    by_size: dict[int, list[int]] = {}
    for k, matrix in enumerate(matrices):
        if len(matrix) > 1 and np.isfinite(matrix).all():
            by_size.setdefault(len(matrix), []).append(k)
        else:
            orders[k] = greedy_order(matrix)
    for n, members in by_size.items():
        # A few megabytes at a time, which stay in the processor's cache.
        step = max(1, 2**19 // n**2)
        for start in range(0, len(members), step):
            some = members[start : start + step]
            together = _greedy_together(np.stack([matrices[k] for k in some]))
            for k, order in zip(some, together.tolist(), strict=True):
                orders[k] = tuple(order)
    return orders


def _greedy_together(stacked: np.ndarray) -> np.ndarray:
    """Run the steps of `greedy_order` on finite matrices (m, n, n); orders (m, n)."""
    m, n, _ = stacked.shape
    dissims = stacked + stacked.transpose(0, 2, 1)
    dissims[:, range(n), range(n)] = -np.inf
    every = np.arange(m)
    orders = np.empty((m, n), dtype=np.intp)
    orders[:, 0], orders[:, 1] = np.divmod(dissims.reshape(m, -1).argmax(axis=1), n)
    totals = dissims[every, orders[:, 0]] + dissims[every, orders[:, 1]]
    for k in range(2, n):
        item = totals.argmax(axis=1)
        orders[:, k] = item
        # The diagonal takes the item itself out of the choice for good.
        totals += dissims[every, item]
    return orders


class Rows:
    """Names the row in the message of what is wrong with it."""

    def __init__(self, index: pd.Index, argument: str) -> None:
        self._index, self._argument = index, argument

    def fail(self, k: int, what: str, kind: type[Exception] = ValueError) -> None:
        """Raise; `what` goes on from the name of row `k`."""
        raise kind(
            f"`{self._argument}`: the row at position {k} (index {self._index[k]!r}) {what}."
        )

    def checked(self, k: int, func: Callable[..., Any], *args: Any) -> Any:
        """Call `func` for row `k`, whose name goes before the message of its error."""
        try:
            return func(*args)
        except (ValueError, TypeError) as error:
            self.fail(k, str(error), type(error))


def each_once(rows: Rows, func: Callable[[Any], Any], cells: list[Any]) -> list[Any]:
    """Apply `func` once to each object among the cells: rows of one image set share theirs."""
    done: dict[int, Any] = {}
    results = []
    for k, cell in enumerate(cells):
        if id(cell) not in done:
            done[id(cell)] = rows.checked(k, func, cell)
        results.append(done[id(cell)])
    return results


def _as_matrix(cell: Any) -> np.ndarray:
    if type(cell) is np.ndarray and cell.dtype == np.float64 and cell.ndim == 2:
        matrix = cell
    elif isinstance(cell, (np.ndarray, list, tuple, pd.DataFrame)):
        try:
            matrix = np.asarray(cell)
        except ValueError:
            raise ValueError(
                "must have one square matrix, and its lines differ in length"
            ) from None
        if matrix.dtype.kind not in "biuf":
            raise TypeError(f"must have a matrix of real numbers, not of {matrix.dtype}")
        matrix = np.asarray(matrix, dtype=np.float64)
    else:
        raise TypeError(f"must have a square numpy array in `matrix`, not {type(cell).__name__}")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        hint = "; scipy.spatial.distance.squareform unfolds a triangle" if matrix.ndim == 1 else ""
        raise ValueError(
            "must have a square array in `matrix`, n x n with n at least 1, not of shape"
            f" {matrix.shape}{hint}"
        )
    if matrix.flags.writeable:
        # The flag of a view: the caller's own array stays as it is.
        matrix = matrix.view()
        matrix.flags.writeable = False
    return matrix


def as_key(key: Any) -> tuple[Hashable, ...]:
    """Return an entry key as a tuple: a list as one, a single value as one of one."""
    if isinstance(key, (list, np.ndarray)):
        key = _as_tuple(key)
    key = key if isinstance(key, tuple) else (key,)
    try:
        hash(key)
    except TypeError:
        raise TypeError(
            f"has the entry key {key!r}, in which something cannot be compared by value;"
            " use strings, numbers and tuples"
        ) from None
    return key


def name_of(key: tuple[Hashable, ...]) -> Hashable:
    """Return an entry key of one part as that part, its inverse."""
    return key[0] if len(key) == 1 else key


def as_keys(cell: Any) -> tuple[tuple[Hashable, ...], ...]:
    """Return the entry keys of a row as a tuple of tuples."""
    if not isinstance(cell, (tuple, list, np.ndarray, pd.Index)):
        raise TypeError(
            "must have a tuple of tuples in `entry_keys`, one for each row of its matrix,"
            f" not {cell!r}"
        )
    if isinstance(cell, tuple) and all(type(key) is tuple for key in cell):
        keys = cell
    else:
        keys = tuple(map(as_key, cell))
    try:
        distinct = set(keys)
    except TypeError:
        distinct = {as_key(key) for key in keys}
    if len(distinct) < len(keys):
        twice = [key for key in distinct if keys.count(key) > 1]
        raise ValueError(f"has {in_words(twice)} more than once in its `entry_keys`")
    return keys


def labels_of(df: pd.DataFrame, rows: Rows, keys: list[Any]) -> list[Any]:
    """Return the entry labels of all rows, made of their keys where they are missing."""
    given = df["entry_labels"].tolist() if "entry_labels" in df.columns else [None] * len(df)
    made: dict[int, Any] = {}
    seen: dict[int, Any] = {}
    labels = []
    for k, (cell, row_keys) in enumerate(zip(given, keys, strict=True)):
        if _is_missing(cell):
            if id(row_keys) not in made:
                made[id(row_keys)] = tuple(map(_label_of, row_keys))
            labels.append(made[id(row_keys)])
            continue
        if id(cell) not in seen:
            if not isinstance(cell, (tuple, list)) or not all(isinstance(d, dict) for d in cell):
                rows.fail(
                    k, f"must have a tuple of dicts in `entry_labels`, not {cell!r}", TypeError
                )
            seen[id(cell)] = tuple(cell)
        if len(cell) != len(row_keys):
            rows.fail(k, f"has {len(row_keys)} entry_keys, but {len(cell)} entry_labels")
        labels.append(seen[id(cell)])
    return labels


def _label_of(key: tuple[Hashable, ...]) -> dict[str, Hashable]:
    if len(key) == 1:
        return {"entry": key[0]}
    return {f"entry_{number}": part for number, part in enumerate(key, start=1)}


def _rankings(df: pd.DataFrame, rows: Rows, matrices: list[np.ndarray], rank: bool) -> list[Any]:
    name = "dissim_rankings"
    rankings = df[name].tolist() if name in df.columns else [None] * len(df)
    missing = []
    for k, cell in enumerate(rankings):
        if _is_missing(cell):
            if rank:
                missing.append(k)
            continue
        if type(cell) is not tuple:
            cell = rankings[k] = _as_tuple(cell)
        if not isinstance(cell, tuple) or len(cell) != len(matrices[k]):
            rows.fail(
                k, f"must have the numbers 0 to {len(matrices[k]) - 1} in `{name}`, not {cell!r}"
            )
    for k, order in zip(missing, greedy_orders([matrices[k] for k in missing]), strict=True):
        rankings[k] = order
    return rankings


def _as_tuple(cell: Any) -> Any:
    """Turn lists and arrays into tuples, all the way down."""
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if isinstance(cell, list) or (
        type(cell) is tuple and any(isinstance(item, (list, tuple, np.ndarray)) for item in cell)
    ):
        items = tuple(map(_as_tuple, cell))
        # What is made of tuples already stays the same object, shared between rows.
        same = type(cell) is tuple and all(a is b for a, b in zip(items, cell, strict=True))
        return cell if same else items
    return cell


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell)


def _base(name: Hashable) -> Hashable:
    """Return the name of a column without the marks of its level."""
    return re.sub("(_sub)+$", "", name) if isinstance(name, str) else name
