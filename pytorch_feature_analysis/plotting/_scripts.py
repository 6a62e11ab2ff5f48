"""Fonts for text in any script that some font on this machine has the letters of."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator


@contextlib.contextmanager
def letters_of(texts: Iterable[str]) -> Iterator[None]:
    """Have text that is made within the block fall back on fonts that have its letters.

    Where no font has a letter, matplotlib warns of it.
    """
    import matplotlib as mpl

    families = list(mpl.rcParams["font.family"])
    further = _fallbacks(frozenset(letter for text in texts for letter in text if letter > "\x7f"))
    with mpl.rc_context({"font.family": [*families, *further]} if further else {}):
        yield


@functools.lru_cache
def _fallbacks(letters: frozenset[str]) -> tuple[str, ...]:
    """Names of fonts for the letters that the usual one lacks, the one that has most first."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager

    lacking = _lacking(findfont(FontProperties()), letters)
    chosen: list[str] = []
    # The font of last resort has a box for every letter.
    files = {
        font.name: font.fname for font in fontManager.ttflist if not font.name.startswith("Last")
    }
    while lacking:
        left = {name: _lacking(file, lacking) for name, file in files.items()}
        best = min(left, key=lambda name: (len(left[name]), name), default=None)
        if best is None or left[best] == lacking:
            break
        chosen.append(best)
        lacking = left[best]
    return tuple(chosen)


def _lacking(file: str, letters: frozenset[str]) -> frozenset[str]:
    from matplotlib.font_manager import get_font

    font = get_font(file)
    return frozenset(letter for letter in letters if not font.get_char_index(ord(letter)))
