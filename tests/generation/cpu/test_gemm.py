"""Packed products are the products, and nobody's sum depends on the company it is computed in."""

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

from mfcc_wavenet.generation.cpu.gemm import CACHE_LINE, PANEL, multiply, pack, room

SIZES = [(1, 1), (64, 7), (65, 3), (200, 129)]
MANY = 20  # vectors: more than are multiplied at once


def product(matrix: np.ndarray, vectors: np.ndarray, start: np.ndarray) -> np.ndarray:
    """start + vectors @ matrix.T by packing; start: a row for each vector, or one for all."""
    rows = len(matrix)
    padded = np.pad(start, [(0, 0), (0, -rows % PANEL)])
    out = np.full((len(vectors), padded.shape[1]), np.nan, np.float32)
    multiply(out, padded, pack(matrix), vectors)
    assert (out[:, rows:] == 0).all()
    return out[:, :rows]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("vectors", range(1, MANY))
@pytest.mark.parametrize("rows, columns", SIZES)
def test_it_is_the_product(rows, columns, vectors):
    """To the rounding of float32 sums, against float64."""
    matrix, vectors, start = numbers(0, rows, columns), numbers(1, vectors, columns), numbers(2, vectors, rows)
    exact = start + vectors @ matrix.astype(np.float64).T
    scale = np.abs(start) + np.abs(vectors) @ np.abs(matrix).T  # what rounding is relative to
    assert (np.abs(product(matrix, vectors, start) - exact) <= columns * np.finfo(np.float32).eps * scale).all()


@examples(20)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 150), columns=st.integers(1, 80), together=st.integers(1, MANY))
def test_company_changes_no_bit(seed, rows, columns, together):
    """Each vector has the product that it has alone, and each row the one it has in a smaller matrix."""
    matrix, vectors, start = numbers(seed, rows, columns), numbers(1, together, columns), numbers(2, together, rows)
    of_all = product(matrix, vectors, start)
    for one in range(together):
        alone = slice(one, one + 1)
        np.testing.assert_array_equal(of_all[alone], product(matrix, vectors[alone], start[alone]))
    np.testing.assert_array_equal(of_all[:, -1:], product(matrix[-1:], vectors, start[:, -1:]))


@pytest.mark.parametrize("together", [1, MANY])
def test_it_may_start_from_one_row_and_from_what_it_writes(together):
    """And read and write every other row of something larger."""
    matrix, vectors, bias = numbers(0, 40, 30), numbers(1, 2 * together, 30)[::2], numbers(2, 1, 40)
    starts = np.broadcast_to(bias, (together, 40))
    expected = product(matrix, vectors, np.ascontiguousarray(starts))
    np.testing.assert_array_equal(product(matrix, vectors, bias), expected)
    both_ways = np.zeros((2 * together, 48), np.float32)
    both_ways[::2, :40] = starts
    multiply(both_ways[::2], both_ways[::2], pack(matrix), vectors)
    np.testing.assert_array_equal(both_ways[::2, :40], expected)
    assert (both_ways[1::2] == 0).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for another processor of that family")
def test_registers_change_no_bit():
    """A processor with narrow registers shares rows and vectors out in another way, and comes to the same."""
    matrix, vectors = numbers(0, 200, 130), numbers(1, MANY, 130)
    script = f"""
import numpy as np
from mfcc_wavenet.generation.cpu.gemm import WIDE, multiply, pack
matrix, vectors = (np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
                   for seed, shape in ((0, {matrix.shape}), (1, {vectors.shape})))
panels = pack(matrix)
out = np.zeros(({MANY}, len(panels) * panels.shape[-1]), np.float32)
multiply(out, out, panels, vectors)
print(WIDE, out[:, :200].tobytes().hex())
"""
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    narrow = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    wide, products = narrow.stdout.split()
    assert wide == "False"
    assert bytes.fromhex(products) == product(matrix, vectors, np.zeros((MANY, 200), np.float32)).tobytes()


def test_room_begins_with_a_cache_line():
    layer = np.dtype([("gates", np.float32, (3, 5)), ("residuals", np.float32, 7)])
    places = [room((layer, 4)) for _ in range(10)]
    assert all(place.ctypes.data % CACHE_LINE == 0 and place["gates"].shape == (4, 3, 5) for place in places)
    assert all((place["gates"] == 0).all() for place in places)
