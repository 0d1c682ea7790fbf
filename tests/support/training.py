"""Runs that take seconds, that are killed or resumed from their middle, and all that they came to."""

import shutil
from pathlib import Path

import torch

from mfcc_wavenet.config.files import BEST, CHECKPOINT
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.distributed import ALONE, Ranks
from support.settings import compose_settings


class CopiedAtStep(Chassis):
    """A run whose checkpoint after that step is copied: where one that was killed then would resume."""

    def __init__(
        self, settings: Settings, folder: Path, step: int, begun: Checkpoint | None = None, ranks: Ranks = ALONE
    ):
        """settings: with a checkpoint at that step."""
        super().__init__(settings, folder, begun, ranks=ranks)
        self.copied_at = step

    def save(self) -> None:
        super().save()
        if self.step == self.copied_at and self.ranks.leads:
            shutil.copy(self.checkpoint_path, copied(self.folder))


def copied(folder: Path) -> Path:
    """The copy that a run in that folder leaves."""
    return folder / "copied.pt"


def trained_to_zero(folder: Path, *overrides: str) -> tuple[Chassis, dict]:
    """A Chassis trained to zero error on the first 0.1 s, in some 200 steps of a narrow network, and its results."""
    chassis = Chassis(
        compose_settings(
            "data.seconds=0.1", f"data.prepared={folder.parent / 'prepared'}", "tracking.mode=disabled",
            "upsampling.frame_channels=[64]", "upsampling.channels=16", "wavenet.residual_channels=48",
            "wavenet.gate_channels=48", "wavenet.layers_per_block=4", "window.samples=200", "optim=adam",
            "optim.learning_rate=0.005", "train.steps=300", "optim.decay_steps=300", "train.evaluate_interval=50",
            "train.checkpoint_interval=0", "train.sample_interval=0", "train.sample_utterances=0",
            "train.products=blas", *overrides,
        ),
        folder,
    )  # fmt: skip
    results = chassis.train()
    return chassis, results


class Killed(Exception):
    """As by SIGKILL: nothing is saved on the way out."""


class KilledAtStep(Chassis):
    """A run that is killed before the step of that number."""

    def __init__(self, settings: Settings, folder: Path, step: int):
        super().__init__(settings, folder)
        self.killed_at = step

    def training_step(self, batches) -> None:
        if self.step == self.killed_at:
            raise Killed
        super().training_step(batches)


def train(settings: Settings, folder: Path) -> tuple[Chassis, dict]:
    """From the folder's checkpoint, if there is one, to the end."""
    path = folder / CHECKPOINT
    chassis = Chassis(settings, folder, checkpoints.load(path) if path.is_file() else None)
    return chassis, chassis.train()


def of(run: tuple[Chassis, dict]) -> tuple:
    """All that a run came to, without times: results, history, and what is in its two checkpoints."""
    chassis, results = run
    times = ("seconds", "samples_per_second")
    without_times = lambda row: {name: value for name, value in row.items() if name not in times}  # noqa: E731
    loaded = [checkpoints.load(chassis.folder / name) for name in (CHECKPOINT, BEST)]
    tensors = [
        tensor
        for checkpoint in loaded
        for values in (checkpoint.weights, checkpoint.training["weights"], *checkpoint.training["optimizer"].values())
        for tensor in values.values()
    ]
    rest = [(c.training["step"], c.training["position"], c.training["best"], c.training["random"]) for c in loaded]
    return without_times(results), [without_times(row) for row in chassis.history], [*tensors, *rest]


def assert_equal(one, other) -> None:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other):
            assert_equal(mine, theirs)
    else:
        assert one == other
