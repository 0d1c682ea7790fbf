"""Products of a training step on a CPU: by torch's linear, which is MKL's or another BLAS's, or by oneDNN.

On processors of AMD with AVX-512, MKL takes its kernels for AVX2, and oneDNN is up to twice as fast; elsewhere MKL is.
So both are measured, once for each processor, number of threads and shape.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mfcc_wavenet.config.files import expanded, write_json
from mfcc_wavenet.runs.records import hardware

SECONDS = 0.01  # of a turn, or as long as one step takes
TURNS = 10
ENOUGH = 2048  # samples: of more, the rate is the same
MUCH = 1.15  # faster: by less, a busy moment might choose, and another run of the same settings would be another one
CPU = torch.device("cpu")
NAMES = {"blas": "torch's linear", "onednn": "oneDNN"}


def is_available() -> bool:
    """Whether this torch has oneDNN."""
    return torch.backends.mkldnn.is_available()


class ByOneDnn(TorchFunctionMode):
    """Within it, torch.nn.functional.linear is oneDNN's convolution of an image that is one pixel high."""

    def __torch_function__(self, function: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.linear:
            return _linear(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _Linear.apply(input, weight, bias)


class _Linear(torch.autograd.Function):
    """x @ weight.T + bias, and its gradients.

    Torch's own gradients of a convolution would leave oneDNN out on one thread. The weight's is a product over all
    samples, for which oneDNN has no convolution that is fast: it stays torch's.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(x, weight)
        return _product(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = context.saved_tensors
        of_x, of_weight, of_bias = context.needs_input_grad
        of_rows = gradient.flatten(0, -2)
        return (
            _product(of_rows, weight.T).view_as(x) if of_x else None,
            of_rows.T @ x.flatten(0, -2) if of_weight else None,
            of_rows.sum(0) if of_bias else None,
        )


def _product(
    x: Float[Tensor, "N I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "N O"]:
    """x @ weight.T + bias. An image whose channels lie next to each other is x as it is: nothing is copied."""
    image = x.contiguous()[None, None].permute(0, 3, 1, 2)
    kernel = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)
    found = torch.mkldnn_convolution(image, kernel, bias, (0, 0), (1, 1), (1, 1), 1)
    return found.permute(0, 2, 3, 1)[0, 0].contiguous()


def faster(samples: int, rows: int, columns: int) -> str:
    """blas or onednn, for a step's largest product: what was found before on this processor, or is measured now.

    The product is of (samples, columns) and (columns, rows). What is found is said on stderr, and kept where programs
    keep what they can make again (XDG_CACHE_HOME, or ~/.cache).
    """
    samples = min(samples, ENOUGH)
    processor = f"{hardware(CPU)}, {torch.backends.cpu.get_cpu_capability()}"  # a virtual machine's name may say little
    key = f"{processor}, torch {torch.__version__}, {torch.get_num_threads()} threads, {samples} x {columns} x {rows}"
    kept = _read()
    if key not in kept:
        kept[key] = _measured(samples, rows, columns)
        try:
            write_json(_file(), _read() | kept)  # read again: others may have measured, too
        except OSError as error:
            print(f"Which product is faster cannot be kept in {_file()} ({error.strerror}).", file=sys.stderr)
    return kept[key]


def _file() -> Path:
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mfcc_wavenet" / "products.json"


def _read() -> dict[str, str]:
    try:
        kept = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return {key: way for key, way in kept.items() if way in NAMES} if isinstance(kept, dict) else {}


def _measured(samples: int, rows: int, columns: int) -> str:
    generator = torch.Generator().manual_seed(0)  # so that the run's randomness stays as it is
    draw = partial(torch.randn, generator=generator, requires_grad=True)
    x, weight, bias = draw(samples, columns), draw(rows, columns), draw(rows)
    gradient = torch.ones(samples, rows)

    def blas() -> None:
        torch.autograd.grad(functional.linear(x, weight, bias), (x, weight, bias), gradient)

    def onednn() -> None:
        with ByOneDnn():
            blas()

    ways, taken = {"blas": blas, "onednn": onednn}, {"blas": [], "onednn": []}
    for step in ways.values():
        step()  # once, to set up
    for _ in range(TURNS):
        for name, step in ways.items():
            taken[name].append(_seconds(step))
    seconds = {name: min(values) for name, values in taken.items()}  # what else runs only makes a turn longer
    chosen = "onednn" if seconds["onednn"] * MUCH < seconds["blas"] else "blas"
    rates = {name: 6 * samples * rows * columns / seconds[name] / 1e9 for name in NAMES}
    print(
        f"Products: by {NAMES[chosen]}, as measured here in GFLOP/s: torch's linear {rates['blas']:.0f}, oneDNN "
        f"{rates['onednn']:.0f}.",
        file=sys.stderr,
    )
    return chosen


def _seconds(step: Callable[[], None]) -> float:
    """Of one step, from as many as fit into a turn."""
    count, since = 0, time.perf_counter()
    while (passed := time.perf_counter() - since) < SECONDS or not count:
        step()
        count += 1
    return passed / count
