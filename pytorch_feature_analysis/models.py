"""Networks ready for analysis: built, given their weights and their preprocessing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import WeightsEnum

from pytorch_feature_analysis._checks import (
    RandomState,
    check_name,
    check_random_state,
    child_seed,
)
from pytorch_feature_analysis.architectures import (
    build_random,
    build_with_weights,
    find_weights,
    weights_of,
)
from pytorch_feature_analysis.checkpoints import cached_file, fetch, read_state_dict, unwrap
from pytorch_feature_analysis.preprocessing import (
    Preprocessing,
    callable_preprocessing,
    config_preprocessing,
    preset_preprocessing,
    whole_preprocessing,
)

logger = logging.getLogger(__name__)

_VALUES = (
    "('alexnet', 'trained'), ('alexnet', 'random'), (architecture, weights), a torch.nn.Module or"
    " (module, transform)"
)


def prepare_models(
    models_dict: Mapping[str, Any],
    *,
    random_state: RandomState = 0,
    transform: str | WeightsEnum | Callable[[Any], torch.Tensor] = "weights",
    device: str | torch.device | None = None,
) -> dict[str, nn.Module]:
    """Build the networks of a study, each with its weights and its preprocessing.

    Parameters
    ----------
    models_dict : dict
        From the model's name in the study to one of:

        ``(architecture, weights)``
            The name of a classification network of torchvision or 'cornet_s', and one of:
            ``'trained'`` (torchvision's default weights), ``'random'`` (the architecture's own
            initialisation), weights of torchvision (``ResNet50_Weights.IMAGENET1K_V2`` or its
            name, also ``'IMAGENET1K_V2'`` alone), a URL, a path, or a state dict. A state dict
            may be wrapped (under 'state_dict', 'model', 'model_state_dict' or 'teacher') and its
            keys may begin with 'module.'; it must fit the network exactly.
        ``module`` or ``(module, transform)``
            A network of your own, and the callable that makes its input of an image. One of timm
            needs none: its ``pretrained_cfg`` says what its input is, and `transform` goes for it
            as for published weights.
    random_state : int, numpy.random.Generator or None, default 0
        Of the weights of the 'random' networks, together with the model's name in `models_dict`:
        two random networks of one study differ, and adding a model changes no other. The global
        random state is not touched.
    transform : {'weights', 'whole'} or callable, default 'weights'
        How an RGB PIL image becomes the network's input, a float tensor (channels, height,
        width). ``'weights'`` is ``weights.transforms()``, which cuts the borders of the image (a
        log line says how much); ``'whole'`` brings the short side to the input size and cuts
        nothing. A network with random weights, or with weights from a URL, a path or a state
        dict, gets the transform of the architecture's default weights. A callable is used as it
        is. Modules that come with a transform of their own keep it.
    device : str or torch.device, optional
        Where the networks are moved; default is where they are (the CPU for those built here).

    Returns
    -------
    dict of str to torch.nn.Module
        The modules themselves, in the order of `models_dict`, with one more attribute:
        `preprocessing`, a callable from image to input with a `description` of it. Networks that
        are built here are in eval mode.

    Raises
    ------
    ValueError
        Unknown architecture or weights (with the list of those that exist), weights that do not
        fit (with the difference), files that would run code, a module of your own for which
        there is no transform.
    ConnectionError
        Weights are not in the cache and there is no network; says which file to get and where to
        put it.

    See Also
    --------
    table_models : Such a dict of a table of models.
    list_layers : The layers of a network.

    Notes
    -----
    Of a module of your own nothing else is changed: not its mode (eval mode is entered, and left
    again, wherever a network is run) and, without `device`, not its place. It carries the
    transform that it was given last.

    A random GoogLeNet or Inception v3 rescales its input just like the trained one, so that a
    comparison of trained against random is one of weights alone. GoogLeNet has no auxiliary
    classifiers, and the bias of its last layer is zero when it is random.

    Downloads go to torch.hub's folder of checkpoints (``torch.hub.get_dir()``) and are read with
    ``weights_only=True``. With 'trained', ResNet-50 and some others get weights newer than those
    of the original publications; ``'IMAGENET1K_V1'`` names the latter.

    References
    ----------
    Kubilius, J. et al. (2019). Brain-like object recognition with high-performing shallow
        recurrent ANNs. NeurIPS 32. https://arxiv.org/abs/1909.06161 (CORnet-S)

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> models = pfa.prepare_models({'net': ('squeezenet1_1', 'random')}, transform='whole')
    >>> models['net'].features[0]
    Conv2d(3, 64, kernel_size=(3, 3), stride=(2, 2))
    >>> models['net'].preprocessing.cut
    'short side to 224 pixels: cuts nothing'
    """
    if not isinstance(models_dict, Mapping):
        raise TypeError(
            f"`models_dict` must be a dict from model name to {_VALUES}, not {models_dict!r}."
        )
    if not models_dict:
        raise ValueError(f"`models_dict` is empty; give at least one model, as {_VALUES}.")
    root = check_random_state(random_state)
    where = check_device(device)
    _check_transform(transform)
    plans = []
    for name, value in models_dict.items():
        if not isinstance(name, str):
            raise TypeError(f"`models_dict` must have strings as model names, not {name!r}.")
        argument = f"models_dict[{name!r}]"
        which_model, second = _read_value(value, argument)
        if isinstance(which_model, nn.Module):
            plans.append(_plan_module(which_model, second, transform, name))
        else:
            plans.append(
                _plan_architecture(which_model, second, transform, name, argument, argument)
            )
    _check_shared_modules(plans)
    return {plan.name: _carry_out(plan, root, where) for plan in plans}


def prepare_model(
    which_model: str | nn.Module,
    weights_opt: Any = "trained",
    *,
    name: str | None = None,
    random_state: RandomState = 0,
    transform: str | WeightsEnum | Callable[[Any], torch.Tensor] = "weights",
    device: str | torch.device | None = None,
) -> nn.Module:
    """Build one network with its weights and its preprocessing; see `prepare_models`.

    Parameters
    ----------
    which_model : str or torch.nn.Module
        Name of an architecture, or a network of your own (which needs `transform` to be a
        callable, and keeps its weights).
    weights_opt : str, weights of torchvision, path or state dict, default 'trained'
        The weights, as in `prepare_models`.
    name : str, optional
        The model's name in the study; default is the architecture's. Random weights depend on it.
    random_state : int, numpy.random.Generator or None, default 0
        Of random weights.
    transform : {'weights', 'whole'} or callable, default 'weights'
        The preprocessing.
    device : str or torch.device, optional
        Where the network is moved.

    Returns
    -------
    torch.nn.Module
        The module itself, with the attribute `preprocessing`.

    See Also
    --------
    prepare_models : Several networks.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> model = pfa.prepare_model('squeezenet1_1', 'random')
    >>> print(model.preprocessing.description)
    resize 256 (bilinear, antialias), centre crop 224,
    mean 0.485 0.456 0.406, std 0.229 0.224 0.225
    """
    root = check_random_state(random_state)
    where = check_device(device)
    _check_transform(transform)
    if isinstance(which_model, nn.Module):
        if not (isinstance(weights_opt, str) and weights_opt == "trained"):
            raise ValueError(
                "`weights_opt` goes with the name of an architecture; a module keeps the weights"
                " that it has. Load them before: module.load_state_dict(...)."
            )
        plan = _plan_module(which_model, None, transform, name or "model")
        return _carry_out(plan, root, where)
    if not isinstance(which_model, str):
        raise TypeError(
            "`which_model` must be the name of an architecture or a torch.nn.Module,"
            f" not {which_model!r}."
        )
    plan = _plan_architecture(
        which_model, weights_opt, transform, name or which_model, "which_model", "weights_opt"
    )
    return _carry_out(plan, root, where)


def trained_weights_file(architecture: str) -> Path | None:
    """Return the file of the default weights if it is in the cache, else None."""
    path = cached_file(weights_of(architecture, argument="architecture").DEFAULT.url)
    return path if path.is_file() else None


@dataclass(frozen=True)
class _Plan:
    """One model, checked as far as it can be without building anything."""

    name: str
    preprocessing: Preprocessing
    module: nn.Module | None = None
    architecture: str = ""
    source: Any = None  # of the weights; see find_weights
    weights: WeightsEnum | None = None  # published ones that the network is built for


def _plan_module(model: nn.Module, own_transform: Any, transform: Any, name: str) -> _Plan:
    _check_own_module(model, name)
    return _Plan(name, _own_preprocessing(model, own_transform, transform, name), model)


def _plan_architecture(
    architecture: str,
    weights_opt: Any,
    transform: Any,
    name: str,
    architecture_argument: str,
    weights_argument: str,
) -> _Plan:
    published = weights_of(architecture, argument=architecture_argument)
    source = find_weights(architecture, weights_opt, argument=weights_argument)
    weights = source if isinstance(source, WeightsEnum) else published.DEFAULT
    preprocessing = _preprocessing(transform, weights)
    return _Plan(name, preprocessing, None, architecture, source, weights)


def _carry_out(plan: _Plan, root: int, device: torch.device | None) -> nn.Module:
    model = plan.module if plan.module is not None else _build(plan, root).eval()
    model.preprocessing = plan.preprocessing  # type: ignore[assignment] # a plain attribute
    logger.info("model '%s': preprocessing %s", plan.name, plan.preprocessing.cut)
    return model if device is None else model.to(device)


def _build(plan: _Plan, root: int) -> nn.Module:
    if isinstance(plan.source, str) and plan.source == "random":
        logger.info("model '%s': %s with random weights", plan.name, plan.architecture)
        return build_random(plan.architecture, child_seed(root, "random weights", plan.name))
    owner = f"weights of model '{plan.name}'"
    if isinstance(plan.source, Mapping):
        state_dict = unwrap(plan.source, owner=owner)
    else:
        path = plan.source
        if isinstance(plan.source, WeightsEnum):
            owner = f"weights {plan.source!r} of model '{plan.name}'"
            path = fetch(plan.source.url, owner=owner)
        elif isinstance(plan.source, str):
            path = fetch(plan.source, owner=owner)
        state_dict = read_state_dict(path, owner=owner)
        logger.info("model '%s': %s, weights from %s", plan.name, plan.architecture, path)
    return build_with_weights(plan.architecture, plan.weights, state_dict, owner=owner)


def _preprocessing(transform: Any, weights: WeightsEnum) -> Preprocessing:
    if isinstance(transform, WeightsEnum):
        return preset_preprocessing(transform.transforms())
    if not isinstance(transform, str):
        return callable_preprocessing(transform)
    make = preset_preprocessing if transform == "weights" else whole_preprocessing
    return make(weights.transforms())


def _own_preprocessing(
    model: nn.Module, own_transform: Any, transform: Any, name: str
) -> Preprocessing:
    carried = getattr(model, "preprocessing", None)
    if carried is not None and not isinstance(carried, Preprocessing):
        raise ValueError(
            f"model '{name}' has an attribute `preprocessing` of its own, the name under which"
            " networks carry their transform here; wrap it in a module that calls it."
        )
    if own_transform is None and not isinstance(transform, str):
        own_transform = transform
    if isinstance(own_transform, WeightsEnum):
        own_transform = own_transform.transforms()
    if own_transform is not None:
        return callable_preprocessing(own_transform)
    if carried is not None:
        return carried
    config = _config_of(model)
    if config is not None:
        try:
            return config_preprocessing(config, whole=transform == "whole")
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"model '{name}' says by `pretrained_cfg` what its input is, and {error}. Give"
                " (module, transform), with timm.data.create_transform, say."
            ) from error
    raise ValueError(
        f"model '{name}' is a module of your own, for which transform={transform!r} says nothing:"
        " no published weights belong to it. Give (module, transform), where `transform` makes a"
        " float tensor (channels, height, width) of an RGB PIL image; pfa.standard_transform is"
        " one."
    )


def _config_of(model: nn.Module) -> Mapping[str, Any] | None:
    """Return what a network says of its input as those of timm do."""
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        if isinstance(config, Mapping) and {"input_size", "mean", "std"} <= set(config):
            return config
    return None


def _check_own_module(model: nn.Module, name: str) -> None:
    for parameter_name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if torch.nn.parameter.is_lazy(tensor):
            raise ValueError(
                f"model '{name}' has lazy modules that have not seen data yet"
                f" ('{parameter_name}'); pass one batch through it first."
            )
        if tensor.is_meta:
            raise ValueError(
                f"model '{name}' has parameters without data, on the meta device"
                f" ('{parameter_name}'); load its weights first."
            )


def _check_shared_modules(plans: list[_Plan]) -> None:
    """Raise if one module is to carry two transforms."""
    seen: dict[int, _Plan] = {}
    for plan in plans:
        if plan.module is None:
            continue
        other = seen.setdefault(id(plan.module), plan)
        if other.preprocessing.transform is not plan.preprocessing.transform:
            raise ValueError(
                f"`models_dict` has one and the same module as '{other.name}' and '{plan.name}',"
                " with two transforms; give copy.deepcopy(module) for one of them."
            )


def _read_value(value: Any, argument: str) -> tuple[str | nn.Module, Any]:
    """Split a value of `models_dict` into model and weights, or model and own transform."""
    if isinstance(value, nn.Module):
        return value, None
    if isinstance(value, (tuple, list)) and len(value) == 2:
        first, second = value
        if isinstance(first, str):
            return first, second
        if isinstance(first, nn.Module):
            if not callable(second) and not isinstance(second, WeightsEnum):
                raise TypeError(
                    f"`{argument}` must be (module, transform) with a callable from an RGB PIL"
                    f" image to a float tensor (channels, height, width), not {second!r}."
                )
            return first, second
    raise TypeError(f"`{argument}` must be one of {_VALUES}, not {value!r}.")


def _check_transform(transform: Any) -> None:
    if isinstance(transform, str):
        check_name(transform, ["weights", "whole"], argument="transform", what="transform")
    elif not callable(transform) and not isinstance(transform, WeightsEnum):
        raise TypeError(
            "`transform` must be 'weights', 'whole' or a callable from an RGB PIL image to a"
            f" float tensor (channels, height, width), not {transform!r}."
        )


def check_device(device: str | torch.device | None) -> torch.device | None:
    """Return the device, None for None, or raise unless this machine has it."""
    if device is None:
        return None
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"`device` must be a device that this machine has, such as 'cpu', not {device!r}"
            f" ({str(error).splitlines()[0]})."
        ) from error
    return where
