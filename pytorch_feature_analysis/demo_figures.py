"""The demo's figures: maps of digits, and of the layers of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from pytorch_feature_analysis.dataframes import df_filter
from pytorch_feature_analysis.images import load_image
from pytorch_feature_analysis.plotting.mds import rdm_mds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COLOURS = {"trained": "#c1272d", "untrained": "#2f6fb3", "alexnet": "#7d7d7d"}
"""Of the networks, in figures."""

_IMAGE = "original_rgb"
_MARGIN = 0.03


def draw_digits(rdm_df: pd.DataFrame, table: pd.DataFrame, sheet: str = "sheet1") -> Figure:
    """Map the images of a sheet as the small networks represent them: MDS with thumbnails.

    Parameters
    ----------
    rdm_df : DataFrame
        The demo's stack.
    table : DataFrame
        Its images, from `read_image_folder`.
    sheet : str, default 'sheet1'
        The image set.

    Returns
    -------
    matplotlib.figure.Figure
        A figure that pyplot does not know, so nothing needs to be closed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    palette = mpl.colormaps["tab10"]
    shown = df_filter(table, ("sheet", sheet))
    pictures = {
        (digit, sample): _in_ink(path, palette(int(digit)))
        for digit, sample, path in zip(shown["digit"], shown["sample"], shown["path"], strict=True)
    }
    panels = {
        "image": ("trained", "original_rgb", "the images"),
        "trained 1": ("trained", "conv3", "trained network, conv3"),
        "trained 2": ("trained", "fc2", "trained network, fc2 (output)"),
        "untrained 1": ("untrained", "conv3", "untrained network, conv3"),
        "untrained 2": ("untrained", "fc2", "untrained network, fc2 (output)"),
    }
    figure = Figure(figsize=(10.5, 7.4), layout="constrained")
    axes = figure.subplot_mosaic(
        [["image", "trained 1", "trained 2"], ["image", "untrained 1", "untrained 2"]]
    )
    for name, (model, layer, title) in panels.items():
        row = df_filter(
            rdm_df,
            [
                ("model", model),
                ("layer", layer),
                ("sheet", sheet),
                ("dissim_metric", "corr"),
            ],
        )
        rdm_mds(row, cond_pics=pictures, alphatize_pics=False, ax=axes[name], plot_style=None)
        axes[name].set_title(title)
    return figure


def _in_ink(path: str, colour: Sequence[float]) -> Image.Image:
    """Return a digit in coloured ink without its paper."""
    grey = load_image(path).convert("L")
    picture = Image.new("RGBA", grey.size, tuple(round(255 * part) for part in colour))
    picture.putalpha(ImageOps.invert(grey))
    return picture


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
