"""How well any RDM could agree with those of subjects, and how well subjects agree."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.agreement import (
    FEWEST_CELLS,
    METHODS,
    Cells,
    agreements,
    control_basis,
    is_inner_product,
    partial_rows,
    unit_rows,
)
from pytorch_feature_analysis.missing_cells import check_nan_policy, common_cells
from pytorch_feature_analysis.references import Reference, read_references


def noise_ceiling(
    subjects: pd.DataFrame,
    *,
    method: str = "pearson",
    subject_variable: str = "subject",
    nan_policy: str = "omit",
    symmetrize: bool = False,
) -> pd.DataFrame:
    """Bounds of the mean agreement that the true model could have with the RDMs of subjects.

    Parameters
    ----------
    subjects : DataFrame
        A stack with an RDM for each subject, named in `subject_variable`; rows that differ in
        other columns (region, time) are several references. It is not changed.
    method : str, default 'pearson'
        How RDMs are compared, as in `compare_rdms`.
    subject_variable : str, default 'subject'
        The column that names the subjects.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite): cells that any subject lacks
        are left out for all, or an error names the subjects. There is no 'pairwise': each subject
        is set beside the mean of the others, which must be of the same cells.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric and its transpose.

    Returns
    -------
    DataFrame
        A row for each reference: what tells it from the others (``reference_<column>``),
        ``ceiling_low`` and ``ceiling_high``, ``n_subjects`` and ``n_pairs``.

    Raises
    ------
    ValueError
        A reference with a single subject; subjects with other entries; missing cells with
        'raise'.

    See Also
    --------
    compare_to_reference : Agreement of a stack, beside the ceilings.
    reliability : How well halves of the subjects agree.

    Notes
    -----
    The upper bound is the mean agreement with the RDM that has the highest possible one, the mean
    of the subjects' RDMs as the method sees them (of unit variance, or ranks). It knows the noise
    of the subjects themselves, and so is too high. The lower bound is the mean agreement of each
    subject with that of all others, which is too low. For Kendall's tau the mean of ranks is not
    the best RDM, but near it.

    References
    ----------
    Nili, H., Wingfield, C., Walther, A., Su, L., Marslen-Wilson, W. and Kriegeskorte, N. (2014).
        A toolbox for representational similarity analysis. PLoS Comput. Biol. 10, e1003553.
        https://doi.org/10.1371/journal.pcbi.1003553

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> true = pfa.compute_rdm(rng.normal(size=(10, 5)), "L2")
    >>> noise = [pfa.compute_rdm(rng.normal(size=(10, 5)), "L2") for _ in range(6)]
    >>> subjects = pd.DataFrame({
    ...     "subject": ["s1", "s2", "s3", "s4", "s5", "s6"],
    ...     "matrix": [true + one for one in noise],
    ...     "entry_keys": [list("abcdefghij")] * 6,
    ... })
    >>> pfa.noise_ceiling(subjects).round(3)
       ceiling_low  ceiling_high  n_subjects  n_pairs
    0         0.54         0.696           6       45
    """
    references = _check_subjects(subjects, method, subject_variable, nan_policy, symmetrize)
    rows = []
    for reference in references:
        triangles = _whole_triangles(reference, nan_policy)
        low, high = ceilings(*triangles, method)
        rows.append(
            {
                **reference.labels,
                "ceiling_low": low,
                "ceiling_high": high,
                "n_subjects": len(reference.matrices),
                "n_pairs": triangles[0].shape[1],
            }
        )
    return pd.DataFrame(rows)


def reliability(
    subjects: pd.DataFrame,
    *,
    method: str = "pearson",
    subject_variable: str = "subject",
    num_splits: int = 1000,
    nan_policy: str = "omit",
    symmetrize: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Split-half reliability of the mean RDM of subjects, by Spearman and Brown.

    Parameters
    ----------
    subjects, method, subject_variable
        As in `noise_ceiling`.
    num_splits : int, default 1000
        Random splits into halves; all there are, where these are no more.
    nan_policy, symmetrize
        As in `noise_ceiling`.
    random_state : int, numpy Generator or None, default 0
        Seed of the splits.

    Returns
    -------
    DataFrame
        A row for each reference: what tells it from the others, ``r_halves``, the mean agreement
        of the mean RDMs of two halves; ``reliability``, what is expected of the mean of all
        subjects, ``2 r / (1 + r)``; ``n_splits``, ``n_subjects``, ``n_pairs``.

    Raises
    ------
    ValueError
        A reference with a single subject; subjects with other entries.

    See Also
    --------
    noise_ceiling : The bounds that noise sets.

    Notes
    -----
    With an odd number of subjects one half has one more. Means are of the RDMs as the method sees
    them (of unit variance, or ranks).

    References
    ----------
    Brown, W. (1910). Some experimental results in the correlation of mental abilities. Brit. J.
        Psychol. 3, 296-322. https://doi.org/10.1111/j.2044-8295.1910.tb00207.x

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> true = pfa.compute_rdm(rng.normal(size=(10, 5)), "L2")
    >>> noise = [pfa.compute_rdm(rng.normal(size=(10, 5)), "L2") for _ in range(6)]
    >>> subjects = pd.DataFrame({
    ...     "subject": ["s1", "s2", "s3", "s4", "s5", "s6"],
    ...     "matrix": [true + one for one in noise],
    ...     "entry_keys": [list("abcdefghij")] * 6,
    ... })
    >>> pfa.reliability(subjects)[["r_halves", "reliability", "n_splits"]].round(3)
       r_halves  reliability  n_splits
    0     0.653         0.79        10
    """
    num_splits = check_count(num_splits, argument="num_splits")
    root = check_random_state(random_state)
    references = _check_subjects(subjects, method, subject_variable, nan_policy, symmetrize)
    rows = []
    for reference in references:
        triangles, cells = _whole_triangles(reference, nan_policy)
        n_subjects = len(triangles)
        generator = child_generator(root, "halves", repr(reference.subjects))
        halves = _halves(n_subjects, num_splits, generator)
        seen = _as_seen(triangles, method, cells)
        first = halves @ seen / halves.sum(axis=1, keepdims=True)
        second = (~halves) @ seen / (~halves).sum(axis=1, keepdims=True)
        r = np.array(
            [
                _of_means(one[None], other[None], method, cells)[0, 0]
                for one, other in zip(first, second, strict=True)
            ]
        ).mean()
        rows.append(
            {
                **reference.labels,
                "r_halves": r,
                "reliability": 2 * r / (1 + r) if r > -1 else np.nan,
                "n_splits": len(halves),
                "n_subjects": n_subjects,
                "n_pairs": triangles.shape[1],
            }
        )
    return pd.DataFrame(rows)


def ceilings(
    triangles: np.ndarray, cells: Cells, method: str, controls: np.ndarray | None = None
) -> tuple[float, float]:
    """Lower and upper noise ceiling of subjects (n_subjects, n_cells) without missing cells."""
    n_subjects = len(triangles)
    if n_subjects < 2 or triangles.shape[1] < FEWEST_CELLS:
        return np.nan, np.nan
    if controls is not None:
        seen = partial_rows(triangles, method, control_basis(controls, method))
        own = seen
    else:
        seen = _as_seen(triangles, method, cells)
        own = seen if _is_seen_whole(method) else triangles
    rest = (seen.sum(axis=0) - seen) / (n_subjects - 1)
    pooled = np.concatenate([seen.mean(axis=0, keepdims=True), rest])
    if controls is not None or _is_seen_whole(method):
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        found = pooled @ own.T / norms
    else:
        found = agreements(pooled, own, method, cells)
    return float(np.diag(found[1:]).mean()), float(found[0].mean())


def _is_seen_whole(method: str) -> bool:
    """Whether a mean of what the method sees is compared as it is: ranks of ranks are not."""
    return is_inner_product(method) and method != "spearman"


def _as_seen(triangles: np.ndarray, method: str, cells: Cells) -> np.ndarray:
    """RDMs as a method sees them, such that means of them make sense."""
    if _is_seen_whole(method):
        return unit_rows(triangles, method, cells)
    # Not of unit length, whose rounding would break the ties of their means.
    ranks: np.ndarray = rankdata(triangles, axis=1)
    return ranks


def _of_means(one: np.ndarray, other: np.ndarray, method: str, cells: Cells) -> np.ndarray:
    """Agreement of means of what a method sees."""
    if not _is_seen_whole(method):
        return agreements(one, other, method, cells)
    norms = [np.linalg.norm(mean, axis=1) for mean in (one, other)]
    found: np.ndarray = one @ other.T / np.outer(*norms)
    return found


def _halves(n_subjects: int, num_splits: int, generator: np.random.Generator) -> np.ndarray:
    """Which subjects are in the first half of each split (n_splits, n_subjects)."""
    size = n_subjects // 2
    # Where halves are equal, each split would come twice.
    n_all = math.comb(n_subjects, size) // (1 if n_subjects % 2 else 2)
    if n_all <= num_splits:
        members = list(combinations(range(n_subjects), size))[:n_all]
    else:
        members = [
            tuple(generator.permutation(n_subjects)[:size].tolist()) for _ in range(num_splits)
        ]
    halves = np.zeros((len(members), n_subjects), dtype=bool)
    for half, some in zip(halves, members, strict=True):
        half[list(some)] = True
    return halves


def _check_subjects(
    subjects: Any, method: str, subject_variable: str, nan_policy: str, symmetrize: bool
) -> list[Reference]:
    check_name(method, METHODS, argument="method", what="way to compare RDMs")
    check_nan_policy(
        nan_policy, no_pairs="would set each subject beside a mean of other cells than its own"
    )
    if isinstance(subjects, pd.DataFrame) and subject_variable not in subjects.columns:
        raise ValueError(
            f"`subjects` has no column {subject_variable!r}; name the column that tells subjects"
            " apart with `subject_variable`."
        )
    references = read_references(
        subjects, subject_variable, argument="subjects", symmetrize=symmetrize
    )
    for reference in references:
        if len(reference.matrices) < 2:
            raise ValueError(
                f"{reference.name} has a single subject, and there is no telling its noise from"
                " what is true; at least two are needed."
            )
    return references


def _whole_triangles(reference: Reference, nan_policy: str) -> tuple[np.ndarray, Cells]:
    triangles = reference.triangles(reference.entry_keys)
    cells = Cells.of_triangle(len(reference.entry_keys))
    reference.refuse_missing(nan_policy, triangles, pairs=False)
    known = common_cells(triangles)
    return triangles[:, known], cells.some(known)
