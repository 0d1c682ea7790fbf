"""What a run leaves behind: the rows, sounds and pictures in W&B, and the files in its folder."""

import contextlib
import io
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from support.metrics import METRICS
from support.settings import DEMO
from support.wandb_runs import records, rows, summary_of, wandb

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import logged_rows, worst_jump
from mfcc_wavenet.runs.tracker import Tracker
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.report import NoReport, Report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 20 steps, logged offline by the real wandb: its Chassis, results, W&B directory and what it printed."""
    from support.settings import SMALL, compose_settings

    folder = tmp_path_factory.mktemp("report")
    settings = compose_settings(
        *SMALL, f"data.prepared={folder / 'prepared'}", "tracking.mode=offline", f"tracking.dir={folder}",
        "train.steps=20", "train.sample_interval=10", "train.evaluate_interval=10", "train.evaluate_below=2",
    )  # fmt: skip
    chassis = Chassis(settings, folder / "runs" / "a run", choices={"window": "samples500"})
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        results = chassis.train()
    (directory,) = (folder / "wandb").glob("offline-run-*")
    return chassis, results, directory, printed.getvalue()


def media(directory: Path, name: str) -> list[Path]:
    """The files that a run holds under that name, in the order of their steps."""
    return [directory / "files" / row[f"{name}.path"] for row in rows(directory) if f"{name}.path" in row]


def test_every_value_of_metrics_is_in_the_offline_run(run):
    """Each logged row has each value that Metrics knows; evaluations and epochs are there too."""
    chassis, _, directory, _ = run
    train = [row for row in rows(directory) if "train/loss" in row]
    assert [row["step"] for row in train] == [5, 10, 15, 20]
    for row in train:
        assert {f"train/{name}" for name in METRICS} <= row.keys()
    assert [row["train/loss"] for row in train] == [row["loss"] for row in chassis.history if "loss" in row]
    evaluations = [row for row in rows(directory) if "eval/wrong" in row]
    assert [row["step"] for row in evaluations] == [10, 20]
    assert all(row["train/samples_seen"] > 0 for row in evaluations)  # what they are drawn over
    assert evaluations[0]["eval/samples"] == 3200 and evaluations[0]["eval/nats"] > 0


def test_the_score_is_in_every_row_and_in_the_summary(run):
    """It never rises once a whole pass was made, and ends as the error of the best pass."""
    chassis, results, directory, _ = run
    assert all("score" in row for row in rows(directory) if "train/loss" in row or "eval/wrong" in row)
    scores = [row["score"] for row in rows(directory) if row["step"] >= 10 and "score" in row]
    assert scores == sorted(scores, reverse=True)
    wrong = min(row["wrong"] for row in chassis.history if "wrong" in row)
    summary = summary_of(directory)["summary"]
    assert summary["score"] == results["score"] == wrong / 3200


def test_the_worst_jump_of_the_loss_is_in_the_results_and_in_the_summary(run):
    """That of the rows in its history; the table at the end tells it, too."""
    chassis, results, directory, printed = run
    losses = [row["loss"] for row in chassis.history if "loss" in row]
    assert len(losses) == 4 and results["worst_jump"] == worst_jump(chassis.history)
    summary = summary_of(directory)["summary"]
    assert summary["worst_jump"] == results["worst_jump"]
    assert json.loads((chassis.folder / "results.json").read_text())["worst_jump"] == results["worst_jump"]
    assert f"worst jump       {results['worst_jump']:.4f} nats" in printed


def test_the_folder_holds_every_row_that_was_logged(run):
    """As W&B has them; a line that is not whole yet is left for later."""
    chassis, _, directory, _ = run
    path = chassis.folder / "history.jsonl"
    written = logged_rows(path)
    merged = [{k: v for row in written if row["step"] == step for k, v in row.items()} for step in (5, 10, 15, 20)]
    logged = [row for row in rows(directory) if "score" in row]
    assert [row["step"] for row in logged] == [5, 10, 15, 20]
    assert all(row.items() <= other.items() for row, other in zip(merged, logged))
    path.write_text(path.read_text() + '{"step": 25, "score')
    assert logged_rows(path) == written


def test_a_resumed_run_logs_no_row_twice(small, tmp_path):
    """Its history.jsonl is that of a run that was never stopped, though it had gone on after the checkpoint."""
    settings = ("train.steps=20", "train.sample_utterances=0")
    chassis = Chassis(small(*settings), tmp_path / "run")
    chassis.train()
    steps = [row["step"] for row in logged_rows(tmp_path / "run" / "history.jsonl")]
    half = Chassis(small("train.steps=10", "train.sample_utterances=0"), tmp_path / "half")
    half.train()
    checkpoint = replace(checkpoints.load(half.checkpoint_path), settings=chassis.settings)
    Chassis(chassis.settings, tmp_path / "run", checkpoint).train()
    assert [row["step"] for row in logged_rows(tmp_path / "run" / "history.jsonl")] == steps


def test_original_and_generated_audio_are_in_the_offline_run(run):
    """Both are wav files of the right rate and length, and the original sounds as the corpus does."""
    chassis, _, directory, _ = run
    originals, copies = (media(directory, f"audio/01_lighthouse/{kind}") for kind in ("original", "generated"))
    assert len(originals) == len(copies) == 2  # at steps 10 and 20
    for path in originals + copies:
        wav, rate = soundfile.read(path, dtype="float32")
        assert (rate, len(wav)) == (16000, 3200)
        if path in originals:
            np.testing.assert_allclose(wav, mulaw.decode(chassis.corpus.codes(0), 256), atol=2**-14)


def test_spectrogram_pictures_are_in_the_offline_run(run):
    """Pictures that open, at every sample and at the end."""
    _, _, directory, _ = run
    pictures = media(directory, "spectrogram/01_lighthouse")
    assert len(pictures) == 2
    for path in [*pictures, *media(directory, "curves")]:
        with Image.open(path) as image:
            assert image.width == 1200 and len(image.getcolors(maxcolors=2**24)) > 10


def test_config_and_summary_say_what_ran_and_what_came_out(run):
    """The config is flat, with the chosen options beside the settings; the summary holds the results."""
    _, results, directory, _ = run
    text = json.dumps(records(directory))
    assert "window.samples" in text and "samples500" in text
    assert f'"steps": {results["steps"]}' in text.replace("\\", "")


def test_config_tells_the_size_and_the_log_tells_the_table(run):
    """Weights, speakers and hours; and what is printed at the end is in W&B's log, too."""
    chassis, _, directory, printed = run
    config = next(record["run"]["config"]["update"] for record in records(directory) if record["type"] == "run")
    weights = sum(weight.numel() for weight in chassis.model.parameters())
    sizes = {name: config[f"size.{name}"] for name in ("weights", "speakers", "hours")}
    assert sizes == {"weights": weights, "speakers": 1, "hours": round(0.2 / 3600, 6)}
    log = (directory / "files" / "output.log").read_text()
    assert all(line.strip() in log for line in printed.splitlines())


def test_the_printed_command_looks_at_the_run(run):
    """The command that the run prints for the terminal is one that wandb understands: its reader finds the run."""
    chassis, _, directory, printed = run
    (command,) = (line for line in printed.splitlines() if line.startswith("look at it"))
    folder = Path(shlex.split(command)[-1])
    assert folder == directory.parent
    assert chassis.run_id in wandb("leet", "inspect", "--json", str(folder))


def test_the_folder_holds_results_sounds_and_pictures(run):
    """What the final table points at is there, and the originals are the corpus's."""
    chassis, results, *_ = run
    assert json.loads((chassis.folder / "results.json").read_text()) == results
    assert results["steps"] == 20 and results["samples"] == 3200 and results["reproduced"] is None
    for name in ("curves.png", "01_lighthouse.png"):
        with Image.open(chassis.folder / name) as image:
            image.verify()
    wav, _ = soundfile.read(chassis.folder / "01_lighthouse.original.wav")
    generated, _ = soundfile.read(chassis.folder / "01_lighthouse.generated.wav")
    assert len(wav) == len(generated) == 3200
    np.testing.assert_allclose(wav, mulaw.decode(chassis.corpus.codes(0), 256), atol=2**-14)


def test_any_name_of_an_audio_file_is_trained_on(small, tmp_path, monkeypatch, capfd):
    """Its sounds and pictures are in the run's folder and in W&B, without a warning, and the curves stay curves."""
    stems = ["$x^{$", "n" * 251, "語" * 83, "%s $(a) 'b' \"c\" [d]*?", "a\tb\nc\x1b[1m", "curves", "\\frac{"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spoken").mkdir()
    wav, rate = soundfile.read(DEMO / "01_lighthouse.flac", stop=800)
    for stem in stems:
        soundfile.write(tmp_path / "spoken.wav", wav, rate)
        (tmp_path / "spoken.wav").rename(tmp_path / "spoken" / f"{stem}.wav")
    tracking = ("tracking.mode=offline", f"tracking.dir={tmp_path}")
    corpus = ("data.root=spoken", "data.seconds=null", f"train.sample_utterances={len(stems)}")
    Chassis(small(*corpus, "train.steps=2", *tracking), tmp_path / "run").train()
    names = {path.name.removesuffix(".original.wav") for path in (tmp_path / "run").glob("*.original.wav")}
    assert sorted(name[0] for name in names) == sorted(stem[0] for stem in stems)
    assert {path.name for path in (tmp_path / "run").glob("*.generated.wav")} == {f"{n}.generated.wav" for n in names}
    assert {path.stem for path in (tmp_path / "run").glob("*.png")} == {*names, "curves"} and "curves" not in names
    (directory,) = (tmp_path / "wandb").glob("offline-run-*")
    for name in names:
        assert len(media(directory, f"audio/{name}/generated")) == len(media(directory, f"spectrogram/{name}")) == 1
    assert "arning" not in (said := capfd.readouterr().err) and "could not" not in said


def test_results_that_cannot_be_written_are_told_of(small, tmp_path):
    """A folder in the way of a picture: one sentence, and the checkpoint is whole."""
    chassis = Chassis(small("train.steps=2"), tmp_path / "run")
    (tmp_path / "run" / "curves.png" / "in the way").mkdir(parents=True)
    with pytest.raises(UserError, match="results could not be written"):
        chassis.train()
    assert chassis.checkpoint_path.is_file()


@pytest.fixture
def report(tmp_path):
    """Of ten steps on 3,200 samples, for nobody."""
    settings = TrackingSettings("disabled", "tests", None, None, (), str(tmp_path), 3.0)
    with Tracker(settings, name="n", config={}) as tracker, Report(tmp_path, tracker, 10, 3200, 16000) as report:
        yield report


def test_a_row_that_no_run_takes_does_not_look_at_the_codebook(report, tmp_path):
    """Which would wait for a GPU."""
    looks = []
    report.row(5, 0.1, {"grad_norm": 1.0}, None, lambda: looks.append(1))
    assert looks == [] and [row["step"] for row in logged_rows(tmp_path / "history.jsonl")] == [5]


def test_the_bar_tells_the_perplexity_of_codes(report):
    values = {"loss": 2.5, "error": 0.5, "samples_per_second": 1234.0}
    report.row(5, 0.1, values, None, lambda: None)
    assert report.bar.postfix == "epoch 0.1, 2.5000 nats, wrong about 1,600 of 3,200, 1,234 samples/s"
    report.row(6, 0.1, values | {"perplexity": 41.33}, None, lambda: None)
    assert report.bar.postfix.endswith("of 3,200, perplexity 41.3, 1,234 samples/s")


def test_a_process_that_shows_nothing_does_so_whatever_it_is_told():
    """Each method of a report is one of it, so that none touches what it does not have."""
    methods = {name for name, value in vars(Report).items() if callable(value) and not name.startswith("_")}
    assert methods <= vars(NoReport).keys() and "note" in methods
