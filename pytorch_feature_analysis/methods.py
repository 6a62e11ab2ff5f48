"""The paragraph of a paper that says how a stack came about, with the numbers filled in."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_sequence
from pytorch_feature_analysis._version import __version__
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.lineage_words import span
from pytorch_feature_analysis.matrices import get_upper_triang
from pytorch_feature_analysis.metric_words import are_measures, metric_in_full
from pytorch_feature_analysis.rdm_stack import check_rdm_stack
from pytorch_feature_analysis.similarity import MEASURES
from pytorch_feature_analysis.stack_files import read_rdms
from pytorch_feature_analysis.stack_lineage import order_of, stack_lineage
from pytorch_feature_analysis.stack_schema import is_reserved

# The variable of entries whose keys are given without labels.
_NAMELESS = "entry"
_ORDERS = ("first", "second", "third", "fourth", "fifth", "sixth")
_ACTIVATION_TYPES = {
    "unit_level": "of all units of a layer",
    "feature_means": "of the means of a layer's channels over positions",
    "cls_token": "of the class token of a layer",
}
_RDM_SOURCE = (
    "Kriegeskorte, N., Mur, M. and Bandettini, P. (2008). Representational similarity analysis:"
    " connecting the branches of systems neuroscience. Frontiers in Systems Neuroscience 2:4."
    " doi:10.3389/neuro.06.004.2008"
)


def methods_text(
    rdm_df: pd.DataFrame | str | os.PathLike[str],
    *,
    below: Sequence[pd.DataFrame | str | os.PathLike[str]] = (),
) -> str:
    """Write how a stack came about, as a paper's methods section would, with all numbers.

    Parameters
    ----------
    rdm_df : DataFrame or path
        A stack of any order, or its file. A file also tells where the rows came from.
    below : list of DataFrame or path, default none
        The stacks that it was made of, of any lower orders. They say what a stack of a higher
        order does not: metrics that were no grouping variables, how images were prepared, seeds
        and versions.

    Returns
    -------
    str
        A paragraph for each order, the first one first; one on the software; and the references.
        What is not known is left out, never guessed.

    Raises
    ------
    ValueError
        A stack in `below` is not of a lower order, or two are of the same.

    See Also
    --------
    stack_lineage : The numbers as a table.
    write_report : The same with figures.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "layer": ["conv1", "fc1"],
    ...     "matrix": [1 - np.eye(4)] * 2,
    ...     "entry_keys": [("cup", "hat", "car", "dog")] * 2,
    ...     "dissim_metric": "corr",
    ... })
    >>> print(pfa.methods_text(stack).splitlines()[0])
    2 representational dissimilarity matrices (RDMs) were computed, which differ in layer (2).
    Each holds the dissimilarities of 4 entries, 6 pairs. Dissimilarity was 1 − Pearson's
    correlation.
    """
    stacks = stacks_by_order(rdm_df, below)
    lineage = stack_lineage(stacks[max(stacks)])
    paragraphs = [_of_order(line, stacks, lineage) for line in lineage.to_dict("records")[1:]]
    return "\n\n".join([*paragraphs, _software(stacks.values()), _references(lineage, stacks)])


def stacks_by_order(rdm_df: Any, below: Any) -> dict[int, pd.DataFrame]:
    """Read the stacks, completed, by their order; those below are of lower ones."""
    own = _as_stack(rdm_df, "rdm_df")
    highest = order_of(own)
    stacks = {highest: own}
    for k, given in enumerate(check_sequence(below, argument="below", of="stacks or paths")):
        stack = _as_stack(given, f"below[{k}]")
        order = order_of(stack)
        if order >= highest:
            raise ValueError(
                f"`below[{k}]` is of order {order}, and `rdm_df` of order {highest};"
                " `below` takes the stacks that `rdm_df` was made of."
            )
        if order in stacks:
            raise ValueError(f"`below` has two stacks of order {order}; name one.")
        stacks[order] = stack
    return stacks


def _as_stack(given: Any, argument: str) -> pd.DataFrame:
    if isinstance(given, (str, os.PathLike)):
        given = read_rdms(given, provenance=True)
    stack = check_rdm_stack(given, argument=argument)
    if stack.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to tell.")
    return stack


def _of_order(
    line: Mapping[Hashable, Any], stacks: Mapping[int, pd.DataFrame], lineage: pd.DataFrame
) -> str:
    order = line["order"]
    stack = stacks.get(order)
    metrics = line["metrics"]
    if not metrics and stack is not None:
        metrics = tuple(known_values(stack, "dissim_metric"))
    entries = _entries_in_words(line)
    if order + 1 < len(lineage) and are_measures(lineage["metrics"][order + 1]):
        apart = _differing(order, line["told_apart_by"])
        sentences = [
            f"Patterns of {entries} were taken from {line['count']} sources"
            + (f", which differ in {apart}." if apart else ".")
        ]
    else:
        pairs = tuple(n * (n - 1) // 2 for n in _sizes(line))
        number = f"{span(*pairs)} pair{'s' * (pairs != (1, 1))}"
        sentences = [_opening(line), f"Each holds the dissimilarities of {entries}, {number}."]
        if metrics:
            words = in_series(map(metric_in_full, metrics), "or")
            sentences.append(f"Dissimilarity was {words}{_compared(metrics, lineage, order)}.")
        else:
            may = "" if stack is not None else "; one in `below` may"
            sentences.append(f"[The stack does not say by what metric{may}.]")
    if order == 1:
        sentences += _activations(stacks[min(stacks)])
    if stack is not None:
        sentences += [*_missing(stack), *_made_of(stack)]
    if line["num_perms"]:
        n = line["num_perms"]
        sentences.append(
            f"Beside them stand the results of {n} shuffle{'s' * (n != 1)} of the items of each"
            " entry, as the null distribution."
        )
    return " ".join(sentences)


def _entries_in_words(line: Mapping[Hashable, Any]) -> str:
    """Say how many entries there are, and what tells them apart, unless that has no name."""
    sizes, variables = _sizes(line), line["entry_variables"]
    number = f"{span(*sizes)} {'entry' if sizes == (1, 1) else 'entries'}"
    if [*variables] == [_NAMELESS]:
        return number
    if [*variables.values()] == [sizes[1]]:
        return f"{number} ({_name_at(line['order'] - 1, next(iter(variables)))})"
    told = _differing(line["order"] - 1, variables)
    return f"{number} ({told})" if told else number


def _opening(line: Mapping[Hashable, Any]) -> str:
    order, n_rdms = line["order"], line["count"]
    apart = _differing(order, line["told_apart_by"])
    differ = f", which differ in {apart}" if apart else ""
    if order == 1:
        what = "matrix (RDM) was" if n_rdms == 1 else "matrices (RDMs) were"
        return f"{n_rdms} representational dissimilarity {what} computed{differ}."
    compared = "representations" if are_measures(line["metrics"]) else "RDMs"
    return (
        f"These {compared} were compared with each other, which gave {n_rdms} RDM"
        f"{'s' * (n_rdms != 1)} of the {_number(order)} order{differ}."
    )


def _differing(order: int, told_apart_by: Mapping[str, int]) -> str:
    """Name what RDMs of an order differ in, each with its number of values."""
    return counted({_name_at(order, name): n for name, n in told_apart_by.items()})


def _name_at(order: int, name: str) -> str:
    """Say what a column of a stack of this order is called in words."""
    if not is_reserved(name):
        return name
    base = re.sub("(_sub)+$", "", name)
    below = (len(name) - len(base)) // len("_sub")
    words = "metric" if base == "dissim_metric" else base
    return f"{words} of the {_number(order - below)} order" if below else words


def _number(order: int) -> str:
    return _ORDERS[order - 1] if order <= len(_ORDERS) else f"{order}th"


def _sizes(line: Any) -> tuple[int, int]:
    """Give the fewest and the most entries of an RDM of an order."""
    return int(line["fewest_entries"]), int(line["most_entries"])


def _compared(metrics: Sequence[str], lineage: pd.DataFrame, order: int) -> str:
    """Say what of two entries was compared, where they are RDMs."""
    if order == 1 or are_measures(metrics) or all(metric_in_full(m) == f"'{m}'" for m in metrics):
        # A function of one's own may take patterns too.
        return ""
    n_pairs = span(*(n * (n - 1) // 2 for n in _sizes(lineage.iloc[order - 1])))
    return f" of the {n_pairs} cells above the diagonals of two RDMs"


def _activations(stack: pd.DataFrame) -> list[str]:
    known = known_values(stack, "activation_type")
    kinds = [f"'{kind}' are {words}" for kind, words in _ACTIVATION_TYPES.items() if kind in known]
    return [f"Patterns called {', '.join(kinds)}."] if kinds else []


def _missing(stack: pd.DataFrame) -> list[str]:
    # Of the RDMs that are counted: shuffles have the same cells in another order.
    rdms = stack.loc[stack["perm"] == "orig_data", "matrix"]
    missing = [(~np.isfinite(get_upper_triang(matrix))).sum() for matrix in rdms]
    if not any(missing):
        return []
    some = f"{np.count_nonzero(missing)} of {len(missing)} RDMs"
    return [f"{sum(missing)} cells, in {some}, have no value (NaN)."]


def _made_of(stack: pd.DataFrame) -> list[str]:
    """How the networks were run, where the stack says so."""
    sentences = []
    if "row_key" in stack and 0 < (known := int(stack["row_key"].notna().sum())) < len(stack):
        sentences.append(f"How {known} of {len(stack)} rows were computed is on record.")
    for column, sentence in (
        ("preprocessing", "Images were prepared so: {}."),
        ("batch_size", "Networks ran on {} images at a time."),
        ("random_state", "The seed was {}."),
    ):
        values = known_values(stack, column)
        if values:
            sentences.append(sentence.format(in_series(values, "or")))
    hashes = [len(known_values(stack, column)) for column in ("model_hash", "images_hash")]
    if all(hashes):
        sentences.append(
            f"They are of {_sets(hashes[0])} of weights and {hashes[1]} of images, by their"
            " digests."
        )
    return sentences


def _sets(n: int) -> str:
    return "1 set" if n == 1 else f"{n} different sets"


def _software(stacks: Iterable[pd.DataFrame]) -> str:
    versions = dict.fromkeys(
        str(version) for stack in stacks for version in known_values(stack, "versions")
    )
    if versions:
        return f"RDMs were computed with {in_series(versions, 'or')}."
    return f"This was written by pytorch_feature_analysis {__version__}."


def _references(lineage: pd.DataFrame, stacks: Mapping[int, pd.DataFrame]) -> str:
    metrics = [metric for metrics in lineage["metrics"] for metric in metrics]
    metrics += [m for stack in stacks.values() for m in stack.get("dissim_metric", ())]
    names = dict.fromkeys(str(metric).partition("(")[0] for metric in metrics)
    found = [_RDM_SOURCE]
    for name in names:
        if name in MEASURES:
            found += _cited_by(MEASURES[name].function)
    return "\n".join(["References", *dict.fromkeys(found)])


def _cited_by(function: Any) -> list[str]:
    """Give the entries under References in the help of a function."""
    text = inspect.getdoc(function) or ""
    _, heading, behind = text.partition("References\n----------\n")
    if not heading:
        return []
    section = re.split(r"\n\n(?=[^\n]+\n-{3,}\n)", behind)[0]
    # An entry's further lines are indented, or it ends with an empty line.
    entries = re.split(r"\n(?=\S)|\n\n", section)
    return [" ".join(entry.split()) for entry in entries if entry.strip()]


def counted(values: Mapping[str, int]) -> str:
    """Name what differs, each with its number of values: ``model (2) and layer (8)``."""
    return in_series([f"{name} ({n})" for name, n in values.items() if n > 1], "and")


def in_series(items: Iterable[Any], last: str) -> str:
    """Join items by commas, the last one by a word."""
    *others, final = [*map(str, items)] or [""]
    return f"{', '.join(others)} {last} {final}" if others else final


def known_values(stack: pd.DataFrame, column: str) -> list[Any]:
    """Values of a column, each once, without those that are missing; none if it is not there."""
    if column not in stack:
        return []
    values = {frozen(value): value for value in reversed(stack[column].tolist())}
    return [as_whole(value) for key, value in reversed(values.items()) if key is not None]


def as_whole(value: Any) -> Any:
    """Return the whole number of which pandas made a float beside missing values."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
