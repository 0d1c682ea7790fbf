"""Linear prediction: coefficients from MFCCs alone, and the same code for a sample wherever it is predicted."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given
from support.architectures import (
    LENGTHS,
    architectures,
    examples,
    linear_predictions,
    random_type_checks,
    windows,
)
from support.settings import DEMO, compose_settings

from mfcc_wavenet import librosa
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.data.linear_prediction import LAG_WINDOW, WHITE_NOISE, LinearPrediction
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.statistics import Statistics

pytestmark = random_type_checks

FRONT_ENDS = [
    (),
    ("features=mfcc39_hop80",),
    ("features.hop_length=64", "upsampling.strides=[64]", "upsampling.kernel_sizes=[64]"),
    ("features.hop_length=200", "upsampling.strides=[200]", "upsampling.kernel_sizes=[200]"),
    ("features.sample_rate=8000", "features.n_mels=40"),
    ("features.sample_rate=22050", "features.n_fft=1024", "features.n_mfcc=20", "wavenet.prediction_order=24"),
]
LPC = "wavenet.prediction=lpc"


def settings_of(*overrides: str) -> Settings:
    strides = (
        ("upsampling.strides=[80]", "upsampling.kernel_sizes=[80]") if "features=mfcc39_hop80" in overrides else ()
    )
    return compose_settings(LPC, *overrides, *strides)


def utterance(settings: Settings, path) -> tuple[LinearPrediction, np.ndarray, np.ndarray]:
    """A linear prediction with the utterance's own statistics, its normalised frames (F, K), and its codes."""
    audio = read_audio(path, settings.features.sample_rate, settings.features.hop_length)
    frames = features(audio, settings.features)
    statistics = Statistics.of([frames])
    codes = mulaw.encode(audio, settings.wavenet.quantization_channels)
    prediction = LinearPrediction(settings.features, settings.wavenet, statistics)
    return prediction, np.ascontiguousarray(statistics.normalise(frames).T), codes.astype(np.int64)


def predicted_codes(settings: Settings, prediction: LinearPrediction, frames, codes, move: float = 0.0) -> np.ndarray:
    """p_t of every sample, moved by that much of what training moves it by."""
    geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
    past = np.concatenate([np.full(prediction.order, mulaw.silence(256)), codes[:-1]])
    nearest = np.clip(geometry.nearest_frame(np.arange(len(codes))), 0, len(frames) - 1)
    return prediction.codes(past, prediction.coefficients(frames), nearest, np.full(len(codes), move))


# -------------------------------------------------------------------------------- coefficients


@pytest.mark.parametrize("overrides", FRONT_ENDS, ids=str)
def test_coefficients_are_those_of_the_envelope(overrides):
    """Step by step with scipy: cepstrum to mel decibels, to a power spectrum, its autocorrelation, Toeplitz."""
    settings = settings_of(*overrides)
    front_end, order = settings.features, settings.wavenet.prediction_order
    prediction, frames, _ = utterance(settings, DEMO / "02_tea.flac")
    audio = read_audio(DEMO / "02_tea.flac", front_end.sample_rate, front_end.hop_length)
    mfcc = features(audio, front_end)[: front_end.n_mfcc]
    decibels = scipy.fft.idct(mfcc.astype(np.float64), n=front_end.n_mels, axis=0, norm="ortho")
    filters = librosa.filters.mel(sr=front_end.sample_rate, n_fft=front_end.n_fft, n_mels=front_end.n_mels)
    decibels -= 10 * np.log10(filters.sum(1, dtype=np.float64))[:, None]
    centres = librosa.mel_frequencies(front_end.n_mels + 2, fmin=0, fmax=front_end.sample_rate / 2)[1:-1]
    bins = np.linspace(0, front_end.sample_rate / 2, front_end.n_fft // 2 + 1)
    lags = np.arange(order + 1)
    for frame in range(0, len(frames), 9):
        power = 10 ** (np.interp(bins, centres, decibels[:, frame]) / 10)
        autocorrelation = np.fft.irfft(power)[: order + 1]
        autocorrelation *= np.exp(-((2 * np.pi * LAG_WINDOW * lags / front_end.sample_rate) ** 2) / 2)
        autocorrelation[0] *= 1 + WHITE_NOISE
        expected = scipy.linalg.solve_toeplitz(autocorrelation[:-1], autocorrelation[1:])
        (a,) = prediction.coefficients(frames[frame : frame + 1])
        np.testing.assert_allclose(a, expected, rtol=1e-3, atol=1e-4)  # the frames are float32


@pytest.mark.parametrize("overrides", FRONT_ENDS, ids=str)
def test_the_synthesis_filter_is_stable(overrides):
    """All poles of 1 / (1 - sum a_k z^-k) lie within the unit circle."""
    prediction, frames, _ = utterance(settings_of(*overrides), DEMO / "05_treasure.flac")
    for a in prediction.coefficients(frames)[::7]:
        assert np.abs(np.roots([1, *-a])).max() < 1


def test_a_frame_has_its_coefficients_whatever_is_around_it():
    """To the last bit, alone and among others, and whatever its deltas are."""
    prediction, frames, _ = utterance(settings_of(), DEMO / "02_tea.flac")
    together = prediction.coefficients(frames)
    for frame in range(0, len(frames), 5):
        np.testing.assert_array_equal(prediction.coefficients(frames[frame : frame + 3])[0], together[frame])
    other_deltas = np.where(np.arange(frames.shape[1]) < 13, frames, frames + np.float32(1))
    np.testing.assert_array_equal(prediction.coefficients(other_deltas), together)


@pytest.mark.parametrize("size", [0, 1e3, 1e20, 1e37])
def test_frames_that_no_speech_has_predict_something(size):
    """Finite numbers: neither an overflow nor a division by zero."""
    prediction, frames, codes = utterance(settings_of(), DEMO / "02_tea.flac")
    strange = (size * np.sign(frames[:50])).astype(np.float32)
    coefficients = prediction.coefficients(strange)
    assert np.isfinite(coefficients).all()
    predicted = prediction.codes(codes[:65], coefficients, np.arange(50))
    assert ((predicted >= 0) & (predicted < 256)).all()


def test_beyond_full_scale_is_the_last_code():
    prediction, _, _ = utterance(settings_of(), DEMO / "02_tea.flac")
    loud = np.full(16, 255)
    for coefficient, code in ((5.0, 255), (-5.0, 0)):
        assert prediction.codes(loud, np.full((1, 16), coefficient), np.array([0])) == code


def test_training_moves_predictions_by_more_than_rounding_does():
    """A few, each to the code next to it: those that forty times the rounding of float32 moves are among them."""
    settings = settings_of()
    prediction, frames, codes = utterance(settings, DEMO / "05_treasure.flac")
    exact, above, below = (predicted_codes(settings, prediction, frames, codes, move) for move in (0, 1, -1))
    assert set(above - exact) <= {0, 1} and set(exact - below) <= {0, 1}
    assert 0 < (above != below).mean() < 2e-3
    generator, changed = np.random.default_rng(0), 0
    for _ in range(20):
        noisy = frames * (1 + 2**-23 * generator.uniform(-40, 40, frames.shape)).astype(np.float32)
        predicted = predicted_codes(settings, prediction, noisy, codes)
        assert (below <= predicted).all() and (predicted <= above).all()
        changed += (predicted != exact).sum()
    assert changed > 0


# ----------------------------------------------------------------------------------- the same code


@examples(40)
@given(architecture=architectures(predictions=("lpc",)), utterance=st.integers(0, len(LENGTHS) - 1), data=st.data())
def test_a_window_holds_the_predictions_of_the_utterance(architecture, utterance, data):
    """Wherever it lies, alone and in a batch: what plain sums over the whole utterance give at its inputs."""
    some = windows(architecture)
    geometry, samples = architecture.geometry, architecture.window.samples
    start = data.draw(st.integers(1 - samples, LENGTHS[utterance] - 1), "start")
    batch = some.assemble(np.array([[0, 3], [utterance, start]]), samples, Position())
    codes = some.corpus.codes(utterance)
    time = np.arange(*geometry.input_span((start, start + samples)))
    time = time[time <= len(codes)]  # beyond the end there is nothing to predict, and all is masked
    expected = linear_predictions(some.linear_prediction, geometry, codes, some.frames(utterance), time)
    np.testing.assert_array_equal(batch.predicted[1, : len(time)], expected)
    alone = some.assemble(np.array([[utterance, start]]), samples, Position())
    np.testing.assert_array_equal(alone.predicted[0], batch.predicted[1])


@examples(30)
@given(architecture=architectures(quantization_channels=(300,), predictions=("lpc",)), t=st.integers(0, 149))
def test_a_prediction_sees_the_order_codes_before_it(architecture, t):
    """Another code at t changes no prediction up to t, nor any after t + order, and it does change the next one."""
    some, geometry, order = windows(architecture), architecture.geometry, architecture.wavenet.prediction_order
    codes, frames, time = some.corpus.codes(0), some.frames(0), np.arange(151)
    nearest = np.clip(geometry.nearest_frame(time), 0, len(frames) - 1)
    coefficients = some.linear_prediction.coefficients(frames)

    def predictions(codes: np.ndarray) -> np.ndarray:
        past = np.concatenate([np.full(order, mulaw.silence(300)), codes]).astype(np.int64)
        return some.linear_prediction.codes(past, coefficients, nearest)

    changed = codes.copy()
    changed[t] = 299 if codes[t] < 150 else 0
    differing = np.flatnonzero(predictions(codes) != predictions(changed))
    assert ((differing > t) & (differing <= t + order)).all()
    assert t + 1 in differing


@pytest.mark.parametrize("hops", [1, 7, 50])
def test_later_audio_is_predicted_as_much_later(hops):
    """Without the first hops, of codes and of frames, each sample has the prediction that it had."""
    settings = settings_of()
    prediction, frames, codes = utterance(settings, DEMO / "03_fog.flac")
    cut = hops * settings.features.hop_length
    whole = predicted_codes(settings, prediction, frames, codes)
    later = predicted_codes(settings, prediction, frames[hops:], codes[cut:])
    settled = max(prediction.order, settings.features.hop_length // 2)  # samples whose past and frame were not cut
    np.testing.assert_array_equal(later[settled:], whole[cut + settled :])


# ---------------------------------------------------------------------------------------- its worth


def level(signal: np.ndarray, error: np.ndarray) -> float:
    """Of the error below the signal, dB."""
    return 10 * np.log10(np.square(signal).sum() / np.square(error).sum())


@pytest.mark.parametrize("path", sorted(DEMO.glob("*.flac")), ids=lambda path: path.stem)
def test_the_residual_of_speech_is_small(path):
    """15 to 19 dB below the signal, where the previous sample alone leaves 7 to 10."""
    settings = settings_of()
    prediction, frames, codes = utterance(settings, path)
    signal = mulaw.decode(codes, 256)
    residual = signal - mulaw.decode(predicted_codes(settings, prediction, frames, codes), 256)
    assert 15 < level(signal, residual) < 19
    assert 7 < level(signal, np.diff(signal, prepend=0)) < 10


@pytest.mark.parametrize("overrides", FRONT_ENDS, ids=str)
def test_every_front_end_predicts_better_than_the_previous_sample(overrides):
    """By 3 dB at least."""
    settings = settings_of(*overrides)
    prediction, frames, codes = utterance(settings, DEMO / "06_clock.flac")
    signal = mulaw.decode(codes, 256)
    residual = signal - mulaw.decode(predicted_codes(settings, prediction, frames, codes), 256)
    assert level(signal, residual) > level(signal, np.diff(signal, prepend=0)) + 3


def test_no_prediction_is_no_object():
    settings = settings_of()
    without = replace(settings.wavenet, prediction="none")
    statistics = Statistics.of([np.zeros((settings.features.channels, 2))])
    assert LinearPrediction.of(settings.features, without, statistics) is None
