"""The demo's figures: maps of digits, and of the layers of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.images import load_image
from pytorch_feature_analysis.plotting._paper import COLOURS as OKABE_ITO
from pytorch_feature_analysis.plotting.mds import rdm_mds
from pytorch_feature_analysis.plotting.mds_panels import plot_mds_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COLOURS = {"trained": "#c1272d", "untrained": "#2f6fb3", "alexnet": "#7d7d7d"}
"""Of the networks, in figures."""

INKS = (*OKABE_ITO, "#661100", "#332288")
"""Of the digits 0 to 9, which all can tell apart."""

_IMAGE = "original_rgb"
_DIGIT_POINTS = 12
# Of 255; the margin of a digit is no ink.
_FAINT = 30
_CAPTION = """\
Thirty handwritten digits:
near means alike.

The network that has learnt to read
brings digits of a kind together;
its untrained twin does not.
"""
_MARGIN = 0.03


def draw_digits(rdm_df: pd.DataFrame, table: pd.DataFrame, sheet: str = "sheet2") -> Figure:
    """Map the images of a sheet as the small networks represent them: MDS with thumbnails.

    Parameters
    ----------
    rdm_df : DataFrame
        The demo's stack.
    table : DataFrame
        Its images, from `read_image_folder`.
    sheet : str, default 'sheet2'
        The image set.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that pyplot does not know, so nothing needs to be closed.
    """
    from matplotlib.figure import Figure

    shown = df_filter(table, ("sheet", sheet))
    pictures = {
        (digit, sample): _in_ink(path, INKS[int(digit)])
        for digit, sample, path in zip(shown["digit"], shown["sample"], shown["path"], strict=True)
    }
    panels = {
        "the images": ("trained", _IMAGE),
        "trained network, conv3": ("trained", "conv3"),
        "trained network, fc2 (output)": ("trained", "fc2"),
        "untrained network, conv3": ("untrained", "conv3"),
        "untrained network, fc2 (output)": ("untrained", "fc2"),
    }
    of_sheet = df_filter(rdm_df, [("sheet", sheet), ("dissim_metric", "corr")])
    rows = [
        df_filter(of_sheet, [("model", model), ("layer", layer)]).assign(panel=title)
        for title, (model, layer) in panels.items()
    ]
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplot_mosaic([[0, 1, 2], [".", 3, 4]])
    plot_mds_panels(
        pd.concat(rows),
        "panel",
        align_to="the images",
        cond_pics=pictures,
        pic_points=_DIGIT_POINTS,
        alphatize_pics=False,
        overlap="repel",
        axes=list(axes.values()),
    )
    # The corner below the images is free.
    figure.text(0.01, 0.455, _CAPTION, va="top", fontsize=9, linespacing=1.5)
    return figure


def _in_ink(path: str, colour: str) -> Image.Image:
    """Return a digit in coloured ink without its paper, cut to the ink."""
    ink = ImageOps.invert(load_image(path).convert("L"))
    picture = Image.new("RGB", ink.size, colour)
    picture.putalpha(ink)
    return picture.crop(ink.point(lambda grey: 255 * (grey > _FAINT)).getbbox())


def draw_layers(second: pd.DataFrame, alexnet_weights: str) -> Figure:
    """Map the layers of all networks, by the mean of the sheets: MDS with trajectories.

    Parameters
    ----------
    second : DataFrame
        The demo's stack of the second order.
    alexnet_weights : str
        'trained' or 'random', for the legend.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that pyplot does not know, so nothing needs to be closed.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    sheets = df_filter(second, ("dissim_metric_sub", "corr"))
    keys = sheets["entry_keys"].iloc[0]
    # A frame of one's own serves as a stack.
    mean = pd.DataFrame(
        {"matrix": [np.mean(sheets["matrix"].tolist(), axis=0)], "entry_keys": [keys]}
    )
    named = {
        "trained": "trained on digits",
        "untrained": "untrained",
        "alexnet": f"AlexNet, {alexnet_weights} weights",
    }
    labels = {key: key[1] for key in keys if _is_labelled(*key)}
    colours = {key: "black" if key[1] == _IMAGE else COLOURS[key[0]] for key in keys}
    lines: dict[str, dict[str, Any]] = {
        name: {"color": colour, "linewidth": 1.5} for name, colour in COLOURS.items()
    }
    figure = Figure(figsize=(8, 8), layout="constrained")
    ax = figure.subplots()
    ax.set_title("Layers of three networks, by how they represent the digits")
    ax.legend(
        handles=[
            Line2D([], [], color="black", marker="s", linestyle="", label="the image"),
            *(Line2D([], [], label=named[name], **options) for name, options in lines.items()),
        ],
        loc="upper left",
        bbox_to_anchor=(0, -0.005),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        ncols=4,
    )
    rdm_mds(
        mean,
        cond_colors=colours,
        cond_labels=labels,
        plot_opts={"linewidths": 0},
        other_dot_opts={
            "s": {key: 14 if _is_between(key[1]) else 45 for key in keys},
            "marker": {key: "s" for key in keys if key[1] == _IMAGE},
        },
        line_trajectories=[
            ([key for key in keys if key[0] == name], options) for name, options in lines.items()
        ],
        ax=ax,
        plot_style=None,
    )
    texts = [text for text in ax.texts if text.get_text() in labels.values()]
    for key, text in zip(labels, texts, strict=True):
        text.set_color(colours[key])
    _cut_empty_bands(figure, ax, texts)
    return figure


def _is_between(layer: str) -> bool:
    """Whether a layer has no weights, and is not the image either."""
    return not layer.startswith(("conv", "fc", _IMAGE))


def _is_labelled(model: str, layer: str) -> bool:
    if model == "alexnet":
        return layer in ("conv1", "conv5", "fc3")
    return not _is_between(layer) and (model, layer) != ("untrained", _IMAGE)


def _cut_empty_bands(figure: Figure, ax: Axes, texts: Sequence[Text]) -> None:
    """Cut what is empty above and below all dots and labels; the scale stays."""
    figure.draw_without_rendering()
    to_data = ax.transData.inverted()
    labels = [to_data.transform(text.get_window_extent()) for text in texts]
    dots = [np.asarray(dots.get_offsets()) for dots in ax.collections]
    heights = np.concatenate([*labels, *dots])[:, 1]
    low, high = heights.min() - _MARGIN, heights.max() + _MARGIN
    bottom, top = ax.get_ylim()
    cut = (1 - (high - low) / (top - bottom)) * ax.bbox.height / figure.dpi
    ax.set_ylim(low, high)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height - cut)
