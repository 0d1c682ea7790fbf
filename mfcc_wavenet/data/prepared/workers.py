"""The processes that prepare shards of a corpus next to one another."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import torch

from mfcc_wavenet.data.prepared.shards import Recipe, SourceFile, write_shard

IN_FLIGHT = 2  # shards for each process that are begun before those in front of them are joined


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def made(
    folder: Path, shards: list[list[SourceFile]], limit: Callable[[], int], recipe: Recipe, workers: int
) -> Iterator[Path]:
    """The folders of all shards in their order, each once it is there; those that are not are prepared.

    limit: the samples that a shard that is begun now may have at most. workers: 1 for this process alone.
    """
    paths = [folder / f"{number:06d}" for number in range(len(shards))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    if workers == 1 or len(missing) < 2:
        for path, files in zip(paths, shards):
            if not path.exists():
                write_shard(path, files, limit(), recipe)
            yield path
        return
    # A forked process has all modules loaded and shares their memory; elsewhere than on Linux, forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    count = min(workers, len(missing))
    pool = ProcessPoolExecutor(count, context, initializer=_begin)
    begun: dict[int, Future] = {}
    try:
        upcoming = iter(missing)
        for number, path in enumerate(paths):
            while len(begun) < IN_FLIGHT * count and (following := next(upcoming, None)) is not None:
                begun[following] = pool.submit(write_shard, paths[following], shards[following], limit(), recipe)
            if number in begun:
                begun.pop(number).result()
            yield path
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Of a process: in a group of its own, since Ctrl-C and `timeout` signal the main one's, which saves and ends them.

    Not deaf to SIGTERM: the pool sends it where another process was killed, maybe holding what this one waits for.
    """
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()
    torch.set_num_threads(1)


def _end_with_the_main_process() -> None:
    multiprocessing.parent_process().join()
    os._exit(0)
