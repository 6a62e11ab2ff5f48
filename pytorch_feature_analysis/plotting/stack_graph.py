"""What a stack is made of as a diagram: a box for each order, from the stimuli up to its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.lineage_words import contents, heading, made_by
from pytorch_feature_analysis.plotting import _arguments, _figure
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._paper import (
    COLUMN_INCHES,
    POINTS,
    TITLE_POINTS,
    in_lines,
)
from pytorch_feature_analysis.stack_lineage import stack_lineage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches.
_MARGIN, _PAD, _ICON, _ARROW = 0.08, 0.1, 0.34, 0.2
_ORDER_ROOM = 0.5
_LEADING = 1.3
_HEADING_POINTS = POINTS + 1
_LEAST_WIDTH = 2.4
_SHADES = 4


@dataclass(frozen=True)
class _Box:
    """One order."""

    order: int
    count: int
    heading: str
    lines: list[str]
    made_by: str
    """What the arrow to it says; nothing for stimuli."""

    @property
    def height(self) -> float:
        """Inches."""
        text = _height(self.heading, _HEADING_POINTS) + sum(_height(line) for line in self.lines)
        return max(text, _ICON + 0.08) + 2 * _PAD

    @property
    def arrow(self) -> float:
        """Inches from the box below."""
        return max(_height(self.made_by), _ARROW) + 2 * _PAD if self.made_by else 0.0


def plot_stack_graph(
    rdm_df: pd.DataFrame | pd.Series,
    *,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw what a stack is made of: a box for each order, from the stimuli up to its rows.

    A box says how many RDMs there are, of how many entries, what they differ in and what they
    share; an arrow, by what those below were compared.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of any order, or a row of it.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw, if it is large enough for the text; default a figure of its own, as wide as
        a column of text.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        A stack without rows.

    See Also
    --------
    stack_lineage : The same as a frame.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "fc1"],
    ...     "dissim_metric": "corr",
    ...     "matrix": [pfa.compute_rdm(rng.normal(size=(4, 9))) for _ in range(3)],
    ...     "entry_keys": [list("abcd")] * 3,
    ... })
    >>> meta = pfa.get_meta_rdms(stack, None, ["layer"], progress=False)
    >>> ax = pfa.plot_stack_graph(meta, show=False)
    >>> [text.get_text() for text in ax.texts if "RDM" in text.get_text()]
    ['3 RDMs of 4 stimuli', '1 RDM of 3 entries']
    >>> plt.close(ax.figure)
    """
    lineage = stack_lineage(rdm_df)
    save_to = _figure.check_save_opts(save_opts)
    _arguments.check_axes(ax, 2)
    width = COLUMN_INCHES
    if ax is not None:
        width = max(ax.bbox.width / _figure.root_figure(ax).dpi, _LEAST_WIDTH)
    with legible([fig_title or "", *lineage["in_words"]]) as written:
        boxes = _boxes(lineage, width, written)
        title = (
            in_lines(written(fig_title), width - 2 * _MARGIN, TITLE_POINTS) if fig_title else ""
        )
        height = sum(box.height + box.arrow for box in boxes) + 2 * _MARGIN
        height += _height(title, TITLE_POINTS) + (_PAD if title else 0.0)
        with _figure.drawing_axes(
            ax,
            plot_style=None,
            fig_size=(width, height),
            show=show,
            save_to=save_to,
            layout="none",
        ) as target:
            if ax is None:
                target.set_position((0, 0, 1, 1))
            target.set_axis_off()
            target.set(xlim=(0, width), ylim=(0, height), aspect="auto" if ax is None else "equal")
            bottom = _MARGIN
            for box in boxes:
                if box.made_by:
                    _draw_arrow(target, box, bottom)
                bottom += box.arrow
                _draw_box(target, box, bottom, width)
                bottom += box.height
            if title:
                target.text(
                    *(width / 2, height - _MARGIN, title),
                    ha="center",
                    va="top",
                    fontsize=TITLE_POINTS,
                    linespacing=_LEADING,
                )
        return target


def _height(text: str, points: float = POINTS) -> float:
    return (text.count("\n") + 1) * _LEADING * points / 72 if text else 0.0


def _boxes(lineage: pd.DataFrame, width: float, written: Callable[[str], str]) -> list[_Box]:
    """Break the words of all orders into lines that fit."""
    rows = [row for _, row in lineage.iterrows()]
    room = width - 2 * (_MARGIN + _PAD) - _ICON - _PAD
    boxes = []
    for k, row in enumerate(rows):
        above = rows[k + 1] if k + 1 < len(rows) else None
        boxes.append(
            _Box(
                order=k,
                count=row["count"],
                heading=in_lines(
                    written(heading(row, above)), room - _ORDER_ROOM, 1.1 * _HEADING_POINTS
                ),
                lines=[in_lines(written(line), room) for line in contents(row)],
                made_by=in_lines(written(made_by(row, rows[k - 1], above)), room) if k else "",
            )
        )
    return boxes


def _draw_box(target: Axes, box: _Box, bottom: float, width: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    target.add_patch(
        FancyBboxPatch(
            (_MARGIN + 0.04, bottom + 0.04),
            width - 2 * (_MARGIN + 0.04),
            box.height - 0.08,
            boxstyle="round,pad=0.04,rounding_size=0.05",
            facecolor="0.97",
            edgecolor="0.45",
            linewidth=0.8,
        )
    )
    _draw_icon(target, box, _MARGIN + _PAD, bottom + box.height / 2)
    left, top = _MARGIN + _ICON + 2.2 * _PAD, bottom + box.height - _PAD
    target.text(
        *(width - _MARGIN - _PAD, top, f"order {box.order}"),
        ha="right",
        va="top",
        fontsize=POINTS,
        color="0.4",
    )
    for k, line in enumerate([box.heading, *box.lines]):
        points = POINTS if k else _HEADING_POINTS
        target.text(
            *(left, top, line),
            va="top",
            fontsize=points,
            fontweight="normal" if k else "bold",
            linespacing=_LEADING,
        )
        top -= _height(line, points)


def _draw_arrow(target: Axes, box: _Box, bottom: float) -> None:
    x = _MARGIN + _PAD + _ICON / 2
    target.annotate(
        "",
        xy=(x, bottom + box.arrow),
        xytext=(x, bottom),
        arrowprops={
            "arrowstyle": "-|>",
            "color": "0.25",
            "linewidth": 1,
            "shrinkA": 1,
            "shrinkB": 1,
        },
    )
    target.text(
        *(_MARGIN + _ICON + 2.2 * _PAD, bottom + box.arrow / 2, box.made_by),
        va="center",
        fontsize=POINTS,
        linespacing=_LEADING,
        color="0.25",
    )


def _draw_icon(target: Axes, box: _Box, left: float, middle: float) -> None:
    """Draw pictures for stimuli, and RDMs, one before the other where there are several."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    def square(x: float, y: float, side: float, **options: Any) -> None:
        target.add_patch(Rectangle((x, y), side, side, linewidth=0.5, **options))

    bottom = middle - _ICON / 2
    if box.order == 0:
        side = 0.4 * _ICON
        for x, y in np.ndindex(2, 2):
            place = left + x * 1.45 * side, bottom + y * 1.45 * side
            square(*place, side, facecolor="0.75", edgecolor="0.35")
        return
    behind = 2 if box.count > 1 else 0
    side = _ICON - 0.08
    for k in range(behind, -1, -1):
        x, y = left + 0.04 * k, bottom + 0.04 * (2 - behind) / 2 + 0.04 * k
        square(x, y, side, facecolor="white", edgecolor="0.35", zorder=2)
    cell = side / _SHADES
    for row, column in np.ndindex(_SHADES, _SHADES):
        if row != column:
            shade = colormaps["magma"](0.25 * abs(row - column))
            place = left + column * cell, y + side - (row + 1) * cell
            target.add_patch(Rectangle(place, cell, cell, facecolor=shade, linewidth=0, zorder=3))
