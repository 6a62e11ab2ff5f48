"""A study of many models: consistency by sets of them, and how many stimuli it takes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.plotting._arguments import check_axes, check_names
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._model_pairs import check_frame, check_single, set_pair
from pytorch_feature_analysis.plotting._paper import (
    COLOURS,
    COLUMN_INCHES,
    LINE_INCHES,
    POINTS,
    axes_inches,
    head,
    in_lines,
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

logger = logging.getLogger(__name__)

_ALL = "all"
# Inches between the names of one tick and the next.
_BETWEEN_NAMES = 0.06
_BOX_INCHES = 0.24
_NAME_INCHES = 1.75
_CONSISTENCY_COLUMNS = ("by", "set_1", "set_2", "r")
_SIZE_COLUMNS = ("measure", "n_stimuli", "mean", "sd", "bias")
# What of the subsets is drawn, and how the ordinate is called.
_SHOWN = {
    "bias": "mean of subsets \N{MINUS SIGN} all stimuli",
    "mean": "mean of subsets",
    "sd": "sd over subsets",
    "change": "change from next smaller size",
}


def plot_consistency_boxes(
    consistency_df: pd.DataFrame,
    by: str | None = None,
    *,
    names: Mapping[Any, str] | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw the consistency of each pair of model sets over all pairs of datasets, as boxes.

    Parameters
    ----------
    consistency_df : DataFrame
        A frame of `get_consistency` by one measure: one row a pair of datasets and pair of model
        sets, with the columns ``by``, ``set_1``, ``set_2`` and ``r``.
    by : str, optional
        Which sets, as the column ``by`` names them, such as 'objective'; default the only ones
        that are there.
    names : dict, optional
        What sets are called in the figure, where not by their names.
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
        What was drawn on. A box is from the first to the third quartile of r over pairs of
        datasets, with a line at the median; whiskers reach the furthest value within 1.5 times its
        length, and dots are beyond. The highest median is on top. The grey band, where the frame
        has rows of all models (``by`` is 'all'), is of their quartiles and has a line at their
        median.

    Raises
    ------
    ValueError
        Columns that are missing, several measures or methods, sets that are not there, or no r.

    Notes
    -----
    Rows without an r are left out, and the log says of which sets and why.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> frame = pd.DataFrame({
    ...     "by": ["objective"] * 6 + ["all"] * 3,
    ...     "set_1": ["SSL"] * 3 + ["SSL"] * 3 + ["all"] * 3,
    ...     "set_2": ["SSL"] * 3 + ["Supervised"] * 3 + ["all"] * 3,
    ...     "r": [0.5, 0.6, 0.9, 0.7, 0.8, 0.9, 0.6, 0.7, 0.8],
    ... })
    >>> ax = pfa.plot_consistency_boxes(frame, show=False)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['SSL – Supervised', 'SSL – SSL']
    >>> plt.close(ax.figure)
    """
    from pytorch_feature_analysis.plotting import _figure

    argument = "consistency_df"
    check_frame(consistency_df, _CONSISTENCY_COLUMNS, argument=argument, maker="`get_consistency`")
    drawn, of_all = _rows_by(consistency_df, by)
    both = pd.concat([drawn, of_all])
    check_single(both, ["dissim_metric", "dissim_metric_sub", "method"], argument=argument)
    cell = [name for name in ("by", "set_1", "set_2", "dataset_1", "dataset_2") if name in both]
    if "dataset_1" in cell and both.duplicated(cell).any():
        twice = both[both.duplicated(cell)].iloc[0]
        raise ValueError(
            f"`{argument}` has several rows of {set_pair(twice['set_1'], twice['set_2'])} on one"
            " pair of datasets; take those of one kind with df_filter."
        )
    sets = dict.fromkeys([*drawn["set_1"], *drawn["set_2"]])
    called = check_names(names, sets, what="set of models")
    save_to = _figure.check_save_opts(save_opts)
    check_axes(ax, 2)
    boxes = _boxes_of(drawn, called)
    with legible([*(text for text, _ in boxes), fig_title or ""]) as written:
        texts = [_in_lines(written(text)) for text, _ in boxes]
        lines = max(text.count("\n") + 1 for text in texts)
        box_inches = max(_BOX_INCHES, LINE_INCHES * lines)
        size = COLUMN_INCHES, box_inches * len(boxes) + 0.75
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=size, show=show, save_to=save_to
        ) as target:
            whole = of_all["r"].dropna().to_numpy()
            if len(whole):
                first, median, third = np.quantile(whole, [0.25, 0.5, 0.75])
                target.axvspan(first, third, color="0.88", linewidth=0, zorder=0)
                target.axvline(median, color="0.6", linewidth=1, zorder=0)
            _draw_boxes(target, [r for _, r in boxes])
            target.set_yticks(range(1, len(boxes) + 1), texts, fontsize=POINTS)
            # The first is on top.
            target.set_ylim(len(boxes) + 0.6, 0.4)
            target.set_xlabel("consistency r", fontsize=POINTS + 1)
            target.tick_params(labelsize=POINTS)
            target.tick_params(axis="y", length=0)
            target.spines[["top", "right", "left"]].set_visible(False)
            beside = max(map(text_inches, texts))
            room = min(axes_inches(target)[0], COLUMN_INCHES - beside - 0.3)
            head(target, written(fig_title or ""), room=room)
        return target


def plot_sample_sizes(
    sensitivity_df: pd.DataFrame,
    shown: str = "bias",
    *,
    names: Mapping[Any, str] | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw how measures of similarity depend on the number of stimuli.

    Parameters
    ----------
    sensitivity_df : DataFrame
        A frame of `sample_size_sensitivity`. Pairs of representations of all groups are drawn
        together.
    shown : {'bias', 'mean', 'sd', 'change'}, default 'bias'
        What is on the ordinate: what a subset is off by on average, as compared with all stimuli;
        the mean over subsets; the standard deviation over subsets; or how much the mean changes
        from one size to the next, as an absolute value, which shows from where on more stimuli
        make no difference.
    names : dict, optional
        What measures are called in the figure, where not by their names.
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
        What was drawn on: for each measure a line through the medians over pairs of
        representations, and a band from the first to the third quartile.

    Raises
    ------
    ValueError
        Columns that are missing; a single size, for 'change'; measures that are not there.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "layer": ["conv1", "conv2"],
    ...     "activations": list(np.random.default_rng(0).normal(size=(2, 300, 40))),
    ...     "entry_keys": [list(range(300))] * 2,
    ... })
    >>> measures = ["linear_cka", ("linear_cka", {"debiased": True})]
    >>> table = pfa.sample_size_sensitivity(df, measures, [20, 50, 100], progress=False)
    >>> ax = pfa.plot_sample_sizes(table, show=False)
    >>> ax.lines[1].get_ydata().round(2).tolist()
    [0.54, 0.33, 0.17]
    >>> plt.close(ax.figure)
    """
    from pytorch_feature_analysis.plotting import _figure

    check_frame(
        sensitivity_df,
        _SIZE_COLUMNS,
        argument="sensitivity_df",
        maker="`sample_size_sensitivity`",
    )
    check_name(shown, _SHOWN, argument="shown", what="quantity to draw")
    measures = list(dict.fromkeys(sensitivity_df["measure"]))
    called = check_names(names, measures, what="measure")
    save_to = _figure.check_save_opts(save_opts)
    check_axes(ax, 2)
    frame = _changes(sensitivity_df) if shown == "change" else sensitivity_df
    texts = [called.get(measure, str(measure)) for measure in measures]
    with legible([*texts, fig_title or ""]) as written:
        texts = [*map(written, texts)]
        size = COLUMN_INCHES, 2.5 + legend_height(texts)
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=size, show=show, save_to=save_to
        ) as target:
            if shown == "bias":
                target.axhline(0, color="0.4", linestyle=":", linewidth=1, zorder=0)
            for k, (measure, text) in enumerate(zip(measures, texts, strict=True)):
                own = frame[frame["measure"] == measure].groupby("n_stimuli")[shown]
                first, median, third = (own.quantile(q) for q in (0.25, 0.5, 0.75))
                colour, marker = look(k)
                line: dict[str, Any] = {
                    "color": colour,
                    "marker": marker,
                    "markersize": 4,
                    "linewidth": 1.2,
                }
                target.plot(median.index, median, label=legend_name(text), **line)
                target.fill_between(
                    median.index, first, third, color=colour, alpha=0.18, linewidth=0
                )
            tidy(target)
            _name_sizes(target, sorted(frame["n_stimuli"].unique()))
            name_axes(target, "number of stimuli", _SHOWN[shown])
            legend_below(target)
            head(target, written(fig_title or ""))
        return target


def _rows_by(frame: pd.DataFrame, by: str | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the sets that are drawn, and those of all models."""
    known = [name for name in dict.fromkeys(frame["by"]) if name != _ALL]
    if by is None:
        if len(known) != 1:
            raise ValueError(
                f"`by` must be said, for `consistency_df` has sets by"
                f" {', '.join(map(repr, known)) or 'nothing but all models'}."
            )
        by = known[0]
    check_name(by, known, argument="by", what="kind of sets", owner=" of `consistency_df`")
    return frame[frame["by"] == by], frame[frame["by"] == _ALL]


def _boxes_of(drawn: pd.DataFrame, called: Mapping[Any, str]) -> list[tuple[str, np.ndarray]]:
    """Name and values of each pair of sets that has some, the highest median first."""
    boxes, empty, reasons = [], [], []
    for pair, rows in drawn.groupby(["set_1", "set_2"], sort=False):
        text = set_pair(*(called.get(name, str(name)) for name in pair))
        r = rows["r"].dropna().to_numpy()
        if len(r):
            boxes.append((text, r))
            continue
        empty.append(text)
        if "reason" in rows:
            reasons += [str(reason) for reason in rows["reason"].dropna() if reason]
    why = f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""
    if not boxes:
        raise ValueError(f"`consistency_df` has no r to draw{why}.")
    if empty:
        logger.warning("There is no r of %s%s: left out.", ", ".join(empty), why)
    return sorted(boxes, key=lambda box: -float(np.median(box[1])))


def _in_lines(text: str) -> str:
    """Break the name of a pair of sets that leaves the boxes little room, at the dash first."""
    if text_inches(text) <= _NAME_INCHES:
        return text
    dash = set_pair("", "")
    return in_lines(text.replace(dash, f"{dash.rstrip()}\n"), _NAME_INCHES)


def _draw_boxes(target: Axes, boxes: Sequence[np.ndarray]) -> None:
    flat: dict[str, Any] = {"orientation": "horizontal"}
    if "orientation" not in inspect.signature(target.boxplot).parameters:
        flat = {"vert": False}  # matplotlib before 3.10
    edge = {"color": "0.25", "linewidth": 0.8}
    target.boxplot(
        boxes,
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": "#A6CEE8", "edgecolor": "0.25", "linewidth": 0.8},
        medianprops={"color": COLOURS[1], "linewidth": 1.6},
        whiskerprops=edge,
        capprops=edge,
        flierprops={
            "marker": ".",
            "markersize": 3,
            "markerfacecolor": "0.25",
            "markeredgecolor": "none",
        },
        **flat,
    )


def _changes(frame: pd.DataFrame) -> pd.DataFrame:
    """Absolute differences of the means from those of the next smaller size, pair by pair."""
    if frame["n_stimuli"].nunique() < 2:
        raise ValueError(
            "`sensitivity_df` has one number of stimuli alone, and so no change to draw; give"
            " `sample_size_sensitivity` several `sizes`."
        )
    aside = {"n_stimuli", "mean", "sd", "full", "bias", "repeats"}
    pairs = [name for name in frame.columns if name not in aside]
    ordered = frame.sort_values("n_stimuli", kind="stable")
    change = ordered.groupby(pairs, sort=False, dropna=False)["mean"].diff().abs()
    return ordered.assign(change=change).dropna(subset="change")


def _name_sizes(target: Axes, sizes: Sequence[int]) -> None:
    """Give each size a tick on a logarithmic axis, and a name where there is room."""
    target.set_xscale("log")
    if len(sizes) == 1:
        target.set_xlim(sizes[0] / 2, sizes[0] * 2)
    left, right = target.get_xlim()
    inches = axes_inches(target)[0] / np.log(right / left)
    named = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        both = text_inches(f"{named[-1]:,}") + text_inches(f"{size:,}")
        if np.log(named[-1] / size) * inches >= both / 2 + _BETWEEN_NAMES:
            named.append(size)
    target.set_xticks(sizes, [f"{size:,}" if size in named else "" for size in sizes])
    target.minorticks_off()
