"""The pages in docs/, the code blocks of a page, and the stimuli that they speak of."""

import re
import shlex
import textwrap
from typing import NamedTuple

from PIL import Image, ImageDraw

SIDES = {"cup": 3, "hat": 5}
COLORS = ("crimson", "seagreen", "royalblue", "orchid")

_HEAD = re.compile(r"^( *)\.\. code-block:: *(\S*)$")
# A paragraph that a literal block follows; a directive or a comment is none.
_LITERAL = re.compile(r"^( *)(?!\.\. ).*::$")


class Block(NamedTuple):
    """A code block or, where its language is '::', a literal block."""

    language: str
    text: str
    line: int


def pages_in(folder):
    """Pages that are written by hand, and not those that Sphinx makes."""
    made = {folder / name for name in ("_build", "api", "tutorials", "sg_execution_times.rst")}
    return sorted(path for path in folder.rglob("*.rst") if not made & {path, *path.parents})


def blocks_of(page):
    """All blocks of the text of a page, dedented, with the line where each begins."""
    lines = page.splitlines()
    found = []
    for k, line in enumerate(lines):
        head = _HEAD.match(line) or _LITERAL.match(line)
        if head is None:
            continue
        margin = len(head[1])
        body = []
        for following in lines[k + 1 :]:
            if following.strip() and len(following) - len(following.lstrip()) <= margin:
                break
            body.append(following)
        # Options come before the first empty line.
        text = "\n".join(body[body.index("") :] if "" in body else body)
        language = head[2] if head.re is _HEAD else "::"
        found.append(Block(language, textwrap.dedent(text).strip("\n") + "\n", k + 2))
    return found


def commands_of(text):
    """Commands of a console block, each as its words; `$` begins one, a backslash goes on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def untrained(text):
    """Weights that would be downloaded are random ones in the tests."""
    text = re.sub(r"""(["'])trained\1\)""", r"\1random\1)", text)
    return text.replace("alexnet:trained", "alexnet=alexnet:random")


def draw_stimuli(folder):
    """Draw stimuli/{obj}/{obj}_{color}.png."""
    for obj, sides in SIDES.items():
        for color in COLORS:
            image = Image.new("RGB", (100, 100), "white")
            ImageDraw.Draw(image).regular_polygon((50, 50, 40), sides, fill=color)
            path = folder / "stimuli" / obj / f"{obj}_{color}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
