"""Outlines round cells and blocks of an RDM."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_feature_analysis._checks import check_sequence
from pytorch_feature_analysis.rdm_stack import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Key = tuple[Hashable, ...]


def check_highlight(highlight: Any, keys: Sequence[Key]) -> list[tuple[list[Key], list[Key]]]:
    """Return pairs of lists of entries, or raise where one is in none of these RDMs."""
    known = dict.fromkeys(keys)
    pairs = []
    for pair in check_sequence(highlight, argument="highlight", of="pairs of entries"):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(
                "`highlight` must be pairs of entries, or of lists of entries for a block, not"
                f" {pair!r}."
            )
        one, other = (_entries(part, known) for part in pair)
        pairs.append((one, other))
    return pairs


def _entries(part: Any, known: Mapping[Key, Any]) -> list[Key]:
    listed = part if isinstance(part, list) else [part]
    keys = [one if isinstance(one, tuple) else (one,) for one in listed]
    strange = [key for key in keys if key not in known]
    if strange:
        raise ValueError(
            f"`highlight` names {in_words(strange)}, which is no entry. The entries are:"
            f" {in_words(list(known))}."
        )
    return keys


def draw_highlights(
    target: Axes,
    pairs: Sequence[tuple[list[Key], list[Key]]],
    places: Mapping[Key, int],
    half: bool | str,
    cell: float,
) -> None:
    """Outline cells, or the blocks of those that stand together, in black and white."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    width = float(np.clip(72 * cell * 0.08, 0.6, 1.4))
    drawn = set()
    for one, other in pairs:
        boxes = list(product(_stretches(one, places), _stretches(other, places)))
        drawn.update(boxes)
        drawn.update((below, beside) for beside, below in boxes)
    for (top, bottom), (left, right) in drawn:
        is_below = top + bottom >= left + right
        if half is not False and is_below == (half == "upper") and (top, bottom) != (left, right):
            continue
        target.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5),
                right - left + 1,
                bottom - top + 1,
                fill=False,
                edgecolor="white",
                linewidth=width,
                joinstyle="miter",
                clip_on=False,
                zorder=3,
                # Seen on dark and on light cells.
                path_effects=[withStroke(linewidth=2.4 * width, foreground="black")],
            )
        )


def _stretches(keys: Sequence[Key], places: Mapping[Key, int]) -> list[tuple[int, int]]:
    """First and last place of entries that stand side by side."""
    stretches: list[tuple[int, int]] = []
    for place in sorted(places[key] for key in set(keys) if key in places):
        if stretches and stretches[-1][1] == place - 1:
            stretches[-1] = (stretches[-1][0], place)
        else:
            stretches.append((place, place))
    return stretches
