"""From the dissimilarities of one RDM to points, by any method, and how well they stand for it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import RandomState, check_count, check_name
from pytorch_feature_analysis.matrices import dead_items, mean_of_both
from pytorch_feature_analysis.mds import embed, stress_1
from pytorch_feature_analysis.tsne import tsne_embed
from pytorch_feature_analysis.umap_points import umap_embed

logger = logging.getLogger(__name__)

METHODS = ("metric", "nonmetric", "classical", "tsne", "umap")
NUM_NEIGHBORS = 15
"""As many as UMAP counts by default."""

_CALLED = {"tsne": "t-SNE", "umap": "UMAP"}
# The neighbours that are looked at for how many are kept.
_TRUSTED = 5
# A stress-1 that is rounding alone.
_EXACT = 1e-6


@dataclass(frozen=True)
class Embedding:
    """Points for the items of an RDM, and how well their distances fit."""

    points: np.ndarray
    """(n_items, dims), NaN for items without a finite dissimilarity."""
    fit: float
    """Raw stress of scaling; trustworthiness of t-SNE and UMAP."""
    stress_1: float | None
    """Kruskal's, of scaling alone."""
    note: str
    """The fit in a few words."""


def embed_items(
    matrix: np.ndarray,
    dims: int = 2,
    *,
    method: str = "metric",
    num_starts: int = 8,
    num_neighbors: int = NUM_NEIGHBORS,
    random_state: RandomState = 0,
    names: Sequence[Any] | None = None,
    argument: str = "matrix",
    symmetrize: bool = False,
) -> Embedding:
    """Place items as points by one of `METHODS`, with the arguments of `mds_coordinates`."""
    check_name(method, METHODS, argument="method", what="method of scaling")
    num_neighbors = check_count(num_neighbors, argument="num_neighbors", minimum=2)
    neighbours = method in _CALLED
    points, stress = embed(
        matrix,
        dims,
        # Where neighbours are drawn together, this is where they start.
        method="classical" if neighbours else method,
        num_starts=num_starts,
        random_state=random_state,
        names=names,
        argument=argument,
        symmetrize=symmetrize,
    )
    n_items = int(np.isfinite(points).all(axis=1).sum())
    where = f"of {n_items} entries in {points.shape[1]} dimensions"
    if not neighbours:
        normalised = stress_1(points, matrix, method=method)
        logger.info("MDS %s: stress %.6g, stress-1 %.4f.", where, stress, normalised)
        note = f"stress {stress:.3g}, stress-1 {normalised:.2g}"
        return Embedding(points, stress, normalised, "stress 0" if normalised < _EXACT else note)
    both_ways = mean_of_both(np.asarray(matrix, dtype=float))
    np.fill_diagonal(both_ways, 0.0)
    if method == "tsne":
        points = tsne_embed(
            both_ways,
            perplexity=num_neighbors,
            dims=dims,
            random_state=random_state,
            start=points,
        )
    else:
        points = umap_embed(
            both_ways, num_neighbors=num_neighbors, start=points, random_state=random_state
        )
    kept = _trustworthiness(points, both_ways)
    logger.info("%s %s: trustworthiness %.4f.", _CALLED[method], where, kept)
    return Embedding(points, kept, None, f"{_CALLED[method]}, trustworthiness {kept:.2f}")


def _trustworthiness(points: np.ndarray, dissimilarities: np.ndarray) -> float:
    """Tell how far neighbours on the map are neighbours: 1 all, about 0.5 at random.

    Venna and Kaski (2001), doi:10.1007/3-540-44668-0_68
    """
    from sklearn.manifold import trustworthiness

    kept = np.flatnonzero(~dead_items(dissimilarities))
    return float(
        trustworthiness(
            np.maximum(dissimilarities[np.ix_(kept, kept)], 0.0),
            points[kept],
            n_neighbors=max(1, min(_TRUSTED, (len(kept) - 1) // 2)),
            metric="precomputed",
        )
    )
