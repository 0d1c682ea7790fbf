"""The figures in README.md, docs/ and the records' own pages are those of the records and of the code."""

import json
import math
import re
from itertools import groupby
from pathlib import Path

import pytest
import yaml
from support.pages import README
from support.settings import ROOT

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.experiments import pinned_checkpoint
from mfcc_wavenet.config.size import count_weights
from mfcc_wavenet.generation.inverter import Inverter
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.summary import table

RATE = 16000
EXPERIMENTS = ROOT / "experiments"


def results_of(name: str) -> dict:
    return json.loads((EXPERIMENTS / name / "results.json").read_text())


RECORDS = [name for name in experiments.names() if results_of(name)["status"] == "trained"]
EXACT = [name for name in RECORDS if results_of(name)["wrong"] == 0]
HEARD = [name for name in RECORDS if "quality" in results_of(name)]
BASELINE = results_of("baseline")
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


@pytest.mark.parametrize("name", EXACT)
def test_the_readme_tells_the_results_of_the_records(name):
    """Of results.json, and of the pinned checkpoint."""
    results = results_of(name)
    samples, checkpoint = results["samples"], checkpoints.load(pinned_checkpoint(name))
    weights = count_weights(checkpoint.settings, len(checkpoint.speakers))
    assert results["wrong"] == 0 and results["reproduced"] == samples
    seconds = results["seconds"]
    minutes, rest = divmod(round(seconds), 60)
    cells = (
        f"[{name}](experiments/{name})",
        f"{samples / RATE:.1f} s",
        f"{weights / 1e6:.1f} M",
        f"0 of {samples:,}",
        f"{samples:,}",
        f"{results['samples_seen']:,}, {results['epochs']:.1f} epochs",
        f"{seconds:.1f} s" if seconds < 120 else f"{minutes} min {rest} s",
    )
    assert f"| {' | '.join(cells)} |" in README.text


@pytest.mark.parametrize("name", HEARD)
def test_the_page_of_a_record_of_speech_tells_what_it_is_worth(name):
    """Every mean and interval of its table, and of every system."""
    quality, text = results_of(name)["quality"], (EXPERIMENTS / name / "README.md").read_text()
    for system, label in quality["rows"].items():
        values = [quality["values"][system][column] for column in quality["columns"]]
        cells = [
            "" if not v["clips"] else f"{v['mean']:.4g}" + (f" ± {v['interval']:.3g}" if v["clips"] > 1 else "")
            for v in values
        ]
        assert f"| {label} | {' | '.join(cells)} |" in text


SYSTEMS = {"ours": "ours", "librosa": "librosa", "noise": "noise with that envelope", "mu-law": "mu-law alone"}


def test_the_readme_tells_what_the_record_of_speech_is_worth():
    """Five of its columns, for four systems."""
    values = results_of("speech")["quality"]["values"]
    for system, label in SYSTEMS.items():
        cells = [f"{values[system][name]['mean']:.3g}" for name in ("mfcc_rmse", "mcd", "lsd", "stoi", "pesq")]
        assert f"| {label} | {' | '.join(cells)} |" in README.text


def test_the_readme_tells_how_sure_the_baseline_is_and_how_fast_generation():
    """By its margin, and by the benchmark."""
    one, sixteen = (speed("baseline_adam", streams) for streams in (1, 16))
    loop, again = (next(r for r in SPEED["rows"] if r.get("way") == way) for way in ("torch step loop", "naive re-run"))
    text = " ".join(README.text.split())
    for told in (
        f"The baseline's is {BASELINE['margin']:.2f}",
        f"{one:,} samples/s, {one / RATE:.1f} times real time, and in sixteen streams {sixteen:,}, "
        f"{sixteen / RATE:.1f} times",
        f"a loop in torch makes {loop['samples_per_second']:,}",
        f"run again for each sample {again['samples_per_second']:,}",
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


def test_the_page_on_training_speed_tells_what_was_measured():
    """Each row of its tables, and the fitted line, from training.json."""
    text = (ROOT / "docs" / "training_speed.md").read_text()
    found = json.loads((ROOT / "docs" / "training.json").read_text())
    rows = [
        (
            row["network"], row["threads"], window_of(row), row["way"], f"{row['samples_per_second']:,}",
            f"{row['bound']:,}", f"{row['fraction']:.2f}", f"{row['fraction_of_library']:.2f}",
        )
        for row in found["rows"]
    ]  # fmt: skip
    rows += [
        (row["network"], row["threads"], f"{row['milliseconds']:,.0f}", *(f"{p:.1f}" for p in row["percent"].values()))
        for row in found["profile"]
    ]
    rows += [
        (
            row["width"], row["layers"], f"{row['frame_channels']:,}", window_of(row), f"{row['milliseconds']:.1f}",
            f"{row['fitted_milliseconds']:.1f}", f"{row['samples_per_second']:,}",
        )
        for row in found["sizes"]
    ]  # fmt: skip
    for row in rows:
        assert f"| {' | '.join(map(str, row))} |" in text, row
    fit, worst = found["fit"], max(abs(row["error"]) for row in found["sizes"])
    assert (
        f"seconds per step = {fit['constant']} + operations / {fit['operations_per_second'] / 1e9:.1f}e9"
        f" + weights * {fit['seconds_per_weight'] * 1e9:.2f}e-9\n\n"
        f"with R^2 = {fit['r2']:.2f}, off by at most {100 * worst:.0f} %"
    ) in text


def window_of(row: dict) -> str:
    return f"{row['window']:,} x {row['batch_size']}"


def test_the_page_on_steps_to_zero_tells_what_the_sweep_measured():
    """A row for each length of audio, a cell for each width."""
    found = json.loads((ROOT / "docs" / "scaling.json").read_text())["rows"]
    text = (ROOT / "docs" / "steps_to_zero.md").read_text()
    assert len(found) == 12
    for seconds, group in groupby(found, lambda row: row["audio_seconds"]):
        cells = [f"{row['epochs']:.1f} epochs, by {row['margin']:.2f}" for row in group if row["wrong"] == 0]
        assert len(cells) == 3 and f"| {seconds:.1f} s | {' | '.join(cells)} |" in text


@pytest.mark.parametrize("name", EXACT)
def test_the_page_of_a_record_tells_its_results(name):
    """In its table."""
    results, text = results_of(name), (EXPERIMENTS / name / "README.md").read_text()
    samples, steps = f"{results['samples']:,}", f"{results['steps']:,}"
    for told in (
        f"| wrong, teacher-forced | 0 of {samples} |",
        f"| reproduced, free-running | {samples} of {samples} |",
        f"| nats per sample | {results['nats']:.4f} |",
        f"nearest rival | {results['margin']:.2f} |",
        f"| {results['samples_seen']:,} in {steps} steps, {results['epochs']:.1f} epochs |",
        f"| seconds | {results['seconds']:,.0f} on ",
    ):
        assert told in text, told


def test_the_pages_of_the_records_of_units_tell_what_these_are_worth():
    """How many are in use, what the decoder makes of them, and who speaks."""
    exact, units64 = results_of("units_exact"), results_of("units64")
    in_use = f"{exact['latents']}, {exact['units_used']} of 64, {exact['units_perplexity']:.1f}"
    assert f"| units, codes in use, perplexity | {in_use} |" in (EXPERIMENTS / "units_exact" / "README.md").read_text()
    told = (EXPERIMENTS / "units64" / "README.md").read_text()
    speakers = ", ".join(
        f"{units64[f'speaker_accuracy_{what}']:.2f}" for what in ("mfcc", "latents", "units", "chance")
    )
    rows = {
        "nats per sample, teacher-forced": f"{units64['nats']:.3f}",
        "`gain`: what they would be more with the units of another place": f"{units64['gain']:.2f}",
        "units in use, perplexity": f"{units64['units_used']} of 64, {units64['units_perplexity']:.1f}",
        "bits per second, at most": f"{units64['bits_per_second']:.0f}, {units64['max_bits_per_second']:.0f}",
        "who speaks, told from MFCCs, latents, units, by chance": speakers,
    }
    assert all(f"| {name} | {figures} |" in told for name, figures in rows.items())


def test_the_table_of_sweeps_tells_how_many_runs_there_are():
    """The cap of each file, or the size of its grid; and the README names them all."""
    text = (ROOT / "docs" / "sweeps.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(\S+\.yaml\) \|.*\| (\d+), ", text, re.MULTILINE)
    told = {sweep: int(runs) for sweep, runs in rows}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "sweeps").glob("*.yaml")}
    sizes = {sweep: [len(p.get("values", [0])) for p in file["parameters"].values()] for sweep, file in files.items()}
    assert told == {sweep: file.get("run_cap", math.prod(sizes[sweep])) for sweep, file in files.items()}
    assert {link for link in README.links if link.startswith("sweeps/")} == {f"sweeps/{sweep}.yaml" for sweep in files}


def test_the_layout_names_every_folder():
    """A folder that is added or removed changes the README."""
    (layout,) = [block for _, block in README.blocks if block.startswith("mfcc_wavenet/\n")]
    folders = {path.name for path in (ROOT / "mfcc_wavenet").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"\b(\w+)/", layout)) - {"mfcc_wavenet"} == folders
