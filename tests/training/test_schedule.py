"""The learning rate at the corners of every schedule."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import compose_settings

from mfcc_wavenet.config.training_settings import SCHEDULES
from mfcc_wavenet.training.schedule import learning_rate

PEAK = 0.5
OPTIM = replace(compose_settings().optim, learning_rate=PEAK, warmup_steps=10, decay_steps=110, floor=0.1)
STEPS = replace(OPTIM, schedule="step", warmup_steps=0, milestones=(20, 50), milestone_factors=(0.5, 0.1))


def rates(schedule: str, *steps: int, **changes) -> list[float]:
    return [learning_rate(replace(OPTIM, schedule=schedule, **changes), step) for step in steps]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_warm_up_rises_in_equal_steps_to_the_peak(schedule):
    """From a tenth of it, not from 0, which would waste the first step; no schedule begins before its end."""
    assert rates(schedule, *range(10)) == pytest.approx([PEAK * (step + 1) / 10 for step in range(10)])
    assert rates(schedule, 10) == [PEAK]
    assert rates(schedule, 0, warmup_steps=0) == [PEAK]


def test_linear_falls_evenly_to_its_floor_and_stays():
    """The decay is counted from the end of the warm-up; half-way lies in the middle of peak and floor."""
    corners = [PEAK, PEAK * 0.55, PEAK * 0.1, PEAK * 0.1]
    assert rates("linear", 10, 60, 110, 10**9) == pytest.approx(corners)
    assert rates("linear", 35) == pytest.approx([PEAK * (0.1 + 0.9 * 0.75)])


def test_cosine_falls_to_its_floor_and_stays():
    """Slowly at both ends: a quarter of the way it is above the straight line, after three quarters below."""
    assert rates("cosine", 10, 60, 110, 10**9) == pytest.approx([PEAK, PEAK * 0.55, PEAK * 0.1, PEAK * 0.1])
    for quarter, sign in ((35, 1), (85, -1)):
        (cosine,), (linear,) = rates("cosine", quarter), rates("linear", quarter)
        assert cosine - linear == pytest.approx(sign * PEAK * 0.9 * (0.5**0.5 / 2 - 0.25))


def test_constant_stays_at_the_peak():
    """Whatever the decay says."""
    assert rates("constant", 10, 110, 10**9) == [PEAK] * 3


def test_step_changes_at_each_milestone_and_not_before():
    """A milestone's factor is a share of the peak, not of the rate before it."""
    assert [learning_rate(STEPS, step) for step in (0, 19, 20, 49, 50, 10**9)] == pytest.approx(
        [PEAK, PEAK, PEAK * 0.5, PEAK * 0.5, PEAK * 0.1, PEAK * 0.1]
    )
    assert learning_rate(replace(STEPS, milestones=(), milestone_factors=()), 99) == PEAK


@given(
    schedule=st.sampled_from(["linear", "cosine"]),
    warmup=st.integers(0, 20),
    decay=st.integers(1, 50),
    floor=st.floats(0, 1),
)
def test_a_decay_never_rises_nor_leaves_its_bounds(schedule, warmup, decay, floor):
    """For any settings, from the end of the warm-up on."""
    steps = range(warmup, warmup + decay + 5)
    falling = rates(schedule, *steps, warmup_steps=warmup, decay_steps=warmup + decay, floor=floor)
    assert all(former >= next_one for former, next_one in pairwise(falling))
    assert falling[0] == pytest.approx(PEAK) and falling[-1] == pytest.approx(PEAK * floor)
