"""Where the panels of `plot_rdm` stand in a figure of its own: all in inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np

from pytorch_feature_analysis.plotting._paper import (
    LINE_INCHES,
    POINTS,
    TITLE_POINTS,
    in_lines,
    text_inches,
)

# Inches of an entry, and of the least and the largest panel; those with pictures need more.
_CELL, _CELL_WITH_PICTURE = 0.22, 0.3
_SMALLEST, _LARGEST, _LARGEST_WITH_PICTURES, _OF_MANY = 1.8, 4.0, 5.5, 7.5
_MANY = 250
# Panels side by side share a page's width, and are not smaller than this.
_PAGE, _SMALLEST_OF_GRID = 6.4, 0.9
_GAP, _MARGIN = 0.12, 0.08
_BAR, _BAR_GAP = 0.12, 0.12
# Ticks beside the bar, without their numbers.
_TICKS = 0.14
_MOST_ABREAST = 6


def panel_inches(n_entries: int, n_abreast: int, *, with_pictures: bool) -> float:
    """Side of a panel, by the entries of the largest RDM."""
    if with_pictures:
        largest = _OF_MANY if n_entries > _MANY else _LARGEST_WITH_PICTURES
        side = np.clip(_CELL_WITH_PICTURE * n_entries, _SMALLEST, largest)
    else:
        largest = 1.4 * _LARGEST if n_entries > _MANY else _LARGEST
        side = np.clip(_CELL * n_entries, _SMALLEST, largest)
    if n_abreast > 1:
        side = min(side, max(_PAGE / n_abreast - _GAP, _SMALLEST_OF_GRID))
    return float(side)


def abreast(n_panels: int) -> int:
    """How many panels stand side by side."""
    return n_panels if n_panels <= 3 else min(ceil(sqrt(n_panels)), _MOST_ABREAST)


@dataclass(frozen=True)
class Room:
    """Inches that a panel needs about its cells."""

    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


@dataclass(frozen=True)
class BarText:
    """What is written beside the bar of colours."""

    label: str
    ticks: Sequence[str]


@dataclass(frozen=True)
class Layout:
    """Boxes (left, bottom, width, height) in inches, from the lower left of the figure."""

    size: tuple[float, float]
    panels: list[tuple[float, float, float, float]]
    bar: tuple[float, float, float, float] | None
    middle: float
    """Of the cells of all panels, above and below which title and legend stand."""
    title: str
    """That of the figure, in lines that fit."""
    legend_columns: int
    margin: float = _MARGIN
    """Within which title and legend stand."""

    def share(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return a box in shares of the figure."""
        width, height = self.size
        return box[0] / width, box[1] / height, box[2] / width, box[3] / height


def lay_out(
    rooms: Sequence[Room],
    side: float,
    n_abreast: int,
    *,
    bar: BarText | None,
    title: str,
    legend: Sequence[str],
    least_width: float,
) -> Layout:
    """Place panels in rows; columns and rows are as wide and high as what needs most room."""
    n_rows = ceil(len(rooms) / n_abreast)
    of_column = [rooms[c::n_abreast] for c in range(n_abreast)]
    of_row = [rooms[r * n_abreast : (r + 1) * n_abreast] for r in range(n_rows)]
    lefts = [max(room.left for room in column) for column in of_column]
    rights = [max(room.right for room in column) for column in of_column]
    tops = [max(room.top for room in row) for row in of_row]
    bottoms = [max(room.bottom for room in row) for row in of_row]
    inner_width = sum(lefts) + sum(rights) + n_abreast * side + (n_abreast - 1) * _GAP
    inner_height = sum(tops) + sum(bottoms) + n_rows * side + (n_rows - 1) * _GAP
    bar_height = min(side, 2.2)
    bar_room = 0.0
    if bar is not None:
        bar_room = _BAR_GAP + _BAR + _TICKS + max(map(text_inches, bar.ticks))
        bar_room += _lines_of(bar.label, bar_height)
    width = max(inner_width + bar_room + 2 * _MARGIN, least_width)
    start = _MARGIN + (width - 2 * _MARGIN - inner_width - bar_room) / 2
    middle = start + (lefts[0] + inner_width - rights[-1]) / 2
    room = 2 * (min(middle, width - middle) - _MARGIN)
    title = in_lines(title, room, TITLE_POINTS)
    columns = legend_columns(legend, room)
    above = (title.count("\n") + 1) * 1.3 * TITLE_POINTS / 72 + 0.06 if title else 0.0
    below = ceil(len(legend) / columns) * LINE_INCHES + 0.1 if legend else 0.0
    height = inner_height + above + below + 2 * _MARGIN
    panels = []
    for k in range(len(rooms)):
        r, c = divmod(k, n_abreast)
        left = start + sum(lefts[: c + 1]) + sum(rights[:c]) + c * (side + _GAP)
        lower = above + sum(tops[: r + 1]) + sum(bottoms[:r]) + r * (side + _GAP) + side
        panels.append((left, height - _MARGIN - lower, side, side))
    box = None
    if bar is not None:
        highest, lowest = panels[0][1] + side, panels[-1][1]
        box = (
            start + inner_width + _BAR_GAP,
            (highest + lowest - bar_height) / 2,
            _BAR,
            bar_height,
        )
    return Layout((width, height), panels, box, middle, title, columns)


def _lines_of(text: str, room: float) -> float:
    """Inches of a text that runs along a bar."""
    return LINE_INCHES * 1.2 * (in_lines(text, room, POINTS + 1).count("\n") + 1) if text else 0.0


def title_room(lines: str, points: float) -> float:
    """Inches of a title above a panel."""
    return (lines.count("\n") + 1) * 1.25 * points / 72 + 0.05 if lines else 0.0


def legend_columns(names: Sequence[str], width: float) -> int:
    """How many names with their colours stand side by side in so many inches."""
    widest = max(map(text_inches, names), default=0.0) + 0.42
    return max(1, min(len(names), int(width / widest)))
