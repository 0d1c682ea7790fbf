"""How much units carry: how many of them are used, and how evenly."""

import math

import numpy as np
from jaxtyping import Int64


def entropy_bits(counts: Int64[np.ndarray, " K"]) -> float:
    """Of a unit, by how often each was counted: from 0, of one alone, to log2 K, of all equally often.

    What neighbours say of each other is not counted, so it is more than a good model of units would need.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) if len(shares) > 1 else 0.0


def max_bits(codes: int) -> float:
    """The most that a unit of so many codes can carry."""
    return math.log2(codes)
