"""UMAP from dissimilarities: points whose near neighbours are those that are alike."""

from __future__ import annotations

import warnings

import numpy as np

from pytorch_feature_analysis._checks import RandomState, check_random_state, child_generator
from pytorch_feature_analysis.missing_cells import whole_part

# Share of the spread of the first places.
_NOISE = 1e-3


def umap_embed(
    dissimilarities: np.ndarray,
    *,
    num_neighbors: float,
    start: np.ndarray,
    random_state: RandomState = 0,
) -> np.ndarray:
    """Place items in few dimensions by UMAP.

    Parameters
    ----------
    dissimilarities : ndarray, (n_items, n_items)
        Symmetric, not negative but for rounding, with a zero diagonal.
    num_neighbors : float
        How many neighbours of an item count, itself among them; at most there are items.
    start : ndarray, (n_items, dims)
        The first places, such as those of classical scaling.
    random_state : int, Generator or None, default 0
        What pairs are drawn by.

    Returns
    -------
    ndarray, (n_items, dims)
        Items without a finite dissimilarity are NaN.

    Raises
    ------
    ImportError
        The extra ``umap`` is not installed.

    References
    ----------
    McInnes, Healy and Melville (2018). UMAP: uniform manifold approximation and projection for
    dimension reduction. arXiv:1802.03426
    """
    root = check_random_state(random_state)
    kept, known = whole_part(dissimilarities, method="UMAP")
    # Axes along which all lie in one place have no scale.
    noise = child_generator(root, "umap start").normal(size=(len(kept), start.shape[1]))
    first = start[kept] + (_NOISE * float(np.std(start[kept])) or 1.0) * noise
    with warnings.catch_warnings():
        # Of the compiler and of TensorFlow, which is not needed, and that a matrix of
        # dissimilarities is one.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise ImportError(
                "`method` 'umap' needs the package umap-learn:"
                " pip install 'pytorch_feature_analysis[umap]'"
            ) from error
        scaled = UMAP(
            n_components=start.shape[1],
            metric="precomputed",
            n_neighbors=max(2, min(int(num_neighbors), len(kept) - 1)),
            init=first.astype(np.float32),
            random_state=root % 2**32,
            n_jobs=1,
        ).fit_transform(np.maximum(known, 0.0))
    points = np.full((len(dissimilarities), start.shape[1]), np.nan)
    points[kept] = scaled - scaled.mean(axis=0)
    return points
