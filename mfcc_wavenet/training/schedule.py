"""What is due at a step, the learning rate above all: pure functions of it, so that a resumed run needs no state."""

import math
import sys

from mfcc_wavenet.config.training_settings import OptimSettings


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


def note_decayed(settings: OptimSettings, step: int, steps: int) -> None:
    """Says so where a run that resumes at step would make all steps that are left at the floor."""
    if settings.schedule in ("linear", "cosine") and 0 < settings.decay_steps <= step < steps:
        print(
            f"The learning rate had decayed to its floor by step {settings.decay_steps:,}, and the steps up to "
            f"{steps:,} stay there; optim.decay_steps={steps} decays anew.",
            file=sys.stderr,
        )


def every(interval: int, step: int) -> bool:
    """Whether the step is a multiple of the interval; an interval of 0 means never."""
    return interval > 0 and step % interval == 0
