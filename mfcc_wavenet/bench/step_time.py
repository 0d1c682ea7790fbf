"""Where the time of a training step goes, by torch.profiler: `bench train --profile`."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, record_function
from torch.profiler import profile as torch_profile

from mfcc_wavenet.bench.networks import Case, cases
from mfcc_wavenet.bench.train import full_batches
from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.metrics import Metrics

WARM_UP = 2  # steps
MAX_STEPS = 50  # whose events are kept
# Everything within these is of that part, whatever it is.
RANGES = {
    "data": re.compile("data"),
    "metrics": re.compile("metrics"),
    "optimizer": re.compile(r"Optimizer\..*"),
}
# Elsewhere, an operation is of the first part whose pattern it has, or else of the operation that called it.
OPERATIONS = {
    "products": re.compile(r"aten::(linear|matmul|(add|badd|)b?mm|.*conv.*|mkldnn_.*)"),
    "embedding and cross-entropy": re.compile(
        r"aten::(embedding.*|cross_entropy.*|_?log_softmax.*|_?nll_loss.*)|mfcc_wavenet::lookup.*"
    ),
    "optimizer": re.compile(r"aten::(_foreach_.*|linalg_vector_norm)"),  # the norm of the gradients
}
ENGINE = re.compile(r"step|autograd::.*|cuda.*")  # nothing of the network's
PARTS = ("products", "elementwise", "embedding and cross-entropy", "optimizer", "data", "metrics", "rest")


class NamedMetrics(Metrics):
    """Metrics whose time the profiler tells apart."""

    def update(self, *arguments, **scalars) -> None:
        with record_function("metrics"):
            super().update(*arguments, **scalars)


def profile(networks: list[str], threads: list[int] | None, seconds: float) -> list[dict]:
    """Percent of a step per part, one mapping per network and number of threads; each prints a line of the table.

    Arguments are those of train.benchmark, and the GPU is measured where threads is None.
    """
    rows = []
    with TemporaryDirectory() as folder:
        print(f"{'network':<13}{'threads':>8}{'window':>12}{'ms':>10}", *(f"{part:>11}" for part in PARTS), flush=True)
        for case in cases(networks, threads, Path(folder)):
            milliseconds, shares = step_shares(case, Path(folder), seconds)
            window = case.settings.window
            print(
                f"{case.network:<13}{case.threads or 'cuda':>8}{f'{window.samples} x {window.batch_size}':>12}"
                f"{milliseconds:>10.1f}",
                *(f"{shares[part]:>{max(len(part), 11)}.1f}" for part in PARTS),
                flush=True,
            )
            rows.append(
                {
                    "network": case.network,
                    "threads": case.threads,
                    "window": window.samples,
                    "batch_size": window.batch_size,
                    "milliseconds": round(milliseconds, 2),
                    "percent": shares,
                }
            )
    return rows


def step_shares(case: Case, folder: Path, seconds: float) -> tuple[float, dict[str, float]]:
    """Milliseconds of a step, the profiler's own work included, and percent of them per part, which add up to 100.

    On a GPU, those of its kernels; rest is then the time in which it has nothing to do.
    """
    chassis = Chassis(case.settings, folder)
    chassis.metrics = NamedMetrics(chassis.device)
    batches = _named(full_batches(chassis))
    for _ in range(WARM_UP):
        chassis.training_step(batches)
    on_gpu = chassis.device.type == "cuda"
    if not on_gpu:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler reports a missing GPU as an error
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    _wait(on_gpu)
    with torch_profile(activities=activities, acc_events=True) as profiler:
        started, steps = time.perf_counter(), 0
        while steps == 0 or (steps < MAX_STEPS and time.perf_counter() - started < seconds):
            with record_function("step"):
                chassis.training_step(batches)
            steps += 1
        _wait(on_gpu)
        elapsed = time.perf_counter() - started
    parts = dict.fromkeys(PARTS, 0.0)
    for event in profiler.events():
        if event.device_type == DeviceType.CPU:  # kernels are listed once more by themselves
            microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
            parts[part_of(event)] += microseconds / 1e6
    shares = {part: round(100 * spent / elapsed, 1) for part, spent in parts.items() if part != "rest"}
    return 1000 * elapsed / steps, shares | {"rest": round(100 - sum(shares.values()), 1)}


def part_of(event: FunctionEvent) -> str:
    """One of PARTS."""
    names = [event.name]
    while event.cpu_parent is not None:
        event = event.cpu_parent
        names.append(event.name)
    for part, pattern in RANGES.items():
        if any(pattern.fullmatch(name) for name in names):
            return part
    for name in names:
        for part, pattern in OPERATIONS.items():
            if pattern.fullmatch(name):
                return part
    return "rest" if ENGINE.fullmatch(names[0]) else "elementwise"


def _named(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same; the profiler tells apart the time that they take."""
    while True:
        with record_function("data"):
            batch = next(batches)
        yield batch


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()
