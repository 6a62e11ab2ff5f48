"""What stands along a side of an RDM, outward from it: pictures, names, bars of groups.

Along the side, places are those of the entries; outward, they are inches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox, ScaledTranslation, blended_transform_factory

from pytorch_feature_analysis.plotting._dendrogram import tree_lines
from pytorch_feature_analysis.plotting._figure import root_figure
from pytorch_feature_analysis.plotting._paper import COLOURS, POINTS, text_inches
from pytorch_feature_analysis.plotting._pictures import INTERPOLATION, picture_sides

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TREE_INCHES = 0.4
# Pictures are no smaller than this where they can be told to stand in several lines, nor larger.
_LEAST_PICTURE, _LARGEST_PICTURE, _MOST_LINES = 0.13, 0.42, 8
_PICTURE_SHARE, _OF_LINES = 0.82, 0.17
_GAP, _BAR = 0.04, 0.06
# Size of names, as a share of a cell where cells are small; smaller ones are left out.
_NAME_SHARE, _LEAST_POINTS = 0.85, 4.0
_LINE = 1.25
# Four of Tol's muted ones, and how all are made lighter and darker where there are more groups.
_FURTHER_COLOURS = ("#332288", "#882255", "#DDCC77", "#661100")
_TINTS = ((1.0, 0.0), (0.45, 0.55), (0.6, 0.0))
_BLANK, _FRAME = "0.93", "0.6"


def colours_of_groups(groups: Sequence[Hashable]) -> dict[Hashable, Any]:
    """Give each group a colour: those that all can tell apart, then lighter and darker ones."""
    base = (*COLOURS, *_FURTHER_COLOURS)
    colours = {}
    for k, group in enumerate(dict.fromkeys(groups)):
        share, white = _TINTS[k // len(base) % len(_TINTS)]
        colours[group] = tuple(share * np.array(to_rgb(base[k % len(base)])) + white)
    return colours


def runs_of(groups: Sequence[Hashable]) -> list[tuple[Hashable, int, int]]:
    """List groups of entries side by side, with the places of the first and the last."""
    runs: list[tuple[Hashable, int, int]] = []
    for k, group in enumerate(groups):
        if runs and runs[-1][0] == group:
            runs[-1] = (group, runs[-1][1], k)
        else:
            runs.append((group, k, k))
    return runs


@dataclass(frozen=True)
class SideMarks:
    """Pictures, names and groups of the entries, for any side of RDMs with cells of one size."""

    cell: float
    """Inches."""
    keys: Sequence[Hashable]
    names: Sequence[str]
    show_names: bool | None
    """None for where there is room."""
    groups: Sequence[Hashable]
    pictures: Mapping[Hashable, np.ndarray | None]
    """None for one that is to be left blank."""
    colours: Mapping[Hashable, Any]
    write: Callable[[str], str]
    """Makes texts legible."""
    runs: list[tuple[Hashable, int, int]] = field(init=False)
    lines: int = field(init=False)
    side: float = field(init=False)
    points: float = field(init=False)

    def __post_init__(self) -> None:
        has_groups = any(group is not None for group in self.groups)
        lines = ceil(_LEAST_PICTURE / self.cell) if self.pictures else 0
        lines = min(lines, _MOST_LINES, len(self.keys))
        fitting = {
            "runs": runs_of(self.groups) if has_groups else [],
            "lines": lines,
            "side": self._side_of_pictures(lines),
            "points": self._points_of_names(),
        }
        for name, value in fitting.items():
            object.__setattr__(self, name, value)

    def _side_of_pictures(self, lines: int) -> float:
        """Longer side; in lines they could be larger, but would stand out at the ends."""
        alone = _PICTURE_SHARE * self.cell
        if lines < 2:
            return min(alone, _LARGEST_PICTURE)
        return min(alone * lines, _OF_LINES)

    def _points_of_names(self) -> float:
        """Size of names; 0 for none."""
        points = min(POINTS, _NAME_SHARE * 72 * self.cell)
        if self.show_names is None:
            return points if points >= _LEAST_POINTS and not self.pictures else 0.0
        return max(points, 1.0) if self.show_names else 0.0

    @property
    def are_together(self) -> bool:
        """Whether each group stands in one place, so that it can be named there."""
        return len(self.runs) == len({group for group, _, _ in self.runs})

    @property
    def names_groups(self) -> bool:
        """Whether groups, if there are any, are named at their bars."""
        return not self.runs or self._group_points > 0

    @property
    def _group_points(self) -> float:
        """Size of the names of groups; 0 for none."""
        if not self.runs or not self.are_together:
            return 0.0
        least = min(last - first + 1 for _, first, last in self.runs)
        points = min(POINTS + 1.0, 72 * self.cell * least / _LINE)
        return points if points >= _LEAST_POINTS else 0.0

    def _inches_of(self, group: Hashable, points: float) -> float:
        return text_inches(self.write(str(group)), points)

    def _is_upright(self, side: str) -> bool:
        """Whether names of groups run outward below or above, as they do beside."""
        return side in ("bottom", "top") and any(
            self._inches_of(group, self._group_points) > 0.95 * self.cell * (last - first + 1)
            for group, first, last in self.runs
        )

    def depth(self, side: str) -> float:
        """Inches outward that all of it takes."""
        return self._starts(side)[-1] + self._group_depth(side)

    def _names_run_outward(self, side: str) -> bool:
        """Whether names are upright below or above, for want of room."""
        widest = max(text_inches(name, self.points) for name in self.names)
        return side in ("left", "right") or widest > 0.9 * self.cell

    def _starts(self, side: str) -> tuple[float, float, float, float]:
        """Where pictures, names, bars and names of groups begin."""
        pictures = _GAP
        names = pictures + (self.lines * self.side / _PICTURE_SHARE + _GAP if self.lines else 0.0)
        bars = names
        if self.points:
            bars += 1.5 * _GAP
            if self._names_run_outward(side):
                bars += max(text_inches(name, self.points) for name in self.names)
            else:
                bars += _LINE * self.points / 72
        return pictures, names, bars, bars + (_BAR + _GAP if self.runs else 0.0)

    def _group_depth(self, side: str) -> float:
        points = self._group_points
        if not points:
            return 0.0
        if side in ("left", "right") or self._is_upright(side):
            return max(self._inches_of(group, points) for group, _, _ in self.runs) + _GAP
        return _LINE * points / 72 + _GAP

    def draw(self, ax: Axes, side: str) -> None:
        """Draw all of it beside, below or above these axes."""
        along = Along(ax, side)
        pictures, names, bars, of_groups = self._starts(side)
        if self.lines:
            self._draw_pictures(along, pictures)
        if self.points:
            outward = self._names_run_outward(side)
            for k, name in enumerate(self.names):
                along.write(name, k, names, self.points, outward=outward)
        for group, first, last in self.runs:
            along.add(
                Rectangle,
                (first - 0.42, last + 0.42),
                (bars, bars + _BAR),
                facecolor=self.colours[group],
                linewidth=0,
            )
            if points := self._group_points:
                outward = side in ("left", "right") or self._is_upright(side)
                place = (first + last) / 2
                along.write(self.write(str(group)), place, of_groups, points, outward=outward)

    def _draw_pictures(self, along: Along, start: float) -> None:
        step = self.side / _PICTURE_SHARE
        leaders = []
        for k, key in enumerate(self.keys):
            out = start + step * (k % self.lines + 0.5)
            if k % self.lines:
                leaders.append([(k, 0.0), (k, out)])
            if key not in self.pictures:
                continue
            picture = self.pictures[key]
            sides = (
                (self.side, self.side) if picture is None else picture_sides(picture, self.side)
            )
            across, outward = sides if along.is_level else sides[::-1]
            half = across / self.cell / 2
            ends = (k - half, k + half), (out - outward / 2, out + outward / 2)
            if picture is not None:
                along.add_picture(picture, *ends)
                continue
            along.add(Rectangle, *ends, facecolor=_BLANK, edgecolor=_FRAME, linewidth=0.4)
            self._label_blank(along, self.names[k], k, out)
        # Behind pictures, those in other lines too.
        along.add_lines(np.array(leaders), color="0.75", linewidth=0.3, zorder=-0.5)

    def _label_blank(self, along: Along, name: str, place: float, out: float) -> None:
        """Write the name of an entry into its blank, or a question mark where it has no room."""
        points = min(POINTS, POINTS * 0.9 * self.side / max(text_inches(name, POINTS), 1e-6))
        if points < _LEAST_POINTS:
            name, points = "?", min(POINTS, 0.7 * 72 * self.side)
        along.write(name, place, out, points, centred=True)


class _Lines(LineCollection):
    """Lines beside axes, which layouts make room for; of those of matplotlib they see none."""

    def get_window_extent(self, renderer: Any = None) -> Bbox:  # noqa: ARG002 - of all artists
        ends = self.get_transform().transform(np.concatenate(self.get_segments()))
        return Bbox([ends.min(axis=0), ends.max(axis=0)])

    def get_tightbbox(self, renderer: Any = None) -> Bbox:
        return self.get_window_extent(renderer)


class Along:
    """Artists along a side of axes, placed by entry along it and by inches outward."""

    def __init__(self, ax: Axes, side: str) -> None:
        self.ax, self.side = ax, side
        self.is_level = side in ("bottom", "top")
        self._sign = -1 if side in ("left", "bottom") else 1
        edge = (1.0 if side == "right" else 0.0), (1.0 if side == "top" else 0.0)
        scale: Any = root_figure(ax).dpi_scale_trans
        of_axes: Any = ax.transAxes
        inches = scale + ScaledTranslation(*edge, of_axes)
        self._transform = (
            blended_transform_factory(ax.transData, inches)
            if self.is_level
            else blended_transform_factory(inches, ax.transData)
        )

    def _place(self, along: float, out: float) -> tuple[float, float]:
        outward = self._sign * out
        return (along, outward) if self.is_level else (outward, along)

    def _box(
        self, along: tuple[float, float], out: tuple[float, float]
    ) -> tuple[float, float, float, float]:
        """Left, right, bottom and top; downward, places of entries grow."""
        (x1, y1), (x2, y2) = self._place(along[0], out[0]), self._place(along[1], out[1])
        left, right = sorted((x1, x2))
        bottom, top = sorted((y1, y2), reverse=not self.is_level)
        return left, right, bottom, top

    def add(
        self, patch: Any, along: tuple[float, float], out: tuple[float, float], **options: Any
    ) -> None:
        left, right, bottom, top = self._box(along, out)
        self.ax.add_artist(
            patch(
                (left, bottom),
                right - left,
                top - bottom,
                transform=self._transform,
                clip_on=False,
                **options,
            )
        )

    def add_picture(
        self, picture: np.ndarray, along: tuple[float, float], out: tuple[float, float]
    ) -> None:
        image = AxesImage(
            self.ax,
            extent=self._box(along, out),
            origin="upper",
            interpolation=INTERPOLATION,
            clip_on=False,
        )
        image.set_data(picture)
        image.set_transform(self._transform)
        self.ax.add_artist(image)

    def add_lines(self, lines: np.ndarray, **options: Any) -> None:
        """Add lines (n_lines, n_points, 2) of places along and outward."""
        if not len(lines):
            return
        placed = [[self._place(*point) for point in line] for line in lines]
        self.ax.add_artist(_Lines(placed, transform=self._transform, clip_on=False, **options))

    def add_tree(self, tree: np.ndarray, start: float) -> None:
        """Add a tree that grows outward, from so many inches on."""
        lines = tree_lines(tree)
        lines[..., 1] = start + _GAP + (TREE_INCHES - 2 * _GAP) * lines[..., 1]
        width = float(np.clip(60 / len(lines), 0.4, 0.8))
        self.add_lines(lines, color="0.25", linewidth=width, capstyle="projecting")

    def write(
        self,
        text: str,
        along: float,
        out: float,
        points: float,
        *,
        outward: bool = False,
        centred: bool = False,
    ) -> None:
        """Write a text that begins so far out, and runs outward, or along the side."""
        nearest = {"left": "right", "right": "left", "bottom": "top", "top": "bottom"}[self.side]
        ha, va = ("center", nearest) if self.is_level else (nearest, "center")
        self.ax.text(
            *self._place(along, out),
            text,
            fontsize=points,
            rotation=90 if outward and self.is_level else 0,
            ha="center" if centred else ha,
            va="center" if centred else va,
            transform=self._transform,
            clip_on=False,
        )
