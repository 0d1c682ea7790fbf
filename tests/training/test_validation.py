"""What is held out is measured while training: it decides which pass is the best, and when to end."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.corpora import RATE, refused, speech
from support.settings import SMALL, compose_command, compose_settings
from support.training import Killed, KilledAtStep, assert_equal, of, train

from mfcc_wavenet.config.files import BEST, CHECKPOINT, RESULTS
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.evaluation.free_running import corpus_windows
from mfcc_wavenet.evaluation.teacher_forced import teacher_forced
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.modes import evaluate, pin
from mfcc_wavenet.runs.history import logged_rows, read_results
from mfcc_wavenet.training.chassis import Chassis

UTTERANCES, SAMPLES = 8, 1600  # of each
# Of the utterances 0 to 7, this split trains on five, validates on two and leaves one for tests.
SPLIT = ("data.seconds=null", "data.valid=0.4", "data.test=0.2", "data.split_seed=6")
VALIDATING = (
    *SPLIT, "train.validate_interval=5", "train.evaluate_interval=0", "train.sample_utterances=0", "train.steps=40",
    "train.checkpoint_interval=7", "upsampling.jitter=0.2", "optim.ema_decay=0.5", "optim.warmup_steps=0",
)  # fmt: skip
# From step 20 on the learning rate is one that the network does not survive.
DIVERGING = ("optim.learning_rate=0.01", "optim.schedule=step", "optim.milestones=[20]", "optim.milestone_factors=[40]")
IMPATIENT = (*VALIDATING, *DIVERGING, "train.patience=3", "train.stop_at_zero=false")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With audio/0.wav to audio/7.wav."""
    folder = tmp_path_factory.mktemp("validation")
    (folder / "audio").mkdir()
    for number in range(UTTERANCES):
        soundfile.write(folder / "audio" / f"{number}.wav", speech(number)[:SAMPLES], RATE)
    return folder


@pytest.fixture(scope="module")
def settings(folder):
    """settings(...): those of a small run on that audio."""

    def make(*overrides: str) -> Settings:
        of_folder = (f"data.root={folder / 'audio'}", f"data.prepared={folder / 'prepared'}")
        return compose_settings(*SMALL, *of_folder, *overrides)

    return make


@pytest.fixture(scope="module")
def impatient(folder, settings) -> tuple[Chassis, dict]:
    """A run that gets worse from step 20 on, uninterrupted."""
    return train(settings(*IMPATIENT), folder / "impatient")


def validations(chassis: Chassis) -> list[dict]:
    return [row for row in chassis.history if "valid_nats" in row]


def test_training_never_sees_what_is_held_out(impatient):
    """No window is of it, and the frames are normalised by the mean and deviation of the others."""
    chassis, _ = impatient
    trained, valid = chassis.windows.corpus, chassis.valid.corpus
    assert (len(trained), len(valid)) == (5, 2) and not set(trained.ids) & set(valid.ids)
    frames = np.concatenate([trained.frames(utterance) for utterance in range(len(trained))])
    np.testing.assert_allclose(chassis.statistics.mean, frames.mean(axis=0), rtol=1e-4, atol=1e-3)
    seen = {chassis.windows.corpus.ids[utterance] for utterance, _ in chassis.windows.epoch(0)[:].tolist()}
    assert seen == set(trained.ids)


def test_each_pass_is_a_row_and_the_last_one_is_in_the_results(impatient):
    """In history, in what is logged, and measured anew with the checkpoint of the best pass."""
    chassis, results = impatient
    rows = validations(chassis)
    assert [row["step"] for row in rows] == list(range(5, results["steps"] + 1, 5))
    logged = [row for row in logged_rows(chassis.folder / "history.jsonl") if "valid/nats" in row]
    assert [(row["step"], row["valid/nats"], row["valid/error"]) for row in logged] == [
        (row["step"], row["valid_nats"], row["valid_error"]) for row in rows
    ]
    assert (results["valid_nats"], results["valid_error"]) == (rows[-1]["valid_nats"], rows[-1]["valid_error"])
    best = checkpoints.load(chassis.folder / BEST)
    measured = teacher_forced(best.model(), corpus_windows(best, part="valid"))
    assert measured.nats == pytest.approx(min(row["valid_nats"] for row in rows), rel=1e-6)


def test_the_best_checkpoint_is_that_of_the_fewest_nats_on_the_valid_part(impatient):
    """Its step is named with them, and the run's own checkpoint stays the last one."""
    chassis, results = impatient
    best = min(validations(chassis), key=lambda row: row["valid_nats"])
    assert 5 < best["step"] <= 25 and best["step"] < results["steps"]
    assert (results["best_valid_nats"], results["best_step"]) == (best["valid_nats"], best["step"])
    assert results["best_checkpoint"] == BEST and "best_wrong" not in results
    steps = [checkpoints.load(chassis.folder / name).training["step"] for name in (BEST, CHECKPOINT)]
    assert steps == [best["step"], results["steps"]]


def test_training_ends_when_its_patience_does(impatient):
    """After three passes in a row that were no better than the best, of the eight that there would have been."""
    _, results = impatient
    assert results["steps"] == results["best_step"] + 3 * 5 < 40


def test_a_run_that_only_validates_has_results_of_the_valid_part(impatient, settings, tmp_path):
    """And so has its record, which measures all of that part; a run that also looks at its training part is as ever."""
    chassis, results = impatient
    assert (
        results["split"] == "valid" and results["samples"] == 2 * SAMPLES and results["nats"] == results["valid_nats"]
    )
    for name, expected in ((CHECKPOINT, results["valid_nats"]), (BEST, results["best_valid_nats"])):
        pin(chassis.folder, None, tmp_path / name, compose_command("clips=0"), name)
        record = read_results(tmp_path / name)
        assert (record["split"], record["samples"]) == ("valid", 2 * SAMPLES)
        assert record["nats"] == pytest.approx(expected, rel=1e-6)
        assert "mode=evaluate split=valid" in (tmp_path / name / "README.md").read_text()
    both = settings(*SPLIT, "train.validate_interval=2", "train.steps=2", "train.sample_utterances=0")
    _, results = train(both, tmp_path / "both")
    assert results["split"] == "train" and results["samples"] == 5 * SAMPLES and results["best_step"] == 2
    assert results["nats"] != results["valid_nats"]


def test_an_evaluation_is_of_what_was_held_out(impatient, tmp_path, capsys):
    """Of the tests, wherever the corpus lies now; asked for, of the training part, and it says that it is that."""
    chassis, _ = impatient
    (tmp_path / "elsewhere").symlink_to(chassis.settings.data.root[0])
    moved = replace(chassis.settings, data=replace(chassis.settings.data, root=(str(tmp_path / "elsewhere"),)))
    checkpoint = checkpoints.load(chassis.checkpoint_path)
    for split, samples, said in (
        (None, SAMPLES, "split=test: 1 utterance, 0.1 s, none of which the model was trained on."),
        ("train", 5 * SAMPLES, "split=train: 5 utterances, 0.5 s, all of which the model was trained on."),
        ("all", 8 * SAMPLES, "split=all: 8 utterances, 0.8 s, 5 of which the model was trained on."),
    ):
        command = compose_command("clips=0", f"split={split or 'null'}")
        measured = evaluate(chassis.checkpoint_path, checkpoint, moved, None, tmp_path / "evaluation.json", command)
        assert measured["samples"] == samples and said in capsys.readouterr().err


@pytest.mark.parametrize("killed_at", [5, 13, 21, 32, None])
def test_killed_and_resumed_it_ends_as_it_would_have(impatient, settings, tmp_path, killed_at):
    """Bit for bit, patience included: around passes and checkpoints, and after its last step."""
    if killed_at:
        with pytest.raises(Killed):
            KilledAtStep(settings(*IMPATIENT), tmp_path / "run", killed_at).train()
    else:
        train(settings(*IMPATIENT), tmp_path / "run")
        (tmp_path / "run" / RESULTS).unlink()
    assert_equal(of(train(settings(*IMPATIENT), tmp_path / "run")), of(impatient))


def test_validating_changes_nothing_of_the_training(settings, tmp_path):
    """The same weights, bit for bit, as of a run that holds out as much and does not look at it."""
    quiet = (*SPLIT, "train.steps=8", "train.evaluate_interval=0", "train.sample_utterances=0", "upsampling.jitter=0.2")
    runs = [train(settings(*quiet, f"train.validate_interval={n}"), tmp_path / f"every {n}")[0] for n in (0, 3)]
    one, other = (chassis.model.state_dict() for chassis in runs)
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_a_pass_takes_whole_utterances_up_to_a_limit(settings, tmp_path):
    """The same ones each time, at least one; the nats are those of them alone."""
    lengths = {}
    for limit in (1, SAMPLES, 2 * SAMPLES - 1, 2 * SAMPLES):
        chassis = Chassis(settings(*VALIDATING, f"train.validate_samples={limit}"), tmp_path / "run")
        lengths[limit] = list(chassis.valid.corpus.lengths)
    assert list(lengths.values()) == [[SAMPLES]] * 3 + [[SAMPLES] * 2]


def test_what_is_heard_is_of_the_valid_part(settings, tmp_path):
    """Where there are passes over it; else of what is trained on."""
    heard = (*SPLIT, "train.steps=2", "train.evaluate_interval=0", "train.sample_utterances=2")
    for interval in (0, 2):
        chassis, _ = train(settings(*heard, f"train.validate_interval={interval}"), tmp_path / f"every {interval}")
        names = {path.name.partition(".")[0] for path in chassis.folder.glob("*.generated.wav")}
        part = chassis.valid.corpus.ids if interval else chassis.corpus.ids[:2]
        assert names == set(part)


def test_a_part_that_is_empty_is_refused_before_training(settings, tmp_path):
    """Of the first two utterances none is held out."""
    few = settings(*VALIDATING, "data.seconds=0.2")
    sentence = refused(Chassis, few, tmp_path / "run")
    assert "data.valid=0.4" in sentence and "none of the corpus's 2 utterances is in the valid part" in sentence


def test_nats_that_never_fall_end_it_at_once(settings, tmp_path, capsys):
    """At a learning rate of 0 the first pass is the best; one line says why it ended."""
    still = settings(*VALIDATING, "optim.learning_rate=0", "train.patience=1", "optim.ema_decay=0")
    _, results = train(still, tmp_path / "run")
    assert results["steps"] == 10 and results["best_step"] == 10 and math.isfinite(results["valid_nats"])
    assert capsys.readouterr().err.count("Training ended after 1 passes over the valid part that were no better") == 1
