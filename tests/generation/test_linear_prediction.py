"""Generation with linear prediction: its past is what it has generated, its codes are those of training."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from support.architectures import (
    ARCHITECTURE,
    LENGTHS,
    Architecture,
    architectures,
    examples,
    linear_predictor,
    random_type_checks,
    whole_utterance,
    windows,
)
from support.settings import DEMO, SMALL, compose_settings

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.geometry import Geometry, clamped_indices
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics
from mfcc_wavenet.generation.generator import BLOCK_HOPS, Generator, StreamState
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.models.checkpoint import Checkpoint

pytestmark = random_type_checks

ROUNDING = 1e-4  # of logits, which reach some 10, in float32
PREDICTING = architectures(quantization_channels=(300,), predictions=("lpc",))
UTTERANCES = st.integers(0, len(LENGTHS) - 1)
FRONT_ENDS = [
    (),
    ("features.hop_length=64", "upsampling.strides=[2,4,8]", "upsampling.kernel_sizes=[2,4,8]"),
    ("features.hop_length=200", "upsampling.strides=[200]", "upsampling.kernel_sizes=[200]"),
    ("features.sample_rate=8000", "features.n_mels=40", "wavenet.classes=differences"),
    ("features.sample_rate=22050", "features.n_fft=1024", "wavenet.prediction_order=24"),
]


def generator_of(architecture: Architecture, num_threads: int | None = None) -> Generator:
    return Generator(architecture.model(), num_threads, linear_predictor(architecture))


@examples(10)
@given(architecture=PREDICTING, utterance=UTTERANCES, temperature=st.sampled_from([0.0, 2.0]))
def test_generation_is_teacher_forced_on_its_own_codes(architecture, utterance, temperature):
    """The full network on all that was generated: the same arg-max, or the code that the uniform number falls on."""
    some, generator = windows(architecture), generator_of(architecture)
    frames, speaker, samples = some.frames(utterance), some.speaker_index[utterance], LENGTHS[utterance]
    codes = generator.generate(frames, speaker, samples, Sampling(temperature, seed=3))
    logits = whole_utterance(generator.model, codes, frames, speaker, some.linear_prediction).double()
    if temperature == 0:
        assert (logits.max(1).values - logits[range(samples), codes] <= ROUNDING).all()
        return
    cumulative = (logits / temperature).softmax(1).cumsum(1).numpy()
    uniforms = np.random.default_rng(3).random(samples)
    below = np.where(codes > 0, cumulative[range(samples), np.maximum(codes.astype(int) - 1, 0)], 0)
    assert (below - ROUNDING <= uniforms).all()
    assert (uniforms <= cumulative[range(samples), codes] + ROUNDING).all()


@examples(6)
@given(architecture=PREDICTING, utterance=UTTERANCES, length=st.integers(1, 60))
def test_blocks_and_company_change_nothing(architecture, utterance, length):
    """In blocks of any length, and in a batch with others, an utterance is what it is alone and in one."""
    generator, some = generator_of(architecture), windows(architecture)
    frames, speaker, samples = some.frames(utterance), some.speaker_index[utterance], LENGTHS[utterance]
    alone = generator.generate(frames, speaker, samples, Sampling(1.0))
    state = StreamState(generator, [speaker], Sampling(1.0))
    ends = [*range(length, samples, length), samples]
    blocks = [state.generate([end], lambda _, span: frames[clamped_indices(span, len(frames))])[0] for end in ends]
    np.testing.assert_array_equal(np.concatenate(blocks), alone)
    others = range(len(LENGTHS))
    together = generator.generate_all([some.frames(u) for u in others], some.speaker_index, LENGTHS, Sampling(1.0))
    np.testing.assert_array_equal(together[utterance], alone)


@pytest.mark.parametrize("classes", ["codes", "differences", "both"])
def test_the_number_of_threads_changes_nothing(classes):
    wavenet = replace(
        ARCHITECTURE.wavenet, quantization_channels=300, residual_channels=150, prediction="lpc",
        classes=classes,
    )  # fmt: skip
    architecture = replace(ARCHITECTURE, wavenet=wavenet)
    frames = windows(architecture).frames(0)
    one, two = (generator_of(architecture, count).generate(frames, 0, 150, Sampling(1.0)) for count in (1, 2))
    assert len(np.unique(one)) > 10
    np.testing.assert_array_equal(one, two)


def test_a_network_and_its_generator_agree_on_predicting():
    with pytest.raises(ValueError, match="must be given for a network that takes it"):
        Generator(replace(ARCHITECTURE, wavenet=replace(ARCHITECTURE.wavenet, prediction="lpc")).model())


@pytest.mark.parametrize("overrides", FRONT_ENDS, ids=str)
def test_a_stream_is_the_whole_at_any_front_end(overrides):
    """From librosa's MFCCs as they arrive, by an untrained network: bit for bit, also with one-sided strides."""
    settings = compose_settings(*SMALL, "wavenet.prediction=lpc", *overrides)
    front_end = settings.features
    audio = read_audio(DEMO / "02_tea.flac", front_end.sample_rate, front_end.hop_length)
    audio = audio[6000 : 6000 + 11 * front_end.hop_length]
    frames = features(audio, front_end)
    model = build_model(
        settings, Geometry.of(front_end, settings.encoder, settings.upsampling, settings.wavenet), speakers=1
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
    inverter = Inverter(Checkpoint(settings, ("ann",), Statistics.of([frames]), model.state_dict(), None))
    mfcc = frames[: front_end.n_mfcc]
    for array in (mfcc, mfcc[:, :1], mfcc[:, : 2 * BLOCK_HOPS + 1]):
        whole = inverter.invert(array, temperature=1.0, corrections=0)
        assert len(whole) == max(array.shape[1] - 1, 1) * front_end.hop_length and len(np.unique(whole)) > 10
        np.testing.assert_array_equal(np.concatenate(list(inverter.stream(array.T, temperature=1.0))), whole)
