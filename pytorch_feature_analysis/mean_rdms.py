"""The mean of the RDMs of several datasets, and how far they differ."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import (
    check_free,
    check_text,
)
from pytorch_feature_analysis.matrices import to_condensed
from pytorch_feature_analysis.missing_cells import (
    check_nan_policy,
    finite_or_nan,
    refuse_missing,
)
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.regroup import (
    align,
    check_unique_keys,
    check_variables,
    make_groups,
    rest_variables,
    row_keys,
)

logger = logging.getLogger(__name__)


def get_mean_rdms(
    rdm_df: pd.DataFrame,
    over: Sequence[str] = ("dataset",),
    *,
    df_name: str = "mean_rdm",
    nan_policy: str = "omit",
) -> pd.DataFrame:
    """Take the mean and the standard deviation of RDMs, cell by cell, such as over datasets.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack of any order, such as the similarities of models on several datasets. All RDMs of
        a group are of the same entries, which another order does not harm. It is not changed.
    over : list of str, default ``['dataset']``
        Columns that tell apart the RDMs that the mean is over; the others tell groups apart.
    df_name : str, default 'mean_rdm'
        Name of the result.
    nan_policy : {'omit', 'pairwise', 'raise'}, default 'omit'
        What happens to missing dissimilarities (NaN or infinite). 'omit': a cell that any RDM of
        the group lacks is left out for all, and NaN in the result. 'pairwise': each cell is of
        the RDMs that have it, and NaN where none has (for the standard deviation, fewer than
        two). 'raise': an error that names rows and counts.

    Returns
    -------
    DataFrame
        A stack of two rows for each group, with the columns that tell groups apart (such as
        ``dissim_metric``), ``entry_keys``, ``entry_labels``, ``df_name``, and

        statistic : str
            'mean' or 'sd' (ddof 1).
        matrix : ndarray
            The means, which `to_similarity` turns into mean similarities where the measure is
            one; or the standard deviations, which are those of the similarities too.
        dissim_metric : str
            As in the stack for the mean; ``'sd(linear_cka)'`` for the standard deviation.
        n_rdms : int
            How many RDMs the group has.
        n_missing : int
            How many pairs of entries any of them lacks, in either direction: left out with
            'omit', of fewer RDMs with 'pairwise'. It tells no groups apart where the result is
            regrouped.

    Raises
    ------
    ValueError
        A group of one RDM alone, or of RDMs of other entries; two RDMs of one dataset; missing
        cells with 'raise'.

    See Also
    --------
    linkage_order : An order of entries from their mean dissimilarities.
    plot_similarity_spread : Mean and standard deviation of each pair as a point.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets", "flowers"],
    ...     "dissim_metric": "linear_cka",
    ...     "matrix": [np.array([[0, 0.25], [0.25, 0]]), np.array([[0, 0.75], [0.75, 0]])],
    ...     "entry_keys": [["vgg16", "dino"]] * 2,
    ... })
    >>> means = pfa.get_mean_rdms(stack)
    >>> means[["dissim_metric", "statistic", "n_rdms"]]
        dissim_metric statistic  n_rdms
    0      linear_cka      mean       2
    1  sd(linear_cka)        sd       2
    >>> means["matrix"][0].tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    return mean_rows(rdm_df, over, nan_policy=nan_policy, df_name=df_name)


def mean_rows(
    rdm_df: Any,
    over: Sequence[str],
    *,
    nan_policy: str,
    df_name: str = "mean_rdm",
    argument: str = "rdm_df",
) -> pd.DataFrame:
    """Make the stack of `get_mean_rdms`; errors name the argument that was given."""
    check_nan_policy(nan_policy)
    stack = checked_stack(rdm_df, argument=argument)
    if stack.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to take a mean of.")
    variables = check_variables(stack, over, argument="over", empty=False)
    check_text(df_name, argument="df_name")
    stack = stack.drop(columns="dissim_rankings", errors="ignore")
    own = [name for name in rdm_df.columns if name in stack.columns and name != "df_name"]
    grouping = rest_variables(stack, own, variables)
    check_free(grouping, ["statistic", "n_rdms", "n_missing"], argument=argument)
    keys = row_keys(stack, variables, frame=argument)
    groups = make_groups(stack, keys, grouping, set(keys))
    check_unique_keys(stack, groups)
    rows: list[dict[str, Any]] = []
    missing = pairs = 0
    for group in groups:
        if len(group.positions) == 1:
            raise ValueError(
                f"`{argument}` has one RDM alone{group.name}, and so no mean over"
                f" {', '.join(map(repr, variables))}. Name in `over` all that differs, or leave"
                " columns out that should not tell groups apart."
            )
        refuse_missing(
            nan_policy,
            (_cells_of(stack["matrix"].iloc[k]) for k in group.positions),
            owner=f"`{argument}`",
            names=[f"row {index!r}" for index in stack.index[group.positions]],
        )
        orders = align(group, stack["entry_keys"].tolist(), stack["entry_labels"].tolist())
        matrices = [stack["matrix"].iloc[k] for k in group.positions]
        aligned = np.stack(
            [
                finite_or_nan(matrix if order is None else matrix[np.ix_(order, order)])
                for matrix, order in zip(matrices, orders, strict=True)
            ]
        )
        first = group.positions[0]
        labels = {name: stack[name].iloc[first] for name in grouping}
        lacking = np.isnan(aligned).any(axis=0)
        n_missing = int(to_condensed(lacking | lacking.T).sum())
        missing += n_missing
        pairs += to_condensed(lacking).size
        for statistic, matrix in zip(
            ("mean", "sd"), _mean_and_sd(aligned, nan_policy), strict=True
        ):
            matrix.flags.writeable = False
            row = {
                **labels,
                "df_name": df_name,
                "statistic": statistic,
                "matrix": matrix,
                "entry_keys": stack["entry_keys"].iloc[first],
                "entry_labels": stack["entry_labels"].iloc[first],
                "n_rdms": len(aligned),
                "n_missing": n_missing,
            }
            if statistic == "sd" and "dissim_metric" in row:
                row["dissim_metric"] = f"sd({row['dissim_metric']})"
            rows.append(row)
    if missing:
        logger.warning(
            "%d of %d pairs of entries are missing in one RDM of their group or another: %s.",
            missing,
            pairs,
            "they are left out" if nan_policy == "omit" else "their means are of the others",
        )
    cells = {name: object_series([row[name] for row in rows]) for name in rows[0]}
    return pd.DataFrame(cells).infer_objects()


def _cells_of(matrix: np.ndarray) -> np.ndarray:
    """Cells of all pairs; NaN where either direction is missing."""
    finite = np.isfinite(matrix)
    return to_condensed(np.where(finite & finite.T, matrix, np.nan))


def _mean_and_sd(aligned: np.ndarray, nan_policy: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 1) over RDMs; NaN is a missing cell."""
    if nan_policy != "pairwise" or not np.isnan(aligned).any():
        return aligned.mean(axis=0), aligned.std(axis=0, ddof=1)
    known = ~np.isnan(aligned)
    counts = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, aligned, 0).sum(axis=0) / counts
        squares = np.where(known, aligned - mean, 0) ** 2
        variance = np.where(counts > 1, squares.sum(axis=0) / (counts - 1), np.nan)
    return mean, np.sqrt(variance)
