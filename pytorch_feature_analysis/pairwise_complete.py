"""RDMs of patterns that lack cells: each pair is compared on the cells that both have.

A cell that is not finite is missing. Patterns that lack the same cells are compared in one
product. Where nearly every pattern lacks cells of its own (the shuffled RDMs of a permutation
test around one dead item), there are as many sets of common cells as pairs; correlation and
Euclidean distance then come from sums over common cells, which are matrix products too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pytorch_feature_analysis.dissimilarity import METRICS, Metric, compute_rdms
from pytorch_feature_analysis.matrices import is_finite

# Below this share of a pattern's sum of squares, what is left on the common cells has lost three
# digits of sixteen to cancellation, and the pair is computed from its cells instead.
_LEFT_OVER = 1e-3
# Dissimilarities of near copies lose their digits likewise, by 1 - r and by x² + y² - 2xy.
_NEAR_COPY = 1e-4
# Up to this many sets of missing cells (36 pairs of sets), the cells themselves are compared.
_FEW_SETS = 8
# Size of a table of patterns whose sums are computed together: 8 megabytes.
_TABLE_ELEMENTS = 2**20


def compute_rdms_pairwise(rows: np.ndarray, metrics: Sequence[Metric]) -> list[np.ndarray]:
    """RDMs of the same patterns by several metrics, each pair on its common finite cells.

    Parameters
    ----------
    rows
        (n_patterns, n_units) float64, at least one of each.
    metrics
        As `check_metrics` gives them.

    Returns
    -------
    list of ndarray (n_patterns, n_patterns)
        One RDM a metric. Without missing cells these are `compute_rdms` of the rows. Distances
        are sums over the common cells, not scaled up to the number of all cells. NaN for a pair
        without a common cell, also on the diagonal.
    """
    if is_finite(rows):
        return compute_rdms(rows, metrics)
    finite = np.isfinite(rows)
    members: dict[bytes, list[int]] = {}
    for i, mask in enumerate(np.packbits(finite, axis=1)):
        members.setdefault(mask.tobytes(), []).append(i)
    blocks = list(members.values())
    rdms: dict[str, np.ndarray] = {}
    for metric in metrics:
        sums = _sums_of(metric) if len(blocks) > _FEW_SETS else None
        if sums is not None:
            rdms[metric.name] = _from_sums(rows, finite, metric, sums)
    others = [metric for metric in metrics if metric.name not in rdms]
    if others:
        rdms |= _from_blocks(rows, finite, blocks, others)
    return [rdms[metric.name] for metric in metrics]


def _from_blocks(
    rows: np.ndarray, finite: np.ndarray, blocks: list[list[int]], metrics: Sequence[Metric]
) -> dict[str, np.ndarray]:
    """RDMs by any metrics, with one product for each pair of sets of missing cells."""
    names = [metric.name for metric in metrics]
    if len(blocks) == 1:
        # All lack the same: there is nothing to put together.
        whole = _on_common_cells(rows, finite, blocks[0], metrics)
        if whole is not None:
            return dict(zip(names, whole, strict=True))
    rdms = {name: np.full((len(rows), len(rows)), np.nan) for name in names}
    for k, block in enumerate(blocks):
        for other in blocks[k:]:
            n = 0 if other is block else len(block)
            parts = _on_common_cells(rows, finite, block[:n] + other, metrics)
            if parts is None:
                continue
            there, back = np.ix_(block, other), np.ix_(other, block)
            for rdm, part in zip(rdms.values(), parts, strict=True):
                rdm[there] = part[: len(block), n:]
                rdm[back] = part[n:, : len(block)]
    return rdms


def _on_common_cells(
    rows: np.ndarray, finite: np.ndarray, chosen: list[int], metrics: Sequence[Metric]
) -> list[np.ndarray] | None:
    """RDMs of the chosen rows on the cells that all of them have; None if there are none."""
    common = finite[chosen[0]] & finite[chosen[-1]]
    if not common.any():
        return None
    return compute_rdms(rows[np.ix_(np.array(chosen), np.flatnonzero(common))], metrics)


@dataclass(frozen=True)
class _Table:
    """Some of the patterns, with 0 for what is missing."""

    values: np.ndarray
    mask: np.ndarray
    """1 for the cells that are there."""

    def over_cells_of(self, other: _Table) -> tuple[np.ndarray, np.ndarray]:
        """Sum, and sum of squares, of each pattern over the cells of each of the other's."""
        return self.values @ other.mask.T, self.values**2 @ other.mask.T


@dataclass(frozen=True)
class _BySums:
    """How a metric comes from sums over common cells."""

    offsets: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """What is taken off first, since the metric does not see it and digits would be lost to it."""
    compare: Callable[[_Table, _Table], tuple[np.ndarray, np.ndarray]]
    """Dissimilarities between the patterns of two tables, and which of them are in doubt."""


def _means_of_patterns(rows: np.ndarray, finite: np.ndarray) -> np.ndarray:
    counts = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    return np.sum(rows, axis=1, keepdims=True, where=finite) / counts


def _means_of_units(rows: np.ndarray, finite: np.ndarray) -> np.ndarray:
    return np.sum(rows, axis=0, where=finite) / np.maximum(finite.sum(axis=0), 1)


def _compare_corr(first: _Table, second: _Table) -> tuple[np.ndarray, np.ndarray]:
    """1 - Pearson's r on common cells."""
    common = first.mask @ second.mask.T
    totals, squares = first.over_cells_of(second)
    other_totals, other_squares = (
        (totals.T, squares.T)
        if second is first
        else (found.T for found in second.over_cells_of(first))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = squares - totals**2 / common
        other_variances = other_squares - other_totals**2 / common
        covariances = first.values @ second.values.T - totals * other_totals / common
        dissim = 1 - covariances / np.sqrt(variances * other_variances)
    sound = variances > _LEFT_OVER * (first.values**2).sum(axis=1, keepdims=True)
    sound &= other_variances > _LEFT_OVER * (second.values**2).sum(axis=1)
    return dissim, ~(sound & (dissim > _NEAR_COPY))


def _compare_squared(first: _Table, second: _Table) -> tuple[np.ndarray, np.ndarray]:
    """Squared Euclidean distances on common cells."""
    squares = first.over_cells_of(second)[1]
    sizes = squares + (squares if second is first else second.over_cells_of(first)[1]).T
    dissim = sizes - 2 * first.values @ second.values.T
    return dissim, ~(dissim > _NEAR_COPY * sizes)


def _compare_euclidean(first: _Table, second: _Table) -> tuple[np.ndarray, np.ndarray]:
    squared, in_doubt = _compare_squared(first, second)
    return np.sqrt(np.maximum(squared, 0)), in_doubt


_SUMMED: dict[str, _BySums] = {
    "corr": _BySums(_means_of_patterns, _compare_corr),
    "euclidean_distance": _BySums(_means_of_units, _compare_euclidean),
    "squared_euclidean": _BySums(_means_of_units, _compare_squared),
}


def _sums_of(metric: Metric) -> _BySums | None:
    """How a metric comes from sums over common cells, if it does; aliases are alike."""
    if metric.from_geometry is None or metric.prepare is not None or metric.name not in METRICS:
        return None
    return _SUMMED.get(METRICS[metric.name].name)


def _from_sums(rows: np.ndarray, finite: np.ndarray, metric: Metric, sums: _BySums) -> np.ndarray:
    """One RDM from sums over common cells; pairs in doubt are computed from their cells."""
    offsets = np.broadcast_to(sums.offsets(rows, finite), rows.shape)

    def table(some: slice) -> _Table:
        values = np.where(finite[some], rows[some] - offsets[some], 0)
        return _Table(values, finite[some].astype(float))

    n = len(rows)
    rdm = np.empty((n, n))
    alive = finite.sum(axis=1) > 0
    again: list[tuple[int, int]] = []
    # A few patterns at a time, because the sums take many times the room of the RDM.
    step = max(1, _TABLE_ELEMENTS // rows.shape[1])
    for start in range(0, n, step):
        here = slice(start, start + step)
        first = table(here)
        for beyond in range(start, n, step):
            there = slice(beyond, beyond + step)
            second = first if beyond == start else table(there)
            dissim, in_doubt = sums.compare(first, second)
            if beyond == start:
                dissim, in_doubt = np.triu(dissim, k=1), np.triu(in_doubt, k=1)
                dissim += dissim.T
            rdm[here, there] = dissim
            rdm[there, here] = dissim.T
            in_doubt &= np.logical_and.outer(alive[here], alive[there])
            again += [(start + i, beyond + j) for i, j in np.argwhere(in_doubt).tolist()]
    np.fill_diagonal(rdm, 0)
    rdm[~alive] = rdm[:, ~alive] = np.nan
    for i, j in again:
        parts = _on_common_cells(rows, finite, [i, j], [metric])
        rdm[i, j] = rdm[j, i] = np.nan if parts is None else parts[0][0, 1]
    return rdm
