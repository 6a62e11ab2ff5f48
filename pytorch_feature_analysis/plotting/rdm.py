"""RDMs of stimuli: one or many on one scale, with pictures, categories and trees beside them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.plotting import _arguments, _figure
from pytorch_feature_analysis.plotting._fonts import legible, take_fonts
from pytorch_feature_analysis.plotting._highlights import check_highlight, draw_highlights
from pytorch_feature_analysis.plotting._matrix_cells import (
    draw_borders,
    draw_cells,
    hide_spines,
    label_bar,
    left_out,
    limits_of_cells,
)
from pytorch_feature_analysis.plotting._paper import (
    POINTS,
    TITLE_POINTS,
    axes_inches,
    in_lines,
)
from pytorch_feature_analysis.plotting._rdm_layout import BarText, abreast
from pytorch_feature_analysis.plotting._rdm_panels import (
    Panel,
    bar_text,
    check_stack,
    make_panels,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LONGEST_SIDE = 128
_MOST_TICKS = 5


def plot_rdm(
    rdm_df: pd.DataFrame | pd.Series,
    *,
    order: Any = None,
    groups: Any = None,
    pictures: Mapping[Any, Any] | None = None,
    labels: bool | Mapping[Any, str] | None = None,
    highlight: Sequence[Any] = (),
    scale: str = "raw",
    half: bool | str = False,
    nan_policy: str = "pairwise",
    limits: tuple[float, float] | None = None,
    cmap: Any = "magma",
    bar: bool = True,
    bar_label: str | None = None,
    titles: str | Sequence[str] | None = None,
    num_columns: int | None = None,
    fig_title: str | None = None,
    ax: Any = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Any:
    """Draw RDMs: one, or a grid of all rows of a stack on one scale of colours.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack, each row of which is drawn, up to 100; or a row.
    order : 'linkage', str, list or dict, optional
        In what order the entries stand, as in `plot_heatmap`: 'linkage' has alike ones side by
        side, and draws the tree; the name of a label of the entries, or a dict from each entry to
        its group, has groups together; a list names all entries. RDMs of the same entries are all
        in one order, by 'linkage' in that of their mean. Default that of `groups`, or of the RDM.
    groups : str or dict, optional
        Which entries belong together, such as to a category: the name of a label of the entries,
        or a dict from each entry to its group. They are marked by bars with their names, and a
        line between them; where `order` mixes them, by colours, which a legend names. A group has
        its colour by when it is first named, whatever the order. Default those of `order`.
    pictures : dict, optional
        Pictures by entry key, as `cond_pics` of `rdm_mds`, drawn along the sides; in several lines
        where there are many. One whose file is missing is left blank, under its entry's name, and
        a warning counts these.
    labels : bool or dict, optional
        Name the entries by what they differ in, or as a dict by entry key says. Default where
        there is room, and no pictures are.
    highlight : list of pairs, default none
        Cells to outline, as pairs of entries; or blocks, as pairs of lists of entries:
        ``[('cat', 'dog'), (['cat', 'dog'], ['car', 'bus'])]``.
    scale : {'raw', 'rank'}, default 'raw'
        'raw': the dissimilarities, from the least to the largest of all RDMs. 'rank': their ranks
        within each RDM, scaled from 0, the least, to 1, the largest; ties have their mean rank.
    half : bool, 'lower' or 'upper', default False
        Leave out what lies above the diagonal, with 'upper' what lies below.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing cells (NaN or infinite). 'pairwise': each is grey. 'omit': entries
        without any finite cell are left out, in all RDMs of the same entries if it is so in one;
        single cells are grey; a log line at level INFO counts the entries. 'raise': an error that
        says how many.
    limits : (float, float), optional
        Values at the ends of the colours.
    cmap : str or matplotlib colormap, default 'magma'
        Grows evenly lighter, so that it can be read in grey too. Missing cells are grey, and the
        diagonal is blank.
    bar : bool, default True
        Draw a bar of colours, one for all RDMs.
    bar_label : str, optional
        Beside it; default the metric.
    titles : str or list of str, optional
        Above each of several RDMs: the name of a column, or a text for each row. Default the
        values of the columns that tell the rows apart.
    num_columns : int, optional
        How many RDMs stand side by side; default as many as make the grid about square.
    fig_title : str, optional
        A title above all.
    ax : matplotlib Axes or list of Axes, optional
        Where to draw, one for each row; names and pictures stand outside of them. Default a figure
        of its own, whose size follows from the number of entries.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    matplotlib.axes.Axes or ndarray of Axes
        What was drawn on: for a single row its axes, for several an array (n_rows,) in their
        order.

    Raises
    ------
    ValueError
        No rows, or more than 100; RDMs by several metrics, unless ranks are drawn; an `order` or
        `groups` that does not name every entry; entries to highlight that are not there; missing
        cells with 'raise', or nothing left with 'omit'.

    See Also
    --------
    plot_heatmap : One matrix or table whose values are to be read, and rectangles of it.
    rdm_mds : The entries as points.
    linkage_order : The order as a list.

    Notes
    -----
    Panels of the same entries are named at the outer ones alone. The tree is average linkage of
    the dissimilarities, also where ranks are drawn.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> conv1 = np.array([[0, 0.2, 0.7], [0.2, 0, 0.5], [0.7, 0.5, 0]])
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "fc1"],
    ...     "dissim_metric": "corr",
    ...     "matrix": [conv1, conv1**2],
    ...     "entry_keys": [["cat", "dog", "bus"]] * 2,
    ... })
    >>> kinds = {"cat": "animal", "dog": "animal", "bus": "thing"}
    >>> axes = pfa.plot_rdm(stack, groups=kinds, highlight=[("cat", "dog")], show=False)
    >>> [ax.get_title() for ax in axes]
    ['conv1', 'fc1']
    >>> plt.close(axes[0].figure)
    """
    stack = check_stack(rdm_df)
    save_to = _figure.check_save_opts(save_opts)
    all_keys = list(dict.fromkeys(key for keys in stack["entry_keys"] for key in keys))
    called = _arguments.by_entry(
        labels if isinstance(labels, Mapping) else None, all_keys, argument="labels"
    )
    label = bar_text(stack, scale) if bar_label is None else bar_label
    panels = make_panels(
        stack,
        order=order,
        groups=groups,
        scale=scale,
        nan_policy=nan_policy,
        titles=titles if len(stack) > 1 or titles is not None else [""],
        called=called,
    )
    blanks = [
        left_out(half, len(panel.keys)) | np.eye(len(panel.keys), dtype=bool) for panel in panels
    ]
    if limits is None:
        drawn = [panel.cells[~out] for panel, out in zip(panels, blanks, strict=True)]
        limits = (0.0, 1.0) if scale == "rank" else limits_of_cells(drawn)
    low_and_high = _arguments.check_limits(limits)
    boxes = check_highlight(highlight, all_keys)
    own = _own_axes(ax, len(panels))
    n_abreast = abreast(len(panels))
    if num_columns is not None:
        n_abreast = min(check_count(num_columns, argument="num_columns"), len(panels))

    from matplotlib.ticker import MaxNLocator

    from pytorch_feature_analysis.plotting._rdm_drawing import Drawing

    loaded = _load(_arguments.by_entry(pictures, all_keys, argument="pictures"))
    with legible([label or "", fig_title or "", *_texts(panels)]) as written:
        panels = [panel.written(written) for panel in panels]
        label, fig_title = written(label), fig_title and written(fig_title)
        drawing = Drawing(
            panels,
            names=None if labels is None else labels is not False,
            pictures=loaded,
            half=half,
            n_abreast=n_abreast,
            write=written,
            cells=None if own is None else _cell_inches(own, panels),
        )

        def draw_on(axes: Sequence[Axes]) -> list[Any]:
            images = []
            for k, (target, panel) in enumerate(zip(axes, panels, strict=True)):
                images.append(
                    draw_cells(target, panel.cells, blanks[k], cmap=cmap, limits=low_and_high)
                )
                target.set(xticks=[], yticks=[])
                hide_spines(target, half)
                if drawing.marks[k].are_together:
                    draw_borders(target, panel.groups, panel.groups)
                draw_highlights(target, boxes, panel.places, half, drawing.marks[k].cell)
                drawing.draw_about(k, target)
            return images

        if own is not None:
            take_fonts(own)
            images = draw_on(own)
            drawing.add_legend(own[-1])
            whole = _figure.root_figure(own[0])
            if bar:
                # Tight layouts know bars beside one subplot alone.
                beside = own if len(own) > 1 else own[0]
                label_bar(whole.colorbar(images[0], ax=beside, shrink=0.7), label)
            if fig_title:
                whole.suptitle(fig_title, fontsize=TITLE_POINTS)
            if save_to is not None:
                save_to.save(whole)
            return _as_given(own)
        layout = drawing.lay_out(BarText(label, _ticks(low_and_high)) if bar else None, fig_title)
        with _figure.drawing_figure(
            fig_size=layout.size, show=show, save_to=save_to, layout="none"
        ) as figure:
            axes = [figure.add_axes(layout.share(box)) for box in layout.panels]
            images = draw_on(axes)
            if layout.bar is not None:
                colours = figure.colorbar(
                    images[0],
                    cax=figure.add_axes(layout.share(layout.bar)),
                    ticks=MaxNLocator(_MOST_TICKS),
                )
                label_bar(colours, in_lines(label, layout.bar[3], POINTS + 1))
            drawing.finish(figure, layout)
        return _as_given(axes)


def _texts(panels: Sequence[Panel]) -> list[str]:
    """List what is written about the panels."""
    return [
        text
        for panel in panels
        for text in (panel.title, *panel.names, *map(str, dict.fromkeys(panel.groups)))
    ]


def _ticks(limits: tuple[float, float]) -> list[str]:
    """Numbers beside the bar of colours."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    formatter = ScalarFormatter()
    formatter.create_dummy_axis()
    low, high = limits
    if low == high:
        # As bars of colours do.
        low, high = low - 0.1 * (abs(low) or 1), high + 0.1 * (abs(high) or 1)
    ticks = MaxNLocator(_MOST_TICKS).tick_values(low, high)
    return formatter.format_ticks([tick for tick in ticks if low <= tick <= high])


def _own_axes(ax: Any, n_panels: int) -> list[Axes] | None:
    """Return the axes that were given, one for each RDM, or raise."""
    if ax is None:
        return None
    if not isinstance(ax, (list, tuple, np.ndarray)):
        _arguments.check_axes(ax, 2)
        ax = [ax]
    listed = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(listed) != n_panels:
        raise ValueError(
            f"`ax` must be {n_panels} matplotlib Axes, one for each row of `rdm_df`, and there are"
            f" {len(listed)}."
        )
    for one in listed:
        _arguments.check_axes(one, 2)
    return listed


def _cell_inches(axes: Sequence[Axes], panels: Sequence[Panel]) -> list[float]:
    return [
        min(axes_inches(target)) / len(panel.keys)
        for target, panel in zip(axes, panels, strict=True)
    ]


def _as_given(axes: Sequence[Axes]) -> Any:
    """Return the axes of one RDM as they are, those of several in an array."""
    if len(axes) == 1:
        return axes[0]
    array = np.empty(len(axes), dtype=object)
    array[:] = axes
    return array


def _load(sources: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Load pictures; None for those that are not there, which a warning counts."""
    from pytorch_feature_analysis.plotting._pictures import load_or_leave_blank

    pictures, absent = load_or_leave_blank(
        sources,
        argument="pictures",
        alphatize=False,
        alpha_target=(255, 255, 255),
        alpha_range=0,
        longest_side=_LONGEST_SIDE,
    )
    return {**pictures, **dict.fromkeys(absent)}
