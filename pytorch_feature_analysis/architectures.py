"""The networks that are known by name: torchvision's classification networks and CORnet-S."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import AlexNet_Weights, Weights, WeightsEnum

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.checkpoints import is_url, load_strictly
from pytorch_feature_analysis.cornet_s import CORnetS

# Torchvision's checkpoints of DenseNet hold 'denselayer1.norm.1.weight' for what is now 'norm1'.
_OLD_DENSENET_KEY = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")
_CLASSIFIERS = frozenset(torchvision.models.list_models(module=torchvision.models))
_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".tar", ".bin", ".ckpt")


class CORnetSWeights(WeightsEnum):
    """The published weights of CORnet-S, trained on ImageNet."""

    IMAGENET1K_V1 = Weights(
        url="https://s3.amazonaws.com/cornet-models/cornet_s-1d3f7974.pth",
        transforms=AlexNet_Weights.IMAGENET1K_V1.transforms,  # 224 of 256, as it was validated
        meta=AlexNet_Weights.IMAGENET1K_V1.meta | {"num_params": 53416616},
    )
    DEFAULT = IMAGENET1K_V1


_OWN: dict[str, tuple[Callable[..., nn.Module], type[WeightsEnum]]] = {
    "cornet_s": (CORnetS, CORnetSWeights),
}


def architecture_names() -> list[str]:
    """Names of all networks that can be built."""
    return sorted(_CLASSIFIERS | _OWN.keys())


def weights_of(architecture: str, *, argument: str) -> type[WeightsEnum]:
    """Return the published weights of an architecture, or raise if there is none of that name."""
    check_name(architecture, architecture_names(), argument=argument, what="known architecture")
    if architecture in _OWN:
        return _OWN[architecture][1]
    return torchvision.models.get_model_weights(architecture)


def find_weights(architecture: str, weights_opt: Any, *, argument: str) -> Any:
    """Tell what `weights_opt` means.

    Returns
    -------
    str, WeightsEnum, pathlib.Path or mapping
        'random', published weights, the file, the state dict, or else a URL.
    """
    published = weights_of(architecture, argument=argument)
    if isinstance(weights_opt, Mapping) or (
        isinstance(weights_opt, str) and weights_opt == "random"
    ):
        return weights_opt
    if isinstance(weights_opt, PathLike):
        return _existing(Path(weights_opt), argument)
    if isinstance(weights_opt, WeightsEnum):
        members = [*published.__members__.values()]
        check_name(weights_opt, members, argument=argument, what=f"weights enum of {architecture}")
        return weights_opt
    if not isinstance(weights_opt, str):
        raise TypeError(
            f"`{argument}` must give weights as 'trained', 'random', a weights enum of torchvision"
            f" or its name, a URL, a path or a state dict, not {weights_opt!r}."
        )
    if weights_opt == "trained":
        return published.DEFAULT
    if is_url(weights_opt):
        # The URL of published weights means these weights, whose transform may be its own.
        return next((item for item in published if item.url == weights_opt), weights_opt)
    member = weights_opt.removeprefix(f"{published.__name__}.")
    if member in published.__members__:
        return published[member]
    path = Path(weights_opt).expanduser()
    if not path.exists() and path.suffix not in _CHECKPOINT_SUFFIXES:
        what = f"name of weights of {architecture}, nor a URL, nor a file that exists"
        names = ["trained", "random", *published.__members__]
        check_name(weights_opt, names, argument=argument, what=what)
    return _existing(path, argument)


def build_random(architecture: str, seed: int) -> nn.Module:
    """Build a network with its own initialisation, a function of `seed` alone.

    What else differs from the trained network of the default weights is evened out, so that a
    comparison of the two is one of weights.
    """
    weights = weights_of(architecture, argument="which_model").DEFAULT
    settings = _settings(architecture, weights)
    if architecture in ("googlenet", "inception_v3"):
        settings["init_weights"] = True
    with _seeded(seed):
        model = _builder(architecture)(**settings)
    if architecture == "googlenet":
        nn.init.zeros_(model.get_parameter("fc.bias"))
    return model


def build_with_weights(
    architecture: str, weights: WeightsEnum, state_dict: Mapping[str, Any], *, owner: str
) -> nn.Module:
    """Build a network as `weights` need it and load a state dict strictly."""
    settings = _settings(architecture, weights)
    if architecture.startswith(("googlenet", "inception", "vgg")):
        settings["init_weights"] = False  # all are overwritten
    if architecture == "googlenet":
        settings["aux_logits"] = any(key.startswith("aux") for key in state_dict)
    if architecture.startswith("densenet"):
        state_dict = _renamed(state_dict, _OLD_DENSENET_KEY, r"\1\2")
    with _seeded(0):
        model = _builder(architecture)(**settings)
    load_strictly(model, state_dict, owner=owner)
    if architecture == "googlenet":  # auxiliary classifiers serve training alone
        model.aux_logits = False  # type: ignore[assignment] # a plain setting of GoogLeNet
        model.aux1 = model.aux2 = None  # type: ignore[assignment]
    return model


def _builder(architecture: str) -> Callable[..., nn.Module]:
    if architecture in _OWN:
        return _OWN[architecture][0]
    return torchvision.models.get_model_builder(architecture)


def _settings(architecture: str, weights: WeightsEnum) -> dict[str, Any]:
    """Collect what torchvision's builders set when they are given weights."""
    settings: dict[str, Any] = {}
    if weights.meta.get("categories") is not None:
        settings["num_classes"] = len(weights.meta["categories"])
    if architecture.startswith("vit_"):
        settings["image_size"] = weights.meta["min_size"][0]
    elif architecture.startswith("maxvit"):
        settings["input_size"] = weights.meta["min_size"]
    elif architecture == "googlenet":
        settings |= {"transform_input": True, "aux_logits": False}
    elif architecture == "inception_v3":
        settings |= {"transform_input": True, "aux_logits": True}
    return settings


def _existing(path: Path, argument: str) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"`{argument}` gives the path {path}, where there is no file. Correct it."
        )
    return path


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the CPU's random numbers inside, and leave all global state as it was."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


def _renamed(
    state_dict: Mapping[str, Any], pattern: re.Pattern[str], new: str
) -> OrderedDict[str, Any]:
    renamed = OrderedDict((pattern.sub(new, key), value) for key, value in state_dict.items())
    if hasattr(state_dict, "_metadata"):
        renamed._metadata = state_dict._metadata  # type: ignore[attr-defined] # see unwrap
    return renamed
