"""Pictures as arrays of RGB: one strict loader for networks and thumbnails, and stimulus helpers.

Everything that looks at a picture loads it through `load_image`, so that a network sees what a
plot shows: transparency over a stated background, 16-bit greys rescaled, the camera's orientation
applied, and an error for a file that is cut short.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torchvision import transforms

from pytorch_feature_analysis._checks import check_count, check_sequence
from pytorch_feature_analysis._files import atomic_write, check_writable
from pytorch_feature_analysis._image_decoding import (
    Colour,
    ImageSource,
    check_colour,
    check_source,
    describe_image,
    read_pixels,
    reason,
)

WHITE = (255, 255, 255)

standard_transform = transforms.Compose(
    [
        transforms.Resize(224, antialias=True),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)
"""Short side to 224 pixels, nothing cut, then the mean and deviation of ImageNet's channels."""


def load_image(
    image: ImageSource,
    *,
    background: Colour = "white",
    exif: bool = True,
    keep_alpha: bool = False,
) -> Image.Image:
    """Load a picture of any mode as RGB, or raise and say what is wrong with it.

    Parameters
    ----------
    image : path, PIL image, or bytes of an image file
        Of an animation or a file with several pages, the first one; of a PIL image, the frame
        that it stands at.
    background : str or (int, int, int), default 'white'
        What shows through transparent pixels: a colour name or hex code that Pillow knows, or
        RGB from 0 to 255. Not used with ``keep_alpha=True``.
    exif : bool, default True
        Turn the picture as its EXIF orientation says. The orientation tag of a TIFF file is part
        of that format and is always applied.
    keep_alpha : bool, default False
        Return RGBA with the picture's own transparency (opaque where it has none).

    Returns
    -------
    PIL.Image.Image
        Mode RGB, or RGBA with `keep_alpha`. Always a new image, without metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, cut short or no image, or its values have no known black and white.

    See Also
    --------
    preprocess_image : A network's input of it.

    Notes
    -----
    Grey of 16 bits (modes I;16 and I) is scaled by 255 / 65535 and rounded, so that full white
    stays white; 12-bit TIFF by 255 / 4095. Mode I with values outside 0..65535 and mode F
    (floating point) are refused, since nothing says which values are black and white. CMYK is
    converted by R = (255 - C)(255 - K) / 255; colour profiles are not applied. A file that ends
    too early is an error also where ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` is set.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> glass = Image.new('RGBA', (1, 1), (255, 0, 0, 0))
    >>> pfa.load_image(glass).getpixel((0, 0))
    (255, 255, 255)
    >>> pfa.load_image(glass, background='black').getpixel((0, 0))
    (0, 0, 0)
    """
    check_source(image, argument="image")
    colour = check_colour(background, argument="background")
    try:
        return read_pixels(image, background=colour, exif=exif, keep_alpha=keep_alpha)
    except MemoryError:
        raise
    except Exception as error:
        missing = isinstance(error, FileNotFoundError)
        kind = FileNotFoundError if missing else ValueError
        advice = "Correct the path." if missing else "Replace the picture or leave it out."
        raise kind(
            f"`image` cannot be read: {describe_image(image)}: {reason(image, error)}. {advice}"
        ) from error


def nonwhite_pixel_mask(image: ImageSource, thresh: int = 230) -> np.ndarray:
    """Mark the pixels of a picture that are not white, such as an object on a white ground.

    Parameters
    ----------
    image : path or PIL image
        Transparent pixels count as white.
    thresh : int, default 230
        A pixel is white when its red, green and blue are all above this.

    Returns
    -------
    numpy.ndarray of uint8, shape (height, width)
        0 where the pixel is white, 1 elsewhere.

    See Also
    --------
    save_mask : Save the mask as a picture.
    alphatize_image : Make such pixels transparent.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> image = Image.new('RGB', (2, 1), 'white')
    >>> image.putpixel((1, 0), (255, 255, 230))
    >>> pfa.nonwhite_pixel_mask(image)
    array([[0, 1]], dtype=uint8)
    """
    _check_number(thresh, argument="thresh")
    white = (np.asarray(load_image(image)) > thresh).all(axis=-1)
    return np.where(white, 0, 1).astype(np.uint8)


def save_mask(mask: np.ndarray, fname: str | os.PathLike[str]) -> Image.Image:
    """Save a mask of zeros and ones as a black and white picture.

    Parameters
    ----------
    mask : numpy.ndarray, shape (height, width)
        Zeros (drawn black) and ones (drawn white), or booleans.
    fname : str or Path
        Its suffix chooses the format. JPEG is lossy: the greys near an edge come back a little
        off, so threshold what is read, or save as ``.png``.

    Returns
    -------
    PIL.Image.Image
        The exact RGB picture, before any compression.

    See Also
    --------
    nonwhite_pixel_mask : Makes a mask.

    Examples
    --------
    >>> import numpy as np, pytorch_feature_analysis as pfa, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = pfa.save_mask(np.eye(2), pathlib.Path(folder) / 'mask.jpg')
    >>> image.getpixel((0, 0)), image.getpixel((1, 0))
    ((255, 255, 255), (0, 0, 0))
    """
    values = np.asarray(mask)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"`mask` must have the shape (height, width), not {values.shape}.")
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            "`mask` must hold only 0 and 1 (or booleans); make it so by a comparison,"
            " as in `mask > 0.5`."
        )
    path = check_writable(fname, argument="fname")
    suffixes = Image.registered_extensions()
    file_format = suffixes.get(path.suffix.lower())
    if file_format is None:
        raise ValueError(
            f"`fname` must end in the suffix of an image format, such as .jpg or .png,"
            f" not {path.name!r}."
        )
    image = Image.fromarray(np.where(values, 255, 0).astype(np.uint8)).convert("RGB")
    # Half-resolution colour would blur the edges of a mask, which has no colour.
    options = {"quality": 95, "subsampling": 0} if file_format == "JPEG" else {}
    with atomic_write(path) as temporary:
        image.save(temporary, format=file_format, **options)
    return image


def shrink_image(
    input_image: ImageSource,
    shrink_ratio: float,
    pad_color: Colour = WHITE,
    output_size: tuple[int, int] = (224, 224),
) -> Image.Image:
    """Shrink a picture in the middle of a plain canvas, as a smaller object further away.

    A square picture of width W gets a border of ``round(W * (1 - s) / (2 * s))`` pixels on every
    side, where s is the `shrink_ratio`, and is resized. So it spans the share s of the output.

    Parameters
    ----------
    input_image : path or PIL image
        A picture that has not the aspect of the output keeps its own: it gets wider borders
        along one axis, and spans the share s of the output along the other.
    shrink_ratio : float
        Above 0 and at most 1, which shrinks nothing.
    pad_color : str or (int, int, int), default white
        Colour of the border, and what shows through transparent pixels.
    output_size : (int, int), default (224, 224)
        Width and height of the result in pixels.

    Returns
    -------
    PIL.Image.Image
        Mode RGB.

    See Also
    --------
    load_image : Of what kinds pictures may be.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> image = pfa.shrink_image(Image.new('RGB', (100, 100)), 0.5)
    >>> image.size, image.getpixel((112, 112)), image.getpixel((50, 112))
    ((224, 224), (0, 0, 0), (255, 255, 255))
    """
    ratio = _check_number(shrink_ratio, argument="shrink_ratio")
    if not 0 < ratio <= 1:
        raise ValueError(f"`shrink_ratio` must be above 0 and at most 1, not {shrink_ratio}.")
    sides = check_sequence(output_size, argument="output_size", of="width and height")
    if len(sides) != 2:
        raise ValueError(f"`output_size` must be (width, height), not {output_size!r}.")
    out_width, out_height = (check_count(side, argument="output_size") for side in sides)
    colour = check_colour(pad_color, argument="pad_color")
    image = load_image(input_image, background=colour)
    if max(out_width, out_height) * ratio < 1:
        raise ValueError(f"`shrink_ratio` {ratio} leaves less than one pixel of the picture.")
    width, height = image.size
    # How much wider or higher than the picture a canvas of the output's aspect must be.
    wider = max(1.0, (height * out_width) / (width * out_height))
    higher = max(1.0, (width * out_height) / (height * out_width))
    pad_x = round(width * (wider - ratio) / (2 * ratio))
    pad_y = round(height * (higher - ratio) / (2 * ratio))
    padded = ImageOps.expand(image, border=(pad_x, pad_y), fill=colour)
    return padded.resize((out_width, out_height), Image.Resampling.BICUBIC)


def alphatize_image(
    im: ImageSource, alpha_target: Colour = WHITE, alpha_range: float = 5
) -> Image.Image:
    """Make the pixels of one colour transparent, such as the white ground around an object.

    Parameters
    ----------
    im : path or PIL image
        Transparency that it has already stays.
    alpha_target : str or (int, int, int), default white
        The colour that becomes transparent.
    alpha_range : float, default 5
        A pixel is of that colour when its red, green and blue each differ from it by less than
        this (of 255).

    Returns
    -------
    PIL.Image.Image
        Mode RGBA, a new image.

    See Also
    --------
    nonwhite_pixel_mask : Mark the other pixels.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> image = Image.new('RGB', (2, 1), (251, 251, 251))
    >>> image.putpixel((1, 0), (251, 251, 250))
    >>> clear = pfa.alphatize_image(image)
    >>> clear.getpixel((0, 0)), clear.getpixel((1, 0))
    ((251, 251, 251, 0), (251, 251, 250, 255))
    """
    # Signed, so that the difference of two bytes can be negative.
    target = np.array(check_colour(alpha_target, argument="alpha_target"), dtype=np.int16)
    reach = _check_number(alpha_range, argument="alpha_range")
    pixels = np.array(load_image(im, keep_alpha=True))
    hit = (np.abs(pixels[..., :3] - target) < reach).all(axis=-1)
    pixels[hit, 3] = 0
    return Image.fromarray(pixels)


def preprocess_image(
    input_image: ImageSource,
    transform: Callable[[Image.Image], torch.Tensor] = standard_transform,
    *,
    background: Colour = "white",
    exif: bool = True,
) -> torch.Tensor:
    """Turn a picture into the batch of one that a network takes.

    Parameters
    ----------
    input_image : path or PIL image
        Loaded by `load_image`, so any mode will do.
    transform : callable, default standard_transform
        From an RGB PIL image to a tensor (channels, height, width). `standard_transform` brings
        the short side to 224 pixels, cuts nothing, scales to 0..1 and standardises by the
        channel means and deviations of ImageNet.
    background, exif
        As in `load_image`.

    Returns
    -------
    torch.Tensor of float32, shape (1, channels, height, width)
        What `transform` gives, as a batch.

    See Also
    --------
    load_image : How the picture is read.
    prepare_models : Networks with the preprocessing of their weights.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> pfa.preprocess_image(Image.new('L', (100, 50))).shape
    torch.Size([1, 3, 224, 448])
    """
    if not callable(transform):
        raise TypeError(
            "`transform` must be a callable from an RGB PIL image to a tensor"
            f" (channels, height, width), not {transform!r}."
        )
    tensor = transform(load_image(input_image, background=background, exif=exif))
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(
            f"`transform` must return a tensor, not {type(tensor).__name__};"
            " end it with torchvision.transforms.ToTensor()."
        )
    if tensor.ndim != 3 or not tensor.is_floating_point():
        raise ValueError(
            "`transform` must return a floating-point tensor (channels, height, width),"
            f" not {tensor.dtype} of shape {tuple(tensor.shape)}."
        )
    return tensor.unsqueeze(0).to(torch.float32)


def _check_number(value: Any, *, argument: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{argument}` must be a number, not {value!r}.")
    if np.isnan(value):
        raise ValueError(f"`{argument}` must be a number, not NaN.")
    return float(value)
