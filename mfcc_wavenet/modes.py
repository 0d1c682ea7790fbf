"""What run.py can do: train, evaluate, generate and pin, each on plain settings."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.data.corpus import prepare
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.evaluation.teacher_forced import reproduced, teacher_forced
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs import records
from mfcc_wavenet.runs.history import RESULTS
from mfcc_wavenet.runs.tracker import Tracker, run_config, swept
from mfcc_wavenet.training.chassis import CHECKPOINT, Chassis
from mfcc_wavenet.training.report import write_json


def train(
    settings: Settings, folder: Path, checkpoint: Checkpoint | None, choices: dict[str, str], restart: bool
) -> None:
    """Trains, or goes on where the folder's checkpoint stands; a finished run is shown, not repeated."""
    path = folder / CHECKPOINT
    if checkpoint is None and not restart and path.is_file():
        if (folder / RESULTS).is_file():
            print(f"This run is finished; restart=true trains it again, name=NAME beside it.\n\n{_table(folder)}")
            if swept():
                _report_again(settings, folder, choices)
            return
        checkpoint = checkpoints.load(path)
        print(f"Going on from {path}, step {checkpoint.training['step']}.", file=sys.stderr)
    chassis = Chassis(settings, folder, checkpoint, choices)
    chassis.train()
    print("\n".join([_table(folder), *(_row(*command) for command in chassis.commands.items())]))


def evaluate(path: Path, checkpoint: Checkpoint, experiment: str | None, output: Path) -> dict:
    """Measures a checkpoint on the corpus of its settings; prints one line of JSON and writes the same to output."""
    measured = {"experiment": experiment, **measure(path, checkpoint)}
    print(json.dumps(measured))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_json(output, measured)
    except OSError as error:
        raise UserError(
            f"output={output} could not be written ({error.strerror}); the line above says it all."
        ) from error
    return measured


def measure(path: Path, checkpoint: Checkpoint) -> dict:
    """Teacher-forced error and likelihood, and how many samples free-running generation repeats."""
    settings = checkpoint.settings
    started = time.perf_counter()
    corpus = prepare(settings.data, settings.features, settings.wavenet.quantization_channels)
    model = checkpoint.model()
    windows = Windows(corpus, model.geometry, checkpoint.statistics, checkpoint.speakers, settings.train.seed)
    measured = teacher_forced(model, windows).values() | {"reproduced": reproduced(model, windows)}
    seconds = round(time.perf_counter() - started, 1)
    return measured | {
        "evaluation_seconds": seconds,
        "checkpoint": str(path),
        "checkpoint_sha256": checkpoints.digest(path),
    }


def pin(folder: Path, composed: Settings | None, directory: Path) -> None:
    """Turns the finished run in that folder into a record, its checkpoint measured anew."""
    if not (folder / RESULTS).is_file():
        raise UserError(f"{folder} holds no finished run ({RESULTS} is missing); train it to its end first.")
    checkpoint = checkpoints.load(folder / CHECKPOINT)
    measured = measure(folder / CHECKPOINT, checkpoint)  # first: a record is replaced as a whole or not at all
    try:
        path = records.pin(folder, checkpoint, composed, directory)
        results = json.loads((folder / RESULTS).read_text())
        measured |= {"checkpoint": path.name, "checkpoint_sha256": checkpoints.digest(path)}
        record = records.record(directory.name, results, measured, path)
        write_json(directory / RESULTS, record)
        records.write_readme(directory, record)
    except OSError as error:
        raise UserError(f"output={directory} could not be written ({error.strerror or error}).") from error
    print(f"{directory}: wrong {record['wrong']:,}, reproduced {record['reproduced']:,} of {record['samples']:,}.")


def with_settings(checkpoint: Checkpoint, settings: Settings) -> Checkpoint:
    return replace(checkpoint, settings=settings)


def as_another_run(checkpoint: Checkpoint) -> Checkpoint:
    """The same beginning for a run of its own, which does not write into the W&B run that the checkpoint is from."""
    training = checkpoint.training and checkpoint.training | {"run_id": None}
    return replace(checkpoint, training=training)


def _report_again(settings: Settings, folder: Path, choices: dict[str, str]) -> None:
    """A sweep that draws a setting twice waits for a result each time; training again would give the same one."""
    tracker = Tracker(settings.tracking, name=folder.name, config=run_config(settings, choices))
    tracker.summarise(json.loads((folder / RESULTS).read_text()))
    tracker.finish()


def _table(folder: Path) -> str:
    """What came out and where it lies."""
    results = json.loads((folder / RESULTS).read_text())
    reproduced = "not tried, since some are wrong"
    if results["reproduced"] is not None:
        reproduced = f"{results['reproduced']:,} of {results['samples']:,} samples, bit for bit"
    rows = {
        "wrong": f"{results['wrong']:,} of {results['samples']:,} samples, given the true past",
        "reproduced": f"{reproduced}, free-running from MFCCs alone",
        "nats": f"{results['nats']:.6f} per sample",
        "samples seen": f"{results['samples_seen']:,} in {results['epochs']:.1f} epochs, {results['steps']:,} steps",
        "seconds": f"{results['seconds']:,.1f}",
        "audio": ", ".join(str(path) for path in sorted(folder.glob("*.wav"))),
        "pictures": ", ".join(str(path) for path in sorted(folder.glob("*.png"))),
        "checkpoint": str(folder / CHECKPOINT),
    }
    return "\n".join(_row(name, value) for name, value in rows.items() if value)


def _row(name: str, value: str) -> str:
    return f"{name:<15}  {value}"
