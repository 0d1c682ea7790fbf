"""Checkpoints as W&B artifacts: what a run leaves on the server, and what checkpoint=wandb:... makes of it.

The server listens on the loopback.
"""

import json
import re
import subprocess

import numpy as np
import pytest
import soundfile
import yaml
from support.command import QUICK, CommandLine
from support.settings import SMALL, compose_settings
from support.wandb_home import log_in
from support.wandb_server import ENTITY, Server

from mfcc_wavenet.config.parse import parse
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs import hosted_sweep
from mfcc_wavenet.runs.tracker import Tracker
from mfcc_wavenet.training.chassis import Chassis

TO_ZERO = ("data.seconds=0.02", "train.steps=2000", "train.evaluate_interval=50", "train.evaluate_below=0.1")
ARTIFACT = f"wandb:{ENTITY}/mfcc_wavenet/a-b"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A server to which a run called "a b" was logged, which reached zero error, and that run's folder."""
    folder = tmp_path_factory.mktemp("artifacts")
    server = Server()
    with pytest.MonkeyPatch.context() as monkeypatch:
        log_in(folder, server, monkeypatch)
        monkeypatch.chdir(folder)
        settings = compose_settings(*SMALL, *TO_ZERO, "tracking.mode=auto", f"data.prepared={folder / 'prepared'}")
        chassis = Chassis(settings, folder / "runs" / "a b", choices={"experiment": "two hops"})
        assert chassis.train()["wrong"] == 0
    yield server, chassis.folder
    server.close()


@pytest.fixture
def server(service, tmp_path, monkeypatch) -> Server:
    log_in(tmp_path, service[0], monkeypatch)
    monkeypatch.chdir(tmp_path)
    return service[0]


@pytest.fixture
def type_in(server, tmp_path, monkeypatch, capsys) -> CommandLine:
    """In a folder, and with a home, in which nothing is known of the run but what the server has."""
    return CommandLine(tmp_path, monkeypatch, capsys)


def test_the_final_checkpoint_is_logged_with_settings_and_results(service):
    """As one version of a model, under the run's name, and without its bytes on the disk a second time."""
    server, folder = service
    (artifact,) = [artifact for artifact in server.artifacts if artifact.name == "a-b"]
    assert (artifact.kind, set(artifact.aliases), artifact.committed) == ("model", {"latest", "zero"}, True)
    results = json.loads((folder / "results.json").read_text())
    assert artifact.metadata == {"experiment": "two hops", **results}
    for name in ("checkpoint.pt", "config.yaml", "results.json"):
        assert artifact.files[name] == (folder / name).read_bytes()
    settings = checkpoints.load(folder / "checkpoint.pt").settings
    assert parse(yaml.safe_load(artifact.files["config.yaml"])) == settings
    home = folder.parents[1]
    copies = [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 10**5]
    assert len({path.stat().st_ino for path in copies if "checkpoint" in path.name}) == 1
    assert not any((home / ".local/share/wandb/artifacts/staging").iterdir())


def test_an_artifact_is_evaluated_as_its_run_was(service, type_in, tmp_path):
    """The same file, by digest, and the same measures."""
    done = type_in(f"mode=evaluate checkpoint={ARTIFACT}:latest data.prepared=prepared")
    assert done.code == 0, done.err
    measured, results = json.loads(done.out.splitlines()[-1]), json.loads((service[1] / "results.json").read_text())
    assert measured["checkpoint_sha256"] == checkpoints.digest(service[1] / "checkpoint.pt")
    assert measured["wrong"] == results["wrong"] and measured["nats"] == pytest.approx(results["nats"], rel=1e-6)
    assert measured["experiment"] == "a-b-v0" and (tmp_path / "runs" / "a-b-v0.evaluation.json").is_file()


def test_every_other_mode_takes_an_artifact_too(type_in, tmp_path):
    """It generates, it is pinned, and training goes on from it as a run of its own, which leaves it as it was."""
    soundfile.write(tmp_path / "spoken.wav", np.sin(np.arange(1600) / 9), 16000)
    assert type_in(f"mode=generate checkpoint={ARTIFACT}:v0 input=spoken.wav").code == 0
    assert soundfile.info(tmp_path / "spoken.inverted.wav").frames == 1600
    assert type_in(f"mode=pin checkpoint={ARTIFACT}:v0 output=record data.prepared=prepared").code == 0
    fetched = tmp_path / "runs" / "wandb" / ENTITY / "mfcc_wavenet" / "a-b-v0" / "checkpoint.pt"
    digest = checkpoints.digest(fetched)
    done = type_in(f"checkpoint={ARTIFACT}:v0 train.steps=310 tracking.mode=disabled")
    assert done.code == 0 and checkpoints.digest(fetched) == digest
    training = checkpoints.load(tmp_path / "runs" / "from-a-b-v0+train.steps-310" / "checkpoint.pt").training
    assert training["step"] == 310 and training["run_id"] != checkpoints.load(fetched).training["run_id"]


def test_an_offline_run_uploads_its_artifact_later(server, type_in, tmp_path):
    """What was logged is what arrives, although the run's folder has moved on since."""
    done = type_in(f"{QUICK} name=later tracking.mode=offline")
    logged = (tmp_path / "runs" / "later" / "checkpoint.pt").read_bytes()
    assert type_in(f"{QUICK} name=later restart=true train.steps=2").code == 0
    upload = re.search("upload it later +(.*)", done.out)[1]
    subprocess.run(upload, shell=True, check=True, capture_output=True, timeout=60)
    (artifact,) = [artifact for artifact in server.artifacts if artifact.name == "later"]
    assert artifact.committed and artifact.files["checkpoint.pt"] == logged
    assert json.loads(artifact.files["results.json"])["steps"] == artifact.metadata["steps"] == 4


def test_a_disabled_run_logs_no_artifact(server, type_in, tmp_path):
    """And leaves no folder of W&B's."""
    before = len(server.artifacts)
    assert type_in(f"{QUICK} name=silent").code == 0
    assert len(server.artifacts) == before and not (tmp_path / "wandb").exists()


def test_a_server_that_takes_no_artifact_costs_one_line(server, type_in, tmp_path, monkeypatch):
    """The training ends well, and its files are in its folder."""
    monkeypatch.setattr(Server, "_CreateArtifact", None)
    done = type_in(f"{QUICK} name=unwanted tracking.mode=auto")
    assert done.code == 0 and "could not log the artifact unwanted" in done.err
    assert (tmp_path / "runs" / "unwanted" / "results.json").is_file()


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("wandb:a-b:latest", ["wandb:ENTITY/PROJECT/NAME:ALIAS"]),
        (f"{ARTIFACT}:best", ["'a-b:best' not found"]),
        (f"{ARTIFACT.replace('a-b', 'text')}:latest", ["holds no checkpoint.pt, but notes.txt"]),
    ],
)
def test_what_is_no_artifact_of_a_checkpoint_is_refused(server, type_in, tmp_path, reference, words):
    """In one sentence, and nothing is downloaded."""
    (tmp_path / "notes.txt").write_text("nothing")
    tracker = Tracker(TrackingSettings("online", "mfcc_wavenet", None, None, (), ".", 8.0), name="n", config={})
    tracker.artifact("text", "notes", [tmp_path / "notes.txt"], {}, ["latest"])
    tracker.finish()
    type_in.refused(f"mode=evaluate checkpoint={reference}", f"checkpoint={reference}", *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("how", ["knows nobody", "refuses", "is not there"])
def test_without_the_service_there_is_a_sentence(server, type_in, monkeypatch, how):
    """No credentials, wrong ones, no network."""
    monkeypatch.setattr(hosted_sweep, "SERVICE_SECONDS", 2)
    words = {"knows nobody": "no W&B credentials", "refuses": "user is not logged in", "is not there": "out of reach"}
    if how == "knows nobody":
        monkeypatch.delenv("WANDB_API_KEY")
    if how == "is not there":
        monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(server, "refuses", how == "refuses")
    type_in.refused(f"mode=evaluate checkpoint={ARTIFACT}:latest", words[how])
