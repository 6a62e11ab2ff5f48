"""Work shared out among threads that stay."""

import os
import signal
import threading
import time

import pytest

from pytorch_feature_analysis._threads import in_threads


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(n_threads):
    def square(item):
        time.sleep(0.001 * (7 - item))
        return item**2

    assert in_threads(square, iter(range(7)), n_threads) == [item**2 for item in range(7)]
    assert in_threads(square, [], n_threads) == []


def test_threads_stay_for_the_next_call():
    names = [in_threads(lambda _: threading.get_ident(), range(20), 2) for _ in range(3)]
    assert len({ident for idents in names for ident in idents}) <= 2


def test_work_within_work_waits_for_nobody():
    def outer(item):
        return sum(in_threads(lambda inner: item * inner, range(4), 2))

    assert in_threads(outer, range(6), 2) == [6 * item for item in range(6)]


def test_after_an_error_what_has_not_begun_is_left():
    done = []

    def work(item):
        if item == 0:
            raise ValueError("the first")
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(ValueError, match="the first"):
        in_threads(work, range(20), 2)
    count = len(done)
    assert count < 5
    time.sleep(0.2)
    assert len(done) == count


def test_after_an_interrupt_nobody_works_on():
    done = []

    def work(item):
        time.sleep(0.1)
        done.append(item)

    timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        in_threads(work, range(20), 2)
    count = len(done)
    assert count < 10
    time.sleep(0.3)
    assert len(done) == count


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    in_threads(abs, range(4), 2)
    child = os.fork()
    if child == 0:
        os._exit(0 if in_threads(abs, range(-4, 0), 2) == [4, 3, 2, 1] else 1)
    for _ in range(100):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        pytest.fail("the forked process waits for threads that it has not")
    assert status == 0
