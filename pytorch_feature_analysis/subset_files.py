"""Subsets of a dataset's stimuli, kept in JSON files as their positions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis._files import atomic_write, check_writable
from pytorch_feature_analysis.json_files import read_json
from pytorch_feature_analysis.stimulus_subsets import cells_of

_FIELDS = {"n_stimuli", "indices"}


def save_subset(
    path: str | os.PathLike[str], indices: Any, *, n_stimuli: int | None = None
) -> None:
    """Keep a subset of stimuli in a JSON file.

    Parameters
    ----------
    path : str or Path
        The file. Its folder must exist. One that is already there with another subset is not
        lost: it is renamed to `<stem>.superseded<suffix>`, and a log line says so.
    indices : array-like of int
        Positions of the stimuli in their dataset; `stratified_subset` gives them.
    n_stimuli : int, optional
        How many stimuli the dataset has. It is kept beside them, so that `read_subset` can tell
        when the subset is that of another dataset.

    Raises
    ------
    ValueError
        No position, one that is negative or beyond the dataset, or that comes twice.

    See Also
    --------
    read_subset : Its inverse.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "flowers.json"
    ...     pfa.save_subset(path, [7, 2, 5], n_stimuli=9)
    ...     pfa.read_subset(path)
    array([2, 5, 7])
    """
    file = check_writable(path, argument="path")
    if n_stimuli is not None:
        n_stimuli = check_count(n_stimuli, argument="n_stimuli")
    positions = check_positions(indices, n_stimuli, "`indices`")
    kept = {"n_stimuli": n_stimuli, "indices": positions.tolist()}
    with atomic_write(file, keep=True) as temporary:
        temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")


def read_subset(path: str | os.PathLike[str], *, n_stimuli: int | None = None) -> np.ndarray:
    """Read a subset of stimuli, of `save_subset` or as other studies keep theirs.

    Parameters
    ----------
    path : str or Path
        A JSON file: that of `save_subset`, a list of positions, or an object with a list of
        positions for each class.
    n_stimuli : int, optional
        How many stimuli the dataset has that the subset is for: all positions must be below it,
        and where the file tells the number of its dataset, it must be the same.

    Returns
    -------
    ndarray of int
        Positions of the stimuli, in ascending order.

    Raises
    ------
    ValueError
        The file holds something else, a position twice, or one beyond the dataset.

    See Also
    --------
    save_subset : Its inverse.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pytorch_feature_analysis as pfa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "imagenet-2k-train.json"
    ...     _ = path.write_text('{"0": [3, 1], "1": [8, 6]}')
    ...     pfa.read_subset(path, n_stimuli=10)
    array([1, 3, 6, 8])
    """
    content = read_json(path)
    if n_stimuli is not None:
        n_stimuli = check_count(n_stimuli, argument="n_stimuli")
    if isinstance(content, Mapping) and content.keys() == _FIELDS:
        drawn_from, content = content["n_stimuli"], content["indices"]
        if None not in (n_stimuli, drawn_from) and drawn_from != n_stimuli:
            raise ValueError(
                f"'{path}' is a subset of {drawn_from} stimuli, and `n_stimuli` is {n_stimuli}:"
                " the dataset is another one. Draw the subset anew from its own targets."
            )
    if isinstance(content, Mapping) and all(isinstance(part, list) for part in content.values()):
        content = [position for part in content.values() for position in part]
    if not isinstance(content, list):
        raise ValueError(
            f"'{path}' must hold a list of positions, or lists of them by class, as save_subset"
            " writes it."
        )
    return check_positions(content, n_stimuli, f"'{path}'")


def check_positions(positions: Any, n_stimuli: int | None, owner: str) -> np.ndarray:
    """Return positions in ascending order, or raise unless they are a subset of the stimuli."""
    cells = cells_of(positions, owner)
    if not cells:
        raise ValueError(f"{owner} holds no position; a subset has at least one stimulus.")
    for cell in cells:
        if isinstance(cell, bool) or not isinstance(cell, int):
            raise TypeError(f"{owner} must hold whole numbers, the positions, not {cell!r}.")
        if cell < 0 or (n_stimuli is not None and cell >= n_stimuli):
            last = "" if n_stimuli is None else f" to {n_stimuli - 1}, the last of the dataset's"
            raise ValueError(f"{owner} holds the position {cell}; they go from 0{last}.")
    found = np.sort(np.array(cells, dtype=np.intp))
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        raise ValueError(
            f"{owner} holds the position {twice[0]} more than once, and {len(cells)} positions in"
            " all. A subset has each stimulus once."
        )
    return found
