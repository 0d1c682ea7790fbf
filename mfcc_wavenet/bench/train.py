"""Speed of training, next to what the machine allows and to a plain Conv1d network: `bench train`.

Prints a table and then one line of JSON. Everything is measured in turns in the same run: this project's steps, those
of the same network in Conv1d, the rate of arithmetic, and the fastest product of the libraries that torch has.
Figures are medians.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional

from mfcc_wavenet.bench.conv1d import conv1d_steps
from mfcc_wavenet.bench.measure import ROUNDS, interleaved, multiplication_rate
from mfcc_wavenet.bench.networks import Case, cases
from mfcc_wavenet.config.size import gate_matrix
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.generation.cpu.gemm import MAX_TILE_VECTORS
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.loader import load_batches, on_device

SECONDS = 10.0  # of each row
PRODUCT_SECONDS = 0.2  # at most, of each measurement of a library's product
GPU_MATRIX = 8192  # rows and columns of the product that a GPU's peak is measured with
COLUMNS = ("network", "threads", "window", "way", "samples/s", "bound", "fraction", "of library")


def benchmark(networks: list[str], threads: list[int] | None, seconds: float = SECONDS) -> list[dict]:
    """Measures every row; returns one mapping per row, and prints a line of the table as each is done.

    networks: names in networks.NETWORKS; threads: of the CPU, or None for a GPU; seconds: of each row, more where not
    even one step fits. UserError for a network that there is not.
    """
    rows = []
    with TemporaryDirectory() as folder:
        found = cases(networks, threads, Path(folder))
        print(_line(*COLUMNS), flush=True)
        for case in found:
            for row in measured(case, Path(folder), seconds):
                fraction, of_library = f"{row['fraction']:.3f}", f"{row['fraction_of_library']:.3f}"
                window = f"{row['window']} x {row['batch_size']}"
                speed, bound = f"{row['samples_per_second']:,}", f"{row['bound']:,}"
                where = row["threads"] or row["device"]
                print(_line(case.network, where, window, row["way"], speed, bound, fraction, of_library), flush=True)
                rows.append(row)
    return rows


def default_threads() -> list[int] | None:
    """One and two, as far as there are cores; None where there is a GPU."""
    return None if torch.cuda.is_available() else [count for count in (1, 2) if count <= (os.cpu_count() or 1)]


def measured(case: Case, folder: Path, seconds: float) -> list[dict]:
    """A row per way to train."""
    chassis = Chassis(case.settings, folder)
    device, turn = chassis.device, seconds / (1 + ROUNDS)
    own = chassis_steps(chassis)
    conv1d = conv1d_steps(case.settings, chassis.windows, device, chassis.precision, chassis.compiled)
    ours, theirs, arithmetics, *products = interleaved(
        partial(rate, own, case.samples, turn, device),
        partial(rate, conv1d, case.samples, turn, device),
        partial(arithmetic, case, device, chassis.precision),
        *library_products(case, device, chassis.precision, min(turn, PRODUCT_SECONDS)),
    )
    best_product = max(products, key=median)
    return [
        {
            "network": case.network,
            "device": device.type,
            "threads": case.threads,
            "window": case.settings.window.samples,
            "batch_size": case.settings.window.batch_size,
            "precision": str(chassis.precision).removeprefix("torch."),
            "way": way,
            "samples_per_second": round(median(figures)),
            "bound": round(median(arithmetics) / case.flops),
            "fraction": round(median(case.flops * figure / of for figure, of in zip(figures, arithmetics)), 3),
            "fraction_of_library": round(
                median(case.flops * figure / of for figure, of in zip(figures, best_product)), 3
            ),
        }
        for way, figures in (("ours", ours), ("conv1d", theirs))
    ]


def rate(action: Callable[[], object], work: int, duration: float, device: torch.device) -> float:
    """Work per second of an action, each of which is that much, repeated until the duration is over."""
    _wait_for(device)
    started, repeats = time.perf_counter(), 0
    while repeats == 0 or time.perf_counter() - started < duration:
        action()
        repeats += 1
    _wait_for(device)
    return work * repeats / (time.perf_counter() - started)


# --- what is measured -----------------------------------------------------------------------------


def chassis_steps(chassis: Chassis) -> Callable[[], None]:
    """A function that makes one whole step: loads a batch, and takes it through Chassis.training_step."""
    batches = full_batches(chassis)
    return lambda: chassis.training_step(batches)


def full_batches(chassis: Chassis) -> Iterator[Batch]:
    """Those of a run; without the last one of an epoch where that has fewer windows, so that steps are of one size."""
    settings, device = chassis.settings, chassis.device
    loaded = load_batches(chassis.windows, Position(), settings.train.workers, device)
    full = (batch for batch in loaded if len(batch.mask) == settings.window.batch_size)
    return on_device(full, device)


def arithmetic(case: Case, device: torch.device, precision: torch.dtype) -> float:
    """Operations per second: of multiply-adds in the registers of the case's threads, or of a GPU's largest product."""
    if device.type == "cpu":
        return 2 * case.threads * multiplication_rate(MAX_TILE_VECTORS, case.threads)
    square = torch.randn(GPU_MATRIX, GPU_MATRIX, device=device, dtype=precision)
    return rate(lambda: square @ square, 2 * GPU_MATRIX**3, PRODUCT_SECONDS, device)


def library_products(
    case: Case, device: torch.device, precision: torch.dtype, duration: float
) -> list[Callable[[], float]]:
    """Operations per second in the product of a gated layer for all samples of a step: one measure per way of torch."""
    rows, columns = gate_matrix(case.settings)
    x = torch.randn(case.samples, columns, device=device, dtype=precision)
    weight = torch.randn(rows, columns, device=device, dtype=precision)
    products = [partial(functional.linear, x, weight)]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # oneDNN; linear is MKL, or another BLAS
        image, kernel = x.T.reshape(1, columns, -1, 1), weight[:, :, None, None]
        for memory_format in (torch.contiguous_format, torch.channels_last):
            both = image.contiguous(memory_format=memory_format), kernel.contiguous(memory_format=memory_format)
            products.append(partial(torch.mkldnn_convolution, *both, None, (0, 0), (1, 1), (1, 1), 1))
    return [partial(rate, product, 2 * case.samples * columns * rows, duration, device) for product in products]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _line(*cells: object) -> str:
    network, threads, window, way, *figures = cells
    return f"{network:<13}{threads:>8}{window:>12}  {way:<8}" + "".join(f"{figure:>12}" for figure in figures)
