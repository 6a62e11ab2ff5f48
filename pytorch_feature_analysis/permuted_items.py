"""Agreement of RDMs whose items are in other orders: what it is where there is none."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np

from pytorch_feature_analysis._parallel import NumCores, parallel_map
from pytorch_feature_analysis._threads import by_rows
from pytorch_feature_analysis.agreement import (
    Cells,
    control_basis,
    is_inner_product,
    partial_rows,
    unit_rows,
    whole_or_common,
)
from pytorch_feature_analysis.matrices import to_square

# Numbers in the table of permuted cells of one step: 16 megabytes.
_STEP_NUMBERS = 2**21
_ORDERS_A_JOB = 1000


def draw_orders(
    n_items: int, num_perms: int, generator: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Draw orders of items, or list all of them where they are no more than asked for.

    Returns
    -------
    orders : ndarray (n_orders, n_items) of int
        Drawn ones, or all, the first of which is the identity.
    are_all : bool
    """
    if n_items < 12 and math.factorial(n_items) <= num_perms:
        return np.array(list(itertools.permutations(range(n_items)))), True
    every = np.tile(np.arange(n_items), (num_perms, 1))
    return generator.permuted(every, axis=1), False


def permuted_agreements(
    rows: np.ndarray,
    subjects: np.ndarray,
    orders: np.ndarray,
    method: str,
    controls: np.ndarray | None = None,
    *,
    num_cores: NumCores = None,
) -> np.ndarray:
    """Mean agreement of rows with subjects, whose items stand in each of many orders.

    Parameters
    ----------
    rows, subjects
        (n_rows, n_cells) and (n_subjects, n_cells), whole triangles. NaN is a missing cell.
    orders
        (n_orders, n_items), applied to the subjects.
    method
        One of `agreement.METHODS`.
    controls
        (n_controls, n_cells), held constant: what they leave of the subjects is permuted
        (Freedman and Lane 1983), so that the relation of rows and controls is kept.
    num_cores
        Workers, each of which takes so many orders at a time, whatever their number.

    Returns
    -------
    ndarray (n_orders, n_rows)
    """
    parts = np.array_split(orders, -(-len(orders) // _ORDERS_A_JOB))
    function = partial(_permuted_agreements, rows, subjects, method, controls)
    return np.concatenate(parallel_map(function, parts, num_cores=num_cores))


def _permuted_agreements(
    rows: np.ndarray,
    subjects: np.ndarray,
    method: str,
    controls: np.ndarray | None,
    orders: np.ndarray,
) -> np.ndarray:
    cells = Cells.of_triangle(orders.shape[1])
    is_whole = bool(np.isfinite(rows).all() and np.isfinite(subjects).all())
    if not is_whole or not is_inner_product(method):
        return _one_by_one(rows, subjects, orders, method, controls, cells)
    if controls is None:
        own = unit_rows(rows, method, cells)
        # A mean of inner products is that with a mean.
        (mean,) = unit_rows(subjects, method, cells).mean(axis=0, keepdims=True)
        return _products(own, mean, orders, cells)
    basis = control_basis(controls, method)
    own = partial_rows(rows, method, basis)
    left = partial_rows(subjects, method, basis)
    total = np.zeros((len(orders), len(rows)))
    for subject in left:
        explained = _products(basis, subject, orders, cells)
        norms = np.sqrt(np.clip(1 - (explained**2).sum(axis=1), 0, None))
        norms[norms < 1e-8] = np.nan
        total += _products(own, subject, orders, cells) / norms[:, None]
    return total / len(subjects)


def _products(
    rows: np.ndarray, subject: np.ndarray, orders: np.ndarray, cells: Cells
) -> np.ndarray:
    """Inner products of rows with a triangle in each order, (n_orders, n_rows)."""
    square = to_square(subject).ravel()
    found = np.empty((len(orders), len(rows)))
    step = max(1, _STEP_NUMBERS // len(subject))
    table = np.empty((min(step, len(orders)), len(subject)))
    for start in range(0, len(orders), step):
        some = orders[start : start + step]
        permuted = table[: len(some)]

        def fill(own: slice, some: np.ndarray = some, permuted: np.ndarray = permuted) -> None:
            _take_permuted(square, some[own], cells, permuted[own])

        by_rows(fill, len(some), permuted.size)
        np.matmul(permuted, rows.T, out=found[start : start + step])
    return found


def _take_permuted(square: np.ndarray, orders: np.ndarray, cells: Cells, out: np.ndarray) -> None:
    for order, row in zip(orders, out, strict=True):
        places = (order * cells.n_items)[cells.first]
        places += order[cells.second]
        np.take(square, places, out=row, mode="clip")


def _one_by_one(
    rows: np.ndarray,
    subjects: np.ndarray,
    orders: np.ndarray,
    method: str,
    controls: np.ndarray | None,
    cells: Cells,
) -> np.ndarray:
    found = np.empty((len(orders), len(rows)))
    squares = [to_square(subject) for subject in subjects]
    for k, order in enumerate(orders):
        permuted = np.stack(
            [square[order[cells.first], order[cells.second]] for square in squares]
        )
        found[k] = whole_or_common(rows, permuted, method, cells, controls).mean(axis=1)
    return found
