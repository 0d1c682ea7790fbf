"""Speed of preparing a corpus, and what it takes on disk: `bench prepare`.

Prints a table and then one line of JSON. The corpus is utterances of some eleven seconds each, four sentences of the
demonstration corpus one after the other, as FLAC, over and over again.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from mfcc_wavenet.bench.networks import composed
from mfcc_wavenet.config.settings import DataSettings, Settings
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import prepare
from mfcc_wavenet.data.prepared.workers import cores
from mfcc_wavenet.data.sources import PACKAGE

HOURS = 2.0  # of audio
SENTENCES = 4  # in an utterance
# hours/core: of audio, in a minute of a core's time, whatever else the machine is doing; again: the second start.
COLUMNS = ("workers", "files", "hours", "seconds", "hours/min", "core s", "hours/core", "MB/hour", "again, s")


def benchmark(workers: list[int] | None, hours: float = HOURS) -> list[dict]:
    """Prepares hours of audio by each number of processes; returns one mapping per row, and prints a line of each.

    workers: None for one and two, as far as there are cores.
    """
    workers = workers or [count for count in (1, 2) if count <= cores()]
    rows = []
    with TemporaryDirectory() as folder:
        settings = composed("baseline_adam", Path(folder))
        audio = Path(folder) / "audio"
        write_utterances(audio, hours, settings.features.sample_rate)
        _timed(replace(settings.data, root=("package:demo",), seconds=1.0, prepared=folder), settings)  # loads modules
        print(_line(*COLUMNS), flush=True)
        for count in workers:
            data = replace(settings.data, root=(str(audio),), seconds=None, prepared=f"{folder}/{count}", workers=count)
            corpus, seconds, of_cores = _timed(data, settings)
            _, again, _ = _timed(data, settings)
            taken = sum(file.stat().st_size for file in corpus.folder.iterdir())
            found = corpus.samples / settings.features.sample_rate / 3600
            row = {
                "workers": count,
                "files": len(corpus),
                "hours": round(found, 3),
                "seconds": round(seconds, 2),
                "hours_per_minute": round(60 * found / seconds, 2),
                "core_seconds": round(of_cores, 2),
                "hours_per_core_minute": round(60 * found / of_cores, 2),
                "bytes_per_hour": round(taken / found),
                "seconds_again": round(again, 3),
            }
            *counts, per_hour, seconds_again = row.values()
            print(_line(*counts, f"{per_hour / 1e6:.1f}", seconds_again), flush=True)
            rows.append(row)
    return rows


def _timed(data: DataSettings, settings: Settings) -> tuple[Corpus, float, float]:
    """The corpus, and the seconds that it took: by the clock, and of all processes on their cores."""
    clock, cores_before = time.perf_counter(), _core_seconds()
    corpus = prepare(data, settings.features, *settings.wavenet.coding)
    return corpus, time.perf_counter() - clock, _core_seconds() - cores_before


def _core_seconds() -> float:
    return sum(os.times()[:4])  # of this process and of those that it has started and that are over


def write_utterances(folder: Path, hours: float, sample_rate: int) -> None:
    """FLAC files of that many hours together; most are further names of the same few."""
    folder.mkdir()
    sentences = [read_audio(path, sample_rate) for path in sorted((PACKAGE / "demo").glob("*.flac"))]
    seconds = 0.0
    for number in range(sys.maxsize):
        first = folder / f"{number % len(sentences):06d}.flac"
        path = folder / f"{number:06d}.flac"
        if path == first:
            wave = np.concatenate([sentences[(number + n) % len(sentences)] for n in range(SENTENCES)])
            soundfile.write(path, wave, sample_rate)
        else:
            os.link(first, path)
        seconds += soundfile.info(path).duration
        if seconds >= 3600 * hours:
            return


def _line(*cells: object) -> str:
    return "".join(f"{cell:>{max(len(name), 9) + 2}}" for cell, name in zip(cells, COLUMNS))
