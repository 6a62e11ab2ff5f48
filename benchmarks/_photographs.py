"""Images to measure with: JPEG files of the size of ImageNet's, with structure at all scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_photographs(folder: Path, n_images: int) -> list[Path]:
    """Write images 000.jpg, 001.jpg, ...; the same ones each time."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n_images):
        picture = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        picture = picture.resize((500, 375), Image.Resampling.BICUBIC)
        paths.append(folder / f"{number:03d}.jpg")
        picture.save(paths[-1], quality=90)
    return paths
