"""RDM metrics side by side, and measures of similarity against one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.chosen_measures import direction_of
from pytorch_feature_analysis.dissimilarity import Metric, check_metrics, compute_rdms
from pytorch_feature_analysis.matrices import dead_items, pearson
from pytorch_feature_analysis.measure_comparison import pairs_with_reference
from pytorch_feature_analysis.metric_comparison import RDM_METRICS
from pytorch_feature_analysis.missing_cells import (
    cells_of_pairs,
    check_nan_policy,
    finite_or_nan,
    refuse_missing,
)
from pytorch_feature_analysis.plotting._fonts import legible, take_fonts
from pytorch_feature_analysis.plotting._paper import (
    COLUMN_INCHES,
    POINTS,
    head,
    head_figure,
    head_height,
    head_panel,
    in_words_of_r,
    legend_below,
    legend_height,
    legend_name,
    limits_of,
    look,
    name_axes,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches of an RDM with its bar, and of the panel of points.
_RDM_INCHES = (1.5, 2.05)
_POINTS_INCHES = (3.0, 3.2)
_MOST_ABREAST = 5
_NAMED = "metric or measure"


def plot_metric_comparison(
    activations_df: pd.DataFrame,
    similarity_df: pd.DataFrame | None = None,
    metrics: Sequence[Any] = RDM_METRICS,
    *,
    reference: str = "linear_cka",
    names: Mapping[str, str] | None = None,
    nan_policy: str = "pairwise",
    cmap: Any = "magma",
    fig_title: str | None = None,
    axes: Sequence[Axes] | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> list[Axes]:
    """Draw the RDMs that different metrics make of one representation, side by side.

    Parameters
    ----------
    activations_df : DataFrame
        A frame of activations of one row, as in `compare_rdm_metrics`.
    similarity_df : DataFrame, optional
        A stack of `get_similarity_rdms` by several measures, for a further panel: that of
        `plot_measure_comparison`.
    metrics : list, default as in `compare_rdm_metrics`
        Metrics of `compute_rdm`.
    reference : str, default 'linear_cka'
        The measure on the abscissa of the further panel, as in `compare_measures`.
    names : dict, optional
        What metrics and measures are called in the figure, where not by their names.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing cells (NaN or infinite), as of stimuli without variance.
        'pairwise': they are grey in the RDMs that lack them. 'omit': stimuli without any finite
        cell in some RDM are left out of all, and cells that any lacks are grey in all. 'raise': an
        error that names metrics and counts. For the further panel, as in `compare_measures`.
    cmap : str or matplotlib colormap, default 'magma'
        Colours of the RDMs, each from its least to its largest cell off the diagonal, as its bar
        says. Missing cells are grey.
    fig_title : str, optional
        A title above all; not on axes of yours.
    axes : list of matplotlib Axes, optional
        Where to draw, one for each metric, and one more for `similarity_df`; default a figure of
        its own.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    list of matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        Several rows of activations; another number of axes; `names` of nothing that is drawn;
        missing cells with 'raise'.

    See Also
    --------
    compare_rdm_metrics : The differences as numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(20, 8))
    >>> df = pd.DataFrame({"activations": [x], "entry_keys": [list(range(20))]})
    >>> axes = pfa.plot_metric_comparison(df, show=False)
    >>> [ax.get_title() for ax in axes]
    ['pearson', 'L2', 'L2squared', 'L2_normalize', 'L2squared_normalize']
    >>> plt.close(axes[0].figure)
    """
    from pytorch_feature_analysis.plotting import _arguments, _figure

    chosen = check_metrics(metrics, argument="metrics")
    check_nan_policy(nan_policy)
    checked = check_activations(activations_df)
    if len(checked) != 1:
        raise ValueError(
            f"`activations_df` must have one row, and has {len(checked)}: the RDMs of one"
            " representation are drawn. Take one with df_filter."
        )
    clouds = None if similarity_df is None else _clouds_of(similarity_df, reference, nan_policy)
    measures = [] if clouds is None else [reference, *clouds]
    called = _arguments.check_names(
        names, [*(metric.name for metric in chosen), *measures], what=_NAMED
    )
    save_to = _figure.check_save_opts(save_opts)
    n_panels = len(chosen) + (clouds is not None)
    own = _arguments.check_panels(axes, n_panels)
    palette = _palette(cmap)
    texts = [metric.name for metric in chosen] + measures
    texts = [called.get(name, name) for name in texts]
    rdms = _known_rdms(checked["activations"].iloc[0], chosen, nan_policy)

    with legible([*texts, fig_title or ""]) as written:
        called = {name: written(text) for name, text in called.items()}

        def draw(panels: list[Axes]) -> list[Axes]:
            for target, metric, rdm in zip(panels, chosen, rdms, strict=False):
                _draw_rdm(target, rdm, called.get(metric.name, metric.name), palette)
            if clouds is not None:
                _draw_clouds(panels[-1], clouds, reference, called, legend=True)
            return panels

        if own is not None:
            take_fonts(own)
            drawn = draw(own)
            head_figure(_figure.root_figure(own[0]), written(fig_title or ""))
            if save_to is not None:
                save_to.save(_figure.root_figure(own[0]))
            return drawn
        lines = [] if clouds is None else _lines(clouds, reference, called)
        title = written(fig_title or "")
        size = _size(len(chosen), lines, title)
        with _figure.drawing_figure(fig_size=size, show=show, save_to=save_to) as figure:
            drawn = draw(_panels(figure, len(chosen), with_points=clouds is not None))
            head_figure(figure, title)
        return drawn


def plot_measure_comparison(
    similarity_df: pd.DataFrame,
    reference: str = "linear_cka",
    *,
    names: Mapping[str, str] | None = None,
    nan_policy: str = "pairwise",
    legend: bool = True,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw the similarity of each pair of representations by several measures against one.

    Parameters
    ----------
    similarity_df : DataFrame
        A stack of `get_similarity_rdms` by two or more measures. A point is a pair of
        representations by a measure; those of all groups are drawn. Distances d are drawn as
        1 - d, so that all that lies higher is more alike.
    reference : str, default 'linear_cka'
        The measure on the abscissa, as in `compare_measures`.
    names : dict, optional
        What measures are called in the figure, where not by their names.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing dissimilarities, as in `compare_measures`.
    legend : bool, default True
        Say below which points are which measure, and their correlation with the reference.
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
        What was drawn on.

    Raises
    ------
    ValueError
        As in `compare_measures`; `names` of no measure that is there.

    See Also
    --------
    compare_measures : The agreement as numbers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(30, 8))
    >>> df = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "conv3", "fc1"],
    ...     "activations": [x[:, :2], x[:, :3], x[:, :5], x[:, 4:]],
    ...     "entry_keys": [list(range(30))] * 4,
    ... })
    >>> stack = pfa.get_similarity_rdms(df, ["linear_cka", "nbs"], progress=False)
    >>> ax = pfa.plot_measure_comparison(stack, names={"linear_cka": "CKA"}, show=False)
    >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
    ('CKA', ['nbs, r = 0.992', 'the same as CKA'])
    >>> plt.close(ax.figure)
    """
    from pytorch_feature_analysis.plotting import _arguments, _figure

    clouds = _clouds_of(similarity_df, reference, nan_policy)
    called = _arguments.check_names(names, [reference, *clouds], what=_NAMED)
    save_to = _figure.check_save_opts(save_opts)
    _arguments.check_axes(ax, 2)
    texts = [called.get(name, name) for name in (reference, *clouds)]
    with legible([*texts, fig_title or ""]) as written:
        called = {name: written(text) for name, text in called.items()}
        width, height = COLUMN_INCHES, _POINTS_INCHES[1]
        height += legend_height(_lines(clouds, reference, called)) if legend else 0.0
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=(width, height), show=show, save_to=save_to
        ) as target:
            _draw_clouds(target, clouds, reference, called, legend=legend)
            head(target, written(fig_title or ""))
        return target


def _known_rdms(table: np.ndarray, metrics: Sequence[Metric], nan_policy: str) -> list[np.ndarray]:
    """RDMs by all metrics, with NaN for what is missing."""
    rdms = np.stack([finite_or_nan(rdm) for rdm in compute_rdms(table, metrics)])
    refuse_missing(
        nan_policy,
        map(cells_of_pairs, rdms),
        owner="`activations_df`",
        names=[f"'{metric.name}'" for metric in metrics],
    )
    if nan_policy == "omit":
        kept = np.flatnonzero(~np.any([dead_items(rdm) for rdm in rdms], axis=0))
        if not kept.size:
            raise ValueError(
                "`nan_policy` is 'omit', and every stimulus is without any finite cell by some"
                " metric, so that nothing is left to draw. Leave such metrics out, or take"
                " 'pairwise', which draws them grey."
            )
        rdms = rdms[:, kept[:, None], kept]
        rdms = np.where(np.isnan(rdms).any(axis=0), np.nan, rdms)
    return list(rdms)


def _clouds_of(
    similarity_df: pd.DataFrame, reference: str, nan_policy: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Dissimilarities by the reference and by each other measure, of the pairs of all groups."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for pairs in pairs_with_reference(similarity_df, reference, nan_policy):
        found.setdefault(pairs.measure, []).append((pairs.of_reference, pairs.of_measure))
    return {
        name: (np.concatenate([one for one, _ in of]), np.concatenate([other for _, other in of]))
        for name, of in found.items()
    }


def _lines(
    clouds: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reference: str,
    called: Mapping[str, str],
) -> list[str]:
    """Lines of the legend: each measure with its correlation, and the dotted line."""
    return [
        *(
            f"{_shown(name, called)}, {in_words_of_r(pearson(one, other), decimals=3)}"
            for name, (one, other) in clouds.items()
        ),
        f"the same as {_shown(reference, called)}",
    ]


def _shown(name: str, called: Mapping[str, str]) -> str:
    text = called.get(name, name)
    is_similarity = direction_of(name) == "similarity" or name in called
    return text if is_similarity else f"1 \N{MINUS SIGN} {text}"


def _palette(cmap: Any) -> Any:
    import matplotlib as mpl

    palette = mpl.colormaps[cmap] if isinstance(cmap, str) else cmap
    return palette.with_extremes(bad="0.8")


def _grid(n_rdms: int, *, with_points: bool) -> tuple[int, int]:
    """Rows and columns of the RDMs: two rows beside a panel of points, which is that high."""
    if with_points:
        return min(n_rdms, 2), ceil(n_rdms / 2)
    columns = min(n_rdms, _MOST_ABREAST)
    return ceil(n_rdms / columns), columns


def _size(n_rdms: int, lines: Sequence[str], title: str | None) -> tuple[float, float]:
    """Inches of the figure, with a panel of points where its legend has lines."""
    rows, columns = _grid(n_rdms, with_points=bool(lines))
    width, height = columns * _RDM_INCHES[0], rows * _RDM_INCHES[1]
    if lines:
        width += _POINTS_INCHES[0]
        of_legend = legend_height(lines, inches=_POINTS_INCHES[0])
        height = max(height, _POINTS_INCHES[1] + of_legend)
    # Squares leave a layout no way to make room for it.
    return width, height + head_height(title, inches=width)


def _panels(figure: Figure, n_rdms: int, *, with_points: bool) -> list[Axes]:
    rows, columns = _grid(n_rdms, with_points=with_points)
    if not with_points:
        grid = figure.add_gridspec(rows, columns)
        return [figure.add_subplot(grid[divmod(k, columns)]) for k in range(n_rdms)]
    shares = [columns * _RDM_INCHES[0], _POINTS_INCHES[0]]
    halves = figure.add_gridspec(1, 2, width_ratios=shares, wspace=0.08)
    left = halves[0].subgridspec(rows, columns)
    panels = [figure.add_subplot(left[divmod(k, columns)]) for k in range(n_rdms)]
    return [*panels, figure.add_subplot(halves[1])]


def _draw_rdm(target: Axes, rdm: np.ndarray, name: str, palette: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    cells = rdm[~np.eye(len(rdm), dtype=bool)]
    cells = cells[np.isfinite(cells)]
    low, high = (cells.min(), cells.max()) if cells.size else (0.0, 1.0)
    image = target.imshow(rdm, cmap=palette, vmin=low, vmax=high, interpolation="nearest")
    target.set(xticks=[], yticks=[])
    head_panel(target, name)
    bar = target.figure.colorbar(
        image, ax=target, location="bottom", pad=0.04, shrink=0.9, ticks=MaxNLocator(4)
    )
    bar.ax.tick_params(labelsize=POINTS - 1, length=2)
    bar.outline.set_visible(False)


def _draw_clouds(
    target: Axes,
    clouds: Mapping[str, tuple[np.ndarray, np.ndarray]],
    reference: str,
    called: Mapping[str, str],
    *,
    legend: bool,
) -> None:
    lines = _lines(clouds, reference, called)
    ends = []
    for k, (one, other) in enumerate(clouds.values()):
        colour, marker = look(k)
        target.scatter(
            1 - one,
            1 - other,
            s=14,
            color=colour,
            marker=marker,
            alpha=0.8,
            linewidths=0,
            label=legend_name(lines[k]),
        )
        ends += [1 - one, 1 - other]
    values = np.concatenate(ends)
    limits = limits_of(values if values.size else [0.0, 1.0])
    target.plot(
        limits,
        limits,
        linestyle=":",
        color="0.4",
        linewidth=1,
        zorder=0,
        label=legend_name(lines[-1]),
    )
    # A fixed aspect would leave the layout no way to make room for the legend.
    target.set(xlim=limits, ylim=limits)
    name_axes(target, _shown(reference, called), "similarity")
    tidy(target)
    if legend:
        legend_below(target)
