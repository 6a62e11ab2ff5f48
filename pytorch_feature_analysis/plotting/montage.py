"""Pictures side by side on one sheet."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.plotting._fonts import legible
from pytorch_feature_analysis.plotting._paper import POINTS, TITLE_POINTS, axes_inches, in_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inches of a picture, and the least that are reckoned with; the room between two, and above a
# label, in shares of a picture.
_PICTURE_INCHES, _SMALLEST = 1.0, 0.2
_GAP = 0.12
# Around all pictures, which fall on whole pixels and would be cut at the ends of the axes.
_EDGE = 0.02
_LABEL_ROOM = 0.09
# Inches of a line of a title.
_TITLE_LINE = 0.2
# Inches of a line of a label.
_LINE_ROOM = 0.13
_LONGEST_SIDE = 256


def plot_montage(
    pictures: Mapping[Hashable, Any] | Sequence[Any],
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    fig_title: str | None = None,
    ax: Axes | None = None,
    show: bool = True,
    save_opts: Any = "na",
) -> Axes:
    """Draw pictures side by side in rows, such as the stimuli that were chosen.

    Parameters
    ----------
    pictures : mapping or sequence of path or PIL image
        In the order in which they are drawn, from the upper left.
    labels : sequence of str, optional
        What is written below each.
    columns : int, optional
        Pictures in a row; default as many as make the sheet about square.
    fig_title : str, optional
        A title above.
    ax : matplotlib Axes, optional
        Where to draw; default a figure of its own, an inch a picture.
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
        There are no pictures, or some cannot be read (all are named), or not as many labels.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import matplotlib.pyplot as plt
    >>> from PIL import Image
    >>> import pytorch_feature_analysis as pfa
    >>> colors = ['red', 'green', 'blue']
    >>> pictures = [Image.new('RGB', (64, 48), color) for color in colors]
    >>> ax = pfa.plot_montage(pictures, colors, show=False)
    >>> len(ax.images)
    3
    >>> plt.close(ax.figure)
    """
    sources: dict[Hashable, Any] = dict(
        pictures if isinstance(pictures, Mapping) else enumerate(pictures)
    )
    if not sources:
        raise ValueError("`pictures` is empty; give at least one.")
    if labels is not None and len(labels) != len(sources):
        raise ValueError(f"`labels` must name each of the {len(sources)} pictures: {labels!r}.")
    n_columns = ceil(sqrt(len(sources)))
    if columns is not None:
        n_columns = min(check_count(columns, argument="columns"), len(sources))
    n_rows = ceil(len(sources) / n_columns)

    from pytorch_feature_analysis.plotting import _figure, _pictures

    save_to = _figure.check_save_opts(save_opts)
    loaded = _pictures.load_pictures(
        sources,
        argument="pictures",
        alphatize=False,
        alpha_target=(255, 255, 255),
        alpha_range=0,
        longest_side=_LONGEST_SIDE,
    )
    width = n_columns * (1 + _GAP) - _GAP
    unit, room = _PICTURE_INCHES, 0.0
    if ax is not None:
        room, up = axes_inches(ax)
        # With labels of two lines.
        high = (up / n_rows - 2 * _LINE_ROOM * bool(labels)) / (1 + _GAP + _LABEL_ROOM)
        unit = max(min(room / width, high), _SMALLEST)
    given = [] if labels is None else [str(label) for label in labels]
    with legible([*given, fig_title or ""]) as written:
        texts = [in_lines(written(text), unit * (1 + 0.5 * _GAP)) for text in given]
        lines = max((text.count("\n") + 1 for text in texts), default=0)
        step = 1 + _GAP + (_LABEL_ROOM + _LINE_ROOM * lines / unit if lines else 0.0)
        height = n_rows * step - _GAP
        across = max(width * unit if ax is None else room, 2.0)
        title = in_lines(written(fig_title or ""), across, TITLE_POINTS)
        above = _TITLE_LINE * (title.count("\n") + 1) + 0.05 if title else 0.0
        inches = across + 0.2, height * _PICTURE_INCHES + 0.2 + above
        with _figure.drawing_axes(
            ax, plot_style=None, fig_size=inches, show=show, save_to=save_to
        ) as target:
            target.set(xlim=(-_EDGE, width + _EDGE), ylim=(height + _EDGE, -_EDGE), aspect="equal")
            target.set_axis_off()
            for number, picture in enumerate(loaded.values()):
                row, column = divmod(number, n_columns)
                left, top = column * (1 + _GAP), row * step
                # The longer side fills the place; the other keeps the aspect.
                high, wide = (side / max(picture.shape[:2]) for side in picture.shape[:2])
                x, y = left + (1 - wide) / 2, top + (1 - high) / 2
                target.imshow(
                    picture,
                    extent=(x, x + wide, y + high, y),
                    interpolation=_pictures.INTERPOLATION,
                    aspect="equal",
                )
                if texts:
                    target.text(
                        left + 0.5,
                        top + 1.03,
                        texts[number],
                        ha="center",
                        va="top",
                        fontsize=POINTS,
                        clip_on=False,
                    )
            target.set(xlim=(-_EDGE, width + _EDGE), ylim=(height + _EDGE, -_EDGE))
            if title:
                target.set_title(title, fontsize=TITLE_POINTS)
        return target
