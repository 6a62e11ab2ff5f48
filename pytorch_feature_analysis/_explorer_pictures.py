"""Pictures of entries, small and as text, each once however many rows show it."""

from __future__ import annotations

import base64
import io
import logging
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from pytorch_feature_analysis._checks import in_words
from pytorch_feature_analysis.images import load_image
from pytorch_feature_analysis.plotting._arguments import by_entry
from pytorch_feature_analysis.rdm_stack import as_key

logger = logging.getLogger(__name__)

Key = tuple[Hashable, ...]

# All pictures of a page together have no more pixels: some four megabytes of photographs.
_MOST_PIXELS = 2**24
_QUALITY = 82
_MOST_NAMED = 3


def sources_by_row(
    pictures: Any, stack: pd.DataFrame, keys: Sequence[Key]
) -> list[dict[Hashable, Any]]:
    """Return the pictures of the entries of each row.

    A dict serves all rows; of a list of image sets, those whose labels are in a row's columns.
    """
    if pictures is None:
        return [{}] * len(stack)
    if isinstance(pictures, Mapping):
        return [by_entry(pictures, keys, argument="pictures")] * len(stack)
    sets = _check_sets(pictures)
    by_labels: dict[tuple[Any, ...], dict[Hashable, Any]] = {}
    rows: list[dict[Hashable, Any]] = []
    for row in stack.drop(columns="matrix").to_dict("records"):
        fitting = tuple(k for k, (labels, _) in enumerate(sets) if _fits(labels, row))
        if fitting not in by_labels:
            by_labels[fitting] = {
                as_key(key): source
                for k in reversed(fitting)
                for key, source in sets[k][1].items()
            }
        rows.append(by_labels[fitting])
    if not any(rows):
        raise ValueError(
            f"`pictures` has {len(sets)} image sets, and the labels of none are in a row of"
            f" `rdm_df`; the first has {sets[0][0]!r}. Give a dict of pictures by entry key, or"
            " the image sets that the RDMs are of."
        )
    used = {key: None for images in rows for key in images}
    by_entry(used, keys, argument="pictures")
    return rows


def _check_sets(pictures: Any) -> list[tuple[dict[str, Any], dict[Hashable, Any]]]:
    is_list = isinstance(pictures, Sequence) and not isinstance(pictures, str)
    if not is_list or not all(
        isinstance(item, tuple)
        and len(item) >= 2
        and isinstance(item[0], Mapping)
        and isinstance(item[1], Mapping)
        for item in pictures
    ):
        raise TypeError(
            "`pictures` must be a dict from entry key to picture, or a list of image sets as"
            f" `package_image_sets` gives them, not {type(pictures).__name__}."
        )
    if not pictures:
        raise ValueError("`pictures` is an empty list; leave it out for a page without pictures.")
    return [(dict(item[0]), dict(item[1])) for item in pictures]


def _fits(labels: Mapping[str, Any], row: Mapping[Hashable, Any]) -> bool:
    return all(name in row and str(row[name]) == str(value) for name, value in labels.items())


class Thumbnails:
    """Pictures as data URIs, numbered in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._sources: list[tuple[Hashable, Any]] = []

    def number(self, key: Hashable, source: Any) -> int:
        """Return the number of a picture; one that several entries share has one number."""
        is_path = isinstance(source, (str, bytes, os.PathLike))
        identity: Hashable = os.fsdecode(source) if is_path else id(source)
        if source is None or isinstance(source, float):
            # None and NaN are no picture that could be shared.
            identity = key, None
        if identity not in self._numbers:
            self._numbers[identity] = len(self._sources)
            self._sources.append((key, source))
        return self._numbers[identity]

    def encoded(self, longest_side: int, *, progress: bool) -> list[str | None]:
        """Return all pictures as WebP, None for each that cannot be read; one warning counts them.

        Where there are very many, they are smaller than asked for.
        """
        from tqdm.auto import tqdm

        side = min(longest_side, int((_MOST_PIXELS / max(len(self._sources), 1)) ** 0.5))
        encoded: list[str | None] = []
        faults = []
        bar: Iterable[tuple[Hashable, Any]] = tqdm(
            self._sources, "pictures", disable=not (progress and self._sources)
        )
        for key, source in bar:
            try:
                encoded.append(_data_uri(source, side))
            except (ValueError, TypeError, OSError) as error:
                faults.append((key, error))
                encoded.append(None)
        if faults:
            logger.warning(
                "%d of %d pictures cannot be read, and are blank on the page: those of %s. %s",
                len(faults),
                len(encoded),
                in_words([key for key, _ in faults], _MOST_NAMED),
                faults[0][1],
            )
        return encoded


def _data_uri(source: Any, side: int) -> str:
    if isinstance(source, np.ndarray):
        # Imports matplotlib.
        from pytorch_feature_analysis.plotting._pictures import as_image

        source = as_image(source)
    picture = load_image(source)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=_QUALITY, method=3)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
