"""Hydra's launchers: the jobs of a multirun in processes of their own."""

import os
import subprocess
import sys

import pytest
from support.command import QUICK
from support.settings import ROOT

from mfcc_wavenet.models import checkpoint as checkpoints


def test_submitit_runs_each_job(tmp_path):
    """On this machine, as on Slurm: each job is pickled and started elsewhere, and trains with its own setting."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="no hydra-submitit-launcher")
    command = [sys.executable, str(ROOT / "run.py"), "-m", "hydra/launcher=submitit_local", *QUICK.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "train.seed=3,4"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    runs = [checkpoints.load(path) for path in (tmp_path / "runs").glob("*/checkpoint.pt")]
    assert sorted(run.settings.train.seed for run in runs) == [3, 4]
    assert all(run.training["step"] == 4 for run in runs)
