"""Metrics between patterns, and the RDM of a set of patterns.

`METRICS` holds what has a name here; scipy's `pdist` names and a user's own ``(name, function)``
are as good. A metric reads either the geometry of the patterns (one matrix product, see `gram`)
or the patterns themselves.

One policy for what has no answer: a pattern without variance has no correlation, and a pattern
with NaN or inf has no distance, so their rows and columns are NaN; the diagonal is 0 for a
pattern without variance, and NaN for one that holds NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import rankdata

from pytorch_feature_analysis._checks import check_name
from pytorch_feature_analysis.gram import PatternGeometry, pattern_geometry
from pytorch_feature_analysis.matrices import dead_items
from pytorch_feature_analysis.pattern_sources import Patterns, as_source, whole_pattern

# Up to so large a number, single precision holds it and a half.
_SINGLE_PRECISION_HALVES = 2**23
# How many elements are ranked together: a table that stays in the processor's caches.
_RANKED_TOGETHER = 2**17


def corr_dissim(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Correlation dissimilarity of two patterns, 1 - Pearson's r.

    Parameters
    ----------
    x, y : array-like (n_units,)
        The patterns.

    Returns
    -------
    float
        From 0 (identical up to scale and offset) over 1 (unrelated) to 2 (opposite); NaN when a
        pattern is constant, or holds NaN or inf.

    See Also
    --------
    compute_rdm : all pairs of a set of patterns at once.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> round(pfa.corr_dissim([1, 2, 3], [2, 4, 7]), 6)
    0.006601
    >>> pfa.corr_dissim([1, 2, 3], [5, 5, 5])
    nan
    """
    return float(pattern_geometry(_pair(x, y)).corr()[0, 1])


def _euclidean_distance(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """L2 norm of the difference of two patterns."""
    first, second = _pair(x, y)
    return float(np.linalg.norm(first - second))


def _pair(x: npt.ArrayLike, y: npt.ArrayLike) -> np.ndarray:
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise ValueError(
            "`x` and `y` must be two patterns of one length, not arrays of the shapes"
            f" {first.shape} and {second.shape}."
        )
    return np.stack([first, second])


dissim_defs: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], float]] = {
    "corr": corr_dissim,
    "euclidean_distance": _euclidean_distance,
}
"""Two metrics as plain functions of two patterns; the whole list is `METRICS`."""


@dataclass(frozen=True)
class Metric:
    """How a named dissimilarity is computed.

    Exactly one of `from_geometry` and `from_rows` is set. Rows are (n, n_units) in float64, not
    to be changed. `prepare` makes other rows of them, each of its own, whose geometry is taken.
    `between` compares the rows of two tables (or of one with itself), where these are all that a
    value depends on; so patterns can be compared of which not all are in memory.
    """

    name: str
    from_geometry: Callable[[PatternGeometry], np.ndarray] | None = None
    from_rows: Callable[[np.ndarray], np.ndarray] | None = None
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    between: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def _euclidean(geometry: PatternGeometry) -> np.ndarray:
    squared = geometry.squared_euclidean()
    return np.sqrt(squared, out=squared)


def _unit_squared_euclidean(geometry: PatternGeometry) -> np.ndarray:
    dissim = geometry.cosine()
    dissim *= 2
    return dissim


def _unit_euclidean(geometry: PatternGeometry) -> np.ndarray:
    squared = _unit_squared_euclidean(geometry)
    return np.sqrt(squared, out=squared)


def dtype_of_ranks(n_units: int) -> np.dtype:
    """Return the type of number that holds average ranks, which may have halves, exactly."""
    return np.dtype(np.float32 if n_units <= _SINGLE_PRECISION_HALVES else np.float64)


def _ranks(rows: np.ndarray) -> np.ndarray:
    """Average ranks within each pattern; NaN throughout for one that holds NaN or inf."""
    n, n_units = rows.shape
    ranks = np.empty((n, n_units), dtype=dtype_of_ranks(n_units))
    # Some patterns at a time, because ranking them takes several times their room.
    step = max(1, _RANKED_TOGETHER // n_units)
    for start in range(0, n, step):
        some, target = rows[start : start + step], ranks[start : start + step]
        target[...] = rankdata(some, axis=1)
        target[~np.isfinite(some).all(axis=1)] = np.nan
    return ranks


_GEOMETRIC = {
    "corr": PatternGeometry.corr,
    "euclidean_distance": _euclidean,
    "squared_euclidean": PatternGeometry.squared_euclidean,
    "cosine": PatternGeometry.cosine,
    "dot_product": PatternGeometry.dot_product,
    "unit_euclidean_distance": _unit_euclidean,
    "unit_squared_euclidean": _unit_squared_euclidean,
    # Neither changes with the lengths of the patterns; and 1 - the product of two unit patterns.
    "unit_corr": PatternGeometry.corr,
    "unit_cosine": PatternGeometry.cosine,
    "unit_dot_product": PatternGeometry.cosine,
}
_ALIASES = {
    "pearson": "corr",
    "correlation": "corr",
    "euclidean": "euclidean_distance",
    "L2": "euclidean_distance",
    "sqeuclidean": "squared_euclidean",
    "L2squared": "squared_euclidean",
    "dotproduct": "dot_product",
    "L2_normalize": "unit_euclidean_distance",
    "L2squared_normalize": "unit_squared_euclidean",
    "dotproduct_normalize": "unit_dot_product",
    "unit_correlation": "unit_corr",
    "unit_euclidean": "unit_euclidean_distance",
    "unit_sqeuclidean": "unit_squared_euclidean",
}
# Names of scipy.spatial.distance.pdist that are not already above.
_SCIPY = (
    "braycurtis",
    "canberra",
    "chebyshev",
    "cityblock",
    "dice",
    "hamming",
    "jaccard",
    "jensenshannon",
    "mahalanobis",
    "matching",
    "minkowski",
    "rogerstanimoto",
    "russellrao",
    "seuclidean",
    "sokalsneath",
    "yule",
)


# Their variances are those of all patterns together.
_OF_ALL_PATTERNS = ("mahalanobis", "seuclidean")


def _scipy_metric(name: str, *, unit: bool = False) -> Metric:
    own_name = f"unit_{name}" if unit else name

    def used(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows that can be compared, which these are, and which are whole."""
        # Some of scipy's metrics pass over NaN, or take it for True.
        defined = whole = np.isfinite(rows).all(axis=1)
        if unit:
            defined = whole & rows.any(axis=1)
        chosen = rows[defined]
        if unit:
            chosen = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        return chosen, defined, whole

    def from_rows(rows: np.ndarray) -> np.ndarray:
        chosen, defined, whole = used(rows)
        rdm = np.full((len(rows), len(rows)), np.nan)
        if len(chosen) > 1:
            try:
                # pdist answers 0 / 0 with NaN and a warning; NaN is what is wanted here.
                with np.errstate(all="ignore"):
                    rdm[np.ix_(defined, defined)] = squareform(pdist(chosen, name))
            except ValueError as error:
                raise ValueError(
                    f"scipy cannot compute the metric '{own_name}' for {chosen.shape[0]} patterns"
                    f" of {chosen.shape[1]} units: {error}"
                ) from error
        rdm[whole, whole] = 0
        return rdm

    def between(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        first, defined, whole = used(rows)
        second, defined_too, _ = used(others)
        block = np.full((len(rows), len(others)), np.nan)
        if len(first) and len(second):
            with np.errstate(all="ignore"):
                block[np.ix_(defined, defined_too)] = cdist(first, second, name)
        if others is rows:
            # As `pdist` does: a pair is compared once.
            block = np.triu(block, k=1)
            block += block.T
            block[~defined] = block[:, ~defined] = np.nan
            block[whole, whole] = 0
        return block

    by_pairs = None if name in _OF_ALL_PATTERNS else between
    return Metric(own_name, from_rows=from_rows, between=by_pairs)


def _all_metrics() -> dict[str, Metric]:
    named = {name: Metric(name, from_geometry=made) for name, made in _GEOMETRIC.items()}
    for name in ("spearman", "unit_spearman"):
        named[name] = Metric(name, from_geometry=PatternGeometry.corr, prepare=_ranks)
    return {
        **named,
        **{alias: named[name] for alias, name in _ALIASES.items()},
        **{name: _scipy_metric(name) for name in _SCIPY},
        **{f"unit_{name}": _scipy_metric(name, unit=True) for name in _SCIPY},
    }


METRICS: dict[str, Metric] = _all_metrics()
"""Every metric that has a name, aliases included."""


def _own_metric(
    name: str, function: Callable[[np.ndarray, np.ndarray], float], argument: str
) -> Metric:
    def between(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        block = np.empty((len(rows), len(others)))
        for i, x in enumerate(rows):
            for j, y in enumerate(others):
                value = function(x, y)
                number = _as_number(value)
                if number is None:
                    raise TypeError(
                        f"`{argument}`: the function of {name!r} must return one number for two"
                        f" patterns, but returned {type(value).__name__}; wrap it in one that"
                        " picks the number (and, for a similarity, takes it from 1)."
                    )
                block[i, j] = number
        return block

    def from_rows(rows: np.ndarray) -> np.ndarray:
        return between(rows, rows)

    return Metric(name, from_rows=from_rows, between=between)


def _as_number(value: Any) -> float | None:
    try:
        return float(value) if np.ndim(value) == 0 and not isinstance(value, str) else None
    except (TypeError, ValueError):
        return None


def check_metrics(
    dissim_metrics: Iterable[Any], *, argument: str = "dissim_metrics"
) -> list[Metric]:
    """Resolve names and ``(name, function)`` tuples; each keeps the name it was asked for by."""
    one = isinstance(dissim_metrics, tuple) and _is_own(dissim_metrics)
    if one or isinstance(dissim_metrics, str) or not isinstance(dissim_metrics, Iterable):
        raise TypeError(
            f"`{argument}` must be a list of metrics, not {dissim_metrics!r};"
            f" write [{dissim_metrics!r}] for one."
        )
    resolved = []
    for spec in dissim_metrics:
        if isinstance(spec, Metric):
            metric = spec
        elif isinstance(spec, str):
            check_name(spec, METRICS, argument=argument, what="metric")
            metric = replace(METRICS[spec], name=spec)
        elif _is_own(spec):
            metric = _own_metric(spec[0], spec[1], argument)
        else:
            raise TypeError(
                f"`{argument}` must hold names of metrics or (name, function) tuples,"
                f" not {spec!r}."
            )
        resolved.append(metric)
    if not resolved:
        raise ValueError(f"`{argument}` is empty; name at least one metric, such as 'corr'.")
    names = [metric.name for metric in resolved]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`{argument}` names {', '.join(map(repr, twice))} more than once.")
    return resolved


def _is_own(spec: Any) -> bool:
    """Tell a user's ``(name, function)``."""
    pair = isinstance(spec, Sequence) and not isinstance(spec, str) and len(spec) == 2
    return pair and isinstance(spec[0], str) and callable(spec[1])


def compute_rdms(
    patterns: np.ndarray | Sequence[np.ndarray], metrics: Sequence[Metric]
) -> list[np.ndarray]:
    """RDMs of the same patterns by several metrics, sharing the product; warns of nothing.

    `patterns` as in `gram.pattern_geometry`.
    """
    geometries: dict[Any, PatternGeometry] = {}
    from_rows = any(metric.from_rows or metric.prepare for metric in metrics)
    rows = _as_rows(patterns) if from_rows else np.empty((0, 0))
    sources = [metric.prepare for metric in metrics if metric.from_rows is None]
    rdms = []
    for metric in metrics:
        if metric.from_rows is not None:
            rdms.append(metric.from_rows(rows))
        elif metric.from_geometry is not None:
            source = metric.prepare
            if source not in geometries:
                geometries[source] = pattern_geometry(source(rows) if source else patterns)
            sources.remove(source)
            # A matrix of many patterns is larger than they are: the last one needs no second.
            is_last = source not in sources
            geometry = geometries.pop(source) if is_last else geometries[source]
            rdms.append(
                metric.from_geometry(geometry.for_the_last_time() if is_last else geometry)
            )
    return rdms


def _as_rows(patterns: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Return the patterns in float64, in a table that a user's function cannot change."""
    if isinstance(patterns, np.ndarray) and patterns.dtype == np.float64:
        rows = patterns.view()
    else:
        rows = np.array([np.asarray(pattern, dtype=float) for pattern in patterns])
    rows.flags.writeable = False
    return rows


def compute_rdm(patterns: npt.ArrayLike, metric: Any = "corr") -> np.ndarray:
    """Representational dissimilarity matrix of a set of patterns.

    Parameters
    ----------
    patterns : array-like (n_patterns, n_units)
        One pattern a row.
    metric : str or (str, callable), default 'corr'
        ``'corr'`` (1 - Pearson), ``'euclidean_distance'``, ``'squared_euclidean'``,
        ``'cosine'`` (1 - cosine), ``'spearman'`` (1 - rho, average ranks for ties),
        ``'dot_product'`` (1 - inner product); any name of `scipy.spatial.distance.pdist`;
        ``'unit_...'`` before a name for patterns scaled to unit L2 norm first; or
        ``(name, function)`` with a function of two 1-D patterns that returns a number (called
        for every ordered pair, so it need not be symmetric).

    Returns
    -------
    ndarray (n_patterns, n_patterns), float64
        0 on the diagonal (but for ``'dot_product'`` and functions of one's own); larger is more
        different. NaN in the row and column of a pattern that has no dissimilarity to others; on
        the diagonal NaN only where the pattern holds NaN or inf.

    Raises
    ------
    ValueError
        A metric that does not exist; patterns of different lengths.
    TypeError
        A function that does not return one number.

    Warns
    -----
    UserWarning
        Names the patterns whose dissimilarities are all NaN, because they are constant (for
        ``'corr'`` and ``'spearman'``), zero (``'cosine'``), or hold NaN or inf.

    See Also
    --------
    corr_dissim : Two patterns alone.
    get_rdms : RDMs of the layers of networks.
    get_pattern_rdms : RDMs of measured patterns, cross-validated ones too.

    Notes
    -----
    Inner-product metrics come from one matrix product in float64 of the standardised patterns'
    deviations from their common mean, so that small dissimilarities keep their digits: the error
    of a correlation is about 1e-15, and that of the dissimilarity between two near copies, whose
    relative difference is d, about a share 1e-16 / d of it. Identical patterns are exactly 0
    apart. ``'mahalanobis'`` and ``'seuclidean'`` take their variances from these patterns.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> pfa.compute_rdm([[0, 0], [3, 4], [0, 1]], "euclidean_distance").round(3)
    array([[0.   , 5.   , 1.   ],
           [5.   , 0.   , 4.243],
           [1.   , 4.243, 0.   ]])
    """
    (chosen,) = check_metrics([metric], argument="metric")
    table = _check_patterns(patterns)
    rdm = compute_rdms(table, [chosen])[0]
    undefined = undefined_patterns(table, rdm)
    if undefined:
        warnings.warn(
            f"no dissimilarity is defined for the patterns at {undefined} (constant, zero, or"
            " with NaN or inf): NaN in their rows and columns.",
            stacklevel=2,
        )
    return rdm


def _check_patterns(patterns: Any) -> np.ndarray:
    """Return a table of numbers in whatever type of real number it has."""
    try:
        table = np.asarray(patterns)
        if table.dtype.kind == "O":
            table = table.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`patterns` must be a table of numbers, with patterns of one length as its rows:"
            f" {error}"
        ) from error
    if table.dtype.kind not in "biuf":
        raise TypeError(f"`patterns` must hold real numbers, not {table.dtype}.")
    if table.ndim != 2 or table.size == 0:
        raise ValueError(
            "`patterns` must be a table (n_patterns, n_units) with at least one of each,"
            f" not an array of shape {table.shape}."
        )
    return table


def undefined_patterns(patterns: Patterns, rdm: np.ndarray) -> list[int]:
    """Positions of the patterns to blame for a row of the RDM without any finite value.

    These are the constant ones and those with NaN or inf; where there are none, the metric has no
    answer for any of the patterns.
    """
    source = as_source(patterns)
    dead = np.flatnonzero(dead_items(rdm) if len(rdm) > 1 else np.isnan(rdm[0])).tolist()
    reasons = [i for i in dead if not _is_varied(whole_pattern(source, i))]
    return reasons or dead


def _is_varied(pattern: np.ndarray) -> bool:
    return bool(np.isfinite(pattern).all() and np.ptp(pattern) > 0)
