"""What a stack is made of, in words: of each order a heading, what is in it, what made it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import pandas as pd

from pytorch_feature_analysis.metric_words import are_measures, metric_in_words

# One and several; other variables are called by their names.
_NOUNS = {
    "model": ("network", "networks"),
    "layer": ("layer", "layers"),
    "activation_type": ("activation type", "activation types"),
    "dissim_metric": ("metric", "metrics"),
    "kernel_set_name": ("set of channels", "sets of channels"),
    "entry_var_subset": ("subset of entries", "subsets of entries"),
    "df_name": ("name", "names"),
}
_TIMES = " \N{MULTIPLICATION SIGN} "
_KEPT = "\N{NO-BREAK SPACE}"
_MOST_LISTED = 3


def heading(row: pd.Series, above: pd.Series | None) -> str:
    """Say how many stimuli or RDMs there are at an order; `above` is the row of the next one."""
    if row["order"] == 0:
        if above is not None and are_measures(above["metrics"]):
            return _some(row["count"], "representation", "representations")
        if above is None or above["most_entries"] == row["count"] == above["fewest_entries"]:
            return _some(row["count"], "stimulus", "stimuli")
        each = span(above["fewest_entries"], above["most_entries"])
        return f"{each} stimuli in each RDM"
    is_of_stimuli = row["order"] == 1 and not are_measures(row["metrics"])
    one, several = ("stimulus", "stimuli") if is_of_stimuli else ("entry", "entries")
    what = one if row["most_entries"] == 1 else several
    size = span(row["fewest_entries"], row["most_entries"])
    noun = ("RDM", "RDMs")
    if _is_compared_itself(above):
        noun = ("representation", "representations")
    return f"{_some(row['count'], *noun)} of {size} {what}"


def contents(row: pd.Series) -> list[str]:
    """Say what those of an order differ in, what they share, and how many shuffles there are.

    A number and what it counts are joined by spaces at which no line is broken.
    """
    told = {name: n for name, n in row["told_apart_by"].items() if not _is_bare(name)}
    counted = [_counted(name, n, row["order"]).replace(" ", _KEPT) for name, n in told.items()]
    is_crossed = prod(told.values()) == row["count"]
    lines = [(_TIMES if is_crossed else ", ").join(counted)]
    lines.append(", ".join(_shared(row["of"])))
    if row["num_perms"]:
        lines.append(f"and {_some(row['num_perms'], 'shuffle', 'shuffles')} of each")
    return [line for line in lines if line]


def made_by(row: pd.Series, below: pd.Series, above: pd.Series | None) -> str:
    """Say by what the entries of an order's RDMs were compared; `below` is the order of these."""
    if _is_compared_itself(above):
        return "patterns"
    listed = [metric_in_words(metric) for metric in row["metrics"][:_MOST_LISTED]]
    if len(row["metrics"]) > _MOST_LISTED:
        listed.append(f"{len(row['metrics']) - _MOST_LISTED} more")
    metrics = ", ".join(listed)
    if not metrics:
        return "a metric that is not recorded"
    if are_measures(row["metrics"]):
        return metrics
    if row["order"] == 1:
        units = row["of"].get("activation_type")
        return f"{metrics} of {f'{units} ' if isinstance(units, str) else ''}patterns"
    pairs = [int(n) * (int(n) - 1) // 2 for n in (below["fewest_entries"], below["most_entries"])]
    return f"{metrics} over {span(*pairs)} {'pair' if pairs[1] == 1 else 'pairs'}"


def sentence(row: pd.Series, below: pd.Series | None, above: pd.Series | None) -> str:
    """Say all of an order."""
    parts = [heading(row, above), *([made_by(row, below, above)] if below is not None else [])]
    inside = "; ".join(contents(row)).replace(_KEPT, " ")
    link = ", as " if _is_compared_itself(above) else ", by "
    return link.join([f"{parts[0]} ({inside})" if inside else parts[0], *parts[1:]])


def _is_compared_itself(above: pd.Series | None) -> bool:
    """Whether the order above compares what is of this order by a measure, without RDMs of it."""
    return above is not None and above["order"] > 1 and are_measures(above["metrics"])


def _some(n: int, one: str, several: str) -> str:
    return f"{n} {one if n == 1 else several}"


def span(low: Any, high: Any) -> str:
    """Write a number, or the least and the largest."""
    return str(low) if low == high else f"{low} to {high}"


def _counted(name: str, n: int, order: int) -> str:
    """Say how many values a variable has; a metric of an order below says of which."""
    base = name.removesuffix("_sub")
    depth = 0
    while base != name:
        name, base, depth = base, base.removesuffix("_sub"), depth + 1
    if name not in _NOUNS:
        return f"{n} values of {name}{'_sub' * depth}"
    where = f" of order {order - depth}" if depth else ""
    return _some(n, *_NOUNS[name]) + where


def _shared(of: Mapping[str, Any]) -> list[str]:
    """Values that all have, but what is so where nothing was chosen."""
    kept = {
        name: value
        for name, value in of.items()
        if not _is_bare(name) and value not in ("all", None) and name != "dissim_metric"
    }
    return [f"{_NOUNS.get(name, (name,))[0]} {value}" for name, value in kept.items()]


def _is_bare(name: str) -> bool:
    """Whether a variable is only the name of an entry of a frame that says no more."""
    return name == "entry" or (name.startswith("entry_") and name[6:].isdigit())
