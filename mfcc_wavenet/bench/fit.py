"""What a network of any size will cost: the time of a step from its operations and its weights, `bench train --fit`."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float
from torch.utils.flop_counter import FlopCounterMode

from mfcc_wavenet.bench.measure import interleaved
from mfcc_wavenet.bench.networks import Case, cases
from mfcc_wavenet.bench.train import chassis_steps, full_batches, rate
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.config.size import count_weights
from mfcc_wavenet.training.chassis import Chassis

SECONDS = 2.0  # of each network
ROUNDS = 5 + 1  # of interleaved(), in each of which a network has its turn
# Of networks like baseline_adam's: channels of the layers, layers in each block, channels at frame rate, windows.
WIDTH, LAYERS, FRAME_CHANNELS, WINDOW = 96, 5, 256, (250, 2)
NETWORKS = [  # one thing after the other is varied, so that operations and weights do not go together
    *((width, LAYERS, FRAME_CHANNELS, WINDOW) for width in (32, 64, 96, 160, 256)),
    *((WIDTH, layers, FRAME_CHANNELS, WINDOW) for layers in (3, 7)),
    *((WIDTH, LAYERS, channels, WINDOW) for channels in (64, 1024)),
    *((WIDTH, LAYERS, FRAME_CHANNELS, window) for window in ((500, 1), (1000, 2), (2000, 4))),
]
COLUMNS = ("width", "layers", "frame", "window", "weights", "Mop/step", "ms/step", "fitted", "off by %", "samples/s")


@dataclass(frozen=True)
class Fit:
    """seconds of a step = constant + operations / rate + weights * per_weight, by least squares."""

    constant: float  # seconds
    rate: float  # operations per second
    per_weight: float  # seconds
    r_squared: float  # 1 - what is not explained of the variance of the seconds
    largest_error: float  # as a fraction of what was measured

    def seconds(self, operations: float | int, weights: float | int) -> float:
        """Of a step."""
        return self.constant + operations / self.rate + weights * self.per_weight


def fitted(
    operations: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], seconds: Float[np.ndarray, " n"]
) -> Fit:
    """Of the steps of n networks. Errors count as fractions of what was measured, so that small networks count, too."""
    columns = np.stack([np.ones(len(seconds)), operations, weights], axis=1)
    # Scaled to numbers around 1: as they are, they differ by a dozen orders of magnitude.
    scale = columns.max(axis=0)
    solution, *_ = np.linalg.lstsq(columns / scale / seconds[:, None], np.ones(len(seconds)), rcond=None)
    constant, per_operation, per_weight = (solution / scale).tolist()
    residuals = columns @ (solution / scale) - seconds
    unexplained = np.square(residuals).sum() / np.square(seconds - seconds.mean()).sum()
    return Fit(
        constant, 1 / per_operation, per_weight, 1 - unexplained.item(), np.abs(residuals / seconds).max().item()
    )


def step_operations(chassis: Chassis) -> int:
    """Of the products and convolutions of a step, forward and backward, as torch counts them: 2 per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        chassis.loss_fn(full_batches(chassis), logged=False)
    return counter.get_total_flops()


def benchmark(threads: list[int] | None, seconds: float = SECONDS) -> list[dict]:
    """Measures the networks on each number of threads of a CPU (None: on one), prints tables, and returns their rows.

    After the rows of a table comes one with what was fitted to them. seconds: of each network.
    """
    rows = []
    with TemporaryDirectory() as folder:
        for count in threads or [1]:
            print(_line(*COLUMNS), flush=True)
            rows += _measured(count, Path(folder), seconds)
    return rows


def _measured(threads: int, folder: Path, seconds: float) -> list[dict]:
    (baseline,) = cases(["baseline_adam"], [threads], folder)
    runs = [Chassis(_network(baseline, *network), folder) for network in NETWORKS]
    steps = [chassis_steps(chassis) for chassis in runs]
    rates = interleaved(*(partial(rate, step, 1, seconds / ROUNDS, runs[0].device) for step in steps))
    operations = np.array([step_operations(chassis) for chassis in runs], np.float64)
    weights = np.array([count_weights(chassis.settings, 1) for chassis in runs], np.float64)
    measured = np.array([1 / median(of_network) for of_network in rates])
    fit = fitted(operations, weights, measured)
    rows = []
    for network, *numbers in zip(NETWORKS, operations, weights, measured):
        width, layers, frame_channels, (samples, batch_size) = network
        row = {"threads": threads, "width": width, "layers": 2 * layers, "frame_channels": frame_channels}
        row |= {"window": samples, "batch_size": batch_size, **_figures(fit, samples * batch_size, *numbers)}
        rows.append(row)
        print(_row_line(row), flush=True)
    print(
        f"seconds per step on {threads} thread(s) = {fit.constant:.2e} + operations / {fit.rate:.3e} + weights * "
        f"{fit.per_weight:.2e}; R^2 {fit.r_squared:.4f}, off by at most {100 * fit.largest_error:.0f} %",
        flush=True,
    )
    return [*rows, {"threads": threads, "fit": vars(fit)}]


def _network(baseline: Case, width: int, layers: int, frame_channels: int, window: tuple[int, int]) -> Settings:
    settings = baseline.settings
    widths = dict.fromkeys(("residual_channels", "gate_channels", "skip_channels", "post_channels"), width)
    return replace(
        settings,
        wavenet=replace(settings.wavenet, layers_per_block=layers, **widths),
        upsampling=replace(settings.upsampling, frame_channels=(frame_channels,)),
        window=replace(settings.window, samples=window[0], batch_size=window[1]),
    )


def _figures(fit: Fit, samples: int, operations: float, weights: float, seconds: float) -> dict:
    expected = fit.seconds(operations, weights)
    return {
        "weights": int(weights),
        "operations": int(operations),
        "milliseconds": round(1000 * seconds, 3),
        "fitted_milliseconds": round(1000 * expected, 3),
        "error": round(expected / seconds - 1, 4),
        "samples_per_second": round(samples / seconds),
    }


def _row_line(row: dict) -> str:
    window = f"{row['window']} x {row['batch_size']}"
    figures = f"{row['milliseconds']:.2f}", f"{row['fitted_milliseconds']:.2f}", f"{100 * row['error']:.1f}"
    return _line(
        row["width"], row["layers"], row["frame_channels"], window, f"{row['weights']:,}",
        f"{row['operations'] / 1e6:,.0f}", *figures, f"{row['samples_per_second']:,}",
    )  # fmt: skip


def _line(*cells: object) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, (5, 8, 7, 11, 12, 10, 9, 9, 10, 11)))
