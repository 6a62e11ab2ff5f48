"""Overlap of neighbourhoods: which stimuli each of two representations holds for close."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pytorch_feature_analysis._checks import check_count
from pytorch_feature_analysis.similarity._inputs import check_pair, permuted_pairs
from pytorch_feature_analysis.similarity._measure import Measure


def mutual_knn(x: npt.ArrayLike, y: npt.ArrayLike, k: int = 10) -> float:
    """Mutual k-nearest-neighbour overlap of two representations.

    Rows are brought to unit length; the neighbours of a stimulus are the k others with the
    largest inner product. The score is the share of neighbours that both sides have in common,
    averaged over stimuli. Units are not centred.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    k : int, default 10
        Neighbours, below the number of stimuli.

    Returns
    -------
    float
        From 0 (no neighbour in common) to 1 (the same neighbourhoods); about ``k / (n - 1)`` for
        unrelated representations.

    See Also
    --------
    jaccard_knn : Over the union of neighbours.

    Notes
    -----
    Of equally near stimuli, the earlier rows are taken. A row of zeros has inner product 0 with
    all others.

    References
    ----------
    Huh, M., Cheung, B., Wang, T. and Isola, P. (2024). The platonic representation hypothesis.
        ICML. https://doi.org/10.48550/arXiv.2405.07987

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x = [[1, 0], [1, 0.1], [0, 1], [0.1, 1]]
    >>> pfa.mutual_knn(x, x, k=1), pfa.mutual_knn(x, [[1, 0], [0, 1], [1, 0.1], [0.1, 1]], k=1)
    (1.0, 0.0)
    """
    return _compare_overlap(*_neighbours_of_pair(x, y, k))


def jaccard_knn(x: npt.ArrayLike, y: npt.ArrayLike, k: int = 10) -> float:
    """Jaccard similarity of the k nearest neighbours in two representations.

    As `mutual_knn`, but the neighbours in common are divided by those that either side has.

    Parameters
    ----------
    x : array-like (n_stimuli, p)
    y : array-like (n_stimuli, q)
        The two representations, with the same stimuli in the rows.
    k : int, default 10
        Neighbours, below the number of stimuli.

    Returns
    -------
    float
        From 0 to 1.

    See Also
    --------
    mutual_knn : Over k.

    References
    ----------
    Wang, C., Rao, W., Guo, W., Wang, P., Liu, J. and Guan, X. (2022). Towards understanding the
        instability of network embedding. IEEE Trans. Knowl. Data Eng. 34, 927-941.
        https://doi.org/10.1109/TKDE.2020.2989512

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> x = [[1, 0], [0.9, 0.5], [0.5, 0.9], [0, 1]]
    >>> round(pfa.jaccard_knn(x, [[1, 0], [0, 1], [0.5, 0.9], [0.9, 0.5]], k=2), 4)
    0.5
    """
    return _compare_jaccard(*_neighbours_of_pair(x, y, k))


def _neighbours_of_pair(
    x: npt.ArrayLike, y: npt.ArrayLike, k: int
) -> tuple[np.ndarray, np.ndarray]:
    first, second = check_pair(x, y)
    return _prepare(first, k=k), _prepare(second, k=k)


def _prepare(x: np.ndarray, *, k: int = 10) -> np.ndarray:
    """(n_stimuli, n_stimuli) bool, whether a stimulus is among the nearest of another."""
    n = len(x)
    k = check_count(k, argument="k", maximum=n - 1)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norms > 0, norms, 1)
    products = x @ x.T
    np.fill_diagonal(products, -np.inf)
    nearest = np.argsort(-products, axis=1, kind="stable")[:, :k]
    is_near = np.zeros((n, n), dtype=bool)
    np.put_along_axis(is_near, nearest, True, axis=1)
    return is_near


def _compare_overlap(first: np.ndarray, second: np.ndarray, **_options: Any) -> float:
    n_common = (first & second).sum(axis=1)
    return float((n_common / first.sum(axis=1)).mean())


def _compare_jaccard(first: np.ndarray, second: np.ndarray, **_options: Any) -> float:
    n_common = (first & second).sum(axis=1)
    return float((n_common / (first | second).sum(axis=1)).mean())


_IGNORES = ("scale", "rotation", "unit order")
_NEEDS = "clearly more stimuli than k; what is not near is not compared"
NEIGHBORS = [
    Measure(
        "mutual_knn",
        mutual_knn,
        _prepare,
        _compare_overlap,
        direction="similarity",
        value_range=(0.0, 1.0),
        ignores=_IGNORES,
        needs=_NEEDS,
        permute=permuted_pairs,
    ),
    Measure(
        "jaccard_knn",
        jaccard_knn,
        _prepare,
        _compare_jaccard,
        direction="similarity",
        value_range=(0.0, 1.0),
        ignores=_IGNORES,
        needs=_NEEDS,
        permute=permuted_pairs,
    ),
]
