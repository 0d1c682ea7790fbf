"""What the README says works: its commands compose, its snippets run, its figures are the records'."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from support.command import CommandLine
from support.settings import ROOT, compose_settings

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("#")[0].removeprefix("python run.py ").strip()
    for kind, block in BLOCKS
    for line in block.splitlines()
    if line.startswith("python run.py ")
]
OF_THE_COMMAND = ("mode=", "checkpoint=", "input=", "output=")


@pytest.fixture
def run_py(tmp_path, monkeypatch, capsys) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    """No mistyped key, option or experiment in any command of the README."""
    compose_settings(*(word for word in command.split() if not word.startswith(OF_THE_COMMAND)), *needed(command))


def needed(command: str) -> list[str]:
    return [] if "data.root" in command else ["data.root=."]


def test_your_own_mfccs(tmp_path, run_py):
    """The snippet saves MFCCs, the command makes audio of them, and it is the sentence, but for the last part hop."""
    snippet = "".join(block for kind, block in BLOCKS if kind == "python")
    (command,) = [command for command in COMMANDS if "input=mfcc.npy" in command]
    snippet = snippet.replace("mfcc_wavenet/data/demo", str(ROOT / "mfcc_wavenet" / "data" / "demo"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True, env=environment)
    done = run_py(command)
    assert done.code == 0, done.err
    heard, rate = soundfile.read(tmp_path / "heard.wav")
    original, _ = soundfile.read(ROOT / "mfcc_wavenet" / "data" / "demo" / "01_lighthouse.flac")
    assert rate == 16000 and len(original) - 160 < len(heard) <= len(original)
    original = original[: len(heard)]
    noise = np.square(heard - original).mean()
    assert 10 * np.log10(np.square(original).mean() / noise) > 30  # mu-law's own noise is 38 dB below speech


def test_the_figures_are_the_records():
    """The table and the list of experiments tell what experiments/baseline/results.json says."""
    results = json.loads((ROOT / "experiments" / "baseline" / "results.json").read_text())
    samples = f"{results['samples']:,}"
    assert results["wrong"] == 0 and results["reproduced"] == results["samples"]
    assert f"wrong            0 of {samples} samples" in README
    assert f"reproduced       {samples} of {samples} samples" in README
    assert f"nats             {results['nats']:.6f} per sample" in README
    assert f"{results['samples_seen']:,} in {results['epochs']:.1f} epochs, {results['steps']:,} steps" in README
    assert f"seconds          {results['seconds']:,.1f}" in README
    assert f"0 of {samples} wrong, all reproduced" in README


def test_the_layout_names_every_folder():
    """A folder that is added or removed changes the README."""
    folders = {path.name for path in (ROOT / "mfcc_wavenet").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^  (\w+)/ ", README, re.MULTILINE)) == folders
