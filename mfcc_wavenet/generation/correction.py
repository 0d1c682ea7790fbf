"""The envelope of audio corrected to that of given MFCCs.

What an inversion has and a vocoder has not: the MFCCs of its output can be computed, and should be the given ones. What
differs is a filter for each frame, smooth over frequency, since few coefficients describe it.
"""

import numbers
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from mfcc_wavenet import librosa
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import clamped_indices
from mfcc_wavenet.config.settings import FeatureSettings, Settings
from mfcc_wavenet.data import mfcc as front_end

CORRECTIONS = 4  # by default; more change nothing that is measured
MAX_GAIN = 30.0  # dB, at once: what is silent is raised step by step, and only as long as it stays too low

Wav = Float32[np.ndarray, " samples"]
Mfcc = Float32[np.ndarray, "n_mfcc frames"]


def checked_corrections(given: Any, sampling: Sampling, settings: Settings) -> int:
    """How often what a model generates is corrected: the given number, or None for what is best.

    None: CORRECTIONS times where codes are sampled. Not at all where they are the most likely ones, since that inverse
    is exact or shows what it is not, nor for an autoencoder, whose latents may be of another voice than the MFCCs.
    UserError for what is not a number of times.
    """
    if given is None:
        return CORRECTIONS if sampling.temperature and not settings.encoder.kernel_sizes else 0
    if not isinstance(given, numbers.Integral) or isinstance(given, bool) or given < 0:
        raise UserError(f"corrections={given}: it must be a whole number, 0 (none) or more.")
    return int(given)


def checked_candidates(given: Any, sampling: Sampling, corrections: int, settings: Settings) -> int:
    """How many candidates agreed() makes one of: the given number.

    corrections: how often each is corrected. UserError for what is not such a number, and for several where all would
    be the same or none would be corrected.
    """
    if not isinstance(given, numbers.Integral) or isinstance(given, bool) or given < 1:
        raise UserError(f"candidates={given}: it must be a whole number, 1 or more.")
    if given > 1 and settings.encoder.kernel_sizes:
        raise UserError(
            f"candidates={given} is not for an autoencoder: its latents may be of another voice than the MFCCs that "
            "candidates are corrected to; candidates=1 works."
        )
    if given > 1 and not sampling.temperature:
        raise UserError(
            f"candidates={given} at temperature=0 are all the same; a temperature above 0, such as 0.8, samples them."
        )
    if given > 1 and not corrections:
        raise UserError(
            f"candidates={given} with corrections=0 change nothing, since it is by corrections that the first of them "
            f"gets the average envelope; corrections={CORRECTIONS} is the default."
        )
    return int(given)


def agreed(wavs: Sequence[Wav], mfcc: Mfcc, features: FeatureSettings, times: int) -> Wav:
    """The first of several candidates for the same MFCCs, its envelope corrected to what they agree on; in [-1, 1].

    Each is corrected to the MFCCs, that many times. These say little of the finer parts of an envelope: what candidates
    have in common there is what the model knows, and the rest is chance. So the first is corrected to the mean of their
    envelopes, in decibels of each mel band, and then to the MFCCs again. One candidate is corrected() alone.
    """
    first, *others = each = [corrected(wav, mfcc, features, times) for wav in wavs]
    if not others or not len(first):
        return first
    finer = replace(features, n_mfcc=features.n_mels)  # as many as bands: all of the envelope that MFCCs can describe
    mean = np.mean([front_end.mfcc(wav, finer) for wav in each], axis=0)
    return corrected(corrected(first, mean, finer, times), mfcc, features, times)


def corrected(wav: Wav, mfcc: Mfcc, features: FeatureSettings, times: int) -> Wav:
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
