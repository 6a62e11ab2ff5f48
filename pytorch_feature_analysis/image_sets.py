"""Image sets: which pictures make the entries of one RDM, and under which labels.

The public form of an image set is a plain tuple ``(labels, images, entry_types, combos)``;
`check_image_sets` gives it attributes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from pytorch_feature_analysis._checks import check_columns, check_name, check_sequence
from pytorch_feature_analysis.entry_subsets import EntryKey

ImagePath = str | os.PathLike[str] | Image.Image
ImageSetTuple = tuple[dict[str, Any], dict[EntryKey, ImagePath], tuple[str, ...], list[Any]]


def package_image_sets(
    image_list: pd.DataFrame | Iterable[Mapping[str, Any]],
    entry_vars: Sequence[str],
    grouping_vars: Sequence[str],
) -> list[ImageSetTuple]:
    """Sort an image table into image sets: one RDM each, its entries told apart by variables.

    Parameters
    ----------
    image_list : pandas.DataFrame or list of dict
        One row or dict per image, with ``path`` (a path or a PIL image) and all variables.
    entry_vars : list of str
        The variables that tell the entries of one RDM apart, in the order of the entry keys.
    grouping_vars : list of str
        The variables that label an image set: images with equal values go into the same one.
        Empty for one set without labels.

    Returns
    -------
    list of tuple
        Image sets ``(labels, images, entry_types, combos)`` in order of first appearance:
        ``{grouping variable: value}``, ``{entry key: path}`` in order of appearance,
        ``tuple(entry_vars)`` and an empty list.

    Raises
    ------
    ValueError
        An image lacks a variable, or has the entry key of another image in its set.

    See Also
    --------
    read_image_folder : Makes an image table of a folder.
    get_rdms : What image sets are for.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> images = [{'path': f'{obj}_{color}.png', 'color': color, 'obj': obj}
    ...           for obj in ('cup', 'pen') for color in ('red', 'blue')]
    >>> image_sets = pfa.package_image_sets(images, ['color'], ['obj'])
    >>> labels, entries, entry_types, combos = image_sets[0]
    >>> labels, entry_types
    ({'obj': 'cup'}, ('color',))
    >>> entries
    {('red',): 'cup_red.png', ('blue',): 'cup_blue.png'}
    """
    entry_names = _check_variables(entry_vars, argument="entry_vars")
    group_names = _check_variables(grouping_vars, argument="grouping_vars")
    if not entry_names:
        raise ValueError("`entry_vars` must name at least one variable.")
    both = [name for name in entry_names if name in group_names]
    if both:
        raise ValueError(
            f"`entry_vars` and `grouping_vars` both name {both[0]!r}; a variable either tells"
            " the entries of an image set apart or labels the set."
        )
    sets: dict[EntryKey, dict[EntryKey, ImagePath]] = {}
    for row in image_rows(image_list, {"entry_vars": entry_names, "grouping_vars": group_names}):
        path = row["path"]
        entry = tuple(row[name] for name in entry_names)
        group = tuple(row[name] for name in group_names)
        images = sets.setdefault(group, {})
        if entry in images:
            labels = dict(zip(group_names, group, strict=True))
            raise ValueError(
                f"`image_list` has two images with the entry key {entry!r}"
                f" ({', '.join(entry_names)}){f' in the image set {labels}' if labels else ''}:"
                f" {_show(images[entry])} and {_show(path)}. Add a variable that tells them apart"
                " to `entry_vars` or `grouping_vars`, or leave one of them out."
            )
        images[entry] = path
    if not sets:
        raise ValueError("`image_list` must hold at least one image; it is empty.")
    return [
        (dict(zip(group_names, group, strict=True)), images, tuple(entry_names), [])
        for group, images in sets.items()
    ]


def image_rows(
    image_list: Any, names_by_argument: Mapping[str, Sequence[str]]
) -> Iterator[dict[str, Any]]:
    """Yield the path and the named variables of every image, as plain values."""
    if isinstance(image_list, pd.DataFrame):
        check_columns(
            image_list,
            ["path", *(name for names in names_by_argument.values() for name in names)],
            argument="image_list",
        )
        image_list = image_list.to_dict("records")
    elif isinstance(image_list, (str, Mapping)) or not isinstance(image_list, Iterable):
        raise TypeError(
            "`image_list` must be an image table (a DataFrame) or a list of dicts with 'path',"
            f" not {type(image_list).__name__}."
        )
    for position, image in enumerate(image_list):
        if not isinstance(image, Mapping):
            raise TypeError(f"`image_list[{position}]` must be a dict with 'path', not {image!r}.")
        path = image.get("path")
        if not isinstance(path, (str, os.PathLike, Image.Image)) or path == "":
            raise ValueError(
                f"`image_list[{position}]` must have a 'path' that is a path or a PIL image, not"
                f" {path!r}."
            )
        row: dict[str, Any] = {"path": path}
        for argument, names in names_by_argument.items():
            for name in names:
                if name not in image:
                    raise ValueError(
                        f"`{argument}` names {name!r}, which the image {_show(path)}"
                        f" (`image_list[{position}]`) lacks. It has: {', '.join(map(str, image))}."
                    )
                where = f"`image_list[{position}]` ({_show(path)}): {name!r}"
                row[name] = _plain(image[name], where=where)
        yield row


class Combination(NamedTuple):
    """An entry made of the patterns of others: ``func(*patterns)``, or ``func(patterns)``."""

    name: EntryKey
    keys: list[EntryKey]
    func: Callable[..., Any]
    kwargs: dict[str, Any]
    unpack: bool


@dataclass(frozen=True)
class ImageSet:
    """One image set, checked."""

    labels: dict[str, Any]
    images: dict[EntryKey, ImagePath]
    entry_types: tuple[str, ...]
    combos: list[Combination] = field(default_factory=list)

    @property
    def entry_keys(self) -> tuple[EntryKey, ...]:
        """Keys of all entries: the images, then the combinations."""
        return (*self.images, *(combo.name for combo in self.combos))

    @property
    def entry_labels(self) -> tuple[dict[str, Any], ...]:
        """``{entry type: value}`` of all entries, in the order of `entry_keys`."""
        return tuple(dict(zip(self.entry_types, key, strict=True)) for key in self.entry_keys)


def check_image_sets(
    image_sets: Sequence[Any], *, argument: str = "image_sets", reserved: Iterable[str] = ()
) -> list[ImageSet]:
    """Check the public tuples and return them as `ImageSet`; nothing of the caller's is shared.

    The images of a set may also be a list of (entry key, path) pairs. Labels may not bear a name
    in `reserved`. Files are not opened; see `image_checks.check_images`.
    """
    if isinstance(image_sets, (pd.DataFrame, Mapping)):
        raise TypeError(
            f"`{argument}` must be a list of image sets, not a {type(image_sets).__name__};"
            " pfa.package_image_sets makes them of an image table."
        )
    listed = check_sequence(image_sets, argument=argument, of="image sets")
    if listed and isinstance(listed[0], Mapping):
        raise TypeError(
            f"`{argument}` must be a list of image sets (labels, images, entry_types, combos)."
            f" Put a single image set into a list; of image tables, pfa.package_image_sets makes"
            " image sets."
        )
    if not listed:
        raise ValueError(f"`{argument}` must hold at least one image set; it is empty.")
    checked = [
        _check_image_set(image_set, where=f"`{argument}[{position}]`", reserved=tuple(reserved))
        for position, image_set in enumerate(listed)
    ]
    names = set(checked[0].labels)
    seen: dict[frozenset[tuple[str, Any]], int] = {}
    for position, image_set in enumerate(checked):
        if set(image_set.labels) != names:
            raise ValueError(
                f"`{argument}[{position}]` has the labels {sorted(image_set.labels)}, but"
                f" `{argument}[0]` has {sorted(names)}. Give all image sets labels of the same"
                " names; they become columns."
            )
        labels = frozenset(image_set.labels.items())
        if labels in seen:
            raise ValueError(
                f"`{argument}[{seen[labels]}]` and `{argument}[{position}]` have the same labels"
                f" {image_set.labels!r}, so their RDMs could not be told apart. Add a label."
            )
        seen[labels] = position
    return checked


def _check_image_set(image_set: Any, *, where: str, reserved: tuple[str, ...]) -> ImageSet:
    if isinstance(image_set, ImageSet):
        image_set = (image_set.labels, image_set.images, image_set.entry_types, image_set.combos)
    if not isinstance(image_set, (tuple, list)) or len(image_set) not in (3, 4):
        raise TypeError(
            f"{where} must be a tuple (labels, images, entry_types, combos), not"
            f" {type(image_set).__name__}"
            + (
                f" of length {len(image_set)}."
                if isinstance(image_set, (tuple, list, Mapping))
                else "."
            )
        )
    labels, images, entry_types, *rest = image_set
    types = _check_entry_types(entry_types, where=where)
    checked_labels = _check_labels(labels, where=where, reserved=reserved)
    checked_images = _check_images(images, types, where=where)
    combos = rest[0] if rest else []
    if not isinstance(combos, (list, tuple)):
        raise TypeError(f"{where}: the combinations must be a list, not {combos!r}.")
    checked_combos: list[Combination] = []
    for combo in combos:
        taken = [*checked_images, *(earlier.name for earlier in checked_combos)]
        checked_combos.append(_check_combo(combo, types, checked_images, taken, where=where))
    return ImageSet(checked_labels, checked_images, types, checked_combos)


def _check_entry_types(entry_types: Any, *, where: str) -> tuple[str, ...]:
    if isinstance(entry_types, str):
        raise TypeError(
            f"{where}: the entry types must be a tuple; write ({entry_types!r},) for one of them."
        )
    if not isinstance(entry_types, (tuple, list)) or not all(
        isinstance(name, str) for name in entry_types
    ):
        raise TypeError(f"{where}: the entry types must be a tuple of names, not {entry_types!r}.")
    if not entry_types or len(set(entry_types)) != len(entry_types):
        raise ValueError(
            f"{where}: the entry types must be one or more different names, not {entry_types!r}."
        )
    return tuple(entry_types)


def _check_labels(labels: Any, *, where: str, reserved: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(labels, Mapping):
        raise TypeError(f"{where}: the labels must be a dict, not {labels!r}.")
    checked = {}
    for name, value in labels.items():
        if not isinstance(name, str):
            raise TypeError(f"{where}: the labels' names must be strings, not {name!r}.")
        if name in reserved:
            raise ValueError(
                f"{where}: {name!r} cannot be the name of a label, since the stack has a column"
                " of that name. Rename the label."
            )
        checked[name] = _plain(value, where=f"{where}: the label {name!r}")
    return checked


def _check_key(key: Any, types: tuple[str, ...], *, where: str, what: str) -> EntryKey:
    if not isinstance(key, tuple):
        hint = f"; write ({key!r},)" if len(types) == 1 else ""
        raise TypeError(
            f"{where}: {what} must be a tuple with a value for each of {types}, not {key!r}{hint}."
        )
    if len(key) != len(types):
        raise ValueError(
            f"{where}: {what} {key!r} has {len(key)} values, but the entry types {types} are"
            f" {len(types)}."
        )
    return tuple(_plain(value, where=f"{where}: {what} {key!r}") for value in key)


def _check_images(images: Any, types: tuple[str, ...], *, where: str) -> dict[EntryKey, ImagePath]:
    if isinstance(images, Mapping):
        pairs = list(images.items())
    elif isinstance(images, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in images
    ):
        pairs = [(pair[0], pair[1]) for pair in images]
    else:
        raise TypeError(
            f"{where}: the images must be a dict {{entry key: path}}, not {type(images).__name__}."
        )
    if not pairs:
        raise ValueError(f"{where} has no images. Leave the set out or give it some.")
    checked: dict[EntryKey, ImagePath] = {}
    for key, path in pairs:
        key = _check_key(key, types, where=where, what="the entry key")
        if key in checked:
            raise ValueError(
                f"{where} has the entry key {key!r} twice, for {_show(checked[key])} and"
                f" {_show(path)}; give each image a key of its own."
            )
        if not isinstance(path, (str, os.PathLike, Image.Image)) or path == "":
            raise TypeError(
                f"{where}: the image of entry {key!r} must be a path or a PIL image, not {path!r}."
            )
        checked[key] = path
    return checked


def _check_combo(
    combo: Any,
    types: tuple[str, ...],
    images: dict[EntryKey, ImagePath],
    taken: list[EntryKey],
    *,
    where: str,
) -> Combination:
    if not isinstance(combo, (tuple, list)) or len(combo) != 5:
        raise TypeError(
            f"{where}: a combination must be a tuple (name, entry keys, func, kwargs, unpack),"
            f" not {combo!r}."
        )
    raw_name, raw_keys, func, kwargs, unpack = combo
    name = _check_key(raw_name, types, where=where, what="the name of a combination")
    if name in taken:
        raise ValueError(
            f"{where}: {name!r} is the name of a combination and of another entry; rename it."
        )
    keys = [
        _check_key(key, types, where=where, what="an entry key of a combination")
        for key in check_sequence(
            raw_keys, argument=f"entry keys of combination {name!r}", of="entry keys"
        )
    ]
    if not keys:
        raise ValueError(f"{where}: the combination {name!r} must combine at least one entry.")
    for key in keys:
        check_name(
            key,
            images,
            argument=f"entry keys of combination {name!r}",
            what="key",
            owner=f" of the images of {where}",
        )
    if not callable(func):
        raise TypeError(
            f"{where}: the combination {name!r} needs a function in third place, not {func!r}."
        )
    if not isinstance(kwargs, Mapping):
        raise TypeError(
            f"{where}: the combination {name!r} needs a dict of keyword arguments in fourth"
            f" place, not {kwargs!r}."
        )
    if not isinstance(unpack, (bool, np.bool_)):
        raise TypeError(
            f"{where}: the combination {name!r} needs True or False in fifth place (whether its"
            f" function takes the patterns one by one), not {unpack!r}."
        )
    return Combination(name, keys, func, dict(kwargs), bool(unpack))


def _check_variables(names: Any, *, argument: str) -> list[str]:
    listed = check_sequence(names, argument=argument, of="variable names")
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"`{argument}` must hold names, not {name!r}.")
        if name == "path":
            raise ValueError(f"`{argument}` names 'path', which is where an image lies.")
    if len(set(listed)) != len(listed):
        raise ValueError(f"`{argument}` names a variable twice: {', '.join(listed)}.")
    return listed


def _plain(value: Any, *, where: str) -> Any:
    """Return a label's value, numpy scalars as Python's; raise if missing or unhashable."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        raise ValueError(f"{where} has a missing value ({value!r}). Give it one, such as 'none'.")
    try:
        hash(value)
    except TypeError:
        raise TypeError(
            f"{where} has the value {value!r}, which cannot be a label; use a string, a number"
            " or a tuple."
        ) from None
    return value


def _show(path: Any) -> str:
    return repr(path) if isinstance(path, Image.Image) else str(path)
