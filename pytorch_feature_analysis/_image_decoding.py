"""Image files to pixels: strict where Pillow is lenient, and right for every mode."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageFile, UnidentifiedImageError

logger = logging.getLogger(__name__)

ImageSource = str | os.PathLike[str] | Image.Image | bytes | io.BytesIO
Colour = str | Sequence[int]

# How to turn a picture upright, by its EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TIFF_BITS_PER_SAMPLE = 258
_TIFF_PHOTOMETRIC = 262


def read_pixels(
    source: ImageSource,
    *,
    background: tuple[int, ...],
    exif: bool,
    keep_alpha: bool = False,
    name: str = "",
) -> Image.Image:
    """Decode `source` to RGB over `background`, or to RGBA; always a new image, no metadata.

    `name` is what the log calls it, where its bytes do not say which file they are of.
    """
    image, _ = decode(source)
    method = _UPRIGHT.get(orientation(image, name or describe_image(source))) if exif else None
    if method is not None:
        # Not ImageOps.exif_transpose, which writes the EXIF block anew and fails on odd ones.
        turned = image.transpose(method)
        turned.info = image.info
        image = turned
    return _flattened(image, background=background, keep_alpha=keep_alpha)


def read_size(source: ImageSource, *, exif: bool, name: str = "") -> tuple[int, int]:
    """Make sure that all of `source` can be decoded; return its upright (width, height)."""
    image, (width, height) = decode(source, only_check=True)
    _flattened(image, background=(0, 0, 0), keep_alpha=False)
    if exif and orientation(image, name or describe_image(source)) >= 5:
        return height, width
    return width, height


def decode(
    source: ImageSource, *, only_check: bool = False
) -> tuple[Image.Image, tuple[int, int]]:
    """Decode all pixels; return the image as stored, and its size.

    With `only_check` a JPEG is decoded at an eighth of its size: all of the file is still read,
    and found to be cut short if it is, without most of the work.
    """
    with _strict_decoding:
        if isinstance(source, Image.Image):
            source.load()
            if 0 in source.size:
                raise ValueError(f"it has no pixels ({source.width} x {source.height})")
            return source, source.size
        is_path = isinstance(source, (str, os.PathLike))
        with Image.open(source if is_path else io.BytesIO(file_bytes(source))) as image:
            jpeg_size = image.size if only_check and image.format == "JPEG" else None
            if jpeg_size is not None:
                image.draft(None, (1, 1))
            stored_as = image.tile[0][3] if image.format == "PNG" and image.tile else None
            image.load()
    _mend_transparent_colour(image, stored_as)
    return image, jpeg_size or image.size


def orientation(image: Image.Image, name: str) -> int:
    """Return the EXIF orientation, 1 to 8; `name` is what the log calls the picture."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:
        # Damaged EXIF is common in old photographs, and Pillow raises many kinds of error on it.
        logger.warning(
            "%s has EXIF data that cannot be read (%s): it is taken to be upright.",
            name,
            error,
        )
        return 1
    return value if value in _UPRIGHT else 1


def file_bytes(source: ImageSource) -> bytes:
    """Return the encoded bytes of a source that is not a PIL image."""
    if isinstance(source, Image.Image):
        raise TypeError("A PIL image has no encoded bytes.")
    if isinstance(source, io.BytesIO):
        return source.getvalue()
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def describe_image(source: ImageSource) -> str:
    """Name a source in a message."""
    if isinstance(source, Image.Image):
        file = getattr(source, "filename", "")
        return f"a PIL image of mode {source.mode}" + (f" from {os.fspath(file)}" if file else "")
    return "an image given as bytes" if isinstance(source, (bytes, io.BytesIO)) else str(source)


def reason(source: ImageSource, error: Exception) -> str:
    """Say why a source could not be read, in words about the file rather than about Pillow."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, IsADirectoryError):
        return "this is a folder"
    if isinstance(error, PermissionError):
        return "there is no permission to read this file"
    if not isinstance(source, Image.Image):
        with contextlib.suppress(OSError):
            if not file_bytes(source):
                return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "this is not an image file that Pillow can read, or only the start of one"
    return str(error).rstrip(". ") or type(error).__name__


def check_source(source: Any, *, argument: str) -> None:
    """Raise unless `source` is of a kind that can be decoded."""
    if not isinstance(source, (str, os.PathLike, Image.Image, bytes, io.BytesIO)):
        raise TypeError(
            f"`{argument}` must be the path of an image file or a PIL image,"
            f" not {type(source).__name__}; turn an array into one by PIL.Image.fromarray."
        )
    if isinstance(source, str) and not source:
        raise ValueError(f"`{argument}` is an empty path; give the path of an image file.")


def check_colour(value: Any, *, argument: str) -> tuple[int, ...]:
    """Return a colour's (red, green, blue), or raise."""
    colour: tuple[Any, ...] = ()
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            colour = ImageColor.getrgb(value)
    elif isinstance(value, (Sequence, np.ndarray)):
        colour = tuple(value)
    whole = all(
        isinstance(part, (int, np.integer)) and not isinstance(part, bool) for part in colour
    )
    if len(colour) != 3 or not whole or not all(0 <= part <= 255 for part in colour):
        raise ValueError(
            f"`{argument}` must be (red, green, blue) in whole numbers from 0 to 255, or a"
            f" colour's name such as 'white' or '#808080', not {value!r}."
        )
    return tuple(int(part) for part in colour)


class _StrictDecoding:
    """Within it no thread accepts a file that is cut short, whatever Pillow's global says."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_strict_decoding = _StrictDecoding()


def _mend_transparent_colour(image: Image.Image, stored_as: Any) -> None:
    """Bring the transparent colour of a PNG to the depth that Pillow decodes its pixels to."""
    if "transparency" not in image.info:
        return
    if stored_as in ("L;2", "L;4"):
        image.info["transparency"] *= 255 // (2 ** int(stored_as[-1]) - 1)
    elif stored_as == "RGB;16B":
        raise ValueError(
            "a 16-bit colour PNG with one transparent colour, which Pillow cannot tell from"
            " its neighbours; save it with an alpha channel"
        )


def _flattened(
    image: Image.Image, *, background: tuple[int, ...], keep_alpha: bool
) -> Image.Image:
    """Convert any mode to RGB over `background`, or to RGBA."""
    if image.mode == "F":
        raise ValueError(
            "it holds floating-point numbers (mode F), and nothing says which are black and"
            " white; scale it to 0..255 and convert it to mode L"
        )
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        # For a palette, `convert` writes the alphas into the image that it is called on.
        rgba = (image.copy() if image.mode == "P" else image).convert("RGBA")
        if keep_alpha:
            result = rgba
        else:
            canvas = Image.new("RGBA", rgba.size, (*background, 255))
            canvas.alpha_composite(rgba)
            result = canvas.convert("RGB")
    else:
        result = image.convert("RGBA" if keep_alpha else "RGB")
    # What has been applied (orientation, a transparent colour) must not be a second time.
    result.info = {}
    return result


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale the whole numbers of mode I and its kin to grey; keep a transparent value so."""
    values = np.asarray(image).astype(np.int64)
    tags = getattr(image, "tag_v2", {})
    # Pillow neither scales 12-bit TIFF nor inverts 16-bit TIFF whose zero is white.
    white = 4095 if tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else 65535
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > white:
        raise ValueError(
            f"it holds whole numbers from {low} to {high} (mode {image.mode}), beyond 16 bits,"
            " and nothing says which are black and white; scale it to 0..255 and convert it to"
            " mode L"
        )
    grey = (values * 255 + white // 2) // white
    if tags.get(_TIFF_PHOTOMETRIC) == 0:
        grey = 255 - grey
    result = Image.fromarray(grey.astype(np.uint8))
    transparent = image.info.get("transparency")
    if transparent is not None:
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        result.putalpha(Image.fromarray(alpha))
    return result
