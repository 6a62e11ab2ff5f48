"""What an RDM is about: one of two factors, a category of its entries, a few of its conditions.

Three indices, each a contrast over a sum: tolerance (one factor against another), category (within
against between), and the selectivity of single units.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pytorch_feature_analysis._checks import (
    RandomState,
    check_count,
    check_random_state,
    child_generator,
)
from pytorch_feature_analysis.missing_cells import finite_or_nan
from pytorch_feature_analysis.rdm_stack import checked_stack, in_words

# Pairs times relabelings that are worked on at a time: 32 megabytes.
_CHUNK_ELEMENTS = 2**22
# A relabeling that only renames the categories counts as a hit, however its sums are rounded.
_ROUNDING = 1e-12

Labels = tuple[dict[str, Any], ...]


def compute_tolerances(input_df: pd.DataFrame, *, allow_missing: bool = False) -> pd.DataFrame:
    """Tolerance of each RDM to each of two crossed factors: which one its distances follow.

    With D the mean dissimilarity of pairs of entries that differ in the main factor alone, and S
    that of pairs that differ in the complementary factor alone, the tolerance to the complementary
    factor is ``(D - S) / (D + S)``.

    Parameters
    ----------
    input_df : DataFrame
        A stack of RDMs whose entries have two labels, such as those of `get_rdms` with the entry
        types ``('shape', 'color')``. Rows may differ in their factors. It is not changed.
    allow_missing : bool, default False
        Take designs in which combinations of the two factors have no entry, and average over the
        pairs that there are.

    Returns
    -------
    DataFrame
        A new frame with the rows and columns of `input_df` and, behind them,

        ``{factor}_tolerance`` : float
            For each of the two factors as the complementary one: +1 where the other dominates (the
            RDM does not see this factor), 0 where both weigh alike, -1 where this one dominates.
            The two are exact negatives. Within [-1, 1] where no dissimilarity is negative. NaN
            where D + S is 0, where no pair is left, and in rows that have not this factor.
        tolerance_missing_pairs : int
            Pairs, of those that D and S are means of, whose dissimilarity is missing (NaN or
            infinite). They are left out.

    Raises
    ------
    ValueError
        Entries with other than two labels, a factor with one level, missing combinations (all
        named); the message names the row.

    See Also
    --------
    category_index : Of one variable with any number of values.
    compute_etas : Factors that drive single units.

    Notes
    -----
    Only what lies above the diagonal is read, also of an RDM that is not symmetric. Several
    entries may share a combination; pairs within one count for neither mean.

    Examples
    --------
    Shapes are 3 apart, colours 1:

    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> keys = (("cup", "red"), ("cup", "blue"), ("pen", "red"), ("pen", "blue"))
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0, 1, 3, 4], [1, 0, 4, 3], [3, 4, 0, 1], [4, 3, 1, 0]])],
    ...     "entry_keys": [keys],
    ...     "entry_labels": [tuple({"shape": shape, "color": color} for shape, color in keys)],
    ... })
    >>> pfa.compute_tolerances(stack)[["color_tolerance", "shape_tolerance"]]
       color_tolerance  shape_tolerance
    0              0.5             -0.5
    """
    if not isinstance(allow_missing, bool):
        raise TypeError(f"`allow_missing` must be True or False, not {allow_missing!r}.")
    stack = checked_stack(input_df, argument="input_df")
    # Rows of one image set share their labels.
    designs: dict[int, tuple[tuple[str, str], np.ndarray, np.ndarray]] = {}
    columns: dict[str, list[float]] = {}
    missing = []
    for k, (matrix, labels) in enumerate(
        zip(stack["matrix"].tolist(), stack["entry_labels"].tolist(), strict=True)
    ):
        if id(labels) not in designs:
            row = f"`input_df`: the row at position {k} (index {stack.index[k]!r})"
            designs[id(labels)] = _crossing(labels, row, allow_missing)
        (first, second), first_differs, second_differs = designs[id(labels)]
        matrix = finite_or_nan(matrix)
        by_first, by_second = matrix[first_differs], matrix[second_differs]
        missing.append(int(np.isnan(by_first).sum() + np.isnan(by_second).sum()))
        index = _contrast(_nanmean(by_first), _nanmean(by_second))
        for comp, value in ((first, -index), (second, index)):
            column = columns.setdefault(f"{comp}_tolerance", [np.nan] * len(stack))
            # Adding 0 makes 0 of -0.
            column[k] = value + 0.0
    return _with_columns(input_df, {**columns, "tolerance_missing_pairs": missing})


def category_index(
    input_df: pd.DataFrame,
    variable: str,
    *,
    num_perms: int = 0,
    random_state: RandomState = 0,
) -> pd.DataFrame:
    """Compare dissimilarities between categories with those within them, for each RDM.

    The index is ``(between - within) / (between + within)`` of the two means over pairs of
    entries.

    Parameters
    ----------
    input_df : DataFrame
        A stack of RDMs. It is not changed.
    variable : str
        The entry label that is the category.
    num_perms : int, default 0
        Relabelings of the entries, drawn at random, for a p value.
    random_state : int, numpy Generator or None, default 0
        Seed of the relabelings. They follow from it and the categories of the entries: all RDMs of
        the same entries have the same ones.

    Returns
    -------
    DataFrame
        A new frame with the rows and columns of `input_df` and, behind them,

        ``{variable}_within``, ``{variable}_between`` : float
            The two means. Missing dissimilarities (NaN or infinite) are left out.
        ``{variable}_category_index`` : float
            0: no trace of the categories; 1: entries of one category are identical; negative:
            they are further apart than those of different ones. Within [-1, 1] where no
            dissimilarity is negative. NaN where both means are 0, or one has no pair.
        ``{variable}_p`` : float
            With `num_perms` only: ``(1 + hits) / (1 + num_perms)``, where hits are the
            relabelings with an index at least as large. One-sided: categories that draw entries
            together. NaN where the index is.

    Raises
    ------
    ValueError
        Entries without such a label, fewer than two categories, or none with two entries; the
        message names the row.

    See Also
    --------
    compute_tolerances : Of two crossed factors.
    categorical_rdm : Categories as a model RDM, for `compare_to_reference`.

    Notes
    -----
    Only what lies above the diagonal is read, also of an RDM that is not symmetric.

    References
    ----------
    Kriegeskorte, N. et al. (2008). Matching categorical object representations in inferior
        temporal cortex of man and monkey. Neuron 60, 1126-1141.
        https://doi.org/10.1016/j.neuron.2008.10.043

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import pytorch_feature_analysis as pfa
    >>> keys = (("cat", "animal"), ("dog", "animal"), ("cup", "thing"), ("pen", "thing"))
    >>> stack = pd.DataFrame({
    ...     "matrix": [np.array([[0, 1, 3, 3], [1, 0, 3, 3], [3, 3, 0, 1], [3, 3, 1, 0]])],
    ...     "entry_keys": [keys],
    ...     "entry_labels": [tuple({"name": name, "kind": kind} for name, kind in keys)],
    ... })
    >>> pfa.category_index(stack, "kind")[["kind_within", "kind_between", "kind_category_index"]]
       kind_within  kind_between  kind_category_index
    0          1.0           3.0                  0.5
    """
    if not isinstance(variable, str):
        raise TypeError(f"`variable` must be the name of an entry label, not {variable!r}.")
    num_perms = check_count(num_perms, argument="num_perms", minimum=0)
    root = check_random_state(random_state)
    stack = checked_stack(input_df, argument="input_df")
    matrices = stack["matrix"].tolist()
    # Rows whose entries have the same categories are worked on together.
    groups: dict[tuple[Hashable, ...], list[int]] = {}
    known: dict[int, tuple[Hashable, ...]] = {}
    for k, labels in enumerate(stack["entry_labels"].tolist()):
        if id(labels) not in known:
            row = f"`input_df`: the row at position {k} (index {stack.index[k]!r})"
            known[id(labels)] = _categories(labels, variable, row)
        groups.setdefault(known[id(labels)], []).append(k)

    names = ["within", "between", "category_index", *(["p"] if num_perms else [])]
    found = {f"{variable}_{name}": np.full(len(stack), np.nan) for name in names}
    for categories, members in groups.items():
        ranks = {category: rank for rank, category in enumerate(dict.fromkeys(categories))}
        codes = np.array([ranks[category] for category in categories])
        above = np.triu_indices(len(codes), k=1)
        pairs = finite_or_nan(np.array([matrices[k][above] for k in members])).T
        within, between = _means_by_category(codes[None], above, pairs)
        index = _contrast(within=within, between=between)
        found[f"{variable}_within"][members] = within[0]
        found[f"{variable}_between"][members] = between[0]
        found[f"{variable}_category_index"][members] = index[0]
        if num_perms:
            generator = child_generator(root, "category_index", variable, categories)
            hits = _count_hits(codes, above, pairs, index[0], num_perms, generator)
            p = (1 + hits) / (1 + num_perms)
            found[f"{variable}_p"][members] = np.where(np.isnan(index[0]), np.nan, p)
    return _with_columns(input_df, found)


def selectivity(values: npt.ArrayLike, axis: int = 0) -> np.ndarray:
    """Lifetime sparseness of units: how few of the conditions each responds to.

    ``S = (1 - A) / (1 - 1 / n)`` with ``A = mean(r) ** 2 / mean(r ** 2)`` over the n conditions
    (Vinje and Gallant).

    Parameters
    ----------
    values : array-like (n_conditions, n_units), or of any other shape
        Responses. Negative ones count as 0, as no rate is below it.
    axis : int, default 0
        The axis of the conditions, at least two.

    Returns
    -------
    ndarray (n_units,)
        The shape of `values` without `axis`, float64, in [0, 1]: 0 for the same response to all
        conditions, 1 for a response to one alone. NaN for a unit without any response, and for
        one with NaN or infinite responses. The unit of measure does not matter, its zero does.

    See Also
    --------
    compute_etas : What variables of the images a unit responds to.

    References
    ----------
    Vinje, W. E. and Gallant, J. L. (2000). Sparse coding and decorrelation in primary visual
        cortex during natural vision. Science 287, 1273-1276.
        https://doi.org/10.1126/science.287.5456.1273

    Examples
    --------
    Units that respond to one of four conditions, to two of them alike, and to all:

    >>> import pytorch_feature_analysis as pfa
    >>> pfa.selectivity([[5, 2, 3], [0, 2, 3], [0, 0, 3], [0, 0, 3]]).round(3).tolist()
    [1.0, 0.667, 0.0]
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`values` must be an array of real numbers, not of {array.dtype}.")
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"`axis` must be a whole number, not {axis!r}.")
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(
            f"`axis` must be an axis of `values`, whose shape is {array.shape}, not {axis}."
        )
    n = array.shape[axis]
    if n < 2:
        raise ValueError(
            f"`values` must hold at least two conditions along `axis` {axis}, but its shape is"
            f" {array.shape}."
        )
    rates = np.maximum(array.astype(np.float64), 0)
    largest = rates.max(axis=axis, keepdims=True)
    # Of the largest rate, so that no square overflows or vanishes.
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = rates / np.where(np.isfinite(largest), largest, np.nan)
        share = rates.mean(axis=axis) ** 2 / np.square(rates).mean(axis=axis)
    return np.clip((1 - share) / (1 - 1 / n), 0, 1)


def _crossing(
    labels: Labels, row: str, allow_missing: bool
) -> tuple[tuple[str, str], np.ndarray, np.ndarray]:
    """Two factors, and the pairs above the diagonal that differ in the one or the other alone."""
    factors = list(dict.fromkeys(name for label in labels for name in label))
    if len(factors) != 2 or any(len(label) != 2 for label in labels):
        listed = ", ".join(map(repr, factors)) or "none"
        raise ValueError(
            f"{row} must have entries with the same two labels, but they have: {listed}."
            " subset_rdm_df takes those of one value of a third label; then keep two in"
            " `entry_labels`."
        )
    first, second = factors
    cells = [(label[first], label[second]) for label in labels]
    levels = [list(dict.fromkeys(column)) for column in zip(*cells, strict=True)]
    for name, found in zip(factors, levels, strict=True):
        if len(found) < 2:
            raise ValueError(
                f"{row} must have entries of at least two levels of '{name}', but has only"
                f" {found[0]!r}."
            )
    filled = set(cells)
    empty = [cell for cell in itertools.product(*levels) if cell not in filled]
    if empty and not allow_missing:
        raise ValueError(
            f"{row} has no entry for ({first}, {second}) {in_words(empty, most=10)}. Cross the two"
            " factors completely, or average over the pairs that there are with"
            " `allow_missing`=True."
        )
    codes = [np.array([found.index(cell[i]) for cell in cells]) for i, found in enumerate(levels)]
    first_differs, second_differs = (code[:, None] != code for code in codes)
    above = np.triu(np.ones((len(cells), len(cells)), dtype=bool), k=1)
    return (
        (first, second),
        above & first_differs & ~second_differs,
        above & second_differs & ~first_differs,
    )


def _categories(labels: Labels, variable: str, row: str) -> tuple[Hashable, ...]:
    without = [label for label in labels if variable not in label]
    if without:
        has = ", ".join(map(repr, without[0])) or "none"
        raise ValueError(
            f"`variable` names {variable!r}, but {row} has entries without that label. The labels"
            f" of one are: {has}."
        )
    categories = tuple(label[variable] for label in labels)
    n_categories = len(set(categories))
    if n_categories < 2 or n_categories == len(categories):
        raise ValueError(
            f"`variable`: {variable!r} must give at least two categories, one of them with two"
            f" entries, but {row} has {n_categories} for {len(categories)} entries."
        )
    return categories


def _means_by_category(
    codes: np.ndarray, above: tuple[np.ndarray, np.ndarray], pairs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means within and between categories.

    Parameters
    ----------
    codes
        (n_relabelings, n_entries)
    pairs
        (n_pairs, n_rdms)

    Returns
    -------
    tuple of ndarray (n_relabelings, n_rdms)
    """
    same = (codes[:, above[0]] == codes[:, above[1]]).astype(np.float64)
    known = ~np.isnan(pairs)
    values = np.where(known, pairs, 0.0)
    means = []
    for chosen in (same, 1 - same):
        with np.errstate(invalid="ignore"):
            means.append((chosen @ values) / (chosen @ known))
    return means[0], means[1]


def _count_hits(
    codes: np.ndarray,
    above: tuple[np.ndarray, np.ndarray],
    pairs: np.ndarray,
    index: np.ndarray,
    num_perms: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Count, per RDM, the relabelings whose index is at least as large."""
    hits = np.zeros(pairs.shape[1], dtype=np.int64)
    step = max(1, _CHUNK_ELEMENTS // len(pairs))
    for start in range(0, num_perms, step):
        n = min(step, num_perms - start)
        relabeled = generator.permuted(np.tile(codes, (n, 1)), axis=1)
        within, between = _means_by_category(relabeled, above, pairs)
        hits += (_contrast(within=within, between=between) >= index - _ROUNDING).sum(axis=0)
    return hits


def _contrast(between: Any, within: Any) -> Any:
    """Difference over sum; NaN for 0 / 0."""
    total = np.asarray(between + within, dtype=np.float64)
    return (between - within) / np.where(total == 0, np.nan, total)


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _with_columns(input_df: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    # A deep copy would share the cells too; that of the columns is pandas' own.
    result = input_df.copy(deep=False)
    for name, values in columns.items():
        result[name] = np.asarray(values)
    return result
