"""Stacks of random RDMs, in the shape of those of `get_rdms`, and what to hold results against."""

import itertools

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from pytorch_feature_analysis.meta_rdms import get_meta_rdms

LAYERS = [("original_rgb", 0), *((f"conv{k}", k) for k in range(1, 22))]
COLORS = tuple((f"{k:03d}",) for k in range(4))
OBJECTS = ["obj002", "obj001", "obj003", "obj004"]
GUIDE_GROUPING = ["model", "layer", "activation_type", "dissim_metric"]


def random_rdm(rng, n):
    points = rng.random((n, 3))
    return np.linalg.norm(points[:, None] - points, axis=2)


def make_stack(
    rng,
    *,
    objects=OBJECTS,
    models=("alexnet",),
    layers=LAYERS,
    metrics=("corr", "euclidean_distance"),
    perms=("orig_data",),
    keys=COLORS,
):
    """The frame of `get_rdms`: all 16 columns in its order, rows in its order."""
    n = len(keys)
    rows = [
        {
            "df_name": "one_object_color_rdms",
            "model": model,
            "layer": layer,
            "layer_num": number,
            "layer_label": (layer, number),
            "dissim_metric": metric,
            "activation_type": activation_type,
            "matrix": random_rdm(rng, n),
            "entry_keys": keys,
            "entry_labels": tuple({"color": key[0]} for key in keys),
            "kernel_set_name": "all",
            "kernel_inds": "all",
            "perm": perm,
            "perm_scramble": tuple(rng.permutation(n).tolist()),
            "dissim_rankings": tuple(range(n)),
            "obj": obj,
        }
        for obj, model, (layer, number), metric, activation_type, perm in itertools.product(
            objects, models, layers, metrics, ("unit_level", "feature_means"), perms
        )
    ]
    return pd.DataFrame(rows)


def small_stack(rng, n_rows=6, n_items=5, **columns):
    """A user's own frame: layers of one model, and nothing but what is required."""
    keys = tuple((name,) for name in "abcdefghijkl"[:n_items])
    return pd.DataFrame(
        {
            "model": "mine",
            "layer": [f"layer{k}" for k in range(n_rows)],
            "matrix": [random_rdm(rng, n_items) for _ in range(n_rows)],
            "entry_keys": [keys] * n_rows,
            **columns,
        }
    )


def meta(stack, entry_variables=("layer",), **kwargs):
    return get_meta_rdms(stack, None, list(entry_variables), progress=False, **kwargs)


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), k=1)]


def corrcoef_of(matrices):
    # Oracle: numpy's correlation of the stacked upper triangles.
    return 1 - np.corrcoef([upper(matrix) for matrix in matrices])


def rows_where(df, **values):
    return df[np.logical_and.reduce([df[name] == value for name, value in values.items()])]


def same_cells(left, right):
    """Equality of frames whose cells are arrays, tuples and dicts."""
    left, right = left.copy(), right.copy()
    assert list(left.columns) == list(right.columns)
    assert len(left) == len(right)
    for a, b in zip(left.pop("matrix"), right.pop("matrix"), strict=True):
        np.testing.assert_array_equal(a, b)
    assert_frame_equal(left, right)


def with_dead(matrix, *items):
    """The matrix with items that have no dissimilarity, as constant patterns have none."""
    matrix = matrix.copy()
    for item in items:
        matrix[item, :] = matrix[:, item] = np.nan
        matrix[item, item] = 0
    return matrix
