"""Comparing the RDMs of one group with each other, as they are and with their items shuffled.

All of it works on arrays, so that a comparison can be sent to a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytorch_feature_analysis._checks import child_generator, child_seed
from pytorch_feature_analysis.dissimilarity import Metric
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.matrices import dead_items, is_finite, to_condensed
from pytorch_feature_analysis.missing_cells import common_cells
from pytorch_feature_analysis.pairwise_complete import compute_rdms_pairwise
from pytorch_feature_analysis.selection import greedy_order

Scramble = tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """What to compare."""

    matrices: list[np.ndarray]
    """The RDMs, all over the same items."""
    orders: list[np.ndarray | None]
    """Where the items of the first RDM are in each; None where they are in the same places."""
    scrambles: list[tuple[Scramble, ...] | None]
    """Per comparison the order in which each RDM's items are taken; None: as they are."""
    subsets: list[list[int]]
    """Which of the RDMs each result is about."""
    metrics: list[Metric]
    nan_policy: str = "pairwise"


@dataclass(frozen=True)
class Missing:
    """What could not be compared, in the RDMs as they are."""

    rdms: int
    """RDMs with a missing cell."""
    items: int
    """Dead items: without any finite dissimilarity. Counted in each RDM, or with 'omit', where
    they are left out for all RDMs, once."""
    cells: int
    """Missing cells between other items, counted likewise."""


@dataclass(frozen=True)
class Compared:
    """Results of one comparison."""

    rdms: list[tuple[np.ndarray, Scramble]]
    """RDM and greedy ranking for each scramble, subset and metric, the metric changing first."""
    missing: Missing


def compare(comparison: Comparison) -> Compared:
    """Compare RDMs by their upper triangles."""
    n_rdms, n_items = len(comparison.matrices), len(comparison.matrices[0])
    omits = comparison.nan_policy == "omit"
    kept = ~_dead_in_any(comparison) if omits else np.ones(n_items, dtype=bool)
    every = np.flatnonzero(kept)
    upper = np.triu_indices(len(every), k=1)
    # One flat index is several times faster than a pair of them.
    as_they_are = every[upper[0]] * n_items + every[upper[1]]
    rdms = []
    missing = Missing(0, 0, 0)
    rows = np.empty((n_rdms, len(as_they_are)))
    for scramble in comparison.scrambles:
        for k, (matrix, order) in enumerate(
            zip(comparison.matrices, comparison.orders, strict=True)
        ):
            taken = every if scramble is None else np.array(scramble[k])
            if scramble is not None and len(every) < n_items:
                # The same shuffle of those that are left.
                taken = taken[kept[taken]]
            taken = taken if order is None else order[taken]
            cells = as_they_are
            if taken is not every:
                cells = (taken * n_items)[upper[0]] + taken[upper[1]]
            np.take(matrix, cells, out=rows[k], mode="clip")
        if scramble is None:
            missing = _count_missing(comparison, rows, n_items - len(every))
        compared = rows
        if omits and not (rows.size and is_finite(rows)):
            compared = rows[:, common_cells(rows)]
        if compared.shape[1] == 0:
            # Nothing that all have: no dissimilarity is defined.
            compared = np.full((n_rdms, 1), np.nan)
        whole = compute_rdms_pairwise(compared, comparison.metrics)
        for subset in comparison.subsets:
            # In the order of the rows, so that as many as there are rows are all of them.
            is_all = len(subset) == n_rdms
            for rdm, metric in zip(whole, comparison.metrics, strict=True):
                part = rdm if is_all else rdm[np.ix_(subset, subset)]
                ranking = greedy_order(part, symmetric=metric.from_geometry is not None)
                rdms.append((part, ranking))
    return Compared(rdms, missing)


def _dead_in_any(comparison: Comparison) -> np.ndarray:
    """Mark the items, by their places in the first RDM, that are dead in any."""
    dead = np.zeros(len(comparison.matrices[0]), dtype=bool)
    for matrix, order in zip(comparison.matrices, comparison.orders, strict=True):
        if not is_finite(matrix):
            own = dead_items(matrix)
            dead |= own if order is None else own[order]
    return dead


def _count_missing(comparison: Comparison, rows: np.ndarray, n_dropped: int) -> Missing:
    """Count what is missing in the RDMs as they are; `n_dropped` items are not in the rows."""
    if comparison.nan_policy == "omit":
        lacking = sum(not is_finite(to_condensed(matrix)) for matrix in comparison.matrices)
        return Missing(lacking, n_dropped, int((~common_cells(rows)).sum()))
    if is_finite(rows):
        return Missing(0, 0, 0)
    n_items = len(comparison.matrices[0])
    incomplete = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
    items = cells = 0
    for k in incomplete:
        dead = int(dead_items(comparison.matrices[k]).sum())
        items += dead
        alive_pairs = (n_items - dead) * (n_items - dead - 1) // 2
        cells += int((~np.isfinite(rows[k])).sum()) - (rows.shape[1] - alive_pairs)
    return Missing(len(incomplete), items, cells)


class Scrambles:
    """The scrambles of one call: each a function of its number, the entry and the items' keys.

    So they are the same wherever the entry stands and in whatever order its items come, in all
    groups and by all metrics.
    """

    def __init__(self, root: int, num_perms: int) -> None:
        self._root = root
        self._num_perms = num_perms
        self._known: dict[tuple[tuple[EntryKey, ...], EntryKey], list[Scramble]] = {}

    def of(
        self, item_keys: tuple[EntryKey, ...], entry_keys: Sequence[EntryKey]
    ) -> list[tuple[Scramble, ...]]:
        """Scrambles of all entries, for each number from 0 (the identity) on."""
        if not self._num_perms:
            return [(tuple(range(len(item_keys))),) * len(entry_keys)]
        columns = []
        for entry_key in entry_keys:
            known = self._known.get((item_keys, entry_key))
            if known is None:
                known = self._known[item_keys, entry_key] = self._draw(item_keys, entry_key)
            columns.append(known)
        return list(zip(*columns, strict=True))

    def _draw(self, item_keys: tuple[EntryKey, ...], entry_key: EntryKey) -> list[Scramble]:
        n_items = len(item_keys)
        # Drawn over the items in the order of their names, then said in that of their places.
        by_name = np.array(sorted(range(n_items), key=lambda k: repr(item_keys[k])))
        seed = child_seed(self._root, "scramble", *(item_keys[k] for k in by_name.tolist()))
        scrambles = [tuple(range(n_items))]
        # One stream an entry: the first numbers are the same however many are asked for.
        stream = child_generator(seed, entry_key)
        for _ in range(self._num_perms):
            scramble = np.empty(n_items, dtype=int)
            scramble[by_name] = by_name[stream.permutation(n_items)]
            scrambles.append(tuple(scramble.tolist()))
        return scrambles
