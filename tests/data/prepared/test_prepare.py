"""A prepared corpus on disk: made once, anew when anything changed, and whole or not at all."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.corpora import RATE, SENTENCES, folder_of, prepare_from, refused, speech
from support.disks import file_system, files_of_at_most
from support.settings import compose_settings

from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.prepared.prepare import prepare


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_what_is_prepared_is_used_again(tmp_path):
    """Nothing is written the second time, however the same sources are spelt."""
    audio = folder_of(tmp_path, "ann/a.wav")
    first = prepare_from(tmp_path, audio)
    before = files_in(first.folder)
    again = prepare_from(tmp_path, tmp_path / "audio" / ".." / "audio")
    assert again.folder == first.folder and files_in(again.folder) == before


def test_a_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    """Which no shell replaces within a word, as in data.prepared=~/prepared."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = compose_settings("data.seconds=0.1")
    corpus = prepare(replace(settings.data, prepared="~/prepared"), settings.features, 256)
    assert corpus.folder.parent == tmp_path / "home" / "prepared"


@pytest.mark.parametrize("changes", [{"n_mfcc": 12}, {"backend": "torchaudio"}, {"channels": 255}, {"seconds": 0.4}])
def test_another_setting_is_another_corpus(tmp_path, changes):
    """The former one stays for who goes back to it. Another front end is one of the same audio."""
    audio = folder_of(tmp_path, "a.wav")
    first = prepare_from(tmp_path, audio)
    other = prepare_from(tmp_path, audio, **changes)
    assert other.folder != first.folder
    assert (other.digest == first.digest) == (changes.keys() <= {"n_mfcc", "backend"})
    assert prepare_from(tmp_path, audio).folder == first.folder


def test_a_changed_file_is_read_anew(tmp_path):
    """Even where its length stays."""
    audio = folder_of(tmp_path, "a.wav")
    first = prepare_from(tmp_path, audio)
    soundfile.write(audio / "a.wav", speech(3), RATE)
    changed = prepare_from(tmp_path, audio)
    assert changed.lengths == first.lengths
    assert np.array_equal(changed.codes(0), mulaw.encode(read_audio(audio / "a.wav", RATE), 256))


def die_half_way(tmp_path: Path, audio: Path):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the write that is too much kills, and nothing is cleaned up
    with files_of_at_most(len(speech()) + 10):
        prepare_from(tmp_path, audio)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12 on, where there are threads
def test_a_preparation_that_is_killed_leaves_nothing_that_is_taken_for_whole(tmp_path):
    """The process dies in the second of three utterances; the next one starts from the beginning."""
    audio = folder_of(tmp_path, "a.wav", "b.wav", "c.wav")
    whole = prepare_from(tmp_path / "elsewhere", audio)
    process = multiprocessing.get_context("fork").Process(target=die_half_way, args=(tmp_path, audio), daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGXFSZ
    (remains,) = (tmp_path / "prepared").glob(".preparing-*")
    (shard,) = (remains / "shards").iterdir()
    assert shard.name.startswith(".000000-") and (shard / "codes.bin").stat().st_size > 0
    again = prepare_from(tmp_path, audio)
    assert again.digest == whole.digest
    assert list((tmp_path / "prepared").iterdir()) == [again.folder]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    """Once there is room, the same command works."""
    audio = folder_of(tmp_path, "a.wav", "b.wav", "c.wav")
    with files_of_at_most(10_000):
        sentence = refused(prepare_from, tmp_path, audio)
    assert "could not be written to" in sentence and "data.prepared=FOLDER" in sentence
    assert os.listdir(tmp_path / "prepared") == []
    assert len(prepare_from(tmp_path, audio)) == 3


@pytest.mark.parametrize(("options", "reason"), [("size=16k", "No space left"), ("ro", "Read-only")])
def test_a_disk_that_is_really_full_or_read_only(tmp_path, options, reason):
    """The same on a file system of its own, where the system allows one."""
    audio = folder_of(tmp_path, "a.wav", "b.wav", "c.wav")
    with file_system(tmp_path / "prepared", options):
        assert reason in refused(prepare_from, tmp_path, audio)
        assert os.listdir(tmp_path / "prepared") == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    """Below a regular file there is no folder, not even for root."""
    (tmp_path / "prepared").write_text("a file")
    sentence = refused(prepare_from, tmp_path, SENTENCES[0])
    assert str(tmp_path / "prepared") in sentence and "data.prepared=FOLDER" in sentence


def test_names_are_unique_whatever_the_files_are_called(tmp_path):
    """Also where a file is called as another one would be named, and where its name is not text."""
    audio = folder_of(tmp_path, "a/x-2.wav", "b/x.wav", "c/x.wav", "d/x.wav", "e/x-3.wav")
    os.rename(audio / "e" / "x-3.wav", os.fsencode(audio / "e") + b"/\xff.wav")
    assert prepare_from(tmp_path, audio).names == ["x-2", "x", "x-3", "x-4", "\ufffd"]


# --- damage ---------------------------------------------------------------------------------------


def cut(file: Path, size: int) -> None:
    os.truncate(file, size)


DAMAGE = {
    "the index is cut": lambda folder: cut(folder / "index.json", 40),
    "the index is empty": lambda folder: cut(folder / "index.json", 0),
    "the index is a list": lambda folder: (folder / "index.json").write_text("[]"),
    "the index lacks a key": lambda folder: (folder / "index.json").write_text('{"digest": "0"}'),
    "the index is gone": lambda folder: (folder / "index.json").unlink(),
    "codes are cut": lambda folder: cut(folder / "codes.bin", 5000),
    "codes are empty": lambda folder: cut(folder / "codes.bin", 0),
    "codes are gone": lambda folder: (folder / "codes.bin").unlink(),
    "frames are cut": lambda folder: cut(folder / "frames.bin", 5000),
    "a channel's worth of frames is cut": lambda folder: cut(folder / "frames.bin", 2 * 51 * 4 * 38),
    "sums are cut": lambda folder: cut(folder / "sums.bin", 39 * 16),
    "sums are gone": lambda folder: (folder / "sums.bin").unlink(),
    "the utterances are cut": lambda folder: cut(folder / "utterances.bin", 5 * 8 * 2),
    "the utterances are gone": lambda folder: (folder / "utterances.bin").unlink(),
    "the texts are cut": lambda folder: cut(folder / "texts.bin", 3),
    "the texts are empty": lambda folder: cut(folder / "texts.bin", 0),
    "frames are gone": lambda folder: (folder / "frames.bin").unlink(),
    "all is gone": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_corpus_is_prepared_again(tmp_path, capsys, damage):
    """Said in one line; who had it open keeps what it read."""
    audio = folder_of(tmp_path, "a.wav", "b.wav")
    whole = prepare_from(tmp_path, audio)
    assert len(whole.frames(0)) == 51 and whole.frame_channels == 39
    digest = whole.digest
    damage(whole.folder)
    capsys.readouterr()
    again = prepare_from(tmp_path, audio)
    assert again.digest == digest and again.folder == whole.folder and again.samples == 2 * len(speech())
    said, speakers = capsys.readouterr().err.splitlines()
    assert said == f"The prepared corpus {whole.folder} is damaged and prepared again."
    assert os.listdir(tmp_path / "prepared") == [again.folder.name]
    prepare_from(tmp_path, audio)
    assert capsys.readouterr().err.splitlines() == [speakers]


# --- what is said of the audio --------------------------------------------------------------------


def test_every_preparation_says_who_speaks_how_long(tmp_path, capsys):
    """Now and when it is used again; in seconds or hours, and the first names if there are many."""
    audio = folder_of(tmp_path, "anna/a.wav", "anna/b.wav", "bob/c.wav")
    for _ in range(2):
        prepare_from(tmp_path, audio)
        assert capsys.readouterr().err == "2 speakers, 1.5 s: anna 1.0 s, bob 0.5 s\n"
    soundfile.write(audio / "bob" / "d.flac", np.tile(speech(), 2 * 360), RATE)
    prepare_from(tmp_path, audio)
    assert capsys.readouterr().err == "2 speakers, 0.1 h: anna 1.0 s, bob 0.1 h\n"
    prepare_from(tmp_path, folder_of(tmp_path / "many", *(f"{number}/a.wav" for number in range(9))))
    assert capsys.readouterr().err.endswith(" 6 0.5 s, 7 0.5 s, ...\n")


def test_silence_is_named_and_a_corpus_of_it_refused(tmp_path, capsys):
    """Digital silence, and channels that cancel each other; not what is only quiet."""
    audio, wave = folder_of(tmp_path, "a.wav"), speech()
    silent = {
        "zeros.wav": np.zeros(8000, np.float32),
        "cancelled.wav": np.stack([wave, -wave], axis=1),
    }
    soundfile.write(audio / "quiet.wav", np.random.default_rng(0).integers(-1, 2, 8000) / 2**15, RATE)
    for name, samples in silent.items():
        soundfile.write(audio / name, samples, RATE)
    assert len(prepare_from(tmp_path, audio)) == 4
    line, _ = capsys.readouterr().err.splitlines()
    assert line.startswith("Silent, ") and all(str(audio / name) in line for name in silent)
    assert str(audio / "a.wav") not in line and "quiet" not in line
    for name in silent:
        sentence = refused(prepare_from, tmp_path, audio / name)
        assert f"Every sample of {audio / name} is silence" in sentence
    soundfile.write(audio / "late.wav", np.concatenate([np.zeros(8000), wave]), RATE)
    assert "data.seconds=0.5" in refused(prepare_from, tmp_path, audio / "late.wav", seconds=0.5)
    assert len(prepare_from(tmp_path, audio / "late.wav")) == 1


def test_audio_that_is_clipped_is_counted_with_its_peak(tmp_path, capsys):
    """One line for all of it; an overshoot that nobody hears is not mentioned."""
    audio, wave = folder_of(tmp_path, "a.wav"), speech() / np.abs(speech()).max()
    for peak in (1.05, 2.0, 4.4):
        soundfile.write(audio / f"{peak}.wav", wave * peak, RATE, subtype="FLOAT")
    assert len(prepare_from(tmp_path, audio)) == 4
    line, _ = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of 4 files are clipped") and line.endswith(f"{audio / '4.4.wav'}, has a peak of 4.40.")


def test_a_prepared_folder_with_an_impossible_name_is_one_sentence(tmp_path):
    sentence = refused(prepare_from, tmp_path / ("x" * 300), SENTENCES[0])
    assert "File name too long" in sentence and "data.prepared=FOLDER" in sentence
