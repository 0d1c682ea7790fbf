"""A run to zero error that takes seconds."""

from pathlib import Path

from mfcc_wavenet.training.chassis import Chassis
from support.settings import compose_settings


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
