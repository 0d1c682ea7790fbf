"""The records under experiments/: each directory is a config, and once it is pinned a checkpoint and its results."""

import os
import platform
import re
import shutil
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
import yaml

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, CONFIG, HISTORY, RESULTS, owned, replacing, write_json, write_text
from mfcc_wavenet.config.parse import first_difference, plain
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

MAX_CHECKPOINT = 20 * 2**20  # bytes of a file that belongs into git
PACKAGES = ("torch", "torchaudio", "librosa", "numpy", "numba")
README = "README.md"
IN_README = ("wrong", "samples", "reproduced", "nats", "samples_seen", "seconds", "hardware")


def refuse(run: Path, settings: Settings, composed: Settings | None, directory: Path) -> None:
    """UserError where a run with these settings cannot be pinned in that directory.

    composed: what the directory's config.yaml composes to, if there is one; the run must have used just that.
    """
    if directory.resolve() == run.resolve() or (directory.resolve() / HISTORY).exists():
        raise UserError(
            f"output={directory} is the folder of a run, which stays as it is; output=experiments/NAME makes a record."
        )
    config = directory / CONFIG
    if composed is not None:
        _refuse_difference(composed, settings, directory)
    elif config.exists() and config.read_text() != _config(settings):
        raise UserError(
            f"{config} is there already; experiment={directory.name} compares the run with it, "
            "output=experiments/NAME makes another."
        )


def pin(
    run: Path, checkpoint: Checkpoint, composed: Settings | None, directory: Path,
    results: dict, measured: dict, weights: str = "float32", pictures: str = "*.png",
) -> dict:  # fmt: skip
    """Writes the record of a finished run: config, checkpoint without training state, pictures, README, results.json.

    results: what the run found at its end; measured: what the checkpoint was measured to be when it was to be pinned;
    weights: the name of the type that they are stored in; pictures: of the run that are kept, as a pattern.
    Every file is written whole, and results.json, which says that the record is complete, is the last one: it is gone
    while the others are replaced, so that it never belongs to another checkpoint, and the next call completes what
    was killed. Returns what is in results.json. UserError as in refuse, and for a checkpoint that is too large.
    """
    with owned(directory, f"The record {directory}"):
        refuse(run, checkpoint.settings, composed, directory)
        return _write(run, checkpoint, directory, composed is None, results, measured, weights, pictures)


def _write(
    run: Path, checkpoint: Checkpoint, directory: Path, with_config: bool,
    results: dict, measured: dict, weights: str, pictures: str,
) -> dict:  # fmt: skip
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / CHECKPOINT
    with replacing(path) as candidate:
        checkpoints.save(candidate, checkpoint, getattr(torch, weights))
        if (size := candidate.stat().st_size) > MAX_CHECKPOINT:
            raise UserError(
                f"The checkpoint has {size / 2**20:.1f} MiB; a pinned one may have {MAX_CHECKPOINT // 2**20} "
                "(weights=float16 halves it)."
            )
        (directory / RESULTS).unlink(missing_ok=True)
    if with_config:
        write_text(directory / CONFIG, _config(checkpoint.settings))
    for picture in run.glob(pictures):
        if (directory / picture.name).is_symlink():  # the record keeps a picture of its own
            (directory / picture.name).unlink()
        with replacing(directory / picture.name) as unfinished:
            shutil.copyfile(picture, unfinished)
    record = {
        "experiment": directory.name,
        "status": "trained",
        "date": date.today().isoformat(),
        "hardware": hardware(torch.device("cpu")),  # of runs from before a run said what it was trained on
        **results,
        **measured,
        "weights": weights,
        "checkpoint": path.name,
        "checkpoint_sha256": checkpoints.digest(path),
        "checkpoint_bytes": path.stat().st_size,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
    }
    _write_readme(directory, record)
    write_json(directory / RESULTS, record)
    return record


def hardware(device: torch.device) -> str:
    """The processor or GPU in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{models[0] if models else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _write_readme(directory: Path, record: dict) -> None:
    """A few lines with pictures; one that a person has written, or written into, stays."""
    path = directory / README
    title = f"# {record['experiment']}\n\n| | |\n|---|---|\n"
    part = " split=valid" if record.get("split") == "valid" else ""
    how = f"\nMeasured again by `python run.py experiment={record['experiment']} mode=evaluate{part}`.\n\n"
    rows = "".join(f"| {key} | {record[key]} |\n" for key in IN_README)
    pictures = "".join(f"![{picture.stem}]({picture.name})\n" for picture in sorted(directory.glob("*.png")))
    any_rows = "".join(rf"\| {key} \| .* \|\n" for key in IN_README)
    generated = re.escape(title) + any_rows + re.escape(how) + r"(!\[.*\]\(.*\)\n)*"
    if not path.exists() or re.fullmatch(generated, path.read_text()):
        write_text(path, title + rows + how + pictures)


def _refuse_difference(composed: Settings, used: Settings, directory: Path) -> None:
    if difference := first_difference(composed, used, ignored=("tracking", "data.prepared", "data.workers")):
        name, ours, theirs = difference
        raise UserError(
            f"{directory / CONFIG} says {name}={ours}, but the run used {theirs}; "
            "pin it under another name (output=experiments/NAME) or change that file."
        )


def _config(settings: Settings) -> str:
    """What was trained: the settings without those that change nothing of it, where files lie and what is logged."""
    groups = plain(settings)
    del groups["tracking"], groups["data"]["prepared"], groups["data"]["workers"]
    return yaml.safe_dump(groups, sort_keys=False)
