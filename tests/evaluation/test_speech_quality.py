"""The measures of speech quality on signals whose distance is known."""

import math
import sys
import tomllib

import numpy as np
import pytest
from support.corpora import FEATURES, RATE, SENTENCES
from support.settings import ROOT
from support.sounds import SOUNDS

from mfcc_wavenet import librosa
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.evaluation import speech_quality as quality
from mfcc_wavenet.evaluation.speech_quality import MEASURES, Original

SPEECH = read_audio(SENTENCES[0], RATE)
HOP = RATE // 100
IDENTICAL = {"mfcc_rmse": 0, "mfcc_rmse_all": 0, "mcd": 0, "lsd": 0, "stoi": 1, "f0_rmse": 0, "voicing_error": 0}


def voice(hertz: float, seconds: float = 1.0) -> np.ndarray:
    """A vowel of one pitch: pulses through two resonances."""
    time = np.arange(round(seconds * RATE)) / RATE
    pulses = sum(np.cos(2 * np.pi * k * hertz * time) / k for k in range(1, int(4000 / hertz)))
    return (0.1 * pulses).astype(np.float32)


def noise(seed: int, samples: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=samples).astype(np.float32)


def at_snr(wav: np.ndarray, decibels: float) -> np.ndarray:
    """With white noise, that many dB below the signal in all."""
    added = noise(3, len(wav))
    return wav + added * np.float32(np.sqrt(np.square(wav).mean() / np.square(added).mean()) * 10 ** (-decibels / 20))


def distances(original: np.ndarray, generated: np.ndarray) -> dict[str, float]:
    """The measures that need no extra package and no seconds."""
    return Original(original, FEATURES).quality(generated, frozenset(MEASURES) - {"mfcc_rmse", "mcd", "lsd"})


def installed(*names: str) -> None:
    """Skips a test where a measure's package is missing."""
    for name in names:
        package = MEASURES[name].package
        pytest.importorskip(package, reason=f"{package} is not installed: pip install -r {quality.REQUIREMENTS}")


# --- all of them ------------------------------------------------------------------------------------


def test_a_signal_is_at_no_distance_from_itself():
    """Whichever measures can be had here; PESQ's best is 4.64."""
    speech = SPEECH[4000:20000]
    values = Original(speech, FEATURES).quality(speech, frozenset(quality.missing_packages()))
    assert values.pop("pesq", 4.644) == pytest.approx(4.644, abs=1e-3)
    assert values == pytest.approx({name: IDENTICAL[name] for name in values}, abs=1e-6)


def test_each_measure_is_worse_with_more_noise():
    """In the direction that its column tells."""
    speech, without = SPEECH[4000:20000], frozenset(quality.missing_packages())
    original = Original(speech, FEATURES)
    near, far = (original.quality(at_snr(speech, decibels), without) for decibels in (30, 0))
    for name, value in near.items():
        assert (value > far[name]) == MEASURES[name].more_is_better and value != far[name], name


@pytest.mark.parametrize("kind", SOUNDS)
@pytest.mark.parametrize("samples", [160, 3200])
def test_any_sound_of_any_length_has_values(kind, samples):
    """Also one that is shorter than a window, and silence: a number, or NaN where there is none; never a warning."""
    sound = SOUNDS[kind](np.random.default_rng(0), samples)[:samples]
    sound = (0.5 * sound / max(np.abs(sound).max(), 1e-9)).astype(np.float32)
    without = frozenset(quality.missing_packages())
    if kind not in ("speech", "silence", "impulses"):  # pitch takes seconds
        without |= {"f0_rmse", "voicing_error"}
    for first, second in ((sound, noise(0, samples)), (noise(0, samples), sound), (sound, sound)):
        for name, value in Original(first, FEATURES).quality(second, without).items():
            assert math.isnan(value) or value >= 0, name


def test_measures_that_are_not_wanted_are_not_computed():
    assert Original(SPEECH[:8000], FEATURES).quality(SPEECH[:8000], frozenset(MEASURES) - {"lsd"}) == {"lsd": 0.0}


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.package])
def test_a_package_that_is_missing_has_a_sentence(name, monkeypatch):
    """Of each measure that needs it, and of no other; it says how the package is installed."""
    package = MEASURES[name].package
    monkeypatch.setitem(sys.modules, package, None)
    sentence = quality.missing_packages()[name]
    assert sentence.startswith(f"{MEASURES[name].label} is left out: the package {package} cannot be imported")
    assert sentence.endswith("`pip install -r requirements-eval.txt` installs it.") and "\n" not in sentence
    assert {MEASURES[one].package for one in quality.missing_packages()} <= {"pystoi", "pesq"}


def test_the_extra_is_the_requirements_file():
    """And holds the measures' packages."""
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["evaluate"]
    lines = [line.partition("#")[0].strip() for line in (ROOT / quality.REQUIREMENTS).read_text().splitlines()]
    assert list(filter(None, lines)) == extra
    assert {one.partition("==")[0] for one in extra} == {m.package for m in MEASURES.values() if m.package}


# --- frames -----------------------------------------------------------------------------------------


def test_frames_are_active_within_60_db_of_the_loudest():
    """A tone, the same 50 dB lower, and 70 dB lower; frames that hold a step belong to the louder side."""
    tone = voice(200)
    steps = np.concatenate([tone, tone * np.float32(10**-2.5), tone * np.float32(10**-3.5)])
    active = quality.active_frames(steps, 400, HOP)
    assert len(active) == 1 + len(steps) // HOP
    assert active[:200].all() and not active[203:].any()
    assert quality.active_frames(np.zeros(1600, np.float32), 400, HOP).all()


def test_mfcc_rmse_is_the_difference_of_the_frames():
    """3 dB in every coefficient are 3 dB, and 13 dB in one of 13 are 13 / sqrt(13)."""
    frames = mfcc(SPEECH, FEATURES)
    assert quality.mfcc_rmse(frames, frames + 3) == pytest.approx(3, rel=1e-5)
    other = frames.copy()
    other[4] += 13
    assert quality.mfcc_rmse(frames, other) == pytest.approx(math.sqrt(13), rel=1e-5)


def test_a_gain_moves_c0_alone():
    """By the decibels of the gain times the root of the number of bands; and no other coefficient, and so no MCD."""
    gain = 20 * math.log10(2)
    values = distances(SPEECH, SPEECH * np.float32(2))
    assert values["mfcc_rmse"] == pytest.approx(gain * math.sqrt(FEATURES.n_mels / FEATURES.n_mfcc), rel=1e-3)
    assert values["mcd"] == pytest.approx(0, abs=1e-3)
    of_noise = distances(noise(0), noise(0) * np.float32(2))  # of which nothing is so low that it is cut off
    assert of_noise["lsd"] == pytest.approx(gain, rel=1e-3)


def test_mcd_is_the_distance_of_the_log_spectra_that_the_coefficients_describe():
    """A ripple of 6 dB over the mel scale is 6 / sqrt(2) dB root mean square, whichever coefficient it is."""
    bands = quality.MEL_BANDS
    decibels = librosa.power_to_db(librosa.feature.melspectrogram(y=SPEECH, sr=RATE, n_mels=bands), top_db=None)
    for d in (1, 5, 24):
        ripple = 6 * np.cos(np.pi * d * (np.arange(bands) + 0.5) / bands)[:, None]
        cepstra = [
            librosa.feature.mfcc(S=spectrum, n_mfcc=25)[1:] * (math.sqrt(2 / bands) * math.log(10) / 20)
            for spectrum in (decibels, decibels + ripple)
        ]
        assert quality.mel_cepstral_distortion(*cepstra) == pytest.approx(6 / math.sqrt(2), rel=1e-4)


def test_mel_cepstra_describe_the_mel_spectrum():
    """Summed up as their definition says, they are the log amplitudes of the bands, smoothed and levelled."""
    bands, order = quality.MEL_BANDS, quality.MEL_CEPSTRUM_ORDER
    cepstra = quality.mel_cepstra(SPEECH, RATE)
    assert cepstra.shape == (order, 1 + len(SPEECH) // HOP)
    power = librosa.feature.melspectrogram(y=SPEECH, sr=RATE, n_mels=bands, n_fft=512, win_length=400, hop_length=HOP)
    nepers = librosa.power_to_db(power) * math.log(10) / 20
    cosines = np.cos(np.pi * np.outer(np.arange(bands) + 0.5, np.arange(1, order + 1)) / bands)
    described, levelled = cosines @ cepstra, nepers - nepers.mean(axis=0)
    assert np.square(described - levelled).mean() < 0.1 * np.square(levelled).mean()


def test_two_noises_of_one_envelope_are_7_8_db_apart():
    """Log power of noise has a deviation of 5.57 dB (that of an exponential variable), a difference of two sqrt(2)."""
    distance = quality.log_spectral_distance(*quality.spectra(noise(0), noise(1), RATE, np.ones(101, bool)))
    assert distance == pytest.approx(7.8, abs=0.15)


def test_what_is_80_db_below_the_original_counts_as_silence():
    """So digital silence and a whisper of noise are alike, and both are 80 dB below the loudest point."""
    tone = voice(500)
    silence, whisper = np.zeros_like(tone), noise(0) * np.float32(1e-6)
    frames = np.ones(101, bool)
    spectra = [quality.spectra(tone, other, RATE, frames) for other in (silence, whisper)]
    assert spectra[0][1].min() == spectra[0][1].max() == pytest.approx(spectra[0][0].max() - 80)
    np.testing.assert_array_equal(spectra[0][1], spectra[1][1])


# --- hearing ------------------------------------------------------------------------------------------


def test_stoi_is_pystois():
    """1 for what is heard as it was, less with noise; NaN, not a number, for what is too short."""
    installed("stoi")
    assert quality.stoi(SPEECH, SPEECH * np.float32(0.1), RATE) == pytest.approx(1, abs=1e-6)
    assert 0.9 < quality.stoi(SPEECH, at_snr(SPEECH, 20), RATE) < 1
    assert quality.stoi(SPEECH, noise(0, len(SPEECH)), RATE) < 0.5
    assert math.isnan(quality.stoi(SPEECH[:4800], SPEECH[:4800], RATE))


def test_pesq_is_that_of_the_wide_band():
    """4.64 for what is heard as it was, just above 1 for noise, 1 for silence; NaN for a fifth of a second."""
    installed("pesq")
    assert quality.pesq(SPEECH, SPEECH * np.float32(0.1), RATE) == pytest.approx(4.644, abs=1e-3)
    assert 1 < quality.pesq(SPEECH, noise(0, len(SPEECH)), RATE) < 1.1
    assert quality.pesq(SPEECH, np.zeros_like(SPEECH), RATE) == 1
    assert math.isnan(quality.pesq(SPEECH[:3200], SPEECH[:3200], RATE))
    assert math.isnan(quality.pesq(np.zeros_like(SPEECH), SPEECH, RATE))


def test_pesq_is_measured_at_16_khz():
    """Of signals at twice the rate it is the same."""
    installed("pesq")
    noisy = at_snr(SPEECH, 20)
    twice = [np.repeat(wav, 2) for wav in (SPEECH, noisy)]  # with images above 8 kHz, which resampling removes
    assert quality.pesq(*twice, 2 * RATE) == pytest.approx(quality.pesq(SPEECH, noisy, RATE), abs=0.1)


# --- voice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(100, 106), (200, 212), (220, 240)])
def test_f0_rmse_is_the_interval_between_two_voices(low, high):
    """In cents; pyin's steps are 10 cents."""
    first, second = (quality.pitch(voice(hertz), RATE) for hertz in (low, high))
    assert quality.f0_rmse(first, second) == pytest.approx(1200 * math.log2(high / low), abs=10)
    assert quality.voicing_error(first, second) < 0.02


def test_voicing_error_is_the_fraction_of_frames_that_lost_their_voice():
    """Half of a vowel replaced by noise."""
    vowel = voice(150, seconds=2)
    half = np.concatenate([vowel[:RATE], noise(0)])
    first, second = quality.pitch(vowel, RATE), quality.pitch(half, RATE)
    assert quality.voicing_error(first, second) == pytest.approx(0.5, abs=0.05)
    assert quality.f0_rmse(first, second) < 10


def test_without_a_voice_there_is_no_pitch_to_compare():
    first, second = (quality.pitch(noise(seed), RATE) for seed in (0, 1))
    silent = quality.Pitch(second.hertz, np.zeros_like(second.is_voiced))
    assert math.isnan(quality.f0_rmse(first, silent))
