"""Peak memory of a process and all that it started."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def peak_memory(process: subprocess.Popen, every: float = 0.02) -> float:
    """Wait for a process; the largest sum of the resident memory of its tree, in bytes."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(_resident(pid) for pid in _tree(process.pid)))
        time.sleep(every)
    return peak


def _tree(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in children for one in _tree(int(child)))]


def _resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmRSS")]
    return 1024 * float(kilobytes[0]) if kilobytes else 0.0
