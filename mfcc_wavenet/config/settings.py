"""Every setting the project knows, as frozen dataclasses: one per Hydra group in conf/.

Those of the groups encoder and bottleneck are in autoencoder_settings.py, and those of optim and train in
training_settings.py. They are plain values: conf/*.yaml holds the defaults and says what each one is good for; here are
types, units and what a group can refuse by itself, with one UserError sentence when it is built. What groups must agree
on is checked in geometry.py where it concerns a model, else in Settings.
"""

import math
from dataclasses import dataclass

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings, EncoderSettings
from mfcc_wavenet.config.errors import UserError, at_least, at_most, one_of
from mfcc_wavenet.config.training_settings import MAX_PROCESSES, OptimSettings, TrainSettings

CORPORA = ("librispeech", "libritts", "ljspeech", "vctk", "cmu_arctic")
BACKENDS = ("librosa", "torchaudio")
DELTA_ORDERS = (0, 1, 2)
TRACKING_MODES = ("auto", "online", "offline", "disabled")
MAX_CHARACTERS = {"project": 128, "entity": 128, "group": 128, "tags": 64}  # of each in W&B
NOT_IN_A_PROJECT = "/\\#?%:"  # characters, by W&B's rule
QUANTIZATION_CHANNELS = range(2, 2**16 + 1)  # of mu-law, whose codes are stored in 8 or 16 bits
MAX_LAYERS_PER_BLOCK = 20  # the dilation doubles with each
MAX_LAYERS = 1000  # in all blocks
MAX_FFT = 2**16  # samples, also of a window and of a hop
MAX_SAMPLE_RATE = 768_000  # Hz
MAX_DELTA_WIDTH = 999  # frames
PREDICTIONS = ("none", "lpc")
CLASSES = ("codes", "differences", "both")
MAX_PREDICTION_ORDER = 64
SPLIT_BY = ("utterance", "speaker", "subset")
TRAIN, VALID, TEST = PARTS = ("train", "valid", "test")  # of a corpus
PART_OF_SUBSET = {"train": TRAIN, "dev": VALID, "test": TEST}  # by the first word of its name
# Slaney's mel scale (Auditory Toolbox, 1998), as librosa has it: linear up to 1 kHz, logarithmic above.
LINEAR_HZ_PER_MEL = 200 / 3
FIRST_LOG_HZ, FIRST_LOG_MEL = 1000.0, 15.0
LOG_STEP = math.log(6.4) / 27


@dataclass(frozen=True)
class FeatureSettings:
    """How MFCCs are computed; the words are librosa's."""

    sample_rate: int  # Hz
    n_fft: int  # samples
    win_length: int  # samples
    hop_length: int  # samples from one frame to the next
    n_mels: int
    n_mfcc: int
    delta_order: int  # 0: MFCCs alone, 1: with deltas, 2: with delta-deltas
    delta_width: int  # frames that a delta looks at (odd, at least 3)
    backend: str  # "librosa" (the definition) or "torchaudio" (the batched twin)

    def __post_init__(self):
        for name in ("sample_rate", "n_fft", "win_length", "hop_length", "n_mels", "n_mfcc"):
            at_least(1, "features", name, getattr(self, name))
        for name in ("n_fft", "win_length", "hop_length", "n_mels"):
            at_most(MAX_FFT, "features", name, getattr(self, name))
        at_most(MAX_SAMPLE_RATE, "features", "sample_rate", self.sample_rate)
        at_most(MAX_DELTA_WIDTH, "features", "delta_width", self.delta_width)
        if self.n_fft % 2:
            # Centring pads n_fft // 2 on each side: an odd n_fft loses a frame at multiples of the hop.
            raise UserError(f"features.n_fft is {self.n_fft}; it must be even, for example {self.n_fft + 1}.")
        if self.win_length > self.n_fft:
            raise UserError(f"features.win_length is {self.win_length}; it cannot exceed features.n_fft, {self.n_fft}.")
        if self.n_mfcc > self.n_mels:
            raise UserError(f"features.n_mfcc is {self.n_mfcc}; it cannot exceed features.n_mels, {self.n_mels}.")
        one_of(DELTA_ORDERS, "features", "delta_order", self.delta_order)
        if self.delta_width < 3 or self.delta_width % 2 == 0:
            raise UserError(f"features.delta_width is {self.delta_width}; it must be an odd number, at least 3.")
        one_of(BACKENDS, "features", "backend", self.backend)
        # A mel filter between two bins of the spectrum is always 0. The lowest filter starts at 0 Hz and is the
        # narrowest, so if it holds a bin, they all do.
        narrowest = _mel_to_hz(2 * _hz_to_mel(self.sample_rate / 2) / (self.n_mels + 1))
        spacing = self.sample_rate / self.n_fft
        if narrowest <= spacing:
            raise UserError(
                f"features.n_mels is {self.n_mels}, so the narrowest mel filter is {narrowest:.1f} Hz wide, but with "
                f"features.n_fft {self.n_fft} there is one value every {spacing:.1f} Hz: "
                "take fewer mels or a larger n_fft."
            )

    @property
    def channels(self) -> int:
        """Numbers per frame: the MFCCs and their deltas."""
        return self.n_mfcc * (1 + self.delta_order)


def _hz_to_mel(hz: float) -> float:
    if hz < FIRST_LOG_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return FIRST_LOG_MEL + math.log(hz / FIRST_LOG_HZ) / LOG_STEP


def _mel_to_hz(mel: float) -> float:
    if mel < FIRST_LOG_MEL:
        return mel * LINEAR_HZ_PER_MEL
    return FIRST_LOG_HZ * math.exp((mel - FIRST_LOG_MEL) * LOG_STEP)


@dataclass(frozen=True)
class TrackingSettings:
    """Where a run is logged to. Where a value is null, and where there are no tags, W&B's own settings count."""

    mode: str  # "auto", "online", "offline" or "disabled"
    project: str | None
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    dir: str | None  # the folder that holds the wandb directory, shared by all runs
    timeout: float  # seconds to wait for the server before the run continues offline

    def __post_init__(self):
        one_of(TRACKING_MODES, "tracking", "mode", self.mode)
        for name, most in MAX_CHARACTERS.items():
            for text in self.tags if name == "tags" else filter(None, [getattr(self, name)]):
                if not 1 <= len(text) <= most:
                    raise UserError(
                        f"tracking.{name}={text[:20]}...: it has {len(text)} characters; W&B takes 1 to {most}."
                    )
        if set(self.project or "") & set(NOT_IN_A_PROJECT):
            raise UserError(
                f"tracking.project={self.project}: W&B takes none of {' '.join(NOT_IN_A_PROJECT)} in the name of a "
                "project; tracking.entity=... says whose it is."
            )


@dataclass(frozen=True)
class UpsamplingSettings:
    """From frames to one conditioning vector per sample."""

    frame_channels: tuple[int, ...]  # widths of the convolutions at frame rate; none: the frames as they are
    frame_kernel_size: int  # frames that each of them sees
    strides: tuple[int, ...]  # of the transposed convolutions; they multiply to hop_length
    kernel_sizes: tuple[int, ...]
    channels: int  # of every transposed convolution, and so of the conditioning
    jitter: float  # probability that a frame is replaced by a neighbour while training
    frame_gain: float  # of the convolutions at frame rate: their weights when training begins, over torch's
    frame_whitening: bool  # the first of them begins by whitening the frames, and what the last one gives is centred

    def __post_init__(self):
        at_least(1, "upsampling", "channels", self.channels)
        at_least(1, "upsampling", "frame_kernel_size", self.frame_kernel_size)
        if min(self.frame_channels, default=1) < 1:
            raise UserError(f"upsampling.frame_channels is {list(self.frame_channels)}; it takes numbers from 1 on.")
        if not self.strides or min(self.strides) < 1:
            raise UserError(f"upsampling.strides is {list(self.strides)}; it takes one or more numbers from 1 on.")
        if len(self.strides) != len(self.kernel_sizes):
            raise UserError(
                f"upsampling.strides has {len(self.strides)} entries and upsampling.kernel_sizes "
                f"{len(self.kernel_sizes)}; every stride needs its kernel size."
            )
        for stride, kernel_size in zip(self.strides, self.kernel_sizes):
            if stride > kernel_size:
                raise UserError(
                    f"upsampling.kernel_sizes has {kernel_size} for the stride {stride}; a kernel shorter "
                    "than its stride leaves samples without any frame."
                )
        if self.frame_gain == 0:
            raise UserError("upsampling.frame_gain is 0; it must be above 0, or all frames would be the same.")
        if self.frame_whitening and not self.frame_channels:
            raise UserError(
                "upsampling.frame_whitening is true, but upsampling.frame_channels is [], so no weights would whiten."
            )
        if self.jitter > 1:
            raise UserError(f"upsampling.jitter is {self.jitter}; it is a probability, at most 1.")


@dataclass(frozen=True)
class WavenetSettings:
    """The network over the codes."""

    quantization_channels: int  # mu-law levels, 2 to 65536
    residual_channels: int
    gate_channels: int
    skip_channels: int
    post_channels: int
    blocks: int
    layers_per_block: int  # dilations 1, 2, 4, ... 2 ** (layers_per_block - 1)
    kernel_size: int  # taps of a dilated layer
    speaker_channels: int  # of the speaker embedding; 0: the speaker does not condition the network
    prediction: str  # "none", or "lpc": the network also gets each sample's linear prediction, from MFCCs and the past
    prediction_order: int  # samples that it is a weighted sum of
    classes: str  # whose logits the network computes: "codes", "differences" from the predicted code, or "both", summed
    preemphasis: float  # of the audio before mu-law, x_t - preemphasis * x_(t-1), which decoding undoes; 0: none

    def __post_init__(self):
        if self.quantization_channels not in QUANTIZATION_CHANNELS:
            raise UserError(
                f"wavenet.quantization_channels is {self.quantization_channels}; it must be "
                f"{QUANTIZATION_CHANNELS[0]} to {QUANTIZATION_CHANNELS[-1]}."
            )
        if self.preemphasis >= 1:
            raise UserError(
                f"wavenet.preemphasis is {self.preemphasis}; it must be below 1, or it could not be undone."
            )
        for name in ("residual_channels", "gate_channels", "skip_channels", "post_channels"):
            at_least(1, "wavenet", name, getattr(self, name))
        for name in ("blocks", "layers_per_block"):
            at_least(1, "wavenet", name, getattr(self, name))
        at_least(2, "wavenet", "kernel_size", self.kernel_size)
        one_of(PREDICTIONS, "wavenet", "prediction", self.prediction)
        at_least(1, "wavenet", "prediction_order", self.prediction_order)
        at_most(MAX_PREDICTION_ORDER, "wavenet", "prediction_order", self.prediction_order)
        one_of(CLASSES, "wavenet", "classes", self.classes)
        if self.classes != "codes" and self.prediction == "none":
            raise UserError(
                f"wavenet.classes is {self.classes}, but wavenet.prediction is none, so there is nothing to differ "
                "from; wavenet.prediction=lpc predicts."
            )
        if self.layers_per_block > MAX_LAYERS_PER_BLOCK:
            raise UserError(
                f"wavenet.layers_per_block is {self.layers_per_block}; it must be at most {MAX_LAYERS_PER_BLOCK}, "
                f"whose last dilation is {2 ** (MAX_LAYERS_PER_BLOCK - 1):,} samples."
            )
        if self.blocks * self.layers_per_block > MAX_LAYERS:
            raise UserError(
                f"wavenet.blocks is {self.blocks} and wavenet.layers_per_block {self.layers_per_block}; "
                f"together they may make {MAX_LAYERS} layers."
            )

    @property
    def coding(self) -> tuple[int, float]:
        """How amplitudes become codes: quantization_channels and preemphasis, as data/mulaw.py takes them."""
        return self.quantization_channels, self.preemphasis


@dataclass(frozen=True)
class WindowSettings:
    """What one training step predicts."""

    samples: int  # predictions in a window
    batch_size: int  # windows in a step

    def __post_init__(self):
        at_least(1, "window", "samples", self.samples)
        at_least(1, "window", "batch_size", self.batch_size)


@dataclass(frozen=True)
class DataSettings:
    """The audio, and which parts of it are held out of training."""

    root: tuple[str, ...]  # one folder, one manifest (speaker TAB path) or any number of audio files
    seconds: float | None  # only this much of it, from its start; null: all
    prepared: str  # the folder for prepared corpora
    corpus: str | None  # the known one that lies in root, of CORPORA; null: root is as above
    subsets: tuple[str, ...] | None  # of a corpus that has some, by its own names; null: all that are there
    workers: int | None  # processes that prepare one; null: as many as there are cores
    valid: float  # fraction held out for validation
    test: float  # fraction held out for tests
    split_by: str  # "utterance" or "speaker": what is in one part as a whole; "subset": as the corpus's own names say
    split_seed: int

    def __post_init__(self):
        if self.corpus is None and self.subsets is not None:
            raise UserError(
                f"data.subsets is {list(self.subsets)}, but data.corpus is null; subsets are those of a known corpus, "
                f"data={' or data='.join(CORPORA)}."
            )
        if self.corpus is not None:
            one_of(CORPORA, "data", "corpus", self.corpus)
            if len(self.root) != 1:
                raise UserError(
                    f"data.root names {len(self.root)} files or folders, but data.corpus is {self.corpus}, which lies "
                    "in one folder."
                )
        if self.subsets is not None and not self.subsets:
            raise UserError("data.subsets is []; it takes one or more names, or null for all subsets that are there.")
        one_of(SPLIT_BY, "data", "split_by", self.split_by)
        if self.workers is not None:
            at_least(1, "data", "workers", self.workers)
            at_most(MAX_PROCESSES, "data", "workers", self.workers)
        if self.split_by == "subset" and (self.valid or self.test):
            raise UserError(
                "data.split_by=subset: the corpus says what is held out; data.valid and data.test must be 0."
            )
        if self.split_by == "subset" and not all(part_of_subset(subset) for subset in self.subsets or [""]):
            raise UserError(
                "data.split_by=subset takes data.subsets whose names begin with train-, dev- or test-, as "
                "data=librispeech and data=libritts have them: data.subsets=[train-clean-100,dev-clean]."
            )
        if self.valid + self.test >= 1:
            raise UserError(
                f"data.valid is {self.valid} and data.test {self.test}; together they must be less than 1, so that "
                "something is left to train on."
            )

    @property
    def held_out(self) -> tuple[str, ...]:
        """Of PARTS, those that are meant not to be trained on."""
        named = {part_of_subset(subset) for subset in self.subsets or () if self.split_by == "subset"}
        return tuple(part for part in (VALID, TEST) if part in named or getattr(self, part))


def part_of_subset(name: str) -> str | None:
    """Of PARTS, the one that a corpus means by a subset of this name, as train-clean-100; None: none."""
    return PART_OF_SUBSET.get(name.partition("-")[0])


@dataclass(frozen=True)
class Settings:
    """All that defines a run, one field per group of conf/. This is what a checkpoint holds."""

    data: DataSettings
    features: FeatureSettings
    encoder: EncoderSettings
    bottleneck: BottleneckSettings
    upsampling: UpsamplingSettings
    wavenet: WavenetSettings
    window: WindowSettings
    optim: OptimSettings
    train: TrainSettings
    tracking: TrackingSettings

    def __post_init__(self):
        if self.train.accumulation > self.window.batch_size:
            raise UserError(
                f"train.accumulation is {self.train.accumulation}, but window.batch_size is {self.window.batch_size}; "
                "each part of a step needs a window, so it must be at most that."
            )
        if self.train.validate_interval and VALID not in self.data.held_out:
            raise UserError(
                f"train.validate_interval is {self.train.validate_interval}, but data.valid is 0, so nothing is held "
                "out for validation; data.valid=0.05 would hold out a twentieth."
            )
        if self.data.split_by != "utterance" and self.data.held_out and self.wavenet.speaker_channels:
            raise UserError(
                f"data.split_by={self.data.split_by} holds out speakers, but a network that is conditioned on the "
                f"speaker (wavenet.speaker_channels={self.wavenet.speaker_channels}) knows only those that it was "
                "trained on; data.split_by=utterance or wavenet.speaker_channels=0 would work."
            )
        bottleneck = self.bottleneck
        if bottleneck.kind == "none" and self.encoder.strides:
            raise UserError(
                f"encoder.strides is {list(self.encoder.strides)}, but bottleneck.kind is none: an encoder needs a "
                "bottleneck, as in bottleneck=vqvae_ema64; encoder=none does without both."
            )
        if bottleneck.kind != "none" and not self.encoder.strides:
            raise UserError(
                f"bottleneck.kind is {bottleneck.kind}, but encoder.strides is []: a bottleneck needs an encoder, as "
                "in encoder=channels128; bottleneck=none does without both."
            )
        if bottleneck.has_codes and bottleneck.quantise_from >= self.train.steps:
            raise UserError(
                f"bottleneck.quantise_from is {bottleneck.quantise_from}, but train.steps is {self.train.steps}, so "
                "nothing would ever be quantised; an earlier step or a longer training would work."
            )
