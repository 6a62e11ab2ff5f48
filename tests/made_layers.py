"""Stacks of networks by networks, a row a layer, as those of `get_similarity_rdms`."""

import numpy as np
import pandas as pd

NETWORKS = ("revenue", "churn", "returns", "visits", "basket", "region")


def dissimilarities(rng, n, *, symmetric=True):
    matrix = rng.uniform(0.1, 0.9, (n, n))
    if symmetric:
        matrix = (matrix + matrix.T) / 2
        np.fill_diagonal(matrix, 0)
    return matrix


def layer_stack(
    layers=range(4, 24), networks=NETWORKS, *, metrics=("svcca",), symmetric=True, seed=0
):
    rng = np.random.default_rng(seed)
    keys = tuple((name,) for name in networks)
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "dissim_metric": metric,
                "matrix": dissimilarities(rng, len(keys), symmetric=symmetric),
                "entry_keys": keys,
                "entry_labels": tuple({"model": name} for name in networks),
            }
            for layer in layers
            for metric in metrics
        ]
    )


def turned_round(stack, position):
    """The stack with the entries of one row in the opposite order."""
    turned = {}
    for name in ("entry_keys", "entry_labels", "matrix"):
        turned[name] = stack[name].tolist()
        cell = turned[name][position]
        turned[name][position] = cell[::-1, ::-1] if name == "matrix" else cell[::-1]
    return stack.assign(**turned)


def with_hole(stack, position, i, j):
    """The stack with a missing cell in one row, on both sides of the diagonal."""
    matrices = [matrix.copy() for matrix in stack["matrix"]]
    matrices[position][i, j] = matrices[position][j, i] = np.nan
    return stack.assign(matrix=matrices)
