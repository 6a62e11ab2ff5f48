"""Where boxes go, or how small they get, so that none hides another.

Boxes are given by their centres and sizes, (n, 2) each, in one unit.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

# Boxes grow to their sizes in so many steps, with so many pushes at each.
_GROWTH = 25
_PUSHES = 40
# Share of an overlap that a push takes away: all of it makes crowds swing.
_STEP = 0.6
# How far the middles of boxes in one place are drawn apart, in shares of a box; and the turn from
# one to the next, by which no two directions are alike.
_APART = 0.05
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
# Room between boxes that were moved, in shares of a box, so that rounding makes none overlap.
_SLACK = 1e-3


def common_scale(centres: np.ndarray, sizes: np.ndarray) -> float:
    r"""Give the largest factor of all sizes, at most 1, with which no two boxes overlap.

    Boxes i and j are apart as long as they are so along one of the axes, which is up to

    .. math:: s_{ij} = \max_k |c_{ik} - c_{jk}| / ((w_{ik} + w_{jk}) / 2)

    The least of these is exact. It is 0 where two boxes have one centre.
    """
    i, j = np.triu_indices(len(centres), k=1)
    between = np.abs(centres[i] - centres[j]) / ((sizes[i] + sizes[j]) / 2)
    return float(min(1.0, between.max(axis=1).min(initial=1.0)))


def overlapping(centres: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the pairs (i, j), i < j, of boxes that overlap; touching is none."""
    apart = np.abs(centres[:, None] - centres[None])
    needed = (sizes[:, None] + sizes[None]) / 2
    i, j = np.nonzero(np.triu((apart < needed).all(axis=-1), k=1))
    return i, j


def separate(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Move boxes the least until none overlaps another.

    Boxes that grow from nothing push each other aside, which tells on which side of each other
    they come to lie. Given the sides, the least sum of squared moves is a quadratic programme for
    each axis, with the constraint that two boxes are so far apart; a pair gets one as soon as it
    overlaps (Dwyer, Marriott and Stuckey 2006, doi:10.1007/11618058_15).

    Returns
    -------
    ndarray, shape (n, 2)
        The new centres. Boxes that need not move are where they were, to the last bit; the same
        boxes always give the same centres.
    """
    moved = np.array(centres, dtype=float)
    i, j = overlapping(moved, sizes)
    if not len(i):
        return moved
    guide = _pushed_apart(moved, sizes)
    needed = (1 + _SLACK) * (sizes[:, None] + sizes[None]) / 2
    along_x = _lies_along_x(guide, sizes)
    constrained = np.zeros((len(moved), len(moved)), dtype=bool)
    # A pair with a constraint is apart for good, so that this ends.
    while len(i):
        constrained[i, j] = True
        for axis, chosen in ((0, along_x), (1, ~along_x)):
            left, right = np.nonzero(constrained & chosen)
            order = guide[left, axis] > guide[right, axis]
            left, right = np.where(order, right, left), np.where(order, left, right)
            moved[:, axis] = _least_moved(
                centres[:, axis], left, right, needed[left, right, axis], guide[:, axis]
            )
        i, j = overlapping(moved, sizes)
    return moved


def _pushed_apart(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Let boxes grow, and push each other aside along the axis in which they overlap less."""
    turns = _GOLDEN_ANGLE * np.arange(len(centres))
    radius = _APART * np.sqrt((np.arange(len(centres)) + 0.5) / len(centres))
    places = centres + sizes * radius[:, None] * np.column_stack([np.cos(turns), np.sin(turns)])
    for grown in np.linspace(1 / _GROWTH, 1.0, _GROWTH):
        near = overlapping(places, grown * sizes * 1.5)
        for _ in range(_PUSHES):
            i, j = near
            apart = places[j] - places[i]
            overlap = grown * (sizes[i] + sizes[j]) / 2 - np.abs(apart)
            hit = (overlap > 0).all(axis=1)
            if not hit.any():
                break
            i, j, apart, overlap = i[hit], j[hit], apart[hit], overlap[hit]
            axis = overlap.argmin(axis=1)
            rows = np.arange(len(axis))
            push = np.zeros_like(overlap)
            push[rows, axis] = np.where(apart[rows, axis] < 0, -1, 1) * overlap[rows, axis] / 2
            for k in range(2):
                places[:, k] += _STEP * np.bincount(j, push[:, k], len(places))
                places[:, k] -= _STEP * np.bincount(i, push[:, k], len(places))
    return places


def _lies_along_x(guide: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Tell of each pair if it lies side by side, rather than one above the other."""
    shares = np.abs(guide[:, None] - guide[None]) / ((sizes[:, None] + sizes[None]) / 2)
    return shares[..., 0] >= shares[..., 1]


def _least_moved(
    start: np.ndarray, left: np.ndarray, right: np.ndarray, needed: np.ndarray, order: np.ndarray
) -> np.ndarray:
    """Give the nearest places with ``place[right] - place[left] >= needed`` for all pairs.

    Its dual has a multiplier of at least 0 for each pair, the force with which it is held apart.
    """
    if not len(left):
        return start

    def places_under(forces: np.ndarray) -> np.ndarray:
        n = len(start)
        return start + np.bincount(right, forces, n) - np.bincount(left, forces, n)

    def dual(forces: np.ndarray) -> tuple[float, np.ndarray]:
        places = places_under(forces)
        missing = needed - (places[right] - places[left])
        gained = forces @ (needed - (start[right] - start[left]))
        return float(((places - start) ** 2).sum() / 2 - gained), -missing

    found = minimize(
        dual,
        np.zeros(len(left)),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(left),
        options={"maxiter": 500},
    )
    places = places_under(found.x)
    # What is left by rounding, from the first to the last.
    turn = np.argsort(np.argsort(order, kind="stable"))[right].argsort(kind="stable")
    for k in turn:
        places[right[k]] = max(places[right[k]], places[left[k]] + needed[k])
    return places
