"""Activations of layers: which can be captured, and copies of what they put out.

Stands on the stream (`stream.stream_outputs`); `capture` is the consumer that keeps everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from pytorch_feature_analysis._checks import check_count, check_sequence
from pytorch_feature_analysis.activation_types import as_float
from pytorch_feature_analysis.batches import (
    Batch,
    preprocessing_of,
    read_batches,
    tensor_batches,
    to_input,
)
from pytorch_feature_analysis.layers import ORIGINAL_RGB, fetch_layers, layer_table, resolve_layers
from pytorch_feature_analysis.layouts import Layout
from pytorch_feature_analysis.stream import Target, stream_outputs
from pytorch_feature_analysis.survey import InputRefusedError, Survey, survey

DEFAULT_BATCH_SIZE = 16


class Choice(NamedTuple):
    """Outputs chosen for a run."""

    targets: list[Target]
    left_out: list[str]
    """What was not chosen, by name and with the reason."""
    n_units: int
    """Units of all layers of the network together, chosen or not; 0 where no pass was needed."""


def choose_targets(
    model: nn.Module,
    example: torch.Tensor,
    which_layers: Sequence[Any] | None,
    *,
    calls: str = "last",
    model_name: str = "",
    device: Any = None,
) -> Choice:
    """Choose the outputs of a run.

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
    paths = [request.path for request in resolved if request.path is not None]
    seen = Survey({}, {}, {}, {}, {})
    if paths:
        seen = survey(model, example, paths, model_name=model_name, device=device)

    targets: dict[str, Target] = {}
    owners: dict[tuple[str, int], str] = {}
    uncalled: list[str] = []
    problems: dict[str, str] = {}
    for label, path, asked_call in resolved:
        if path is None:
            targets[label[0]] = _input_target(example)
            continue
        n_calls = seen.n_calls.get(path, 0)
        wanted = {label: n_calls if asked_call is None else asked_call}
        if asked_call is None and calls == "all":
            earlier = {(f"{label[0]}@{call}", label[1]): call for call in range(1, n_calls)}
            wanted = {**earlier, **wanted}
        for wanted_label, call in wanted.items():
            name = wanted_label[0]
            if not n_calls:
                uncalled.append(name)
            elif call > n_calls:
                problems[name] = f"'{path}' is called {n_calls} times a pass"
            elif (path, call) in seen.refused:
                problems[name] = seen.refused[path, call]
            else:
                target = _target(wanted_label, path, call, seen)
                first = seen.same.get((path, call), (path, call))
                owner = owners.setdefault(first, name)
                if owner != name:
                    target = replace(target, same_as=owner)
                if targets.setdefault(name, target) != target:
                    raise ValueError(
                        f"`which_layers` names two layers that are called '{name}': the modules"
                        f" '{targets[name].path}' and '{path}'. Ask for one of them a call."
                    )
    owner = f"model '{model_name}'" if model_name else type(model).__name__
    reasons = {**problems, **dict.fromkeys(uncalled, "never called in a forward pass")}
    listed = "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
    if named and reasons:
        raise ValueError(
            f"`which_layers`: these layers of {owner} cannot be captured: {listed}."
            " list_layers(model) shows which can."
        )
    if paths and not any(target.call for target in targets.values()):
        raise ValueError(f"no output of {owner} can be captured: {listed}.")
    left_out = [*uncalled, *(f"{name} ({reason})" for name, reason in problems.items())]
    leaves = {info.path for info in layer_table(model)} if paths else set()
    n_units = sum(
        found.layout.n_units for (path, _), found in seen.outputs.items() if path in leaves
    )
    return Choice(list(targets.values()), left_out, n_units)


def _input_target(example: torch.Tensor) -> Target:
    shape = tuple(example.shape)
    layout = Layout(shape, 0, "vector" if len(shape) == 1 else "map")
    return Target(ORIGINAL_RGB, "", 0, 0, 0, layout)


def _target(label: tuple[str, int], path: str, call: int, seen: Survey) -> Target:
    found = seen.outputs[path, call]
    return Target(label, path, call, seen.n_calls[path], found.batch_axis, found.layout)


class BatchTimes(NamedTuple):
    """How long one batch takes, in seconds."""

    total: float
    reach: dict[str, float]
    """By layer, from the input to its output."""


def time_batch(
    model: nn.Module,
    example: torch.Tensor,
    targets: Sequence[Target],
    batch_size: int,
    *,
    device: Any = None,
) -> BatchTimes:
    """Time a pass of copies of one input up to its last target, after one that warms up."""
    images = example.expand(batch_size, *example.shape)
    start = 0.0
    reach: dict[str, float] = {}

    def note(target: Target, _batch: Batch, _output: torch.Tensor) -> None:
        reach[target.label[0]] = time.perf_counter() - start

    def batches() -> Iterator[Batch]:
        nonlocal start
        for _ in range(2):
            batch = next(tensor_batches(images, batch_size))
            start = time.perf_counter()
            yield batch

    stream_outputs(model, batches(), targets, note, device=device)
    return BatchTimes(time.perf_counter() - start, reach)


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
        as it is, brought to the network's device and type of float.
    which_layers : sequence, optional
        Layer names ('conv1'), labels (('conv1', 1)), module paths ('layer4.2'), earlier calls of
        a reused module ('relu2@1'), or 'original_rgb'. Default: the input and every leaf module
        that a forward pass calls.
    calls : {'last', 'all'}, default 'last'
        Which calls of a module that is called several times a pass: the last, or also the
        earlier ones under 'relu2@1', 'relu2@2'.
    batch_size : int, default 16
        Images a forward pass; short batches are padded to it.
    device : str or torch.device, optional
        Where the network runs; default where it is.

    Returns
    -------
    dict of str to ndarray (n_images, ...)
        Per layer name, in the order asked for. Memory: n_images times the units of all layers,
        4 bytes each; `get_rdms` needs no such room.

    See Also
    --------
    get_activations : The same as a frame, by models and image sets.
    list_layers : Which layers there are.

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
    if not isinstance(images, torch.Tensor):
        images = check_sequence(images, argument="images", of="paths or PIL images, or a tensor")
    if len(images) == 0:
        raise ValueError("`images` is empty; give at least one image.")
    if isinstance(images, torch.Tensor):
        n_images, example = len(images), images[0]
        batches = tensor_batches(images, batch_size)
    else:
        preprocessing = preprocessing_of(model)
        n_images, example = len(images), to_input(images[0], preprocessing, str(images[0]))
        batches = read_batches(images, preprocessing, batch_size)
    targets, *_ = choose_targets(model, example, which_layers, calls=calls, device=device)
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

    See Also
    --------
    capture : Many images, and chosen layers.

    Examples
    --------
    >>> from PIL import Image
    >>> from torch import nn
    >>> import pytorch_feature_analysis as pfa
    >>> net = nn.Sequential(nn.AvgPool2d(112), nn.Flatten())
    >>> model = pfa.prepare_models({"net": (net, pfa.standard_transform)})["net"]
    >>> activations = pfa.get_model_activations_for_image(Image.new("RGB", (224, 224)), model)
    >>> {label: values.shape for label, values in activations.items()}
    {('original_rgb', 0): (3, 224, 224), ('avgpool1', 1): (3, 2, 2), ('flatten1', 2): (12,)}
    """
    preprocessing = preprocessing_of(model)
    example = to_input(fname, preprocessing, str(fname))
    targets, *_ = choose_targets(model, example, None)
    kept: dict[tuple[str, int], np.ndarray] = {}

    def keep(target: Target, _: Batch, output: torch.Tensor) -> None:
        kept[target.label] = as_float(output[0]).cpu().numpy().copy()

    # A batch of two, since some networks drop the axis of a batch of one.
    stream_outputs(model, tensor_batches(example[None], 2), targets, keep)
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
        values and ``fired`` False; one that was called, but whose output cannot be captured, has
        no shape.

    Raises
    ------
    ValueError
        The network does not take an input of this shape.

    See Also
    --------
    fetch_layers : Addresses, without a pass.

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
        seen = survey(model, example, device=device)
    except InputRefusedError as error:
        raise ValueError(f"{error}. Give `input_shape`, such as (1, 28, 28).") from error
    rows = []
    for info in layer_table(model):
        n_calls = seen.n_calls.get(info.path, 0)
        found = seen.outputs.get((info.path, n_calls))
        rows.append(
            {
                "layer": info.label[0],
                "layer_num": info.label[1],
                "module": info.path,
                "type": info.module_type,
                "calls": n_calls,
                "output_shape": found.layout.shape if found else None,
                "n_units": found.layout.n_units if found else pd.NA,
                "channel_axis": found.layout.channel_axis if found else pd.NA,
                "layout": found.layout.kind if found else None,
                "order": seen.order.get(info.path, pd.NA),
                "fired": n_calls > 0,
            }
        )
    table = pd.DataFrame(rows)
    whole_numbers = ["n_units", "channel_axis", "order"]
    return table.astype(dict.fromkeys(whole_numbers, "Int64"))


def _example_input(model: nn.Module, input_shape: Sequence[int] | None) -> torch.Tensor:
    if input_shape is not None:
        sizes = check_sequence(input_shape, argument="input_shape", of="sizes, without the batch")
        return torch.zeros([check_count(size, argument="input_shape") for size in sizes])
    if callable(getattr(model, "preprocessing", None)):
        from PIL import Image

        return to_input(Image.new("RGB", (256, 256)), preprocessing_of(model), "a blank image")
    return torch.zeros(3, 224, 224)
