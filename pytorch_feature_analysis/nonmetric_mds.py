"""Nonmetric scaling: distances that have the order of the dissimilarities, whatever their sizes.

Shepard's and Kruskal's. All pairs come as vectors of what is known of them.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.spatial.distance import pdist

_MAX_ITERATIONS = 1000


def disparities(distances: np.ndarray, dissimilarities: np.ndarray) -> np.ndarray:
    """Give the numbers nearest to the distances that never fall as dissimilarities rise.

    It is monotone regression with the primary approach to ties: pairs with one dissimilarity may
    have different disparities (Kruskal 1964, doi:10.1007/BF02289694).

    Parameters
    ----------
    distances, dissimilarities : ndarray, shape (n_pairs,)

    Returns
    -------
    ndarray, shape (n_pairs,)
    """
    order = np.lexsort([distances, dissimilarities])
    fitted = np.empty_like(distances, dtype=float)
    fitted[order] = isotonic_regression(distances[order]).x
    return fitted


def nonmetric_stress(distances: np.ndarray, dissimilarities: np.ndarray) -> float:
    """Give the sum over pairs of (distance - disparity) squared."""
    return float(((distances - disparities(distances, dissimilarities)) ** 2).sum())


def descended(dissimilarities: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimise the squared stress-1 of the order of dissimilarities from a configuration.

    Its gradient is that for fixed disparities, since these are at a minimum themselves
    (Kruskal 1964, doi:10.1007/BF02289694).

    Parameters
    ----------
    dissimilarities : ndarray, shape (n_pairs,)
        Of all pairs, in the order of `pdist`; NaN ones have no weight.
    start : ndarray, shape (n_items, dims)

    Returns
    -------
    ndarray, shape (n_items, dims)
        Of such a size that distances are nearest to dissimilarities.
    """
    known = np.isfinite(dissimilarities)
    wanted = dissimilarities[known]
    first, second = (side[known] for side in np.triu_indices(len(start), k=1))

    def stress_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        points = flat.reshape(start.shape)
        between = points[first] - points[second]
        distances = np.sqrt((between**2).sum(axis=1))
        size = (distances**2).sum() or 1.0
        residuals = distances - disparities(distances, wanted)
        stress = (residuals**2).sum() / size
        slopes = 2 * (residuals - stress * distances) / size
        # 0 is one of the subgradients where points coincide.
        ratio = np.divide(slopes, distances, out=np.zeros_like(slopes), where=distances > 0)
        pulls = ratio[:, None] * between
        gradient = [
            np.bincount(first, pull, len(points)) - np.bincount(second, pull, len(points))
            for pull in pulls.T
        ]
        return float(stress), np.column_stack(gradient).ravel()

    found = minimize(
        stress_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "ftol": 1e-12, "gtol": 1e-8},
    )
    points = found.x.reshape(start.shape)
    distances = pdist(points)[known]
    return points * ((distances @ wanted) / ((distances @ distances) or 1.0))
