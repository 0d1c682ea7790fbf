"""The records under experiments/: each directory is a config, and once it is pinned a checkpoint and its results."""

import os
import platform
import shutil
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import yaml

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, CONFIG, write_text
from mfcc_wavenet.config.parse import first_difference, plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

MAX_CHECKPOINT = 20 * 2**20  # bytes of a file that belongs into git
PACKAGES = ("torch", "torchaudio", "librosa", "numpy", "numba")


def pin(
    run: Path, checkpoint: Checkpoint, composed: Settings | None, directory: Path, weights: torch.dtype = torch.float32
) -> Path:
    """Writes the record of a finished run: config, checkpoint without training state, pictures, README.

    composed: what the directory's config.yaml composes to, if there is one; the run must have used just that.
    weights: the type that they are stored in. results.json is written by the caller, who measures the pinned
    checkpoint anew.
    Returns the path of the pinned checkpoint.
    """
    config = directory / CONFIG
    text = yaml.safe_dump(_what_was_trained(checkpoint.settings), sort_keys=False)
    if composed is not None:
        _refuse_difference(composed, checkpoint.settings, directory)
    elif config.exists() and config.read_text() != text:
        raise UserError(
            f"{config} is there already; experiment={directory.name} compares the run with it, "
            "output=experiments/NAME makes another."
        )
    directory.mkdir(parents=True, exist_ok=True)
    candidate = directory / "candidate.pt"
    checkpoints.save(candidate, checkpoint, weights)
    if candidate.stat().st_size > MAX_CHECKPOINT:
        size = candidate.stat().st_size / 2**20
        candidate.unlink()
        raise UserError(
            f"The checkpoint has {size:.1f} MiB; a pinned one may have {MAX_CHECKPOINT // 2**20} "
            "(weights=float16 halves it)."
        )
    path = directory / CHECKPOINT
    candidate.replace(path)
    if composed is None:
        write_text(config, text)
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
    write_text(
        path,
        f"# {record['experiment']}\n\n| | |\n|---|---|\n{rows}\n\nMeasured again by "
        f"`python run.py experiment={record['experiment']} mode=evaluate`.\n\n{pictures}\n",
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
    if difference := first_difference(composed, used, ignored=("tracking", "data.prepared")):
        name, ours, theirs = difference
        raise UserError(
            f"{directory / CONFIG} says {name}={ours}, but the run used {theirs}; "
            "pin it under another name (output=experiments/NAME) or change that file."
        )


def _what_was_trained(settings: Settings) -> dict[str, dict]:
    """The settings without those that change nothing of it: where files lie and what is logged."""
    groups = plain(settings)
    del groups["tracking"], groups["data"]["prepared"]
    return groups
