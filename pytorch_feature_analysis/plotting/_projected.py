"""What faces the viewer of 3-D axes from any side: pictures, labels and the lines to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.image import BboxImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform
from mpl_toolkits.mplot3d import proj3d

from pytorch_feature_analysis.plotting._pictures import INTERPOLATION, picture_sides

if TYPE_CHECKING:
    from matplotlib.backend_bases import RendererBase
    from mpl_toolkits.mplot3d.axes3d import Axes3D

_NO_FRAME: dict[str, Any] = {"fill": False, "edgecolor": "none", "linewidth": 0.0}


class ScreenProjection:
    """Where a point of 3-D axes is on the screen now, and how large a data unit is there."""

    def __init__(self, ax: Axes3D, point: np.ndarray) -> None:
        self._ax = ax
        self._point = np.asarray(point, dtype=float)

    def place(self) -> tuple[np.ndarray, float, float]:
        """Return (x and y in pixels, pixels a data unit, depth: larger is further away)."""
        matrix = self._ax.get_proj()
        step = 1e-4
        # The point, and a step along each axis, whose lengths on the screen give the scale.
        points = self._point[:, None] + step * np.hstack([np.zeros((3, 1)), np.eye(3)])
        x, y, depth = (np.asarray(row) for row in proj3d.proj_transform(*points, matrix))
        pixels = self._ax.transData.transform(np.column_stack([x, y]))
        jacobian = (pixels[1:] - pixels[0]) / step
        # Of a view along any direction, the squared lengths of the three axes add up to two.
        scale = float(np.sqrt((jacobian**2).sum() / 2))
        return pixels[0], scale, float(depth[0])


class Picture3D(Rectangle):
    """A picture that faces the viewer at a point of 3-D axes, from whatever side that is.

    Being a patch, it takes part in the depth order of the axes. Its rectangle, in pixels, is
    computed anew at each drawing, and is its frame.
    """

    def __init__(
        self,
        ax: Axes3D,
        picture: np.ndarray,
        point: np.ndarray,
        size: float,
        *,
        shift: np.ndarray,
        frame: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(
            (0, 0),
            1,
            1,
            transform=IdentityTransform(),
            clip_on=False,
            **(_NO_FRAME if frame is None else {"edgecolor": mpl.rcParams["text.color"], **frame}),
        )
        self.set_figure(ax.figure)
        self._projection = ScreenProjection(ax, point)
        self._picture = picture
        self.place(shift, size)
        self._image = BboxImage(
            self.get_window_extent, origin="upper", interpolation=INTERPOLATION, clip_on=False
        )
        self._image.set_data(picture)
        self._image.set_figure(ax.figure)

    def place(self, shift: np.ndarray, size: float) -> None:
        """Stand at a shift from the point, with a longer side of `size`, both in data units."""
        self._sides = np.array(picture_sides(self._picture, size))
        self._shift = np.array(shift, dtype=float)

    def do_3d_projection(self) -> float:
        """Move to where the point is on the screen, and return its depth."""
        pixels, scale, depth = self._projection.place()
        width, height = self._sides * scale
        x, y = pixels + self._shift * scale
        self.set_bounds(x - width / 2, y - height / 2, width, height)
        return depth

    def get_window_extent(self, renderer: RendererBase | None = None) -> Any:
        """Return the rectangle on the screen in the present view."""
        self.do_3d_projection()
        return super().get_window_extent(renderer)

    def get_tightbbox(self, renderer: RendererBase | None = None) -> Any:
        """Return the same rectangle, from which layouts keep the picture inside the figure."""
        return self.get_window_extent(renderer)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the picture, and its frame over it."""
        if self.get_visible():
            self.do_3d_projection()
            self._image.draw(renderer)
            super().draw(renderer)


class Label3D(Text):
    """A text on the screen at a shift, in data units, from a point of 3-D axes."""

    def __init__(self, ax: Axes3D, point: np.ndarray, label: str, **options: Any) -> None:
        super().__init__(0, 0, label, transform=IdentityTransform(), clip_on=False, **options)
        self._projection = ScreenProjection(ax, point)
        self._shift = np.zeros(2)

    def move(self, pixels: np.ndarray) -> None:
        """Stay where `pixels` are in the present view, relative to the point."""
        middle, scale, _ = self._projection.place()
        self._shift = (pixels - middle) / scale

    def get_window_extent(self, renderer: Any = None, dpi: float | None = None) -> Any:
        """Return the box around the text in the present view."""
        self._settle()
        return super().get_window_extent(renderer, dpi)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the text where it is in the present view."""
        self._settle()
        super().draw(renderer)

    def _settle(self) -> None:
        middle, scale, _ = self._projection.place()
        x, y = middle + scale * self._shift
        self.set_position((x, y))


class Leader3D(Line2D):
    """A line on the screen between two shifts, in data units, from a point of 3-D axes."""

    def __init__(self, ax: Axes3D, point: np.ndarray, ends: np.ndarray, **options: Any) -> None:
        super().__init__([], [], transform=IdentityTransform(), clip_on=False, **options)
        self._projection = ScreenProjection(ax, point)
        middle, scale, _ = self._projection.place()
        self._shifts = (ends - middle) / scale

    def draw(self, renderer: RendererBase) -> None:
        """Draw the line where its ends are in the present view."""
        middle, scale, _ = self._projection.place()
        self.set_data(*(middle + scale * self._shifts).T)
        super().draw(renderer)
