"""librosa defines the features; torchaudio's agree; frames are where the geometry says they are."""

import dataclasses
import math
import os
import subprocess
import sys
from functools import cache

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from support.settings import DEMO
from threadpoolctl import threadpool_limits

from mfcc_wavenet import librosa
from mfcc_wavenet.config.settings import BACKENDS, FeatureSettings
from mfcc_wavenet.data.mfcc import add_deltas, batched_features, features, mfcc

# A warning would be noise in every run of every user: here it is a failure.
pytestmark = pytest.mark.filterwarnings("error")

USUAL = FeatureSettings(
    sample_rate=16000,
    n_fft=512,
    win_length=400,
    hop_length=160,
    n_mels=80,
    n_mfcc=13,
    delta_order=2,
    delta_width=9,
    backend="librosa",
)

# Between librosa and torchaudio, for MFCCs that reach 1000 dB. 1200 drawn settings gave 0.0022.
# Mostly it is torchaudio's cosine transform, whose matrix is computed in float32: the error grows
# with n_mels and n_mfcc, and 0.0025 dB is the most that any matrix of up to 128 mels makes of
# digital silence, where the numbers are largest. Where filters hold a single bin of the spectrum,
# their float32 edges add 0.002 dB. The cut-off at 80 dB adds nothing: it is continuous.
TOLERANCE = 0.005  # dB, and dB per frame or per frame squared
TOLERANCE_OF_USUAL = 0.001  # dB, for 13 coefficients of 80 mels; 0.0002 measured

SAMPLES = 12_000


@cache
def speech(number: int = 0) -> np.ndarray:
    return soundfile.read(sorted(DEMO.glob("*.flac"))[number], dtype="float32")[0]


@cache
def signals() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    silence = np.zeros(SAMPLES, np.float32)
    time = np.arange(SAMPLES) / USUAL.sample_rate
    return {
        "speech": speech()[:SAMPLES],
        "silence": silence,
        "noise": random.normal(0, 0.1, SAMPLES).astype(np.float32),
        "tone": (0.5 * np.sin(2 * math.pi * 441 * time)).astype(np.float32),
        "speech, then silence": np.concatenate([speech()[5000:11_000], silence[:6000]]),
        "faint speech": 1e-4 * speech()[:SAMPLES],
    }


@st.composite
def any_settings(draw, **fixed) -> FeatureSettings:
    n_fft = fixed.get("n_fft", 2 * draw(st.integers(16, 512)))
    win_length = draw(st.integers(n_fft // 8, n_fft))
    # Up to a quarter of n_fft, every filter has a bin well inside; beyond, some are empty.
    n_mels = fixed.get("n_mels", draw(st.integers(1, min(128, n_fft // 4))))
    drawn = {
        "sample_rate": draw(st.sampled_from([8000, 16000, 22050])),
        "n_fft": n_fft,
        "win_length": win_length,
        "hop_length": draw(st.integers(max(32, win_length // 4), max(32, win_length))),
        "n_mels": n_mels,
        "n_mfcc": draw(st.integers(1, n_mels)),
        "delta_order": draw(st.integers(0, 2)),
        "delta_width": draw(st.sampled_from([3, 5, 9])),
        "backend": "librosa",
    }
    return FeatureSettings(**drawn | fixed)


def examples(count: int):
    return hypothesis_settings(max_examples=count, deadline=None)


def by(backend: str, settings: FeatureSettings) -> FeatureSettings:
    return dataclasses.replace(settings, backend=backend)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.float64) - b).max())


# ---------------------------------------------------------------------------- librosa, torchaudio


def test_mfccs_are_what_librosa_computes_unasked():
    """With librosa's own numbers in the settings, nothing is left that could be set differently."""
    librosas = dataclasses.replace(
        USUAL, sample_rate=22050, n_fft=2048, win_length=2048, hop_length=512, n_mels=128, n_mfcc=20
    )
    ours = mfcc(speech(), librosas)
    with librosa.one_thread():
        expected = librosa.feature.mfcc(y=speech().astype(np.float64))
    assert np.array_equal(ours, expected.astype(np.float32))
    assert difference(ours, librosa.feature.mfcc(y=speech())) < TOLERANCE_OF_USUAL


def test_an_older_processor_computes_the_same_bits(tmp_path):
    """Or nearly so: MFCCs that differed in their last bits would give other linear predictions.

    What NumPy and OpenBLAS compute without the instructions of this processor differs, before it is rounded, by 1e-13.
    """
    file = tmp_path / "array.npy"
    np.save(file, speech())
    script = f"""
import numpy
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data.mfcc import mfcc
numpy.save({str(file)!r}, mfcc(numpy.load({str(file)!r}), {USUAL!r}))
"""
    older = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "Nehalem"}
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | older)
    assert np.array_equal(np.load(file), mfcc(speech(), USUAL))


def test_the_number_of_threads_changes_no_bit():
    """Frames are prepared by processes of one thread each, and read from audio by one with all."""
    wav = speech()
    expected = mfcc(wav, USUAL)
    for threads in (1, 2, 3):
        with threadpool_limits(threads, "blas"):
            assert np.array_equal(mfcc(wav, USUAL), expected)


@pytest.mark.parametrize("name", signals())
@examples(40)
@given(settings=any_settings())
def test_torchaudio_agrees_with_librosa(name, settings):
    wav = signals()[name]
    twin = features(wav, by("torchaudio", settings))
    assert difference(features(wav, settings), twin) < TOLERANCE


@pytest.mark.parametrize("name", signals())
def test_torchaudio_agrees_better_on_usual_settings(name):
    wav = signals()[name]
    twin = features(wav, by("torchaudio", USUAL))
    assert difference(features(wav, USUAL), twin) < TOLERANCE_OF_USUAL


@pytest.mark.parametrize("name", signals())
def test_torchaudio_is_close_at_an_odd_sample_rate(name):
    """Looser by a known cause: torchaudio has 11025 // 2 Hz where half of 11025 Hz belongs."""
    odd = dataclasses.replace(USUAL, sample_rate=11025)
    wav = signals()[name]
    assert difference(features(wav, odd), features(wav, by("torchaudio", odd))) < 0.05


def test_an_utterance_in_a_batch_is_as_if_alone():
    """The cut-off follows each utterance's own loudness: here one is 100 dB below another."""
    wavs = np.stack([gain * speech(n)[:SAMPLES] for n, gain in enumerate([1.0, 1e-2, 1e-5, 0.0])])
    wavs = wavs.astype(np.float32)
    together = batched_features(torch.tensor(wavs), USUAL).numpy()
    for wav, frames in zip(wavs, together, strict=True):
        assert difference(frames, features(wav, by("torchaudio", USUAL))) < 1e-4
        assert difference(frames, features(wav, USUAL)) < TOLERANCE_OF_USUAL


def test_torchaudio_features_have_gradients_even_if_first_used_without():
    """The filters are kept between calls: those made in inference mode must not spoil training."""
    fresh = dataclasses.replace(USUAL, n_mels=41)  # that no other test has used
    wavs = torch.tensor(signals()["noise"])[None]
    with torch.inference_mode():
        batched_features(wavs, fresh)
    wavs.requires_grad_()
    batched_features(wavs, fresh).square().mean().backward()
    assert wavs.grad.isfinite().all() and wavs.grad.abs().max() > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_computes_the_same_even_where_tf32_is_allowed():
    wavs = torch.tensor(speech())[None]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        on_gpu = batched_features(wavs.cuda(), USUAL)
    finally:
        torch.set_float32_matmul_precision(before)
    assert on_gpu.is_cuda
    assert difference(on_gpu[0].cpu().numpy(), features(speech(), USUAL)) < TOLERANCE_OF_USUAL


# ------------------------------------------------------------------------------ where frames are


@examples(60)
@given(settings=any_settings(), backend=st.sampled_from(BACKENDS), samples=st.integers(1, 3000))
def test_number_of_frames(settings, backend, samples):
    """Utterances shorter than one window, or than one hop, are no exception."""
    frames = features(signals()["noise"][:samples], by(backend, settings))
    assert frames.shape == (settings.channels, 1 + samples // settings.hop_length)
    assert frames.dtype == np.float32


@examples(40)
@given(
    settings=any_settings(delta_order=0, n_fft=512, n_mels=40, n_mfcc=13),
    backend=st.sampled_from(BACKENDS),
    half=st.integers(32, 256),
    hop_length=st.integers(8, 16),
    frame=st.integers(0, 20),
    rest=st.integers(0, 7),
)
def test_a_frame_is_centred_on_its_sample(settings, backend, half, hop_length, frame, rest):
    """An impulse on sample frame * hop_length: the window's own shape says how loud each frame is.

    Its spectrum is flat at the value of the window there, so one hop away from the centre of a Hann
    window everything is lower by 20 log10 cos(pi hop / length)^2 dB, before and after alike, and
    the first coefficient is sqrt(n_mels) times that.
    """
    settings = dataclasses.replace(settings, backend=backend, win_length=2 * half, hop_length=hop_length)
    wav = np.zeros(20 * hop_length + 1 + rest, np.float32)
    wav[frame * hop_length] = 0.5
    loudness = features(wav, settings)[0] / math.sqrt(settings.n_mels)  # dB
    assert loudness.argmax() == frame
    one_hop_away = 40 * math.log10(math.cos(math.pi * hop_length / settings.win_length))
    neighbours = [n for n in (frame - 1, frame + 1) if 0 <= n < len(loudness)]
    assert loudness[neighbours] - loudness[frame] == pytest.approx(one_hop_away, abs=0.001)


# ---------------------------------------------------------------------------------------- deltas


def test_deltas_are_derivatives():
    """On 3 t^2 - 5 t + 7, away from the ends: 6 t - 5, and 6."""
    t = np.arange(40, dtype=np.float32)
    _, delta, delta_delta = add_deltas((3 * t**2 - 5 * t + 7)[None], USUAL)
    inside = slice(4, -4)
    assert delta[inside] == pytest.approx((6 * t - 5)[inside], abs=0.001)
    assert delta_delta[inside] == pytest.approx(6.0, abs=0.001)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_frame_does_not_move(backend):
    frames = features(speech()[5000:5100], by(backend, USUAL))
    assert frames.shape == (39, 1)
    assert np.abs(frames[:13]).max() > 10
    assert np.abs(frames[13:]).max() < 0.001


@given(settings=any_settings(delta_order=2), changed=st.integers(0, 29))
@examples(30)
def test_deltas_look_no_further_than_half_their_width(settings, changed):
    before = np.random.default_rng(1).normal(0, 100, (2, 30)).astype(np.float32)
    after = before.copy()
    after[:, changed] += 50
    moved = (add_deltas(before, settings) != add_deltas(after, settings)).any(axis=0)
    assert np.abs(np.flatnonzero(moved) - changed).max() == min(settings.delta_width // 2, max(changed, 29 - changed))
