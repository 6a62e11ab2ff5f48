"""The columns of a stack of RDMs, declared once, as data.

The check, the files and the table of the documentation read them from `SCHEMA`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class StackColumn:
    """One column of a stack."""

    name: str
    kind: str
    meaning: str
    group: str
    """'rdm' for the columns of every stack, 'meta' for those of meta-RDMs, 'provenance'."""
    is_tuple: bool = False
    """Whether its cells are tuples, possibly of tuples, so that lists are turned into them."""


SCHEMA = (
    StackColumn("df_name", "str", "name of the stack, as given to the call that made it", "rdm"),
    StackColumn("model", "str", "name of the network", "rdm"),
    StackColumn("layer", "str", "name of the layer, such as 'conv1'", "rdm"),
    StackColumn("layer_num", "int", "its number in the order of definition, from 1", "rdm"),
    StackColumn("layer_label", "(str, int)", "both, such as ('conv1', 1)", "rdm", is_tuple=True),
    StackColumn("dissim_metric", "str", "metric of dissimilarity between patterns", "rdm"),
    StackColumn("activation_type", "str", "'unit_level' or 'feature_means'", "rdm"),
    StackColumn(
        "matrix", "float array (n, n)", "the dissimilarities between entries, read-only", "rdm"
    ),
    StackColumn(
        "entry_keys", "tuple of n tuples", "what each row of the matrix is", "rdm", is_tuple=True
    ),
    StackColumn(
        "entry_labels", "tuple of n dicts", "the same as {variable: value}", "rdm", is_tuple=True
    ),
    StackColumn("kernel_set_name", "str", "name of the set of channels", "rdm"),
    StackColumn(
        "kernel_inds", "'all' or tuple of int", "the channels themselves", "rdm", is_tuple=True
    ),
    StackColumn("perm", "'orig_data' or int", "number of the permutation, from 1", "rdm"),
    StackColumn(
        "perm_scramble",
        "tuple of n int",
        "original positions in their scrambled order; the identity on 'orig_data'",
        "rdm",
        is_tuple=True,
    ),
    StackColumn(
        "dissim_rankings",
        "tuple of n int",
        "entries in greedy order, the most different ones first",
        "rdm",
        is_tuple=True,
    ),
    StackColumn("entry_var_subset", "str", "name of the subset of entries", "meta"),
    StackColumn(
        "entry_keys_sub",
        "tuple of tuples",
        "entries of the RDMs that were compared; one `_sub` more for each level below",
        "meta",
        is_tuple=True,
    ),
    StackColumn("entry_labels_sub", "tuple of dicts", "the same", "meta", is_tuple=True),
    StackColumn("row_key", "str", "digest of all that the row's numbers depend on", "provenance"),
    StackColumn("run_id", "str", "the call that computed the row", "provenance"),
    StackColumn("model_hash", "str", "digest of the network's weights", "provenance"),
    StackColumn("images_hash", "str", "digest of the images' content", "provenance"),
    StackColumn("preprocessing", "str", "what was done to the images", "provenance"),
    StackColumn("layers", "str", "the layers asked for and found, as JSON", "provenance"),
    StackColumn("random_state", "int or str", "seed of the call", "provenance"),
    StackColumn("batch_size", "int", "images a pass", "provenance"),
    StackColumn("num_threads", "int", "threads a worker", "provenance"),
    StackColumn("device", "str", "where the network ran", "provenance"),
    StackColumn("versions", "str", "versions of the packages that matter", "provenance"),
)

RDM_COLUMNS = tuple(column.name for column in SCHEMA if column.group == "rdm")
PROVENANCE_COLUMNS = tuple(column.name for column in SCHEMA if column.group == "provenance")
REQUIRED_COLUMNS = ("matrix", "entry_keys")

_RESERVED = re.compile(
    "(perm|perm_scramble|df_name|dissim_metric|entry_keys|entry_labels|entry_var_subset)(_sub)*"
)
_LINEAGE = re.compile("(entry_keys|entry_labels)(_sub)*")
TUPLE_COLUMNS = {column.name for column in SCHEMA if column.is_tuple}


def is_reserved(name: Hashable) -> bool:
    """Tell whether a column gains a `_sub` in meta-RDMs: exactly these names, at any level."""
    return isinstance(name, str) and _RESERVED.fullmatch(name) is not None


def is_lineage(name: Hashable) -> bool:
    """Tell whether a column holds the entries of this level or of one below."""
    return isinstance(name, str) and _LINEAGE.fullmatch(name) is not None


def stack_columns() -> pd.DataFrame:
    """List the columns that stacks of RDMs have.

    Returns
    -------
    DataFrame
        One row per column, with its `column` name, the `kind` of its cells, its `meaning`, and
        the `group` of stacks that have it: 'rdm' (those of `get_rdms`, which add one column per
        label of the image sets), 'meta' (those of `get_meta_rdms` beside them), 'provenance'
        (those that `read_rdms` adds with ``provenance=True``).

    See Also
    --------
    check_rdm_stack : Fills in what can be told from the rest.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> columns = pfa.stack_columns()
    >>> columns.loc[columns["column"] == "perm", ["column", "kind"]].values.tolist()
    [['perm', "'orig_data' or int"]]
    """
    return pd.DataFrame(
        {
            "column": [column.name for column in SCHEMA],
            "kind": [column.kind for column in SCHEMA],
            "meaning": [column.meaning for column in SCHEMA],
            "group": [column.group for column in SCHEMA],
        }
    )


def check_string_columns(columns: pd.Index, *, file: str) -> None:
    """Raise if a stack has columns that a file, such as "a parquet file", cannot name."""
    wrong = [name for name in columns if not isinstance(name, str)]
    if wrong:
        raise TypeError(
            f"`rdm_df` has columns named {', '.join(map(repr, wrong))}; {file} names them by"
            " strings. Rename them, or write a pickle (.p)."
        )


def cell_error(column: str, row: int, index: pd.Index, what: object, *, file: str) -> TypeError:
    """Make the error for a cell that a file cannot hold; `what` says what the cell is."""
    return TypeError(
        f"`rdm_df` has, in column {column} of the row at position {row} (index {index[row]!r}),"
        f" {what}, which {file} cannot hold. Turn it into strings, numbers, tuples or dicts of"
        " these, or write a pickle (.p)."
    )
