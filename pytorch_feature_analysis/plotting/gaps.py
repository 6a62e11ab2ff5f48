"""The similarity of models beside the gap in their accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.matrices import pearson
from pytorch_feature_analysis.plotting._fonts import legible, take_fonts
from pytorch_feature_analysis.plotting._model_pairs import (
    check_enough,
    check_frame,
    check_single,
    measure_of,
)
from pytorch_feature_analysis.plotting._paper import (
    COLUMN_INCHES,
    POINTS,
    dot_size,
    head_figure,
    head_panel,
    in_words_of_r,
    limits_of,
    look,
    name_axes,
    tidy,
    write_in_corner,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SINGLE_HEIGHT = 2.7
_PANEL_INCHES = (1.65, 1.55)
_MOST_ABREAST = 4
_COLUMNS = ("dataset", "similarity", "gap")


def plot_similarity_against_gap(
    pairs_df: pd.DataFrame,
    datasets: Sequence[Any] | None = None,
    *,
    names: Mapping[Any, str] | None = None,
    cmap: Any = "viridis",
    fig_title: str | None = None,
    axes: Sequence[Axes] | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> list[Axes]:
    """Draw the similarity of each pair of models against the gap in accuracy, by dataset.

    Parameters
    ----------
    pairs_df : DataFrame
        One row a dataset and pair of models, by one measure, as of `get_performance_gaps`, with
        the columns ``dataset``, ``similarity`` and ``gap``; with ``accuracy_1`` and ``accuracy_2``
        the colour is the higher one of the two.
    datasets : list, optional
        Which datasets, and in what order; default all, as they come.
    names : dict, optional
        What datasets and the measure are called in the figure, where not by their names.
    cmap : str or matplotlib colormap, default 'viridis'
        Colours of the accuracies.
    fig_title : str, optional
        A title above all; not on axes of yours.
    axes : list of matplotlib Axes, optional
        Where to draw, one for each dataset; default a figure of its own.
    show : bool, default True
        Show the figure on the screen, where there is one.
    save_opts : path, dict or 'na', default 'na'
        Where to save it, and keywords of ``Figure.savefig``, as in `rdm_mds`.

    Returns
    -------
    list of matplotlib.axes.Axes
        What was drawn on, a panel for each dataset, all on the same scale. In a corner is
        Pearson's r.

    Raises
    ------
    ValueError
        Columns that are missing, several measures, datasets that are not there or have fewer than
        three pairs.

    See Also
    --------
    link_to_performance : The correlations as a table.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> pairs = pd.DataFrame({
    ...     "dataset": "pets",
    ...     "model_1": ["a", "a", "b"],
    ...     "model_2": ["b", "c", "c"],
    ...     "similarity": [0.8, 0.5, 0.7],
    ...     "gap": [0.2, 0.5, 0.3],
    ... })
    >>> axes = pfa.plot_similarity_against_gap(pairs, show=False)
    >>> [(ax.get_title(), ax.texts[0].get_text()) for ax in axes]
    [('pets', 'r = −1.00')]
    >>> plt.close(axes[0].figure)
    """
    from pytorch_feature_analysis.plotting import _arguments, _figure

    check_frame(pairs_df, _COLUMNS, argument="pairs_df", maker="`get_performance_gaps`")
    measured = [name for name in ("dissim_metric", "dissim_metric_sub") if name in pairs_df]
    check_single(pairs_df, measured, argument="pairs_df")
    known = list(dict.fromkeys(pairs_df["dataset"]))
    if datasets is None:
        chosen = known
    else:
        chosen = check_sequence(datasets, argument="datasets", of="datasets")
        for dataset in chosen:
            check_name(dataset, known, argument="datasets", what="dataset", owner=" of `pairs_df`")
        if not chosen:
            raise ValueError("`datasets` is empty; leave it out for all of them.")
    measure = measure_of(pairs_df.iloc[0]) if measured else "similarity"
    called = _arguments.check_names(names, [*chosen, measure], what="dataset or measure")
    save_to = _figure.check_save_opts(save_opts)
    own = _arguments.check_panels(axes, len(chosen))
    has_accuracy = {"accuracy_1", "accuracy_2"} <= set(pairs_df.columns)
    frame = pairs_df.dropna(subset=list(_COLUMNS))
    frame = frame[frame["dataset"].isin(chosen)]
    for dataset in chosen:
        check_enough(int((frame["dataset"] == dataset).sum()), f"{dataset!r} in `pairs_df`")
    colours = frame[["accuracy_1", "accuracy_2"]].max(axis=1) if has_accuracy else None
    limits = [limits_of(frame["gap"], low=0.0), limits_of(frame["similarity"])]

    def draw(panels: Sequence[Axes], written: Callable[[str], str]) -> None:
        for target, dataset in zip(panels, chosen, strict=True):
            here = frame["dataset"] == dataset
            x, y = frame["gap"][here].to_numpy(), frame["similarity"][here].to_numpy()
            shade: dict[str, Any] = {"facecolors": look(0)[0]}
            if colours is not None:
                ends = {"vmin": colours.min(), "vmax": colours.max()}
                shade = {"c": colours[here].to_numpy(), "cmap": cmap, **ends}
            # The lightest colours would be lost on white without an edge.
            edge: dict[str, Any] = {"edgecolors": "0.3", "linewidths": 0.2}
            target.scatter(x, y, s=dot_size(len(x)), alpha=0.8, **edge, **shade)
            target.set(xlim=limits[0], ylim=limits[1])
            head_panel(target, written(called.get(dataset, str(dataset))))
            tidy(target, ticks=4)
            # In the same corner of all panels.
            note = in_words_of_r(pearson(x, y))
            write_in_corner(target, note, frame["gap"], frame["similarity"])

    labels = "gap in accuracy", called.get(measure, measure)
    texts = [*labels, *(called.get(dataset, str(dataset)) for dataset in chosen)]
    if own is not None:
        with legible([*texts, fig_title or ""]) as written:
            take_fonts(own)
            draw(own, written)
            head_figure(_figure.root_figure(own[0]), written(fig_title or ""))
            for target in own:
                name_axes(target, *map(written, labels))
        if save_to is not None:
            save_to.save(_figure.root_figure(own[0]))
        return own
    lines = ceil(len(chosen) / _MOST_ABREAST)
    abreast = ceil(len(chosen) / lines)
    size = _PANEL_INCHES[0] * abreast + 0.7, _PANEL_INCHES[1] * lines + 0.4
    if len(chosen) == 1:
        size = COLUMN_INCHES, _SINGLE_HEIGHT
    with (
        legible([*texts, fig_title or ""]) as written,
        _figure.drawing_figure(fig_size=size, show=show, save_to=save_to) as figure,
    ):
        grid = figure.add_gridspec(lines, abreast)
        panels = [figure.add_subplot(grid[divmod(k, abreast)]) for k in range(len(chosen))]
        draw(panels, written)
        for k, target in enumerate(panels):
            # Ticks are named at the left and below the last panel of each column.
            target.tick_params(labelleft=k % abreast == 0, labelbottom=k + abreast >= len(panels))
        figure.supxlabel(labels[0], fontsize=POINTS + 1)
        figure.supylabel(written(labels[1]), fontsize=POINTS + 1)
        if colours is not None:
            bar = figure.colorbar(panels[0].collections[0], ax=panels, aspect=30, pad=0.02)
            bar.set_label("accuracy of the better model", fontsize=POINTS)
            bar.ax.tick_params(labelsize=POINTS)
            bar.outline.set_visible(False)
        head_figure(figure, written(fig_title or ""))
    return panels
