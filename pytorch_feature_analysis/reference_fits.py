"""Rows of a stack and the subjects of a reference over the same entries, and their agreements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_share,
    child_generator,
    child_seed,
)
from pytorch_feature_analysis._parallel import NumCores, check_num_cores
from pytorch_feature_analysis.agreement import METHODS, Cells, whole_or_common
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.missing_cells import (
    check_nan_policy,
    common_cells,
    dead_entries,
    refuse_missing,
)
from pytorch_feature_analysis.permuted_items import draw_orders, permuted_agreements
from pytorch_feature_analysis.references import Reference, checked_matrices, read_references
from pytorch_feature_analysis.resampled_items import RESAMPLED, Draws, Resampled, resample

ALTERNATIVES = ("two-sided", "greater", "less")
# What is equal but for rounding counts as reached.
_TIE = 1e-12


@dataclass(frozen=True)
class Options:
    """What is asked for, checked."""

    method: str
    num_perms: int
    num_boot: int
    ci: float
    resample: str | None
    alternative: str
    root: int
    num_cores: NumCores


@dataclass(frozen=True)
class Problem:
    """Rows and subjects over the same entries; NaN is a missing cell."""

    entries: tuple[EntryKey, ...]
    """In the order of their names, by which orders and draws do not depend on where they stood."""
    rows: np.ndarray
    subjects: np.ndarray
    controls: np.ndarray | None = None

    def refuse_missing(
        self, nan_policy: str, row_names: Sequence[str], reference: Reference
    ) -> None:
        """Raise where the policy is to and a cell is missing; name rows, subjects or controls."""
        refuse_missing(nan_policy, self.rows, owner="`rdm_df`", names=row_names)
        reference.refuse_missing(nan_policy, self.subjects, pairs=True)
        if self.controls is not None:
            names = [f"control {k}" for k in range(len(self.controls))]
            refuse_missing(nan_policy, self.controls, owner="`controls`", names=names)

    def parts(self, nan_policy: str) -> list[tuple[Problem, list[int]]]:
        """Rows that lack the same entries, or with 'pairwise' the same cells."""
        known = np.isfinite(self.rows) if nan_policy == "pairwise" else ~dead_entries(self.rows)
        members: dict[bytes, list[int]] = {}
        for k, mask in enumerate(known):
            members.setdefault(mask.tobytes(), []).append(k)
        found = []
        for chosen in members.values():
            part = Problem(self.entries, self.rows[chosen], self.subjects, self.controls)
            found.append((part.on_common_cells(nan_policy), chosen))
        return found

    def on_common_cells(self, nan_policy: str) -> Problem:
        """Leave out entries that any lacks, and with 'omit' the cells that any lacks."""
        tables = [self.rows, self.subjects]
        tables += [] if self.controls is None else [self.controls]
        if all(np.isfinite(table).all() for table in tables):
            return self
        of_all = tables[:1] if nan_policy == "pairwise" else tables
        dead: np.ndarray = np.any(
            np.concatenate([dead_entries(table) for table in of_all]), axis=0
        )
        kept = np.flatnonzero(~dead)
        cells = Cells.of_triangle(len(self.entries))
        inside = ~(dead[cells.first] | dead[cells.second])
        tables = [table[:, inside] for table in tables]
        if nan_policy == "omit":
            common = common_cells(np.concatenate(tables))
            tables = [np.where(common, table, np.nan) for table in tables]
        entries = tuple(self.entries[k] for k in kept)
        return Problem(entries, tables[0], tables[1], tables[2] if len(tables) > 2 else None)

    def agreements(self, method: str) -> np.ndarray:
        """Agreement of each row with each subject."""
        cells = Cells.of_triangle(len(self.entries))
        return whole_or_common(self.rows, self.subjects, method, cells, self.controls)

    def n_pairs(self) -> np.ndarray:
        """How many cells each row has in common with the subject with the fewest."""
        there = np.isfinite(self.subjects).astype(float)
        if self.controls is not None:
            there = there * np.isfinite(self.controls).all(axis=0)
        counts: np.ndarray = (np.isfinite(self.rows).astype(float) @ there.T).min(axis=1)
        return counts.astype(int)

    def permute(self, options: Options) -> tuple[np.ndarray, bool]:
        """Agreements with the subjects' entries in other orders, and whether they are all."""
        generator = child_generator(options.root, "orders", *self.entries)
        orders, are_all = draw_orders(len(self.entries), options.num_perms, generator)
        null = permuted_agreements(
            self.rows,
            self.subjects,
            orders,
            options.method,
            self.controls,
            num_cores=options.num_cores,
        )
        return null, are_all

    def draw(self, options: Options) -> Resampled:
        """Mean agreements in draws of entries and subjects."""
        n_subjects = len(self.subjects)
        what = options.resample or ("both" if n_subjects > 1 else "stimuli")
        if what != "stimuli" and n_subjects < 2:
            raise ValueError(
                f"`resample` is {what!r}, and there is a single subject to draw from; take"
                " 'stimuli'."
            )
        seed = child_seed(options.root, "draws", *map(repr, self.entries))
        draws = Draws.of(len(self.entries), n_subjects, options.num_boot, what, seed)
        return resample(
            self.rows,
            self.subjects,
            draws,
            options.method,
            self.controls,
            num_cores=options.num_cores,
        )


def check_options(
    *,
    method: str,
    alternative: str,
    nan_policy: str,
    random_state: RandomState,
    num_cores: NumCores,
    num_perms: int = 0,
    num_boot: int = 0,
    ci: float = 0.95,
    resample: str | None = None,
    controls: Any = None,
) -> Options:
    """Check what is asked for, or raise."""
    check_name(method, METHODS, argument="method", what="way to compare RDMs")
    check_name(alternative, ALTERNATIVES, argument="alternative", what="alternative")
    check_nan_policy(nan_policy)
    if resample is not None:
        check_name(resample, RESAMPLED, argument="resample", what="choice of draws")
    if controls is not None and method not in ("pearson", "spearman"):
        raise ValueError(
            f"`controls` are for partial correlations, by 'pearson' or 'spearman', not {method!r}."
        )
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    num_boot = check_count(num_boot, argument="num_boot", minimum=0)
    if num_boot == 1:
        raise ValueError("`num_boot` is 1, and a spread needs at least 2 draws; 0 makes none.")
    ci = check_share(ci, argument="ci")
    if not 0 < ci < 1:
        raise ValueError(f"`ci` must be between 0 and 1, such as 0.95, not {ci}.")
    check_num_cores(num_cores)
    root = check_random_state(random_state)
    return Options(method, num_perms, num_boot, ci, resample, alternative, root, num_cores)


@dataclass(frozen=True)
class Row:
    """An RDM of the stack."""

    name: str
    """For messages."""
    labels: dict[str, Any]
    entry_keys: tuple[EntryKey, ...]
    matrix: np.ndarray
    shuffles: list[tuple[tuple[EntryKey, ...], np.ndarray]]
    """The same with its items shuffled, where the stack has such rows."""


def read_rows(
    stack: pd.DataFrame, labels: Sequence[str], *, symmetrize: bool, ignore_diagonal: bool
) -> list[Row]:
    """Read the rows that are no shuffles, each with those that are its own."""
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to compare.")
    matrices = checked_matrices(
        stack, argument="rdm_df", symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    cells = {name: stack[name].tolist() for name in labels}
    keys, perms = stack["entry_keys"].tolist(), stack["perm"].tolist()
    shuffles: dict[Any, list[tuple[tuple[EntryKey, ...], np.ndarray]]] = {}
    names = [tuple(frozen(cells[name][k]) for name in labels) for k in range(len(stack))]
    for k, perm in enumerate(perms):
        if perm != "orig_data":
            shuffles.setdefault(names[k], []).append((keys[k], matrices[k]))
    return [
        Row(
            f"row {stack.index[k]!r}",
            {name: cells[name][k] for name in labels},
            keys[k],
            matrices[k],
            shuffles.get(names[k], []),
        )
        for k in range(len(stack))
        if perms[k] == "orig_data"
    ]


def read_controls(controls: Any, *, symmetrize: bool, ignore_diagonal: bool) -> list[Reference]:
    """Read the RDMs to hold constant, one for each control."""
    if controls is None:
        return []
    return read_references(
        controls,
        subject_variable="",
        argument="controls",
        symmetrize=symmetrize,
        ignore_diagonal=ignore_diagonal,
    )


def controls_among(
    controls: Sequence[Reference], entries: Sequence[EntryKey]
) -> np.ndarray | None:
    """Cells (n_controls, n_cells) of the controls between entries, all of which they must have."""
    if not controls:
        return None
    for control in controls:
        known = set(control.entry_keys)
        lacking = [key for key in entries if key not in known]
        if lacking:
            raise ValueError(
                f"`controls` lack {len(lacking)} of the entries that are compared, such as"
                f" {lacking[0]!r}. Add these, or leave them out with `subset_rdm_df`."
            )
    return np.concatenate([control.triangles(entries) for control in controls])


def p_values(r: np.ndarray, null: np.ndarray, alternative: str, *, are_all: bool) -> np.ndarray:
    """Return p of each row by its null (n_orders, n_rows)."""
    if alternative == "two-sided":
        hits = np.abs(null) >= np.abs(r) - _TIE
    elif alternative == "greater":
        hits = null >= r - _TIE
    else:
        hits = null <= r + _TIE
    count = hits.sum(axis=0)
    p: np.ndarray = count / len(null) if are_all else (1 + count) / (1 + len(null))
    return np.where(np.isnan(r), np.nan, p)


def corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Add p corrected for the number of tests, behind p."""
    p = table["p"].to_numpy(dtype=float)
    known = np.isfinite(p)
    fdr = np.full(len(p), np.nan)
    if known.any():
        fdr[known] = stats.false_discovery_control(p[known])
    place = list(table.columns).index("p") + 1
    table.insert(place, "p_fdr", fdr)
    table.insert(place + 1, "p_bonferroni", np.minimum(p * known.sum(), 1))
    return table
