"""The certificate with linear prediction: none wrong given the true past, and all of it generated again."""

import numpy as np
import pytest
from support.training import trained_to_zero

from mfcc_wavenet.evaluation import free_running
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
