"""How many threads numerical libraries use in this process, and work shared out among as many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

# From so many numbers on, a thread is worth its start.
_MANY_NUMBERS = 2**20


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


def by_rows(function: Callable[[slice], object], n_rows: int, n_numbers: int) -> None:
    """Call a function, which lets other threads run, for all of `n_rows` by stretches of rows.

    Where it works on many numbers, in as many threads as products of matrices may use.
    """
    n_threads = min(n_rows, n_blas_threads()) if n_numbers >= _MANY_NUMBERS else 1
    if n_threads <= 1:
        function(slice(0, n_rows))
        return
    stretches = [
        slice(n_rows * i // n_threads, n_rows * (i + 1) // n_threads) for i in range(n_threads)
    ]
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(function, stretches))
