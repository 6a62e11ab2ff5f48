"""Similarity of networks over all of their layers, or groups of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_count, check_free, check_name, check_sequence
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.rdm_stack import checked_stack, greedy_orders, in_words
from pytorch_feature_analysis.regroup import (
    Group,
    align,
    check_grouping,
    check_variables,
    is_scramble,
    make_groups,
    row_keys,
)
from pytorch_feature_analysis.similarity_tables import check_each_once
from pytorch_feature_analysis.stack_schema import is_lineage

# None for all layers that there are.
_Groups = Mapping[Any, list[EntryKey] | None]


def get_net_similarity(
    rdm_df: pd.DataFrame,
    layer_groups: Mapping[Any, Sequence[Any]] | None = None,
    *,
    layer_variable: str = "layer",
) -> pd.DataFrame:
    """Mean over layers: how alike networks are as a whole, or in groups of their layers.

    S_N, the net similarity, is the mean of the layers' similarities. The result is a stack again,
    whose matrices are means of dissimilarities: 1 - S_N where the measure is a similarity, which
    `to_similarity` and `similarity_table` give back.

    Parameters
    ----------
    rdm_df : DataFrame
        Matrices of networks by networks, a row a layer, as of `get_similarity_rdms` with
        ``entry_variables=['model']``. It is not changed.
    layer_groups : dict of str to list, optional
        Names of groups, and the layers of each, which may overlap: see `grid_groups`. Default one
        group ``'all'``, of all layers.
    layer_variable : str, default 'layer'
        The column that names the layer.

    Returns
    -------
    DataFrame
        A row for each group of layers, and for each measure and whatever else tells the rows of
        `rdm_df` apart. In place of the layer it has

        layer_group : str
            The name of the group.
        group_layers : tuple
            The layers whose mean it is.

        Columns that say something of a single layer (its depth) are left out.

    Raises
    ------
    ValueError
        A group names a layer that is not there, or one twice; a layer has two rows of a measure,
        or is of other networks than the others.

    See Also
    --------
    similarity_table : A row as a table.
    grid_groups : Groups of layers.

    Notes
    -----
    Entries are matched by their keys, whatever their order in a layer. A cell that is NaN in one
    layer is NaN in the mean: to leave the layer out, name the others in `layer_groups`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "fc1"],
    ...     "dissim_metric": "svcca",
    ...     "matrix": [np.array([[0, d], [d, 0]]) for d in (0.1, 0.3, 0.8)],
    ...     "entry_keys": [["odd or even", "prime"]] * 3,
    ... })
    >>> net = pfa.get_net_similarity(stack, {"all": ["conv1", "conv2", "fc1"], "late": ["fc1"]})
    >>> net["layer_group"].tolist(), [f"{matrix[0, 1]:.1f}" for matrix in net["matrix"]]
    (['all', 'late'], ['0.4', '0.8'])
    """
    checked = checked_stack(rdm_df, columns=[layer_variable], argument="rdm_df")
    if checked.empty:
        raise ValueError("`rdm_df` has no rows, so there are no layers.")
    (layer_variable,) = check_variables(checked, [layer_variable], argument="layer_variable")
    keys = row_keys(checked, [layer_variable])
    groups = _check_layer_groups(layer_groups, keys)
    grouping = check_grouping(checked, list(rdm_df.columns), [layer_variable], "rest")
    check_free(grouping, ("layer_group", "group_layers"), argument="rdm_df")
    wanted = {key for layers in groups.values() for key in layers or keys}
    means, firsts = [], []
    for rows in make_groups(checked, keys, grouping, wanted):
        check_each_once(checked, rows)
        orders = align(rows, checked["entry_keys"].tolist(), checked["entry_labels"].tolist())
        matrices = [
            matrix if order is None else matrix[np.ix_(order, order)]
            for matrix, order in zip(checked["matrix"].iloc[rows.positions], orders, strict=True)
        ]
        for name, layers in groups.items():
            places = _places(name, layers, rows)
            means.append(_mean_row(checked, name, rows, places, [matrices[k] for k in places]))
            firsts.append(rows.positions[0])
    order = ["layer_group", "group_layers", *grouping, *means[0]]
    columns = {name: object_series([mean[name] for mean in means]) for name in means[0]}
    columns["layer_group"] = pd.Series([mean["layer_group"] for mean in means])
    columns["dissim_rankings"] = object_series(list(greedy_orders(list(columns["matrix"]))))
    for name in grouping:
        # Taken from the column itself, to keep its dtype.
        columns[name] = checked[name].iloc[firsts].reset_index(drop=True)
    return pd.DataFrame({name: columns[name] for name in dict.fromkeys(order)})


def grid_groups(layers: Sequence[Any], heads: Sequence[Any] | int) -> dict[str, list[Any]]:
    """Name the rows and the heads of a grid of layers: groups for `get_net_similarity`.

    In networks that are built as a grid, the layers of one row follow one another, with one layer
    for each head: ``layer = first + n_heads * row + head``.

    Parameters
    ----------
    layers : list
        All layers of the grid in their order, row by row, such as ``range(4, 24)``.
    heads : list or int
        Names of the heads, or how many there are.

    Returns
    -------
    dict of str to list
        ``'row 1'`` and so on, the layers of each row; then the name of each head (``'head 1'`` and
        so on, where only their number is given), and its layers in all rows.

    See Also
    --------
    get_net_similarity : Takes the groups.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> groups = pfa.grid_groups(range(4, 10), ["revenue", "churn", "returns"])
    >>> groups["row 1"], groups["row 2"], groups["revenue"]
    ([4, 5, 6], [7, 8, 9], [4, 7])
    """
    listed = check_sequence(layers, argument="layers", of="layers")
    if isinstance(heads, (int, np.integer)):
        n_heads = check_count(heads, argument="heads")
        names = [f"head {number}" for number in range(1, n_heads + 1)]
    else:
        names = check_sequence(heads, argument="heads", of="names")
    if not listed or not names or len(listed) % len(names):
        raise ValueError(
            f"`layers` are {len(listed)} and `heads` {len(names)}: a grid has a layer of each head"
            " in each row, so that the number of layers is a multiple of that of heads."
        )
    n_rows = len(listed) // len(names)
    groups = {
        f"row {row + 1}": listed[row * len(names) : (row + 1) * len(names)]
        for row in range(n_rows)
    }
    twice = [name for k, name in enumerate(names) if name in groups or name in names[:k]]
    if twice:
        raise ValueError(
            f"`heads` names {in_words(twice)}, which is the name of another group; rename it."
        )
    return groups | {name: listed[head :: len(names)] for head, name in enumerate(names)}


def _check_layer_groups(layer_groups: Any, keys: Sequence[EntryKey]) -> _Groups:
    """Layers of each group as keys; None stands for all."""
    if layer_groups is None:
        return {"all": None}
    if not isinstance(layer_groups, Mapping):
        raise TypeError(
            f"`layer_groups` must be a dict from names to lists of layers, not {layer_groups!r}."
        )
    if not layer_groups:
        raise ValueError("`layer_groups` is empty; name a group, or leave it out for all layers.")
    known = dict.fromkeys(layer for (layer,) in keys)
    groups: dict[Any, list[EntryKey] | None] = {}
    for name, layers in layer_groups.items():
        argument = f"layer_groups[{name!r}]"
        listed = check_sequence(layers, argument=argument, of="layers")
        listed = [tuple(layer) if isinstance(layer, list) else layer for layer in listed]
        if not listed:
            raise ValueError(f"`{argument}` is empty; list its layers, or leave the group out.")
        for layer in listed:
            check_name(layer, known, argument=argument, what="layer", owner=" of `rdm_df`")
        if len(set(listed)) < len(listed):
            twice = [layer for layer in dict.fromkeys(listed) if listed.count(layer) > 1]
            raise ValueError(f"`{argument}` names {in_words(twice)} more than once.")
        groups[name] = [(layer,) for layer in listed]
    return groups


def _places(name: Any, layers: list[EntryKey] | None, rows: Group) -> list[int]:
    """Where the layers of a group are among the rows."""
    if layers is None:
        return list(range(len(rows.positions)))
    found = {key: place for place, key in enumerate(rows.entry_keys)}
    lacking = [layer for (layer,) in layers if (layer,) not in found]
    if lacking:
        raise ValueError(
            f"`layer_groups[{name!r}]` names {in_words(lacking)}, of which there is no row"
            f"{rows.name}; there are {in_words([layer for (layer,) in found], 20)}. Leave the"
            " layers out, or filter the stack first."
        )
    return [found[key] for key in layers]


def _mean_row(
    stack: pd.DataFrame,
    name: Any,
    rows: Group,
    places: Sequence[int],
    matrices: Sequence[np.ndarray],
) -> dict[str, Any]:
    """Return what a row of the result has beside its grouping variables."""
    mean = np.mean(matrices, axis=0)
    mean.flags.writeable = False
    row = {
        "layer_group": name,
        "group_layers": tuple(rows.entry_keys[k][0] for k in places),
        "matrix": mean,
    }
    positions = [rows.positions[k] for k in places]
    for column in stack.columns:
        if column in ("entry_keys", "entry_labels"):
            row[column] = stack[column].iloc[rows.positions[0]]
        elif is_lineage(column) or is_scramble(column):
            # What the layers do not share is not that of their mean.
            cells = stack[column].iloc[positions].tolist()
            row[column] = cells[0] if all(cell == cells[0] for cell in cells) else None
    return row | {"dissim_rankings": None}
