"""Maps of the entries of an RDM, on which near means alike."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count
from pytorch_feature_analysis.embedding import NUM_NEIGHBORS, embed_items
from pytorch_feature_analysis.missing_cells import known_matrix
from pytorch_feature_analysis.plotting._arguments import (
    check_axes,
    check_figure_size,
    check_pair,
    check_row,
)
from pytorch_feature_analysis.plotting._map_looks import check_looks, draw_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MATRIX = "rdm_df['matrix']"
_TITLE_SHARE = 0.96


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
    overlap: str = "allow",
    pic_points: float | None = None,
    color_by: Hashable = None,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
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
        of floats from 0 to 1. In 3-D they face the viewer from whatever side. In the place of
        one that is None, or a file that is not there, is a blank with the entry's key, and one
        log line counts them; entries without a picture in the dict have a dot.
    pic_size : float, default 0.1
        Longer side of a picture; its aspect is kept. See `pic_points` for a size in points.
    alphatize_pics : bool, default True
        Make the colour `alpha_target` in pictures transparent; see `alphatize_image`.
    add_pic_border : bool or dict, default False
        Frame the pictures; a dict has options of `matplotlib.patches.Rectangle`. With `color_by`,
        pictures are framed in its colours; ``{'linewidth': 0}`` leaves the frames out.
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
        nothing. The resolution is 200 dpi, and that of pictures in PDF and SVG 300, unless `dpi`
        says otherwise.
    ax : matplotlib Axes, optional
        Where to draw, three-dimensional for ``dims=3``. It is left to the caller to show. By
        default a figure is made.
    overlap : {'allow', 'shrink', 'repel'}, default 'allow'
        What happens to pictures that hide each other, their transparent margins aside. 'allow':
        nothing. 'shrink': all are made smaller alike, until none overlaps another, but no smaller
        than 6 points; a log line says if they still do then. 'repel': they are moved the least to
        be clear of each other, and a thin line leads from a picture to a small dot where it
        belongs; they are made smaller where they would fill more than a quarter of the axes. In
        3-D this is of the present view.
    pic_points : float, optional
        Longer side of a picture in points, 1/72 inch, instead of `pic_size`; in 3-D that of one
        in the middle.
    color_by : str, optional
        An entry variable, such as 'obj', in whose values' colours dots and picture borders are,
        with a legend on a figure made here. Up to 8 values have colours that all can tell apart,
        and dots a marker each too, unless markers are given. Entries without a value have that of
        the text.
    method, num_starts, num_neighbors, random_state, nan_policy, symmetrize
        As in `mds_coordinates`.

    Returns
    -------
    float
        Raw stress, the sum over pairs of (distance - dissimilarity)\ :sup:`2`: 0 where the map is
        exact. It grows with the number of entries and the unit of the dissimilarities; stress-1
        (on the plot, and in the log) does not: 0.05 is good, 0.1 fair, 0.2 poor. For 'nonmetric',
        the sum of (distance - disparity)\ :sup:`2`. For 'tsne' and 'umap', which have no stress,
        their trustworthiness: 1 where the nearest five on the map are near in the RDM too, about
        0.5 where they are anybody.

    Raises
    ------
    ValueError
        If there is not exactly one row, or one of the dicts names no entry of the RDM, or an
        argument or picture is wrong.

    See Also
    --------
    mds_coordinates : the points in numbers.
    plot_mds_panels : one map for each RDM of a stack, turned to each other.
    plot_shepard : how well distances stand for dissimilarities.

    Notes
    -----
    `my_mds` is the same function.

    Entries are named by their keys, ``('cat', 'red')``; the key of a single value, ``('cat',)``,
    may also be given as ``'cat'``. Keys that are not in this RDM are passed over, so that one dict
    of pictures, labels or colours serves many plots; only if none of its keys is there, it is an
    error. Entries without a finite dissimilarity have no point, and are named in the log.

    Letters that the fonts of the style lack, such as Chinese ones, are drawn in another font of
    this machine that has them, or as squares, of which a log line tells. Dollars are dollars: no
    name or title is read as mathematics. A title with mathematics can be set on the axes.

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
    inches = check_figure_size(fig_size)
    check_axes(ax, dims)
    looks = check_looks(
        keys,
        row["entry_labels"],
        plot_opts=plot_opts,
        other_dot_opts=other_dot_opts,
        cond_labels=cond_labels,
        label_offset=label_offset,
        label_opts=label_opts,
        plot_dots=plot_dots,
        cond_colors=cond_colors,
        color_by=color_by,
        cond_pics=cond_pics,
        pic_size=pic_size,
        pic_points=pic_points,
        add_pic_border=add_pic_border,
        pic_offset=pic_offset,
        overlap=overlap,
        line_trajectories=line_trajectories,
    )

    # matplotlib is imported no sooner than a figure is made.
    from pytorch_feature_analysis.plotting import _figure, _fonts

    save_to = _figure.check_save_opts(save_opts)
    looks = looks.with_pictures(
        inches=max(inches),
        alphatize=alphatize_pics,
        alpha_target=alpha_target,
        alpha_range=alpha_range,
    )
    embedding = embed_items(
        matrix,
        dims,
        method=method,
        num_starts=num_starts,
        num_neighbors=num_neighbors,
        random_state=random_state,
        symmetrize=symmetrize,
        names=keys,
        argument=_MATRIX,
    )
    with (
        _figure.drawing_axes(
            ax,
            plot_style=plot_style,
            fig_size=inches,
            show=show,
            save_to=save_to,
            projection="3d" if dims == 3 else None,
        ) as target,
        _fonts.legible([*looks.texts(), fig_title or ""]) as write,
    ):
        draw_map(
            target,
            looks,
            _scaled(embedding.points, keys),
            limits=limits,
            note=embedding.note if show_stress else "",
            title=fig_title,
            title_room=_TITLE_SHARE * target.figure.bbox.width if ax is None else ax.bbox.width,
            legend=ax is None,
            write=write,
        )
    return embedding.fit


my_mds = rdm_mds


def _scaled(points: np.ndarray, keys: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """Bring the points to 0..1 by one least and one greatest value, which keeps their shape."""
    low, high = np.nanmin(points), np.nanmax(points)
    unit = high - low if high > low else 1.0
    scaled = (points - low) / unit if high > low else points - low + 0.5
    return {
        key: place for key, place in zip(keys, scaled, strict=True) if np.isfinite(place).all()
    }
