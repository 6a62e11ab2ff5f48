"""The pages of the API: one for each public name, in the groups of the package's own map.

The groups are read from the docstring of the package, so that there is one list of names, and it
is what `help(pfa)` shows. `conf.py` writes the pages before Sphinx reads any.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from sphinx.pycode import ModuleAnalyzer

import pytorch_feature_analysis as pfa

PACKAGE = pfa.__name__
# A heading at the margin, and what is indented under it.
_GROUP = re.compile(r"^(\S.*)\n((?:    .*\n)+)", re.MULTILINE)

_START = f"""\
API
===

Every function and the page that describes it, as ``import {PACKAGE} as pfa`` has them;
``help(pfa)`` is the same map. On the command line: ``pfa --help``.

.. currentmodule:: {PACKAGE}
"""


def groups() -> dict[str, list[str]]:
    """Public names by subject, in the order of the map."""
    return {
        subject: [name for name in re.findall(r"`(\w+)`", text) if name in pfa.__all__]
        for subject, text in _GROUP.findall(pfa.__doc__ or "")
    }


def index() -> str:
    """Make the page that lists all others."""
    parts = [_START]
    for subject, names in groups().items():
        parts += [f"{subject}\n{'-' * len(subject)}\n"]
        parts += [_table([(f":obj:`{name}`", summary(name)) for name in names])]
        parts += [_directive("toctree", names, hidden="", caption=subject)]
    return "\n".join(parts)


def summary(name: str) -> str:
    """Tell in a sentence what a public name is."""
    return _docstring(name).partition("\n")[0]


def page(name: str) -> str:
    """Make the page of one public name."""
    public = getattr(pfa, name)
    if inspect.isclass(public):
        body = _directive("autoclass", [], name, members="")
    elif inspect.isfunction(public):
        body = _directive("autofunction", [], name)
        if public.__name__ != name:
            body = f"Another name of :obj:`{public.__name__}`.\n\n{body}"
    else:
        body = _directive("py:data", [_docstring(name)], name)
    if public is pfa.MEASURES:
        body = f"{body}\n{_measures()}"
    used = _directive(
        "minigallery", [], f"{PACKAGE}.{name}", **{"add-heading": "In the tutorials"}
    )
    return f"{name}\n{'=' * len(name)}\n\n.. currentmodule:: {PACKAGE}\n\n{body}\n{used}"


def write(folder: Path) -> None:
    """Write all pages; one whose text is there already stays as it is, and is not built anew."""
    folder.mkdir(exist_ok=True)
    texts = {"index": index()} | {name: page(name) for name in pfa.__all__}
    for old in folder.glob("*.rst"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _docstring(name: str) -> str:
    """Text of a public name; that of data is the string under its definition."""
    public = getattr(pfa, name)
    if inspect.isclass(public) or inspect.isfunction(public):
        return inspect.getdoc(public) or ""
    for module in _modules_that_give(name):
        comments = ModuleAnalyzer.for_module(module).find_attr_docs()
        if ("", name) in comments:
            return "\n".join(comments["", name]).strip()
    raise ValueError(f"no string stands under the definition of {name}")


def _modules_that_give(name: str) -> list[str]:
    """Modules that the package imports a name from."""
    tree = ast.parse(inspect.getsource(pfa))
    return [
        node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        if any(alias.name == name for alias in node.names)
    ]


def _measures() -> str:
    """Make a table of what is known of each measure."""
    head = ("Measure", "Direction", "Range", "Does not see", "Needs")
    rows = [
        (
            f"``{name}``",
            measure.direction,
            "{:g} to {:g}".format(*measure.value_range).replace("inf", "∞"),
            ", ".join(measure.ignores),
            measure.needs,
        )
        for name, measure in pfa.MEASURES.items()
    ]
    return _table([head, *rows], **{"header-rows": "1"})


def _table(rows: list[tuple[str, ...]], **options: str) -> str:
    lines = [f"{'  ' if k else '* '}- {cell}" for row in rows for k, cell in enumerate(row)]
    return _directive("list-table", lines, **options)


def _directive(kind: str, lines: list[str], argument: str = "", **options: str) -> str:
    """Make a directive; options are in the order given."""
    head = [f".. {kind}:: {argument}".rstrip()]
    head += [f"   :{key}: {value}".rstrip() for key, value in options.items()]
    body = [f"   {line}" for line in lines]
    return "\n".join([*head, "", *body, ""]) if body else "\n".join([*head, ""])
