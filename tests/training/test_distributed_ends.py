"""Several processes end together and with one sentence: in a file of its own, next to which others can run."""

import os
import signal
import subprocess
import time
from pathlib import Path

from support.settings import ROOT, SMALL
from support.torchrun import ENVIRONMENT, SECONDS, TORCHRUN

from mfcc_wavenet.models import checkpoint as checkpoints

OUR_TRACEBACK = f'{ROOT / "run.py"}", line'


def started(folder: Path, after: int) -> subprocess.Popen:
    """A run of two processes, once it has a checkpoint of a step after that one."""
    command = [
        *TORCHRUN, str(ROOT / "run.py"), *SMALL, f"data.prepared={folder / 'prepared'}", f"runs={folder}", "name=run",
        "train.steps=100000", "train.checkpoint_interval=20", "train.sample_interval=0", "train.stop_at_zero=false",
        "window.batch_size=2",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, cwd=folder)
    deadline = time.monotonic() + SECONDS
    while step(folder) <= after:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def step(folder: Path) -> int:
    path = folder / "run" / "checkpoint.pt"
    return checkpoints.load(path).training["step"] if path.is_file() else 0


def test_a_signal_and_a_kill_end_all_processes_with_one_sentence(tmp_path):
    """SIGTERM to torchrun saves and ends; the same command resumes; SIGKILL of one process leaves a checkpoint."""
    process = started(tmp_path, after=0)
    process.terminate()
    _, stderr = process.communicate(timeout=SECONDS)
    saved = step(tmp_path)
    assert stderr.count(f"Stopped at step {saved};") == stderr.count("the same command resumes") == 1, stderr
    assert OUR_TRACEBACK not in stderr and process.returncode == 1  # the traceback and the code are torchrun's

    process = started(tmp_path, after=saved)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    _, stderr = process.communicate(timeout=SECONDS)
    assert f"Resuming from {tmp_path / 'run' / 'checkpoint.pt'}, step {saved}." in stderr
    assert stderr.count("Another of the 2 processes of this run has ended") == 1, stderr
    assert stderr.count("the same command resumes") == 1 and OUR_TRACEBACK not in stderr, stderr
    assert step(tmp_path) % 20 == 0
