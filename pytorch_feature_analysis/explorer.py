"""A stack of RDMs as a page to explore: heat map, map and pictures, linked."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count, check_name, check_sequence
from pytorch_feature_analysis._explorer_data import (
    Maps,
    check_maps,
    choices_of,
    labels_of_keys,
    matrix_data,
    step_of,
    variables_of_keys,
)
from pytorch_feature_analysis._explorer_page import render_page
from pytorch_feature_analysis._explorer_pictures import Thumbnails, sources_by_row
from pytorch_feature_analysis._files import atomic_write, check_writable
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.plotting._arguments import by_entry
from pytorch_feature_analysis.rdm_stack import checked_stack

logger = logging.getLogger(__name__)

_DEFAULT_NAME = "default_name"
_SMALLEST_PICTURE = 16


def explore(
    rdm_df: pd.DataFrame,
    pictures: Mapping[Any, Any] | Sequence[tuple[Any, ...]] | None = None,
    out: str | os.PathLike[str] = "explore.html",
    *,
    columns: Sequence[str] | None = None,
    step: str | None = None,
    labels: Mapping[Any, str] | None = None,
    title: str | None = None,
    picture_size: int = 256,
    method: str = "metric",
    num_starts: int = 1,
    random_state: RandomState = 0,
    symmetrize: bool = False,
    progress: bool = True,
) -> Path:
    r"""Write a page on which a stack of RDMs can be explored, in one file that needs no network.

    A row is chosen by its columns, and a slider steps through rows, such as the layers of a
    network. Its RDM is a heat map and a map (MDS) side by side: what is pointed at or chosen in
    one is shown in the other, with its pictures, the value, and the nearest and furthest entries.
    Entries are found by label, and stay chosen from row to row.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack of RDMs of any order; rows may have different entries.
    pictures : dict or list of image sets, optional
        Pictures by entry key, as `rdm_mds` takes them: paths, PIL images or arrays. Or image sets
        of `package_image_sets`, each for the rows whose columns have its labels. Entries without
        one have their label.
    out : str or Path, default 'explore.html'
        The page. A file that is there is replaced once the new one is whole.
    columns : list of str, optional
        What a row is chosen by; default all columns in which rows differ, without those that
        repeat another one.
    step : str, optional
        The column that the slider starts with; default 'layer', or the one with most values.
    labels : dict, optional
        Labels by entry key; default the key, its parts joined by commas.
    title : str, optional
        Title of the page; default the name of the stack.
    picture_size : int, default 256
        Longer side of pictures in pixels; smaller ones are not enlarged. Above 256 pictures or
        so, they become smaller, so that all have at most 2\ :sup:`24` pixels together.
    method, num_starts, random_state
        Of the maps, as in `mds_coordinates`. Each is turned (Procrustes) towards the last one of
        the same entries, so that points move no more than they must.
    symmetrize : bool, default False
        Place entries by the mean of an RDM that is not symmetric and its transpose. The heat map
        shows it as it is.
    progress : bool, default True
        Show progress bars.

    Returns
    -------
    pathlib.Path
        The page that was written.

    Raises
    ------
    ImportError
        Bokeh is not installed: ``pip install 'pytorch_feature_analysis[interactive]'``.
    ValueError
        The stack has no rows; a matrix is not symmetric and `symmetrize` is False; `pictures` or
        `labels` name no entry of the stack.
    FileNotFoundError, PermissionError
        `out` cannot be written, which is found out before any work.

    See Also
    --------
    rdm_mds, plot_heatmap : figures for print.

    Notes
    -----
    Values are kept as float32. Cells that are NaN or infinite are grey. Entries without any
    finite one have no point, and rows whose RDM has no map (values below 0, say) have none; the
    page says why. Pictures that cannot be read are blank, and one log line counts them.

    The page shows every name and label as text, runs no script but its own and fetches nothing;
    file names are not in it. Its size is about 4/3 of four bytes a pair and row, and 1.3 MB.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np, pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.random.default_rng(0).normal(size=(2, 5, 3))
    >>> stack = pd.DataFrame({
    ...     'layer': ['conv1', 'fc1'],
    ...     'matrix': [np.linalg.norm(p[:, None] - p, axis=2) for p in points],
    ...     'entry_keys': [('cat', 'dog', 'cup', 'hat', 'pen')] * 2,
    ... })
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = pfa.explore(stack, out=pathlib.Path(folder) / 'page.html', progress=False)
    ...     page.name, page.stat().st_size > 1_000_000
    ('page.html', True)
    """
    path = check_writable(out, argument="out")
    _check_bokeh()
    checked = checked_stack(rdm_df, argument="rdm_df")
    if not len(checked):
        raise ValueError("`rdm_df` has no rows, so there is nothing to explore.")
    check_name(method, ("metric", "classical"), argument="method", what="method of scaling")
    check_count(num_starts, argument="num_starts")
    side = check_count(picture_size, argument="picture_size", minimum=_SMALLEST_PICTURE)
    if columns is not None:
        columns = check_sequence(columns, argument="columns", of="names of columns")
    choices = choices_of(rdm_df, columns)
    variables = variables_of_keys(checked)
    keys = list(variables)
    own_labels = by_entry(labels, keys, argument="labels")
    sources = sources_by_row(pictures, checked, keys)
    data: dict[str, Any] = {
        "title": _title(checked) if title is None else str(title),
        "step": step_of(choices, step),
        "columns": [
            {"name": name, "values": list(dict.fromkeys(texts))} for name, texts in choices.items()
        ],
        "entries": [
            {"label": label, "variables": variables[key]}
            for key, label in zip(keys, labels_of_keys(keys, own_labels), strict=True)
        ],
    }
    matrices = check_maps(checked, symmetrize)
    maps = Maps(
        method=method, num_starts=num_starts, random_state=random_state, symmetrize=symmetrize
    )
    thumbnails = Thumbnails()
    sets, set_of_row = _sets(checked, sources, keys, thumbnails)
    data["sets"] = sets
    data["pictures"] = thumbnails.encoded(side, progress=progress)
    data["rows"] = _rows(checked, matrices, choices, set_of_row, maps, progress)
    if maps.unplaced:
        logger.warning(
            "%d of %d rows have no map on the page. %s",
            len(maps.unplaced),
            len(checked),
            maps.unplaced[0],
        )
    page = render_page(data).encode("utf-8", "replace")
    with atomic_write(path) as temporary:
        temporary.write_bytes(page)
    logger.info("'%s' has %d rows and %.1f MB.", path, len(checked), len(page) / 1e6)
    return path


def _check_bokeh() -> None:
    try:
        import bokeh  # noqa: F401 - whether it is there
    except ImportError as error:
        raise ImportError(
            "`explore` needs the package bokeh, which is not installed:"
            " pip install 'pytorch_feature_analysis[interactive]'"
        ) from error


def _title(stack: pd.DataFrame) -> str:
    names = list(dict.fromkeys(map(str, stack["df_name"])))
    return names[0] if len(names) == 1 and names[0] != _DEFAULT_NAME else "RDM explorer"


def _sets(
    stack: pd.DataFrame,
    sources: Sequence[Mapping[Hashable, Any]],
    keys: Sequence[Hashable],
    thumbnails: Thumbnails,
) -> tuple[list[dict[str, list[int]]], list[int]]:
    """Return the different lists of entries with their pictures, and which one each row has."""
    number_of = {key: k for k, key in enumerate(keys)}
    numbers: dict[Any, int] = {}
    sets: list[dict[str, list[int]]] = []
    set_of_row = []
    for row_keys, images in zip(stack["entry_keys"], sources, strict=True):
        identity = (row_keys, id(images))
        if identity not in numbers:
            numbers[identity] = len(sets)
            shown = [
                thumbnails.number(key, images[key]) if key in images else -1 for key in row_keys
            ]
            sets.append({"entries": [number_of[key] for key in row_keys], "pictures": shown})
        set_of_row.append(numbers[identity])
    return sets, set_of_row


def _rows(
    stack: pd.DataFrame,
    matrices: Sequence[Any],
    choices: Mapping[str, Sequence[str]],
    set_of_row: Sequence[int],
    maps: Maps,
    progress: bool,
) -> list[dict[str, Any]]:
    from tqdm.auto import tqdm

    places = [{text: k for k, text in enumerate(dict.fromkeys(c))} for c in choices.values()]
    metrics = stack["dissim_metric"].tolist() if "dissim_metric" in stack else [None] * len(stack)
    bar = tqdm(range(len(stack)), "maps", disable=not (progress and len(stack) > 1))
    return [
        {
            "at": [of[texts[k]] for of, texts in zip(places, choices.values(), strict=True)],
            "set": set_of_row[k],
            "measure": "" if frozen(metrics[k]) is None else str(metrics[k]),
            **matrix_data(matrices[k]),
            **maps.of(matrices[k], stack["entry_keys"].iloc[k]),
        }
        for k in bar
    ]
