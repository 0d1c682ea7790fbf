"""What the tests share: settings as Hydra composes them, made small, and a corpus of real sound."""

from pathlib import Path

from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]

# Array shapes in signatures are checked, except where numba compiles: it cannot see through the check.
install_import_hook(
    [
        f"mfcc_wavenet.{path.stem}"
        for path in (ROOT / "mfcc_wavenet").glob("*.py")
        if path.stem not in ("kernel", "products", "team", "bench")
    ],
    "beartype.beartype",
)

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from mfcc_wavenet import experiments
from mfcc_wavenet.parse import parse
from mfcc_wavenet.settings import Settings

GROUPS = ("data", "features", "upsampling", "wavenet", "window", "optim", "train", "tracking")

# A network that is fast rather than good, on a fifth of a second.
SMALL = (
    "data.seconds=0.2",
    "upsampling.frame_channels=[16]",
    "upsampling.channels=8",
    "wavenet.residual_channels=8",
    "wavenet.gate_channels=8",
    "wavenet.skip_channels=16",
    "wavenet.post_channels=16",
    "wavenet.layers_per_block=3",
    "window.samples=200",
    "train.log_interval=5",
    "tracking.mode=disabled",
)


def compose_settings(*overrides: str) -> Settings:
    """What `python run.py OVERRIDES` would train with."""
    GlobalHydra.instance().clear()
    experiments.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    return parse({group: config[group] for group in GROUPS})


@pytest.fixture
def small(tmp_path):
    """small("train.steps=10", ...): small settings whose prepared corpus lies in the test's own folder."""

    def make(*overrides: str) -> Settings:
        return compose_settings(*SMALL, f"data.prepared={tmp_path / 'prepared'}", *overrides)

    return make


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
