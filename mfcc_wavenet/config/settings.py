"""Every setting the project knows, as frozen dataclasses: one per Hydra group in conf/.

They are plain values. conf/*.yaml holds the defaults and says what each one is good for; here are
types, units and nothing else, so that no default is written twice.
"""

from dataclasses import dataclass


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

    @property
    def channels(self) -> int:
        """Numbers per frame: the MFCCs and their deltas."""
        return self.n_mfcc * (1 + self.delta_order)


@dataclass(frozen=True)
class TrackingSettings:
    """Where a run is logged to."""

    mode: str  # "auto", "online", "offline" or "disabled"
    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    dir: str  # the folder that holds the wandb directory, shared by all runs
    timeout: float  # seconds to wait for the server before the run goes on offline


@dataclass(frozen=True)
class UpsamplingSettings:
    """From frames to one conditioning vector per sample."""

    frame_channels: tuple[int, ...]  # widths of the convolutions at frame rate; none: the frames as they are
    frame_kernel_size: int  # frames that each of them sees
    strides: tuple[int, ...]  # of the transposed convolutions; they multiply to hop_length
    kernel_sizes: tuple[int, ...]
    channels: int  # of every transposed convolution, and so of the conditioning
    jitter: float  # probability that a frame is replaced by a neighbour while training


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
    speaker_channels: int  # of the speaker embedding; 0: the network is not told who speaks


@dataclass(frozen=True)
class WindowSettings:
    """What one training step predicts."""

    samples: int  # predictions in a window
    batch_size: int  # windows in a step


@dataclass(frozen=True)
class DataSettings:
    """The audio to train on."""

    root: tuple[str, ...]  # one folder, one catalog (speaker TAB path) or any number of audio files
    seconds: float | None  # only the first so many seconds of it; null: all
    prepared: str  # the folder for prepared corpora


@dataclass(frozen=True)
class OptimSettings:
    """How the weights move."""

    optimizer: str  # "adam" or "adamw"
    learning_rate: float  # the peak
    betas: tuple[float, float]
    weight_decay: float
    schedule: str  # "constant", "linear", "cosine" or "step"
    warmup_steps: int  # of a linear rise from 0, before any schedule
    decay_steps: int  # the step at which linear and cosine have reached the floor
    floor: float  # that floor, as a share of the peak
    milestones: tuple[int, ...]  # "step" alone: the steps at which the rate changes ...
    milestone_factors: tuple[float, ...]  # ... and its share of the peak from each of them on
    clip_grad_norm: float | None  # null: gradients are not clipped
    ema_decay: float  # of the averaged weights that are evaluated; 0: the weights themselves are


@dataclass(frozen=True)
class TrainSettings:
    """When training looks at itself, saves and ends. An interval of 0 never comes."""

    seed: int  # of weights, windows and jitter
    steps: int  # at most
    stop_at_zero: bool  # end as soon as a whole pass finds no wrong sample
    log_interval: int  # steps between two rows of metrics
    gradient_metrics: bool  # mfcc_grad_* and update_ratio_*, at every logged step
    evaluate_interval: int  # steps between two teacher-forced passes over everything
    evaluate_below: float  # such a pass is worth its time once training's error is below this
    sample_interval: int  # steps between two audio samples
    sample_utterances: int  # utterances, from the first on, that are generated then
    sample_seconds: float  # at most, of each of them
    checkpoint_interval: int  # steps
    workers: int  # processes that prepare batches; 0: the main one does
    threads: int  # of torch; 0: as many as torch takes by itself
    device: str  # "auto", "cpu", "cuda", ...
    most_bad_steps: int  # non-finite steps in a row that are skipped before training gives up


@dataclass(frozen=True)
class Settings:
    """All that defines a run, one field per group of conf/. This is what a checkpoint holds."""

    data: DataSettings
    features: FeatureSettings
    upsampling: UpsamplingSettings
    wavenet: WavenetSettings
    window: WindowSettings
    optim: OptimSettings
    train: TrainSettings
    tracking: TrackingSettings


@dataclass(frozen=True)
class Command:
    """What to do, and with which files: the values at the top of conf/config.yaml, which define no run."""

    mode: str  # "train", "evaluate", "generate" or "pin"
    checkpoint: str | None
    name: str | None
    runs: str
    restart: bool
    input: str | None
    output: str | None
    speaker: str | None
    temperature: float
    top_k: int
    sampling_seed: int
