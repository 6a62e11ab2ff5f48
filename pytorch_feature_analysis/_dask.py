"""Work for the workers of a Dask cluster, and a scheduler that shares it out."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from joblib import parallel_config

Result = TypeVar("Result")


def is_dask(backend: Any) -> bool:
    """Tell whether a backend of joblib sends work to a Dask cluster."""
    return "dask" in type(backend).__module__


def finished_on_dask(
    client: Any, func: Callable[..., Result], calls: Iterable[tuple[Any, ...]]
) -> Generator[Result, None, None]:
    """Yield the result of each call as it comes from the workers of a Dask cluster.

    joblib's own way there waits forever for a call whose workers are lost, and makes the calls
    here where there is one worker.
    """
    import cloudpickle
    from distributed import as_completed

    # Sent by value, and the work as bytes, so that a worker which lacks a module says so.
    def unpacked(content: bytes) -> Result:
        import pickle

        call, *arguments = pickle.loads(content)  # noqa: S301 - what this process has packed
        return call(*arguments)

    def submit(arguments: tuple[Any, ...]) -> Any:
        content = cloudpickle.dumps((func, *arguments))
        return client.submit(unpacked, content, pure=False)

    upcoming = iter(calls)
    waiting = as_completed()
    with warnings.catch_warnings():
        # A unit of work comes with its network, so that it can be done again where a worker dies.
        warnings.filterwarnings("ignore", "Sending large graph", category=UserWarning)
        n_ahead = 2 * max(1, sum(client.ncores().values()))
        unfinished = {submit(call) for call in itertools.islice(upcoming, n_ahead)}
        waiting.update(unfinished)
        try:
            for future in waiting:
                unfinished.discard(future)
                yield future.result()
                for call in itertools.islice(upcoming, 1):
                    following = submit(call)
                    unfinished.add(following)
                    waiting.add(following)
        finally:
            with contextlib.suppress(Exception):
                client.cancel(list(unfinished))


@contextlib.contextmanager
def using_scheduler(address: str, *, timeout: float = 10.0) -> Iterator[None]:
    """Have all calls made by the workers of a Dask scheduler, such as 'tcp://10.0.0.1:8786'."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            "`scheduler` needs Dask, which is not installed:"
            " pip install 'pytorch_feature_analysis[distributed]'"
        ) from error
    try:
        client = Client(address, timeout=timeout)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectionError(
            f"`scheduler` is '{address}', but nothing answers there within {timeout:g} s: {error}."
            " Start one with `dask scheduler`, which prints its address, and workers with"
            " `dask worker ADDRESS --nthreads 1`."
        ) from error
    with client:
        _check_workers(client, address)
        with parallel_config(backend="dask", client=client):
            yield


def _check_workers(client: Any, address: str) -> None:
    """Raise unless there are workers, and each has this package."""
    package = __name__.partition(".")[0]

    # Sent by value, since it must run where the package may be missing.
    def has_package() -> bool:
        import importlib.util

        return importlib.util.find_spec(package) is not None

    found = client.run(has_package)
    if not found:
        raise ConnectionError(
            f"`scheduler` '{address}' has no workers yet: start some with"
            f" `dask worker {address} --nthreads 1`."
        )
    without = sorted(worker for worker, has in found.items() if not has)
    if without:
        raise RuntimeError(
            f"`scheduler` '{address}' has workers without {package}:"
            f" {', '.join(without)}. Install it in their environment, in the same version."
        )
