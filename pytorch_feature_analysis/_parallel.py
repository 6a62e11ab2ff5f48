"""Many calls of one function, in order, on joblib.

Results come in the order of the work items, whatever the number of workers. A number of cores
that is None or 'na' leaves the choice to `joblib.parallel_config`; without one, the calls run one
after the other in this process.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import get_active_backend

from pytorch_feature_analysis._checks import check_name, check_sequence
from pytorch_feature_analysis._dask import finished_on_dask, is_dask

Item = TypeVar("Item")
Result = TypeVar("Result")

NumCores = int | str | None

# What joblib is told for each `method`. 'pathos' and 'multiprocessing' name the packages of older
# releases: both mean processes, of which joblib's own default is the robust kind; as a preference
# it still gives way to the backend of a surrounding `joblib.parallel_config`.
METHODS: dict[str, dict[str, Any]] = {
    "pathos": {"prefer": "processes"},
    "multiprocessing": {"prefer": "processes"},
    "loky": {"backend": "loky"},
    "threading": {"backend": "threading"},
    "sequential": {"backend": "sequential"},
}


def check_num_cores(num_cores: NumCores, *, argument: str = "num_cores") -> int | None:
    """Return the number of workers as joblib counts them, None for 'na'."""
    if num_cores is None or (isinstance(num_cores, str) and num_cores == "na"):
        return None
    if isinstance(num_cores, bool) or not isinstance(num_cores, (int, np.integer)):
        raise TypeError(
            f"`{argument}` must be a whole number, or None or 'na' to leave it to"
            f" joblib.parallel_config, not {num_cores!r}."
        )
    if num_cores == 0:
        raise ValueError(
            f"`{argument}` must not be 0: 1 works without workers, -1 takes all cores, None or"
            " 'na' leaves it to joblib.parallel_config."
        )
    return int(num_cores)


def iter_parallel(
    func: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_cores: NumCores = None,
    progress: bool = False,
    description: str = "",
) -> Iterator[Result]:
    """Call `func` on every item, and yield the results in the order of the items.

    Each result is handed on as soon as it is its turn, so that what is done is not lost to a
    later failure. Whoever stops asking ends the work.

    Parameters
    ----------
    func : callable
        Takes one item. With processes, it and the items are sent by cloudpickle (lambdas and
        closures too), and large arrays arrive read-only.
    items : iterable
        The work; one that has no length is drawn as the workers need it.
    num_cores : int, None or 'na', default None
        Workers; -1 for all cores. None and 'na' leave it to `joblib.parallel_config`.
    progress : bool, default False
        Show a bar of the finished items.
    description : str, default ''
        The words before the bar.

    Yields
    ------
    object
        One result per item. The first exception ends the work and is raised here.
    """
    total = len(items) if isinstance(items, Sized) else None
    tasks = (delayed(func)(item) for item in items)
    return _iterate(tasks, total, check_num_cores(num_cores), progress, description, {})


def iter_finished(
    func: Callable[[Item], Result], items: Sequence[Item], *, num_cores: NumCores = None
) -> Iterator[tuple[int, Result]]:
    """Call `func` on every item, and yield each result as it comes, with its item's place.

    For results that are to be kept as soon as they are there; see `iter_parallel`.
    """
    n_jobs = check_num_cores(num_cores)
    backend, _ = get_active_backend()
    results: Generator[tuple[int, Result], None, None]
    if n_jobs is None and is_dask(backend):
        calls = ((func, place, item) for place, item in enumerate(items))
        results = finished_on_dask(backend.client, _numbered, calls)
    else:
        numbered = delayed(_numbered)
        tasks = (numbered(func, place, item) for place, item in enumerate(items))
        results = _iterate(
            tasks, len(items), n_jobs, False, "", {}, return_as="generator_unordered"
        )
    with contextlib.closing(results):
        try:
            yield from results
        except Exception as error:
            reason = _why_workers_failed(error)
            if reason is None:
                raise
            raise RuntimeError(reason) from error


def _numbered(func: Callable[[Item], Result], place: int, item: Item) -> tuple[int, Result]:
    return place, func(item)


def _why_workers_failed(error: Exception) -> str | None:
    """Say what happened to a worker, where it is that which failed and not the work."""
    kind, told = type(error).__name__, "".join(traceback.format_exception(error))
    is_of_work = f"in {_numbered.__name__}" in told
    lacks = re.findall(r"ModuleNotFoundError: (No module named '[^']*')", told)
    if lacks and not is_of_work:
        return (
            f"a worker could not load its work: {lacks[0]}. Install what this process has, in the"
            " same versions, where the workers run, and keep classes of your own networks in a"
            " module that the workers can import."
        )
    if kind in ("CommClosedError", "FutureCancelledError", "CancelledError"):
        return (
            f"the scheduler has ended, or cannot be reached ({kind}: {error}). Start it again, and"
            " make the same call."
        )
    if kind in ("TerminatedWorkerError", "BrokenProcessPool", "KilledWorker"):
        return (
            f"a worker ended in the middle of its work ({kind}: {error}). It may have been killed"
            " for want of memory: take a smaller `memory_budget` or fewer workers."
        )
    return None


def count_workers(num_cores: NumCores) -> tuple[int, bool]:
    """Count the workers that calls would be shared out among, and say if they share a machine."""
    n_jobs = check_num_cores(num_cores)
    number = effective_n_jobs(n_jobs)
    backend, _ = get_active_backend()
    return max(1, number), not is_dask(backend)


def parallel_map(
    func: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    num_cores: NumCores = None,
    progress: bool = False,
    description: str = "",
) -> list[Result]:
    """Call `func` on every item, and return the results in the order of the items.

    The list of what `iter_parallel` yields; see there.
    """
    results = iter_parallel(
        func, items, num_cores=num_cores, progress=progress, description=description
    )
    return list(results)


def parallel_process(
    func: Callable[..., Result],
    arg_dict: Iterable[Mapping[str, Any]] | Mapping[str, Any],
    num_cores: NumCores,
    method: str = "pathos",
    make_combinations: bool = False,
    *,
    progress: bool = False,
) -> list[Result]:
    """Call a function many times with different arguments, in parallel.

    Parameters
    ----------
    func : callable
        Called with keyword arguments. A lambda or a nested function will do.
    arg_dict : list of dict, or dict
        A list of dicts, one call each, from argument name to value. With
        `make_combinations=True`, one dict whose lists are the values to combine: the function is
        called once for every combination, the last argument changing fastest. A value that is
        not a list (a tuple or an array, say) is the same in every call.
    num_cores : int, None or 'na'
        Workers; -1 for all cores, 1 for none beside this process. None and 'na' leave it to
        `joblib.parallel_config`.
    method : {'pathos', 'multiprocessing', 'loky', 'threading', 'sequential'}, default 'pathos'
        What the workers are. The first two are legacy names for processes of joblib's own
        choosing, which `joblib.parallel_config` may change; 'loky' insists on joblib's processes;
        'threading' suits functions that wait, or compute in numpy; 'sequential' works in this
        process.
    make_combinations : bool, default False
        Whether `arg_dict` is the dict of lists.
    progress : bool, default False
        Show a bar of the finished calls.

    Returns
    -------
    list
        One result per call, in the order of the calls.

    Notes
    -----
    Worker processes get copies: what a function does to its arguments there is not seen here.

    Examples
    --------
    >>> import pytorch_feature_analysis as pfa
    >>> def multiply(x, y):
    ...     return x * y
    >>> pfa.parallel_process(multiply, [{"x": 2, "y": 4}, {"x": 5, "y": 3}], num_cores=1)
    [8, 15]
    >>> pfa.parallel_process(
    ...     multiply,
    ...     {"x": [2, 1, 3], "y": [6, 2, 4]},
    ...     num_cores=2,
    ...     method="threading",
    ...     make_combinations=True,
    ... )
    [12, 4, 8, 6, 2, 4, 18, 6, 12]
    """
    if not callable(func):
        raise TypeError(f"`func` must be a function, not {type(func).__name__}.")
    check_name(method, METHODS, argument="method", what="method")
    calls = _combined(arg_dict) if make_combinations else _listed(arg_dict)
    # Copy on write: a function may write into its arguments, as it may without workers.
    options = {**METHODS[method], "mmap_mode": "c"}
    tasks = (delayed(func)(**call) for call in calls)
    n_jobs = check_num_cores(num_cores)
    return list(_iterate(tasks, len(calls), n_jobs, progress, "", options))


def _listed(arg_dict: Any) -> list[dict[str, Any]]:
    """Return the calls of a list of dicts."""
    if isinstance(arg_dict, Mapping):
        raise TypeError(
            "`arg_dict` must be a list of dicts, one per call, not one dict. To call with every"
            " combination of the values in its lists, add `make_combinations=True`."
        )
    calls = check_sequence(arg_dict, argument="arg_dict", of="dicts, one per call")
    for position, call in enumerate(calls):
        if not isinstance(call, Mapping):
            raise TypeError(
                "`arg_dict` must be a list of dicts from argument name to value, but item"
                f" {position} is {call!r}."
            )
    return calls


def _combined(arg_dict: Any) -> list[dict[str, Any]]:
    """Return the calls for all combinations of the lists of a dict."""
    if not isinstance(arg_dict, Mapping):
        raise TypeError(
            "`arg_dict` must be one dict of lists with `make_combinations=True`, not"
            f" {type(arg_dict).__name__}. For a list of dicts, leave `make_combinations` False."
        )
    choices = [value if isinstance(value, list) else [value] for value in arg_dict.values()]
    return [dict(zip(arg_dict, values, strict=True)) for values in itertools.product(*choices)]


def _iterate(
    tasks: Iterable[Any],
    total: int | None,
    n_jobs: int | None,
    progress: bool,
    description: str,
    options: dict[str, Any],
    return_as: str = "generator",
) -> Generator[Any, None, None]:
    try:
        pool = Parallel(n_jobs=n_jobs, return_as=return_as, **options)
    except ValueError:
        # joblib's multiprocessing backend, which a parallel_config may ask for, has no generator.
        pool = Parallel(n_jobs=n_jobs, **options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # joblib replaces a worker that it has ended for growing too large.
        warnings.filterwarnings("ignore", "A worker stopped while", category=UserWarning)
        results = pool(tasks)
        if not isinstance(results, list):
            stack.callback(_close, results)
        if progress:
            # Deferred: only bars need it.
            from tqdm.auto import tqdm

            bar = stack.enter_context(tqdm(total=total, desc=description or None))
        # Not "yield from", which would close the results, with a warning, on its own.
        for result in results:
            if progress:
                bar.update()
            yield result


def _close(results: Any) -> None:
    """End the work, where not all is wanted, without joblib's warning that it was in vain."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(not used|cancelled)", category=UserWarning)
        results.close()
