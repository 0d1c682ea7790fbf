"""The optimizer is the named one, and skips on the device what is not finite."""

from dataclasses import replace

import pytest
import torch
from support.settings import compose_settings

from mfcc_wavenet.config.settings import OPTIMIZERS
from mfcc_wavenet.training.optimizer import CLASSES, make_optimizer, take_step, update_average

RATE = 0.5
OPTIM = replace(compose_settings().optim, learning_rate=RATE)


@pytest.mark.parametrize("name", CLASSES)
def test_the_optimizer_is_the_named_one_with_all_its_numbers(name):
    """One group per name, the weights of each in it."""
    settings = replace(OPTIM, optimizer=name, betas=(0.8, 0.95), weight_decay=0.25)
    groups = {part: [torch.nn.Parameter(torch.ones(2))] for part in ("head", "layers")}
    optimizer = make_optimizer(settings, groups)
    assert type(optimizer) is CLASSES[name]
    assert [(group["name"], group["params"]) for group in optimizer.param_groups] == list(groups.items())
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["weight_decay"]) == (RATE, (0.8, 0.95), 0.25)


def test_decoupled_weight_decay_is_what_tells_adamw_from_adam():
    """On a gradient of 0, AdamW shrinks a weight by rate * decay (Loshchilov and Hutter 2019, algorithm 2)."""
    moved = {}
    for name in CLASSES:
        weight = torch.nn.Parameter(torch.ones(1))
        weight.grad = torch.zeros(1)
        make_optimizer(replace(OPTIM, optimizer=name, weight_decay=0.1), {"all": [weight]}).step()
        moved[name] = 1 - weight.item()
    assert moved["adamw"] == pytest.approx(RATE * 0.1)
    assert moved["adam"] == pytest.approx(RATE)  # the decay is in the gradient, whose size Adam divides out


@pytest.mark.parametrize("name", CLASSES)
def test_a_step_that_is_not_finite_changes_nothing(name):
    """Neither weights nor moments nor the count of steps; the next one is what it would have been without it."""
    states = []
    for gradients in ([1.0, 2.0], [1.0, torch.nan, 2.0], [1.0, torch.inf, torch.nan, 2.0]):
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = make_optimizer(replace(OPTIM, optimizer=name), {"all": [weight]})
        for gradient in gradients:
            weight.grad = torch.full((3,), gradient)
            take_step(optimizer, RATE, weight.grad.isfinite().all())
        states.append([weight.detach(), *optimizer.state[weight].values()])
    for other in states[1:]:
        assert all(torch.equal(one, another) for one, another in zip(states[0], other))


def test_the_average_trails_by_its_decay_and_skips_what_is_skipped():
    """mean = decay * mean + (1 - decay) * weight; buffers are the model's."""
    model, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(5.0)
    update_average(average, model, 0.75, torch.tensor(False))
    assert average.weight.tolist() == [1.0, 1.0] and average.running_mean.tolist() == [0.0, 0.0]
    update_average(average, model, 0.75, torch.tensor(True))
    assert average.weight.tolist() == [1.5, 1.5] and average.running_mean.tolist() == [5.0, 5.0]


def test_every_optimizer_that_can_be_named_can_be_made():
    assert set(CLASSES) == set(OPTIMIZERS)
