"""Model RDMs: what the dissimilarities would be by categories, ratings or a theory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_columns, check_free, check_name
from pytorch_feature_analysis.rdm_stack import as_keys, check_rdm_stack, in_words

_KINDS = ("numbers", "ranks", "categories")
_OWN = ("matrix", "entry_keys", "entry_labels", "perm", "df_name", "dissim_rankings")


def categorical_rdm(
    labels: Mapping[Any, Any] | pd.Series | Sequence[Any],
    *,
    entry_keys: Sequence[Any] | None = None,
    name: str = "category",
    within: float = 0.0,
    between: float = 1.0,
) -> pd.DataFrame:
    """Model RDM of categories: entries of the same one are alike, all others are not.

    Parameters
    ----------
    labels : dict, Series or sequence
        The category of each entry: by entry key (a dict, or a Series with keys as its index), or a
        sequence in the order of `entry_keys`.
    entry_keys : sequence, optional
        The entries, where `labels` is a sequence; default the numbers from 0.
    name : str, default 'category'
        What the model is called, in the column ``name``.
    within, between : float, default 0 and 1
        Dissimilarity of entries of the same category, and of different ones.

    Returns
    -------
    DataFrame
        A stack of one row with ``name``, ``matrix``, ``entry_keys`` and what `check_rdm_stack`
        fills in. Entries without a category (None, NaN) have no dissimilarities (NaN).

    Raises
    ------
    ValueError
        Fewer than two categories; more labels than keys, or fewer.

    See Also
    --------
    rdm_from_features : Model RDMs of numbers and ranks.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pfa.categorical_rdm({"cat": "animal", "dog": "animal", "cup": "tool"})
    >>> stack["matrix"][0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    values, keys = _labelled(labels, entry_keys)
    column = pd.Series(values, dtype=object)
    if column.nunique() < 2:
        raise ValueError(
            f"`labels` has {column.nunique()} categories, and a model needs two to tell apart."
        )
    matrix = _different(column)
    matrix = np.where(np.isnan(matrix), np.nan, within + (between - within) * matrix)
    np.fill_diagonal(matrix, 0)
    return stack_from_matrices({name: matrix}, keys)


def rdm_from_features(
    table: pd.DataFrame,
    columns: Sequence[str] | str | None = None,
    *,
    kinds: Mapping[str, str] | None = None,
    together: bool = False,
    name: str = "features",
) -> pd.DataFrame:
    """Model RDMs of what is known of the entries: ratings, sizes, ranks, categories.

    Parameters
    ----------
    table : DataFrame
        A row an entry, whose key is the index (several levels make keys of several parts). It is
        not changed.
    columns : list of str or str, optional
        Which of its columns; default all.
    kinds : dict of str to str, optional
        By column 'numbers' (dissimilarity is the absolute difference), 'ranks' (that of ranks,
        ties sharing their mean) or 'categories' (0 in the same one, 1 otherwise). Default numbers
        for columns of numbers, ranks for ordered categoricals, and else categories.
    together : bool, default False
        Make one RDM of all columns, the Euclidean distance: the root of the sum of squares of
        what single columns give, each divided by its largest value.
    name : str, default 'features'
        What the model of all columns is called.

    Returns
    -------
    DataFrame
        A stack with a row a column, which is its ``name``, or one row with `together`. Entries
        without a value (NaN) have no dissimilarities.

    Raises
    ------
    ValueError
        Columns or kinds that are not there; a column that is the same for all entries.
    TypeError
        A column of other things than numbers as numbers.

    See Also
    --------
    categorical_rdm : Of one variable of categories.
    compare_to_reference : Takes the stack, as reference or as rows.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> table = pd.DataFrame(
    ...     {"size": [1.0, 2.0, 5.0], "kind": ["x", "x", "y"]}, index=["ant", "bee", "cow"]
    ... )
    >>> stack = pfa.rdm_from_features(table)
    >>> stack["name"].tolist(), stack["matrix"][0][0].tolist(), stack["matrix"][1][0].tolist()
    (['size', 'kind'], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0])
    """
    if isinstance(columns, str):
        columns = [columns]
    check_columns(table, columns or (), argument="table")
    names = list(table.columns) if columns is None else list(columns)
    if not names:
        raise ValueError("`table` has no columns, so there is nothing to make RDMs of.")
    for column, kind in (kinds or {}).items():
        check_name(column, names, argument="kinds", what="column")
        check_name(kind, _KINDS, argument="kinds", what="kind")
    keys = as_keys(tuple(table.index.tolist()))
    matrices = {
        column: _of_column(table[column], (kinds or {}).get(column) or _kind_of(table[column]))
        for column in names
    }
    if not together:
        return stack_from_matrices(matrices, keys)
    squares = [(matrix / np.nanmax(matrix)) ** 2 for matrix in matrices.values()]
    return stack_from_matrices({name: np.sqrt(np.sum(squares, axis=0))}, keys)


def stack_from_matrices(
    matrices: Mapping[Any, Any], entry_keys: Sequence[Any], **columns: Any
) -> pd.DataFrame:
    """Make a stack of matrices that all have the same entries.

    Parameters
    ----------
    matrices : dict of name to array-like (n_entries, n_entries)
        The RDMs, by their names, which go into the column ``name``.
    entry_keys : sequence
        The entries, in the order of rows and columns: single values or tuples.
    **columns
        Further columns: one value for all rows, or a list with one a row.

    Returns
    -------
    DataFrame
        A stack, as of `check_rdm_stack`.

    Raises
    ------
    ValueError
        Matrices that are not square, or have another size than there are keys; keys that come
        twice; columns of another length.

    See Also
    --------
    check_rdm_stack : Checks and completes a frame of your own.

    Examples
    --------
    >>> import numpy as np
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pfa.stack_from_matrices(
    ...     {"s1": np.eye(3) < 1, "s2": 2 * (np.eye(3) < 1)}, ["a", "b", "c"], region="IT"
    ... )
    >>> stack[["name", "region"]].to_numpy().tolist()
    [['s1', 'IT'], ['s2', 'IT']]
    """
    if not isinstance(matrices, Mapping) or not matrices:
        raise TypeError(
            f"`matrices` must be a dict from names to matrices, not {type(matrices).__name__}."
        )
    n_rows = len(matrices)
    frame: dict[str, Any] = {"name": list(matrices)}
    check_free(columns, ["name", *_OWN], argument="columns")
    for column, given in columns.items():
        values = given if isinstance(given, (list, tuple, np.ndarray, pd.Series)) else None
        if values is not None and len(values) != n_rows:
            raise ValueError(
                f"`{column}` has {len(values)} values, and there are {n_rows} matrices."
            )
        frame[column] = [given] * n_rows if values is None else list(values)
    frame["matrix"] = object_series([np.array(one, dtype=np.float64) for one in matrices.values()])
    frame["entry_keys"] = object_series([as_keys(tuple(entry_keys))] * n_rows)
    return check_rdm_stack(pd.DataFrame(frame), argument="matrices")


def _labelled(
    labels: Any, entry_keys: Sequence[Any] | None
) -> tuple[list[Any], tuple[tuple[Any, ...], ...]]:
    if isinstance(labels, pd.Series) and entry_keys is None:
        return labels.tolist(), as_keys(tuple(labels.index.tolist()))
    if isinstance(labels, Mapping):
        if entry_keys is not None:
            raise ValueError("`entry_keys` are those of the dict `labels`; leave them out.")
        return list(labels.values()), as_keys(tuple(labels))
    if isinstance(labels, (str, bytes)):
        raise TypeError(
            f"`labels` must be a dict or a sequence with a label an entry: {labels!r}."
        )
    values = list(labels)
    keys = as_keys(tuple(range(len(values)) if entry_keys is None else entry_keys))
    if len(keys) != len(values):
        raise ValueError(f"`labels` has {len(values)} labels, and there are {len(keys)} entries.")
    return values, keys


def _kind_of(column: pd.Series) -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "ranks" if column.dtype.ordered else "categories"
    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return "numbers" if is_number else "categories"


def _of_column(column: pd.Series, kind: str) -> np.ndarray:
    if kind == "categories":
        matrix = _different(column)
    else:
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.cat.codes.where(column.notna()).astype(float)
        if not pd.api.types.is_numeric_dtype(column):
            raise TypeError(
                f"`table` must have numbers in {column.name!r} for the kind {kind!r}, not"
                f" {column.dtype}; make it an ordered Categorical, or take 'categories'."
            )
        values = (column.rank() if kind == "ranks" else column).to_numpy(dtype=float)
        matrix = np.abs(values[:, None] - values)
    if not np.nanmax(matrix, initial=0) > 0:
        raise ValueError(
            f"`table` has the same value in {column.name!r} for all entries; leave it out:"
            f" {in_words(column.unique())}."
        )
    np.fill_diagonal(matrix, 0)
    return matrix


def _different(column: pd.Series) -> np.ndarray:
    """1 for entries of different values, 0 for those of the same, NaN where there is none."""
    codes = pd.factorize(column)[0]
    matrix = (codes[:, None] != codes).astype(float)
    matrix[(codes < 0)[:, None] | (codes < 0)] = np.nan
    return matrix
