"""Settings as Hydra composes them, made small."""

import copy
import functools
import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.parse import GROUPS, parse, parse_group
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data import by_length

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "mfcc_wavenet" / "data" / "demo"

# A network that is fast rather than good, on a fifth of a second.
SMALL = (
    "data.seconds=0.2",
    "optim=adam",
    "upsampling.frame_channels=[16]",
    "upsampling.channels=8",
    "wavenet.residual_channels=8",
    "wavenet.gate_channels=8",
    "wavenet.skip_channels=16",
    "wavenet.post_channels=16",
    "wavenet.layers_per_block=3",
    "window.samples=200",
    "train.log_interval=5",
    "train.products=blas",
    "tracking.mode=disabled",
)

VALUE = re.compile(r"\w+\.\w+=")  # as Hydra applies them after it has composed the options of groups
OF_UNITS = ("encoder=channels128", "bottleneck=ae", "upsampling=units")  # latents at 50 Hz


def with_companions(option: str) -> list[str]:
    """An option of a config group, and before it those without which it would contradict the ones by default."""
    group, _, name = option.partition("=")
    if name == "none" or not (group in ("encoder", "bottleneck") or name in ("staged5444", "units")):
        return [option]
    longer = ["upsampling.strides=[32,20]", "upsampling.kernel_sizes=[64,40]"] if name.endswith("25hz") else []
    return [*(one for one in OF_UNITS if not one.startswith(f"{group}=")), option, *longer]


def compose_settings(*overrides: str) -> Settings:
    """What `python run.py OVERRIDES` would train with."""
    config = _composed(overrides)
    return parse({group: config[group] for group in GROUPS})


def compose_command(*overrides: str) -> Command:
    """What `python run.py OVERRIDES` would do with it."""
    config = _composed(overrides)
    return parse_group(Command, {key: value for key, value in config.items() if key not in GROUPS}, "")


def chosen_options(*overrides: str) -> dict[str, str]:
    """The option of each group, as Hydra tells it to the run."""
    options = tuple(override for override in overrides if not VALUE.match(override))
    return _composed_options(options, experiments.EXPERIMENTS)[1]


def _composed(overrides: tuple[str, ...]) -> dict:
    """What the options of groups come to is kept: composing them takes most of the time."""
    values = [override for override in overrides if VALUE.match(override)]
    others = tuple(override for override in overrides if override not in values)
    config = copy.deepcopy(_composed_options(others, experiments.EXPERIMENTS)[0])
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), config)
    return OmegaConf.to_container(config, resolve=True)


@functools.cache
def _composed_options(overrides: tuple[str, ...], directory: Path) -> tuple[DictConfig, dict[str, str]]:
    """What they come to, and which there are. directory: of the experiments, which are others in some tests."""
    GlobalHydra.instance().clear()
    _register(directory, tuple(experiments.names()))
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    choices = OmegaConf.to_container(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
    return config, choices


@functools.cache
def _register(directory: Path, names: tuple[str, ...]) -> None:
    """Once for each set of experiments: their files take as long to read as Hydra takes to compose a config."""
    experiments.register()
    by_length.register()
