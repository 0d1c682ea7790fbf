"""The order of the windows of an epoch: drawn where they are few, computed one by one where they are many.

Computed is a permutation of the numbers below n that needs no memory: a Feistel network whose two halves are added
modulo a and b, with a * b just above n, again and again until the result is below n. That is the generalised Feistel
cipher of Black and Rogaway 2002, "Ciphers with arbitrary finite domains"; the round function is the finaliser of
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
"""

from math import isqrt

import numpy as np
from jaxtyping import Int64, UInt64

MAX_DRAWN = 2**20  # numbers whose order is drawn, and kept in memory
ROUNDS = 6  # even; four would do with random functions (Luby and Rackoff 1988)


def permutation(count: int, generator: np.random.Generator) -> "np.ndarray | Permutation":
    """The numbers below count in an order of chance; an array of positions as its index gives those at them."""
    return generator.permutation(count) if count <= MAX_DRAWN else Permutation(count, generator)


class Permutation:
    """A permutation of the numbers below count, computed where it is looked at; the generator draws its keys."""

    def __init__(self, count: int, generator: np.random.Generator):
        self._count = count
        self._a = max(1, isqrt(count - 1) + 1)  # the root of count, rounded up
        self._b = -(-count // self._a)
        self._keys = generator.integers(2**64, size=ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, positions: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """What stands at these positions, each below count."""
        numbers = self._encrypted(positions)
        while (outside := numbers >= self._count).any():
            numbers[outside] = self._encrypted(numbers[outside])
        return numbers

    def _encrypted(self, numbers: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """A permutation of the numbers below a * b."""
        left, right = numbers % self._a, numbers // self._a
        modulus, other = self._a, self._b  # of left and of right
        for key in self._keys:
            left, right = right, (left + (_mixed(right.astype(np.uint64) + key) % modulus).astype(np.int64)) % modulus
            modulus, other = other, modulus
        return right * self._a + left


def _mixed(bits: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """Each to another one, in which every bit depends on all of its own; products are modulo 2**64."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB
    return bits ^ (bits >> 31)
