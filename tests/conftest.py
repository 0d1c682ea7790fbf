"""Fixtures, and the check of array shapes."""

from pathlib import Path

from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parents[1] / "mfcc_wavenet"
COMPILED = {PACKAGE / "generation" / "cpu" / f"{name}.py" for name in ("barrier", "gemm", "sample_loop")}
COMPILED |= {PACKAGE / "data" / "linear_prediction.py"}
COMPILED |= set((PACKAGE / "bench").glob("*.py"))

# Array shapes in signatures are checked, except where numba compiles: it cannot see through the check.
install_import_hook(
    [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if path not in COMPILED and path.stem not in ("__init__", "__main__")
    ],
    "beartype.beartype",
)

import pytest
import torch
from support.settings import SMALL, compose_settings

from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.training.chassis import Chassis


@pytest.fixture
def small(tmp_path):
    """small("train.steps=10", ...): small settings whose prepared corpus lies in the test's own folder."""

    def make(*overrides: str) -> Settings:
        return compose_settings(*SMALL, f"data.prepared={tmp_path / 'prepared'}", *overrides)

    return make


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def inverted(tmp_path_factory):
    """A Chassis trained to zero error on the first 0.1 s, in some 500 steps of a narrow network."""
    folder = tmp_path_factory.mktemp("inverted") / "run"
    chassis = Chassis(
        compose_settings(
            "data.seconds=0.1", f"data.prepared={folder.parent / 'prepared'}", "tracking.mode=disabled",
            "upsampling.frame_channels=[64]", "upsampling.channels=16", "wavenet.residual_channels=32",
            "wavenet.gate_channels=32", "wavenet.layers_per_block=4", "window.samples=200", "train.steps=1500",
            "optim.decay_steps=1500", "train.evaluate_interval=50", "train.checkpoint_interval=0",
            "train.sample_interval=0",
        ),
        folder,
    )  # fmt: skip
    results = chassis.train()
    return chassis, results
