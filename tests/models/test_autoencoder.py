"""The autoencoder: windows get the latents of their utterance, and the decoder knows nothing else of its frames."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given
from support.architectures import (
    AUTOENCODER,
    BOTTLENECK,
    FEATURES,
    LENGTHS,
    Architecture,
    autoencoders,
    examples,
    random_type_checks,
    whole_utterance,
    windows,
)

from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.models.base import Model

pytestmark = random_type_checks

TOLERANCE = {"rtol": 0, "atol": 1e-9}  # in float64; logits reach some 10
UTTERANCES = st.integers(0, len(LENGTHS) - 1)


def batch_of(architecture: Architecture, *chosen: tuple[int, int]) -> Batch:
    """The windows (utterance, first sample), their frames in float64."""
    batch = windows(architecture).assemble(np.array(chosen), architecture.window.samples, Position())
    return replace(batch, frames=batch.frames.double())


def latents_of(model: Model, frames: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(torch.from_numpy(frames).double()[None])[0]


def drawn_window(architecture: Architecture, data, utterance: int) -> tuple[int, int]:
    start = data.draw(st.integers(1 - architecture.window.samples, LENGTHS[utterance] - 1), "start")
    return utterance, start


@examples(60)
@given(architecture=autoencoders(), utterance=UTTERANCES, data=st.data())
def test_a_window_is_a_slice_of_the_whole_utterance(architecture, utterance, data):
    """Wherever it lies: the latents inside are those of the utterance, units included, and so are all logits."""
    model, whole = architecture.model().double(), windows(architecture)
    window = drawn_window(architecture, data, utterance)
    batch = batch_of(architecture, window)
    with torch.no_grad():
        predictions = model.run(batch)
    latents = latents_of(model, whole.frames(utterance))
    first, _ = architecture.geometry.window_latent_span((window[1], window[1] + architecture.window.samples))
    places = (first + torch.arange(batch.inside.shape[1]))[batch.inside[0]]
    assert len(places) and torch.equal(places, (first + batch.latents[0])[batch.inside[0]])
    torch.testing.assert_close(predictions.latents[0][batch.inside[0]], latents[places], **TOLERANCE)
    codes, speaker = whole.corpus.codes(utterance), whole.speaker_index[utterance]
    logits = whole_utterance(model, codes, whole.frames(utterance), speaker)
    time = slice(max(window[1], 0), min(window[1] + architecture.window.samples, LENGTHS[utterance]))
    torch.testing.assert_close(predictions.pred.transpose(1, 2)[batch.mask], logits[time], **TOLERANCE)


@examples(60)
@given(architecture=autoencoders(kinds=("ae",)), count=st.integers(1, 40), data=st.data())
def test_a_latent_sees_its_field(architecture, count, data):
    """A change of a frame changes the latents whose field it is in, and no other; all weights above 0, no relu cuts."""
    model, encoder = architecture.model().double(), architecture.geometry.encoder
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), *model.bottleneck.parameters()]:
            parameter.abs_()
    frames = np.random.default_rng(0).uniform(1, 2, (count, FEATURES.channels)).astype(np.float32)
    changed = data.draw(st.integers(0, count - 1))
    before = latents_of(model, frames)
    frames[changed] += 1
    moved = (latents_of(model, frames) != before).any(1).tolist()
    fields = [clamped_indices(encoder.frame_span((j, j + 1)), count) for j in range(encoder.latents_of(count))]
    assert moved == [changed in field for field in fields]


@examples(30)
@given(architecture=autoencoders(), data=st.data())
def test_windows_of_a_batch_are_apart(architecture, data):
    chosen = [drawn_window(architecture, data, data.draw(UTTERANCES)) for _ in range(3)]
    model = architecture.model().double()
    with torch.no_grad():
        together = model.run(batch_of(architecture, *chosen)).pred
        for pred, window in zip(together, chosen):
            torch.testing.assert_close(pred[None], model.run(batch_of(architecture, window)).pred, **TOLERANCE)


# ------------------------------------------------------------------------------------------- training


@examples(30)
@given(architecture=autoencoders(), data=st.data())
def test_means_of_a_step_are_those_of_its_parts(architecture, data):
    """Weighted by their samples, penalties of parts are those of the whole; copies that fill a batch up do not count.

    A vae's free bits are of the mean over what is computed at once.
    """
    architecture = replace(architecture, bottleneck=replace(architecture.bottleneck, free_bits=0.0))
    model, chosen = architecture.model().double(), [(number, 0) for number in range(len(LENGTHS))]
    batch = batch_of(architecture, *chosen).padded(5)
    parts = batch.parts(data.draw(st.integers(2, 5)))
    with torch.no_grad():
        whole = model.run(batch).penalties
        of_parts = [(part.mask.sum() / batch.mask.sum(), model.run(part).penalties) for part in parts]
    for name, penalty in whole.items():
        expected = sum(share * one[name] for share, one in of_parts)
        torch.testing.assert_close(penalty, expected, rtol=1e-5, atol=1e-6)  # shares are float32


@examples(20)
@given(architecture=autoencoders())
def test_every_parameter_that_is_trained_is_in_one_group(architecture):
    model = architecture.model()
    grouped = [parameter for group in model.parameter_groups().values() for parameter in group]
    assert {"encoder", "bottleneck"} <= model.parameter_groups().keys()
    assert {id(one) for one in grouped} == {id(one) for one in model.parameters() if one.requires_grad}
    assert len(grouped) == len({id(one) for one in grouped})


def test_noise_and_jitter_are_of_training_alone():
    """What conditions generation is the same whichever mode the model is in, and draws nothing."""
    architecture = replace(AUTOENCODER, bottleneck=replace(BOTTLENECK, kind="vae", normalise=False))
    model, frames = architecture.model().double(), windows(architecture).frames(0)
    state = torch.get_rng_state()
    evaluated = latents_of(model.eval(), frames)
    assert torch.equal(latents_of(model.train(), frames), evaluated)
    assert torch.equal(torch.get_rng_state(), state)
    batch = batch_of(architecture, (0, 0))
    with torch.no_grad():
        assert not torch.equal(model.run(batch).pred, model.run(batch).pred)
        assert torch.equal(model.eval().run(batch).pred, model.run(batch).pred)


def test_speakers_that_the_decoder_cannot_tell_apart_are_warned_of():
    deaf = replace(AUTOENCODER, wavenet=replace(AUTOENCODER.wavenet, speaker_channels=0))
    assert "The corpus has 2 speakers and wavenet.speaker_channels is 0" in deaf.model().warning([])
    assert AUTOENCODER.model().warning([]) is None
