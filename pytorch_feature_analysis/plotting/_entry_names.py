"""What the entries of an RDM are called along the sides of a figure."""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any

from pytorch_feature_analysis.cell_values import frozen


def names_of(
    entries: Sequence[Mapping[str, Any]], places: Sequence[int], aside: Container[str] = ()
) -> list[str]:
    """Name entries by the labels that they differ in; by some only where there are no others."""
    differing = [name for name, values in _values(entries, places).items() if len(values) > 1]
    differing = [name for name in differing if name not in aside] or differing
    return [
        ", ".join(str(entries[k][name]) for name in differing or entries[k] if name in entries[k])
        for k in places
    ]


def shared_by(entries: Sequence[Mapping[str, Any]], places: Sequence[int]) -> str:
    """Say what all entries of a side have in common, where they differ in something else."""
    values = _values(entries, places)
    if all(len(found) == 1 for found in values.values()):
        return ""
    return ", ".join(str(found[0]) for found in values.values() if len(found) == 1)


def _values(entries: Sequence[Mapping[str, Any]], places: Sequence[int]) -> dict[str, list[Any]]:
    found: dict[str, dict[Hashable, Any]] = {}
    for k in places:
        for name, value in entries[k].items():
            found.setdefault(name, {}).setdefault(frozen(value), value)
    return {name: list(values.values()) for name, values in found.items()}
