"""Packed products are the products, and nobody's sum depends on the company it is computed in."""

import hypothesis.strategies as st
import numpy as np
import pytest
from architectures import examples
from hypothesis import given

from mfcc_wavenet.products import LANES, PANEL, add_product, pack

SIZES = [(1, 1), (64, 7), (65, 3), (200, 129)]


def product(matrix: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out + matrix @ vectors, both (rows, lanes), by packing."""
    rows, lanes = out.shape
    padded = np.zeros((-(-rows // PANEL) * PANEL, lanes), np.float32)
    padded[:rows] = out
    flat = padded.reshape(-1)
    add_product(flat, pack(matrix), np.ascontiguousarray(vectors).reshape(-1), lanes)
    assert (padded[rows:] == 0).all()
    return padded[:rows]


def numbers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("rows, columns", SIZES)
def test_it_is_the_product(rows, columns, lanes):
    """To the rounding of float32 sums, against float64."""
    matrix, vectors, out = numbers(0, rows, columns), numbers(1, columns, lanes), numbers(2, rows, lanes)
    exact = out + matrix.astype(np.float64) @ vectors
    scale = np.abs(out) + np.abs(matrix) @ np.abs(vectors)  # what rounding is relative to
    assert (np.abs(product(matrix, vectors, out) - exact) <= columns * np.finfo(np.float32).eps * scale).all()


@examples(20)
@given(seed=st.integers(0, 1000), rows=st.integers(1, 150), columns=st.integers(1, 80))
def test_company_changes_no_bit(seed, rows, columns):
    """Each of LANES vectors has the product that it has alone, and each row the one it has in a smaller matrix."""
    matrix, vectors, out = numbers(seed, rows, columns), numbers(seed + 1, columns, LANES), numbers(seed, rows, LANES)
    together = product(matrix, vectors, out)
    for lane in range(LANES):
        np.testing.assert_array_equal(together[:, [lane]], product(matrix, vectors[:, [lane]], out[:, [lane]]))
    np.testing.assert_array_equal(together[-1:], product(matrix[-1:], vectors, out[-1:]))
