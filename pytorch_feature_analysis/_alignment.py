"""Points turned and reflected towards others of the same items, their distances unchanged."""

from __future__ import annotations

import numpy as np


def aligned(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Turn, reflect and shift `points` to lie as near as can be to `reference` (Procrustes).

    Nothing is stretched, so that all distances stay as they are; the reference is taken at the
    size of the points. Items are matched by position, and those that are NaN in either have no
    say. With fewer than two to go by, the points come back as they are.

    Schoenemann (1966). A generalized solution of the orthogonal Procrustes problem.
    Psychometrika 31, 1-10. doi:10.1007/BF02289451
    """
    both = np.isfinite(points).all(axis=1) & np.isfinite(reference).all(axis=1)
    if both.sum() < 2:
        return points
    here, there = points[both], reference[both]
    centre, goal = here.mean(axis=0), there.mean(axis=0)
    here, there = here - centre, there - goal
    sizes = np.linalg.norm(here), np.linalg.norm(there)
    if not all(sizes):
        return points
    left, _, right = np.linalg.svd(here.T @ there)
    turned: np.ndarray = (points - centre) @ (left @ right) + goal * sizes[0] / sizes[1]
    return turned
