"""What run.py can do: train, evaluate and pin, each on plain settings; generate is in generation/files.py."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import CHECKPOINT, RESULTS, write_json
from mfcc_wavenet.config.parse import run_config
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs import records
from mfcc_wavenet.runs.tracker import Tracker, swept
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.report import table


def train(
    settings: Settings, folder: Path, checkpoint: Checkpoint | None, choices: dict[str, str], restart: bool
) -> None:
    """Trains, or resumes from the folder's checkpoint; a finished run is shown, not repeated."""
    path = folder / CHECKPOINT
    if checkpoint is None and not restart and path.is_file():
        if (folder / RESULTS).is_file():
            print(f"This run is finished; restart=true trains it again, name=NAME next to it.\n\n{table(folder, {})}")
            if swept():
                _report_again(settings, folder, choices)
            return
        checkpoint = checkpoints.load(path)
        print(f"Resuming from {path}, step {checkpoint.training['step']}.", file=sys.stderr)
    Chassis(settings, folder, checkpoint, choices).train()


def evaluate(path: Path, checkpoint: Checkpoint, experiment: str | None, output: Path) -> dict:
    """Measures a checkpoint on the corpus of its settings; prints one line of JSON and writes the same to output."""
    measured = {
        "experiment": experiment,
        **measure(checkpoint),
        "checkpoint": str(path),
        "checkpoint_sha256": checkpoints.digest(path),
    }
    print(json.dumps(measured))
    try:
        write_json(output, measured)
    except OSError as error:
        raise UserError(
            f"output={output} could not be written ({error.strerror}); the line above says it all."
        ) from error
    return measured


def pin(folder: Path, composed: Settings | None, directory: Path, weights: str) -> None:
    """Turns the finished run in that folder into a record, its checkpoint measured anew.

    weights: the type that they are stored in; UserError where a run that is exact in float32 is not in that.
    """
    if not (folder / RESULTS).is_file():
        raise UserError(f"{folder} holds no finished run ({RESULTS} is missing); train it to its end first.")
    results = json.loads((folder / RESULTS).read_text())
    trained = checkpoints.load(folder / CHECKPOINT)
    stored = {name: weight.to(getattr(torch, weights)).float() for name, weight in trained.weights.items()}
    checkpoint = replace(trained, weights=stored, training=None)
    measured = measure(checkpoint)  # first: a record is replaced as a whole or not at all
    if results["wrong"] == 0 and not measured["reproduced"] == measured["samples"]:
        raise UserError(
            f"weights={weights}: with weights of that type {measured['wrong']:,} of {measured['samples']:,} samples "
            f"are wrong and {measured['reproduced']:,} reproduced (margin {measured['margin']:.2g}; as trained none is "
            f"wrong, margin {results['margin']:.2g}); weights=float32 keeps the run exact."
        )
    try:
        path = records.pin(folder, checkpoint, composed, directory, getattr(torch, weights))
        measured |= {"weights": weights, "checkpoint": path.name, "checkpoint_sha256": checkpoints.digest(path)}
        record = records.record(directory.name, results, measured, path)
        write_json(directory / RESULTS, record)
        records.write_readme(directory, record)
    except OSError as error:
        raise UserError(f"output={directory} could not be written ({error.strerror or error}).") from error
    print(
        f"{directory}: wrong {record['wrong']:,}, reproduced {record['reproduced']:,} of {record['samples']:,}, "
        f"margin {record['margin']:.2g}, {weights} weights, {record['checkpoint_bytes'] / 2**20:.1f} MiB."
    )


def with_settings(checkpoint: Checkpoint, settings: Settings) -> Checkpoint:
    return replace(checkpoint, settings=settings)


def as_another_run(checkpoint: Checkpoint) -> Checkpoint:
    """The same start for a run of its own, which does not write into the W&B run that the checkpoint is from."""
    training = checkpoint.training and checkpoint.training | {"run_id": None}
    return replace(checkpoint, training=training)


def _report_again(settings: Settings, folder: Path, choices: dict[str, str]) -> None:
    """A sweep that draws a setting twice waits for a result each time; training again would give the same one."""
    with Tracker(settings.tracking, name=folder.name, config=run_config(settings, choices)) as tracker:
        tracker.summarise(json.loads((folder / RESULTS).read_text()))
