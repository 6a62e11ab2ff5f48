"""What a decoding analysis compares: pairs of bins of each group of images, and their folds."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_sequence, child_generator, child_seed
from pytorch_feature_analysis.cell_values import codes_of
from pytorch_feature_analysis.decoding_folds import (
    Comparison,
    Fold,
    common_values,
    cross_splits,
    k_folds,
    within_folds,
)
from pytorch_feature_analysis.image_sets import (
    ImageSet,
    ImageSetTuple,
    image_rows,
    package_image_sets,
)

# Stands for an image in a key, so that several may have the same values.
_NUMBER = "number of the image"


def make_groups(
    image_list: pd.DataFrame | Iterable[Mapping[str, Any]],
    variables: Mapping[str, Any],
    grouping_vars: Any,
    *,
    reserved: Sequence[str],
) -> list[ImageSetTuple]:
    """Check the images and sort them into groups, with keys of the variables' values and a number.

    Parameters
    ----------
    variables
        Names of variables by the argument that they came by.
    reserved
        Names that no grouping variable may bear.
    """
    grouping = check_sequence(grouping_vars, argument="grouping_vars", of="variable names")
    for argument, name in variables.items():
        if not isinstance(name, str):
            raise TypeError(f"`{argument}` must be the name of a variable, not {name!r}.")
        if name == "path":
            raise ValueError(f"`{argument}` names 'path', which is where an image lies.")
        if name in grouping:
            raise ValueError(
                f"`{argument}` and `grouping_vars` both name {name!r}; a variable either is"
                " decoded or groups images."
            )
    names = list(variables.values())
    if len(set(names)) < len(names):
        raise ValueError(
            f"`{'` and `'.join(variables)}` must name two variables, not {names[0]!r} twice."
        )
    for name in grouping:
        if name in reserved:
            raise ValueError(
                f"`grouping_vars` names {name!r}, as a column of the library's own is called."
                " Rename the variable."
            )
    by_argument = {argument: [name] for argument, name in variables.items()}
    rows = image_rows(image_list, {**by_argument, "grouping_vars": grouping})
    numbered = [{**row, _NUMBER: number} for number, row in enumerate(rows)]
    return package_image_sets(numbered, [*names, _NUMBER], grouping)


def values_of(group: ImageSet, place: int) -> tuple[list[Any], np.ndarray]:
    """Values of a variable in sorted order, and the number of that of each image.

    `place` is that of the variable among the entry types.
    """
    cells = [key[place] for key in group.images]
    codes = codes_of(pd.Series(cells, dtype=object))
    first = np.unique(codes, return_index=True)[1]
    return [cells[i] for i in first.tolist()], codes


class Pair(NamedTuple):
    """Two bins of images, in order of bin, value of the other variable, and list."""

    group: ImageSet
    decoded: str
    bins: tuple[Any, Any]
    members: np.ndarray
    """(n,), places in the group."""
    labels: np.ndarray
    """(n,) bool, whether an image is of the second bin."""
    other: str
    other_values: list[Any]
    others: np.ndarray
    """(n,), places in `other_values`."""
    key: tuple[Any, ...]
    """What the randomness of the pair follows from, beside the seed of the call."""

    @property
    def where(self) -> str:
        """The group, as part of a sentence."""
        return _where(self.group)


def pairs_of(group: ImageSet, decoded: int, other: int) -> Iterator[Pair]:
    """Yield the pairs of values of a variable, which is named by its place among the entry types.

    The last place is that of the number of the image: no two have the same.
    """
    (values, bins), (other_values, others) = values_of(group, decoded), values_of(group, other)
    name = group.entry_types[decoded]
    if len(values) < 2:
        raise ValueError(
            f"`image_list` has but one value of '{name}'{_where(group)}, {values[0]!r}: nothing"
            " can be told apart. Add images of another, or leave these images out."
        )
    labels_key = tuple(sorted((label, repr(value)) for label, value in group.labels.items()))
    # So that shuffles do not depend on the order of the list.
    in_order = np.lexsort((others, bins))
    for first, second in itertools.combinations(range(len(values)), 2):
        members = in_order[np.isin(bins[in_order], (first, second))]
        yield Pair(
            group=group,
            decoded=name,
            bins=(values[first], values[second]),
            members=members,
            labels=bins[members] == second,
            other=group.entry_types[other],
            other_values=other_values,
            others=others[members],
            key=("svm", labels_key, name, repr(values[first]), repr(values[second])),
        )


def plan_within(pair: Pair, root: int) -> Comparison:
    """Leave out images of both bins, matched by the other variable."""
    _check_sizes(pair, 2, "two")
    folds, strata = within_folds(pair.labels, pair.others)
    return _comparison(pair, folds, strata, root)


def plan_k_folds(pair: Pair, n_folds: int, root: int) -> Comparison:
    """Share the images of each bin out among folds at random."""
    _check_sizes(pair, n_folds, f"as many as `num_folds`={n_folds}")
    folds = k_folds(pair.labels, n_folds, child_generator(root, *pair.key))
    return _comparison(pair, folds, [], root)


def plan_cross(pair: Pair, cross_by: str, root: int) -> Iterator[tuple[Any, Any, Comparison]]:
    """Yield the values to learn at, those to test at, and the comparison."""
    common = common_values(pair.labels, pair.others)
    if len(common) < 2:
        shared = ", ".join(repr(pair.other_values[value]) for value in common) or "none"
        raise ValueError(
            f"`decoding_type` asks for cross-decoding, but the images with '{pair.decoded}' ="
            f" {pair.bins[0]!r} and those with {pair.bins[1]!r}{pair.where} share fewer than two"
            f" values of '{pair.other}' ({shared}). Add images, or take 'within'."
        )
    for train, test in cross_splits(pair.labels, pair.others, cross_by):
        here = np.isin(pair.others, [*train, *test])
        others = pair.others[here]
        part = pair._replace(members=pair.members[here], labels=pair.labels[here], others=others)
        fold = Fold(*(np.flatnonzero(np.isin(others, which)) for which in (train, test)))
        strata = [np.flatnonzero(others == value) for value in sorted([*train, *test])]
        names = [tuple(pair.other_values[value] for value in which) for which in (train, test)]
        yield names[0], names[1], _comparison(part, [fold], strata, root)


def _comparison(
    pair: Pair, folds: Sequence[Fold], strata: Sequence[np.ndarray], root: int
) -> Comparison:
    seed = child_seed(root, *pair.key)
    return Comparison(pair.members, pair.labels, tuple(folds), tuple(strata), seed)


def _check_sizes(pair: Pair, minimum: int, in_words: str) -> None:
    for value, of_bin in zip(pair.bins, (~pair.labels, pair.labels), strict=True):
        size = int(of_bin.sum())
        if size < minimum:
            raise ValueError(
                f"`image_list` has {size} image{'s' if size > 1 else ''} with '{pair.decoded}' ="
                f" {value!r}{pair.where}, but a bin needs at least {in_words}: one to leave out,"
                " the others to learn from. Add images of it, or leave these out."
            )


def _where(group: ImageSet) -> str:
    labels = ", ".join(f"{name}={value!r}" for name, value in group.labels.items())
    return f" in the group {labels}" if labels else ""
