"""What figures for a column of text share: colours, forms, sizes, the legend, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN_INCHES = 3.4
LINE_INCHES = 0.135
"""Of a line of the legend."""
POINTS = 7
"""Size of text; one more for what names axes and panels."""

# Okabe and Ito's colours, which all can tell apart; each has a form of its own beside.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#8C6D31"),
)
MARKERS = "osD^vP<X>"
# Below the axes, so that the names of its ticks and its label have room.
_LEGEND_INCHES = 0.45
# Legends with longer lines than this have one column.
_SHORT_LINE = 22
# Shares of the axes that a note of a line covers.
_NOTE_WIDTH, _NOTE_HEIGHT = 0.42, 0.14
# The preferred ones first.
_CORNERS = (("left", "top"), ("right", "bottom"), ("right", "top"), ("left", "bottom"))


def look(k: int) -> tuple[str, str]:
    """Colour and marker of the kth kind of points."""
    return COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]


def dot_size(n_points: int) -> float:
    """Size of dots as `Axes.scatter` takes it: the smaller, the more there are."""
    return float(np.clip(3600 / n_points, 4, 14))


def limits_of(values: Any, low: float | None = None) -> tuple[float, float]:
    """Give the ends of an axis, with some room; from `low` on where nothing is below it."""
    least, most = float(np.min(values)), float(np.max(values))
    if low is not None:
        least = min(low, least)
    room = 0.04 * (most - least or 1.0)
    return least - room, most + room


def tidy(target: Axes, *, ticks: int = 5) -> None:
    """Leave two spines, and few ticks with small names."""
    from matplotlib.ticker import MaxNLocator

    for axis in (target.xaxis, target.yaxis):
        axis.set_major_locator(MaxNLocator(ticks))
    target.tick_params(labelsize=POINTS)
    target.spines[["top", "right"]].set_visible(False)


def legend_columns(lines: Sequence[str]) -> int:
    """Columns in which the lines of a legend fit below a figure as wide as a column of text."""
    return 2 if len(lines) > 1 and max(map(len, lines)) <= _SHORT_LINE else 1


def legend_height(lines: Sequence[str]) -> float:
    """Inches of a legend with these lines."""
    return -(-len(lines) // legend_columns(lines)) * LINE_INCHES if lines else 0.0


def legend_below(target: Axes, *, columns: int = 1, inches: float = _LEGEND_INCHES) -> None:
    """Put the legend below the axes and the names of its ticks, without a frame."""
    from matplotlib.transforms import ScaledTranslation

    from pytorch_feature_analysis.plotting._figure import root_figure

    below = ScaledTranslation(0, -inches, root_figure(target).dpi_scale_trans)
    target.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=target.transAxes + below,
        frameon=False,
        fontsize=POINTS,
        borderaxespad=0,
        handletextpad=0.4,
        labelspacing=0.3,
        columnspacing=1.2,
        ncols=columns,
    )


def in_words_of_r(r: float) -> str:
    """Write a correlation with two decimals and a minus that is as wide as a plus."""
    return f"r = {r:z.2f}".replace("-", "\N{MINUS SIGN}")


def write_in_corner(target: Axes, note: str, x: Any, y: Any) -> None:
    """Write a note into the corner that the fewest of these points are in."""
    from matplotlib.patheffects import withStroke

    (left, right), (bottom, top) = target.get_xlim(), target.get_ylim()
    across = (np.asarray(x) - left) / (right - left)
    up = (np.asarray(y) - bottom) / (top - bottom)
    covered = {
        (side, end): int(
            (
                (across < _NOTE_WIDTH if side == "left" else across > 1 - _NOTE_WIDTH)
                & (up > 1 - _NOTE_HEIGHT if end == "top" else up < _NOTE_HEIGHT)
            ).sum()
        )
        for side, end in _CORNERS
    }
    side, end = min(covered, key=lambda corner: covered[corner])
    target.text(
        0.03 if side == "left" else 0.97,
        0.97 if end == "top" else 0.03,
        note,
        transform=target.transAxes,
        ha=side,
        va=end,
        fontsize=POINTS,
        # Legible over points too.
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )
