"""Mu-law: amplitudes in [-1, 1] to integer codes and back (ITU-T G.711's curve, as in the WaveNet paper, 2.2).

With pre-emphasis, what is coded is y_t = x_t - preemphasis * x_(t-1), and decoding undoes it: the noise of the
codes, which is white, becomes weaker at high frequencies, where speech is weak (Valin and Skoglund 2019, 3.1).
"""

import numpy as np
from jaxtyping import Float, Float32, Float64, Integer

from mfcc_wavenet.config.errors import UserError

BLOCK_SAMPLES = 2**18  # that are encoded at a time: in float64, hours of audio would take gigabytes


def encode(
    amplitudes: Float[np.ndarray, " samples"], quantization_channels: int, preemphasis: float = 0.0
) -> Integer[np.ndarray, " samples"]:
    """The nearest of quantization_channels levels on the companded axis, 0 to quantization_channels - 1.

    preemphasis: of the amplitudes first, from 0 (none) to below 1. What is then beyond full scale is clipped. Raises
    UserError for NaN.
    """
    if preemphasis:
        amplitudes = amplitudes.astype(np.float64)
        amplitudes[1:] -= preemphasis * amplitudes[:-1]
    codes = np.empty(len(amplitudes), code_type(quantization_channels))
    for start in range(0, len(amplitudes), BLOCK_SAMPLES):
        block = slice(start, start + BLOCK_SAMPLES)
        if np.isnan(amplitudes[block]).any():
            raise UserError("These samples contain NaN, which has no mu-law code; expected are amplitudes in [-1, 1].")
        codes[block] = _encode(amplitudes[block].astype(np.float64), quantization_channels - 1)
    return codes


def _encode(amplitudes: Float64[np.ndarray, " samples"], mu: int) -> Float64[np.ndarray, " samples"]:
    amplitudes = np.clip(amplitudes, -1, 1)
    companded = np.sign(amplitudes) * np.log1p(mu * np.abs(amplitudes)) / np.log1p(mu)
    return np.floor((companded + 1) / 2 * mu + 0.5)


def decode(
    codes: Integer[np.ndarray, " samples"], quantization_channels: int, preemphasis: float = 0.0
) -> Float32[np.ndarray, " samples"]:
    """The amplitudes that the codes stand for, float32 in [-1, 1]. Raises UserError for what is not a code.

    preemphasis: with which they were encoded.
    """
    return Decoder(quantization_channels, preemphasis)(codes)


class Decoder:
    """decode, of codes that arrive in blocks: together they give the amplitudes of the whole, exactly."""

    def __init__(self, quantization_channels: int, preemphasis: float = 0.0):
        self.quantization_channels, self.preemphasis = quantization_channels, preemphasis
        self.state = np.zeros(1)  # preemphasis times the last amplitude

    def __call__(self, codes: Integer[np.ndarray, " samples"]) -> Float32[np.ndarray, " samples"]:
        """The next amplitudes."""
        if len(codes) and not 0 <= codes.min() <= codes.max() < self.quantization_channels:
            raise UserError(
                f"These codes reach from {codes.min()} to {codes.max()}; they must be 0 to "
                f"{self.quantization_channels - 1} with quantization_channels={self.quantization_channels}."
            )
        of_codes = levels(self.quantization_channels)
        if not self.preemphasis or not len(codes):  # an empty block would end the filter's state
            return of_codes.astype(np.float32)[codes]
        from scipy.signal import lfilter  # takes a second, which nobody waits for who has no pre-emphasis

        amplitudes, self.state = lfilter([1.0], [1.0, -self.preemphasis], of_codes[codes], zi=self.state)
        return np.clip(amplitudes, -1, 1).astype(np.float32)


def levels(quantization_channels: int) -> Float64[np.ndarray, " channels"]:
    """What each code stands for, in [-1, 1]: an amplitude, with pre-emphasis if there is any."""
    mu = quantization_channels - 1
    return _expand(2 * np.arange(quantization_channels) / mu - 1, mu)


def thresholds(quantization_channels: int) -> Float64[np.ndarray, " thresholds"]:
    """The quantization_channels - 1 amplitudes, ascending, at which encode goes from a code to the next one."""
    mu = quantization_channels - 1
    return _expand((2 * np.arange(1, quantization_channels) - 1) / mu - 1, mu)


def _expand(companded: Float64[np.ndarray, " _"], mu: int) -> Float64[np.ndarray, " _"]:
    return np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu


def silence(quantization_channels: int) -> int:
    """The code of amplitude 0, which is also the past before the first sample."""
    return quantization_channels // 2


def code_type(quantization_channels: int) -> type:
    """The smallest unsigned integer that holds every code."""
    return np.uint8 if quantization_channels <= 256 else np.uint16
