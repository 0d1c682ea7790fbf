"""The command line, as a person types it: training, and one clear sentence for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from support.command import QUICK, CommandLine
from support.owners import HOLD
from support.settings import ROOT, SMALL, compose_settings

from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.training.chassis import Chassis

PATIENCE = 120  # seconds until a subprocess must have made a checkpoint


@pytest.fixture
def type_in(tmp_path, monkeypatch, capsys):
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.fixture
def begun(tmp_path, monkeypatch) -> Path:
    """The folder of a run that has just begun, below runs/ as the command line makes them."""
    monkeypatch.chdir(tmp_path)
    settings = (*SMALL, "train.steps=4", "train.sample_utterances=0", "data.prepared=prepared")
    Chassis(compose_settings(*settings), tmp_path / "runs" / "begun").save()
    return tmp_path / "runs" / "begun"


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("wavenet.residual_chanels=3", ["wavenet.residual_chanels is not a setting", "wavenet.residual_channels"]),
        ("expermient=baseline", ["expermient is not a setting; did you mean experiment"]),
        ("+optim.lr=3", ["optim.lr is not a setting"]),
        ("wavenet=chanels64", ["wavenet=chanels64: there is no such option; did you mean channels64"]),
        ("wavnet=channels64", ["wavnet is not a setting; did you mean wavenet"]),
        ("wavenet=null", ["wavenet=channels64"]),
        ("~optim", ["~optim: a run has all settings"]),
        ("experiment=basline", ["experiment=basline: there is no such option; did you mean baseline"]),
        ("mode=foo", ["mode=foo is not a mode", "decode, download, encode, evaluate, generate, pin, train"]),
        ("mode=evalute", ["did you mean evaluate"]),
        ("mode", ["'mode' is not a setting", "NAME=VALUE"]),
        ("runs='${nowhere}'", ["runs: ", "'nowhere' not found"]),
        ("train.steps=many", ["train.steps", "'many'"]),
        ("train.seed=-1", ["train.seed=-1", "0 or more"]),
        ("data=folder", ["data.root has no value; data.root=..."]),
        (
            "upsampling.strides=[5,5] upsampling.kernel_sizes=[5,5]",
            ["upsampling.strides [5, 5] multiply to 25", "features.hop_length is 160"],
        ),
        ("data=librispeach", ["data=librispeach: there is no such option; did you mean librispeech"]),
        ("data=vctk data.root=nowhere", ["no folder nowhere/VCTK-Corpus-0.92", "VCTK-Corpus-0.92.zip from https://"]),
        ("mode=download", ["mode=download is for known corpora: data=librispeech or"]),
        ("mode=download data=vctk data.root=x checkpoint=y", ["checkpoint=... is for mode=train", "mode=download"]),
        ("mode=download data=vctk data.root=x checkpoint=wandb:a/b/c:v0", ["checkpoint=... is for mode=train"]),
        ("data.root=nowhere", ["data.root=nowhere: there is no such file or folder"]),
        ("experiment=baseline checkpoint=x.pt", ["experiment and checkpoint", "only one"]),
        ("mode=evaluate", ["mode=evaluate needs checkpoint=PATH or an experiment", "baseline"]),
        ("mode=generate", ["mode=generate needs checkpoint=PATH or an experiment"]),
        ("mode=evaluate checkpoint=x.pt", ["There is no checkpoint x.pt"]),
        ("mode=evaluate checkpoint=~nobody99/x.pt", ["There is no checkpoint ~nobody99/x.pt"]),
        (f"mode=evaluate checkpoint={300 * 'x'}", ["it must be the path of a file or of a run's folder"]),
        ("mode=evaluate experiment=a39d data.root=x", ["'a39d' has no pinned checkpoint yet"]),
        ("mode=pin name=nothing", ["nothing holds no finished run"]),
        ("name=x runs=file/runs", ["could not be written (Not a directory)"]),
        ("data.prepared=file/prepared", ["data.prepared=FOLDER names another place"]),
    ],
)
def test_a_mistake_is_one_sentence(type_in, tmp_path, line, words):
    """Alone on stderr, with what is wrong and what would work; no run is left behind."""
    (tmp_path / "file").write_text("")
    type_in.refused(f"{QUICK} {line}", *words)
    assert not (tmp_path / "runs").exists()


# --- training -------------------------------------------------------------------------------------


def test_a_finished_run_is_shown_and_not_repeated(type_in, tmp_path):
    """Only restart=true trains it again."""
    first = type_in(f"{QUICK} name=a train.sample_utterances=1")
    path = tmp_path / "runs" / "a" / "checkpoint.pt"
    assert first.code == 0 and "of 3,200 samples" in first.out and "runs/a/checkpoint.pt" in first.out
    assert {"checkpoint.pt", "results.json", "curves.png"} <= set(os.listdir(path.parent))
    before = path.read_bytes()
    again = type_in(f"{QUICK} name=a train.sample_utterances=1")
    assert again.code == 0 and "This run is finished; restart=true trains it again" in again.out
    assert "of 3,200 samples" in again.out and path.read_bytes() == before
    anew = type_in(f"{QUICK} name=a restart=true train.steps=2")
    assert "This run is finished" not in anew.out and checkpoints.load(path).training["step"] == 2


def test_another_setting_is_another_folder(type_in, tmp_path):
    """However long the line: names that had to be cut off still differ."""
    for batch_size in (1, 2):
        assert "This run is finished" not in type_in(f"{QUICK} train.steps=1 window.batch_size={batch_size}").out
    first, second = os.listdir(tmp_path / "runs")
    assert first != second and len(first) == len(second) == 120
    assert first.startswith("default+data.prepared-prepared+data.seconds-0.2+")
    for folder in (first, second):  # its name can be typed back as it is
        assert type_in(f"mode=evaluate checkpoint=runs/{folder} data.prepared=prepared").code == 0


def test_the_same_line_goes_on_where_a_run_stands(type_in, begun):
    """And says from where."""
    done = type_in(f"{QUICK} name=begun")
    assert done.code == 0 and "Resuming from runs/begun/checkpoint.pt, step 0." in done.err
    assert checkpoints.load(begun / "checkpoint.pt").training["step"] == 4


def test_a_checkpoint_resumes_in_its_own_folder(type_in, begun):
    """With its own settings, and with what was chosen when it began."""
    done = type_in("checkpoint=runs/begun")
    assert done.code == 0 and "Resuming from runs/begun/checkpoint.pt, step 0." in done.err
    training = checkpoints.load(begun / "checkpoint.pt").training
    assert training["step"] == 4 and set(training["choices"].values()) == {None}
    assert "This run is finished" in type_in("checkpoint=runs/begun").out


def test_another_setting_continues_in_another_folder(type_in, begun, tmp_path):
    """From where the checkpoint stands; the first run stays what it was."""
    before = {path.name: path.read_bytes() for path in begun.iterdir()}
    assert type_in("checkpoint=runs/begun train.steps=6 window.samples=100").code == 0
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == before
    checkpoint = checkpoints.load(tmp_path / "runs/from-begun+train.steps-6+window.samples-100/checkpoint.pt")
    assert checkpoint.training["step"] == 6
    assert (checkpoint.settings.window.samples, checkpoint.settings.wavenet.residual_channels) == (100, 8)


def test_what_is_reckoned_from_other_settings_is_from_those_of_the_checkpoint(type_in, begun, tmp_path):
    """Here steps from windows of 200 samples, which are 500 without a checkpoint."""
    assert type_in("checkpoint=runs/begun 'train.steps=${steps_for:1_200}' name=more").code == 0
    assert checkpoints.load(tmp_path / "runs" / "more" / "checkpoint.pt").settings.train.steps == 6


def test_a_run_that_begins_anew_leaves_no_sounds_of_the_one_before(type_in, begun):
    of_before = [begun / name for name in ("old.generated.wav", "old.original.wav", "old.png", "results.json")]
    for path in of_before:
        path.write_text("{}")
    assert type_in(f"{QUICK} name=begun restart=true").code == 0
    assert [path.name for path in of_before if path.exists() and path.read_text() == "{}"] == []


def test_one_name_is_one_run(type_in, begun):
    """The same name with another setting is refused by that setting; what does not change the training may differ."""
    type_in.refused(f"{QUICK} name=begun train.seed=3", "train.seed=0, not 3", "restart=true replaces it")
    assert type_in(f"{QUICK} name=begun train.threads=2 train.products=null").code == 0


def test_a_run_folder_with_a_pinned_checkpoint_is_not_resumed(type_in, begun):
    """It has no training state; the sentence says how it is a start."""
    pinned = replace(checkpoints.load(begun / "checkpoint.pt"), training=None)
    checkpoints.save(begun / "checkpoint.pt", pinned)
    type_in.refused(f"{QUICK} name=begun", "holds a pinned checkpoint", "checkpoint=runs/begun starts another run")


def test_a_run_that_another_process_trains_is_left_alone(type_in, begun):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(begun)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout.readline() == "mine\n"
        type_in.refused("checkpoint=runs/begun", f"runs/begun is in use by process {other.pid}")
        other.kill()


def test_another_architecture_does_not_resume(type_in, begun):
    """The first tensor that does not fit is named, and the checkpoint stays."""
    before = (begun / "checkpoint.pt").read_bytes()
    line = "checkpoint=runs/begun wavenet.residual_channels=12"
    type_in.refused(line, "wavenet.embedding.weight is (256, 8), the settings ask for (256, 12)")
    assert (begun / "checkpoint.pt").read_bytes() == before


def test_a_pinned_checkpoint_is_the_beginning_of_a_run_of_its_own(type_in, begun, tmp_path):
    """Which overwrites nothing that is there, and is not begun anew when the same line is typed again."""
    pinned = replace(checkpoints.load(begun / "checkpoint.pt"), training=None)
    checkpoints.save(tmp_path / "pinned" / "checkpoint.pt", pinned)
    begun.rename(tmp_path / "runs" / "default+optim.learning_rate-0.0")
    before = (tmp_path / "runs/default+optim.learning_rate-0.0/checkpoint.pt").read_bytes()
    line = "checkpoint=pinned/checkpoint.pt optim.learning_rate=0.0"
    assert type_in(line).code == 0
    assert (tmp_path / "runs/default+optim.learning_rate-0.0/checkpoint.pt").read_bytes() == before
    weights = checkpoints.load(tmp_path / "runs/from-pinned+optim.learning_rate-0.0/checkpoint.pt").weights
    assert all(torch.equal(weight, pinned.weights[name]) for name, weight in weights.items())
    assert "This run is finished" in type_in(line).out


# --- Hydra's own ----------------------------------------------------------------------------------


def test_a_sweep_runs_every_job_in_its_own_folder(type_in, tmp_path):
    """A mistake in one is told, and the others have their turn."""
    done = type_in(f"--multirun {QUICK} name='s${{train.seed}}' train.seed=1,-1,2 train.steps=1")
    assert done.code == 2
    assert (
        "\ntrain.seed=-1: it must be 0 or more, and less than 2^63.\n" in done.err and "Error executing" not in done.err
    )
    assert {"s1", "s2"} < set(os.listdir(tmp_path / "runs"))
    seeds = [json.loads((tmp_path / f"runs/{name}/results.json").read_text())["seed"] for name in ("s1", "s2")]
    assert seeds == [1, 2]


def test_an_interrupted_sweep_ends(tmp_path):
    """With the run that was under way saved, and without beginning the next one."""
    line = f"{sys.executable} {ROOT / 'run.py'} --multirun {QUICK} name=s${{train.seed}} train.seed=1,2"
    line += " train.steps=1000000 train.checkpoint_interval=20 train.threads=1"
    path, deadline = tmp_path / "runs" / "s1" / "checkpoint.pt", time.monotonic() + PATIENCE
    with subprocess.Popen(line.split(), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not path.is_file() or not checkpoints.load(path).training["step"]:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the same command resumes it" in err.splitlines()[-1] and "Error executing job" not in err
    assert not (tmp_path / "runs" / "s2").exists()


def test_hydra_shows_what_would_be_run(type_in, tmp_path):
    """--cfg job prints the composed configuration, as YAML, and does nothing else."""
    done = type_in("--cfg job experiment=baseline window.samples=123")
    config = yaml.safe_load(done.out)
    assert done.code == 0 and config["window"] == {"samples": 123, "batch_size": 3}
    assert config["data"]["seconds"] == 3.335 and os.listdir(tmp_path) == []


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.05, 0.4, 1.0, 2.0])
def test_ctrl_c_at_any_moment_of_the_start_is_no_traceback(tmp_path, delay):
    """While Python imports, Hydra composes and the first step is made; twice and three times as well."""
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, "train.steps=100000", f"runs={tmp_path}", "name=stopped"]
    command += [f"data.prepared={tmp_path / 'prepared'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        time.sleep(delay)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        _, stderr = process.communicate(timeout=60)
    before_its_first_line = 'run.py", line 0, in <module>' in stderr  # where nothing of it can act
    assert process.returncode in (130, -signal.SIGINT), stderr
    assert "Traceback" not in stderr or before_its_first_line, stderr
