"""The certificate with linear prediction: none wrong given the true past, and all of it generated again."""

import numpy as np
import pytest
from support.training import trained_to_zero

from mfcc_wavenet.evaluation import free_running
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints


@pytest.mark.parametrize(("classes", "preemphasis"), [("codes", 0.85), ("differences", 0), ("both", 0)])
def test_zero_wrong_is_reproduced_bit_for_bit(tmp_path, classes, preemphasis):
    """By the model that was trained, and by its checkpoint alone."""
    folder = tmp_path / "run"
    settings = ("wavenet.prediction=lpc", f"wavenet.classes={classes}", f"wavenet.preemphasis={preemphasis}")
    chassis, results = trained_to_zero(folder, *settings)
    assert results["wrong"] == 0 and results["reproduced"] == results["samples"] == 1600
    (codes,) = free_running.generated(chassis.model, chassis.windows, [0])
    np.testing.assert_array_equal(codes, chassis.corpus.codes(0))
    measured = measure(checkpoints.load(chassis.checkpoint_path))
    assert measured["wrong"] == 0 and measured["reproduced"] == 1600
    # At ties, those that are wrong up or down; a step between codes, thousands of times as far, makes more of them so.
    ties = [teacher_forced(chassis.model, chassis.windows.moved(way)).wrong for way in (-1.0, 1.0, -5e3, 5e3)]
    assert measured["wrong_at_ties"] == max(ties[:2]) < min(ties[2:])
