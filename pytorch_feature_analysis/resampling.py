"""Correlation over pairs of items, and its uncertainty by resampling the items.

The cells of a matrix are not independent: those of a row share an item. So it is items that are
drawn again, and with them blocks of rows and columns. In a draw the pair {f, g} has the weight
m_f * m_g, where m counts how often an item was drawn; an item and its own copy are no pair.
All draws of all correlations are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr, stdtrit

from pytorch_feature_analysis.dissimilarity import check_metrics
from pytorch_feature_analysis.pairwise_complete import compute_rdms_pairwise

METHODS = {"pearson": "corr", "spearman": "spearman"}
"""Methods, and the metrics of dissimilarity that are 1 less theirs."""
MINIMUM = 3
"""Pairs that a correlation needs: over two it is 1 or -1 whatever they are."""

# Numbers in the tables of one step: 16 megabytes.
_STEP_NUMBERS = 2**21
# A variance this small beside the mean square is what rounding leaves of none.
_NO_VARIANCE = 1e-12


def correlate_rows(rows: np.ndarray, method: str) -> np.ndarray:
    """Correlate all rows with each other, each two on the cells that both have.

    Parameters
    ----------
    rows
        (n_rows, n_pairs). A cell that is not finite is missing.
    method
        One of `METHODS`.

    Returns
    -------
    ndarray (n_rows, n_rows)
        1 less the RDM, whose diagonal is not of interest. NaN for two rows of which one is
        constant, or with fewer than 3 common cells.
    """
    rdm = dissimilarities(rows, method)
    return 1 - rdm


def dissimilarities(rows: np.ndarray, method: str) -> np.ndarray:
    """Give 1 less the correlations of all rows, see `correlate_rows`."""
    n_rows = len(rows)
    if rows.shape[1] < MINIMUM:
        return np.full((n_rows, n_rows), np.nan)
    (rdm,) = compute_rdms_pairwise(rows, check_metrics([METHODS[method]]))
    rdm[common_counts(rows) < MINIMUM] = np.nan
    return rdm


def common_counts(rows: np.ndarray) -> np.ndarray:
    """How many cells each two rows have in common (n_rows, n_rows)."""
    finite = np.isfinite(rows).astype(float)
    counts: np.ndarray = (finite @ finite.T).astype(int)
    return counts


def resampled_correlations(
    rows: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    multiplicities: np.ndarray,
    method: str,
) -> np.ndarray:
    """Correlate all rows with each other in each draw of items.

    Parameters
    ----------
    rows
        (n_rows, n_pairs). A cell that is not finite is missing.
    pairs
        Both items of each pair, each (n_pairs,); they are different ones.
    multiplicities
        (num_boot, n_items), how often each draw has each item.
    method
        One of `METHODS`. Ranks are those within the draw, where pairs stand as often as their
        weight says and ties share their mean rank.

    Returns
    -------
    ndarray (num_boot, n_rows * (n_rows - 1) / 2)
        In the order of an upper triangle. NaN where fewer than 3 different pairs were drawn, or
        where all pairs drawn have the same value.
    """
    first, second = np.triu_indices(len(rows), k=1)
    drawn = np.full((len(multiplicities), len(first)), np.nan)
    finite = np.isfinite(rows)
    for common, some in _by_common_cells(finite, first, second):
        if common.sum() < MINIMUM:
            continue
        there = np.flatnonzero(common)
        used, places = np.unique(np.r_[first[some], second[some]], return_inverse=True)
        values = rows[used] if common.all() else rows[np.ix_(used, there)]
        a, b = np.split(places, 2)
        i, j = (items[there] for items in pairs)
        numbers = len(there) * (1 if method == "pearson" else len(used))
        step = max(1, _STEP_NUMBERS // numbers)
        correlate = _weighted_pearson if method == "pearson" else _weighted_spearman
        for start in range(0, len(drawn), step):
            counts = multiplicities[start : start + step].astype(float)
            weights = counts[:, i] * counts[:, j]
            r = correlate(weights, values, a, b)
            r[np.count_nonzero(weights, axis=1) < MINIMUM] = np.nan
            drawn[start : start + step, some] = r
    return drawn


def _by_common_cells(
    finite: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield sets of common cells, each with the places of the row pairs that have it."""
    if finite.all():
        yield finite[0], np.arange(len(first))
        return
    members: dict[bytes, list[int]] = {}
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        members.setdefault((finite[a] & finite[b]).tobytes(), []).append(k)
    for key, some in members.items():
        yield np.frombuffer(key, dtype=bool), np.array(some)


def _weighted_pearson(
    weights: np.ndarray, values: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Pearson's r of the rows `a` and `b` in each draw, from sums over pairs."""
    # About their middle and of one size, where sums of squares keep their digits.
    values = values - values.mean(axis=1, keepdims=True)
    scale = np.abs(values).max(axis=1, keepdims=True)
    values /= np.where(scale > 0, scale, 1)
    n_rows = len(values)
    sums = weights @ np.concatenate([values, values**2, values[a] * values[b]]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        sums /= weights.sum(axis=1, keepdims=True)
        means, squares, products = np.split(sums, [n_rows, 2 * n_rows], axis=1)
        variances = squares - means**2
        variances[variances <= _NO_VARIANCE * squares] = np.nan
        covariances = products - means[:, a] * means[:, b]
        r: np.ndarray = covariances / np.sqrt(variances[:, a] * variances[:, b])
    return np.clip(r, -1, 1)


def _weighted_spearman(
    weights: np.ndarray, values: np.ndarray, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Spearman's rho of the rows `a` and `b` in each draw."""
    total = weights.sum(axis=1, keepdims=True)
    # The mean of weighted ranks, with 1/2 taken off, is half the number of all.
    ranks = np.stack([_weighted_ranks(weights, row) - total / 2 for row in values], axis=1)
    products = (ranks * weights[:, None]) @ ranks.transpose(0, 2, 1)
    sizes = np.diagonal(products, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        r: np.ndarray = products[:, a, b] / np.sqrt(sizes[:, a] * sizes[:, b])
    return np.clip(r, -1, 1)


def _weighted_ranks(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Ranks, less 1/2, of values that stand as often as each draw's weights say."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    below = np.zeros((len(weights), len(values) + 1))
    np.cumsum(weights[:, order], axis=1, out=below[:, 1:])
    start = np.searchsorted(ordered, ordered, side="left")
    stop = np.searchsorted(ordered, ordered, side="right")
    ranks = np.empty_like(weights)
    ranks[:, order] = (below[:, start] + below[:, stop]) / 2
    return ranks


def expanded_interval(
    drawn: np.ndarray, ci: float, n_items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Percentile intervals of each column, wider where there are few items.

    A draw of n items varies less than the items themselves do, by n - 1 in n, and the percentiles
    are those of a normal where n items call for Student's t. So the share cut off at each end is
    Phi(-sqrt(n / (n - 1)) t), where t is that quantile of Student's t with n - 1 degrees of
    freedom (Hesterberg 2015, doi:10.1080/00031305.2015.1089789).

    Returns
    -------
    low, high, count : ndarray (n_columns,)
        The ends, and of how many draws: those that are not NaN.
    """
    degrees = max(n_items - 1, 1)
    cut = float(ndtr(np.sqrt(1 + 1 / degrees) * stdtrit(degrees, (1 - ci) / 2)))
    # NaN is sorted to the end.
    ordered = np.sort(drawn, axis=0)
    count = np.isfinite(ordered).sum(axis=0)
    low, high = (_quantiles(ordered, count, share) for share in (cut, 1 - cut))
    return low, high, count


def _quantiles(ordered: np.ndarray, count: np.ndarray, share: float) -> np.ndarray:
    """Quantile of the first so many of each column, as `np.quantile` has it."""
    place = share * np.maximum(count - 1, 0)
    below = np.floor(place).astype(int)
    above = np.ceil(place).astype(int)
    columns = np.arange(ordered.shape[1])
    low, high = ordered[below, columns], ordered[above, columns]
    quantiles: np.ndarray = low + (high - low) * (place - below)
    return quantiles
