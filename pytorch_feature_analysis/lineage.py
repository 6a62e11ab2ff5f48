"""What a stack is made of, order by order, as its `_sub` columns tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from pytorch_feature_analysis.rdm_stack import check_rdm_stack, differing
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, is_lineage, is_reserved

_LABELS, _METRIC = "entry_labels", "dissim_metric"
# These say in other words what another column says, or stand for none of the rows' differences.
_ASIDE = {"layer_num", "layer_label", "kernel_inds", "df_name", *PROVENANCE_COLUMNS}
# Rows that differ in these alone are of the same RDMs one order below.
_OF_THIS_ORDER = {_METRIC, "perm", "entry_var_subset"}


def stack_lineage(rdm_df: pd.DataFrame) -> pd.DataFrame:
    """Tell what the RDMs of a stack are made of: a row an order, from the first to its own.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack of any order, see `check_rdm_stack`. It is not changed.

    Returns
    -------
    DataFrame
        One row per order, with the columns

        order : int
            1 for RDMs whose entries are no RDMs themselves, such as stimuli.
        n_rdms : int
            How many RDMs of this order the stack has, or was made of; shuffles aside.
        told_apart_by : dict
            What the RDMs of this order differ in: names, and how many values each has.
        entry_variables : dict
            What the entries of the RDMs are told apart by, likewise.
        n_entries : (int, int)
            The fewest and the most entries of an RDM.
        dissim_metrics : tuple of str
            The metrics of its cells; empty where the stack does not say, which is so for orders
            below whose ``dissim_metric`` was not among the grouping variables.
        num_perms : int
            How many shuffles there are of an RDM, in the stack's own order.

    See Also
    --------
    plot_stack_graph : the same, drawn.
    get_meta_rdms : makes stacks of higher orders.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rdms = pd.DataFrame({
    ...     "layer": ["conv1", "fc1", "fc2"],
    ...     "matrix": [np.array([[0, 1, k], [1, 0, 2], [k, 2, 0]]) for k in (2, 4, 7)],
    ...     "entry_keys": [("cup", "hat", "dog")] * 3,
    ... })
    >>> layers = pfa.get_meta_rdms(rdms, None, ["layer"], progress=False)
    >>> pfa.stack_lineage(layers)[["order", "n_rdms", "told_apart_by", "n_entries"]]
       order  n_rdms told_apart_by n_entries
    0      1       3  {'layer': 3}    (3, 3)
    1      2       1            {}    (3, 3)
    """
    stack = check_rdm_stack(rdm_df)
    n_orders = 1 + sum(name.startswith(f"{_LABELS}_sub") for name in map(str, stack.columns))
    if "perm" in stack:
        is_shuffle = stack["perm"].map(lambda perm: perm != "orig_data")
        num_perms = stack.loc[is_shuffle, "perm"].nunique()
        stack = stack[~is_shuffle] if not is_shuffle.all() else stack
    else:
        num_perms = 0
    apart = [name for name in differing(stack) if name not in _ASIDE and not is_lineage(name)]
    above = {name: len(set(stack[name].map(repr))) for name in apart}
    once = [name for name in apart if name not in _OF_THIS_ORDER]
    labels = [stack[f"{_LABELS}{'_sub' * below}"].tolist() for below in range(n_orders)]
    firsts = _firsts(stack, once)
    rows: list[dict[str, Any]] = []
    for below in range(n_orders):
        each = [entries for cell in labels[below] for entries in _rdms_of(cell)]
        variables = _counted(each)
        metrics = f"{_METRIC}{'_sub' * below}"
        rows.append(
            {
                "order": n_orders - below,
                "n_rdms": sum(_number_below([level[k] for level in labels], below) for k in firsts)
                if below
                else len(stack),
                "told_apart_by": above,
                "entry_variables": variables,
                "n_entries": (min(map(len, each)), max(map(len, each))),
                "dissim_metrics": tuple(dict.fromkeys(stack[metrics])) if metrics in stack else (),
                "num_perms": 0 if below else num_perms,
            }
        )
        # What it was called one order below.
        above = {
            name.removesuffix("_sub") if is_reserved(name) else name: n
            for name, n in above.items()
            if name not in _OF_THIS_ORDER
        }
        above |= variables
    return pd.DataFrame(rows[::-1])


def _firsts(stack: pd.DataFrame, once: list[str]) -> list[int]:
    """Positions of the rows that are made of other RDMs than those before them."""
    seen = set()
    firsts = []
    for k, row in enumerate(stack[once].itertuples(index=False, name=None)):
        if repr(row) not in seen:
            seen.add(repr(row))
            firsts.append(k)
    return firsts


def _rdms_of(cell: Any) -> Iterator[tuple[Mapping[str, Any], ...]]:
    """Entries of each RDM that a cell of labels is about: one, or those of several in a tuple."""
    if _is_nested(cell):
        for part in cell:
            yield from _rdms_of(part)
    else:
        yield cell


def _is_nested(cell: Any) -> bool:
    return bool(cell) and isinstance(cell[0], tuple)


def _number_below(levels: Sequence[Any], below: int) -> int:
    """How many RDMs stand so many orders below an RDM with these labels, level by level."""
    if not below:
        return 1
    entries, *others = levels
    if not any(map(_is_nested, others)):
        return len(entries) * _number_below(others, below - 1)
    return sum(
        _number_below([cell[i] if _is_nested(cell) else cell for cell in others], below - 1)
        for i in range(len(entries))
    )


def _counted(each: Iterable[tuple[Mapping[str, Any], ...]]) -> dict[str, int]:
    """Names of the variables of entries, and how many values each has."""
    found: dict[str, set[str]] = {}
    for entries in each:
        for label in entries:
            for name, value in label.items():
                found.setdefault(str(name), set()).add(repr(value))
    return {name: len(values) for name, values in found.items()}
