"""Pairs of models as points: on two datasets, and over all of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis.matrices import pearson, to_condensed
from pytorch_feature_analysis.mean_rdms import mean_rows
from pytorch_feature_analysis.missing_cells import check_nan_policy, refuse_missing
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._model_pairs import (
    FEWEST_PAIRS,
    categories_of,
    check_enough,
    measure_of,
    models_of,
    pair_kinds,
    row_of,
    values_of,
)
from pytorch_feature_analysis.plotting._paper import (
    COLUMN_INCHES,
    dot_size,
    head,
    in_words_of_r,
    legend_below,
    legend_height,
    legend_name,
    limits_of,
    look,
    name_axes,
    tidy,
    write_in_corner,
)
from pytorch_feature_analysis.rdm_stack import check_row, checked_stack

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 3.1


@dataclass(frozen=True)
class _Kinds:
    """Kinds of pairs: the number of each pair's, and their names."""

    numbers: np.ndarray
    texts: Sequence[str]


def plot_dataset_scatter(
    similarity_df: pd.DataFrame,
    dataset_1: Any,
    dataset_2: Any,
    *,
    dataset_variable: str = "dataset",
    model_table: pd.DataFrame | None = None,
    column: str | None = None,
    names: Mapping[Any, str] | None = None,
    nan_policy: str = "omit",
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw the similarity of each pair of models on one dataset against that on another.

    Parameters
    ----------
    similarity_df : DataFrame
        A stack whose entries are models, such as of `get_similarity_rdms`, with one row of each
        of the two datasets (rows of shuffles aside). Similarities are drawn where the measure is
        one, and distances where it is a distance.
    dataset_1, dataset_2
        The datasets on the abscissa and the ordinate. Models that one of them lacks are left out.
    dataset_variable : str, default 'dataset'
        The column that names the datasets.
    model_table : DataFrame, optional
        What is known of the models, by the column ``model``, to tell kinds of pairs apart.
    column : str, optional
        The column of the table that does, such as 'objective'; models that have no value in it
        are '(none)'.
    names : dict, optional
        What datasets, the measure and values of the column are called in the figure, where not by
        their names.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing values (NaN or infinite). 'omit' and 'pairwise', which of two rows
        are the same, leave out the pairs that either lacks; 'raise': an error that names rows and
        counts.
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
        What was drawn on. In a corner is Pearson's r of all pairs, and in the legend that of each
        kind of at least three; on the dotted line both datasets agree.

    Raises
    ------
    ValueError
        No such dataset, several rows of one (by several measures, say), fewer than three pairs of
        models that both have, models that are not in the table; missing values with 'raise'.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets", "flowers"],
    ...     "dissim_metric": "linear_cka",
    ...     "entry_keys": [["a", "b", "c"]] * 2,
    ...     "matrix": [np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]]) / 10,
    ...                np.array([[0, 3, 5], [3, 0, 4], [5, 4, 0]]) / 10],
    ... })
    >>> ax = pfa.plot_dataset_scatter(stack, "pets", "flowers", show=False)
    >>> ax.get_xlabel(), ax.texts[0].get_text()
    ('linear_cka on pets', 'r = 0.98')
    >>> plt.close(ax.figure)
    """
    check_nan_policy(nan_policy)
    rows = [
        row_of(similarity_df, dataset_variable, value, argument=argument)
        for value, argument in ((dataset_1, "dataset_1"), (dataset_2, "dataset_2"))
    ]
    measures = [measure_of(row) for row in rows]
    if measures[0] != measures[1]:
        raise ValueError(
            f"`similarity_df` has {dataset_1!r} by {measures[0]!r} and {dataset_2!r} by"
            f" {measures[1]!r}; take one measure with df_filter."
        )
    models = [models_of(row) for row in rows]
    there = set(models[1])
    shared = [model for model in models[0] if model in there]
    x, y = (
        values_of(row)[np.ix_(places, places)]
        for row, places in (
            (row, [own.index(model) for model in shared])
            for row, own in zip(rows, models, strict=True)
        )
    )
    refuse_missing(
        nan_policy,
        [to_condensed(x), to_condensed(y)],
        owner="`similarity_df`",
        names=[f"row {row.name!r}" for row in rows],
    )
    given = [dataset_1, dataset_2, measures[0]]
    points, kinds, called = _points_of(x, y, shared, model_table, column, names, given)
    measure = called.get(measures[0], measures[0])
    labels = [f"{measure} on {called.get(value, value)}" for value in given[:2]]
    return _draw_figure(
        points, kinds, labels, identity=True, title=fig_title, ax=ax, show=show, save=save_opts
    )


def plot_similarity_spread(
    similarity_df: pd.DataFrame,
    over: Sequence[str] = ("dataset",),
    *,
    model_table: pd.DataFrame | None = None,
    column: str | None = None,
    names: Mapping[Any, str] | None = None,
    nan_policy: str = "omit",
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw how much the similarity of each pair of models varies, against its mean.

    Parameters
    ----------
    similarity_df : DataFrame
        A stack whose entries are models, by one measure, on several datasets. Rows of shuffles
        are left out.
    over : list of str, default ``['dataset']``
        Columns that tell apart what mean and standard deviation (ddof 1) are over, as in
        `get_mean_rdms`.
    model_table, column, names
        As in `plot_dataset_scatter`.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing values, as in `get_mean_rdms`: 'omit' leaves out the pairs that any
        row lacks, 'pairwise' draws those that two rows or more have; 'raise' is an error.
    fig_title, ax, show, save_opts
        As in `plot_dataset_scatter`.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    ValueError
        As in `get_mean_rdms`; several measures; models that are not in the table.

    See Also
    --------
    get_mean_rdms : The same as matrices, for `plot_heatmap`.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets", "flowers"],
    ...     "dissim_metric": "linear_cka",
    ...     "entry_keys": [["a", "b", "c"]] * 2,
    ...     "matrix": [np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]]) / 10,
    ...                np.array([[0, 4, 5], [4, 0, 9], [5, 9, 0]]) / 10],
    ... })
    >>> ax = pfa.plot_similarity_spread(stack, show=False)
    >>> ax.collections[0].get_offsets().round(2).tolist()
    [[0.7, 0.14], [0.5, 0.0], [0.4, 0.42]]
    >>> plt.close(ax.figure)
    """
    stack = checked_stack(similarity_df, argument="similarity_df")
    stack = stack[stack["perm"] == "orig_data"]
    own = [name for name in stack.columns if name in {*similarity_df.columns, "entry_labels"}]
    means = mean_rows(stack[own], over, nan_policy=nan_policy, argument="similarity_df")
    mean = check_row(means[means["statistic"] == "mean"], argument="similarity_df")
    sd = means["matrix"][means["statistic"] == "sd"].item()
    measure = measure_of(mean)
    models = models_of(mean)
    points, kinds, called = _points_of(
        values_of(mean), sd, models, model_table, column, names, [measure]
    )
    text = called.get(measure, measure)
    every = f"{over[0]}s" if len(over) == 1 else "RDMs"
    labels = [f"mean {text} over {mean['n_rdms']} {every}", f"sd of {text}"]
    return _draw_figure(
        points, kinds, labels, identity=False, title=fig_title, ax=ax, show=show, save=save_opts
    )


def _points_of(
    x: np.ndarray,
    y: np.ndarray,
    models: Sequence[Hashable],
    model_table: Any,
    column: Any,
    names: Any,
    drawn: Sequence[Any],
) -> tuple[tuple[np.ndarray, np.ndarray], _Kinds | None, dict[Any, str]]:
    """Values of the pairs that both have, what kinds of pairs these are, and names of all."""
    from pytorch_feature_analysis.plotting._arguments import check_names

    if (model_table is None) != (column is None):
        raise ValueError(
            "`model_table` and `column` belong together: the table, and which of its columns"
            " tells kinds of pairs apart."
        )
    counted = np.triu(np.isfinite(x) & np.isfinite(y), k=1)
    first, second = np.nonzero(counted)
    check_enough(len(first), "`similarity_df`")
    found: list[Any] = []
    values: list[Any] = []
    if model_table is not None:
        found, values = categories_of(models, model_table, column)
    called = check_names(names, [*drawn, *values], what="dataset, measure or category")
    kinds = None
    if values:
        kinds = _Kinds(*pair_kinds(found, values, first.tolist(), second.tolist(), called))
    return (x[counted], y[counted]), kinds, called


def _draw_figure(
    points: tuple[np.ndarray, np.ndarray],
    kinds: _Kinds | None,
    labels: Sequence[str],
    *,
    identity: bool,
    title: str | None,
    ax: Axes | None,
    show: bool,
    save: Any,
) -> Axes:
    from pytorch_feature_analysis.plotting import _arguments, _figure

    save_to = _figure.check_save_opts(save)
    _arguments.check_axes(ax, 2)
    x, y = points
    clouds = [(np.ones(len(x), dtype=bool), "")]
    if kinds is not None:
        clouds = [
            (own, _with_r(text, x[own], y[own]) if identity else text)
            for own, text in ((kinds.numbers == k, text) for k, text in enumerate(kinds.texts))
        ]
    with legible([*labels, *(text for _, text in clouds), title or ""]) as written:
        clouds = [(own, written(text)) for own, text in clouds]
        lines = [text for _, text in clouds if text]
        size = COLUMN_INCHES, _HEIGHT + legend_height(lines)
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=size, show=show, save_to=save_to
        ) as target:
            for k, (own, text) in enumerate(clouds):
                colour, marker = look(k)
                target.scatter(
                    x[own],
                    y[own],
                    s=dot_size(len(x)),
                    color=colour,
                    marker=marker,
                    alpha=0.7,
                    linewidths=0,
                    label=legend_name(text) if text else None,
                )
            limits = [limits_of(x), limits_of(y, low=None if identity else 0.0)]
            if identity:
                both = limits_of(np.concatenate([x, y]))
                limits = [both, both]
                target.plot(both, both, linestyle=":", color="0.4", linewidth=1, zorder=0)
            target.set(xlim=limits[0], ylim=limits[1])
            name_axes(target, *map(written, labels))
            tidy(target)
            if identity:
                write_in_corner(target, in_words_of_r(pearson(x, y)), x, y)
            if lines:
                legend_below(target)
            head(target, written(title or ""))
        return target


def _with_r(text: str, x: np.ndarray, y: np.ndarray) -> str:
    return text if len(x) < FEWEST_PAIRS else f"{text}, {in_words_of_r(pearson(x, y))}"
