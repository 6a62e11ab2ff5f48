"""Mantel's test: whether two RDMs agree more than with their items in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pytorch_feature_analysis._checks import RandomState, check_count
from pytorch_feature_analysis._parallel import NumCores
from pytorch_feature_analysis.missing_cells import refuse_missing
from pytorch_feature_analysis.reference_fits import Problem, check_options, p_values
from pytorch_feature_analysis.references import by_name, read_references


@dataclass(frozen=True)
class PermutationTest:
    """Result of `permutation_test`."""

    statistic: float
    """The agreement."""
    p_value: float
    null: np.ndarray
    """Agreements with the items of one RDM in other orders."""
    is_exact: bool
    """Whether the orders are all there are."""


def permutation_test(
    rdm1: Any,
    rdm2: Any,
    *,
    method: str = "pearson",
    num_perms: int = 9999,
    alternative: str = "two-sided",
    nan_policy: str = "omit",
    random_state: RandomState = 0,
    num_cores: NumCores = None,
) -> PermutationTest:
    """Test whether two RDMs of the same items agree more than by chance (Mantel's test).

    Parameters
    ----------
    rdm1, rdm2 : array-like (n_items, n_items)
        Symmetric, with 0 on the diagonal.
    method : str, default 'pearson'
        As in `compare_rdms`.
    num_perms : int, default 9999
        Orders of the items of `rdm2`; all of them, where there are no more.
    alternative : {'two-sided', 'greater', 'less'}, default 'two-sided'
        Which agreements count as against the null.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': items without any finite
        one in either RDM, and cells that either lacks, are left out of both before the items are
        reordered. 'pairwise': in each order, the RDMs are compared on the cells that both have.
        'raise': an error that says which lacks how many.
    random_state : int, numpy Generator or None, default 0
        Seed of the orders.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`. The result is the same for any number.

    Returns
    -------
    PermutationTest
        With ``statistic``, ``p_value``, ``null`` (n_orders,) and ``is_exact``.

    Raises
    ------
    ValueError
        RDMs that are not square, symmetric and of one size; missing cells with 'raise'.

    See Also
    --------
    compare_to_reference : The same for all rows of a stack at once.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> near = [[0, 1, 2, 9], [1, 0, 3, 8], [2, 3, 0, 7], [9, 8, 7, 0]]
    >>> test = pfa.permutation_test(near, near, alternative="greater")
    >>> round(test.statistic, 6), round(test.p_value, 6), test.is_exact
    (1.0, 0.041667, True)
    """
    frames = []
    for argument, rdm in (("rdm1", rdm1), ("rdm2", rdm2)):
        matrix = np.asarray(rdm, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"`{argument}` must be a square array, not of shape {matrix.shape}.")
        frames.append((matrix, [(k,) for k in range(len(matrix))]))
    if len(frames[0][0]) != len(frames[1][0]):
        raise ValueError(
            f"`rdm1` and `rdm2` must be of the same items, but have {len(frames[0][0])} and"
            f" {len(frames[1][0])}."
        )
    options = check_options(
        method=method,
        num_perms=num_perms,
        alternative=alternative,
        nan_policy=nan_policy,
        random_state=random_state,
        num_cores=num_cores,
    )
    check_count(num_perms, argument="num_perms")
    (first,), (second,) = (
        read_references(frame, argument=argument)
        for frame, argument in zip(frames, ("rdm1", "rdm2"), strict=True)
    )
    keys = by_name(first.entry_keys)
    problem = Problem(keys, first.triangles(keys), second.triangles(keys))
    for name, cells in (("rdm1", problem.rows), ("rdm2", problem.subjects)):
        refuse_missing(nan_policy, cells, owner=f"`{name}`")
    problem = problem.on_common_cells(nan_policy)
    r = problem.agreements(method)[0]
    null, are_all = problem.permute(options)
    p = p_values(r, null, alternative, are_all=are_all)
    return PermutationTest(float(r[0]), float(p[0]), null[:, 0], are_all)
