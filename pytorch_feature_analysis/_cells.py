"""Cells of a frame, and their JSON text that gives back the same values of the same types.

JSON arrays stand for tuples, the most frequent kind in a stack of RDMs. What JSON has no form for
is an object with one key, the name of its kind.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# Numbers, text, bytes and times of one size: what numpy can rebuild from bytes alone.
_BYTES_KINDS = "biufcSUmM"
_DTYPE = re.compile(r"[<>|=]?[" + _BYTES_KINDS + r"]\d+(\[\w+\])?")


def object_series(cells: list[Any], index: pd.Index | None = None) -> pd.Series:
    """Make a column of cells as they are: pandas would unpack tuples and matrices of one size."""
    values = np.empty(len(cells), dtype=object)
    for k, cell in enumerate(cells):
        values[k] = cell
    return pd.Series(values, index=index, dtype=object)


def encode(value: Any) -> str:
    """Write a cell as text, or raise a TypeError that names the kind of value it cannot hold."""
    return json.dumps(_to_plain(value), separators=(",", ":"), allow_nan=False)


def decode(text: str) -> Any:
    """Rebuild the cell that `encode` wrote."""
    return _from_plain(json.loads(text))


def is_immutable(value: Any) -> bool:
    """Tell whether rows can share a cell without one of them changing the others'."""
    if isinstance(value, tuple):
        return all(map(is_immutable, value))
    return not isinstance(value, (list, dict, set, bytearray, np.ndarray))


def _to_plain(value: Any) -> Any:
    # By exact type, because a subclass (a named tuple, an enum) would come back as its parent.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is tuple:
        return [_to_plain(item) for item in value]
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is dict:
        if all(type(key) is str for key in value):
            return {"dict": {key: _to_plain(item) for key, item in value.items()}}
        return {"pairs": [[_to_plain(key), _to_plain(item)] for key, item in value.items()]}
    if kind in (list, set, frozenset):
        return {kind.__name__: [_to_plain(item) for item in value]}
    if kind is complex:
        return {"complex": repr(value)}
    if kind is bytes:
        return {"bytes": _text_of(value)}
    if kind is range:
        return {"range": [value.start, value.stop, value.step]}
    if value is pd.NA or value is pd.NaT:
        return {"missing": repr(value)}
    if kind is np.str_:
        return {"str_": str(value)}
    if kind is np.bytes_:
        return {"bytes_": _text_of(bytes(value))}
    if isinstance(value, np.generic) and value.dtype.kind in _BYTES_KINDS:
        return {"scalar": [value.dtype.str, _text_of(value.tobytes())]}
    if kind is np.ndarray:
        if value.dtype.kind in _BYTES_KINDS:
            return {"array": [value.dtype.str, list(value.shape), _text_of(value.tobytes())]}
        if value.dtype == object:
            return {"objects": [list(value.shape), [_to_plain(item) for item in value.flat]]}
    raise TypeError(f"a value of {kind.__module__}.{kind.__qualname__}")


def _from_plain(plain: Any) -> Any:
    if type(plain) is list:
        return tuple(map(_from_plain, plain))
    if type(plain) is dict:
        ((name, content),) = plain.items()
        return _KINDS[name](content)
    return plain


def _items(content: list[Any]) -> list[Any]:
    return [_from_plain(item) for item in content]


def _array(content: list[Any]) -> np.ndarray:
    dtype, shape, text = content
    if not text:
        return np.zeros(shape, _dtype(dtype))
    # The copy can be written to; what lies over bytes cannot.
    return np.frombuffer(base64.b64decode(text), _dtype(dtype)).reshape(shape).copy()


def _scalar(content: list[Any]) -> np.generic:
    dtype, text = content
    return np.frombuffer(base64.b64decode(text), _dtype(dtype))[0]


def _objects(content: list[Any]) -> np.ndarray:
    shape, items = content
    array = np.empty(len(items), dtype=object)
    for k, item in enumerate(items):
        array[k] = _from_plain(item)
    return array.reshape(shape)


def _dtype(name: str) -> np.dtype:
    if not _DTYPE.fullmatch(name):
        raise ValueError(f"an array of type {name!r}")
    return np.dtype(name)


def _text_of(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


_KINDS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "complex": complex,
    "dict": lambda content: {key: _from_plain(item) for key, item in content.items()},
    "pairs": lambda content: {_from_plain(key): _from_plain(item) for key, item in content},
    "list": _items,
    "set": lambda content: set(_items(content)),
    "frozenset": lambda content: frozenset(_items(content)),
    "bytes": base64.b64decode,
    "range": lambda content: range(*content),
    "missing": {"<NA>": pd.NA, "NaT": pd.NaT}.__getitem__,
    "str_": np.str_,
    "bytes_": lambda content: np.bytes_(base64.b64decode(content)),
    "scalar": _scalar,
    "array": _array,
    "objects": _objects,
}
