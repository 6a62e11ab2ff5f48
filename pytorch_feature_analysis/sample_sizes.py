"""How measures of similarity depend on the number of stimuli."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_free,
    check_random_state,
    check_sequence,
    child_generator,
)
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, parallel_map
from pytorch_feature_analysis.activation_groups import ActivationGroups, group_activations
from pytorch_feature_analysis.chosen_measures import (
    ChosenMeasure,
    check_measures,
    whole_name,
)
from pytorch_feature_analysis.group_comparison import GroupComparison, compare_group


def sample_size_sensitivity(
    activations_df: pd.DataFrame,
    measures: Sequence[Any],
    sizes: Sequence[int],
    *,
    entry_variables: Sequence[str] = ("layer",),
    grouping_variables: Sequence[str] | str = "rest",
    repeats: int = 10,
    random_state: RandomState = 0,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Tell how measures of similarity depend on the number of stimuli.

    Each pair of representations is compared over random subsets of the stimuli, and over all.

    Parameters
    ----------
    activations_df : DataFrame
        As in `get_similarity_rdms`. It is not changed.
    measures : list
        As in `get_similarity_rdms`.
    sizes : list of int
        Numbers of stimuli.
    entry_variables : list of str, default ``['layer']``
        Columns that tell the representations of a group apart.
    grouping_variables : list of str or 'rest', default 'rest'
        Columns that tell the groups apart, as in `get_meta_rdms`.
    repeats : int, default 10
        Subsets of each size, drawn without replacement. The same subsets serve all
        representations and measures.
    random_state : int, numpy Generator or None, default 0
        Seed of the subsets. Other sizes, or further repeats, change none of them.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar.

    Returns
    -------
    DataFrame
        A row per group, measure, size and pair:

        grouping variables
            Their values.
        measure : str
            With its options, and the metric of its RDMs for 'rsa'.
        n_stimuli : int
            Stimuli of a subset.
        layer_1, layer_2 : as in the frame
            The pair, and so for each of the entry variables; in both orders for a measure that
            is not symmetric.
        mean, sd : float
            Mean and standard deviation (ddof 1) over the subsets, of the measure as it is:
            similarities are similarities. NaN where a subset has no value, as where a
            representation does not vary; `sd` also where there is one subset alone.
        full : float
            The value over all stimuli.
        bias : float
            ``mean - full``: what a study with so few stimuli is off by on average, as compared
            with all that are here.
        repeats : int
            As given.

    Raises
    ------
    ValueError
        Sizes above the number of stimuli, or too small for a measure; and what
        `get_similarity_rdms` refuses.

    See Also
    --------
    get_similarity_rdms : Of all stimuli, as a stack.
    plot_sample_sizes : Draws it.

    Notes
    -----
    Subsets of nearly all stimuli are nearly the same, so that their `sd` is smaller than that of
    independent samples of this size. `full` has a bias of its own where the measure is biased.

    Examples
    --------
    Two unrelated representations look alike where stimuli are few, unless that is corrected for:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> df = pd.DataFrame({
    ...     "layer": ["conv1", "conv2"],
    ...     "activations": list(np.random.default_rng(0).normal(size=(2, 300, 40))),
    ...     "entry_keys": [list(range(300))] * 2,
    ... })
    >>> measures = ["linear_cka", ("linear_cka", {"debiased": True})]
    >>> table = pfa.sample_size_sensitivity(df, measures, [20, 100], progress=False)
    >>> table[["measure", "n_stimuli", "mean", "full"]].round(2)
                         measure  n_stimuli  mean  full
    0                 linear_cka         20  0.67  0.12
    1                 linear_cka        100  0.29  0.12
    2  linear_cka(debiased=True)         20 -0.00  0.01
    3  linear_cka(debiased=True)        100  0.00  0.01
    """
    chosen = check_measures(measures)
    checked = _check_sizes(sizes, chosen)
    repeats = check_count(repeats, argument="repeats")
    root = check_random_state(random_state)
    check_num_cores(num_cores)
    grouped = group_activations(activations_df, chosen, entry_variables, grouping_variables)
    columns = [f"{name}_{number}" for number in (1, 2) for name in grouped.entries]
    results = ["measure", "n_stimuli", *columns, "mean", "sd", "full", "bias", "repeats"]
    check_free(grouped.grouping, results, argument="activations_df")
    for group, tables in zip(grouped.groups, grouped.tables, strict=True):
        if max(checked) > len(tables[0]):
            raise ValueError(
                f"`sizes` has {max(checked)}, but there are {len(tables[0])} stimuli in the"
                f" activations{group.name}, of which subsets are drawn."
            )
        if len(tables) < 2:
            raise ValueError(
                f"`activations_df` has one representation{group.name}, and so no pair to compare;"
                " leave it out, or group by fewer columns."
            )
    compared = parallel_map(
        compare_group,
        _subsets(grouped, chosen, checked, repeats, root),
        num_cores=num_cores,
        progress=progress,
        description="subsets",
    )
    found = (matrix for (matrix,) in compared)
    rows = []
    for group in grouped.groups:
        labels = {name: grouped.frame[name].iloc[group.positions[0]] for name in grouped.grouping}
        whole = [next(found) for _ in chosen]
        by_size = [
            np.array([[next(found) for _ in chosen] for _ in range(repeats)]) for _ in checked
        ]
        for m, measure in enumerate(chosen):
            for size, drawn in zip(checked, by_size, strict=True):
                rows += [
                    {
                        **labels,
                        "measure": whole_name(measure.name, measure.rdm_metric),
                        "n_stimuli": size,
                        **row,
                        "repeats": repeats,
                    }
                    for row in _pairs(measure, group.entry_keys, columns, whole[m], drawn[:, m])
                ]
    return pd.DataFrame(rows)


def _subsets(
    grouped: ActivationGroups,
    chosen: Sequence[ChosenMeasure],
    sizes: Sequence[int],
    repeats: int,
    root: int,
) -> Iterator[GroupComparison]:
    """Give the whole of each group, then its subsets, each for all measures."""
    for tables, orders in zip(grouped.tables, grouped.orders, strict=True):
        n_stimuli = len(tables[0])
        for measure in chosen:
            yield GroupComparison(tables, orders, (), measure)
        for size in sizes:
            for repeat in range(repeats):
                generator = child_generator(root, n_stimuli, size, repeat)
                subset = generator.choice(n_stimuli, size, replace=False)
                # Cut out here, so that a worker is not sent the rest.
                cut = [
                    table[subset if order is None else order[subset]]
                    for table, order in zip(tables, orders, strict=True)
                ]
                for measure in chosen:
                    yield GroupComparison(cut, [None] * len(cut), (), measure)


def _pairs(
    measure: ChosenMeasure,
    keys: Sequence[tuple[Any, ...]],
    columns: Sequence[str],
    whole: np.ndarray,
    drawn: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """Give the columns of each pair, from the RDM of all stimuli and those of subsets."""
    if measure.measure.direction == "similarity":
        whole, drawn = 1 - whole, 1 - drawn
    mean = drawn.mean(axis=0)
    sd = drawn.std(axis=0, ddof=1) if len(drawn) > 1 else np.full(mean.shape, np.nan)
    for i, first in enumerate(keys):
        for j, second in enumerate(keys):
            if i < j or (i > j and not measure.measure.is_symmetric):
                yield {
                    **dict(zip(columns, (*first, *second), strict=True)),
                    "mean": mean[i, j],
                    "sd": sd[i, j],
                    "full": whole[i, j],
                    "bias": mean[i, j] - whole[i, j],
                }


def _check_sizes(sizes: Any, chosen: Sequence[ChosenMeasure]) -> list[int]:
    listed = check_sequence(sizes, argument="sizes", of="numbers of stimuli")
    if not listed:
        raise ValueError("`sizes` is empty; name at least one number of stimuli.")
    checked = [check_count(size, argument="sizes", minimum=2) for size in listed]
    if len(set(checked)) < len(checked):
        raise ValueError(f"`sizes` has a number more than once: {checked}.")
    for measure in chosen:
        if min(checked) < measure.minimum:
            raise ValueError(
                f"`sizes` has {min(checked)}, but '{measure.name}' needs at least"
                f" {measure.minimum} stimuli."
            )
    return checked
