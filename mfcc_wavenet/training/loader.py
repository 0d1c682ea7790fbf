"""Batches from processes of their own, which leave it to the main one when and how a run ends."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.data.windows import Windows

DEATH = "DataLoader worker"  # how torch's error begins
GRACE_SECONDS = 3.0  # that a worker lives on after SIGTERM


def load_batches(windows: Windows, position: Position, workers: int, device: torch.device) -> Iterator[Batch]:
    """The batches from that position on, without end, in order; workers: processes, 0 for this one."""
    return iter(
        DataLoader(
            windows,
            sampler=windows.positions(position),
            batch_size=None,  # a position stands for a whole batch
            num_workers=workers,
            worker_init_fn=leave_the_end_to_parent,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own, so that starting it leaves the run's randomness alone
        )
    )


def on_device(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on the device. A GPU copies each from pinned memory while it still computes the step before."""
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    side = torch.cuda.Stream(device)
    copied: Batch | None = None
    for batch in batches:
        with torch.cuda.stream(side):
            upcoming = batch.to(device)
            done = side.record_event()
        if copied is not None:
            yield copied
        # Only now: the step that was just handed out is queued, and does not have to wait for this copy.
        stream = torch.cuda.current_stream(device)
        stream.wait_event(done)
        upcoming.record_stream(stream)
        copied = upcoming


def leave_the_end_to_parent(_: int) -> None:
    """For worker processes: Ctrl-C, `timeout` and batch systems signal the whole group, but the parent ends the run.

    It may need more batches until it has saved. SIGTERM is also how it stops a worker that does not stop by itself, so
    that one ends after a while, and as if nothing had happened: torch would take another end for a failure. Its thread
    that hands out batches is silent where the parent hangs up: it does so in mid-word once another worker was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: threading.Timer(GRACE_SECONDS, os._exit, (0,)).start())
    sys.excepthook = _unless_parent_hung_up


def _unless_parent_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


@contextlib.contextmanager
def loader_deaths_as_user_errors(workers: int, kept: str) -> Iterator[None]:
    """A worker that is killed, as where memory runs out, ends the run with a sentence; kept: what is safe."""
    if not workers:
        yield
        return
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the last two from the pipe to it
        if isinstance(error, RuntimeError) and not str(error).startswith(DEATH):
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise the same again while the run ends
        raise UserError(
            f"A process that loads batches was killed, as happens where memory runs out; {kept}, and the same command "
            "resumes from it. train.workers=0 does without such processes."
        ) from error


@contextlib.contextmanager
def without_signals_of_children() -> Iterator[None]:
    """torch reports the death of a worker by an exception wherever the main thread is: not within this context."""
    # Blocked in this thread alone, the signal would come by another one, and its handler would still run in this one.
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
