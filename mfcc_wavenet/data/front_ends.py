"""Which front end MFCCs come from: what librosa cannot have computed from a wav in [-1, 1] is recognised and refused.

Everything is measured on the array alone, in dB as the model reads it. The means and spreads are those of each
coefficient over the frames, the steps the spread of the differences between neighbouring frames, and the unit is what
white noise has: c0 / sqrt(n_mels), the level, of noise of power 1, and the spread and step of its other coefficients.
No wav in [-1, 1] is louder than that noise by more than a few dB, and where it is nearly as loud, it is noise itself,
with the spreads of noise, or periodic. The rules, in the order in which they are tried:

- transposed: as many frames as coefficients, too loud, and the first column holds the largest number of each row.
- means removed: the mean of every coefficient is 0. Standardised: so is it nearly, and no spread is one of decibels.
- HTK: the mean of the last coefficient is by far the largest, above 0, and the level that of loud noise: c0 last, in
  natural logarithms. c0 last: the same, far below 0.
- python_speech_features and Kaldi: as loud as noise; c0 moves less than the others, which a lifter has raised.
- natural logarithms (torchaudio's log_mels): never quiet, and speech's pattern of spreads at a quarter of its size.
- too loud: 16-bit integers, and whatever else needs more power than full scale has. The power of a frame is that of
  the smooth spectrum that its coefficients describe.
- too quiet: below the silence of the model's mel bands, or a range above the 80 dB that librosa keeps: more mel bands.

What cannot be told apart is accepted. With fewer than MIN_FRAMES frames that is everything but transposed, means
removed, HTK, c0 last and too loud or quiet; with fewer than MIN_COEFFICIENTS coefficients, also these but the last two.
For any length it is another gain (decibels relative to a maximum), another window, hop or rate, and the defaults of
librosa and torchaudio unless they are too loud or too quiet: their decibels are like those of audio that was amplified
or filtered. Digital silence gives their 128 bands away only in a recording that is quiet itself, since librosa keeps
80 dB below the loudest value.
"""

from functools import lru_cache
from typing import NamedTuple

import librosa
import numpy as np
import scipy.fft
from jaxtyping import Float, Float32, Float64

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data.mfcc import mfcc as own_mfcc

MIN_FRAMES = 20  # below, spreads are too uncertain
MIN_COEFFICIENTS = 8  # below, the relations between coefficients say nothing
MAX_POWER = 10.0  # dB relative to full scale: of 4,500 clips in [-1, 1], with 16 settings, the loudest reached 6.2
MAX_POWER_OF_FLOATS = 30.0  # dB; above it, the audio was most likely never divided by 32768
SILENCE = -100.0  # dB, of every mel band: librosa's decibels begin at a power of 1e-10
MAX_RANGE = 105.0  # dB: the 80 that librosa keeps, and what the smooth spectrum overshoots

NOISE_SAMPLES = 200  # hops
MAX_DECIBELS = 600.0  # what is larger is too loud in any case, and would overflow
HANN_POWER = 0.375  # mean square of the window


class _Noise(NamedTuple):
    """White noise of power 1, as the settings see it."""

    level: float  # dB
    spread: float  # dB, of a coefficient after the first


def refuse_foreign(mfcc: Float32[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> None:
    """UserError, with the name of the likely front end, for MFCCs that are not librosa's of a wav in [-1, 1].

    mfcc: at least one frame, finite. The rules are those of the module; they need the means and spreads of whole
    utterances, so a part of one is recognised less surely, and never refused if the whole is ours.
    """
    found = foreign(mfcc, settings)
    if found:
        raise UserError(
            f"These MFCCs come from another front end, most likely {found}; the model was trained on "
            f"librosa.feature.mfcc of audio in [-1, 1] with sr={settings.sample_rate}, n_fft={settings.n_fft}, "
            f"win_length={settings.win_length}, hop_length={settings.hop_length}, n_mels={settings.n_mels}, "
            f"n_mfcc={settings.n_mfcc}: c0 first, no mean removed."
        )


def foreign(mfcc: Float32[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> str | None:
    """The likely front end and what shows it, or None for what may be ours."""
    cepstra = mfcc.astype(np.float64)
    root = settings.n_mels**0.5
    level, lowest = cepstra[0].mean() / root, cepstra[0].min() / root
    power, highest = _loudest(cepstra, settings)
    if len(cepstra) >= MIN_COEFFICIENTS and (found := _by_pattern(cepstra, power > MAX_POWER, settings)):
        return found
    if power > MAX_POWER_OF_FLOATS:
        return f"librosa's of 16-bit integers that were not divided by 32768 (a frame of {power:.0f} dB of full scale)"
    if power > MAX_POWER:
        return (
            f"one with removed means, other mel bands or audio beyond [-1, 1] (a frame of {power:.0f} dB of full "
            f"scale, a mean level of {level:.0f} dB)"
        )
    if lowest < SILENCE - 1 or highest - lowest > MAX_RANGE:
        return (
            "one with more mel bands, such as the 128 of librosa's or torchaudio's defaults (the levels reach from "
            f"{lowest:.0f} dB to {highest:.0f})"
        )
    return None


def _by_pattern(
    cepstra: Float64[np.ndarray, "n_mfcc frames"], is_too_loud: bool, settings: FeatureSettings
) -> str | None:
    count, frames = cepstra.shape
    means, spreads = cepstra.mean(axis=1), cepstra.std(axis=1)
    root, noise = settings.n_mels**0.5, _noise(settings)
    level, lowest = means[0] / root, cepstra[0].min() / root
    first_is_largest = np.abs(cepstra).argmax(axis=1) == 0
    if is_too_loud and frames == count and first_is_largest.mean() > 0.9:
        return "ours as (frames, n_mfcc), to be transposed (the first column holds the largest of each row)"
    if (np.abs(means) <= 0.01 * spreads + 0.001).all():
        return "one with cepstral mean normalisation (each coefficient's mean is 0)"
    others, last = np.abs(means[:-1]).max(), means[-1]
    is_loud = level > noise.level - 13  # for spreads that only noise has at this level
    if last > 3 * noise.spread and last > 2 * others and is_loud:
        return f"HTK's MFCC_0 (natural logarithms, c0 last: its mean is {last:.0f}, the level {level:.0f} dB)"
    if (last < -10 * noise.spread and -last > 2 * others) or (is_too_loud and -last > 1.5 * np.abs(means[1:-1]).max()):
        return f"one with c0 last (the last coefficient's mean is {last:.0f})"
    if frames < MIN_FRAMES:
        return None
    if spreads.max() < 0.6 * noise.spread and np.abs(means).max() < 0.6 * noise.spread:
        return f"one with standardised coefficients (no spread is above {spreads.max():.1f}, no mean above 3)"
    spread = float(np.median(spreads[1:]))
    if level > noise.level - 6 and spread > 1.28 * noise.spread and spreads[0] < 1.5 * spread:
        return (
            "python_speech_features or Kaldi (natural logarithms and a lifter: c0 has a mean of "
            f"{means[0]:.0f} and a spread of {spreads[0]:.1f}, the others one of {spread:.1f})"
        )
    step = float(np.median(np.diff(cepstra[1:], axis=1).std(axis=1)))
    quarter = 0.3 * noise.spread < spread and step < 0.55 * noise.spread and 0.35 < step / spread < 0.9
    falling = spreads[0] > 2 * spread and spreads[1] > 1.6 * spread and np.median(spreads[-4:]) < 0.95 * spread
    small = 0 < means[1] < 5 * noise.spread and np.abs(means[2:]).max() < 2.4 * noise.spread
    if lowest > noise.level - 22 and quarter and falling and small:
        return (
            "torchaudio's MFCC with log_mels=True or another of natural logarithms (no frame is below a level of "
            f"{lowest:.0f} dB, and the spread of the coefficients is {spread:.1f})"
        )
    return None


def _loudest(cepstra: Float64[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> tuple[float, float]:
    """The power of the loudest frame, in dB of a wav of power 1, and the loudest mel band, in dB.

    Both are those of the smooth spectrum: the cosine series of the coefficients there are. By Parseval's theorem, the
    mel bands, each weighted with the distance of its neighbours in Hz, add up to the power of the window.
    """
    padded = np.zeros((settings.n_mels, cepstra.shape[1]))
    padded[: len(cepstra)] = cepstra
    decibels = scipy.fft.idct(padded, axis=0, norm="ortho")
    window_power = HANN_POWER * settings.win_length * settings.n_fft / 2
    powers = _hertz(settings) @ 10 ** (np.minimum(decibels, MAX_DECIBELS) / 10)
    return float(10 * np.log10(powers.max() / window_power)), float(decibels.max())


@lru_cache
def _hertz(settings: FeatureSettings) -> Float[np.ndarray, " n_mels"]:
    """Half the width of each mel band."""
    edges = librosa.mel_frequencies(settings.n_mels + 2, fmin=0, fmax=settings.sample_rate / 2)
    return (edges[2:] - edges[:-2]) / 2


@lru_cache
def _noise(settings: FeatureSettings) -> _Noise:
    samples = NOISE_SAMPLES * settings.hop_length
    cepstra = own_mfcc(np.random.default_rng(0).normal(size=samples).astype(np.float32), settings)
    return _Noise(float(cepstra[0].mean()) / settings.n_mels**0.5, float(np.median(cepstra[1:].std(axis=1))))
