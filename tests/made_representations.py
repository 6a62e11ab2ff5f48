"""Representations with a known relation, and maps that measures ignore or do not."""

import numpy as np
from scipy.stats import ortho_group


def related(n=40, p=6, q=9, noise=1.0, seed=0):
    """Two representations of the same stimuli that share some of what they say."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * np.linspace(1, 3, p) + rng.normal(size=p)
    y = x @ rng.normal(size=(p, q)) / np.sqrt(p) + noise * rng.normal(size=(n, q))
    return x, y


def rotated(x, seed=1):
    return x @ ortho_group.rvs(x.shape[1], random_state=seed)


def mapped(x, seed=2):
    """By an invertible map that is no rotation."""
    rng = np.random.default_rng(seed)
    return x @ (
        np.eye(x.shape[1]) * rng.uniform(0.2, 5, x.shape[1])
        + 0.3 * rng.normal(size=(x.shape[1],) * 2)
    )


MAPS = {
    "translation": lambda x: x + np.arange(x.shape[1]),
    "scale": lambda x: 7.5 * x,
    "rotation": rotated,
    "unit order": lambda x: x[:, ::-1],
    "invertible": mapped,
}
