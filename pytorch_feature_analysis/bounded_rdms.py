"""RDMs of patterns that need not be in memory together.

What follows from the geometry of the patterns is read off their source in stretches of units; the
other metrics compare a few whole patterns with a few others at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pytorch_feature_analysis.dissimilarity import METRICS, Metric, dtype_of_ranks
from pytorch_feature_analysis.gram import PatternGeometry, pattern_geometry
from pytorch_feature_analysis.pattern_rows import PatternStore, Slots
from pytorch_feature_analysis.pattern_sources import PatternSource, whole_pattern

MakeStore = Callable[[int, int, np.dtype], PatternStore]
"""Called with the numbers of patterns and of units and the type of number."""


def compute_bounded_rdms(
    source: PatternSource, metrics: Sequence[Metric], room: float, make_store: MakeStore
) -> list[np.ndarray]:
    """RDMs of the same patterns by several metrics.

    Parameters
    ----------
    room
        Bytes that copies of the patterns may take.
    make_store
        Where prepared patterns (ranks) are kept.

    Raises
    ------
    ValueError
        The patterns of a metric that needs all of them at once do not fit into `room`.
    """
    geometries: dict[Any, PatternGeometry] = {}
    rdms = []
    for metric in metrics:
        if metric.from_rows is not None:
            rdms.append(_from_rows(source, metric, metric.from_rows, room))
        elif metric.from_geometry is not None:
            if metric.prepare not in geometries:
                geometries[metric.prepare] = _geometry(source, metric, make_store)
            rdms.append(metric.from_geometry(geometries[metric.prepare]))
    return rdms


def _geometry(source: PatternSource, metric: Metric, make_store: MakeStore) -> PatternGeometry:
    if metric.prepare is None:
        return pattern_geometry(source)
    store = make_store(len(source), source.n_units, dtype_of_ranks(source.n_units))
    try:
        for row in range(len(source)):
            store.put([row], metric.prepare(whole_pattern(source, row)[None]))
        return pattern_geometry(Slots(store, range(len(source))))
    finally:
        store.close()


def _from_rows(
    source: PatternSource,
    metric: Metric,
    from_all: Callable[[np.ndarray], np.ndarray],
    room: float,
) -> np.ndarray:
    n, bytes_a_pattern = len(source), 8 * source.n_units
    if n * bytes_a_pattern <= room or metric.between is None:
        if n * bytes_a_pattern > room:
            raise ValueError(
                f"the metric '{metric.name}' needs all patterns at once, {n} of {source.n_units}"
                f" units: {n * bytes_a_pattern / 1e9:.2g} GB, more than `memory_budget` leaves"
                f" ({room / 1e9:.2g} GB). Raise it, or leave out this metric or this layer."
            )
        return from_all(_whole(source, range(n)))
    rdm = np.empty((n, n))
    # A function of the user's own may bear any name.
    is_symmetric = metric.name in METRICS and METRICS[metric.name].between is metric.between
    step = max(1, int(room // (2 * bytes_a_pattern)))
    for start in range(0, n, step):
        here = range(start, min(start + step, n))
        rows = _whole(source, here)
        rdm[np.ix_(here, here)] = metric.between(rows, rows)
        for behind in range(here.stop, n, step):
            there = range(behind, min(behind + step, n))
            others = _whole(source, there)
            block = metric.between(rows, others)
            rdm[np.ix_(here, there)] = block
            rdm[np.ix_(there, here)] = block.T if is_symmetric else metric.between(others, rows)
    return rdm


def _whole(source: PatternSource, rows: range) -> np.ndarray:
    """Patterns in float64, which a user's function cannot change."""
    table = np.empty((len(rows), source.n_units))
    source.read(np.asarray(rows), 0, source.n_units, table)
    table.flags.writeable = False
    return table
