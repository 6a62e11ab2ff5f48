"""What the benchmark scripts share: best of several runs, and one line a claim."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def best_seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Shortest of several runs, after one that warms caches."""
    (seconds,) = best_in_turns([function], repeats)
    return seconds


def best_in_turns(functions: Sequence[Callable[[], Any]], repeats: int = 3) -> list[float]:
    """Shortest of several runs of each, in turns, so that what slows the machine slows all."""
    best = [float("inf")] * len(functions)
    for turn in range(-1, repeats):  # the first warms caches
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            if turn >= 0:
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def state(
    claim: str,
    figure: float,
    bound: float,
    *,
    at_most: bool,
    detail: str,
    digits: int = 2,
    stop: bool = True,
) -> bool:
    """Print a claim with its figure, and tell whether it holds.

    Where it does not, the script ends with 1; or goes on, if it is not to stop, to state others.
    """
    holds = bool(figure <= bound if at_most else figure >= bound)
    sign = "<=" if at_most else ">="
    verdict = "holds" if holds else "DOES NOT HOLD"
    print(f"{claim}: {figure:.{digits}f} {sign} {bound:g}  {verdict}  ({detail})", flush=True)
    if stop and not holds:
        sys.exit(1)
    return holds
