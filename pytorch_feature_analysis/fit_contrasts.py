"""Tests of whether two rows of a stack agree with a reference to a different degree."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import RandomState, check_count, check_free
from pytorch_feature_analysis._parallel import NumCores
from pytorch_feature_analysis.cell_values import frozen
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.reference_fits import (
    Problem,
    check_options,
    controls_among,
    corrected,
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


def compare_fits(
    rdm_df: pd.DataFrame,
    reference: Any,
    *,
    method: str = "pearson",
    num_boot: int = 1000,
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
    """Compare every two rows of a stack in how well they agree with a reference.

    Both are compared with the same draws of stimuli and subjects, so that what is common to them
    does not blur their difference.

    Parameters
    ----------
    rdm_df, reference, method
        As in `compare_to_reference`. All rows must have the same entries, in whatever order.
    num_boot : int, default 1000
        Draws.
    ci, resample, alternative, controls, nan_policy, subject_variable
        As in `compare_to_reference`.
    symmetrize, ignore_diagonal, random_state, num_cores
        As in `compare_to_reference`.

    Returns
    -------
    DataFrame
        A row for each two rows of the stack and each reference: ``<column>_1`` and ``<column>_2``
        for the columns that tell rows apart, ``reference_<column>``, ``r_1``, ``r_2``,
        ``difference`` (``r_1 - r_2``), ``se``, ``ci_low``, ``ci_high``, ``p``, ``p_fdr``,
        ``p_bonferroni``, ``n_boot``, ``n_pairs``, ``n_subjects``.

    Raises
    ------
    ValueError
        As `compare_to_reference`; rows with other entries.

    See Also
    --------
    compare_to_reference : Each row by itself.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> names = list("abcdefghijkl")
    >>> true = rng.normal(size=(12, 4))
    >>> layers = pd.DataFrame({
    ...     "layer": ["near", "far"],
    ...     "matrix": [pfa.compute_rdm(x, "L2") for x in (true, rng.normal(size=(12, 4)))],
    ...     "entry_keys": [names] * 2,
    ... })
    >>> brain = (pfa.compute_rdm(true + 0.2 * rng.normal(size=(12, 4)), "L2"), names)
    >>> found = pfa.compare_fits(layers, brain)
    >>> found[["layer_1", "layer_2", "difference", "ci_low", "ci_high", "p"]].round(2)
      layer_1 layer_2  difference  ci_low  ci_high    p
    0    near     far         0.94    0.45     1.43  0.0
    """
    options = check_options(
        method=method,
        num_boot=num_boot,
        ci=ci,
        resample=resample,
        alternative=alternative,
        nan_policy=nan_policy,
        controls=controls,
        random_state=random_state,
        num_cores=num_cores,
    )
    check_count(num_boot, argument="num_boot", minimum=2)
    stack = checked_stack(rdm_df, argument="rdm_df")
    labels = label_columns(rdm_df)
    rows = read_rows(stack, labels, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal)
    if len(rows) < 2:
        raise ValueError(
            f"`rdm_df` has {len(rows)} RDM, and a difference needs two. For one alone, use"
            " `compare_to_reference`."
        )
    names = [name for name in labels if len({frozen(row.labels[name]) for row in rows}) > 1]
    check_free(names, ["r"], argument="rdm_df")
    odd = next((row for row in rows if set(row.entry_keys) != set(rows[0].entry_keys)), None)
    if odd is not None:
        raise ValueError(
            "`rdm_df` has rows with other entries, which no draw of stimuli can be the same for."
            " Take the entries that all have, with `subset_rdm_df`."
        )
    references = read_references(
        reference, subject_variable, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal
    )
    held = read_controls(controls, symmetrize=symmetrize, ignore_diagonal=ignore_diagonal)
    tables = []
    pairs = np.array(list(combinations(range(len(rows)), 2)))
    for one in references:
        keys = rows[0].entry_keys
        report_dropped(keys, one)
        entries = shared_entries(keys, one)
        triangles = np.stack([cells_of(row.matrix, row.entry_keys, entries) for row in rows])
        problem = Problem(
            entries, triangles, one.triangles(entries), controls_among(held, entries)
        )
        problem.refuse_missing(nan_policy, [row.name for row in rows], one)
        problem = problem.on_common_cells(nan_policy)
        r = problem.agreements(method).mean(axis=1)
        drawn = problem.draw(options)
        spread = spread_of(drawn.between(*pairs.T), len(problem.entries), len(problem.subjects))
        difference = r[pairs[:, 0]] - r[pairs[:, 1]]
        low, high = spread.interval(difference, ci)
        columns: dict[str, Any] = {}
        for name in names:
            for number in (1, 2):
                columns[f"{name}_{number}"] = [
                    rows[k].labels[name] for k in pairs[:, number - 1].tolist()
                ]
        columns |= {name: [value] * len(pairs) for name, value in one.labels.items()}
        columns |= {
            "method": method,
            "r_1": r[pairs[:, 0]],
            "r_2": r[pairs[:, 1]],
            "difference": difference,
            "se": spread.error,
            "ci_low": low,
            "ci_high": high,
            "n_boot": spread.n_draws,
            "p": spread.p_values(difference, alternative),
            "n_pairs": int(problem.n_pairs().min()),
            "n_subjects": len(problem.subjects),
        }
        tables.append(pd.DataFrame(columns))
    return corrected(pd.concat(tables, ignore_index=True))
