"""RDMs of patterns that lack cells: each pair is compared on the cells that both have.

A cell that is not finite is missing. Patterns that lack the same cells are compared in one
product. Where nearly every pattern lacks cells of its own (the shuffled RDMs of a permutation
test around one dead item), there are as many sets of common cells as pairs; correlation and
Euclidean distance then come from sums over common cells, which are matrix products too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pytorch_feature_analysis.dissimilarity import METRICS, Metric, compute_rdms

# Below this share of a pattern's sum of squares, what is left on the common cells has lost three
# digits of sixteen to cancellation, and the pair is computed from its cells instead.
_LEFT_OVER = 1e-3
# Dissimilarities of near copies lose their digits likewise, by 1 - r and by x² + y² - 2xy.
_NEAR_COPY = 1e-4
# Up to this many sets of missing cells (36 pairs of sets), the cells themselves are compared.
_FEW_SETS = 8


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
    finite = np.isfinite(rows)
    if finite.all():
        return compute_rdms(rows, metrics)
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
    rdms = {metric.name: np.full((len(rows), len(rows)), np.nan) for metric in metrics}
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


_Sums = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _corr_from_sums(rows: np.ndarray, finite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - Pearson's r on common cells, and which pairs are in doubt."""
    counts, mask = finite.sum(axis=1, keepdims=True), finite.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.where(finite, rows, 0)
        values = np.where(finite, rows - values.sum(axis=1, keepdims=True) / counts, 0)
        # [i, j] is of pattern i, over the cells that j has too.
        totals, squares = values @ mask.T, values**2 @ mask.T
        common = mask @ mask.T
        variances = squares - totals**2 / common
        covariances = values @ values.T - totals * totals.T / common
        dissim = 1 - covariances / np.sqrt(variances * variances.T)
        sound = variances > _LEFT_OVER * (values**2).sum(axis=1, keepdims=True)
    return dissim, ~(sound & sound.T & (dissim > _NEAR_COPY))


def _squared_from_sums(rows: np.ndarray, finite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared Euclidean distances on common cells, and which pairs are in doubt."""
    mask = finite.astype(float)
    values = np.where(finite, rows, 0)
    # Distances do not change under a shift; what is left has the size of the differences.
    values = np.where(finite, values - values.sum(axis=0) / np.maximum(finite.sum(axis=0), 1), 0)
    squares = values**2 @ mask.T
    sizes = squares + squares.T
    dissim = sizes - 2 * values @ values.T
    return dissim, ~(dissim > _NEAR_COPY * sizes)


def _euclidean_from_sums(rows: np.ndarray, finite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    squared, in_doubt = _squared_from_sums(rows, finite)
    return np.sqrt(np.maximum(squared, 0)), in_doubt


_BY_SUMS: dict[str, _Sums] = {
    "corr": _corr_from_sums,
    "euclidean_distance": _euclidean_from_sums,
    "squared_euclidean": _squared_from_sums,
}


def _sums_of(metric: Metric) -> _Sums | None:
    """How a metric comes from sums over common cells, if it does; aliases are alike."""
    if metric.from_geometry is None or metric.prepare is not None or metric.name not in METRICS:
        return None
    return _BY_SUMS.get(METRICS[metric.name].name)


def _from_sums(rows: np.ndarray, finite: np.ndarray, metric: Metric, sums: _Sums) -> np.ndarray:
    """One RDM from sums over common cells; pairs in doubt are computed from their cells."""
    rdm, in_doubt = sums(rows, finite)
    lower = np.tril_indices(len(rows), k=-1)
    rdm[lower] = rdm.T[lower]
    np.fill_diagonal(rdm, np.where(finite.any(axis=1), 0.0, np.nan))
    for i, j in np.argwhere(np.triu(in_doubt, k=1)).tolist():
        parts = _on_common_cells(rows, finite, [i, j], [metric])
        rdm[i, j] = rdm[j, i] = np.nan if parts is None else parts[0][0, 1]
    return rdm
