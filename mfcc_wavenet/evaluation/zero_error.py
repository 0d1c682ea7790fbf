"""The certificate of inversion: no sample wrong given the true past, and every sample reproduced free-running.

Given the true past, every sample's arg-max code is compared with the true one. If none is wrong on a
whole utterance, greedy free-running generation repeats it by induction: each step's past is right.
Floating-point sums in another order may still tip a near tie, which is why reproduction is measured
by generating, not deduced, and why the smallest margin between the true code and its nearest rival
is reported next to it. Both measures are of float32 weights in float32 arithmetic, in whichever precision
the model was trained.
"""

import time

from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.free_running import corpus_windows, reproduced
from mfcc_wavenet.evaluation.latents import latent_figures
from mfcc_wavenet.evaluation.sharing import ALONE, Alone
from mfcc_wavenet.evaluation.teacher_forced import TeacherForced, teacher_forced
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.checkpoint import Checkpoint


def certify(model: Model, windows: Windows, measured: TeacherForced, processes: Alone = ALONE) -> int | None:
    """Samples that free-running generation reproduces; None, not tried, where a sample is wrong teacher-forced.

    From its first wrong sample on, an utterance has another past, and what still agrees is chance.
    """
    return reproduced(model, windows, processes) if measured.wrong == 0 else None


def wrong_at_ties(model: Model, windows: Windows, measured: TeacherForced, processes: Alone = ALONE) -> int | None:
    """Samples that are wrong where all linear predictions are moved as far as training does, up or down: the larger.

    MFCCs that are rounded otherwise move them by less, and so make no other sample wrong. None, not tried, where a
    sample is wrong as it is, or where the model does without predictions.
    """
    if measured.wrong or windows.linear_prediction is None:
        return None
    return max(teacher_forced(model, windows.moved(way), processes).wrong for way in (-1.0, 1.0))


def measure(
    checkpoint: Checkpoint, processes: Alone = ALONE, windows: Windows | None = None
) -> dict[str, float | int | None]:
    """Teacher-forced error and likelihood on a corpus, how many samples of it the model reproduces, and its latents.

    And how many may be wrong by MFCCs that are rounded otherwise.

    processes: that share the utterances, and of which each gets the same result. windows: of the corpus; None: of the
    training part of that in the checkpoint's settings.
    """
    started = time.perf_counter()
    windows = windows or corpus_windows(checkpoint, processes)
    model = checkpoint.model()
    measured = teacher_forced(model, windows, processes)
    exact = {
        "wrong_at_ties": wrong_at_ties(model, windows, measured, processes),
        "reproduced": certify(model, windows, measured, processes),
    }
    figures = latent_figures(model, windows, measured.nats, checkpoint.settings.features.sample_rate, processes)
    seconds = round(time.perf_counter() - started, 1)
    return measured.values() | figures | exact | {"evaluation_seconds": seconds}
