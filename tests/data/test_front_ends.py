"""Foreign MFCCs are refused by the name of their front end; ours, of whatever sound, never are."""

from dataclasses import replace

import hypothesis.strategies as st
import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given
from support.architectures import examples
from support.front_ends import FRONT_ENDS, INT16, python_speech_features
from support.settings import DEMO

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data.front_ends import MIN_FRAMES, foreign, refuse_foreign
from mfcc_wavenet.data.mfcc import mfcc

pytestmark = pytest.mark.filterwarnings("error")

RATE = 16000
OURS = FeatureSettings(RATE, 400, 400, 160, n_mels=80, n_mfcc=13, delta_order=2, delta_width=9, backend="librosa")
SETTINGS = [
    OURS,
    replace(OURS, hop_length=320),
    replace(OURS, n_mfcc=80),
    replace(OURS, n_mels=40, n_mfcc=20),
    replace(OURS, n_fft=2048, win_length=2048, hop_length=512, n_mels=128, n_mfcc=20),
    replace(OURS, n_fft=64, win_length=64, hop_length=16, n_mels=4, n_mfcc=3),
]
SENTENCES = [soundfile.read(path, dtype="float32")[0] for path in sorted(DEMO.glob("*.flac"))]
SECOND = RATE


def sirens(random: np.random.Generator, samples: int) -> np.ndarray:
    """A square wave of full scale that glides and swells: as loud as noise, and not like noise."""
    time = np.arange(samples) / RATE
    hertz = random.uniform(50, 2000) * 2 ** (random.uniform(0, 2) * np.sin(2 * np.pi * random.uniform(0.1, 4) * time))
    swell = 1 - random.uniform() * (0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(0.2, 8) * time))
    return np.sign(np.sin(2 * np.pi * np.cumsum(hertz) / RATE)) * swell


def speech(random: np.random.Generator, samples: int) -> np.ndarray:
    sentence = SENTENCES[random.integers(len(SENTENCES))]
    start = random.integers(max(1, len(sentence) - samples))
    return sentence[start : start + samples].astype(np.float64)


def whisper(random: np.random.Generator, samples: int) -> np.ndarray:
    """Speech whose voice is noise: its smoothed spectrum with phases drawn anew."""
    spectrum = scipy.signal.stft(speech(random, samples + 512), RATE, nperseg=512)[2]
    smooth = np.maximum(scipy.signal.savgol_filter(np.abs(spectrum), 31, 2, axis=0), 1e-7)
    return scipy.signal.istft(smooth * np.exp(2j * np.pi * random.uniform(size=smooth.shape)), RATE, nperseg=512)[1]


def music(random: np.random.Generator, samples: int) -> np.ndarray:
    """Struck notes with harmonics, and a drum."""
    time, sound = np.arange(samples) / RATE, np.zeros(samples)
    for _ in range(random.integers(2, 8)):
        onset, hertz = random.integers(samples) / RATE, 55 * 2 ** (random.integers(48) / 12)
        decay = np.exp(-random.uniform(0.5, 20) * np.maximum(time - onset, 0)) * (time >= onset)
        for harmonic in range(1, int(min(30, 7900 / hertz)) + 1):
            sound += decay * np.sin(2 * np.pi * hertz * harmonic * time) / harmonic
    onset = random.integers(samples)
    sound[onset:] += random.normal(size=samples - onset) * np.exp(-40 * time[: samples - onset])
    return sound


SOUNDS = {
    "speech": speech,
    "whisper": whisper,
    "music": music,
    "siren": sirens,
    "white noise": lambda random, samples: random.normal(size=samples),
    "brown noise": lambda random, samples: np.cumsum(random.normal(size=samples)),
    "noise of full scale": lambda random, samples: random.choice([-1.0, 1.0], samples),
    "tones": lambda random, samples: np.sin(np.outer(np.arange(samples), random.uniform(0.01, 3.1, 5))).sum(axis=1),
    "periodic noise": lambda random, samples: np.resize(random.choice([-1.0, 1.0], random.integers(2, 800)), samples),
    "impulses": lambda random, samples: (np.arange(samples) % random.integers(2, 400) == 0).astype(float),
    "silence": lambda random, samples: np.zeros(samples),
    "constant": lambda random, samples: np.ones(samples),
    "speech in silence": lambda random, samples: np.pad(speech(random, samples), 3 * samples // 4),
}


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
    assert foreign(ours, settings) is None
    assert foreign(ours[:, :prefix], settings) is None


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
        refuse_foreign(cepstra.astype(np.float32), OURS)
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
    ours = mfcc(wav, OURS)
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


def test_a_few_frames_of_logarithms_are_accepted():
    """As the docstring says: so few may be noise of full scale."""
    few = python_speech_features(SENTENCES[0][5000:6000], RATE, OURS.n_mfcc)
    assert few.shape[1] < MIN_FRAMES
    refuse_foreign(few.astype(np.float32), OURS)


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
