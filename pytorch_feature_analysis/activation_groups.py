"""Which rows of a frame of activations are compared with each other, and over which stimuli."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.chosen_measures import ChosenMeasure
from pytorch_feature_analysis.regroup import (
    Group,
    align,
    check_grouping,
    check_groups,
    check_variables,
    make_groups,
    row_keys,
)
from pytorch_feature_analysis.stack_schema import is_lineage


@dataclass(frozen=True)
class ActivationGroups:
    """A frame of activations, and the groups that its rows fall into."""

    frame: pd.DataFrame
    """Without the activations."""
    cells: dict[str, list[Any]]
    """Columns that tell of entries."""
    entries: list[str]
    grouping: list[str]
    kept: list[str]
    groups: list[Group]
    tables: list[list[np.ndarray]]
    """For each group, the activations of its rows."""
    orders: list[list[np.ndarray | None]]
    """For each group and row, where the stimuli of its first row are; None where they are."""


def group_activations(
    activations_df: pd.DataFrame,
    measures: Sequence[ChosenMeasure],
    entry_variables: Sequence[str],
    grouping_variables: Sequence[str] | str,
    keep_variables: Sequence[str] = (),
) -> ActivationGroups:
    """Check a frame of activations, and group its rows, all fit for the measures.

    Raises
    ------
    ValueError, TypeError
        As `get_similarity_rdms` says.
    """
    name = "activations_df"
    frame = check_activations(activations_df)
    if frame.empty:
        raise ValueError("`activations_df` has no rows, so there is nothing to compare.")
    arrays = frame.pop("activations").tolist()
    entries = check_variables(
        frame, entry_variables, argument="entry_variables", empty=False, frame=name
    )
    grouping = check_grouping(frame, list(frame.columns), entries, grouping_variables, frame=name)
    kept = check_variables(frame, keep_variables, argument="keep_variables", frame=name)
    kept = [column for column in kept if column not in grouping and not is_lineage(column)]
    keys = row_keys(frame, entries, frame=name)
    groups = make_groups(frame, keys, grouping, set(keys))
    check_groups(frame, groups, {*entries, *grouping}, kept)
    cells = {column: frame[column].tolist() for column in frame.columns if is_lineage(column)}
    tables, orders = [], []
    for group in groups:
        orders.append(align(group, cells["entry_keys"], cells["entry_labels"], what="activations"))
        tables.append([arrays[k] for k in group.positions])
        _check_tables(tables[-1], group.name, group.entry_keys, measures)
    return ActivationGroups(frame, cells, entries, grouping, kept, groups, tables, orders)


def _check_tables(
    tables: Sequence[np.ndarray], group: str, keys: Sequence[Any], chosen: Sequence[ChosenMeasure]
) -> None:
    """Raise unless the activations of a group are finite, and of enough stimuli."""
    for key, table in zip(keys, tables, strict=True):
        n_undefined = int((~np.isfinite(table)).sum())
        if n_undefined:
            raise ValueError(
                f"`activations_df`: the activations of {key!r}{group} hold {n_undefined} values"
                " that are NaN or infinite; leave out these units or stimuli, or the row."
            )
    for measure in chosen:
        if len(tables[0]) < measure.minimum:
            raise ValueError(
                f"`measures`: '{measure.name}' needs at least {measure.minimum} stimuli, and the"
                f" activations{group} have {len(tables[0])}."
            )
