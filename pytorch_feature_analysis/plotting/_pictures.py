"""Thumbnails on axes: loaded as the networks' images are, and never stretched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from pytorch_feature_analysis.images import alphatize_image, load_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Sharp where a picture is enlarged, smooth where it is reduced.
INTERPOLATION = "antialiased"


def load_pictures(
    sources: Mapping[Hashable, Any],
    *,
    argument: str,
    alphatize: bool,
    alpha_target: Any,
    alpha_range: float,
    longest_side: int,
) -> dict[Hashable, np.ndarray]:
    """Load a picture per key as RGBA of at most `longest_side` pixels; one error names all bad.

    A picture that several keys share is loaded once.
    """
    loaded: dict[Any, np.ndarray] = {}
    pictures: dict[Hashable, np.ndarray] = {}
    faults = []
    for key, source in sources.items():
        identity = source if isinstance(source, str) else id(source)
        if identity not in loaded:
            try:
                picture = load_image(as_image(source), keep_alpha=True)
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


def add_picture(
    ax: Axes,
    picture: np.ndarray,
    centre: np.ndarray,
    size: float,
    *,
    frame: Mapping[str, Any] | None,
    zorder: float,
) -> AxesImage:
    """Draw a picture on 2-D axes, its longer side of `size` in data units; limits stay."""
    width, height = picture_sides(picture, size)
    left, bottom = centre[0] - width / 2, centre[1] - height / 2
    image = AxesImage(
        ax,
        extent=(left, left + width, bottom, bottom + height),
        origin="upper",
        interpolation=INTERPOLATION,
        zorder=zorder,
    )
    image.set_data(picture)
    ax.add_image(image)
    if frame is not None:
        options = {"edgecolor": mpl.rcParams["text.color"], "zorder": zorder, **frame}
        ax.add_artist(Rectangle((left, bottom), width, height, **options))
    return image
