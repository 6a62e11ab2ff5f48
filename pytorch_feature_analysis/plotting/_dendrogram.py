"""The lines of a tree of entries."""

from __future__ import annotations

import numpy as np


def tree_lines(tree: np.ndarray) -> np.ndarray:
    """Give a bracket for each join (n - 1, 4, 2): along the entries, and how high, up to 1.

    Leaves stand at their numbers, as `average_tree` gives them, and joins no lower than these.
    """
    n = len(tree) + 1
    highest = max(tree[:, 2].max(), 0.0) or 1.0
    along, heights = np.arange(2 * n - 1, dtype=float), np.zeros(2 * n - 1)
    brackets = np.empty((n - 1, 4, 2))
    for step, (one, other, height, _) in enumerate(tree):
        pair = [int(one), int(other)]
        top = max(height, 0.0) / highest
        (left, right), (low, high) = along[pair], heights[pair]
        brackets[step] = (left, low), (left, top), (right, top), (right, high)
        along[n + step], heights[n + step] = (left + right) / 2, top
    return brackets
