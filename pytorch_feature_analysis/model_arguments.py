"""The models and layers that a call names, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from pytorch_feature_analysis._checks import check_name, check_sequence


def check_models(models_dict: Any) -> dict[str, nn.Module]:
    """Return the models in a new dict, or raise unless they are modules by name."""
    if not isinstance(models_dict, Mapping) or not models_dict:
        raise TypeError(
            "`models_dict` must be a dict from names to models, as prepare_models returns it, not"
            f" {models_dict!r}."
        )
    for name, model in models_dict.items():
        if not isinstance(model, nn.Module):
            raise TypeError(
                f"`models_dict`: model {name!r} must be a torch.nn.Module, not {model!r};"
                " prepare_models makes one of it."
            )
    return dict(models_dict)


def check_which_layers(which_layers: Any, models: Iterable[str]) -> dict[str, list[Any] | None]:
    """Return per model the layers asked for, None for all; what they name is not looked up."""
    requests: dict[str, list[Any] | None] = dict.fromkeys(models)
    if which_layers is None:
        return requests
    if not isinstance(which_layers, Mapping):
        which_layers = dict.fromkeys(requests, which_layers)
    for name, layers in which_layers.items():
        check_name(name, requests, argument="which_layers", what="model")
        listed = check_sequence(layers, argument="which_layers", of="layers")
        if not listed:
            raise ValueError(
                f"`which_layers` names no layer for model '{name}'. Name some; without"
                " `which_layers`, all are taken."
            )
        requests[name] = listed
    return requests
