"""What the benchmark scripts share: best of several runs, and one line a claim."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


def best_seconds(function: Callable[[], Any], repeats: int = 3) -> float:
    """Shortest of several runs, after one that warms caches."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def state(
    claim: str, figure: float, bound: float, *, at_most: bool, detail: str, stop: bool = True
) -> bool:
    """Print a claim with its figure, and tell whether it holds.

    Where it does not, the script ends with 1; or goes on, if it is not to stop, to state others.
    """
    holds = bool(figure <= bound if at_most else figure >= bound)
    sign = "<=" if at_most else ">="
    verdict = "holds" if holds else "DOES NOT HOLD"
    print(f"{claim}: {figure:.2f} {sign} {bound:g}  {verdict}  ({detail})", flush=True)
    if stop and not holds:
        sys.exit(1)
    return holds
