"""What `bench prepare` measures is a corpus that is really prepared."""

import json

import pytest
import soundfile

from mfcc_wavenet.bench.prepare import write_utterances


def test_a_row_says_what_an_hour_takes(bench):
    """By each number of processes the same corpus; an hour of it is its codes and frames, and little else."""
    code, out, _ = bench("prepare", "--hours=0.02", "--workers=1,2")
    *table, last = out.splitlines()
    rows = json.loads(last)
    assert code == 0 and len(table) == 1 + len(rows) and [row["workers"] for row in rows] == [1, 2]
    for row in rows:
        assert 0.02 <= row["hours"] < 0.025 and row["files"] == 7
        assert row["hours_per_core_minute"] == pytest.approx(60 * row["hours"] / row["core_seconds"], rel=0.05)
        codes, frames = 3600 * 16_000, 3600 * 100 * 39 * 4
        assert codes + frames < row["bytes_per_hour"] < 1.01 * (codes + frames)
        assert row["seconds_again"] < row["seconds"]


def test_the_utterances_are_speech_of_usual_lengths(tmp_path):
    """Some eleven seconds each, as many as it takes, most of them further names of a few files."""
    write_utterances(tmp_path / "audio", 0.05, 16_000)
    files = sorted((tmp_path / "audio").iterdir())
    seconds = [soundfile.info(file).duration for file in files]
    assert sum(seconds[:-1]) < 0.05 * 3600 <= sum(seconds) and 8 < min(seconds) <= max(seconds) < 14
    assert len(files) == 17 and len({file.stat().st_ino for file in files}) == 9
