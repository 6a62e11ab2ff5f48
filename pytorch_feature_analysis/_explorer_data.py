"""What the page of `explore` shows, as plain data: choices, entries, matrices and maps."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_columns, check_name
from pytorch_feature_analysis.map_alignment import procrustes_aligned
from pytorch_feature_analysis.matrices import check_symmetric, is_condensable, to_condensed
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.missing_cells import finite_or_nan
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, is_lineage

Key = tuple[Hashable, ...]

# Cells too long to choose by, and what follows from the name of a layer.
_NO_CHOICE = {"matrix", "dissim_rankings", "perm_scramble", "kernel_inds", *PROVENANCE_COLUMNS}
_OF_A_LAYER = ("layer_num", "layer_label")
_ROW_NUMBER = "row"


def choices_of(stack: pd.DataFrame, columns: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the columns that a row is chosen by, each with the text of every row's cell.

    A column that tells the same rows apart as an earlier one is left out, unless it was asked
    for. Rows that are alike in all of them are told apart by their number.
    """
    if columns is not None:
        check_columns(stack, columns, argument="rdm_df")
        chosen = {name: _texts(stack[name]) for name in columns}
    else:
        chosen = {}
        seen = set()
        for name in stack.columns:
            if name in _NO_CHOICE or is_lineage(name):
                continue
            texts = _texts(stack[name])
            places = _places(texts)
            if len(set(texts)) == 1 or places in seen:
                continue
            if name in _OF_A_LAYER and _tells_nothing_new(texts, list(chosen.values())):
                continue
            seen.add(places)
            chosen[str(name)] = texts
    if len(set(zip(*chosen.values(), strict=True)) if chosen else {()}) < len(stack):
        name = _ROW_NUMBER if _ROW_NUMBER not in chosen else f"{_ROW_NUMBER} number"
        chosen[name] = [str(k + 1) for k in range(len(stack))]
    return chosen


def step_of(choices: Mapping[str, Sequence[str]], step: str | None) -> int:
    """Return which of the columns the slider goes along: layers, or what has most values."""
    names = list(choices)
    if step is not None:
        check_name(step, names, argument="step", what="column that rows differ in")
        return names.index(step)
    if "layer" in names:
        return names.index("layer")
    return max(range(len(names)), key=lambda k: len(set(choices[names[k]])), default=0)


def labels_of_keys(keys: Sequence[Key], own: Mapping[Hashable, Any]) -> list[str]:
    """Return the label of each entry: its own, or the parts of its key."""
    return [str(own[key]) if key in own else _text(key) for key in keys]


def variables_of_keys(stack: pd.DataFrame) -> dict[Key, dict[str, str]]:
    """Return what is known of each entry of a stack, in order of appearance."""
    known: dict[Key, dict[str, str]] = {}
    seen = set()
    for keys, labels in zip(stack["entry_keys"], stack["entry_labels"], strict=True):
        if (id(keys), id(labels)) in seen:
            continue
        seen.add((id(keys), id(labels)))
        for key, label in zip(keys, labels, strict=True):
            if key not in known:
                known[key] = {str(name): _text(value) for name, value in label.items()}
    return known


def check_maps(stack: pd.DataFrame, symmetrize: bool) -> list[np.ndarray]:
    """Return the matrices with NaN for what is missing, or raise where one is not symmetric."""
    matrices = [finite_or_nan(matrix) for matrix in stack["matrix"]]
    if not symmetrize:
        for k, matrix in enumerate(matrices):
            check_symmetric(matrix, what=f"The matrix in row {k} of `rdm_df`", one_sided=True)
    return matrices


def matrix_data(matrix: np.ndarray) -> dict[str, Any]:
    """Return a matrix as text, its upper triangle where that says it all, and its range."""
    condensed = is_condensable(matrix)
    off_diagonal = matrix[~np.eye(len(matrix), dtype=bool)]
    known = off_diagonal[np.isfinite(off_diagonal)]
    if known.size and known.min() == known.max():
        # So that they have another colour than the diagonal.
        known = matrix[np.isfinite(matrix)]
    return {
        "square": not condensed,
        "cells": packed(to_condensed(matrix) if condensed else matrix),
        "range": [float(known.min()), float(known.max())] if known.size else None,
    }


class Maps:
    """Maps of one matrix after the other, each turned towards the last one of its entries."""

    def __init__(
        self, *, method: str, num_starts: int, random_state: RandomState, symmetrize: bool
    ) -> None:
        self._options: dict[str, Any] = {
            "method": method,
            "num_starts": num_starts,
            "random_state": random_state,
            "symmetrize": symmetrize,
        }
        self._last: dict[frozenset[Key], dict[Key, np.ndarray]] = {}
        self.unplaced: list[str] = []
        """Why rows have no map."""

    def of(self, matrix: np.ndarray, keys: Sequence[Key]) -> dict[str, Any]:
        """Return the points (n, 2) of a matrix as text with their stress-1, or why there are none.

        Distances that estimates below 0 stand for, or groups of entries that nothing connects,
        have no map, and their heat map can be looked at all the same.
        """
        try:
            points, _ = embed(matrix, names=keys, argument="matrix", **self._options)
        except ValueError as error:
            self.unplaced.append(str(error))
            return {"points": None, "why": str(error)}
        entries = frozenset(keys)
        if entries in self._last:
            last = np.array([self._last[entries][key] for key in keys])
            if np.isfinite(points + last).all(axis=1).any():
                points = procrustes_aligned(points, last, rescale=False)
        self._last[entries] = dict(zip(keys, points, strict=True))
        return {"points": packed(points), "stress": stress_1(points, matrix)}


def packed(values: np.ndarray) -> str:
    """Return numbers as the base64 text of float32, the lowest byte first."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _texts(cells: pd.Series) -> list[str]:
    return [_text(cell) for cell in cells.tolist()]


def _text(cell: Any) -> str:
    return ", ".join(map(_text, cell)) if isinstance(cell, tuple) else str(cell)


def _places(texts: Sequence[str]) -> tuple[int, ...]:
    """Return for each row the number of its value: the same for columns that say the same."""
    numbers: dict[str, int] = {}
    return tuple(numbers.setdefault(text, len(numbers)) for text in texts)


def _tells_nothing_new(texts: Sequence[str], others: Sequence[Sequence[str]]) -> bool:
    before = list(zip(*others, strict=True))
    return len(set(zip(before, texts, strict=False))) == len(set(before)) if before else False
