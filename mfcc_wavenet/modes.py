"""What run.py can do: train, evaluate, pin and download, each on plain settings; the rest is in generation/files.py."""

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import soundfile
import torch

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import (
    BEST,
    CHECKPOINT,
    CLIPS,
    RESULTS,
    identities,
    owned,
    refuse_overwriting,
    write_json,
)
from mfcc_wavenet.config.parse import first_difference, run_config
from mfcc_wavenet.config.settings import DataSettings, Settings
from mfcc_wavenet.config.size import sizes
from mfcc_wavenet.data.corpora import known
from mfcc_wavenet.data.prepared import splits
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import size
from mfcc_wavenet.evaluation.clips import Clip, clips
from mfcc_wavenet.evaluation.free_running import corpus_windows
from mfcc_wavenet.evaluation.held_out import best_temperature, quality, temperatures
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.generation.correction import checked_candidates, checked_corrections
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint
from mfcc_wavenet.runs import records
from mfcc_wavenet.runs.history import read_results
from mfcc_wavenet.runs.hosted_sweep import swept
from mfcc_wavenet.runs.summary import reproduction, table
from mfcc_wavenet.training.distributed import joined

# May differ between the parts of a run: they change nothing of what is trained, but for rounding.
OF_THE_MACHINE = ("tracking", "data.prepared", "data.workers", "train.workers", "train.threads", "train.device")
OF_THE_MACHINE += ("train.compile", "train.products", "train.accumulation")


def train(
    settings: Settings, folder: Path, choices: dict[str, str | None], restart: bool, start: Checkpoint | None = None
) -> None:
    """Trains in that folder, from start or from nothing; resumes a run that is there, and shows one that is finished.

    UserError where the folder's run has other settings, or where another process trains there.
    """
    with (
        joined(settings.train.device) as ranks,
        owned(folder, f"The run {folder}") if ranks.leads else contextlib.nullcontext(),
    ):
        ranks.refuse_other_settings(settings)
        ranks.refuse_too_few_windows(settings)
        begun, is_finished = ranks.of_first(lambda: _there(settings, folder, restart) or (start, False))
        if not is_finished:
            # With it come wandb and matplotlib, which take a second that no other command need wait for.
            from mfcc_wavenet.training.chassis import Chassis

            Chassis(settings, folder, begun, choices, ranks).train()
        elif ranks.leads and swept():
            _report_again(settings, folder, choices, len(begun.speakers))


def _there(settings: Settings, folder: Path, restart: bool) -> tuple[Checkpoint, bool] | None:
    """The checkpoint of the run in the folder, and whether it is finished and so is shown; None if there is none."""
    path = folder / CHECKPOINT
    if restart or not path.is_file():
        return None
    begun = checkpoints.load(path)
    _refuse_another_run(settings, begun, folder)
    if (folder / RESULTS).is_file():
        print("This run is finished; restart=true trains it again, name=NAME next to it.\n")
        print(table(folder, {}))
        return begun, True
    print(f"Resuming from {path}, step {begun.training['step']}.", file=sys.stderr)
    return begun, False


def _refuse_another_run(settings: Settings, begun: Checkpoint, folder: Path) -> None:
    if begun.training is None:
        raise UserError(
            f"{folder} holds a pinned checkpoint, which cannot resume; checkpoint={folder} starts another run from it."
        )
    if difference := first_difference(settings, begun.settings, OF_THE_MACHINE):
        name, ours, theirs = difference
        raise UserError(
            f"{folder} holds a run with {name}={theirs}, not {ours}; another name=NAME keeps both, restart=true "
            f"replaces it, and checkpoint={folder} continues it elsewhere."
        )


def evaluate(
    path: Path, checkpoint: Checkpoint, settings: Settings, experiment: str | None, output: Path, command: Command,
    tracked: bool = False,
) -> dict:  # fmt: skip
    """Measures a checkpoint on a corpus; prints one line of JSON and writes the same to output.

    settings: the checkpoint's, with what is to be different of them. command: which split, a part of their corpus or
    "all", and how many clips of it are generated and measured, and how. No split: of the corpus that the model was
    trained on, what is held out for tests, else for validation, else all of it; all of another corpus. stderr says
    which part is measured and how much of it the model was trained on, and has the table of the clips. tracked: a W&B
    run has all of it, and the sounds.
    """
    refuse_overwriting(output, identities([path]))
    split, sampling = command.split, command.sampling(checkpoint.temperature)
    times = checked_corrections(command.corrections, sampling, settings)
    checked_candidates(command.candidates, sampling, times, settings)  # refused before minutes of measuring
    if split is not None and split not in (*splits.PARTS, splits.ALL):
        raise UserError(f"split={split} is not a part; there are {', '.join(splits.PARTS)} and {splits.ALL}.")
    with joined("cpu") as ranks:
        ranks.refuse_other_settings(settings)
        checkpoint = ranks.of_first(lambda: checkpoint)
        measured_with = with_settings(checkpoint, settings)
        windows = corpus_windows(measured_with, ranks, splits.ALL)
        was_trained_on = _was_trained_on(checkpoint, windows.corpus, settings)
        split = split or (splits.held_out(settings.data) if was_trained_on else splits.ALL)
        windows = windows.over(splits.part(windows.corpus, settings.data, split))
        print(_what_is_measured(checkpoint, windows.corpus, split, was_trained_on), file=sys.stderr)
        measured = {
            "experiment": experiment,
            **measure(measured_with, ranks, windows),
            "split": split,
            "checkpoint": str(path),
            "checkpoint_sha256": checkpoints.digest(path),
        }
        found = None
        if command.clips and measured["reproduced"] != measured["samples"]:
            chosen = clips(windows, settings, command.clips, command.clip_seconds)
            found = quality(measured_with, chosen, sampling, command.corrections, command.candidates, ranks)
            measured["quality"] = {"split": split, **found.results()}
    if not ranks.leads:
        return measured
    print(json.dumps(measured))
    try:
        if found:
            print(found.table(), file=sys.stderr)
            found.save(output.with_name(CLIPS.format(output.stem)))
        write_json(output, measured)
    except (OSError, soundfile.SoundFileError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"output={output} could not be written ({reason}); the line above says it all.") from error
    if tracked:
        from mfcc_wavenet.runs.evaluation import log_evaluation  # takes a second, as above

        log_evaluation(settings, output.stem, measured, found.rows() if found else [])
    return measured


def _was_trained_on(checkpoint: Checkpoint, corpus: Corpus, settings: Settings) -> bool:
    """Whether the corpus is the checkpoint's, wherever it lies now, or more or less of the same audio."""
    return checkpoint.corpus == corpus.digest or splits.same_audio(checkpoint.settings.data, settings.data)


def _what_is_measured(checkpoint: Checkpoint, corpus: Corpus, split: str, was_trained_on: bool) -> str:
    """And how much of it the model was trained on."""
    rate = checkpoint.settings.features.sample_rate
    seen = int(splits.trained_on(corpus, checkpoint.settings.data, rate).sum())
    if was_trained_on:
        count = "all" if seen == len(corpus) else f"{seen:,}" if seen else "none"
        known = f"{count} of which the model was trained on"
    elif checkpoint.corpus:
        known = "of another corpus than the one that the model was trained on"
    else:
        known = "and the checkpoint is too old to say whether the model was trained on any of them"
    return f"Measuring split={split}: {size(corpus, rate)}, {known}."


def pin(folder: Path, composed: Settings | None, directory: Path, command: Command, name: str = CHECKPOINT) -> None:
    """Turns the finished run in that folder into a record, its checkpoint measured anew.

    command: the type that weights are stored in; the temperature to keep, or None for the one that is best on the
    valid part; and how many clips are generated for that, and to measure a run with errors on what was held out.
    name: of the checkpoint, the last one or that of the best pass. UserError where a run that is exact in float32 is
    not in that type.
    """
    if not (folder / RESULTS).is_file():
        raise UserError(f"{folder} holds no finished run ({RESULTS} is missing); train it to its end first.")
    trained, weights = checkpoints.load(folder / name), command.weights
    results, pictures = read_results(folder), "*.png"
    if name == BEST:
        results, pictures = results | _results_at_best(trained), "curves.png"  # the others are of the last pass
    records.refuse(folder, trained.settings, composed, directory)  # before minutes of measuring
    stored = checkpoints.in_type(checkpoints.in_type(trained.weights, getattr(torch, weights)), torch.float32)
    given = command.sampling(trained.temperature).temperature
    checkpoint = replace(trained, weights=stored, training=None, temperature=given)
    # First: a record is replaced as a whole or not at all.
    windows = corpus_windows(checkpoint, part=results.get("split", splits.TRAIN))
    measured = measure(checkpoint, windows=windows)
    if results["wrong"] == 0 and not measured["reproduced"] == measured["samples"]:
        raise UserError(
            f"weights={weights}: with weights of that type {measured['wrong']:,} of {measured['samples']:,} samples "
            f"are wrong (margin {measured['margin']:.2g}; as trained none is wrong, margin {results['margin']:.2g}); "
            "weights=float32 keeps the run exact."
        )
    if measured["wrong"]:
        checkpoint, found = _heard(checkpoint, command)
        measured |= found
    try:
        record = records.pin(folder, checkpoint, composed, directory, results, measured, weights, pictures)
    except OSError as error:
        raise UserError(f"output={directory} could not be written ({error.strerror or error}).") from error
    print(
        f"{directory}: wrong {record['wrong']:,}, reproduced {reproduction(record)}, "
        f"margin {record['margin']:.2g}, {weights} weights, {record['checkpoint_bytes'] / 2**20:.1f} MiB."
    )


def _heard(checkpoint: Checkpoint, command: Command) -> tuple[Checkpoint, dict]:
    """With its best temperature, if none is given, and what was found by generating what was held out of training."""
    settings, data, found = checkpoint.settings, checkpoint.settings.data, {}
    if not command.clips or not data.held_out:
        return checkpoint, found
    windows = corpus_windows(checkpoint, part=splits.ALL)

    def chosen(part: str) -> list[Clip]:
        of_part = windows.over(splits.part(windows.corpus, data, part))
        return clips(of_part, settings, command.clips, command.clip_seconds)

    if command.temperature is None and splits.VALID in data.held_out:
        name, means = temperatures(checkpoint, chosen(splits.VALID), command.sampling_seed, command.corrections)
        checkpoint = replace(checkpoint, temperature=best_temperature(name, means))
        found["temperatures"] = {name: {f"{temperature:g}": mean for temperature, mean in means.items()}}
        print(f"temperature={checkpoint.temperature:g} is best on split=valid: {found['temperatures']}")
    part = splits.held_out(data)
    heard = quality(checkpoint, chosen(part), command.sampling(checkpoint.temperature), command.corrections)
    print(heard.table(), file=sys.stderr)
    return checkpoint, found | {"quality": {"split": part, **heard.results()}}


def download(data: DataSettings) -> None:
    """Downloads and unpacks what is not there of a known corpus, and prints what is there then."""
    sources = known.download(data)
    speakers = len({source.speaker for source in sources})
    print(f"data={data.corpus} data.root={data.root[0]}: {len(sources):,} utterances, {speakers:,} speakers.")


def _results_at_best(checkpoint: Checkpoint) -> dict:
    """What of a run's results was otherwise at its best pass; what it is worth is measured anew."""
    best = checkpoint.training["best"]
    of_valid = {name: best[name] for name in ("valid_nats", "valid_error") if name in best}
    return of_valid | {
        "wrong": best.get("wrong"), "margin": best.get("margin"), "steps": best["step"],
        "epochs": round(best["epochs"], 3), "samples_seen": best["samples_seen"],
        "seconds": round(checkpoint.training["seconds"], 1), "best_checkpoint": CHECKPOINT,
    }  # fmt: skip


def with_settings(checkpoint: Checkpoint, settings: Settings) -> Checkpoint:
    return replace(checkpoint, settings=settings)


def as_another_run(checkpoint: Checkpoint) -> Checkpoint:
    """The same start for a run of its own, with rows, curves and a W&B run of its own."""
    training = checkpoint.training and checkpoint.training | {
        "run_id": None,
        "history": [],
        "rows_logged": 0,
        "best": None,
    }
    return replace(checkpoint, training=training)


def _report_again(settings: Settings, folder: Path, choices: dict[str, str | None], speakers: int) -> None:
    """A sweep that draws a setting twice waits for a result each time; training again would give the same one."""
    from mfcc_wavenet.runs.tracker import Tracker  # takes a second, as above

    results = read_results(folder)
    config = run_config(settings, choices) | sizes(settings, speakers, results["samples"])
    with Tracker(settings.tracking, name=folder.name, config=config) as tracker:
        tracker.summarise(results)
