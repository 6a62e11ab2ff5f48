"""JSON files, read with an error that says what is wrong with them."""

from __future__ import annotations

import json
from typing import Any

from pytorch_feature_analysis._files import check_path


def read_json(path: Any, *, argument: str = "path") -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ValueError
        The file is no JSON, or an object in it has a name twice, of which JSON would keep the
        last.
    """
    file = check_path(path, argument=argument)
    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_distinct)
    except ValueError as error:  # so are those of the decoder and of wrong encodings
        raise ValueError(
            f"'{file}' cannot be read as JSON: {error}. Choose another `{argument}`, or mend the"
            " file."
        ) from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for name, value in pairs:
        if name in items:
            raise ValueError(f"{name!r} stands in it twice")
        items[name] = value
    return items
