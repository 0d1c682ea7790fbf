"""Audio to a prepared corpus: the right numbers, the right speakers, and clear words about what is no audio."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.corpora import FEATURES, HOP, RATE, SENTENCES, folder_of, prepare_from, refused, speech

from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import features

# --- the right numbers ----------------------------------------------------------------------------


def test_every_utterance_is_there_with_its_codes_and_frames(tmp_path):
    """What is read back from disk is what mulaw and features make of each file by itself."""
    corpus = prepare_from(tmp_path, *SENTENCES[:2])
    assert corpus.names == [path.stem for path in SENTENCES[:2]]
    assert corpus.samples == sum(corpus.lengths)
    for utterance, path in enumerate(SENTENCES[:2]):
        wave = soundfile.read(path, dtype="float32")[0]
        assert corpus.lengths[utterance] == len(wave)
        assert np.array_equal(corpus.codes(utterance), mulaw.encode(wave, 256))
        assert np.array_equal(corpus.frames(utterance), features(wave, FEATURES).T)


@pytest.mark.parametrize(("channels", "kind"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16)])
def test_codes_of_any_number_of_levels_survive_the_disk(tmp_path, channels, kind):
    """At both ends too: full scale is the first and the last code."""
    wave = np.concatenate([speech(), np.float32([-1, 0, 1])])
    soundfile.write(tmp_path / "loud.wav", wave, RATE, subtype="FLOAT")
    codes = prepare_from(tmp_path, tmp_path / "loud.wav", channels=channels).codes(0)
    assert codes.dtype == kind
    assert np.array_equal(codes, mulaw.encode(wave, channels))
    assert codes[-3:].tolist() == [0, mulaw.silence(channels), channels - 1]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_other_rates_and_stereo_keep_pitch_length_and_loudness(tmp_path, rate):
    """A sine on the left and silence on the right become a sine of half the amplitude, as long and as high."""
    time = np.arange(2 * rate) / rate
    left = 0.8 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "sine.wav", np.stack([left, np.zeros_like(left)], axis=1), rate)
    mono = read_audio(tmp_path / "sine.wav", RATE)
    assert len(mono) == 2 * RATE
    middle = slice(RATE // 2, -RATE // 2)
    expected = 0.4 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    assert np.abs(mono[middle] - expected[middle]).max() < 0.001
    assert prepare_from(tmp_path, tmp_path / "sine.wav").lengths.tolist() == [2 * RATE]


@pytest.mark.parametrize(("seconds", "lengths"), [(0.3, [4800]), (0.5, [8000]), (0.505, [8000]), (0.6, [8000, 1600])])
def test_seconds_cut_the_corpus_and_leave_no_scrap(tmp_path, seconds, lengths):
    """The last utterance is cut to length, unless less than a hop of it would remain."""
    audio = folder_of(tmp_path, "a.flac", "b.flac")
    corpus = prepare_from(tmp_path, audio, seconds=seconds)
    assert corpus.lengths.tolist() == lengths
    whole = prepare_from(tmp_path, audio, seconds=100.0)
    assert np.array_equal(corpus.codes(len(corpus) - 1), whole.codes(len(corpus) - 1)[: lengths[-1]])


# --- speakers -------------------------------------------------------------------------------------


def test_sub_folders_are_speakers(tmp_path):
    """The first sub-folder alone, however deep a file lies below; notes beside the audio do not matter."""
    audio = folder_of(tmp_path, "ann/b.wav", "ann/far/below/a.flac", "bob/a.ogg", "loose.WAV")
    (audio / "ann" / "notes.txt").write_text("no audio")
    corpus = prepare_from(tmp_path, audio)
    named = [("ann", "b"), ("ann", "a"), ("bob", "a-2"), ("audio", "loose")]  # no two share a name
    assert list(zip(corpus.speakers, corpus.names)) == named
    assert list(corpus.speaker_index(("audio", "bob", "ann"))) == [2, 2, 1, 0]
    sentence = refused(corpus.speaker_index, ("ann", "audio"))
    assert "'bob'" in sentence and "but on ann, audio" in sentence and "manifest" in sentence
    assert list(corpus.speaker_index(None)) == [0, 0, 0, 0]  # of a model that is not conditioned on them


# --- files that cannot be used --------------------------------------------------------------------


def broken_files(folder: Path) -> dict[str, str]:
    """One of each kind, and what is said of it."""
    folder.mkdir(parents=True, exist_ok=True)
    wave, half = speech(), len(speech()) // 2
    for name in ("cut.flac", "cut.wav", "cut.aiff", "cut.au"):
        soundfile.write(folder / name, wave, RATE)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
    (folder / "text.wav").write_text("This is no audio.\n")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "no samples.wav", wave[:0], 44100)
    soundfile.write(folder / "short.wav", wave[: HOP - 1], RATE)
    for name, value in (("nan.wav", np.nan), ("inf.wav", -np.inf)):
        soundfile.write(folder / name, np.where(np.arange(len(wave)) == half, value, wave), 44100, subtype="FLOAT")
    return {
        "cut.flac": "not readable as audio (flac decoder lost sync)",
        "cut.wav": "truncated, 7978 of 16000 bytes",
        "cut.aiff": "truncated, ",
        "cut.au": "truncated, ",
        "text.wav": "not readable as audio (Format not recognised)",
        "empty.wav": "not readable as audio",
        "no samples.wav": "0 samples at 16000 Hz; at least 160",
        "short.wav": "159 samples at 16000 Hz; at least 160",
        "nan.wav": "contains NaN or infinite samples",
        "inf.wav": "contains NaN or infinite samples",
    }


def test_broken_files_are_named_and_the_rest_goes_on(tmp_path, capsys):
    """The corpus is that of the good files; every other one is named once, with its reason, and they are counted."""
    good = prepare_from(tmp_path / "good", folder_of(tmp_path, "a.wav", "z.wav"))
    broken = broken_files(tmp_path / "audio")
    capsys.readouterr()
    corpus = prepare_from(tmp_path, tmp_path / "audio")
    assert corpus.digest == good.digest and corpus.names == ["a", "z"]
    same_names, *lines, last, _ = capsys.readouterr().err.splitlines()
    assert same_names.startswith("Several utterances are called cut, ")
    assert len(lines) == len(broken)
    for name, reason in broken.items():
        (line,) = (line for line in lines if f"/{name}: " in line)
        assert line.startswith("left out: ") and reason in line
    assert last == f"{len(broken)} of {len(broken) + 2} files were left out."


def test_no_good_file_at_all_is_refused(tmp_path):
    """The count and the first reason say enough, and nothing is kept that a later run would take."""
    count = len(broken_files(tmp_path / "audio"))
    sentence = refused(prepare_from, tmp_path, tmp_path / "audio")
    assert f"None of {count} audio files can be used" in sentence and "cut.aiff: truncated" in sentence
    assert os.listdir(tmp_path / "prepared") == []
