"""Reference RDMs: single ones and those of several subjects, joined with a stack by entry keys."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.matrices import check_symmetric, mean_of_both, to_condensed
from pytorch_feature_analysis.missing_cells import finite_or_nan, refuse_missing
from pytorch_feature_analysis.rdm_stack import as_keys, checked_stack, name_of
from pytorch_feature_analysis.regroup import label_columns

logger = logging.getLogger(__name__)

FEWEST_ENTRIES = 3
# Rounding, by which what is near the diagonal may be from 0.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Reference:
    """One reference: the RDMs of its subjects, or a single one."""

    labels: dict[str, Any]
    """What tells it from the others, under the names of the result's columns."""
    entry_keys: tuple[EntryKey, ...]
    matrices: list[np.ndarray]
    subjects: list[Hashable]
    """Who they are, where the reference says so; else none."""

    def triangles(self, entry_keys: Sequence[EntryKey]) -> np.ndarray:
        """Cells (n_subjects, n_cells) between entries, in their order."""
        return np.stack(
            [cells_of(matrix, self.entry_keys, entry_keys) for matrix in self.matrices]
        )

    @property
    def name(self) -> str:
        """Its labels in words, for messages."""
        said = ", ".join(f"{column}={value!r}" for column, value in self.labels.items())
        return f"the reference {said}" if said else "the reference"

    def refuse_missing(self, nan_policy: str, triangles: np.ndarray, *, pairs: bool) -> None:
        """Raise where the policy is to and its subjects lack cells, and name them."""
        names = [f"subject {subject!r}" for subject in self.subjects]
        refuse_missing(nan_policy, triangles, owner=self.name, names=names, pairs=pairs)


def cells_of(
    matrix: np.ndarray, own: Sequence[EntryKey], wanted: Sequence[EntryKey]
) -> np.ndarray:
    """Upper triangle of an RDM between some of its entries, in the order that is wanted."""
    return finite_or_nan(to_condensed(_ordered(matrix, own, wanted)))


def read_references(
    reference: Any,
    subject_variable: str = "subject",
    *,
    argument: str = "reference",
    symmetrize: bool = False,
    ignore_diagonal: bool = False,
) -> list[Reference]:
    """Read references from a stack, a table of entries by entries, or a matrix with its keys.

    Rows of a stack that differ in nothing but `subject_variable` are the subjects of one.
    """
    stack = _as_stack(reference, argument)
    checked = checked_stack(stack, argument=argument)
    checked = checked[checked["perm"] == "orig_data"]
    if checked.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to compare with.")
    matrices = checked_matrices(
        checked, argument=argument, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    labels = [
        name
        for name in label_columns(stack)
        if name in checked.columns and name not in (subject_variable, "df_name")
    ]
    has_subjects = subject_variable in checked.columns
    members: dict[Any, list[int]] = {}
    for k in range(len(checked)):
        key = tuple(frozen(checked[name].iloc[k]) for name in labels)
        members.setdefault(key if has_subjects else (*key, k), []).append(k)
    told = [name for name in labels if len({key[labels.index(name)] for key in members}) > 1]
    entry_keys = checked["entry_keys"].tolist()
    found = []
    for places in members.values():
        first = places[0]
        for place in places[1:]:
            _check_same_entries(entry_keys[first], entry_keys[place], argument)
        subjects = checked[subject_variable].iloc[places].tolist() if has_subjects else []
        twice = [one for k, one in enumerate(subjects) if one in subjects[:k]]
        if twice:
            raise ValueError(
                f"`{argument}` has more than one RDM of {subject_variable} {twice[0]!r} that"
                " differ in no other column; keep one, or name what tells them apart."
            )
        keys = entry_keys[first]
        of_subjects = [_ordered(matrices[place], entry_keys[place], keys) for place in places]
        own = {f"reference_{name}": checked[name].iloc[first] for name in told}
        found.append(Reference(own, keys, of_subjects, subjects))
    if len(found) > 1 and not told:
        raise ValueError(
            f"`{argument}` has {len(found)} RDMs, and no column tells them apart. If they are of"
            f" subjects, name these in a column {subject_variable!r}; else add one with names."
        )
    return found


def checked_matrices(
    stack: pd.DataFrame, *, argument: str, symmetrize: bool, ignore_diagonal: bool
) -> list[np.ndarray]:
    """Matrices of a checked stack that are RDMs: symmetric, with 0 on the diagonal; or raise."""
    found = []
    for index, matrix in zip(stack.index, stack["matrix"], strict=True):
        if symmetrize:
            matrix = mean_of_both(matrix)
        else:
            check_symmetric(
                matrix, what=f"The matrix in row {index!r} of `{argument}`", one_sided=True
            )
        diagonal = matrix.diagonal()[np.isfinite(matrix.diagonal())]
        scale = np.nanmax(np.abs(matrix), initial=0) if np.isfinite(matrix).any() else 0
        if not ignore_diagonal and (np.abs(diagonal) > _ROUNDING * max(scale, 1e-300)).any():
            raise ValueError(
                f"The matrix in row {index!r} of `{argument}` has {diagonal[diagonal != 0][0]:g}"
                " on its diagonal, where a dissimilarity is 0. Similarities must be turned round"
                " (1 less each); where the diagonal means nothing, give `ignore_diagonal`=True."
            )
        found.append(matrix)
    return found


def shared_entries(
    own: tuple[EntryKey, ...], reference: Reference, *, argument: str = "rdm_df"
) -> tuple[EntryKey, ...]:
    """Entries that a row and a reference both have, in the order of their names; or raise."""
    theirs = set(reference.entry_keys)
    shared = by_name(key for key in own if key in theirs)
    if len(shared) < FEWEST_ENTRIES:
        raise ValueError(
            f"`{argument}` and {reference.name} share {len(shared)} entries, and at least"
            f" {FEWEST_ENTRIES} are needed. `{argument}` has {in_words(map(name_of, own))};"
            f" {reference.name} has {in_words(map(name_of, reference.entry_keys))}."
        )
    return shared


def by_name(entry_keys: Iterable[EntryKey]) -> tuple[EntryKey, ...]:
    """Entries in the order of their names, so that nothing depends on where they stood."""
    return tuple(sorted(entry_keys, key=repr))


def report_dropped(own: Sequence[EntryKey], reference: Reference) -> None:
    """Log the entries that one side alone has."""
    for these, those, who in (
        (own, reference.entry_keys, f"{reference.name} lacks"),
        (reference.entry_keys, own, "the rows lack"),
    ):
        known = set(those)
        dropped = [key for key in these if key not in known]
        if dropped:
            logger.warning(
                "%s %d of %d entries, which are left out: %s.",
                who,
                len(dropped),
                len(these),
                in_words(map(name_of, dropped)),
            )


def _as_stack(reference: Any, argument: str) -> pd.DataFrame:
    if isinstance(reference, pd.Series):
        return reference.to_frame().T
    if isinstance(reference, pd.DataFrame):
        if "matrix" in reference.columns:
            return reference
        if reference.shape[0] != reference.shape[1]:
            raise ValueError(
                f"`{argument}` must be a stack with a column 'matrix', or a table of entries by"
                f" entries, not of {reference.shape[0]} x {reference.shape[1]}."
            )
        rows, columns = (as_keys(tuple(axis.tolist())) for axis in reference.axes)
        if set(rows) != set(columns):
            raise ValueError(
                f"`{argument}` is a table whose index and columns name other entries:"
                f" {in_words(map(name_of, set(rows) ^ set(columns)))} in one alone."
                " Name both alike."
            )
        places = {key: place for place, key in enumerate(columns)}
        reference = reference.to_numpy()[:, [places[key] for key in rows]], rows
    is_pair = isinstance(reference, (tuple, list)) and len(reference) == 2
    if is_pair and isinstance(reference[0], np.ndarray) and reference[0].ndim == 2:
        matrix, keys = reference
        return pd.DataFrame({"matrix": [matrix], "entry_keys": [as_keys(keys)]})
    raise TypeError(
        f"`{argument}` must be a stack of RDMs, one of its rows, a table (DataFrame) whose index"
        " and columns are the entries, or a pair (matrix, entry_keys), by which entries are"
        f" joined; not {type(reference).__name__}."
    )


def _check_same_entries(
    one: tuple[EntryKey, ...], other: tuple[EntryKey, ...], argument: str
) -> None:
    odd = set(one) ^ set(other)
    if odd:
        raise ValueError(
            f"`{argument}` has subjects with other entries: {in_words(map(name_of, odd))} are in"
            " some alone. Take those that all have, with `subset_rdm_df`."
        )


def _ordered(
    matrix: np.ndarray, own: Sequence[EntryKey], wanted: Sequence[EntryKey]
) -> np.ndarray:
    if tuple(own) == tuple(wanted):
        return matrix
    places = {key: place for place, key in enumerate(own)}
    order = np.array([places[key] for key in wanted])
    return matrix[np.ix_(order, order)]
