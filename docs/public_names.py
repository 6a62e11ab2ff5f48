"""How docstrings and pages are read: public names are links, references a list."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import pytorch_feature_analysis as pfa

_CALL = re.compile(rf"(?:pfa\.)?({'|'.join(pfa.__all__)})(?:\(.*\)|, .*)?", re.DOTALL)
_HEADING = re.compile(r"-{3,}")


class LinkPublicNames(SphinxTransform):
    """Turns ``name``, ``name(...)`` and ``name, option`` in a text into links to the API."""

    default_priority = 400
    # A title is a link already, wherever it is listed.
    already = (nodes.title, nodes.reference, addnodes.pending_xref, addnodes.desc_signature)

    def apply(self, **kwargs: Any) -> None:  # noqa: ARG002 - as the base class has it
        """Put a reference round each literal that is such a name."""
        page = self.env.docname
        for literal in list(self.document.findall(nodes.literal)):
            named = _CALL.fullmatch(literal.astext())
            if named is None or isinstance(literal.parent, self.already):
                continue
            if page == f"api/{named[1]}":
                continue
            target = f"{pfa.__name__}.{named[1]}"
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=page
            )
            literal.replace_self(link)
            link += literal


def list_references(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Make list items of References, which stand in docstrings with their later lines indented."""
    if "References" not in lines:
        return
    start = lines.index("References") + 2
    rest = range(start, len(lines))
    # A heading is the line above its dashes.
    end = next((k - 1 for k in rest if _HEADING.fullmatch(lines[k])), len(lines))
    entries = lines[start:end]
    if any(line.startswith("    ") for line in entries):
        lines[start:end] = [
            line[2:] if line.startswith("    ") else f"- {line}" if line else line
            for line in entries
        ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.add_transform(LinkPublicNames)
    # Before numpydoc, which reads the sections.
    app.connect("autodoc-process-docstring", list_references, priority=100)
    return {"parallel_read_safe": True}
