"""Linear prediction of the next sample from the samples before it, with coefficients that come from MFCCs alone.

MFCCs describe a spectral envelope, and an envelope determines the coefficients a of the best linear predictor,

    p_t = sum over k = 1 ... order of a_k x_(t-k)

(Makhoul 1975, "Linear prediction: a tutorial review"). LPCNet (Valin and Skoglund 2019) gives p_t to its network, which
then need not learn what a filter can compute. Here x is what the codes of the past stand for, with pre-emphasis if
there is any, and p_t is a code, too.

Training data, evaluation and the loop over samples compute p_t by the same compiled functions. Each of their sums has
one order, and a frame's coefficients depend on that frame alone, so that the same MFCCs give the same code everywhere.
Those that a user brings may be rounded otherwise, so training moves p_t a little where it lies between two codes.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int
from numba import njit

from mfcc_wavenet import librosa
from mfcc_wavenet.config.settings import FeatureSettings, WavenetSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.mfcc import mfcc_to_envelope
from mfcc_wavenet.data.statistics import Statistics

WHITE_NOISE = 1e-4  # added to the signal, as a fraction of its power: it bounds the filter's resonances
LAG_WINDOW = 40.0  # Hz, the width of its Gaussian: harmonics are smoothed away (Tohkura et al. 1978)
# How far predictions are moved, at the most, of their size. It is some 2e-4 of the step from a code to the next, and
# tens of times what MFCCs computed in float32 make of them.
TIE = 1e-5


class LinearPrediction:
    """What is needed to predict, given the front end and a corpus's statistics: tables, and no state."""

    def __init__(self, features: FeatureSettings, wavenet: WavenetSettings, statistics: Statistics):
        self.order = wavenet.prediction_order
        self.levels = mulaw.levels(wavenet.quantization_channels).astype(np.float32).astype(np.float64)  # (Q,)
        self.thresholds = mulaw.thresholds(wavenet.quantization_channels)  # (Q - 1,)
        # The envelope in dB is linear in the normalised MFCCs: slopes @ mfcc + level, both at each bin of the spectrum.
        to_decibels = mfcc_to_envelope(features)
        mean, std = (values[: features.n_mfcc].astype(np.float64) for values in (statistics.mean, statistics.std))
        self.slopes = np.ascontiguousarray((to_decibels * std).T)  # (n_mfcc, bins)
        self.level = to_decibels @ mean - _filter_decibels(features)  # (bins,)
        if wavenet.preemphasis:
            self.level += _preemphasis_decibels(features, wavenet.preemphasis)
        self.autocorrelation = _power_to_autocorrelation(features, self.order)  # (bins, order + 1)

    @classmethod
    def of(
        cls, features: FeatureSettings, wavenet: WavenetSettings, statistics: Statistics
    ) -> "LinearPrediction | None":
        """None where the network does without."""
        return None if wavenet.prediction == "none" else cls(features, wavenet, statistics)

    def coefficients(self, frames: Float32[np.ndarray, "F K"]) -> Float64[np.ndarray, "F order"]:
        """a_1 to a_order of each frame, from its first n_mfcc values; frames: (F, K), normalised."""
        mfcc = np.ascontiguousarray(frames[:, : len(self.slopes)], np.float64)
        return _coefficients(mfcc, self.slopes, self.level, self.autocorrelation)

    def codes(
        self,
        past: Int[np.ndarray, " order-1+T"],
        coefficients: Float64[np.ndarray, "F order"],
        nearest: Int[np.ndarray, " T"],
        moves: Float64[np.ndarray, " T"] | None = None,
    ) -> Int[np.ndarray, " T"]:
        """The code of p_t at each of T positions, int64.

        past: the codes before them, order before the first position and one more for each further one; nearest: the row
        of coefficients that each position takes; moves: from -1 to 1, of TIE, that each prediction is moved by before
        it becomes a code.
        """
        moves = np.zeros(len(nearest)) if moves is None else moves
        return _codes(self.levels[past], coefficients, nearest, self.thresholds, TIE * moves)


def _filter_decibels(features: FeatureSettings) -> Float64[np.ndarray, " bins"]:
    """What each mel filter makes of a spectrum that is 1 everywhere, in dB, at every bin.

    Subtracted, it leaves the mean power that a filter has seen, whatever its width and however it is normalised.
    """
    filters = librosa.filters.mel(sr=features.sample_rate, n_fft=features.n_fft, n_mels=features.n_mels)
    bins = librosa.fft_frequencies(sr=features.sample_rate, n_fft=features.n_fft)
    centres = librosa.mel_frequencies(features.n_mels + 2, fmax=features.sample_rate / 2)[1:-1]
    return np.interp(bins, centres, 10 * np.log10(filters.sum(axis=1, dtype=np.float64)))


def _preemphasis_decibels(features: FeatureSettings, preemphasis: float) -> Float64[np.ndarray, " bins"]:
    """What y_t = x_t - preemphasis * x_(t-1) does to every bin of the spectrum of x, in dB."""
    turns = np.arange(features.n_fft // 2 + 1) / features.n_fft
    return 20 * np.log10(np.abs(1 - preemphasis * np.exp(-2j * np.pi * turns)))


def _power_to_autocorrelation(features: FeatureSettings, order: int) -> Float64[np.ndarray, "bins order+1"]:
    """A power spectrum to its autocorrelation at the lags 0 to order, with white noise and lag window.

    The inverse discrete Fourier transform of a real, even spectrum, of which only these lags are wanted.
    """
    bins, lags = np.arange(features.n_fft // 2 + 1)[:, None], np.arange(order + 1)
    weights = np.where((bins == 0) | (bins == features.n_fft // 2), 1, 2) / features.n_fft
    window = np.exp(-0.5 * (2 * np.pi * LAG_WINDOW * lags / features.sample_rate) ** 2)
    window[0] = 1 + WHITE_NOISE
    return weights * np.cos(2 * np.pi * bins * lags / features.n_fft) * window


# --- compiled -------------------------------------------------------------------------------------
# Without fastmath, so that every sum has the order in which it is written. All of it is in this file: numba's cache
# looks at no other. (generation/cpu/jit.py knows of it, too.)


@njit(forceinline=True)
def predict(amplitudes, time, coefficients, thresholds):
    """The code of p_time, given the amplitudes before that time.

    Beyond full scale it is the last code on that side.
    """
    return np.searchsorted(thresholds, _prediction(amplitudes, time, coefficients), side="right")


@njit(forceinline=True)
def _prediction(amplitudes, time, coefficients):
    prediction = 0.0
    for lag in range(1, len(coefficients) + 1):
        prediction += coefficients[lag - 1] * amplitudes[time - lag]
    return prediction


@njit(cache=True, nogil=True)
def _codes(amplitudes, coefficients, nearest, thresholds, moves):
    order = coefficients.shape[1]
    codes = np.empty(len(nearest), np.int64)
    for position in range(len(nearest)):
        prediction = _prediction(amplitudes, order + position, coefficients[nearest[position]])
        prediction += moves[position] * (abs(prediction) + 1 / len(thresholds))  # as steps grow, from that of silence
        codes[position] = np.searchsorted(thresholds, prediction, side="right")
    return codes


@njit(cache=True, nogil=True)
def _coefficients(mfcc, slopes, level, to_autocorrelation):
    """The envelope of each frame and its autocorrelation, then Levinson's and Durbin's recursion."""
    bins, lags = to_autocorrelation.shape
    coefficients = np.zeros((len(mfcc), lags - 1))
    decibels, autocorrelation, previous = np.empty(bins), np.empty(lags), np.empty(lags)
    for frame in range(len(mfcc)):
        for bin in range(bins):  # a loop: an array that is assigned to a slice takes seconds to compile
            decibels[bin] = level[bin]
        for index in range(slopes.shape[0]):
            for bin in range(bins):
                decibels[bin] += slopes[index, bin] * mfcc[frame, index]
        loudest = decibels.max()  # the coefficients do not depend on the level, and powers up to 1 cannot overflow
        autocorrelation[:] = 0
        for bin in range(bins):
            power = 10 ** ((decibels[bin] - loudest) / 10)
            for lag in range(lags):
                autocorrelation[lag] += power * to_autocorrelation[bin, lag]
        a, error = coefficients[frame], autocorrelation[0]
        for known in range(lags - 1):
            reflection = autocorrelation[known + 1]
            for index in range(known):
                reflection -= a[index] * autocorrelation[known - index]
            reflection /= error
            for index in range(known):
                previous[index] = a[index]
            for index in range(known):
                a[index] -= reflection * previous[known - 1 - index]
            a[known] = reflection
            error *= 1 - reflection * reflection
    return coefficients
