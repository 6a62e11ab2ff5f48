"""What `plot_rdm` draws of each row of a stack: cells, entries in their order, groups, a title."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis.cell_values import as_text
from pytorch_feature_analysis.matrices import dead_items
from pytorch_feature_analysis.metric_words import measure_of
from pytorch_feature_analysis.missing_cells import (
    cells_of_pairs,
    check_nan_policy,
    finite_or_nan,
    refuse_missing,
)
from pytorch_feature_analysis.plotting._entry_names import names_of
from pytorch_feature_analysis.plotting._entry_order import (
    EntryOrder,
    group_entries,
    order_entries,
)
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import label_columns, telling_columns

logger = logging.getLogger(__name__)

EntryKey = tuple[Hashable, ...]

SCALES = ("raw", "rank")
# A figure of more could not be read; a stack that nobody filtered has thousands.
_MOST_PANELS = 100


@dataclass(frozen=True)
class Panel:
    """One RDM as it is drawn."""

    keys: list[EntryKey]
    """In their order."""
    names: list[str]
    cells: np.ndarray
    groups: list[Hashable]
    """Of each entry; None throughout where there are none."""
    kinds: list[Hashable]
    """All groups, in the order of their colours, which no order of entries changes."""
    tree: np.ndarray | None
    title: str
    places: dict[EntryKey, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {key: k for k, key in enumerate(self.keys)})

    def written(self, write: Callable[[str], str]) -> Panel:
        """Return the same with all texts as `write` has them."""
        return replace(self, names=[*map(write, self.names)], title=write(self.title))


def check_stack(rdm_df: Any) -> pd.DataFrame:
    """Return the stack, or the stack of a row, or raise where it cannot be a figure."""
    if isinstance(rdm_df, pd.Series):
        rdm_df = rdm_df.to_frame().T
    stack = checked_stack(rdm_df)
    if not 1 <= len(stack) <= _MOST_PANELS:
        varied = in_words([f"{name}" for name in _title_columns(stack)]) if len(stack) else ""
        raise ValueError(
            f"`rdm_df` must have 1 to {_MOST_PANELS} rows, each of which is drawn, and has"
            f" {len(stack)}"
            + (f", which differ in {varied}. Take some with df_filter." if varied else ".")
        )
    return stack


def make_panels(
    stack: pd.DataFrame,
    *,
    order: Any,
    groups: Any,
    scale: str,
    nan_policy: str,
    titles: Any,
    called: Mapping[Hashable, Any],
) -> list[Panel]:
    """Make a panel of each row, all of the same order where they have the same entries."""
    check_name(scale, SCALES, argument="scale", what="scale")
    headings = panel_titles(stack, titles)
    rows = [row for _, row in stack.iterrows()]
    matrices = [finite_or_nan(row["matrix"]) for row in rows]
    check_nan_policy(nan_policy)
    refuse_missing(
        nan_policy,
        (cells_of_pairs(matrix) for matrix in matrices),
        owner="`rdm_df`",
        names=[f"row {row.name!r}" for row in rows],
    )
    first = rows[0]["entry_keys"]
    all_keys = list(dict.fromkeys(key for row in rows for key in row["entry_keys"]))
    if all(set(row["entry_keys"]) == set(first) for row in rows):
        places = [{key: k for k, key in enumerate(row["entry_keys"])} for row in rows]
        aligned = [[of[key] for key in first] for of in places]
        together = [list(range(len(rows)))]
        matrices = [m[np.ix_(of, of)] for m, of in zip(matrices, aligned, strict=True)]
    else:
        together = [[k] for k in range(len(rows))]
    panels: dict[int, Panel] = {}
    for members in together:
        row, own = rows[members[0]], [matrices[k] for k in members]
        kept = _kept(own, nan_policy)
        own = [matrix[np.ix_(kept, kept)] for matrix in own]
        keys = [row["entry_keys"][k] for k in kept]
        labels = [row["entry_labels"][k] for k in kept]
        given = _without(order, all_keys, keys)
        ordered = _ordered(keys, labels, own, given, groups)
        aside = [name for name in (groups, order) if isinstance(name, str)]
        names = names_of(labels, ordered.places, aside)
        in_order = [keys[k] for k in ordered.places]
        names = [str(called.get(key, name)) for key, name in zip(in_order, names, strict=True)]
        for k, matrix in zip(members, own, strict=True):
            values = matrix[np.ix_(ordered.places, ordered.places)]
            panels[k] = Panel(
                in_order,
                names,
                ranked(values) if scale == "rank" else values,
                [ordered.groups[place] for place in ordered.places],
                ordered.kinds,
                ordered.tree,
                headings[k],
            )
    return [panels[k] for k in range(len(rows))]


def _kept(matrices: Sequence[np.ndarray], nan_policy: str) -> np.ndarray:
    """Places of entries that are drawn: with 'omit', of those that are dead in no RDM."""
    dead = np.zeros(len(matrices[0]), dtype=bool)
    if nan_policy != "omit":
        return np.flatnonzero(~dead)
    for matrix in matrices:
        dead |= dead_items(matrix)
    if dead.all():
        raise ValueError(
            "`nan_policy` is 'omit', and each entry of `rdm_df` is without any finite cell in some"
            " RDM, so that nothing is left to draw. 'pairwise' draws them grey."
        )
    if dead.any():
        logger.info(
            "The figure leaves out %d of %d entries, which have no finite dissimilarity in some"
            " RDM.",
            dead.sum(),
            len(dead),
        )
    return np.flatnonzero(~dead)


def _without(order: Any, keys: Sequence[EntryKey], kept: Sequence[EntryKey]) -> Any:
    """Take what is not drawn out of an order that names all entries one by one."""
    left_out = set(keys) - set(kept)
    if not left_out or not isinstance(order, (Mapping, list, tuple)):
        return order
    stay = [one for one in order if (one if isinstance(one, tuple) else (one,)) not in left_out]
    return {one: order[one] for one in stay} if isinstance(order, Mapping) else stay


def _ordered(
    keys: Sequence[EntryKey],
    labels: Sequence[Mapping[str, Any]],
    matrices: Sequence[np.ndarray],
    order: Any,
    groups: Any,
) -> EntryOrder:
    """Order the entries, by their groups where nothing else is asked for."""
    known = np.sum([np.isfinite(matrix) for matrix in matrices], axis=0)
    mean = np.sum([np.nan_to_num(matrix) for matrix in matrices], axis=0) / np.maximum(known, 1)
    mean[known == 0] = np.nan
    ordered = order_entries(keys, labels, mean, order)
    if groups is None:
        return ordered
    grouped = group_entries(keys, labels, groups)
    if order is None:
        return grouped
    return replace(ordered, groups=grouped.groups, kinds=grouped.kinds)


def ranked(matrix: np.ndarray) -> np.ndarray:
    """Replace cells off the diagonal by their ranks, from 0, the least, to 1, the largest.

    Ties have their mean rank; where all are tied, that is 0.5.
    """
    cells = np.isfinite(matrix) & ~np.eye(len(matrix), dtype=bool)
    ranks = np.full(matrix.shape, np.nan)
    if cells.any():
        found = rankdata(matrix[cells])
        low, high = found.min(), found.max()
        ranks[cells] = (found - low) / (high - low) if high > low else 0.5
    return ranks


def bar_text(stack: pd.DataFrame, scale: str) -> str:
    """Say what the colours of all panels are, or raise where they are not of one kind."""
    measures = list(dict.fromkeys(measure_of(row) for _, row in stack.iterrows()))
    if scale == "rank":
        measure = measures[0] if len(measures) == 1 else None
        return f"rank of {measure or 'dissimilarity'}"
    if len(measures) > 1:
        raise ValueError(
            f"`rdm_df` has RDMs by {in_words([str(one) for one in measures])}, whose values are on"
            " no common scale. Take scale='rank', or the rows of one metric with df_filter."
        )
    return measures[0] or "dissimilarity"


def panel_titles(stack: pd.DataFrame, titles: Any) -> list[str]:
    """Say what each row is: what it differs in, a column, or a list of texts."""
    if titles is None:
        columns = _title_columns(stack)
    elif isinstance(titles, str):
        named = [name for name in stack.columns if isinstance(name, str)]
        check_name(titles, named, argument="titles", what="column", owner=" of `rdm_df`")
        columns = [titles]
    else:
        listed = check_sequence(titles, argument="titles", of="texts")
        if len(listed) != len(stack):
            raise ValueError(
                f"`titles` must be {len(stack)} texts, one for each row of `rdm_df`, or the name"
                f" of a column, and there are {len(listed)}."
            )
        return [str(text) for text in listed]
    cells = [stack[column].tolist() for column in columns]
    return [", ".join(as_text(of[k]) for of in cells) for k in range(len(stack))]


def _title_columns(stack: pd.DataFrame) -> list[str]:
    return telling_columns(stack, [*label_columns(stack), "perm"])
