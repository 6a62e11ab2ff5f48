"""Thumbnails on axes: loaded as the networks' images are, and never stretched."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from pytorch_feature_analysis._checks import is_missing
from pytorch_feature_analysis.images import alphatize_image, load_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

# Sharp where a picture is enlarged, smooth where it is reduced.
INTERPOLATION = "antialiased"
BLANK = np.full((8, 8, 4), (240, 240, 240, 255), dtype=np.uint8)
"""In the place of a picture that is not there."""
_MOST_LISTED = 3
# Of 255: what is no more opaque than this is not seen.
_FAINT = 25


def load_pictures(
    sources: Mapping[Hashable, Any],
    *,
    argument: str,
    alphatize: bool,
    alpha_target: Any,
    alpha_range: float,
    longest_side: int,
    absent: list[Hashable] | None = None,
) -> dict[Hashable, np.ndarray]:
    """Load a picture per key as RGBA of at most `longest_side` pixels; one error names all bad.

    A picture that several keys share is loaded once. Where a list `absent` is given, keys whose
    picture is None, NaN, NA or a file that is not there are added to it, and get a blank.
    """
    loaded: dict[Any, np.ndarray] = {}
    pictures: dict[Hashable, np.ndarray] = {}
    faults = []
    for key, source in sources.items():
        if absent is not None and is_missing(source):
            absent.append(key)
            pictures[key] = BLANK
            continue
        identity = source if isinstance(source, str) else id(source)
        if identity not in loaded:
            try:
                picture = load_image(as_image(source), keep_alpha=True)
            except FileNotFoundError as error:
                if absent is None:
                    faults.append(f"  {key!r}: {error}")
                else:
                    absent.append(key)
                    pictures[key] = BLANK
                continue
            except (ValueError, TypeError, OSError) as error:
                faults.append(f"  {key!r}: {error}")
                continue
            if alphatize:
                picture = alphatize_image(picture, alpha_target, alpha_range)
            picture.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
            loaded[identity] = np.asarray(picture)
        pictures[key] = loaded[identity]
    if faults:
        raise ValueError(
            f"`{argument}` has {len(faults)} pictures that cannot be read:\n" + "\n".join(faults)
        )
    return pictures


def load_or_leave_blank(
    sources: Mapping[Hashable, Any], *, argument: str, **how: Any
) -> tuple[dict[Hashable, np.ndarray], list[Hashable]]:
    """Load pictures, with a blank for those that are not there, which one warning counts."""
    absent: list[Hashable] = []
    pictures = load_pictures(sources, argument=argument, absent=absent, **how)
    if absent:
        listed = ", ".join(f"{key!r}: {sources[key]}" for key in absent[:_MOST_LISTED])
        more = len(absent) - _MOST_LISTED
        logger.warning(
            "`%s` has %d of %d pictures that are not there, in whose place are blanks: %s%s.",
            argument,
            len(absent),
            len(sources),
            listed,
            f" and {more} more" if more > 0 else "",
        )
    return pictures, absent


def as_image(source: Any) -> Any:
    """Turn an array into a PIL image, and leave paths and images alone."""
    if not isinstance(source, np.ndarray):
        return source
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (3, 4)):
        raise ValueError(
            "an array must have the shape (height, width), (height, width, 3) or"
            f" (height, width, 4), not {source.shape}"
        )
    if source.dtype == np.uint8:
        return Image.fromarray(source)
    if source.dtype.kind != "f" or not ((source >= 0) & (source <= 1)).all():
        raise ValueError("an array must hold uint8, or floating point numbers from 0 to 1")
    return Image.fromarray(np.round(255 * source).astype(np.uint8))


def picture_sides(picture: np.ndarray, size: float) -> tuple[float, float]:
    """Width and height of a picture whose longer side is `size`."""
    height, width = picture.shape[:2]
    return size * width / max(width, height), size * height / max(width, height)


def ink_box(picture: np.ndarray, *, is_framed: bool = False) -> np.ndarray:
    """Give what of a picture can be seen: its left, bottom, right and top end, (4,).

    They are distances from the middle, to the right and up, where the longer side is 1. Of one
    with a frame all can be seen.
    """
    height, width = picture.shape[:2]
    seen = picture[..., 3] > _FAINT
    if is_framed or not seen.any():
        seen = np.ones_like(seen)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    across = np.array([columns[0], columns[-1] + 1]) - width / 2
    up = height / 2 - np.array([rows[-1] + 1, rows[0]])
    return np.column_stack([across, up]).ravel() / max(width, height)


class Picture2D(AxesImage):
    """A picture on 2-D axes, its longer side of `size` in data units; limits stay."""

    def __init__(
        self,
        ax: Axes,
        picture: np.ndarray,
        centre: np.ndarray,
        size: float,
        *,
        frame: Mapping[str, Any] | None,
        zorder: float,
    ) -> None:
        super().__init__(ax, origin="upper", interpolation=INTERPOLATION, zorder=zorder)
        self.set_data(picture)
        self._picture = picture
        self._frame: Rectangle | None = None
        ax.add_image(self)
        if frame is not None:
            options = {"edgecolor": mpl.rcParams["text.color"], "zorder": zorder, **frame}
            self._frame = Rectangle((0, 0), 1, 1, **options)
            ax.add_artist(self._frame)
        self.place(centre, size)

    def place(self, centre: np.ndarray, size: float) -> None:
        """Move to a centre, with a longer side of `size`."""
        width, height = picture_sides(self._picture, size)
        left, bottom = centre[0] - width / 2, centre[1] - height / 2
        self.set_extent((left, left + width, bottom, bottom + height))
        if self._frame is not None:
            self._frame.set_bounds(left, bottom, width, height)
