"""Dissimilarities for tests of choices: points on a line, and noise."""

import numpy as np

POINTS = np.array([0, 1, 3, 7, 12, 13])
LINE = np.abs(POINTS[:, None] - POINTS).astype(float)


def noise(n, seed=0):
    """Symmetric normal noise."""
    rdm = np.random.default_rng(seed).normal(size=(n, n))
    rdm = (rdm + rdm.T) / 2
    np.fill_diagonal(rdm, 0)
    return rdm
