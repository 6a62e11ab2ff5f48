"""Agreement of RDMs with items and subjects drawn again, and what its spread says.

Items that are drawn twice have no dissimilarity from their copies, which are left out; the
spread over draws of items and of subjects at once counts the noise of single cells thrice, which
the draws of either alone correct (Schütt et al. 2023, doi:10.7554/eLife.82566).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import stats

from pytorch_feature_analysis._parallel import NumCores, parallel_map
from pytorch_feature_analysis._threads import by_rows
from pytorch_feature_analysis.agreement import Cells, whole_or_common
from pytorch_feature_analysis.matrices import to_square

RESAMPLED = ("both", "stimuli", "subjects")
_FEWEST_ITEMS = 3
_DRAWS_A_JOB = 250


class Draws(NamedTuple):
    """Which items and subjects are drawn, in each of many draws."""

    items: np.ndarray | None
    """(n_draws, n_items), positions; None where items stay as they are."""
    subjects: np.ndarray | None
    """(n_draws, n_subjects), how often each is drawn; None where they stay."""

    @classmethod
    def of(cls, n_items: int, n_subjects: int, num_boot: int, resample: str, seed: int) -> Draws:
        """Draw; items are the same whether subjects are drawn as well, and the other way round."""
        items = subjects = None
        streams = [np.random.default_rng([seed, k]) for k in range(2)]
        if resample != "subjects":
            items = streams[0].integers(n_items, size=(num_boot, n_items))
        if resample != "stimuli":
            shares = np.full(n_subjects, 1 / n_subjects)
            subjects = streams[1].multinomial(n_subjects, shares, size=num_boot)
        return cls(items, subjects)


class Resampled(NamedTuple):
    """Mean agreements (n_draws, n_rows) where both are drawn, or either alone."""

    both: np.ndarray | None
    items: np.ndarray | None
    subjects: np.ndarray | None

    def between(self, first: np.ndarray, second: np.ndarray) -> Resampled:
        """Differences of rows, (n_draws, n_pairs)."""
        return Resampled(
            *(None if one is None else one[:, first] - one[:, second] for one in self)
        )


class Spread(NamedTuple):
    """What draws say of the agreement of each row."""

    error: np.ndarray
    """(n_rows,), the standard error."""
    degrees: int
    """Degrees of freedom of Student's t."""
    n_draws: np.ndarray
    """(n_rows,), draws that have an agreement."""

    def interval(self, centre: np.ndarray, ci: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of the interval around each agreement."""
        reach = stats.t.ppf((1 + ci) / 2, self.degrees) * self.error
        return centre - reach, centre + reach

    def p_values(self, centre: np.ndarray, alternative: str) -> np.ndarray:
        """Return p of each agreement, if it were 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = centre / self.error
        if alternative == "two-sided":
            p = 2 * stats.t.sf(np.abs(ratio), self.degrees)
        else:
            p = stats.t.sf(ratio if alternative == "greater" else -ratio, self.degrees)
        found: np.ndarray = p
        return found


def resample(
    rows: np.ndarray,
    subjects: np.ndarray,
    draws: Draws,
    method: str,
    controls: np.ndarray | None = None,
    *,
    num_cores: NumCores = None,
) -> Resampled:
    """Mean agreement of rows with subjects in each draw.

    Parameters
    ----------
    rows, subjects
        (n_rows, n_cells) and (n_subjects, n_cells), whole triangles. NaN is a missing cell.
    draws
        Those of items are of rows, subjects and controls alike.
    method, controls
        As in `whole_or_common`.
    num_cores
        Workers, each of which takes so many draws at a time, whatever their number.
    """
    n_subjects = len(subjects)
    both = of_items = of_subjects = None
    if draws.subjects is not None:
        cells = Cells.of_triangle(len(to_square(rows[0])))
        as_they_are = whole_or_common(rows, subjects, method, cells, controls)
        of_subjects = draws.subjects @ as_they_are.T / n_subjects
    if draws.items is not None:
        parts = np.array_split(draws.items, -(-len(draws.items) // _DRAWS_A_JOB))
        function = partial(resampled_agreements, rows, subjects, method, controls)
        drawn = np.concatenate(parallel_map(function, parts, num_cores=num_cores))
        of_items = drawn.mean(axis=2)
        if draws.subjects is not None:
            both = np.einsum("drs,ds->dr", drawn, draws.subjects) / n_subjects
    return Resampled(both, of_items, of_subjects)


def resampled_agreements(
    rows: np.ndarray,
    subjects: np.ndarray,
    method: str,
    controls: np.ndarray | None,
    items: np.ndarray,
) -> np.ndarray:
    """Agreement of each row with each subject in each draw of items.

    Returns
    -------
    ndarray (n_draws, n_rows, n_subjects)
        NaN where a draw has fewer than 3 different items.
    """
    n_items = items.shape[1]
    triangle = Cells.of_triangle(n_items)
    tables = [rows, subjects] if controls is None else [rows, subjects, controls]
    ends = np.cumsum([len(table) for table in tables])[:-1]
    squares = np.stack([to_square(row).ravel() for table in tables for row in table])
    found = np.full((len(items), len(rows), len(subjects)), np.nan)

    def fill(draws: slice) -> None:
        for k in range(draws.start, draws.stop):
            drawn = items[k]
            if len(np.unique(drawn)) < _FEWEST_ITEMS:
                continue
            first, second = drawn[triangle.first], drawn[triangle.second]
            pairs = np.flatnonzero(first != second)
            places = first[pairs] * n_items + second[pairs]
            parts = np.split(np.take(squares, places, axis=1), ends)
            held = parts[2] if controls is not None else None
            found[k] = whole_or_common(parts[0], parts[1], method, triangle.some(pairs), held)

    by_rows(fill, len(items), squares.size * len(items))
    return found


def spread_of(resampled: Resampled, n_items: int, n_subjects: int) -> Spread:
    """Estimate errors, corrected for few items and subjects and for what is counted twice."""
    if resampled.both is None:
        alone = resampled.items if resampled.items is not None else resampled.subjects
        assert alone is not None
        n = n_items if resampled.items is not None else n_subjects
        variance, count = _variance(alone)
        return Spread(np.sqrt(variance * n / (n - 1)), n - 1, count)
    assert resampled.items is not None
    assert resampled.subjects is not None
    both, count = _variance(resampled.both)
    few_items, few_subjects = n_items / (n_items - 1), n_subjects / (n_subjects - 1)
    of_items = few_items * _variance(resampled.items)[0]
    of_subjects = few_subjects * _variance(resampled.subjects)[0]
    shared = both - of_items / few_items - of_subjects / few_subjects
    variance = of_items + of_subjects - few_items * few_subjects * shared
    variance = np.maximum(variance, np.maximum(of_items, of_subjects))
    variance = np.minimum(variance, both)
    return Spread(np.sqrt(variance), min(n_items, n_subjects) - 1, count)


def _variance(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance over the draws that have an agreement, and how many these are."""
    count = np.isfinite(drawn).sum(axis=0)
    known = np.where(np.isfinite(drawn), drawn, 0)
    mean = known.sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(np.isfinite(drawn), drawn - mean, 0) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = squares / (count - 1)
    variance[count < 2] = np.nan
    return variance, count
