"""How well the rows of a stack agree with reference RDMs: intervals, tests and noise ceilings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_free
from pytorch_feature_analysis._parallel import NumCores
from pytorch_feature_analysis.agreement import FEWEST_CELLS, Cells
from pytorch_feature_analysis.entry_subsets import EntryKey
from pytorch_feature_analysis.noise_ceilings import ceilings
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.reference_fits import (
    Options,
    Problem,
    Row,
    check_options,
    controls_among,
    corrected,
    p_values,
    read_controls,
    read_rows,
)
from pytorch_feature_analysis.references import (
    cells_of,
    read_references,
    report_dropped,
    shared_entries,
)
from pytorch_feature_analysis.regroup import label_columns
from pytorch_feature_analysis.resampled_items import spread_of

_RESULTS = (
    *("method", "r", "n_pairs", "n_entries", "n_subjects", "se", "ci_low", "ci_high", "n_boot"),
    *("p", "p_fdr", "p_bonferroni", "test", "num_perms", "ceiling_low", "ceiling_high", "reason"),
)


def compare_to_reference(
    rdm_df: pd.DataFrame,
    reference: Any,
    *,
    method: str = "pearson",
    num_perms: int = 0,
    num_boot: int = 0,
    ci: float = 0.95,
    resample: str | None = None,
    alternative: str = "two-sided",
    controls: Any = None,
    nan_policy: str = "omit",
    subject_variable: str = "subject",
    symmetrize: bool = False,
    ignore_diagonal: bool = False,
    random_state: RandomState = 0,
    num_cores: NumCores = None,
) -> pd.DataFrame:
    """Compare every RDM of a stack with reference RDMs, such as of brains or of a model.

    Entries are joined by their keys, whatever their order; what one side lacks is left out, and
    the log says so.

    Parameters
    ----------
    rdm_df : DataFrame
        The stack. Rows of shuffles (``perm``) are no rows of the result; they serve as the null
        of the row that they are of, where `num_perms` is 0. It is not changed.
    reference : DataFrame, Series, or pair of ndarray and keys
        A stack, in which rows that differ in `subject_variable` alone are the subjects of one
        reference, and others are several references; or one RDM: a row of a stack, a table whose
        index and columns are the entries, or ``(matrix, entry_keys)``.
    method : str, default 'pearson'
        How RDMs are compared, as in `compare_rdms`: 'pearson', 'spearman', 'kendall_tau_a',
        'cosine', 'whitened_pearson', ...
    num_perms : int, default 0
        Orders of the stimuli of the reference to compare with (Mantel's test); all of them, where
        there are no more.
    num_boot : int, default 0
        Draws of stimuli and subjects for standard errors and intervals.
    ci : float, default 0.95
        Coverage of the intervals.
    resample : {'both', 'stimuli', 'subjects'}, optional
        What the draws are of; default both, or stimuli where there is one subject.
    alternative : {'two-sided', 'greater', 'less'}, default 'two-sided'
        Which r count as against the null.
    controls : like `reference`, optional
        RDMs that are held constant, one for each control: r is then the partial correlation, of
        'pearson' or 'spearman'.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': cells that any row or
        subject lacks are left out for all, so that all r are of the same pairs of entries, but for
        entries without any dissimilarity in a row, which are left out of that row alone.
        'pairwise': each two RDMs are compared on the cells that both have. 'raise': an error that
        names rows, subjects and counts.
    subject_variable : str, default 'subject'
        The column of `reference` that names subjects.
    symmetrize : bool, default False
        Take the mean of RDMs that are not symmetric and their transpose.
    ignore_diagonal : bool, default False
        Take matrices with other values than 0 on the diagonal.
    random_state : int, numpy Generator or None, default 0
        Seed of orders and draws. Those of a reference follow from it and from the entries, not
        from what else is asked for.
    num_cores : int, None or 'na', default None
        Workers for orders and draws; None leaves it to `joblib.parallel_config`. Worth it for
        Kendall's tau, for Spearman with draws, and where cells are missing. The result is the same
        for any number.

    Returns
    -------
    DataFrame
        A row for each row of the stack and each reference, with the columns that say what the row
        is, ``reference_<column>`` for what tells references apart, and

        r : float
            Mean agreement with the subjects.
        n_pairs, n_entries, n_subjects : int
            Pairs of entries that are compared, the fewest of any subject; entries; subjects.
        se, ci_low, ci_high, n_boot : float and int
            Standard error, interval by Student's t, draws that could be used.
        p, p_fdr, p_bonferroni : float
            p of no relation, and corrected for the number of tests in the frame; NaN without
            permutations.
        test : str
            'permutation', 'all permutations', 'shuffles' (of the stack) or ''.
        num_perms : int
            Orders, or shuffles, of the test.
        ceiling_low, ceiling_high : float
            Noise ceilings as of `noise_ceiling`; NaN for a single subject.
        reason : str
            Why r is NaN; otherwise empty.

    Raises
    ------
    ValueError
        Fewer than three shared entries; matrices that are not symmetric, or have other values on
        the diagonal than 0; missing cells with 'raise'; unknown names.

    See Also
    --------
    compare_fits : Differences between rows, with intervals and tests.
    regress_rdms : Several rows that explain a reference together.

    Notes
    -----
    **Permutations.** p = (1 + hits) / (1 + num_perms), or hits among all orders, the identity
    included. With controls, what these leave of the reference is permuted.

    **Draws.** A stimulus that is drawn twice has no dissimilarity to its copy. With draws of
    stimuli and subjects, the variance is put together from that of both and of either alone, since
    the noise of single cells would be counted more than once. t has as many degrees of freedom as
    there are stimuli, or subjects, less 1, whichever are fewer. An interval is no test of r = 0:
    where there is no relation it is too wide (it leaves 0 out in 1 % of 2,000 simulations with 20
    stimuli and 8 subjects, not in 5 %), and permutations are exact.

    Memory: 16 MB beside the RDMs and the result.

    References
    ----------
    Mantel, N. (1967). The detection of disease clustering and a generalized regression approach.
        Cancer Res. 27, 209-220.
    Freedman, D. and Lane, D. (1983). A nonstochastic interpretation of reported significance
        levels. J. Bus. Econ. Stat. 1, 292-298. https://doi.org/10.2307/1391660
    Schütt, H. H., Kipnis, A. D., Diedrichsen, J. and Kriegeskorte, N. (2023). Statistical
        inference on representational geometries. eLife 12, e82566.
        https://doi.org/10.7554/eLife.82566

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> names = list("abcdefgh")
    >>> true = rng.normal(size=(8, 4))
    >>> layers = pd.DataFrame({
    ...     "layer": ["near", "far"],
    ...     "matrix": [pfa.compute_rdm(x, "L2") for x in (true, rng.normal(size=(8, 4)))],
    ...     "entry_keys": [names] * 2,
    ... })
    >>> brain = (pfa.compute_rdm(true + 0.2 * rng.normal(size=(8, 4)), "L2"), names)
    >>> fits = pfa.compare_to_reference(layers, brain, num_perms=999)
    >>> fits[["layer", "r", "n_pairs", "p", "test"]].round(3)
      layer      r  n_pairs      p         test
    0  near  0.950       28  0.001  permutation
    1   far -0.125       28  0.591  permutation
    """
    options = check_options(
        method=method,
        num_perms=num_perms,
        num_boot=num_boot,
        ci=ci,
        resample=resample,
        alternative=alternative,
        nan_policy=nan_policy,
        controls=controls,
        random_state=random_state,
        num_cores=num_cores,
    )
    stack = checked_stack(rdm_df, argument="rdm_df")
    labels = label_columns(rdm_df)
    check_free(labels, _RESULTS, argument="rdm_df")
    rows = read_rows(stack, labels, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal)
    references = read_references(
        reference, subject_variable, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    held = read_controls(controls, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal)
    results = []
    for one in references:
        found: dict[int, dict[str, Any]] = {}
        for places in _by_entries(rows):
            keys = rows[places[0]].entry_keys
            report_dropped(keys, one)
            entries = shared_entries(keys, one)
            problem = Problem(
                entries,
                np.stack([cells_of(rows[k].matrix, rows[k].entry_keys, entries) for k in places]),
                one.triangles(entries),
                controls_among(held, entries),
            )
            problem.refuse_missing(nan_policy, [rows[k].name for k in places], one)
            nulls = [_null_of(rows[k], problem, method) for k in places]
            for part, chosen in problem.parts(nan_policy):
                of_part = _compare(part, options, [nulls[k] for k in chosen])
                found |= {places[k]: fit for k, fit in zip(chosen, of_part, strict=True)}
        results += [
            {**rows[k].labels, **one.labels, "method": method, **found[k]}
            for k in range(len(rows))
        ]
    table = pd.DataFrame(results)
    return corrected(table)


def _by_entries(rows: Sequence[Row]) -> list[list[int]]:
    """Places of the rows that have the same entries, in whatever order."""
    members: dict[frozenset[EntryKey], list[int]] = {}
    for k, row in enumerate(rows):
        members.setdefault(frozenset(row.entry_keys), []).append(k)
    return list(members.values())


def _null_of(row: Row, problem: Problem, method: str) -> np.ndarray | None:
    """Agreements (n_shuffles, 1) of a row's shuffles, where the stack has them."""
    if not row.shuffles:
        return None
    shuffled = [cells_of(matrix, own, problem.entries) for own, matrix in row.shuffles]
    own = replace(problem, rows=np.stack(shuffled))
    null: np.ndarray = own.agreements(method).mean(axis=1, keepdims=True)
    return null


def _compare(
    problem: Problem,
    options: Options,
    nulls: Sequence[np.ndarray | None],
) -> list[dict[str, Any]]:
    """Results of the rows of one problem."""
    n_rows, n_entries, n_subjects = len(problem.rows), len(problem.entries), len(problem.subjects)
    r = problem.agreements(options.method).mean(axis=1)
    n_pairs = problem.n_pairs()
    columns: dict[str, Any] = {
        "r": r,
        "n_pairs": n_pairs,
        "n_entries": np.full(n_rows, n_entries),
        "n_subjects": np.full(n_rows, n_subjects),
    }
    nothing = np.full(n_rows, np.nan)
    columns |= {"se": nothing, "ci_low": nothing, "ci_high": nothing}
    columns["n_boot"] = np.zeros(n_rows, dtype=int)
    p, test, num_perms = nothing.copy(), [""] * n_rows, np.zeros(n_rows, dtype=int)
    if options.num_boot:
        spread = spread_of(problem.draw(options), n_entries, n_subjects)
        low, high = spread.interval(r, options.ci)
        columns |= {"se": spread.error, "ci_low": low, "ci_high": high, "n_boot": spread.n_draws}
    if options.num_perms:
        null, are_all = problem.permute(options)
        p = p_values(r, null, options.alternative, are_all=are_all)
        test = ["all permutations" if are_all else "permutation"] * n_rows
        num_perms[:] = len(null)
    else:
        for k, shuffled in enumerate(nulls):
            if shuffled is not None:
                p[k] = p_values(r[k : k + 1], shuffled, options.alternative, are_all=False)[0]
                test[k], num_perms[k] = "shuffles", len(shuffled)
    whole = np.isfinite(problem.subjects).all(axis=0)
    if problem.controls is not None:
        whole &= np.isfinite(problem.controls).all(axis=0)
    low_bound, high_bound = ceilings(
        problem.subjects[:, whole],
        Cells.of_triangle(n_entries).some(whole),
        options.method,
        None if problem.controls is None else problem.controls[:, whole],
    )
    columns |= {"p": np.where(np.isnan(r), np.nan, p), "test": test, "num_perms": num_perms}
    columns |= {
        "ceiling_low": np.full(n_rows, low_bound),
        "ceiling_high": np.full(n_rows, high_bound),
        "reason": [
            "" if np.isfinite(value) else _reason(n, row, problem.subjects)
            for value, n, row in zip(r, n_pairs, problem.rows, strict=True)
        ],
    }
    return [{name: values[k] for name, values in columns.items()} for k in range(n_rows)]


def _reason(n_pairs: int, row: np.ndarray, subjects: np.ndarray) -> str:
    if n_pairs < FEWEST_CELLS:
        return f"{n_pairs} pairs of entries, and at least {FEWEST_CELLS} are needed"
    known = row[np.isfinite(row)]
    if np.ptp(known) == 0:
        return "all dissimilarities of the row are equal"
    if any(np.ptp(one[np.isfinite(one)]) == 0 for one in subjects):
        return "all dissimilarities of the reference are equal"
    return "the controls explain all of the row or of the reference"
