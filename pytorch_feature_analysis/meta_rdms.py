"""RDMs of RDMs: a stack regrouped into a stack one order higher."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    check_text,
)
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, parallel_map
from pytorch_feature_analysis.dissimilarity import Metric, check_metrics
from pytorch_feature_analysis.entry_subsets import (
    EntryKey,
    check_entry_var_subsets,
)
from pytorch_feature_analysis.matrices import (
    check_symmetric,
    dead_items,
    mean_of_both,
    to_condensed,
)
from pytorch_feature_analysis.meta_frame import GroupPlan, assemble
from pytorch_feature_analysis.missing_cells import check_nan_policy, refuse_missing
from pytorch_feature_analysis.rdm_comparison import (
    Comparison,
    Missing,
    Scramble,
    Scrambles,
    compare,
)
from pytorch_feature_analysis.rdm_stack import checked_stack
from pytorch_feature_analysis.regroup import (
    align,
    check_grouping,
    check_groups,
    check_variables,
    make_groups,
    row_keys,
)
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms
from pytorch_feature_analysis.stack_schema import is_lineage

logger = logging.getLogger(__name__)

# Enough of them in one job that sending the matrices to a worker pays.
_SCRAMBLES_PER_JOB = 100


def get_meta_rdms(
    rdm_df: pd.DataFrame,
    out_fname: str | os.PathLike[str] | None,
    entry_variables: Sequence[str],
    entry_var_subsets: Sequence[tuple[str, Any]] = (("all", "all"),),
    grouping_variables: Sequence[str] | str = "rest",
    df_name: str = "meta_rdm",
    num_perms: int = 0,
    dissim_metrics: Sequence[Any] = ("corr",),
    *,
    keep_variables: Sequence[str] = (),
    nan_policy: str = "pairwise",
    symmetrize: bool = False,
    random_state: RandomState = 0,
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare the RDMs of a stack with each other: a stack of RDMs one order higher.

    The rows of the stack fall into groups by the `grouping_variables`. Each group gives an RDM
    whose entries are the group's rows, told apart by the `entry_variables`; a cell is the
    dissimilarity of two rows' RDMs, that is, of the cells above their diagonals. What comes out
    is a stack like what went in, and can be filtered, drawn, saved and compared again.

    Parameters
    ----------
    rdm_df : DataFrame
        A stack, from `get_rdms`, from here, or of one's own (the columns ``matrix`` and
        ``entry_keys``, and those named below). It is not changed.
    out_fname : path or None
        File for the result, ``.parquet``, ``.p`` or ``.pkl``, see `write_rdms`; None writes
        nothing.
    entry_variables : list of str
        Columns whose values, in this order, are the entry key of a row. Entries stand in the
        order of the stack's rows.
    entry_var_subsets : list of (str, entries), default ``[('all', 'all')]``
        Names and the entries of further RDMs: ``'all'``, a list of entry keys, a list of values
        where there is one entry variable, or a dict from entry variables to the values (or list
        of values) to take, such as ``('convs', {'layer': ['conv1', 'conv2']})``. The RDM of a
        subset is that part of the RDM of all entries named, in the order of the rows. A group
        without any entry of a subset gives no row for it.
    grouping_variables : list of str or 'rest', default 'rest'
        Columns that tell the groups apart (none: one group). ``'rest'`` takes every column but
        those that follow from others, see Notes.
    df_name : str, default 'meta_rdm'
        Name of the result.
    num_perms : int, default 0
        How many times to compare the RDMs again with the items of each shuffled, rows and columns
        alike.
    dissim_metrics : list, default ``['corr']``
        As in `compute_rdm`.
    keep_variables : list of str, default none
        Further columns to carry, such as ``'layer_num'``; each must be constant within a group.
    nan_policy : {'pairwise', 'omit', 'raise'}, default 'pairwise'
        What happens to missing dissimilarities (NaN or infinite). 'pairwise': each two RDMs are
        compared on the cells that both have. 'omit': entries that are dead (without any finite
        dissimilarity) in any RDM of a group, and cells that any lacks, are left out for all of
        the group. 'raise': an error that names rows and counts.
    symmetrize : bool, default False
        Take the mean of an RDM that is not symmetric (of 'pwcca', say) and its transpose, instead
        of refusing it.
    random_state : int, numpy Generator or None, default 0
        Seed of the shuffles.
    num_cores : int, None or 'na', default None
        Workers; None leaves it to `joblib.parallel_config`.
    progress : bool, default True
        Show a bar where there is more than one group.

    Returns
    -------
    DataFrame
        A row per group (sorted by the grouping variables), subset, metric and shuffle, with the
        columns in alphabetical order, those of `keep_variables` behind them:

        grouping variables
            Their values. A reserved name gains ``_sub``: ``dissim_metric`` becomes
            ``dissim_metric_sub``, that becomes ``dissim_metric_sub_sub``. Reserved are
            ``perm``, ``perm_scramble``, ``df_name``, ``dissim_metric``, ``entry_keys``,
            ``entry_labels``, ``entry_var_subset``, and these with ``_sub`` any number of times.
        df_name, dissim_metric, entry_var_subset : str
            As given, the name of the metric, and the name of the subset.
        dissim_rankings : tuple of int
            Entries by how different they are, see `get_extreme_dissims_total`.
        entry_keys, entry_labels : tuple
            The values of the entry variables; the same as dicts ``{entry variable: value}``.
        entry_keys_sub, entry_labels_sub, entry_keys_sub_sub, ... : tuple
            The entries of the RDMs that were compared, and of every level below. Where levels
            farther below differ between the entries (models compared on the images of one data
            set each, then data sets compared), one such tuple per entry.
        matrix : ndarray (n_entries, n_entries), read-only
            Larger is more different.
        perm : 'orig_data' or int
            The number of the shuffle, from 1 to `num_perms`.
        perm_scramble : tuple of tuple of int
            With `num_perms` only: per entry the order in which its RDM's items were taken,
            ``0, 1, 2, ...`` for 'orig_data'.

    Raises
    ------
    ValueError
        Where two rows of a group have the same entry key; where their RDMs are not over the same
        set of entries (another order is put in that of the group's first row, by key); where a
        reserved column varies within a group; where an RDM is not symmetric; and where cells are
        missing with 'raise'.

    Warns
    -----
    UserWarning
        Names the entries for which no dissimilarity is defined, such as RDMs whose cells are all
        equal under ``'corr'``: NaN in their row and column.

    See Also
    --------
    rdm_mds : Draw a row.
    subset_rdm_df : Take some entries of a stack.

    Notes
    -----
    **Missing cells.** A cell that is not finite is missing. By default items without any finite
    dissimilarity (a dead item: the same pattern constant in a layer, say) are left out of the
    comparison of every pair of RDMs in either of which they are dead, and so are single missing
    cells; with 'omit', of all comparisons of their group, so that all cells of a result are of
    the same pairs of items, and shuffles are among the items that are left. A log line counts
    them. A distance such as ``'euclidean_distance'`` runs over the cells that are left, and is
    not scaled up. A pair without common cells is NaN.

    **Triangles.** Only what lies above the diagonal is compared. Without missing cells all
    RDMs of a group are compared in one matrix product. A group with one entry gives a 1 x 1 RDM,
    and a log line.

    **Shuffles.** The shuffle of an entry follows from `random_state`, its number, the entry's key
    and the keys of its items: it is the same in all groups, metrics and subsets (so that a
    maximum over layers has its null distribution), and does not depend on what else is in the
    stack.

    **The rest.** ``'rest'`` is every column but the entry variables; ``matrix``,
    ``dissim_rankings``, ``perm_scramble`` and the entries of all levels; where rows came from (the
    columns of `read_rdms` with ``provenance=True``); columns that vary within the groups, and
    follow from the entry variables (an object's category, when objects are the entries), alone or
    together with the other columns (a layer's depth in its model); and ``layer_num``,
    ``layer_label`` and ``kernel_inds``, which say in other words what the layer and the kernel
    set are. ``model``, ``activation_type``, ``kernel_set_name`` and the reserved names always
    tell groups apart, unless they are entry variables. A log line at level INFO names what was
    left out.

    References
    ----------
    Kriegeskorte, Mur and Bandettini (2008), Frontiers in Systems Neuroscience 2:4,
    doi:10.3389/neuro.06.004.2008.

    Examples
    --------
    Three layers, each with the RDM of three images; the second is the first stretched, the third
    turns it round:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> def rdm(ab, ac, bc):
    ...     return np.array([[0.0, ab, ac], [ab, 0.0, bc], [ac, bc, 0.0]])
    >>> stack = pd.DataFrame({
    ...     "model": "alexnet",
    ...     "layer": ["conv1", "conv2", "fc1"],
    ...     "matrix": [rdm(1, 2, 3), rdm(2, 4, 6), rdm(3, 2, 1)],
    ...     "entry_keys": [(("a",), ("b",), ("c",))] * 3,
    ... })
    >>> meta = pfa.get_meta_rdms(stack, None, ["layer"], progress=False)
    >>> meta["entry_keys"][0]
    (('conv1',), ('conv2',), ('fc1',))
    >>> meta["matrix"][0].round(12)
    array([[0., 0., 2.],
           [0., 0., 2.],
           [2., 2., 0.]])
    """
    metrics = check_metrics(dissim_metrics)
    check_nan_policy(nan_policy)
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    root = check_random_state(random_state)
    check_num_cores(num_cores)
    check_text(df_name, argument="df_name")
    if out_fname is not None:
        check_stack_path(out_fname, argument="out_fname")
    stack = checked_stack(rdm_df)
    if stack.empty:
        raise ValueError("`rdm_df` has no rows, so there is nothing to compare.")
    entries = check_variables(stack, entry_variables, argument="entry_variables", empty=False)
    grouping = check_grouping(stack, list(rdm_df.columns), entries, grouping_variables)
    kept = check_variables(stack, keep_variables, argument="keep_variables")
    kept = [name for name in kept if name not in grouping and not is_lineage(name)]

    keys = row_keys(stack, entries)
    subsets = check_entry_var_subsets(entry_var_subsets, keys, entries)
    wanted = {key for key in keys if any(subset.of([key]) for subset in subsets)}
    groups = make_groups(stack, keys, grouping, wanted)
    check_groups(stack, groups, {*entries, *grouping}, kept)

    cells = {
        name: stack[name].tolist()
        for name in stack.columns
        if name == "matrix" or is_lineage(name)
    }
    used = sorted(k for group in groups for k in group.positions)
    for k in used:
        if symmetrize:
            cells["matrix"][k] = mean_of_both(cells["matrix"][k])
        else:
            what = f"The matrix in row {rdm_df.index[k]!r} of `rdm_df`"
            check_symmetric(cells["matrix"][k], what=what, one_sided=True)
    refuse_missing(
        nan_policy,
        (to_condensed(cells["matrix"][k]) for k in used),
        owner="`rdm_df`",
        names=[f"row {rdm_df.index[k]!r}" for k in used],
    )
    scrambles = Scrambles(root, num_perms)
    plans = []
    for group in groups:
        items = cells["entry_keys"][group.positions[0]]
        parts = [(subset.name, subset.of(group.entry_keys)) for subset in subsets]
        plans.append(
            GroupPlan(
                group,
                [(name, members) for name, members in parts if members],
                align(group, cells["entry_keys"], cells["entry_labels"]),
                scrambles.of(items, group.entry_keys),
            )
        )
    missing = _compare_all(plans, cells["matrix"], metrics, nan_policy, num_cores, progress)
    _report(plans, missing, entries, grouping, nan_policy)

    meta_df = assemble(stack, cells, plans, metrics, entries, grouping, kept, df_name)
    if out_fname is not None:
        save_or_rescue(partial(write_rdms, meta_df), out_fname)
    _warn_of_undefined(meta_df)
    return meta_df


def _compare_all(
    plans: Sequence[GroupPlan],
    matrices: Sequence[np.ndarray],
    metrics: list[Metric],
    nan_policy: str,
    num_cores: NumCores,
    progress: bool,
) -> list[Missing]:
    """Fill in the RDMs of all groups; what their entries lack."""
    comparisons, owners = [], []
    for plan in plans:
        own = [matrices[k] for k in plan.group.positions]
        members = [found for _, found in plan.subsets]
        # Number 0 is the identity.
        numbered: list[tuple[Scramble, ...] | None] = [None, *plan.scrambles[1:]]
        for start in range(0, len(numbered), _SCRAMBLES_PER_JOB):
            some = numbered[start : start + _SCRAMBLES_PER_JOB]
            comparisons.append(Comparison(own, plan.orders, some, members, metrics, nan_policy))
            owners.append(plan)
    results = parallel_map(
        compare,
        comparisons,
        num_cores=num_cores,
        progress=progress and len(comparisons) > 1,
        description="meta-RDMs",
    )
    for plan, result in zip(owners, results, strict=True):
        plan.rdms.extend(result.rdms)
    return [result.missing for result in results]


def _report(
    plans: Sequence[GroupPlan],
    missing: Sequence[Missing],
    entry_variables: Sequence[str],
    grouping: Sequence[str],
    nan_policy: str,
) -> None:
    """Log what was left out of the comparisons, and groups in which there was none."""
    rdms = sum(part.rdms for part in missing)
    if rdms:
        logger.warning(
            "%d of %d RDMs have missing cells: left out, %s, are %d items without any"
            " finite dissimilarity, and %d further cells.",
            rdms,
            sum(len(plan.group.positions) for plan in plans),
            "for all RDMs of a group" if nan_policy == "omit" else "pair by pair",
            sum(part.items for part in missing),
            sum(part.cells for part in missing),
        )
    alone = [plan for plan in plans if len(plan.group.positions) == 1]
    if alone:
        logger.warning(
            "%d of %d groups by %s have a single entry by %s: nothing is compared in them.",
            len(alone),
            len(plans),
            list(grouping),
            list(entry_variables),
        )


def _warn_of_undefined(meta_df: pd.DataFrame) -> None:
    """Warn once about all cells off the diagonals that have no value."""
    n_cells = n_rdms = 0
    undefined: dict[tuple[str, EntryKey], None] = {}
    for matrix, keys, metric in zip(
        meta_df["matrix"], meta_df["entry_keys"], meta_df["dissim_metric"], strict=True
    ):
        # Passes NaN on, and takes no second matrix.
        if not np.isnan(matrix.min()):
            continue
        found = int(np.isnan(matrix).sum() - np.isnan(np.diag(matrix)).sum())
        if found:
            n_cells, n_rdms = n_cells + found, n_rdms + 1
            undefined |= {(metric, keys[k]): None for k in np.flatnonzero(dead_items(matrix))}
    if n_cells:
        listed = ", ".join(f"{key!r} by {metric!r}" for metric, key in list(undefined)[:5])
        more = f" and {len(undefined) - 5} more" if len(undefined) > 5 else ""
        names = f", among them all of the entries {listed}{more}" if undefined else ""
        warnings.warn(
            f"{n_cells} cells of {n_rdms} meta-RDMs are NaN{names}: no dissimilarity is defined"
            " for an RDM whose cells are all equal, or for two without common cells.",
            stacklevel=3,
        )
