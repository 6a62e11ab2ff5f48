"""What a pass of a network may take: so many threads, and as many images as memory holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from pytorch_feature_analysis._threads import blas_threads

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Hold torch and BLAS to `number` threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(number)
        with blas_threads(number):
            yield
    finally:
        torch.set_num_threads(before)


def in_batches_that_fit(
    run: Callable[[int], _Result], batch_size: int, model_name: str
) -> tuple[_Result, int]:
    """Call `run` with a batch size, and with half of it as often as there is no memory for it.

    Returns what came of it, and the last batch size.
    """
    asked = batch_size
    while True:
        try:
            return run(batch_size), batch_size
        except (MemoryError, RuntimeError) as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler, whose traceback holds what the pass has allocated.
        batch_size //= 2
        logger.warning(
            "model '%s': out of memory; going on with batches of %d images. Their numbers agree"
            " with those of batches of %d to about 1e-4; `batch_size`=%d asks for them from the"
            " start.",
            *(model_name, batch_size, asked, batch_size),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a pass failed for want of memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in ("can't allocate memory", "out of memory"))
