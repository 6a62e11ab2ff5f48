"""The page of `explore`: Bokeh's plots, the data, and the script that links them, in one file.

What comes from the user is in one place, a block of JSON that is never run; the page makes text
of it, and its policy forbids every other script and every address outside the file.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from importlib import resources
from typing import Any

# One after the other in one scope.
_SCRIPTS = ("data.js", "rdm.js", "map.js", "details.js", "choices.js", "main.js")
_COLOURS = "Magma256"
_MISSING = "#a8a8ae"
# Of marks on the heat map: told from all of its colours.
_MARK = "#35d0ff"
# Points lie within 1 of the middle of the map; this much is shown.
_REACH = 1.2


def render_page(data: dict[str, Any]) -> str:
    """Return the whole page for what `explore` has gathered."""
    from bokeh.resources import Resources
    from jinja2 import Environment, StrictUndefined

    library = "\n".join(
        Resources(mode="inline", components=["bokeh"], log_level="error").js_raw
    ).replace("</script", "<\\/script")
    own = "".join(_read(name) for name in _SCRIPTS)
    script = f'(() => {{\n"use strict";\n{own}}})();\n'
    shown = data | {"colours": _palette(), "plots": _plots()}
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        _read("page.html")
    )
    return template.render(
        title=data["title"],
        policy=_policy(library, script),
        style=_read("page.css"),
        library=library,
        script=script,
        data=_inert(shown),
    )


def _read(name: str) -> str:
    folder = resources.files("pytorch_feature_analysis") / "explorer_page"
    return (folder / name).read_text(encoding="utf-8")


def _inert(data: dict[str, Any]) -> str:
    """Return JSON that no HTML parser finds a tag or an end in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(*scripts: str) -> str:
    """Return the policy of a page that runs these scripts alone and fetches nothing."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _palette() -> list[str]:
    from bokeh import palettes

    return list(getattr(palettes, _COLOURS))


@functools.cache
def _plots() -> dict[str, Any]:
    """Return the plots as Bokeh reads them: made once, for it numbers whatever is made anew."""
    from bokeh.embed import json_item

    return {"rdm": json_item(_heat_map()), "map": json_item(_point_map())}


def _plot(name: str, **ranges: Any) -> Any:
    """Return an empty square without axes: a frame, and one pixel around it."""
    from bokeh.models import PanTool, WheelZoomTool
    from bokeh.plotting import figure

    zoom, pan = WheelZoomTool(), PanTool()
    plot = figure(
        name=name,
        tools=[pan, zoom],
        active_scroll=zoom,
        active_drag=pan,
        toolbar_location=None,
        x_axis_location=None,
        y_axis_location=None,
        min_border=1,
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
        sizing_mode="stretch_both",
        **ranges,
    )
    plot.grid.visible = False
    return plot


def _heat_map() -> Any:
    import numpy as np
    from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d

    plot = _plot("rdm", x_range=Range1d(start=0, end=1), y_range=Range1d(start=1, end=0))
    mapper = LinearColorMapper(
        name="colours", palette=_palette(), low=0, high=1, nan_color=_MISSING
    )
    cells: dict[str, Any] = {"image": [np.zeros((1, 1), dtype=np.float32)], "x": [0], "y": [0]}
    cells |= {"dw": [1], "dh": [1]}
    plot.image(
        source=ColumnDataSource(cells, name="cells"),
        color_mapper=mapper,
    )
    for name, colour, fill, line in (
        ("marks", _MARK, 0.16, 1.5),
        ("cross", "white", 0.22, 0),
        ("cell", "white", 0, 2),
    ):
        plot.quad(
            source=ColumnDataSource({"left": [], "right": [], "top": [], "bottom": []}, name=name),
            fill_color=colour,
            fill_alpha=fill,
            line_color=colour if line else None,
            line_width=line,
        )
    return plot


def _point_map() -> Any:
    from bokeh.models import ColumnDataSource, Range1d

    across, along = (Range1d(start=-_REACH, end=_REACH) for _ in range(2))
    plot = _plot("map", x_range=across, y_range=along)
    plot.segment(
        "x0",
        "y0",
        "x1",
        "y1",
        source=ColumnDataSource({"x0": [], "y0": [], "x1": [], "y1": []}, name="link"),
        line_color=_MARK,
        line_width=2,
    )
    plot.scatter(
        source=ColumnDataSource({"x": [], "y": [], "colour": [], "size": []}, name="points"),
        size="size",
        fill_color="colour",
        line_color="white",
        line_width=1,
    )
    plot.scatter(
        source=ColumnDataSource({"x": [], "y": [], "size": []}, name="rings"),
        size="size",
        fill_color=None,
        line_color=_MARK,
        line_width=3,
    )
    return plot
