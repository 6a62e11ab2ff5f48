"""Consistency of models' similarity as a stack of RDMs whose entries are the datasets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import (
    check_name,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis.dissimilarity import check_metrics
from pytorch_feature_analysis.meta_frame import GroupPlan, assemble
from pytorch_feature_analysis.model_pairs import Study, read_study
from pytorch_feature_analysis.resampling import METHODS, MINIMUM, dissimilarities
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms
from pytorch_feature_analysis.stack_schema import is_lineage


def get_consistency_rdms(
    similarity_stack: pd.DataFrame,
    model_table: pd.DataFrame | None = None,
    by: Sequence[str] | None = None,
    *,
    anchors: Sequence[Any] | None = None,
    method: str = "pearson",
    dataset_variable: str = "dataset",
    grouping_variables: Sequence[str] | str = "rest",
    intersect: bool = False,
    nan_policy: str = "pairwise",
    symmetrize: bool = False,
    out_fname: str | os.PathLike[str] | None = None,
    df_name: str = "consistency_rdm",
) -> pd.DataFrame:
    """Give the consistency of models' similarity as RDMs whose entries are the datasets.

    Parameters
    ----------
    similarity_stack, model_table, by, anchors, method, dataset_variable, grouping_variables, \
intersect, nan_policy, symmetrize
        As in `get_consistency`.
    out_fname : path, optional
        File for the result, see `write_rdms`.
    df_name : str, default 'consistency_rdm'
        Name of the result.

    Returns
    -------
    DataFrame
        A row per measure and pair of sets, with the columns of `get_meta_rdms`, of which
        ``matrix`` is 1 - r, ``dissim_metric`` 'corr' or 'spearman', and ``entry_keys_sub`` the
        models of both sets; and with ``by``, ``set_1`` and ``set_2`` as in `get_consistency`.
        The rows by 'all' are those of ``get_meta_rdms(similarity_stack, None, ['dataset'])``.

    Raises
    ------
    ValueError
        As `get_consistency` does.

    Warns
    -----
    UserWarning
        Names the pairs of sets with a cell that is NaN; `get_consistency` gives the reasons.

    See Also
    --------
    get_consistency : The same as a table, with intervals.

    Examples
    --------
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
    >>> third = pfa.get_consistency_rdms(stack, anchors=["b"])
    >>> third.loc[0, ["set_1", "set_2", "entry_keys"]].tolist()
    ['b', 'all', (('cars',), ('pets',), ('flowers',))]
    >>> third["matrix"][0].round(12)
    array([[0., 0., 2.],
           [0., 0., 2.],
           [2., 2., 0.]])
    """
    check_name(method, METHODS, argument="method", what="method")
    check_text(df_name, argument="df_name")
    if out_fname is not None:
        check_stack_path(out_fname, argument="out_fname")
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
    plans, names, members = [], [], []
    for table in study.tables:
        everything = [("all", list(range(len(table.rows))))]
        scrambles = [(tuple(range(len(table.models))),) * len(table.rows)]
        for sets in study.sets.pairs_among(table.models):
            matrix = dissimilarities(table.of(sets), method)
            rdms = [(matrix, greedy_order(matrix, symmetric=True))]
            orders: list[np.ndarray | None] = list(table.orders)
            plans.append(GroupPlan(table.group, everything, orders, scrambles, rdms))
            names.append((sets.by, sets.set_1, sets.set_2))
            used = np.unique(np.r_[(*sets.strata.values(), sets.first, sets.second)])
            members.append(table.orders[0][used].tolist())
    stack = _third_order(study, plans, members, method, df_name)
    for name, cells in zip(("by", "set_1", "set_2"), zip(*names, strict=True), strict=True):
        stack[name] = object_series(list(cells)).infer_objects()
    if out_fname is not None:
        save_or_rescue(partial(write_rdms, stack), out_fname)
    _warn_of_undefined(stack)
    return stack


def _third_order(
    study: Study,
    plans: Sequence[GroupPlan],
    members: Sequence[Sequence[int]],
    method: str,
    df_name: str,
) -> pd.DataFrame:
    """Assemble the stack; `members` are places of each row's models in its group's first RDM."""
    cells = {name: study.stack[name].tolist() for name in study.stack.columns if is_lineage(name)}
    metrics = check_metrics([METHODS[method]])
    variables = [study.dataset_variable]
    stack = assemble(study.stack, cells, plans, metrics, variables, study.grouping, [], df_name)
    for name in ("entry_keys_sub", "entry_labels_sub"):
        taken = [
            tuple(own[place] for place in places)
            for own, places in zip(stack[name], members, strict=True)
        ]
        stack[name] = object_series(taken)
    return stack


def _warn_of_undefined(stack: pd.DataFrame) -> None:
    undefined = {
        f"{by}: {set_1!r} with {set_2!r}": None
        for by, set_1, set_2, matrix in zip(
            stack["by"], stack["set_1"], stack["set_2"], stack["matrix"], strict=True
        )
        if np.isnan(matrix[~np.eye(len(matrix), dtype=bool)]).any()
    }
    if undefined:
        shown = list(undefined)[:5]
        more = f" and {len(undefined) - 5} more" if len(undefined) > 5 else ""
        warnings.warn(
            f"Consistency is NaN within {'; '.join(shown)}{more}: fewer than {MINIMUM} pairs of"
            " models, or pairs that are all equally similar. `get_consistency` says which.",
            stacklevel=3,
        )
