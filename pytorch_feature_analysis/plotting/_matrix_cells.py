"""The cells of a matrix as figures draw them: colours, what is left out, values, lines, bar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.plotting._paper import POINTS, with_minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MISSING = "0.8"
_HALVES = ("lower", "upper")


def left_out(half: bool | str, n: int) -> np.ndarray:
    """Mark the cells (n, n) of a square that are left out with `half`."""
    out = np.zeros((n, n), dtype=bool)
    if half is False:
        return out
    if half is not True:
        check_name(half, _HALVES, argument="half", what="half")
    places = np.triu_indices(n, k=1) if half in (True, "lower") else np.tril_indices(n, k=-1)
    out[places] = True
    return out


def draw_cells(
    target: Axes,
    values: np.ndarray,
    blank: np.ndarray,
    *,
    cmap: Any,
    limits: tuple[float, float],
) -> Any:
    """Draw the cells, white what is left blank and grey what is missing; return the image."""
    import matplotlib as mpl

    palette = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    palette = palette.with_extremes(bad="white" if blank.any() else _MISSING)
    low, high = limits
    shown = np.where(blank, np.nan, values)
    image = target.imshow(shown, cmap=palette, vmin=low, vmax=high, interpolation="nearest")
    holes = ~np.isfinite(values) & ~blank
    if blank.any() and holes.any():
        # What is missing is grey, and what is left out is not.
        grey = mpl.colors.ListedColormap([_MISSING])
        target.imshow(np.where(holes, 0.0, np.nan), cmap=grey, interpolation="nearest")
    target.tick_params(length=0)
    return image


def hide_spines(target: Axes, half: bool | str) -> None:
    """Leave no frame about the half that is left out."""
    if half is not False:
        sides = ["bottom", "left"] if half == "upper" else ["top", "right"]
        target.spines[sides].set_visible(False)


def limits_of_cells(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Least and largest finite value of some matrices; 0 and 1 where there are none."""
    finite = np.concatenate([matrix[np.isfinite(matrix)] for matrix in values])
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def draw_borders(target: Axes, beside: Sequence[Any], below: Sequence[Any]) -> None:
    """Draw a line between one group and the next, on both sides."""
    for draw, groups in ((target.axhline, beside), (target.axvline, below)):
        for k, (one, other) in enumerate(pairwise(groups)):
            if one != other:
                draw(k + 0.5, color="white", linewidth=1.5)


def label_bar(bar: Any, label: str | None) -> None:
    """Write the name of a bar of colours, in the size of all text."""
    bar.ax.tick_params(labelsize=POINTS)
    if label:
        bar.set_label(label, fontsize=POINTS + 1)


def write_values(target: Axes, image: Any, values: np.ndarray) -> None:
    """Write the finite values into their cells."""
    shown = values[np.isfinite(values)]
    spelled = _spelling(float(np.abs(shown).max())) if shown.size else ".2f"
    zero = "0" if "e" in spelled else format(0.0, spelled)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            # Dark on light cells, by how bright they look.
            is_light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
            target.text(
                *(j, i, with_minus(format(value, f"z{spelled}")) if value else zero),
                ha="center",
                va="center",
                fontsize=POINTS - 1,
                color="black" if is_light else "white",
            )


def _spelling(largest: float) -> str:
    """Format of values up to this one, of which all fit into a cell and few are nought."""
    if 0 < largest < 0.01 or largest >= 1e5:
        return ".0e"
    return ".3f" if 0 < largest < 0.1 else ".2f" if largest < 100 else ".0f"
