"""t-SNE from dissimilarities: points whose near neighbours are those that are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import RandomState, check_random_state
from pytorch_feature_analysis.matrices import dead_items

# Up to so many items the gradient is computed as it is, which is the same on every run.
_MOST_EXACT = 1000


def tsne_embed(
    dissimilarities: np.ndarray, *, perplexity: float, random_state: RandomState = 0
) -> np.ndarray:
    """Place items in two dimensions by t-SNE.

    Parameters
    ----------
    dissimilarities : ndarray, (n_items, n_items)
        Symmetric, not negative but for rounding, with a zero diagonal.
    perplexity : float
        About how many neighbours an item has; at most a third of the others are taken.
    random_state : int, Generator or None, default 0
        Where the first places come from.

    Returns
    -------
    ndarray, (n_items, 2)
        Items without a finite dissimilarity are NaN.

    References
    ----------
    van der Maaten and Hinton (2008). Visualizing data using t-SNE. Journal of Machine Learning
    Research 9, 2579-2605.
    """
    from sklearn.manifold import TSNE

    root = check_random_state(random_state)
    kept = np.flatnonzero(~dead_items(dissimilarities))
    known = dissimilarities[np.ix_(kept, kept)]
    if len(kept) < 3:
        raise ValueError(f"t-SNE needs at least three items, and there are {len(kept)}.")
    if not np.isfinite(known).all():
        raise ValueError(
            "t-SNE needs the dissimilarities of all pairs, and some are missing; leave items out,"
            " or take another method."
        )
    settings: dict[str, Any] = {"method": "exact"} if len(kept) <= _MOST_EXACT else {}
    scaled = TSNE(
        metric="precomputed",
        init="random",
        perplexity=min(perplexity, (len(kept) - 1) / 3),
        random_state=root % 2**32,
        **settings,
    ).fit_transform(np.maximum(known, 0.0))
    points = np.full((len(dissimilarities), 2), np.nan)
    points[kept] = scaled - scaled.mean(axis=0)
    return points
