"""Foreign MFCCs are refused by the name of their front end; ours, of whatever sound, never are."""

import re
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from support.architectures import examples
from support.fit_front_ends import CHANGES, KINDS, OURS, changed
from support.front_ends import FRONT_ENDS, INT16, python_speech_features
from support.sounds import RATE, SENTENCES, SOUNDS, speech

from mfcc_wavenet import librosa
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.front_ends import MIN_FRAMES, verdict, warning_or_refusal
from mfcc_wavenet.data.mfcc import mfcc

pytestmark = pytest.mark.filterwarnings("error")

SETTINGS = [
    OURS,
    replace(OURS, hop_length=320),
    replace(OURS, n_mfcc=80),
    replace(OURS, n_mels=40, n_mfcc=20),
    replace(OURS, n_fft=2048, win_length=2048, hop_length=512, n_mels=128, n_mfcc=20),
    replace(OURS, n_fft=64, win_length=64, hop_length=16, n_mels=4, n_mfcc=3),
]
SECOND = RATE


@st.composite
def wavs(draw) -> np.ndarray:
    """Any sound, at a peak of -60 to 0 dB of full scale, or clipped there."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sound = SOUNDS[draw(st.sampled_from(tuple(SOUNDS)))](random, draw(st.integers(1, 2 * SECOND)))
    peak = 10 ** (draw(st.sampled_from([0.0]) | st.floats(-60, 0)) / 20)
    clipping = 10 ** (draw(st.sampled_from([0.0]) | st.floats(0, 60)) / 20)
    sound = sound / max(np.abs(sound).max(initial=0), 1e-9)
    return (peak * np.clip(clipping * sound, -1, 1)).astype(np.float32)


# ---------------------------------------------------------------------------------------- ours


@examples(300)
@given(wav=wavs(), settings=st.sampled_from(SETTINGS), prefix=st.integers(1, 400))
def test_ours_are_never_refused(wav, settings, prefix):
    """Of any sound, level and length, with any settings, and nor is what a stream has seen of them."""
    ours = mfcc(wav, settings)
    for part in (ours, ours[:, :prefix]):
        found = verdict(part, settings)
        assert found is None or not found.is_certain


# ------------------------------------------------------------------------------------- foreign

AUDIBLE = st.floats(-30, 0)  # dB of full scale, the peak


@st.composite
def voices(draw) -> np.ndarray:
    """A second or more of speech, as it is recorded."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    wav = speech(random, draw(st.integers(SECOND, 3 * SECOND)))
    return (wav / np.abs(wav).max() * 10 ** (draw(AUDIBLE) / 20)).astype(np.float32)


def named(cepstra: np.ndarray) -> str:
    with pytest.raises(
        UserError, match=r"librosa\.feature\.mfcc .*n_fft=400.*n_mels=80.*c0 first, no mean removed"
    ) as error:
        warning_or_refusal(cepstra.astype(np.float32), OURS)
    assert "\n" not in str(error.value)
    return str(error.value).partition("; the model")[0]


@pytest.mark.parametrize(
    ("front_end", "name"), [("python_speech_features", "python_speech_features"), ("HTK", "HTK"), ("Kaldi", "Kaldi")]
)
@examples(40)
@given(wav=voices())
def test_natural_logarithms_are_named(front_end, name, wav):
    assert name in named(FRONT_ENDS[front_end](wav, RATE, OURS.n_mfcc))


def test_natural_logarithms_of_torchaudio_are_named():
    """Of all of the demonstration corpus."""
    for wav in SENTENCES:
        assert "log_mels=True" in named(FRONT_ENDS["torchaudio's defaults, log_mels=True"](wav, RATE, OURS.n_mfcc))


@examples(40)
@given(wav=wavs(), gain=st.sampled_from([1.0, 0.02]))
def test_removed_means_are_named(wav, gain):
    """Of any length and sound; standardised or not."""
    ours = mfcc(wav, OURS).astype(np.float64)  # in float32, the mean of silence may be off by more than its spread
    centred = ours - ours.mean(axis=1, keepdims=True)
    assert "mean normalisation" in named(centred * gain) or ours.shape[1] == OURS.n_mfcc
    assert "mean normalisation" in named(centred / np.maximum(ours.std(axis=1, keepdims=True), 0.01))


@examples(20)
@given(wav=voices())
def test_coefficients_standardised_by_a_corpus_are_named(wav):
    """By statistics of other utterances, so that their own mean is not 0."""
    corpus = np.concatenate([mfcc(sentence, OURS) for sentence in SENTENCES], axis=1)
    mean, std = corpus.mean(axis=1, keepdims=True), corpus.std(axis=1, keepdims=True)
    normalised = (mfcc(wav, OURS) - mean) / std
    if np.abs(normalised.mean(axis=1)).max() < 3:
        assert "standardised" in named(normalised)


@examples(40)
@given(wav=voices())
def test_c0_last_and_transposed_are_named(wav):
    ours = mfcc(wav, OURS)
    assert "c0 last" in named(np.roll(ours, -1, axis=0))
    assert "transposed" in named(ours[:, : OURS.n_mfcc].T)


@examples(40)
@given(wav=voices())
def test_integers_are_named(wav):
    """16-bit audio that was never divided by 32768."""
    assert "16-bit integers" in named(mfcc(wav * INT16, OURS))


@pytest.mark.parametrize("front_end", [name for name in FRONT_ENDS if "defaults" in name and "log" not in name])
def test_more_mel_bands_show_where_there_is_silence(front_end):
    """128 bands make digital silence quieter than 80 can, in a recording that is quiet itself."""
    for wav in SENTENCES:
        wav = 0.003 * wav
        cepstra = FRONT_ENDS[front_end](np.pad(wav, (SECOND, 0)), RATE, OURS.n_mfcc)
        assert "more mel bands" in named(cepstra)


CLIPS = [
    changed(np.random.default_rng(index), wav, names)
    for index, wav in enumerate(SENTENCES)
    for names in [[], *([name] for name in CHANGES if name != "short")]
]  # of the demonstration corpus, as they are and with one change each


def fractions(kind: str) -> tuple[float, float]:
    """Of the clips, by this front end: those that are refused, and those that there is a warning of."""
    found = [verdict(KINDS[kind](wav), OURS) for wav in CLIPS]
    refused = sum(one is not None and one.is_certain for one in found)
    return refused / len(found), sum(one is not None for one in found) / len(found) - refused / len(found)


def test_ours_hardly_ever_give_a_warning():
    """None of the demonstration corpus, and one in a hundred when it is filtered, noisy and so on; none is refused."""
    assert all(verdict(mfcc(wav, OURS), OURS) is None for wav in SENTENCES)
    refused, warned = fractions("ours")
    assert refused == 0 and warned <= 0.01


@pytest.mark.parametrize(
    ("kind", "name", "refused_at_least", "found_at_least"),
    [
        ("librosa's defaults", r"librosa\.feature\.mfcc with its defaults", 0.6, 0.95),
        ("librosa's defaults, 22050 Hz", r"librosa\.feature\.mfcc with its defaults", 0.8, 0.95),
        ("torchaudio's defaults", r"torchaudio\.transforms\.MFCC with its defaults", 0.6, 0.9),
    ],
)
def test_defaults_of_librosa_and_torchaudio_are_recognised(kind, name, refused_at_least, found_at_least):
    """Most are refused by name, and nearly all others give a warning."""
    refused, warned = fractions(kind)
    assert refused >= refused_at_least and refused + warned >= found_at_least
    by_name = 0
    for wav in SENTENCES:
        try:
            message = warning_or_refusal(KINDS[kind](wav), OURS)
        except UserError as error:
            message = str(error)
        by_name += bool(message and re.search(f"{name}.*n_fft=400.*hop_length=160.*n_mels=80", message))
    assert by_name >= 8


def test_other_settings_have_no_statistics():
    """The regressions know one front end; with another, what they would refuse may be the model's own."""
    same = replace(OURS, n_fft=2048, win_length=2048, hop_length=512, n_mels=128)
    for wav in SENTENCES:
        assert verdict(KINDS["librosa's defaults"](wav), same) is None


def test_a_few_frames_of_logarithms_are_accepted():
    """As the docstring says: so few may be noise of full scale."""
    few = python_speech_features(SENTENCES[0][5000:6000], RATE, OURS.n_mfcc)
    assert few.shape[1] < MIN_FRAMES
    assert warning_or_refusal(few.astype(np.float32), OURS) is None


def test_the_references_are_what_they_say():
    """The first coefficient of a tone of full scale, by hand: log energies, and librosa's own call."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE).astype(np.float32)
    emphasis = abs(1 - 0.97 * np.exp(-2j * np.pi / 16))  # at 1 kHz
    energy = np.log(400 * (INT16 * emphasis) ** 2 / 2 / 2)  # half of it is at positive frequencies
    assert FRONT_ENDS["python_speech_features"](tone, RATE, 13)[0, 5] == pytest.approx(energy, abs=0.01)
    assert FRONT_ENDS["Kaldi"](tone, RATE, 13)[0, 5] == pytest.approx(np.log(400 * INT16**2 / 2), abs=0.01)
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    levels = FRONT_ENDS["HTK"](noise, RATE, 13)[-1] * np.sqrt(1 / (2 * 26))  # the mean over the 26 bands
    amplitudes = 0.1 * INT16 * np.sqrt(np.pi / 4 * np.square(np.hamming(400)).sum())
    assert abs(levels.mean() - np.log(amplitudes * 256 / 27)) < 1.0
    assert np.array_equal(
        FRONT_ENDS["librosa's defaults"](tone, RATE, 13), librosa.feature.mfcc(y=tone, sr=RATE, n_mfcc=13)
    )
