"""Subsets of entries, as a user may name them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.cell_values import frozen

EntryKey = tuple[Hashable, ...]


@dataclass(frozen=True)
class EntrySubset:
    """Entries that make an RDM of their own; None for all."""

    name: str
    keys: frozenset[EntryKey] | None

    def of(self, keys: Sequence[EntryKey]) -> list[int]:
        """Which of the entries are in it."""
        return [k for k, key in enumerate(keys) if self.keys is None or key in self.keys]


def check_entry_var_subsets(
    entry_var_subsets: Any, keys: Sequence[EntryKey], entry_variables: Sequence[str]
) -> list[EntrySubset]:
    """Resolve the subsets against the entry keys of all rows."""
    what = "(name, entries) tuples, such as ('all', 'all')"
    pairs = check_sequence(entry_var_subsets, argument="entry_var_subsets", of=what)
    known = dict.fromkeys(keys)
    subsets = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"`entry_var_subsets` must be a list of {what}; it holds {pair!r}.")
        name, chosen = pair
        if isinstance(chosen, str) and chosen == "all":
            subsets.append(EntrySubset(name, None))
        elif isinstance(chosen, Mapping):
            subsets.append(EntrySubset(name, _keys_with_values(chosen, known, entry_variables)))
        elif isinstance(chosen, (str, bytes)) or not isinstance(
            chosen, (Sequence, set, frozenset, np.ndarray, pd.Index)
        ):
            raise TypeError(
                f"`entry_var_subsets` must give {name!r} a list of entry keys, a dict from entry"
                f" variables to values, or 'all', not {chosen!r}."
            )
        else:
            subsets.append(
                EntrySubset(name, frozenset(_key_called(item, known) for item in chosen))
            )
        # An empty dict would name all.
        if not isinstance(chosen, str) and (len(chosen) == 0 or not subsets[-1].keys):
            raise ValueError(
                f"`entry_var_subsets` gives {name!r} no entry; name some, or leave it out."
            )
    names = [subset.name for subset in subsets]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            "`entry_var_subsets` must hold at least one subset, each under a name of its own, not"
            f" {names}."
        )
    return subsets


def _key_called(item: Any, known: Mapping[EntryKey, None]) -> EntryKey:
    """Entry key that an item of a subset stands for; a bare value is the key of one variable."""
    key = frozen(item)
    if isinstance(key, tuple) and key in known:
        return key
    if (key,) not in known:
        check_name(
            item, known, argument="entry_var_subsets", what="known entry key", owner=" of `rdm_df`"
        )
    return (key,)


def _keys_with_values(
    chosen: Mapping[str, Any], known: Mapping[EntryKey, None], entry_variables: Sequence[str]
) -> frozenset[EntryKey]:
    """Entry keys in which the named variables have one of the values."""
    keys = list(known)
    for variable, values in chosen.items():
        check_name(
            variable,
            entry_variables,
            argument="entry_var_subsets",
            what="name",
            owner=" among `entry_variables`",
        )
        place = list(entry_variables).index(variable)
        present = dict.fromkeys(key[place] for key in known)
        several = isinstance(values, (list, set, frozenset, np.ndarray, pd.Index))
        wanted = list(values) if several else [values]
        for value in wanted:
            check_name(
                value,
                present,
                argument="entry_var_subsets",
                what="value",
                owner=f" of {variable!r}",
            )
        keys = [key for key in keys if key[place] in wanted]
    return frozenset(keys)
