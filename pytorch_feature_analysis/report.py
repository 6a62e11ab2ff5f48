"""A page about a stack: what it holds, its figures, how it was made, in words for a paper."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import RandomState, check_count
from pytorch_feature_analysis._files import atomic_write, check_writable
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.cell_values import as_text, frozen
from pytorch_feature_analysis.lineage_words import span
from pytorch_feature_analysis.matrices import asymmetric_pairs, get_upper_triang
from pytorch_feature_analysis.methods import (
    as_whole,
    methods_text,
    stacks_by_order,
)
from pytorch_feature_analysis.plotting._arguments import by_entry
from pytorch_feature_analysis.plotting.mds_panels import plot_mds_panels
from pytorch_feature_analysis.plotting.rdm import plot_rdm
from pytorch_feature_analysis.plotting.stack_graph import plot_stack_graph
from pytorch_feature_analysis.rdm_stack import differing
from pytorch_feature_analysis.stack_lineage import stack_lineage
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, is_lineage

_PAGE = "report_page.html"
_DEFAULT_NAME = "default_name"
_MOST_LINES = 200
_DIGEST = 12
# Columns that say in other words what another one says.
_ASIDE = ("layer_num", "layer_label", "kernel_inds", *PROVENANCE_COLUMNS)
# One for each row, and all layers of a network.
_LONG = ("row_key", "layers")
# More are not named one by one, and so many categories have colours of their own.
_MOST_NAMED = 30
_MOST_CATEGORIES = 8
# Of maps, each with what tells its row apart.
_PANEL = "panel of the report"
_NUMBERS = ("entries", "least", "median", "largest", "missing")


@dataclass
class _Report:
    """What stands on the page."""

    title: str
    subtitle: str
    facts: list[tuple[str, Any]]
    remarks: list[str]
    methods: list[str]
    references: list[str]
    figures: list[dict[str, str]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    version: str = __version__


def write_report(
    rdm_df: pd.DataFrame | str | os.PathLike[str],
    out: str | os.PathLike[str] = "report.html",
    *,
    below: Sequence[pd.DataFrame | str | os.PathLike[str]] = (),
    pictures: Mapping[Any, Any] | None = None,
    title: str | None = None,
    num_rdms: int = 9,
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> Path:
    """Write a page about a stack of any order: summary, figures, settings, and a methods section.

    Parameters
    ----------
    rdm_df : DataFrame or path
        The stack, or its file. A file also tells where the rows came from.
    out : path, default 'report.html'
        The page, one file that needs no network. What is there is replaced as a whole.
    below : list of DataFrame or path, default none
        The stacks that it was made of, see `methods_text`.
    pictures : dict, optional
        Pictures by entry key, as `cond_pics` of `rdm_mds`.
    title : str, optional
        Above the page; default the ``df_name`` of the stack, or else the name of its file.
    num_rdms : int, default 9
        How many RDMs are drawn at most. Of more, those that stand at even distances in the stack.
    symmetrize : bool, default False
        Draw the map of an RDM that is not symmetric from the mean of it and its transpose.
    random_state : int, Generator or None, default 0
        Seed of the maps.

    Returns
    -------
    pathlib.Path
        Where the page is.

    Raises
    ------
    ValueError
        An empty stack, or one in `below` that is not of a lower order; `pictures` of no entry.
    OSError
        Nothing can be written at `out`, which is found out before any work.

    See Also
    --------
    methods_text : The methods section alone.
    explore : A page to look around in.

    Notes
    -----
    Shuffles (``perm`` other than 'orig_data') are counted, and left out of figures and table.
    The table of rows has the first 200. Text from the stack is shown as text: nothing in it runs.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import matplotlib
    >>> matplotlib.use('agg')
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "fc1"],
    ...     "matrix": [1 - np.eye(4)] * 2,
    ...     "entry_keys": [("cup", "hat", "car", "dog")] * 2,
    ... })
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pfa.write_report(stack, pathlib.Path(folder) / "report.html")
    ...     "6 pairs" in path.read_text(encoding="utf-8")
    True
    """
    path = check_writable(out, argument="out")
    num_rdms = check_count(num_rdms, argument="num_rdms", minimum=1)
    stacks = stacks_by_order(rdm_df, below)
    whole = stacks[max(stacks)]
    stack = _without_shuffles(whole)
    by_entry(pictures, [*dict.fromkeys(chain(*stack["entry_keys"]))], argument="pictures")
    text = methods_text(whole, below=[df for order, df in stacks.items() if order < max(stacks)])
    *methods, references = text.split("\n\n")
    report = _Report(
        title=title if title is not None else _title_of(stack, rdm_df),
        subtitle=f"Report on a stack of RDMs, of order {max(stacks)}",
        facts=_facts(whole, stack),
        remarks=[*_remarks(stack), *_unrecorded(stacks)],
        methods=methods,
        references=references.splitlines()[1:],
    )
    chosen = _evenly(stack, num_rdms)
    which = "" if len(chosen) == len(stack) else f" {len(chosen)} of {len(stack)} RDMs are drawn."
    titles = _titles(chosen)
    category = _category(chosen)
    is_named = max(map(len, chosen["matrix"])) <= _MOST_NAMED
    one_metric = "dissim_metric" not in chosen or len({*map(frozen, chosen["dissim_metric"])}) < 2
    _add(
        report,
        "What it is made of",
        "From the entries of the first order, below, to the RDMs of this stack.",
        lambda **options: plot_stack_graph(whole, **options),
    )
    _add(
        report,
        "RDMs",
        ("Dissimilarities" if one_metric else "Ranks of the dissimilarities")
        + f" of all pairs of entries.{which}",
        lambda **options: plot_rdm(
            chosen,
            pictures=pictures,
            scale="raw" if one_metric else "rank",
            titles=titles,
            groups=category,
            **options,
        ),
    )
    _add(
        report,
        "Maps",
        "Near means alike: metric multidimensional scaling, each map turned to the one before."
        + which,
        lambda **options: plot_mds_panels(
            chosen.assign(**{_PANEL: object_series(titles, chosen.index)}),
            _PANEL,
            cond_pics=pictures,
            overlap="repel",
            cond_labels=pictures is None and is_named,
            color_by=category,
            symmetrize=symmetrize,
            random_state=random_state,
            **options,
        ),
    )
    report.tables = [_table_of_rows(stack), *_tables_of_runs(stacks)]
    with atomic_write(path) as temporary:
        temporary.write_bytes(_render(report).encode("utf-8", "replace"))
    return path


def _without_shuffles(stack: pd.DataFrame) -> pd.DataFrame:
    originals = stack[[perm == "orig_data" for perm in stack["perm"]]]
    return originals if len(originals) else stack


def _title_of(stack: pd.DataFrame, given: Any) -> str:
    names = list(dict.fromkeys(map(str, stack["df_name"])))
    if len(names) == 1 and names[0] != _DEFAULT_NAME:
        return names[0]
    return Path(given).stem if isinstance(given, (str, os.PathLike)) else "Stack of RDMs"


def _facts(whole: pd.DataFrame, stack: pd.DataFrame) -> list[tuple[str, Any]]:
    line = stack_lineage(whole).iloc[-1]
    sizes = span(line["fewest_entries"], line["most_entries"])
    facts = [("RDMs", len(stack)), ("order", line["order"]), ("entries each", sizes)]
    if line["num_perms"]:
        facts.append(("shuffles", len(whole) - len(stack)))
    return facts


def _remarks(stack: pd.DataFrame) -> Iterator[str]:
    """Say what a reader should know before believing a figure."""
    upper = [get_upper_triang(matrix) for matrix in stack["matrix"]]
    n = len(stack)
    missing = [int((~np.isfinite(cells)).sum()) for cells in upper]
    if any(missing):
        yield f"{sum(missing)} cells in {np.count_nonzero(missing)} of {n} RDMs are missing."
    level = [
        cells
        for cells in upper
        if cells.size > 1 and np.isfinite(cells[0]) and (cells == cells[0]).all()
    ]
    if level:
        yield (
            f"{len(level)} of {n} RDMs have the same value in all cells, so that no correlation"
            " with them is defined."
        )
    negative = sum(bool((cells < 0).any()) for cells in upper)
    if negative:
        yield f"{negative} of {n} RDMs have negative cells, which no map can show as distances."
    crooked = sum(len(asymmetric_pairs(m, one_sided=True)) > 0 for m in stack["matrix"])
    if crooked:
        yield f"{crooked} of {n} RDMs are not symmetric; the numbers are of their upper halves."


def _unrecorded(stacks: Mapping[int, pd.DataFrame]) -> Iterator[str]:
    """Say where nothing is on record of how rows were computed, in this stack or below."""
    known = {order: df["row_key"].notna() for order, df in stacks.items() if "row_key" in df}
    if not any(told.any() for told in known.values()):
        yield (
            "The stack does not say how its rows were computed. Name the file that get_rdms wrote,"
            " or for higher orders the files below it, for the report to say it."
        )
    for order, told in sorted(known.items()):
        if told.any() and not told.all():
            yield (
                f"{(~told).sum()} of {len(told)} rows of order {order} do not say how they were"
                " computed."
            )


def _evenly(stack: pd.DataFrame, most: int) -> pd.DataFrame:
    places = np.linspace(0, len(stack) - 1, min(most, len(stack))).round().astype(int)
    return stack.iloc[places]


def _category(stack: pd.DataFrame) -> str | None:
    """Name the label of the entries that puts all of them into the fewest categories, if any."""
    labels = [label for entries in stack["entry_labels"] for label in entries]
    names = dict.fromkeys(name for label in labels for name in label)
    counts = {
        name: len({repr(label[name]) for label in labels})
        for name in names
        if all(name in label for label in labels)
    }
    counts = {name: n for name, n in counts.items() if 2 <= n <= _MOST_CATEGORIES}
    fewest = min(len(entries) for entries in stack["entry_labels"])
    name = min(counts, key=lambda name: counts[name], default=None)
    return name if name is not None and counts[name] < fewest else None


def _titles(stack: pd.DataFrame) -> list[str]:
    """Say what tells each row apart; a number where nothing does."""
    apart = _apart(stack)
    titles = [", ".join(_as_text(row[name]) for name in apart) for _, row in stack.iterrows()]
    if len(set(titles)) < len(titles):
        return [f"{title} ({k})" if title else f"row {k}" for k, title in enumerate(titles, 1)]
    return titles


def _apart(stack: pd.DataFrame) -> list[Any]:
    apart = differing(stack)
    return [
        name
        for name in stack.columns
        if str(name) in apart and name not in _ASIDE and not is_lineage(name)
    ]


def _add(report: _Report, heading: str, caption: str, draw: Callable[..., Any]) -> None:
    """Draw a figure; one that cannot be drawn is a remark, and the page goes on."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    save_opts = {"fname": buffer, "format": "svg", "metadata": {"Date": None}}
    try:
        # The same stack gives the same bytes.
        with mpl.rc_context({"svg.hashsalt": heading}):
            draw(show=False, save_opts=save_opts)
    except ValueError as error:
        report.remarks.append(f"No figure '{heading}': {error}")
        return
    svg = base64.b64encode(buffer.getvalue()).decode("ascii")
    report.figures.append({"heading": heading, "caption": caption, "svg": svg})


def _table_of_rows(stack: pd.DataFrame) -> dict[str, Any]:
    apart = _apart(stack)
    lines = []
    for _, row in stack.head(_MOST_LINES).iterrows():
        cells = get_upper_triang(row["matrix"])
        known = cells[np.isfinite(cells)]
        middle = [known.min(), np.median(known), known.max()] if known.size else []
        values = [f"{value:.4g}" for value in middle] or [""] * 3
        lines.append(
            [
                *[_as_text(row[name]) for name in apart],
                *[len(row["matrix"]), *values, cells.size - known.size],
            ]
        )
    columns = [*[(name, False) for name in apart], *[(name, True) for name in _NUMBERS]]
    shown = "" if len(lines) == len(stack) else f"The first {len(lines)} of {len(stack)}. "
    return {
        "heading": "Rows",
        "caption": f"{shown}Numbers are of the dissimilarities above the diagonal.",
        "columns": columns,
        "lines": lines,
    }


def _tables_of_runs(stacks: Mapping[int, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Give the settings, weights and versions of each stack that says them."""
    for order in sorted(stacks):
        stack = stacks[order]
        names = [name for name in PROVENANCE_COLUMNS if name in stack and name not in _LONG]
        names = [name for name in names if stack[name].notna().any()]
        if not names:
            continue
        told = ["model", *names] if "model" in stack else names
        runs = stack.groupby(told, dropna=False, sort=False).size().reset_index(name="rows")
        yield {
            "heading": "Settings" if len(stacks) == 1 else f"Settings of order {order}",
            "caption": "What the rows were computed with; digests by their first letters.",
            "columns": [(name, name == "rows") for name in runs.columns],
            "lines": [
                [
                    _as_text(as_whole(value))[: _DIGEST if name.endswith("_hash") else None]
                    for name, value in zip(runs.columns, line, strict=True)
                ]
                for line in runs.itertuples(index=False, name=None)
            ],
        }


def _as_text(value: Any) -> str:
    return "" if frozen(value) is None else as_text(value)


def _render(report: _Report) -> str:
    from jinja2 import Environment, StrictUndefined

    page = resources.files("pytorch_feature_analysis").joinpath(_PAGE).read_text(encoding="utf-8")
    # All text is escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(page).render(vars(report))
