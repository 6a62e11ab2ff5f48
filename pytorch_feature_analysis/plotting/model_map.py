"""Models on a map, in the colours of what they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_name
from pytorch_feature_analysis.linkage import dissimilarities_of
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.missing_cells import known_matrix
from pytorch_feature_analysis.plotting._arguments import (
    check_axes,
    check_names,
    check_positive,
    check_row,
)
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._model_pairs import categories_of, models_of
from pytorch_feature_analysis.plotting._paper import (
    COLUMN_INCHES,
    POINTS,
    axes_inches,
    head,
    legend_below,
    legend_height,
    legend_name,
    look,
)
from pytorch_feature_analysis.tsne import tsne_embed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARGIN = 0.015
# A side with this few names, which grows with their number between these ends.
_LABELLED_INCHES, _FEW = 5.0, 24
_LABELLED_ENDS = (5.0, 7.0)
# From the middle of a dot to its label.
_GAP_INCHES = 0.09
_TITLE_INCHES = 0.25
_METHODS = ("metric", "classical", "tsne")


def plot_model_map(
    rdm_df: pd.DataFrame | pd.Series,
    model_table: pd.DataFrame,
    column: str,
    *,
    method: str = "metric",
    perplexity: float = 5.0,
    labels: bool = False,
    random_state: RandomState = 0,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    names: Mapping[Any, str] | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw models as points on a map on which near means alike, in the colours of a category.

    Parameters
    ----------
    rdm_df : DataFrame or Series
        A stack of one row whose entries are models, or that row: similarities of one dataset, or
        their mean of `get_mean_rdms`.
    model_table : DataFrame
        What is known of the models, by the column ``model``.
    column : str
        Its column with the categories, such as 'objective'; models that have no value in it are
        '(none)'.
    method : {'metric', 'classical', 'tsne'}, default 'metric'
        How distances on the map stand for dissimilarities: the first two as in `mds_coordinates`;
        'tsne' keeps neighbours together, and says little of larger distances.
    perplexity : float, default 5.0
        For 'tsne', about how many neighbours a model has; at most a third of the other models.
    labels : bool, default False
        Name the models.
    random_state : int, Generator or None, default 0
        Where starting points come from.
    nan_policy : {'omit', 'raise'}, default 'omit'
        As in `mds_coordinates`; 'tsne' needs the dissimilarities of all models that have any.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric and its transpose.
    names : dict, optional
        What categories are called in the figure, where not by their names.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw; default a figure of its own, as wide as a column of text, or
        wider with `labels`.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on. Below is how well the map fits, as stress-1: 0.05 is good, 0.1 fair, 0.2
        poor.

    Raises
    ------
    ValueError
        Several rows, models that are not in the table, and what `mds_coordinates` refuses.

    See Also
    --------
    rdm_mds : A map with all colours, labels and pictures by entry.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0, 1, 4], [1, 0, 4], [4, 4, 0]]) / 5],
    ...     "entry_keys": [["vgg16", "vgg19", "dino"]],
    ... })
    >>> table = pd.DataFrame({
    ...     "model": ["vgg16", "vgg19", "dino"],
    ...     "objective": ["Supervised", "Supervised", "SSL"],
    ... })
    >>> ax = pfa.plot_model_map(stack, table, "objective", show=False)
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['Supervised', 'SSL']
    >>> plt.close(ax.figure)
    """
    row = check_row(rdm_df)
    check_name(method, _METHODS, argument="method", what="method of scaling")
    check_positive(perplexity, argument="perplexity")
    keys = row["entry_keys"]
    found, categories = categories_of(models_of(row), model_table, column)
    called = check_names(names, categories, what="category")

    from pytorch_feature_analysis.plotting import _figure
    from pytorch_feature_analysis.plotting._flat_map import FlatMap

    save_to = _figure.check_save_opts(save_opts)
    check_axes(ax, 2)
    matrix = known_matrix(row["matrix"], nan_policy, owner="`rdm_df`", name=f"row {row.name!r}")
    matrix = dissimilarities_of(matrix, symmetrize=symmetrize)
    if method == "tsne":
        points = tsne_embed(matrix, perplexity=perplexity, random_state=random_state)
        note = "t-SNE"
    else:
        points, _ = embed(
            matrix, method=method, random_state=random_state, names=keys, argument="rdm_df"
        )
        note = f"MDS, stress-1 {stress_1(points, matrix):.2f}"
    places = _within_one(points, keys)
    looks = {category: look(k) for k, category in enumerate(categories)}
    texts = [called.get(category, str(category)) for category in categories]
    own = {key: ", ".join(map(str, key)) for key in keys} if labels else {}
    with legible([*texts, *own.values(), fig_title or ""]) as written:
        texts, own = [*map(written, texts)], {key: written(own[key]) for key in own}
        side = COLUMN_INCHES
        if labels:
            side = float(np.clip(_LABELLED_INCHES * sqrt(len(keys) / _FEW), *_LABELLED_ENDS))
        height = side + legend_height(texts, inches=side) + _TITLE_INCHES * bool(fig_title)
        with _figure.drawing_axes(
            ax,
            plot_style=None,
            fig_size=(side, height),
            show=show,
            save_to=save_to,
            # The plain one has what is around a square cut off.
            layout="compressed",
        ) as target:
            drawing = FlatMap(target, keys, places, (-0.06, 1.06))
            of_entry = dict(zip(keys, found, strict=True))
            drawing.draw_dots(
                {"s": 26, "linewidths": 0},
                {"marker": {key: looks[category][1] for key, category in of_entry.items()}},
                {key: looks[category][0] for key, category in of_entry.items()},
            )
            for category, text in zip(categories, texts, strict=True):
                colour, marker = looks[category]
                options: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
                target.plot([], [], linestyle="none", label=legend_name(text), **options)
            target.text(
                *(1, -0.015, note),
                transform=target.transAxes,
                ha="right",
                va="top",
                fontsize=POINTS - 1,
                color="0.35",
            )
            legend_below(target, inches=0.2)
            for spine in target.spines.values():
                spine.set_color("0.7")
            head(target, written(fig_title or ""))
            if labels:
                offset = _GAP_INCHES / min(axes_inches(target))
                drawing.draw_labels(own, offset=offset, options={"fontsize": POINTS - 1})
                # Text is a little wider in files than on the screen, where it was placed.
                target.set(xlim=_wider(target.get_xlim()), ylim=_wider(target.get_ylim()))
        return target


def _within_one(points: np.ndarray, keys: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """Bring the points to 0..1 by one scale for both axes, in the middle of both."""
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    scaled = 0.5 + (points - (low + high) / 2) / (np.max(high - low) or 1.0)
    return {
        key: place for key, place in zip(keys, scaled, strict=True) if np.isfinite(place).all()
    }


def _wider(limits: tuple[float, float]) -> tuple[float, float]:
    room = _MARGIN * (limits[1] - limits[0])
    return limits[0] - room, limits[1] + room
