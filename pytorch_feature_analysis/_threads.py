"""How many threads numerical libraries use in this process, and work shared out among as many."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# From so many numbers on, several threads are worth their while.
_MANY_NUMBERS = 2**20
# By their size; their threads stay, since to start them takes as long as copying a megabyte.
_pools: dict[int, ThreadPoolExecutor] = {}
_here = threading.local()
if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads.
    os.register_at_fork(after_in_child=_pools.clear)


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


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int
) -> list[_Result]:
    """Call a function, which lets other threads run, for all items, so many at a time."""
    if n_threads <= 1 or getattr(_here, "is_in_pool", False):
        return [function(item) for item in items]
    pool = _pools.get(n_threads)
    if pool is None:
        # Another thread may do the same now: one of the two pools is forgotten behind its work.
        pool = ThreadPoolExecutor(n_threads, "pfa", lambda: setattr(_here, "is_in_pool", True))
        _pools[n_threads] = pool
    futures: list[Future[_Result]] = []
    try:
        futures.extend(pool.submit(function, item) for item in items)
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        # After an error or an interrupt nobody works on.
        for future in futures:
            future.cancel()
        wait(futures)
    for future in futures:
        if not future.cancelled() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]


def by_rows(function: Callable[[slice], object], n_rows: int, n_numbers: int) -> None:
    """Call a function, which lets other threads run, for all of `n_rows` by stretches of rows.

    Where it works on many numbers, in as many threads as products of matrices may use.
    """
    n_threads = max(1, min(n_rows, n_blas_threads())) if n_numbers >= _MANY_NUMBERS else 1
    bounds = [n_rows * i // n_threads for i in range(n_threads + 1)]
    in_threads(function, [slice(*pair) for pair in pairwise(bounds)], n_threads)
