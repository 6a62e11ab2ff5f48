"""Whether networks that are alike also perform alike: similarity beside the gap in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis.pair_correlations import check_methods, correlate
from pytorch_feature_analysis.performance_gaps import match_performance


def link_to_performance(
    similarity_stack: pd.DataFrame,
    performance_frame: pd.DataFrame,
    *,
    dataset_variable: str = "dataset",
    model_variable: str = "model",
    metric: str = "accuracy",
    method: str | Sequence[str] = ("pearson", "spearman"),
    domains: Mapping[Any, Any] | pd.Series | None = None,
    missing: str = "raise",
    symmetrize: bool = False,
    measures: Sequence[Any] = (),
) -> pd.DataFrame:
    """Correlate the similarity of networks with the gap between their accuracies, by dataset.

    Over all unordered pairs of networks f and g, the similarity s(f, g) on a dataset is set beside
    ``|acc_f - acc_g|`` on the same dataset.

    Parameters
    ----------
    similarity_stack : DataFrame
        RDMs whose entries are networks, one for each dataset and measure: of
        `get_similarity_rdms` or `get_meta_rdms` with ``entry_variables=['model']``. Rows of
        shuffles are left out. It is not changed.
    performance_frame : DataFrame
        Accuracies with the columns `dataset_variable`, `model_variable` and `metric`, as of
        `probe_models`; of several rows (seeds) of one network and dataset the mean is taken. It is
        not changed.
    dataset_variable : str, default 'dataset'
        Column of both frames.
    model_variable : str, default 'model'
        Column of `performance_frame`, and the part of the entries of the stack that it names.
    metric : str, default 'accuracy'
        Column of `performance_frame`.
    method : str or list of str, default ``('pearson', 'spearman')``
        Correlation coefficients.
    domains : dict or Series, optional
        The domain of each dataset, for a column of that name.
    missing : {'raise', 'drop'}
        What to do where networks or datasets of the stack are not in `performance_frame`: raise,
        or leave them out.
    symmetrize : bool, default False
        Take the mean of both directions of measures that are not symmetric.
    measures : list of Measure, default none
        Measures of one's own that the stack was made with; what is not known is a distance.

    Returns
    -------
    DataFrame
        One row for each row of the stack and method, with the columns

        - those of the stack that tell its RDMs apart, such as `dataset_variable` and
          ``dissim_metric``, and domain, with `domains`,
        - direction: 'similarity' where r is that of ``s = 1 - matrix``, 'distance' where it is
          that of the matrix itself,
        - method,
        - r: float, the correlation. Below 0 (of a distance: above 0) where networks that are alike
          perform alike; NaN where it is not defined,
        - p: float, two-sided, as if pairs were independent,
        - n_pairs: int, the pairs whose similarity and gap are known,
        - reason: str, why r is NaN; otherwise empty.

    Raises
    ------
    ValueError
        Networks or datasets without accuracies; several rows of a network that differ in more
        than the seed; a stack that has gone through `to_similarity`.

    See Also
    --------
    probe_models : Accuracies.
    get_performance_gaps : The pairs themselves.
    df_agg : For a summary, as below.

    Notes
    -----
    All pairs of a network have it in common, so that `p` is too small. It serves for comparison
    with studies that state it.

    Gaps are rounded to 12 decimals, so that equal ones are ties.

    References
    ----------
    Kornblith, S., Norouzi, M., Lee, H. and Hinton, G. (2019). Similarity of neural network
        representations revisited. ICML. https://doi.org/10.48550/arXiv.1905.00414

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dataset": ["pets", "flowers"],
    ...     "dissim_metric": "linear_cka",
    ...     "entry_keys": [["a", "b", "c"]] * 2,
    ...     "matrix": [np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]]) / 10,
    ...                np.array([[0, 5, 3], [5, 0, 2], [3, 2, 0]]) / 10],
    ... })
    >>> accuracies = pd.DataFrame({
    ...     "dataset": ["pets"] * 3 + ["flowers"] * 3,
    ...     "model": ["a", "b", "c"] * 2,
    ...     "accuracy": [0.9, 0.7, 0.4] * 2,
    ... })
    >>> table = pfa.link_to_performance(
    ...     stack, accuracies, domains={"pets": "natural", "flowers": "natural"}
    ... )
    >>> table[["dataset", "domain", "method", "r", "n_pairs"]].round(3)
       dataset   domain    method    r  n_pairs
    0     pets  natural   pearson -1.0        3
    1     pets  natural  spearman -1.0        3
    2  flowers  natural   pearson  0.5        3
    3  flowers  natural  spearman  0.5        3

    Summed up by domain:

    >>> pfa.df_agg(table, ["domain", "method"], ["r"], ["mean", "std", "count"]).round(3)
        domain    method  r_mean  r_std  r_count
    0  natural   pearson   -0.25  1.061        2
    1  natural  spearman   -0.25  1.061        2
    """
    methods = check_methods(method)
    rows = [
        {**of_rdm.labels, "direction": of_rdm.direction, "method": name}
        | _correlated(of_rdm.closeness, of_rdm.gaps, name)
        for of_rdm in match_performance(
            similarity_stack,
            performance_frame,
            names=(dataset_variable, model_variable, metric),
            domains=domains,
            missing=missing,
            symmetrize=symmetrize,
            measures=measures,
        )
        for name in methods
    ]
    columns = {name: object_series([row[name] for row in rows]) for name in rows[0]}
    table = pd.DataFrame(columns).infer_objects()
    return table.astype({"r": float, "p": float, "n_pairs": int})


def _correlated(closeness: np.ndarray, gaps: np.ndarray, method: str) -> dict[str, Any]:
    is_known = np.isfinite(closeness) & np.isfinite(gaps)
    closeness, gaps = closeness[is_known], gaps[is_known]
    r, p, reason = correlate(
        gaps, closeness, method, ("all gaps are the same", "all pairs are equally similar")
    )
    return {"r": r, "p": p, "n_pairs": len(gaps), "reason": reason}
