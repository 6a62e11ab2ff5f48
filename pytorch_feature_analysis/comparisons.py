"""Representations compared by any measure of similarity: a stack, as of any other RDMs."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from pytorch_feature_analysis._cells import object_series
from pytorch_feature_analysis._checks import check_name, check_random_state, check_sequence
from pytorch_feature_analysis._files import save_or_rescue
from pytorch_feature_analysis._parallel import NumCores, check_num_cores, parallel_map
from pytorch_feature_analysis._threads import blas_threads, in_threads, n_blas_threads
from pytorch_feature_analysis.activation_schema import check_activations
from pytorch_feature_analysis.meta_frame import GroupPlan, assemble
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words
from pytorch_feature_analysis.regroup import (
    align,
    check_grouping,
    check_groups,
    check_variables,
    make_groups,
    row_keys,
)
from pytorch_feature_analysis.selection import greedy_order
from pytorch_feature_analysis.similarity import MEASURES, Measure
from pytorch_feature_analysis.stack_files import check_stack_path, write_rdms
from pytorch_feature_analysis.stack_schema import is_lineage

# What else has dissimilarities that are one less a similarity.
_ONE_LESS = ("corr", "cosine", "spearman", "minibatch_cka")


def get_similarity_rdms(
    activations_df: pd.DataFrame,
    measures: Sequence[Any] = ("linear_cka",),
    entry_variables: Sequence[str] = ("layer",),
    grouping_variables: Sequence[str] | str = "rest",
    *,
    out_fname: str | os.PathLike[str] | None = None,
    df_name: str = "similarity_rdm",
    keep_variables: Sequence[str] = (),
    num_cores: NumCores = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare representations by measures of similarity: a stack like that of `get_meta_rdms`.

    The rows of the frame fall into groups by the `grouping_variables`. Each group gives, for each
    measure, an RDM whose entries are the group's rows, told apart by the `entry_variables`.

    Parameters
    ----------
    activations_df : DataFrame
        A frame of `get_activations`, or of one's own: ``activations`` (n_stimuli, n_units),
        ``entry_keys`` (the stimuli), and the columns named below. It is not changed.
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
    keep_variables : list of str, default none
        Further columns to carry; each must be constant within a group.
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

    Notes
    -----
    What depends on one representation alone (its Gram matrix, singular vectors, ranks) is made
    once, and shared by all pairs. All of a group is in memory at the same time, in float64.

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
    chosen = _check_measures(measures)
    check_num_cores(num_cores)
    if not isinstance(df_name, str):
        raise TypeError(f"`df_name` must be a string, not {df_name!r}.")
    if out_fname is not None:
        check_stack_path(out_fname, argument="out_fname")
    frame = check_activations(activations_df)
    if frame.empty:
        raise ValueError("`activations_df` has no rows, so there is nothing to compare.")
    arrays = frame.pop("activations").tolist()
    entries = check_variables(
        frame, entry_variables, argument="entry_variables", empty=False, frame="activations_df"
    )
    grouping = check_grouping(
        frame, list(frame.columns), entries, grouping_variables, frame="activations_df"
    )
    kept = check_variables(
        frame, keep_variables, argument="keep_variables", frame="activations_df"
    )
    kept = [name for name in kept if name not in grouping and not is_lineage(name)]
    keys = row_keys(frame, entries, frame="activations_df")
    groups = make_groups(frame, keys, grouping, set(keys))
    check_groups(frame, groups, {*entries, *grouping}, kept)
    cells = {name: frame[name].tolist() for name in frame.columns if is_lineage(name)}
    items = []
    plans = []
    for group in groups:
        orders = align(group, cells["entry_keys"], cells["entry_labels"], what="activations")
        tables = [arrays[k] for k in group.positions]
        _check_tables(tables, group.name, group.entry_keys, chosen)
        scramble = tuple(range(len(tables[0])))
        everything = [("all", list(range(len(tables))))]
        plans.append(GroupPlan(group, everything, orders, [(scramble,) * len(tables)]))
        items += [(tables, orders, measure) for measure in chosen]
    _warn_of_width(plans, arrays, chosen)
    matrices = parallel_map(
        _compare,
        items,
        num_cores=num_cores,
        progress=progress and len(items) > 1,
        description="similarities",
    )
    for number, plan in enumerate(plans):
        own = matrices[number * len(chosen) : (number + 1) * len(chosen)]
        plan.rdms.extend((matrix, greedy_order(matrix)) for matrix in own)
    stack = assemble(frame, cells, plans, chosen, entries, grouping, kept, df_name)
    if any(measure.rdm_metric is not None for measure in chosen):
        subs = [measure.rdm_metric for _ in plans for measure in chosen]
        place = list(stack.columns).index("dissim_metric") + 1
        stack.insert(place, "dissim_metric_sub", object_series(subs, stack.index))
    if out_fname is not None:
        save_or_rescue(partial(write_rdms, stack), out_fname)
    return stack


def to_similarity(stack: pd.DataFrame, measures: Sequence[Any] = ()) -> pd.DataFrame:
    """Turn the dissimilarities ``1 - s`` of a stack back into the similarities s.

    Parameters
    ----------
    stack : DataFrame
        Rows of `get_similarity_rdms` whose measure is a similarity, or of `get_meta_rdms` or
        `get_rdms` by 'corr', 'cosine' or 'spearman'. It is not changed.
    measures : list of Measure, default none
        Measures of one's own that the stack was made with.

    Returns
    -------
    DataFrame
        A new frame with the similarities in ``matrix``.

    Raises
    ------
    ValueError
        Rows whose measure is a distance, of which there is no similarity, or is not known.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> stack = pd.DataFrame({
    ...     "dissim_metric": ["linear_cka(debiased=True)"],
    ...     "matrix": [np.array([[0, 0.25], [0.25, 0]])],
    ...     "entry_keys": [["conv1", "conv2"]],
    ... })
    >>> pfa.to_similarity(stack)["matrix"][0].tolist()
    [[1.0, 0.75], [0.75, 1.0]]
    """
    checked = checked_stack(stack, columns=["dissim_metric"], argument="stack")
    names = dict.fromkeys(checked["dissim_metric"])
    wrong = [name for name in names if not is_one_less(name, measures)]
    if wrong:
        raise ValueError(
            f"`stack` has rows by {in_words(wrong)}, whose matrices are not 1 less a similarity"
            " that is known here; leave them out with `df_filter`."
        )
    result = stack.copy(deep=False)
    similarities = [1 - matrix for matrix in checked["matrix"]]
    for matrix in similarities:
        matrix.flags.writeable = False
    result["matrix"] = object_series(similarities, result.index)
    return result


def is_one_less(dissim_metric: Any, measures: Sequence[Measure] = ()) -> bool:
    """Tell whether dissimilarities by this name are 1 less a similarity that is known."""
    known = {**MEASURES, **{measure.name: measure for measure in measures}}
    base = str(dissim_metric).partition("(")[0]
    return base in _ONE_LESS or (base in known and known[base].direction == "similarity")


@dataclass(frozen=True)
class _Chosen:
    """A measure that was asked for, with its options."""

    measure: Measure
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rdm_metric(self) -> str | None:
        """Name of the metric of the RDMs that are compared, where it is a comparison of RDMs."""
        if self.measure.name != "rsa":
            return None
        metric = self.options.get("rdm_metric", "corr")
        return metric if isinstance(metric, str) else str(metric[0])

    @property
    def name(self) -> str:
        """As it is written into the column `dissim_metric`."""
        shown = {key: value for key, value in self.options.items() if key != "rdm_metric"}
        if not shown:
            return self.measure.name
        return f"{self.measure.name}({', '.join(f'{k}={shown[k]}' for k in sorted(shown))})"

    @property
    def minimum(self) -> int:
        """Fewest stimuli."""
        return max(self.measure.minimum, 4 if self.options.get("debiased") else 2)

    @property
    def saturates(self) -> bool:
        """Whether it is near its best for any data that have more units than stimuli."""
        return self.measure.saturates and not self.options.get("debiased")


def _check_measures(measures: Any) -> list[_Chosen]:
    listed = check_sequence(measures, argument="measures", of="measures")
    if not listed:
        raise ValueError(f"`measures` names none; there are: {', '.join(sorted(MEASURES))}.")
    chosen = [_as_chosen(spec) for spec in listed]
    names = [(one.name, one.rdm_metric) for one in chosen]
    twice = [name for name, _ in dict.fromkeys(names) if [n for n, _ in names].count(name) > 1]
    if len(set(names)) < len(names):
        raise ValueError(f"`measures` names {in_words(twice)} more than once.")
    return chosen


def _as_chosen(spec: Any) -> _Chosen:
    if isinstance(spec, Measure):
        return _Chosen(spec)
    name, extra = spec, {}
    if isinstance(spec, (tuple, list)):
        if len(spec) != 2:
            raise ValueError(
                f"`measures` takes names, (name, options) and (name, function), not {spec!r}."
            )
        name, extra = spec
    if callable(extra):
        # What stands before a bracket is what `to_similarity` goes by.
        if not isinstance(name, str) or name.partition("(")[0] in {*MEASURES, *_ONE_LESS}:
            raise ValueError(
                f"`measures`: {name!r} cannot be the name of a function of your own; take a string"
                f" that begins with none of the names in MEASURES, nor with {_ONE_LESS}."
            )
        return _Chosen(_own(name, extra))
    check_name(name, MEASURES, argument="measures", what="measure")
    if not isinstance(extra, Mapping):
        raise TypeError(
            f"`measures`: behind '{name}' there must be a dict of options or a function, not"
            f" {extra!r}."
        )
    options = dict(extra)
    known = [
        option
        for option in inspect.signature(MEASURES[name].function).parameters
        if option not in ("x", "y")
    ]
    for option in options:
        check_name(option, known, argument="measures", what="option", owner=f" of '{name}'")
    if "random_state" in options:
        # One seed, whatever the pair.
        options["random_state"] = check_random_state(options["random_state"])
    return _Chosen(MEASURES[name], options)


def _own(name: str, function: Callable[[np.ndarray, np.ndarray], float]) -> Measure:
    return Measure(
        name,
        function,
        _as_it_is,
        function,
        direction="distance",
        value_range=(-np.inf, np.inf),
        ignores=(),
        needs="what its author says",
    )


def _as_it_is(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def _check_tables(
    tables: Sequence[np.ndarray], group: str, keys: Sequence[Any], chosen: Sequence[_Chosen]
) -> None:
    for key, table in zip(keys, tables, strict=True):
        n_undefined = int((~np.isfinite(table)).sum())
        if n_undefined:
            raise ValueError(
                f"`activations_df`: the activations of {key!r}{group} hold {n_undefined} values"
                " that are NaN or infinite; leave out these units or stimuli, or the row."
            )
    for measure in chosen:
        if len(tables[0]) < measure.minimum:
            raise ValueError(
                f"`measures`: '{measure.name}' needs at least {measure.minimum} stimuli, and the"
                f" activations{group} have {len(tables[0])}."
            )


def _warn_of_width(
    plans: Sequence[GroupPlan], arrays: Sequence[np.ndarray], chosen: Sequence[_Chosen]
) -> None:
    saturating = [measure.name for measure in chosen if measure.saturates]
    if not saturating:
        return
    wide = {
        f"{key!r}{plan.group.name} ({arrays[k].shape[1]} units, {len(arrays[k])} stimuli)": None
        for plan in plans
        for key, k in zip(plan.group.entry_keys, plan.group.positions, strict=True)
        if arrays[k].shape[1] >= len(arrays[k])
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


def _compare(
    item: tuple[Sequence[np.ndarray], Sequence[np.ndarray | None], _Chosen],
) -> np.ndarray:
    """RDM of a group's representations by one measure."""
    tables, orders, chosen = item
    measure, options = chosen.measure, chosen.options

    def prepare(place: int) -> Any:
        table, order = tables[place], orders[place]
        x = np.array(table if order is None else table[order], dtype=np.float64)
        return measure.prepare(x, **options)

    n_threads = n_blas_threads()
    # Decompositions are faster side by side than each in several threads.
    with blas_threads(1):
        prepared = in_threads(prepare, range(len(tables)), n_threads)
    values = measure.all_pairs(prepared, **options)
    rdm: np.ndarray = 1 - values if measure.direction == "similarity" else values
    if measure.is_symmetric:
        # What is left of it is rounding.
        rdm = (rdm + rdm.T) / 2
        np.fill_diagonal(rdm, 0)
    return rdm
