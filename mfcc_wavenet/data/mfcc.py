"""What conditions the WaveNet: MFCCs, their deltas and delta-deltas.

librosa defines the numbers. A batched torchaudio twin computes the same ones for utterances of one
length at once, on whatever device they are; the tests hold the two together.

Frame f is centred on sample f * hop_length, and beyond both ends there is digital silence, so an
utterance of N samples has 1 + N // hop_length frames. All values are in dB, as librosa's MFCCs
are: cosine transforms of decibels, and their change per frame.
"""

import warnings
from functools import lru_cache

import numpy as np
import torch
import torchaudio
from jaxtyping import Float, Float32, Float64

from mfcc_wavenet import librosa
from mfcc_wavenet.config.settings import FeatureSettings

Wav = Float[np.ndarray, " samples"]
Frames = Float32[np.ndarray, "channels frames"]


def features(wav: Wav, settings: FeatureSettings) -> Frames:
    """The conditioning of one whole utterance, by the backend that the settings name.

    wav is (samples,), at least one; the result is (channels, 1 + samples // hop_length), in dB:
    the MFCCs, then their deltas, then their delta-deltas, as far as delta_order goes.
    """
    if settings.backend == "torchaudio":
        # torch.tensor copies: a memory-mapped wav may be read-only, which torch cannot express.
        return batched_features(torch.tensor(wav)[None], settings)[0].cpu().numpy()
    return add_deltas(mfcc(wav, settings), settings)


def mfcc(wav: Wav, settings: FeatureSettings) -> Float32[np.ndarray, "n_mfcc frames"]:
    """MFCCs of one whole utterance as librosa defines them; (samples,) to (n_mfcc, frames), in dB.

    Hann window, power spectrum, Slaney's mel filters of equal area, decibels relative to 1 and cut
    off 80 dB below the loudest value of the utterance, orthonormal DCT-II. (Davis and Mermelstein,
    1980; the filters are those of Slaney's Auditory Toolbox, 1998.)

    Computed in float64 and rounded once, so that another processor, whose sums differ in their last bits, gets the same
    float32 numbers. librosa's own float32 is off by up to 1e-4 dB, differently on each.
    """
    with warnings.catch_warnings():
        # An utterance shorter than n_fft is legal: beyond its ends is silence, by definition.
        warnings.filterwarnings("ignore", message="n_fft=.* is too large")
        with librosa.one_thread():
            in_decibels = librosa.feature.mfcc(
                y=wav.astype(np.float64, copy=False),
                sr=settings.sample_rate,
                n_mfcc=settings.n_mfcc,
                n_fft=settings.n_fft,
                win_length=settings.win_length,
                hop_length=settings.hop_length,
                n_mels=settings.n_mels,
            )
    return in_decibels.astype(np.float32)


def add_deltas(mfcc: Float32[np.ndarray, "n_mfcc frames"], settings: FeatureSettings) -> Frames:
    """MFCCs with their derivatives in time below them: (n_mfcc, frames) to (channels, frames).

    The derivative of order k, in dB per frame**k, is that of the polynomial of degree k that fits
    delta_width frames best. (Savitzky and Golay, 1964.)
    """
    # Beyond the ends the first and last frames are repeated ("nearest"): that is defined for utterances of
    # any length and never looks further ahead than (delta_width - 1) / 2 frames. librosa's default
    # fits a polynomial to the ends, which takes delta_width frames and looks at all of them.
    width, orders = settings.delta_width, range(1, settings.delta_order + 1)
    deltas = [librosa.feature.delta(mfcc, width=width, order=k, mode="nearest") for k in orders]
    return np.concatenate([mfcc, *deltas])


def mfcc_to_envelope(settings: FeatureSettings) -> Float64[np.ndarray, "bins n_mfcc"]:
    """MFCCs to the decibels of the mel filters, as far as they tell, and on to every bin of the spectrum.

    The inverse of the orthonormal DCT-II, whose missing coefficients are zeros; then straight lines between the centres
    of the filters, and beyond the first and last of them what these have.
    """
    mels = np.arange(settings.n_mels)[:, None]
    cepstrum = np.arange(settings.n_mfcc)
    cosines = np.cos(np.pi * cepstrum * (2 * mels + 1) / (2 * settings.n_mels)) * np.sqrt(2 / settings.n_mels)
    cosines[:, 0] = np.sqrt(1 / settings.n_mels)
    bins = librosa.fft_frequencies(sr=settings.sample_rate, n_fft=settings.n_fft)
    centres = librosa.mel_frequencies(settings.n_mels + 2, fmax=settings.sample_rate / 2)[1:-1]
    return np.stack([np.interp(bins, centres, of_mels) for of_mels in cosines.T], axis=1)


def batched_features(
    wavs: Float[torch.Tensor, "batch samples"], settings: FeatureSettings
) -> Float32[torch.Tensor, "batch channels frames"]:
    """`features` of many utterances of one length, on their device.

    (B, samples) to (B, channels, 1 + samples // hop_length), in dB; each utterance is treated as
    if it were alone. Differentiable with respect to wavs. It computes in float64, so that it
    stays with librosa whatever this process or cuDNN has decided about TF32, which would be off
    by half a decibel in a coefficient of 1000 dB. At odd sample rates (11025 Hz) torchaudio's
    filters reach to half the rate rounded down, and the two differ by up to 0.15 dB.
    """
    # torchaudio cuts off 80 dB below the loudest value among the channels of each item; without
    # the channel axis the whole batch would be one item, cut off by its loudest utterance.
    transform = _torchaudio_mfcc(settings, wavs.device)
    mfccs = transform(wavs.double().unsqueeze(1)).squeeze(1)  # (B, n_mfcc, frames)
    orders = range(1, settings.delta_order + 1)
    deltas = [_delta(mfccs, settings.delta_width, k) for k in orders]
    return torch.cat([mfccs, *deltas], dim=1).float()


@lru_cache
def _torchaudio_mfcc(settings: FeatureSettings, device: torch.device) -> torchaudio.transforms.MFCC:
    # If the first caller is in inference mode, the cached filters must still allow gradients.
    with torch.inference_mode(False):
        return torchaudio.transforms.MFCC(
            sample_rate=settings.sample_rate,
            n_mfcc=settings.n_mfcc,
            melkwargs={
                "n_fft": settings.n_fft,
                "win_length": settings.win_length,
                "hop_length": settings.hop_length,
                "n_mels": settings.n_mels,
                "pad_mode": "constant",
                "mel_scale": "slaney",
                "norm": "slaney",
            },
        ).to(device, torch.float64)


def _delta(frames: torch.Tensor, width: int, order: int) -> torch.Tensor:
    from scipy.signal import savgol_coeffs  # takes a second, which commands that compute no deltas need not wait for

    kernel = frames.new_tensor(savgol_coeffs(width, polyorder=order, deriv=order, use="dot"))
    padded = torch.nn.functional.pad(frames, (width // 2, width // 2), mode="replicate")
    return padded.unfold(-1, width, 1) @ kernel  # (B, n_mfcc, frames, width) @ (width,)
