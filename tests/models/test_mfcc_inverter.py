"""The whole model: windows of real sound are predicted as in their utterance; the objective is the likelihood."""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import (
    LENGTHS,
    Architecture,
    architectures,
    examples,
    random_type_checks,
    whole_utterance,
    windows,
)

from mfcc_wavenet.config.settings import WindowSettings
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.models.base import Predictions, jitter
from mfcc_wavenet.models.mfcc_inverter import MfccInverter

pytestmark = random_type_checks

TOLERANCE = {"rtol": 0, "atol": 1e-10}  # in float64; logits reach some 10
UTTERANCES = st.integers(0, len(LENGTHS) - 1)


def batch_of(architecture: Architecture, *chosen: tuple[int, int]) -> Batch:
    """The windows (utterance, first sample), their frames in float64."""
    samples = architecture.window.samples
    batch = windows(architecture).assemble(np.array(chosen), samples, Position())
    return dataclasses.replace(batch, frames=batch.frames.double())


def run(model: MfccInverter, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model.run(batch).pred


# ----------------------------------------------------------------------------------- what it sees


@examples(60)
@given(architecture=architectures(predictions=("none", "lpc")), utterance=UTTERANCES, data=st.data())
def test_a_window_is_a_slice_of_the_whole_utterance(architecture, utterance, data):
    """Wherever a window lies, sticking out at either end included: the same logits, beside the codes they predict."""
    whole = windows(architecture)
    codes, length = whole.corpus.codes(utterance), LENGTHS[utterance]
    start = data.draw(st.integers(1 - architecture.window.samples, length - 1), "start")
    time = slice(max(start, 0), min(start + architecture.window.samples, length))
    model, batch = architecture.model().double(), batch_of(architecture, (utterance, start))
    with torch.no_grad():
        predictions = model.run(batch)
    assert predictions.target[batch.mask].tolist() == codes[time].tolist()
    speaker, linear_prediction = whole.speaker_index[utterance], whole.linear_prediction
    logits = whole_utterance(model, codes, whole.frames(utterance), speaker, linear_prediction)
    torch.testing.assert_close(predictions.pred.transpose(1, 2)[batch.mask], logits[time], **TOLERANCE)


@examples(30)
@given(
    architecture=architectures(), chosen=st.lists(st.tuples(UTTERANCES, st.integers(-5, 15)), min_size=2, max_size=4)
)
def test_windows_of_a_batch_are_apart(architecture, chosen):
    """However differently they lie between their frames and whoever speaks: as if each were alone."""
    model = architecture.model().double()
    together = run(model, batch_of(architecture, *chosen))
    for pred, window in zip(together, chosen):
        torch.testing.assert_close(pred[None], run(model, batch_of(architecture, window)), **TOLERANCE)


@examples(60)
@given(architecture=architectures(), utterance=UTTERANCES, data=st.data())
def test_a_prediction_sees_its_receptive_field(architecture, utterance, data):
    """Code t reaches the predictions of t + 1 to t + receptive_field; not its own, nor an earlier or later one."""
    receptive_field, samples = architecture.geometry.receptive_field, architecture.window.samples
    model, batch = architecture.model().double(), batch_of(architecture, (utterance, 0))
    t = data.draw(st.integers(-receptive_field, samples - 1), "t")
    codes = batch.codes.clone()
    codes[:, t + receptive_field] = (codes[:, t + receptive_field] + 1) % architecture.wavenet.quantization_channels
    before, after = run(model, batch), run(model, dataclasses.replace(batch, codes=codes))
    differing = (before != after).any(1)[0].nonzero()[:, 0].tolist()  # bit for bit
    assert all(t < prediction <= t + receptive_field for prediction in differing)
    for reached in (t + 1, t + receptive_field):
        assert reached in differing or not 0 <= reached < samples


@examples(20)
@given(architecture=architectures(speaker_channels=(0, 3)), utterance=UTTERANCES)
def test_the_speaker_matters_if_the_network_is_told(architecture, utterance):
    model, batch = architecture.model().double(), batch_of(architecture, (utterance, 0))
    other = dataclasses.replace(batch, speakers=1 - batch.speakers)
    assert (run(model, batch) != run(model, other)).any() == (architecture.wavenet.speaker_channels > 0)


# ----------------------------------------------------------------------------------------- jitter


FRAMES = torch.arange(1000.0)[None, :, None]  # the value of a frame is its number


@pytest.mark.parametrize("probability", [0.0, 0.12, 1.0])
def test_jitter_moves_that_share_of_frames(probability):
    """To a direct neighbour, either one as often; at an edge the edge itself stands in."""
    steps = (jitter(FRAMES.expand(20, -1, -1), probability) - FRAMES)[:, :, 0]
    assert (steps[:, 0] >= 0).all() and (steps[:, -1] <= 0).all()
    inside = steps[:, 1:-1]
    assert inside.abs().max() <= 1
    shares = [(inside == step).double().mean().item() for step in (-1, 1)]
    assert shares == pytest.approx([probability / 2] * 2, abs=0.02 * probability)
    assert probability < 1 or (inside != 0).all()


@examples(15)
@given(architecture=architectures(jitter=1.0), utterance=st.sampled_from([0, 2]))
def test_jitter_is_for_training_alone(architecture, utterance):
    """In evaluation mode the logits are those of a model without it; in training mode they are others each time."""
    architecture = dataclasses.replace(architecture, window=WindowSettings(samples=90, batch_size=1))
    model, batch = architecture.model().double(), batch_of(architecture, (utterance, 0))
    steady = dataclasses.replace(architecture, upsampling=dataclasses.replace(architecture.upsampling, jitter=0.0))
    expected = run(steady.model().double(), batch)
    assert torch.equal(run(model, batch), expected)
    assert torch.equal(run(steady.model().double().train(), batch), expected)
    torch.manual_seed(1)
    jittered = [run(model.train(), batch) for _ in range(2)]
    assert not torch.equal(jittered[0], jittered[1]) and not torch.equal(jittered[0], expected)


# -------------------------------------------------------------------------------------- objective


@st.composite
def predictions(draw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (B, Q, N), codes (B, N) and a mask (B, N) that keeps at least one."""
    batch, channels, samples = draw(st.integers(1, 3)), draw(st.integers(2, 300)), draw(st.integers(1, 30))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    mask = random.random((batch, samples)) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    mask[0, 0] = True
    logits = 5 * random.normal(size=(batch, channels, samples))
    return (
        torch.from_numpy(logits),
        torch.from_numpy(random.integers(channels, size=mask.shape)),
        torch.from_numpy(mask),
    )


@examples(40)
@given(architecture=architectures(), drawn=predictions())
def test_objective_is_the_mean_likelihood(architecture, drawn):
    """In nats per sample that counts, computed one by one."""
    pred, target, mask = drawn
    nats = []
    for b, n in np.argwhere(mask.numpy()):
        probabilities = np.exp(pred[b, :, n].numpy())
        nats.append(-np.log(probabilities[target[b, n]] / probabilities.sum()))
    assert architecture.model().objective(Predictions(pred, target, mask), step=0).item() == pytest.approx(
        np.mean(nats), rel=1e-9
    )


@examples(40)
@given(architecture=architectures(), drawn=predictions())
def test_what_is_masked_does_not_matter(architecture, drawn):
    """Neither its code nor its logits, which get no gradient; all others do."""
    pred, target, mask = drawn
    model = architecture.model()

    def objective(*predicted: torch.Tensor) -> torch.Tensor:
        return model.objective(Predictions(*predicted), step=0)

    other_pred = torch.where(mask[:, None], pred, pred.flip(1) + 1)
    other_target = torch.where(mask, target, (target + 1) % pred.shape[1])
    assert objective(pred, target, mask) == objective(other_pred, other_target, mask)
    objective(pred.requires_grad_(), target, mask).backward()
    assert torch.equal((pred.grad != 0).any(1), mask)
