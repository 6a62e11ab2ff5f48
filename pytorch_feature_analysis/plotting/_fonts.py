"""Text in any script: fonts of this machine that have the letters which the style's lack."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

# What is drawn for a letter that no font has, as browsers do.
_MISSING = "\N{WHITE SQUARE}"
# Plain ones of sans-serif faces, before all others.
_PREFERRED = ("noto sans", "arial unicode", "microsoft yahei", "pingfang", "hiragino")


@contextlib.contextmanager
def legible(texts: Iterable[Any]) -> Iterator[Callable[[str], str]]:
    """Have texts inside the block drawn in fonts that have their letters, and yield a writer.

    Letters that the fonts of the style lack are taken from others that are installed, the fewest
    that will do. The writer puts a square in the place of a letter that none has, of which a log
    line tells; matplotlib would warn of each at every drawing.
    """
    import matplotlib as mpl

    families = list(mpl.rcParams["font.family"])
    wanted = {ord(letter) for text in texts for letter in str(text) if letter.isprintable()}
    lacking = wanted.difference(*(_letters_of_family(family) for family in families))
    helpers: list[str] = []
    while lacking and (installed := _installed()):
        family, letters = max(
            installed.items(), key=lambda font: (len(lacking & font[1]), _rank(font[0]))
        )
        if not lacking & letters:
            break
        helpers.append(family)
        lacking -= letters
    if helpers:
        logger.info("Letters that the style's fonts lack are drawn in %s.", ", ".join(helpers))
    if lacking:
        logger.warning(
            "No font of this machine has the letters %s, for which squares are drawn. Install one"
            " that does, such as Noto Sans of their script.",
            " ".join(map(chr, sorted(lacking))),
        )
    blank = dict.fromkeys(lacking, _MISSING)
    with mpl.rc_context({"font.family": [*families, *helpers]}):
        yield lambda text: text.translate(blank)


def take_fonts(axes: Iterable[Axes]) -> None:
    """Have texts that axes were made with drawn in the fonts of the block that this is in."""
    import matplotlib as mpl

    family = mpl.rcParams["font.family"]
    for target in axes:
        for text in (target.title, target.xaxis.label, target.yaxis.label):
            text.set_fontfamily(family)
        target.tick_params(labelfontfamily=family)


def _rank(family: str) -> tuple[bool, int, str]:
    plain = any(family.lower().startswith(name) for name in _PREFERRED)
    return plain, -len(family), family


def _letters_of_family(family: str) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont

    return _letters(findfont(FontProperties(family=[family])))


@functools.cache
def _letters(path: Any) -> frozenset[int]:
    from matplotlib.font_manager import get_font

    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        # A font that was uninstalled, or is broken.
        return frozenset()


def _installed() -> dict[str, frozenset[int]]:
    """Letters of the upright, regular font of each family."""
    from matplotlib.font_manager import fontManager

    found: dict[str, frozenset[int]] = {}
    for font in fontManager.ttflist:
        if font.style == "normal" and font.weight in (400, "normal", "regular"):
            found[font.name] = found.get(font.name, frozenset()) | _letters(font.fname)
    # The last resort of matplotlib has a box for every letter.
    return {family: letters for family, letters in found.items() if "resort" not in family.lower()}
