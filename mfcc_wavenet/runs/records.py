"""The records under experiments/: each directory is a config, and once it is pinned a checkpoint and its results."""

import os
import platform
import shutil
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import yaml
from omegaconf import OmegaConf

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near, parse_group, plain
from mfcc_wavenet.config.settings import Settings, WindowSettings
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
LARGEST_CHECKPOINT = 8 * 2**20  # bytes of a file that belongs into git
PACKAGES = ("torch", "torchaudio", "librosa", "numpy", "numba")


def names() -> list[str]:
    return sorted(config.parent.name for config in EXPERIMENTS.glob("*/config.yaml"))


def register() -> None:
    """Makes experiment=NAME known to Hydra for every directory, and ${steps_for:SAMPLES}; before @hydra.main runs."""
    from hydra.core.config_store import ConfigStore  # who only inverts needs no Hydra

    OmegaConf.register_new_resolver("steps_for", _steps_for, replace=True)
    for name in names():
        try:
            config = yaml.safe_load((EXPERIMENTS / name / "config.yaml").read_text()) or {}
        except yaml.YAMLError as error:
            raise UserError(f"experiments/{name}/config.yaml is no YAML: {' '.join(str(error).split())}.") from error
        ConfigStore.instance().store(group="experiment", name=name, node=config, package="_global_")


def _steps_for(samples: int, *, _root_: Mapping) -> int:
    """Steps in which windows of the configured size see so many samples: at least one step."""
    window = parse_group(WindowSettings, OmegaConf.to_container(_root_["window"]), "window")
    return max(1, round(samples / max(1, window.samples * window.batch_size)))


def pinned_checkpoint(name: str) -> Path:
    """The checkpoint of that experiment; UserError if there is none."""
    if name not in names():
        raise UserError(f"There is no experiment {name!r}; {near(name, names())}")
    path = EXPERIMENTS / name / "checkpoint.pt"
    if not path.is_file():
        trained = [other for other in names() if (EXPERIMENTS / other / "checkpoint.pt").is_file()]
        raise UserError(
            f"The experiment {name!r} has no pinned checkpoint yet ({', '.join(trained) or 'no other'} has); "
            f"checkpoint=PATH takes any other."
        )
    return path


def pin(run: Path, checkpoint: Checkpoint, composed: Settings | None, directory: Path) -> Path:
    """Writes the record of a finished run: config, checkpoint without training state, pictures, README.

    composed: what the directory's config.yaml composes to, if there is one; the run must have used
    just that. results.json is written by the caller, who measures the pinned checkpoint anew.
    Returns the path of the pinned checkpoint.
    """
    config = directory / "config.yaml"
    text = yaml.safe_dump(_what_was_trained(checkpoint.settings), sort_keys=False)
    if composed is not None:
        _refuse_difference(composed, checkpoint.settings, directory)
    elif config.exists() and config.read_text() != text:
        raise UserError(
            f"{config} is there already; experiment={directory.name} compares the run with it, "
            "output=experiments/NAME makes another."
        )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "checkpoint.pt"
    candidate = directory / "candidate.pt"
    checkpoints.save(
        candidate, Checkpoint(checkpoint.settings, checkpoint.speakers, checkpoint.statistics, checkpoint.weights, None)
    )
    if candidate.stat().st_size > LARGEST_CHECKPOINT:
        size = candidate.stat().st_size / 2**20
        candidate.unlink()
        raise UserError(f"The checkpoint has {size:.1f} MiB; a pinned one may have {LARGEST_CHECKPOINT // 2**20}.")
    candidate.replace(path)
    if composed is None:
        config.write_text(text)
    for picture in run.glob("*.png"):
        shutil.copyfile(picture, directory / picture.name)
    return path


def record(name: str, results: dict, measured: dict, checkpoint: Path) -> dict:
    """results.json: what the run took, what the pinned checkpoint was measured to be, and where."""
    return {
        "experiment": name,
        "status": "trained",
        "date": date.today().isoformat(),
        **results,
        **measured,
        "checkpoint_bytes": checkpoint.stat().st_size,
        "hardware": hardware(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
    }


def write_readme(directory: Path, record: dict) -> None:
    """A few lines with pictures; one that a person has written stays."""
    path = directory / "README.md"
    if path.exists():
        return
    rows = "\n".join(
        f"| {key} | {record[key]} |"
        for key in ("wrong", "samples", "reproduced", "nats", "samples_seen", "seconds", "hardware")
    )
    pictures = "\n".join(f"![{picture.stem}]({picture.name})" for picture in sorted(directory.glob("*.png")))
    path.write_text(
        f"# {record['experiment']}\n\n| | |\n|---|---|\n{rows}\n\nMeasured again by "
        f"`python run.py experiment={record['experiment']} mode=evaluate`.\n\n{pictures}\n"
    )


def hardware() -> str:
    """The processor or GPU in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _refuse_difference(composed: Settings, used: Settings, directory: Path) -> None:
    ours, theirs = _what_was_trained(composed), _what_was_trained(used)
    for group, values in ours.items():
        for key, value in values.items():
            if value != theirs[group][key]:
                raise UserError(
                    f"{directory / 'config.yaml'} says {group}.{key}={value}, but the run used {theirs[group][key]}; "
                    "pin it under another name (output=experiments/NAME) or change that file."
                )


def _what_was_trained(settings: Settings) -> dict[str, dict]:
    """The settings without those that change nothing of it: where files lie and what is logged."""
    groups = plain(settings)
    del groups["tracking"], groups["data"]["prepared"]
    return groups
