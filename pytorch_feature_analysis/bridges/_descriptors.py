"""From the descriptors of rsatoolbox to the columns and entries of a stack, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, in_words
from pytorch_feature_analysis.matrices import to_square

PARTS = ("dissimilarities", "rdm_descriptors", "pattern_descriptors")
METRIC = "dissim_metric"
_INDEX = "index"
_KEY = "entry_key"
ENTRY_COLUMNS = ("matrix", "entry_keys", "entry_labels")


def is_of_rsatoolbox(content: Any) -> bool:
    """Tell whether a dict is what ``RDMs.to_dict`` gives, and ``RDMs.save`` writes."""
    return isinstance(content, Mapping) and all(part in content for part in PARTS)


def descriptors_of(keys: Sequence[tuple[Any, ...]], labels: Sequence[Mapping[str, Any]]) -> Any:
    """Make pattern descriptors of the entries of a stack."""
    variables = list(labels[0])
    if any(list(label) != variables for label in labels):
        raise ValueError(
            "`rdm_df` must have the same variables in the entry labels of all entries, since each"
            f" becomes a pattern descriptor; some have {in_words(variables)}, and others do not."
            " Fill them in, or drop the column `entry_labels`."
        )
    descriptors = {name: [label[name] for label in labels] for name in variables}
    if any(tuple(label.values()) != key for key, label in zip(keys, labels, strict=True)):
        # Labels that are not the parts of the key say more than it, or less.
        is_plain = all(len(key) == 1 and not isinstance(key[0], tuple) for key in keys)
        descriptors[_KEY] = [key[0] if is_plain else key for key in keys]
    return descriptors


def frame_of_descriptors(
    content: Mapping[str, Any], *, entry_variables: Sequence[str] | None = None, what: str = "rdms"
) -> pd.DataFrame:
    """Make a stack of the parts of an RDMs object; `what` is what the errors call it."""
    triangles = np.atleast_2d(np.asarray(content["dissimilarities"], dtype=np.float64))
    matrices = [to_square(one) for one in triangles]
    n_rdms, n = len(matrices), len(matrices[0]) if matrices else 0
    columns: dict[str, Any] = {
        str(name): object_series([_plain(value)] * n_rdms)
        for name, value in (content.get("descriptors") or {}).items()
    }
    for name, given in content["rdm_descriptors"].items():
        values = _values(given, n_rdms, f"`{what}` has {n_rdms} RDMs", name)
        if name != _INDEX or values != list(range(n_rdms)):
            columns[str(name)] = _as_column(values)
    measure = _plain(content.get("dissimilarity_measure"))
    if isinstance(measure, str) and measure:
        columns[METRIC] = _as_column([measure] * n_rdms)
    taken = [name for name in columns if name in ENTRY_COLUMNS]
    if taken:
        raise ValueError(
            f"`{what}` has descriptors named {in_words(taken)}, as columns of a stack are; rename"
            " them."
        )
    patterns = {
        str(name): _values(given, n, f"`{what}` has {n} patterns", name)
        for name, given in content["pattern_descriptors"].items()
    }
    keys, labels = _entries(patterns, n, entry_variables, what)
    frame = pd.DataFrame(columns, index=range(n_rdms))
    frame["matrix"] = object_series(matrices)
    frame["entry_keys"] = object_series([keys] * n_rdms)
    frame["entry_labels"] = object_series([labels] * n_rdms)
    for matrix in matrices:
        matrix.flags.writeable = False
    return frame


def _entries(
    patterns: dict[str, list[Any]], n: int, variables: Sequence[str] | None, what: str
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    others = [name for name in patterns if name != _INDEX]
    if others and patterns.get(_INDEX) == list(range(n)):
        del patterns[_INDEX]
    if variables is None and _KEY in patterns:
        found = patterns.pop(_KEY)
        keys = tuple(key if isinstance(key, tuple) else (key,) for key in found)
        variables = ()
    else:
        for name in variables or ():
            check_name(
                name,
                list(patterns),
                argument="entry_variables",
                what="pattern descriptor",
                owner=f" of `{what}`",
            )
        variables = list(patterns) if variables is None else list(variables)
        keys = tuple(zip(*(patterns[name] for name in variables), strict=True))
    labels = tuple({name: patterns[name][k] for name in patterns} for k in range(n))
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise ValueError(
            f"`{what}` has several patterns with the entry key {twice[0]!r}, and entries must be"
            f" told apart. Its pattern descriptors are: {in_words(patterns, 20)}. Name more of"
            " them in `entry_variables`, or average the patterns first."
        )
    return keys, labels


def _values(given: Any, n: int, what: str, name: Any) -> list[Any]:
    if isinstance(given, Mapping):
        # A list of unequal items, as it stands in HDF5.
        given = [given[str(k)] for k in range(len(given))]
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if len(given) != n:
        raise ValueError(
            f"{what}, and {len(given)} values of the descriptor {name!r}. Give it one for each."
        )
    return [_plain(value) for value in given]


def _plain(value: Any) -> Any:
    """Return a value with Python's own types, and tuples for arrays and lists."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _as_column(cells: list[Any]) -> Any:
    kinds = set(map(type, cells))
    return cells if len(kinds) == 1 and kinds <= {str, int, float, bool} else object_series(cells)
