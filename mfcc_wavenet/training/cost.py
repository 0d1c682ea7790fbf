"""What a run will cost, told when it begins: a line before its first step, and one after a second of its steps."""

import sys
import time
from typing import TYPE_CHECKING

from mfcc_wavenet.config.size import count_weights, training_bytes
from mfcc_wavenet.training.computing.network_pass import device_memory
from mfcc_wavenet.training.report import Report

if TYPE_CHECKING:
    from mfcc_wavenet.training.chassis import Chassis

MEASURED_SECONDS = 1.0  # of a run's own steps
LONG_STEP = 10.0  # seconds of a first step that need not be left out: what is done once is little of it
UNITS = {10**12: " T", 10**9: " G", 10**6: " M", 10**3: " k"}
DURATIONS = {"d": 86_400, "h": 3600, "min": 60, "s": 1}


def tell_in_advance(chassis: "Chassis") -> None:
    """On stderr, what follows from the settings: weights, memory, steps, samples and epochs that are left.

    And what of them its model warns of.
    """
    settings = chassis.settings
    left = settings.train.steps - chassis.step
    if left > 0:
        needed = training_bytes(settings, chassis.geometry, chassis.precision.itemsize, chassis.ranks.size)
        per_step = settings.window.samples * settings.window.batch_size
        weights, there = count_weights(settings, len(chassis.speakers)), device_memory(chassis.device)
        print(size_line(weights, needed, there, left, per_step, chassis.corpus.samples), file=sys.stderr)
        if warning := chassis.model.warning([]):
            print(warning, file=sys.stderr)


def size_line(weights: int, needed: int, there: int, steps: int, per_step: int, corpus: int) -> str:
    """needed, there: bytes; steps: that are left; per_step: samples; corpus: its samples."""
    samples, memory = steps * per_step, f"{gibibytes(needed)} of {gibibytes(there)} GiB or more"
    return (
        f"Cost: {short(weights)} weights, {memory}; {steps:,} steps of {short(per_step)} samples: "
        f"{short(samples)} samples, {samples / corpus:,.1f} epochs"
    )


class FirstSteps:
    """Measures a run's own steps, so that nothing is computed for it and no bit changes; it speaks once.

    All that happens between them counts: rows, loading, audio. The first step is left out, in which memory is allocated
    and code compiled, unless it takes so long that this does not matter. On a GPU it waits twice for the device.
    """

    def __init__(self, chassis: "Chassis"):
        self.chassis = chassis
        self.is_told = False
        self._begin()

    def tell(self, report: Report) -> None:
        """After each step: once enough of them are over, how fast they are and how long the rest takes."""
        if self.is_told:
            return
        chassis = self.chassis
        # Process 0's: all of them have to ask for the samples at the same step.
        seconds = chassis.ranks.of_first(lambda: time.perf_counter() - self.since)
        is_first = not self.is_warm
        if is_first and (chassis.compiled or seconds < LONG_STEP):
            self._begin(is_warm=True)
        elif is_first or seconds >= MEASURED_SECONDS:
            samples = chassis.metrics.samples_seen - self.seen  # waits for a GPU
            seconds = time.perf_counter() - self.since
            self.is_told = True
            report.note(
                speed_line(samples, chassis.step - self.step, seconds, chassis.step, chassis.settings.train.steps)
            )

    def _begin(self, is_warm: bool = False) -> None:
        self.is_warm = is_warm
        self.step, self.seen = self.chassis.step, self.chassis.metrics.samples_seen
        self.since = time.perf_counter()


def speed_line(samples: int, steps: int, seconds: float, step: int, last: int) -> str:
    """samples, steps, seconds: measured; step: where the run is; last: the step at which its schedule ends."""
    left = (last - step) * seconds / steps
    return (
        f"Speed: {samples / seconds:,.0f} samples/s, which takes {duration(left)} to step {last:,}, "
        "evaluation not counted"
    )


def duration(seconds: float) -> str:
    """In its two largest units: 3 min 20 s, 2 d 4 h."""
    left, parts = round(seconds), []
    for unit, length in DURATIONS.items():
        count, left = divmod(left, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count:,} {unit}")
    return " ".join(parts[:2])


def short(count: int) -> str:
    """In three digits or so: 500, 53.4 k, 1.9 M."""
    unit = next((unit for unit in UNITS if count >= unit), 1)
    return f"{count / unit:,.1f}{UNITS[unit]}" if unit > 1 else f"{count}"


def gibibytes(count: int) -> str:
    """Without the unit, in two digits or so."""
    value = count / 2**30
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
