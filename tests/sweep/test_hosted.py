"""Sweeps on the hosted service: W&B's own command line drives run.py, and what its server received is checked.

The server listens on the loopback. Takes about 35 s.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from support.command import CommandLine
from support.settings import ROOT, SMALL
from support.wandb_server import ENTITY, Run, Server

from mfcc_wavenet.models import checkpoint as checkpoints

TIMEOUT_SECONDS = 300  # of the agents, which take 30 on an idle machine
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
FIXED = [setting for setting in SMALL if not setting.startswith(("tracking", "window"))]
GOOD = {
    "window": {"values": ["samples500", "samples5000"]},
    "optim.learning_rate": {"values": [0.002]},
    "train.steps": {"value": 10},
    "train.sample_utterances": {"value": 0},
    "optim.clip_grad_norm": {"value": None},
    "upsampling.strides": {"value": [16, 10]},
    "upsampling.kernel_sizes": {"value": [32, 20]},
    "wavenet.speaker_channels": {"value": 0},
}
ENDLESS = {"train.steps": {"value": 100_000}}  # minutes, unless it is stopped
CONTRADICTORY = {"upsampling.strides": {"value": [5, 5]}, "upsampling.kernel_sizes": {"value": [5, 5]}}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Three sweeps at the same time, each with an agent: the server, the folder and what each agent printed.

    One is created by W&B's command line, the others as it would.
    """
    folder = tmp_path_factory.mktemp("hosted")
    server, agents = Server(), {}
    try:
        environment = environment_of(server, folder)
        ids = {"good": create("good", GOOD, folder, environment)}
        others = {"endless": ENDLESS, "contradictory": CONTRADICTORY}
        ids |= {name: server.create_sweep(document(name, parameters), "tests") for name, parameters in others.items()}
        agents |= {name: agent(sweep, folder, environment) for name, sweep in ids.items()}
        stopper = threading.Thread(target=stop_once_it_runs, args=(server, ids["endless"]))
        stopper.start()
        printed = {name: process.communicate(timeout=TIMEOUT_SECONDS)[0] for name, process in agents.items()}
        stopper.join()
        assert all(process.returncode == 0 for process in agents.values()), printed
        yield server, ids, folder, printed
    finally:
        for process in agents.values():
            process.kill()
            process.wait()
        server.close()


def environment_of(server: Server, folder: Path) -> dict[str, str]:
    """A home without credentials, this environment's python first, and the server's address."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "XDG_", "NETRC"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    # On a busy machine wandb's own process may start slowly as well.
    busy = {"OMP_NUM_THREADS": "1", "WANDB__SERVICE_WAIT": str(TIMEOUT_SECONDS)}
    return own | server.environment | busy | {"HOME": str(folder), "PATH": path}


def document(name: str, parameters: dict) -> dict:
    """What a sweep file of that name holds."""
    fixed = [*FIXED, f"runs=runs/{name}", f"data.prepared=prepared/{name}", f"tracking.dir={name}"]
    sweep = {"program": str(ROOT / "run.py"), "method": "grid", "parameters": parameters}
    return sweep | {"metric": {"name": "error", "goal": "minimize"}, "command": [*COMMAND, *fixed]}


def create(name: str, parameters: dict, folder: Path, environment: dict[str, str]) -> str:
    """`wandb sweep FILE`: the sweep's id."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document(name, parameters)))
    command = [sys.executable, "-m", "wandb", "sweep", "--project", "tests", f"{name}.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stderr.split("wandb agent ")[-1].split()[0].split("/")[-1]


def agent(sweep: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "wandb", "agent", f"{ENTITY}/tests/{sweep}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def stop_once_it_runs(server: Server, sweep: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (started := [run for run in runs(server, sweep) if run.config]) and time.monotonic() < deadline:
        time.sleep(0.1)
    server.stopping |= {run.name for run in started}


def runs(server: Server, sweep: str) -> list[Run]:
    return [server.runs[name] for name in server.sweeps[sweep].runs if name in server.runs]


def folder_of(run: Run, runs: Path) -> Path:
    """Where it was trained: its checkpoint knows its id."""
    (path,) = (p for p in runs.glob("*/checkpoint.pt") if checkpoints.load(p).training["run_id"] == run.name)
    return path.parent


def test_every_setting_of_a_grid_becomes_a_finished_run(swept):
    """Two runs, under the ids that the agent was given, in the sweep, with different names."""
    server, ids, _, printed = swept
    both = runs(server, ids["good"])
    assert [run.exit_code for run in both] == [0, 0], printed["good"]
    assert {run.sweep for run in both} == {ids["good"]} and {run.project for run in both} == {"tests"}
    assert {run.job_type for run in both} == {"train"}


def test_a_run_is_called_by_its_number_and_what_varies(swept):
    """Neither by the settings that are fixed, nor by where they come from; the folder's name tells all of them."""
    server, ids, folder, _ = swept
    both = runs(server, ids["good"])
    assert [run.display_name for run in both] == ["001 window=samples500", "002 window=samples5000"]
    assert all(folder_of(run, folder / "runs" / "good").name.startswith("default+") for run in both)


def test_sweep_and_run_agree_on_every_setting(swept):
    """One flat key for each, dotted or a config group, with the same value, null and lists included."""
    server, ids, folder, _ = swept
    for run, samples in zip(runs(server, ids["good"]), (500, 5000)):
        asked = {key: given.get("value", given.get("values", [None])[0]) for key, given in GOOD.items()}
        asked["window"] = f"samples{samples}"
        assert {key: run.settings[key] for key in asked} == asked
        assert (run.settings["window.samples"], run.settings["wavenet.residual_channels"]) == (samples, 8)
        assert not any(isinstance(value, dict) for value in run.settings.values())
        trained = checkpoints.load(folder_of(run, folder / "runs" / "good") / "checkpoint.pt").settings
        assert trained.optim.clip_grad_norm is None and trained.upsampling.strides == (16, 10)


def test_every_row_and_the_summary_arrive(swept):
    """The history of each metric, and the results as they are in the run's folder."""
    server, ids, folder, _ = swept
    for run in runs(server, ids["good"]):
        assert run.values("step") == run.values("_step") == [5, 10]
        assert all(len(run.values(f"train/{metric}")) == 2 for metric in ("loss", "error", "grad_norm", "samples_seen"))
        results = json.loads((folder_of(run, folder / "runs" / "good") / "results.json").read_text())
        not_null = {key: value for key, value in results.items() if value is not None}
        assert {key: run.summary[key] for key in not_null} == not_null
        assert run.summary["train/loss"] == run.values("train/loss")[-1]


def test_a_run_that_is_stopped_early_is_finished_and_kept(swept):
    """The agent sends SIGTERM: the run ends with 0, its checkpoint is there, and the agent counts no failure."""
    server, ids, folder, printed = swept
    (run,) = runs(server, ids["endless"])
    assert run.exit_code == 0, printed["endless"]
    step = checkpoints.load(folder_of(run, folder / "runs" / "endless") / "checkpoint.pt").training["step"]
    assert f"Stopped at step {step}" in printed["endless"]
    assert run.values("step") == list(range(5, step + 1, 5))


def test_a_setting_that_is_refused_fails_with_its_sentence(swept):
    """In the agent's output, and in the run's log on the server, where it could not be seen otherwise."""
    server, ids, _, printed = swept
    (run,) = runs(server, ids["contradictory"])
    sentence = "upsampling.strides [5, 5] multiply to 25, but features.hop_length is 160"
    assert run.exit_code == 2 and run.sweep == ids["contradictory"]
    assert sentence in printed["contradictory"] and "Traceback" not in printed["contradictory"]
    assert any(sentence in line for line in run.output.values())


def test_a_setting_that_is_drawn_twice_is_trained_once_and_reported_twice(swept, monkeypatch, capsys):
    """The second run with the same command has the first one's results at once; the sweep does not wait for ever."""
    server, ids, folder, _ = swept
    first, _ = runs(server, ids["good"])
    environment = server.environment | {"HOME": str(folder), "WANDB_SWEEP_ID": ids["good"], "WANDB_RUN_ID": "again"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = yaml.safe_load((folder / "good.yaml").read_text())["command"][len(COMMAND) :]
    asked = [f"{key}={given['value'] if 'value' in given else given['values'][0]}" for key, given in GOOD.items()]
    done = CommandLine(folder, monkeypatch, capsys)(shlex.join([*asked, *command]))
    again = server.runs["again"]
    assert done.code == 0 and "This run is finished" in done.out, done.err
    assert again.exit_code == 0 and again.sweep == ids["good"] and not again.history
    assert again.settings == first.settings and again.summary["error"] == first.summary["error"]
