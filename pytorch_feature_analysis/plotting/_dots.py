"""Options of dots: some for all of them, some for each by its name."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colors

_COLOUR_OPTIONS = ("c", "color", "facecolor", "facecolors")


def dot_groups(
    names: Sequence[Hashable],
    drawn: Sequence[int],
    options: Mapping[str, Any],
    per_dot: Mapping[str, Mapping[Hashable, Any]],
    dot_colours: Mapping[Hashable, Any],
) -> list[tuple[list[int], dict[str, Any]]]:
    """Give the options of `Axes.scatter` for each group of dots of one marker.

    Parameters
    ----------
    names
        All entries, in order. A list in `options` of the same length has a value for each.
    drawn
        The positions of those whose dots are drawn.
    options
        Options for all dots, as the user gave them.
    per_dot
        Values by entry, for each option. An entry without one has that of `options`, or the
        default.
    dot_colours
        Colours by entry.

    Returns
    -------
    list of (positions, options)
        Of all groups, the positions are those of `drawn`, each once.
    """
    settings = {"s": _default("s"), **options}
    if not {"linewidth", "lw"} & set(options):
        settings.setdefault("linewidths", _default("linewidths"))
    given = next((name for name in _COLOUR_OPTIONS if name in settings), None)
    settings["c"] = mpl.rcParams["text.color"] if given is None else settings.pop(given)
    lists = {
        name: [list(value)[i] for i in drawn]
        for name, value in settings.items()
        if _has_one_each(value, len(names))
    }
    for option, values in {**per_dot, **({"c": dot_colours} if dot_colours else {})}.items():
        own = lists.get(option, [settings.get(option, _default(option))] * len(drawn))
        lists[option] = [values.get(names[i], own[k]) for k, i in enumerate(drawn)]
        if any(value is None for value in lists[option]):
            bare = next(names[i] for i, v in zip(drawn, lists[option], strict=True) if v is None)
            raise ValueError(
                f"`other_dot_opts` has no {option!r} for {bare!r}. Give one to every entry, or one"
                " to all of them in `plot_opts`."
            )
    if "c" not in lists:
        # A single colour in a list is never taken for values to be mapped to colours.
        settings["c"] = [colors.to_rgba(settings["c"])]
    elif all(colors.is_color_like(value) for value in lists["c"]):
        lists["c"] = [colors.to_rgba(value) for value in lists["c"]]
    elif "norm" not in settings:
        # Markers that differ are drawn apart, on one scale of colours.
        settings = {"vmin": np.min(lists["c"]), "vmax": np.max(lists["c"]), **settings}
    settings = {name: value for name, value in settings.items() if name not in lists}
    markers = lists.pop("marker", [settings.pop("marker", _default("marker"))] * len(drawn))
    groups = []
    for marker in dict.fromkeys(markers):
        members = [k for k, own in enumerate(markers) if own == marker]
        chosen = {name: [values[k] for k in members] for name, values in lists.items()}
        groups.append(([drawn[k] for k in members], {"marker": marker, **settings, **chosen}))
    return groups


def _has_one_each(value: Any, count: int) -> bool:
    is_list = hasattr(value, "__len__") and not isinstance(value, (str, Mapping))
    # A tuple such as (1, 0, 0) is one colour, also of three entries.
    is_colour = isinstance(value, tuple) and colors.is_color_like(value)
    return is_list and not is_colour and len(value) == count


def _default(option: str) -> Any:
    """Return what a dot has where nothing is said, or None for an option that must be said."""
    return {
        "s": mpl.rcParams["lines.markersize"] ** 2,
        "marker": mpl.rcParams["scatter.marker"],
        "alpha": 1.0,
        "linewidths": 0.5,
    }.get(option)
