"""The packed gemm is a matrix product, and batch-invariant."""

import os
import platform
import subprocess
import sys

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.architectures import examples
from support.settings import ROOT

from mfcc_wavenet.generation.cpu.gemm import CACHE_LINE, PANEL, aligned_zeros, gemm, pack

SIZES = [(1, 1), (64, 7), (65, 3), (200, 129)]
MANY = 20  # vectors: of several tiles


def packed_gemm(matrix: np.ndarray, vectors: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """initial + vectors @ matrix.T; initial: a row for each vector, or one for all."""
    rows = len(matrix)
    padded = np.pad(initial, [(0, 0), (0, -rows % PANEL)])
    out = np.full((len(vectors), padded.shape[1]), np.nan, np.float32)
    gemm(out, padded, pack(matrix), vectors)
    assert (out[:, rows:] == 0).all()
    return out[:, :rows]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("vectors", range(1, MANY))
@pytest.mark.parametrize("rows, columns", SIZES)
def test_it_is_the_matrix_product(rows, columns, vectors):
    """To the rounding of float32 sums, against float64."""
    matrix, vectors, initial = numbers(0, rows, columns), numbers(1, vectors, columns), numbers(2, vectors, rows)
    exact = initial + vectors @ matrix.astype(np.float64).T
    scale = np.abs(initial) + np.abs(vectors) @ np.abs(matrix).T  # what rounding is relative to
    assert (np.abs(packed_gemm(matrix, vectors, initial) - exact) <= columns * np.finfo(np.float32).eps * scale).all()


@examples(20)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 150), columns=st.integers(1, 80), batch_size=st.integers(1, MANY))
def test_it_is_batch_invariant(seed, rows, columns, batch_size):
    """Each vector has the result that it has by itself, and each row the one it has in a smaller matrix."""
    matrix, vectors = numbers(seed, rows, columns), numbers(1, batch_size, columns)
    initial = numbers(2, batch_size, rows)
    of_batch = packed_gemm(matrix, vectors, initial)
    for index in range(batch_size):
        one = slice(index, index + 1)
        np.testing.assert_array_equal(of_batch[one], packed_gemm(matrix, vectors[one], initial[one]))
    np.testing.assert_array_equal(of_batch[:, -1:], packed_gemm(matrix[-1:], vectors, initial[:, -1:]))


@pytest.mark.parametrize("batch_size", [1, MANY])
def test_initial_may_be_one_row_or_the_output(batch_size):
    """And vectors and output every other row of larger arrays."""
    matrix, vectors, bias = numbers(0, 40, 30), numbers(1, 2 * batch_size, 30)[::2], numbers(2, 1, 40)
    initial = np.broadcast_to(bias, (batch_size, 40))
    expected = packed_gemm(matrix, vectors, np.ascontiguousarray(initial))
    np.testing.assert_array_equal(packed_gemm(matrix, vectors, bias), expected)
    in_place = np.zeros((2 * batch_size, 48), np.float32)
    in_place[::2, :40] = initial
    gemm(in_place[::2], in_place[::2], pack(matrix), vectors)
    np.testing.assert_array_equal(in_place[::2, :40], expected)
    assert (in_place[1::2] == 0).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for another processor of that family")
def test_the_width_of_registers_changes_no_bit():
    """A processor with narrow registers has other tiles, and the same results."""
    matrix, vectors = numbers(0, 200, 130), numbers(1, MANY, 130)
    script = f"""
import numpy as np
from mfcc_wavenet.generation.cpu.gemm import AVX512, gemm, pack
matrix, vectors = (np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
                   for seed, shape in ((0, {matrix.shape}), (1, {vectors.shape})))
panels = pack(matrix)
out = np.zeros(({MANY}, len(panels) * panels.shape[-1]), np.float32)
gemm(out, out, panels, vectors)
print(AVX512, out[:, :200].tobytes().hex())
"""
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    narrow = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    avx512, results = narrow.stdout.split()
    assert avx512 == "False"
    assert bytes.fromhex(results) == packed_gemm(matrix, vectors, np.zeros((MANY, 200), np.float32)).tobytes()


def test_aligned_zeros_begin_with_a_cache_line():
    layer = np.dtype([("gates", np.float32, (3, 5)), ("residuals", np.float32, 7)])
    arrays = [aligned_zeros((layer, 4)) for _ in range(10)]
    assert all(array.ctypes.data % CACHE_LINE == 0 and array["gates"].shape == (4, 3, 5) for array in arrays)
    assert all((array["gates"] == 0).all() for array in arrays)
