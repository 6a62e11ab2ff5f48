"""A matrix of a stack, or a table, as a heat map: layers by layers, layers by networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.metric_words import measure_of
from pytorch_feature_analysis.missing_cells import check_nan_policy, refuse_missing
from pytorch_feature_analysis.plotting._entry_names import names_of, shared_by
from pytorch_feature_analysis.plotting._entry_order import EntryOrder, order_entries
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._paper import (
    POINTS,
    axes_inches,
    head,
    name_axes,
    text_inches,
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


def plot_heatmap(
    rdm_df: pd.DataFrame | pd.Series,
    rows: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    *,
    order: Any = None,
    half: bool | str = False,
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
    order : 'linkage', str, list or dict, optional
        In what order the entries stand: 'linkage' has alike ones side by side, as
        `linkage_order`, whose result is a list of the entries in their order, as this takes it
        too; a dict from each entry to its group (a dataset's domain, a model's objective) has
        groups together, with a line between them, in the order in which the dict first names
        them; so has the name of a label of the entries. Default that of the RDM.
    half : bool, 'lower' or 'upper', default False
        Leave out what lies above the diagonal of a square, which says the same, with 'upper' what
        lies below.
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
        Beside the bar of colours; default the ``dissim_metric`` of a stack in words, and 1 less it
        where the cells are 1 less a similarity.
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

    See Also
    --------
    plot_rdm : RDMs of stimuli, whose pattern counts and not their single values: with pictures
        and categories along the axes, and several RDMs on one scale. This one is for numbers that
        are to be read: a few dozen networks or layers, rectangles, and tables.

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
    from pytorch_feature_analysis.plotting import _arguments, _figure, _matrix_cells

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
        ordered = order_entries(row["entry_keys"], row["entry_labels"], row["matrix"], order)
        grid = _grid_of_row(row, rows, columns, ordered)
    grid = _without_missing(grid, nan_policy)
    values = np.array(grid.values)
    blank = np.zeros(values.shape, dtype=bool)
    if half is not False:
        if not grid.is_square:
            raise ValueError(
                "`half` leaves out what a square says twice, but its rows are other entries than"
                " its columns."
            )
        blank = _matrix_cells.left_out(half, len(values))
    shown = np.where(blank, np.nan, values)
    if limits is None:
        limits = _matrix_cells.limits_of_cells([shown])
    low_and_high = _arguments.check_limits(limits)
    if ax is None:
        cell = float(np.clip(_CELL_INCHES * max(values.shape), _SMALLEST, _LARGEST))
        cell /= max(values.shape)
    else:
        cell = min(np.array(axes_inches(ax)) / values.shape[::-1])
    points = max(min(POINTS, _NAME_SHARE * 72 * cell), 1.0)
    label = (grid.measure if bar_label is None else bar_label) or ""
    with legible([*grid.texts(), label, fig_title or ""]) as written:
        grid = grid.written(written)
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
        with _figure.drawing_axes(
            ax,
            plot_style=None,
            fig_size=(width, height),
            show=show,
            save_to=save_to,
            # The plain one has names cut off where cells are square.
            layout="compressed",
        ) as target:
            image = _matrix_cells.draw_cells(target, values, blank, cmap=cmap, limits=low_and_high)
            _matrix_cells.hide_spines(target, half)
            for axis, side in ((target.xaxis, grid.below), (target.yaxis, grid.beside)):
                if labels:
                    axis.set_ticks(range(len(side.names)), side.names, fontsize=points)
                    if axis is target.xaxis and upright:
                        axis.set_tick_params(rotation=90)
                else:
                    axis.set_ticks([])
            if labels:
                name_axes(target, grid.below.title, grid.beside.title)
            _matrix_cells.draw_borders(target, grid.beside.groups, grid.below.groups)
            if annotate:
                _matrix_cells.write_values(target, image, shown)
            if bar:
                colours = target.figure.colorbar(
                    image,
                    ax=target,
                    shrink=_BAR_SHARE,
                    pad=0.03,
                    fraction=_BAR_WIDTH / cells[0],
                    aspect=_BAR_SHARE * cells[1] / _BAR_WIDTH,
                )
                _matrix_cells.label_bar(colours, written(label))
            head(target, written(fig_title or ""))
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

    def written(self, write: Callable[[str], str]) -> _Side:
        """Return the same with all texts as `write` has them."""
        return replace(self, names=[*map(write, self.names)], title=write(self.title))


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

    def texts(self) -> list[str]:
        """List what is written at the sides."""
        return [text for side in (self.beside, self.below) for text in (side.title, *side.names)]

    def written(self, write: Callable[[str], str]) -> _Grid:
        """Return the same with all texts at the sides as `write` has them."""
        return replace(self, beside=self.beside.written(write), below=self.below.written(write))


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
    order: EntryOrder,
) -> _Grid:
    entries = row["entry_labels"]
    sides = []
    for wanted, argument in ((rows, "rows"), (columns, "columns")):
        chosen = set(_chosen(entries, wanted, argument))
        sides.append([k for k in order.places if k in chosen])
    beside, below = sides
    along, across = (
        _Side(names_of(entries, side), shared_by(entries, side), [order.groups[k] for k in side])
        for side in sides
    )
    return _Grid(
        row["matrix"][np.ix_(beside, below)],
        along,
        across,
        is_square=beside == below,
        measure=measure_of(row),
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


def _room(side: _Side, points: float, *, along: bool) -> float:
    """Inches that the names of a side take, which end at the cells or else run along them."""
    names = max(text_inches(name, points) for name in side.names) if along else points / 72
    return names + _SIDE_INCHES * bool(side.title)
