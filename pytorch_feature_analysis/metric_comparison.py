"""What the choice of an RDM metric changes: the RDMs of the same activations by several."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import check_free, check_name
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, parallel_map
from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.agreement import METHODS
from pytorch_feature_analysis.dissimilarity import (
    Metric,
    check_metrics,
    compute_rdms,
    undefined_patterns,
)
from pytorch_feature_analysis.rdm_stack import Rows, in_words
from pytorch_feature_analysis.similarity.rdm_agreement import ENTRIES, compare_rdms

RDM_METRICS = ("pearson", "L2", "L2squared", "L2_normalize", "L2squared_normalize")
"""1 - correlation; Euclidean distances, plain and squared, of patterns as they are or scaled."""


def compare_rdm_metrics(
    activations_df: pd.DataFrame,
    metrics: Sequence[Any] = RDM_METRICS,
    *,
    entries: str = "upper",
    method: str = "pearson",
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare the RDMs that different metrics make of the same activations: a table of pairs.

    Parameters
    ----------
    activations_df : DataFrame
        A frame of `get_activations`, or of one's own: ``activations`` (n_stimuli, n_units),
        ``entry_keys`` (the stimuli), and columns that say what a row is. It is not changed.
    metrics : list, default the five named below
        Two or more metrics of `compute_rdm`. Default 'pearson', 'L2', 'L2squared',
        'L2_normalize' and 'L2squared_normalize': 1 less the correlation, and Euclidean distances,
        plain or squared, of the patterns as they are or scaled to unit length.
    entries : {'upper', 'all'}, default 'upper'
        The cells that are compared: above the diagonal, or all.
    method : str, default 'pearson'
        How two RDMs are compared, as in `compare_rdms`.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar where there is more than one row.

    Returns
    -------
    DataFrame
        For each row of the frame, a row per pair of metrics, in their order:

        all columns that say what the row is
            as they were.
        metric_1, metric_2 : str
            The pair.
        mean_abs_diff : float
            Mean absolute difference of the cells, each in the unit of its metric: 0 where they
            are the same. Between metrics of different units it tells of these as well.
        r : float
            Agreement of the two RDMs by `method`; 1 is the same, but for scale.

        Cells that either metric has no value for are left out. NaN where none is left, and `r`
        where an RDM does not vary.

    Raises
    ------
    ValueError
        Fewer than two metrics; one that is not symmetric; fewer than three stimuli.

    Warns
    -----
    UserWarning
        Names the rows with patterns that a metric has no dissimilarity for.

    See Also
    --------
    compare_measures : What metrics and measures make of pairs of representations.
    plot_metric_comparison : The RDMs side by side.

    Examples
    --------
    The correlation metric is half the squared distance of patterns of unit length, once the mean
    of each pattern is off:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(6, 10))
    >>> x -= x.mean(axis=1, keepdims=True)
    >>> df = pd.DataFrame({"layer": ["fc1"], "activations": [x], "entry_keys": [list("abcdef")]})
    >>> metrics = ["pearson", "L2_normalize", "L2squared_normalize"]
    >>> pfa.compare_rdm_metrics(df, metrics).round(3)
      layer      metric_1             metric_2  mean_abs_diff      r
    0   fc1       pearson         L2_normalize          0.357  0.993
    1   fc1       pearson  L2squared_normalize          1.077  1.000
    2   fc1  L2_normalize  L2squared_normalize          0.749  0.993
    """
    chosen = check_metrics(metrics, argument="metrics")
    if len(chosen) < 2:
        raise ValueError(
            f"`metrics` names '{chosen[0].name}' alone; name two or more, to be compared."
        )
    check_name(entries, ENTRIES, argument="entries", what="choice of entries")
    check_name(method, METHODS, argument="method", what="way to compare RDMs")
    check_num_cores(num_cores)
    frame = check_activations(activations_df)
    labels = frame.drop(columns=["activations", "entry_keys", "entry_labels"])
    check_free(labels, ["metric_1", "metric_2", "mean_abs_diff", "r"], argument="activations_df")
    for k, table in enumerate(frame["activations"]):
        if len(table) < 3:
            Rows(frame.index, "activations_df").fail(
                k, f"has {len(table)} stimuli, and RDMs can be compared from 3 on"
            )
    tables = parallel_map(
        _compare_metrics,
        [(table, chosen, entries, method) for table in frame["activations"]],
        num_cores=num_cores,
        progress=progress and len(frame) > 1,
        description="RDMs",
    )
    values = np.array([cells for cells, _ in tables]).reshape(-1, 2)
    dead = [row for (_, found), row in zip(tables, frame.index, strict=True) if found]
    if dead:
        warnings.warn(
            f"`activations_df`: the rows with the index {in_words(dead)} have patterns without a"
            " dissimilarity by some metric (constant, zero, or with NaN or inf); their cells are"
            " left out.",
            stacklevel=2,
        )
    pairs = list(combinations([metric.name for metric in chosen], 2))
    repeated = np.repeat(np.arange(len(frame)), len(pairs))
    return (
        labels.iloc[repeated]
        .assign(
            metric_1=[first for first, _ in pairs] * len(frame),
            metric_2=[second for _, second in pairs] * len(frame),
            mean_abs_diff=values[:, 0],
            r=values[:, 1],
        )
        .reset_index(drop=True)
    )


def _compare_metrics(
    item: tuple[np.ndarray, Sequence[Metric], str, str],
) -> tuple[list[tuple[float, float]], bool]:
    """Mean absolute difference and agreement of each pair; whether there are dead patterns."""
    table, metrics, entries, method = item
    rdms = compute_rdms(table, metrics)
    for metric, rdm in zip(metrics, rdms, strict=True):
        if not np.array_equal(rdm, rdm.T, equal_nan=True):
            raise ValueError(
                f"`metrics`: '{metric.name}' is not symmetric: it has two values for a pair."
            )
    compared = np.triu(np.ones(rdms[0].shape, dtype=bool), k=1)
    if entries == "all":
        compared[:] = True
    found = []
    for one, other in combinations(rdms, 2):
        known = compared & np.isfinite(one) & np.isfinite(other)
        difference = np.abs(one[known] - other[known])
        found.append(
            (
                float(difference.mean()) if difference.size else np.nan,
                compare_rdms(one, other, method=method, entries=entries),
            )
        )
    return found, any(undefined_patterns(table, rdm) for rdm in rdms)
