"""The figures in README.md, docs/ and the records' own pages are those of the records and of the code."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from support.pages import README
from support.settings import ROOT

from mfcc_wavenet.config.experiments import pinned_checkpoint
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.summary import table

RATE = 16000
BASELINE = json.loads((ROOT / "experiments" / "baseline" / "results.json").read_text())
SPEED = json.loads((ROOT / "docs" / "generation.json").read_text())


def test_the_readme_tells_what_training_the_baseline_prints(tmp_path, monkeypatch):
    """The table at its end, from the figures of the record."""
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/baseline")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(BASELINE))
    for name in ("01_lighthouse.generated.wav", "01_lighthouse.original.wav", "01_lighthouse.png", "curves.png"):
        (folder / name).touch()
    printed = table(folder, {"look at it": "wandb leet wandb", "upload it later": "wandb sync wandb/offline-run-..."})
    assert f"```text\n{printed}\n```" in README.text


def test_the_readme_tells_the_results_of_the_records():
    """Of results.json, of the pinned checkpoint, and of the benchmark."""
    samples, seen = f"{BASELINE['samples']:,}", f"{BASELINE['samples_seen']:,}"
    epochs, margin = f"{BASELINE['epochs']:.1f} epochs", f"{BASELINE['margin']:.2f}"
    weights = checkpoints.load(pinned_checkpoint("baseline")).weights
    assert BASELINE["wrong"] == 0 and BASELINE["reproduced"] == BASELINE["samples"]
    one, sixteen = (speed("baseline", streams) for streams in (1, 16))
    loop, again = (next(r for r in SPEED["rows"] if r.get("way") == way) for way in ("torch step loop", "naive re-run"))
    text = " ".join(README.text.split())
    for told in (
        f"{BASELINE['samples'] / RATE:.1f} s of audio, {sum(w.numel() for w in weights.values()) / 1e6:.1f} M weights",
        f"| wrong, teacher-forced | 0 of {samples} samples |",
        f"| reproduced, free-running | {samples} of {samples} samples |",
        f"{BASELINE['seconds']:.1f} s for {seen} samples seen ({epochs})",
        f"The baseline's is {margin}",
        f"0 of {samples} wrong, all reproduced",
        f"{one:,} / {sixteen:,} samples/s, {one / RATE:.1f} / {sixteen / RATE:.1f} times real time",
        f"{loop['samples_per_second']:,} / {again['samples_per_second']:,} samples/s",
    ):
        assert told in text, told


def speed(network: str, streams: int) -> int:
    """Samples per second of all streams together."""
    (row,) = [row for row in SPEED["rows"] if (row["network"], row.get("streams")) == (network, streams)]
    return row["samples_per_second"]


def test_the_page_on_generation_tells_what_was_measured():
    """Each row of its table is one of generation.json, in that order; and the latency is the baseline's."""
    text = (ROOT / "docs" / "generation.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(SPEED["rows"])
    for cells, row in zip(rows[1:], SPEED["rows"]):
        network, streams, cores = row["network"], row.get("streams", 1), row.get("cores", 1)
        fraction = f"{row['fraction']:.2f}" if "fraction" in row else ""
        assert cells[0].startswith(network) and ("," in cells[0]) == ("way" in row)
        assert cells[1:] == [f"{streams}", f"{cores}", f"{row['samples_per_second']:,}", fraction]
    latency = Inverter.from_experiment("baseline").latency_frames
    assert f"arrived: {latency} for the baseline, {latency * 10} ms" in " ".join(text.split())


def test_the_baselines_own_page_tells_its_results():
    """In its table."""
    text = (ROOT / "experiments" / "baseline" / "README.md").read_text()
    samples, steps = f"{BASELINE['samples']:,}", f"{BASELINE['steps']:,}"
    for told in (
        f"| wrong, teacher-forced | 0 of {samples} |",
        f"| reproduced, free-running | {samples} of {samples} |",
        f"| nats per sample | {BASELINE['nats']:.4f} |",
        f"nearest rival | {BASELINE['margin']:.2f} |",
        f"| {BASELINE['samples_seen']:,} in {steps} steps, {BASELINE['epochs']:.1f} epochs |",
        f"| seconds | {BASELINE['seconds']:.0f} on one core",
    ):
        assert told in text, told


@pytest.mark.parametrize("name", ["README.md", "docs/sweeps.md"])
def test_the_tables_of_sweeps_tell_how_many_runs_there_are(name):
    """The cap of each file, or the size of its grid."""
    rows = re.findall(r"^\| \[(\w+)\]\(\S+\.yaml\) \|.*\| (\d+), ", (ROOT / name).read_text(), re.MULTILINE)
    told = {sweep: int(runs) for sweep, runs in rows}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "sweeps").glob("*.yaml")}
    sizes = {sweep: [len(p.get("values", [0])) for p in file["parameters"].values()] for sweep, file in files.items()}
    assert told == {sweep: file.get("run_cap", math.prod(sizes[sweep])) for sweep, file in files.items()}


def test_the_layout_names_every_folder():
    """A folder that is added or removed changes the README."""
    (layout,) = [block for _, block in README.blocks if block.startswith("mfcc_wavenet/\n")]
    folders = {path.name for path in (ROOT / "mfcc_wavenet").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"\b(\w+)/", layout)) - {"mfcc_wavenet"} == folders
