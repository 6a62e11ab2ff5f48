"""Places where the patterns of many images are kept until they are compared.

Each can be read by stretches of units, as `PatternSource` says, so that what compares
patterns does not know where they are: in a table in memory, in a file, or partly made of others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from itertools import pairwise
from threading import Lock
from typing import Protocol

import numpy as np

from pytorch_feature_analysis._threads import by_rows
from pytorch_feature_analysis.pattern_sources import PatternSource

# One stretch of a file: small enough to be read beside all else, large enough to be read fast.
_STRETCH_BYTES = 2**23


class CanRead(Protocol):
    """What a pattern source and a store have in common."""

    @property
    def n_units(self) -> int:
        """Length of each pattern."""

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read units `lo` to `hi` of the patterns in some rows or slots."""


class PatternStore(CanRead, Protocol):
    """Keeps patterns of one length, each in a slot."""

    def put(self, slots: Sequence[int], patterns: np.ndarray) -> None:
        """Copy patterns (n, n_units) into slots."""

    def close(self) -> None:
        """Give back the room."""


class Arena:
    """Memory for tables that come and go: taken from the system once, and used again.

    The system clears each page of memory that it hands out anew, which takes as long as copying
    the patterns into it.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)
        self._used = 0

    def __reduce__(self) -> tuple[type[Arena], tuple[()]]:
        # In another process it begins empty.
        return Arena, ()

    def clear(self, size: int) -> None:
        """Take everything back, and make room for `size` bytes."""
        self._used = 0
        if len(self._bytes) < size:
            self._bytes = np.empty(0, np.uint8)
            self._bytes = np.empty(size, np.uint8)

    def array(self, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
        """Return an array whose content is arbitrary; from elsewhere where the room is used up."""
        size = shape[0] * shape[1] * dtype.itemsize
        start = self._used
        if start + size > len(self._bytes):
            return np.empty(shape, dtype)
        self._used += -(-size // 64) * 64
        return self._bytes[start : start + size].view(dtype).reshape(shape)


class Table:
    """Patterns in memory."""

    def __init__(
        self, n_slots: int, n_units: int, dtype: np.dtype, arena: Arena | None = None
    ) -> None:
        self.n_units = n_units
        self._rows = (arena or Arena()).array((n_slots, n_units), np.dtype(dtype))

    def put(self, slots: Sequence[int], patterns: np.ndarray) -> None:
        """Copy patterns into slots; the table grows where there are more than was planned."""
        missing = max(slots) + 1 - len(self._rows)
        if missing > 0:
            more = np.empty((missing, self.n_units), self._rows.dtype)
            self._rows = np.concatenate([self._rows, more])

        def copy(chosen: slice) -> None:
            part = patterns[chosen]
            for start, stop, first in _runs(slots[chosen]):
                self._rows[first : first + stop - start] = part[start:stop]

        # The system clears memory when it is first written to: that takes longer than the copy.
        by_rows(copy, len(patterns), patterns.size)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read units of some patterns."""
        for start, stop, first in _runs(rows.tolist()):
            out[start:stop] = self._rows[first : first + stop - start, lo:hi]

    def close(self) -> None:
        """Give back the memory."""
        self._rows = self._rows[:0, :0]


class SpillFile:
    """Patterns in a nameless temporary file, which is gone when it is closed or the process ends.

    All patterns' units of one stretch stand together, so that reading all patterns by stretches
    of units reads the file from the beginning to the end.
    """

    def __init__(self, n_slots: int, n_units: int, dtype: np.dtype, folder: str | None) -> None:
        self.n_units = n_units
        self._n_slots, self._dtype = n_slots, np.dtype(dtype)
        per_slot = _STRETCH_BYTES // (self._dtype.itemsize * n_slots)
        self._length = max(1, min(n_units, max(per_slot, 1024)))
        self._turn = Lock()
        self._file = tempfile.TemporaryFile(dir=folder, prefix="pfa-", buffering=0)  # noqa: SIM115

    def put(self, slots: Sequence[int], patterns: np.ndarray) -> None:
        """Write patterns into slots."""
        patterns = patterns.astype(self._dtype, copy=False)
        for start, stop, first in _runs(slots):
            for lo, hi in self._stretches(0, self.n_units):
                part = np.ascontiguousarray(patterns[start:stop, lo:hi])
                self._write(part, self._offset(first, lo))

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read units of some patterns."""
        for left, right in self._stretches(lo, hi):
            begin = left - left % self._length
            width = min(self._length, self.n_units - begin)
            for start, stop, first in _runs(rows.tolist()):
                part = np.empty((stop - start, width), self._dtype)
                self._read(part, self._offset(first, begin))
                out[start:stop, left - lo : right - lo] = part[:, left - begin : right - begin]

    def close(self) -> None:
        """Give back the room on the disk."""
        self._file.close()

    def _stretches(self, lo: int, hi: int) -> Iterable[tuple[int, int]]:
        bounds = [lo, *range(lo - lo % self._length + self._length, hi, self._length), hi]
        return pairwise(bounds)

    def _offset(self, slot: int, unit: int) -> int:
        """Place of the first unit of the stretch that holds `unit`, in bytes."""
        begin = unit - unit % self._length
        width = min(self._length, self.n_units - begin)
        return (begin * self._n_slots + slot * width) * self._dtype.itemsize

    def _write(self, part: np.ndarray, offset: int) -> None:
        self._file.seek(offset)
        rest = part.data.cast("B")
        while rest:
            rest = rest[self._file.write(rest) :]

    def _read(self, part: np.ndarray, offset: int) -> None:
        rest = part.data.cast("B")
        with self._turn:
            self._file.seek(offset)
            self._fill(rest)

    def _fill(self, rest: memoryview) -> None:
        while rest:
            count = self._file.readinto(rest)
            if not count:
                raise EOFError("a temporary file of patterns ends before the pattern asked for.")
            rest = rest[count:]


class Slots:
    """Some slots of a store, in any order, as a source of patterns."""

    def __init__(self, store: PatternStore, slots: Sequence[int]) -> None:
        self.n_units = store.n_units
        self._store, self._slots = store, np.asarray(slots)

    def __len__(self) -> int:
        return len(self._slots)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read units of some of the patterns."""
        self._store.read(self._slots[rows], lo, hi, out)


class Gathered:
    """Patterns from several sources, in any order.

    Parameters
    ----------
    sources
        Of patterns of one length.
    which, places
        Per pattern the number of its source, and its row or slot there.
    """

    def __init__(
        self, sources: Sequence[CanRead], which: Sequence[int], places: Sequence[int]
    ) -> None:
        self.n_units = sources[0].n_units
        self._sources = sources
        self._which, self._places = np.asarray(which, dtype=int), np.asarray(places)

    @classmethod
    def behind_each_other(cls, *sources: PatternSource) -> Gathered:
        """All patterns of one source after the other."""
        counts = [len(source) for source in sources]
        places = np.concatenate([np.arange(count) for count in counts])
        return cls(sources, np.repeat(np.arange(len(sources)), counts).tolist(), places.tolist())

    def __len__(self) -> int:
        return len(self._which)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read units of some of the patterns."""
        which, places = self._which[rows], self._places[rows]
        changes = (np.flatnonzero(np.diff(which)) + 1).tolist()
        for start, stop in pairwise([0, *changes, len(rows)]):
            self._sources[which[start]].read(places[start:stop], lo, hi, out[start:stop])


class Chosen:
    """Some units of each pattern of a source, in any order."""

    def __init__(self, source: PatternSource, units: np.ndarray) -> None:
        self.n_units = len(units)
        self._source, self._units = source, units

    def __len__(self) -> int:
        return len(self._source)

    def read(self, rows: np.ndarray, lo: int, hi: int, out: np.ndarray) -> None:
        """Read some of the chosen units of some of the patterns."""
        units = self._units[lo:hi]
        # Units that follow each other are read in one go: those of a channel, as a rule.
        for start, stop, first in _runs(units.tolist()):
            part = np.empty((len(rows), stop - start))
            self._source.read(rows, first, first + stop - start, part)
            out[:, start:stop] = part


def _runs(numbers: Sequence[int]) -> list[tuple[int, int, int]]:
    """Stretches of numbers that follow each other: where each begins and ends, and its first."""
    breaks = [i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1]
    bounds = [0, *breaks, len(numbers)]
    return [(start, stop, numbers[start]) for start, stop in pairwise(bounds)]
