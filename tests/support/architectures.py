"""What hypothesis draws: small architectures, and small corpora of real sound for them to work on."""

import sys
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import settings

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings, EncoderSettings
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import (
    CLASSES,
    FeatureSettings,
    UpsamplingSettings,
    WavenetSettings,
    WindowSettings,
)
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.mulaw import decode, encode, silence
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.sources import PACKAGE
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.models.autoencoder import AutoEncoder
from mfcc_wavenet.models.base import Model
from mfcc_wavenet.models.mfcc_inverter import MfccInverter
from support.corpora import data_settings

FEATURES = FeatureSettings(
    sample_rate=16000,
    n_fft=64,
    win_length=64,
    hop_length=16,
    n_mels=4,
    n_mfcc=3,
    delta_order=1,
    delta_width=3,
    backend="librosa",
)
NO_ENCODER = EncoderSettings(channels=1, kernel_sizes=(), strides=())
BOTTLENECK = BottleneckSettings(
    kind="vqvae-ema", channels=3, codes=4, commitment=0.25, decay=0.9, normalise=True, quantise_from=0, memory=40,
    revive_below=0.1, revive_interval=3, revive_until=100, free_bits=2.0, anneal_steps=10, norm_weight=0.1,
)  # fmt: skip
PLAIN = {"prediction": "none", "prediction_order": 16, "classes": "codes", "preemphasis": 0.0}
DRAWN = {"frame_gain": 1.0, "frame_whitening": False}  # weights at frame rate as torch draws them
FOLDER = tempfile.TemporaryDirectory()  # of the corpora, until the tests are over
STRIDES = [(16,), (4, 4), (2, 8), (8, 1, 2)]  # that multiply to the hop length
SPEAKERS = ("first", "second")
LENGTHS = (150, 16, 93)  # samples: many hops, a single one, and no whole number of them
FIRST_SAMPLE = 5000  # of what is cut from the demonstration corpus: voices, not the silence before them


# Runtime type checks look at one item of a tuple, chosen at random, and hypothesis would rather choose itself.
random_type_checks = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


def examples(count: int) -> settings:
    """So many examples, the same in every run, unless pytest is given a --hypothesis-seed."""
    is_seeded = any(word.startswith("--hypothesis-seed") for word in sys.argv)
    return settings(max_examples=count, deadline=None, derandomize=not is_seeded, database=None)


@dataclass(frozen=True)
class Architecture:
    """The settings of a network, and the geometry that follows from them."""

    upsampling: UpsamplingSettings
    wavenet: WavenetSettings
    window: WindowSettings
    dilations: tuple[int, ...] | None = None  # instead of the doubling ones that the settings give
    encoder: EncoderSettings = NO_ENCODER
    bottleneck: BottleneckSettings | None = None

    @property
    def geometry(self) -> Geometry:
        geometry = Geometry.of(FEATURES, self.encoder, self.upsampling, self.wavenet)
        return geometry if self.dilations is None else replace(geometry, dilations=self.dilations)

    def model(self, seed: int = 0) -> Model:
        """The network with weights far larger than a trainer would draw: what it sees, it reacts to.

        A codebook is drawn, too.
        """
        torch.manual_seed(seed)
        decoder = (self.upsampling, self.wavenet, FEATURES.channels, len(SPEAKERS))
        if self.bottleneck is None:
            model = MfccInverter(self.geometry, *decoder)
        else:
            model = AutoEncoder(self.geometry, self.encoder, self.bottleneck, *decoder, seed)
            if self.bottleneck.has_codes:
                torch.nn.init.normal_(model.bottleneck.codebook.weight)
                model.bottleneck.ready.fill_(True)
        model.wavenet.logits.reset_parameters()  # of which those of differences would begin as zeros
        if model.upsampling.frame_mean is not None:
            model.upsampling.frame_mean.normal_()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 2
        return model.eval()


# A fixed one: it sees 15 samples, its kernels overlap, frames jitter in training, and it knows who speaks.
ARCHITECTURE = Architecture(
    UpsamplingSettings((8,), 3, strides=(4, 4), kernel_sizes=(4, 9), channels=6, jitter=0.5, **DRAWN),
    WavenetSettings(6, 8, 8, 16, 16, blocks=2, layers_per_block=3, kernel_size=2, speaker_channels=2, **PLAIN),
    WindowSettings(samples=20, batch_size=3),
)


# The same with an encoder: a latent every 32 samples from 8 frames around it.
AUTOENCODER = replace(
    ARCHITECTURE,
    encoder=EncoderSettings(channels=8, kernel_sizes=(3, 4, 1), strides=(1, 2, 1)),
    bottleneck=BOTTLENECK,
    upsampling=replace(ARCHITECTURE.upsampling, strides=(4, 8), kernel_sizes=(8, 16)),
)


# What a relu cuts is drawn wide, so that it never cuts everything.
@st.composite
def architectures(
    draw, quantization_channels=(4, 300), speaker_channels=(0, 2), jitter=0.0, predictions=("none",)
) -> Architecture:
    prediction = draw(st.sampled_from(predictions))
    strides = draw(st.sampled_from(STRIDES))
    channels = st.integers(1, 6)
    frame_channels = tuple(draw(st.lists(st.integers(6, 9), max_size=2)))
    upsampling = UpsamplingSettings(
        frame_channels=frame_channels,
        frame_kernel_size=draw(st.integers(1, 4)),
        strides=strides,
        kernel_sizes=tuple(stride + draw(st.integers(0, 9)) for stride in strides),
        channels=draw(st.integers(4, 7)),
        jitter=jitter,
        frame_gain=1.0,
        frame_whitening=frame_channels != () and draw(st.booleans()),
    )
    blocks = draw(st.integers(1, 2))
    wavenet = WavenetSettings(
        quantization_channels=draw(st.sampled_from(quantization_channels)),
        residual_channels=draw(channels),
        gate_channels=draw(channels),
        skip_channels=draw(st.integers(16, 20)),
        post_channels=draw(st.integers(16, 20)),
        blocks=blocks,
        # Two layers at least: the weights of a single one lie in memory as no others do, and numba takes half a minute
        # to compile the loops for them.
        layers_per_block=draw(st.integers(1 if blocks > 1 else 2, 3)),
        kernel_size=draw(st.integers(2, 3)),
        speaker_channels=draw(st.sampled_from(speaker_channels)),
        prediction=prediction,
        prediction_order=draw(st.integers(1, 20)) if prediction == "lpc" else 16,
        classes=draw(st.sampled_from(CLASSES if prediction == "lpc" else CLASSES[:1])),
        preemphasis=draw(st.sampled_from([0.0, 0.85])) if prediction == "lpc" else 0.0,
    )
    window = WindowSettings(samples=draw(st.integers(1, 60)), batch_size=draw(st.integers(1, 4)))
    uneven = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple)
    return Architecture(upsampling, wavenet, window, draw(st.none() | uneven))


@st.composite
def autoencoders(draw, kinds=("ae", "vae", "vqvae", "vqvae-ema")) -> Architecture:
    """With up to three layers and a latent every one to four frames."""
    architecture = draw(architectures())
    strides = draw(st.sampled_from([(1,), (2,), (1, 2), (2, 1, 2), (1, 3)]))
    encoder = EncoderSettings(
        draw(st.integers(5, 7)), tuple(stride + draw(st.integers(0, 3)) for stride in strides), strides
    )
    kind = draw(st.sampled_from(kinds))
    normalise = kind.startswith("vq") and draw(st.booleans())
    bottleneck = replace(BOTTLENECK, kind=kind, channels=draw(st.integers(2, 4)), normalise=normalise)
    upsampling = architecture.upsampling
    factors = [*(stride for stride in strides if stride > 1), *upsampling.strides]
    upsampling = replace(
        upsampling, strides=tuple(factors), frame_whitening=False,
        kernel_sizes=tuple(factor + draw(st.integers(0, 9)) for factor in factors),
    )  # fmt: skip
    return replace(architecture, upsampling=upsampling, encoder=encoder, bottleneck=bottleneck)


@cache
def corpus(quantization_channels: int = 300, lengths: tuple[int, ...] = LENGTHS) -> Corpus:
    """Utterances of so many samples, cut from the demonstration corpus, the speakers taking turns."""
    audio, rate = soundfile.read(PACKAGE / "demo" / "01_lighthouse.flac", dtype="float32")
    folder = Path(tempfile.mkdtemp(dir=FOLDER.name))
    starts = FIRST_SAMPLE + np.cumsum([0, *lengths])
    rows = []
    for number, (start, stop) in enumerate(pairwise(starts)):
        soundfile.write(folder / f"{number}.wav", audio[start:stop], rate)
        rows.append(f"{SPEAKERS[number % len(SPEAKERS)]}\t{number}.wav")
    (folder / "manifest.tsv").write_text("\n".join(rows))
    return prepare(data_settings(folder, folder / "manifest.tsv"), FEATURES, quantization_channels)


def windows(architecture: Architecture, seed: int = 0, lengths: tuple[int, ...] = LENGTHS) -> Windows:
    sound = corpus(architecture.wavenet.quantization_channels, lengths)
    linear_prediction = linear_predictor(architecture, lengths)
    return Windows(
        sound, architecture.geometry, architecture.window, sound.statistics, SPEAKERS, seed, linear_prediction
    )


def linear_predictor(architecture: Architecture, lengths: tuple[int, ...] = LENGTHS) -> LinearPrediction | None:
    sound = corpus(architecture.wavenet.quantization_channels, lengths)
    return LinearPrediction.of(FEATURES, architecture.wavenet, sound.statistics)


@torch.no_grad()
def whole_utterance(
    model: Model,
    codes: np.ndarray,
    frames: np.ndarray,
    speaker: int,
    linear_prediction: LinearPrediction | None = None,
    moved: int = 0,
) -> torch.Tensor:
    """Logits (N, Q) of every sample of an utterance, with no windows and no cache: the definition.

    codes: (N,), of which the last is not looked at; frames: (F, K), normalised. Codes and latents go on beyond
    their ends as they are defined to: silence before the first sample, the edge latents for ever. moved: latents that
    each of them stands after its own place, those at the end at the beginning.
    """
    unpadded = frames
    geometry = model.geometry
    before = np.full(geometry.receptive_field, silence(model.wavenet.embedding.num_embeddings))
    past = torch.from_numpy(np.concatenate([before, codes[:-1]]).astype(np.int64))[None]
    more = geometry.receptive_field + 40  # frames: more than any of these networks reaches beyond an end
    dtype = next(model.parameters()).dtype
    latents = model.encode(torch.from_numpy(frames)[None].to(dtype))[0].numpy()
    latents = np.roll(latents, moved, axis=0)
    latents = torch.from_numpy(np.pad(latents, ((more, more), (0, 0)), mode="edge"))[None]
    first = 1 - geometry.receptive_field  # the position that reads the first of these codes: the one after it
    offset = first - geometry.upsampled_span((-more, latents.shape[1] - more))[0]
    predicted = None
    if linear_prediction:
        time = np.arange(first, len(codes))
        predicted = torch.from_numpy(linear_predictions(linear_prediction, geometry, codes, unpadded, time))[None]
    return model(past, latents, torch.tensor([offset]), torch.tensor([speaker]), predicted)[0]


def linear_predictions(
    linear_prediction: LinearPrediction, geometry: Geometry, codes: np.ndarray, frames: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """The code of p_t at each of these times, in plain numpy, from all codes and normalised frames of an utterance."""
    quantization_channels = len(linear_prediction.levels)
    before = np.full(linear_prediction.order - min(time[0], 0), silence(quantization_channels))
    amplitudes = decode(np.concatenate([before, codes]), quantization_channels).astype(np.float64)
    predicted = []
    for t in time:
        nearest = np.clip(-(-(2 * t - geometry.hop_length) // (2 * geometry.hop_length)), 0, len(frames) - 1)
        (a,) = linear_prediction.coefficients(frames[nearest][None])
        p = 0.0
        for lag, weight in enumerate(a, start=1):
            p += weight * amplitudes[len(before) + t - lag]
        predicted.append(encode(np.array([p]), quantization_channels)[0])
    return np.array(predicted, np.int64)
