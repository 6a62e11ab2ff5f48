"""Many calls in order, whatever the workers are."""

from __future__ import annotations

import importlib
import itertools
import os
import threading
import time
import warnings

import joblib
import numpy as np
import pytest

import pytorch_feature_analysis as pfa
from pytorch_feature_analysis import _parallel
from pytorch_feature_analysis._parallel import (
    METHODS,
    check_num_cores,
    count_workers,
    iter_finished,
    iter_parallel,
    parallel_map,
)

LISTS = {"x": [2, 1, 3], "y": [6, 2, 4]}
PRODUCTS = [12, 4, 8, 6, 2, 4, 18, 6, 12]


@pytest.mark.parametrize("method", METHODS)
def test_all_combinations_are_multiplied_in_the_order_of_the_keys(method):
    # A lambda cannot be pickled by the standard library: processes need cloudpickle for it.
    results = pfa.parallel_process(lambda x, y: x * y, LISTS, 2, method, True)
    assert results == PRODUCTS
    # oracle: itertools
    assert results == [x * y for x, y in itertools.product(*LISTS.values())]


def test_the_order_of_the_keys_is_the_order_of_the_loops():
    reverse = {"y": LISTS["y"], "x": LISTS["x"]}
    results = pfa.parallel_process(lambda x, y: x * y, reverse, 1, make_combinations=True)
    assert results == [x * y for y in LISTS["y"] for x in LISTS["x"]] != PRODUCTS


def test_a_list_of_dicts_is_one_call_each():
    calls = [{"x": 2, "y": 4}, {"y": 3, "x": 5}]
    assert pfa.parallel_process(lambda x, y: x - y, calls, 2, "threading") == [-2, 2]
    assert pfa.parallel_process(lambda x, y: x - y, tuple(calls), "na") == [-2, 2]


def test_what_is_not_a_list_is_the_same_in_every_call():
    weights = np.array([1.0, 10.0])
    results = pfa.parallel_process(
        lambda pair, weights, sign, power: sign * (pair * weights).sum() ** power,
        {"pair": (2, 3), "weights": weights, "sign": [1, -1], "power": [1, 2]},
        1,
        make_combinations=True,
    )
    assert results == [32, 1024, -32, -1024]


def test_no_calls_give_no_results_and_one_empty_call_gives_one():
    assert pfa.parallel_process(dict, [], 1) == []
    assert pfa.parallel_process(dict, {"a": [], "b": [1]}, 1, make_combinations=True) == []
    assert pfa.parallel_process(dict, [{}], 1) == [{}]


def test_results_come_in_the_order_of_the_calls_not_of_their_end():
    def slow_first(wait):
        time.sleep(wait)
        return wait

    waits = [{"wait": wait} for wait in (0.2, 0.1, 0.0)]
    for progress in (False, True):
        results = pfa.parallel_process(slow_first, waits, 3, "threading", progress=progress)
        assert results == [0.2, 0.1, 0.0]


def test_the_method_says_where_the_work_is_done():
    def place():
        return os.getpid(), threading.get_ident()

    here = place()
    calls = [{}] * 2
    assert set(pfa.parallel_process(place, calls, 2, "sequential")) == {here}
    assert set(pfa.parallel_process(place, calls, 1)) == {here}
    assert here[0] not in {pid for pid, _ in pfa.parallel_process(place, calls, 2)}
    threads = pfa.parallel_process(place, calls, 2, "threading")
    assert {pid for pid, _ in threads} == {here[0]}
    assert here[1] not in {thread for _, thread in threads}


@pytest.mark.parametrize("num_cores", [None, "na"])
def test_without_a_number_of_cores_joblib_decides(num_cores):
    def place(_):
        return threading.get_ident()

    assert parallel_map(place, range(2), num_cores=num_cores) == [threading.get_ident()] * 2
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert threading.get_ident() not in parallel_map(place, range(2), num_cores=num_cores)
        assert threading.get_ident() in parallel_map(place, range(2), num_cores=1)
        # 'pathos' prefers processes, and gives way to what is asked for around it.
        here = pfa.parallel_process(os.getpid, [{}] * 2, num_cores)
        assert here == [os.getpid()] * 2
        assert os.getpid() not in pfa.parallel_process(os.getpid, [{}] * 2, num_cores, "loky")


def test_a_function_may_write_into_a_large_argument_without_changing_it_here():
    large = np.zeros(200_000)  # above 1 MB, joblib hands arrays over by file

    def write(array):
        array[0] = 5
        return array[0] + array[1]

    assert pfa.parallel_process(write, [{"array": large}] * 2, 2) == [5, 5]
    assert not large.any()


def test_the_arguments_stay_as_they_were():
    lists = {"x": [1, 2], "y": 3}
    pfa.parallel_process(lambda x, y: x, lists, 1, make_combinations=True)
    assert lists == {"x": [1, 2], "y": 3}
    calls = [{"a": 1}]
    pfa.parallel_process(lambda **names: names.clear(), calls, 1)
    assert calls == [{"a": 1}]


@pytest.mark.parametrize("num_cores", [1, 2])
@pytest.mark.parametrize("progress", [False, True])
def test_an_exception_of_the_function_is_raised(num_cores, progress):
    with pytest.raises(ZeroDivisionError, match="division"):
        pfa.parallel_process(
            lambda x: 1 // x, [{"x": 1}, {"x": 0}], num_cores, "threading", progress=progress
        )


def test_the_map_keeps_the_order_and_takes_any_iterable():
    items = list(range(20))
    assert parallel_map(lambda item: item**2, items, num_cores=2) == [i**2 for i in items]
    drawn = (item for item in items)
    assert parallel_map(lambda item: -item, drawn, progress=True) == [-i for i in items]
    assert parallel_map(len, []) == []


@pytest.mark.parametrize("num_cores", [1, 2])
def test_the_bar_counts_finished_items_and_says_what_they_are(num_cores, capsys):
    with joblib.parallel_config(backend="threading"):
        parallel_map(abs, range(7), num_cores=num_cores, progress=True, description="layers")
    bar = capsys.readouterr().err.split("\r")
    assert "0/7" in bar[1]
    assert "layers" in bar[-1]
    assert "7/7" in bar[-1]


def test_the_bar_moves_while_work_is_left(monkeypatch):
    done = []

    class Bar:
        def __init__(self, **options):
            assert options == {"total": 3, "desc": None}

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def update(self):
            seen.append(len(done))

    seen: list[int] = []
    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    parallel_map(done.append, range(3), num_cores=1, progress=True)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize(
    ("backend", "num_cores"), [("threading", 2), ("threading", 1), ("sequential", None)]
)
def test_results_come_one_by_one_and_who_stops_asking_ends_the_work(backend, num_cores, progress):
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.002)
        return -item

    with joblib.parallel_config(backend=backend):
        results = iter_parallel(work, range(200), num_cores=num_cores, progress=progress)
        assert [next(results) for _ in range(3)] == [0, -1, -2]
        results.close()  # a warning here would be an error
    assert len(started) < 100


def test_what_is_done_before_a_failure_is_handed_on():
    results = iter_parallel(lambda item: 1 // (2 - item), range(5), num_cores=1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_bad_numbers_of_cores_are_refused_before_the_first_result_is_asked_for():
    with pytest.raises(ValueError, match="`num_cores` must not be 0"):
        iter_parallel(abs, [1], num_cores=0)


def test_there_is_no_bar_by_default(capsys):
    parallel_map(abs, range(3))
    pfa.parallel_process(abs.__class__.__call__, [], 1)
    assert capsys.readouterr() == ("", "")


def test_a_backend_that_cannot_hand_results_over_one_by_one_still_has_a_bar():
    with joblib.parallel_config(backend="multiprocessing", n_jobs=1):
        assert parallel_map(abs, [-1, -2], progress=True) == [1, 2]


def test_an_unknown_method_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"`method` names 'pathoss'.*Did you mean 'pathos'.*loky"):
        pfa.parallel_process(abs, [], 1, "pathoss")


def test_a_dict_needs_the_word_for_combinations_and_a_list_must_not_have_it():
    with pytest.raises(TypeError, match=r"must be a list of dicts.*add `make_combinations=True`"):
        pfa.parallel_process(lambda x, y: x * y, LISTS, 1)
    with pytest.raises(TypeError, match=r"must be one dict of lists.*leave `make_combinations`"):
        pfa.parallel_process(lambda x, y: x * y, [{"x": 1}], 1, make_combinations=True)


def test_bad_calls_are_named():
    with pytest.raises(TypeError, match=r"`arg_dict` must be a list of dicts.*item 1 is 3"):
        pfa.parallel_process(abs, [{"x": 2}, 3], 1)
    with pytest.raises(
        TypeError, match="`arg_dict` must be a list of dicts, one per call, not 'x"
    ):
        pfa.parallel_process(abs, "xy", 1)
    with pytest.raises(TypeError, match="`func` must be a function, not int"):
        pfa.parallel_process(3, [], 1)


def test_the_number_of_cores_is_a_whole_number_but_not_zero():
    assert check_num_cores(np.int64(3)) == 3
    assert check_num_cores(-1) == -1
    with pytest.raises(ValueError, match="`num_cores` must not be 0: 1 works without workers"):
        parallel_map(abs, [], num_cores=0)
    for bad in (2.0, True, "all"):
        with pytest.raises(TypeError, match=f"`num_cores` must be a whole number.*not {bad!r}"):
            pfa.parallel_process(abs, [], bad)


# What joblib says, in a thread of its own, where a worker has grown and is replaced by a new one.
REPLACED = "A worker stopped while some jobs were given to the executor. This can be caused by"


@pytest.mark.parametrize(
    ("backend", "num_cores"), [("threading", 3), ("sequential", None), ("loky", 1)]
)
def test_finished_results_come_with_the_places_of_their_items(backend, num_cores):
    items = [5, 3, 8, 3]
    with joblib.parallel_config(backend=backend):
        found = list(iter_finished(lambda item: item**2, items, num_cores=num_cores))
    assert sorted(found) == [(0, 25), (1, 9), (2, 64), (3, 9)]
    if num_cores in (None, 1):
        assert [place for place, _ in found] == [0, 1, 2, 3]


def test_what_is_finished_first_comes_first_from_threads():
    go_on = threading.Event()

    def first_waits(item):
        assert item or go_on.wait(30)
        return -item

    with joblib.parallel_config(backend="threading"):
        results = iter_finished(first_waits, range(3), num_cores=2)
        assert sorted([next(results), next(results)]) == [(1, -1), (2, -2)]
        go_on.set()
        assert list(results) == [(0, 0)]


def test_no_items_have_no_results():
    for num_cores in (None, 2):
        assert list(iter_finished(abs, [], num_cores=num_cores)) == []


@pytest.mark.parametrize("num_cores", [1, 2])
def test_an_exception_ends_what_is_being_finished(num_cores):
    started = []

    def third_fails(item):
        started.append(item)
        if item == 2:
            raise ZeroDivisionError("of the user's own")
        time.sleep(0.001)
        return item

    with joblib.parallel_config(backend="threading"):
        results, found = iter_finished(third_fails, range(300), num_cores=num_cores), []
        with pytest.raises(ZeroDivisionError, match="of the user's own"):
            found.extend(results)
        assert list(results) == []
    assert 2 not in [place for place, _ in found]
    assert len(started) < 150
    if num_cores == 1:
        assert found == [(0, 0), (1, 1)]


def test_who_stops_asking_for_finished_results_ends_the_work():
    started = []

    def work(item):
        started.append(item)
        time.sleep(0.002)

    with joblib.parallel_config(backend="threading"):
        results = iter_finished(work, range(300), num_cores=2)
        next(results)
        results.close()  # a warning here would be an error
    assert len(started) < 150


def test_bad_numbers_of_cores_are_refused_for_finished_results():
    with pytest.raises(ValueError, match="`num_cores` must not be 0"):
        next(iter_finished(abs, [1], num_cores=0))


def test_a_backend_that_knows_no_order_but_its_own_still_gives_the_places():
    with joblib.parallel_config(backend="multiprocessing", n_jobs=1):
        assert list(iter_finished(abs, [-1, -2])) == [(0, 1), (1, 2)]


def test_a_worker_that_is_replaced_is_no_cause_for_alarm():
    # Workers that hold networks grow. Made an error, the word of it would end joblib's thread, and
    # the results would never come.
    def work(item):
        warnings.warn(REPLACED, UserWarning, stacklevel=1)
        return item

    for iterate in (iter_finished, iter_parallel):
        assert len(list(iterate(work, range(2), num_cores=1))) == 2


def test_a_module_that_the_work_itself_lacks_is_not_laid_at_a_workers_door():
    def imports(_):
        importlib.import_module("a_module_of_nowhere")

    with pytest.raises(ModuleNotFoundError, match="No module named 'a_module_of_nowhere'"):
        list(iter_finished(imports, [1], num_cores=1))


def test_workers_are_counted_as_joblib_does():
    assert count_workers(None) == count_workers("na") == (1, True)
    assert count_workers(3) == (3, True)
    assert count_workers(-1) == (joblib.effective_n_jobs(-1), True)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert count_workers(None) == (2, True)
        assert count_workers(1) == (1, True)
    with joblib.parallel_config(n_jobs=5):
        assert count_workers("na") == (5, True)
    with joblib.parallel_config(backend="sequential"):
        assert count_workers(4) == (1, True)
    with pytest.raises(ValueError, match="must not be 0"):
        count_workers(0)


def test_workers_of_dask_may_be_on_other_machines(monkeypatch):
    backend = type("DaskDistributedBackend", (), {"__module__": "joblib._dask"})()
    monkeypatch.setattr(_parallel, "get_active_backend", lambda: (backend, None))
    monkeypatch.setattr(_parallel, "effective_n_jobs", lambda n_jobs: 7)
    assert count_workers(None) == (7, False)


def test_there_is_at_least_one_worker(monkeypatch):
    monkeypatch.setattr(_parallel, "effective_n_jobs", lambda n_jobs: 0)
    assert count_workers(None) == (1, True)
