"""The order in which a figure has the entries of an RDM, and the groups that they are in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_sequence, is_missing
from pytorch_feature_analysis.linkage import average_tree
from pytorch_feature_analysis.rdm_stack import in_words

EntryKeys = Sequence[tuple[Hashable, ...]]
EntryLabels = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class EntryOrder:
    """Positions of entries in their order."""

    places: list[int]
    groups: list[Hashable]
    """The group of each position; None throughout where there are none."""
    kinds: list[Hashable]
    """All groups, in the order in which they are first named."""
    tree: np.ndarray | None = None
    """Of the first entries, by 'linkage', as `average_tree` gives it."""


def order_entries(
    keys: EntryKeys, labels: EntryLabels, matrix: np.ndarray, order: Any
) -> EntryOrder:
    """Order the entries of an RDM as is asked for, or raise."""
    ungrouped: list[Hashable] = [None] * len(keys)
    if order is None:
        return EntryOrder(list(range(len(keys))), ungrouped, [None])
    if isinstance(order, str):
        if order == "linkage":
            places, tree = average_tree(matrix, symmetrize=True)
            return EntryOrder(places, ungrouped, [None], tree)
        return _together(values_of(labels, order, argument="order"))
    named = (
        list(order)
        if isinstance(order, Mapping)
        else check_sequence(order, argument="order", of="entries")
    )
    places = _places(named, keys)
    if isinstance(order, Mapping):
        groups = list(order.values())
        of_place = dict(zip(places, groups, strict=True))
        return _together([of_place[place] for place in range(len(keys))], groups)
    return EntryOrder(places, ungrouped, [None])


def group_entries(keys: EntryKeys, labels: EntryLabels, groups: Any) -> EntryOrder:
    """Have the entries of each group stand together, or raise."""
    if isinstance(groups, str):
        return _together(values_of(labels, groups, argument="groups"))
    if not isinstance(groups, Mapping):
        raise TypeError(
            "`groups` must be the name of a label of the entries, or a dict from entries to"
            f" groups, not {groups!r}."
        )
    found = {key if isinstance(key, tuple) else (key,): group for key, group in groups.items()}
    lacking = [key for key in keys if key not in found]
    if lacking:
        raise ValueError(f"`groups` must name every entry, and lacks {in_words(lacking)}.")
    return _together([found[key] for key in keys], list(found.values()))


def values_of(labels: EntryLabels, name: str, *, argument: str) -> list[Any]:
    """Value of a label for each entry, or raise where they have no such label."""
    known = list(dict.fromkeys(label for entry in labels for label in entry))
    if name not in known:
        others = ["the entries in a list"] if argument == "order" else []
        first = "'linkage', " if argument == "order" else ""
        raise ValueError(
            f"`{argument}` must be {first}the name of a label of the entries"
            f" ({in_words(known)}), {', '.join([*others, 'or a dict from entries to groups'])},"
            f" not {name!r}."
        )
    return [entry.get(name) for entry in labels]


def _together(groups: list[Any], ranked: Sequence[Any] | None = None) -> EntryOrder:
    """Put groups in the order in which they are first named; what is missing is one of them."""
    groups = [None if is_missing(group) else group for group in groups]
    ranked = groups if ranked is None else [None if is_missing(one) else one for one in ranked]
    kinds = list(dict.fromkeys(ranked))
    ranks = {group: k for k, group in enumerate(kinds)}
    places = sorted(range(len(groups)), key=lambda place: ranks[groups[place]])
    return EntryOrder(places, groups, kinds)


def _places(named: Sequence[Any], keys: EntryKeys) -> list[int]:
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
