"""Values of a stack's cells made comparable: hashable, sorted, numbered.

A column may hold strings, numbers, tuples, lists, dicts and missing values side by side, and
still be grouped by; all missing values count as one value.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd


def as_text(value: Any) -> str:
    """Write a cell or a key for people: the parts of a tuple are joined by commas."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def frozen(value: Any) -> Hashable:
    """Return something hashable that is equal for equal cells; None for a missing value."""
    if isinstance(value, (str, int)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, (tuple, list)):
        return tuple(map(frozen, value))
    if isinstance(value, Mapping):
        return frozenset((frozen(key), frozen(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return frozenset(map(frozen, value))
    if isinstance(value, np.ndarray):
        return value.shape, frozen(value.tolist())
    return None if value is pd.NA or value is pd.NaT else value


def codes_of(column: pd.Series) -> np.ndarray:
    """Give the distinct values of a column numbers by their rank, missing values last.

    Values of one kind in their own order (a categorical column in that of its categories); of
    several kinds, numbers before strings before tuples, as pandas sorts the keys of its groups.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        codes = column.cat.codes.to_numpy(dtype=np.intp)
        codes = np.where(codes < 0, len(column.cat.categories), codes)
        return np.unique(codes, return_inverse=True)[1]
    try:
        values = [frozen(value) for value in column.tolist()]
        distinct = list(dict.fromkeys(values))
    except TypeError as error:
        raise TypeError(
            f"the column {column.name!r} holds values that cannot be told apart ({error}), so"
            " rows cannot be grouped by it; give it strings, numbers or tuples."
        ) from error
    ranks = {value: rank for rank, value in enumerate(_sorted(distinct))}
    return np.array([ranks[value] for value in values], dtype=np.intp)


def _sorted(values: list[Hashable]) -> list[Hashable]:
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and not kinds & {tuple, frozenset}:
        try:
            return sorted(values)  # type: ignore[type-var] # what has no order raises
        except TypeError:
            pass
    return sorted(values, key=sort_key)


def sort_key(value: Any) -> tuple[Any, ...]:
    """Order values of several kinds: numbers, strings, tuples (item by item), others, None."""
    if value is None:
        return (4,)
    if isinstance(value, numbers.Real):
        return 0, value
    if isinstance(value, str):
        return 1, value
    if isinstance(value, tuple):
        return 2, tuple(map(sort_key, value))
    return 3, type(value).__name__, repr(value)


def crossed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Give numbers to the distinct pairs of two columns of codes."""
    return np.unique(first * (second.max() + 1) + second, return_inverse=True)[1]


def determines(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether every value of the first goes with one value of the second."""
    return bool(crossed(first, second).max() == first.max())
