"""Similarities of pairs of models, one row a dataset, read from a stack by the models' names."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.matrices import check_symmetric, mean_of_both, to_condensed
from pytorch_feature_analysis.missing_cells import (
    check_nan_policy,
    common_cells,
    finite_or_nan,
    refuse_missing,
)
from pytorch_feature_analysis.model_sets import ModelSets, SetPair, check_model_sets
from pytorch_feature_analysis.rdm_stack import checked_stack, name_of
from pytorch_feature_analysis.regroup import (
    Group,
    check_grouping,
    check_groups,
    check_variables,
    make_groups,
    row_keys,
)


@dataclass(frozen=True)
class PairTable:
    """The datasets of one measure, and all pairs of models in each."""

    group: Group
    """Its rows of the stack; the entry keys are those of the datasets."""
    orders: list[np.ndarray]
    """Where the models are in each dataset's RDM."""
    models: list[Hashable]
    rows: np.ndarray
    """(n_datasets, n_pairs), each the upper triangle of an RDM; NaN for what is missing."""

    def of(self, sets: SetPair) -> np.ndarray:
        """Cells of the pairs of models between two sets."""
        i, j = sets.first, sets.second
        cells = i * len(self.models) - i * (i + 1) // 2 + j - i - 1
        return self.rows[:, cells]


@dataclass(frozen=True)
class Study:
    """A stack of models' similarity, grouped by measure, and the sets that models fall into."""

    stack: pd.DataFrame
    grouping: list[str]
    dataset_variable: str
    tables: list[PairTable]
    sets: ModelSets


def read_study(
    similarity_stack: pd.DataFrame,
    model_table: pd.DataFrame | None,
    by: Sequence[str] | None,
    anchors: Sequence[Any] | None,
    *,
    dataset_variable: str,
    grouping_variables: Sequence[str] | str,
    intersect: bool,
    nan_policy: str,
    symmetrize: bool,
) -> Study:
    """Check all that consistency starts from, or raise."""
    argument = "similarity_stack"
    check_nan_policy(nan_policy)
    stack = checked_stack(similarity_stack, argument=argument)
    if stack.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to compare.")
    if not isinstance(dataset_variable, str):
        raise TypeError(f"`dataset_variable` must be a column's name, not {dataset_variable!r}.")
    entries = check_variables(
        stack, [dataset_variable], argument="dataset_variable", frame=argument
    )
    grouping = check_grouping(
        stack, list(similarity_stack.columns), entries, grouping_variables, frame=argument
    )
    keys = row_keys(stack, entries, frame=argument)
    groups = make_groups(stack, keys, grouping, set(keys))
    check_groups(stack, groups, {*entries, *grouping}, [])
    matrices = []
    for index, matrix in zip(stack.index, stack["matrix"], strict=True):
        if symmetrize:
            matrix = mean_of_both(matrix)
        else:
            check_symmetric(matrix, what=f"The matrix in row {index!r} of `{argument}`")
        matrices.append(matrix)
    entry_keys = stack["entry_keys"].tolist()
    tables = [_pair_table(group, matrices, entry_keys, intersect) for group in groups]
    for table in tables:
        names = [f"row {index!r}" for index in stack.index[table.group.positions]]
        refuse_missing(nan_policy, table.rows, owner=f"`{argument}`", names=names)
        if nan_policy == "omit":
            table.rows[:, ~common_cells(table.rows)] = np.nan
    models = list(dict.fromkeys(model for table in tables for model in table.models))
    shared = [model for model in models if all(model in table.models for table in tables)]
    sets = check_model_sets(model_table, by, anchors, models, shared)
    return Study(stack, grouping, dataset_variable, tables, sets)


def _pair_table(
    group: Group,
    matrices: Sequence[np.ndarray],
    entry_keys: Sequence[tuple[EntryKey, ...]],
    intersect: bool,
) -> PairTable:
    if len(group.positions) < 2:
        raise ValueError(
            f"`similarity_stack` has one dataset{group.name}, {name_of(group.entry_keys[0])!r};"
            " consistency is between two or more. What else differs between the rows of a"
            " measure tells groups apart: name in `grouping_variables` what should."
        )
    keys = [entry_keys[k] for k in group.positions]
    shared = _shared_models(group, keys, intersect)
    orders, rows = [], []
    for position, own in zip(group.positions, keys, strict=True):
        places = {key: place for place, key in enumerate(own)}
        order = np.array([places[key] for key in shared])
        cells = to_condensed(matrices[position][np.ix_(order, order)])
        orders.append(order)
        rows.append(finite_or_nan(cells))
    return PairTable(group, orders, [name_of(key) for key in shared], np.stack(rows))


def _shared_models(
    group: Group, keys: Sequence[tuple[EntryKey, ...]], intersect: bool
) -> list[EntryKey]:
    """Models of all datasets, in the order of the first; raise where others are in some alone."""
    datasets = [name_of(key) for key in group.entry_keys]
    every = dict.fromkeys(key for own in keys for key in own)
    lacking = {}
    for dataset, own in zip(datasets, keys, strict=True):
        there = set(own)
        missing = [name_of(key) for key in every if key not in there]
        if missing:
            lacking[dataset] = missing
    if lacking and not intersect:
        listed = "; ".join(f"{dataset!r} lacks {in_words(m)}" for dataset, m in lacking.items())
        raise ValueError(
            f"the datasets{group.name} have different models in `similarity_stack`: {listed}."
            " Compare these models there too, or take those that all datasets have, with"
            " `intersect`=True."
        )
    shared = [key for key in keys[0] if all(key in own for own in keys)]
    if not shared:
        raise ValueError(
            f"no model is in all datasets{group.name}: {in_words(datasets)} have none in common."
        )
    return shared
