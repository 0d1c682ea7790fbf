"""The workspace that is saved for a project: its panels show what runs log, and the service takes it."""

import json
import sys
import warnings

import pytest
from support.checkpoints import built
from support.metrics import METRICS, OF_LATENTS
from support.settings import GROUPS, OF_UNITS, SMALL, compose_settings
from support.wandb_home import log_in
from support.wandb_server import ENTITY, Run, Server

from mfcc_wavenet import workspace
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import run_config

with warnings.catch_warnings(action="ignore"):  # about its own use of pydantic
    for module in ("wandb_workspaces.workspaces", "wandb_workspaces.reports.v2"):
        pytest.importorskip(module, reason="wandb-workspaces is an optional dependency")
SOUND, PICTURE = "audio/01_lighthouse/generated", "spectrogram/01_lighthouse"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """With one run, whose summary holds a sound and a picture."""
    server = Server()
    log_in(tmp_path, server, monkeypatch)
    monkeypatch.chdir(tmp_path)
    server.runs["r"] = Run("r", "tests", "a run", summary={SOUND: {}, PICTURE: {}, "train/loss": 1.0})
    yield server
    server.close()


def panels(spec: str) -> list[dict]:
    sections = json.loads(spec)["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def test_the_saved_workspace_shows_what_runs_log(server, monkeypatch, capsys):
    """Curves over samples seen, parallel coordinates, samples to zero, and the sounds and pictures of the project."""
    monkeypatch.setattr(sys, "argv", ["workspace", f"{ENTITY}/tests"])
    workspace.main()
    assert f"/{ENTITY}/tests?nw=" in capsys.readouterr().out
    (view,) = server.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == (ENTITY, "tests", "mfcc_wavenet")
    shown = panels(view["spec"])
    curves = [panel["config"] for panel in shown if panel["viewType"] == "Run History Line Plot"]
    assert {"train/loss", "train/error", "eval/wrong", "score"} <= {curve["metrics"][0] for curve in curves}
    assert {curve["xAxis"] for curve in curves} == {"train/samples_seen"}
    kinds = {panel["viewType"] for panel in shown}
    assert {"Parallel Coordinates Plot", "Bar Chart", "Scalar Chart", "Media Browser"} <= kinds
    browsers = [panel["config"]["mediaKeys"] for panel in shown if panel["viewType"] == "Media Browser"]
    assert browsers == [[SOUND], [PICTURE]]
    (parallel,) = [panel["config"] for panel in shown if panel["viewType"] == "Parallel Coordinates Plot"]
    axes = {column["accessor"] for column in parallel["columns"]}
    assert {"config:window.value", "config:window.batch_size.value", "summary:score"} <= axes
    assert ["samples_to_zero"] in [panel["config"]["metrics"] for panel in shown if panel["viewType"] == "Bar Chart"]


def test_every_curve_is_a_metric_that_runs_log():
    """So that renaming a metric does not leave an empty panel."""
    trained = {metric for metrics in workspace.CURVES.values() for metric in metrics if metric.startswith("train/")}
    assert trained - {f"train/update_ratio_{group}" for group in workspace.UPDATED} <= {
        f"train/{name}" for name in METRICS | OF_LATENTS
    }


@pytest.mark.parametrize("changes", [("wavenet.prediction=lpc", "wavenet.speaker_channels=2"), OF_UNITS])
def test_every_rate_of_update_has_a_curve(changes):
    assert built(compose_settings(*SMALL, *changes)).module_groups().keys() <= set(workspace.UPDATED)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("tests", "given as ENTITY/PROJECT"), ("a/b/c", "given as ENTITY/PROJECT"), (f"{ENTITY}/nothing", "nothing")],
)
def test_what_is_not_a_project_is_refused(server, path, sentence):
    """In one sentence, and no workspace is saved."""
    with pytest.raises(UserError, match=sentence):
        workspace.save(path)
    assert not server.views


def test_every_axis_is_a_setting_or_a_group():
    """Under its name in the config of a run."""
    names = run_config(compose_settings(), dict.fromkeys(GROUPS))
    assert set(workspace.VARIED) <= names.keys()


def test_without_the_package_a_sentence_says_how_to_install_it(monkeypatch):
    """It is optional."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb-workspaces"):
        workspace.save(f"{ENTITY}/tests")
