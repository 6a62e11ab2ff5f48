"""Finished rows on disk: what is there is not computed again, and nothing is lost.

A row is the same *row* when its names agree (model, layer, metric, labels, ...), and has the same
*key* when everything that its numbers depend on agrees (image contents, weights, preprocessing,
settings). Same key: served from the file. Same names under another key: computed anew, and the
old row moves to ``<file>.superseded.parquet``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pytorch_feature_analysis.stack_files import read_rdms, replace_stack, write_rdms
from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS

_NAMES = (
    "df_name",
    "model",
    "layer_label",
    "dissim_metric",
    "activation_type",
    "kernel_set_name",
    "perm",
)
_CHANGES = {
    "model_hash": "the weights or the architecture",
    "images_hash": "the images",
    "preprocessing": "the preprocessing",
    "batch_size": "batch_size",
    "random_state": "random_state",
}


def read_finished(path: Path | None) -> pd.DataFrame | None:
    """Rows of an earlier call with their provenance, or None where there is no file."""
    if path is None or not path.exists():
        return None
    stored = read_rdms(path, provenance=True)
    missing = [column for column in RDM_COLUMNS if column not in stored.columns]
    if missing:
        raise ValueError(
            f"`out_fname` {path} holds a stack of another kind: it has no column"
            f" {', '.join(missing)}. Choose another name, so that nothing is lost."
        )
    return stored


def add_rows(path: Path, stored: pd.DataFrame | None, fresh: pd.DataFrame) -> None:
    """Write the union of what is stored and fresh rows, atomically.

    Stored rows of the same names are moved to the file of superseded rows; one warning says what
    changed.
    """
    if stored is None:
        # What may be there is not this call's to add to: `write_rdms` keeps it aside.
        write_rdms(fresh, path)
        return
    labels = [c for c in fresh.columns if c not in RDM_COLUMNS and c not in PROVENANCE_COLUMNS]
    place = {names: i for i, names in enumerate(_row_names(fresh, labels))}
    replaced = np.array([names in place for names in _row_names(stored, labels)])
    if replaced.any():
        old = stored[replaced]
        new = fresh.iloc[[place[names] for names in _row_names(old, labels)]]
        aside = path.with_name(f"{path.name}.superseded.parquet")
        before = [read_rdms(aside, provenance=True)] if aside.exists() else []
        replace_stack(pd.concat([*before, old], ignore_index=True), aside)
        warnings.warn(
            f"{int(replaced.sum())} rows in {path} are computed anew, because"
            f" {_what_changed(old, new)}; the old ones are kept in {aside}.",
            stacklevel=3,
        )
    union = pd.concat([stored[~replaced], fresh], ignore_index=True)
    replace_stack(union, path)


def _row_names(stack: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    columns = [
        stack[name].tolist() if name in stack.columns else [None] * len(stack)
        for name in (*_NAMES, *labels)
    ]
    return [repr(names) for names in zip(*columns, strict=True)]


def _what_changed(old: pd.DataFrame, new: pd.DataFrame) -> str:
    if old["row_key"].isna().any():
        return "nothing is recorded of what made them"
    changed = []
    for column, words in _CHANGES.items():
        differs = old[column].astype(str).to_numpy() != new[column].astype(str).to_numpy()
        if differs.any():
            models = sorted({str(model) for model in new.loc[differs, "model"]})
            of_models = f" of model {', '.join(models)}" if column != "images_hash" else ""
            changed.append(f"{words}{of_models} changed")
    return " and ".join(changed) or "their settings changed"
