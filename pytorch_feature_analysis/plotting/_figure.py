"""What all figures share: a local style, an axes to draw on, and what becomes of the figure."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis._files import atomic_write, check_writable
from pytorch_feature_analysis.plotting._fonts import take_fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_NON_INTERACTIVE = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})
_SAVE_DPI = 200
# What is drawn by vectors has no resolution; pictures within it have that of print.
_VECTOR_DPI = 300
_VECTORS = frozenset({"eps", "pdf", "pgf", "ps", "svg", "svgz"})
# The classic style has grey figures on the screen and in notebooks, and white ones in files.
_STYLE_CORRECTIONS = {"classic": {"figure.facecolor": "white"}}


@dataclass(frozen=True)
class SaveTarget:
    """Where a figure is saved, and the keywords of `Figure.savefig`."""

    file: Any
    """A path, or a binary file object."""
    options: dict[str, Any] = field(default_factory=dict)

    def save(self, figure: Figure) -> None:
        """Write `figure`; a file on disk is replaced as a whole."""
        suffix = self.file.suffix[1:] if isinstance(self.file, Path) else ""
        is_vectors = self.options.get("format", suffix).lower() in _VECTORS
        options = {"dpi": _VECTOR_DPI if is_vectors else _SAVE_DPI, **self.options}
        if not isinstance(self.file, Path):
            figure.savefig(self.file, **options)
            return
        options.setdefault("format", suffix)
        with atomic_write(self.file) as temporary:
            figure.savefig(temporary, **options)


def check_save_opts(save_opts: Any) -> SaveTarget | None:
    """Turn the public `save_opts` into a target, or None for 'na' and None.

    Raises
    ------
    TypeError, ValueError, OSError
        If it is nothing of the kind, its suffix is no format that matplotlib writes, or nothing
        can be written there.
    """
    if save_opts is None or (isinstance(save_opts, str) and save_opts == "na"):
        return None
    if isinstance(save_opts, Mapping):
        options = dict(save_opts)
        if "fname" not in options:
            raise ValueError(
                "`save_opts` has no 'fname', the file to write. Add it to the keywords of savefig:"
                " {'fname': 'mds.png', 'dpi': 300}."
            )
        file = options.pop("fname")
    elif isinstance(save_opts, (tuple, list)):
        if len(save_opts) != 2 or not isinstance(save_opts[1], Mapping):
            raise ValueError(
                "`save_opts` must be (path, keywords of savefig) where it is a pair,"
                f" not {save_opts!r}."
            )
        file, options = save_opts[0], dict(save_opts[1])
    else:
        file, options = save_opts, {}
    if hasattr(file, "write"):
        if "format" in options:
            _check_format(Path(), options)
        return SaveTarget(file, options)
    if not isinstance(file, (str, os.PathLike)):
        raise TypeError(
            "`save_opts` must be 'na', a path, or the keywords of savefig as in"
            f" {{'fname': 'mds.png', 'dpi': 300}}, not {save_opts!r}."
        )
    return SaveTarget(_check_format(check_writable(file, argument="save_opts"), options), options)


def _check_format(path: Path, options: Mapping[str, Any]) -> Path:
    import matplotlib as mpl
    from matplotlib.backend_bases import FigureCanvasBase

    named = options.get("format")
    if named is None and not path.suffix:
        path = path.with_name(f"{path.name}.{mpl.rcParams['savefig.format']}")
    check_name(
        (named or path.suffix[1:]).lower(),
        FigureCanvasBase.get_supported_filetypes(),
        argument="save_opts",
        what="file format",
        owner=" of matplotlib",
    )
    return path


@contextlib.contextmanager
def local_style(plot_style: Any) -> Iterator[None]:
    """Set the rcParams of `plot_style` inside the block alone."""
    from matplotlib import style

    if plot_style is None:
        yield
        return
    if isinstance(plot_style, (str, os.PathLike, Mapping)):
        parts = [plot_style]
    elif isinstance(plot_style, Sequence):
        parts = list(plot_style)
    else:
        raise TypeError(
            "`plot_style` must be the name of a matplotlib style, a dict of rcParams, a list of"
            f" these, or None for the current one, not {plot_style!r}."
        )
    corrected: list[Any] = []
    for part in parts:
        corrected.append(part)
        if isinstance(part, str):
            corrected.append(_STYLE_CORRECTIONS.get(part, {}))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(style.context(corrected))
        except OSError as error:
            raise ValueError(
                f"`plot_style` names {plot_style!r}, which is no style that matplotlib knows."
                f" There are: {', '.join(['default', *style.available])}."
            ) from error
        yield


@contextlib.contextmanager
def drawing_axes(
    ax: Axes | None,
    *,
    plot_style: Any,
    fig_size: tuple[float, float],
    show: bool,
    save_to: SaveTarget | None,
    projection: str | None = None,
    layout: str = "constrained",
) -> Iterator[Axes]:
    """Yield the axes to draw on, inside the style; afterwards save, show and close.

    With `ax` given, only saving is done here: the figure is the caller's. A figure made here is
    closed when the drawing fails, and when it was saved and no screen shows it; else it stays
    open as the current figure of pyplot.
    """
    with local_style(plot_style):
        if ax is not None:
            take_fonts([ax])
            yield ax
            if save_to is not None:
                save_to.save(root_figure(ax))
        else:
            with drawing_figure(
                fig_size=fig_size, show=show, save_to=save_to, layout=layout
            ) as figure:
                yield figure.add_subplot(projection=projection)


@contextlib.contextmanager
def drawing_figure(
    *,
    fig_size: tuple[float, float],
    show: bool,
    save_to: SaveTarget | None,
    layout: str = "constrained",
) -> Iterator[Figure]:
    """Yield a new figure to draw on; afterwards save, show and close it, as `drawing_axes`."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=fig_size, layout=layout)
    try:
        yield figure
        if save_to is not None:
            save_to.save(figure)
    except BaseException:
        plt.close(figure)
        raise
    if show and _has_screen():
        plt.show()
    elif save_to is not None:
        plt.close(figure)


def root_figure(ax: Axes) -> Figure:
    """Return the whole figure that `ax` is in, also where it is in a subfigure."""
    figure: Any = ax.figure
    return figure.figure


def write_title(ax: Axes, title: str, *, room: float) -> None:
    """Set the title of `ax`, in as many lines as keep it within `room` pixels."""
    text = ax.set_title(title, y=1.0)
    # Three-dimensional axes put it lower than they are told.
    text.set_y(1.0)
    wrap(text, room)


def wrap(text: Text, room: float) -> None:
    """Break the lines of a text that are wider than `room` pixels."""

    def width_of(broken: str) -> float:
        text.set_text(broken)
        return text.get_window_extent().width

    text.set_text(break_lines(text.get_text(), room, width_of))


def break_lines(text: str, room: float, width_of: Callable[[str], float]) -> str:
    """Break the lines of a text that are wider than there is room, by what measures it."""
    whole = text.splitlines()
    characters = max((len(line) for line in whole), default=0)
    while characters > 1 and (width := width_of(text)) > room:
        characters = min(characters - 1, max(int(characters * room / width), 1))
        text = "\n".join(textwrap.fill(line, characters) for line in whole)
    return text


def _has_screen() -> bool:
    import matplotlib as mpl

    return mpl.get_backend().lower() not in _NON_INTERACTIVE
