"""Patterns projected at random to a few numbers each, for an approximate geometry.

Each unit is put, with a random sign, into one of as many bins as there are to be numbers, all of
about one size, and each bin is summed up: a sparse random projection with one entry a unit.
Squared distances are kept in expectation, with a standard deviation of about a share
``sqrt(2 / n_numbers)`` of each (Charikar, Chen and Farach-Colton 2004,
doi:10.1016/S0304-3975(03)00400-6; Dasgupta, Kumar and Sarlos 2010, doi:10.1145/1806689.1806737).
"""

from __future__ import annotations

import numpy as np

from pytorch_feature_analysis._checks import child_generator
from pytorch_feature_analysis.gram import PatternGeometry, pattern_geometry
from pytorch_feature_analysis.pattern_sources import PatternSource


class Projector:
    """Projects patterns of one layer; the same seed and layer give the same projection.

    A projected pattern is the projection of the standardised pattern (mean off, length 1), with
    its mean and its spread behind it: these are exact.
    """

    def __init__(self, n_units: int, n_numbers: int, root: int, *key: str) -> None:
        self.n_units = n_units
        self._n_numbers = min(n_numbers, n_units)
        generator = child_generator(root, "projection", *key)
        if self._n_numbers < n_units:
            self._order = generator.permutation(n_units)
            self._signs = generator.choice(np.array([-1.0, 1.0]), n_units)
            ends = np.linspace(0, n_units, self._n_numbers + 1).astype(int)
            self._starts = ends[:-1]

    @property
    def width(self) -> int:
        """How many numbers a projected pattern has."""
        return self._n_numbers + 2

    def project(self, patterns: np.ndarray) -> np.ndarray:
        """Project patterns (n, n_units) to (n, width)."""
        projected = np.empty((len(patterns), self.width))
        for pattern, line in zip(patterns, projected, strict=True):
            geometry = pattern_geometry(pattern[None])
            mean, spread = geometry.means[0], geometry.spreads[0]
            line[-2:] = mean, spread
            scale = 1 / spread if spread > 0 else 0.0 * spread
            standardised = (pattern - mean) * scale
            if self._n_numbers < self.n_units:
                signed = standardised[self._order] * self._signs
                line[:-2] = np.add.reduceat(signed, self._starts)
            else:
                line[:-2] = standardised
        return projected


class Projected:
    """Projected patterns, which stand for those that they were made of."""

    def __init__(self, source: PatternSource, n_units: int) -> None:
        self._source, self._of_units = source, n_units
        # The mean and the spread stand behind the numbers.
        self.n_units = source.n_units - 2

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read the projected patterns."""
        self._source.read(rows, lo, hi, out)

    def own_geometry(self) -> PatternGeometry:
        """Geometry of the patterns that were projected: approximate but for means and spreads."""
        n = len(self)
        table = np.empty((n, self.n_units + 2))
        self._source.read(np.arange(n), 0, self.n_units + 2, table)
        numbers, means, spreads = table[:, :-2], table[:, -2].copy(), table[:, -1].copy()
        with np.errstate(invalid="ignore"):
            squared = pattern_geometry(numbers).squared_euclidean()
        still = spreads == 0
        squared[still] = squared[:, still] = 0
        broken = ~np.isfinite(means)
        squared[broken] = squared[:, broken] = np.nan
        return PatternGeometry(self._of_units, means, spreads, squared)
