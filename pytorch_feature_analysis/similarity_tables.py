"""Tables of similarity: networks by networks, and layers by networks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_columns, check_name
from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.rdm_stack import (
    as_key,
    check_row,
    checked_stack,
    differing,
    in_words,
    name_of,
)
from pytorch_feature_analysis.regroup import (
    Group,
    align,
    check_variables,
    make_groups,
    row_keys,
)
from pytorch_feature_analysis.similarity import Measure


def similarity_table(rdm_df: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Write one row of a stack as a table of similarities: networks by networks.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, or that row: of `get_net_similarity`, say, or one layer of
        `get_similarity_rdms`. It is not changed.

    Returns
    -------
    DataFrame
        (n, n), named by the entries on both sides. Similarities ``s`` where the matrix holds
        ``1 - s``, and 1 is the same; the distances themselves where the measure is a distance, or
        not known, and 0 is the same. Of a measure that is not symmetric, it is from the row to the
        column.

    See Also
    --------
    layerwise_table : All networks beside one, layer by layer.
    style_similarity : Colours it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dissim_metric": ["svcca"],
    ...     "matrix": [np.array([[0, 0.25], [0.25, 0]])],
    ...     "entry_keys": [["digit", "prime"]],
    ... })
    >>> pfa.similarity_table(stack)
    entry  digit  prime
    entry
    digit   1.00   0.75
    prime   0.75   1.00
    """
    row = check_row(rdm_df)
    check_columns(pd.DataFrame(columns=row.index), ["dissim_metric"], argument="rdm_df")
    index = _entry_index(row["entry_keys"], row["entry_labels"])
    values, _ = compared_values(row["matrix"], row["dissim_metric"], argument="rdm_df")
    return pd.DataFrame(np.array(values), index=index, columns=index)


def layerwise_table(
    rdm_df: pd.DataFrame, target: Any, *, layer_variable: str = "layer"
) -> pd.DataFrame:
    """Tell how alike all networks are to one of them, layer by layer.

    Its column means are the net similarities to the target, see `get_net_similarity`.

    Parameters
    ----------
    rdm_df : DataFrame
        Matrices of networks by networks by one measure, a row a layer. It is not changed.
    target : str or tuple
        The entry that all are compared with; its key, which may stand without its tuple.
    layer_variable : str, default 'layer'
        The column that names the layer: 'layer_group' for a stack of `get_net_similarity`.

    Returns
    -------
    DataFrame
        A row a layer, in the order of `rdm_df`, and a column a network, the target among them, in
        the order of the first row. Similarities or distances, as in `similarity_table`; of a
        measure that is not symmetric, from the network to the target.

    Raises
    ------
    ValueError
        No entry is called `target`; a layer has several rows; the layers are of other networks.

    See Also
    --------
    get_net_similarity : The mean over layers.
    similarity_table : All networks by all, of one layer.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "fc1"],
    ...     "dissim_metric": "svcca",
    ...     "matrix": [np.array([[0, d], [d, 0]]) for d in (0.25, 0.75)],
    ...     "entry_keys": [["digit", "prime"]] * 2,
    ... })
    >>> pfa.layerwise_table(stack, "prime")
    entry  digit  prime
    layer
    conv1   0.75    1.0
    fc1     0.25    1.0
    """
    checked = checked_stack(rdm_df, columns=[layer_variable, "dissim_metric"], argument="rdm_df")
    if checked.empty:
        raise ValueError("`rdm_df` has no rows, so there are no layers.")
    (layer_variable,) = check_variables(checked, [layer_variable], argument="layer_variable")
    keys = row_keys(checked, [layer_variable])
    (rows,) = make_groups(checked, keys, [], set(keys))
    check_each_once(checked, rows)
    measures = list(dict.fromkeys(checked["dissim_metric"]))
    if len(measures) > 1:
        raise ValueError(
            f"`rdm_df` has layers by {in_words(measures)}, which do not go into one table; take"
            " one with `df_filter`."
        )
    orders = align(rows, checked["entry_keys"].tolist(), checked["entry_labels"].tolist())
    entries = checked["entry_keys"].iloc[0]
    check_name(
        name_of(as_key(target)),
        [name_of(key) for key in entries],
        argument="target",
        what="entry",
        owner=" of `rdm_df`",
    )
    place = entries.index(as_key(target))
    lines = []
    for matrix, order in zip(checked["matrix"], orders, strict=True):
        values, _ = compared_values(matrix, measures[0], argument="rdm_df")
        lines.append(values[:, place] if order is None else values[order, order[place]])
    return pd.DataFrame(
        np.array(lines),
        index=pd.Index([key[0] for key in keys], name=layer_variable, tupleize_cols=False),
        columns=_entry_index(entries, checked["entry_labels"].iloc[0]),
    )


def compared_values(
    matrix: np.ndarray, dissim_metric: Any, *, argument: str, measures: Iterable[Measure] = ()
) -> tuple[np.ndarray, str]:
    """Similarities where the measure is one, distances as they are, and which it is."""
    if direction_of(dissim_metric, measures) != "similarity":
        return matrix, "distance"
    diagonal = np.diag(matrix)
    if (diagonal[np.isfinite(diagonal)] == 1).all() and np.isfinite(diagonal).any():
        raise ValueError(
            f"`{argument}` holds similarities by {dissim_metric!r}, whose diagonals are 1; give"
            " the dissimilarities, as they were before `to_similarity`."
        )
    return 1 - matrix, "similarity"


def check_each_once(stack: pd.DataFrame, rows: Group) -> None:
    """Raise if a layer has several rows, and say what they differ in."""
    for key in dict.fromkeys(rows.entry_keys):
        found = [k for k, own in zip(rows.positions, rows.entry_keys, strict=True) if own == key]
        if len(found) > 1:
            columns = differing(stack.iloc[found])
            raise ValueError(
                f"`rdm_df` has {len(found)} rows of {key[0]!r}{rows.name}, which differ in"
                f" {', '.join(columns) or 'nothing but the matrix'}. Take one with `df_filter`."
            )


def _entry_index(keys: Sequence[EntryKey], labels: Sequence[Mapping[str, Any]]) -> pd.Index:
    """Name the lines of a table by the entries: one level for each part of their keys."""
    names: list[Hashable] = list(labels[0])
    widths = {len(key) for key in keys}
    if widths == {1}:
        values = [key[0] for key in keys]
        return pd.Index(values, name=names[0] if len(names) == 1 else None, tupleize_cols=False)
    if len(widths) > 1:
        return pd.Index(list(keys), tupleize_cols=False)
    return pd.MultiIndex.from_tuples(keys, names=names if {len(names)} == widths else None)


def numbers_of(table: pd.DataFrame, *, argument: str, what: str = "numbers") -> np.ndarray:
    """Values of a table as float64, missing ones NaN; or raise, and say `what` it must hold."""
    wrong = [
        column
        for column, dtype in table.dtypes.items()
        if not pd.api.types.is_numeric_dtype(dtype)
    ]
    if wrong:
        raise TypeError(
            f"`{argument}` must hold {what}, but its columns {in_words(wrong)} hold something"
            " else."
        )
    return table.to_numpy(dtype=np.float64, na_value=np.nan)
