"""t-SNE from dissimilarities: points whose near neighbours are those that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import RandomState, check_random_state
from pytorch_feature_analysis.missing_cells import whole_part

# Up to so many items the gradient is computed as it is, which is the same on every run.
_MOST_EXACT = 1000
# The faster way is for so many dimensions at most.
_MOST_DIMS = 3
# Deviation of the first places along the first axis, as of scikit-learn's.
_START = 1e-4


def tsne_embed(
    dissimilarities: np.ndarray,
    *,
    perplexity: float,
    dims: int = 2,
    random_state: RandomState = 0,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Place items in few dimensions by t-SNE.

    Parameters
    ----------
    dissimilarities : ndarray, (n_items, n_items)
        Symmetric, not negative but for rounding, with a zero diagonal.
    perplexity : float
        About how many neighbours an item has; at most a third of the others are taken.
    dims : int, default 2
        Number of coordinates.
    random_state : int, Generator or None, default 0
        Where the first places come from.
    start : ndarray, (n_items, dims), optional
        The first places, such as those of classical scaling, which keep the large distances
        (Kobak and Berens 2019, doi:10.1038/s41467-019-13056-x); default random ones.

    Returns
    -------
    ndarray, (n_items, dims)
        Items without a finite dissimilarity are NaN.

    References
    ----------
    van der Maaten and Hinton (2008). Visualizing data using t-SNE. Journal of Machine Learning
    Research 9, 2579-2605.
    """
    from sklearn.manifold import TSNE

    root = check_random_state(random_state)
    kept, known = whole_part(dissimilarities, method="t-SNE")
    exact = len(kept) <= _MOST_EXACT or dims > _MOST_DIMS
    settings: dict[str, Any] = {"method": "exact"} if exact else {}
    first: Any = "random"
    if start is not None and (spread := float(np.std(start[kept, 0]))) > 0:
        first = (start[kept] * (_START / spread)).astype(np.float32)
    scaled = TSNE(
        n_components=dims,
        metric="precomputed",
        init=first,
        perplexity=min(perplexity, (len(kept) - 1) / 3),
        random_state=root % 2**32,
        **settings,
    ).fit_transform(np.maximum(known, 0.0))
    points = np.full((len(dissimilarities), dims), np.nan)
    points[kept] = scaled - scaled.mean(axis=0)
    return points
