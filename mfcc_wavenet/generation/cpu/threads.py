"""The threads of a generator: started when first needed, kept from block to block, ended with the generator."""

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from typing import NamedTuple


class _Pool(NamedTuple):
    process: int  # that it belongs to
    executor: ThreadPoolExecutor
    lock: threading.Lock  # of who runs a function on all threads together


class WorkerThreads:
    """A pool of num_threads threads, for tasks that are independent and for tasks that wait for one another.

    The threads end when this object is garbage-collected.
    """

    def __init__(self, num_threads: int):
        self.num_threads = num_threads
        self._pool: _Pool | None = None

    @property
    def executor(self) -> ThreadPoolExecutor:
        """For independent tasks."""
        return self._started().executor

    def run_together(self, function: Callable[[int], object]) -> None:
        """Runs function(thread_id) on all threads at the same time, as functions that wait at a barrier need.

        Of several callers, one at a time has the threads: with some of each, both would wait for ever. An exception,
        Ctrl-C included, is raised when all threads have returned.
        """
        pool = self._started()
        with pool.lock:
            # Submitted by a thread, which Ctrl-C does not interrupt: it must not come when only some are submitted.
            task = pool.executor.submit(_submit_and_join, pool.executor, function, self.num_threads)
            try:
                task.result()
            finally:
                wait([task])

    def _started(self) -> _Pool:
        """A forked process gets its own pool: threads do not survive a fork."""
        if self._pool is None or self._pool.process != os.getpid():
            pool = _Pool(os.getpid(), ThreadPoolExecutor(self.num_threads, "generator"), threading.Lock())
            weakref.finalize(self, pool.executor.shutdown, wait=False)
            self._pool = pool
        return self._pool


def _submit_and_join(executor: Executor, function: Callable[[int], object], num_threads: int) -> None:
    others = [executor.submit(function, thread_id) for thread_id in range(1, num_threads)]
    function(0)
    for other in others:
        other.result()
