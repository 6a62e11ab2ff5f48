"""What one pass shows of a network: which modules are called, and what they put out."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from pytorch_feature_analysis.activation_types import as_float
from pytorch_feature_analysis.held_models import as_it_came, first_tensor, hooked
from pytorch_feature_analysis.layers import layer_table
from pytorch_feature_analysis.layouts import Layout, infer_layouts

# The same image gives the same numbers, but for the rounding of float32.
_ALIKE = 1e-4


class InputRefusedError(ValueError):
    """A network that fails on the first image."""


@dataclass(frozen=True)
class LayerSurvey:
    """What a pass showed of one call of a module."""

    batch_axis: int
    layout: Layout


@dataclass(frozen=True)
class Survey:
    """What a pass showed of a model; keys are (module path, call)."""

    n_calls: dict[str, int]
    """By module path; a module that is not in it was never called."""
    order: dict[str, int]
    """By module path, its place in the order of execution, from 1, by the last call."""
    outputs: dict[tuple[str, int], LayerSurvey]
    refused: dict[tuple[str, int], str]
    """Why an output cannot be captured."""
    same: dict[tuple[str, int], tuple[str, int]]
    """Outputs that are those of an earlier call, handed on unchanged, and the first such call."""


def survey(
    model: nn.Module,
    example: torch.Tensor,
    paths: Iterable[str] = (),
    *,
    model_name: str = "",
    device: Any = None,
) -> Survey:
    """Pass two copies of an image and see which modules put out what.

    Where these leave open which axis of an output holds the images, three are passed as well.

    Parameters
    ----------
    example
        One preprocessed image (without a batch axis).
    paths
        Modules that are asked for; all leaves are watched beside them, since layouts are handed
        on from one to the next.

    Raises
    ------
    InputRefusedError
        The model does not take such an image.
    """
    watched = list(dict.fromkeys([*(info.path for info in layer_table(model)), *paths]))
    with as_it_came(model, device) as place:
        try:
            of_two = _outputs_of_a_pass(model, place(example), watched, 2)
            of_three = of_two
            if not all(output is None or output.is_clear for output in of_two.values()):
                of_three = _outputs_of_a_pass(model, place(example), watched, 3)
        except Exception as error:
            owner = f"model '{model_name}'" if model_name else type(model).__name__
            raise InputRefusedError(
                f"{owner} fails on an input of shape {tuple(example.shape)}:"
                f" {type(error).__name__}: {error}"
            ) from error

    n_calls: dict[str, int] = {}
    refused: dict[tuple[str, int], str] = {}
    found: dict[tuple[str, int], tuple[int, tuple[int, ...]]] = {}
    for (path, call), output in of_two.items():
        n_calls.pop(path, None)  # so that the last calls are in order
        n_calls[path] = call
        axis = _batch_axis(output, of_three.get((path, call)))
        if output is None or isinstance(axis, str):
            refused[path, call] = str(axis)
        else:
            shape = output.shape
            found[path, call] = (axis, shape[:axis] + shape[axis + 1 :])
    n_calls_of_three = dict(of_three.keys())  # of a path's calls the last stays
    for path, count in n_calls.items():
        if n_calls_of_three.get(path) != count:
            for call in range(1, count + 1):
                found.pop((path, call), None)
                refused[path, call] = "the number of its calls follows that of the images"
    shapes = [(model.get_submodule(path), shape) for (path, _), (_, shape) in found.items()]
    layouts = infer_layouts(shapes)
    outputs = {
        key: LayerSurvey(axis, layout)
        for (key, (axis, _)), layout in zip(found.items(), layouts, strict=True)
    }
    order = {path: place for place, path in enumerate(n_calls, start=1)}
    same = {
        key: output.same_as
        for key, output in of_two.items()
        if output is not None
        and output.same_as is not None
        and key in outputs
        and outputs.get(output.same_as) == outputs[key]
    }
    return Survey(n_calls, order, outputs, refused, same)


class _Seen(NamedTuple):
    """What was seen of an output."""

    shape: tuple[int, ...]
    is_complex: bool
    is_clear: bool
    """Whether a pass of two copies of an image leaves no doubt that the first axis is theirs: no
    other has two places, and the two hold the same, which is not one number throughout."""
    same_as: tuple[str, int] | None
    """The earlier call that put out the same tensor, untouched since."""


def _outputs_of_a_pass(
    model: nn.Module, example: torch.Tensor, paths: list[str], batch_size: int
) -> dict[tuple[str, int], _Seen | None]:
    outputs: dict[tuple[str, int], _Seen | None] = {}
    # By the number of the object; held weakly, since a pass needs its memory back.
    alive: dict[int, tuple[weakref.ref[torch.Tensor], int, tuple[str, int]]] = {}

    def note(path: str, call: int, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is None:
            outputs[path, call] = None
            return
        known, version, first = alive.get(id(tensor), (None, 0, ("", 0)))
        # Tensors of inference mode do not count their changes.
        count = None if tensor.is_inference() else tensor._version
        is_same = known is not None and known() is tensor and version == count
        if not is_same and count is not None:
            alive[id(tensor)] = (weakref.ref(tensor), count, (path, call))
        is_clear = batch_size == 2 and _is_clear(tensor)
        shape = tuple(tensor.shape)
        same_as = first if is_same else None
        outputs[path, call] = _Seen(shape, tensor.is_complex(), is_clear, same_as)

    with hooked(model, paths, note):
        model(example.expand(batch_size, *example.shape).clone())
    return outputs


def _is_clear(output: torch.Tensor) -> bool:
    """See `_Seen.is_clear`."""
    if output.is_complex() or output.shape[:1] != (2,) or 2 in output.shape[1:]:
        return False
    first, second = as_float(output)
    if not first.numel():
        return False
    lowest, highest = torch.aminmax(first)
    # Within what rounding does to float32; what is not a number is not clear.
    differ = (first - second).abs().max()
    return bool(lowest < highest) and bool(differ <= _ALIKE * torch.maximum(-lowest, highest))


def _batch_axis(of_two: _Seen | None, of_three: _Seen | None) -> int | str:
    """Axis that holds the images, or the reason why there is none."""
    if of_two is None or of_three is None:
        return "its output holds no tensor"
    two, three = of_two.shape, of_three.shape
    if of_two.is_complex:
        return "its output is complex"
    if of_three is of_two:  # which is clear, as all are where only two were passed
        return 0
    changed = [
        axis for axis, sizes in enumerate(zip(two, three, strict=False)) if len(set(sizes)) > 1
    ]
    if len(two) == len(three) and [(two[axis], three[axis]) for axis in changed] == [(2, 3)]:
        return changed[0]
    return (
        f"no one axis of its output follows the images: two of them give the shape {two}, three"
        f" {three}"
    )
