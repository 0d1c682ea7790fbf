"""A team shares out all panels, and nobody goes on before everybody has come."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit

from mfcc_wavenet.generation.cpu.barrier import meet, share


@pytest.mark.parametrize("panels", [0, 1, 2, 7, 8])
@pytest.mark.parametrize("team", [1, 2, 3, 16])
def test_every_panel_is_somebodys(panels, team):
    shares = [range(*share(panels, rank, team)) for rank in range(team)]
    assert [panel for one in shares for panel in one] == list(range(panels))


@njit(nogil=True)
def relay(numbers, arrivals, rank, team):
    """Each number becomes, round by round, one more than its neighbour's of the round before."""
    for turn in range(numbers.shape[0] - 1):
        numbers[turn + 1, rank] = numbers[turn, (rank + 1) % team] + 1
        meet(arrivals, team)


@pytest.mark.parametrize("team", [1, 2, 3])
def test_nobody_goes_on_alone(team):
    """A thread that went on too soon would read its neighbour's number before it is there."""
    numbers = np.full((2001, team), -(10**6))
    numbers[0] = 0
    arrivals = np.zeros(1, np.int64)
    with ThreadPoolExecutor(team) as pool:
        list(pool.map(lambda rank: relay(numbers, arrivals, rank, team), range(team)))
    np.testing.assert_array_equal(numbers, np.arange(2001)[:, None].repeat(team, axis=1))
