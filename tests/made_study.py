"""A toy study: models of three objectives, as similar as they are on several datasets."""

import itertools

import numpy as np
import pandas as pd

OBJECTIVES = ("Supervised", "Self-Supervised", "Image-Text")


def model_table(n_models=12):
    return pd.DataFrame(
        {
            "model": [f"m{k}" for k in range(n_models)],
            "objective": [OBJECTIVES[k % 3] for k in range(n_models)],
        }
    )


def objectives_of(table):
    return dict(zip(table["model"], table["objective"], strict=True))


def similarity_stack(n_models=12, datasets=("imagenet", "flowers", "pets", "clevr")):
    """Dissimilarities 1 - s, with s from distances of points that noise moves on each dataset."""
    rng = np.random.default_rng(0)
    middles = 2 * rng.normal(size=(3, 4))
    points = middles[np.arange(n_models) % 3] + rng.normal(size=(n_models, 4))
    rows = []
    for dataset in datasets:
        own = points + 0.7 * rng.normal(size=points.shape)
        squared = ((own[:, None] - own) ** 2).sum(axis=-1)
        rows.append(
            {
                "dataset": dataset,
                "dissim_metric": "linear_cka",
                "matrix": 1 - np.exp(-squared / 20),
                "entry_keys": tuple((f"m{k}",) for k in range(n_models)),
                "entry_labels": tuple({"model": f"m{k}"} for k in range(n_models)),
            }
        )
    return pd.DataFrame(rows)


def with_cells(stack, k, **cells):
    """A stack with other cells in its kth row."""
    changed = {}
    for name, cell in cells.items():
        column = stack[name].tolist()
        column[k] = cell
        changed[name] = column
    return stack.assign(**changed)


def with_order(stack, k, order):
    """A stack with the entries of its kth RDM in another order."""
    return with_cells(
        stack,
        k,
        matrix=stack["matrix"][k][np.ix_(order, order)],
        **{
            name: tuple(stack[name][k][i] for i in order)
            for name in ("entry_keys", "entry_labels")
        },
    )


def consistency_frame(stack=None, table=None):
    """r of each two datasets over the pairs of each two objectives, and of all, by brute force."""
    stack = similarity_stack() if stack is None else stack
    said = objectives_of(model_table() if table is None else table)
    pairs = list(itertools.combinations(range(len(said)), 2))
    kinds = [frozenset((said[f"m{i}"], said[f"m{j}"])) for i, j in pairs]
    sets = [("objective", *two) for two in itertools.combinations_with_replacement(OBJECTIVES, 2)]
    rows = []
    for by, one, other in [("all", "all", "all"), *sets]:
        chosen = [
            pair
            for pair, kind in zip(pairs, kinds, strict=True)
            if by == "all" or kind == {one, other}
        ]
        for a, b in itertools.combinations(range(len(stack)), 2):
            x, y = ([1 - stack["matrix"][k][i, j] for i, j in chosen] for k in (a, b))
            rows.append(
                {
                    "dissim_metric": "linear_cka",
                    "by": by,
                    "set_1": one,
                    "set_2": other,
                    "dataset_1": stack["dataset"][a],
                    "dataset_2": stack["dataset"][b],
                    "r": np.corrcoef(x, y)[0, 1],
                    "n_pairs": len(chosen),
                    "reason": "",
                }
            )
    return pd.DataFrame(rows)


def gap_pairs(stack=None):
    """Similarity and gap of all pairs on each dataset, with accuracies."""
    stack = similarity_stack() if stack is None else stack
    accuracy = np.random.default_rng(1).uniform(0.3, 0.9, size=len(stack["matrix"][0]))
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "dissim_metric": "linear_cka",
                "model_1": f"m{i}",
                "model_2": f"m{j}",
                "similarity": 1 - matrix[i, j],
                "gap": abs(accuracy[i] - accuracy[j]),
                "accuracy_1": accuracy[i],
                "accuracy_2": accuracy[j],
            }
            for dataset, matrix in zip(stack["dataset"], stack["matrix"], strict=True)
            for i, j in itertools.combinations(range(len(accuracy)), 2)
        ]
    )
