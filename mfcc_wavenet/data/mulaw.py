"""Mu-law: amplitudes in [-1, 1] to integer codes and back (ITU-T G.711's curve, as in the WaveNet paper, 2.2)."""

import numpy as np
from jaxtyping import Float, Integer


def encode(amplitudes: Float[np.ndarray, " samples"], quantization_channels: int) -> Integer[np.ndarray, " samples"]:
    """The nearest of quantization_channels levels on the companded axis, 0 to quantization_channels - 1.

    Amplitudes beyond full scale are clipped.
    """
    mu = quantization_channels - 1
    amplitudes = np.clip(amplitudes.astype(np.float64), -1, 1)
    companded = np.sign(amplitudes) * np.log1p(mu * np.abs(amplitudes)) / np.log1p(mu)
    codes = np.floor((companded + 1) / 2 * mu + 0.5)
    return codes.astype(code_type(quantization_channels))


def decode(codes: Integer[np.ndarray, " samples"], quantization_channels: int) -> Float[np.ndarray, " samples"]:
    """The amplitude that each code stands for, float32 in [-1, 1]."""
    mu = quantization_channels - 1
    companded = 2 * np.arange(quantization_channels) / mu - 1
    levels = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu
    return levels.astype(np.float32)[codes]


def silence(quantization_channels: int) -> int:
    """The code of amplitude 0, which is also the past before the first sample."""
    return quantization_channels // 2


def code_type(quantization_channels: int) -> type:
    """The smallest unsigned integer that holds every code."""
    return np.uint8 if quantization_channels <= 256 else np.uint16
