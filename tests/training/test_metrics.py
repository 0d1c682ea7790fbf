"""Metrics says what a plain computation over the same predictions says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mfcc_wavenet.models.base import Predictions
from mfcc_wavenet.training.metrics import Metrics

FINITE = torch.tensor(True)


def predictions(seed: int, batch: int = 2, codes: int = 7, samples: int = 11) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randn(batch, codes, samples, generator=generator)
    target = torch.randint(codes, (batch, samples), generator=generator)
    mask = torch.rand(batch, samples, generator=generator) < 0.7
    return Predictions(pred, target, mask)


def test_every_value_equals_its_definition():
    """Over several updates, each mean runs over all unmasked samples, not over batches."""
    metrics = Metrics()
    kept = []
    for seed in range(3):
        some = predictions(seed, batch=seed + 1)
        metrics.update(some, FINITE, learning_rate=0.1 * seed)
        kept += [(some.pred[b, :, n].numpy(), int(some.target[b, n])) for b, n in some.mask.nonzero().tolist()]
    values = metrics.read()

    logits = np.array([logit for logit, _ in kept], dtype=np.float64)
    targets = np.array([target for _, target in kept])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    of_target = probabilities[np.arange(len(targets)), targets]
    peaks = logits.argmax(1)
    expected = {
        "loss": -np.log(of_target).mean(),
        "bits_per_sample": -np.log2(of_target).mean(),
        "error": (peaks != targets).mean(),
        "errors": (peaks != targets).sum(),
        "avg_prob_target": of_target.mean(),
        "avg_max": probabilities.max(1).mean(),
        "peak_dist": np.abs(peaks - targets).mean(),
        "samples_seen": len(targets),
        "learning_rate": 0.2,
    }
    assert values.pop("samples_per_second") > 0
    assert values == pytest.approx(expected, rel=1e-5)


def test_read_starts_the_sums_again_but_not_the_samples_seen():
    """Each row speaks of the time since the last; samples_seen of all time."""
    metrics = Metrics()
    metrics.update(predictions(0), FINITE)
    first = metrics.read()
    metrics.update(predictions(1), FINITE)
    second = metrics.read()
    alone = Metrics()
    alone.update(predictions(1), FINITE)
    assert second["loss"] == alone.read()["loss"]
    assert second["samples_seen"] == first["samples_seen"] + int(predictions(1).mask.sum())


def test_state_carries_a_half_filled_row():
    """A row that was half accumulated when the checkpoint was written comes out whole after it is loaded."""
    through, before, after = Metrics(), Metrics(), Metrics()
    for metrics in (through, before):
        metrics.update(predictions(0), FINITE)
    after.load_state_dict(before.state_dict())
    for metrics in (through, after):
        metrics.update(predictions(1), FINITE)
    rows = [metrics.read() for metrics in (through, after)]
    for row in rows:
        row.pop("samples_per_second")
    assert rows[0] == rows[1]


def test_an_empty_row_has_no_means():
    """Nothing was predicted, so nothing is averaged; no NaN reaches a dashboard."""
    assert Metrics().read() == {"samples_seen": 0}


def test_confident_predictions_lose_no_precision():
    """A true code with a logit lead of 30 has a loss of about e^-30, not of float32's rounding of 1."""
    pred = torch.zeros(1, 2, 1)
    pred[0, 1] = 15.0
    metrics = Metrics()
    true = Predictions(pred, torch.ones(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool))
    metrics.update(true, FINITE)
    assert metrics.read()["loss"] == pytest.approx(math.log1p(math.exp(-15)), rel=0.2)


def test_a_skipped_step_counts_for_nothing():
    """Whatever NaN its predictions hold: sums and samples are those of the other steps, and no NaN is logged."""
    metrics, alone = Metrics(), Metrics()
    for some in (metrics, alone):
        some.update(predictions(0), FINITE)
    nothing = predictions(1)
    metrics.update(replace(nothing, pred=nothing.pred * torch.nan), ~FINITE, grad_norm=torch.tensor(torch.nan))
    rows = [some.read() for some in (metrics, alone)]
    for row in rows:
        row.pop("samples_per_second")
    assert rows[0] == rows[1]
