"""The networks of a table of models, from the packages that have them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.architectures import architecture_names, find_weights
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.model_table import ModelTable, checked_model_table

# By extra of setup.cfg, which is also the name of the module.
EXTRAS = ("timm", "open_clip")
_SPELLINGS = {"openclip": "open_clip", "open-clip": "open_clip"}
_TRAINED = ("trained", "DEFAULT")


def table_models(table: ModelTable, own_models: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Find the networks of a table of models: the `models_dict` of `prepare_models`.

    Parameters
    ----------
    table : DataFrame or path
        As `read_model_table` takes it: its columns ``source``, ``model_name`` (or else
        ``model``), ``parameters`` and ``weights`` say which network it is. By ``source``:

        ``'torchvision'``, or none
            The name of an architecture that `prepare_models` knows, and the weights in
            ``parameters['weights']`` or the column ``weights``; 'trained' where neither is there.
            None in the parameters means random ones, as in torchvision.
        ``'timm'``
            The name of a model of timm with its weights, such as
            ``'vit_base_patch16_224.augreg_in21k'``.
        ``'open_clip'``
            An architecture in ``parameters['variant']`` or by name, and its weights in
            ``parameters['dataset']`` or the column ``weights``, such as 'laion2b_s34b_b88k'. The
            source 'custom' with the name 'OpenCLIP' means the same.
    own_models : dict, optional
        Networks of all other models, from the name in the table to a value of `models_dict`, such
        as ``(module, transform)``. They come before what the table says.

    Returns
    -------
    dict
        From each model of the table, in its order, to what `prepare_models` takes:
        ``(architecture, weights)`` for torchvision, ``(module, transform)`` for timm and
        open_clip, with the transform that belongs to the weights.

    Raises
    ------
    ValueError
        Models whose source is none of these and which are not in `own_models`, all of them named;
        unknown architectures and weights.
    ImportError
        The package of a source is not installed; says how to install it.

    See Also
    --------
    select_models : Leave out models.

    Notes
    -----
    Networks of timm and open_clip are built here, and so are in memory all at once; their weights
    are downloaded by these packages, unless they are in their caches. Those of torchvision are
    built by `prepare_models`. A network of open_clip is the whole model, of which images run
    through the part ``visual`` alone.

    With a column ``module``, ``{row.model: [row.module] for row in table.itertuples()}`` is the
    `which_layers` of all models.

    Examples
    --------
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> table = pd.DataFrame({"model": ["vgg16", "rn50"], "model_name": ["vgg16", "resnet50"],
    ...                       "source": ["torchvision"] * 2, "weights": ["DEFAULT", "random"]})
    >>> pfa.table_models(table)
    {'vgg16': ('vgg16', 'DEFAULT'), 'rn50': ('resnet50', 'random')}
    """
    models = checked_model_table(table, argument="table")
    own = _check_own(own_models, models["model"].tolist())
    entries = [_entry(row) for row in models.to_dict("records") if row["model"] not in own]
    _check_sources(entries)
    for entry in entries:
        _check_weights(entry)
    packages = _import_packages(entries)
    built = {entry.model: _BUILDERS[entry.source](entry, packages) for entry in entries}
    return {name: own[name] if name in own else built[name] for name in models["model"]}


@dataclass(frozen=True)
class _Entry:
    """Which network a row of the table means."""

    model: str
    name: str
    source: str
    parameters: Mapping[str, Any]
    weights: Any


def _entry(row: Mapping[Hashable, Any]) -> _Entry:
    given = {name: cell for name, cell in row.items() if frozen(cell) is not None}
    name = given.get("model_name", given["model"])
    source = str(given.get("source", "torchvision" if name in architecture_names() else ""))
    if source == "custom" and name.lower() in _SPELLINGS:
        source = name
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise TypeError(
            f"`table` must give the parameters of model {row['model']!r} as a dict, not"
            f" {parameters!r}."
        )
    source = _SPELLINGS.get(source.lower(), source.lower())
    return _Entry(row["model"], name, source, parameters, given.get("weights", "trained"))


def _weights(entry: _Entry) -> Any:
    weights = entry.parameters.get("weights", entry.weights)
    return "random" if weights is None else weights


def _check_own(own_models: Any, models: list[str]) -> dict[str, Any]:
    if own_models is None:
        return {}
    if not isinstance(own_models, Mapping):
        raise TypeError(
            "`own_models` must be a dict from model name to a network, such as (module,"
            f" transform), not {own_models!r}."
        )
    for name in own_models:
        check_name(name, models, argument="own_models", what="model", owner=" of `table`")
    return dict(own_models)


def _check_sources(entries: list[_Entry]) -> None:
    unknown = [entry for entry in entries if entry.source not in _BUILDERS]
    if unknown:
        listed = ", ".join(f"{entry.model!r} (source {entry.source!r})" for entry in unknown)
        raise ValueError(
            f"`table` has models whose networks are not to be had by name: {listed}. Give them in"
            " `own_models`, each as (module, transform), or leave them out with select_models."
            f" The sources that are known are: {', '.join(_BUILDERS)}."
        )


def _check_weights(entry: _Entry) -> None:
    """Raise unless the source has such weights, as far as can be told without its package."""
    weights = _weights(entry)
    if entry.source == "torchvision":
        find_weights(entry.name, weights, argument="table")
    elif entry.source == "timm" and weights not in _TRAINED:
        raise ValueError(
            f"`table` gives model {entry.model!r} the weights {weights!r}, but timm names weights"
            " in the model's name, such as 'resnet50.a1_in1k'. For random ones, give the network"
            " in `own_models`."
        )
    elif entry.source == "open_clip" and _clip_weights(entry) in (*_TRAINED, "random"):
        raise ValueError(
            f"`table` must say which weights of open_clip model {entry.model!r} has, in"
            " parameters['dataset'], such as 'laion2b_s34b_b88k' or 'openai'."
        )


def _import_packages(entries: list[_Entry]) -> dict[str, ModuleType]:
    """Import what the sources need, before any network is built."""
    packages = {}
    for extra in EXTRAS:
        needing = [entry.model for entry in entries if entry.source == extra]
        if not needing:
            continue
        try:
            packages[extra] = importlib.import_module(extra)
        except ImportError as error:
            raise ImportError(
                f"`table` has models of {extra} ({', '.join(needing)}), which is not installed:"
                f" pip install 'pytorch_feature_analysis[{extra}]'"
            ) from error
    return packages


def _torchvision_model(entry: _Entry, _packages: Mapping[str, ModuleType]) -> tuple[str, Any]:
    return entry.name, _weights(entry)


def _timm_model(entry: _Entry, packages: Mapping[str, ModuleType]) -> tuple[Any, Any]:
    timm = packages["timm"]
    with torch.random.fork_rng(devices=[]):  # the global state stays as it was
        model = timm.create_model(entry.name, pretrained=True).eval()
    config = timm.data.resolve_model_data_config(model)
    return model, timm.data.create_transform(**config, is_training=False)


def _open_clip_model(entry: _Entry, packages: Mapping[str, ModuleType]) -> tuple[Any, Any]:
    with torch.random.fork_rng(devices=[]):
        model, _, transform = packages["open_clip"].create_model_and_transforms(
            _clip_architecture(entry), pretrained=_clip_weights(entry)
        )
    return model.eval(), transform


def _clip_architecture(entry: _Entry) -> str:
    return str(entry.parameters.get("variant", entry.name))


def _clip_weights(entry: _Entry) -> Any:
    if ":" in _clip_architecture(entry):  # 'hf-hub:organisation/name' has weights of its own
        return None
    return entry.parameters.get("dataset", _weights(entry))


_BUILDERS: dict[str, Callable[[_Entry, Mapping[str, ModuleType]], tuple[Any, Any]]] = {
    "torchvision": _torchvision_model,
    "timm": _timm_model,
    "open_clip": _open_clip_model,
}
