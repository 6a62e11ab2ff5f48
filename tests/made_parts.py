"""Rows as `get_rdms` hands them to its store, and what to hold those on disk against."""

import hashlib

import numpy as np
import pandas as pd
from made_stacks import make_stack

from pytorch_feature_analysis.stack_schema import PROVENANCE_COLUMNS, RDM_COLUMNS

NAMES = ["model", "layer", "activation_type", "obj"]


def rows_of(model, *, weights="w1", n_layers=2, objects=("obj1",), **changed):
    """The rows of one model with their provenance; other weights make other keys and numbers."""
    seed = list(f"{model} {weights}".encode())
    layers = [(f"conv{k}", k) for k in range(1, n_layers + 1)]
    stack = make_stack(
        np.random.default_rng(seed),
        objects=list(objects),
        models=[model],
        layers=layers,
        metrics=["corr"],
    )
    made_of = {
        "run_id": f"run {model} {weights}",
        "model_hash": weights,
        "images_hash": "images",
        "preprocessing": "resize",
        "layers": "{}",
        "random_state": "0",
        "batch_size": 16,
        "num_threads": 1,
        "device": "as the model",
        "versions": "torch 2",
    } | changed
    texts = [f"{names} {made_of}" for names in stack[NAMES].to_numpy().tolist()]
    stack["row_key"] = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    stack = stack.assign(**made_of)
    return stack[[*RDM_COLUMNS, "obj", *PROVENANCE_COLUMNS]]


def stacked(*pieces):
    return pd.concat(pieces, ignore_index=True)


def keys_of(rows):
    return rows["row_key"].tolist()


def same_rows(found, expected):
    """Whether both have the same rows in the same order, matrices and provenance with them."""
    if keys_of(found) != keys_of(expected):
        return False
    return all(
        np.array_equal(a, b) if name == "matrix" else a == b
        for name in expected
        for a, b in zip(found[name].tolist(), expected[name].tolist(), strict=True)
    )
