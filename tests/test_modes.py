"""What can be done with a finished run: evaluate, generate, pin; and which files are refused for it."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.command import QUICK, CommandLine
from support.disks import files_of_at_most
from support.settings import DEMO, ROOT

from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import mfcc
from mfcc_wavenet.data.sources import PACKAGE
from mfcc_wavenet.models import checkpoint as checkpoints

SPOKEN = min((PACKAGE / "demo").glob("*.flac"))
SAMPLES = 3210  # of a second recording, not a whole number of hops


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder in which the real command, in a process of its own, came to its end."""
    folder = tmp_path_factory.mktemp("trained")
    line = [sys.executable, str(ROOT / "run.py"), *QUICK.split(), "name=small"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "of 3,200 samples" in done.stdout and "runs/small/checkpoint.pt" in done.stdout
    soundfile.write(folder / "spoken.wav", read_audio(SPOKEN, 16000)[4000 : 4000 + SAMPLES], 16000)
    return folder


@pytest.fixture
def type_in(trained, monkeypatch, capsys):
    """In the folder of the trained run; what a test writes there, it gives a name of its own."""
    return CommandLine(trained, monkeypatch, capsys)


class Malice:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


# --- evaluate -------------------------------------------------------------------------------------


def test_an_evaluation_is_one_line_of_json_and_the_same_in_a_file(type_in, trained):
    """What is measured again is what the run itself had measured."""
    done = type_in("mode=evaluate checkpoint=runs/small")
    assert done.code == 0
    measured = json.loads(done.out.splitlines()[-1])
    assert measured == json.loads((trained / "runs/small.evaluation.json").read_text())
    results = json.loads((trained / "runs/small/results.json").read_text())
    assert measured["experiment"] == "small" and measured["samples"] == results["samples"] == 3200
    assert measured["wrong"] == results["wrong"] and measured["nats"] == pytest.approx(results["nats"], rel=1e-6)
    assert measured["reproduced"] is None  # some are wrong, as training said, too
    assert measured["checkpoint_sha256"] == checkpoints.digest(trained / "runs/small/checkpoint.pt")


def test_a_model_is_evaluated_on_other_audio(type_in, trained):
    """Whoever speaks there, since the speaker does not condition it; the other settings are the checkpoint's."""
    other = "data.root=spoken.wav data.seconds=null"
    done = type_in(f"mode=evaluate checkpoint=runs/small clips=0 output=other.json {other}")
    assert json.loads((trained / "other.json").read_text())["samples"] == SAMPLES and done.code == 0


@pytest.mark.parametrize(
    ("options", "split", "samples", "line"),
    [
        ("", "train", 3200, "split=train: 1 utterance, 0.2 s, all of which the model was trained on."),
        (f"data.root={DEMO}", "train", 3200, "split=train: 1 utterance, 0.2 s, all of which the model was trained on."),
        ("split=all", "all", 3200, "split=all: 1 utterance, 0.2 s, all of which the model was trained on."),
        ("data.seconds=3.6", "train", 57_600, "2 utterances, 3.6 s, 1 of which the model was trained on."),
        (
            "data.root=spoken.wav data.seconds=1",
            "all",
            SAMPLES,
            "0.2 s, of another corpus than the one",
        ),
        ("data.seconds=3.6 data.test=0.5 data.split_seed=6 split=test", "test", 4_240, "none of which the model"),
    ],
)
def test_an_evaluation_says_which_part_it_measured(type_in, trained, options, split, samples, line):
    """And how much of it the model was trained on, also where a split of the command line would hold that out."""
    done = type_in(f"mode=evaluate checkpoint=runs/small output=part.json clips=0 {options}")
    assert done.code == 0, done.err
    measured = json.loads(done.out.splitlines()[-1])
    assert measured["split"] == split and measured["samples"] == samples
    assert line in done.err


def test_a_part_that_there_is_not_cannot_be_evaluated(type_in):
    """Neither one of another name nor one of an empty fraction."""
    type_in.refused("mode=evaluate checkpoint=runs/small split=dev", "split=dev", "train, valid, test and all")
    type_in.refused("mode=evaluate checkpoint=runs/small split=test", "no test part", "data.test is 0")
    type_in.refused("mode=generate checkpoint=runs/small split=test input=spoken.wav", "split=... is for mode=evaluate")


def test_an_evaluation_that_cannot_be_written_is_printed_first(type_in, trained):
    """The minutes that it took are not lost."""
    output = "output=spoken.wav/x.json"
    done = type_in.refused(f"mode=evaluate checkpoint=runs/small clips=0 {output}", output)
    assert json.loads(done.out.splitlines()[-1])["samples"] == 3200


# --- generate -------------------------------------------------------------------------------------


def test_sound_is_generated_from_the_mfccs_of_a_sound(type_in, trained):
    """As long as the original to the sample, at the same rate; how many samples are the original's is counted."""
    done = type_in("mode=generate checkpoint=runs/small input=spoken.wav")
    assert done.code == 0
    wave, rate = soundfile.read(trained / "spoken.inverted.wav", dtype="float32")
    original = mulaw.encode(read_audio(trained / "spoken.wav", 16000), 256)
    same = int((mulaw.encode(wave, 256) == original).sum())
    assert rate == 16000 and f"{same:,} of 3,210 samples match the input bit for bit" in done.out
    drawn = type_in("mode=generate checkpoint=runs/small input=spoken.wav temperature=1 output=new/drawn.flac")
    assert drawn.code == 0 and soundfile.info(trained / "new/drawn.flac").frames == SAMPLES


def test_sound_is_generated_from_an_npy_of_mfccs(type_in, trained):
    """As librosa returns them: whole hops, and the same samples as from the sound itself."""
    settings = checkpoints.load(trained / "runs/small/checkpoint.pt").settings.features
    np.save(trained / "mfcc.npy", mfcc(read_audio(trained / "spoken.wav", 16000), settings))
    assert type_in("mode=generate checkpoint=runs/small input=mfcc.npy output=from_mfcc.wav").code == 0
    assert type_in("mode=generate checkpoint=runs/small input=spoken.wav output=from_wav.wav").code == 0
    from_mfcc, from_wave = (soundfile.read(trained / f"{name}.wav")[0] for name in ("from_mfcc", "from_wav"))
    assert len(from_mfcc) == 20 * 160
    assert np.array_equal(from_mfcc, from_wave[: len(from_mfcc)])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 13)), ["shape (20, 13)", "(n_mfcc, frames) = (13, 1 or more)"]),
        (np.zeros((13, 0)), ["shape (13, 0)"]),
        (np.zeros((1, 13, 20)), ["shape (1, 13, 20)"]),
        (np.where(np.eye(13), np.nan, 1), ["not finite numbers"]),
        (np.full((13, 4), -1e300), ["not finite numbers"]),  # in float64 it is one
        (np.full((13, 4), "x"), ["of the type <U1, and MFCCs are numbers"]),
        (np.full((13, 4), 1j), ["of the type complex128, and MFCCs are numbers"]),
    ],
)
def test_arrays_that_are_no_mfccs_are_refused(type_in, trained, array, words):
    """Of another shape or kind, or with values that are no numbers."""
    np.save(trained / "bad.npy", array)
    type_in.refused("mode=generate checkpoint=runs/small input=bad.npy", "bad.npy: ", *words)
    assert not (trained / "bad.inverted.wav").exists()


def test_files_that_are_no_arrays_are_refused(type_in, trained):
    """Text, a cut array, an archive of several, a header that lies, half an archive."""
    np.save(trained / "whole.npy", np.ones((13, 20)))
    np.savez(trained / "several.npz", a=np.ones(3))
    whole, several = (trained / "whole.npy").read_bytes(), (trained / "several.npz").read_bytes()
    contents = [b"", b"text", whole[:-1], whole[:90], several, several[:50]]
    contents.append(whole.replace(b"(13, 20)", b"(13, 9999999999999)").replace(b"\x76\x00", b"\x81\x00", 1))
    contents.append(whole.replace(b"'descr': '<f8'", b"'descr': '<f8 "))
    for content in contents:
        (trained / "bad.npy").write_bytes(content)
        type_in.refused("mode=generate checkpoint=runs/small input=bad.npy", "bad.npy: ")


def test_code_in_an_npy_never_runs(type_in, trained):
    """An array of objects is a pickle."""
    marker = trained / "npy ran"
    np.save(trained / "bad.npy", np.array([[Malice(marker)]], dtype=object), allow_pickle=True)
    type_in.refused("mode=generate checkpoint=runs/small input=bad.npy", "of the type object, and MFCCs are numbers")
    (trained / "bad.npy").write_bytes(pickle.dumps(Malice(marker)))
    type_in.refused("mode=generate checkpoint=runs/small input=bad.npy", "neither audio nor an .npy or .npz of numbers")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["needs input=PATH"]),
        ("input=nothing.wav", ["input=nothing.wav: there is no such file"]),
        ("input=spoken.wav output=spoken.mp3", ["output=spoken.mp3", ".wav or .flac"]),
        (
            "input=spoken.wav output=spoken.wav/below.wav",
            ["output=spoken.wav/below.wav could not be written (File exists)"],
        ),
        ("input=spoken.wav output=folder.wav", ["output=folder.wav could not be written"]),
        ("input=spoken.wav speaker=nobody", ["speaker=nobody is unknown", "demo"]),
        ("input=spoken.wav temperature=-1", ["temperature=-1", "0 or more"]),
        ("input=text.wav", ["text.wav: not readable as audio"]),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(type_in, trained, line, words):
    """Which names the value."""
    (trained / "folder.wav").mkdir(exist_ok=True)
    (trained / "text.wav").write_text("text")
    type_in.refused(f"mode=generate checkpoint=runs/small {line}", *words)


def test_a_full_disk_under_generated_sound_is_one_sentence(type_in):
    """The header fits, the samples do not."""
    with files_of_at_most(1000):
        type_in.refused("mode=generate checkpoint=runs/small input=spoken.wav output=full.wav", "could not be written")


# --- checkpoints that are none --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "evaluate", "generate", "pin"])
def test_bad_checkpoints_are_refused_in_every_mode(type_in, trained, mode):
    """Truncated, of another project, text, with code inside, which never runs; nothing else is touched."""
    folder, marker = trained / f"bad for {mode}", trained / "checkpoint ran"
    folder.mkdir()
    path = folder / "checkpoint.pt"
    (folder / "results.json").write_text("{}")
    before = sorted(os.listdir(trained / "runs"))
    line = f"mode={mode} 'checkpoint={path}' runs=runs tracking.mode=disabled"
    line += " input=spoken.wav" if mode == "generate" else ""
    line += "" if mode == "train" else " output=unused.wav"
    path.write_bytes((trained / "runs/small/checkpoint.pt").read_bytes()[:-1000])
    type_in.refused(line, str(path), "is truncated")
    torch.save({"weights": torch.ones(2)}, path)
    type_in.refused(line, str(path), "not a checkpoint of this project")
    path.write_text("window:\n  samples: 3\n")
    type_in.refused(line, str(path), "not a checkpoint")
    torch.save({"format": f"{checkpoints.MARK} {checkpoints.FORMAT}", "weights": Malice(marker)}, path)
    type_in.refused(line, str(path), "could run code, so it was not opened")
    assert not marker.exists() and sorted(os.listdir(trained / "runs")) == before


# --- pin ------------------------------------------------------------------------------------------


def test_a_pinned_run_evaluates_as_it_was_recorded(type_in, trained):
    """The record's figures are those of the checkpoint beside it."""
    done = type_in("mode=pin clips=0 checkpoint=runs/small output=record")
    assert done.code == 0 and "record: wrong " in done.out
    record = json.loads((trained / "record/results.json").read_text())
    again = type_in("mode=evaluate clips=0 checkpoint=record output=again.json")
    measured = json.loads(again.out.splitlines()[-1])
    keys = ("wrong", "samples", "nats", "reproduced", "checkpoint_sha256")
    assert {key: measured[key] for key in keys} == {key: record[key] for key in keys}


def test_the_best_pass_of_a_run_can_be_taken_in_every_mode(type_in, trained):
    """Where what the run had learnt was lost after it: evaluated, generated with, pinned and trained on from."""
    diverging = (
        "train.steps=60 train.evaluate_interval=10 train.evaluate_below=2 optim.learning_rate=0.02 "
        "optim.schedule=step optim.milestones=[45] optim.milestone_factors=[100] optim.warmup_steps=0"
    )
    done = type_in(f"{QUICK} {diverging} name=lost")
    assert done.code == 0, done.err
    results = json.loads((trained / "runs/lost/results.json").read_text())
    assert results["best_wrong"] < results["wrong"] and results["best_checkpoint"] == "best.pt"
    best = "checkpoint=runs/lost/best.pt"
    done = type_in(f"mode=evaluate clips=0 {best}")
    measured = json.loads((trained / "runs/lost-best.evaluation.json").read_text())
    assert done.code == 0 and measured["wrong"] == results["best_wrong"]
    done = type_in(f"mode=pin clips=0 {best} output=kept")
    record = json.loads((trained / "kept/results.json").read_text())
    assert done.code == 0 and "kept: wrong " in done.out
    assert (record["wrong"], record["steps"]) == (results["best_wrong"], results["best_step"])
    assert 0 < record["samples_seen"] < results["samples_seen"] and record["nats"] == measured["nats"]
    assert {path.name for path in (trained / "kept").glob("*.png")} == {"curves.png"}
    done = type_in(f"mode=generate {best} input=spoken.wav output=best.wav")
    assert done.code == 0 and soundfile.info(trained / "best.wav").frames == SAMPLES
    done = type_in(f"runs=runs {best} train.steps={results['best_step'] + 5}")
    assert done.code == 0, done.err
    (folder,) = (trained / "runs").glob("from-lost-best*")
    continued = json.loads((folder / "results.json").read_text())
    assert continued["steps"] == results["best_step"] + 5 and continued["samples_seen"] > record["samples_seen"]


def test_an_unfinished_run_is_not_pinned(type_in, trained):
    """Whether it is named by its folder or as a run; nor is a finished one where nothing can be written."""
    (trained / "runs" / "half").mkdir()
    (trained / "runs/half/checkpoint.pt").write_bytes((trained / "runs/small/checkpoint.pt").read_bytes())
    for line in ("checkpoint=runs/half", "runs=runs name=half"):
        type_in.refused(f"mode=pin {line} output=unfinished", "runs/half holds no finished run")
    assert not (trained / "unfinished").exists()
    type_in.refused("mode=pin checkpoint=runs/small output=spoken.wav/x", "spoken.wav/x could not be written")
