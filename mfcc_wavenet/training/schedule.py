"""The learning rate: a pure function of the step, so that a resumed run needs no state."""

import math

from mfcc_wavenet.config.settings import OptimSettings


def learning_rate(settings: OptimSettings, step: int) -> float:
    """The rate of the step with that number, counted from 0."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "step":
        passed = sum(milestone <= step for milestone in settings.milestones)
        return settings.learning_rate * (1.0, *settings.milestone_factors)[passed]
    if settings.schedule == "constant":
        return settings.learning_rate
    decayed = min((step - settings.warmup_steps) / (settings.decay_steps - settings.warmup_steps), 1.0)
    left = 1 - decayed if settings.schedule == "linear" else (1 + math.cos(math.pi * decayed)) / 2
    return settings.learning_rate * (settings.floor + (1 - settings.floor) * left)
