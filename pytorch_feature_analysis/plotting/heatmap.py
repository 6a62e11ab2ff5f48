"""A matrix of a stack, or a table, as a heat map: layers by layers, layers by networks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.missing_cells import check_nan_policy, refuse_missing
from pytorch_feature_analysis.plotting._paper import (
    POINTS,
    axes_inches,
    head,
    name_axes,
    text_inches,
    with_minus,
)
from pytorch_feature_analysis.similarity_tables import numbers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

# Inches of a cell, within these of the longer side; up to so many cells a side have their values,
# where a cell has this much room.
_CELL_INCHES = 0.32
_SMALLEST, _LARGEST = 2.6, 9.0
_MOST_ANNOTATED = 12
_LEAST_ANNOTATED_INCHES = 0.24
# Inches of the bar, of it with ticks and label, of a title, of the name of a side, of the rest.
_BAR_WIDTH, _BAR_INCHES, _TITLE_INCHES, _SIDE_INCHES, _MARGIN_INCHES = 0.13, 0.75, 0.3, 0.2, 0.15
# The least height that a bar has room for its label in, and the share of the cells' that it has.
_SMALLEST_BAR, _BAR_SHARE = 1.0, 0.8
# Size of a tick's name as a share of a cell, where cells are small.
_NAME_SHARE = 0.85
_MISSING = "0.8"


def plot_heatmap(
    rdm_df: pd.DataFrame | pd.Series,
    rows: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    order: Any = None,
    half: bool = False,
    nan_policy: str = "pairwise",
    limits: tuple[float, float] | None = None,
    cmap: Any = "magma",
    annotate: bool | None = None,
    labels: bool = True,
    bar: bool = True,
    bar_label: str | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw the matrix of one row of a stack, such as layers by layers, or a table.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, or that row. `to_similarity` before it draws similarities. Or a table
        of numbers, as of `similarity_table` and `layerwise_table`, drawn as it is.
    rows, columns : dict, optional
        Which entries of a stack stand beside and below, as values (or lists of values) of their
        labels: ``rows={'model': 'alexnet'}, columns={'model': 'resnet18'}`` cuts the rectangle of
        two networks out of the square. Default all.
    order : 'linkage', list or dict, optional
        In what order the entries stand: 'linkage' has alike ones side by side, as
        `linkage_order`, whose result is a list of the entries in their order, as this takes it
        too; a dict from each entry to its group (a dataset's domain, a model's objective) has
        groups together, with a line between them, in the order in which the dict first names
        them. Default that of the RDM.
    half : bool, default False
        Leave out what lies above the diagonal of a square, which says the same.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing cells (NaN or infinite) off the diagonal of an RDM, or of a table.
        'pairwise': each pair of entries stands by itself, and is grey where it is missing.
        'omit': entries, or lines of a table, without any finite cell are left out, and single
        ones are grey; a log line at level INFO counts both. 'raise': an error that says how many.
    limits : (float, float), optional
        Values at the ends of the colours; default the least and the largest that are drawn.
    cmap : str or matplotlib colormap, default 'magma'
        Missing cells are grey.
    annotate : bool, optional
        Write the values into the cells; default up to 12 a side, where cells have room for them.
    labels : bool, default True
        Name the entries, by what they differ in.
    bar : bool, default True
        Draw a bar of colours.
    bar_label : str, optional
        Beside the bar of colours; default the ``dissim_metric`` of a stack, and 1 less it where
        the cells are 1 less a similarity.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw; default a figure of its own.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        Several rows of a stack; labels or values that no entry has; `half` of other rows than
        columns; an `order` that does not name every entry once; a table, and `rows`, `columns` or
        `order`; missing cells with 'raise'; nothing left with 'omit'.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0, 0.2, 0.7], [0.2, 0, 0.5], [0.7, 0.5, 0]])],
    ...     "entry_keys": [["conv1", "conv2", "fc1"]],
    ... })
    >>> ax = pfa.plot_heatmap(stack, half=True, show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['conv1', 'conv2', 'fc1']
    >>> plt.close(ax.figure)
    """
    from pytorch_feature_analysis.plotting import _arguments, _entry_order, _figure

    check_nan_policy(nan_policy)
    save_to = _figure.check_save_opts(save_opts)
    if isinstance(rdm_df, pd.DataFrame) and not {"matrix", "entry_keys"} & {*rdm_df.columns}:
        if any(choice is not None for choice in (rows, columns, order)):
            raise ValueError(
                "`rows`, `columns` and `order` choose entries of a stack, but `rdm_df` is a table;"
                " take its lines with `loc`."
            )
        grid = _grid_of_table(rdm_df)
    else:
        row = _arguments.check_row(rdm_df)
        grid = _grid_of_row(row, rows, columns, *_entry_order.order_entries(row, order))
    grid = _without_missing(grid, nan_policy)
    values = np.array(grid.values)
    if half:
        if not grid.is_square:
            raise ValueError(
                "`half` leaves out what a square says twice, but its rows are other entries than"
                " its columns."
            )
        above = np.triu(np.ones(values.shape, dtype=bool), k=1)
        holes = np.isnan(values) & ~above
        values[above] = np.nan
    drawn = values[np.isfinite(values)]
    if limits is None:
        limits = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
    low, high = _arguments.check_pair(limits, argument="limits")
    if ax is None:
        cell = float(np.clip(_CELL_INCHES * max(values.shape), _SMALLEST, _LARGEST))
        cell /= max(values.shape)
    else:
        cell = min(np.array(axes_inches(ax)) / values.shape[::-1])
    points = max(min(POINTS, _NAME_SHARE * 72 * cell), 1.0)
    if annotate is None:
        has_room = cell >= _LEAST_ANNOTATED_INCHES
        annotate = has_room and max(values.shape) <= _MOST_ANNOTATED
    cells = cell * values.shape[1], cell * values.shape[0]
    upright = max(map(len, grid.below.names)) > 2
    beside = _room(grid.beside, points, along=True) if labels else 0.0
    below = _room(grid.below, points, along=upright) if labels else 0.0
    width = cells[0] + beside + _BAR_INCHES * bar + _MARGIN_INCHES
    height = max(cells[1], _SMALLEST_BAR * bar) + below + _MARGIN_INCHES
    height += _TITLE_INCHES * bool(fig_title)

    import matplotlib as mpl

    palette = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    palette = palette.with_extremes(bad="white" if half else _MISSING)
    with _figure.drawing_axes(
        ax,
        plot_style=None,
        fig_size=(width, height),
        show=show,
        save_to=save_to,
        # The plain one has names cut off where cells are square.
        layout="compressed",
    ) as target:
        image = target.imshow(values, cmap=palette, vmin=low, vmax=high, interpolation="nearest")
        if half:
            target.spines[["top", "right"]].set_visible(False)
            if holes.any():
                # What is missing is grey, and what is left out is not.
                grey = mpl.colors.ListedColormap([_MISSING])
                target.imshow(np.where(holes, 0.0, np.nan), cmap=grey, interpolation="nearest")
        for axis, side in ((target.xaxis, grid.below), (target.yaxis, grid.beside)):
            if labels:
                axis.set_ticks(range(len(side.names)), side.names, fontsize=points)
                if axis is target.xaxis and upright:
                    axis.set_tick_params(rotation=90)
            else:
                axis.set_ticks([])
        if labels:
            name_axes(target, grid.below.title, grid.beside.title)
        target.tick_params(length=0)
        for draw, side in ((target.axhline, grid.beside), (target.axvline, grid.below)):
            for k, (one, other) in enumerate(pairwise(side.groups)):
                if one != other:
                    draw(k + 0.5, color="white", linewidth=1.5)
        if annotate:
            _annotate(target, image, values)
        if bar:
            bar_label = grid.measure if bar_label is None else bar_label
            colours = target.figure.colorbar(
                image,
                ax=target,
                shrink=_BAR_SHARE,
                pad=0.03,
                fraction=_BAR_WIDTH / cells[0],
                aspect=_BAR_SHARE * cells[1] / _BAR_WIDTH,
            )
            colours.ax.tick_params(labelsize=POINTS)
            if bar_label:
                colours.set_label(bar_label, fontsize=POINTS + 1)
        head(target, fig_title)
    return target


@dataclass(frozen=True)
class _Side:
    """What stands along one side."""

    names: list[str]
    title: str
    groups: Sequence[Any] = ()
    """The group of each, where a line is to stand between groups."""

    def some(self, kept: np.ndarray) -> _Side:
        """Those that are marked."""
        names, groups = (
            [one for one, stays in zip(of, kept, strict=bool(of)) if stays]
            for of in (self.names, self.groups)
        )
        return replace(self, names=names, groups=groups)


@dataclass(frozen=True)
class _Grid:
    """What is drawn."""

    values: np.ndarray
    beside: _Side
    below: _Side
    is_square: bool
    """Whether the same entries stand on both sides."""
    measure: str | None
    name: str
    """Which row of the stack it is, for messages."""
    pairs: np.ndarray
    """Which cells are of two entries, not of one with itself."""


def _grid_of_table(table: pd.DataFrame) -> _Grid:
    values = numbers_of(
        table,
        argument="rdm_df",
        what="numbers, or be a stack with the columns 'matrix' and 'entry_keys'",
    )
    if not values.size:
        raise ValueError("`rdm_df` is a table without cells, so there is nothing to draw.")
    beside, below = map(_side_of_table, table.axes)
    is_square = table.index.tolist() == table.columns.tolist()
    pairs = np.ones(values.shape, dtype=bool)
    return _Grid(values, beside, below, is_square, measure=None, name="", pairs=pairs)


def _side_of_table(index: pd.Index) -> _Side:
    keys = [key if isinstance(key, tuple) else (key,) for key in index.tolist()]
    title = ", ".join(str(name) for name in index.names if name is not None)
    return _Side([", ".join(map(str, key)) for key in keys], title)


def _grid_of_row(
    row: pd.Series,
    rows: Mapping[str, Any] | None,
    columns: Mapping[str, Any] | None,
    ordered: Sequence[int],
    groups: Sequence[Any],
) -> _Grid:
    entries = row["entry_labels"]
    sides = []
    for wanted, argument in ((rows, "rows"), (columns, "columns")):
        chosen = set(_chosen(entries, wanted, argument))
        sides.append([k for k in ordered if k in chosen])
    beside, below = sides
    measure = row.get("dissim_metric")
    diagonal = row["matrix"].diagonal()
    if direction_of(measure) == "similarity" and np.allclose(diagonal[np.isfinite(diagonal)], 0):
        measure = f"1 \N{MINUS SIGN} {measure}"
    along, across = (
        _Side(_names(entries, side), _shared(entries, side), [groups[k] for k in side])
        for side in sides
    )
    return _Grid(
        row["matrix"][np.ix_(beside, below)],
        along,
        across,
        is_square=beside == below,
        measure=measure if isinstance(measure, str) else None,
        name=f"row {row.name!r}",
        pairs=np.not_equal.outer(beside, below),
    )


def _without_missing(grid: _Grid, nan_policy: str) -> _Grid:
    """Leave out lines without any cell with 'omit'; raise where the policy is to."""
    known = np.isfinite(grid.values) & grid.pairs
    missing = grid.pairs & ~known
    if not missing.any():
        return grid
    # Of a whole RDM both directions of a pair are one.
    once = grid.pairs
    if grid.name and grid.is_square:
        once, missing = np.triu(once), missing | missing.T
    refuse_missing(
        nan_policy,
        [np.where(missing, np.nan, 0)[once]],
        owner="`rdm_df`",
        names=[grid.name] if grid.name else [],
    )
    if nan_policy != "omit":
        return grid
    beside, below = known.any(axis=1), known.any(axis=0)
    if grid.is_square:
        beside = below = beside | below
    if not (beside.any() and below.any()):
        raise ValueError(
            "`nan_policy` is 'omit', and no cell of `rdm_df` is finite, so that nothing is left to"
            " draw. 'pairwise' draws them all grey."
        )
    kept = np.ix_(beside, below)
    left = np.array(grid.values)[kept]
    logger.info(
        "The heat map leaves out %d of %d rows and %d of %d columns, which have no finite cell,"
        " and %d further cells.",
        *((~beside).sum(), len(beside), (~below).sum(), len(below)),
        (missing & once)[kept].sum(),
    )
    return replace(
        grid,
        values=left,
        pairs=grid.pairs[kept],
        beside=grid.beside.some(beside),
        below=grid.below.some(below),
    )


def _chosen(
    entries: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any] | None, argument: str
) -> list[int]:
    """Places of the entries whose labels have the values that are wanted."""
    chosen = list(range(len(entries)))
    if wanted is None:
        return chosen
    if not isinstance(wanted, Mapping):
        raise TypeError(f"`{argument}` must be a dict from labels to values, not {wanted!r}.")
    known = list(dict.fromkeys(name for entry in entries for name in entry))
    for name, value in wanted.items():
        check_name(name, known, argument=argument, what="label", owner=" of the entries")
        values = list(value) if isinstance(value, (list, tuple, set)) else [value]
        there = list(dict.fromkeys(entry.get(name) for entry in entries))
        for one in values:
            if one not in there:
                raise ValueError(f"`{argument}`: no entry has {name}={one!r}; there are {there}.")
        chosen = [k for k in chosen if entries[k].get(name) in values]
    if not chosen:
        raise ValueError(f"`{argument}`: no entry has all of {dict(wanted)}.")
    return chosen


def _names(entries: Sequence[Mapping[str, Any]], places: Sequence[int]) -> list[str]:
    """Name entries by what they differ in."""
    differing = [name for name, values in _values(entries, places).items() if len(values) > 1]
    return [
        ", ".join(str(entries[k][name]) for name in differing or entries[k] if name in entries[k])
        for k in places
    ]


def _room(side: _Side, points: float, *, along: bool) -> float:
    """Inches that the names of a side take, which end at the cells or else run along them."""
    names = max(text_inches(name, points) for name in side.names) if along else points / 72
    return names + _SIDE_INCHES * bool(side.title)


def _shared(entries: Sequence[Mapping[str, Any]], places: Sequence[int]) -> str:
    """Say what all entries of a side have in common, where they differ in something else."""
    values = _values(entries, places)
    if all(len(found) == 1 for found in values.values()):
        return ""
    return ", ".join(str(found[0]) for found in values.values() if len(found) == 1)


def _values(entries: Sequence[Mapping[str, Any]], places: Sequence[int]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for k in places:
        for name, value in entries[k].items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return found


def _spelling(largest: float) -> str:
    """Format of values up to this one, of which all fit into a cell and few are nought."""
    if 0 < largest < 0.01 or largest >= 1e5:
        return ".0e"
    return ".3f" if 0 < largest < 0.1 else ".2f" if largest < 100 else ".0f"


def _annotate(target: Axes, image: Any, values: np.ndarray) -> None:
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
