"""How near generated speech is to the original: measures of two signals of one length and rate.

The two share their time axis, since the MFCCs of one are what the other is made of, so nothing is aligned (no dynamic
time warping, as for synthesis from text). Frames, except those of the MFCC distances, are Hann windows of 25 ms every
10 ms. An active frame is one of the original whose level is within 60 dB of that of its loudest frame; the others are
silence, of which a measure in dB would say most.

A value that cannot be had is NaN: of a clip that is too short, of an original without speech, or where no frame is
voiced in both.
"""

import importlib
import math
import warnings
from functools import cached_property
from typing import NamedTuple

import numpy as np
import soxr
from jaxtyping import Bool, Float

from mfcc_wavenet import librosa
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data.mfcc import mfcc

Wav = Float[np.ndarray, " samples"]

ACTIVE_RANGE = 60.0  # dB below the loudest frame
WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010
SPECTRUM_RANGE = 80.0  # dB below the loudest point of the original, under which spectra are cut off
MIN_POWER = 1e-10  # of full scale 1: digital silence has no logarithm
MEL_CEPSTRUM_ORDER, MEL_BANDS = 24, 80
MIN_HERTZ, MAX_HERTZ = 60.0, 500.0  # of a voice
PITCH_WINDOW_SECONDS = 0.064  # at least two periods of MIN_HERTZ
CENTS_PER_OCTAVE = 1200
MIN_STOI_SECONDS = 0.4  # 30 of its frames
PESQ_RATE = 16000  # Hz, of wide-band PESQ
MIN_PESQ = 1.0  # the lower end of its scale

REQUIREMENTS = "requirements-eval.txt"  # at the top of the repository


class Measure(NamedTuple):
    """A column of a table."""

    label: str
    unit: str
    more_is_better: bool
    package: str | None  # that computes it, beyond what the project needs itself

    @property
    def heading(self) -> str:
        """With the unit, and an arrow that says whether more or less is better."""
        return f"{self.label}{self.unit and f', {self.unit}'} {'↑' if self.more_is_better else '↓'}"


MEASURES = {
    "mfcc_rmse": Measure("MFCC RMSE", "dB", False, None),
    "mfcc_rmse_all": Measure("MFCC RMSE, all frames", "dB", False, None),
    "mcd": Measure("MCD", "dB", False, None),
    "lsd": Measure("LSD", "dB", False, None),
    "stoi": Measure("STOI", "", True, "pystoi"),
    "pesq": Measure("PESQ", "MOS", True, "pesq"),
    "f0_rmse": Measure("F0 RMSE", "cents", False, None),
    "voicing_error": Measure("voicing error", "", False, None),
}


def missing_packages() -> dict[str, str]:
    """For each measure that cannot be had here, a sentence that says why."""
    return {
        name: f"{measure.label} is left out: the package {measure.package} cannot be imported ({error}); "
        f"`pip install -r {REQUIREMENTS}` installs it."
        for name, measure in MEASURES.items()
        if measure.package and (error := _import_error(measure.package))
    }


def _import_error(package: str) -> ImportError | None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        return error
    return None


class Original:
    """An original, to which what is generated from its MFCCs is compared; it is analysed once."""

    def __init__(self, wav: Wav, features: FeatureSettings):
        """features: whose MFCCs the re-analysis distance compares, and the sample rate."""
        self.wav = wav
        self.features = features
        self.rate = features.sample_rate
        self.mfcc = mfcc(wav, features)
        hop_length, n_fft = features.hop_length, features.n_fft
        self.active_mfcc = active_frames(wav, n_fft, hop_length)
        self.active = active_frames(wav, _window(self.rate), _hop(self.rate))

    @cached_property
    def cepstra(self) -> Float[np.ndarray, "order frames"]:
        return mel_cepstra(self.wav, self.rate)

    @cached_property
    def pitch(self) -> "Pitch":
        return pitch(self.wav, self.rate)

    def quality(self, generated: Wav, without: frozenset[str] = frozenset()) -> dict[str, float]:
        """Every one of MEASURES but those to do without; (samples,) as the original, amplitudes in [-1, 1]."""
        with warnings.catch_warnings():
            # Beyond the ends of a clip that is shorter than a window is silence, by definition.
            warnings.filterwarnings("ignore", message="n_fft=.* is too large")
            return self._quality(generated, without)

    def _quality(self, generated: Wav, without: frozenset[str]) -> dict[str, float]:
        wav, rate = self.wav, self.rate
        frames = mfcc(generated, self.features)
        measures = {
            "mfcc_rmse": lambda: mfcc_rmse(self.mfcc[:, self.active_mfcc], frames[:, self.active_mfcc]),
            "mfcc_rmse_all": lambda: mfcc_rmse(self.mfcc, frames),
            "mcd": lambda: mel_cepstral_distortion(
                self.cepstra[:, self.active], mel_cepstra(generated, rate)[:, self.active]
            ),
            "lsd": lambda: log_spectral_distance(*spectra(wav, generated, rate, self.active)),
            "stoi": lambda: stoi(wav, generated, rate),
            "pesq": lambda: pesq(wav, generated, rate),
        }
        values = {name: measure() for name, measure in measures.items() if name not in without}
        of_voice = {"f0_rmse", "voicing_error"} - without
        if of_voice:
            of_generated = pitch(generated, rate)
            both = {
                "f0_rmse": f0_rmse(self.pitch, of_generated),
                "voicing_error": voicing_error(self.pitch, of_generated),
            }
            values |= {name: value for name, value in both.items() if name in of_voice}
        return values


# --- frames ---------------------------------------------------------------------------------------


def active_frames(wav: Wav, window: int, hop_length: int) -> Bool[np.ndarray, " frames"]:
    """Whether each frame's level is within ACTIVE_RANGE of the loudest one's: (1 + samples // hop_length,).

    The level is the root mean square of a window of that many samples, centred on sample frame * hop_length. Of digital
    silence, all frames are active.
    """
    rms = librosa.feature.rms(y=_float32(wav), frame_length=window, hop_length=hop_length, pad_mode="constant")[0]
    return rms >= rms.max() * 10 ** (-ACTIVE_RANGE / 20)


def mfcc_rmse(original: Float[np.ndarray, "n_mfcc frames"], generated: Float[np.ndarray, "n_mfcc frames"]) -> float:
    """The re-analysis distance, dB: root mean square of the differences of MFCCs, over coefficients and frames.

    Both are in dB, as librosa.feature.mfcc returns them. It says how far the generated signal is from having the MFCCs
    that it was generated from.
    """
    return math.sqrt(np.square(original - generated, dtype=np.float64).mean())


def mel_cepstra(wav: Wav, sample_rate: int) -> Float[np.ndarray, "order frames"]:
    """Mel-cepstra, without the 0th coefficient, the level: (MEL_CEPSTRUM_ORDER, frames).

    Those of log amplitudes in nepers on the mel scale, log S(m) = c_0 + sum over d of c_d cos(pi d (m + 1/2) / M) in
    each of M = MEL_BANDS bands, which is the scale of SPTK's mel-cepstra and of the formula below. (Davis and
    Mermelstein 1980.) Bands are cut off 80 dB below the loudest one of the signal.
    """
    count = 1 + MEL_CEPSTRUM_ORDER
    with librosa.one_thread():  # the transform is the orthonormal one, of power
        decibels = librosa.feature.mfcc(
            y=_float32(wav), sr=sample_rate, n_mfcc=count, n_mels=MEL_BANDS, **_stft(sample_rate)
        )
    return decibels[1:].astype(np.float64) * (math.sqrt(2 / MEL_BANDS) * math.log(10) / 20)


def mel_cepstral_distortion(
    original: Float[np.ndarray, "order frames"], generated: Float[np.ndarray, "order frames"]
) -> float:
    """MCD, dB: 10 / ln 10 * sqrt(2 * sum over d of the squared differences of c_d), mean over frames (Kubichek 1993).

    By Parseval's theorem it is the distance of the two log spectra that the coefficients describe, levels aside.
    """
    squares = np.square(original - generated).sum(axis=0)
    return float(10 / math.log(10) * np.sqrt(2 * squares).mean())


def spectra(
    original: Wav, generated: Wav, sample_rate: int, frames: Bool[np.ndarray, " frames"]
) -> tuple[Float[np.ndarray, "bins active"], Float[np.ndarray, "bins active"]]:
    """The power spectra of those frames of both, in dB, cut off SPECTRUM_RANGE below the original's loudest point."""
    powers = [
        np.square(np.abs(librosa.stft(_float32(wav), pad_mode="constant", **_stft(sample_rate))))
        for wav in (original, generated)
    ]
    least = max(powers[0].max() * 10 ** (-SPECTRUM_RANGE / 10), MIN_POWER)
    first, second = (10 * np.log10(np.maximum(power[:, frames], least)) for power in powers)
    return first, second


def log_spectral_distance(
    original: Float[np.ndarray, "bins frames"], generated: Float[np.ndarray, "bins frames"]
) -> float:
    """LSD, dB: root mean square of the differences of log power over frequency, mean over frames.

    Both are in dB. (The d2 of Gray and Markel 1976, of the spectra themselves, harmonics included.) Two noises with the
    same envelope are 7.8 dB apart.
    """
    return float(np.sqrt(np.square(original - generated, dtype=np.float64).mean(axis=0)).mean())


# --- hearing --------------------------------------------------------------------------------------


def stoi(original: Wav, generated: Wav, sample_rate: int) -> float:
    """Short-time objective intelligibility, 0 to 1 (Taal et al. 2011), by pystoi.

    NaN where less than some MIN_STOI_SECONDS are left when the original's silent frames are removed.
    """
    from pystoi import stoi

    if len(original) < MIN_STOI_SECONDS * sample_rate:  # which pystoi does not expect
        return math.nan
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames")
        try:
            return float(stoi(original, generated, sample_rate))
        except RuntimeWarning:
            return math.nan


def pesq(original: Wav, generated: Wav, sample_rate: int) -> float:
    """Wide-band PESQ, as a mean opinion score, 1 to 4.64 (ITU-T P.862.2), by pesq, at 16 kHz.

    NaN for less than 1/4 s, and for an original in which it finds no utterance.
    """
    from pesq import BufferTooShortError, NoUtterancesError, pesq

    if not generated.any():  # which pesq refuses as a mistake of its caller
        return MIN_PESQ if original.any() else math.nan
    if sample_rate != PESQ_RATE:
        original, generated = (
            soxr.resample(wav, sample_rate, PESQ_RATE, quality="VHQ") for wav in (original, generated)
        )
    try:
        return float(pesq(PESQ_RATE, original, generated, "wb"))
    except (BufferTooShortError, NoUtterancesError):
        return math.nan


# --- voice ----------------------------------------------------------------------------------------


class Pitch(NamedTuple):
    """Of a signal, every HOP_SECONDS."""

    hertz: Float[np.ndarray, " frames"]  # NaN where it is not voiced
    is_voiced: Bool[np.ndarray, " frames"]


def pitch(wav: Wav, sample_rate: int) -> Pitch:
    """Fundamental frequency and voicing, by librosa.pyin (probabilistic YIN, Mauch and Dixon 2014)."""
    hertz, is_voiced, _ = librosa.pyin(
        _float32(wav), fmin=MIN_HERTZ, fmax=MAX_HERTZ, sr=sample_rate, hop_length=_hop(sample_rate),
        frame_length=_even(PITCH_WINDOW_SECONDS * sample_rate),
    )  # fmt: skip
    return Pitch(hertz, is_voiced)


def f0_rmse(original: Pitch, generated: Pitch) -> float:
    """Root mean square of the differences of pitch, cents, over the frames that are voiced in both.

    In cents, 1200 per octave, a deep and a high voice count the same (as in Morrison et al. 2022). NaN where no frame
    is voiced in both.
    """
    both = original.is_voiced & generated.is_voiced
    if not both.any():
        return math.nan
    cents = CENTS_PER_OCTAVE * np.log2(generated.hertz[both] / original.hertz[both])
    return math.sqrt(np.square(cents).mean())


def voicing_error(original: Pitch, generated: Pitch) -> float:
    """The fraction of frames that are voiced in one and not in the other (VDE: Nakatani et al. 2008)."""
    return float((original.is_voiced != generated.is_voiced).mean())


# --- analysis -------------------------------------------------------------------------------------


def _stft(sample_rate: int) -> dict[str, int]:
    """The parameters of a short-time Fourier transform, as librosa calls them; n_fft is a power of two."""
    window = _window(sample_rate)
    n_fft = 2 ** math.ceil(math.log2(window))
    return {"n_fft": n_fft, "win_length": window, "hop_length": _hop(sample_rate)}


def _window(sample_rate: int) -> int:
    return _even(WINDOW_SECONDS * sample_rate)


def _hop(sample_rate: int) -> int:
    return round(HOP_SECONDS * sample_rate)


def _even(samples: float) -> int:
    """So that centred frames are 1 + samples // hop_length."""
    return 2 * math.ceil(samples / 2)


def _float32(wav: Wav) -> Wav:
    return wav.astype(np.float32, copy=False)
