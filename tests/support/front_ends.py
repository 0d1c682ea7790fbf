"""Front ends that other tools have, after their published definitions: what users may bring by mistake.

Each takes a wav (samples,) in [-1, 1], its rate in Hz and the number of coefficients, and gives MFCCs (n_mfcc, frames).
"""

import warnings
from collections.abc import Callable

import numpy as np
import scipy.fft
import torch
import torchaudio
from jaxtyping import Float

from mfcc_wavenet import librosa

Wav = Float[np.ndarray, " samples"]
Mfcc = Float[np.ndarray, "n_mfcc frames"]

INT16 = 32768  # amplitude of full scale, where audio is what is in the file
LIFTER = 22
PRE_EMPHASIS = 0.97


def frames_of(wav: Wav, rate: int) -> Float[np.ndarray, "frames length"]:
    """25 ms every 10 ms, the last one padded with zeros."""
    length, hop = rate * 25 // 1000, rate // 100
    count = 1 + max(0, -(-(len(wav) - length) // hop))
    padded = np.pad(wav.astype(np.float64), (0, max(0, (count - 1) * hop + length - len(wav))))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[::hop][:count]


def htk_filters(rate: int, n_fft: int, count: int) -> Float[np.ndarray, "count bins"]:
    """Triangles of height 1, evenly spaced on 2595 log10(1 + f / 700)."""
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), count + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(n_fft // 2 + 1) * rate / n_fft
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling))


def liftered(cepstra: Mfcc) -> Mfcc:
    """1 + L / 2 sin(pi k / L) times coefficient k, with L = 22."""
    order = np.arange(len(cepstra))[:, None]
    return cepstra * (1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER))


def python_speech_features(wav: Wav, rate: int, n_mfcc: int, scale: float = INT16) -> Mfcc:
    """Its defaults: no window, 26 filters, natural logarithms, lifter, and c0 replaced by the log energy."""
    signal = wav.astype(np.float64) * scale
    signal = np.append(signal[0], signal[1:] - PRE_EMPHASIS * signal[:-1])
    power = np.abs(np.fft.rfft(frames_of(signal, rate), 512)) ** 2 / 512
    mels = power @ htk_filters(rate, 512, 26).T
    tiny = np.finfo(float).eps
    cepstra = liftered(scipy.fft.dct(np.log(np.maximum(mels, tiny)), axis=1, norm="ortho").T[:n_mfcc])
    cepstra[0] = np.log(np.maximum(power.sum(axis=1), tiny))
    return cepstra


def htk(wav: Wav, rate: int, n_mfcc: int) -> Mfcc:
    """MFCC_0 of HCopy: Hamming window, magnitudes, 26 filters, natural logarithms, lifter, c0 last. (HTK Book, 5.)"""
    frames = frames_of(wav * INT16, rate)
    frames = np.concatenate([frames[:, :1] * (1 - PRE_EMPHASIS), frames[:, 1:] - PRE_EMPHASIS * frames[:, :-1]], axis=1)
    magnitude = np.abs(np.fft.rfft(frames * np.hamming(frames.shape[1]), 512))
    logs = np.log(np.maximum(magnitude @ htk_filters(rate, 512, 26).T, 1.0))
    cepstra = liftered(np.sqrt(2 / 26) * scipy.fft.dct(logs, axis=1).T[:n_mfcc] / 2)
    return np.roll(cepstra, -1, axis=0)


def kaldi(wav: Wav, rate: int, n_mfcc: int, scale: float = INT16, energy: bool = True) -> Mfcc:
    """compute-mfcc-feats: povey window, 23 filters from 20 Hz, natural logarithms, lifter, log energy for c0."""
    signal = torch.from_numpy(np.pad(wav, (0, max(0, rate * 25 // 1000 - len(wav)))) * np.float32(scale))[None]
    return torchaudio.compliance.kaldi.mfcc(
        signal.float(), sample_frequency=rate, num_ceps=n_mfcc, dither=0.0, use_energy=energy
    ).T.numpy()


def librosa_defaults(wav: Wav, rate: int, n_mfcc: int) -> Mfcc:
    """librosa.feature.mfcc(y=wav, sr=rate): 2048 samples every 512, 128 filters."""
    return librosa.feature.mfcc(y=wav, sr=rate, n_mfcc=n_mfcc)


def librosa_at_22050(wav: Wav, rate: int, n_mfcc: int) -> Mfcc:
    """librosa.load resamples unless it is told not to."""
    return librosa_defaults(librosa.resample(wav, orig_sr=rate, target_sr=22050), 22050, n_mfcc)


def torchaudio_defaults(wav: Wav, rate: int, n_mfcc: int, log_mels: bool = False) -> Mfcc:
    """torchaudio.transforms.MFCC(rate, n_mfcc): 400 samples every 200, 128 filters of HTK's scale and of height 1."""
    with warnings.catch_warnings(action="ignore"):  # that some of its own filters are empty
        return torchaudio.transforms.MFCC(rate, n_mfcc, log_mels=log_mels)(torch.from_numpy(wav)).numpy()


FRONT_ENDS: dict[str, Callable[[Wav, int, int], Mfcc]] = {
    "python_speech_features": python_speech_features,
    "HTK": htk,
    "Kaldi": kaldi,
    "librosa's defaults": librosa_defaults,
    "librosa's defaults, 22050 Hz": librosa_at_22050,
    "torchaudio's defaults": torchaudio_defaults,
    "torchaudio's defaults, log_mels=True": lambda wav, rate, n: torchaudio_defaults(wav, rate, n, log_mels=True),
}
