"""A map of named points: lines, dots, pictures and labels, with all of it in view."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib import cbook, colors, patheffects
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.text import Text

from pytorch_feature_analysis.plotting._arrangement import Arrangement, arrange
from pytorch_feature_analysis.plotting._dots import dot_groups
from pytorch_feature_analysis.plotting._figure import root_figure, wrap
from pytorch_feature_analysis.plotting._labels import place_labels
from pytorch_feature_analysis.plotting._paper import columns_that_fit, legend_name
from pytorch_feature_analysis.plotting._pictures import ink_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEADER: dict[str, Any] = {"color": "0.5", "linewidth": 0.5}
"""Options of a line that leads to a label."""

_LINES, _DOTS = 1, 2
_MOST_ROUNDS = 30
# Limits grow no further than this, so that what cannot be brought into view hides nothing else.
_WIDEST_VIEW = 4.0
_PLENTY_OF_LABELS = 20
_WIDEST_LABEL = 0.5
# Letters stand wider apart at the resolution of files than on the screen.
_WIDER_IN_FILES = 1.09
# In points: the pieces of a line that labels keep clear of, and how far they keep.
_PIECE = 4.0
_CLEARANCE = 2.0
# Where a picture belongs that was moved.
_POINT = {"marker": "o", "markevery": [0], "markersize": 2.5, "markeredgewidth": 0}
_HALO = 1.8
# In points: names on blanks, from the largest to the smallest that is tried.
_BLANK_POINTS = (7.0, 6.0, 5.0, 4.0)
# Of the width of the axes beside a note.
_LEGEND_SHARE = 0.66


class PointMap(ABC):
    """Draws named points on axes, and widens the limits until all that is drawn is inside.

    Parameters
    ----------
    ax
        The axes.
    keys
        All names, in order.
    places
        The points of those that are drawn, by name.
    limits
        Low and high end of every axis.
    """

    def __init__(
        self,
        ax: Axes,
        keys: Sequence[Hashable],
        places: Mapping[Hashable, np.ndarray],
        limits: tuple[float, float],
    ) -> None:
        self._ax: Any = ax
        self._keys = list(keys)
        self._places = dict(places)
        dims = len(next(iter(places.values())))
        self._low = np.full(dims, float(limits[0]))
        self._high = np.full(dims, float(limits[1]))
        self._widest = _WIDEST_VIEW * (limits[1] - limits[0])
        self._pictures: dict[Hashable, Any] = {}
        # Of all pictures, in data units.
        self._shift = np.zeros(2)
        self._size = 0.0
        self._points: float | None = None
        self._overlap = "allow"
        # What is seen of each, as of `ink_box`, and widths of frames in points.
        self._inks: dict[Hashable, np.ndarray] = {}
        self._borders: dict[Hashable, float] = {}
        self._colours: dict[Hashable, Any] = {}
        self._arrangement: Arrangement | None = None
        self._moved: list[Hashable] = []
        self._dotted: list[Hashable] = []
        self._dot_size = 0.0
        self._trajectories: list[np.ndarray] = []
        ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        ax.grid(False)
        self._style_axes()
        self._set_limits()

    @abstractmethod
    def _style_axes(self) -> None: ...

    @abstractmethod
    def _settle(self) -> None:
        """Adapt to the place that the axes have got."""

    @abstractmethod
    def _add_picture(
        self, key: Hashable, picture: np.ndarray, size: float, frame: Mapping[str, Any] | None
    ) -> Any: ...

    @abstractmethod
    def _place_picture(self, key: Hashable, shift: np.ndarray, size: float) -> None: ...

    @abstractmethod
    def _write(self, x: float, y: float, note: str, **options: Any) -> None: ...

    @abstractmethod
    def _add_label(self, key: Hashable, label: str, options: dict[str, Any]) -> Any: ...

    @abstractmethod
    def _move_label(self, text: Any, pixels: np.ndarray) -> None: ...

    @abstractmethod
    def _add_leader(self, key: Hashable, ends: np.ndarray, **options: Any) -> None: ...

    @abstractmethod
    def _on_screen(self, place: np.ndarray) -> tuple[np.ndarray, float]:
        """Where a point is in pixels, and the pixels of a data unit there."""

    @abstractmethod
    def _widen(self, boxes: np.ndarray) -> bool:
        """Widen the limits towards holding `boxes`, in pixels; tell whether it was needed."""

    def _set_limits(self) -> None:
        for name, low, high in zip("xyz", self._low, self._high, strict=False):
            self._ax.set(**{f"{name}lim": (low, high)})

    def draw_lines(
        self, trajectories: Sequence[tuple[Sequence[Hashable], Mapping[str, Any]]]
    ) -> None:
        """Join the points of each trajectory that are on the map."""
        for keys, given in trajectories:
            options = {
                "linestyle": "-",
                "color": mpl.rcParams["text.color"],
                "zorder": _LINES,
                **cbook.normalize_kwargs(dict(given), Line2D),
            }
            points = np.array([self._places[key] for key in keys if key in self._places])
            if len(points) > 1:
                self._ax.plot(*points.T, **options)
                self._trajectories.append(points)

    def draw_pictures(
        self,
        pictures: Mapping[Hashable, np.ndarray],
        *,
        size: float,
        offset: tuple[float, float],
        frames: Mapping[Hashable, Mapping[str, Any]],
        points: float | None = None,
        overlap: str = "allow",
        colours: Mapping[Hashable, Any] | None = None,
    ) -> None:
        """Draw a picture at each of the points named, shifted by `offset`.

        Their sizes and places are final once labels are drawn: with `points`, which is a size in
        points instead of data units, and unless `overlap` is 'allow'.
        """
        self._shift = np.array(offset, dtype=float)
        self._size, self._points, self._overlap = size, points, overlap
        self._colours = dict(colours or {})
        self._borders = {key: float(frame["linewidth"]) for key, frame in frames.items()}
        for key, picture in pictures.items():
            if key in self._places:
                self._pictures[key] = self._add_picture(key, picture, size, frames.get(key))
                self._inks[key] = ink_box(picture, is_framed=key in frames)

    def draw_dots(
        self,
        options: Mapping[str, Any],
        per_dot: Mapping[str, Mapping[Hashable, Any]],
        colours: Mapping[Hashable, Any],
    ) -> None:
        """Draw a dot at each point that no picture lies on."""
        drawn = [
            i
            for i, key in enumerate(self._keys)
            if key in self._places and (key not in self._pictures or self._shift.any())
        ]
        if not drawn:
            return
        self._dotted = [self._keys[i] for i in drawn]
        for members, settings in dot_groups(self._keys, drawn, options, per_dot, colours):
            points = np.array([self._places[self._keys[i]] for i in members])
            dots = self._ax.scatter(*points.T, **{"zorder": _DOTS, **settings})
            self._dot_size = max(self._dot_size, float(np.sqrt(np.max(dots.get_sizes()))))

    def name_kinds(self, kinds: Sequence[tuple[str, Any, str]]) -> None:
        """Put kinds of points into the legend: what each is called, its colour and marker."""
        nowhere: list[list[float]] = [[]] * len(self._low)
        for text, colour, marker in kinds:
            options = {"color": colour, "marker": marker, "markeredgewidth": 0}
            self._ax.plot(*nowhere, linestyle="none", label=legend_name(text), **options)

    def write_margins(self, note: str, *, legend: bool) -> None:
        """Write a note below the axes on the right, and the legend on the left."""
        if note:
            self._write(
                1,
                -0.015,
                note,
                horizontalalignment="right",
                verticalalignment="top",
                fontsize="small",
            )
        handles, texts = self._ax.get_legend_handles_labels()
        if legend and texts:
            # Marks need no room for a line.
            marks = all(handle.get_linestyle() == "None" for handle in handles)
            small = FontProperties(size="small").get_size_in_points()
            room = _LEGEND_SHARE * self._ax.bbox.width / root_figure(self._ax).dpi
            self._ax.legend(
                ncols=columns_that_fit(texts, room, small),
                numpoints=1,
                columnspacing=1.2,
                handletextpad=0.4,
                handlelength=1.0 if marks else None,
                loc="upper left",
                bbox_to_anchor=(0, -0.005),
                borderaxespad=0.0,
                frameon=False,
                fontsize="small",
            )

    def draw_labels(
        self, labels: Mapping[Hashable, str], *, offset: float, options: Mapping[str, Any]
    ) -> None:
        """Write a label by each of the points named, and bring everything into view.

        Labels keep clear of each other and of what is drawn; if the options align them, they stay
        above their points. On 3-D axes this is of the present view, and later ones keep the place
        of a label relative to its point.
        """
        given = cbook.normalize_kwargs(dict(options), Text)
        background = colors.to_rgb(self._ax.get_facecolor())
        settings: dict[str, Any] = {
            "path_effects": [patheffects.withStroke(linewidth=2.5, foreground=background)],
            "horizontalalignment": "center",
            "verticalalignment": "center",
            "fontsize": "medium" if len(labels) <= _PLENTY_OF_LABELS else "small",
            **given,
        }
        labels = {key: label for key, label in labels.items() if key in self._places}
        texts = {key: self._add_label(key, label, settings) for key, label in labels.items()}
        # Layouts give the axes their place when the figure is drawn.
        root_figure(self._ax).draw_without_rendering()
        self._settle()
        self._arrange()
        for text in texts.values():
            wrap(text, _WIDEST_LABEL * self._ax.bbox.width)
        if {"horizontalalignment", "verticalalignment"}.isdisjoint(given):
            self._spread_labels(texts, offset)
        else:
            self._stack_labels(texts, offset)
        self._lead_to_points()
        if self._arrangement is not None:
            self._arrangement.log()

    def _spread_labels(self, texts: Mapping[Hashable, Any], offset: float) -> None:
        sizes = _rows([text.get_window_extent().size for text in texts.values()], 2)
        sizes[:, 0] *= _WIDER_IN_FILES
        for _ in range(_MOST_ROUNDS):
            anchors = _rows([self._anchor(key) for key in texts], 4)
            gap = self._gap(offset)
            frame = self._ax.bbox.extents
            centres = place_labels(anchors, sizes, self._named(), self._lines(), frame, gap=gap)
            boxes = np.hstack([centres - sizes / 2, centres + sizes / 2])
            if self._is_widest() or not self._make_room(boxes):
                break
        # A line leads from a label that found no room beside its point.
        starts = np.clip(centres, anchors[:, :2], anchors[:, 2:])
        ends = np.clip(starts, boxes[:, :2], boxes[:, 2:])
        far = np.hypot(*(ends - starts).T) > 1.5 * gap
        for i, (key, text) in enumerate(texts.items()):
            self._move_label(text, centres[i])
            if far[i]:
                self._add_leader(key, np.array([starts[i], ends[i]]))

    def _stack_labels(self, texts: Mapping[Hashable, Any], offset: float) -> None:
        for _ in range(_MOST_ROUNDS):
            gap = self._gap(offset)
            for key, text in texts.items():
                left, _, right, top = self._anchor(key)
                self._move_label(text, np.array([(left + right) / 2, top + gap]))
            boxes = _rows([text.get_window_extent().extents for text in texts.values()], 4)
            if self._is_widest() or not self._make_room(boxes):
                break

    def _make_room(self, boxes: np.ndarray) -> bool:
        grown = self._widen(np.concatenate([boxes, self._named()]))
        if grown and self._points is not None:
            self._arrange()
        return grown

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Low and high end of all axes."""
        return self._low, self._high

    def zoom_out(self, low: float, high: float) -> None:
        """Set the limits, alike for all axes; pictures keep their points."""
        self._low, self._high = np.full_like(self._low, low), np.full_like(self._high, high)
        self._set_limits()
        if self._points is not None:
            self._arrange()

    def _arrange(self) -> None:
        """Give all pictures the size in points, and keep them clear of each other, if asked to."""
        if not self._pictures or (self._points is None and self._overlap == "allow"):
            return
        keys = list(self._pictures)
        seen = [self._on_screen(self._places[key]) for key in keys]
        scales = np.array([scale for _, scale in seen])
        point = root_figure(self._ax).dpi / 72
        size = self._size
        if self._points is not None:
            size = self._points * point / float(scales.mean())
        self._arrangement = arrange(
            np.array([place for place, _ in seen]) + self._shift * scales[:, None],
            np.array([self._inks[key] for key in keys]),
            scales,
            np.array([self._borders.get(key, 0.0) for key in keys]),
            size=size,
            overlap=self._overlap,
            area=float(np.prod(self._ax.bbox.size)),
            point=point,
        )
        self._moved = []
        for key, move in zip(keys, self._arrangement.moves, strict=True):
            self._place_picture(key, self._shift + move, self._arrangement.size)
            if move.any():
                self._moved.append(key)

    def _lead_to_points(self) -> None:
        """Draw a dot where a picture belongs that was moved off it, and a line from there."""
        for key in self._moved:
            middle, scale = self._on_screen(self._places[key])
            point = middle + self._shift * scale
            box = self._ink_on_screen(key)
            end = np.clip(point, box[:2], box[2:])
            if (end != point).any():
                colour = self._colours.get(key, "0.35")
                # To be seen on a picture of that colour too.
                halo = patheffects.withStroke(
                    linewidth=_HALO, foreground=colors.to_rgb(self._ax.get_facecolor())
                )
                options = {"color": colour, "path_effects": [halo], **_POINT}
                self._add_leader(key, np.array([point, end]), **options)

    def name_blanks(self, names: Mapping[Hashable, str]) -> None:
        """Write names on the pictures that are blanks, as large as they fit."""
        for key, name in names.items():
            if key not in self._pictures:
                continue
            left, bottom, right, top = self._anchor(key)
            options = {"ha": "center", "va": "center", "color": "0.35"}
            text = self._add_label(key, name, options)
            for points in _BLANK_POINTS:
                text.set(text=name, fontsize=points)
                wrap(text, right - left)
                if text.get_window_extent().height <= top - bottom:
                    break
            self._move_label(text, np.array([left + right, bottom + top]) / 2)

    def _is_widest(self) -> bool:
        return bool((self._high - self._low).max() > 0.99 * self._widest)

    def _gap(self, offset: float) -> float:
        scales = [self._on_screen(place)[1] for place in self._places.values()]
        return offset * float(np.mean(scales))

    def _picture_boxes(self) -> np.ndarray:
        return _rows([p.get_window_extent().extents for p in self._pictures.values()], 4)

    def _ink_on_screen(self, key: Hashable) -> np.ndarray:
        box = self._anchor(key)
        middle, longest = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
        return np.tile(middle, 2) + longest * self._inks[key]

    def _anchor(self, key: Hashable) -> np.ndarray:
        """Return the box that a label stands by: the picture, or the middle of the dot."""
        if key in self._pictures:
            return self._pictures[key].get_window_extent().extents
        return np.tile(self._on_screen(self._places[key])[0], 2)

    def _named(self) -> np.ndarray:
        """Boxes of the pictures and the dots, in pixels."""
        half = root_figure(self._ax).dpi / 72 * self._dot_size / 2
        dots = [_square(self._on_screen(self._places[key])[0], half) for key in self._dotted]
        return np.concatenate([self._picture_boxes(), _rows(dots, 4)])

    def _lines(self) -> np.ndarray:
        """Boxes around pieces of the lines, in pixels."""
        pixels = root_figure(self._ax).dpi / 72
        boxes = []
        for points in self._trajectories:
            ends = [self._on_screen(point)[0] for point in points]
            for a, b in itertools.pairwise(ends):
                count = int(np.hypot(*(b - a)) / (pixels * _PIECE)) + 2
                boxes += [_square(p, pixels * _CLEARANCE) for p in np.linspace(a, b, count)]
        return _rows(boxes, 4)


def _rows(rows: list[np.ndarray], length: int) -> np.ndarray:
    return np.array(rows, dtype=float).reshape(-1, length)


def _square(middle: np.ndarray, half: float) -> np.ndarray:
    return np.concatenate([middle - half, middle + half])
