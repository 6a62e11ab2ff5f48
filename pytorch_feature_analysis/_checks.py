"""Argument checks shared by the public functions, each with its sentence.

Every check names the argument, what it must be, what came, and the next step. Checks run once,
at the public edge; private functions trust their callers.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

RandomState = int | np.random.Generator | None


def check_name(
    name: Any, allowed: Iterable[Any], *, argument: str, what: str, owner: str = ""
) -> None:
    """Raise a ValueError that lists the allowed names, nearest first, if `name` is not one.

    Parameters
    ----------
    name
        What the user gave.
    allowed
        All names that would do.
    argument
        The public argument it came by, as the user typed it.
    what
        The kind of thing in the singular: "layer", "metric", "column".
    owner
        Where the names belong, as a phrase: " of model 'alexnet'".
    """
    allowed = list(allowed)
    if name in allowed:
        return
    listed = ", ".join(str(item) for item in allowed) or "(none)"
    close = difflib.get_close_matches(str(name), [str(item) for item in allowed], n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    article = "an" if what[0] in "aeio" else "a"
    raise ValueError(
        f"`{argument}` names {name!r}, which is not {article} {what}{owner}.{hint}"
        f" There {'is' if len(allowed) == 1 else 'are'}: {listed}."
    )


def check_columns(df: pd.DataFrame, columns: Iterable[Hashable], *, argument: str) -> None:
    """Raise unless `df` is a frame that has all `columns`."""
    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"`{argument}` must be a pandas DataFrame, not {type(df).__name__}.")
    missing = [column for column in columns if column not in df.columns]
    if missing:
        raise ValueError(
            f"`{argument}` has no column {', '.join(repr(column) for column in missing)}."
            f" Its columns are: {', '.join(str(column) for column in df.columns)}."
        )


def check_free(columns: Iterable[Hashable], results: Iterable[str], *, argument: str) -> None:
    """Raise if a frame's own columns have names that those of the result will have."""
    columns = list(columns)
    taken = [name for name in results if name in columns]
    if taken:
        raise ValueError(
            f"`{argument}` has a column {', '.join(map(repr, taken))}, as the result will have;"
            " rename it."
        )


def check_count(value: Any, *, argument: str, minimum: int = 1, maximum: int | None = None) -> int:
    """Return `value` as an int, or raise unless it is a whole number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{argument}` must be a whole number, not {value!r}.")
    if value < minimum or (maximum is not None and value > maximum):
        bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"`{argument}` must be {bounds}, not {value}.")
    return int(value)


def check_share(value: Any, *, argument: str) -> float:
    """Return a number from 0 to 1, or raise."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"`{argument}` must be a number from 0 to 1, not {value!r}.")
    if not 0 <= value <= 1:
        raise ValueError(f"`{argument}` must be from 0 to 1, not {value!r}.")
    return float(value)


def check_text(value: Any, *, argument: str) -> None:
    """Raise unless `value` is a string, such as the name of a result."""
    if not isinstance(value, str):
        raise TypeError(f"`{argument}` must be a string, not {value!r}.")


def check_sequence(value: Any, *, argument: str, of: str) -> list[Any]:
    """Return `value` as a new list, or raise when it is a bare string or not a sequence."""
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray, pd.Index)):
        raise TypeError(f"`{argument}` must be a list of {of}, not {value!r}.")
    return list(value)


def is_missing(value: Any) -> bool:
    """Tell whether a value is none: None, NaN, NaT or NA."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def in_words(items: Iterable[Any], most: int = 5) -> str:
    """List the first few of some items for a message."""
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(repr, items[:most])) + more


def check_random_state(random_state: RandomState) -> int:
    """Turn an int, a Generator or None into the root seed of one call.

    All randomness of a call comes from `child_generator(root, *key)`. None draws fresh entropy;
    a Generator gives its next number and so advances.
    """
    if random_state is None:
        return int(np.random.SeedSequence().entropy) % 2**63  # type: ignore[arg-type]
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        if random_state < 0:
            raise ValueError(f"`random_state` must not be negative, not {random_state}.")
        return int(random_state)
    raise TypeError(
        "`random_state` must be an int, a numpy Generator or None (fresh entropy),"
        f" not {random_state!r}."
    )


def child_seed(root: int, *key: Hashable) -> int:
    """Seed of the item called `key`: a function of (root, key), never of the item's position."""
    digest = hashlib.sha256(repr((root, *key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") % 2**63


def child_generator(root: int, *key: Hashable) -> np.random.Generator:
    """Return the generator of the item called `key`; see `child_seed`."""
    return np.random.default_rng(child_seed(root, *key))
