"""Shards: the same bytes whoever prepares them, and what a kill or a full disk leaves is used."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given
from support.architectures import examples
from support.corpora import FEATURES, RATE, SENTENCES, data_settings, refused
from support.disks import files_of_at_most
from support.settings import ROOT

from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mulaw import encode
from mfcc_wavenet.data.prepared import workers
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.prepared.shards import EVERYTHING, SHARD_BYTES, SHARD_FILES, Recipe, SourceFile, cut, write_shard
from mfcc_wavenet.data.sources import Source

FILES, SAMPLES = 2 * SHARD_FILES + 20, 400  # in three shards; of each file
RECIPE = Recipe(FEATURES, 256, 0.0)
# A program: prepares argv[1] into argv[2] with argv[3] processes, and prints the sentence where that is refused.
PREPARE = """
import sys
from support.corpora import FEATURES, data_settings
from pathlib import Path
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data.prepared.prepare import prepare
try:
    prepare(data_settings(Path(sys.argv[2]), sys.argv[1], workers=int(sys.argv[3])), FEATURES, 256)
except UserError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def audio(tmp_path_factory) -> Path:
    """Many short files of real speech, of two speakers, two of which are broken."""
    folder = tmp_path_factory.mktemp("many") / "audio"
    speech = soundfile.read(SENTENCES[0], dtype="float32")[0]
    for number in range(FILES):
        path = folder / ("anna" if number < 300 else "bob") / f"{number:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, speech[5000 + 20 * number :][:SAMPLES], RATE)
    for name in ("anna/0100.wav", "bob/0400.wav"):
        (folder / name).write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def by_one(audio) -> tuple[Corpus, list[str]]:
    """The corpus as a single process prepares it without interruption, and what is said on stderr."""
    with redirect_stderr(StringIO()) as said:
        corpus = prepare(data_settings(audio.parent / "alone", audio, workers=1), FEATURES, 256)
    return corpus, said.getvalue().splitlines()


@pytest.fixture(scope="module")
def alone(by_one) -> Corpus:
    return by_one[0]


def content(corpus: Corpus) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.folder.iterdir()}


# --- the same bytes -------------------------------------------------------------------------------


def test_a_corpus_of_several_shards_is_that_of_its_files(audio, alone):
    """In their order, without the broken ones, each as if it had been prepared by itself."""
    paths = [path for path in sorted(audio.rglob("*.wav")) if path.name not in ("0100.wav", "0400.wav")]
    assert list(alone.ids) == [str(path.relative_to(audio).with_suffix("")) for path in paths]
    assert alone.speaker_samples == {"anna": 299 * SAMPLES, "bob": (len(paths) - 299) * SAMPLES}
    for utterance in (0, 99, 100, 254, 255, 256, 511, len(paths) - 1):
        assert np.array_equal(alone.codes(utterance), encode(read_audio(paths[utterance], RATE), 256))


@pytest.mark.parametrize("workers", [3, None])
def test_the_number_of_processes_changes_no_byte(audio, by_one, tmp_path, capsys, workers):
    """Nor what is said of the files, and in which order."""
    alone, said = by_one
    corpus = prepare(data_settings(tmp_path, audio, workers=workers), FEATURES, 256)
    assert content(corpus) == content(alone) and capsys.readouterr().err.splitlines() == said
    assert "left out" in said[0] and f"2 of {FILES} files were left out." in said


@examples(30)
@given(sizes=st.lists(st.sampled_from([0, 1, 2**20, 2**22, SHARD_BYTES, 2**26]), min_size=1, max_size=600))
def test_every_file_is_in_one_shard_and_none_is_too_large(sizes):
    """But for one whose only file is."""
    files = [SourceFile(Source(Path(str(number)), "", ""), size, 0) for number, size in enumerate(sizes)]
    shards = cut(files)
    assert [file for shard in shards for file in shard] == files and all(shards)
    for shard in shards:
        assert len(shard) <= SHARD_FILES and (len(shard) == 1 or sum(file.size for file in shard) <= SHARD_BYTES)


def test_seconds_end_where_they_do_whoever_prepares(tmp_path):
    """More than an hour of audio of 1 kHz, so that several processes begin shards that are then too much."""
    speech = soundfile.read(SENTENCES[0], dtype="float32")[0]
    (tmp_path / "audio").mkdir()
    for number in range(SHARD_FILES + 260):
        soundfile.write(tmp_path / "audio" / f"{number:03d}.wav", speech[number * 80 :][:7200], 1000)
    front_end = replace(FEATURES, sample_rate=1000, n_fft=64, win_length=64, hop_length=16, n_mels=4, n_mfcc=3)
    for seconds in (3600.5, 3686.405):  # within a shard, and less than a hop after the end of one
        corpora = []
        for count in (1, 2):
            data = data_settings(tmp_path / f"by {count}", tmp_path / "audio", seconds=seconds, workers=count)
            corpora.append(prepare(data, front_end, 256))
        whole, left = divmod(round(seconds * 1000), 7200)
        expected = [7200] * whole + [left] * (left >= 16)
        assert list(corpora[0].lengths) == expected[: SHARD_FILES + 260]
        assert content(corpora[0]) == content(corpora[1])


# --- what is interrupted --------------------------------------------------------------------------


@contextmanager
def preparing(audio: Path, folder: Path, workers: int) -> Iterator[subprocess.Popen]:
    """The program above, once its first shard is there."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    command = [sys.executable, "-c", PREPARE, str(audio), str(folder), str(workers)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not list((folder / "prepared").glob(".preparing-*/shards/[!.]*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.001)
        yield process


def children(process: subprocess.Popen) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def end(process: int) -> None:
    """Waits for it to be gone."""
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process}").exists() and "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_kill_loses_what_was_begun_and_nothing_else(audio, alone, tmp_path):
    """The same command resumes from the shards that are there; no process is left of the one that was killed."""
    with preparing(audio, tmp_path, 2) as process:
        several = children(process)
        process.kill()
    for child in several:
        end(child)
    (unfinished,) = (tmp_path / "prepared").glob(".preparing-*")
    whole = sorted((unfinished / "shards").glob("[!.]*"))
    assert 1 <= len(whole) <= 3
    corpus = prepare(data_settings(tmp_path, audio, workers=2), FEATURES, 256)
    assert content(corpus) == content(alone)
    assert os.listdir(tmp_path / "prepared") == [corpus.folder.name]


def test_shards_that_are_there_are_not_prepared_again(audio, alone, tmp_path):
    """Their codes are made others than those of their files, and so they are in the corpus."""
    data = data_settings(tmp_path, audio, workers=1)
    with files_of_at_most(300 * 5 * 4 * 39):  # the frames of one shard, not those of two
        assert "resumes from what is prepared so far" in refused(prepare, data, FEATURES, 256)
    (unfinished,) = (tmp_path / "prepared").glob(".preparing-*")
    assert sorted(path.name for path in (unfinished / "shards").iterdir()) == ["000000", "000001"]
    codes = unfinished / "codes.bin"
    codes.write_bytes(bytes(codes.stat().st_size))
    corpus = prepare(data, FEATURES, 256)
    differing = [number for number in range(len(alone)) if (corpus.codes(number) != alone.codes(number)).any()]
    assert differing == list(
        range(2 * SHARD_FILES - 2)
    )  # of both shards the codes were joined, in each a file is broken


def test_a_shard_that_was_half_joined_is_joined_again(audio, alone, tmp_path):
    """Whatever lies behind the shards before it is overwritten."""
    data = data_settings(tmp_path, audio, workers=1)
    with files_of_at_most(300 * 5 * 4 * 39):
        refused(prepare, data, FEATURES, 256)
    (unfinished,) = (tmp_path / "prepared").glob(".preparing-*")
    for name in ("codes.bin", "frames.bin", "sums.bin"):
        with open(unfinished / name, "ab") as file:
            file.write(b"half of something" * 50_000)
    assert content(prepare(data, FEATURES, 256)) == content(alone)


def test_what_is_damaged_of_a_preparation_is_prepared_again(audio, alone, tmp_path):
    """One sentence says so, and the next start begins anew."""
    data = data_settings(tmp_path, audio, workers=1)
    with files_of_at_most(300 * 5 * 4 * 39):
        refused(prepare, data, FEATURES, 256)
    (unfinished,) = (tmp_path / "prepared").glob(".preparing-*")
    os.truncate(unfinished / "codes.bin", 1000)
    assert "is damaged and removed" in refused(prepare, data, FEATURES, 256)
    assert os.listdir(tmp_path / "prepared") == []
    assert content(prepare(data, FEATURES, 256)) == content(alone)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_is_killed_ends_it_with_one_sentence(audio, alone, tmp_path):
    """As where memory runs out; what the others had prepared is used by the next start."""
    with preparing(audio, tmp_path, 2) as process:
        os.kill(children(process)[0], signal.SIGKILL)
        said, _ = process.communicate(timeout=60)
    if said:  # it may have been through with its shards
        assert "A process that prepares the corpus was killed" in said and "data.workers=1" in said
    assert content(prepare(data_settings(tmp_path, audio, workers=1), FEATURES, 256)) == content(alone)


def killed_or_asleep(path: Path, *_) -> None:
    """Instead of writing a shard: the first process is killed, the others wait for longer than anybody would."""
    time.sleep(0.5 if path.name == "000000" else 60)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only a forked process has what is replaced here")
def test_processes_that_wait_for_one_that_was_killed_end(tmp_path, monkeypatch):
    """As for a lock that it held, which nobody will ever release."""
    monkeypatch.setattr(workers, "write_shard", killed_or_asleep)
    started = time.monotonic()
    with pytest.raises(BrokenProcessPool):
        list(workers.made(tmp_path, [[], []], lambda: 1, RECIPE, 2))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("change", ["another content", "gone"])
def test_a_file_that_changes_meanwhile_is_one_sentence(tmp_path, change):
    """Nothing of its shard is left, since what is prepared is called by what the files were."""
    path = tmp_path / "a.wav"
    soundfile.write(path, soundfile.read(SENTENCES[0])[0][:8000], RATE)
    file = SourceFile.of(Source(path, "anna", "a"))
    if change == "gone":
        path.unlink()
    else:
        os.utime(path, ns=(0, 0))
    sentence = refused(write_shard, tmp_path / "shards" / "000000", [file], EVERYTHING, RECIPE)
    assert str(path) in sentence and "has changed while the corpus was prepared" in sentence
    assert os.listdir(tmp_path / "shards") == []


def test_as_many_processes_as_there_are_cores(audio):
    """That this process may use."""
    assert 1 <= workers.cores() <= os.cpu_count()
