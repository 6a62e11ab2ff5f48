"""What a measure of similarity is: how it is computed, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Measure:
    """A measure between two representations of the same stimuli.

    It is computed in two steps, so that many pairs share what depends on one representation
    alone. Representations are float64 tables (n_stimuli, n_units) that `prepare` may change, or
    where `copies` is true, tables of any real numbers that it may not.
    """

    name: str
    function: Callable[..., float]
    """``function(x, y, **options)``, the measure of two arrays."""
    prepare: Callable[..., Any]
    """``prepare(x, **options)``: all that comparisons need of one representation."""
    compare: Callable[..., float]
    """``compare(prepared_x, prepared_y, **options)``."""
    direction: str
    """'similarity' (larger is more alike) or 'distance' (0 is the same)."""
    value_range: tuple[float, float]
    """Lowest and highest value."""
    ignores: tuple[str, ...]
    """What may be done to one side without a change: 'translation', 'scale' (of all units alike),
    'rotation', 'invertible' (any invertible linear map), 'unit order'."""
    needs: str
    """The data that it is meaningful for, in a sentence."""
    minimum: int = 2
    """The fewest stimuli."""
    saturates: bool = False
    """Whether it is near its best for any data that have more units than stimuli."""
    is_symmetric: bool = True
    copies: bool = False
    """Whether `prepare` takes what copies it needs itself, so that all can wait as they are."""
    permute: Callable[[Any, np.ndarray], Any] | None = None
    """``permute(prepared, order)``: what `prepare` gives for the stimuli in another order; by
    default it is called again."""
    compare_all: Callable[..., np.ndarray] | None = None
    """``compare_all(prepared, **options)``: the values (n, n) of all pairs of a list at once,
    where that is faster than one after the other."""

    def all_pairs(self, prepared: Sequence[Any], **options: Any) -> np.ndarray:
        """Values (n, n) of all pairs."""
        if self.compare_all is not None:
            return self.compare_all(prepared, **options)
        values = np.empty((len(prepared), len(prepared)))
        for i, first in enumerate(prepared):
            for j, second in enumerate(prepared):
                if self.is_symmetric and j < i:
                    values[i, j] = values[j, i]
                else:
                    values[i, j] = self.compare(first, second, **options)
        return values
