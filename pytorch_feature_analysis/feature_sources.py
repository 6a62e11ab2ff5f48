"""Datasets of every kind as one stream of stimuli, each with its key and its target."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from pytorch_feature_analysis._checks import check_columns
from pytorch_feature_analysis.fingerprints import fingerprint
from pytorch_feature_analysis.image_checks import check_images

WHOLE = "all"
"""The split of a dataset that has none."""
_CHUNK_BATCHES = 16


class Stimulus(NamedTuple):
    """One stimulus."""

    key: tuple[Any, ...]
    image: Any
    """A path, a PIL image, or a tensor that is a network's input as it is."""
    target: Any


@dataclass(frozen=True)
class Source:
    """One split of a dataset."""

    dataset: str
    split: str
    key_names: tuple[str, ...]
    listed: list[Stimulus] | None
    """All stimuli, of pictures in files."""
    items: Any = None
    """What else yields images and targets, or batches of them."""
    has_targets: bool = True
    content: str | None = None
    """Digest of the pictures; None where it is not known before they are read."""
    n_stimuli: int | None = None
    """How many; None where nobody knows before."""

    @property
    def name(self) -> str:
        """For messages."""
        return self.dataset if self.split == WHOLE else f"{self.dataset}, {self.split}"

    def stimuli(self) -> Iterator[Stimulus]:
        """Yield all stimuli, in order."""
        if self.listed is not None:
            yield from self.listed
            return
        number = 0
        for item in _all_of(self.items):
            image, target = _parts(item, self.name)
            if isinstance(image, torch.Tensor) and image.ndim == 4:
                for row, one in enumerate(image):
                    yield Stimulus((number,), one, _plain(target, row))
                    number += 1
            else:
                yield Stimulus((number,), image, _plain(target))
                number += 1


def check_sources(datasets: Any) -> list[Source]:
    """Return the splits of all datasets, or raise; all pictures in files are looked at.

    Raises
    ------
    ValueError, TypeError
        A dataset that cannot be read; all unreadable pictures of a split are named at once.
    """
    if not isinstance(datasets, Mapping) or not datasets:
        raise TypeError(
            "`datasets` must be a dict from names to datasets, or to dicts of splits such as"
            f" {{'train': ..., 'test': ...}}, not {type(datasets).__name__}."
        )
    sources = []
    for name, of_splits in datasets.items():
        _check_name(name, "dataset")
        splits = of_splits if isinstance(of_splits, Mapping) else {WHOLE: of_splits}
        if not splits:
            raise ValueError(
                f"`datasets`: '{name}' has no splits; give it one, such as 'test', or leave"
                " it out."
            )
        for split, given in splits.items():
            _check_name(split, "split")
            sources.append(_source(name, split, given))
    return sources


def chunks(stimuli: Iterable[Stimulus], batch_size: int) -> Iterator[list[Stimulus]]:
    """Cut stimuli into lists that whole batches are made of."""
    remaining = iter(stimuli)
    while chunk := list(islice(remaining, batch_size * _CHUNK_BATCHES)):
        yield chunk


def _source(dataset: str, split: str, given: Any) -> Source:
    owner = f"datasets['{dataset}']" + ("" if split == WHOLE else f"['{split}']")
    if _is_path(given):
        return _of_pictures(dataset, split, _read_folder(Path(given), owner), owner)
    if isinstance(given, pd.DataFrame):
        return _of_pictures(dataset, split, given, owner)
    if isinstance(given, (list, tuple)) and given and _is_path(given[0]):
        table = pd.DataFrame({"path": [os.fspath(path) for path in given]})
        return _of_pictures(dataset, split, table, owner)
    if not isinstance(given, Iterable) and not hasattr(given, "__getitem__"):
        raise TypeError(
            f"`{owner}` must be a folder, a table with a column 'path', a list of paths, a torch"
            f" dataset, or a loader, not {type(given).__name__}."
        )
    if isinstance(given, Iterator):
        raise TypeError(
            f"`{owner}` is an iterator, which is gone after one network; give what can be gone"
            " through again, such as a dataset or a loader."
        )
    first = next(_all_of(given), None)
    if first is None:
        raise ValueError(f"`{owner}` holds no stimuli.")
    image, target = _parts(first, owner)
    is_batch = isinstance(image, torch.Tensor) and image.ndim == 4
    is_counted = hasattr(given, "__getitem__") and hasattr(given, "__len__") and not is_batch
    return Source(
        dataset,
        split,
        ("index",),
        None,
        given,
        has_targets=target is not None,
        n_stimuli=len(given) if is_counted else None,
    )


def _of_pictures(dataset: str, split: str, table: pd.DataFrame, owner: str) -> Source:
    check_columns(table, ["path"], argument=owner)
    if table.empty:
        raise ValueError(f"`{owner}` holds no stimuli.")
    names = [name for name in table.columns if name not in ("path", "target")] or ["path"]
    keys = list(zip(*(map(_plain, table[name]) for name in names), strict=True))
    twice = pd.Index(keys).duplicated()
    if twice.any():
        raise ValueError(
            f"`{owner}` has the stimulus {keys[int(np.argmax(twice))]} more than once; add a"
            " column that tells them apart, or leave one out."
        )
    paths = table["path"].tolist()
    has_targets = "target" in table.columns
    targets = [_plain(value) for value in table["target"]] if has_targets else [None] * len(keys)
    checked = check_images(paths, argument=owner)
    # Workers may stand in other folders.
    paths = [Path(path).absolute() if _is_path(path) else path for path in paths]
    return Source(
        dataset,
        split,
        tuple(map(str, names)),
        [Stimulus(*one) for one in zip(keys, paths, targets, strict=True)],
        has_targets=has_targets,
        content=fingerprint([one.sha256 for one in checked]),
        n_stimuli=len(keys),
    )


def _is_path(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike))


def _read_folder(folder: Path, owner: str) -> pd.DataFrame:
    # Deferred: only a folder needs it.
    from torchvision.datasets import ImageFolder

    if not folder.is_dir():
        raise FileNotFoundError(f"`{owner}`: there is no folder '{folder}'.")
    try:
        found = ImageFolder(os.fspath(folder))
    except FileNotFoundError as error:
        raise ValueError(
            f"`{owner}`: the folder '{folder}' has no folders of pictures, one for each class"
            f" ({error}). Other layouts: read_image_folder makes a table."
        ) from error
    return pd.DataFrame(
        {
            "path": [path for path, _ in found.samples],
            "file": [Path(path).relative_to(folder).as_posix() for path, _ in found.samples],
            "target": [found.classes[number] for _, number in found.samples],
        }
    )


def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name or name in (".", ".."):
        raise TypeError(f"`datasets`: the name of a {what} must be a string, not {name!r}.")


def _all_of(items: Any) -> Iterator[Any]:
    """Go through a dataset of torch, which may have a length and no end, or any iterable."""
    if hasattr(items, "__getitem__") and hasattr(items, "__len__"):
        return (items[number] for number in range(len(items)))
    return iter(items)


def _parts(item: Any, owner: str) -> tuple[Any, Any]:
    """Image, or batch of images, and target of what a dataset yields."""
    image, target = item, None
    if isinstance(item, (tuple, list)) and len(item) in (1, 2):
        image, target = item[0], item[1] if len(item) == 2 else None
    if isinstance(image, (Image.Image, str, os.PathLike)):
        return image, target
    if isinstance(image, torch.Tensor) and image.is_floating_point() and image.ndim > 0:
        return image, target
    raise TypeError(
        f"`{owner}` must yield images (PIL, or tensors of floats), or pairs of an image and its"
        f" target, not {type(item).__name__} of {type(image).__name__}."
    )


def _plain(value: Any, row: int | None = None) -> Any:
    """Return a value as JSON knows it; the one of a row of a batch."""
    if row is not None and value is not None:
        value = value[row]
    if isinstance(value, torch.Tensor):
        return value.item() if value.ndim == 0 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value
