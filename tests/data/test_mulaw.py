"""Codes and amplitudes are two ways to say the same, for any number of codes."""

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given
from support.architectures import examples

from mfcc_wavenet.data.mulaw import Decoder, code_type, decode, encode, silence, thresholds
from mfcc_wavenet.data.sources import PACKAGE

CHANNELS = st.integers(2, 65536) | st.sampled_from([2, 3, 255, 256, 257, 65535, 65536])
PREEMPHASIS = st.floats(0, 0.99, exclude_min=True)


def codes_of(quantization_channels: int) -> np.ndarray:
    return np.arange(quantization_channels).astype(code_type(quantization_channels))


def speech() -> np.ndarray:
    return soundfile.read(PACKAGE / "demo" / "02_tea.flac", dtype="float32")[0]


@examples(60)
@given(quantization_channels=CHANNELS)
def test_every_code_comes_back(quantization_channels):
    codes = codes_of(quantization_channels)
    amplitudes = decode(codes, quantization_channels)
    again = encode(amplitudes, quantization_channels)
    assert amplitudes.dtype == np.float32 and again.dtype == codes.dtype
    np.testing.assert_array_equal(again, codes)


@examples(60)
@given(quantization_channels=CHANNELS)
def test_codes_rise_with_amplitude_between_full_scales(quantization_channels):
    """Level by level, from -1 to 1, and as far below zero as above it."""
    amplitudes = decode(codes_of(quantization_channels), quantization_channels)
    assert (np.diff(amplitudes) > 0).all()
    assert amplitudes[0] == -1 and amplitudes[-1] == 1
    np.testing.assert_array_equal(amplitudes, -amplitudes[::-1])


@examples(30)
@given(quantization_channels=CHANNELS)
def test_speech_gets_the_nearest_level(quantization_channels):
    """On the companded axis no sample is further than half a step from its level."""
    mu = quantization_channels - 1
    wav = speech()[5000:9000]
    codes = encode(wav, quantization_channels)
    wav = wav.astype(np.float64)
    companded = np.sign(wav) * np.log1p(mu * np.abs(wav)) / np.log1p(mu)
    assert np.abs((companded + 1) / 2 * mu - codes).max() <= 0.5 + 1e-9
    assert (np.diff(codes[np.argsort(wav)].astype(int)) >= 0).all()


@pytest.mark.parametrize(("quantization_channels", "worst"), [(256, 0.016), (65536, 1.3e-4)])
def test_speech_is_kept(quantization_channels, worst):
    """Round trip of a whole sentence: off by half a step at most, and the quieter, the smaller the step."""
    wav = speech()
    error = np.abs(decode(encode(wav, quantization_channels), quantization_channels) - wav)
    assert error.max() < worst
    quiet = np.abs(wav) < 0.01
    assert quiet.any() and error[quiet].max() < worst / 20


@examples(60)
@given(quantization_channels=CHANNELS)
def test_silence_is_the_code_of_zero(quantization_channels):
    """0 and -0, and no code stands for a smaller amplitude."""
    codes = encode(np.array([0.0, -0.0]), quantization_channels)
    assert codes.tolist() == [silence(quantization_channels)] * 2
    amplitudes = np.abs(decode(codes_of(quantization_channels), quantization_channels))
    assert amplitudes[silence(quantization_channels)] == amplitudes.min()


@examples(30)
@given(quantization_channels=CHANNELS, beyond=st.floats(1, 1e30))
def test_beyond_full_scale_is_clipped(quantization_channels, beyond):
    codes = encode(np.array([-beyond, -1.0, 1.0, beyond]), quantization_channels)
    last = quantization_channels - 1
    assert codes.tolist() == [0, 0, last, last]


def test_torchaudio_agrees_on_256_codes():
    """On all amplitudes that it is defined for; float64, so that rounding decides no tie differently."""
    wav = np.concatenate([speech().astype(np.float64), np.linspace(-1, 1, 20_001)])
    theirs = torchaudio.functional.mu_law_encoding(torch.from_numpy(wav), 256)
    np.testing.assert_array_equal(encode(wav, 256), theirs.numpy())
    amplitudes = torchaudio.functional.mu_law_decoding(torch.arange(256.0, dtype=torch.float64), 256)
    np.testing.assert_allclose(decode(codes_of(256), 256), amplitudes.numpy(), rtol=1e-6)


def test_hours_are_encoded_as_their_parts_are():
    """In blocks, which cut the audio anywhere."""
    wav = np.tile(speech(), 20)
    parts = np.split(wav, [1, 300_001, 300_002, len(wav) - 7])
    np.testing.assert_array_equal(encode(wav, 256), np.concatenate([encode(part, 256) for part in parts]))


@pytest.mark.parametrize("channels", [2, 3, 256, 65536])
def test_thresholds_are_where_the_code_changes(channels):
    """Just below one there is the code of its index, just above it the next one."""
    changes = thresholds(channels)
    assert len(changes) == channels - 1 and (np.diff(changes) > 0).all()
    gap = np.diff(changes, prepend=-1, append=1).min() / 100
    np.testing.assert_array_equal(encode(changes - gap, channels), np.arange(channels - 1))
    np.testing.assert_array_equal(encode(changes + gap, channels), np.arange(1, channels))


@examples(20)
@given(quantization_channels=st.integers(256, 65536), preemphasis=PREEMPHASIS)
def test_preemphasis_is_undone(quantization_channels, preemphasis):
    """By a filter that sums up to 1 / (1 - preemphasis) of half steps."""
    wav = speech()[8000:9000] / 2
    decoded = decode(encode(wav, quantization_channels, preemphasis), quantization_channels, preemphasis)
    steps = np.diff(decode(codes_of(quantization_channels), quantization_channels))
    assert decoded.dtype == np.float32 and np.abs(decoded).max() <= 1
    assert np.abs(decoded - wav).max() <= steps.max() / 2 / (1 - preemphasis) + 1e-6


@examples(20)
@given(preemphasis=PREEMPHASIS | st.just(0.0), cuts=st.lists(st.integers(0, 2000), max_size=4))
def test_blocks_are_decoded_as_the_whole(preemphasis, cuts):
    codes = encode(speech()[8000:10000], 256, preemphasis)
    decoder = Decoder(256, preemphasis)
    blocks = [decoder(block) for block in np.split(codes, sorted(cuts))]
    np.testing.assert_array_equal(np.concatenate(blocks), decode(codes, 256, preemphasis))


def test_preemphasis_makes_the_noise_follow_speech():
    """Less of the codes' noise is in the upper half of the spectrum, where speech has little power."""
    wav = speech()
    shares = []
    for preemphasis in (0.0, 0.85):
        noise = decode(encode(wav, 256, preemphasis), 256, preemphasis) - wav
        power = np.abs(np.fft.rfft(noise)) ** 2
        shares.append(power[len(power) // 2 :].sum() / power.sum())
    assert shares[1] < shares[0] / 3
