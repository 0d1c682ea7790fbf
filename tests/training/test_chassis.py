"""The training loop: exact resumption above all."""

import math
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from support.settings import ROOT, SMALL, compose_settings
from support.wandb_runs import summary_of

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.batch import Position
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.build import build_model
from mfcc_wavenet.modes import with_settings
from mfcc_wavenet.runs.history import score
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.optimizer import copies
from mfcc_wavenet.training.schedule import learning_rate

SILENT = "train.sample_utterances=0"  # no sound is generated at the end
# Whitening looks at two thousand windows: in batches of several, it is over sooner.
WHITENING = ("upsampling.frame_whitening=true", "window.batch_size=8", SILENT)
# Everything that has a state is on: jitter draws random numbers, averaging keeps a second model, Muon next to Adam.
STATEFUL = ("optim.optimizer=muon", "upsampling.jitter=0.2", "optim.ema_decay=0.9", SILENT)
STATEFUL += ("train.log_interval=7", "train.sample_interval=0")


def state(chassis: Chassis) -> dict:
    """All that training is made of, flat; wall-clock left out."""
    rows = [{k: v for k, v in row.items() if k != "samples_per_second"} for row in chassis.history]
    return {
        "weights": chassis.model.state_dict(),
        "averaged": chassis.evaluated_model.state_dict(),
        "optimizer": chassis.optimizer.state_dict()["state"],
        "metrics": chassis.metrics.state_dict(),
        "random": torch.get_rng_state(),
        "position": chassis.position,
        "history": rows,
    }


def assert_equal(one, other) -> None:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other):
            assert_equal(mine, theirs)
    else:
        assert one == other


def start(tmp_path, *overrides: str) -> subprocess.Popen:
    """The real command, on the small settings, in a folder of its own; it returns once a checkpoint is there."""
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, f"data.prepared={tmp_path / 'prepared'}", *overrides]
    command += [f"runs={tmp_path}", "name=killed", "train.threads=1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    path = tmp_path / "killed" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not (path.is_file() and checkpoints.load(path).training["step"]):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_killed_and_resumed_is_uninterrupted(small, tmp_path):
    """2N steps = N steps + SIGKILL + resume + N steps: weights, average, optimizer, RNG, metrics and history.

    Also where other processes load the batches of what is killed and resumed, and none does otherwise.
    """
    threads = torch.get_num_threads()
    both, loaded = (*STATEFUL, "train.log_interval=23"), "train.workers=2"
    process = start(tmp_path, *both, loaded, "train.steps=100000", "train.checkpoint_interval=20")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    checkpoint = checkpoints.load(tmp_path / "killed" / "checkpoint.pt")
    killed_at = checkpoint.training["step"]
    assert killed_at % 20 == 0 and killed_at % 23 != 0  # a row of metrics was half accumulated
    twice = (*both, f"train.steps={2 * killed_at}", "train.threads=1")
    settings = small(*twice, loaded)
    resumed = Chassis(settings, tmp_path / "resumed", with_settings(checkpoint, settings))
    assert resumed.step == killed_at
    resumed.train()
    after_resumption = state(resumed)
    uninterrupted = Chassis(small(*twice), tmp_path / "uninterrupted")
    uninterrupted.train()
    assert_equal(after_resumption, state(uninterrupted))
    torch.set_num_threads(threads)


def test_frames_are_whitened_once(small, tmp_path):
    """Before the first step, in the averaged model, too; not where training starts from weights that have learnt."""
    whitening = (*WHITENING, "optim.ema_decay=0.9", "optim.learning_rate=0", "train.steps=1")
    first = Chassis(small(*whitening), tmp_path / "first")
    drawn = copies(first.model.parameters())
    first.train()
    whitened = copies(first.model.parameters())
    changed = [not torch.equal(*pair) for pair in zip(drawn, whitened)]
    assert sum(changed) == 2 and changed[:2] == [True, True]  # weights and biases of the first layer at frame rate
    assert_equal(whitened, copies(first.averaged.parameters()))
    checkpoint = checkpoints.load(first.checkpoint_path)
    for start in (checkpoint, replace(checkpoint, training=None)):
        again = Chassis(small(*whitening[:-1], "train.steps=2"), tmp_path / "again", start)
        again.train()
        assert_equal(whitened, copies(again.model.parameters()))


def test_resuming_in_other_windows_keeps_the_weights_and_the_place(small, tmp_path):
    """Another window and batch size: same weights, same optimizer, same epoch, and its done share is skipped."""
    first = Chassis(small("train.steps=10", SILENT), tmp_path / "first")
    first.train()
    checkpoint = checkpoints.load(first.checkpoint_path)
    settings = small("train.steps=40", SILENT, "window.samples=100", "window.batch_size=3")
    second = Chassis(settings, tmp_path / "second", with_settings(checkpoint, settings))
    for name in ("weights", "optimizer"):
        assert_equal(state(first)[name], state(second)[name])
    assert second.step == 10
    begun = second.windows.at(second.position)
    assert begun.epoch == first.position.epoch
    assert begun.done / begun.of == pytest.approx(first.position.done / first.position.of, abs=1 / begun.of)
    seen = second.metrics.samples_seen
    results = second.train()
    assert results["steps"] == 40 and results["samples_seen"] > seen


def test_ctrl_c_ends_the_run_with_everything_saved(tmp_path):
    """The checkpoint is of the very step it stopped at; the exit code is the shell's for that signal.

    The W&B run is finished, and its summary holds the score of what was reached.
    """
    tracking = ("tracking.mode=offline", f"tracking.dir={tmp_path}")
    process = start(tmp_path, "train.steps=100000", "train.checkpoint_interval=20", "train.workers=1", *tracking)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    training = checkpoints.load(tmp_path / "killed" / "checkpoint.pt").training
    assert f"Stopped at step {training['step']};" in stderr.splitlines()[-1]
    (directory,) = (tmp_path / "wandb").glob("offline-run-*")
    run = summary_of(directory)
    assert (run["exit_code"], run["summary"]["score"]) == (0, score(training["history"], 3200))


def test_non_finite_steps_are_skipped_and_then_refused(small, tmp_path):
    """One bad batch changes no weight; more in a row than allowed end the run, at the next row, with a sentence."""
    chassis = Chassis(small("train.max_bad_steps=2"), tmp_path)
    good = chassis._batches(Position())
    bad = replace(next(good), frames=torch.full_like(next(good).frames, math.nan))
    batches = iter([bad, next(good), bad, bad, bad, next(good)])
    before = {name: tensor.clone() for name, tensor in chassis.model.state_dict().items()}
    chassis.training_step(batches)
    assert_equal(before, chassis.model.state_dict())
    chassis.training_step(batches)
    assert not torch.equal(before["wavenet.logits.bias"], chassis.model.wavenet.logits.bias)
    assert chassis.metrics.read()["loss"] > 0
    chassis.training_step(batches)
    chassis.training_step(batches)
    chassis._refuse_divergence()
    chassis.training_step(batches)
    chassis.training_step(batches)  # a good one does not hide the three before it
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row.*learning rate"):
        chassis._refuse_divergence()


def test_a_run_without_a_finite_step_is_one_sentence(small, tmp_path):
    """At a learning rate that no network survives, also where every step is a row."""
    chassis = Chassis(small("optim.learning_rate=1e15", "train.log_interval=1", "train.steps=50"), tmp_path)
    with pytest.raises(UserError, match=r"not finite in 6 steps in a row"):
        chassis.train()


def test_training_is_a_plain_loop(small, tmp_path):
    """Eight steps of the baseline's network are, bit for bit, those of the few lines that a textbook would have."""
    settings = compose_settings(
        "experiment=baseline_adam", f"data.prepared={tmp_path / 'prepared'}", "tracking.mode=disabled",
        "train.steps=8", "train.sample_utterances=0", "train.stop_at_zero=false", "optim.decay_steps=6400",
    )  # fmt: skip
    chassis = Chassis(settings, tmp_path / "run")
    chassis.train()
    torch.manual_seed(settings.train.seed)
    model = build_model(settings, chassis.geometry, speakers=1)
    adam = torch.optim.Adam(model.parameters(), fused=True)
    position = Position()
    for step in range(8):
        batch = chassis.windows[position]
        predictions = model.run(batch)
        logits, target = predictions.pred.transpose(1, 2).flatten(0, 1), predictions.target.flatten()
        nats = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        adam.zero_grad()
        ((nats * batch.mask.flatten()).sum() / batch.mask.sum()).backward()
        adam.param_groups[0]["lr"] = learning_rate(settings.optim, step)
        adam.step()
        position = batch.after
    assert_equal(chassis.model.state_dict(), model.state_dict())


def test_contradicting_settings_are_refused_before_any_file_is_read(small, tmp_path):
    """The strides are wrong and so is the folder: it is the strides that are told of."""
    with pytest.raises(UserError, match=r"200.*160"):
        Chassis(small("upsampling.strides=[200]", "upsampling.kernel_sizes=[200]", "data.root=/nowhere"), tmp_path)


def test_the_same_command_gives_the_same_numbers(small, tmp_path):
    """Two runs with one seed agree bit for bit, and another seed gives another run."""
    states = []
    for seed in (3, 3, 4):
        chassis = Chassis(small(f"train.seed={seed}", "train.steps=12", *STATEFUL), tmp_path / "run")
        chassis.train()
        states.append(state(chassis))
    assert_equal(states[0], states[1])
    assert not torch.equal(states[0]["weights"]["wavenet.logits.weight"], states[2]["weights"]["wavenet.logits.weight"])


def test_gradient_metrics_are_what_they_say(small, tmp_path):
    """update_ratio: norm of the step over norm of the weights; mfcc_grad: the slope of the loss at the frames."""
    chassis = Chassis(small("train.log_interval=1", "window.batch_size=2", "optim.warmup_steps=0"), tmp_path)
    batch = next(chassis._batches(Position()))
    before = [p.detach().clone() for p in chassis.model.upsampling.parameters()]
    chassis.training_step(iter([batch]))
    after = list(chassis.model.upsampling.parameters())
    norm = lambda tensors: math.sqrt(sum(float(t.detach().double().square().sum()) for t in tensors))  # noqa: E731
    row = chassis.metrics.read()
    assert row["update_ratio_upsampling"] == pytest.approx(
        norm([a - b for a, b in zip(after, before)]) / norm(before), rel=1e-4
    )
    assert {"update_ratio_embedding", "update_ratio_layers", "update_ratio_head"} <= row.keys()
    gradient = batch.frames.grad
    assert gradient.abs().max() > 0
    assert row["mfcc_grad_mean"] == pytest.approx(float(gradient.mean()))
    assert row["mfcc_grad_sd"] == pytest.approx(float(gradient.std()))


def test_clipping_and_averaging_do_what_they_say(small, tmp_path):
    """With clipping the gradient left behind has the limit's norm; the average trails the weights by its decay."""
    chassis = Chassis(small("optim.clip_grad_norm=0.01", "optim.ema_decay=0.5"), tmp_path)
    batches = chassis._batches(Position())
    chassis.training_step(batches)
    norm = torch.stack([p.grad.norm() for p in chassis.model.parameters()]).norm()
    assert float(norm) == pytest.approx(0.01, rel=1e-3)
    first = chassis.evaluated_model.wavenet.logits.bias.detach().clone()
    chassis.training_step(batches)
    now = chassis.model.wavenet.logits.bias.detach()
    torch.testing.assert_close(chassis.evaluated_model.wavenet.logits.bias.detach(), (first + now) / 2)
