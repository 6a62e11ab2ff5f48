"""What a stack is made of, from the stimuli up to its rows: one row per order."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.lineage_words import sentence
from pytorch_feature_analysis.metric_words import are_measures
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.regroup import DERIVED, label_columns, telling_columns
from pytorch_feature_analysis.stack_schema import is_reserved

_OBJECTS = ("told_apart_by", "of", "entry_variables", "metrics")
# Of `get_consistency_rdms`: they tell its own rows apart, and nothing below.
_OF_PAIRS_OF_SETS = ("by", "set_1", "set_2")


def stack_lineage(rdm_df: pd.DataFrame | pd.Series) -> pd.DataFrame:
    """Tell what the RDMs of a stack are made of, order by order, from the stimuli up.

    The entries of first-order RDMs are stimuli; those of second-order RDMs, as of
    `get_meta_rdms`, are first-order RDMs; and so on up to the rows of this stack. What is below
    is read from the columns that end in ``_sub``.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of any order, or a row of it. It is not changed.

    Returns
    -------
    DataFrame
        One row per order, with the columns

        order : int
            0 for the stimuli, 1 for RDMs of these, 2 for RDMs of RDMs; the last is this stack's.
        count : int
            How many there are. Stimuli that have the same labels count once, also where the RDMs
            of several image sets have each their own; shuffled RDMs are not counted.
        told_apart_by : dict
            What they differ in: ``{variable: number of values}``. Variables of the entries of the
            next order stand first.
        of : dict
            What they have in common: ``{variable: value}``, such as the only network.
        entry_variables : dict
            What the entries of each RDM are told apart by, likewise; empty for stimuli.
        fewest_entries, most_entries : Int64
            How many entries an RDM has; missing for stimuli.
        metrics : tuple of str
            By which entries were compared; empty where the stack does not say.
        num_perms : int
            How many shuffles there are of each RDM, beside the data as they are.
        in_words : str
            All of it, as for the methods of a paper.

    See Also
    --------
    plot_stack_graph : The same as a figure.
    methods_text : The same as a paper's methods section.
    get_meta_rdms : Makes a stack one order higher.

    Notes
    -----
    A metric that is no grouping variable of the order above is not recorded there. What makes RDMs
    of one order different, such as two metrics, is counted at that order alone.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "fc1"],
    ...     "dissim_metric": "corr",
    ...     "matrix": [pfa.compute_rdm(rng.normal(size=(4, 9))) for _ in range(3)],
    ...     "entry_keys": [list("abcd")] * 3,
    ... })
    >>> meta = pfa.get_meta_rdms(stack, None, ["layer"], progress=False)
    >>> lineage = pfa.stack_lineage(meta)
    >>> lineage[["order", "count", "told_apart_by", "most_entries", "metrics"]]
       order  count  told_apart_by  most_entries  metrics
    0      0      4   {'entry': 4}          <NA>       ()
    1      1      3   {'layer': 3}             4  (corr,)
    2      2      1             {}             3  (corr,)
    """
    if isinstance(rdm_df, pd.Series):
        rdm_df = rdm_df.to_frame().T
    stack = checked_stack(rdm_df)
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to tell.")
    levels = _levels(stack)
    rows = [_stimuli(levels), *(_rdms(stack, levels, k + 1) for k in range(len(levels)))]
    lineage = pd.DataFrame({name: _column(name, [row[name] for row in rows]) for name in rows[0]})
    told = [row for _, row in lineage.iterrows()]
    lineage["in_words"] = [
        sentence(row, below, above)
        for row, below, above in zip(told, [None, *told], [*told[1:], None], strict=False)
    ]
    return lineage


def order_of(stack: pd.DataFrame) -> int:
    """Give the order of the RDMs of a stack that was checked, 1 for those of stimuli."""
    return len(_levels(stack))


def _column(name: str, cells: list[Any]) -> pd.Series:
    if name in ("fewest_entries", "most_entries"):
        return pd.Series(cells, dtype="Int64")
    return object_series(cells) if name in _OBJECTS else pd.Series(cells)


def _levels(stack: pd.DataFrame) -> list[list[Any]]:
    """Entry labels of all rows at each order, from that of the stack down to the stimuli."""
    levels, name = [], "entry_labels"
    while name in stack.columns and all(isinstance(cell, tuple) for cell in stack[name]):
        levels.append(stack[name].tolist())
        name = f"{name}_sub"
    return levels


def _stimuli(levels: Sequence[Sequence[Any]]) -> dict[str, Any]:
    leaves = {id(leaf): leaf for cell in levels[-1] for leaf in _leaves(cell)}
    labels = {frozen(label): label for leaf in leaves.values() for label in leaf}
    values: dict[str, dict[Hashable, Any]] = {}
    for label in labels.values():
        _note(values, label.items())
    return _row(0, len(labels), values)


def _rdms(stack: pd.DataFrame, levels: Sequence[Sequence[Any]], order: int) -> dict[str, Any]:
    """Describe the RDMs of an order, which those above have among their entries."""
    above = len(levels) - order
    named = {name: _as_of(name, above) for name in label_columns(stack) if not _is_perm(name)}
    names = {name: plain for name, plain in named.items() if plain}
    are_patterns = above > 0 and are_measures(
        tuple(_made(stack, "dissim_metric", above - 1).values())
    )
    if are_patterns:
        # A metric is of RDMs that a measure makes of them for itself.
        names = {name: plain for name, plain in names.items() if plain != "dissim_metric"}
    if above and set(_OF_PAIRS_OF_SETS) <= set(names):
        names = {name: plain for name, plain in names.items() if name not in _OF_PAIRS_OF_SETS}
    cells_of = [[frozen(value) for value in stack[name]] for name in names]
    groups = list(zip(*cells_of, strict=True)) if names else [()] * len(stack)
    found: set[Hashable] = set()
    values: dict[str, dict[Hashable, Any]] = {}
    for group, cells in _each_once(groups, levels[:above]):
        for path in _paths(cells):
            labels = [_label_as_of(label, k) for k, label in enumerate(reversed(path))]
            found.add((group, frozen(labels)))
            for label in labels:
                _note(values, label.items())
    told = telling_columns(stack, list(names))
    for name in dict.fromkeys([*told, *names]):
        is_single = len(set(map(frozen, stack[name]))) == 1
        if name in told or (is_single and name not in DERIVED and not is_reserved(name)):
            _note(values, ((names[name], value) for value in stack[name]))
    metrics = _made(stack, "dissim_metric", above) or values.get("dissim_metric", {})
    metrics = {} if are_patterns else metrics
    shuffles = set(_made(stack, "perm", above)) - {"orig_data"}
    # Rows are RDMs of their own, also where nothing tells them apart.
    count = len(found) if above else int((stack["perm"] == "orig_data").sum()) or len(found)
    leaves = {id(leaf): leaf for cell in levels[above] for leaf in _leaves(cell)}
    entries: dict[str, dict[Hashable, Any]] = {}
    for of_entry in (label for leaf in leaves.values() for label in leaf):
        _note(entries, of_entry.items())
    sizes = {len(leaf) for leaf in leaves.values()}
    return _row(order, count, values, entries, sizes, tuple(metrics.values()), len(shuffles))


def _row(
    order: int,
    count: int,
    values: Mapping[str, Mapping[Hashable, Any]],
    entries: Mapping[str, Mapping[Hashable, Any]] = MappingProxyType({}),
    sizes: Collection[int] = (),
    metrics: tuple[Any, ...] = (),
    num_perms: int = 0,
) -> dict[str, Any]:
    return {
        "order": order,
        "count": count,
        "told_apart_by": {name: len(of) for name, of in values.items() if len(of) > 1},
        "of": {name: next(iter(of.values())) for name, of in values.items() if len(of) == 1},
        "entry_variables": {str(name): len(of) for name, of in entries.items()},
        "fewest_entries": min(sizes, default=None),
        "most_entries": max(sizes, default=None),
        "metrics": tuple(map(str, metrics)),
        "num_perms": num_perms,
    }


def _as_of(name: Hashable, above: int) -> str | None:
    """Name of a column as so many orders below have it; None for what is above these."""
    if not is_reserved(name):
        return str(name)
    mark = "_sub" * above
    return str(name).removesuffix(mark) if str(name).endswith(mark) else None


def _label_as_of(label: Mapping[str, Any], above: int) -> dict[str, Any]:
    plain = {_as_of(name, above): value for name, value in label.items()}
    return {name: value for name, value in plain.items() if name}


def _is_perm(name: Hashable) -> bool:
    return is_reserved(name) and str(name).startswith("perm")


def _made(stack: pd.DataFrame, name: str, above: int) -> dict[Hashable, Any]:
    """Values of a column of an order below, where they are recorded."""
    column = f"{name}{'_sub' * above}"
    cells = stack[column].tolist() if column in stack.columns else []
    return {key: cell for cell in cells if (key := frozen(cell)) is not None}


def _note(values: dict[str, dict[Hashable, Any]], labels: Iterable[tuple[str, Any]]) -> None:
    for name, value in labels:
        values.setdefault(str(name), {}).setdefault(frozen(value), value)


def _each_once(
    groups: Sequence[Hashable], levels: Sequence[Sequence[Any]]
) -> Iterator[tuple[Hashable, tuple[Any, ...]]]:
    """Give groups with their entries at all levels; rows of other metrics share theirs."""
    seen = set()
    for k, group in enumerate(groups):
        cells = tuple(level[k] for level in levels)
        # Cells of equal rows are equal, and mostly the same objects.
        known = group, frozen(cells)
        if known not in seen:
            seen.add(known)
            yield group, cells


def _paths(cells: Sequence[Any]) -> Iterator[tuple[Mapping[str, Any], ...]]:
    """Give the labels of an entry, of an entry of that entry, and so on down, in all ways."""
    if not cells:
        yield ()
        return
    first, *below = cells
    entries = [label for leaf in _leaves(first) for label in leaf]
    for k, label in enumerate(entries):
        # Where the entries differ in what is below, there is a tuple with one for each.
        own = [
            cell[k] if not _is_leaf(cell) and len(cell) == len(entries) else cell for cell in below
        ]
        for path in _paths(own):
            yield label, *path


def _is_leaf(cell: Any) -> bool:
    return not cell or isinstance(cell[0], Mapping)


def _leaves(cell: Any) -> Iterator[tuple[Mapping[str, Any], ...]]:
    if _is_leaf(cell):
        yield cell
        return
    for part in cell:
        yield from _leaves(part)
