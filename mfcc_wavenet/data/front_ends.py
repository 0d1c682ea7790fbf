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
- librosa's and torchaudio's defaults: decibels as ours, so that no single number shows them, but the statistics of a
  clip do together: levels, spreads, and how the coefficients move. 512 samples are a longer step through speech than
  160, but windows of 2048 overlap by 75 %, not 60: more happens from frame to frame, and less at the highest frequency
  that frames can show. Two logistic regressions, fitted to speech that was filtered, noisy and so on and to other
  sounds, weigh them. Where ours never come, or where the range is above 80 dB, too, they are refused; where ours hardly
  ever come, there is a warning.

What cannot be told apart is accepted. With fewer than MIN_FRAMES frames that is everything but transposed, means
removed, HTK, c0 last and too loud or quiet; with fewer than MIN_COEFFICIENTS coefficients, also these but the last two.
For any length it is another gain (decibels relative to a maximum), another window, hop or rate, and, unless the model's
settings are those that the regressions were fitted for, the defaults of librosa and torchaudio.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from mfcc_wavenet import librosa
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

# The settings whose MFCCs the regressions tell from others, and the groups of coefficients in the statistics.
FITTED = {"sample_rate": 16000, "n_fft": 400, "win_length": 400, "hop_length": 160, "n_mels": 80}
GROUPS = (slice(0, 1), slice(1, 2), slice(2, 6), slice(6, 13))
NEGLIGIBLE = 4.0  # dB**2, added to variances: what is constant does not move
MIN_REFUSED_FRAMES = 60  # below, there is a warning at most
MIN_SURE_FRAMES = 80  # below, statistics vary so much that a warning needs more
REFUSED, WARNED = 4.0, 0.0  # log odds; of speakers and sounds that the fit had not seen, ours reached REFUSED - 2.5
MAX_OWN_RANGE = 84.0  # dB, where a warning would be due: above it, it is a refusal; of 3,005 clips, ours reached 81.2
# Of any statistic from CENTRE, in SCALE: what is further away is another sound, and proves nothing.
MAX_DISTANCE, MAX_WARNED_DISTANCE = 4.0, 5.0

# fmt: off
# From `PYTHONPATH=.:tests python -m support.fit_front_ends SPEECH`, three speakers, one of Spanish, French and Italian:
# the statistics' means and spreads over clips of these front ends, and each one's bias and weights.
CENTRE = (
    -2.382, 0.892, -0.195, 0.146, -0.180, -0.099, -0.102, 4.469, -2.002, -0.848, -0.400, 3.743, -1.976, -0.769,
    -0.341, 3.113, -1.814, -0.634, -0.259, 2.434, -1.434, -0.435, -0.177,
)
SCALE = (
    1.147, 0.512, 0.314, 0.263, 0.166, 0.199, 0.047, 0.524, 0.763, 0.262, 0.161, 0.350, 0.551, 0.238, 0.150, 0.243,
    0.350, 0.199, 0.117, 0.175, 0.280, 0.164, 0.083,
)
REGRESSIONS = {
    "librosa.feature.mfcc with its defaults (n_fft=2048, hop_length=512, n_mels=128)": (0.65, (
        1.24, 0.04, -1.10, 0.62, 0.34, 0.93, -0.75, -0.18, -0.90, 0.71, -0.38, 1.54, 1.31, 1.02, -0.83, 0.38, 0.58,
        -1.17, -2.63, -3.92, -3.17, -2.40, -3.42,
    )),
    "torchaudio.transforms.MFCC with its defaults (n_fft=400, hop_length=200, n_mels=128)": (-10.74, (
        -0.30, -1.09, 0.17, -0.99, -0.09, -0.69, -1.05, -0.17, -1.68, 1.27, -0.24, 0.49, 0.86, 0.28, 0.56, 2.95,
        2.16, -2.17, 2.88, 3.29, 1.88, 1.79, 4.86,
    )),
}
# fmt: on


class _Noise(NamedTuple):
    """White noise of power 1, as the settings see it."""

    level: float  # dB
    spread: float  # dB, of a coefficient after the first


class Verdict(NamedTuple):
    """Whose MFCCs they are, if not ours."""

    front_end: str  # the likely one, and what shows it
    is_certain: bool


def warning_or_refusal(mfcc: Float32[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> str | None:
    """The sentence of a warning for MFCCs that are probably not librosa's with these settings, or None.

    mfcc: at least one frame, finite. The rules are those of the module; they need the statistics of whole utterances,
    so a part of one is recognised less surely.

    Raises UserError, with the name of the likely front end, for MFCCs that are not librosa's of a wav in [-1, 1].
    """
    found = verdict(mfcc, settings)
    if found is None:
        return None
    expected = (
        f"the model was trained on librosa.feature.mfcc of audio in [-1, 1] with sr={settings.sample_rate}, "
        f"n_fft={settings.n_fft}, win_length={settings.win_length}, hop_length={settings.hop_length}, "
        f"n_mels={settings.n_mels}, n_mfcc={settings.n_mfcc}: c0 first, no mean removed"
    )
    if found.is_certain:
        raise UserError(f"These MFCCs come from another front end, most likely {found.front_end}; {expected}.")
    return (
        f"These MFCCs are probably those of {found.front_end}, of which the model makes noise; {expected}. "
        "Inverter.features(wav, sample_rate) computes them."
    )


def verdict(mfcc: Float32[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> Verdict | None:
    """The likely front end, or None for what may well be ours."""
    cepstra = mfcc.astype(np.float64)
    if found := _by_rules(cepstra, settings):
        return Verdict(found, is_certain=True)
    is_fitted = all(getattr(settings, name) == value for name, value in FITTED.items())
    if is_fitted and cepstra.shape[0] >= GROUPS[-1].stop and cepstra.shape[1] >= MIN_FRAMES:
        return _by_statistics(cepstra, settings)
    return None


def _by_statistics(cepstra: Float64[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> Verdict | None:
    standard = (clip_statistics(cepstra) - CENTRE) / SCALE
    distance = np.abs(standard).max()
    odds, name = max((bias + float(standard @ weights), name) for name, (bias, weights) in REGRESSIONS.items())
    if odds <= warned_from(cepstra.shape[1]) or distance >= MAX_WARNED_DISTANCE:
        return None
    is_typical = distance < MAX_DISTANCE and cepstra.shape[1] >= MIN_REFUSED_FRAMES
    is_certain = (odds > REFUSED and is_typical) or level_range(cepstra, settings) > MAX_OWN_RANGE
    return Verdict(f"{name}, as the coefficients spread and move" if is_certain else name, is_certain)


def level_range(cepstra: Float64[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> float:
    """From the quietest frame's mean mel band to the loudest mel band of the smooth spectrum, in dB.

    librosa keeps 80 dB. 128 bands make all levels sqrt(128 / 80) as large, also that range.
    """
    return _loudest(cepstra, settings)[1] - float(cepstra[0].min()) / settings.n_mels**0.5


def warned_from(frames: int) -> float:
    """Log odds above which there is a warning: more for a clip of less than MIN_SURE_FRAMES, whose statistics vary."""
    return WARNED + max(0, MIN_SURE_FRAMES - frames) / MIN_FRAMES


def clip_statistics(cepstra: Float64[np.ndarray, "n_mfcc frames"]) -> Float64[np.ndarray, " statistics"]:
    """Of a clip of MIN_FRAMES frames or more, of its first 13 coefficients: levels, spreads and movement.

    The means of c0 to c5 and of the others, in hundreds of dB; then for c0, c1, c2 to c5 and c6 to c12 the logarithms
    of the spread, and of the ratios of variances: first differences to values, second to first, third to second. Each
    is 0 for white noise; the later ones tell what there is near the highest frequency that frames can show.
    """
    cepstra = cepstra[: GROUPS[-1].stop]
    means = cepstra.mean(axis=1)
    variances, differences = [cepstra.var(axis=1) + NEGLIGIBLE], cepstra
    for of_white_noise in (2, 6, 20):
        differences = np.diff(differences, axis=1)
        variances.append(np.square(differences).mean(axis=1) / of_white_noise + NEGLIGIBLE)
    logarithms = np.log(variances)
    movement = np.concatenate([logarithms[:1] / 2, np.diff(logarithms, axis=0)])
    grouped = [movement[:, group].mean(axis=1) for group in GROUPS]
    return np.concatenate([means[:6] / 100, [means[6:].mean() / 100], *grouped])


def _by_rules(cepstra: Float64[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> str | None:
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
    if lowest < SILENCE - 1 or level_range(cepstra, settings) > MAX_RANGE:
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
    from scipy.fft import idct  # takes a third of a second, which commands that read no MFCCs need not wait for

    padded = np.zeros((settings.n_mels, cepstra.shape[1]))
    padded[: len(cepstra)] = cepstra
    decibels = idct(padded, axis=0, norm="ortho")
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
