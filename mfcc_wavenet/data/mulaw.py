"""Mu-law: amplitudes in [-1, 1] to integer codes and back (ITU-T G.711's curve, as in the WaveNet paper, 2.2)."""

import numpy as np
from jaxtyping import Float, Float64, Integer

from mfcc_wavenet.config.errors import UserError

BLOCK_SAMPLES = 2**18  # that are encoded at a time: in float64, hours of audio would take gigabytes


def encode(amplitudes: Float[np.ndarray, " samples"], quantization_channels: int) -> Integer[np.ndarray, " samples"]:
    """The nearest of quantization_channels levels on the companded axis, 0 to quantization_channels - 1.

    Amplitudes beyond full scale are clipped. Raises UserError for NaN.
    """
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


def decode(codes: Integer[np.ndarray, " samples"], quantization_channels: int) -> Float[np.ndarray, " samples"]:
    """The amplitude that each code stands for, float32 in [-1, 1]. Raises UserError for what is not a code."""
    if len(codes) and not 0 <= codes.min() <= codes.max() < quantization_channels:
        raise UserError(
            f"These codes reach from {codes.min()} to {codes.max()}; they must be 0 to {quantization_channels - 1} "
            f"with quantization_channels={quantization_channels}."
        )
    mu = quantization_channels - 1
    levels = _expand(2 * np.arange(quantization_channels) / mu - 1, mu)
    return levels.astype(np.float32)[codes]


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
