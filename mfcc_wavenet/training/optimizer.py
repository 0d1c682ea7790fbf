"""The optimizer from settings, and steps that a GPU skips by itself where a gradient is not finite."""

from collections.abc import Iterable

import torch
from jaxtyping import Bool
from torch import Tensor, nn, optim

from mfcc_wavenet.config.settings import OptimSettings
from mfcc_wavenet.training.muon import Muon

CLASSES = {"adam": optim.Adam, "adamw": optim.AdamW, "muon": Muon}
MATRIX_GROUPS = ("layers", "head")  # whose matrices Muon moves; not lookup tables, nor what few frames of a step reach


def make_optimizer(settings: OptimSettings, groups: dict[str, list[nn.Parameter]]) -> optim.Optimizer:
    """Adam, AdamW or Muon (Kingma and Ba 2015; Loshchilov and Hutter 2019; muon.py) for named parameters."""
    parts = [{"params": parameters, "name": name} for name, parameters in groups.items()]
    if settings.optimizer == "muon":
        parts = [part for group in parts for part in _matrices_apart(group, settings)]
    return CLASSES[settings.optimizer](
        parts, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def _matrices_apart(group: dict, settings: OptimSettings) -> list[dict]:
    """The group, or its matrices for Muon and the rest of it for Adam."""
    if group["name"] not in MATRIX_GROUPS:
        return [group]
    matrices = [parameter for parameter in group["params"] if parameter.ndim == 2]
    others = [parameter for parameter in group["params"] if parameter.ndim != 2]
    factor = settings.muon_learning_rate / settings.learning_rate
    of_muon = {"params": matrices, "momentum": settings.muon_momentum, "rate_factor": factor}
    return [part for part in (group | of_muon, group | {"params": others}) if part["params"]]


def take_step(optimizer: optim.Optimizer, learning_rate: float, finite: Bool[Tensor, ""]) -> None:
    """One step at that rate; where finite is False, neither weights nor moments change.

    The fused optimizers look at found_inf on the device, as they do for torch.amp.GradScaler: nothing waits for it.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1)
    optimizer.grad_scale = None
    optimizer.found_inf = (~finite).float()
    optimizer.step()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, finite: Bool[Tensor, ""]) -> None:
    """average = decay * average + (1 - decay) * model, for parameters; buffers are copied. Nothing if not finite."""
    fraction = finite * (1 - decay)
    for mean, parameter in zip(average.parameters(), model.parameters()):
        mean.lerp_(parameter, fraction)
    for kept, buffer in zip(average.buffers(), model.buffers()):
        kept.copy_(torch.where(finite, buffer, kept))


def copies(parameters: Iterable[Tensor]) -> list[Tensor]:
    """As they are now."""
    return [parameter.detach().clone() for parameter in parameters]


def relative_change(before: list[Tensor], after: Iterable[Tensor]) -> Tensor:
    """Norm of what changed, over the norm of what was there."""
    changes = torch.stack([(new.detach() - old).norm() for new, old in zip(after, before)])
    return changes.norm() / torch.stack([old.norm() for old in before]).norm()
