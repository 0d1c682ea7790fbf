"""The learning rate at the corners of every schedule, and what is refused before a step is made."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.settings import compose_settings

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.training.optimizer import OPTIMIZERS, SCHEDULES, check, learning_rate, make_optimizer

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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizer": "sgd"}, ["'sgd'", "adam, adamw"]),
        ({"schedule": "exponential"}, ["'exponential'", "constant, linear, cosine, step"]),
        ({"warmup_steps": 110}, ["decay_steps is 110", "warmup_steps is 110", "after the warm-up"]),
        ({"schedule": "cosine", "decay_steps": 0}, ["decay_steps is 0", "warmup_steps is 10"]),
        ({"milestones": (1, 2), "milestone_factors": (0.5,)}, ["milestones has 2", "milestone_factors 1"]),
        ({"milestones": (2, 1), "milestone_factors": (0.5, 0.1)}, ["milestones is [2, 1]", "ascend"]),
        ({"betas": (0.9, 1.0)}, ["betas is [0.9, 1.0]", "less than 1"]),
        ({"ema_decay": 1.0}, ["ema_decay is 1.0", "less than 1"]),
    ],
)
def test_what_no_step_could_follow_is_refused_in_one_sentence(changes, words):
    """With the value and what would work."""
    with pytest.raises(UserError) as error:
        check(replace(OPTIM, **changes))
    assert all(word in str(error.value) for word in words) and str(error.value).endswith(".")


@pytest.mark.parametrize("changes", [{}, *({"schedule": name, "decay_steps": 0} for name in ("constant", "step"))])
def test_what_a_schedule_does_not_use_is_not_held_against_it(changes):
    """A constant rate needs no decay_steps."""
    check(replace(OPTIM, **changes))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_the_named_one_with_all_its_numbers(name):
    """One group per name, the weights of each in it."""
    settings = replace(OPTIM, optimizer=name, betas=(0.8, 0.95), weight_decay=0.25)
    groups = {part: [torch.nn.Parameter(torch.ones(2))] for part in ("head", "layers")}
    optimizer = make_optimizer(settings, groups)
    assert type(optimizer) is OPTIMIZERS[name]
    assert [(group["name"], group["params"]) for group in optimizer.param_groups] == list(groups.items())
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["weight_decay"]) == (PEAK, (0.8, 0.95), 0.25)


def test_decoupled_weight_decay_is_what_tells_adamw_from_adam():
    """On a gradient of 0, AdamW shrinks a weight by rate * decay (Loshchilov and Hutter 2019, algorithm 2)."""
    moved = {}
    for name in OPTIMIZERS:
        weight = torch.nn.Parameter(torch.ones(1))
        weight.grad = torch.zeros(1)
        make_optimizer(replace(OPTIM, optimizer=name, weight_decay=0.1), {"all": [weight]}).step()
        moved[name] = 1 - weight.item()
    assert moved["adamw"] == pytest.approx(PEAK * 0.1)
    assert moved["adam"] == pytest.approx(PEAK)  # the decay is in the gradient, whose size Adam divides out
