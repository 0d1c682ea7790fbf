"""A run to zero error that takes seconds, and runs that are resumed from their middle."""

import shutil
from pathlib import Path

from mfcc_wavenet.config.settings import Settings
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
    """A Chassis trained to zero error on the first 0.1 s, in some 500 steps of a narrow network, and its results."""
    chassis = Chassis(
        compose_settings(
            "data.seconds=0.1", f"data.prepared={folder.parent / 'prepared'}", "tracking.mode=disabled", *overrides,
            "upsampling.frame_channels=[64]", "upsampling.channels=16", "wavenet.residual_channels=32",
            "wavenet.gate_channels=32", "wavenet.layers_per_block=4", "window.samples=200", "train.steps=1500",
            "optim.decay_steps=1500", "train.evaluate_interval=50", "train.checkpoint_interval=0",
            "train.sample_interval=0",
        ),
        folder,
    )  # fmt: skip
    results = chassis.train()
    return chassis, results
