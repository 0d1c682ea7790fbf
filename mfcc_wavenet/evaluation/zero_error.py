"""The certificate of inversion: no sample wrong given the true past, and every sample reproduced free-running.

Given the true past, every sample's arg-max code is compared with the true one. If none is wrong on a
whole utterance, greedy free-running generation repeats it by induction: each step's past is right.
Floating-point sums in another order may still tip a near tie, which is why reproduction is measured
by generating, not deduced, and why the smallest margin between the true code and its nearest rival
is reported next to it.
"""

import time

from mfcc_wavenet.evaluation.free_running import corpus_windows, reproduced
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.models.checkpoint import Checkpoint


def measure(checkpoint: Checkpoint) -> dict[str, float | int]:
    """Teacher-forced error and likelihood on the corpus of its settings, and how many samples it reproduces."""
    started = time.perf_counter()
    windows = corpus_windows(checkpoint)
    model = checkpoint.model()
    measured = teacher_forced(model, windows).values() | {"reproduced": reproduced(model, windows)}
    return measured | {"evaluation_seconds": round(time.perf_counter() - started, 1)}
