"""The directories of experiments/, made known to Hydra, and where a pinned checkpoint lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, CONFIG
from mfcc_wavenet.config.parse import near, parse_group
from mfcc_wavenet.config.settings import WindowSettings

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, where it is installed
EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def names() -> list[str]:
    """All experiments, in alphabetical order."""
    return sorted(config.parent.name for config in EXPERIMENTS.glob(f"*/{CONFIG}"))


def register() -> None:
    """Makes experiment=NAME known to Hydra for every directory, and ${steps_for:SAMPLES}; before @hydra.main runs."""
    from hydra.core.config_store import ConfigStore  # who only inverts needs no Hydra

    OmegaConf.register_new_resolver("steps_for", _steps_for, replace=True)
    for name in names():
        try:
            config = yaml.load((EXPERIMENTS / name / CONFIG).read_text(), LOADER) or {}
        except yaml.YAMLError as error:
            raise UserError(f"experiments/{name}/{CONFIG} is not YAML: {' '.join(str(error).split())}.") from error
        ConfigStore.instance().store(group="experiment", name=name, node=config, package="_global_")


def _steps_for(samples: int, *, _root_: Mapping) -> int:
    """Steps in which windows of the configured size see that many samples: at least one step."""
    window = parse_group(WindowSettings, OmegaConf.to_container(_root_["window"], resolve=True), "window")
    return max(1, round(samples / (window.samples * window.batch_size)))


def pinned_checkpoint(name: Any) -> Path:
    """The checkpoint of that experiment; UserError if there is none."""
    if name not in names():
        raise UserError(f"There is no experiment {name!r}; {near(str(name), names())}")
    path = EXPERIMENTS / name / CHECKPOINT
    if not path.is_file():
        trained = [other for other in names() if (EXPERIMENTS / other / CHECKPOINT).is_file()]
        raise UserError(
            f"The experiment {name!r} has no pinned checkpoint yet ({', '.join(trained) or 'no other'} has); "
            f"checkpoint=PATH takes any other."
        )
    return path
