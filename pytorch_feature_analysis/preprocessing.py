"""From an image to a network's input: what the weights ask for, or the whole image."""

from __future__ import annotations

import functools
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torchvision.models import AlexNet_Weights
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812 - torchvision's own abbreviation

from pytorch_feature_analysis.fingerprints import fingerprint

# The class of the presets is private, the object that weights hand out is not.
_Preset = type(AlexNet_Weights.IMAGENET1K_V1.transforms())
_TIMM_CROP = 0.875


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Turns an RGB PIL image into a float tensor (channels, height, width).

    Attributes
    ----------
    transform : callable
        What does the work.
    description : str
        The same for the same transform, in every process; it is recorded with the results.
    cut : str
        What of the image the network does not see, in words.
    """

    transform: Callable[[Image.Image], torch.Tensor]
    description: str
    cut: str

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Preprocess one image."""
        return self.transform(image)


def preset_preprocessing(preset: Any) -> Preprocessing:
    """Use the transforms of weights (``weights.transforms()``) as they are."""
    (resize,), (crop,) = preset.resize_size, preset.crop_size
    if crop < resize:
        cut = (
            f"keeps the central {crop} of {resize} pixels of the short side:"
            f" cuts {100 * (1 - crop / resize):.1f} % of each side length"
            " (more of the long side where the image is not square)"
        )
    else:
        cut = "keeps the central square: cuts nothing of a square image"
    description = (
        f"resize {resize} ({_interpolation(preset)}), centre crop {crop}, {_scaling(preset)}"
    )
    return Preprocessing(preset, description, cut)


def whole_preprocessing(preset: Any) -> Preprocessing:
    """Bring the short side to the input size that `preset` crops to, and cut nothing.

    Interpolation and normalisation are those of the preset.
    """
    (size,) = preset.crop_size
    transform = functools.partial(
        _resize_and_scale,
        size=size,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation,
    )
    description = f"resize {size} ({_interpolation(preset)}), no crop, {_scaling(preset)}"
    return Preprocessing(transform, description, f"short side to {size} pixels: cuts nothing")


def config_preprocessing(config: Mapping[str, Any], *, whole: bool = False) -> Preprocessing:
    """Use what a network of timm says of its input (``pretrained_cfg``), as timm reads it.

    The size is that of `crop_pct` of the short side, as there; what is not said is timm's default.
    """
    sizes, mode = tuple(config["input_size"]), config.get("crop_mode") or "center"
    if len(sizes) != 3 or sizes[0] != 3 or sizes[1] != sizes[2] or mode != "center":
        raise ValueError(
            f"an input of the size {sizes} with the crop_mode {mode!r} is not made here"
            " (square images of three channels, cut in the centre, are)"
        )
    share = config.get("crop_pct") or _TIMM_CROP
    preset = _Preset(
        crop_size=sizes[1],
        resize_size=math.floor(sizes[1] / share),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=InterpolationMode(config.get("interpolation") or "bicubic"),
    )
    return whole_preprocessing(preset) if whole else preset_preprocessing(preset)


def callable_preprocessing(transform: Callable[[Image.Image], torch.Tensor]) -> Preprocessing:
    """Use a callable of the user's as it is."""
    if isinstance(transform, Preprocessing):
        return transform
    if type(transform) is _Preset:
        return preset_preprocessing(transform)
    description = f"{_readable(transform)} #{fingerprint(transform)[:16]}"
    return Preprocessing(transform, description, "a transform of its own, which may cut or not")


def description_of(transform: Callable[[Any], torch.Tensor]) -> str:
    """Return a text that is the same for the same preprocessing, in every process."""
    return getattr(transform, "description", None) or fingerprint(transform)


def _resize_and_scale(
    image: Image.Image,
    *,
    size: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: InterpolationMode,
) -> torch.Tensor:
    resized = F.resize(image, [size], interpolation=interpolation, antialias=True)
    tensor = F.convert_image_dtype(F.pil_to_tensor(resized), torch.float)
    return F.normalize(tensor, mean=list(mean), std=list(std))


def _interpolation(preset: Any) -> str:
    return f"{preset.interpolation.value}, antialias"


def _scaling(preset: Any) -> str:
    numbers = (" ".join(f"{value:g}" for value in values) for values in (preset.mean, preset.std))
    return "mean {}, std {}".format(*numbers)


def _readable(transform: Any) -> str:
    if isinstance(transform, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return transform.__qualname__
    text = " ".join(repr(transform).split())
    # An address would differ in every process.
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
