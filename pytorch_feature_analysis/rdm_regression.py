"""Several RDMs that explain a reference together: weights, and how well they predict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_free,
    check_name,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.agreement import FEWEST_CELLS, Cells
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.missing_cells import (
    check_nan_policy,
    common_cells,
    refuse_missing,
)
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.references import (
    cells_of,
    checked_matrices,
    read_references,
    report_dropped,
    shared_entries,
)
from pytorch_feature_analysis.regroup import label_columns

_RESULTS = (
    *("weight", "se", "r", "r_cv", "n_folds", "n_pairs", "n_entries", "n_subjects"),
    "weights",
)
WEIGHTS = ("nonnegative", "any")


def regress_rdms(
    rdm_df: pd.DataFrame,
    reference: Any,
    *,
    weights: str = "nonnegative",
    num_folds: int = 5,
    nan_policy: str = "omit",
    subject_variable: str = "subject",
    symmetrize: bool = False,
    ignore_diagonal: bool = False,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Explain reference RDMs by a weighted sum of the RDMs of a stack.

    Parameters
    ----------
    rdm_df : DataFrame
        The stack, each row of which is a predictor. Rows of shuffles are left out. All rows have
        the same entries, in whatever order. It is not changed.
    reference : DataFrame, Series, or pair of ndarray and keys
        As in `compare_to_reference`; subjects are told apart by `subject_variable`.
    weights : {'nonnegative', 'any'}, default 'nonnegative'
        Non-negative least squares (a sum of parts of a representation, whose squared distances
        add up), or ordinary least squares (multiple regression).
    num_folds : int, default 5
        Parts of the entries for cross-validation; 0 leaves it out.
    nan_policy : {'omit', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite): cells that any row or subject
        lacks are left out for all, or an error names the rows or subjects. There is no
        'pairwise': rows are added up, and so are fitted to the same cells.
    subject_variable, symmetrize, ignore_diagonal
        As in `compare_to_reference`.
    random_state : int, numpy Generator or None, default 0
        Seed of the folds.

    Returns
    -------
    DataFrame
        A row for each row of the stack and each reference, with the columns that say what the row
        is, ``reference_<column>``, and

        weight : float
            Mean over subjects of the standardized weight: of predictors and reference, each with
            the mean 0 and the variance 1 over the cells.
        se : float
            Standard error of that mean over subjects; NaN for one subject.
        r : float
            Mean Pearson correlation of the weighted sum with the subjects it was fitted to. The
            same in all rows of a reference, as all that follows.
        r_cv : float
            The same, cross-validated: weights from the other subjects (from the same one, where it
            is the only one) and the entries of the other folds; the correlation is over the pairs
            of entries within a fold. NaN where folds have fewer than 3 pairs.
        n_folds, n_pairs, n_entries, n_subjects : int
            How many of each there are.
        weights : str
            As given.

    Raises
    ------
    ValueError
        Predictors that are (with 'any') a sum of others; more predictors than cells; rows of other
        entries.

    See Also
    --------
    compare_to_reference : Each row by itself.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> names = [f"image{k}" for k in range(20)]
    >>> form, color = (pfa.compute_rdm(rng.normal(size=(20, 3)), "L2squared") for _ in range(2))
    >>> models = pfa.stack_from_matrices({"form": form, "color": color}, names)
    >>> found = pfa.regress_rdms(models, (3 * form + color, names))
    >>> found[["name", "weight", "r", "r_cv"]].round(2)
        name  weight    r  r_cv
    0   form    0.93  1.0   1.0
    1  color    0.29  1.0   1.0
    """
    check_name(weights, WEIGHTS, argument="weights", what="kind of weights")
    check_nan_policy(
        nan_policy, no_pairs="would give the weights of one sum other cells to be fitted to"
    )
    num_folds = check_count(num_folds, argument="num_folds", minimum=0)
    if num_folds == 1:
        raise ValueError("`num_folds` is 1, and to predict what was not fitted takes 2 or more.")
    root = check_random_state(random_state)
    stack = checked_stack(rdm_df, argument="rdm_df")
    stack = stack[stack["perm"] == "orig_data"]
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to explain by.")
    labels = label_columns(rdm_df)
    check_free(labels, _RESULTS, argument="rdm_df")
    matrices = checked_matrices(
        stack, argument="rdm_df", symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    keys = stack["entry_keys"].tolist()
    if any(set(own) != set(keys[0]) for own in keys):
        raise ValueError(
            "`rdm_df` has rows with other entries, which cannot be added up. Take the entries that"
            " all have, with `subset_rdm_df`."
        )
    references = read_references(
        reference, subject_variable, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    results = []
    for one in references:
        report_dropped(keys[0], one)
        entries = shared_entries(keys[0], one)
        rows = np.stack(
            [cells_of(matrix, own, entries) for matrix, own in zip(matrices, keys, strict=True)]
        )
        subjects = one.triangles(entries)
        names = [f"row {index!r}" for index in stack.index]
        refuse_missing(nan_policy, rows, owner="`rdm_df`", names=names, pairs=False)
        one.refuse_missing(nan_policy, subjects, pairs=False)
        known = np.flatnonzero(common_cells(np.concatenate([rows, subjects])))
        _check_predictors(rows[:, known], weights)
        cells = Cells.of_triangle(len(entries)).some(known)
        rows, subjects = rows[:, known], subjects[:, known]
        found = np.stack([_fit(rows, subject, weights) for subject in subjects])
        n_subjects = len(subjects)
        fitted = found @ _standardized(rows)
        r = np.mean([_r(a, b) for a, b in zip(fitted, subjects, strict=True)])
        folds = _folds(entries, num_folds, root)
        r_cv, n_folds = _cross_validated(rows, subjects, cells, weights, folds)
        error = np.full(len(rows), np.nan)
        if n_subjects > 1:
            error = found.std(axis=0, ddof=1) / np.sqrt(n_subjects)
        of_all = {
            "r": r,
            "r_cv": r_cv,
            "n_folds": n_folds,
            "n_pairs": len(known),
            "n_entries": len(entries),
            "n_subjects": n_subjects,
        }
        results += [
            {
                **{name: stack[name].iloc[k] for name in labels},
                **one.labels,
                "weights": weights,
                "weight": found[:, k].mean(),
                "se": error[k],
                **of_all,
            }
            for k in range(len(stack))
        ]
    return pd.DataFrame(results)


def _standardized(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    scaled: np.ndarray = centred / np.where(spread > 0, spread, 1)
    return scaled


def _fit(rows: np.ndarray, target: np.ndarray, weights: str) -> np.ndarray:
    """Standardized weights of the rows for one target."""
    table, aim = _standardized(rows).T, _standardized(target)
    if weights == "nonnegative":
        return np.asarray(nnls(table, aim)[0])
    return np.asarray(np.linalg.lstsq(table, aim, rcond=None)[0])


def _check_predictors(rows: np.ndarray, weights: str) -> None:
    if rows.shape[1] <= len(rows):
        raise ValueError(
            f"`rdm_df` has {len(rows)} rows to explain {rows.shape[1]} dissimilarities by; there"
            " must be more of these."
        )
    constant = np.flatnonzero(np.ptp(rows, axis=1) == 0)
    if len(constant):
        raise ValueError(
            f"`rdm_df`: all dissimilarities of the row at position {constant[0]} are equal, so"
            " that it explains nothing; leave it out."
        )
    rank = np.linalg.matrix_rank(_standardized(rows), tol=1e-8 * np.sqrt(rows.size))
    if weights == "any" and rank < len(rows):
        raise ValueError(
            f"`rdm_df` has {len(rows)} rows of which {rank} would say the same: some are sums of"
            " others, and their weights are not determined. Leave some out, or take"
            " `weights`='nonnegative'."
        )


def _folds(entries: Sequence[EntryKey], num_folds: int, root: int) -> np.ndarray:
    """Give each entry the number of its fold, from 1; 0 where there are none."""
    generator = child_generator(root, "folds", *entries)
    folds = np.zeros(len(entries), dtype=int)
    if num_folds:
        folds[generator.permutation(len(entries))] = 1 + np.arange(len(entries)) % num_folds
    return folds


def _cross_validated(
    rows: np.ndarray,
    subjects: np.ndarray,
    cells: Cells,
    weights: str,
    folds: np.ndarray,
) -> tuple[float, int]:
    """Mean correlation over folds of entries and left-out subjects, and how many folds."""
    first, second = folds[cells.first], folds[cells.second]
    scores: list[float] = []
    n_folds = 0
    for fold in range(1, folds.max() + 1):
        test = (first == fold) & (second == fold)
        train = (first != fold) & (second != fold)
        if test.sum() < FEWEST_CELLS or train.sum() <= len(rows):
            continue
        n_folds += 1
        scores += _of_fold(rows, subjects, train, test, weights)
    return (float(np.mean(scores)) if scores else np.nan), n_folds


def _of_fold(
    rows: np.ndarray,
    subjects: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    weights: str,
) -> Sequence[float]:
    scores = []
    mean, spread = rows[:, train].mean(axis=1), rows[:, train].std(axis=1)
    apart = (rows[:, test] - mean[:, None]) / np.where(spread > 0, spread, 1)[:, None]
    seen = _standardized(subjects[:, train])
    for k, subject in enumerate(subjects):
        others = np.delete(seen, k, axis=0) if len(subjects) > 1 else seen
        found = _fit(rows[:, train], others.mean(axis=0), weights)
        scores.append(_r(found @ apart, subject[test]))
    return scores


def _r(one: np.ndarray, other: np.ndarray) -> float:
    """Correlate, with 0 for a prediction that does not vary, as where all weights are 0."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
