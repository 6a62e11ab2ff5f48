"""How many threads numerical libraries use, in this process."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@functools.cache
def _blas() -> Any:
    # Deferred: it is imported with scikit-learn, or when the first product is large.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def n_blas_threads() -> int:
    """Count the threads that a product of matrices may use."""
    return max((library.num_threads for library in _blas().lib_controllers), default=1)


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Hold products of matrices to `number` threads."""
    with _blas().limit(limits=number):
        yield
