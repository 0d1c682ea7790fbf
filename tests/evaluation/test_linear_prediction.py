"""The certificate with linear prediction: none wrong given the true past, and all of it generated again."""

from dataclasses import replace

import numpy as np
import pytest
from support.training import trained_to_zero

from mfcc_wavenet.evaluation import free_running
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.evaluation.zero_error import measure, wrong_at_ties
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
    assert measured["wrong"] == 0 and measured["reproduced"] == 1600 and measured["wrong_at_ties"] < 1600


def test_at_ties_those_count_whose_prediction_becomes_another_code(tmp_path):
    """Most where every prediction is moved by a third of a step or so, and those are as many as the moved ones have."""
    chassis, _ = trained_to_zero(tmp_path / "run", "wavenet.prediction=lpc")
    measured = teacher_forced(chassis.model, chassis.windows)
    ties = [teacher_forced(chassis.model, chassis.windows.moved(way)).wrong for way in (-2e3, -1.0, 1.0, 2e3)]
    assert wrong_at_ties(chassis.model, chassis.windows, measured) == max(ties[1:3])
    assert min(ties[0], ties[3]) > max(ties[1:3])
    assert wrong_at_ties(chassis.model, chassis.windows, replace(measured, wrong=1)) is None
