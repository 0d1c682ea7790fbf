"""mode=evaluate and mode=pin on clips: what is printed, kept and logged, and which temperature a record has."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.command import QUICK, CommandLine, typed
from support.corpora import folder_of
from support.disks import files_of_at_most

from mfcc_wavenet.compare import reader
from mfcc_wavenet.models import checkpoint as checkpoints

NAMES = [f"{letter}.wav" for letter in "abcdefgh"]
SPLIT = "data.seconds=null data.valid=0.3 data.test=0.3 data.split_seed=7"
TEST = ["c", "e"]  # of NAMES, with that seed
FEW = "clips=2 clip_seconds=0.1"
SYSTEMS = {"ours", "uncorrected", "greedy", "librosa", "noise", "mu-law"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a run in it that has seen a few sentences, and held out others."""
    folder = tmp_path_factory.mktemp("trained")
    folder_of(folder, *NAMES)
    typed(folder, f"{QUICK} {SPLIT} data.root=audio name=small")
    return folder


@pytest.fixture
def type_in(trained, monkeypatch, capsys):
    """In the folder of the trained run; what a test writes there, it gives a name of its own."""
    return CommandLine(trained, monkeypatch, capsys)


def clips_of(folder: Path) -> set[str]:
    return {row["clip"] for row in json.loads((folder / "clips.json").read_text())["rows"]}


# --- evaluate -----------------------------------------------------------------------------------------


def test_clips_of_a_part_are_generated_and_measured(type_in, trained):
    """One line of JSON on stdout, a table on stderr, and the sounds in a folder next to the file of the line."""
    done = type_in(f"mode=evaluate checkpoint=runs/small split=test {FEW} temperature=0.8 sampling_seed=2")
    assert done.code == 0, done.err
    (line,) = done.out.strip().splitlines()
    measured = json.loads(line)
    assert measured == json.loads((trained / "runs/small.evaluation.json").read_text())
    quality = measured["quality"]
    assert (quality["split"], quality["clips"], quality["temperature"], quality["seed"]) == ("test", 2, 0.8, 2)
    assert quality["seconds"] == 0.2 and set(quality["values"]) == SYSTEMS and measured["nats"] > 0
    lines = done.err.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("2 clips, 0.2 s"))
    assert lines[start + 3].startswith("ours, at 0.8 ") and lines[start + 8].startswith("mu-law, ceiling ")
    kept = trained / "runs" / "small.evaluation.clips"
    assert clips_of(kept) == set(TEST)
    assert {path.name for path in kept.glob("*.flac")} == {
        f"{c}.{s}.flac" for c in TEST for s in {*SYSTEMS, "original"}
    }


def test_the_same_seed_gives_the_same_clips(type_in, trained):
    """And another one others, at the same temperature; greedily there are no random numbers."""
    for seed, name in ((2, "one"), (2, "same"), (3, "other")):
        line = f"mode=evaluate checkpoint=runs/small {FEW} temperature=0.8 sampling_seed={seed} output={name}.json"
        assert type_in(line).code == 0
    one, same, other = (
        [(trained / f"{name}.clips" / f"{TEST[0]}.{system}.flac").read_bytes() for system in ("ours", "greedy")]
        for name in ("one", "same", "other")
    )
    assert one == same and one[0] != other[0] and one[1] == other[1]


def test_clips_may_be_of_several_candidates(type_in, trained):
    """The line says how many, the table, too; the file of the first, uncorrected, is as of one."""
    for count in (1, 2):
        line = f"mode=evaluate checkpoint=runs/small {FEW} temperature=0.8 output=of{count}.json"
        done = type_in(f"{line} candidates={count}")
        assert done.code == 0 and json.loads(done.out)["quality"]["candidates"] == count, done.err
    assert any(line.startswith("ours, at 0.8, of 2 ") for line in done.err.splitlines())
    ours, uncorrected = (
        [(trained / f"of{count}.clips" / f"{TEST[0]}.{system}.flac").read_bytes() for count in (1, 2)]
        for system in ("ours", "uncorrected")
    )
    assert ours[0] != ours[1] and uncorrected[0] == uncorrected[1]


def test_without_clips_there_is_no_quality(type_in, trained):
    done = type_in("mode=evaluate checkpoint=runs/small clips=0 output=none.json")
    assert done.code == 0 and "quality" not in json.loads(done.out) and not (trained / "none.clips").exists()


def test_what_is_reproduced_needs_no_clips(type_in, trained, inverted):
    """Its line is what it was before there were clips, but for the part that is measured."""
    chassis, _ = inverted
    done = type_in(f"mode=evaluate checkpoint={chassis.folder} output=exact.json")
    measured = json.loads(done.out)
    assert measured["wrong"] == 0 and measured["reproduced"] == measured["samples"] == 1600
    assert "quality" not in measured and not (trained / "exact.clips").exists()


def test_an_evaluation_is_tracked_where_that_is_asked_for(type_in, trained, monkeypatch):
    """As a W&B run with a table of the clips; otherwise none is begun."""
    monkeypatch.setenv("HOME", str(trained))
    line = f"mode=evaluate checkpoint=runs/small {FEW} output=tracked.json"
    assert type_in(line).code == 0 and not (trained / "wandb").exists()
    done = type_in(f"{line} tracking=wandb tracking.mode=offline")
    assert done.code == 0, done.err
    (run,) = trained.glob("wandb/offline-run-*")
    assert "tracked" in run.name and list(run.glob("files/media/table/clips*.table.json"))
    (read,) = reader.read([run])
    assert read.name == "tracked" and read.results["quality"] == json.loads(done.out)["quality"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("clips=-1", ["clips=-1", "0 or more"]),
        ("clip_seconds=0.001", ["clip_seconds=0.001: it must be at least 0.1"]),
        ("temperature=-1", ["temperature=-1", "0 or more"]),
        ("top_k=1.5", ["top_k"]),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(type_in, line, words):
    type_in.refused(f"mode=evaluate checkpoint=runs/small output=refused.json {line}", *words)


def test_clips_that_cannot_be_written_are_printed_first(type_in):
    """The minutes that they took are not lost."""
    with files_of_at_most(1000):
        done = type_in(f"mode=evaluate checkpoint=runs/small {FEW} output=full.json")
    assert done.code == 2 and json.loads(done.out)["quality"]["clips"] == 2
    assert done.err.splitlines()[-1].startswith("output=full.json could not be written (")


def test_clips_are_for_evaluation(type_in):
    sentence = "clips=... is for mode=evaluate or mode=pin; this is mode=generate."
    type_in.refused("mode=generate checkpoint=runs/small input=audio/a.wav clips=2", sentence)


# --- pin ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pinned(trained) -> Path:
    """A record of the run, whose temperature was measured."""
    assert "is best on split=valid" in typed(trained, f"mode=pin checkpoint=runs/small output=record {FEW}")
    return trained / "record"


def test_a_record_has_the_temperature_that_was_best_on_the_valid_part(pinned, type_in, trained):
    """By log spectra, as the clips are too short for STOI; it is the default of every mode."""
    results = json.loads((pinned / "results.json").read_text())
    ((measure, means),) = results["temperatures"].items()
    assert measure == "lsd" and list(means) == ["0.5", "0.6", "0.7", "0.8", "0.9", "1"]
    temperature = checkpoints.load(pinned / "checkpoint.pt").temperature
    assert temperature == float(min(means, key=means.get))
    for given, name in (("", "own"), (f"temperature={temperature}", "given"), ("temperature=0", "greedy")):
        line = f"mode=generate checkpoint=record input=audio/b.wav output={name}.wav {given}"
        assert type_in(line).code == 0
    own, given, greedy = (soundfile.read(trained / f"{name}.wav")[0] for name in ("own", "given", "greedy"))
    np.testing.assert_array_equal(own, given)
    assert not np.array_equal(own, greedy)


def test_a_record_has_the_quality_of_what_was_held_out(pinned, type_in):
    """The same that mode=evaluate measures on the tests."""
    results = json.loads((pinned / "results.json").read_text())
    assert results["quality"]["split"] == "test"
    done = type_in(f"mode=evaluate checkpoint=record split=test {FEW} output=again.json")
    assert json.loads(done.out)["quality"] == results["quality"]


def test_a_temperature_that_is_given_is_kept(pinned, type_in, trained):
    """Without measuring others; and without clips, nothing is measured."""
    assert type_in("mode=pin checkpoint=runs/small output=warm temperature=0.7 clips=0").code == 0
    assert type_in("mode=pin checkpoint=runs/small output=own clips=0").code == 0
    for name, temperature in (("warm", 0.7), ("own", 1)):
        assert checkpoints.load(trained / name / "checkpoint.pt").temperature == temperature
        assert {"temperatures", "quality"}.isdisjoint(json.loads((trained / name / "results.json").read_text()))


def test_a_run_from_a_record_begins_without_its_temperature(pinned, type_in, trained):
    """It was measured of other weights."""
    done = type_in("checkpoint=record name=on train.steps=2")
    assert done.code == 0, done.err
    assert checkpoints.load(trained / "runs/on/checkpoint.pt").temperature == 1
