"""What runs left behind, read back: offline W&B runs, run folders and pinned experiments, all as the same Run."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, HISTORY, RESULTS
from mfcc_wavenet.config.parse import flat, plain
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.evaluation.free_running import corpus_windows, first_utterances
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs.history import logged_rows

LOG = "run-*.wandb"  # in the directory of a W&B run
Row = dict[str, float | int]


@dataclass(frozen=True)
class Sound:
    """An utterance and what a run made of it; the two may differ in length."""

    sample_rate: int  # Hz
    original: np.ndarray  # (samples,) in -1 to 1
    generated: np.ndarray  # likewise


@dataclass(frozen=True)
class Run:
    """What is known of one run, wherever it was read from."""

    name: str
    source: str  # where it was read from; no other run has the same
    settings: dict[str, Any]  # flat, with dotted keys
    results: dict[str, Any]  # what it was worth in the end; empty: it is not finished
    history: list[Row]  # numbers by W&B's names, train/loss for instance, and "step", which never falls
    sounds: dict[str, Sound]  # by utterance


def read(paths: Iterable[str | Path], audio: bool = True) -> list[Run]:
    """The runs that these paths name, in that order, each once and under a name of its own.

    A path is the directory of a W&B run or its .wandb file (any part of a resumed run stands for all
    of it), the folder of a run, an experiment's name or directory, or a folder that holds several of
    these. The audio of an experiment is generated anew from its checkpoint; audio=False leaves all
    audio out. Sound that cannot be read is named on stderr and left out.

    Raises UserError for a path that leads to no run, and for a run that is damaged.
    """
    found = dict.fromkeys(_parts(directory) for path in paths for directory in _directories(path))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each W&B log is read by a process of its own
        return _told_apart(list(pool.map(lambda parts: _read(parts, audio), found)))


# --- where runs lie -------------------------------------------------------------------------------


def _directories(given: str | Path) -> list[Path]:
    """The directories of all runs that the path stands for, in the order of their names."""
    path = Path(given).expanduser()
    if not path.exists():
        if str(given) in experiments.names():
            return [experiments.pinned_checkpoint(str(given)).parent]
        known = ", ".join(experiments.names())
        raise UserError(f"There is no run {given}: no file or folder is there, and the experiments are {known}.")
    path = (path if path.is_dir() else path.parent).resolve()
    if _holds_run(path):
        return [path]
    inside = sorted(child for child in path.iterdir() if not child.is_symlink() and _holds_run(child))
    if not inside:
        raise UserError(f"{given} is no run: neither {LOG} nor {CHECKPOINT} is in it or in a folder right below.")
    return inside


def _holds_run(directory: Path) -> bool:
    return (directory / CHECKPOINT).is_file() or any(directory.glob(LOG))


def _parts(directory: Path) -> tuple[Path, ...]:
    """All directories of the same run, oldest first: W&B makes a new one, of the same id, whenever a run goes on."""
    logs = list(directory.glob(LOG))
    if not logs:
        return (directory,)
    run_id = logs[0].stem.removeprefix("run-")
    siblings = {part for part in directory.parent.glob(f"*run-*-{escape(run_id)}") if (part / logs[0].name).is_file()}
    return tuple(sorted(siblings | {directory}, key=lambda part: part.name.partition("run-")[2]))


def _read(parts: tuple[Path, ...], audio: bool) -> Run:
    return _of_folder(parts[0], audio) if (parts[0] / CHECKPOINT).is_file() else _of_wandb(parts, audio)


def _told_apart(runs: list[Run]) -> list[Run]:
    """Where several runs share a name, each one's says where it was read from, too."""
    names = [run.name for run in runs]
    return [replace(run, name=f"{run.name} ({run.source})") if names.count(run.name) > 1 else run for run in runs]


# --- run folders and experiments ------------------------------------------------------------------


def _of_folder(folder: Path, audio: bool) -> Run:
    checkpoint = checkpoints.load(folder / CHECKPOINT)
    results = folder / RESULTS
    try:
        measured = json.loads(results.read_text()) if results.is_file() else {}
    except ValueError as error:
        raise UserError(f"{results} is no JSON ({error}).") from error
    return Run(
        name=folder.name,
        source=_short(folder),
        settings=flat(plain(checkpoint.settings)),
        results=measured,
        history=[_numbers(row) for row in logged_rows(folder / HISTORY)],
        sounds=(_of_files(folder, checkpoint) if checkpoint.training else _anew(checkpoint)) if audio else {},
    )


def _of_files(folder: Path, checkpoint: Checkpoint) -> dict[str, Sound]:
    names = [path.name.removesuffix(".generated.wav") for path in sorted(folder.glob("*.generated.wav"))]
    pairs = {name: (folder / f"{name}.original.wav", folder / f"{name}.generated.wav") for name in names}
    return _sounds(pairs, checkpoint.settings.features.sample_rate)


def _anew(checkpoint: Checkpoint) -> dict[str, Sound]:
    """What a pinned checkpoint makes of the first utterances that it was trained on."""
    settings = checkpoint.settings
    try:
        windows = corpus_windows(checkpoint)
    except UserError as error:
        return _leave_out(error)
    model = checkpoint.model()
    rate = settings.features.sample_rate
    return {name: Sound(rate, *wavs) for name, *wavs in first_utterances(model, windows, settings)}


# --- W&B ------------------------------------------------------------------------------------------


def _of_wandb(parts: tuple[Path, ...], audio: bool) -> Run:
    name, settings, summary = parts[-1].name, {}, {}
    rows: list[Row] = []
    logged: set[str] = set()  # what has a history is no result
    media: dict[str, dict[str, Path]] = {}  # the latest sounds of each utterance
    for part in parts:
        of_part: list[Row] = []
        for record in _records(part):
            value = record.get(record["type"], {})
            if record["type"] == "run":
                name = value.get("display_name") or value["run_id"]
                settings |= value.get("config", {}).get("update", {})
            elif record["type"] == "config":
                settings |= value.get("update", {})
            elif record["type"] == "summary":
                summary |= value.get("update", {})
            elif record["type"] == "history":
                logged |= value["item"].keys()
                # Another program's run may have no step but wandb's own.
                of_part.append(_numbers({"step": value["item"].get("_step"), **value["item"]}))
                for utterance, which, path in _audio(value["item"]):
                    media.setdefault(utterance, {})[which] = part / "files" / path
        rows = _joined(rows, of_part)
    pairs = {utterance: (p["original"], p["generated"]) for utterance, p in media.items() if len(p) == 2}
    settings = flat({key: value for key, value in settings.items() if key != "_wandb"})
    return Run(
        name=name,
        source=_short(parts[-1]),
        settings=settings,
        results={key: value for key, value in _without_media(summary).items() if key not in logged - {"score"}},
        history=rows,
        sounds=_sounds(pairs, settings["features.sample_rate"]) if audio and pairs else {},
    )


def _records(part: Path) -> list[dict]:
    """Everything in a W&B run's log, read by wandb's own program: as far as it goes, if the run still goes on."""
    (log, *_) = part.glob(LOG)
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"WANDB_ERROR_REPORTING": "false"},  # reading a file takes no network
    )
    *_, said = ["", *done.stderr.strip().splitlines()]
    said = said.removeprefix("Error: ").removeprefix("wandb leet inspect: ")
    if done.returncode:
        raise UserError(f"{log} could not be read as a W&B run ({said}).")
    if said:
        print(f"{log}: {said}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def _joined(former: list[Row], rows: list[Row]) -> list[Row]:
    """A run that went on from a checkpoint older than its last row repeats some: the later ones count."""
    return [row for row in former if row["step"] < rows[0]["step"]] + rows if rows else former


def _audio(item: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Utterance, "original" or "generated", and the file's path, of all sounds in a row of a W&B run's history."""
    keys = [key.split("/") for key in item if key.startswith("audio/") and key.endswith(".path")]
    return [("/".join(key[1:-1]), key[-1].removesuffix(".path"), item["/".join(key)]) for key in keys]


# --- both ---------------------------------------------------------------------------------------


def _numbers(row: dict[str, Any]) -> Row:
    """What is a finite number; W&B spells the others "NaN" and "Infinity"."""
    return {k: v for k, v in _without_media(row).items() if type(v) in (int, float) and math.isfinite(v)}


def _without_media(row: dict[str, Any]) -> dict[str, Any]:
    """Without sizes and paths of pictures and sounds, which are flat there, and what W&B notes for itself."""
    media = tuple(key.removesuffix("_type") for key in row if key.endswith("._type"))
    return {key: value for key, value in row.items() if not key.startswith(("_", *media))}


def _sounds(pairs: dict[str, tuple[Path, Path]], sample_rate: int) -> dict[str, Sound]:
    sounds: dict[str, Sound] = {}
    for name, pair in pairs.items():
        try:
            sounds[name] = Sound(sample_rate, *(read_audio(path, sample_rate) for path in pair))
        except UserError as error:
            _leave_out(error)
    return sounds


def _leave_out(error: UserError) -> dict[str, Sound]:
    print(f"left out: {error}", file=sys.stderr)
    return {}


def _short(path: Path) -> str:
    """As a person in this folder would type it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
