"""Runs read back from where they were logged: offline W&B runs, run folders, pinned experiments and evaluations."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, CLIPS, CLIPS_INDEX, HISTORY, ORIGINAL, RESULTS, expanded, read_json
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
    """An utterance and what a run generated from its MFCCs; the two may differ in length."""

    sample_rate: int  # Hz
    original: Float32[np.ndarray, " original_samples"]  # amplitudes in [-1, 1]
    generated: Float32[np.ndarray, " generated_samples"]  # likewise


@dataclass(frozen=True)
class Run:
    """One run, wherever it was read from."""

    name: str
    source: str  # where it was read from; unique
    settings: dict[str, Any]  # flat, with dotted keys
    results: dict[str, Any]  # its final figures; empty if it has not finished
    history: list[Row]  # numbers under W&B's names, such as train/loss, and "step", which never decreases
    sounds: dict[str, Sound]  # by utterance

    @property
    def is_of_another_system(self) -> bool:
        """Whether an evaluation measured it next to its model (librosa, a ceiling, ...): its quality is all it has."""
        return self.results.keys() == {"quality"}


def read(paths: Iterable[str | Path], audio: bool = True, systems: Sequence[str] = ()) -> list[Run]:
    """The runs at these paths, in that order, each once and under a unique name.

    A path is the directory of a W&B run or its .wandb file (any part of a resumed run stands for the whole run), the
    folder of a run, an experiment's name or directory, a folder that contains several of these, or the file of an
    evaluation, of which each system that was measured (the model, librosa, ...) is a run. The audio of an experiment is
    generated from its checkpoint; audio=False leaves out all audio, and systems, if any are named, all other systems of
    evaluations. Sounds that cannot be read are reported on stderr and left out.

    Raises UserError for a path without a run, for a damaged run, and for a system that an evaluation does not have.
    """
    found = dict.fromkeys(_parts(directory) for path in paths for directory in _directories(path))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each W&B log is read by a separate process
        return _unique_names(
            [run for runs in pool.map(lambda parts: _read(parts, audio, systems), found) for run in runs]
        )


# --- where runs are --------------------------------------------------------------------------------


def _directories(given: str | Path) -> list[Path]:
    """The directories of all runs at that path, in the order of their names."""
    path = expanded(given)
    if not path.exists():
        if str(given) in experiments.names():
            return [experiments.pinned_checkpoint(str(given)).parent]
        known = ", ".join(experiments.names())
        raise UserError(f"There is no run {given}: it is neither a file nor a folder nor an experiment ({known}).")
    if path.is_file() and _clips(path).is_dir():
        return [path.resolve()]
    path = (path if path.is_dir() else path.parent).resolve()
    if _holds_run(path):
        return [path]
    inside = sorted(child for child in path.iterdir() if not child.is_symlink() and _holds_run(child))
    if not inside:
        raise UserError(f"{given} is not a run: neither it nor a folder in it contains {LOG} or {CHECKPOINT}.")
    return inside


def _holds_run(directory: Path) -> bool:
    return (directory / CHECKPOINT).is_file() or any(directory.glob(LOG))


def _clips(path: Path) -> Path:
    """The folder of clips that belongs to the file of an evaluation."""
    return path.with_name(CLIPS.format(path.stem))


def _parts(directory: Path) -> tuple[Path, ...]:
    """All directories of the same run, oldest first: W&B makes a new one, of the same id, whenever a run resumes."""
    logs = list(directory.glob(LOG))
    if not logs:
        return (directory,)
    run_id = logs[0].stem.removeprefix("run-")
    siblings = {part for part in directory.parent.glob(f"*run-*-{escape(run_id)}") if (part / logs[0].name).is_file()}
    return tuple(sorted(siblings | {directory}, key=lambda part: part.name.partition("run-")[2]))


def _read(parts: tuple[Path, ...], audio: bool, systems: Sequence[str]) -> list[Run]:
    if parts[0].is_file():
        return _from_evaluation(parts[0], audio, systems)
    return [_from_folder(parts[0], audio) if (parts[0] / CHECKPOINT).is_file() else _from_wandb(parts, audio)]


def _unique_names(runs: list[Run]) -> list[Run]:
    """Runs of the same name get the place that they were read from added to it."""
    names = [run.name for run in runs]
    return [replace(run, name=f"{run.name} ({run.source})") if names.count(run.name) > 1 else run for run in runs]


# --- run folders and experiments ------------------------------------------------------------------


def _from_folder(folder: Path, audio: bool) -> Run:
    checkpoint = checkpoints.load(folder / CHECKPOINT)
    return Run(
        name=folder.name,
        source=_short(folder),
        settings=flat(plain(checkpoint.settings)),
        results=_results(folder / RESULTS),
        history=[_numbers(row) for row in logged_rows(folder / HISTORY)],
        sounds=(_from_files(folder, checkpoint) if checkpoint.training else _generated(checkpoint)) if audio else {},
    )


def _results(path: Path) -> dict[str, Any]:
    """What is in the file; nothing if there is none."""
    if not path.is_file():
        return {}
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}).") from error
    if not isinstance(results, dict):
        raise UserError(f"{path} does not hold the results of a run: it is not a JSON object.")
    return results


def _from_files(folder: Path, checkpoint: Checkpoint) -> dict[str, Sound]:
    names = [path.name.removesuffix(".generated.wav") for path in sorted(folder.glob("*.generated.wav"))]
    pairs = {name: (folder / f"{name}.original.wav", folder / f"{name}.generated.wav") for name in names}
    return _sounds(pairs, checkpoint.settings.features.sample_rate)


def _generated(checkpoint: Checkpoint) -> dict[str, Sound]:
    """What a pinned checkpoint generates of the first utterances that it was trained on."""
    settings = checkpoint.settings
    try:
        windows = corpus_windows(checkpoint)
    except UserError as error:
        return _leave_out(error)
    model, sampling = checkpoint.model(), Sampling(checkpoint.temperature)
    rate = settings.features.sample_rate
    return {name: Sound(rate, *wavs) for name, *wavs in first_utterances(model, windows, settings, sampling)}


# --- evaluations ----------------------------------------------------------------------------------


def _from_evaluation(path: Path, audio: bool, systems: Sequence[str]) -> list[Run]:
    """The systems that were compared, or those of them; the first of all is the model, which alone has more figures."""
    folder, figures = _clips(path), read_json(path)
    rows = read_json(folder / CLIPS_INDEX).get("rows")
    runs: list[Run] = []
    try:
        quality = figures.pop("quality")
        files = {(row["system"], row["clip"]): folder / row["audio"] for row in rows}
        rate = soundfile.info(next(iter(files.values()))).samplerate
        model = next(iter(quality["values"]))
        for system in _chosen(systems, quality["values"], path):
            values = quality["values"][system]
            clips = [clip for other, clip in files if audio and other == system]
            pairs = {clip: (files[ORIGINAL, clip], files[system, clip]) for clip in clips}
            results = (figures if system == model else {}) | {"quality": quality | {"values": {system: values}}}
            source = f"{_short(path)}, {system}"
            runs.append(Run(quality["rows"][system], source, {}, results, [], _sounds(pairs, rate)))
    except (AttributeError, KeyError, StopIteration, TypeError, soundfile.SoundFileError) as error:
        raise UserError(f"{path} and {folder} do not hold what an evaluation leaves ({error!r}).") from error
    return runs


def _chosen(systems: Sequence[str], known: Iterable[str], path: Path) -> list[str]:
    """In the order of the evaluation."""
    if unknown := [system for system in systems if system not in known]:
        raise UserError(f"{path} has no system {unknown[0]!r}; there are {', '.join(known)}.")
    return [system for system in known if system in systems or not systems]


# --- W&B ------------------------------------------------------------------------------------------


def _from_wandb(parts: tuple[Path, ...], audio: bool) -> Run:
    name, settings, summary = parts[-1].name, {}, {}
    rows: list[Row] = []
    logged: set[str] = set()  # names that have a history are not results
    media: dict[str, dict[str, Path]] = {}  # the latest sounds of each utterance
    for part in parts:
        part_rows: list[Row] = []
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
                # Another program's run may have wandb's own step only.
                part_rows.append(_numbers({"step": value["item"].get("_step"), **value["item"]}))
                for utterance, which, path in _audio(value["item"]):
                    media.setdefault(utterance, {})[which] = part / "files" / path
        rows = _joined(rows, part_rows)
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
    """All records in a W&B run's log, read by wandb's own program: those written so far, if the run has not ended."""
    (log, *_) = part.glob(LOG)
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"WANDB_ERROR_REPORTING": "false"},  # reading a file needs no network
    )
    *_, message = ["", *done.stderr.strip().splitlines()]
    message = message.removeprefix("Error: ").removeprefix("wandb leet inspect: ")
    if done.returncode:
        raise UserError(f"{log} could not be read as a W&B run ({message}).")
    if message:
        print(f"{log}: {message}", file=sys.stderr)
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def _joined(former: list[Row], rows: list[Row]) -> list[Row]:
    """A run resumed from a checkpoint older than its last row repeats some rows: the later ones count."""
    return [row for row in former if row["step"] < rows[0]["step"]] + rows if rows else former


def _audio(item: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Utterance, "original" or "generated", and path of every sound in a row of a W&B run's history."""
    keys = [key.split("/") for key in item if key.startswith("audio/") and key.endswith(".path")]
    return [("/".join(key[1:-1]), key[-1].removesuffix(".path"), item["/".join(key)]) for key in keys]


# --- both ---------------------------------------------------------------------------------------


def _numbers(row: dict[str, Any]) -> Row:
    """Only the finite numbers; W&B writes the others as "NaN" and "Infinity"."""
    return {k: v for k, v in _without_media(row).items() if type(v) in (int, float) and math.isfinite(v)}


def _without_media(row: dict[str, Any]) -> dict[str, Any]:
    """Without the sizes and paths of pictures and sounds, which are flat keys, and without W&B's own keys."""
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
    """The path relative to the current folder, if it is in there."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
