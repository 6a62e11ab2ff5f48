"""Patterns on a device (CUDA, MPS), and their geometry, worked out there.

Devices are fast in float32 and, as a rule, slow in float64 or without it. In float32 the patterns
are standardised first (mean off, length 1, both known to float64), and enter the product as
deviations from their common mean: distances do not change under a shift, and what is left has the
size of the differences, of which float32 keeps seven digits. Sums run over short stretches on the
device, and from there on in float64 on the host.

This has been tested in both precisions on the CPU only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pytorch_feature_analysis.close_patterns import go_over
from pytorch_feature_analysis.gram import PatternGeometry

_CHUNK_UNITS = 2**13
# Squares of what is smaller, or of its inverse, have no place among float32 numbers.
_TINY = 1e-17
# Sums of so many float32 numbers keep their digits.
_STRETCH = 2**8
# Where distances are smaller than this share of the squared lengths, float32 keeps four digits.
_CANCELLED = {torch.float32: 1e-3, torch.float64: 1e-4}
# NVIDIA's processors for computing centres, by compute capability.
_FAST_FLOAT64 = ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0))


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return float64 where the device is fast in it, else float32."""
    if device.type == "cpu":
        return torch.float64
    if device.type == "cuda" and torch.cuda.get_device_capability(device) in _FAST_FLOAT64:
        return torch.float64
    return torch.float32


class DeviceTable:
    """Patterns that wait on the device."""

    def __init__(self, n_slots: int, like: torch.Tensor) -> None:
        self.n_units = like.shape[1]
        self.rows = like.new_empty((n_slots, self.n_units))

    def put(self, slots: Sequence[int], patterns: torch.Tensor) -> None:
        """Copy patterns into slots; the table grows where there are more than was planned."""
        missing = max(slots) + 1 - len(self.rows)
        if missing > 0:
            self.rows = torch.cat([self.rows, self.rows.new_empty((missing, self.n_units))])
        self.rows[list(slots)] = patterns

    def gathered(
        self, places: Sequence[int], is_fresh: Sequence[bool], fresh: torch.Tensor
    ) -> torch.Tensor:
        """Return patterns from slots of the table and from rows of a batch that is just there."""
        place = torch.as_tensor(places, device=fresh.device)
        new = torch.as_tensor(is_fresh, device=fresh.device)
        rows = fresh.new_empty((len(places), self.n_units))
        rows[new], rows[~new] = fresh[place[new]], self.rows[place[~new]]
        return rows

    def close(self) -> None:
        """Give back the memory."""
        self.rows = self.rows[:0, :0]


class DevicePatterns:
    """Patterns (n, n_units) on a device, as a source that knows its own geometry."""

    def __init__(self, rows: torch.Tensor, dtype: torch.dtype | None = None) -> None:
        self._rows = rows
        self._dtype = dtype or fast_dtype(rows.device)
        self.n_units = rows.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Copy units `lo` to `hi` of some patterns to the host."""
        chosen = torch.as_tensor(rows, device=self._rows.device)
        out[...] = self._rows[chosen, lo:hi].cpu().numpy()

    def own_geometry(self) -> PatternGeometry:
        """Work the geometry out on the device; what is in doubt, on the host."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return self._geometry()

    def _geometry(self) -> PatternGeometry:
        n, n_units = len(self), self.n_units
        means, spreads = self._moments()
        lowest, highest = (one.cpu().numpy() for one in torch.aminmax(self._rows, dim=1))
        still = lowest == highest
        spreads[still] = 0
        sound = np.isfinite(means) & (spreads > _TINY) & (spreads < 1 / _TINY)
        scales = np.zeros(n)
        np.divide(1, spreads, out=scales, where=sound)
        products = np.zeros((n, n))
        for lo in range(0, n_units, _CHUNK_UNITS):
            chunk = self._standardised(lo, min(lo + _CHUNK_UNITS, n_units), means, scales)
            chunk -= chunk.mean(dim=0)
            products += (chunk @ chunk.T).cpu().numpy()
        products = np.triu(products) + np.triu(products, k=1).T
        squares = np.diag(products)
        both = squares[:, None] + squares
        standardised = np.maximum(both - 2 * products, 0)
        np.fill_diagonal(standardised, 0)
        close = (standardised <= _CANCELLED[self._dtype] * both) & ~np.eye(n, dtype=bool)
        close &= sound[:, None] & sound
        again = np.flatnonzero(close.any(axis=1) | still)
        if not (sound | still).all():
            # Products with these have been left out: broken ones, and such as overflow.
            again = np.arange(n)
        if len(again):
            go_over(self, again, means, spreads, standardised)
        return PatternGeometry(n_units, means, spreads, standardised)

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of each pattern, from sums over stretches."""
        totals = self._sums(np.zeros(len(self)), 1)
        means = self._rounded(totals / self.n_units)
        squares = self._sums(means, 2)
        # What the mean, rounded on the device, has left over.
        rest = self._sums(means, 1) / self.n_units
        return means + rest, np.sqrt(np.maximum(squares - self.n_units * rest**2, 0))

    def _rounded(self, values: np.ndarray) -> np.ndarray:
        """Round numbers as the device does."""
        return self._column(values)[:, 0].cpu().numpy().astype(float)

    def _sums(self, offsets: np.ndarray, power: int) -> np.ndarray:
        shift = self._column(offsets)
        sums = np.zeros(len(self))
        for lo in range(0, self.n_units, _CHUNK_UNITS):
            chunk = self._rows[:, lo : lo + _CHUNK_UNITS].to(self._dtype) - shift
            parts = [part.pow(power).sum(dim=1) for part in chunk.split(_STRETCH, dim=1)]
            sums += torch.stack(parts).cpu().numpy().astype(float).sum(axis=0)
        return sums

    def _column(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=self._dtype, device=self._rows.device)[:, None]

    def _standardised(
        self, lo: int, hi: int, means: np.ndarray, scales: np.ndarray
    ) -> torch.Tensor:
        means = np.nan_to_num(means)
        rounded = self._rounded(means)
        chunk = self._rows[:, lo:hi].to(self._dtype) - self._column(rounded)
        chunk -= self._column(means - rounded)
        chunk *= self._column(scales)
        # Broken patterns have no part in the others'.
        return torch.nan_to_num(chunk, nan=0.0, posinf=0.0, neginf=0.0)
