"""Where labels go, so that they cover neither each other nor what they name.

All boxes are rows of (left, bottom, right, top), in pixels.
"""

from __future__ import annotations

import numpy as np

# Where a label can be to what it names, as steps of (right, up), the preferred ones first, and
# at how many gaps from it.
_SIDES = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)], float)
_DISTANCES = (1.0, 2.5, 5.0, 9.0)
_SWEEPS = 8
# What a place costs next to being covered as a whole, which costs 1.
_COST_OF_RANK = 0.004
_COST_OF_DISTANCE = 0.06
_COST_OUTSIDE = 3.0
_COST_OF_OVERLAP = 3.0
# Labels that overlap by however little cannot be read.
_COST_OF_TOUCHING = 0.5
# A label that touches something else named, were it wider by this share of the gap, could be read
# as the other's.
_COST_OF_NEARNESS = 0.3
_NEARNESS = 0.7
# A line to a label that crosses what has a label of its own could be read as the other's.
_COST_OF_CROSSING = 1.0
# Where along such a line it is looked for; nearer to its start is the label's own.
_ALONG = np.linspace(0.4, 1.0, 7)[:, None, None]


def place_labels(
    anchors: np.ndarray,
    sizes: np.ndarray,
    named: np.ndarray,
    lines: np.ndarray,
    frame: np.ndarray,
    *,
    gap: float,
) -> np.ndarray:
    """Choose a place for each label among those around what it names.

    Labels choose in turn, and choose again with the others placed. This is the greedy local
    search of Christensen, Marks and Shieber (1995, doi:10.1145/212332.212334).

    Parameters
    ----------
    anchors
        (n_labels, 4), the dots or pictures that are named.
    sizes
        (n_labels, 2), width and height of each label.
    named
        (m, 4), dots and pictures, which are not to be covered, nor crossed on the way to a label.
    lines
        (k, 4), pieces of lines, which are not to be covered.
    frame
        (4,), where labels should stay.
    gap
        Pixels between a label and what it names.

    Returns
    -------
    ndarray, shape (n_labels, 2)
        The centres of the labels.
    """
    centres = _candidates(anchors, sizes, gap)
    costs = _standing_costs(centres, sizes, named, lines, frame, gap)
    costs += _COST_OF_CROSSING * _crossings(centres, anchors, named)
    chosen = costs.argmin(axis=1)
    rows = np.arange(len(anchors))
    for _ in range(_SWEEPS):
        previous = chosen.copy()
        for i in rows:
            boxes = _boxes(centres[rows, chosen], sizes)
            boxes[i] = np.nan
            overlap = _covered(_boxes(centres[i], sizes[i]), boxes)
            crowding = _COST_OF_OVERLAP * overlap + _COST_OF_TOUCHING * (overlap > 0)
            chosen[i] = (costs[i] + crowding).argmin()
        if (chosen == previous).all():
            break
    return centres[rows, chosen]


def _candidates(anchors: np.ndarray, sizes: np.ndarray, gap: float) -> np.ndarray:
    """Centres (n_labels, n_places, 2) around each anchor, ring after ring."""
    middle = (anchors[:, None, :2] + anchors[:, None, 2:]) / 2
    half = (anchors[:, None, 2:] - anchors[:, None, :2]) / 2 + sizes[:, None] / 2
    diagonal = np.abs(_SIDES).sum(axis=1, keepdims=True) == 2
    rings = [
        middle + _SIDES * (half + np.where(diagonal, gap * k * np.sqrt(0.5), gap * k))
        for k in _DISTANCES
    ]
    return np.concatenate(rings, axis=1)


def _standing_costs(
    centres: np.ndarray,
    sizes: np.ndarray,
    named: np.ndarray,
    lines: np.ndarray,
    frame: np.ndarray,
    gap: float,
) -> np.ndarray:
    """Costs (n_labels, n_places) that do not depend on where the other labels are."""
    rank = np.tile(np.arange(len(_SIDES)), len(_DISTANCES)) * _COST_OF_RANK
    ring = np.repeat(np.arange(len(_DISTANCES)), len(_SIDES)) * _COST_OF_DISTANCE
    costs = np.empty(centres.shape[:2])
    for i, places in enumerate(centres):
        boxes = _boxes(places, sizes[i])
        wider = _boxes(places, sizes[i] + 2 * _NEARNESS * gap)
        outside = _COST_OUTSIDE * (1 - _covered(boxes, frame[None]))
        near = _COST_OF_NEARNESS * np.minimum(_covered(wider, named), 1)
        hidden = _covered(boxes, named, of_smaller=True) + _covered(boxes, lines)
        costs[i] = rank + ring + hidden + near + outside
    return costs


def _crossings(centres: np.ndarray, anchors: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Tell of each place (n_labels, n_places) if the way there crosses something named."""
    if not len(named):
        return np.zeros(centres.shape[:2])
    starts = np.clip(centres, anchors[:, None, :2], anchors[:, None, 2:])
    crossed = np.zeros(centres.shape[:2], dtype=bool)
    for i, (start, end) in enumerate(zip(starts, centres, strict=True)):
        way = (start + _ALONG * (end - start))[:, :, None]
        crossed[i] = ((way >= named[:, :2]) & (way <= named[:, 2:])).all(axis=-1).any(axis=(0, 2))
    return crossed


def _boxes(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)


def _covered(boxes: np.ndarray, others: np.ndarray, *, of_smaller: bool = False) -> np.ndarray:
    """Share of each box that `others` lie on, added up over them; NaN boxes lie on nothing.

    It is that of the smaller of both boxes, if this is asked for: a dot can be hidden by a label
    of which it covers next to nothing.
    """
    if not len(others):
        return np.zeros(len(boxes))
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area = np.nan_to_num(np.maximum(high - low, 0).prod(axis=-1))
    whole = (boxes[:, None, 2:] - boxes[:, None, :2]).prod(axis=-1)
    if of_smaller:
        # Boxes without an area cannot be hidden.
        whole = np.minimum(whole, (others[:, 2:] - others[:, :2]).prod(axis=-1))
    return (area / np.maximum(whole, np.finfo(float).tiny)).sum(axis=1)
