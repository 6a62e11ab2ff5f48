"""Arguments of figures: the row, what is named by entry, options, sizes, axes."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.rdm_stack import check_row as check_row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)


def by_entry(
    given: Any, keys: Sequence[tuple[Hashable, ...]], *, argument: str
) -> dict[Hashable, Any]:
    """Return what is given for the entries of this RDM, by their keys."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"`{argument}` must be a dict by entry key, not {given!r}.")
    found = {_as_key(key, keys): value for key, value in given.items()}
    present: dict[Hashable, Any] = {key: found[key] for key in keys if key in found}
    _report_absent([key for key in found if key not in keys], bool(present), keys, argument)
    return present


def _as_key(key: Any, keys: Sequence[tuple[Hashable, ...]]) -> Any:
    """Let a single value stand for the key of that value alone."""
    return key if isinstance(key, tuple) or (key,) not in keys else (key,)


def _report_absent(
    absent: list[Any], any_present: bool, keys: Sequence[tuple[Hashable, ...]], argument: str
) -> None:
    if not absent:
        return
    if not any_present:
        raise ValueError(
            f"`{argument}` names no entry of this RDM, but {_in_words(absent)}. Its entries are:"
            f" {_in_words(keys)}."
        )
    logger.info("`%s` names entries that are not in this RDM: %s.", argument, _in_words(absent))


def _in_words(keys: Sequence[Any], most: int = 8) -> str:
    listed = ", ".join(map(repr, keys[:most]))
    return f"{listed} and {len(keys) - most} more" if len(keys) > most else listed


def check_colours(cond_colors: Any, keys: Sequence[tuple[Hashable, ...]]) -> dict[Hashable, Any]:
    """Return the colours of the entries, or raise and name what is no colour."""
    colours = by_entry(cond_colors, keys, argument="cond_colors")
    if colours:
        from matplotlib.colors import is_color_like

        for key, colour in colours.items():
            if not is_color_like(colour):
                raise ValueError(
                    f"`cond_colors` must hold colours of matplotlib, such as 'red', '#ff0000' or"
                    f" (1, 0, 0), and has {colour!r} for {key!r}."
                )
    return colours


def check_labels(cond_labels: Any, keys: Sequence[tuple[Hashable, ...]]) -> dict[Hashable, str]:
    if cond_labels is None or cond_labels is False:
        return {}
    if cond_labels is True:
        return {key: ", ".join(map(str, key)) for key in keys}
    labels = by_entry(cond_labels, keys, argument="cond_labels")
    # A blank label is a way to name an entry that gets none; it takes no room.
    return {key: str(label) for key, label in labels.items() if str(label).strip()}


def check_trajectories(
    line_trajectories: Any, keys: Sequence[tuple[Hashable, ...]]
) -> list[tuple[list[Hashable], dict[str, Any]]]:
    """Return the trajectories with the entries of this RDM alone."""
    checked = []
    known = set(keys)
    absent: list[Any] = []
    for trajectory in line_trajectories:
        if (
            not isinstance(trajectory, (tuple, list))
            or len(trajectory) != 2
            or isinstance(trajectory[0], str)
            or not isinstance(trajectory[1], Mapping)
        ):
            raise TypeError(
                "`line_trajectories` must be a list of pairs (list of entry keys, dict of line"
                f" options), not {trajectory!r}."
            )
        path = [_as_key(key, keys) for key in trajectory[0]]
        absent += [key for key in path if key not in known]
        checked.append(([key for key in path if key in known], dict(trajectory[1])))
    some = any(path for path, _ in checked)
    _report_absent(list(dict.fromkeys(absent)), some, keys, "line_trajectories")
    return checked


def picture_frames(
    add_pic_border: Any, sources: Iterable[Hashable], colours: Mapping[Hashable, Any]
) -> dict[Hashable, dict[str, Any]]:
    """Return the options of each picture's frame; none where there are no frames."""
    if add_pic_border is None or add_pic_border is False:
        return {}
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.patches import Rectangle

    given = None if add_pic_border is True else add_pic_border
    options = normalize_kwargs(check_options(given, argument="add_pic_border"), Rectangle)
    own = {key: {"edgecolor": colours[key]} if key in colours else {} for key in sources}
    return {key: {"fill": False, "linewidth": 1.0, **own[key], **options} for key in sources}


def check_options(given: Any, *, argument: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"`{argument}` must be a dict of options, not {given!r}.")
    return dict(given)


def check_axes(ax: Any, dims: int) -> None:
    if ax is None:
        return
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be a matplotlib Axes, not {type(ax).__name__}.")
    if (getattr(ax, "name", "") == "3d") != (dims == 3):
        needed = "made with projection='3d'" if dims == 3 else "two-dimensional"
        raise ValueError(f"`ax` must be {needed} for dims={dims}.")


def check_finite(value: Any, *, argument: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{argument}` must be a number, not {value!r}.")
    if not np.isfinite(value):
        raise ValueError(f"`{argument}` must be finite, not {value}.")
    return float(value)


def check_positive(value: Any, *, argument: str) -> float:
    number = check_finite(value, argument=argument)
    if number <= 0:
        raise ValueError(f"`{argument}` must be above 0, not {value}.")
    return number


def check_pair(value: Any, *, argument: str) -> tuple[float, float]:
    if not isinstance(value, (tuple, list, np.ndarray)) or len(value) != 2:
        raise ValueError(f"`{argument}` must be two numbers, not {value!r}.")
    return (
        check_finite(value[0], argument=argument),
        check_finite(value[1], argument=argument),
    )


def check_limits(value: Any, *, argument: str = "limits") -> tuple[float, float]:
    low, high = check_pair(value, argument=argument)
    if low > high:
        raise ValueError(f"`{argument}` must be (low, high), not {value!r}.")
    return low, high


def check_figure_size(fig_size: Any) -> tuple[float, float]:
    if not isinstance(fig_size, (tuple, list, np.ndarray)):
        fig_size = (fig_size, fig_size)
    if len(fig_size) != 2:
        raise ValueError(f"`fig_size` must be a number of inches, or two, not {fig_size!r}.")
    return (
        check_positive(fig_size[0], argument="fig_size"),
        check_positive(fig_size[1], argument="fig_size"),
    )


def check_names(names: Any, drawn: Iterable[Any], *, what: str) -> dict[Any, str]:
    """Return what things are called in a figure, where not by their own names, or raise.

    What is not drawn is passed over, so that one dict serves many figures.
    """
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        raise TypeError(f"`names` must be a dict from a {what} to text, not {names!r}.")
    known = dict.fromkeys(drawn)
    absent = [name for name in names if name not in known]
    if absent and len(absent) == len(names):
        check_name(absent[0], known, argument="names", what=f"{what} drawn")
    if absent:
        logger.info("`names` names what is not drawn: %s.", _in_words(absent))
    return {name: str(text) for name, text in names.items() if name in known}


def check_panels(axes: Any, n_panels: int) -> list[Axes] | None:
    """Return the axes of a figure of several panels, or None where it is to be made."""
    if axes is None:
        return None
    listed = check_sequence(axes, argument="axes", of="matplotlib Axes")
    if len(listed) != n_panels:
        raise ValueError(
            f"`axes` must be {n_panels}, one for each panel, but there are {len(listed)}."
        )
    for ax in listed:
        check_axes(ax, 2)
    return listed
