"""Maps of several RDMs side by side, turned so that entries keep their places."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count
from pytorch_feature_analysis.embedding import NUM_NEIGHBORS
from pytorch_feature_analysis.map_coordinates import AlignedMap, aligned_maps
from pytorch_feature_analysis.plotting import _fonts
from pytorch_feature_analysis.plotting._arguments import by_entry, check_names, check_panels
from pytorch_feature_analysis.plotting._map_looks import MapLooks, check_looks, draw_map
from pytorch_feature_analysis.plotting._paper import (
    LINE_INCHES,
    POINTS,
    columns_that_fit,
    dot_size,
    head_figure,
    head_panel,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_INCHES, _LABELLED_INCHES = 1.9, 2.6
_MOST_COLUMNS = 4
_HEAD_INCHES = 0.3
# Of the range of all places, beside pictures.
_MARGIN = 0.06
_PATHS = "paths"
# Of frames, around pictures that are smaller than on a map alone.
_BORDER = 0.8
# Pictures at the ends of paths, which they would hide.
_SMALLER = 0.6
_PALEST, _PATH_WIDTH = 0.2, 0.9


def plot_mds_panels(
    rdm_df: pd.DataFrame,
    panels: Hashable = "layer",
    *,
    align_to: Hashable = "previous",
    rescale: bool = True,
    trajectories: bool | Sequence[Any] = False,
    columns: int | None = None,
    cond_labels: Mapping[Any, str] | bool | None = None,
    label_opts: Mapping[str, Any] | None = None,
    plot_opts: Mapping[str, Any] | None = None,
    cond_colors: Mapping[Any, Any] | None = None,
    color_by: Hashable = None,
    cond_pics: Mapping[Any, Any] | None = None,
    pic_size: float = 0.12,
    pic_points: float | None = None,
    alphatize_pics: bool = True,
    add_pic_border: bool | Mapping[str, Any] = False,
    overlap: str = "allow",
    show_stress: bool = True,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    names: Mapping[Any, str] | None = None,
    fig_title: str | None = None,
    axes: Sequence[Axes] | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> np.ndarray:
    """Draw a map for each RDM of a stack, such as each layer, on which entries keep their places.

    Each map is turned to lie on the one before, as `aligned_mds_coordinates` says; all have one
    scale and the same limits.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack with one row for each value of `panels`, in their order. Entries are matched by
        their keys, and may be in some of the rows only.
    panels : str, default 'layer'
        The column that tells the RDMs apart, whose values are the titles.
    align_to, rescale
        As in `aligned_mds_coordinates`.
    trajectories : bool or list of entry keys, default False
        Add a panel with the path of each entry, or of those listed, through all maps: from pale
        in the first to dark in the last, where its dot or picture is.
    columns : int, optional
        Panels beside each other; default up to four.
    cond_labels, label_opts, plot_opts, cond_colors, color_by, cond_pics
        As in `rdm_mds`. Dots and labels are small unless said otherwise.
    pic_size : float, default 0.12
        Longer side of a picture, where the widest map has the size 1.
    pic_points, alphatize_pics, add_pic_border, overlap, show_stress
        As in `rdm_mds`.
    method, num_starts, num_neighbors, random_state, nan_policy, symmetrize
        As in `mds_coordinates`.
    names : dict, optional
        What panels are called in the figure, where not by the values.
    fig_title : str, optional
        A title above all panels.
    axes : sequence of matplotlib Axes, optional
        Where to draw, one for each panel, that of the paths the last; default a figure of its
        own, whose legend is for all panels.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One for each panel.

    Raises
    ------
    ValueError
        As `aligned_mds_coordinates` and `rdm_mds`.

    See Also
    --------
    aligned_mds_coordinates : the points in numbers.
    rdm_mds : one map.

    Examples
    --------
    >>> import matplotlib, numpy as np, pandas as pd
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pytorch_feature_analysis as pfa
    >>> distances = np.array([[0, 3, 5, 4], [3, 0, 4, 5], [5, 4, 0, 3], [4, 5, 3, 0.0]])
    >>> keys = (('red',), ('blue',), ('green',), ('grey',))
    >>> stack = pd.DataFrame({
    ...     'layer': ['conv1', 'conv2'],
    ...     'matrix': [distances, distances**0.5],
    ...     'entry_keys': [keys, keys],
    ... })
    >>> axes = pfa.plot_mds_panels(stack, cond_colors={key: key[0] for key in keys}, show=False)
    >>> [ax.get_title() for ax in axes]
    ['conv1', 'conv2']
    >>> plt.close(axes[0].figure)
    """
    maps = aligned_maps(
        rdm_df,
        panels,
        2,
        align_to=align_to,
        rescale=rescale,
        method=method,
        num_starts=num_starts,
        num_neighbors=num_neighbors,
        random_state=random_state,
        nan_policy=nan_policy,
        symmetrize=symmetrize,
    )
    labels_of = {
        key: label
        for each in maps
        for key, label in zip(each.row["entry_keys"], each.row["entry_labels"], strict=True)
    }
    keys = list(labels_of)
    framed = add_pic_border is True or (color_by is not None and add_pic_border is False)
    plain_dots = {"s": dot_size(len(keys)), "linewidths": 0}
    looks = check_looks(
        keys,
        list(labels_of.values()),
        plot_opts={**plain_dots, **plot_opts}
        if isinstance(plot_opts, Mapping)
        else plot_opts or plain_dots,
        cond_labels=cond_labels,
        label_opts={"fontsize": POINTS - 1, **(label_opts or {})},
        cond_colors=cond_colors,
        color_by=color_by,
        cond_pics=cond_pics,
        pic_size=pic_size,
        pic_points=pic_points,
        add_pic_border={"linewidth": _BORDER} if framed else add_pic_border,
        overlap=overlap,
    )
    paths = _check_paths(trajectories, keys)
    called = check_names(names, [each.panel for each in maps], what="panel")
    titles = [called.get(each.panel, str(each.panel)) for each in maps]
    titles += [_PATHS] if paths else []
    wide = min(_MOST_COLUMNS, len(titles))
    if columns is not None:
        wide = min(check_count(columns, argument="columns"), len(titles))

    from pytorch_feature_analysis.plotting import _figure

    save_to = _figure.check_save_opts(save_opts)
    given = check_panels(axes, len(titles))
    side = _LABELLED_INCHES if looks.labels else _PANEL_INCHES
    looks = looks.with_pictures(
        inches=side,
        alphatize=alphatize_pics,
        alpha_target=(255, 255, 255),
        alpha_range=35,
    )
    places = _one_scale(maps)
    notes = [_note(each) if show_stress else "" for each in maps]
    if given is not None:
        with _fonts.legible([*looks.texts(), *titles, fig_title or ""]) as write:
            head_figure(_figure.root_figure(given[0]), write(fig_title or ""))
            _draw_panels(given, looks, places, titles, notes, paths, write)
        if save_to is not None:
            save_to.save(_figure.root_figure(given[0]))
        return np.array(given, dtype=object)
    high = ceil(len(titles) / wide)
    width = side * wide
    legend = columns_that_fit([text for text, *_ in looks.kinds], width) if looks.kinds else 1
    below = LINE_INCHES * ceil(len(looks.kinds) / legend) + 0.1 * bool(looks.kinds)
    height = (side + _HEAD_INCHES) * high + below + _HEAD_INCHES * bool(fig_title)
    with (
        _figure.drawing_figure(fig_size=(width, height), show=show, save_to=save_to) as figure,
        _fonts.legible([*looks.texts(), *titles, fig_title or ""]) as write,
    ):
        cells = figure.subplots(high, wide, squeeze=False).ravel()
        for cell in cells[len(titles) :]:
            cell.remove()
        drawn = list(cells[: len(titles)])
        head_figure(figure, write(fig_title or ""))
        _share_legend(figure, looks, legend, write)
        _draw_panels(drawn, looks, places, titles, notes, paths, write)
    return np.array(drawn, dtype=object)


def _check_paths(trajectories: Any, keys: Sequence[tuple[Hashable, ...]]) -> list[Hashable]:
    if isinstance(trajectories, (bool, np.bool_)):
        return list(keys) if trajectories else []
    if isinstance(trajectories, str) or not isinstance(trajectories, (list, tuple)):
        raise TypeError(
            f"`trajectories` must be True, False or a list of entry keys, not {trajectories!r}."
        )
    return list(by_entry(dict.fromkeys(trajectories), keys, argument="trajectories"))


def _note(drawn: AlignedMap) -> str:
    stress = drawn.embedding.stress_1
    return drawn.embedding.note if stress is None else f"stress-1 {stress:.2f}"


def _one_scale(maps: Sequence[AlignedMap]) -> list[dict[Hashable, np.ndarray]]:
    """Bring all points together to 0..1 by one scale, in the middle of both axes."""
    points = np.concatenate([each.points for each in maps])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    unit = float(np.max(high - low)) or 1.0
    middle = (low + high) / 2
    return [
        {key: 0.5 + (point - middle) / unit for key, point in each.places().items()}
        for each in maps
    ]


def _share_legend(
    figure: Figure, looks: MapLooks, ncols: int, write: Callable[[str], str]
) -> None:
    if not looks.kinds:
        return
    from matplotlib.lines import Line2D

    options: dict[str, Any] = {"linestyle": "none", "markersize": 5, "markeredgewidth": 0}
    figure.legend(
        [Line2D([], [], color=c, marker=marker, **options) for _, c, marker in looks.kinds],
        [write(text) for text, *_ in looks.kinds],
        loc="outside lower center",
        ncols=ncols,
        frameon=False,
        fontsize=POINTS,
        handletextpad=0.4,
        handlelength=1.0,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def _draw_panels(
    axes: Sequence[Axes],
    looks: MapLooks,
    places: Sequence[Mapping[Hashable, np.ndarray]],
    titles: Sequence[str],
    notes: Sequence[str],
    paths: Sequence[Hashable],
    write: Callable[[str], str],
) -> None:
    # Axes that are given have had their title since before the fonts were chosen.
    _fonts.take_fonts(axes)
    for ax, title in zip(axes, titles, strict=True):
        head_panel(ax, write(title))
        for spine in ax.spines.values():
            spine.set_color("0.7")
    # The legend is for all.
    panel_looks = replace(looks, kinds=())
    drawn: list[tuple[MapLooks, Mapping[Hashable, np.ndarray]]]
    drawn = [(panel_looks, own) for own in places]
    for ax, note in zip(axes, notes, strict=False):
        _write_note(ax, note)
    if paths:
        ends = _draw_paths(axes[-1], looks, places, paths)
        smaller = None if looks.points is None else _SMALLER * looks.points
        drawn.append((replace(panel_looks, size=_SMALLER * looks.size, points=smaller), ends))
    margin = _MARGIN + (looks.size / 2 if looks.pictures and looks.points is None else 0.0)
    low, high = -margin, 1 + margin
    before = [set(ax.get_children()) for ax in axes]
    maps = [
        draw_map(ax, own_looks, own, limits=(low, high), write=write)
        for ax, (own_looks, own) in zip(axes, drawn, strict=True)
    ]
    widest = (
        float(min(each.limits()[0].min() for each in maps)),
        float(max(each.limits()[1].max() for each in maps)),
    )
    if widest == (low, high):
        return
    # Labels that took more room in one of the panels are placed anew in all of them.
    for ax, there, (own_looks, own) in zip(axes, before, drawn, strict=True):
        for artist in set(ax.get_children()) - there:
            artist.remove()
        draw_map(ax, own_looks, own, limits=widest, write=write).zoom_out(*widest)


def _write_note(ax: Axes, note: str) -> None:
    options: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": POINTS - 1, "color": "0.35"}
    ax.text(1, -0.02, note, transform=ax.transAxes, **options)


def _draw_paths(
    ax: Axes,
    looks: MapLooks,
    places: Sequence[Mapping[Hashable, np.ndarray]],
    paths: Sequence[Hashable],
) -> dict[Hashable, np.ndarray]:
    """Draw a line from place to place of each entry, and return the last places."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    ends = {}
    for key in paths:
        points = np.array([own.get(key, [np.nan, np.nan]) for own in places])
        present = np.flatnonzero(np.isfinite(points[:, 0]))
        if not len(present):
            continue
        ends[key] = points[present[-1]]
        # Rounding would make the darkest of them more than 1.
        shades = np.minimum(_PALEST + (1 - _PALEST) * present[1:] / max(len(places) - 1, 1), 1)
        colour = looks.colours.get(key, "0.35")
        ax.add_collection(
            LineCollection(
                [points[[a, b]] for a, b in pairwise(present)],
                colors=[to_rgba(colour, alpha) for alpha in shades],
                linewidths=_PATH_WIDTH,
                capstyle="round",
                zorder=0.9,
            ),
            autolim=False,
        )
    return ends
