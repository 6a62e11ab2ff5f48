"""What stands about the cells of `plot_rdm`: marks on which sides, titles, trees, the legend."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from pytorch_feature_analysis.plotting._figure import root_figure
from pytorch_feature_analysis.plotting._paper import POINTS, TITLE_POINTS, in_lines
from pytorch_feature_analysis.plotting._rdm_layout import (
    BarText,
    Layout,
    Room,
    lay_out,
    legend_columns,
    panel_inches,
    title_room,
)
from pytorch_feature_analysis.plotting._rdm_panels import Panel
from pytorch_feature_analysis.plotting._side_marks import (
    TREE_INCHES,
    Along,
    SideMarks,
    colours_of_groups,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST_WIDTH = 2.0
_GAP = 0.05


class Drawing:
    """The panels of a figure, side by side, and what stands about them.

    Parameters
    ----------
    panels
        In the order in which they stand, row after row.
    names
        Whether entries are named; None for where there is room.
    pictures
        By entry; None for one that is left blank.
    half
        Which half is left out: marks stand at the other.
    n_abreast
        How many panels stand side by side.
    write
        Makes texts legible.
    cells
        Inches of a cell of each panel, where axes are given; else a size is chosen.
    """

    def __init__(
        self,
        panels: Sequence[Panel],
        *,
        names: bool | None,
        pictures: Mapping[Hashable, np.ndarray | None],
        half: bool | str,
        n_abreast: int,
        write: Callable[[str], str],
        cells: Sequence[float] | None = None,
    ) -> None:
        self._panels, self._n_abreast = panels, n_abreast
        self._sides = ("right", "top") if half == "upper" else ("left", "bottom")
        # Where half is left out, the tree stands behind the marks, not at what is blank.
        self._tree_side = "top" if half is False else self._sides[1]
        # On axes of the user's it is not known which are the outer ones.
        self._is_shared = cells is None and all(panel.keys == panels[0].keys for panel in panels)
        self._side = panel_inches(
            max(len(panel.keys) for panel in panels), n_abreast, with_pictures=bool(pictures)
        )
        if cells is None:
            cells = [self._side / len(panel.keys) for panel in panels]
        self._write = write
        self._colours = colours_of_groups([kind for panel in panels for kind in panel.kinds])
        self.marks = [
            SideMarks(
                cell,
                panel.keys,
                panel.names,
                names,
                panel.groups,
                {key: pictures[key] for key in panel.keys if key in pictures},
                self._colours,
                write,
            )
            for cell, panel in zip(cells, panels, strict=True)
        ]

    def _is_outer(self, k: int, side: str) -> bool:
        """Whether what stands on this side of a panel is not said by one next to it."""
        if not self._is_shared:
            return True
        row, column = divmod(k, self._n_abreast)
        return {
            "left": column == 0,
            "right": column == self._n_abreast - 1 or k == len(self._panels) - 1,
            "top": row == 0,
            "bottom": k + self._n_abreast >= len(self._panels),
        }[side]

    def _depths(self, k: int) -> dict[str, float]:
        """Inches of the marks and the tree of a panel, by side."""
        depths = dict.fromkeys(("left", "right", "top", "bottom"), 0.0)
        for side in self._sides:
            if self._is_outer(k, side):
                depths[side] = self.marks[k].depth(side)
        if self._panels[k].tree is not None and self._is_outer(k, self._tree_side):
            depths[self._tree_side] += TREE_INCHES
        return depths

    def _room(self, k: int) -> Room:
        """Inches that the layout needs about a panel; none where there is no other beyond it."""
        depths = self._depths(k)
        row, column = divmod(k, self._n_abreast)
        if self._is_shared and column < self._n_abreast - 1:
            depths["right"] = 0.0
        if self._is_shared and row < (len(self._panels) - 1) // self._n_abreast:
            depths["bottom"] = 0.0
        lines = in_lines(self._panels[k].title, self._side, POINTS + 1)
        depths["top"] += title_room(lines, POINTS + 1)
        return Room(**depths)

    def draw_about(self, k: int, target: Axes) -> None:
        """Draw the marks, the tree and the title of a panel."""
        panel, depths = self._panels[k], self._depths(k)
        for side in self._sides:
            if self._is_outer(k, side):
                self.marks[k].draw(target, side)
        if panel.tree is not None and self._is_outer(k, self._tree_side):
            start = depths[self._tree_side] - TREE_INCHES
            Along(target, self._tree_side).add_tree(panel.tree, start)
        if panel.title:
            room = self.marks[k].cell * len(panel.keys)
            target.set_title(
                in_lines(panel.title, room, POINTS + 1),
                fontsize=POINTS + 1,
                pad=72 * (depths["top"] + _GAP),
            )

    @property
    def _legend(self) -> list[tuple[str, Any]]:
        """Names and colours of groups, where these are not named at their bars."""
        if all(marks.names_groups for marks in self.marks):
            return []
        drawn = {group for panel in self._panels for group in panel.groups}
        return [
            (self._write(str(group)), colour)
            for group, colour in self._colours.items()
            if group in drawn
        ]

    def lay_out(self, bar: BarText | None, fig_title: str | None) -> Layout:
        """Place all panels in a figure of its own."""
        rooms = [self._room(k) for k in range(len(self._panels))]
        n_abreast = min(self._n_abreast, len(rooms))
        return lay_out(
            rooms,
            self._side,
            n_abreast,
            bar=bar,
            title=fig_title or "",
            legend=[text for text, _ in self._legend],
            least_width=_LEAST_WIDTH,
        )

    def finish(self, figure: Figure, layout: Layout) -> None:
        """Write the title and the legend of a figure of its own."""
        width, height = layout.size
        if layout.title:
            figure.text(
                layout.middle / width,
                1 - layout.margin / height,
                layout.title,
                fontsize=TITLE_POINTS,
                ha="center",
                va="top",
            )
        self._add_legend(
            figure,
            loc="lower center",
            bbox_to_anchor=(layout.middle / width, layout.margin / height),
            ncols=layout.legend_columns,
        )

    def add_legend(self, target: Axes) -> None:
        """Add the legend, if there is one, below what stands below axes of the user's."""
        k = len(self._panels) - 1
        inches = root_figure(target).dpi_scale_trans
        below = ScaledTranslation(0, -self._depths(k)["bottom"] - _GAP, inches)
        width = self.marks[k].cell * len(self._panels[k].keys)
        self._add_legend(
            target,
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=target.transAxes + below,
            ncols=legend_columns([text for text, _ in self._legend], width),
        )

    def _add_legend(self, parent: Any, **options: Any) -> None:
        if not self._legend:
            return
        parent.legend(
            handles=[Patch(color=colour, label=text) for text, colour in self._legend],
            frameon=False,
            fontsize=POINTS,
            borderaxespad=0,
            borderpad=0,
            handlelength=1,
            handleheight=0.8,
            handletextpad=0.4,
            labelspacing=0.3,
            columnspacing=1.2,
            **options,
        )
