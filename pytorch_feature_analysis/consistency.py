"""Whether models that are alike on one dataset are alike on another: a correlation over pairs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_name,
    check_random_state,
    check_share,
)
from pytorch_feature_analysis.model_pairs import PairTable, Study, read_study
from pytorch_feature_analysis.model_sets import INTERVAL_COLUMNS, RESULT_COLUMNS, SetPair
from pytorch_feature_analysis.rdm_stack import in_words, name_of
from pytorch_feature_analysis.resampling import (
    METHODS,
    MINIMUM,
    common_counts,
    correlate_rows,
    expanded_interval,
    resampled_correlations,
)


def get_consistency(
    similarity_stack: pd.DataFrame,
    model_table: pd.DataFrame | None = None,
    by: Sequence[str] | None = None,
    *,
    anchors: Sequence[Any] | None = None,
    method: str = "pearson",
    ci: float | None = 0.95,
    num_boot: int = 1000,
    random_state: RandomState = 0,
    dataset_variable: str = "dataset",
    grouping_variables: Sequence[str] | str = "rest",
    intersect: bool = False,
    nan_policy: str = "pairwise",
    symmetrize: bool = False,
) -> pd.DataFrame:
    """Correlate the similarities of pairs of models on one dataset with those on another.

    For two datasets a and b, and two sets of models F and G, r is the correlation of s_a(f, g)
    and s_b(f, g) over the unordered pairs of a model f of F and another model g of G.

    Parameters
    ----------
    similarity_stack : DataFrame
        An RDM of models per dataset and measure, as ``get_similarity_rdms(..., entry_variables=
        ['model'], grouping_variables=['dataset'])`` gives. Models are matched by their names,
        whatever their order. It is not changed.
    model_table : DataFrame, optional
        A row per model, with its name in the column ``model`` and categories in others. It may
        have further models.
    by : list of str, default those there are of 'objective', 'architecture_class', \
'dataset_class' and 'size_class'
        Columns of the table. The models with the same value are a set; every two values, and
        every value with itself, are a pair of sets. A model without a value is in no set. All
        models together, 'all', are always there.
    anchors : list of str, optional
        Models to take for the first set, one at a time, each with the other models of every set,
        instead of pairs of sets.
    method : {'pearson', 'spearman'}, default 'pearson'
        Spearman's rho has mean ranks for ties.
    ci : float or None, default 0.95
        Coverage of the intervals; None leaves out the columns ci_low, ci_high and n_boot.
    num_boot : int, default 1000
        Draws of models for each interval.
    random_state : int, numpy Generator or None, default 0
        Seed of the draws.
    dataset_variable : str, default 'dataset'
        Column that says what the rows of a measure are.
    grouping_variables : list of str or 'rest', default 'rest'
        Columns that tell measures apart, as in `get_meta_rdms`.
    intersect : bool, default False
        Take the models that all datasets have, instead of refusing others.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing similarities (NaN or infinite). 'pairwise': each two datasets are
        compared on the pairs of models that both have. 'omit': a pair that any dataset of a
        measure lacks is left out for all. 'raise': an error that names rows and counts.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric and its transpose, instead of refusing it.

    Returns
    -------
    DataFrame
        A row for each measure, pair of sets and pair of datasets (in the order of the stack),
        with the grouping variables and

        by : str
            The column of the table, or 'all'.
        dataset_1, dataset_2, set_1, set_2
            What is compared; with `anchors`, set_1 is the name of the anchor.
        r : float
            From -1 to 1; 1 where the same models are alike on both datasets. The same for
            similarities s as for the dissimilarities 1 - s of the stack.
        n_pairs : int
            Pairs of models. A pair that is left out because its similarity is missing is not
            counted, and is left out in the draws too.
        ci_low, ci_high : float
            Ends of the interval.
        n_boot : int
            Draws that it is made of: those with three different pairs of models or more, not all
            of the same similarity.
        reason : str
            Why r, or its interval, is NaN; else empty. A correlation needs three pairs.

    Raises
    ------
    ValueError
        Models that some datasets lack, or the table; both are named. A measure of one dataset.
        Missing similarities with 'raise'.

    See Also
    --------
    get_consistency_rdms : The same as RDMs of datasets.
    compare_consistency : Tests between pairs of sets.

    Notes
    -----
    **Intervals.** Pairs of models are not independent, since each model is in many. So models
    are drawn again with replacement, as many from each set as it has (an anchor stays), and with
    them whole rows and columns. A pair counts m_f m_g times, m being how often a model was drawn;
    a model and its copy are no pair. Ranks are those of the draw. The draws of a pair of sets are
    the same for all datasets and measures, and follow from `random_state` and the names of the
    sets and their models, so that they do not depend on what else is asked for.

    The ends are percentiles of the draws. Plain ones hold the truth too rarely for few models:
    in 90 % of 2,000 simulations instead of 95 % for 20 models whose similarity is a sum of two
    models' own parts. So the share cut off is corrected for the number of models in the smaller
    set [2]_, which makes 93 %, and 94 % for 40 models. The interval is too wide (99 % and more)
    where what differs between datasets is independent from pair to pair of models, since a draw
    of models repeats the noise of pairs; similarities that are inner products or distances of
    features are in between, at 95 % to 99 %.

    Ranks are made once per dataset and draw; where every dataset misses other pairs, once per pair
    of datasets, which takes several times as long.

    It is an interval over models that might have been chosen; a set of a single model, or an
    anchor, is taken as it is. Datasets are not drawn.

    References
    ----------
    .. [1] Snijders, T. A. B. and Borgatti, S. P. (1999). Non-parametric standard errors and tests
       for network statistics. Connections 22, 161-170 (draws of items).
    .. [2] Hesterberg, T. C. (2015). What teachers should know about the bootstrap. Am. Stat. 69,
       371-386. https://doi.org/10.1080/00031305.2015.1089789 (expanded percentiles).

    Examples
    --------
    Four models on three datasets; on the third, those that were alike are different:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> points = np.array([0.0, 1.0, 3.0, 7.0])
    >>> rdm = abs(points[:, None] - points)
    >>> stack = pd.DataFrame({
    ...     "dataset": ["cars", "pets", "flowers"],
    ...     "matrix": [rdm, 2 * rdm, 9 - rdm],
    ...     "entry_keys": [["a", "b", "c", "d"]] * 3,
    ... })
    >>> table = pd.DataFrame({"model": ["a", "b", "c", "d"], "objective": ["x", "x", "y", "y"]})
    >>> found = pfa.get_consistency(stack, table, ["objective"], ci=None)
    >>> found.loc[found["dataset_1"] == "cars", ["set_1", "set_2", "dataset_2", "r", "n_pairs"]]
      set_1 set_2 dataset_2    r  n_pairs
    0   all   all      pets  1.0        6
    1   all   all   flowers -1.0        6
    3     x     x      pets  NaN        1
    4     x     x   flowers  NaN        1
    6     x     y      pets  1.0        4
    7     x     y   flowers -1.0        4
    9     y     y      pets  NaN        1
    10    y     y   flowers  NaN        1
    >>> found["reason"][3]
    '1 pair of models, and a correlation needs 3'
    """
    check_name(method, METHODS, argument="method", what="method")
    num_boot = check_count(num_boot, argument="num_boot")
    root = check_random_state(random_state)
    if ci is not None:
        ci = check_share(ci, argument="ci")
        if not 0 < ci < 1:
            raise ValueError(f"`ci` must be between 0 and 1, such as 0.95, or None, not {ci}.")
    study = read_study(
        similarity_stack,
        model_table,
        by,
        anchors,
        dataset_variable=dataset_variable,
        grouping_variables=grouping_variables,
        intersect=intersect,
        nan_policy=nan_policy,
        symmetrize=symmetrize,
    )
    taken = [name for name in study.grouping if name in RESULT_COLUMNS]
    if taken:
        raise ValueError(
            f"`grouping_variables` has {in_words(taken)}, which is the name of a column of the"
            " result; rename that of `similarity_stack`, or leave it out."
        )
    parts = []
    for table in study.tables:
        carried = _labels(study, table)
        for sets in study.sets.pairs_among(table.models):
            found = _correlations(table, sets, method)
            if ci is not None:
                _add_intervals(found, table, sets, method, ci, num_boot, root)
            n = len(found["r"])
            labels = {name: [value] * n for name, value in carried.items()}
            parts.append(pd.DataFrame({**labels, **found}))
    columns = [name for name in RESULT_COLUMNS if ci is not None or name not in INTERVAL_COLUMNS]
    return pd.concat(parts, ignore_index=True)[[*study.grouping, *columns]]


def _labels(study: Study, table: PairTable) -> dict[str, Any]:
    first = table.group.positions[0]
    return {name: study.stack[name].iloc[first] for name in study.grouping}


def _correlations(table: PairTable, sets: SetPair, method: str) -> dict[str, Any]:
    """Columns of the result for one pair of sets, without the intervals."""
    rows = table.of(sets)
    datasets = [name_of(key) for key in table.group.entry_keys]
    a, b = np.triu_indices(len(rows), k=1)
    r, n_pairs = correlate_rows(rows, method)[a, b], common_counts(rows)[a, b]
    reasons = np.full(len(r), "", dtype=object)
    for k in np.flatnonzero(np.isnan(r)).tolist():
        both = rows[[a[k], b[k]]]
        reasons[k] = _reason(both, [datasets[a[k]], datasets[b[k]]])
    return {
        "by": [sets.by] * len(r),
        "dataset_1": [datasets[k] for k in a],
        "dataset_2": [datasets[k] for k in b],
        "set_1": [sets.set_1] * len(r),
        "set_2": [sets.set_2] * len(r),
        "r": r,
        "n_pairs": n_pairs,
        "reason": reasons,
    }


def _reason(rows: np.ndarray, datasets: Sequence[Hashable]) -> str:
    """Say why the correlation of two rows is not defined."""
    common = rows[:, np.isfinite(rows).all(axis=0)]
    n = common.shape[1]
    if n < MINIMUM:
        return f"{n} pair{'' if n == 1 else 's'} of models, and a correlation needs {MINIMUM}"
    equal = [name for name, own in zip(datasets, common, strict=True) if np.ptp(own) == 0]
    return f"all pairs of models are equally similar on {in_words(equal)}"


def _add_intervals(
    found: dict[str, Any],
    table: PairTable,
    sets: SetPair,
    method: str,
    ci: float,
    num_boot: int,
    root: int,
) -> None:
    shape = (num_boot, len(found["r"]))
    known = np.isfinite(found["r"])
    drawn = np.full(shape, np.nan)
    if known.any():
        counts = sets.draw(root, num_boot, table.models)
        pairs = (sets.first, sets.second)
        drawn = resampled_correlations(table.of(sets), pairs, counts, method)
    low, high, count = expanded_interval(drawn, ci, sets.n_items)
    found |= {"ci_low": low, "ci_high": high, "n_boot": count}
    found["reason"][known & (count == 0)] = "no draw of models has a correlation"
