"""How well distances on a map stand for dissimilarities: the diagram of Shepard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from pytorch_feature_analysis._checks import RandomState, check_count, check_name
from pytorch_feature_analysis.embedding import METHODS, NUM_NEIGHBORS, embed_items
from pytorch_feature_analysis.matrices import mean_of_both, to_condensed
from pytorch_feature_analysis.missing_cells import known_matrix
from pytorch_feature_analysis.nonmetric_mds import disparities
from pytorch_feature_analysis.plotting._arguments import check_axes, check_row
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._paper import (
    COLOURS,
    COLUMN_INCHES,
    dot_size,
    head,
    limits_of,
    name_axes,
    tidy,
    with_minus,
    write_in_corner,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Many pairs are told apart by how dark they are together.
_PLENTY_OF_PAIRS = 1000
_DIGITS = 7
_RHO = "\N{GREEK SMALL LETTER RHO}"


def plot_shepard(
    rdm_df: pd.DataFrame | pd.Series,
    dims: int = 2,
    *,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw distances on the map of an RDM against its dissimilarities, a point for each pair.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row, such as `df_filter` gives, or that row.
    dims : int, default 2
        Number of dimensions of the map.
    method, num_starts, num_neighbors, random_state, nan_policy, symmetrize
        As in `mds_coordinates`.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw; default a figure of its own, as wide as a column of text.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on. The line is where points would lie in an exact fit: for 'metric' and
        'classical' that of equal numbers; for the others, whose distances are to have the order
        of the dissimilarities, the monotone regression. In the corner are stress-1, the distance
        from the line (0.05 is good, 0.1 fair, 0.2 poor), and Spearman's rank correlation.

    Raises
    ------
    ValueError
        As `mds_coordinates`.

    See Also
    --------
    rdm_mds : the map.

    References
    ----------
    Shepard (1962). The analysis of proximities: multidimensional scaling with an unknown distance
    function. I. Psychometrika 27, 125-140. doi:10.1007/BF02289630

    Examples
    --------
    >>> import matplotlib, numpy as np, pandas as pd
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pytorch_feature_analysis as pfa
    >>> distances = np.array([[0, 3, 5, 4], [3, 0, 4, 5], [5, 4, 0, 3], [4, 5, 3, 0.0]])
    >>> keys = (('red',), ('blue',), ('green',), ('grey',))
    >>> row = pd.DataFrame({'matrix': [distances], 'entry_keys': [keys]})
    >>> ax = pfa.plot_shepard(row, show=False)
    >>> ax.texts[0].get_text().splitlines()
    ['stress-1 0.00', 'ρ = 1.00']
    >>> plt.close(ax.figure)
    """
    row = check_row(rdm_df)
    dims = check_count(dims, argument="dims")
    check_name(method, METHODS, argument="method", what="method of scaling")
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")

    from pytorch_feature_analysis.plotting import _figure

    save_to = _figure.check_save_opts(save_opts)
    check_axes(ax, 2)
    points = embed_items(
        matrix,
        dims,
        method=method,
        num_starts=num_starts,
        num_neighbors=num_neighbors,
        random_state=random_state,
        symmetrize=symmetrize,
        names=row["entry_keys"],
        argument="rdm_df['matrix']",
    ).points
    x, y = to_condensed(mean_of_both(np.array(matrix, dtype=float))), pdist(points)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = np.maximum(x[there], 0.0), y[there]
    fitted = x if method in ("metric", "classical") else disparities(y, x)
    size = float((y**2).sum())
    stress = float(np.sqrt(((y - fitted) ** 2).sum() / size)) if size else 0.0
    varies = len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0
    # Distances that differ by rounding alone are ties.
    rounded = np.round(y / y.max(initial=0.0) if varies else y, _DIGITS)
    rank_correlation = float(spearmanr(x, rounded).statistic) if varies else np.nan
    with (
        legible([fig_title or ""]) as written,
        _figure.drawing_axes(
            ax,
            plot_style=None,
            fig_size=(COLUMN_INCHES, COLUMN_INCHES),
            show=show,
            save_to=save_to,
        ) as target,
    ):
        target.scatter(
            x,
            y,
            s=dot_size(len(x)),
            color=COLOURS[0],
            alpha=float(np.clip(_PLENTY_OF_PAIRS / len(x), 0.15, 0.8)),
            linewidths=0,
            # Ten thousands of points are pixels in a file of vectors.
            rasterized=len(x) > 10 * _PLENTY_OF_PAIRS,
        )
        order = np.lexsort([fitted, x])
        if method in ("metric", "classical"):
            ends = np.array([0.0, max(x.max(initial=0), y.max(initial=0))])
            target.plot(ends, ends, color=COLOURS[1], linewidth=1.2)
        else:
            target.plot(x[order], fitted[order], color=COLOURS[1], linewidth=1.2)
        target.set(xlim=limits_of(x, 0.0), ylim=limits_of(y, 0.0))
        tidy(target)
        name_axes(target, "Dissimilarity", "Distance on the map")
        rho = f"{_RHO} = {with_minus(f'{rank_correlation:z.2f}')}" if varies else f"no {_RHO}"
        write_in_corner(target, f"stress-1 {stress:.2f}\n{rho}", x, y)
        head(target, written(fig_title or ""))
    return target
