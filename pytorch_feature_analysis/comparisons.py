"""Representations compared by any measure of similarity: a stack, as of any other RDMs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, parallel_map
from pytorch_feature_analysis.activation_groups import ActivationGroups, group_activations
from pytorch_feature_analysis.chosen_measures import ChosenMeasure, check_measures
from pytorch_feature_analysis.group_comparison import GroupComparison, compare_group
from pytorch_feature_analysis.meta_frame import GroupPlan, assemble
from pytorch_feature_analysis.rdm_comparison import Scrambles
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms


def get_similarity_rdms(
    activations_df: pd.DataFrame,
    measures: Sequence[Any] = ("linear_cka",),
    entry_variables: Sequence[str] = ("layer",),
    grouping_variables: Sequence[str] | str = "rest",
    *,
    out_fname: str | os.PathLike[str] | None = None,
    df_name: str = "similarity_rdm",
    num_perms: int = 0,
    keep_variables: Sequence[str] = (),
    random_state: RandomState = 0,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare representations by measures of similarity: a stack like that of `get_meta_rdms`.

    The rows of the frame fall into groups by the `grouping_variables`. Each group gives, for each
    measure, an RDM whose entries are the group's rows, told apart by the `entry_variables`.

    Parameters
    ----------
    activations_df : DataFrame
        A frame of `get_activations` or `read_activations`, or of one's own: ``activations``
        (n_stimuli, n_units), ``entry_keys`` (the stimuli), and the columns named below. It is not
        changed.
    measures : list, default ``['linear_cka']``
        Names of `MEASURES`; names with options, as ``('linear_cka', {'debiased': True})``; or
        ``(name, function)``, where ``function(x, y)`` gives a symmetric distance of two arrays.
    entry_variables : list of str, default ``['layer']``
        Columns whose values are the entry key of a row: layers, models, or both.
    grouping_variables : list of str or 'rest', default 'rest'
        Columns that tell the groups apart, as in `get_meta_rdms`.
    out_fname : path, optional
        File for the result, see `write_rdms`.
    df_name : str, default 'similarity_rdm'
        Name of the result.
    num_perms : int, default 0
        How many times to compare again with the stimuli of each representation shuffled, for
        `calibrate_similarity`.
    keep_variables : list of str, default none
        Further columns to carry; each must be constant within a group.
    random_state : int, numpy Generator or None, default 0
        Seed of the shuffles, which are those of `get_meta_rdms`.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar where there is more than one group or measure.

    Returns
    -------
    DataFrame
        A row per group and measure with the columns of `get_meta_rdms`. ``dissim_metric`` is the
        measure with its options, as in ``'linear_cka(debiased=True)'``; for 'rsa',
        ``dissim_metric_sub`` is the metric of its RDMs. ``entry_keys_sub`` are the stimuli.
        ``matrix`` holds distances as they are, and ``1 - s`` for a similarity s, which
        `to_similarity` gives back. Measures that are not symmetric keep both directions: row
        ``i``, column ``j`` is the measure of i and j, in this order.

    Raises
    ------
    ValueError
        An unknown measure or option; two rows of a group with the same entry key, or over other
        stimuli (another order is put in that of the group's first row); values that are NaN or
        infinite; too few stimuli for a measure.

    Warns
    -----
    UserWarning
        Once, names representations with as many units as stimuli or more, where a measure is near
        its best for any data.

    See Also
    --------
    MEASURES : What each measure ignores, its range and direction.
    to_similarity : From distances back to similarities.
    calibrate_similarity : Beside chance, with `num_perms`.

    Notes
    -----
    What depends on one representation alone (its Gram matrix, singular vectors, ranks) is made
    once, and shared by all pairs. All of a group is in memory at the same time, in float64; but
    for 'linear_cka' it stays as it is (in memory, or mapped), and parts of it, a gigabyte at most,
    are made float64.

    A representation that is the same for all stimuli has NaN in its row and column.

    Examples
    --------
    Two layers and one that is the first, rotated:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 20, 2))
    >>> df = pd.DataFrame({
    ...     "layer": ["conv1", "conv2", "fc1"],
    ...     "activations": [a, b, a @ [[0, 1], [-1, 0]]],
    ...     "entry_keys": [list(range(20))] * 3,
    ... })
    >>> stack = pfa.get_similarity_rdms(df, ["procrustes_distance", ("svcca", {"n_dims": 1})])
    >>> stack["dissim_metric"].tolist()
    ['procrustes_distance', 'svcca(n_dims=1)']
    >>> np.abs(stack["matrix"][0].round(2))
    array([[0.  , 0.97, 0.  ],
           [0.97, 0.  , 0.97],
           [0.  , 0.97, 0.  ]])
    """
    chosen = check_measures(measures)
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    root = check_random_state(random_state)
    check_num_cores(num_cores)
    check_text(df_name, argument="df_name")
    if out_fname is not None:
        check_stack_path(out_fname, argument="out_fname")
    grouped = group_activations(
        activations_df, chosen, entry_variables, grouping_variables, keep_variables
    )
    scrambles = Scrambles(root, num_perms)
    items = []
    plans = []
    for group, tables, orders in zip(grouped.groups, grouped.tables, grouped.orders, strict=True):
        everything = [("all", list(range(len(tables))))]
        stimuli = grouped.cells["entry_keys"][group.positions[0]]
        numbered = scrambles.of(stimuli, group.entry_keys)
        plans.append(GroupPlan(group, everything, orders, numbered))
        items += [GroupComparison(tables, orders, numbered[1:], measure) for measure in chosen]
    _warn_of_width(grouped, chosen)
    compared = parallel_map(
        compare_group,
        items,
        num_cores=num_cores,
        progress=progress and len(items) > 1,
        description="similarities",
    )
    for number, plan in enumerate(plans):
        own = compared[number * len(chosen) : (number + 1) * len(chosen)]
        for matrices in zip(*own, strict=True):
            plan.rdms.extend((matrix, greedy_order(matrix)) for matrix in matrices)
    stack = assemble(
        grouped.frame,
        grouped.cells,
        plans,
        chosen,
        grouped.entries,
        grouped.grouping,
        grouped.kept,
        df_name,
    )
    if any(measure.rdm_metric is not None for measure in chosen):
        subs = [measure.rdm_metric for plan in plans for measure in chosen for _ in plan.scrambles]
        place = list(stack.columns).index("dissim_metric") + 1
        stack.insert(place, "dissim_metric_sub", object_series(subs, stack.index))
    if out_fname is not None:
        save_or_rescue(partial(write_rdms, stack), out_fname)
    return stack


def _warn_of_width(grouped: ActivationGroups, chosen: Sequence[ChosenMeasure]) -> None:
    saturating = [measure.name for measure in chosen if measure.saturates]
    if not saturating:
        return
    wide = {
        f"{key!r}{group.name} ({table.shape[1]} units, {len(table)} stimuli)": None
        for group, tables in zip(grouped.groups, grouped.tables, strict=True)
        for key, table in zip(group.entry_keys, tables, strict=True)
        if table.shape[1] >= len(table)
    }
    if wide:
        shown = list(wide)[:3]
        more = f" and {len(wide) - 3} more" if len(wide) > 3 else ""
        warnings.warn(
            f"{', '.join(saturating)}: with as many units as stimuli or more, unrelated"
            f" representations look alike too. So have {'; '.join(shown)}{more}. Take more"
            " stimuli, or ('linear_cka', {'debiased': True}) or 'svcca' with few dimensions.",
            stacklevel=3,
        )
