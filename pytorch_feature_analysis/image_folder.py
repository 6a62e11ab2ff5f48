"""Image tables from folders: the variables of a design, read off the names of its files."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from pytorch_feature_analysis.name_patterns import NamePattern, find_files


def read_image_folder(
    folder: str | os.PathLike[str], pattern: str = "{obj}/{obj}_{color}.png"
) -> pd.DataFrame:
    """Read the variables of a design off the names of image files.

    Parameters
    ----------
    folder : str or Path
        Where the images lie.
    pattern : str, default '{obj}/{obj}_{color}.png'
        A file's path within `folder`, with ``/`` between folders and each variable in braces. A
        variable stands for one or more characters, but no ``/``; one that is named twice must
        have the same value twice. All else is literal, the suffix too: letter case counts
        (``.png`` is not ``.PNG``), and ``{{`` and ``}}`` stand for braces.

    Returns
    -------
    pandas.DataFrame
        One row per image: the column ``path``, then one column of strings per variable, in the
        order of the pattern. Rows are sorted by path in natural order (``cup2`` before
        ``cup10``).

    Raises
    ------
    ValueError
        No file fits the pattern, the pattern cannot be understood, or it fits a file in two ways
        (``{obj}_{color}.png`` and ``cup_dark_red.png``).

    See Also
    --------
    package_image_sets : Image sets of such a table.

    Notes
    -----
    Files that do not fit are left out, and a log line counts them. Hidden files and folders, whose
    names begin with a dot, are not looked at. Links are followed. Names are compared and returned
    in the Unicode form NFC, so that accents match however the file system writes them; ``path``
    is the name on disk.

    Examples
    --------
    >>> import pathlib, tempfile, pytorch_feature_analysis as pfa
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ('cup_red.png', 'cup_blue.png', 'notes.txt'):
    ...         Image.new('RGB', (2, 2)).save(pathlib.Path(folder) / name, format='PNG')
    ...     table = pfa.read_image_folder(folder, '{obj}_{color}.png')
    >>> table[['obj', 'color']].to_dict('records')
    [{'obj': 'cup', 'color': 'blue'}, {'obj': 'cup', 'color': 'red'}]
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"`folder` must be a path, not {type(folder).__name__}.")
    parsed = NamePattern.parse(
        pattern, reserved={"path": "is the column of the files; rename the variable"}
    )
    root = Path(folder)
    if not root.is_dir():
        kind = NotADirectoryError if root.exists() else FileNotFoundError
        raise kind(f"`folder` must be a folder that exists, not {os.fspath(folder)!r}.")
    found = find_files(root, parsed, where=f"`folder` {os.fspath(root)!r}")
    return pd.DataFrame(
        [{"path": str(root / relative), **values} for relative, values in found],
        columns=["path", *parsed.variables],
    )
