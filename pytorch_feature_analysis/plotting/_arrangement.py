"""How large pictures are on a map, and where, once it is known how large the map is."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from pytorch_feature_analysis.plotting._separation import common_scale, separate

logger = logging.getLogger(__name__)

# In points: pictures are made no smaller than this, below which little can be made out.
_LEAST = 6.0
# In points, between frames of pictures that keep clear of each other.
_BETWEEN = 1.5
# Pictures that are moved fill no more than this share of the axes, so that there is room to see
# where they belong.
_FULL = 0.25


@dataclass(frozen=True)
class Arrangement:
    """Sizes and places of pictures. Lengths are in data units unless they are in points."""

    size: float
    """Longer side of all pictures."""
    moves: np.ndarray
    """How far each was moved, (n_pictures, 2)."""
    points: float
    """Longer side of a picture, in points."""
    factor: float
    """By how much they are smaller than was asked for."""
    still_overlap: bool
    """Whether they would have to be smaller than can be made out."""

    def log(self) -> None:
        """Say what became of the size."""
        if self.still_overlap:
            logger.warning(
                "Pictures overlap at %.1f points, below which they are not made smaller; `overlap`"
                " 'repel' moves them apart instead.",
                self.points,
            )
        elif self.factor < 1:
            logger.info(
                "Pictures are drawn at %.1f points, %.0f %% of the size asked for.",
                self.points,
                100 * self.factor,
            )


def arrange(
    centres: np.ndarray,
    inks: np.ndarray,
    scales: np.ndarray,
    borders: np.ndarray,
    *,
    size: float,
    overlap: str,
    area: float,
    point: float,
) -> Arrangement:
    """Make pictures smaller or move them, as `overlap` of `rdm_mds` says.

    Parameters
    ----------
    centres
        (n_pictures, 2), in pixels.
    inks
        (n_pictures, 4), what is to be kept clear of each, as of `ink_box`.
    scales
        (n_pictures,), pixels of a data unit there.
    borders
        (n_pictures,), widths of frames in points.
    size
        Longer side that was asked for, in data units.
    overlap
        'allow', 'shrink' or 'repel'.
    area
        Of the axes, in pixels squared.
    point
        Pixels of a point.
    """
    longest = size * float(scales.mean())
    inks = size * inks * scales[:, None]
    boxes, middles = inks[:, 2:] - inks[:, :2], (inks[:, :2] + inks[:, 2:]) / 2
    wanted = 1.0
    if overlap == "shrink":
        # Pictures shrink towards their own middle.
        wanted = common_scale(centres, boxes + 2 * np.abs(middles))
    elif overlap == "repel":
        wanted = min(1.0, float(np.sqrt(_FULL * area / boxes.prod(axis=1).sum())))
    factor = max(wanted, min(1.0, _LEAST * point / longest))
    moves = np.zeros_like(centres)
    if overlap == "repel":
        room = point * (borders + _BETWEEN)
        middles = centres + factor * middles
        moves = (separate(middles, factor * boxes + room[:, None]) - middles) / scales[:, None]
    too_small = overlap == "shrink" and factor > wanted
    return Arrangement(factor * size, moves, factor * longest / point, factor, too_small)
