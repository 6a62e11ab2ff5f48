"""How the entries of RDMs look on a map, checked once, and a map drawn in these looks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_feature_analysis._checks import check_name, is_missing
from pytorch_feature_analysis.cell_values import as_text
from pytorch_feature_analysis.plotting._arguments import (
    by_entry,
    check_colours,
    check_finite,
    check_labels,
    check_options,
    check_pair,
    check_positive,
    check_trajectories,
    picture_frames,
)
from pytorch_feature_analysis.plotting._paper import look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pytorch_feature_analysis.plotting._point_map import PointMap

logger = logging.getLogger(__name__)

OVERLAPS = ("allow", "shrink", "repel")

# Pictures are kept at what they need for print at this resolution.
_PICTURE_DPI = 600
_SMALLEST_PICTURE = 32
_MOST_LISTED = 5
# Colours of COLOURS, and as many as can be told apart at all.
_FEW_KINDS, _MOST_KINDS = 8, 24
_KIND_BORDER = 1.5
_BLANK_FRAME = {"fill": False, "edgecolor": "0.6", "linewidth": 0.5}


@dataclass(frozen=True)
class MapLooks:
    """Labels, colours, pictures and lines of the entries of RDMs, by their keys."""

    keys: Sequence[tuple[Hashable, ...]]
    labels: Mapping[Hashable, str]
    label_offset: float
    label_options: Mapping[str, Any]
    plot_dots: bool
    dot_options: Mapping[str, Any]
    per_dot: Mapping[str, Mapping[Hashable, Any]]
    colours: Mapping[Hashable, Any]
    kinds: Sequence[tuple[str, Any, str]]
    """Of `color_by`, for the legend: text, colour and marker."""
    sources: Mapping[Hashable, Any]
    frames: Mapping[Hashable, Mapping[str, Any]]
    size: float
    points: float | None
    offset: tuple[float, float]
    overlap: str
    trajectories: Sequence[tuple[Sequence[Hashable], Mapping[str, Any]]]
    pictures: Mapping[Hashable, np.ndarray] | None = None
    blanks: Sequence[Hashable] = ()
    """Entries whose picture is not there."""

    def texts(self) -> list[str]:
        """All that is written, but titles."""
        named = [str(options.get("label") or "") for _, options in self.trajectories]
        blank = [as_text(key) for key in self.blanks]
        return [*self.labels.values(), *(text for text, _, _ in self.kinds), *named, *blank]

    def with_pictures(self, *, inches: float, **how: Any) -> MapLooks:
        """Load the pictures for axes that are so many inches wide; one warning counts blanks."""
        from pytorch_feature_analysis.plotting._pictures import load_or_leave_blank

        side = self.size * inches if self.points is None else self.points / 72
        pictures, absent = load_or_leave_blank(
            self.sources,
            argument="cond_pics",
            longest_side=max(int(side * _PICTURE_DPI), _SMALLEST_PICTURE),
            **how,
        )
        frames = {**self.frames}
        for key in absent:
            frames.setdefault(key, _BLANK_FRAME)
        return replace(self, pictures=pictures, blanks=absent, frames=frames)


def check_looks(
    keys: Sequence[tuple[Hashable, ...]],
    entry_labels: Sequence[Mapping[Any, Any]],
    *,
    plot_opts: Any = None,
    other_dot_opts: Any = None,
    cond_labels: Any = None,
    label_offset: Any = 0.02,
    label_opts: Any = None,
    plot_dots: bool = True,
    cond_colors: Any = None,
    color_by: Hashable = None,
    cond_pics: Any = None,
    pic_size: Any = 0.1,
    pic_points: Any = None,
    add_pic_border: Any = False,
    pic_offset: Any = (0.0, 0.0),
    overlap: Any = "allow",
    line_trajectories: Iterable[Any] = (),
) -> MapLooks:
    """Check the arguments of a map, and sort them by entry."""
    check_name(overlap, OVERLAPS, argument="overlap", what="way with pictures that overlap")
    per_dot = {
        option: by_entry(values, keys, argument=f"other_dot_opts[{option!r}]")
        for option, values in check_options(other_dot_opts, argument="other_dot_opts").items()
    }
    dot_options = check_options(plot_opts, argument="plot_opts")
    colours = check_colours(cond_colors, keys)
    sources = by_entry(cond_pics, keys, argument="cond_pics")
    kinds: list[tuple[str, Any, str]] = []
    if color_by is not None:
        if cond_colors is not None:
            raise ValueError("`cond_colors` and `color_by` both give colours; take one of them.")
        kinds, kind_of = _kinds_by(color_by, keys, entry_labels)
        colours = {key: kinds[kind][1] for key, kind in kind_of.items()}
        if "marker" in per_dot or "marker" in dot_options or set(kind_of) <= set(sources):
            kinds = [(text, colour, "s") for text, colour, _ in kinds]
        else:
            per_dot["marker"] = {key: kinds[kind][2] for key, kind in kind_of.items()}
        if add_pic_border is False:
            add_pic_border = {"linewidth": _KIND_BORDER}
    return MapLooks(
        keys=keys,
        labels=check_labels(cond_labels, keys),
        label_offset=check_finite(label_offset, argument="label_offset"),
        label_options=check_options(label_opts, argument="label_opts"),
        plot_dots=plot_dots,
        dot_options=dot_options,
        per_dot=per_dot,
        colours=colours,
        kinds=kinds,
        sources=sources,
        frames=picture_frames(add_pic_border, sources, colours),
        size=check_positive(pic_size, argument="pic_size"),
        points=None if pic_points is None else check_positive(pic_points, argument="pic_points"),
        offset=check_pair(pic_offset, argument="pic_offset"),
        overlap=overlap,
        trajectories=check_trajectories(line_trajectories, keys),
    )


def _kinds_by(
    color_by: Hashable,
    keys: Sequence[tuple[Hashable, ...]],
    entry_labels: Sequence[Mapping[Any, Any]],
) -> tuple[list[tuple[str, Any, str]], dict[Hashable, int]]:
    """Give each value of an entry variable a look, and the number of its value to each entry."""
    variables = dict.fromkeys(name for label in entry_labels for name in label)
    check_name(
        color_by, variables, argument="color_by", what="entry variable", owner=" of `rdm_df`"
    )
    own: dict[Hashable, Any] = {
        key: label[color_by]
        for key, label in zip(keys, entry_labels, strict=True)
        if not is_missing(label.get(color_by))
    }
    values = list(dict.fromkeys(own.values()))
    if all(isinstance(value, (int, float, np.number)) for value in values):
        values.sort()
    if len(values) > _MOST_KINDS:
        raise ValueError(
            f"`color_by` names {color_by!r}, which has {len(values)} values, and colours tell"
            f" apart {_MOST_KINDS} at most. Choose a variable of fewer, or give `cond_colors`."
        )
    looks: list[tuple[Any, str]] = [look(k) for k in range(len(values))]
    if len(values) > _FEW_KINDS:
        from matplotlib import colormaps

        shades = colormaps["turbo"](np.linspace(0.04, 0.96, len(values)))
        looks = [(tuple(shade), marker) for shade, (_, marker) in zip(shades, looks, strict=True)]
    number = {value: k for k, value in enumerate(values)}
    kinds = [(str(value), *each) for value, each in zip(values, looks, strict=True)]
    return kinds, {key: number[value] for key, value in own.items()}


def draw_map(
    target: Axes,
    looks: MapLooks,
    places: Mapping[Hashable, np.ndarray],
    *,
    limits: tuple[float, float],
    note: str = "",
    title: str | None = None,
    title_room: float = 0.0,
    legend: bool = False,
    write: Callable[[str], str] = str,
) -> PointMap:
    """Draw a map at places by entry, and return it.

    The style is that of the caller, within whose `legible` block this is, and whose writer this
    takes.
    """
    from pytorch_feature_analysis.plotting._deep_map import DeepMap
    from pytorch_feature_analysis.plotting._figure import write_title
    from pytorch_feature_analysis.plotting._flat_map import FlatMap
    from pytorch_feature_analysis.plotting._fonts import take_fonts

    is_flat = len(next(iter(places.values()))) == 2
    drawing = (FlatMap if is_flat else DeepMap)(target, looks.keys, places, limits)
    drawing.draw_lines(
        [
            (
                keys,
                given
                if given.get("label") is None
                else {**given, "label": write(str(given["label"]))},
            )
            for keys, given in looks.trajectories
        ]
    )
    drawing.draw_pictures(
        looks.pictures or {},
        size=looks.size,
        offset=looks.offset,
        frames=looks.frames,
        points=looks.points,
        overlap=looks.overlap,
        colours=looks.colours,
    )
    if looks.plot_dots:
        drawing.draw_dots(looks.dot_options, looks.per_dot, looks.colours)
    drawing.name_kinds([(write(text), *each) for text, *each in looks.kinds])
    if title:
        # Axes have had their title since before the block.
        take_fonts([target])
        write_title(target, write(title), room=title_room)
    drawing.write_margins(note, legend=legend)
    drawing.draw_labels(
        {key: write(label) for key, label in looks.labels.items()},
        offset=looks.label_offset,
        options=looks.label_options,
    )
    drawing.name_blanks(
        {key: write(as_text(key)) for key in looks.blanks if key not in looks.labels}
    )
    return drawing
