"""A map on two-dimensional axes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from pytorch_feature_analysis.plotting._pictures import Picture2D
from pytorch_feature_analysis.plotting._point_map import LEADER, PointMap

_PICTURES, _LEADERS, _LABELS = 3, 3.5, 4
_MARGIN = 0.01


class FlatMap(PointMap):
    """A map on 2-D axes, with one scale for both."""

    def _style_axes(self) -> None:
        self._ax.set_aspect("equal", adjustable="box")

    def _settle(self) -> None:
        """Leave the axes as they are: their aspect was applied with the layout."""

    def _add_picture(
        self, key: Hashable, picture: np.ndarray, size: float, frame: Mapping[str, Any] | None
    ) -> Any:
        centre = self._places[key] + self._shift
        return Picture2D(self._ax, picture, centre, size, frame=frame, zorder=_PICTURES)

    def _place_picture(self, key: Hashable, shift: np.ndarray, size: float) -> None:
        self._pictures[key].place(self._places[key] + shift, size)

    def _write(self, x: float, y: float, note: str, **options: Any) -> None:
        self._ax.text(x, y, note, transform=self._ax.transAxes, **options)

    def _add_label(self, key: Hashable, label: str, options: dict[str, Any]) -> Any:
        # Labels end up inside the axes, so that layouts need not make room for them.
        settings = {"zorder": _LABELS, "in_layout": False, **options}
        return self._ax.text(*self._places[key], label, **settings)

    def _move_label(self, text: Any, pixels: np.ndarray) -> None:
        text.set_position(self._ax.transData.inverted().transform(pixels))

    def _add_leader(self, key: Hashable, ends: np.ndarray, **options: Any) -> None:  # noqa: ARG002 - of all maps
        x, y = self._ax.transData.inverted().transform(ends).T
        self._ax.add_line(Line2D(x, y, **{**LEADER, "zorder": _LEADERS, **options}))

    def _on_screen(self, place: np.ndarray) -> tuple[np.ndarray, float]:
        scale = self._ax.bbox.width / (self._high[0] - self._low[0])
        return self._ax.transData.transform(place), float(scale)

    def _widen(self, boxes: np.ndarray) -> bool:
        if not len(boxes):
            return False
        corners = self._ax.transData.inverted().transform(boxes.reshape(-1, 2))
        return self._include(corners.min(axis=0), corners.max(axis=0))

    def _include(self, low: np.ndarray, high: np.ndarray) -> bool:
        """Widen the limits to hold a box, alike on both axes; tell whether they grew."""
        if (low >= self._low).all() and (high <= self._high).all():
            return False
        margin = _MARGIN * (self._high - self._low)
        self._low = np.where(low < self._low, low - margin, self._low)
        self._high = np.where(high > self._high, high + margin, self._high)
        middle = (self._low + self._high) / 2
        half = min((self._high - self._low).max(), self._widest) / 2
        self._low, self._high = middle - half, middle + half
        self._set_limits()
        return True
