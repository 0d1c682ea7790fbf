"""mode=generate over files: each is converted once, and none stops the others."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.command import CommandLine
from support.settings import ROOT

from mfcc_wavenet import Inverter
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.generation.files import find_inputs, output_paths

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
