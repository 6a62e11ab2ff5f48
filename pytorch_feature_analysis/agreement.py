"""How the cells of RDMs agree: the methods, on rows of cells that are all there.

By most methods rows can be turned into unit vectors whose inner products are the agreements, so
that all of many rows with all of many others are one product of matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, rankdata

METHODS = (
    *("pearson", "spearman", "cosine", "whitened_pearson", "whitened_cosine"),
    *("kendall_tau_a", "kendall_tau_b"),
)
FEWEST_CELLS = 3
"""Over two cells a correlation is 1 or -1 whatever they are."""


class Cells(NamedTuple):
    """Which pairs of items cells are of."""

    first: np.ndarray
    """(n_cells,), the one item of each pair, as a number."""
    second: np.ndarray
    n_items: int

    @classmethod
    def of_triangle(cls, n_items: int) -> Cells:
        """All pairs, in the order of an upper triangle."""
        return cls(*np.triu_indices(n_items, k=1), n_items)

    def some(self, chosen: np.ndarray) -> Cells:
        """Those of the cells that are chosen, by a mask or by their places."""
        return Cells(self.first[chosen], self.second[chosen], self.n_items)


def is_inner_product(method: str) -> bool:
    """Tell whether agreements are inner products of `unit_rows`."""
    return not method.startswith("kendall")


def agreements(
    rows: np.ndarray,
    others: np.ndarray,
    method: str,
    cells: Cells,
    controls: np.ndarray | None = None,
) -> np.ndarray:
    """Agreement of each row with each of the others.

    Parameters
    ----------
    rows, others
        (n_rows, n_cells) and (n_others, n_cells), finite.
    method
        One of `METHODS`.
    cells
        Which pairs of items the columns are.
    controls
        (n_controls, n_cells): what is held constant, for a partial correlation.

    Returns
    -------
    ndarray (n_rows, n_others)
        From -1 to 1. NaN for a row that does not vary (or is 0), and where there are fewer than
        3 cells.
    """
    if rows.shape[1] < FEWEST_CELLS:
        return np.full((len(rows), len(others)), np.nan)
    if not is_inner_product(method):
        return np.array([[_kendall(row, other, method) for other in others] for row in rows])
    if controls is not None:
        basis = control_basis(controls, method)
        rows, others = (partial_rows(table, method, basis) for table in (rows, others))
    else:
        rows, others = (unit_rows(table, method, cells) for table in (rows, others))
    found: np.ndarray = np.clip(rows @ others.T, -1, 1)
    return found


def whole_or_common(
    rows: np.ndarray,
    subjects: np.ndarray,
    method: str,
    cells: Cells,
    controls: np.ndarray | None = None,
) -> np.ndarray:
    """Agreement of each row with each subject on the cells that both (and controls) have."""
    tables = [rows, subjects] if controls is None else [rows, subjects, controls]
    if all(np.isfinite(table).all() for table in tables):
        return agreements(rows, subjects, method, cells, controls)
    there = np.ones(rows.shape[1], dtype=bool)
    if controls is not None:
        there = np.isfinite(controls).all(axis=0)
    found = np.empty((len(rows), len(subjects)))
    # Rows and subjects that miss the same cells are compared together.
    for own, of_rows in _by_missing(rows):
        for other, of_subjects in _by_missing(subjects):
            known = np.flatnonzero(own & other & there)
            found[np.ix_(of_rows, of_subjects)] = agreements(
                rows[np.ix_(of_rows, known)],
                subjects[np.ix_(of_subjects, known)],
                method,
                cells.some(known),
                None if controls is None else controls[:, known],
            )
    return found


def unit_rows(rows: np.ndarray, method: str, cells: Cells) -> np.ndarray:
    """Turn rows into vectors whose inner products are their agreements; NaN without variation."""
    if method == "spearman":
        rows = rankdata(rows, axis=1)
    if not method.endswith("cosine"):
        rows = _centred(rows)
    if method.startswith("whitened"):
        rows = _whitened(rows, cells)
    return _of_unit_length(rows)


def control_basis(controls: np.ndarray, method: str) -> np.ndarray:
    """Orthonormal rows that span the constant and the controls (ranks, for 'spearman')."""
    if method == "spearman":
        controls = rankdata(controls, axis=1)
    constant = np.ones((1, controls.shape[1]))
    table = np.concatenate([constant, _of_unit_length(_centred(controls))])
    _, sizes, basis = np.linalg.svd(np.nan_to_num(table), full_matrices=False)
    found: np.ndarray = basis[sizes > sizes[0] * 1e-10]
    return found


def partial_rows(rows: np.ndarray, method: str, basis: np.ndarray) -> np.ndarray:
    """Turn rows into unit vectors of what a basis (of `control_basis`) leaves of them."""
    if method == "spearman":
        rows = rankdata(rows, axis=1)
    rows = _centred(rows)
    left = rows - (rows @ basis.T) @ basis
    # Of a row that the controls explain, rounding is left.
    whole = np.linalg.norm(rows, axis=1, keepdims=True)
    left[np.linalg.norm(left, axis=1) <= 1e-10 * whole[:, 0]] = 0
    return _of_unit_length(left)


def _centred(rows: np.ndarray) -> np.ndarray:
    varies = np.ptp(rows, axis=1, keepdims=True) > 0
    centred: np.ndarray = (rows - rows.mean(axis=1, keepdims=True)) * varies
    return centred


def _of_unit_length(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, np.nan)


def _whitened(rows: np.ndarray, cells: Cells) -> np.ndarray:
    """Multiply rows by the inverse root of the covariance that noise of patterns gives to cells.

    Squared distances of patterns with independent noise of one variance have covariances in the
    ratio 4 (of a cell with itself) to 1 (of two cells that share an item) to 0: 2 I + B B', with
    B the incidence of cells and items (Diedrichsen et al. 2021, doi:10.51628/001c.27664). Its
    eigenvectors are the constant, the sums of an item's deviation and another's, and the rest.
    """
    n_items, n_cells = cells.n_items, len(cells.first)
    incidence = np.zeros((n_cells, n_items))
    every = np.arange(n_cells)
    incidence[every, cells.first] = 1
    incidence[every, cells.second] = 1
    if n_cells < n_items * (n_items - 1) // 2:
        left, sizes, _ = np.linalg.svd(incidence, full_matrices=False)
        factors = 1 / np.sqrt(2 + sizes**2) - 1 / np.sqrt(2)
        return rows / np.sqrt(2) + ((rows @ left) * factors) @ left.T
    mean = rows.mean(axis=1, keepdims=True)
    sums = rows @ incidence
    sums -= sums.mean(axis=1, keepdims=True)
    of_items = sums @ incidence.T / max(n_items - 2, 1)
    rest = rows - mean - of_items
    whitened: np.ndarray = (
        mean / np.sqrt(2 * n_items) + of_items / np.sqrt(n_items) + rest / np.sqrt(2)
    )
    return whitened


def _kendall(first: np.ndarray, second: np.ndarray, method: str) -> float:
    tau = float(kendalltau(first, second).statistic)
    if method == "kendall_tau_b":
        return tau
    # From tau-b back to the pairs that agree less those that do not, over all pairs.
    n_pairs = len(first) * (len(first) - 1) / 2
    untied = [1 - _tied_pairs(values) / n_pairs for values in (first, second)]
    return float(tau * np.sqrt(untied[0] * untied[1]))


def _tied_pairs(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1) / 2).sum())


def _by_missing(rows: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Group rows with the same finite cells: which these are, and where the rows stand."""
    finite = np.isfinite(rows)
    members: dict[bytes, list[int]] = {}
    for k, mask in enumerate(finite):
        members.setdefault(mask.tobytes(), []).append(k)
    return [(finite[some[0]], np.array(some)) for some in members.values()]
