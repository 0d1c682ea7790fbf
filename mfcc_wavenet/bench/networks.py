"""The networks whose training is measured: settings of the experiments, and the arithmetic of a prediction."""

from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import torch

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.parse import GROUPS, parse
from mfcc_wavenet.config.settings import Settings, WindowSettings
from mfcc_wavenet.config.size import gate_matrix, training_bytes
from mfcc_wavenet.training.computing.network_pass import device_memory, pick_precision

CONF = Path(__file__).parents[2] / "conf"
MEASURED = ("baseline_adam", "baseline_adam_x2", "a39d")  # unless others are asked for
TINY = (
    "upsampling.frame_channels=[8]", "upsampling.channels=4", "wavenet.residual_channels=8", "wavenet.gate_channels=8",
    "wavenet.skip_channels=8", "wavenet.post_channels=8", "wavenet.layers_per_block=3", "window.samples=100",
)  # fmt: skip
NETWORKS = {  # what is set on the command line of run.py, and by how much every width is multiplied
    "baseline_adam": (("experiment=baseline_adam",), 1),
    "baseline_adam_x2": (("experiment=baseline_adam",), 2),
    "a39d": (("experiment=a39d",), 1),
    "tiny": (("experiment=baseline_adam", *TINY), 1),  # to try the benchmark out
}
CPU_SAMPLES = 5000  # predicted in a step, at most: a39d's 320,000 take minutes
JOINED = 4  # windows that are one in the longer windows of a GPU
NUMBERS_KEPT = 2  # by torch, for each that training_bytes counts
FORWARD_AND_BACKWARD = 6  # operations per weight and sample: a multiply-add, and two more for the two gradients


@dataclass(frozen=True)
class Case:
    """What is measured: a network, its windows, and where."""

    network: str
    settings: Settings
    threads: int | None  # of the CPU; None: a GPU

    @property
    def samples(self) -> int:
        """Predicted in a step."""
        return self.settings.window.samples * self.settings.window.batch_size

    @property
    def flops(self) -> int:
        """Arithmetic per predicted sample, where no position is computed twice."""
        return FORWARD_AND_BACKWARD * matrix_weights(self.settings)


def cases(networks: list[str], threads: list[int] | None, prepared: Path) -> list[Case]:
    """Of each network: one per number of threads, or, where threads is None, its windows and longer ones on a GPU.

    prepared: the folder for prepared corpora. UserError for a network that there is not.
    """
    unknown = [name for name in networks if name not in NETWORKS]
    if unknown:
        raise UserError(f"--networks={unknown[0]}: there is no such network; there are {', '.join(NETWORKS)}.")
    found = []
    for name in networks:
        if threads is None:
            settings = composed(name, prepared, "train.device=cuda")
            found += [Case(name, replace(settings, window=window), None) for window in _on_a_gpu(settings)]
            continue
        for count in threads:
            overrides = ("train.device=cpu", f"train.threads={count}", "train.workers=0", "train.compile=false")
            settings = composed(name, prepared, *overrides, "train.precision=float32")
            window = settings.window
            batch_size = max(1, min(window.batch_size, CPU_SAMPLES // window.samples))
            found.append(Case(name, replace(settings, window=replace(window, batch_size=batch_size)), count))
    return found


def composed(name: str, prepared: Path, *overrides: str) -> Settings:
    """The settings of one of NETWORKS, as Hydra composes them; UserError without conf/, as where this is installed.

    All of the demonstration corpus, no linear prediction, no metrics of gradients.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    if not CONF.is_dir():
        raise UserError(
            f"The networks that are measured are those of {CONF}, which is not there: clone the repository."
        )
    of_network, factor = NETWORKS[name]
    experiments.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(
            "config",
            [
                *of_network, "data.root=package:demo", "data.seconds=null", "wavenet.prediction=none",
                "wavenet.classes=codes", "train.gradient_metrics=false", *overrides,
            ],
        )  # fmt: skip
    plain = OmegaConf.to_container(config, resolve=True)
    settings = parse({group: plain[group] for group in GROUPS})
    return widened(replace(settings, data=replace(settings.data, prepared=str(prepared))), factor)


def widened(settings: Settings, factor: int) -> Settings:
    """Every width of the network multiplied by a factor; codes, kernels and dilations stay."""
    upsampling, wavenet = settings.upsampling, settings.wavenet
    names = ("residual_channels", "gate_channels", "skip_channels", "post_channels", "speaker_channels")
    widths = {name: factor * getattr(wavenet, name) for name in names}
    frame_channels = tuple(factor * width for width in upsampling.frame_channels)
    wider = replace(upsampling, frame_channels=frame_channels, channels=factor * upsampling.channels)
    return replace(settings, upsampling=wider, wavenet=replace(wavenet, **widths))


def matrix_weights(settings: Settings) -> int:
    """Weights of the WaveNet's matrix products: each is multiplied once to predict a sample.

    Neither the embedding, which is looked up, nor biases, nor the upsampling, most of which is done once per frame.
    """
    wavenet = settings.wavenet
    layers, (rows, columns) = wavenet.blocks * wavenet.layers_per_block, gate_matrix(settings)
    residuals = (layers - 1) * wavenet.gate_channels * wavenet.residual_channels
    skip = layers * wavenet.gate_channels * wavenet.skip_channels
    head = (wavenet.skip_channels + wavenet.quantization_channels) * wavenet.post_channels
    return layers * columns * rows + residuals + skip + head


def _on_a_gpu(settings: Settings) -> list[WindowSettings]:
    """As many windows as the memory holds, and the same number of samples in longer windows."""
    device = torch.device("cuda")
    number_bytes = pick_precision(settings.train.precision, device).itemsize
    geometry = Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)
    window = settings.window
    while window.batch_size > 1:
        needed = NUMBERS_KEPT * training_bytes(replace(settings, window=window), geometry, number_bytes)
        if needed <= device_memory(device):
            break
        window = replace(window, batch_size=window.batch_size // 2)
    joined = gcd(JOINED, window.batch_size)
    longer = WindowSettings(joined * window.samples, window.batch_size // joined)
    return [window] if joined == 1 else [window, longer]
