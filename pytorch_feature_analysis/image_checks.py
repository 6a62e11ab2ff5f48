"""Many pictures checked before the work; one error names all that cannot be read."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import joblib
from PIL import Image

from pytorch_feature_analysis._checks import check_count, check_sequence
from pytorch_feature_analysis._image_decoding import (
    Colour,
    ImageSource,
    check_colour,
    check_source,
    decode,
    describe_image,
    file_bytes,
    orientation,
    read_pixels,
    read_size,
    reason,
)


@dataclass(frozen=True)
class CheckedImage:
    """What is known of a picture that could be read: content hash, size, pixels if kept."""

    sha256: str
    size: tuple[int, int]
    image: Image.Image | None = None


def check_images(
    images: Sequence[ImageSource],
    *,
    argument: str = "image_sets",
    num_threads: int | None = None,
    keep_bytes: int = 0,
    background: Colour = "white",
    exif: bool = True,
) -> list[CheckedImage]:
    """Decode all pictures in threads; raise one error that names all that cannot be read.

    A picture that comes several times is decoded once. Pictures are kept as `load_image` gives
    them, as long as all that are kept fit into `keep_bytes`; of the others no more are in memory
    than there are threads. Sizes are (width, height) with the orientation applied; hashes are
    those of `image_hash`.
    """
    images = check_sequence(images, argument=argument, of="images")
    for image in images:
        check_source(image, argument=argument)
    colour = check_colour(background, argument="background")
    if num_threads is None:
        num_threads = joblib.cpu_count()
    num_threads = check_count(num_threads, argument="num_threads")

    budget = _Budget(check_count(keep_bytes, argument="keep_bytes", minimum=0))

    def check(image: ImageSource) -> CheckedImage | Exception:
        try:
            return _check_one(image, background=colour, exif=exif, budget=budget)
        except MemoryError:
            raise
        except Exception as error:
            return error

    unique = {_identity(image): image for image in images}
    with ThreadPoolExecutor(max_workers=num_threads) as pool:
        found = dict(zip(unique, pool.map(check, unique.values()), strict=True))
    checked: list[CheckedImage] = []
    faults: dict[Any, str] = {}
    for image in images:
        result = found[_identity(image)]
        if isinstance(result, CheckedImage):
            checked.append(result)
        else:
            faults[_identity(image)] = f"{describe_image(image)}: {reason(image, result)}"
    if faults:
        count = "1 image" if len(faults) == 1 else f"{len(faults)} images"
        listed = "\n".join(f"  {fault}" for fault in faults.values())
        raise ValueError(
            f"`{argument}` names {count} that cannot be read, of {len(unique)}:\n{listed}\n"
            "Correct these paths, or replace these pictures or leave them out."
        )
    return checked


def image_hash(image: ImageSource) -> str:
    """Return the sha256 (hex) of a picture's content.

    Of a file, of its bytes. Of a PIL image, of all that decides what `load_image` makes of it:
    mode, size, pixels, palette, transparency and orientation.
    """
    check_source(image, argument="image")
    if not isinstance(image, Image.Image):
        return hashlib.sha256(file_bytes(image)).hexdigest()
    loaded, _ = decode(image)
    known = (
        loaded.mode,
        loaded.size,
        loaded.getpalette("RGBA") if loaded.mode in ("P", "PA") else None,
        loaded.info.get("transparency"),
        orientation(loaded, describe_image(image)),
    )
    digest = hashlib.sha256(repr(known).encode())
    digest.update(loaded.tobytes())
    return digest.hexdigest()


def _identity(source: ImageSource) -> Any:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else id(source)


class _Budget:
    """Bytes of pixels that may still be kept, shared by threads."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def is_spent(self) -> bool:
        return self._left <= 0

    def take(self, size: int) -> bool:
        with self._lock:
            fits = size <= self._left
            if fits:
                self._left -= size
            return fits


def _check_one(
    source: ImageSource, *, background: tuple[int, ...], exif: bool, budget: _Budget
) -> CheckedImage:
    name = describe_image(source)
    if isinstance(source, Image.Image):
        digest = image_hash(source)
    else:
        # The bytes that are hashed are the bytes that are decoded.
        source = file_bytes(source)
        digest = hashlib.sha256(source).hexdigest()
    if budget.is_spent():
        return CheckedImage(digest, read_size(source, exif=exif, name=name))
    image = read_pixels(source, background=background, exif=exif, name=name)
    # Pillow holds a pixel of RGB in four bytes.
    kept = budget.take(4 * image.width * image.height)
    return CheckedImage(digest, image.size, image if kept else None)
