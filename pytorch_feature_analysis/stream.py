"""The activation stream: what each layer put out, at the moment it did.

One idea: a consumer sees every output inside the forward hook, before a later in-place operation
can overwrite it, and takes from it what it needs (a product, a mean, a copy). The model leaves as
it came: hooks gone, each module's train or eval flag, device, and torch's settings restored, also
after an exception.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from pytorch_feature_analysis.activation_types import as_float
from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.layers import layer_table
from pytorch_feature_analysis.layouts import Layout, infer_layouts

# The same image gives the same numbers, but for the rounding of float32.
_ALIKE = 1e-4

_turns: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
"""Per model the lock of the thread that holds it: hooks hear every thread's passes."""


class _LastWantedLayerReached(BaseException):
    """Ends a forward pass; not an Exception, so that no model's own handler swallows it."""


@dataclass(frozen=True)
class Target:
    """One output of one pass: which call of which module, and what it looks like."""

    label: tuple[str, int]
    path: str
    call: int
    """Which call in a pass, from 1; 0 for the input itself."""
    n_calls: int
    """How often the module is called in a pass."""
    batch_axis: int
    layout: Layout
    same_as: str = ""
    """Name of an earlier target whose output this one is, unchanged (dropout in eval mode)."""


@contextmanager
def _as_it_came(
    model: nn.Module, device: Any = None
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Hold the model in eval mode without gradients on `device`; restore all of it after.

    Yields the function that brings an input to the model's device and type of number. The fused
    attention path is off inside, because it calls no submodule and so no hook
    (https://github.com/pytorch/pytorch/issues/128413). Threads take turns with a model.
    """
    with _turns.setdefault(model, threading.RLock()), _held_in_eval(model, device) as place:
        yield place


@contextmanager
def _held_in_eval(
    model: nn.Module, device: Any
) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    flags = {module: module.training for module in model.modules()}
    tensors = [*model.parameters(), *model.buffers()]
    homes = {tensor.device for tensor in tensors}
    if device is not None and len(homes) > 1:
        raise ValueError(
            f"`device` is {str(device)!r}, but {type(model).__name__} lies on several devices"
            f" ({', '.join(sorted(map(str, homes)))}); leave it out."
        )
    home = tensors[0].device if tensors else torch.device("cpu")
    target = home if device is None else torch.device(device)
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
    fast_path = torch.backends.mha.get_fastpath_enabled()

    def place(images: torch.Tensor) -> torch.Tensor:
        return images.to(target, dtype if images.is_floating_point() else None)

    try:
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        if target != home:
            model.to(target)
        with torch.no_grad(), _full_float32():
            yield place
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        if target != home:
            model.to(home)
        for module, training in flags.items():
            module.training = training


@contextmanager
def _full_float32() -> Iterator[None]:
    """Hold GPUs to float32 where torch lets them round to the ten bits of TF32.

    Dissimilarities of random networks are smaller than that rounding.
    """
    backends = torch.backends
    switches: list[tuple[Any, str, Any]] = [
        (backends.cudnn, "allow_tf32", False),
        (backends.cuda.matmul, "allow_tf32", False),
    ]
    if hasattr(backends.cudnn, "conv"):  # where torch has these, reading the others may raise
        operations = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)
        switches = [(operation, "fp32_precision", "ieee") for operation in operations]
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, value in switches:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def first_tensor(output: Any) -> torch.Tensor | None:
    """First tensor of an output, depth first through tuples, lists, dicts and dataclasses."""
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    elif hasattr(output, "__dataclass_fields__"):
        output = [getattr(output, name) for name in output.__dataclass_fields__]
    if isinstance(output, (tuple, list)):
        for item in output:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


@contextmanager
def _hooked(
    model: nn.Module, paths: Iterable[str], on_output: Callable[[str, int, Any], None]
) -> Iterator[dict[str, int]]:
    """Call `on_output(path, call, output)` at every call of the named modules.

    Yields how often each has been called; clear it between passes.
    """
    handles = []
    calls: dict[str, int] = {}

    def hook_for(path: str) -> Callable[[nn.Module, Any, Any], None]:
        # A hook that returns something would replace the module's output.
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            on_output(path, calls[path], output)

        return hook

    try:
        for path in paths:
            handle = model.get_submodule(path).register_forward_hook(hook_for(path))
            handles.append(handle)
        yield calls
    finally:
        for handle in handles:
            handle.remove()


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
    with _as_it_came(model, device) as place:
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

    with _hooked(model, paths, note):
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


def stream_outputs(
    model: nn.Module,
    batches: Iterable[Batch],
    targets: Sequence[Target],
    consume: Callable[[Target, Batch, torch.Tensor], None],
    *,
    device: Any = None,
) -> None:
    """Pass the batches and hand every wanted output to `consume` as it is made.

    Parameters
    ----------
    consume
        Called as ``consume(target, batch, output)`` with the output (n_images, ...) of the
        batch's images, padding taken off, batch axis first. The tensor is the network's own: it
        is valid during the call only, and must not be changed.
    """
    wanted: dict[tuple[str, int], list[Target]] = {}
    for target in targets:
        if target.call:
            wanted.setdefault((target.path, target.call), []).append(target)
    inputs = [target for target in targets if not target.call]
    n_calls = {target.path: target.n_calls for target in targets if target.call}
    missing = set(wanted)
    batch: Batch

    def on_output(path: str, call: int, output: Any) -> None:
        if call > n_calls[path]:
            raise RuntimeError(
                _other_way(f"module '{path}' is called more often than in the first pass")
            )
        for target in wanted.get((path, call), ()):
            consume(target, batch, _rows_of_images(target, batch, output))
        missing.discard((path, call))
        if not missing:
            raise _LastWantedLayerReached

    with _as_it_came(model, device) as place, _hooked(model, n_calls, on_output) as calls:
        for batch in batches:
            for target in inputs:
                consume(target, batch, batch.tensor[: len(batch.positions)])
            if not wanted:
                continue
            calls.clear()
            missing.update(wanted)
            try:
                model(place(batch.tensor))
            except _LastWantedLayerReached:
                continue
            if missing:
                paths = ", ".join(f"'{path}'" for path, _ in sorted(missing))
                raise RuntimeError(
                    _other_way(f"module {paths} is called less often than in the first pass")
                )


def _rows_of_images(target: Target, batch: Batch, output: Any) -> torch.Tensor:
    tensor = first_tensor(output)
    axis = target.batch_axis
    if tensor is None or tensor.shape[axis : axis + 1] != (len(batch.tensor),):
        came = "no tensor" if tensor is None else f"the shape {tuple(tensor.shape)}"
        raise RuntimeError(
            f"module '{target.path}' puts out {came} for a batch of {len(batch.tensor)}, but held"
            f" the images on axis {axis} in the first pass. A network that drops the axis of a"
            " batch of one takes `batch_size` of at least 2."
        )
    return tensor.movedim(axis, 0)[: len(batch.positions)]


def _other_way(what: str) -> str:
    return (
        f"{what}: a network whose path depends on the images cannot be captured in batches."
        " Capture its images in one call each, or name in `which_layers` only layers that every"
        " image passes alike."
    )
