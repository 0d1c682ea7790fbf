"""Evaluation counts every sample once, and zero wrong means that generation repeats the audio."""

import numpy as np
import pytest
import torch

from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.evaluation import free_running, teacher_forced


def test_zero_wrong_is_reproduced_bit_for_bit(inverted):
    """The certificate: no arg-max is wrong given the true past, and free-running generation gives every code."""
    chassis, results = inverted
    assert results["wrong"] == 0 and results["reproduced"] == results["samples"] == 1600
    assert results["margin"] > 0
    assert results["samples_to_zero"] == results["samples_seen"] > 0
    (codes,) = free_running.generated(chassis.model, chassis.windows, [0])
    np.testing.assert_array_equal(codes, chassis.corpus.codes(0))


def test_a_pass_in_pieces_is_the_pass_in_one(inverted, monkeypatch):
    """How an utterance is cut for the pass changes nothing but rounding."""
    chassis, _ = inverted
    whole = teacher_forced.teacher_forced(chassis.model, chassis.windows)
    monkeypatch.setattr(teacher_forced, "PASS_WINDOW", 130)
    pieces = teacher_forced.teacher_forced(chassis.model, chassis.windows)
    assert pieces.samples == whole.samples and pieces.wrong == whole.wrong
    assert pieces.nats == pytest.approx(whole.nats, rel=1e-4)
    assert pieces.margin == pytest.approx(whole.margin, rel=1e-3)


def test_one_broken_weight_is_found_out(inverted):
    """A model that was zero-error is not any more when a bias is off: both measures see it, and they agree."""
    chassis, _ = inverted
    bias = chassis.model.wavenet.logits.bias
    with torch.no_grad():
        former = bias.clone()
        bias[int(np.bincount(chassis.corpus.codes(0)).argmax())] -= 30
        measured = teacher_forced.teacher_forced(chassis.model, chassis.windows)
        same = free_running.reproduced(chassis.model, chassis.windows)
        bias.copy_(former)
    assert measured.wrong > 0 and measured.margin < 0
    assert same < measured.samples


def test_ties_count_as_wrong(inverted):
    """Where all logits are equal nothing is known, and every sample is wrong."""
    chassis, _ = inverted
    logits = chassis.model.wavenet.logits
    with torch.no_grad():
        weight, bias = logits.weight.clone(), logits.bias.clone()
        logits.weight.zero_(), logits.bias.zero_()
        measured = teacher_forced.teacher_forced(chassis.model, chassis.windows)
        logits.weight.copy_(weight), logits.bias.copy_(bias)
    assert measured.wrong == measured.samples
    assert measured.nats == pytest.approx(np.log(256))


def test_the_evaluated_past_is_the_training_past(inverted):
    """Training windows and the evaluation pass give a sample the same likelihood."""
    chassis, _ = inverted
    batch = chassis.windows[Position()]
    model = chassis.model.eval()
    with torch.no_grad():
        window = model.objective(model.run(batch), step=0)
        whole = next(iter(chassis.windows.whole(0, 1600)))
        predictions = model.run(whole)
        nats = torch.nn.functional.cross_entropy(predictions.pred, predictions.target, reduction="none")[0]
    start = int(chassis.windows.epoch(0)[:][0, 1])
    inside = slice(max(start, 0), min(start + 200, 1600))
    assert float(window) == pytest.approx(float(nats[inside].mean()), rel=1e-3, abs=1e-6)
