"""Stacks cut to some of their entries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_sequence, in_words
from pytorch_feature_analysis.rdm_stack import Rows, as_key, check_rdm_stack, greedy_orders
from pytorch_feature_analysis.stack_schema import is_lineage


def subset_rdm_df(df: pd.DataFrame, entry_keys: Iterable[Any]) -> pd.DataFrame:
    """Keep the cells of each RDM whose entries are listed.

    Parameters
    ----------
    df : DataFrame
        A stack of RDMs; see `check_rdm_stack` for what is filled in. It is not changed.
    entry_keys : list of tuple
        The entries to keep. Their order here does not matter: they stay in the order that they
        have in each row. An entry named by a single string or number may stand without its tuple.

    Returns
    -------
    DataFrame
        A new stack with the same rows and index. Cut to the entries are `matrix`, `entry_keys`,
        `entry_labels`, and whatever else has one item per entry; `dissim_rankings` is computed
        anew from the smaller matrix.

    Raises
    ------
    ValueError
        An entry is in no row, or a row has none of the entries.

    See Also
    --------
    df_filter : Fewer rows.
    linkage_order : An order of entries.

    Notes
    -----
    `perm_scramble` tells how a row's matrix came from that of its 'orig_data' row. Where the
    scramble takes the kept entries among themselves (the identity does), it is renumbered to
    them. Where it does not, the cells come from pairs of entries that are no longer there, so
    that no scramble of what is left gives them: it becomes None. To get permutations of a subset,
    permute after taking the subset.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0.0, 1.0, 5.0])
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.abs(points[:, None] - points)],
    ...     "entry_keys": [(("left",), ("middle",), ("right",))],
    ... })
    >>> small = pfa.subset_rdm_df(stack, [("right",), ("left",)])
    >>> small.loc[0, "entry_keys"]
    (('left',), ('right',))
    >>> small.loc[0, "matrix"]
    array([[0., 5.],
           [5., 0.]])
    """
    stack = check_rdm_stack(df, argument="df")
    listed = check_sequence(entry_keys, argument="entry_keys", of="entry keys")
    wanted = {as_key(key) for key in listed}
    if not wanted:
        raise ValueError("`entry_keys` is empty; list the entries to keep.")
    known = dict.fromkeys(key for keys in _distinct(stack["entry_keys"]) for key in keys)
    unknown = [key for key in dict.fromkeys(map(as_key, listed)) if key not in known]
    if unknown and len(stack):
        raise ValueError(
            f"`entry_keys` lists {in_words(unknown)}, which no row of `df` has."
            f" The entries there are: {in_words(list(known), 20)}."
        )
    rows = Rows(stack.index, "df")
    kept: dict[int, tuple[int, ...]] = {}
    for k, keys in enumerate(stack["entry_keys"].tolist()):
        if id(keys) not in kept:
            kept[id(keys)] = tuple(i for i, key in enumerate(keys) if key in wanted)
        if not kept[id(keys)]:
            rows.fail(k, f"has none of the `entry_keys`; its own are {in_words(keys)}")
    positions = [kept[id(keys)] for keys in stack["entry_keys"].tolist()]
    cut: dict[str, list[Any]] = {
        "matrix": [_cut_matrix(m, p) for m, p in zip(stack["matrix"], positions, strict=True)]
    }
    for name in ("entry_keys", "entry_labels"):
        cut[name] = _cut_tuples(stack[name].tolist(), positions)
    cut |= _cut_levels_below(stack, positions)
    if "perm_scramble" in stack.columns:
        cut["perm_scramble"] = [
            _cut_scramble(scramble, p)
            for scramble, p in zip(stack["perm_scramble"].tolist(), positions, strict=True)
        ]
    cut["dissim_rankings"] = greedy_orders(cut["matrix"])
    for name, cells in cut.items():
        stack[name] = object_series(cells, stack.index)
    return stack


def _distinct(column: pd.Series) -> list[Any]:
    return list({id(cell): cell for cell in column.tolist()}.values())


def _cut_levels_below(
    stack: pd.DataFrame, positions: list[tuple[int, ...]]
) -> dict[str, list[Any]]:
    """Cut the entries of farther levels below where they differ from entry to entry.

    They are nested one deeper for each level between that differs: with labels k levels down
    inside k tuples, the outer tuple is over this level's entries.
    """
    cut: dict[str, list[Any]] = {}
    for name in stack.columns:
        level = name.count("_sub") if is_lineage(name) else 0
        if level < 2 or not name.startswith("entry_labels"):
            continue
        labels = stack[name].tolist()
        kept = [
            chosen if _depth(cell) == level else None
            for cell, chosen in zip(labels, positions, strict=True)
        ]
        cut[name] = _cut_tuples(labels, kept)
        keys = name.replace("labels", "keys", 1)
        if keys in stack.columns:
            cut[keys] = _cut_tuples(stack[keys].tolist(), kept)
    return cut


def _depth(cell: Any) -> int:
    """Count the tuples around the first thing in a cell that is none."""
    depth = 0
    while isinstance(cell, tuple) and cell:
        cell, depth = cell[0], depth + 1
    return depth


def _cut_matrix(matrix: np.ndarray, positions: tuple[int, ...]) -> np.ndarray:
    cut = matrix[np.ix_(positions, positions)]
    cut.flags.writeable = False
    return cut


def _cut_tuples(cells: list[Any], positions: Sequence[tuple[int, ...] | None]) -> list[Any]:
    """Take positions of each tuple, None for all; rows that shared one share its part."""
    done: dict[tuple[int, int], Any] = {}
    for cell, kept in zip(cells, positions, strict=True):
        if (id(cell), id(kept)) not in done:
            done[id(cell), id(kept)] = cell if kept is None else tuple(cell[i] for i in kept)
    return [done[id(cell), id(kept)] for cell, kept in zip(cells, positions, strict=True)]


def _cut_scramble(scramble: Any, positions: tuple[int, ...]) -> Any:
    if not isinstance(scramble, tuple):
        return scramble
    taken = tuple(scramble[i] for i in positions)
    if any(isinstance(item, tuple) for item in taken):
        # In a meta-RDM each entry has a scramble of its own, of the level below.
        return taken
    numbers = {position: number for number, position in enumerate(positions)}
    if not set(taken) <= set(numbers):
        return None
    return tuple(numbers[position] for position in taken)
