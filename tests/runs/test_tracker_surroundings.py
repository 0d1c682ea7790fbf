"""What is around a run: settings and W&B's variables, the disk, the console, the address online."""

import contextlib
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.command import QUICK, CommandLine
from support.disks import file_system
from support.wandb_home import log_nobody_in
from support.wandb_runs import records
from support.wandb_server import ENTITY, Server

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs.tracker import Tracker

NOTHING = TrackingSettings("offline", None, None, None, (), None, 8.0)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    log_nobody_in(tmp_path / "home", monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


ENVIRONMENT = {
    "WANDB_PROJECT": "theirs",
    "WANDB_NAME": "a name of theirs",
    "WANDB_TAGS": "one,two",
    "WANDB_JOB_TYPE": "night",
    "WANDB_ENTITY": "a-team",
    "WANDB_RUN_GROUP": "a group of theirs",
    "WANDB_NOTES": "of today",
}


def test_what_is_set_in_the_environment_counts_where_the_settings_say_nothing(tmp_path, monkeypatch):
    """Of each of W&B's variables; otherwise the settings count, and without both the project is mfcc_wavenet."""
    ours = TrackingSettings("offline", "ours", "us", "our group", ("ours",), str(tmp_path / "our folder"), 8.0)
    found = []
    for name, environment, given in (("no", {}, NOTHING), ("env", ENVIRONMENT, NOTHING), ("both", ENVIRONMENT, ours)):
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        if environment:
            monkeypatch.setenv("WANDB_DIR", str(tmp_path / "their folder"))
        tracker = Tracker(given, name=name, config={})
        tracker.finish()
        run = next(record["run"] for record in records(tracker.directory) if record["type"] == "run")
        keys = ("project", "display_name", "tags", "job_type", "entity", "run_group", "notes")
        found.append([run.get(key) for key in keys] + [tracker.directory.parents[1]])
    theirs = ["theirs", "a name of theirs", ["one", "two"], "night", "a-team", "a group of theirs", "of today"]
    assert found[0] == ["mfcc_wavenet", "no", None, "train", None, None, None, tmp_path]
    assert found[1] == [*theirs, tmp_path / "their folder"]
    own = ["ours", "a name of theirs", ["ours"], "night", "us", "our group", "of today"]
    assert found[2] == [*own, tmp_path / "our folder"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [("WANDB_PROJECT", "a/b", "cannot contain"), ("WANDB_PROJECT", "p" * 129, "128"), ("WANDB_TAGS", "t" * 65, "64")],
)
def test_what_wandb_refuses_of_the_environment_is_a_sentence(tmp_path, monkeypatch, variable, value, words):
    """And no run is left open."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=rf"wandb refuses a WANDB_\* variable or its settings file: .*{words}.*\.$"):
        Tracker(NOTHING, name="n", config={})
    assert Tracker._current is None and not (tmp_path / "wandb").exists()


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("project", "a/b", "tracking.project=a/b: W&B takes none of / \\ # ? % : in the name of a project"),
        ("project", "50%", "tracking.project=50%: W&B takes none of"),
        ("project", "p" * 129, "tracking.project=pppppppppppppppppppp...: it has 129 characters; W&B takes 1 to 128."),
        ("group", "g" * 129, "it has 129 characters; W&B takes 1 to 128."),
        ("tags", ("fine", ""), "tracking.tags=...: it has 0 characters; W&B takes 1 to 64."),
        ("tags", ("t" * 65,), "it has 65 characters; W&B takes 1 to 64."),
    ],
)
def test_names_that_wandb_would_refuse_are_refused_before(tmp_path, setting, value, sentence):
    """In its own terms, and the longest ones that it takes are taken."""
    with pytest.raises(UserError, match=re.escape(sentence)):
        replace(NOTHING, **{setting: value})
    longest = replace(NOTHING, project="p" * 128, group="g" * 128, tags=("t" * 64,))
    Tracker(longest, name="n", config={}).finish()


@pytest.mark.parametrize(("given", "display_name"), [("name=mine", "mine"), ("runs=theirs", "a name of theirs")])
def test_a_name_on_the_command_line_counts_more_than_the_environment(
    tmp_path, monkeypatch, capsys, given, display_name
):
    """W&B's variable names the run there, not its folder."""
    monkeypatch.setenv("WANDB_NAME", "a name of theirs")
    done = CommandLine(tmp_path, monkeypatch, capsys)(f"{QUICK} tracking.mode=offline train.steps=1 {given}")
    assert done.code == 0, done.err
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    assert [r["run"]["display_name"] for r in records(directory) if r["type"] == "run"] == [display_name]
    assert not list(tmp_path.glob("*/a name*"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("tracking.project=a/b", "tracking.project=a/b: W&B takes none of"),
        (f"tracking.tags=[{'t' * 65}]", "W&B takes 1 to 64"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before_training(tmp_path, monkeypatch, capsys, given, words):
    """In one sentence, even where nothing would be logged, and nothing is written."""
    CommandLine(tmp_path, monkeypatch, capsys).refused(f"{QUICK} {given}", words)
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_costs_one_line(tmp_path, capfd):
    """Where W&B's folder lies: neither a traceback for each thing that does not fit, nor the end of the training."""
    with file_system(tmp_path / "disk", "size=1m"):
        folder = str(tmp_path / "disk" / "runs")
        tracker = Tracker(replace(NOTHING, dir=folder), name="n", config={})
        capfd.readouterr()
        with contextlib.suppress(OSError), open(tmp_path / "disk" / "rest", "wb", buffering=0) as rest:
            while rest.write(bytes(2**10)):
                pass
        for step in range(20):
            tracker.log({"train/loss": 1.0}, step)
            tracker.audio("audio", np.zeros(16000, np.float32), 16000, step)
            logging.getLogger("wandb").error("what wandb says of it")
        tracker.finish()
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "No space left on device" in said and "training continues" in said


def test_no_room_for_a_run_is_told_of_before(tmp_path):
    """In one sentence, with the folder."""
    with file_system(tmp_path / "disk", "size=8k"):
        with pytest.raises(UserError, match=r"tracking.dir=\S+/disk: cannot write to \S+ \(No space left on device\)"):
            Tracker(replace(NOTHING, dir=str(tmp_path / "disk")), name="n", config={})
        assert Tracker._current is None


def test_an_online_run_has_an_address_and_its_console(tmp_path, server):
    """What is printed and the progress bar are in W&B's log, as well as on the console; the program is as fast."""
    program = f"""
import sys
from tqdm import tqdm
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs.tracker import Tracker
tracker = Tracker(TrackingSettings("online", "p", None, None, (), {str(tmp_path)!r}, 8.0), name="n", config={{}})
print("to stdout")
for _ in tqdm(range(50), desc="a bar", mininterval=0):
    print("to stderr", file=sys.stderr)
tracker.note("a note")
tracker.finish()
print(tracker.commands["look at it"])
print(tracker.commands["in the terminal"])
"""
    root = Path(__file__).parents[2]
    environment = os.environ | server.environment
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=root, env=environment
    )
    (run,) = server.runs.values()
    out = done.stdout.splitlines()
    assert out[:2] == ["to stdout", f"{server.url}/{ENTITY}/p/runs/{run.name}"]
    assert out[2].endswith(f"leet {tmp_path / 'wandb'}") and len(out) == 3
    assert done.stderr.count("to stderr") == 50 and "a bar: 100%" in done.stderr
    log = "\n".join(run.output.values())
    assert all(text in log for text in ("to stdout", "to stderr", "a bar: 100%", "a note"))
