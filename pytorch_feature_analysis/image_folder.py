"""Image tables from folders: the variables of a design, read off the names of its files."""

from __future__ import annotations

import logging
import os
import re
import string
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

logger = logging.getLogger(__name__)


def read_image_folder(
    folder: str | os.PathLike[str], pattern: str = "{obj}/{obj}_{color}.png"
) -> pd.DataFrame:
    """Read the variables of a design off the names of image files.

    Parameters
    ----------
    folder : path
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
    parsed = _NamePattern.parse(pattern)
    root = Path(folder)
    if not root.is_dir():
        kind = NotADirectoryError if root.exists() else FileNotFoundError
        raise kind(f"`folder` must be a folder that exists, not {os.fspath(folder)!r}.")
    found: list[tuple[Path, dict[str, str]]] = []
    ignored: list[Path] = []
    disagreeing: list[Path] = []
    for relative in parsed.walk(root):
        values = parsed.values(relative)
        if values is not None:
            found.append((relative, values))
        elif parsed.fits_but_for_repeats(relative):
            disagreeing.append(relative)
        else:
            ignored.append(relative)
    if not found:
        raise ValueError(_nothing_fits(root, parsed, disagreeing, ignored))
    if ignored:
        logger.info(
            "%d files in %s fit %r; %d others are left out, such as %s.",
            len(found),
            root,
            pattern,
            len(ignored),
            ignored[0],
        )
    if disagreeing:
        logger.warning(
            "%d files in %s are left out, since a variable that %r names twice has two values"
            " in their paths: %s.",
            len(disagreeing),
            root,
            pattern,
            ", ".join(str(path) for path in disagreeing[:3]),
        )
    found.sort(key=lambda row: _natural_key(row[0]))
    return pd.DataFrame(
        [{"path": str(root / relative), **values} for relative, values in found],
        columns=["path", *parsed.variables],
    )


@dataclass(frozen=True)
class _NamePattern:
    """A pattern such as ``{obj}/{obj}_{color}.png``, ready to be matched with relative paths."""

    text: str
    variables: tuple[str, ...]
    dotted: tuple[bool, ...]
    _greedy: re.Pattern[str]
    _lazy: re.Pattern[str]
    _loose: re.Pattern[str]

    @classmethod
    def parse(cls, text: Any, *, argument: str = "pattern") -> _NamePattern:
        """Read a pattern, or raise and say what in it cannot be understood."""
        if not isinstance(text, str):
            raise TypeError(f"`{argument}` must be a string, not {type(text).__name__}.")
        fault = f"`{argument}` {text!r} cannot be understood: "
        try:
            pieces = list(string.Formatter().parse(unicodedata.normalize("NFC", text)))
        except ValueError as error:
            raise ValueError(
                f"{fault}{error}. A variable is a name in braces; a brace itself is written twice."
            ) from error
        variables: list[str] = []
        outline = ""
        after_variable = False
        greedy = lazy = loose = ""
        for literal, name, spec, conversion in pieces:
            if "\\" in literal:
                raise ValueError(f"{fault}write '/' between folders, also on Windows.")
            if "*" in literal or "?" in literal:
                raise ValueError(
                    f"{fault}it has no wildcards; name the part that varies, as in '{{part}}'."
                )
            outline += literal
            escaped = re.escape(literal)
            greedy, lazy, loose = greedy + escaped, lazy + escaped, loose + escaped
            after_variable = after_variable and not literal
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                raise ValueError(
                    f"{fault}braces may hold only the name of a variable, made of letters, digits"
                    " and underscores, as in '{obj}'."
                )
            if name == "path":
                raise ValueError(f"{fault}'path' is the column of the files; rename the variable.")
            if after_variable:
                raise ValueError(f"{fault}there must be some text between two variables.")
            after_variable = True
            loose += "[^/]+"
            outline += "x"
            if name in variables:
                greedy, lazy = f"{greedy}(?P={name})", f"{lazy}(?P={name})"
            else:
                greedy, lazy = f"{greedy}(?P<{name}>[^/]+)", f"{lazy}(?P<{name}>[^/]+?)"
                variables.append(name)
        if not variables:
            raise ValueError(f"{fault}it names no variable, as '{{obj}}_{{color}}.png' does.")
        folders = outline.split("/")
        if {"", ".", ".."} & set(folders):
            raise ValueError(
                f"{fault}it must be a path within the folder, without '.', '..' or a '/' at an"
                " end."
            )
        return cls(
            text,
            tuple(variables),
            tuple(part.startswith(".") for part in folders),
            re.compile(greedy),
            re.compile(lazy),
            re.compile(loose),
        )

    @property
    def depth(self) -> int:
        """How many names long the paths are that it can fit."""
        return len(self.dotted)

    def values(self, relative: Path) -> dict[str, str] | None:
        """Return the variables' values in a path, None if it does not fit.

        Raises if it fits in more than one way: of all ways, trying long values first finds
        the one with the longest first value, trying short values first the opposite one.
        """
        name = _normal(relative)
        longest = self._greedy.fullmatch(name)
        if longest is None:
            return None
        shortest = self._lazy.fullmatch(name)
        if shortest is not None and shortest.groupdict() != longest.groupdict():
            raise ValueError(
                f"`pattern` {self.text!r} fits '{name}' in more than one way:"
                f" {_listed(shortest)}, or {_listed(longest)}. Rename the files, or put the"
                " variables into different folders."
            )
        return longest.groupdict()

    def fits_but_for_repeats(self, relative: Path) -> bool:
        """Tell whether a path would fit if a variable could have two values."""
        return self._loose.fullmatch(_normal(relative)) is not None

    def fits_but_for_case(self, relative: Path) -> bool:
        """Tell whether a path would fit if letter case did not count."""
        return re.fullmatch(self._greedy.pattern, _normal(relative), re.IGNORECASE) is not None

    def walk(self, folder: Path) -> Iterator[Path]:
        """Yield all files below `folder`, down to this pattern's depth, as relative paths.

        Follows links, which the depth keeps from going round for ever. Hidden names are left out
        unless the pattern has a dot there.
        """

        def fail(error: OSError) -> None:
            raise error

        for top, folders, files in os.walk(folder, followlinks=True, onerror=fail):
            relative = Path(top).relative_to(folder)
            level = len(relative.parts)
            shown = [name for name in files if self.dotted[level] or not name.startswith(".")]
            yield from (relative / name for name in shown)
            deeper = level + 1 < self.depth
            folders[:] = [
                name
                for name in folders
                if deeper and (self.dotted[level] or not name.startswith("."))
            ]


def _nothing_fits(
    root: Path, pattern: _NamePattern, disagreeing: list[Path], ignored: list[Path]
) -> str:
    message = f"No file in `folder` {os.fspath(root)!r} fits `pattern` {pattern.text!r}."
    if disagreeing:
        return (
            f"{message} In '{min(disagreeing, key=_natural_key).as_posix()}', for example, a"
            " variable that the pattern names twice would have two values."
        )
    other_case = [path for path in ignored if pattern.fits_but_for_case(path)]
    if other_case:
        return (
            f"{message} '{min(other_case, key=_natural_key).as_posix()}', for example, would if"
            " letter case did not count; write the pattern as the files are named."
        )
    example = min(ignored, key=_natural_key, default=None)
    if example is None:
        # Files deeper than the pattern reaches have not been seen yet.
        files = (path.relative_to(root) for path in root.rglob("[!.]*") if path.is_file())
        example = next(files, None)
    if example is None:
        return f"{message} The folder holds no files."
    return f"{message} It holds, for example, '{example.as_posix()}'."


def _natural_key(relative: Path) -> tuple[Any, ...]:
    """Sort key by which ``cup2`` comes before ``cup10``; a number has the place of its digits."""

    def weight(token: str) -> tuple[int, int]:
        return (ord("0"), int(token)) if token.isdecimal() else (ord(token), 0)

    parts = _normal(relative).split("/")
    return (
        [[weight(token) for token in re.findall(r"\d+|\D", part)] for part in parts],
        relative.as_posix(),
    )


def _normal(relative: Path) -> str:
    return unicodedata.normalize("NFC", relative.as_posix())


def _listed(match: re.Match[str]) -> str:
    return ", ".join(f"{name}='{value}'" for name, value in match.groupdict().items())
