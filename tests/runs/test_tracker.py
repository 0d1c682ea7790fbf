"""Real wandb runs in a temporary folder, read back with wandb's own reader. Takes about 40 s.

Nothing here reaches further than this machine: what stands for W&B listens on the loopback.
"""

import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure
from PIL import Image
from support.wandb_home import log_nobody_in
from support.wandb_runs import records, rows, summary_of, wandb
from support.wandb_server import Server

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import flat
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs import tracker as tracking
from mfcc_wavenet.runs.tracker import Tracker

TIMEOUT = 3.0  # seconds; conf has 8, and the 15 s in which a run must go on leave 7 more than that


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    log_nobody_in(tmp_path / "home", monkeypatch)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.chdir(tmp_path)
    yield
    if Tracker._current is not None:
        Tracker._current.finish()


def settings(tmp_path: Path, mode: str = "auto", timeout: float = TIMEOUT) -> TrackingSettings:
    return TrackingSettings(mode, "tests", None, "group", ("a tag",), str(tmp_path / "runs"), timeout)


def a_figure() -> Figure:
    figure = Figure(figsize=(3, 2), dpi=100)
    figure.subplots().plot([0, 1], [1, 0])
    return figure


@pytest.fixture
def server(monkeypatch):
    server = Server()
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
    yield server
    server.close()


def test_what_is_logged_offline_is_read_back(tmp_path):
    """Every value, sound, picture, config key and result comes out of the run's files as it went in."""
    config = flat({"optim": {"lr": 0.003, "name": "adam"}, "features": {"n_mfcc": 13}, "seed": 1})
    tracker = Tracker(settings(tmp_path, "offline"), name="a name", config=config)
    wav = np.sin(np.arange(4321) / 7).astype(np.float32) * 0.5
    tracker.log({"train/loss": 2.5, "train/errors": 7}, 0)
    tracker.log({"train/loss": 0.25, "train/errors": 0}, 10)
    tracker.log({"eval/loss": 0.5}, 10)
    tracker.audio("audio/generated", wav, 16000, 10, caption="at step 10")
    tracker.picture("spectrogram", a_figure(), 10)
    tracker.summarise({"errors": 0, "hardware": "two cores"})
    tracker.finish(3)

    assert tracker.directory is not None and tracker.directory.parent == tmp_path / "runs" / "wandb"
    log = records(tracker.directory)
    run = next(record["run"] for record in log if record["type"] == "run")
    assert (run["run_id"], run["display_name"], run["job_type"]) == (tracker.run_id, "a name", "train")
    assert {key: value for key, value in run["config"]["update"].items() if key != "_wandb"} == config
    first, second = rows(tracker.directory)
    assert (first["step"], first["train/loss"], first["train/errors"]) == (0, 2.5, 7)
    assert (second["step"], second["train/loss"], second["eval/loss"]) == (10, 0.25, 0.5)
    assert [first["_step"], second["_step"]] == [0, 10], "the terminal UI draws over wandb's own step"
    sound, rate = soundfile.read(tracker.directory / "files" / second["audio/generated.path"])
    assert rate == 16000 and np.abs(sound - wav).max() <= 1 / 2**15 and len(sound) == len(wav)
    assert second["audio/generated.caption"] == "at step 10"
    with Image.open(tracker.directory / "files" / second["spectrogram.path"]) as picture:
        assert picture.size == (300, 200)
    end = summary_of(tracker.directory)
    assert (end["summary"]["errors"], end["summary"]["hardware"]) == (0, "two cores")
    assert (end["exit_code"], end["tags"]) == (3, ["a tag"])


@pytest.mark.parametrize(("codes", "bins", "in_a_bin"), [(2, 2, 1), (512, 512, 1), (513, 257, 2), (65536, 512, 128)])
def test_a_histogram_has_a_bin_for_each_code(tmp_path, codes, bins, in_a_bin):
    """Or for neighbouring ones, where W&B would refuse as many bins; it shares the row of the step."""
    shares = np.random.default_rng(codes).dirichlet(np.ones(codes)).astype(np.float32)
    tracker = Tracker(settings(tmp_path, "offline"), name="n", config={})
    tracker.log({"train/loss": 1.0}, 7)
    tracker.histogram("train/code_shares", shares, 7)
    tracker.finish()
    (row,) = rows(tracker.directory)
    assert row["step"] == 7 and row["train/loss"] == 1.0 and row["train/code_shares._type"] == "histogram"
    assert row["train/code_shares.bins"] == [*range(0, codes, in_a_bin), codes]
    expected = [shares[start : start + in_a_bin].sum() for start in range(0, codes, in_a_bin)]
    assert len(expected) == bins
    np.testing.assert_allclose(row["train/code_shares.values"], expected, atol=1e-6)


def test_curves_are_drawn_over_samples_seen_and_summaries_are_plain(tmp_path):
    """Runs with other windows stay comparable, and a sweep finds a number under each metric's own name."""
    tracker = Tracker(settings(tmp_path, "offline"), name="n", config={})
    for step, loss in ((1, 2.0), (2, 3.0)):
        tracker.log({"train/loss": loss, "train/samples_seen": 100 * step}, step)
    tracker.finish()
    defined = [record["metric"] for record in records(tracker.directory) if record["type"] == "metric"]
    axes = {metric.get("glob_name") or metric["name"]: metric.get("step_metric") for metric in defined}
    assert axes["train/*"] == axes["eval/*"] == axes["score"] == "train/samples_seen" and axes["audio/*"] == "step"
    summary = summary_of(tracker.directory)["summary"]
    assert (summary["train/loss"], summary["train/samples_seen"]) == (3.0, 200)


def test_without_credentials_a_run_is_offline_and_says_how_to_go_on(tmp_path, capfd):
    """One line on stderr holds two commands; the folder of one and the upload of the other exist."""
    tracker = Tracker(settings(tmp_path), name="n", config={})
    tracker.log({"train/loss": 1.0}, 0)
    tracker.finish()
    said = capfd.readouterr()
    assert not tracker.online and said.out == "" and said.err.count("\n") == 1
    assert "no W&B credentials found" in said.err
    look, upload = (shlex.split(command) for command in re.findall("`(.*?)`", said.err))
    assert look[-2] == "leet" and tracker.run_id in wandb("leet", "inspect", "--json", look[-1])
    assert upload[-2] == "sync"
    done = subprocess.run([*upload, "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 0 and f"run-{tracker.run_id}.wandb" in done.stdout + done.stderr


def test_parts_of_a_resumed_run_are_joined(tmp_path, server, capfd):
    """Offline, a resumed run keeps its id and steps, and the upload that is proposed loses no row of it."""
    first = Tracker(settings(tmp_path, "offline"), name="n", config={})
    for step in (0, 10, 20, 30):
        first.log({"train/loss": 1.0}, step)
    first.finish()
    time.sleep(1.1)  # wandb names directories by the second
    second = Tracker(settings(tmp_path, "offline"), name="n", config={}, run_id=first.run_id)
    for step in (20, 30, 40):
        second.log({"train/loss": 1.0}, step)
    second.finish()
    assert second.run_id == first.run_id and second.directory != first.directory
    assert [row["_step"] for row in rows(second.directory)] == [20, 30, 40]
    _, upload = re.findall("`(.*?)`", capfd.readouterr().err.splitlines()[-1])
    subprocess.run(upload, shell=True, check=True, capture_output=True, timeout=60)
    assert server.runs[first.run_id].values("step") == [0, 10, 20, 30, 20, 30, 40]


def test_online_a_resumed_run_loses_no_row(tmp_path, server, capfd):
    """Resumed from a checkpoint older than the last row, the same run takes every row, at its true step."""
    first = Tracker(settings(tmp_path), name="n", config={})
    for step in (0, 10, 20, 30):
        first.log({"train/loss": 1.0}, step)
    first.finish()
    second = Tracker(settings(tmp_path), name="n", config={}, run_id=first.run_id)
    for step in (20, 30, 40):
        second.log({"train/loss": 1.0}, step)
        second.log({"eval/loss": 2.0}, step)
    second.finish()
    assert first.online and second.online and second.run_id == first.run_id
    assert server.runs[first.run_id].values("step") == [0, 10, 20, 30, 20, 30, 40]
    assert len(server.runs[first.run_id].values("eval/loss")) == 3
    assert capfd.readouterr().err == ""


def test_a_server_that_dies_holds_up_the_end_for_a_bounded_time(tmp_path, server, monkeypatch, capfd):
    """Values go on being accepted, finish returns in time, and what to do about the rest is said."""
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 2.0)
    tracker = Tracker(settings(tmp_path), name="n", config={})
    server.refuses = True
    server.http.shutdown()
    server.http.server_close()
    tracker.log({"train/loss": 1.0}, 0)
    start = time.monotonic()
    tracker.finish()
    assert time.monotonic() - start < 2.0 + 8.0  # without a bound it waits for ever
    assert f"sync --include-online {tracker.directory}" in capfd.readouterr().err
    assert [row["step"] for row in rows(tracker.directory)] == [0]


@pytest.mark.parametrize("how", ["refuses", "is silent", "is not there", "gets no proper key"])
def test_a_run_goes_on_offline_when_the_server(how, tmp_path, server, monkeypatch, capfd):
    """In time, once, with the reason, as a whole run, and without a trace of the attempt."""
    server.refuses = how == "refuses"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if how == "is silent":
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        if how == "is not there":
            monkeypatch.setenv("WANDB_BASE_URL", nowhere)
        if how == "gets no proper key":
            monkeypatch.setenv("WANDB_API_KEY", "short")
        start = time.monotonic()
        tracker = Tracker(settings(tmp_path), name="n", config={}, run_id="of-a-checkpoint")
        assert time.monotonic() - start < TIMEOUT + 5.0
        tracker.log({"train/loss": 1.0}, 5)
        tracker.finish()
    reason = {
        "refuses": "user is not logged in",
        "is silent": "context deadline exceeded",
        "is not there": "context deadline exceeded",
        "gets no proper key": "WANDB_API_KEY invalid",
    }[how]
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and reason in said
    assert not tracker.online and tracker.run_id == "of-a-checkpoint"
    assert [row["train/loss"] for row in rows(tracker.directory)] == [1.0]
    assert [
        path.name for path in tracker.directory.parent.glob("*run-*") if path.is_dir() and not path.is_symlink()
    ] == [tracker.directory.name]


@pytest.mark.parametrize("by", ["settings", "environment"])
def test_disabled_leaves_nothing_behind(by, tmp_path, monkeypatch, capfd):
    """Every method works, at once, and neither a file nor a word comes of it."""
    if by == "environment":
        monkeypatch.setenv("WANDB_MODE", "disabled")
    start = time.monotonic()
    tracker = Tracker(settings(tmp_path, "auto" if by == "environment" else "disabled"), name="n", config={})
    figure = a_figure()
    for step in range(100):
        tracker.log({"train/loss": 1.0}, step)
        tracker.audio("audio", np.zeros(10, np.float32), 16000, step)
        tracker.picture("picture", figure, step)
    tracker.summarise({"errors": 0})
    tracker.finish()
    assert time.monotonic() - start < 2.0
    assert tracker.directory is None and not tracker.online and tracker.run_id
    assert not (tmp_path / "runs").exists() and capfd.readouterr().err == ""


def test_wandb_mode_decides_where_the_settings_leave_it_open(tmp_path, server, monkeypatch, capfd):
    """WANDB_MODE=offline keeps "auto" from asking a server that would answer; "online" overrules it."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = Tracker(settings(tmp_path), name="n", config={})
    tracker.finish()
    assert not tracker.online and not server.runs
    tracker = Tracker(settings(tmp_path, "online"), name="n", config={})
    tracker.finish()
    assert tracker.online and set(server.runs) == {tracker.run_id}


def test_users_mistakes_are_sentences(tmp_path, monkeypatch):
    """Each names the setting and what would work, and leaves no run open."""
    with pytest.raises(UserError, match=r"tracking.mode is on; there are auto, online"):
        Tracker(settings(tmp_path, "on"), name="n", config={})
    with pytest.raises(UserError, match=r"tracking.mode=online, but no W&B credentials.*login"):
        Tracker(settings(tmp_path, "online"), name="n", config={})
    (tmp_path / "runs" / "wandb").rmdir()
    (tmp_path / "runs" / "wandb").write_text("no folder")
    with pytest.raises(UserError, match=r"tracking.dir=.*runs: cannot write to .*tracking.mode=disabled"):
        Tracker(settings(tmp_path), name="n", config={})
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UserError, match=r"WANDB_\* variable.*'online', 'offline'"):
        Tracker(settings(tmp_path), name="n", config={})


def test_runs_do_not_mix(tmp_path):
    """A second run is refused while one is open, and is one of its own after that is finished."""
    first = Tracker(settings(tmp_path, "offline"), name="n", config={})
    with pytest.raises(RuntimeError, match=f"{first.run_id} is still open"):
        Tracker(settings(tmp_path, "offline"), name="n", config={})
    first.finish()
    second = Tracker(settings(tmp_path, "offline"), name="n", config={})
    first.log({"train/loss": 1.0}, 0)
    first.finish()
    second.log({"train/loss": 2.0}, 0)
    second.finish()
    assert rows(first.directory) == []
    assert [row["train/loss"] for row in rows(second.directory)] == [2.0]


def test_a_value_that_cannot_be_kept_costs_one_warning(tmp_path, capfd):
    """Sounds that cannot be written stop neither the program nor the values around them."""
    tracker = Tracker(settings(tmp_path, "offline"), name="n", config={})
    capfd.readouterr()
    (tracker.directory / "files" / "media").write_text("where a folder should be")
    for step in range(3):
        tracker.audio("audio", np.zeros(100, np.float32), 16000, step)
        tracker.log({"train/loss": float(step)}, step)
    tracker.finish()
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "could not log step 0" in said
    assert [row["train/loss"] for row in rows(tracker.directory)] == [0.0, 1.0, 2.0]


def test_the_exit_code_is_the_programs_own(tmp_path):
    """Even when wandb's own process is killed in the middle: one warning, and the program goes on."""
    program = f"""
import os, signal, sys
from pathlib import Path
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs.tracker import Tracker
tracker = Tracker(TrackingSettings("offline", "p", None, None, (), {str(tmp_path)!r}, 5.0), name="n", config={{}})
tracker.log({{"train/loss": 1.0}}, 0)
for stat in Path("/proc").glob("[0-9]*/stat"):
    pid, _, rest = stat.read_text().partition(" (")
    name, _, rest = rest.rpartition(") ")  # a name may hold spaces
    parent = rest.split()[1]
    if int(parent) == os.getpid() and "wandb-core" in name:
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)
for step in range(1, 50):
    tracker.log({{"train/loss": 1.0}}, step)
tracker.finish()
sys.exit(7)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=root)
    assert done.returncode == 7, done.stderr
    assert done.stderr.count("could not") == 1 and done.stderr.count("\n") == 2


def test_a_run_is_found_by_its_name(tmp_path):
    """The directory, by which the terminal UI lists a run, says its name; whatever is in that, it is a file's name."""
    for name, begins in {"windows 200": "windows-200-", "n" * 300: "n" * 80 + "-", "???": ""}.items():
        assert re.fullmatch(rf"{begins}[0-9a-f]{{8}}", tracking._new_id(name))
    tracker = Tracker(settings(tmp_path, "offline"), name="a/b?<ü>", config={})
    tracker.finish()
    assert re.fullmatch(r"offline-run-\d{8}_\d{6}-a-b-[0-9a-f]{8}", tracker.directory.name)
    assert [r["run"]["display_name"] for r in records(tracker.directory) if r["type"] == "run"] == ["a/b?<ü>"]


def test_flat_keys_are_those_of_a_sweep():
    """Nesting becomes dots at any depth; lists and None are values; nothing nested is left."""
    nested = {"optim": {"lr": 1e-3, "decay": {"to": 0.01}}, "data": {"files": ["a", "b"]}, "seed": None}
    assert flat(nested) == {"optim.lr": 1e-3, "optim.decay.to": 0.01, "data.files": ["a", "b"], "seed": None}
