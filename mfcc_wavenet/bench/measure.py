"""How benchmarks measure: in turns, so that a busy moment of a shared machine slows all that is compared alike."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np
from jaxtyping import Float32
from numba import njit

from mfcc_wavenet.generation.cpu.gemm import PANEL, aligned_zeros, gemm

ROUNDS = 5
CACHED_WEIGHTS = 16_384  # that stay in a core's cache, when the rate of arithmetic is measured
COLUMNS = 256  # of their matrix
MULTIPLICATIONS = 5e9  # by each core in a measurement of that rate: some tenths of a second


def interleaved(*measures: Callable[[], float]) -> list[list[float]]:
    """What each measure gives in a few rounds of all of them, after one that compiles and warms up.

    On a shared machine a busy moment then slows down what is measured and its bound alike.
    """
    rounds = [[measure() for measure in measures] for _ in range(1 + ROUNDS)][1:]
    return [list(figures) for figures in zip(*rounds)]


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock time."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def multiplication_rate(num_vectors: int, num_threads: int) -> float:
    """Multiplications per second of each of that many threads in the generator's own gemm, whose weights stay cached.

    Each multiplication is one fused multiply-add, and so two operations; with as many vectors as the gemm has in a
    tile, its sums and most of its operands are in registers.
    """
    gemms = round(MULTIPLICATIONS / (CACHED_WEIGHTS * num_vectors))
    with ThreadPoolExecutor(num_threads) as pool:
        panels = [ones(CACHED_WEIGHTS // (COLUMNS * PANEL), COLUMNS, PANEL) for _ in range(num_threads)]
        vectors = np.ones((num_vectors, COLUMNS), np.float32)
        out = np.zeros((num_threads, num_vectors, CACHED_WEIGHTS // COLUMNS), np.float32)
        taken = seconds(lambda: list(pool.map(_accumulate, out, panels, repeat(vectors), repeat(gemms))))
    return gemms * CACHED_WEIGHTS * num_vectors / taken


def ones(*shape: int) -> Float32[np.ndarray, "..."]:
    """Aligned as weights are, and written to: until then, all pages of an array are the same page of memory."""
    array = aligned_zeros((np.float32, shape))
    array[:] = 1
    return array


@njit(nogil=True)
def _accumulate(out, panels, vectors, repeats):
    for _ in range(repeats):
        gemm(out, out, panels, vectors)
