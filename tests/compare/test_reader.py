"""Runs that were really trained, read back from all the places where they are logged."""

from pathlib import Path

import numpy as np
import pytest
from support.settings import ROOT, SMALL, compose_settings

from mfcc_wavenet.compare import reader
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs.tracker import Tracker
from mfcc_wavenet.training.chassis import Chassis


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a run of 20 steps in runs/ and, the same one, in wandb/."""
    folder = tmp_path_factory.mktemp("runs")
    settings = compose_settings(
        *SMALL, f"data.prepared={folder / 'prepared'}", "tracking.mode=offline", f"tracking.dir={folder}",
        "train.steps=20", "train.evaluate_interval=10", "train.evaluate_below=2",
    )  # fmt: skip
    Chassis(settings, folder / "runs" / "a run", choices={"window": "samples500"}).train()
    return folder


def tracked(folder: Path, name: str, rows: dict[int, dict], run_id: str | None = None) -> Tracker:
    """A W&B run, or a further part of one, with these values at these steps."""
    tracker = Tracker(
        TrackingSettings("offline", "tests", None, None, (), str(folder), 3.0), name=name, config={}, run_id=run_id
    )
    for step, values in rows.items():
        tracker.log(values, step)
    tracker.finish()
    return tracker


def test_a_run_is_the_same_read_from_its_folder_and_from_wandb(folder):
    """Curves, results, settings and sounds do not depend on where they are read from."""
    (from_folder,), (from_wandb,) = reader.read([folder / "runs" / "a run"]), reader.read([folder / "wandb"])
    assert from_folder.name == from_wandb.name == "a run" and from_folder.source != from_wandb.source
    assert from_folder.results == from_wandb.results and from_folder.results["steps"] == 20
    assert from_folder.settings.items() <= from_wandb.settings.items()
    assert from_wandb.settings["window.samples"] == 200 and from_wandb.settings["window"] == "samples500"
    for metric in ("train/loss", "train/epoch", "train/samples_seen", "eval/wrong"):
        values, same = ({r["step"]: r[metric] for r in run.history if metric in r} for run in (from_folder, from_wandb))
        assert same.items() <= values.items() and list(same) in ([5, 10, 15, 20], [10, 20]), metric
    assert from_folder.sounds.keys() == from_wandb.sounds.keys() == {"01_lighthouse"}
    one, other = from_folder.sounds["01_lighthouse"], from_wandb.sounds["01_lighthouse"]
    assert one.sample_rate == other.sample_rate == 16000 and len(one.original) == 3200
    np.testing.assert_array_equal(one.original, other.original)
    np.testing.assert_array_equal(one.generated, other.generated)
    assert not np.array_equal(one.original, one.generated)


def test_every_way_to_name_a_run_leads_to_it_once(folder, monkeypatch):
    """Its folder, a file in it, or the folder of all; a run that is named twice is read once."""
    monkeypatch.chdir(folder)
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    read = reader.read(
        ["runs", "runs/a run", "runs/a run/checkpoint.pt", log, log.parent, "wandb/latest-run"], audio=False
    )
    assert [run.name for run in read] == ["a run (runs/a run)", f"a run (wandb/{log.parent.name})"]
    assert all(run.sounds == {} for run in read)


def test_a_pinned_experiment_is_generated_again(tmp_path, monkeypatch):
    """It has no history and no sounds, but a checkpoint, which reproduces the sentence exactly."""
    monkeypatch.chdir(tmp_path)
    (baseline,) = reader.read(["baseline"])
    sound = baseline.sounds["01_lighthouse"]
    assert baseline.history == [] and baseline.results["wrong"] == 0 and len(sound.original) == 53360
    np.testing.assert_array_equal(sound.original, sound.generated)
    assert reader.read([ROOT / "experiments" / "baseline"], audio=False)[0].results == baseline.results


def test_the_parts_of_a_resumed_run_are_one(tmp_path):
    """Any part stands for the whole; of rows that were logged twice, the later ones count."""
    first = tracked(tmp_path, "n", {step: {"train/loss": 1.0} for step in (0, 10, 20, 30)})
    # W&B names directories by the second, so the first part gets the name of an earlier one.
    (log,) = first.directory.glob("*.wandb")
    first_part = first.directory.rename(tmp_path / "wandb" / f"offline-run-20200101_000000-{first.run_id}")
    second = tracked(tmp_path, "n", {step: {"train/loss": 2.0} for step in (20, 30, 40)}, first.run_id)
    for path in (first_part / log.name, second.directory):
        (run,) = reader.read([path])
        assert [(r["step"], r["train/loss"]) for r in run.history] == [(0, 1), (10, 1), (20, 2), (30, 2), (40, 2)]


def test_an_incomplete_log_is_read_to_its_end(folder, tmp_path, capsys):
    """As of a run that is still training: its name, settings and first rows; a line on stderr says so."""
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    half = tmp_path / "offline-run-20261123_000000-half" / "run-half.wandb"
    half.parent.mkdir()
    half.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
    (run,) = reader.read([half])
    assert run.name == "a run" and run.settings["window.samples"] == 200
    assert 0 < len(run.history) < 4 and run.results.keys() == {"score"}  # the best so far
    assert f"{half}: " in capsys.readouterr().err


def test_values_that_are_not_numbers_are_left_out(tmp_path):
    """NaN, infinities and texts are gaps in the curves and not results."""
    rows = {0: {"loss": float("nan"), "text": "a"}, 1: {"loss": float("inf"), "flag": True}, 2: {"loss": 0.5}}
    (run,) = reader.read([tracked(tmp_path, "n", rows).directory])
    assert run.history == [{"step": 0}, {"step": 1}, {"step": 2, "loss": 0.5}] and run.results == {}


def test_missing_sounds_are_reported_and_left_out(folder, tmp_path, capsys):
    (log,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    (tmp_path / log.name).write_bytes(log.read_bytes())
    (run,) = reader.read([tmp_path])
    assert run.sounds == {} and len(run.history) == 4
    assert "left out: " in capsys.readouterr().err


def test_mistakes_are_sentences(tmp_path):
    """Each names what was given and what would work."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run-x.wandb").write_bytes(b"not a log of W&B" * 10)
    with pytest.raises(UserError, match=r"no run basline: .* experiment \(a39d, baseline"):
        reader.read(["basline"])
    with pytest.raises(UserError, match=r"empty is not a run: .* run-.*wandb or checkpoint.pt"):
        reader.read([tmp_path / "empty"])
    with pytest.raises(UserError, match=r"run-x.wandb could not be read as a W&B run \(.*bad header"):
        reader.read([tmp_path / "broken"])
    with pytest.raises(UserError, match=r"'a39d' has no pinned checkpoint yet"):
        reader.read(["a39d"])
