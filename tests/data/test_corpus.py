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
from mfcc_wavenet.data.sources import Source, find_sources

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
    assert prepare_from(tmp_path, tmp_path / "sine.wav").lengths == [2 * RATE]


@pytest.mark.parametrize(("seconds", "lengths"), [(0.3, [4800]), (0.5, [8000]), (0.505, [8000]), (0.6, [8000, 1600])])
def test_seconds_cut_the_corpus_and_leave_no_scrap(tmp_path, seconds, lengths):
    """The last utterance is cut to length, unless less than a hop of it would remain."""
    audio = folder_of(tmp_path, "a.flac", "b.flac")
    corpus = prepare_from(tmp_path, audio, seconds=seconds)
    assert corpus.lengths == lengths
    whole = prepare_from(tmp_path, audio, seconds=100.0)
    assert np.array_equal(corpus.codes(len(corpus) - 1), whole.codes(len(corpus) - 1)[: lengths[-1]])


# --- sources --------------------------------------------------------------------------------------


def test_sub_folders_are_speakers(tmp_path):
    """The first sub-folder alone, however deep a file lies below; notes beside the audio do not matter."""
    audio = folder_of(tmp_path, "ann/b.wav", "ann/far/below/a.flac", "bob/a.ogg", "loose.WAV")
    (audio / "ann" / "notes.txt").write_text("no audio")
    corpus = prepare_from(tmp_path, audio)
    named = [("ann", "b"), ("ann", "a"), ("bob", "a-2"), ("audio", "loose")]  # no two share a name
    assert list(zip(corpus.speakers, corpus.names)) == named
    assert corpus.speaker_index(("audio", "bob", "ann")) == [2, 2, 1, 0]
    sentence = refused(corpus.speaker_index, ("ann", "audio"))
    assert "'bob'" in sentence and "but on ann, audio" in sentence and "manifest" in sentence
    assert corpus.speaker_index(None) == [0, 0, 0, 0]  # of a model that is not conditioned on them


def test_a_list_of_files_keeps_its_order(tmp_path):
    """Their speaker is the folder that they lie in."""
    audio = folder_of(tmp_path, "z/one.wav", "a/two.wav")
    files = (str(audio / "z/one.wav"), str(audio / "a/two.wav"))
    assert find_sources(files) == [Source(Path(files[0]), "z"), Source(Path(files[1]), "a")]


def test_a_manifest_names_speakers_freely(tmp_path):
    """Paths are relative to the manifest, or absolute; empty lines are nothing."""
    audio = folder_of(tmp_path, "x/1.wav", "x/2.wav")
    manifest = audio / "manifest.tsv"
    manifest.write_text(f"Ann Onym\tx/2.wav\n\nbob\t{audio / 'x/1.wav'}\n")
    corpus = prepare_from(tmp_path, manifest)
    assert list(zip(corpus.speakers, corpus.names)) == [("Ann Onym", "2"), ("bob", "1")]


def test_the_demonstration_corpus_comes_with_the_package():
    """Wherever one stands."""
    assert find_sources(("package:demo",)) == [Source(path, "demo") for path in SENTENCES]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ann x/1.wav", ["line 3", "'ann x/1.wav'", "speaker TAB path"]),
        ("\tx/1.wav", ["line 3", "speaker TAB path"]),
        ("ann\tx/3.wav", ["line 3", "no file", "x/3.wav"]),
        ("ann\t", ["line 3", "no file"]),
    ],
)
def test_a_bad_line_of_a_manifest_is_named_by_its_number(tmp_path, line, words):
    """Counted as an editor counts, empty lines included."""
    audio = folder_of(tmp_path, "x/1.wav")
    (audio / "manifest").write_text(f"ann\tx/1.wav\n\n{line}\nbob\tx/1.wav\n")
    sentence = refused(prepare_from, tmp_path, audio / "manifest")
    assert all(word in sentence for word in [*words, str(audio / "manifest")])


def test_a_root_without_audio_is_refused(tmp_path):
    """Missing, an empty list, an empty folder, an empty manifest, no text: each has its own sentence."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.tsv").write_text("\n \n")
    (tmp_path / "noise.bin").write_bytes(b"\xff\xfe\x80" * 9)
    assert "no such file or folder" in refused(prepare_from, tmp_path, tmp_path / "nowhere")
    assert "data.root is empty" in refused(prepare_from, tmp_path)
    assert "holds no audio file (" in refused(prepare_from, tmp_path, tmp_path / "empty")
    assert "the manifest is empty" in refused(prepare_from, tmp_path, tmp_path / "blank.tsv")
    assert "neither audio" in refused(prepare_from, tmp_path, tmp_path / "noise.bin")
    assert "shorter than one hop of 160" in refused(prepare_from, tmp_path, SENTENCES[0], seconds=0.009)
    assert not list((tmp_path / "prepared").glob("*/index.json"))


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
    corpus = prepare_from(tmp_path, tmp_path / "audio")
    assert corpus.digest == good.digest and corpus.names == ["a", "z"]
    *lines, last = capsys.readouterr().err.splitlines()
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


def test_audio_written_to_a_pipe_is_not_taken_for_truncated(tmp_path):
    """Its header promises 4 GiB, since the length was not known when it was written."""
    soundfile.write(tmp_path / "piped.wav", speech(), RATE)
    data = bytearray((tmp_path / "piped.wav").read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"  # the length of the data chunk
    (tmp_path / "piped.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "piped.wav", RATE)) == len(speech())
