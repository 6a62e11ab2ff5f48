"""A value from layer to layer: how well each fits, with its interval and the noise ceiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.plotting._arguments import check_axes, check_names
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._model_pairs import check_frame
from pytorch_feature_analysis.plotting._paper import (
    POINTS,
    head,
    legend_below,
    legend_height,
    legend_name,
    look,
    name_axes,
    text_inches,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INTERVAL = ("ci_low", "ci_high")
_CEILING = ("ceiling_low", "ceiling_high")
_LAYER_INCHES = 0.42
_HEIGHT = 2.3
# Lines stand so far apart at a layer, in shares of the distance to the next.
_APART = 0.14


def plot_layers(
    table: pd.DataFrame,
    value: str = "r",
    *,
    lines: str | None = None,
    layer_variable: str = "layer",
    layers: Sequence[Any] | None = None,
    names: Mapping[Any, str] | None = None,
    value_label: str | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw a value over the layers of one network or of several, such as a fit to a brain.

    Parameters
    ----------
    table : DataFrame
        One row a layer (and network), such as of `compare_to_reference`, with the columns
        `layer_variable` and `value`. Where it has ``ci_low`` and ``ci_high`` they are drawn as
        bars, and ``ceiling_low`` and ``ceiling_high`` as a band, if they are the same in all rows.
    value : str, default 'r'
        The column to draw.
    lines : str, optional
        The column that tells lines apart, such as 'model'; default a single line.
    layer_variable : str, default 'layer'
        The column that names the layers.
    layers : list, optional
        Which layers, from left to right; default all, as they come.
    names : dict, optional
        What layers and lines are called in the figure, where not by their names.
    value_label : str, optional
        Beside the ordinate; default `value`.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw; default a figure of its own, the wider the more layers there are.
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
        Columns or layers that are not there; several rows of one layer in one line.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> fits = pd.DataFrame({
    ...     "model": ["trained"] * 2 + ["untrained"] * 2,
    ...     "layer": ["conv1", "conv2"] * 2,
    ...     "r": [0.2, 0.4, 0.1, 0.1],
    ... })
    >>> ax = pfa.plot_layers(fits, lines="model", show=False)
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['conv1', 'conv2']
    >>> plt.close(ax.figure)
    """
    from pytorch_feature_analysis.plotting import _figure

    needed = [layer_variable, value, *([lines] if lines is not None else [])]
    check_frame(table, needed, argument="table", maker="`compare_to_reference`, say")
    known = list(dict.fromkeys(table[layer_variable]))
    chosen = known
    if layers is not None:
        chosen = check_sequence(layers, argument="layers", of="names of layers")
        for layer in chosen:
            check_name(layer, known, argument="layers", what="layer", owner=" of `table`")
        table = table[table[layer_variable].isin(chosen)]
    kinds = list(dict.fromkeys(table[lines])) if lines is not None else []
    twice = table.duplicated([name for name in (lines, layer_variable) if name is not None])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"`table` has several rows of the layer {row[layer_variable]!r}"
            + (f" of {row[lines]!r}" if lines is not None else "")
            + "; take one with df_filter, or tell them apart with `lines`."
        )
    called = check_names(names, [*chosen, *kinds], what="layer or line")
    save_to = _figure.check_save_opts(save_opts)
    check_axes(ax, 2)
    texts = [called.get(kind, str(kind)) for kind in kinds]
    under = [called.get(layer, str(layer)) for layer in chosen]
    beside = value if value_label is None else value_label
    with legible([*texts, *under, beside, fig_title or ""]) as written:
        texts, under = [*map(written, texts)], [*map(written, under)]
        width = 0.9 + _LAYER_INCHES * max(len(chosen), 5)
        longest = max(map(text_inches, under))
        height = _HEIGHT + 0.7 * longest + legend_height(texts, inches=width)
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=(width, height), show=show, save_to=save_to
        ) as target:
            _draw_ceiling(target, table)
            for k, kind in enumerate(kinds or [None]):
                own = table if kind is None else table[table[lines] == kind]
                own = own.set_index(layer_variable).reindex(chosen)
                at = np.arange(len(chosen)) + _APART * (k - (max(len(kinds), 1) - 1) / 2)
                colour, marker = look(k)
                values, reach = own[value].to_numpy(float), None
                if set(_INTERVAL) <= set(own.columns) and own[_INTERVAL[0]].notna().any():
                    ends = own[list(_INTERVAL)].to_numpy(float)
                    reach = np.maximum([values - ends[:, 0], ends[:, 1] - values], 0)
                drawn = target.errorbar(
                    at,
                    values,
                    reach,
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1.2,
                    elinewidth=1,
                    label=legend_name(texts[k]) if kinds else None,
                    zorder=3,
                )
                if reach is not None:
                    # Bootstrapped intervals may lie beside the value.
                    (bars,) = drawn.lines[2]
                    bars.set_segments(
                        [[(x, low), (x, high)] for x, (low, high) in zip(at, ends, strict=True)]
                    )
            low, high = target.get_ylim()
            if low < 0 < high:
                target.axhline(0, color="0.5", linewidth=0.8, zorder=1)
            tidy(target)
            target.set_xticks(
                range(len(chosen)), under, rotation=40, ha="right", rotation_mode="anchor"
            )
            target.set_xlim(-0.6, len(chosen) - 0.4)
            name_axes(target, "", written(beside))
            head(target, written(fig_title or ""))
            if kinds:
                legend_below(target, inches=0.15 + 0.7 * longest)
        return target


def _draw_ceiling(target: Axes, table: pd.DataFrame) -> None:
    """Draw the noise ceiling, where the table has one for all rows."""
    if not set(_CEILING) <= set(table.columns):
        return
    bounds = table[list(_CEILING)].drop_duplicates()
    if len(bounds) > 1 or bounds.isna().any(axis=None):
        return
    low, high = bounds.iloc[0]
    target.axhspan(low, high, color="0.88", linewidth=0, zorder=0)
    target.text(
        0.01,
        high,
        "noise ceiling",
        transform=target.get_yaxis_transform(),
        va="bottom",
        fontsize=POINTS,
        color="0.35",
    )
