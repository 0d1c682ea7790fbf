"""Partitions cover everything once, and no thread passes the barrier before all have arrived."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit

from mfcc_wavenet.generation.cpu.barrier import barrier_wait, partition


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8])
@pytest.mark.parametrize("partitions", [1, 2, 3, 16])
def test_partitions_cover_everything_once(count, partitions):
    """In order, and none is more than one larger than another."""
    ranges = [range(*partition(count, index, partitions)) for index in range(partitions)]
    assert [element for one in ranges for element in one] == list(range(count))
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@njit(nogil=True)
def relay(numbers, arrival_count, thread_id, num_threads):
    """Each number becomes, round by round, one more than its neighbour's of the round before."""
    for turn in range(numbers.shape[0] - 1):
        numbers[turn + 1, thread_id] = numbers[turn, (thread_id + 1) % num_threads] + 1
        barrier_wait(arrival_count, num_threads)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_no_thread_passes_alone(num_threads):
    """A thread that passed too soon would read its neighbour's number before it is written."""
    numbers = np.full((2001, num_threads), -(10**6))
    numbers[0] = 0
    arrival_count = np.zeros(1, np.int64)
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(lambda thread_id: relay(numbers, arrival_count, thread_id, num_threads), range(num_threads)))
    np.testing.assert_array_equal(numbers, np.arange(2001)[:, None].repeat(num_threads, axis=1))
