"""The best whole pass is kept next to the last checkpoint, and training can return to it."""

import contextlib
import io
import re
from dataclasses import replace

import pytest
import torch
from support.training import Killed, KilledAtStep, assert_equal, of, train

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import BEST, CHECKPOINT, CONFIG, RESULTS
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import logged_rows, read_results
from mfcc_wavenet.training.chassis import Chassis

# From step 60 to step 75 the learning rate is one that the network does not survive, and what it has learnt is lost.
DIVERGING = (
    "data.seconds=0.1", "wavenet.residual_channels=16", "wavenet.gate_channels=16", "upsampling.jitter=0.2",
    "train.steps=90", "train.evaluate_interval=10", "train.evaluate_below=2", "train.checkpoint_interval=25",
    "train.sample_utterances=0", "optim.schedule=step", "optim.warmup_steps=0", "optim.milestones=[60,75]",
    "optim.milestone_factors=[20,1]", "optim.learning_rate=0.02", "optim.ema_decay=0.5",
)  # fmt: skip
RETURNING = (*DIVERGING, "train.return_to_best=1.2")


def passes(chassis: Chassis) -> list[dict]:
    return [row for row in chassis.history if "wrong" in row]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("best")


@pytest.fixture(scope="module")
def returning(folder) -> Settings:
    from support.settings import SMALL, compose_settings

    return compose_settings(*SMALL, f"data.prepared={folder / 'prepared'}", *RETURNING)


@pytest.fixture(scope="module")
def uninterrupted(folder, returning) -> tuple[tuple[Chassis, dict], str]:
    """A run that diverges and returns, and what it said on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        return train(returning, folder / "uninterrupted"), said.getvalue()


@pytest.fixture(scope="module")
def returned(uninterrupted) -> tuple[Chassis, dict]:
    return uninterrupted[0]


def test_the_best_pass_is_kept_where_a_later_one_is_worse(small, tmp_path, capsys):
    """Its file measures as it did then; the results and the table say that it is the better one."""
    chassis, results = train(small(*DIVERGING), tmp_path / "run")
    best = min(passes(chassis), key=lambda row: row["wrong"])
    assert best["step"] <= 60 and best["wrong"] < results["wrong"] and results["returns"] == 0
    assert (results["best_wrong"], results["best_step"], results["best_checkpoint"]) == (
        best["wrong"], best["step"], BEST,
    )  # fmt: skip
    assert read_results(chassis.folder).items() >= results.items()
    kept = checkpoints.load(chassis.folder / BEST)
    assert kept.training["step"] == best["step"] and measure(kept)["wrong"] == best["wrong"]
    assert measure(checkpoints.load(chassis.checkpoint_path))["wrong"] == results["wrong"]
    line = f"best pass        {best['wrong']:,} wrong after {best['step']} steps: {chassis.folder / BEST}"
    assert line in capsys.readouterr().out.splitlines()


def test_a_last_pass_that_is_the_best_is_both_files(inverted):
    """As at zero error: the same weights, and the results name the checkpoint."""
    chassis, results = inverted
    last, best = (checkpoints.load(chassis.folder / name) for name in (CHECKPOINT, BEST))
    assert all(torch.equal(weight, best.weights[name]) for name, weight in last.weights.items())
    assert (results["best_wrong"], results["best_step"], results["best_checkpoint"]) == (
        0,
        results["steps"],
        CHECKPOINT,
    )


def test_the_best_pass_of_another_run_does_not_stay(small, tmp_path):
    """That of a run which is trained from the beginning again, in the same folder."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / BEST).write_text("another run's")
    settings = small("train.steps=8", "train.sample_utterances=0")
    with pytest.raises(Killed):
        KilledAtStep(settings, tmp_path / "run", 4).train()
    assert not (tmp_path / "run" / BEST).exists()
    assert (
        train(settings, tmp_path / "run")[1]["best_wrong"]
        == measure(checkpoints.load(tmp_path / "run" / BEST))["wrong"]
    )


def test_training_returns_to_its_best_pass(returned):
    """From a row whose loss is too high; each return is in the history, in the rows that are logged and counted."""
    chassis, results = returned
    rows = {row["step"]: row["loss"] for row in chassis.history if "loss" in row}
    returns = [row for row in chassis.history if "returned_to" in row]
    assert results["returns"] == len(returns) > 0 and min(row["step"] for row in returns) > 60
    for row in returns:
        before = [one for one in passes(chassis) if one["step"] < row["step"]]
        best = min(before, key=lambda one: one["wrong"])
        assert row["returned_to"] == best["step"] and rows[row["step"]] > 1.2 * rows[best["step"]]
    logged = [row for row in logged_rows(chassis.folder / "history.jsonl") if "train/returned_to" in row]
    assert [(row["step"], row["train/returned_to"]) for row in logged] == [
        (row["step"], row["returned_to"]) for row in returns
    ]
    for row in (row for row in returns if row["step"] % 10 == 0):  # a pass is made at once: it is the best one again
        again = next(one for one in passes(chassis) if one["step"] == row["step"])
        assert again["wrong"] == min(one["wrong"] for one in passes(chassis) if one["step"] <= row["step"])
    assert any(row["step"] % 10 == 0 for row in returns)


def test_a_return_is_one_line_and_takes_weights_and_moments_alone(uninterrupted, returning, tmp_path):
    """The step, the position in the epoch and the random state go on."""
    (chassis, _), said = uninterrupted
    (step,) = {row["step"] for row in chassis.history if "returned_to" in row and row["step"] <= 65}
    lines = [line for line in said.splitlines() if "return to the best pass" in line]
    assert len(lines) == sum("returned_to" in row for row in chassis.history)
    assert re.search(
        rf"The loss is \d\.\d+ nats at step {step}; weights and optimizer return to .* step \d+ \(", lines[0]
    )
    killed = KilledAtStep(returning, tmp_path / "killed", step)
    with pytest.raises(Killed):
        killed.train()
    best = checkpoints.load(tmp_path / "killed" / BEST).training
    assert best["step"] < killed.step == step and best["position"] != killed.position


@pytest.mark.parametrize("killed_at", [33, 61, 72, 90])
def test_killed_and_resumed_it_returns_as_it_would_have(returned, returning, tmp_path, killed_at):
    """Bit for bit: before, at and after passes, returns and checkpoints."""
    if killed_at < 90:
        with pytest.raises(Killed):
            KilledAtStep(returning, tmp_path / "run", killed_at).train()
    else:
        train(returning, tmp_path / "run")
        (tmp_path / "run" / RESULTS).unlink()
    assert_equal(of(train(returning, tmp_path / "run")), of(returned))


def test_killed_between_its_two_files_it_writes_the_second_one_again(returned, returning, tmp_path):
    """The checkpoint of the best pass is there, its copy is still that of the best pass before."""
    chassis, _ = returned
    improved = [
        row["step"]
        for i, row in enumerate(passes(chassis))
        if all(row["wrong"] < one["wrong"] for one in passes(chassis)[:i])
    ]
    before, best = [step for step in improved if step <= 60][-2:]  # the last ones before it returns
    for name, step in (("before", before), ("run", best)):
        with pytest.raises(Killed):
            KilledAtStep(returning, tmp_path / name, step).train()
    assert checkpoints.load(tmp_path / "run" / CHECKPOINT).training["step"] == best
    (tmp_path / "before" / BEST).replace(tmp_path / "run" / BEST)
    assert_equal(of(train(returning, tmp_path / "run")), of(returned))


def test_a_best_pass_whose_file_somebody_removed_counts_no_more(returning, tmp_path):
    """The next pass is the best one then, and training returns to it."""
    with pytest.raises(Killed):
        KilledAtStep(returning, tmp_path / "run", 35).train()
    path = tmp_path / "run" / CHECKPOINT
    training = checkpoints.load(path).training
    checkpoints.save(
        path, replace(checkpoints.load(path), training=training | {"best": training["best"] | {"step": 1}})
    )
    (tmp_path / "run" / BEST).unlink()
    chassis, results = train(returning, tmp_path / "run")
    assert chassis.best["step"] > 30 and results["returns"] > 0 and (tmp_path / "run" / CONFIG).is_file()


@pytest.mark.parametrize("factor", [0.5, 1])
def test_a_factor_that_would_always_return_is_refused(small, factor):
    """It is one above 1."""
    with pytest.raises(UserError, match=rf"train\.return_to_best is {factor:.1f}; it is a factor above 1"):
        small(f"train.return_to_best={factor}")
