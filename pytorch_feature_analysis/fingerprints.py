"""Hashes of networks and of transforms: equal exactly when they would compute the same.

They decide whether finished work may be served again, so they leave out what differs between two
runs of the same analysis (memory addresses, devices) and err on the side of telling apart.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import nn

_PLAIN = (bool, int, float, complex, str, bytes, type(None), Enum, torch.dtype, torch.device)
_ARRAYS = (torch.Tensor, np.ndarray, np.generic)
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of all that a network's output depends on beside its input.

    That is every parameter and buffer (name, type, shape, values), the tree of modules (names and
    classes), and the settings that modules hold as public attributes (numbers, texts, arrays, and
    lists, tuples and dicts of those): `stride`, `transform_input`, `inplace`. The mode (train or
    eval), hooks, the device and `preprocessing` do not count.

    Raises
    ------
    ValueError
        A parameter or buffer without data (on the meta device, or not yet initialised).
    """
    digest = hashlib.sha256()
    for path, module in model.named_modules(remove_duplicate=False):
        _update(digest, ("module", path, type(module).__name__))
        settings = {
            name: value
            for name, value in vars(module).items()
            if not name.startswith("_")
            and name not in ("training", "preprocessing")
            and (_is_setting(value) or isinstance(value, _FUNCTIONS))
        }
        for name in sorted(settings):
            value = settings[name]
            # A function counts by its name: the code of torch's own changes between versions.
            named = value.__qualname__ if isinstance(value, _FUNCTIONS) else value
            _update(digest, (name, named))
    # A state dict leaves out buffers that are not persistent, which count all the same.
    tensors = {**dict(model.named_buffers(remove_duplicate=False)), **model.state_dict()}
    for name in sorted(tensors):
        _update(digest, (name, tensors[name]))
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's structure: settings of objects, code and closures of functions.

    Memory addresses do not count, so that the same transform, made anew in another process, has
    the same fingerprint.
    """
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _is_setting(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_setting(item) for item in value)
    if isinstance(value, Mapping):
        return all(_is_setting(item) for pair in value.items() for item in pair)
    return isinstance(value, (*_PLAIN, *_ARRAYS))


def _update(digest: Any, value: Any, parents: tuple[int, ...] = ()) -> None:
    if id(value) in parents:
        return
    inner = (*parents, id(value))
    if isinstance(value, _PLAIN):
        digest.update(f"{type(value).__name__}={value!r};".encode())
    elif isinstance(value, torch.Tensor):
        _update_with_tensor(digest, value)
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value, order="C")
        digest.update(f"array {array.dtype} {array.shape};".encode())
        if array.dtype.hasobject:
            _update(digest, array.tolist(), inner)
        else:
            digest.update(array.reshape(-1).view(np.uint8))
    elif isinstance(value, (list, tuple)):
        digest.update(f"sequence {len(value)};".encode())
        for item in value:
            _update(digest, item, inner)
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)};".encode())
        for key in sorted(value, key=repr):
            _update(digest, (key, value[key]), inner)
    elif isinstance(value, (set, frozenset)):
        _update(digest, sorted(fingerprint(item) for item in value), inner)
    elif isinstance(value, functools.partial):
        _update(digest, ("partial", value.func, value.args, value.keywords), inner)
    elif isinstance(value, types.MethodType):
        _update(digest, ("method", value.__self__, value.__func__), inner)
    elif isinstance(value, types.FunctionType):
        _update_with_function(digest, value, inner)
    elif isinstance(value, types.CodeType):
        # Names of files and numbers of lines are left out.
        _update(digest, (value.co_code, value.co_names, value.co_consts), inner)
    elif isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType)):
        digest.update(f"name={getattr(value, '__qualname__', value.__name__)};".encode())
    else:
        _update(digest, _parts_of_object(value), inner)


def _parts_of_object(value: Any) -> tuple[Any, ...]:
    kind = type(value)
    slots = (slot for base in kind.__mro__ for slot in getattr(base, "__slots__", ()))
    state = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    state.update(getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):
        tensors_and_children = ("_parameters", "_buffers", "_modules")
        state = {
            name: part
            for name, part in state.items()
            if name in tensors_and_children or not (name.startswith("_") or name == "training")
        }
    # What a class of the user's does is in its code; torch's own is known by its name.
    methods = [getattr(kind, name, None) for name in ("__call__", "forward")]
    own_code = [
        method
        for method in methods
        if isinstance(method, types.FunctionType) and not method.__module__.startswith("torch")
    ]
    return ("object", kind, getattr(value, "__name__", None), state, own_code)


def _update_with_tensor(digest: Any, tensor: torch.Tensor) -> None:
    if tensor.is_meta or torch.nn.parameter.is_lazy(tensor):
        raise ValueError(
            "the network holds parameters without data (on the meta device, or lazy ones that no"
            " pass has initialised yet); load its weights first."
        )
    digest.update(f"tensor {tensor.dtype} {tuple(tensor.shape)};".encode())
    plain = tensor.detach()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    if plain.is_quantized:
        plain = plain.dequantize()
    plain = plain.cpu().resolve_conj().resolve_neg().contiguous()
    digest.update(plain.reshape(-1).view(torch.uint8).numpy())


def _update_with_function(
    digest: Any, function: types.FunctionType, parents: tuple[int, ...]
) -> None:
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    module_level = {
        name: function.__globals__[name]
        for name in function.__code__.co_names
        if name in function.__globals__ and _is_setting(function.__globals__[name])
    }
    parts = (
        function.__qualname__,
        function.__code__,
        function.__defaults__,
        function.__kwdefaults__,
        cells,
        module_level,
    )
    _update(digest, parts, parents)


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # the variable is not bound yet
        return False
