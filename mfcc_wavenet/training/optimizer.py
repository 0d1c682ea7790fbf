"""The optimizer and its learning rate, from settings."""

import math

from torch import nn, optim

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import OptimSettings

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW}
SCHEDULES = ("constant", "linear", "cosine", "step")


def check(settings: OptimSettings) -> None:
    """Refuses an unknown name and numbers that no schedule can follow, with one UserError sentence."""
    if settings.optimizer not in OPTIMIZERS:
        raise UserError(f"optim.optimizer is {settings.optimizer!r}; there are {', '.join(OPTIMIZERS)}.")
    if settings.schedule not in SCHEDULES:
        raise UserError(f"optim.schedule is {settings.schedule!r}; there are {', '.join(SCHEDULES)}.")
    if settings.schedule in ("linear", "cosine") and settings.decay_steps <= settings.warmup_steps:
        raise UserError(
            f"optim.decay_steps is {settings.decay_steps}, but optim.warmup_steps is {settings.warmup_steps}; "
            "the decay must end after the warm-up."
        )
    if len(settings.milestones) != len(settings.milestone_factors):
        raise UserError(
            f"optim.milestones has {len(settings.milestones)} entries and optim.milestone_factors "
            f"{len(settings.milestone_factors)}; every milestone needs its factor."
        )
    if list(settings.milestones) != sorted(settings.milestones):
        raise UserError(f"optim.milestones is {list(settings.milestones)}; the steps must ascend.")
    if max(settings.betas) >= 1:
        raise UserError(f"optim.betas is {list(settings.betas)}; both must be less than 1.")
    if settings.floor > 1:
        raise UserError(f"optim.floor is {settings.floor}; it is a share of optim.learning_rate, at most 1.")
    if not 0 <= settings.ema_decay < 1:
        raise UserError(f"optim.ema_decay is {settings.ema_decay}; it must be at least 0 and less than 1.")


def learning_rate(settings: OptimSettings, step: int) -> float:
    """The rate of the step with that number, counted from 0: a pure function, so a resumed run needs no state."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "step":
        passed = sum(milestone <= step for milestone in settings.milestones)
        return settings.learning_rate * (1.0, *settings.milestone_factors)[passed]
    if settings.schedule == "constant":
        return settings.learning_rate
    share = min((step - settings.warmup_steps) / (settings.decay_steps - settings.warmup_steps), 1.0)
    left = 1 - share if settings.schedule == "linear" else (1 + math.cos(math.pi * share)) / 2
    return settings.learning_rate * (settings.floor + (1 - settings.floor) * left)


def make_optimizer(settings: OptimSettings, groups: dict[str, list[nn.Parameter]]) -> optim.Optimizer:
    """Adam or AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019), one parameter group per name."""
    return OPTIMIZERS[settings.optimizer](
        [{"params": parameters, "name": name} for name, parameters in groups.items()],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
