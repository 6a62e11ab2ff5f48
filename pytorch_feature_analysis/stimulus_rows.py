"""Rows of a stack to choose stimuli by, what is asked of a choice, and the frame of one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import check_name, check_sequence, in_words
from pytorch_feature_analysis.missing_cells import cells_of_pairs, common_cells, refuse_missing
from pytorch_feature_analysis.rdm_stack import as_key, checked_stack
from pytorch_feature_analysis.subsets import symmetric_dissims

Groups = tuple[str, Mapping[Any, int] | int]
"""A variable of the entries, and how many of each of its values, or of every one."""


def read_entries(
    rdm_df: pd.DataFrame | pd.Series,
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...], list[np.ndarray], list[str]]:
    """Entry keys and labels of the first row, all rows' matrices in its order, their names."""
    if isinstance(rdm_df, pd.Series):
        rdm_df = rdm_df.to_frame().T
    stack = checked_stack(rdm_df, argument="rdm_df", rank=False)
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to choose from.")
    keys = stack["entry_keys"].iloc[0]
    place = {key: i for i, key in enumerate(keys)}
    matrices = []
    for number, (matrix, own) in enumerate(zip(stack["matrix"], stack["entry_keys"], strict=True)):
        if set(own) != place.keys():
            differing = set(own) ^ place.keys()
            raise ValueError(
                "`rdm_df`: all rows must have the same entries, but the first and row"
                f" {number} differ in {in_words(sorted(differing, key=repr))}. subset_rdm_df"
                " cuts rows to the entries that they share."
            )
        order = np.argsort([place[key] for key in own])
        matrices.append(matrix[np.ix_(order, order)])
    names = [f"row {index!r}" for index in stack.index]
    return keys, stack["entry_labels"].iloc[0], matrices, names


def places_of(keys: Any, known: Sequence[Any], *, argument: str) -> list[int]:
    """Return the places of entries that are asked for by their keys, or raise."""
    places = []
    for key in check_sequence(keys, argument=argument, of="entry keys"):
        check_name(as_key(key), known, argument=argument, what="entry key")
        places.append(known.index(as_key(key)))
    return places


def categories_of(
    groups: Groups | None, labels: Sequence[Mapping[str, Hashable]]
) -> tuple[list[Hashable], dict[Any, int]] | None:
    """Return the category of each entry, and how many of each are asked for; or raise."""
    if groups is None:
        return None
    if not isinstance(groups, (tuple, list)) or len(groups) != 2:
        raise TypeError(
            "`groups` must be (variable, counts), such as ('animal', {'cat': 10, 'dog': 5}), not"
            f" {groups!r}."
        )
    variable, counts = groups
    names = dict.fromkeys(name for label in labels for name in label)
    check_name(variable, names, argument="groups", what="variable of the entries")
    values = [label.get(variable) for label in labels]
    if not isinstance(counts, Mapping):
        counts = dict.fromkeys(values, counts)
    return values, dict(counts)


def dissims_of(
    matrices: Sequence[np.ndarray], names: Sequence[str], nan_policy: str, symmetrize: bool
) -> np.ndarray:
    """Dissimilarities (n_rows, n, n), with NaN for what is left out."""
    cells = (cells_of_pairs(matrix) for matrix in matrices)
    refuse_missing(nan_policy, cells, owner="`rdm_df`", names=names)
    dissims = np.stack([symmetric_dissims(m, symmetrize=symmetrize) for m in matrices])
    if nan_policy == "omit":
        dissims = np.where(common_cells(dissims), dissims, np.nan)
    return dissims


def ranks_of(dissims: np.ndarray) -> np.ndarray:
    """Return the ranks of the dissimilarities, from 0 to 1."""
    ranks = np.full_like(dissims, np.nan)
    known = ~np.isnan(dissims) & ~np.eye(len(dissims), dtype=bool)
    # Each pair is there twice.
    ordered = rankdata(dissims[known])
    ranks[known] = (ordered - 1.5) / max(len(ordered) - 2, 1)
    np.fill_diagonal(ranks, 0)
    return ranks


def chosen_frame(
    keys: Sequence[Any],
    labels: Sequence[Mapping[str, Any]],
    indices: list[int],
    dissims: np.ndarray,
) -> pd.DataFrame:
    """Make the frame of a choice: its entries, and how far each is from the others on average."""
    within = dissims[np.ix_(indices, indices)].copy()
    np.fill_diagonal(within, np.nan)
    counts = (~np.isnan(within)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(within, axis=1) / counts
    names = dict.fromkeys(name for i in indices for name in labels[i])
    columns: dict[str, Any] = {"entry_key": pd.Series([keys[i] for i in indices], dtype=object)}
    columns |= {name: [labels[i].get(name) for i in indices] for name in names}
    columns |= {"index": indices, "mean_dissim": means, "n_missing": len(indices) - 1 - counts}
    return pd.DataFrame(columns)
