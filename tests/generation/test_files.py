"""mode=generate over files: each is converted once, and none stops the others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.command import CommandLine
from support.owners import HOLD
from support.settings import ROOT

from mfcc_wavenet import Inverter, librosa
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.inputs import find_inputs, output_paths
from mfcc_wavenet.generation.outputs import LEDGER, OutputFolder

WAV, RATE = soundfile.read(ROOT / "mfcc_wavenet" / "data" / "demo" / "01_lighthouse.flac", dtype="float32")
PINNED = "experiment=baseline mode=generate"


@pytest.fixture
def type_in(tmp_path, monkeypatch, capsys) -> CommandLine:
    """A folder "in" with a wav, an .npy, an .npz of two, and in a folder below a wav of the first one's name."""
    mfcc = Inverter.from_experiment("baseline").features(WAV[:1600], RATE)
    (tmp_path / "in" / "below").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "spoken.wav", WAV[:1600], RATE)
    soundfile.write(tmp_path / "in" / "below" / "spoken.wav", WAV[:800], RATE)
    np.save(tmp_path / "in" / "one.npy", mfcc)
    np.savez(tmp_path / "in" / "two.npz", a=mfcc, b=mfcc[:, :3])
    return CommandLine(tmp_path, monkeypatch, capsys)


OUTPUTS = ["below/spoken.wav", "one.wav", "spoken.wav", "two-a.wav", "two-b.wav"]


def written(folder) -> dict[str, int]:
    """Outputs below the folder, and when each was written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*.wav"))}


def test_a_folder_gives_a_folder(type_in):
    """With the same subfolders, and one output for each array, of its length."""
    done = type_in(f"{PINNED} input=in output=out")
    assert done.code == 0, done.err
    assert list(written(type_in.folder / "out")) == OUTPUTS
    assert "wrote 5 files" in done.out and "times real time" in done.out
    lengths = [soundfile.info(type_in.folder / "out" / name).frames for name in OUTPUTS]
    assert lengths == [800, 1600, 1600, 1600, 320]
    audio = [soundfile.read(type_in.folder / "out" / name)[0] for name in ("one.wav", "two-a.wav", "spoken.wav")]
    np.testing.assert_array_equal(audio[0], audio[1])
    np.testing.assert_array_equal(audio[0], audio[2])


def test_an_interrupted_conversion_resumes(type_in):
    """It writes only what is missing; with another temperature, or restart=true, it writes everything again."""
    type_in(f"{PINNED} input=in output=out")
    first = written(type_in.folder / "out")
    (type_in.folder / "out" / "two-a.wav").unlink()
    done = type_in(f"{PINNED} input=in output=out")
    second = written(type_in.folder / "out")
    assert "wrote 1 file," in done.out and "4 files existed already" in done.out
    assert {name for name in OUTPUTS if first[name] != second[name]} == {"two-a.wav"}
    for arguments in ("temperature=1", "temperature=1 restart=true"):
        before = written(type_in.folder / "out")
        assert "wrote 5 files, " in type_in(f"{PINNED} input=in output=out {arguments}").out
        assert all(before[name] != time for name, time in written(type_in.folder / "out").items())


def test_a_broken_input_stops_no_other(type_in):
    """It is named at the end, and the exit code is 2."""
    (type_in.folder / "in" / "broken.flac").write_text("no audio")
    np.save(type_in.folder / "in" / "shape.npy", np.zeros((20, 13)))
    done = type_in(f"{PINNED} input=in output=out")
    assert done.code == 2
    assert list(written(type_in.folder / "out")) == OUTPUTS
    broken, shape, summary = done.err.strip().splitlines()[-3:]
    assert broken.startswith("in/broken.flac: ") and shape.startswith("in/shape.npy: ")
    assert summary.startswith("2 of 6 inputs failed")


def test_globs_and_equal_stems(type_in):
    """A glob selects; where two inputs share a stem, the outputs' names include their suffixes."""
    shutil.copy(type_in.folder / "in" / "one.npy", type_in.folder / "in" / "spoken.npy")
    done = type_in(f"{PINNED} 'input=in/spo*' output=out")
    assert done.code == 0, done.err
    assert list(written(type_in.folder / "out")) == ["spoken.npy.wav", "spoken.wav.wav"]
    type_in.refused(f"{PINNED} 'input=in/x*' output=out", "there is no such file")
    os.mkdir(type_in.folder / "empty")
    type_in.refused(f"{PINNED} input=empty output=out", "no audio and no MFCCs")
    with pytest.raises(UserError, match="needs input="):
        find_inputs(None)


def test_names_of_many_inputs_take_no_time():
    """8,000 inputs, of which half share their stem with another: in linear time, where quadratic time is a minute."""
    inputs = [Path(f"in/{number // 100}/{number}.wav") for number in range(6000)]
    inputs += [one.with_suffix(".npy") for one in inputs[::3]]
    started = time.perf_counter()
    outputs = output_paths(inputs, Path("out"))
    assert time.perf_counter() - started < 5
    assert outputs[1] == Path("out/0/1.wav")
    assert (outputs[3], outputs[6001]) == (Path("out/0/3.wav.wav"), Path("out/0/3.npy.wav"))
    assert len(set(outputs)) == len(inputs) == 8000


def test_what_is_read_is_never_written_to(type_in):
    """By whatever name; nor is what somebody else has put there, unless restart=true says so."""
    folder = type_in.folder / "in"
    (type_in.folder / "link.wav").symlink_to(folder / "spoken.wav")
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    type_in.refused(f"{PINNED} input=in/spoken.wav output=in/spoken.wav", "is what is read")
    type_in.refused(f"{PINNED} input=in/spoken.wav output=link.wav", "is what is read")
    assert "is what is read" in type_in(f"{PINNED} input=in output=in").err
    assert "is what is read" in type_in(f"{PINNED} 'input=in/s*.wav' output=in").err
    assert all(path.read_bytes() == content for path, content in before.items())
    (folder / "one.wav").write_text("mine")
    done = type_in(f"{PINNED} 'input=in/o*.npy' output=in")
    assert done.code == 2 and "was there before" in done.err and (folder / "one.wav").read_text() == "mine"
    assert type_in(f"{PINNED} 'input=in/o*.npy' output=in restart=true").code == 0
    assert soundfile.info(folder / "one.wav").frames == 1600


def test_outputs_below_the_inputs_are_no_inputs(type_in):
    """The default output of input=. is such a folder; hidden files are passed over, links to folders are not."""
    (type_in.folder / "in" / "._spoken.wav").write_text("a Mac's")
    shutil.copytree(type_in.folder / "in" / "below", type_in.folder / "elsewhere")
    (type_in.folder / "in" / "linked").symlink_to(type_in.folder / "elsewhere")
    for summary in ("wrote 6 files", "6 files existed already"):
        done = type_in(f"{PINNED} input=in output=in/made")
        assert done.code == 0 and summary in done.out and "1 hidden file" in done.err, done
    assert list(written(type_in.folder / "in" / "made")) == sorted([*OUTPUTS, "linked/spoken.wav"])


@pytest.mark.parametrize("seconds", [-60, 60], ids=["an older file", "a newer file"])
def test_an_input_that_was_replaced_is_generated_again(type_in, seconds):
    type_in(f"{PINNED} input=in output=out")
    first = written(type_in.folder / "out")
    np.save(type_in.folder / "in" / "one.npy", np.load(type_in.folder / "in" / "one.npy")[:, :5])
    stamp = time.time() + seconds
    os.utime(type_in.folder / "in" / "one.npy", (stamp, stamp))
    assert "wrote 1 file," in type_in(f"{PINNED} input=in output=out").out
    second = written(type_in.folder / "out")
    assert {name for name in OUTPUTS if first[name] != second[name]} == {"one.wav"}
    assert soundfile.info(type_in.folder / "out" / "one.wav").frames == 640


def test_two_inputs_never_share_an_output(type_in):
    """One of them is made, and a sentence names the other."""
    shutil.copy(type_in.folder / "in" / "one.npy", type_in.folder / "in" / "two-a.npy")
    done = type_in(f"{PINNED} input=in output=out")
    assert done.code == 2 and "in/two.npz: its output out/two-a.wav is that of in/two-a.npy" in done.err
    assert list(written(type_in.folder / "out")) == ["below/spoken.wav", "one.wav", "spoken.wav", "two-a.wav"]


def test_two_arrays_never_share_an_output(type_in):
    """Names that differ only in what a file name cannot have."""
    mfcc = np.load(type_in.folder / "in" / "one.npy")
    np.savez(type_in.folder / "same.npz", **{"a b": mfcc, "a-b": mfcc[:, :3]})
    done = type_in(f"{PINNED} input=same.npz output=out")
    assert done.code == 2 and "same.npz: 'a b' and 'a-b' would both become same-a-b.wav" in done.err


def test_what_is_finished_is_kept_when_a_batch_is_stopped(tmp_path):
    """Short files that are generated together with a long one; the same command makes the rest."""
    (tmp_path / "in").mkdir()
    for name, samples in {"a": 1600, "b": 1600, "c": 1600, "long": 16000 * 60}.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", np.resize(WAV, samples), RATE)
    words = ("experiment=baseline", "mode=generate", "input=in", "output=out")
    with subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        ledger = tmp_path / "out" / LEDGER
        while not ledger.is_file() or ledger.read_text().count('"output"') < 3:
            assert process.poll() is None and not time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130 and "Traceback" not in err
    assert "wrote 3 files" in out and err.strip().endswith(".")
    assert {soundfile.info(path).frames for path in (tmp_path / "out").iterdir() if path.suffix == ".wav"} == {1600}
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.endswith(".unfinished")]


def test_a_folder_of_outputs_has_one_owner(type_in):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(type_in.folder / "out")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as owner:
        assert owner.stdout.readline() == "mine\n"
        type_in.refused(f"{PINNED} input=in output=out", f"in use by process {owner.pid}")
        owner.kill()


def test_a_line_that_a_kill_cut_costs_one_output(type_in):
    type_in(f"{PINNED} input=in output=out")
    ledger = type_in.folder / "out" / LEDGER
    ledger.write_text(ledger.read_text()[:-20])
    (last,) = set(OUTPUTS) - {json.loads(line).get("output") for line in ledger.read_text().splitlines()[:-1]}
    (type_in.folder / "out" / last).unlink()  # as it would be: the line is written after the file
    assert "wrote 1 file," in type_in(f"{PINNED} input=in output=out").out
    assert "5 files existed already" in type_in(f"{PINNED} input=in output=out").out


def test_an_input_that_is_replaced_meanwhile_is_generated_again(tmp_path):
    """The ledger holds what the output was made from, not what lies there when it is written; or nothing at all."""
    source, output = tmp_path / "a.npy", tmp_path / "out" / "a.wav"
    source.write_bytes(b"one")
    outputs = OutputFolder(tmp_path / "out", {}, [source], restart=False)
    assert not outputs.has(output, source)
    source.write_bytes(b"another")
    output.touch()
    outputs.add(output)
    assert not OutputFolder(tmp_path / "out", {}, [source], restart=False).has(output, source)
    source.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        OutputFolder(tmp_path / "out", {}, [source], restart=False).has(output, source)


def test_a_warning_names_the_file(type_in):
    """Of MFCCs that are probably of librosa's defaults, once; what is made of audio needs no such check."""
    few = librosa.feature.mfcc(y=WAV[4000:25000], sr=RATE, n_mfcc=13)
    np.save(type_in.folder / "in" / "one.npy", few)
    done = type_in(f"{PINNED} input=in output=out")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "probably" in line]
    assert line.startswith("in/one.npy: These MFCCs are probably those of librosa.feature.mfcc with its defaults")
