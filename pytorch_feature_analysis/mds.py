"""Multidimensional scaling: from dissimilarities to points whose distances stand for them.

Torgerson's classical scaling is one eigendecomposition, and exact for Euclidean distances. Metric
scaling minimises the raw stress, from the classical solution and from random shifts of it;
nonmetric scaling does so for the order of the dissimilarities alone. Dissimilarities that are
missing have weight zero in both the minimum and the stress.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csgraph
from scipy.spatial.distance import pdist, squareform

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.matrices import (
    check_square,
    check_symmetric,
    dead_items,
    double_centred,
    mean_of_both,
    to_condensed,
)
from pytorch_feature_analysis.nonmetric_mds import descended, nonmetric_stress

logger = logging.getLogger(__name__)

_MAX_ITERATIONS = 3000
# For SMACOF the share of the summed squared distances that an iteration must take off the stress
# for another one to follow (scikit-learn from 1.7 on); for L-BFGS the size of the gradient.
_EPS = 1e-9
# Raw stress of an exact fit, for dissimilarities of size 1.
_EXACT = 1e-12
# Dissimilarities that differ by less than this share of the largest one differ by rounding alone.
_ROUNDING = 1e-8


def embed(
    matrix: np.ndarray,
    dims: int = 2,
    *,
    method: str = "metric",
    num_starts: int = 8,
    random_state: RandomState = 0,
    names: Sequence[Any] | None = None,
    argument: str = "matrix",
    symmetrize: bool = False,
) -> tuple[np.ndarray, float]:
    r"""Place items as points whose Euclidean distances stand for their dissimilarities.

    With :math:`\delta_{ij}` the dissimilarities and :math:`d_{ij}` the distances of the points,
    the raw stress is

    .. math:: \sigma = \sum_{i<j} (d_{ij} - \delta_{ij})^2

    over the pairs whose dissimilarity is known.

    Parameters
    ----------
    matrix : ndarray, shape (n_items, n_items)
        Dissimilarities: not negative, 0 on the diagonal. NaN stands for a missing one.
    dims : int, default 2
        Number of coordinates of each point.
    method : {'metric', 'nonmetric', 'classical'}, default 'metric'
        'metric' minimises the raw stress [1]_, 'nonmetric' the stress-1 with the order of the
        dissimilarities for their sizes [3]_, 'classical' is Torgerson's scaling [2]_.
    num_starts : int, default 8
        For 'metric' and 'nonmetric', the number of configurations to start from: the classical
        solution first, then that solution with random shifts of its own size. The least stress is
        kept.
    random_state : int, numpy Generator or None, default 0
        Where the random starts come from.
    names : sequence, optional
        What to call the items in messages; their positions by default.
    argument : str, default 'matrix'
        What to call the matrix in messages.
    symmetrize : bool, default False
        Take the mean of a matrix that is not symmetric and its transpose, instead of refusing it.

    Returns
    -------
    points : ndarray, shape (n_items, dims)
        In the unit of the dissimilarities, centred at 0 and turned to their principal axes, so
        that the first coordinate varies most; in each coordinate the item furthest from 0 is on
        the positive side. Items that were left out are NaN.
    stress : float
        Raw stress; for 'nonmetric', with the disparities of monotone regression in the place of
        the dissimilarities. 0 where all distances fit, larger for a worse fit. It grows with the
        number of pairs and with the square of the dissimilarities: compare `stress_1` between
        matrices.

    Raises
    ------
    ValueError
        If a dissimilarity is negative or infinite, the diagonal is not 0, the matrix is not
        symmetric and `symmetrize` is False, fewer than two items
        have a finite dissimilarity, or the known ones leave groups of items unconnected.

    Notes
    -----
    Metric scaling descends with L-BFGS, and then iterates scikit-learn's SMACOF (at most 3000
    iterations, eps 1e-9) until an iteration no longer lowers the stress: a minimum of the one is a
    fixed point of the other ([1]_ section 8.6). The minimum need not be the lowest one of all.

    An item with no finite dissimilarity to another one is left out and named in a log line.
    Where single dissimilarities are missing, classical scaling takes the shortest path over other
    items in their place, and metric scaling starts from there and gives them weight zero, so that
    only the known ones pull; SMACOF, which knows no weights, is then left out.

    Where only one of the two cells of a pair is known, it serves for both.

    References
    ----------
    .. [1] Borg and Groenen (2005). Modern Multidimensional Scaling, 2nd edition, chapter 8.
       doi:10.1007/0-387-28981-X
    .. [2] Torgerson (1952). Multidimensional scaling: I. Theory and method. Psychometrika 17,
       401-419. doi:10.1007/BF02288916
    .. [3] Kruskal (1964). Nonmetric multidimensional scaling: a numerical method. Psychometrika
       29, 115-129. doi:10.1007/BF02289694

    Examples
    --------
    The corners of a rectangle of 3 by 4, from their distances:

    >>> import numpy as np
    >>> from pytorch_feature_analysis.mds import embed
    >>> distances = np.array([[0, 3, 5, 4], [3, 0, 4, 5], [5, 4, 0, 3], [4, 5, 3, 0.0]])
    >>> points, stress = embed(distances)
    >>> points.round(6).tolist()
    [[2.0, 1.5], [2.0, -1.5], [-2.0, -1.5], [-2.0, 1.5]]
    >>> stress < 1e-20
    True
    """
    check_name(method, _METHODS, argument="method", what="method of scaling")
    dims = check_count(dims, argument="dims")
    num_starts = check_count(num_starts, argument="num_starts")
    root = check_random_state(random_state)
    dissimilarities = _check_dissimilarities(matrix, argument=argument, symmetrize=symmetrize)
    called = list(names) if names is not None else list(range(len(dissimilarities)))

    left_out = dead_items(dissimilarities)
    if (~left_out).sum() < 2:
        raise ValueError(
            f"`{argument}` has {(~left_out).sum()} of {len(left_out)} items with a finite"
            " dissimilarity to another one, and scaling needs at least two."
        )
    if left_out.any():
        logger.warning(
            "MDS leaves out %d of %d items, which have no finite dissimilarity: %s.",
            left_out.sum(),
            len(left_out),
            ", ".join(str(called[i]) for i in np.flatnonzero(left_out).tolist()),
        )
    kept = np.flatnonzero(~left_out)
    known = dissimilarities[np.ix_(kept, kept)]
    cells = to_condensed(known)
    n_missing = int(np.isnan(cells).sum())
    if n_missing:
        logger.warning(
            "MDS leaves out %d of %d dissimilarities of the other items, which are missing.",
            n_missing,
            len(cells),
        )
    _check_connected(known, [called[i] for i in kept.tolist()], argument=argument)

    # The tolerances of both solvers suit dissimilarities of size 1.
    unit = float(np.nanmax(known))
    points = np.full((len(left_out), dims), np.nan)
    if unit == 0:
        points[kept] = 0.0
        return points, 0.0
    points[kept] = unit * _oriented(_METHODS[method](known / unit, dims, num_starts, root))
    return points, _stress(points[kept], known, method)


def stress_1(points: np.ndarray, matrix: np.ndarray, *, method: str = "metric") -> float:
    """Kruskal's stress-1: root of the raw stress over the sum of squared distances.

    Free of unit and nearly free of the number of items: 0 is a perfect fit, 0.05 good, 0.1 fair,
    0.2 poor (Kruskal 1964, doi:10.1007/BF02289565). Items and pairs that `embed` left out are left
    out here. With `method` 'nonmetric' it is the stress of the order of the dissimilarities.
    """
    placed = np.isfinite(points).all(axis=1)
    dissimilarities = _check_dissimilarities(matrix, argument="matrix", symmetrize=True)
    known = dissimilarities[np.ix_(placed, placed)]
    distances = pdist(points[placed])
    squared = (distances[np.isfinite(squareform(known, checks=False))] ** 2).sum()
    return float(np.sqrt(_stress(points[placed], known, method) / squared)) if squared else 0.0


def _check_dissimilarities(matrix: np.ndarray, *, argument: str, symmetrize: bool) -> np.ndarray:
    """Return a new symmetric matrix with a zero diagonal; NaN is where nothing is known."""
    values = np.array(check_square(matrix, argument=argument), dtype=float)
    for bad, what in ((np.isinf(values), "infinite"), (_is_negative(values), "negative")):
        if bad.any():
            i, j = np.argwhere(bad)[0]
            raise ValueError(
                f"`{argument}` must hold dissimilarities, finite and not negative, and has"
                f" {bad.sum()} {what} ones, the first {values[i, j]:.4g} in row {i}, column {j}."
                " Turn similarities into dissimilarities first, as 1 - similarity; clip negative"
                " estimates of a distance at 0; set unknown ones to NaN."
            )
    largest = np.nanmax(values, initial=0.0)
    diagonal = np.nan_to_num(np.diag(values))
    if (diagonal > _ROUNDING * largest).any():
        i = int(np.argmax(diagonal))
        raise ValueError(
            f"`{argument}` must have 0 on its diagonal, and has {diagonal[i]:.4g} in row {i}."
            " A matrix of similarities must be turned into dissimilarities, as 1 - similarity."
        )
    np.fill_diagonal(values, 0.0)
    values = np.maximum(values, 0.0)
    if not symmetrize:
        check_symmetric(values, what=f"`{argument}`", one_sided=True)
    return mean_of_both(values)


def _is_negative(values: np.ndarray) -> np.ndarray:
    largest = np.nanmax(np.abs(values), initial=0.0)
    return values < -_ROUNDING * largest


def _check_connected(known: np.ndarray, names: Sequence[Any], *, argument: str) -> None:
    """Raise if there are groups with no known dissimilarity between them: any place would do."""
    n_groups, group = csgraph.connected_components(np.isfinite(known), directed=False)
    if n_groups > 1:
        smallest = np.flatnonzero(group == np.argmin(np.bincount(group))).tolist()
        raise ValueError(
            f"`{argument}` falls into {n_groups} groups of items with no finite dissimilarity"
            " between them, so that their places to each other are unknown. One group is"
            f" {', '.join(str(names[i]) for i in smallest)}. Scale each group by itself."
        )


def _raw_stress(points: np.ndarray, known: np.ndarray) -> float:
    residuals = pdist(points) - squareform(known, checks=False)
    return float(np.nansum(residuals**2))


def _stress(points: np.ndarray, known: np.ndarray, method: str) -> float:
    if method != "nonmetric":
        return _raw_stress(points, known)
    cells = squareform(known, checks=False)
    there = np.isfinite(cells)
    return nonmetric_stress(pdist(points)[there], cells[there])


def _classical(known: np.ndarray, dims: int, num_starts: int, root: int) -> np.ndarray:  # noqa: ARG001 - one signature for all methods
    complete = _completed(known)
    # Double centring turns squared distances into inner products about the centroid.
    eigenvalues, eigenvectors = np.linalg.eigh(double_centred(complete**2) / -2)
    points = np.zeros((len(known), dims))
    used = min(dims, len(known))
    # Negative eigenvalues belong to what is not Euclidean in the dissimilarities.
    lengths = np.sqrt(np.maximum(eigenvalues[::-1][:used], 0.0))
    points[:, :used] = eigenvectors[:, ::-1][:, :used] * lengths
    return points


def _metric(known: np.ndarray, dims: int, num_starts: int, root: int) -> np.ndarray:
    def descend(start: np.ndarray) -> tuple[np.ndarray, float]:
        points = _smacof(known, _descended(known, start))
        return points, _raw_stress(points, known)

    return _best(descend, _classical(known, dims, num_starts, root), num_starts, root)


def _nonmetric(known: np.ndarray, dims: int, num_starts: int, root: int) -> np.ndarray:
    cells = squareform(known, checks=False)

    def descend(start: np.ndarray) -> tuple[np.ndarray, float]:
        points = descended(cells, start)
        # Free of size, which differs from start to start.
        return points, stress_1(points, known, method="nonmetric") ** 2

    return _best(descend, _classical(known, dims, num_starts, root), num_starts, root)


def _best(
    descend: Callable[[np.ndarray], tuple[np.ndarray, float]],
    classical: np.ndarray,
    num_starts: int,
    root: int,
) -> np.ndarray:
    """Descend from the classical solution and from random shifts of it; keep the lowest."""
    # Comes with scikit-learn; imported where it is used, as that is.
    from threadpoolctl import threadpool_limits

    best, best_stress = classical, np.inf
    # Thousands of products of small arrays: threads would wait for each other more than they work.
    with threadpool_limits(1, user_api="blas"):
        for k in range(num_starts):
            start = classical
            if k > 0:
                noise = child_generator(root, "mds start", k).normal(size=classical.shape)
                start = classical + np.std(classical) * noise
            points, stress = descend(start)
            if stress < best_stress:
                best, best_stress = points, stress
            # No other start could do better than an exact fit but for rounding.
            if best_stress < _EXACT:
                break
    return best


def _descended(known: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimise the raw stress over the known pairs with L-BFGS.

    SMACOF descends to the same minimum, but at a linear rate: ten times slower for a thousand
    items, and far from an exact fit where dissimilarities are missing.
    """
    weights = np.isfinite(known)
    targets = np.where(weights, known, 0.0)

    def stress_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        points = flat.reshape(start.shape)
        distances = squareform(pdist(points))
        residuals = np.where(weights, distances - targets, 0.0)
        # The stress has no gradient where points coincide; 0 is one of its subgradients there.
        ratio = np.divide(residuals, distances, out=np.zeros_like(targets), where=distances > 0)
        gradient = 2 * (ratio.sum(axis=1)[:, None] * points - ratio @ points)
        return float((residuals**2).sum()) / 2, gradient.ravel()

    found = minimize(
        stress_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "ftol": 1e-12, "gtol": _EPS},
    )
    return found.x.reshape(start.shape)


def _smacof(known: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Iterate scikit-learn's SMACOF to its own criterion; it has no weights for missing pairs."""
    from sklearn.manifold import smacof

    if not np.isfinite(known).all():
        return start
    points, _ = smacof(
        known,
        init=start,
        n_init=1,
        n_jobs=1,
        max_iter=_MAX_ITERATIONS,
        eps=_EPS,
        normalized_stress=False,
    )
    return points


def _completed(known: np.ndarray) -> np.ndarray:
    """Fill missing dissimilarities with the shortest path over other items."""
    if np.isfinite(known).all():
        return known
    graph = csgraph.csgraph_from_dense(known, null_value=np.nan)
    paths = csgraph.shortest_path(graph, directed=False)
    return np.where(np.isnan(known), paths, known)


def _oriented(points: np.ndarray) -> np.ndarray:
    """Centre the points, turn them to their principal axes and fix the sign of each."""
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    turned = centred @ axes.T
    sizes = np.abs(turned)
    # The first of those that are furthest but for rounding, so that symmetric figures, whose
    # extremes tie, come out the same on every machine.
    furthest = (sizes >= (1 - 1e-6) * sizes.max(axis=0)).argmax(axis=0)
    signs = np.where(turned[furthest, np.arange(turned.shape[1])] < 0, -1.0, 1.0)
    return turned * signs


_METHODS: dict[str, Callable[[np.ndarray, int, int, int], np.ndarray]] = {
    "metric": _metric,
    "nonmetric": _nonmetric,
    "classical": _classical,
}
