"""However a run ends, the same command ends where an uninterrupted one would have."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.settings import ROOT, SMALL

from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import logged_rows
from mfcc_wavenet.training.chassis import Chassis


def without_times(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if "samples_per_second" not in name} for row in rows]


def test_a_run_that_was_killed_before_its_results_ends_where_it_had_ended(inverted, tmp_path):
    """At zero error: the same step, weights, curves and rows as without the kill, not a step more."""
    chassis, results = inverted
    shutil.copytree(chassis.folder, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    checkpoint = checkpoints.load(tmp_path / "run" / "checkpoint.pt")
    again = Chassis(checkpoint.settings, tmp_path / "run", checkpoint)
    repeated = again.train()
    assert {**repeated, "seconds": 0} == {**results, "seconds": 0}
    assert again.history == chassis.history
    weights = chassis.model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in again.model.state_dict().items())
    rows = [logged_rows(folder / "history.jsonl") for folder in (chassis.folder, tmp_path / "run")]
    assert without_times(rows[0]) == without_times(rows[1])


def test_a_run_that_was_killed_in_its_last_pass_logs_it_once(small, tmp_path):
    """The pass at the last step is in the rows, but not in the checkpoint that is resumed."""
    settings = small("train.steps=10", "train.sample_utterances=0")
    Chassis(settings, tmp_path / "run").train()
    rows = logged_rows(tmp_path / "run" / "history.jsonl")
    checkpoint = checkpoints.load(tmp_path / "run" / "checkpoint.pt")
    Chassis(settings, tmp_path / "run", checkpoint).train()
    assert without_times(logged_rows(tmp_path / "run" / "history.jsonl")) == without_times(rows)


def test_a_rate_that_has_decayed_is_told_of(small, tmp_path, capsys):
    """Training on for more steps would all be at the floor: which setting decays anew."""
    decayed = ("train.steps=4", "train.sample_utterances=0", "optim.decay_steps=4", "optim.warmup_steps=1")
    chassis = Chassis(small(*decayed), tmp_path / "run")
    chassis.train()
    capsys.readouterr()
    checkpoint = checkpoints.load(chassis.checkpoint_path)
    longer = replace(chassis.settings, train=replace(chassis.settings.train, steps=8))
    Chassis(longer, tmp_path / "longer", checkpoint).train()
    assert "had decayed to its floor by step 4, and the steps up to 8 stay there; optim.decay_steps=8" in (
        capsys.readouterr().err
    )


@pytest.fixture
def training(tmp_path):
    """A run of its own process group with two processes that load batches, once its first checkpoints are there."""
    command = [
        sys.executable, str(ROOT / "run.py"), *SMALL, f"data.prepared={tmp_path / 'prepared'}", f"runs={tmp_path}",
        "name=run", "train.steps=100000", "train.checkpoint_interval=5", "train.workers=2", "train.threads=1",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        path, deadline = tmp_path / "run" / "checkpoint.pt", time.monotonic() + 120
        while not (path.is_file() and checkpoints.load(path).training["step"]):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield process
        process.kill()


def test_a_signal_to_the_whole_group_saves_and_ends(training, tmp_path):
    """As `timeout`, Slurm and systemd send it; the processes that load batches get it, too."""
    os.killpg(training.pid, signal.SIGTERM)
    _, stderr = training.communicate(timeout=60)
    assert training.returncode == 143 and "Traceback" not in stderr, stderr
    step = checkpoints.load(tmp_path / "run" / "checkpoint.pt").training["step"]
    assert f"Stopped at step {step};" in stderr.splitlines()[-1]


def test_a_killed_loader_is_one_sentence(training, tmp_path):
    """And the last checkpoint is whole."""
    children = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, stderr = training.communicate(timeout=60)
    assert training.returncode == 2 and "Traceback" not in stderr, stderr
    assert "A process that loads batches was killed" in stderr.splitlines()[-1]
    assert checkpoints.load(tmp_path / "run" / "checkpoint.pt").training["step"] > 0


LOADER_WHOSE_PARENT_HANGS_UP = """
import os, socket, sys
from multiprocessing.resource_sharer import DupFd
from mfcc_wavenet.training.loader import leave_the_end_to_parent

leave_the_end_to_parent(0)
handed_out = DupFd(1)
with socket.socket(socket.AF_UNIX) as parent:
    parent.connect(handed_out._id[0])
os.write(handed_out.detach(), b"handed out")  # by the same thread, so it has ended with the other one
sys.excepthook(ValueError, ValueError("another error"), None)
"""


def test_a_loader_is_silent_where_the_parent_hangs_up():
    """As it does in the middle of fetching a batch when another loader was killed."""
    command = [sys.executable, "-c", LOADER_WHOSE_PARENT_HANGS_UP]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (ended.stdout, ended.stderr) == ("handed out", "ValueError: another error\n")
