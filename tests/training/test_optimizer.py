"""The optimizer is the named one, and skips on the device what is not finite."""

from dataclasses import replace

import pytest
import torch
from support.settings import compose_settings

from mfcc_wavenet.config.training_settings import OPTIMIZERS
from mfcc_wavenet.training.optimizer import CLASSES, make_optimizer, orthogonalised, take_step, update_average

RATE = 0.5
PARTS = ("upsampling", "embedding", "layers", "head")
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


@pytest.mark.parametrize("name", CLASSES)
def test_an_encoder_has_a_rate_of_its_own(name):
    """A fraction of that of everything else, through the whole schedule."""
    parameters = {part: torch.nn.Parameter(torch.ones(3)) for part in ("encoder", "bottleneck", "head")}
    optimizer = make_optimizer(
        replace(OPTIM, optimizer=name, encoder_factor=0.25), {part: [one] for part, one in parameters.items()}
    )
    for parameter in parameters.values():
        parameter.grad = torch.ones(3)
    take_step(optimizer, RATE, torch.tensor(True))
    moved = {part: float((1 - parameter[0]).detach()) for part, parameter in parameters.items()}
    assert moved == pytest.approx({"encoder": RATE / 4, "bottleneck": RATE / 4, "head": RATE}, rel=1e-3)


def test_decoupled_weight_decay_is_what_tells_adamw_from_adam():
    """On a gradient of 0, AdamW shrinks a weight by rate * decay (Loshchilov and Hutter 2019, algorithm 2)."""
    moved = {}
    for name in CLASSES:
        weight = torch.nn.Parameter(torch.ones(1))
        weight.grad = torch.zeros(1)
        make_optimizer(replace(OPTIM, optimizer=name, weight_decay=0.1), {"all": [weight]}).step()
        moved[name] = 1 - weight.item()
    assert moved["adamw"] == pytest.approx(RATE * 0.1)
    assert moved["muon"] == moved["adam"]  # this is no matrix
    assert moved["adam"] == pytest.approx(RATE)  # the decay is in the gradient, whose size Adam divides out


@pytest.mark.parametrize("name", CLASSES)
def test_a_step_that_is_not_finite_changes_nothing(name):
    """Neither weights nor moments nor the count of steps; the next one is what it would have been without it."""
    states = []
    for gradients in ([1.0, 2.0], [1.0, torch.nan, 2.0], [1.0, torch.inf, torch.nan, 2.0]):
        weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 3))]
        optimizer = make_optimizer(replace(OPTIM, optimizer=name, weight_decay=0.1), {"layers": weights})
        for gradient in gradients:
            for weight in weights:
                weight.grad = torch.full_like(weight, gradient)
            take_step(optimizer, RATE, torch.tensor(gradient).isfinite())
        states.append([tensor for weight in weights for tensor in (weight.detach(), *optimizer.state[weight].values())])
    for other in states[1:]:
        assert all(torch.equal(one, another) for one, another in zip(states[0], other))


def test_a_step_of_muon_is_orthogonal_and_of_one_size():
    """Whatever the gradient's singular values: those of the step are the rate, times sqrt(rows / columns) if tall."""
    torch.manual_seed(0)
    for rows, columns in ((6, 6), (4, 10), (12, 3)):
        matrix = torch.nn.Parameter(torch.zeros(rows, columns))
        left, right = torch.linalg.qr(torch.randn(rows, rows)).Q, torch.linalg.qr(torch.randn(columns, columns)).Q
        smaller = min(rows, columns)
        singular = torch.logspace(0, -1.2, smaller)  # all above a fiftieth of the matrix's norm
        matrix.grad = left[:, :smaller] @ singular.diag() @ right[:smaller]
        optimizer = make_optimizer(replace(OPTIM, optimizer="muon", muon_learning_rate=0.1), {"head": [matrix]})
        take_step(optimizer, RATE, torch.tensor(True))
        taken = torch.linalg.svdvals(matrix.detach()) / (0.1 * max(1, rows / columns) ** 0.5)
        assert taken.min() > 0.6 and taken.max() < 1.25
        descent = (matrix.detach() * (left[:, :smaller] @ right[:smaller])).sum()
        assert descent < -0.6 * 0.1 * smaller  # along -U V^T


def test_muon_moves_the_matrices_of_the_network_and_adam_the_rest():
    """A lookup table, a bias and what lies outside the network move as with Adam, whatever the rate of the matrices."""
    moved = {}
    for name, muon_rate in (("adam", 0.1), ("muon", 0.1), ("muon", 0.2)):
        torch.manual_seed(0)
        groups = {part: [torch.nn.Parameter(torch.randn(4, 4)), torch.nn.Parameter(torch.randn(4))] for part in PARTS}
        before = {part: [weight.detach().clone() for weight in weights] for part, weights in groups.items()}
        settings = replace(OPTIM, optimizer=name, muon_learning_rate=muon_rate)
        optimizer = make_optimizer(settings, groups)
        for weights in groups.values():
            for weight in weights:
                weight.grad = torch.randn_like(weight)
        take_step(optimizer, settings.learning_rate, torch.tensor(True))
        moved[name, muon_rate] = {
            (part, weight.ndim): weight.detach() - old
            for part, weights in groups.items()
            for weight, old in zip(weights, before[part])
        }
    adam, muon, faster = moved.values()
    of_muon = {("layers", 2), ("head", 2)}
    for key in adam:
        assert torch.equal(muon[key], adam[key]) == (key not in of_muon)
        torch.testing.assert_close(faster[key], muon[key] * (2 if key in of_muon else 1))


def test_matrices_together_are_each_by_itself():
    """What else has the same shape does not matter."""
    torch.manual_seed(0)
    matrices = torch.randn(5, 8, 12)
    together = orthogonalised(matrices)
    for one, alone in zip(together, matrices):
        torch.testing.assert_close(one, orthogonalised(alone[None])[0])


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
