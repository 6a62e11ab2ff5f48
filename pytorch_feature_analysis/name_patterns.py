"""Patterns such as ``{obj}/{obj}_{color}.png``: variables read off names, and put into them."""

from __future__ import annotations

import logging
import os
import re
import string
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamePattern:
    """A pattern such as ``{obj}/{obj}_{color}.png``, ready to be matched with names."""

    text: str
    argument: str
    variables: tuple[str, ...]
    dotted: tuple[bool, ...]
    _greedy: re.Pattern[str]
    _lazy: re.Pattern[str]
    _loose: re.Pattern[str]

    @classmethod
    def parse(
        cls,
        text: Any,
        *,
        argument: str = "pattern",
        reserved: Mapping[str, str] | None = None,
        needs_variable: bool = True,
    ) -> NamePattern:
        """Read a pattern, or raise and say what in it cannot be understood.

        `reserved` holds names that no variable may have, each with what is said of it.
        """
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
            if reserved and name in reserved:
                raise ValueError(f"{fault}{name!r} {reserved[name]}.")
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
        if needs_variable and not variables:
            raise ValueError(f"{fault}it names no variable, as '{{obj}}_{{color}}.png' does.")
        folders = outline.split("/")
        if {"", ".", ".."} & set(folders):
            raise ValueError(
                f"{fault}it must be a path within the folder, without '.', '..' or a '/' at an"
                " end."
            )
        return cls(
            text,
            argument,
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

    def values(self, relative: Path | str) -> dict[str, str] | None:
        """Return the variables' values in a path or name, None if it does not fit.

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
                f"`{self.argument}` {self.text!r} fits '{name}' in more than one way:"
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


def find_files(
    root: Path, pattern: NamePattern, *, where: str
) -> list[tuple[Path, dict[str, str]]]:
    """List the files below a folder that fit a pattern, relative to it, in natural order.

    Each comes with the values of the pattern's variables. Raises if there is none; `where` is what
    the message calls the folder.
    """
    found: list[tuple[Path, dict[str, str]]] = []
    ignored: list[Path] = []
    disagreeing: list[Path] = []
    for relative in pattern.walk(root):
        values = pattern.values(relative)
        if values is not None:
            found.append((relative, values))
        elif pattern.fits_but_for_repeats(relative):
            disagreeing.append(relative)
        else:
            ignored.append(relative)
    if not found:
        raise ValueError(_nothing_fits(root, where, pattern, disagreeing, ignored))
    if ignored:
        logger.info(
            "%d files in %s fit %r; %d others are left out, such as %s.",
            len(found),
            root,
            pattern.text,
            len(ignored),
            ignored[0],
        )
    if disagreeing:
        logger.warning(
            "%d files in %s are left out, since a variable that %r names twice has two values"
            " in their paths: %s.",
            len(disagreeing),
            root,
            pattern.text,
            ", ".join(str(path) for path in disagreeing[:3]),
        )
    return sorted(found, key=lambda row: natural_key(row[0]))


def _nothing_fits(
    root: Path, where: str, pattern: NamePattern, disagreeing: list[Path], ignored: list[Path]
) -> str:
    message = f"No file in {where} fits `{pattern.argument}` {pattern.text!r}."
    if disagreeing:
        return (
            f"{message} In '{min(disagreeing, key=natural_key).as_posix()}', for example, a"
            " variable that the pattern names twice would have two values."
        )
    other_case = [path for path in ignored if pattern.fits_but_for_case(path)]
    if other_case:
        return (
            f"{message} '{min(other_case, key=natural_key).as_posix()}', for example, would if"
            " letter case did not count; write the pattern as the files are named."
        )
    example = min(ignored, key=natural_key, default=None)
    if example is None:
        # Files deeper than the pattern reaches have not been seen yet.
        files = (path.relative_to(root) for path in root.rglob("[!.]*") if path.is_file())
        example = next(files, None)
    if example is None:
        return f"{message} The folder holds no files."
    return f"{message} It holds, for example, '{example.as_posix()}'."


def filled_in(text: str, values: Mapping[str, str], *, argument: str) -> str:
    """Put values into the variables of a pattern that they are given for.

    Other variables stay, and braces that are written twice.
    """
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(
            f"`{argument}` {text!r} cannot be understood: {error}. A variable is a name in braces;"
            " a brace itself is written twice."
        ) from error
    filled = ""
    for literal, name, _spec, _conversion in pieces:
        filled += _with_double_braces(literal)
        if name is not None:
            filled += _with_double_braces(values[name]) if name in values else f"{{{name}}}"
    return filled


def variables_of(text: str) -> list[str]:
    """Name the variables of a pattern, in the order of the text."""
    return [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]


def without_double_braces(text: str) -> str:
    """Return the name that a pattern without variables stands for."""
    return text.replace("{{", "{").replace("}}", "}")


def _with_double_braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def natural_key(relative: Path | str) -> tuple[Any, ...]:
    """Sort key by which ``cup2`` comes before ``cup10``; a number has the place of its digits."""

    def weight(token: str) -> tuple[int, int]:
        return (ord("0"), int(token)) if token.isdecimal() else (ord(token), 0)

    parts = _normal(relative).split("/")
    return (
        [[weight(token) for token in re.findall(r"\d+|\D", part)] for part in parts],
        str(relative),
    )


def _normal(relative: Path | str) -> str:
    name = relative.as_posix() if isinstance(relative, Path) else relative
    return unicodedata.normalize("NFC", name)


def _listed(match: re.Match[str]) -> str:
    return ", ".join(f"{name}='{value}'" for name, value in match.groupdict().items())
