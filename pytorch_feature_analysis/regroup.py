"""Which rows of a stack become the entries of which RDM one order higher.

The entry variables tell the rows of a group apart, the grouping variables the groups.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence, in_words
from pytorch_feature_analysis.cell_values import codes_of, crossed, determines, frozen
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, is_lineage, is_reserved

logger = logging.getLogger(__name__)

# Made anew for every RDM: no kind of variable.
MADE_ANEW = ("matrix", "dissim_rankings", "n_missing")
# What stacks are crossed by, beside the reserved names: never left out of 'rest', so that a
# crossing that is incomplete is never read as one variable determining another.
_FACTORS = ("model", "activation_type", "kernel_set_name")
# Other words for what `layer` and `kernel_set_name` say.
DERIVED = ("layer_label", "layer_num", "kernel_inds")


@dataclass(frozen=True)
class Group:
    """Rows that are the entries of one RDM, in the order of the stack."""

    name: str
    """Its values in words, for messages: " of model='alexnet', layer='conv1'"."""
    positions: list[int]
    entry_keys: tuple[EntryKey, ...]


def is_scramble(name: str) -> bool:
    """Tell whether a column holds the scrambles of this level or of one below."""
    return is_reserved(name) and name.startswith("perm_scramble")


def label_columns(stack: pd.DataFrame) -> list[str]:
    """Columns that tell what each RDM is of: all but the matrices, entries and scrambles."""
    return [
        name
        for name in stack.columns
        if name not in ("perm", *MADE_ANEW, *PROVENANCE_COLUMNS)
        and not is_lineage(name)
        and not is_scramble(name)
    ]


def check_variables(
    stack: pd.DataFrame,
    variables: Any,
    *,
    argument: str,
    empty: bool = True,
    frame: str = "rdm_df",
) -> list[str]:
    """Return a new list of column names that can group rows, or raise."""
    names = check_sequence(variables, argument=argument, of="names of columns")
    if not names and not empty:
        raise ValueError(
            f"`{argument}` is empty; name at least one column of `{frame}` whose values tell the"
            " entries apart."
        )
    allowed = [column for column in stack.columns if column not in MADE_ANEW]
    for name in names:
        check_name(name, allowed, argument=argument, what="column", owner=" that can group rows")
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`{argument}` names {', '.join(map(repr, twice))} more than once.")
    return names


def row_keys(
    stack: pd.DataFrame, entry_variables: Sequence[str], *, frame: str = "rdm_df"
) -> list[EntryKey]:
    """Entry key of every row: the values of its entry variables, in the order given."""
    columns = []
    for variable in entry_variables:
        values = [_plain(value) for value in stack[variable].tolist()]
        missing = [k for k, value in enumerate(values) if frozen(value) is None]
        if missing:
            raise ValueError(
                f"`entry_variables` names {variable!r}, but `{frame}` has no value of it in"
                f" {_rows_in_words(stack, missing)}, so these entries would have no name; fill"
                " the column in, or leave these rows out."
            )
        columns.append(values)
    keys = list(zip(*columns, strict=True))
    for k, key in enumerate(keys):
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"`entry_variables` {list(entry_variables)} give {_rows_in_words(stack, [k])} the"
                f" entry key {key!r}, which is not hashable; give these columns strings, numbers"
                " or tuples."
            ) from None
    return keys


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return tuple(value) if isinstance(value, list) else value


def _rows_in_words(stack: pd.DataFrame, positions: Sequence[int]) -> str:
    return f"the rows with the index {in_words(stack.index[positions].tolist())}"


def rest_variables(
    stack: pd.DataFrame, columns: Sequence[str], entry_variables: Sequence[str]
) -> list[str]:
    """Name the grouping variables that `'rest'` stands for, in the order of the columns.

    Every column but the entry variables, what is made anew, what a stack tells of the levels
    below, where its rows came from, and what follows from others: a column that is a function of
    the entry variables (an object's category), or of these and the columns already taken (the
    depth of a layer in its model), and would only tear groups apart; and `layer_label`,
    `layer_num` and `kernel_inds`, where they say in other words what others say.
    """
    never = {*entry_variables, *MADE_ANEW}
    if "row_key" in columns:
        never.update(PROVENANCE_COLUMNS)
    candidates = [
        column
        for column in columns
        if column not in never and not is_lineage(column) and not is_scramble(column)
    ]
    entry = np.zeros(len(stack), dtype=np.intp)
    for variable in entry_variables:
        entry = crossed(entry, codes_of(stack[variable]))
    taken = np.zeros(len(stack), dtype=np.intp)
    chosen, left_out = [], []

    def order(column: str) -> int:
        if column in DERIVED:
            return 2
        return 0 if column in _FACTORS or is_reserved(column) else 1

    for column in sorted(candidates, key=order):
        codes = codes_of(stack[column])
        # What is constant within the groups as they are tears nothing apart.
        harmless = column not in DERIVED and determines(taken, codes)
        if order(column) > 0 and not harmless and determines(crossed(entry, taken), codes):
            left_out.append(column)
            continue
        chosen.append(column)
        taken = crossed(taken, codes)
    if left_out:
        logger.info(
            "grouping_variables='rest' leaves out %s: the entry variables and the other columns"
            " determine them.",
            ", ".join(left_out),
        )
    return [column for column in columns if column in chosen]


def telling_columns(stack: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Name columns that tell the rows apart.

    Those are what stacks are crossed by and the metric, where they vary, and each other one that
    those before it do not determine. The network and the layer come first, then other columns in
    their order, reserved ones, and last the other words for a layer.
    """
    always = ("layer", "dissim_metric", *_FACTORS)
    first = {"model": 0, "layer": 1}

    def order(column: str) -> int:
        return 4 if column in DERIVED else 3 if is_reserved(column) else first.get(column, 2)

    taken = np.zeros(len(stack), dtype=np.intp)
    chosen = []
    for column in sorted(columns, key=order):
        codes = codes_of(stack[column])
        if not len(codes):
            continue
        if not determines(taken, codes) or (column in always and codes.any()):
            chosen.append(column)
            taken = crossed(taken, codes)
    return chosen


def check_grouping(
    stack: pd.DataFrame,
    own_columns: Sequence[str],
    entry_variables: Sequence[str],
    grouping_variables: Sequence[str] | str,
    *,
    frame: str = "rdm_df",
) -> list[str]:
    """Return the grouping variables, or raise; `own_columns` are those that 'rest' is about."""
    if isinstance(grouping_variables, str):
        if grouping_variables != "rest":
            raise ValueError(
                "`grouping_variables` must be a list of names of columns or 'rest', not"
                f" {grouping_variables!r}; write [{grouping_variables!r}] for one column."
            )
        # What `check_rdm_stack` filled in tells nothing apart.
        return rest_variables(stack, own_columns, entry_variables)
    grouping = check_variables(
        stack, grouping_variables, argument="grouping_variables", frame=frame
    )
    both = [name for name in entry_variables if name in grouping]
    if both:
        raise ValueError(
            f"{', '.join(map(repr, both))} stands in both `entry_variables` and"
            " `grouping_variables`: either it tells the entries of an RDM apart, or the RDMs."
        )
    return grouping


def make_groups(
    stack: pd.DataFrame,
    keys: Sequence[EntryKey],
    grouping_variables: Sequence[str],
    wanted: set[EntryKey],
) -> list[Group]:
    """Group the rows whose key is wanted, sorted by the values of the grouping variables."""
    ranks = [codes_of(stack[variable]).tolist() for variable in grouping_variables]
    members: dict[tuple[int, ...], list[int]] = {}
    for k, key in enumerate(keys):
        if key in wanted:
            members.setdefault(tuple(rank[k] for rank in ranks), []).append(k)
    ordered = [positions for _, positions in sorted(members.items())]
    firsts = [positions[0] for positions in ordered]
    values = [stack[variable].iloc[firsts].tolist() for variable in grouping_variables]
    groups = []
    for n, positions in enumerate(ordered):
        listed = ", ".join(
            f"{variable}={column[n]!r}"
            for variable, column in zip(grouping_variables, values, strict=True)
        )
        name = f" of {listed}" if listed else ""
        groups.append(Group(name, positions, tuple(keys[k] for k in positions)))
    return groups


def check_constant(
    stack: pd.DataFrame, groups: Sequence[Group], columns: Sequence[str], advice: str
) -> None:
    """Raise, and name it, if a column varies within a group."""
    varying: dict[str, tuple[Group, list[Any]]] = {}
    for column in columns:
        codes = codes_of(stack[column])
        for group in groups:
            if len(set(codes[group.positions].tolist())) > 1:
                values = list(dict.fromkeys(map(frozen, stack[column].iloc[group.positions])))
                varying[column] = group, values
                break
    if varying:
        listed = "; ".join(
            f"the column {column!r} is {in_words(values)} within the group{group.name}"
            for column, (group, values) in varying.items()
        )
        raise ValueError(f"{listed}. {advice}")


def check_unique_keys(stack: pd.DataFrame, groups: Sequence[Group]) -> None:
    """Raise if an entry key stands twice in a group, and name what tells its rows apart."""
    for group in groups:
        if len(set(group.entry_keys)) == len(group.entry_keys):
            continue
        rows: dict[EntryKey, list[int]] = {}
        for key, k in zip(group.entry_keys, group.positions, strict=True):
            rows.setdefault(key, []).append(k)
        repeated = {key: found for key, found in rows.items() if len(found) > 1}
        differing = [
            column
            for column in stack.columns
            if column not in MADE_ANEW
            and any(len(set(map(frozen, stack[column].iloc[ks]))) > 1 for ks in repeated.values())
        ]
        advice = (
            f"Their rows differ in {', '.join(map(repr, differing))}: add what they differ in to"
            " `grouping_variables` or `entry_variables`, or filter the stack first."
            if differing
            else "Their rows differ in nothing but the matrix: drop those that are repeated."
        )
        raise ValueError(
            f"`entry_variables` do not tell the rows apart: the group{group.name} has more than"
            f" one row with the entry key {in_words(list(repeated))}. {advice}"
        )


def check_groups(
    stack: pd.DataFrame, groups: Sequence[Group], variables: set[str], kept: Sequence[str]
) -> None:
    """Raise unless the rows of every group differ in the variables named, and no further."""
    settled = [
        name
        for name in stack.columns
        if is_reserved(name)
        and name not in variables
        and not is_lineage(name)
        and not is_scramble(name)
    ]
    check_constant(
        stack,
        groups,
        settled,
        "Name it in `grouping_variables` or `entry_variables`, or filter the stack first.",
    )
    check_unique_keys(stack, groups)
    check_constant(
        stack,
        groups,
        kept,
        "`keep_variables` carries what is constant within a group: leave it out, or group by it.",
    )


def align(
    group: Group,
    entry_keys: Sequence[tuple[EntryKey, ...]],
    entry_labels: Sequence[tuple[dict[str, Any], ...]],
    *,
    what: str = "RDMs",
) -> list[np.ndarray | None]:
    """Where the items of the first row are in each row; None where they are alike.

    `entry_keys` and `entry_labels` are those of all rows of the frame, of which `what` says what
    they hold. Raises where a row of the group has other items, or labels them otherwise.
    """
    keys = [entry_keys[k] for k in group.positions]
    labels = [entry_labels[k] for k in group.positions]
    if len(keys[0]) < 2:
        raise ValueError(
            f"there are {what} of {len(keys[0])} entries in the group{group.name}: they have no"
            " pair of entries, so there is nothing to compare; leave them out."
        )
    orders: list[np.ndarray | None] = []
    for key, row, row_labels in zip(group.entry_keys, keys, labels, strict=True):
        order = None
        if row != keys[0]:
            places = {item: place for place, item in enumerate(row)}
            lacking = [item for item in keys[0] if item not in places]
            further = [item for item in row if item not in set(keys[0])]
            if lacking or further:
                raise ValueError(
                    f"the {what} of the group{group.name} are not over the same entries: as"
                    f" compared with that of {group.entry_keys[0]!r}, that of {key!r} lacks"
                    f" {in_words(lacking) or 'none'} and has {in_words(further) or 'none'} more."
                    " Group by what tells them apart, or take the entries that they share"
                    f"{', with `subset_rdm_df`' if what == 'RDMs' else ''}."
                )
            order = np.array([places[item] for item in keys[0]])
            row_labels = tuple(row_labels[place] for place in order.tolist())
        if row_labels != labels[0] and frozen(row_labels) != frozen(labels[0]):
            raise ValueError(
                f"the {what} of the group{group.name} have the same `entry_keys`, but other"
                f" `entry_labels`: {row_labels[0]!r} for {key!r} where"
                f" {group.entry_keys[0]!r} has {labels[0][0]!r}. Name the entries alike, or group"
                " by what tells them apart."
            )
        orders.append(order)
    return orders
