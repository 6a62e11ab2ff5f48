"""The activation stream: what each layer put out, at the moment it did.

One idea: a consumer sees every output inside the forward hook, before a later in-place operation
can overwrite it, and takes from it what it needs (a product, a mean, a copy). The model leaves as
it came: hooks gone, each module's train or eval flag, device, and torch's settings restored, also
after an exception.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pytorch_feature_analysis.images import load_image
from pytorch_feature_analysis.layers import layer_table
from pytorch_feature_analysis.layouts import Layout, infer_layout

_PREFETCH_THREADS = 2


class _LastWantedLayerReached(BaseException):
    """Ends a forward pass; not an Exception, so that no model's own handler swallows it."""


@dataclass(frozen=True)
class LayerSurvey:
    """What one pass showed of one module's output."""

    n_calls: int
    order: int
    """Place of the module's last call in the order of execution, from 1."""
    batch_axis: int
    layout: Layout


@dataclass(frozen=True)
class Target:
    """One layer of a run: which call of which module, and the shape it puts out."""

    label: tuple[str, int]
    path: str
    call: int
    """Which call in a pass, from 1; 0 for the input itself."""
    survey: LayerSurvey

    @property
    def layout(self) -> Layout:
        """Shape and channel axis of one image's output."""
        return self.survey.layout


@dataclass(frozen=True)
class Batch:
    """Images of one shape, padded to the run's constant batch size."""

    positions: list[int]
    """Positions of the images in the run, one a row; the rows behind them are padding."""
    tensor: torch.Tensor


@contextmanager
def _as_it_came(model: nn.Module, device: Any = None) -> Iterator[torch.device]:
    """Hold the model in eval mode without gradients on `device`; restore all of it after.

    The fused attention path is off inside, because it calls no submodule and so no hook
    (https://github.com/pytorch/pytorch/issues/128413).
    """
    flags = {module: module.training for module in model.modules()}
    first = next(iter(model.parameters()), next(iter(model.buffers()), None))
    home = first.device if first is not None else torch.device("cpu")
    target = home if device is None else torch.device(device)
    fast_path = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        model.eval()
        if target != home:
            model.to(target)
        with torch.no_grad():
            yield target
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        if target != home:
            model.to(home)
        for module, training in flags.items():
            module.training = training


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
    model: nn.Module, paths: Iterable[str], on_output: Callable[[str, nn.Module, Any], None]
) -> Iterator[None]:
    """Call `on_output(path, module, output)` at every call of the named modules."""
    handles = []

    def hook_for(path: str) -> Callable[[nn.Module, Any, Any], None]:
        # A hook that returns something would replace the module's output.
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            on_output(path, module, output)

        return hook

    try:
        for path in paths:
            handle = model.get_submodule(path).register_forward_hook(hook_for(path))
            handles.append(handle)
        yield
    finally:
        for handle in handles:
            handle.remove()


def survey(
    model: nn.Module, example: torch.Tensor, paths: Iterable[str], *, device: Any = None
) -> tuple[dict[str, LayerSurvey], dict[str, str]]:
    """Pass a tiny batch and see which modules put out what.

    Parameters
    ----------
    example
        One preprocessed image (without a batch axis).
    paths
        Modules that are asked for; all leaves are watched beside them, since layouts are handed
        on from one to the next.

    Returns
    -------
    tuple of dict
        By module path: what was seen, and the reason why an output cannot be captured. A module
        in neither was never called.
    """
    watched = list(dict.fromkeys([*(info.path for info in layer_table(model)), *paths]))
    events = _shapes_in_a_pass(model, example, watched, 2, device)
    doubtful = any(shape is not None and shape.count(2) > 1 for _, _, shape in events)
    again = _shapes_in_a_pass(model, example, watched, 3, device) if doubtful else None

    seen: dict[str, LayerSurvey] = {}
    refused: dict[str, str] = {}
    earlier: list[Layout] = []
    n_calls: dict[str, int] = {}
    for order, (path, module, shape) in enumerate(events, start=1):
        n_calls[path] = n_calls.get(path, 0) + 1
        axes = [] if shape is None else [axis for axis, size in enumerate(shape) if size == 2]
        if len(axes) > 1 and again is not None and len(again) == len(events):
            other = again[order - 1][2]
            axes = [
                axis
                for axis in axes
                if other is not None and len(other) > axis and other[axis] == 3
            ]
        if shape is None:
            refused[path] = "its output holds no tensor"
        elif len(axes) != 1:
            refused[path] = f"no one axis of its output {tuple(shape)} follows the batch"
        else:
            per_image = shape[: axes[0]] + shape[axes[0] + 1 :]
            layout = infer_layout(module, per_image, earlier)
            earlier.append(layout)
            seen[path] = LayerSurvey(n_calls[path], order, axes[0], layout)
            refused.pop(path, None)
    return seen, refused


def _shapes_in_a_pass(
    model: nn.Module, example: torch.Tensor, paths: list[str], batch_size: int, device: Any
) -> list[tuple[str, nn.Module, tuple[int, ...] | None]]:
    events: list[tuple[str, nn.Module, tuple[int, ...] | None]] = []

    def note(path: str, module: nn.Module, output: Any) -> None:
        tensor = first_tensor(output)
        events.append((path, module, None if tensor is None else tuple(tensor.shape)))

    with _as_it_came(model, device) as where, _hooked(model, paths, note):
        model(example.to(where).expand(batch_size, *example.shape).clone())
    return events


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
    wanted: dict[tuple[str, int], Target] = {
        (target.path, target.call): target for target in targets if target.call
    }
    inputs = [target for target in targets if not target.call]
    n_calls = {target.path: target.survey.n_calls for target in wanted.values()}
    calls: dict[str, int] = {}
    done = 0
    batch: Batch

    def on_output(path: str, _module: nn.Module, output: Any) -> None:
        nonlocal done
        calls[path] = calls.get(path, 0) + 1
        if calls[path] > n_calls[path]:
            raise RuntimeError(
                f"module '{path}' was called more often than in the first pass"
                f" ({n_calls[path]} times); a network whose path depends on the images cannot be"
                " captured in batches: use batch_size=1 and capture one image at a time."
            )
        target = wanted.get((path, calls[path]))
        if target is None:
            return
        tensor = first_tensor(output)
        if tensor is None:
            raise RuntimeError(f"the output of module '{path}' holds no tensor.")
        rows = tensor.movedim(target.survey.batch_axis, 0)[: len(batch.positions)]
        consume(target, batch, rows)
        done += 1
        if done == len(wanted):
            raise _LastWantedLayerReached

    with _as_it_came(model, device) as where, _hooked(model, n_calls, on_output):
        for batch in batches:
            calls.clear()
            done = 0
            for target in inputs:
                consume(target, batch, batch.tensor[: len(batch.positions)])
            if not wanted:
                continue
            try:
                model(batch.tensor.to(where))
            except _LastWantedLayerReached:
                continue
            missed = [path for path, count in n_calls.items() if calls.get(path, 0) != count]
            if missed:
                raise RuntimeError(
                    f"modules {missed} were not called as often as in the first pass; a network"
                    " whose path depends on the images cannot be captured in batches."
                )


def read_batches(
    images: Sequence[Any],
    transform: Callable[[Any], torch.Tensor],
    batch_size: int,
    *,
    names: Sequence[str] | None = None,
) -> Iterator[Batch]:
    """Load and transform images in threads ahead of the network, in batches of one shape.

    A batch holds consecutive images; where the shape changes a new one begins. Every batch is
    padded to `batch_size` rows (with its last image), because the rounding of a float32 forward
    pass depends on the batch shape.
    """
    names = [str(image) for image in images] if names is None else names

    def load(position: int) -> torch.Tensor:
        return to_input(images[position], transform, names[position])

    def as_batch(positions: list[int], tensors: list[torch.Tensor]) -> Batch:
        padding = [tensors[-1]] * (batch_size - len(tensors))
        return Batch(positions, torch.stack([*tensors, *padding]))

    upcoming = iter(range(len(images)))
    pending: deque[Future[torch.Tensor]] = deque()
    positions: list[int] = []
    tensors: list[torch.Tensor] = []
    with ThreadPoolExecutor(_PREFETCH_THREADS) as pool:
        try:
            for position in range(len(images)):
                while (
                    len(pending) < 2 * batch_size and (ahead := next(upcoming, None)) is not None
                ):
                    pending.append(pool.submit(load, ahead))
                tensor = pending.popleft().result()
                if tensors and (len(tensors) == batch_size or tensors[-1].shape != tensor.shape):
                    yield as_batch(positions, tensors)
                    positions, tensors = [], []
                positions.append(position)
                tensors.append(tensor)
            if tensors:
                yield as_batch(positions, tensors)
        finally:
            pool.shutdown(cancel_futures=True)


def to_input(image: Any, transform: Callable[[Any], torch.Tensor], name: str) -> torch.Tensor:
    """One image, a path or PIL image, as the network gets it (without a batch axis)."""
    tensor = transform(load_image(image))
    if isinstance(tensor, torch.Tensor) and tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.ndim < 1:
        came = (
            f"a tensor of {tensor.dtype} and shape {tuple(tensor.shape)}"
            if isinstance(tensor, torch.Tensor)
            else type(tensor).__name__
        )
        raise TypeError(
            f"the model's `preprocessing` must turn a PIL image into a float tensor (channels,"
            f" height, width), but for {name} it gave {came}."
        )
    return tensor


def preprocessing_of(model: nn.Module, model_name: str = "") -> Callable[[Any], torch.Tensor]:
    """Return the preprocessing that the model carries; an error says how to give it one."""
    preprocessing = getattr(model, "preprocessing", None)
    if not callable(preprocessing):
        which = f"model '{model_name}'" if model_name else f"this {type(model).__name__}"
        raise ValueError(
            f"{which} carries no `preprocessing`, so images cannot be turned into its input."
            " Prepare it with prepare_models({'name': (module, transform)}), where `transform`"
            " turns a PIL image into a tensor (channels, height, width)."
        )
    return preprocessing


def n_prefix_tokens(model: nn.Module) -> int:
    """Class and register tokens before those of the image; 0 for a model without class token.

    timm's models say it in `num_prefix_tokens`; torchvision's vision transformer has a
    `class_token`.
    """
    for module in model.modules():
        declared = getattr(module, "num_prefix_tokens", None)
        if isinstance(declared, int):
            return declared
        if any(getattr(module, name, None) is not None for name in ("class_token", "cls_token")):
            return 1
    return 0


def as_float(output: torch.Tensor) -> torch.Tensor:
    """Return the output in float32, or in float64 where it was."""
    return output if output.dtype in (torch.float32, torch.float64) else output.float()


def tensor_batches(images: torch.Tensor, batch_size: int) -> Iterator[Batch]:
    """Cut a tensor (n_images, ...) into padded batches."""
    for start in range(0, len(images), batch_size):
        rows = images[start : start + batch_size]
        padding = rows[-1:].expand(batch_size - len(rows), *rows.shape[1:])
        yield Batch(list(range(start, start + len(rows))), torch.cat([rows, padding]))
