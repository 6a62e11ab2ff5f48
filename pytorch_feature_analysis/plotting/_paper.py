"""What figures for a column of text share: colours, forms, sizes, the legend, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_feature_analysis.plotting._figure import break_lines, root_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES = 3.4
LINE_INCHES = 0.135
"""Of a line of the legend."""
POINTS = 7
"""Size of text; one more for what names axes and panels."""
TITLE_POINTS = 10

# Okabe and Ito's colours, which all can tell apart; each has a form of its own beside.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7"),
    *("#E69F00", "#56B4E9", "#000000", "#8C6D31"),
)
MARKERS = "osD^vP<X>"
# Below the axes, so that the names of its ticks and its label have room.
_LEGEND_INCHES = 0.45
_MOST_COLUMNS = 3
# Of a line of the legend beside its text, and between columns, in multiples of the size of text.
_HANDLE_EMS, _BETWEEN_EMS = 2.4, 1.2
# Size of points in the legend, which are to be told apart where there are many small ones.
_HANDLE_POINTS = 5
# Share of a figure that axes have beside their names, and the least room for text.
_AXES_SHARE = 0.775
_LEAST_ROOM = 1.2
# Layouts leave less between panels than there is at first.
_PANEL_GROWTH = 1.25
# A legend may be so much wider than axes, beside which are the names of ticks.
_OVERHANG_INCHES = 0.25
# Letters fall on whole pixels, and so stand up to so much wider apart.
_HINTED = 1.04
# Between one tick and the next, so that their names have room.
_TICK_INCHES = (0.35, 0.25)
# Inches of a line of a title above panels.
_TITLE_LINE = 0.23
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


def tidy(target: Axes, *, ticks: int = 6) -> None:
    """Leave two spines, and few ticks with small names: fewer where axes are small."""
    from matplotlib.ticker import MaxNLocator

    sides = zip((target.xaxis, target.yaxis), axes_inches(target), _TICK_INCHES, strict=True)
    for axis, inches, between in sides:
        most = int(np.clip(inches / between, 2, ticks))
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    target.tick_params(labelsize=POINTS)
    target.spines[["top", "right"]].set_visible(False)


def axes_inches(target: Axes) -> tuple[float, float]:
    """Width and height of axes, before a layout has made room for what is around them."""
    dpi = root_figure(target).dpi
    return float(target.bbox.width / dpi), float(target.bbox.height / dpi)


def text_inches(text: str, points: float = POINTS) -> float:
    """Width of a text, whose longest line counts."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points)
    widths = [
        text_to_path.get_text_width_height_descent(line, font, ismath=False)[0]
        for line in text.splitlines()
    ]
    return _HINTED * max(widths, default=0.0) / 72


def in_lines(text: str, room: float, points: float = POINTS) -> str:
    """Break a text into lines that are no wider than so many inches."""
    return break_lines(text, room, lambda broken: text_inches(broken, points))


def name_axes(target: Axes, x: str, y: str) -> None:
    """Name both axes, in as many lines as it takes for the names to be no longer than these."""
    width, height = (max(inches, _LEAST_ROOM) for inches in axes_inches(target))
    target.set_xlabel(in_lines(x, width, POINTS + 1), fontsize=POINTS + 1)
    # A legend takes of the height.
    height = min(height, max(width, _LEAST_ROOM))
    target.set_ylabel(in_lines(y, height, POINTS + 1), fontsize=POINTS + 1)


def head(target: Axes, title: str | None, *, room: float | None = None) -> None:
    """Write a title above axes, if there is one, in lines no wider than these or as is said."""
    if title:
        room = max(axes_inches(target)[0] if room is None else room, _LEAST_ROOM)
        target.set_title(in_lines(title, room, TITLE_POINTS), fontsize=TITLE_POINTS)


def head_panel(target: Axes, name: str) -> None:
    """Write the name of one of several panels above it."""
    room = _PANEL_GROWTH * axes_inches(target)[0]
    target.set_title(in_lines(name, room, POINTS + 1), fontsize=POINTS + 1)


def head_figure(figure: Figure, title: str | None) -> None:
    """Write a title above all panels, if there is one, in lines no wider than the figure."""
    if title:
        broken = _title_lines(title, figure.get_figwidth())
        figure.suptitle(broken, fontsize=TITLE_POINTS)


def head_height(title: str | None, *, inches: float) -> float:
    """Inches of a title above all panels of a figure that is so wide."""
    return _TITLE_LINE * (_title_lines(title, inches).count("\n") + 1) if title else 0.0


def _title_lines(title: str, inches: float) -> str:
    return in_lines(title, inches - _OVERHANG_INCHES, TITLE_POINTS)


def legend_height(lines: Sequence[str], *, inches: float = COLUMN_INCHES) -> float:
    """Inches of a legend with these lines below axes in a figure that is so wide."""
    if not lines:
        return 0.0
    broken, columns = _legend_lines(lines, _AXES_SHARE * inches + _OVERHANG_INCHES)
    parts = np.array_split(np.array([text.count("\n") + 1 for text in broken]), columns)
    return LINE_INCHES * float(max(part.sum() for part in parts))


def legend_below(target: Axes, *, inches: float = _LEGEND_INCHES) -> None:
    """Put the legend below the axes and the names of its ticks, without a frame."""
    from matplotlib.transforms import ScaledTranslation

    handles, lines = target.get_legend_handles_labels()
    room = max(axes_inches(target)[0], _LEAST_ROOM) + _OVERHANG_INCHES
    broken, columns = _legend_lines(lines, room)
    further = target.get_xlabel().count("\n") * LINE_INCHES
    below = ScaledTranslation(0, -inches - further, root_figure(target).dpi_scale_trans)
    legend = target.legend(
        handles,
        broken,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=target.transAxes + below,
        frameon=False,
        fontsize=POINTS,
        borderaxespad=0,
        handletextpad=0.4,
        labelspacing=0.3,
        columnspacing=_BETWEEN_EMS,
        ncols=columns,
    )
    handle: Any
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([_HANDLE_POINTS**2])
            handle.set_alpha(1)


def legend_name(text: str) -> str:
    """Return a text for the legend, which leaves out what is empty or starts with '_'."""
    return f" {text}" if not text or text.startswith("_") else text


def _legend_lines(lines: Sequence[str], room: float) -> tuple[list[str], int]:
    """Break lines that are too wide, and tell in how many columns they fit."""
    em = POINTS / 72
    # A value stays with its name.
    whole = [line.replace(" = ", "\xa0=\xa0") for line in lines]
    broken = [
        in_lines(line, room - _HANDLE_EMS * em).replace("\xa0=\xa0", " = ") for line in whole
    ]
    widths = [text_inches(line) + _HANDLE_EMS * em for line in broken]
    for columns in range(min(_MOST_COLUMNS, len(lines)), 1, -1):
        parts = np.array_split(np.array(widths), columns)
        if sum(part.max() for part in parts) + _BETWEEN_EMS * em * (columns - 1) <= room:
            return broken, columns
    return broken, 1


def columns_that_fit(lines: Sequence[str], room: float, points: float = POINTS) -> int:
    """Tell how many columns of a legend with lines of this size fit into so many inches."""
    em = points / 72
    widths = [text_inches(line, points) + _HANDLE_EMS * em for line in lines]
    for columns in range(len(lines), 1, -1):
        parts = np.array_split(np.array(widths), columns)
        if sum(part.max() for part in parts) + _BETWEEN_EMS * em * (columns - 1) <= room:
            return columns
    return 1


def in_words_of_r(r: float, *, decimals: int = 2) -> str:
    """Write a correlation with so many decimals."""
    return f"r = {with_minus(f'{r:z.{decimals}f}')}"


def with_minus(text: str) -> str:
    """Give a number a minus that is as wide as a plus."""
    return text.replace("-", "\N{MINUS SIGN}")


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
