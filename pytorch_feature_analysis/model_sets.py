"""Sets of models, told apart by a table of categories, and the pairs of models between two."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    check_columns,
    check_name,
    check_sequence,
    child_generator,
    in_words,
)
from pytorch_feature_analysis.cell_values import codes_of, frozen

# Of a table of consistency, beside those that tell measures apart.
INTERVAL_COLUMNS = ("ci_low", "ci_high", "n_boot")
RESULT_COLUMNS = (
    *("by", "dataset_1", "dataset_2", "set_1", "set_2", "r", "n_pairs"),
    *(*INTERVAL_COLUMNS, "reason"),
)

ALL = "all"
CATEGORIES = ("objective", "architecture_class", "dataset_class", "size_class")
"""What models are told apart by where nothing else is asked for, if the table has it."""


@dataclass(frozen=True)
class Partition:
    """Models told apart by one category."""

    by: str
    members: Mapping[Hashable, frozenset[Hashable]]
    """Models of each value that occurs, the values in their order."""


@dataclass(frozen=True)
class ModelSets:
    """What the sets of one call are made of."""

    partitions: list[Partition]
    anchors: list[Hashable] | None

    def pairs_among(self, models: Sequence[Hashable]) -> list[SetPair]:
        """All pairs of sets, in the models of one stack of RDMs."""
        places = {model: k for k, model in enumerate(models)}
        found = []
        for partition in self.partitions:
            own = {
                value: np.array([k for model, k in places.items() if model in members], dtype=int)
                for value, members in partition.members.items()
            }
            if self.anchors is not None:
                found += [
                    _anchored(partition.by, anchor, places[anchor], value, own[value])
                    for anchor in self.anchors
                    for value in own
                ]
                continue
            for one, other in combinations_with_replacement(own, 2):
                found.append(_between(partition.by, one, own[one], other, own[other]))
        return found


@dataclass(frozen=True)
class SetPair:
    """Two sets of models, or a set with itself, and the pairs of models between them."""

    by: str
    set_1: Hashable
    set_2: Hashable
    first: np.ndarray
    second: np.ndarray
    """Places of both models of each pair, the lower one first; ordered as an upper triangle."""
    strata: dict[Hashable, np.ndarray]
    """Places of the models that are drawn among each other, by the name of their set."""

    @property
    def n_items(self) -> int:
        """Models in the smallest set that there is a choice in."""
        sizes = [len(places) for places in self.strata.values()]
        return min([size for size in sizes if size > 1], default=1)

    def draw(self, root: int, num_boot: int, models: Sequence[Hashable]) -> np.ndarray:
        """How often each draw has each model (num_boot, n_models).

        A function of `root`, of the sets' names and of their models' names: it does not depend on
        the order of sets or models, nor on what else is asked for.
        """
        counts = np.zeros((num_boot, len(models)))
        # An anchor is in every draw.
        counts[:, np.union1d(self.first, self.second)] = 1
        names = sorted([repr(self.set_1), repr(self.set_2)])
        for stratum, places in self.strata.items():
            by_name = np.array(sorted(places.tolist(), key=lambda k: repr(models[k])), dtype=int)
            if not len(by_name):
                continue
            stream = child_generator(root, "consistency", self.by, *names, stratum)
            # Row by row, so that the first draws are the same however many there are.
            drawn = by_name[stream.integers(len(by_name), size=(num_boot, len(by_name)))]
            counts[:, by_name] = 0
            np.add.at(counts, (np.arange(num_boot)[:, None], drawn), 1)
        return counts


def _pairs_of(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unordered pairs of one of each, not of an item with itself, each pair once."""
    first, second = (places.ravel() for places in np.meshgrid(one, other, indexing="ij"))
    pairs = np.stack([np.minimum(first, second), np.maximum(first, second)], axis=1)
    pairs = np.unique(pairs[first != second], axis=0)
    return pairs[:, 0], pairs[:, 1]


def _between(
    by: str, set_1: Hashable, one: np.ndarray, set_2: Hashable, other: np.ndarray
) -> SetPair:
    return SetPair(by, set_1, set_2, *_pairs_of(one, other), {set_1: one, set_2: other})


def _anchored(
    by: str, anchor: Hashable, place: int, value: Hashable, members: np.ndarray
) -> SetPair:
    others = members[members != place]
    pairs = _pairs_of(np.array([place]), others)
    return SetPair(by, anchor, value, *pairs, {value: others})


def check_model_sets(
    model_table: pd.DataFrame | None,
    by: Sequence[str] | None,
    anchors: Sequence[Any] | None,
    models: Sequence[Hashable],
    shared: Sequence[Hashable],
) -> ModelSets:
    """Return the sets of all `models` of a stack, or raise; a table may have further models.

    Anchors must be among the `shared` models, those that every RDM has.
    """
    partitions = [Partition(ALL, {ALL: frozenset(models)})]
    if model_table is None:
        if by is not None and check_sequence(by, argument="by", of="names of columns"):
            raise ValueError(
                f"`by` names {in_words(by)}, but there is no `model_table`; pass the table whose"
                " columns these are."
            )
    else:
        partitions += _partitions(model_table, by, models)
    return ModelSets(partitions, None if anchors is None else _check_anchors(anchors, shared))


def _partitions(
    model_table: pd.DataFrame, by: Sequence[str] | None, models: Sequence[Hashable]
) -> list[Partition]:
    check_columns(model_table, ["model"], argument="model_table")
    columns = [name for name in model_table.columns if name != "model"]
    if by is None:
        chosen = [name for name in CATEGORIES if name in columns]
        if not chosen:
            raise ValueError(
                f"`model_table` has none of the columns {in_words(CATEGORIES)}; name in `by` what"
                f" tells its models apart. Its columns are: {', '.join(map(str, columns))}."
            )
    else:
        chosen = check_sequence(by, argument="by", of="names of columns")
    for name in chosen:
        check_name(name, columns, argument="by", what="column", owner=" of `model_table`")
    twice = [name for name in dict.fromkeys(chosen) if chosen.count(name) > 1]
    if twice or ALL in chosen:
        raise ValueError(
            f"`by` must name each column once, and none that is called '{ALL}', which stands for"
            f" all models; it is {chosen}."
        )
    names = [frozen(name) for name in model_table["model"].tolist()]
    known = {name: k for k, name in enumerate(names)}
    repeated = [name for name in known if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"`model_table` has more than one row of {in_words(repeated)}; keep one of each."
        )
    lacking = [model for model in models if model not in known]
    if lacking:
        raise ValueError(
            f"`model_table` has no row of {in_words(lacking)}, which `similarity_stack` has; add"
            " them, or leave them out of the stack with `subset_rdm_df`."
        )
    rows = model_table.iloc[[known[model] for model in models]]
    return [_partition(rows[name], models) for name in chosen]


def _partition(column: pd.Series, models: Sequence[Hashable]) -> Partition:
    """Make sets of models by the values of a column; without a value, a model is in none."""
    values = [frozen(value) for value in column.tolist()]
    rank = dict(zip(values, codes_of(column).tolist(), strict=True))
    ordered = sorted((value for value in rank if value is not None), key=rank.__getitem__)
    members = {
        value: frozenset(model for model, own in zip(models, values, strict=True) if own == value)
        for value in ordered
    }
    return Partition(str(column.name), members)


def _check_anchors(anchors: Sequence[Any], shared: Sequence[Hashable]) -> list[Hashable]:
    named = check_sequence(anchors, argument="anchors", of="names of models")
    for anchor in named:
        check_name(
            anchor, shared, argument="anchors", what="model", owner=" of `similarity_stack`"
        )
    if not named or len(set(named)) < len(named):
        raise ValueError(f"`anchors` must name one model or more, each once, not {named}.")
    return named
