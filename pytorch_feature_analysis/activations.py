"""Activations of layers: which can be captured, and copies of what they put out.

Stands on the stream (`stream.stream_outputs`); `capture` is the consumer that keeps everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.layers import ORIGINAL_RGB, fetch_layers, layer_table, resolve_layers
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.stream import (
    Batch,
    LayerSurvey,
    Target,
    as_float,
    preprocessing_of,
    read_batches,
    stream_outputs,
    survey,
    tensor_batches,
    to_input,
)

DEFAULT_BATCH_SIZE = 16


def choose_targets(
    model: nn.Module,
    example: torch.Tensor,
    which_layers: Sequence[Any] | None,
    *,
    calls: str = "last",
    model_name: str = "",
    device: Any = None,
) -> tuple[list[Target], list[str]]:
    """Layers of a run, and the names of those that were never called.

    Parameters
    ----------
    which_layers
        As in `get_rdms`; None for the input and every leaf.
    calls
        'last', or 'all' for the earlier calls of a reused module too ('relu2@1', ...).

    Raises
    ------
    ValueError
        A layer that was asked for by name is never called, or its output cannot be captured.
    """
    if calls not in ("last", "all"):
        raise ValueError(f"`calls` must be 'last' or 'all', not {calls!r}.")
    named = which_layers is not None
    if which_layers is None:
        which_layers = [ORIGINAL_RGB, *fetch_layers(model)]
    resolved = resolve_layers(model, which_layers, model_name=model_name)
    paths = [path for label, path, _ in resolved if label != ORIGINAL_RGB]
    seen, refused = survey(model, example, paths, device=device) if paths else ({}, {})

    targets: list[Target] = []
    unfired: list[str] = []
    problems: list[str] = []
    for label, path, suffix in resolved:
        if label == ORIGINAL_RGB:
            shape = tuple(example.shape)
            layout = Layout(shape, 0, "vector" if len(shape) == 1 else "map")
            targets.append(Target(ORIGINAL_RGB, "", 0, LayerSurvey(1, 0, 0, layout)))
        elif path in refused:
            problems.append(f"{label[0]} ('{path}'): {refused[path]}")
        elif path not in seen:
            unfired.append(label[0])
        elif suffix is not None:
            if suffix > seen[path].n_calls:
                problems.append(
                    f"{label[0]}: '{path}' is called {seen[path].n_calls} times a pass"
                )
            else:
                targets.append(Target(label, path, suffix, seen[path]))
        else:
            earlier_calls = range(1, seen[path].n_calls) if calls == "all" else ()
            targets.extend(
                Target((f"{label[0]}@{call}", label[1]), path, call, seen[path])
                for call in earlier_calls
            )
            targets.append(Target(label, path, seen[path].n_calls, seen[path]))
    owner = f"model '{model_name}'" if model_name else type(model).__name__
    if named and unfired:
        problems += [f"{name}: never called in a forward pass" for name in unfired]
    if named and problems:
        raise ValueError(
            f"these layers of {owner} cannot be captured: {'; '.join(problems)}."
            " list_layers(model) shows which can."
        )
    if not any(target.call for target in targets) and paths:
        raise ValueError(
            f"no output of {owner} can be captured:"
            f" {'; '.join(problems) or 'no module is called'}."
        )
    return targets, unfired + [problem.split(" ")[0] for problem in problems]


def capture(
    model: nn.Module,
    images: Sequence[Any] | torch.Tensor,
    which_layers: Sequence[Any] | None = None,
    *,
    calls: str = "last",
    batch_size: int = DEFAULT_BATCH_SIZE,
    device: Any = None,
) -> dict[str, np.ndarray]:
    """Activations of layers, as each layer put them out.

    What a layer puts out is copied inside its forward hook, so an in-place ReLU or a residual
    ``+=`` behind it cannot overwrite the copy.

    Parameters
    ----------
    model : torch.nn.Module
        A model of `prepare_models`, or any module when `images` is a tensor.
    images : sequence of path or PIL image, or tensor (n_images, ...)
        Files and PIL images go through ``model.preprocessing``; a tensor is the network's input
        as it is.
    which_layers : sequence, optional
        Layer names ('conv1'), labels (('conv1', 1)), module paths ('layer4.2'), earlier calls of
        a reused module ('relu2@1'), or 'original_rgb'. Default: the input and every leaf module
        that a forward pass calls.
    calls : {'last', 'all'}
        Which calls of a module that is called several times a pass: the last, or also the
        earlier ones under 'relu2@1', 'relu2@2'.
    batch_size : int
        Images a forward pass; short batches are padded to it.
    device : str or torch.device, optional
        Where the network runs; default where it is.

    Returns
    -------
    dict of str to ndarray (n_images, ...)
        Per layer name, in the order asked for. Memory: n_images times the units of all layers,
        4 bytes each; `get_rdms` needs no such room.

    Examples
    --------
    >>> import torch
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(inplace=True))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    >>> activations = pfa.capture(net, torch.tensor([[1.0, 2.0]]))
    >>> {name: values.tolist() for name, values in activations.items()}
    {'original_rgb': [[1.0, 2.0]], 'fc1': [[1.0, -2.0]], 'relu1': [[1.0, 0.0]]}
    """
    batch_size = check_count(batch_size, argument="batch_size")
    batches: Iterable[Batch]
    if isinstance(images, torch.Tensor):
        n_images, example = len(images), images[0]
        batches = tensor_batches(images, batch_size)
    else:
        images = list(images)
        if not images:
            raise ValueError("`images` is empty; give at least one image.")
        preprocessing = preprocessing_of(model)
        n_images, example = len(images), to_input(images[0], preprocessing, str(images[0]))
        batches = read_batches(images, preprocessing, batch_size)
    targets, _ = choose_targets(model, example, which_layers, calls=calls, device=device)
    kept: dict[str, np.ndarray] = {}

    def keep(target: Target, batch: Batch, output: torch.Tensor) -> None:
        values = as_float(output).cpu().numpy()
        if target.label[0] not in kept:
            kept[target.label[0]] = np.empty((n_images, *values.shape[1:]), values.dtype)
        if values.shape[1:] != kept[target.label[0]].shape[1:]:
            raise ValueError(
                "the images have different sizes after the model's preprocessing, so that layer"
                f" '{target.label[0]}' has no one shape; use a transform that evens them."
            )
        kept[target.label[0]][batch.positions] = values

    stream_outputs(model, batches, targets, keep, device=device)
    return {target.label[0]: kept[target.label[0]] for target in targets}


def get_model_activations_for_image(
    fname: Any, model: nn.Module
) -> dict[tuple[str, int], np.ndarray]:
    """Activations of every layer for one image.

    Parameters
    ----------
    fname : path or PIL image
        The image; it goes through ``model.preprocessing``.
    model : torch.nn.Module
        A model of `prepare_models`.

    Returns
    -------
    dict of tuple to ndarray
        Per layer label, ``('conv1', 1)``, what the layer put out for the image (channels, height,
        width), or (n_units,) for a vector; ``('original_rgb', 0)`` is the preprocessed image.
    """
    preprocessing = preprocessing_of(model)
    example = to_input(fname, preprocessing, str(fname))
    targets, _ = choose_targets(model, example, None)
    kept: dict[tuple[str, int], np.ndarray] = {}

    def keep(target: Target, _batch: Batch, output: torch.Tensor) -> None:
        kept[target.label] = as_float(output[0]).cpu().numpy().copy()

    stream_outputs(model, [Batch([0], example[None])], targets, keep)
    return {target.label: kept[target.label] for target in targets}


def list_layers(
    model: nn.Module, *, input_shape: Sequence[int] | None = None, device: Any = None
) -> pd.DataFrame:
    """Table of the layers of a network: names, shapes, and the order in which they run.

    Parameters
    ----------
    model : torch.nn.Module
        Any network.
    input_shape : sequence of int, optional
        Shape of one input, (channels, height, width). Default: what ``model.preprocessing`` makes
        of an image, or (3, 224, 224) for a bare module.
    device : str or torch.device, optional
        Where the pass runs; default where the model is.

    Returns
    -------
    pandas.DataFrame
        One row a leaf module, in order of definition: `layer` (its name), `layer_num`, `module`
        (its path in ``named_modules()``; any other path of a module can be captured too when it
        is named), `type`, `calls` (in one pass), `output_shape` (of one image), `n_units`,
        `channel_axis` (of `output_shape`), `layout` ('map', 'tokens' or 'vector'), `order` (of
        execution, by the last call) and `fired`. A module that was never called has missing
        values and ``fired`` False.

    Examples
    --------
    >>> import torch
    >>> import pytorch_feature_analysis as pfa
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())
    >>> pfa.list_layers(net, input_shape=(3, 8, 8))[["layer", "module", "output_shape", "fired"]]
          layer module output_shape  fired
    0     conv1      0    (4, 6, 6)   True
    1     relu1      1    (4, 6, 6)   True
    2  flatten1      2       (144,)   True
    """
    example = _example_input(model, input_shape)
    try:
        seen, refused = survey(model, example, [], device=device)
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} does not take an input of shape {tuple(example.shape)}:"
            f" {error}. Give `input_shape`, such as (1, 28, 28)."
        ) from error
    ranks = {path: rank for rank, path in enumerate(sorted(seen, key=lambda p: seen[p].order), 1)}
    rows = []
    for info in layer_table(model):
        found = seen.get(info.path)
        rows.append(
            {
                "layer": info.label[0],
                "layer_num": info.label[1],
                "module": info.path,
                "type": info.module_type,
                "calls": found.n_calls if found else 0,
                "output_shape": found.layout.shape if found else None,
                "n_units": found.layout.n_units if found else pd.NA,
                "channel_axis": found.layout.channel_axis if found else pd.NA,
                "layout": found.layout.kind if found else None,
                "order": ranks.get(info.path, pd.NA),
                "fired": found is not None or info.path in refused,
            }
        )
    table = pd.DataFrame(rows)
    whole_numbers = ["n_units", "channel_axis", "order"]
    return table.astype(dict.fromkeys(whole_numbers, "Int64"))


def _example_input(model: nn.Module, input_shape: Sequence[int] | None) -> torch.Tensor:
    if input_shape is not None:
        return torch.zeros(tuple(input_shape))
    if callable(getattr(model, "preprocessing", None)):
        from PIL import Image

        return to_input(Image.new("RGB", (256, 256)), preprocessing_of(model), "a blank image")
    return torch.zeros(3, 224, 224)
