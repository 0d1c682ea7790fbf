"""The envelope of audio corrected to that of given MFCCs.

What an inversion has and a vocoder has not: the MFCCs of its output can be computed, and should be the given ones. What
differs is a filter for each frame, smooth over frequency, since few coefficients describe it.
"""

import numbers
import warnings
from typing import Any

import librosa
import numpy as np
from jaxtyping import Float32

from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.config.settings import FeatureSettings, Settings
from mfcc_wavenet.data import mfcc as front_end

CORRECTIONS = 4  # by default; more change nothing that is measured
MAX_GAIN = 30.0  # dB, at once: what is silent is raised step by step, and only as long as it stays too low


def corrections(given: Any, sampling: Sampling, settings: Settings) -> int:
    """How often what a model generates is corrected: the given number, or None for what is best.

    None: CORRECTIONS times where codes are sampled. Not at all where they are the most likely ones, since that inverse
    is exact or shows what it is not, nor for an autoencoder, whose latents may be of another voice than the MFCCs.
    UserError for what is no number of times.
    """
    if given is None:
        return CORRECTIONS if sampling.temperature and not settings.encoder.kernel_sizes else 0
    if not isinstance(given, numbers.Integral) or isinstance(given, bool) or given < 0:
        raise UserError(f"corrections={given}: it must be a whole number, 0 (none) or more.")
    return int(given)


def corrected(
    wav: Float32[np.ndarray, " samples"],
    mfcc: Float32[np.ndarray, "n_mfcc frames"],
    features: FeatureSettings,
    times: int,
) -> Float32[np.ndarray, " samples"]:
    """The audio, its envelope corrected that many times to the one that the MFCCs describe; in [-1, 1].

    Each time, the decibels between the given MFCCs and those of the audio are turned into a gain for each frame and
    frequency, by which its short-time spectrum is multiplied. (Frames overlap, so that one correction leaves a rest.)
    Missing frames at the end are the last one's.
    """
    if not times or not len(wav):
        return wav
    frames = 1 + len(wav) // features.hop_length
    mfcc = mfcc[:, clamped_indices((0, frames), mfcc.shape[1])]
    to_decibels = front_end.mfcc_to_envelope(features)
    frame = {name: getattr(features, name) for name in ("n_fft", "win_length", "hop_length")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_fft=.* is too large")  # of audio shorter than a frame
        for _ in range(times):
            gain = np.clip(to_decibels @ (mfcc - front_end.mfcc(wav, features)), -MAX_GAIN, MAX_GAIN)
            spectrum = librosa.stft(wav, **frame) * 10 ** (gain / 20)
            wav = librosa.istft(spectrum, **frame, length=len(wav)).astype(np.float32)
    return np.clip(wav, -1, 1)
