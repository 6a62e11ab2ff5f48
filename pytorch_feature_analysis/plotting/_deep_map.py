"""A map on three-dimensional axes."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from pytorch_feature_analysis.plotting._point_map import LEADER, PointMap
from pytorch_feature_analysis.plotting._projected import (
    Label3D,
    Leader3D,
    Picture3D,
    ScreenProjection,
)

_STEMS = 0.5
# The depth order of 3-D axes numbers its dots and pictures from the axes' own order upwards.
_ABOVE_ALL_DEPTHS = 10_000


class DeepMap(PointMap):
    """A map on 3-D axes, whose pictures and labels face the viewer."""

    def _style_axes(self) -> None:
        ax = self._ax
        ax.set(zticks=[], zlabel="")
        ax.set_box_aspect((1, 1, 1))
        for axis, shade in ((ax.xaxis, 0.97), (ax.yaxis, 0.985), (ax.zaxis, 0.94)):
            axis.set_pane_color((shade, shade, shade, 1.0))
            axis.line.set_color("0.8")
        # A stem to the floor tells how deep in the space a point is.
        (self._stems,) = ax.plot([], [], [], color="0.8", linewidth=0.5, zorder=_STEMS)

    def _set_limits(self) -> None:
        super()._set_limits()
        stems = np.full((len(self._places), 3, 3), np.nan)
        stems[:, :2] = np.array(list(self._places.values()))[:, None]
        stems[:, 1, 2] = self._low[2]
        self._stems.set_data_3d(*stems.reshape(-1, 3).T)

    def _settle(self) -> None:
        """Bring the whole cube into the place that layouts leave to the axes."""
        corners = np.array(list(itertools.product(*zip(self._low, self._high, strict=True))))
        pixels = np.array([self._on_screen(corner)[0] for corner in corners])
        frame = self._ax.bbox
        middle = np.array([(frame.x0 + frame.x1) / 2, (frame.y0 + frame.y1) / 2])
        reach = np.abs(pixels - middle).max(axis=0) / (np.array(frame.size) / 2)
        self._ax.set_box_aspect((1, 1, 1), zoom=float(1 / reach.max()))

    def _add_picture(
        self, key: Hashable, picture: np.ndarray, size: float, frame: Mapping[str, Any] | None
    ) -> Any:
        artist = Picture3D(
            self._ax, picture, self._places[key], size, shift=self._shift, frame=frame
        )
        return self._ax.add_artist(artist)

    def _place_picture(self, key: Hashable, shift: np.ndarray, size: float) -> None:
        self._pictures[key].place(shift, size)

    def _write(self, x: float, y: float, note: str, **options: Any) -> None:
        self._ax.text2D(x, y, note, transform=self._ax.transAxes, **options)

    def _add_label(self, key: Hashable, label: str, options: dict[str, Any]) -> Any:
        # Labels end up inside the axes, so that layouts need not make room for them.
        settings = {"zorder": _ABOVE_ALL_DEPTHS, "in_layout": False, **options}
        return self._ax.add_artist(Label3D(self._ax, self._places[key], label, **settings))

    def _move_label(self, text: Any, pixels: np.ndarray) -> None:
        text.move(pixels)

    def _add_leader(self, key: Hashable, ends: np.ndarray, **options: Any) -> None:
        settings = {**LEADER, "zorder": _ABOVE_ALL_DEPTHS - 1, **options}
        self._ax.add_artist(Leader3D(self._ax, self._places[key], ends, **settings))

    def _on_screen(self, place: np.ndarray) -> tuple[np.ndarray, float]:
        return ScreenProjection(self._ax, place).place()[:2]

    def _widen(self, boxes: np.ndarray) -> bool:
        frame = self._ax.bbox.extents
        if (boxes[:, :2] >= frame[:2]).all() and (boxes[:, 2:] <= frame[2:]).all():
            return False
        step = 0.02 * (self._high - self._low)
        self._low, self._high = self._low - step, self._high + step
        self._set_limits()
        return True
