"""Every configuration composes, every record is what it says, and a pinned run can be composed again."""

import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf.errors import OmegaConfBaseException
from support.settings import DEMO, GROUPS, ROOT, SMALL, compose_command, compose_settings, with_companions

from mfcc_wavenet import modes
from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.experiments import EXPERIMENTS
from mfcc_wavenet.config.files import CHECKPOINT, RESULTS
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings, UpsamplingSettings, WavenetSettings, WindowSettings
from mfcc_wavenet.evaluation.zero_error import measure
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs import records
from mfcc_wavenet.runs.records import MAX_CHECKPOINT
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.schedule import learning_rate

OPTIONS = sorted(f"{path.parent.name}={path.stem}" for path in (ROOT / "conf").glob("*/*.yaml"))
EVERY = [*OPTIONS, *(f"experiment={name}" for name in experiments.names())]
RECORDS = sorted(path.parent for path in EXPERIMENTS.glob("*/results.json"))


def geometry(settings: Settings) -> Geometry:
    """What is built first; it refuses what contradicts itself."""
    return Geometry.of(settings.features, settings.encoder, settings.upsampling, settings.wavenet)


def pin(run: Path, composed: Settings | None, directory: Path, weights: str) -> None:
    modes.pin(run, composed, directory, compose_command("clips=0", f"weights={weights}"))  # as mode=pin does


# --- what is in the repository --------------------------------------------------------------------


@pytest.mark.parametrize("override", EVERY)
def test_every_option_and_every_experiment_composes(override):
    """And holds together: its network could be built and its windows cut."""
    built = geometry(compose_settings(*with_companions(override), f"data.root={DEMO}"))
    assert built.receptive_field > 1


def test_there_is_an_option_of_every_group():
    """Otherwise the test above would pass on nothing."""
    groups = {option.partition("=")[0] for option in OPTIONS}
    assert groups == set(GROUPS)
    assert {"baseline", "a39d"} <= set(experiments.names())


@pytest.mark.parametrize("hop", [80, 160, 200, 320])
@pytest.mark.parametrize("upsampling", ["wide", "deep"])
def test_upsampling_follows_the_hop(hop, upsampling):
    """So that the hop is one setting: no combination of the two contradicts itself."""
    built = geometry(compose_settings(f"features.hop_length={hop}", f"upsampling={upsampling}"))
    assert built.strides == built.kernel_sizes == (hop,)


@pytest.mark.parametrize(("samples", "batch_size"), [(250, 1), (500, 2), (2000, 2)])
def test_by_samples_windows_of_all_sizes_see_as_many(samples, batch_size):
    """Between rows, between passes, while warming up and in all; the rate falls until the end."""
    window = (f"window.samples={samples}", f"window.batch_size={batch_size}")
    settings = compose_settings("train=by_samples", "optim=by_samples", *window)
    train, optim = settings.train, settings.optim
    intervals = (train.steps, train.log_interval, train.evaluate_interval, optim.warmup_steps)
    assert [steps * samples * batch_size for steps in intervals] == [1_600_000, 24_000, 48_000, 24_000]
    assert optim.decay_steps == train.steps


def test_windows_larger_than_a_budget_take_a_step():
    """And a size that is none is told of by its own name."""
    assert compose_settings("train=by_samples", "window.samples=100000").train.log_interval == 1
    with pytest.raises(OmegaConfBaseException, match=r"window.samples: .*'many'"):
        compose_settings("train=by_samples", "window.samples=many")


@pytest.mark.parametrize("directory", RECORDS, ids=lambda directory: directory.name)
def test_a_record_says_how_far_it_is_and_belongs_to_its_checkpoint(directory):
    """A figure that comes from another checkpoint than the one beside it is worth nothing."""
    record = json.loads((directory / "results.json").read_text())
    assert record["status"]
    assert (directory / "config.yaml").is_file()
    path = directory / "checkpoint.pt"
    assert path.is_file() == (record["status"] == "trained")
    if record["status"] == "trained":
        assert record["checkpoint_sha256"] == checkpoints.digest(path)
        assert path.stat().st_size <= MAX_CHECKPOINT


@pytest.mark.parametrize("name", [path.parent.name for path in EXPERIMENTS.glob("*/checkpoint.pt")])
def test_a_pinned_checkpoint_is_of_the_settings_beside_it(name):
    """What was trained is what the config.yaml composes; where files lie and what is logged may differ."""
    pinned = checkpoints.load(experiments.pinned_checkpoint(name)).settings
    composed = compose_settings(f"experiment={name}", f"data.root=[{','.join(pinned.data.root)}]")
    data = replace(pinned.data, prepared=composed.data.prepared)
    assert replace(pinned, data=data, tracking=composed.tracking) == composed


def test_the_ancestor_is_what_it_was():
    """The best setting of this project's ancestor, number by number."""
    settings = compose_settings("experiment=a39d", "data.root=folder")
    assert settings.wavenet == WavenetSettings(
        quantization_channels=256, residual_channels=368, gate_channels=256, skip_channels=256, post_channels=256,
        blocks=2, layers_per_block=10, kernel_size=2, speaker_channels=10, prediction="none", prediction_order=16,
        classes="codes", preemphasis=0.0,
    )  # fmt: skip
    assert settings.upsampling == UpsamplingSettings(
        frame_channels=(), frame_kernel_size=1, strides=(5, 4, 4, 2), kernel_sizes=(25, 16, 16, 16),
        channels=128, jitter=0.0, frame_gain=1.0, frame_whitening=False,
    )  # fmt: skip
    assert settings.window == WindowSettings(samples=5000, batch_size=64)
    assert (settings.optim.optimizer, settings.optim.learning_rate) == ("adam", 1e-4)
    assert learning_rate(settings.optim, 0) == 1e-4
    assert geometry(settings).receptive_field == 2047


# --- names ----------------------------------------------------------------------------------------


def test_an_experiment_without_checkpoint_is_one_sentence():
    """With what else would work; a mistyped name lists the near ones."""
    with pytest.raises(UserError, match=r"'a39d' has no pinned checkpoint yet .*checkpoint=PATH"):
        experiments.pinned_checkpoint("a39d")
    with pytest.raises(UserError, match=r"no experiment 'basline'; did you mean baseline or baseline_adam\?"):
        experiments.pinned_checkpoint("basline")


# --- pinning --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a short run that came to its end."""
    folder = tmp_path_factory.mktemp("runs") / "short"
    overrides = (*SMALL, f"data.prepared={folder.parent / 'prepared'}", "train.steps=2", "train.sample_utterances=1")
    Chassis(compose_settings(*overrides), folder).train()
    return folder


def test_a_pinned_run_is_a_record_that_composes_again(finished, tmp_path, monkeypatch, capsys):
    """Its config.yaml makes the same settings of it, its checkpoint the same weights without the training state."""
    directory = tmp_path / "short"
    pin(finished, None, directory, "float32")
    run, pinned = checkpoints.load(finished / CHECKPOINT), checkpoints.load(directory / "checkpoint.pt")
    assert pinned.training is None and pinned.speakers == run.speakers
    assert all((pinned.weights[name] == weight).all() for name, weight in run.weights.items())

    record = json.loads((directory / RESULTS).read_text())
    results = json.loads((finished / RESULTS).read_text())
    assert record["status"] == "trained" and record["checkpoint_sha256"] == checkpoints.digest(
        directory / "checkpoint.pt"
    )
    assert {key: record[key] for key in ("wrong", "samples", "steps")} == {
        key: results[key] for key in ("wrong", "samples", "steps")
    }
    readme = (directory / "README.md").read_text()
    assert all(picture.name in readme for picture in directory.glob("*.png")) and list(directory.glob("*.png"))

    monkeypatch.setattr(experiments, "EXPERIMENTS", tmp_path)
    composed = compose_settings(
        "experiment=short", "tracking.mode=disabled", f"data.prepared={run.settings.data.prepared}"
    )
    assert composed == run.settings
    assert str(tmp_path.parent) not in (directory / "config.yaml").read_text()
    pin(finished, composed, directory, "float32")
    pin(finished, None, directory, "float32")  # its own config.yaml does not stand in the way


def test_a_record_says_what_it_was_trained_on_and_not_where_it_was_pinned(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    results = json.loads((run / RESULTS).read_text()) | {"hardware": "a GPU elsewhere"}
    (run / RESULTS).write_text(json.dumps(results))
    pin(run, None, tmp_path / "record", "float32")
    assert json.loads((tmp_path / "record" / RESULTS).read_text())["hardware"] == "a GPU elsewhere"


def test_a_run_with_other_settings_is_not_pinned_under_a_name(finished, tmp_path):
    """The first setting that differs is named with both values; nothing is written."""
    settings = checkpoints.load(finished / CHECKPOINT).settings
    composed = replace(settings, optim=replace(settings.optim, learning_rate=0.5))
    with pytest.raises(UserError, match=r"says optim.learning_rate=0.5, but the run used 0.003"):
        pin(finished, composed, tmp_path / "record", "float32")
    assert not (tmp_path / "record").exists()


def test_a_config_that_a_person_wrote_is_not_overwritten(finished, tmp_path):
    """Nor is anything else in its directory."""
    (tmp_path / "config.yaml").write_text("# By hand.\nwindow:\n  samples: 200\n")
    with pytest.raises(UserError, match="is there already; experiment="):
        pin(finished, None, tmp_path, "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text().startswith("# By hand.")


def test_a_readme_that_a_person_wrote_stays(finished, tmp_path):
    """The measured lines are in results.json anyway."""
    (tmp_path / "README.md").write_text("By hand.\n")
    pin(finished, None, tmp_path, "float32")
    assert (tmp_path / "README.md").read_text() == "By hand.\n"


def test_a_checkpoint_that_is_too_large_for_git_is_not_pinned(finished, tmp_path):
    """And leaves nothing; a former record stays what it was."""
    checkpoint = checkpoints.load(finished / CHECKPOINT)
    pin(finished, None, tmp_path, "float32")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    logits = checkpoint.weights["wavenet.logits.weight"]
    large = replace(checkpoint, weights=checkpoint.weights | {"wavenet.logits.weight": logits.repeat(1700, 1)})
    with pytest.raises(UserError, match=r"has 2\d\.\d MiB; a pinned one may have 20 \(weights=float16 halves it\)"):
        records.pin(finished, replace(large, training=None), None, tmp_path, {}, {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("weights", ["float16", "bfloat16"])
def test_an_exact_run_is_pinned_in_half_of_the_bytes(inverted, tmp_path, capsys, weights):
    """The record says what was measured with the stored weights, the margin included."""
    chassis, results = inverted
    pin(chassis.folder, None, tmp_path / "whole", "float32")
    pin(chassis.folder, None, tmp_path / "half", weights)
    whole, half = (json.loads((tmp_path / name / RESULTS).read_text()) for name in ("whole", "half"))
    assert (half["wrong"], half["reproduced"], half["weights"]) == (0, results["samples"], weights)
    assert 0 < half["margin"] != whole["margin"] == results["margin"]
    assert half["checkpoint_bytes"] < 0.6 * whole["checkpoint_bytes"]
    assert f"margin {half['margin']:.2g}, {weights} weights" in capsys.readouterr().out
    measured = measure(checkpoints.load(tmp_path / "half" / CHECKPOINT))
    assert {name: measured[name] for name in ("wrong", "reproduced", "margin", "nats")} == {
        name: half[name] for name in ("wrong", "reproduced", "margin", "nats")
    }


def test_a_run_that_is_exact_only_in_float32_is_not_pinned_in_fewer_bits(inverted, tmp_path):
    """The same large number in every weight of the head moves no arg-max, but rounds what tells the codes apart."""
    chassis, results = inverted
    run = tmp_path / "run"
    run.mkdir()
    checkpoint = checkpoints.load(chassis.checkpoint_path)
    shifted = {"wavenet.logits.weight": checkpoint.weights["wavenet.logits.weight"] + 100}
    checkpoints.save(run / CHECKPOINT, replace(checkpoint, weights=checkpoint.weights | shifted))
    (run / RESULTS).write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"^weights=bfloat16: .*[\d,]+ of 1,600 samples are wrong.*float32 keeps"):
        pin(run, None, tmp_path / "record", "bfloat16")
    assert not (tmp_path / "record").exists()
    pin(run, None, tmp_path / "record", "float32")


def test_a_config_that_is_no_yaml_is_one_sentence(tmp_path, monkeypatch):
    """Whichever experiment was asked for: Hydra has to know them all."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("window: [1, 2\n")
    monkeypatch.setattr(experiments, "EXPERIMENTS", tmp_path)
    with pytest.raises(UserError, match=r"experiments/broken/config\.yaml is not YAML"):
        experiments.register()


def killed_at(replacement: int, pinning: Callable[[], object]) -> bool:
    """Runs it in a process that is killed in place of its nth replacement of a file; False if there are fewer."""
    child = os.fork()
    if child == 0:
        before, count = os.replace, itertools.count(1)

        def replace_or_die(*paths: Path) -> None:
            if next(count) == replacement:
                os.kill(os.getpid(), signal.SIGKILL)
            before(*paths)

        os.replace = replace_or_die
        pinning()
        os._exit(0)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_pinning_can_be_repeated_after_a_kill_between_any_two_writes(finished, tmp_path):
    """In a new directory as in one with a former record; what is there meanwhile never belongs to something else."""
    trained = replace(checkpoints.load(finished / CHECKPOINT), training=None)
    results = json.loads((finished / RESULTS).read_text())
    measured = measure(trained)

    def pin_in(directory: Path, weights: str) -> dict:
        return records.pin(finished, trained, None, directory, results, measured, weights)

    pin_in(tmp_path / "whole", "float32")
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    for replacement in itertools.count(1):
        new, again = tmp_path / f"new {replacement}", tmp_path / f"again {replacement}"
        pin_in(again, "float16")
        killed = [killed_at(replacement, lambda directory=directory: pin_in(directory, "float32"))
                  for directory in (new, again)]  # fmt: skip
        for directory in (new, again):
            path = directory / RESULTS
            if path.exists():
                held = json.loads(path.read_text())["checkpoint_sha256"]
                assert held == checkpoints.digest(directory / CHECKPOINT)
            record = pin_in(directory, "float32")
            assert json.loads(path.read_text()) == record and record["weights"] == "float32"
            assert {path.name for path in directory.iterdir()} == names
            assert record["checkpoint_sha256"] == checkpoints.digest(directory / CHECKPOINT)
            assert f"| nats | {record['nats']} |" in (directory / "README.md").read_text()
        if not any(killed):
            break
    assert replacement >= 7, "checkpoint, config.yaml, two pictures, README.md and results.json"


def test_a_generated_readme_follows_its_record_and_an_edited_one_stays(finished, tmp_path):
    """One line of a person's own is enough."""
    trained = replace(checkpoints.load(finished / CHECKPOINT), training=None)
    results = json.loads((finished / RESULTS).read_text())
    measured = measure(trained)
    for nats in (1.5, 2.5):
        records.pin(finished, trained, None, tmp_path, results, measured | {"nats": nats})
        assert f"| nats | {nats} |" in (tmp_path / "README.md").read_text()
    edited = (tmp_path / "README.md").read_text() + "By hand.\n"
    (tmp_path / "README.md").write_text(edited)
    records.pin(finished, trained, None, tmp_path, results, measured)
    assert (tmp_path / "README.md").read_text() == edited


def test_a_run_is_not_pinned_over_a_run(finished, tmp_path):
    """Neither over itself, whatever its folder is called, nor over another one; nothing is written."""
    (tmp_path / "link").symlink_to(finished)
    shutil.copytree(finished, tmp_path / "another")
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    for directory in (finished, tmp_path / "link", tmp_path / "another", finished.parent / "x" / ".." / finished.name):
        with pytest.raises(UserError, match="is the folder of a run, which stays as it is; output=experiments/NAME"):
            pin(finished, None, directory, "float32")
    pin(finished, None, tmp_path / "record", "float32")
    with pytest.raises(UserError, match="stays as it is"):
        pin(tmp_path / "record", None, tmp_path / "record", "float16")
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_pictures_that_are_links_into_the_run_become_files(finished, tmp_path):
    """What they point at stays."""
    picture = finished / "curves.png"
    before = picture.read_bytes()
    (tmp_path / "curves.png").symlink_to(picture)
    (tmp_path / "01_lighthouse.png").hardlink_to(finished / "01_lighthouse.png")
    pin(finished, None, tmp_path, "float32")
    assert picture.read_bytes() == before and not (tmp_path / "curves.png").is_symlink()
    assert (tmp_path / "curves.png").read_bytes() == before
