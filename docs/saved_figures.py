"""What the gallery shows under a block of a tutorial: the figures that the block has saved.

The usual scraper takes what is open in pyplot; the tutorials close what they have saved, as
functions of the library do.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

_seen: dict[Path, int] = {}


def scrape(_block: Any, block_vars: dict[str, Any], gallery_conf: Any) -> str:
    """Copy what is new in the tutorial's folder to where its page has its images."""
    shown = []
    folder = Path(block_vars["src_file"]).parent
    for path in sorted(folder.glob("tutorial_*/*.png"), key=lambda path: path.stat().st_mtime_ns):
        changed = path.stat().st_mtime_ns
        if _seen.get(path) != changed:
            _seen[path] = changed
            shown.append(next(block_vars["image_path_iterator"]))
            shutil.copy(path, shown[-1])
    return figure_rst(shown, gallery_conf["src_dir"])
