"""The frame of meta-RDMs, made of the groups of a stack and what was computed for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.rdm_comparison import Scramble
from pytorch_feature_analysis.regroup import Group
from pytorch_feature_analysis.stack_schema import is_lineage, is_reserved


class Named(Protocol):
    """A metric or a measure."""

    @property
    def name(self) -> str:
        """As the column `dissim_metric` has it."""


@dataclass(frozen=True)
class GroupPlan:
    """One group: what its rows of the result are made of."""

    group: Group
    subsets: list[tuple[str, list[int]]]
    """Names, and which of the entries."""
    orders: list[np.ndarray | None]
    """Where the items of the first entry's RDM are in each entry's; None where they are alike."""
    scrambles: list[tuple[Scramble, ...]]
    """For each number from 0, the identity, one per entry."""
    rdms: list[tuple[np.ndarray, Scramble]] = field(default_factory=list)
    """For each scramble, subset and metric, the metric changing first."""


def _name_above(column: str) -> str:
    """Name of a column one level up."""
    return f"{column}_sub" if is_reserved(column) else column


def assemble(
    stack: pd.DataFrame,
    cells: Mapping[str, list[Any]],
    plans: Sequence[GroupPlan],
    metrics: Sequence[Named],
    entry_variables: Sequence[str],
    grouping: Sequence[str],
    kept: Sequence[str],
    df_name: str,
) -> pd.DataFrame:
    """Make the frame: a row for each group, subset, metric and scramble."""
    with_scrambles = len(plans[0].scrambles) > 1
    rows: list[dict[str, Any]] = []
    firsts = []
    for plan in plans:
        for subset, (subset_name, members) in enumerate(plan.subsets):
            keys = tuple(plan.group.entry_keys[k] for k in members)
            shared: dict[str, Any] = {
                "df_name": df_name,
                "entry_keys": keys,
                "entry_labels": tuple(
                    dict(zip(entry_variables, key, strict=True)) for key in keys
                ),
                "entry_var_subset": subset_name,
                **_levels_below(cells, plan.group, members),
            }
            scrambles = [tuple(scramble[k] for k in members) for scramble in plan.scrambles]
            for m, metric in enumerate(metrics):
                for number, scramble in enumerate(scrambles):
                    matrix, ranking = plan.rdms[
                        (number * len(plan.subsets) + subset) * len(metrics) + m
                    ]
                    matrix.flags.writeable = False
                    row = {
                        **shared,
                        "dissim_metric": metric.name,
                        "dissim_rankings": ranking,
                        "matrix": matrix,
                        "perm": number or "orig_data",
                    }
                    if with_scrambles:
                        row["perm_scramble"] = scramble
                    rows.append(row)
                    firsts.append(plan.group.positions[0])
    columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
    # Taken from the column itself, to keep its dtype.
    carried = {
        name: stack[name].iloc[firsts].reset_index(drop=True)
        for name in (*grouping, *kept)
        if not is_lineage(name)
    }
    columns |= {_name_above(name): carried[name] for name in carried if name in grouping}
    ordered = {name: columns[name] for name in sorted(columns, key=str)}
    ordered |= {_name_above(name): carried[name] for name in kept}
    return pd.DataFrame(ordered)


def _column(cells: list[Any]) -> pd.Series:
    return pd.Series(cells) if all(type(cell) is str for cell in cells) else object_series(cells)


def _levels_below(
    cells: Mapping[str, list[Any]], group: Group, members: Sequence[int]
) -> dict[str, Any]:
    """Entries of the RDMs compared, and of all levels below these, one `_sub` further down."""
    below = {}
    for name in filter(is_lineage, cells):
        values = [cells[name][group.positions[k]] for k in members]
        if name in ("entry_keys", "entry_labels"):
            # All are over the same entries, in the order of the group's first row.
            value = cells[name][group.positions[0]]
        elif all(value == values[0] for value in values):
            value = values[0]
        else:
            value = tuple(values)
        below[_name_above(name)] = value
    return below
