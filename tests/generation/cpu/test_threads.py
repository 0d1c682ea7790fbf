"""Worker threads run together or not at all, serve one caller at a time, and end with their owner."""

import gc
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mfcc_wavenet.generation.cpu.threads import WorkerThreads

TIMEOUT = 10  # seconds until a thread that waits for another gives up, so that a test fails instead of hanging


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_all_threads_run_at_the_same_time(num_threads):
    """Each with its own thread_id: none passes the barrier before all have arrived."""
    barrier, seen = threading.Barrier(num_threads), []

    def arrive(thread_id: int) -> None:
        barrier.wait(TIMEOUT)
        seen.append(thread_id)

    WorkerThreads(num_threads).run_together(arrive)
    assert sorted(seen) == list(range(num_threads))


def test_callers_take_turns():
    """With some of the threads each, they would wait for ever."""
    threads = WorkerThreads(2)

    def call(_) -> None:
        barrier = threading.Barrier(2)
        for _ in range(100):
            threads.run_together(lambda thread_id: barrier.wait(TIMEOUT))

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(call, range(4)))


@pytest.mark.parametrize("thread_id", [0, 1])
def test_an_error_reaches_the_caller(thread_id):
    """And the threads can be used again."""
    threads, ran = WorkerThreads(2), []

    def fail(own_id: int) -> None:
        if own_id == thread_id:
            raise ValueError("of one thread")

    with pytest.raises(ValueError, match="of one thread"):
        threads.run_together(fail)
    threads.run_together(ran.append)
    assert sorted(ran) == [0, 1]


def test_threads_are_kept_until_their_owner_is_collected():
    before = set(threading.enumerate())
    threads = WorkerThreads(2)
    assert set(threading.enumerate()) == before
    for _ in range(10):
        threads.run_together(lambda thread_id: threading.Barrier(1).wait(TIMEOUT))
    started = set(threading.enumerate()) - before
    assert 1 <= len(started) <= 2
    del threads
    gc.collect()
    for thread in started:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def _run_together_in_child(threads: WorkerThreads, ran: multiprocessing.Queue) -> None:
    threads.run_together(ran.put)


def test_a_forked_process_has_threads_of_its_own():
    """Those of its parent are not there."""
    threads, context = WorkerThreads(2), multiprocessing.get_context("fork")
    threads.run_together(lambda thread_id: None)
    ran = context.Queue()
    child = context.Process(target=_run_together_in_child, args=(threads, ran))
    child.start()
    assert sorted(ran.get(timeout=TIMEOUT) for _ in range(2)) == [0, 1]
    child.join(TIMEOUT)
    assert child.exitcode == 0
