"""Networks held for a while: in eval mode, without gradients, with hooks; and let go as they came.

What a network has beside its weights is restored also after an exception: hooks, each module's
train or eval flag, its device, and torch's settings.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_turns: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
"""Per model the lock of the thread that holds it: hooks hear every thread's passes."""


@contextmanager
def as_it_came(
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


@contextmanager
def hooked(
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
