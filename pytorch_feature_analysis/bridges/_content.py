"""RDMs in what a file of another package holds: which arrays they are, and what is said of them.

A reader turns its file into nested dicts: arrays of numbers, arrays of text, lists (cell arrays),
`Structs`, and `Unread` for all else. What follows is the same for every format.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.matrices import is_condensable, to_square
from pytorch_feature_analysis.number_tables import is_counter
from pytorch_feature_analysis.rdm_stack import as_keys, as_read

logger = logging.getLogger(__name__)

# Fields that are the RDM of a struct, in lower case, whatever else lies beside them.
_RDM_FIELDS = ("rdm", "rdmutv")
_OWN = ("matrix", "entry_keys", "entry_labels", "name")
_SHORT = 4
_MOST_LISTED = 20


@dataclass(frozen=True)
class Structs:
    """A struct array of MATLAB, its elements in MATLAB's order."""

    items: list[dict[str, Any]]


@dataclass(frozen=True)
class Unread:
    """Something in a file that is no RDM, or cannot be one."""

    what: str


@dataclass(frozen=True)
class _Leaf:
    """Something that may be one RDM or several, and what stands beside it."""

    name: str
    value: Any
    beside: Mapping[str, Any]


def frame_of_content(
    content: Mapping[str, Any], path: Path, entry_keys: Any = None, *, rdms_last: bool = False
) -> pd.DataFrame:
    """Make a stack of the RDMs in a file, or raise and list what is there.

    `rdms_last` says that in stacks of matrices the last axis is the RDM, as MATLAB has it.
    """
    given = None if entry_keys is None else as_keys(entry_keys)
    leaves = list(_leaves("", content))
    sizes = _sizes(leaves, given)
    found = [(leaf, _unfolded(leaf.value, sizes, rdms_last)) for leaf in leaves]
    rows: list[dict[str, Any]] = []
    known: dict[Any, Any] = {}
    for leaf, matrices in found:
        if matrices is None:
            continue
        keys = given
        if keys is None:
            names = _names(leaf, leaves, matrices.shape[-1], path)
            keys = known.setdefault(names, as_keys(names))
        said = _said(leaf)
        if "name" not in said:
            said["name"] = leaf.name or path.stem
        rows += [
            {**said, **_numbers(place), "matrix": matrices[place], "keys": keys}
            for place in np.ndindex(*matrices.shape[:-2])
        ]
    if not rows:
        raise _nothing(path, content, given)
    _say_what_is_left_out(path, found, {len(row["keys"]) for row in rows})
    return _as_frame(rows, path)


def _said(leaf: _Leaf) -> dict[str, Any]:
    """Return what stands beside an RDM as cells of its row."""
    cells = {key: simple(item) for key, item in leaf.beside.items()}
    said = {key: cell for key, cell in cells.items() if cell is not None and key not in _OWN}
    name = cells.get("name")
    if not isinstance(name, str):
        return said
    return {"name": name, **({"variable": leaf.name} if leaf.name else {}), **said}


def _numbers(place: tuple[int, ...]) -> dict[str, int]:
    """Say which one of a stack of matrices a row is."""
    if len(place) == 1:
        return {"number": place[0]}
    return {f"number_{axis}": number for axis, number in enumerate(place, start=1)}


def _say_what_is_left_out(
    path: Path, found: Sequence[tuple[_Leaf, np.ndarray | None]], sizes: set[int]
) -> None:
    left = {leaf.name: leaf.value for leaf, matrices in found if matrices is None}
    for leaf, matrices in found:
        said = _said(leaf) if matrices is not None else {}
        others = {key: item for key, item in leaf.beside.items() if key not in said}
        left |= {f"{leaf.name}/{key}".strip("/"): item for key, item in others.items()}
    # What has given the names of the entries has been of use.
    left = {name: item for name, item in left.items() if len(_distinct(item) or ()) not in sizes}
    if left:
        logger.warning("'%s': read without %s", path, _listed(left))


def simple(value: Any) -> Any:
    """Return a single value, or a few numbers, as a cell; None for what is neither."""
    if isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        if value.size == 1:
            item = value.ravel()[0].item()
            return item.strip() if isinstance(item, str) else item
        if value.dtype.kind != "U" and 0 < value.size <= _SHORT and max(value.shape) == value.size:
            return tuple(value.ravel().tolist())
    return None


def can_be_rdms(shape: Sequence[int]) -> bool:
    """Tell by its shape whether an array is worth being read."""
    if len(shape) >= 2 and (shape[-1] == shape[-2] or shape[0] == shape[1]):
        return True
    return len(shape) in (1, 2, 3) and any(_n_of_pairs(length) for length in shape)


def _n_of_pairs(length: int) -> int:
    """Return how many items have that many pairs; 0 where no number has."""
    n = (1 + math.isqrt(1 + 8 * length)) // 2
    return n if length and n * (n - 1) // 2 == length else 0


def _leaves(name: str, value: Any, beside: Mapping[str, Any] | None = None) -> Iterator[_Leaf]:
    if isinstance(value, Mapping):
        fields = [key for key in value if key.lower() in _RDM_FIELDS]
        if len(fields) == 1 and not isinstance(value[fields[0]], (Mapping, Structs, list)):
            others = {key: item for key, item in value.items() if key != fields[0]}
            yield _Leaf(name, value[fields[0]], others)
            return
        for key, item in value.items():
            yield from _leaves(f"{name}/{key}" if name else key, item)
    elif isinstance(value, Structs):
        for k, item in enumerate(value.items):
            single = len(value.items) == 1
            yield from _leaves(name if single or "name" in item else f"{name}/{k}", item)
    elif isinstance(value, list):
        for k, item in enumerate(value):
            yield from _leaves(f"{name}/{k}", item)
    else:
        yield _Leaf(name, value, beside or {})


def _is_numbers(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size > 0


def _sizes(leaves: Sequence[_Leaf], keys: Any) -> set[int] | None:
    """Return how many entries RDMs may have; None where nothing in the file tells.

    Vectors are taken for triangles only where something else has as many entries, if anything
    has: a file of RDMs may hold other vectors.
    """
    if keys is not None:
        return {len(keys)}
    arrays = [leaf.value for leaf in leaves if _is_numbers(leaf.value)]
    square = {
        length
        for array in arrays
        if array.ndim >= 2
        for length, other in ((array.shape[-1], array.shape[-2]), array.shape[:2])
        if length == other and length > 1
    }
    texts = [leaf.value for leaf in leaves]
    texts += [item for leaf in leaves for item in leaf.beside.values()]
    named = {len(names) for text in texts if (names := _distinct(text)) is not None}
    triangles = {
        _n_of_pairs(length)
        for array in arrays
        for length in array.shape
        if array.ndim <= 3 and _n_of_pairs(length)
    }
    # Names count only where some array fits them: a file may hold other lists of text.
    return square | (named & triangles) or None


def _unfolded(value: Any, sizes: set[int] | None, rdms_last: bool) -> np.ndarray | None:
    """Return an array as matrices (..., n, n), or None if it is none of RDMs."""
    if not _is_numbers(value):
        return None
    array = value
    choices = []
    if array.ndim >= 2 and array.shape[-1] == array.shape[-2]:
        choices.append(array)
    if array.ndim >= 3 and array.shape[0] == array.shape[1]:
        choices.append(np.moveaxis(array, (0, 1), (-2, -1)))
    choices = [one for one in choices if one.shape[-1] > 1 and _fits(one.shape[-1], sizes)]
    if len(choices) == 2:
        sound = [one for one in choices if _is_hollow(one)]
        choices = sound if len(sound) == 1 else [choices[int(rdms_last)]]
    if choices:
        return choices[0]
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0].T if rdms_last else array[0]
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.shape[0] == 1:
        array = array[0]
    n = _n_of_pairs(array.shape[-1]) if array.ndim in (1, 2) else 0
    # A single number is a pair of entries only where these are named.
    if not n or not _fits(n, sizes) or (array.size == 1 and sizes is None):
        return None
    flat = array.astype(np.float64)
    if flat.ndim == 1:
        return to_square(flat)
    return np.stack([to_square(one) for one in flat])


def _fits(n: int, sizes: set[int] | None) -> bool:
    return sizes is None or n in sizes


def _is_hollow(matrices: np.ndarray) -> bool:
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    return all(is_condensable(np.nan_to_num(one)) for one in flat)


def _distinct(value: Any) -> list[str] | None:
    """Return an array of text as names, if they are two or more and all different."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "U" or value.size < 2:
        return None
    names = [text.rstrip(" \0") for text in value.ravel().tolist()]
    return names if len(set(names)) == len(names) else None


def _names(leaf: _Leaf, leaves: Sequence[_Leaf], n: int, path: Path) -> tuple[Any, ...]:
    """Return the names of entries: the only ones that are as many, else numbers from 0."""
    near = {key: _distinct(item) for key, item in leaf.beside.items()}
    far = {other.name: _distinct(other.value) for other in leaves}
    for lists in (near, far):
        fitting = {key: names for key, names in lists.items() if names and len(names) == n}
        if len({tuple(names) for names in fitting.values()}) > 1:
            raise ValueError(
                f"'{path}' has several lists of {n} names, {in_words(fitting)}. Give those of the"
                " entries by `entry_keys`."
            )
        for names in fitting.values():
            # Libraries that were given no names count.
            return tuple(range(n)) if is_counter(names) else tuple(names)
    return tuple(range(n))


def _as_frame(rows: list[dict[str, Any]], path: Path) -> pd.DataFrame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = ["name", *(name for name in names if name not in ("name", "matrix", "keys"))]
    if len({row.get("variable") for row in rows}) == 1:
        names = [name for name in names if name != "variable"]
    frame = pd.DataFrame(index=range(len(rows)))
    for name in names:
        cells = [row.get(name) for row in rows]
        is_plain = {type(cell) for cell in cells} in ({str}, {int}, {float}, {bool})
        frame[name] = cells if is_plain else object_series(cells)
    matrices = [np.array(row["matrix"], dtype=np.float64) for row in rows]
    frame["matrix"] = object_series(matrices)
    frame["entry_keys"] = object_series([row["keys"] for row in rows])
    return as_read(frame, path)


def _nothing(path: Path, content: Mapping[str, Any], keys: Any) -> ValueError:
    wanted = (
        "RDMs are square matrices (n, n), stacks of these, or triangles of n (n - 1) / 2 numbers"
        if keys is None
        else f"`entry_keys` has {len(keys)} names, and none is a matrix of that size"
    )
    return ValueError(
        f"'{path}' holds no RDM that is found: {wanted}. There is: {_listed(content)}. Read it"
        " with the library that wrote it, and make a stack with `stack_from_matrices`."
    )


def _listed(content: Mapping[str, Any]) -> str:
    items = [item for name, value in content.items() for item in _described(name, value)]
    more = f" and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
    return (", ".join(items[:_MOST_LISTED]) or "nothing") + more


def _described(name: str, value: Any) -> list[str]:
    title = repr(name) if name else "an array"
    if isinstance(value, np.ndarray):
        kind = "text" if value.dtype.kind == "U" else str(value.dtype)
        return [f"{title} {value.shape} of {kind}"]
    if isinstance(value, Mapping):
        return [part for key, item in value.items() for part in _described(f"{name}/{key}", item)]
    if isinstance(value, Structs):
        fields = in_words(value.items[0]) if value.items else "none"
        return [f"{title}, {len(value.items)} structs with the fields {fields}"]
    if isinstance(value, list):
        return [f"{title}, {len(value)} cells"]
    return [f"{title}, {value.what if isinstance(value, Unread) else type(value).__name__}"]
