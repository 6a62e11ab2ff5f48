"""Sums over the images of a stream, unit by unit, and the sums of squares that follow."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from pytorch_feature_analysis._threads import blas_threads
from pytorch_feature_analysis.anova_design import Design
from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.stream import Target, as_float

# Units that are worked on at a time, times images and sums: two megabytes, long enough for a fast
# product, and short enough for the processor's caches.
_CHUNK_ELEMENTS = 2**18
# From so many numbers on, a layer's units are shared out among threads.
_MANY_NUMBERS = 2**18


class _Sums:
    """What is kept of a layer's units."""

    def __init__(self, first: np.ndarray, n_sums: int) -> None:
        self.first = first.astype(np.float64)
        self.weighted = np.zeros((n_sums, len(first)))
        self.squares = np.zeros(len(first))


class Accumulator:
    """Takes the outputs of a pass, and adds them to the sums of their layers."""

    def __init__(self, design: Design, num_threads: int) -> None:
        self._design = design
        self._num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads)
        self._sums: dict[str, _Sums] = {}
        self._shapes: dict[str, torch.Size] = {}

    def __enter__(self) -> Accumulator:  # its threads end with the block
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def __call__(self, target: Target, batch: Batch, output: torch.Tensor) -> None:
        """Take one layer's output of one batch."""
        layer = target.label[0]
        if self._shapes.setdefault(layer, output.shape[1:]) != output.shape[1:]:
            raise ValueError(
                "the images have different sizes after the model's preprocessing, so that layer"
                f" '{layer}' has no one shape; use a transform that evens them."
            )
        values = as_float(output).reshape(len(output), -1).cpu().numpy()
        weights = np.ascontiguousarray(self._design.weights[:, batch.positions])
        if layer not in self._sums:
            self._sums[layer] = _Sums(values[0], len(weights))
        sums = self._sums[layer]
        self._by_units(lambda units: _add(sums, weights, values, units), values.shape)

    def finish(self, layer: str) -> dict[str, np.ndarray]:
        """Return the sums of squares of a layer (flat), and give up its sums."""
        sums = self._sums.pop(layer)
        names = ["total", *self._design.dfs]
        found = {f"ss_{name}": np.empty(len(sums.squares)) for name in names}
        self._by_units(
            lambda units: _sum_squares(sums, self._design, found, units), sums.weighted.shape
        )
        return found

    def _by_units(self, work: Any, shape: tuple[int, ...]) -> None:
        """Share a layer's units out among threads, each of which goes on chunk by chunk."""
        n_rows, n_units = shape
        length = max(256, _CHUNK_ELEMENTS // (n_rows + len(self._design.weights)))
        chunks = [slice(lo, min(lo + length, n_units)) for lo in range(0, n_units, length)]
        if n_rows * n_units < _MANY_NUMBERS or self._num_threads == 1:
            work(chunks)
            return
        parts = [chunks[i :: self._num_threads] for i in range(self._num_threads)]
        # Threads that each multiply chunks of their own are faster than threads that share each
        # product.
        with blas_threads(1):
            list(self._pool.map(work, parts))


def _add(sums: _Sums, weights: np.ndarray, values: np.ndarray, chunks: Iterable[slice]) -> None:
    """Add a batch (n_images, n_units) to the sums of some units."""
    # What is not a number is seen in the sums.
    with np.errstate(invalid="ignore", over="ignore"):
        for units in chunks:
            deviations = values[:, units].astype(np.float64)
            deviations -= sums.first[units]
            sums.weighted[:, units] += weights @ deviations
            deviations *= deviations
            sums.squares[units] += deviations.sum(axis=0)


def _sum_squares(
    sums: _Sums, design: Design, found: dict[str, np.ndarray], chunks: Iterable[slice]
) -> None:
    """Fill in the sums of squares of some units."""
    # Rounding of a sum of so many squares.
    rounding = 4 * np.sqrt(design.n_images) * np.finfo(float).eps
    with np.errstate(invalid="ignore", over="ignore"):
        for units in chunks:
            weighted, squares = sums.weighted[:, units], sums.squares[units]
            floor = rounding * squares

            def above(values: np.ndarray, floor: np.ndarray = floor) -> np.ndarray:
                # Written so that NaN stays.
                return np.where(values <= floor, 0.0, values)

            found["ss_total"][units] = above(squares - _projected(weighted, design.mean))
            residual = squares - _projected(weighted, design.model)
            found[f"ss_{design.residual}"][units] = above(residual)
            for name, basis in design.bases.items():
                found[f"ss_{name}"][units] = above(_projected(weighted, basis))


def _projected(weighted: np.ndarray, basis: slice | np.ndarray) -> np.ndarray:
    """Squared length of the projection onto a space, per unit."""
    mixed = weighted[basis] if isinstance(basis, slice) else basis @ weighted
    return np.einsum("ij,ij->j", mixed, mixed)
