"""Patterns that are read by stretches of their units, wherever they are kept.

How the units are cut into chunks follows from the numbers of patterns and units alone, so that the
same patterns give the same bits in one array, in many, or in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

# Four megabytes of float64: what the outer cache holds, and long enough for a fast product.
_CHUNK_ELEMENTS = 2**19
_SHORTEST_CHUNK = 1024


class PatternSource(Protocol):
    """Patterns that are kept in any place, and read by stretches of their units."""

    @property
    def n_units(self) -> int:
        """Length of each pattern."""

    def __len__(self) -> int:
        """Count the patterns."""

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Write units `lo` to `hi` of some patterns into `out` (len(rows), hi - lo).

        Several threads may read at the same time.
        """


Patterns = np.ndarray | Sequence[np.ndarray] | PatternSource


class _Listed:
    """Patterns in memory: the rows of a table, or arrays that lie in different places."""

    def __init__(self, patterns: np.ndarray | Sequence[np.ndarray]) -> None:
        self._patterns = patterns
        self.n_units = len(patterns[0])

    def __len__(self) -> int:
        return len(self._patterns)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        table = self._patterns
        if isinstance(table, np.ndarray) and (np.diff(rows) == 1).all():
            out[...] = table[rows[0] : rows[-1] + 1, lo:hi]
        else:
            for line, i in zip(out, rows.tolist(), strict=True):
                line[...] = table[i][lo:hi]


def as_source(patterns: Patterns) -> PatternSource:
    """Give patterns in memory the means to be read like those that are not."""
    if isinstance(patterns, (np.ndarray, Sequence)):
        return _Listed(patterns)
    return patterns


def whole_pattern(source: PatternSource, row: int) -> np.ndarray:
    """One pattern in float64."""
    pattern = np.empty((1, source.n_units))
    source.read(np.array([row]), 0, source.n_units, pattern)
    return pattern[0]


def unit_bounds(n_units: int, n_rows: int) -> Iterator[tuple[int, int]]:
    """Cut the units into stretches."""
    length = min(n_units, max(_SHORTEST_CHUNK, _CHUNK_ELEMENTS // n_rows))
    for lo in range(0, n_units, length):
        yield lo, min(lo + length, n_units)


def unit_chunks(
    bounds: Iterable[tuple[int, int]], n_rows: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Stretches of the units, each with a contiguous buffer that is valid until the next."""
    buffer = np.empty(0)
    for lo, hi in bounds:
        if len(buffer) < n_rows * (hi - lo):
            buffer = np.empty(n_rows * (hi - lo))
        yield lo, hi, buffer[: n_rows * (hi - lo)].reshape(n_rows, hi - lo)
