"""How a run stays within an amount of memory, and what each way of it costs.

Patterns of a set that is within one batch are compared as the batch passes; all others wait for
the rest of their set. Where those of all layers fit into the memory, one pass serves them all.
Else the layers are shared out among several passes, each of which stops behind its last layer, or
patterns wait in a file, also those of a layer that alone is too large. None of this touches the
arithmetic: the same batches pass, and the same products are made of the same patterns, so the
numbers are the same bits in each regime, and the regime may follow from measured costs.

A layer is not cut into blocks of images that are compared pair by pair in further passes (anchor
blocks): that takes (K + 1) / 2 passes for K blocks, where sharing layers out takes at most K, each
of which stops as early as its layers allow. Networks have most of their units early, so the latter
is faster: half as long for a ResNet-50.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytorch_feature_analysis.gram import pattern_geometry

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SHARE_OF_MEMORY = 4
"""By default a run takes one part in so many of the machine's memory."""
_SMALLEST_SHARE = 4
"""The stack itself may take all of the budget but one part in so many."""
_SHARE_OF_DISK = 2
PIXEL_SHARE = 8
"""Decoded images may take one part in so many of the budget."""
_PROBE_BYTES = 2**26
# A disk keeps up about half of the pace that it begins with.
_KEPT_PACE = 0.5


def machine_memory() -> int:
    """Bytes of memory of this machine; 8 GB where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 8 * 10**9


def check_memory_budget(memory_budget: Any) -> int:
    """Return a budget in bytes, given as such or as '2GB', '512MB', '1.5GiB'; None: a share."""
    if memory_budget is None:
        return machine_memory() // _SHARE_OF_MEMORY
    number: float | None = None
    if isinstance(memory_budget, (int, np.integer)) and not isinstance(memory_budget, bool):
        number = int(memory_budget)
    elif isinstance(memory_budget, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?B|)\s*", memory_budget.upper())
        number = float(found[1]) * _UNITS[found[2]] if found else None
    if number is None:
        raise TypeError(
            "`memory_budget` must be an amount such as '2GB', '512MB' or a number of bytes, not"
            f" {memory_budget!r}."
        )
    if number < 1:
        raise ValueError(f"`memory_budget` must be more than nothing, not {memory_budget!r}.")
    return int(number)


def size_in_words(size: float) -> str:
    """Size in bytes as people say it."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def room_for_patterns(budget: int, stack_bytes: int, n_workers: int) -> int:
    """Bytes that patterns may take in each worker, beside the stack that is being made."""
    return max(budget - stack_bytes, budget // _SMALLEST_SHARE) // max(n_workers, 1)


@dataclass(frozen=True)
class LayerLoad:
    """What a layer asks for in a run of images."""

    layer: str
    pattern_bytes: int
    """Of one image's patterns."""
    held_bytes: int
    """Of the patterns that wait at the same time."""
    reach: float
    """Seconds from the input to its output, for all images of the run."""


class NoRoomError(ValueError):
    """Patterns that fit neither into the memory nor on the disk."""

    def __init__(self, layer: str, needed: int, why: str) -> None:
        super().__init__(why)
        self.layer, self.needed, self.why = layer, needed, why


@dataclass(frozen=True)
class Pass:
    """One pass over the images of a run: which layers it serves, and where patterns wait."""

    layers: tuple[str, ...]
    spilled: tuple[str, ...]
    held_bytes: int
    spilled_bytes: int
    reach: float


@dataclass(frozen=True)
class Disk:
    """Where patterns may wait in files."""

    folder: str
    free_bytes: int
    bytes_a_second: float


def probe_disk(folder: str | None = None) -> Disk:
    """Measure the folder of temporary files; see `tempfile.gettempdir`."""
    import shutil

    where = folder or tempfile.gettempdir()
    free = shutil.disk_usage(where).free // _SHARE_OF_DISK
    if free < 4 * _PROBE_BYTES:
        return Disk(where, 0, 1.0)
    content = np.random.default_rng(0).bytes(_PROBE_BYTES)
    with tempfile.TemporaryFile(dir=where, buffering=0) as file:
        start = time.perf_counter()
        file.write(content)
        os.fsync(file.fileno())
        seconds = time.perf_counter() - start
    return Disk(where, free, _KEPT_PACE * _PROBE_BYTES / max(seconds, 1e-6))


def share_out(
    loads: Sequence[LayerLoad], room: int, disk: Disk | None = None, *, at_least: int = 1
) -> list[Pass]:
    """Share layers out among passes over the images.

    Parameters
    ----------
    loads
        The layers of a run.
    room
        Bytes that their patterns may take in memory.
    disk
        Where patterns may wait too; None where this has not been measured, because it is not
        needed.
    at_least
        How many passes to make, where there are as many layers: one for each worker.

    Raises
    ------
    NoRoomError
        The memory has no room for one pattern, or neither it nor the disk for those of one layer.
    """
    free = disk.free_bytes if disk is not None else 0

    def needed(load: LayerLoad) -> int:
        return load.pattern_bytes if load.held_bytes <= free else load.held_bytes

    largest = max(loads, key=needed)
    if needed(largest) > room:
        why = ", but those of one image"
        if largest.held_bytes > free:
            why = f", and the folder of temporary files {size_in_words(free)}, but those of a set"
        raise NoRoomError(largest.layer, needed(largest), why)
    if at_least > 1:
        total = sum(load.held_bytes for load in loads)
        room = min(room, max(total // at_least, *(load.held_bytes for load in loads)))
    in_memory = _several_passes(loads, room)
    if len(in_memory) == 1 or disk is None or at_least > 1:
        return in_memory
    in_files = _passes_with_files(loads, room, disk)
    return min(in_memory, in_files, key=lambda passes: _seconds(passes, disk))


def _several_passes(loads: Sequence[LayerLoad], room: int) -> list[Pass]:
    """As many layers a pass as the memory holds, beginning with the deepest.

    A pass costs as much as reaching its deepest layer does, so it is the shallow passes that are
    left with room to spare. A layer that is too large by itself waits in a file.
    """
    passes: list[Pass] = []
    group: list[LayerLoad] = []
    for load in _deepest_first(loads):
        if load.held_bytes > room:
            passes.append(_pass([load], [load]))
            continue
        if sum(one.held_bytes for one in group) + load.held_bytes > room:
            passes.append(_pass(group))
            group = []
        group.append(load)
    if group:
        passes.append(_pass(group))
    return sorted(passes, key=lambda one: one.reach)


def _passes_with_files(loads: Sequence[LayerLoad], room: int, disk: Disk) -> list[Pass]:
    """As few passes as memory and disk together allow."""
    passes: list[Pass] = []
    group: list[LayerLoad] = []
    spilled: list[LayerLoad] = []
    left_in_memory, left_on_disk = room, disk.free_bytes
    for load in _deepest_first(loads):
        if load.held_bytes > max(left_in_memory, left_on_disk):
            passes.append(_pass(group, spilled))
            group, spilled = [], []
            left_in_memory, left_on_disk = room, disk.free_bytes
        group.append(load)
        if load.held_bytes <= left_in_memory:
            left_in_memory -= load.held_bytes
        else:
            left_on_disk -= load.held_bytes
            spilled.append(load)
    return [*passes, _pass(group, spilled)][::-1]


def _deepest_first(loads: Sequence[LayerLoad]) -> list[LayerLoad]:
    return sorted(loads, key=lambda load: load.reach, reverse=True)


def _pass(loads: Sequence[LayerLoad], spilled: Sequence[LayerLoad] = ()) -> Pass:
    in_file = sum(load.held_bytes for load in spilled)
    return Pass(
        tuple(load.layer for load in loads),
        tuple(load.layer for load in spilled),
        sum(load.held_bytes for load in loads) - in_file,
        in_file,
        max(load.reach for load in loads),
    )


def _seconds(passes: Sequence[Pass], disk: Disk) -> float:
    # What is written is read once.
    return sum(one.reach + 2 * one.spilled_bytes / disk.bytes_a_second for one in passes)


def seconds_a_unit(n_patterns: int) -> float:
    """Measure how long the products of so many patterns take, for each of their units."""
    n_measured = min(n_patterns, 256)
    n_units = max(2**23 // n_measured, 2**12)
    patterns = np.random.default_rng(0).random((n_measured, n_units), np.float32)
    pattern_geometry(patterns[:, :2048])
    start = time.perf_counter()
    pattern_geometry(patterns)
    seconds = (time.perf_counter() - start) / n_units
    return seconds * (n_patterns / n_measured) ** 2
