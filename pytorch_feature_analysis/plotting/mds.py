"""Maps of the entries of an RDM, on which near means alike."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.missing_cells import known_matrix
from pytorch_feature_analysis.plotting._arguments import (
    by_entry,
    check_axes,
    check_colours,
    check_figure_size,
    check_finite,
    check_labels,
    check_options,
    check_pair,
    check_positive,
    check_row,
    check_trajectories,
    picture_frames,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

_MATRIX = "rdm_df['matrix']"
_TITLE_SHARE = 0.96
# Pictures are kept at what they need for print at this resolution.
_PICTURE_DPI = 600
_SMALLEST_PICTURE = 32
# A stress-1 that is rounding alone.
_EXACT = 1e-6


def rdm_mds(
    rdm_df: pd.DataFrame | pd.Series,
    dims: int = 2,
    plot_opts: Mapping[str, Any] | None = None,
    other_dot_opts: Mapping[str, Mapping[Any, Any]] | None = None,
    plot_limits: tuple[float, float] = (-0.1, 1.1),
    cond_labels: Mapping[Any, str] | bool | None = None,
    label_offset: float = 0.02,
    label_opts: Mapping[str, Any] | None = None,
    plot_dots: bool = True,
    cond_colors: Mapping[Any, Any] | None = None,
    cond_pics: Mapping[Any, Any] | None = None,
    pic_size: float = 0.1,
    alphatize_pics: bool = True,
    add_pic_border: bool | Mapping[str, Any] = False,
    alpha_target: Any = (255, 255, 255),
    alpha_range: float = 35,
    pic_offset: tuple[float, float] = (0.0, 0.0),
    line_trajectories: Iterable[tuple[Sequence[Any], Mapping[str, Any]]] = (),
    show_stress: bool = True,
    plot_style: Any = "classic",
    fig_title: str | None = None,
    fig_size: float | tuple[float, float] = 7,
    show: bool = True,
    save_opts: Any = "na",
    *,
    ax: Axes | None = None,
    method: str = "metric",
    num_starts: int = 8,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> float:
    r"""Draw the entries of an RDM as points whose distances stand for their dissimilarities.

    The coordinates are those of `mds_coordinates`, shifted and scaled to lie from 0 to 1, all
    axes alike, so that distances keep their proportions. All sizes and offsets below are in that
    unit.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, such as `df_filter` gives, or that row.
    dims : {2, 3}, default 2
        Number of dimensions.
    plot_opts : dict, optional
        Options of all dots, as `matplotlib.axes.Axes.scatter` takes them. A list of one value per
        entry goes by the order of the entries.
    other_dot_opts : dict, optional
        Options of single dots: ``{'s': {entry_key: 80, ...}, 'marker': {...}}``.
    plot_limits : (float, float), default (-0.1, 1.1)
        Low and high end of all axes. They grow where a dot, a picture or a label needs it.
    cond_labels : dict or bool, optional
        Labels by entry key; True labels each entry with its key, whose parts are joined by
        commas. Labels move around their points to keep clear of each other, and to where a thin
        line leads in a crowd. One that is wider than half the axes is broken into lines.
    label_offset : float, default 0.02
        From the middle of a dot, or the edge of a picture, to the label.
    label_opts : dict, optional
        Options of `matplotlib.text.Text`. With an alignment (`ha`, `va`) among them, labels stay
        above their points.
    plot_dots : bool, default True
        Draw a dot for each entry. One that a picture lies on is left out.
    cond_colors : dict, optional
        Colours of dots and of picture borders by entry key. Others have that of the text.
    cond_pics : dict, optional
        Pictures by entry key: paths, PIL images, or arrays (height, width[, 3 or 4]) of uint8 or
        of floats from 0 to 1. In 3-D they face the viewer from whatever side.
    pic_size : float, default 0.1
        Longer side of a picture; its aspect is kept.
    alphatize_pics : bool, default True
        Make the colour `alpha_target` in pictures transparent; see `alphatize_image`.
    add_pic_border : bool or dict, default False
        Frame the pictures; a dict has options of `matplotlib.patches.Rectangle`.
    alpha_target : (int, int, int), default (255, 255, 255)
        The colour that becomes transparent.
    alpha_range : float, default 35
        How far from it a pixel may be in red, green and blue each, of 255.
    pic_offset : (float, float), default (0, 0)
        Shift of pictures to the right and up, in 3-D too.
    line_trajectories : list of (list of entry keys, dict), default none
        Lines from entry to entry, each with options of `matplotlib.lines.Line2D`. On a figure
        made here, those with a `label` are named in a legend.
    show_stress : bool, default True
        Write the stress, and the stress-1 of Kruskal, below the axes.
    plot_style : str, dict, list or None, default 'classic'
        Style of matplotlib for this plot alone. None takes the current one, which suits axes that
        were made in it.
    fig_title : str, optional
        Title, which wraps where it is too long.
    fig_size : float or (float, float), default 7
        Size of a figure made here, in inches.
    show : bool, default True
        Show a figure made here, where the backend has a screen or a notebook.
    save_opts : 'na', path, dict or (path, dict), default 'na'
        Where to save the figure: a path whose suffix chooses the format, keywords of
        `matplotlib.figure.Figure.savefig` with `fname` among them, or both. 'na' and None save
        nothing. The resolution is 200 dpi unless `dpi` says otherwise.
    ax : matplotlib Axes, optional
        Where to draw, three-dimensional for ``dims=3``. It is left to the caller to show. By
        default a figure is made.
    method, num_starts, random_state, nan_policy, symmetrize
        As in `mds_coordinates`.

    Returns
    -------
    float
        Raw stress, the sum over pairs of (distance - dissimilarity)\ :sup:`2`: 0 where the map is
        exact. It grows with the number of entries and the unit of the dissimilarities; stress-1
        (on the plot, and in the log) does not: 0.05 is good, 0.1 fair, 0.2 poor.

    Raises
    ------
    ValueError
        If there is not exactly one row, or one of the dicts names no entry of the RDM, or an
        argument or picture is wrong.

    See Also
    --------
    mds_coordinates : the points in numbers.

    Notes
    -----
    `my_mds` is the same function.

    Entries are named by their keys, ``('cat', 'red')``; the key of a single value, ``('cat',)``,
    may also be given as ``'cat'``. Keys that are not in this RDM are passed over, so that one dict
    of pictures, labels or colours serves many plots; only if none of its keys is there, it is an
    error. Entries without a finite dissimilarity have no point, and are named in the log.

    A figure made here stays open as the current one of pyplot (``plt.gcf()``), unless it was
    saved and is on no screen: then it is closed. No global style is changed.

    References
    ----------
    Kruskal (1964). Multidimensional scaling by optimizing goodness of fit to a nonmetric
    hypothesis. Psychometrika 29, 1-27. doi:10.1007/BF02289565

    Examples
    --------
    >>> import matplotlib, numpy as np, pandas as pd
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pytorch_feature_analysis as pfa
    >>> distances = np.array([[0, 3, 5, 4], [3, 0, 4, 5], [5, 4, 0, 3], [4, 5, 3, 0.0]])
    >>> keys = (('red',), ('blue',), ('green',), ('grey',))
    >>> row = pd.DataFrame({'matrix': [distances], 'entry_keys': [keys]})
    >>> figure, ax = plt.subplots()
    >>> stress = pfa.rdm_mds(row, cond_colors={key: key[0] for key in keys}, ax=ax)
    >>> bool(stress < 1e-6)
    True
    >>> plt.close(figure)
    """
    row = check_row(rdm_df)
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")
    dims = check_count(dims, argument="dims", minimum=2, maximum=3)
    keys: tuple[tuple[Hashable, ...], ...] = row["entry_keys"]
    limits = check_pair(plot_limits, argument="plot_limits")
    if limits[0] >= limits[1]:
        raise ValueError(f"`plot_limits` must be (low, high), not {plot_limits!r}.")
    offset = check_pair(pic_offset, argument="pic_offset")
    size = check_positive(pic_size, argument="pic_size")
    check_finite(label_offset, argument="label_offset")
    inches = check_figure_size(fig_size)
    check_axes(ax, dims)
    labels = check_labels(cond_labels, keys)
    colours = check_colours(cond_colors, keys)
    sources = by_entry(cond_pics, keys, argument="cond_pics")
    per_dot = {
        option: by_entry(values, keys, argument=f"other_dot_opts[{option!r}]")
        for option, values in check_options(other_dot_opts, argument="other_dot_opts").items()
    }
    dot_options = check_options(plot_opts, argument="plot_opts")
    label_options = check_options(label_opts, argument="label_opts")
    trajectories = check_trajectories(line_trajectories, keys)
    frames = picture_frames(add_pic_border, sources, colours)

    # matplotlib is imported no sooner than a figure is made.
    from pytorch_feature_analysis.plotting import _figure, _pictures
    from pytorch_feature_analysis.plotting._deep_map import DeepMap
    from pytorch_feature_analysis.plotting._flat_map import FlatMap

    save_to = _figure.check_save_opts(save_opts)
    pictures = _pictures.load_pictures(
        sources,
        argument="cond_pics",
        alphatize=alphatize_pics,
        alpha_target=alpha_target,
        alpha_range=alpha_range,
        longest_side=max(int(size * max(inches) * _PICTURE_DPI), _SMALLEST_PICTURE),
    )
    points, stress = embed(
        matrix,
        dims,
        method=method,
        num_starts=num_starts,
        random_state=random_state,
        symmetrize=symmetrize,
        names=keys,
        argument=_MATRIX,
    )
    normalised = stress_1(points, matrix)
    logger.info(
        "MDS of %d entries in %d dimensions: stress %.6g, stress-1 %.4f.",
        len(keys),
        dims,
        stress,
        normalised,
    )
    places = _scaled(points, keys)

    with _figure.drawing_axes(
        ax,
        plot_style=plot_style,
        fig_size=inches,
        show=show,
        save_to=save_to,
        projection="3d" if dims == 3 else None,
    ) as target:
        drawing = (FlatMap if dims == 2 else DeepMap)(target, keys, places, limits)
        drawing.draw_lines(trajectories)
        drawing.draw_pictures(pictures, size=size, offset=offset, frames=frames)
        if plot_dots:
            drawing.draw_dots(dot_options, per_dot, colours)
        if fig_title:
            room = _TITLE_SHARE * target.figure.bbox.width if ax is None else ax.bbox.width
            _figure.write_title(target, fig_title, room=room)
        drawing.write_margins(
            _stress_in_words(stress, normalised) if show_stress else "",
            legend=ax is None,
        )
        drawing.draw_labels(labels, offset=label_offset, options=label_options)
    return stress


my_mds = rdm_mds


def mds_coordinates(
    rdm_df: pd.DataFrame | pd.Series,
    dims: int = 2,
    *,
    method: str = "metric",
    num_starts: int = 8,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> pd.DataFrame:
    """Place the entries of an RDM as points whose distances stand for their dissimilarities.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, such as `df_filter` gives, or that row.
    dims : int, default 2
        Number of coordinates.
    method : {'metric', 'classical'}, default 'metric'
        'metric' finds the least raw stress, the sum over pairs of the squared difference of
        distance and dissimilarity. 'classical' is Torgerson's scaling, which gives Euclidean
        distances back exactly, and sees other dissimilarities through their squares.
    num_starts : int, default 8
        For 'metric', the number of configurations to start from; the least stress is kept. The
        first is the classical solution, so that ``num_starts=1`` has nothing random.
    random_state : int, numpy Generator or None, default 0
        Where the other starts come from. None is fresh entropy.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': entries without any
        finite one have no point, and single ones have no weight; a log line counts
        them. 'raise': an error that says how many. There is no 'pairwise', which is about two
        RDMs or more.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric (of 'pwcca', say) and its transpose.

    Returns
    -------
    DataFrame
        One row per entry, in the order of the RDM, with the columns

        entry_key : tuple
            as in the stack.
        entry variables
            one column for each, from ``entry_labels``.
        dim1, dim2, ... : float
            coordinates in the unit of the dissimilarities, about 0, on principal axes (dim1
            varies most); in each the entry furthest from 0 is on the positive side. NaN for
            entries without a finite dissimilarity, which are named in the log.

    Raises
    ------
    ValueError
        If there is not exactly one row, or a dissimilarity is negative, or missing with 'raise',
        or the RDM is not symmetric and `symmetrize` is False, or the finite ones leave groups of
        entries unconnected.

    See Also
    --------
    rdm_mds : the same as a picture.

    References
    ----------
    Borg and Groenen (2005). Modern Multidimensional Scaling, 2nd edition.
    doi:10.1007/0-387-28981-X

    Torgerson (1952). Multidimensional scaling: I. Theory and method. Psychometrika 17, 401-419.
    doi:10.1007/BF02288916

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> line = np.array([0.0, 1.0, 5.0])
    >>> row = pd.DataFrame({
    ...     'matrix': [np.abs(line[:, None] - line)],
    ...     'entry_keys': [(('left',), ('middle',), ('right',))],
    ...     'entry_labels': [({'side': 'left'}, {'side': 'middle'}, {'side': 'right'})],
    ... })
    >>> pfa.mds_coordinates(row, dims=1).round(6)
       entry_key    side  dim1
    0    (left,)    left  -2.0
    1  (middle,)  middle  -1.0
    2   (right,)   right   3.0
    """
    row = check_row(rdm_df)
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")
    points, _ = embed(
        matrix,
        dims,
        method=method,
        num_starts=num_starts,
        random_state=random_state,
        symmetrize=symmetrize,
        names=row["entry_keys"],
        argument=_MATRIX,
    )
    coordinates = {f"dim{k + 1}": points[:, k] for k in range(points.shape[1])}
    variables = list(dict.fromkeys(name for label in row["entry_labels"] for name in label))
    taken = [name for name in variables if name in coordinates or name == "entry_key"]
    if taken:
        raise ValueError(
            f"`rdm_df` has an entry variable {taken[0]!r}, which is a column of the coordinates."
            " Rename it in `entry_labels`."
        )
    columns: dict[Any, Any] = {"entry_key": list(row["entry_keys"])}
    for name in variables:
        columns[name] = [label.get(name) for label in row["entry_labels"]]
    return pd.DataFrame({**columns, **coordinates})


def _stress_in_words(stress: float, normalised: float) -> str:
    if normalised < _EXACT:
        return "stress 0"
    return f"stress {stress:.3g}, stress-1 {normalised:.2g}"


def _scaled(points: np.ndarray, keys: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """Bring the points to 0..1 by one least and one greatest value, which keeps their shape."""
    low, high = np.nanmin(points), np.nanmax(points)
    unit = high - low if high > low else 1.0
    scaled = (points - low) / unit if high > low else points - low + 0.5
    return {
        key: place for key, place in zip(keys, scaled, strict=True) if np.isfinite(place).all()
    }
