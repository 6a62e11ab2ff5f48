"""The order in which a figure has the entries of an RDM."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from pytorch_feature_analysis._checks import check_sequence
from pytorch_feature_analysis.linkage import average_linkage
from pytorch_feature_analysis.rdm_stack import in_words


def order_entries(row: pd.Series, order: Any) -> tuple[list[int], list[Hashable]]:
    """Return the positions of the entries in order, and the group that each position is in."""
    keys = row["entry_keys"]
    ungrouped: list[Hashable] = [None] * len(keys)
    if order is None:
        return list(range(len(keys))), ungrouped
    if isinstance(order, str):
        if order != "linkage":
            raise ValueError(
                "`order` must be 'linkage', the entries in a list, or a dict from entries to"
                f" groups, not {order!r}."
            )
        return average_linkage(row["matrix"], symmetrize=True), ungrouped
    named = (
        list(order)
        if isinstance(order, Mapping)
        else check_sequence(order, argument="order", of="entries")
    )
    places = _places(named, keys)
    if isinstance(order, Mapping):
        groups = list(order.values())
        ranks = {group: k for k, group in enumerate(dict.fromkeys(groups))}
        of_place = dict(zip(places, groups, strict=True))
        by_group = sorted(range(len(keys)), key=lambda place: ranks[of_place[place]])
        return by_group, [of_place[place] for place in range(len(keys))]
    return places, ungrouped


def _places(named: Sequence[Any], keys: Sequence[tuple[Hashable, ...]]) -> list[int]:
    """Position of each entry that is named; each must be, once."""
    whole = [name if isinstance(name, tuple) else (name,) for name in named]
    known = {key: place for place, key in enumerate(keys)}
    strange = [key for key in whole if key not in known]
    there = set(whole)
    lacking = [key for key in keys if key not in there]
    if strange or lacking or len(set(whole)) < len(whole):
        raise ValueError(
            "`order` must name every entry once; it names"
            f" {in_words(strange) or 'none'} that is no entry, and lacks"
            f" {in_words(lacking) or 'none'}."
        )
    return [known[key] for key in whole]
