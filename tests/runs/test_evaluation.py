"""The W&B run of an evaluation, read back from its files."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from support.wandb_runs import records, rows

from mfcc_wavenet.runs.evaluation import log_evaluation


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_JOB_TYPE", raising=False)


def takes() -> list[dict]:
    time = np.arange(4000) / 16000
    sounds = {"original": np.sin(2000 * time), "ours": np.sin(1000 * time), "mu-law": 0.9 * np.sin(2000 * time)}
    return [
        {"clip": clip, "system": system, "audio": (gain * wav).astype(np.float32), "LSD, dB ↓": 2.5}
        for clip, gain in (("one", 1.0), ("two", 0.5))
        for system, wav in sounds.items()
    ]


def test_an_evaluation_is_a_run_of_its_own_job_type(small, tmp_path):
    """Its results are the summary, and each take has a line in a table, with a player and a spectrogram."""
    settings = small("tracking.mode=offline", f"tracking.dir={tmp_path}")
    measured = {"nats": 2.5, "wrong": 7, "quality": {"clips": 2, "values": {"ours": {"lsd": {"mean": 9.5}}}}}
    log_evaluation(settings, "speech.evaluation", measured, takes())
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    log = records(directory)
    run = next(record["run"] for record in log if record["type"] == "run")
    assert run["job_type"] == "evaluate" and run["display_name"] == "speech.evaluation"
    assert run["config"]["update"]["window.samples"] == 200
    (artifact,) = [record["artifact"] for record in log if record["type"] == "artifact"]
    files = {entry["path"]: Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]}
    table = json.loads(files["clips.table.json"].read_text())
    assert table["columns"] == ["clip", "system", "audio", "LSD, dB ↓", "spectrogram"]
    assert [line[:2] for line in table["data"]] == [[take["clip"], take["system"]] for take in takes()]
    for line, take in zip(table["data"], takes()):
        wav, rate = soundfile.read(files[line[2]["path"]], dtype="float32")
        np.testing.assert_allclose(wav, take["audio"], atol=2**-14)
        assert rate == 16000 and line[3] == 2.5
        assert Image.open(io.BytesIO(files[line[4]["path"]].read_bytes())).height == 257  # frequencies
    summary = {k: v for record in log if record["type"] == "summary" for k, v in record["summary"]["update"].items()}
    assert (summary["nats"], summary["wrong"]) == (2.5, 7)


def test_without_clips_there_is_no_table(small, tmp_path):
    settings = small("tracking.mode=offline", f"tracking.dir={tmp_path}")
    log_evaluation(settings, "exact.evaluation", {"wrong": 0}, [])
    (directory,) = tmp_path.glob("wandb/offline-run-*")
    assert rows(directory) == []
