"""How far measures of similarity agree with one of them, over pairs of representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import check_free, check_name
from pytorch_feature_analysis.chosen_measures import whole_name
from pytorch_feature_analysis.matrices import pearson
from pytorch_feature_analysis.missing_cells import check_nan_policy, refuse_missing
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import align, make_groups, rest_variables, row_keys
from pytorch_feature_analysis.stack_schema import is_reserved


def compare_measures(
    similarity_df: pd.DataFrame, reference: str = "linear_cka", *, nan_policy: str = "pairwise"
) -> pd.DataFrame:
    """Tell how far measures of similarity agree with one of them over pairs of representations.

    Each measure orders the pairs of representations (layers, models) of a group by how different
    they are; this says how near its order, and its values, are to those of the reference.

    Parameters
    ----------
    similarity_df : DataFrame
        A stack of `get_similarity_rdms` by two or more measures. It is not changed.
    reference : str, default 'linear_cka'
        One of them, as ``dissim_metric`` has it; for 'rsa' with the metric of its RDMs, as in
        ``'rsa(rdm_metric=L2)'``.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing dissimilarities (NaN or infinite). 'pairwise': each measure is
        compared on the pairs that it and the reference have. 'omit': pairs that any measure of
        the group lacks are left out for all. 'raise': an error that names rows and counts.

    Returns
    -------
    DataFrame
        A row per group of the stack and measure but the reference:

        grouping variables
            Their values; of those that all stacks have (``df_name``, ``perm``, ...) only what
            differs.
        measure : str
            With its options, and the metric of its RDMs for 'rsa'.
        r, rho : float
            Pearson's and Spearman's correlation with the reference over the pairs, of the
            dissimilarities in ``matrix``. 1 is full agreement, 0 none.
        mean_abs_diff : float
            Mean absolute difference from the reference. For similarities it is that of
            themselves.
        n_pairs : int
            Pairs for which both have a value: those above the diagonal, or all ordered ones
            where either of the two is not symmetric.

    Raises
    ------
    ValueError
        A group without the reference, without another measure, or with one twice; missing
        dissimilarities with 'raise'.

    See Also
    --------
    get_similarity_rdms : Makes the stack.
    plot_measure_comparison : The pairs themselves, as points.

    Notes
    -----
    Pairs share representations and are no independent sample: no p value belongs to `r`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> x = np.random.default_rng(0).normal(size=(30, 8))
    >>> df = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "conv3", "fc1"],
    ...     "activations": [x[:, :2], x[:, :3], x[:, :5], x[:, 4:]],
    ...     "entry_keys": [list(range(30))] * 4,
    ... })
    >>> centred = {"rdm_metric": "L2squared", "compare": "cosine", "centering": "double"}
    >>> measures = ["linear_cka", "nbs", ("rsa", centred)]
    >>> stack = pfa.get_similarity_rdms(df, measures, progress=False)
    >>> pfa.compare_measures(stack)[["measure", "r", "mean_abs_diff"]].round(3)
                                                 measure      r  mean_abs_diff
    0                                                nbs  0.992          0.117
    1  rsa(centering=double, compare=cosine, rdm_metr...  1.000          0.000
    """
    compared = pairs_with_reference(similarity_df, reference, nan_policy)
    # What stacks say of themselves is no news where it is the same in all rows.
    news = [
        name
        for name in compared[0].labels
        if not is_reserved(name) or len({pairs.labels[name] for pairs in compared}) > 1
    ]
    rows = []
    for pairs in compared:
        one, other = pairs.of_reference, pairs.of_measure
        rows.append(
            {
                **{name: pairs.labels[name] for name in news},
                "measure": pairs.measure,
                "r": pearson(one, other),
                "rho": pearson(rankdata(one), rankdata(other)),
                "mean_abs_diff": np.abs(one - other).mean() if len(one) else np.nan,
                "n_pairs": len(one),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class PairsWithReference:
    """Dissimilarities of all pairs of a group by a measure, and by the reference."""

    labels: dict[str, Any]
    """Of the group."""
    measure: str
    of_reference: np.ndarray
    of_measure: np.ndarray


def pairs_with_reference(
    similarity_df: Any, reference: Any, nan_policy: str
) -> list[PairsWithReference]:
    """Check a stack of several measures; the pairs of each group by each but the reference."""
    argument = "similarity_df"
    check_nan_policy(nan_policy)
    stack = checked_stack(similarity_df, columns=["dissim_metric"], argument=argument)
    if stack.empty:
        raise ValueError(f"`{argument}` has no rows, so there is nothing to compare.")
    plain = stack["dissim_metric"].tolist()
    metrics = stack.get("dissim_metric_sub", pd.Series([None] * len(stack))).tolist()
    frame = stack.drop(columns=["dissim_metric", "dissim_metric_sub"], errors="ignore")
    results = ["measure", "r", "rho", "mean_abs_diff", "n_pairs"]
    check_free(frame, results, argument=argument)
    names = list(map(whole_name, plain, metrics))
    frame["measure"] = names
    own = [column for column in similarity_df.columns if column in frame.columns]
    grouping = rest_variables(frame, own, ["measure"])
    keys = row_keys(frame, ["measure"], frame=argument)
    found = []
    for group in make_groups(frame, keys, grouping, set(keys)):
        here = [names[k] for k in group.positions]
        check_name(
            reference, dict.fromkeys(here), argument="reference", what="measure", owner=group.name
        )
        twice = [name for name in dict.fromkeys(here) if here.count(name) > 1]
        if twice:
            raise ValueError(
                f"`{argument}` has more than one row by {in_words(twice)}{group.name}; keep one."
            )
        if len(here) == 1:
            raise ValueError(
                f"`{argument}` has no measure beside '{reference}'{group.name} to compare it with;"
                " name further ones in `get_similarity_rdms`."
            )
        orders = align(group, frame["entry_keys"].tolist(), frame["entry_labels"].tolist())
        matrices = {}
        for name, k, order in zip(here, group.positions, orders, strict=True):
            matrix = frame["matrix"].iloc[k]
            matrices[name] = matrix if order is None else matrix[np.ix_(order, order)]
        refuse_missing(
            nan_policy,
            [matrices[name][_counted(matrices[name])] for name in here],
            owner=f"`{argument}`",
            names=[f"row {index!r}" for index in frame.index[group.positions]],
        )
        known = {name: np.isfinite(matrix) for name, matrix in matrices.items()}
        common = np.logical_and.reduce(list(known.values()))
        labels = {name: frame[name].iloc[group.positions[0]] for name in grouping}
        for k in group.positions:
            if names[k] != reference:
                pair = matrices[reference], matrices[names[k]]
                both = common if nan_policy == "omit" else known[reference] & known[names[k]]
                one, other = (matrix[_counted(*pair) & both] for matrix in pair)
                found.append(PairsWithReference(labels, names[k], one, other))
    return found


def _counted(*matrices: np.ndarray) -> np.ndarray:
    """Mark the cells off the diagonal; each pair once where all are symmetric."""
    counted = ~np.eye(len(matrices[0]), dtype=bool)
    if all(np.array_equal(matrix, matrix.T, equal_nan=True) for matrix in matrices):
        return np.triu(counted)
    return counted
