"""Sums over the images of a stream, unit by unit, and the sums of squares that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from pytorch_feature_analysis._threads import blas_threads, in_threads
from pytorch_feature_analysis.activation_types import as_float
from pytorch_feature_analysis.anova_design import Design
from pytorch_feature_analysis.batches import Batch
from pytorch_feature_analysis.stream import Target

# Units that are worked on at a time, times images and sums: two megabytes, long enough for a fast
# product, and short enough for the processor's caches.
_CHUNK_ELEMENTS = 2**18
# From so many numbers on, a layer's units are shared out among threads.
_MANY_NUMBERS = 2**18


class _Layer:
    """What is kept of a layer's units: sums until the last image, then sums of squares."""

    def __init__(self, first: np.ndarray, names: Iterable[str]) -> None:
        self.first = first.astype(np.float64)
        self.n_seen = 0
        self.weighted = self.squares = np.empty(0)
        self.found = {f"ss_{name}": np.empty(len(first)) for name in names}


class Accumulator:
    """Takes the outputs of a pass, and adds them to the sums of their layers.

    The last batch is not added to the sums but taken with them, so that a design in one batch
    keeps none.
    """

    def __init__(self, design: Design, num_threads: int) -> None:
        self._design = design
        self._num_threads = num_threads
        self._layers: dict[str, _Layer] = {}
        self._shapes: dict[str, torch.Size] = {}

    def __call__(self, target: Target, batch: Batch, output: torch.Tensor) -> None:
        """Take one layer's output of one batch."""
        name = target.label[0]
        if self._shapes.setdefault(name, output.shape[1:]) != output.shape[1:]:
            raise ValueError(
                "the images have different sizes after the model's preprocessing, so that layer"
                f" '{name}' has no one shape; use a transform that evens them."
            )
        design = self._design
        values = as_float(output).reshape(len(output), -1).cpu().numpy()
        weights = np.ascontiguousarray(design.weights[:, batch.positions])
        if name not in self._layers:
            self._layers[name] = _Layer(values[0], ["total", *design.dfs])
        layer = self._layers[name]
        is_first = layer.n_seen == 0
        layer.n_seen += len(values)
        is_last = layer.n_seen == design.n_images
        if is_first and not is_last:
            layer.weighted = np.zeros((len(weights), values.shape[1]))
            layer.squares = np.zeros(values.shape[1])

        def work(chunks: Iterable[slice]) -> None:
            # What is not a number is seen in the sums.
            with np.errstate(invalid="ignore", over="ignore"):
                for units in chunks:
                    deviations = values[:, units].astype(np.float64)
                    deviations -= layer.first[units]
                    weighted = weights @ deviations
                    squares = np.einsum("ij,ij->j", deviations, deviations)
                    if not is_first:
                        weighted += layer.weighted[:, units]
                        squares += layer.squares[units]
                    if is_last:
                        _sum_squares(weighted, squares, design, layer.found, units)
                    else:
                        layer.weighted[:, units], layer.squares[units] = weighted, squares

        self._by_units(work, values.shape)
        if is_last:
            layer.weighted = layer.squares = np.empty(0)

    @property
    def sums_of_squares(self) -> dict[str, dict[str, np.ndarray]]:
        """Those of each layer that has had its last image, flat."""
        return {name: layer.found for name, layer in self._layers.items()}

    def _by_units(self, work: Callable[[Iterable[slice]], None], shape: tuple[int, ...]) -> None:
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
            in_threads(work, parts, self._num_threads)


def _sum_squares(
    weighted: np.ndarray,
    squares: np.ndarray,
    design: Design,
    found: dict[str, np.ndarray],
    units: slice,
) -> None:
    """Fill in the sums of squares of some units."""
    # Rounding of a sum of so many squares.
    floor = 4 * np.sqrt(design.n_images) * np.finfo(float).eps * squares

    def above(values: np.ndarray) -> np.ndarray:
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
