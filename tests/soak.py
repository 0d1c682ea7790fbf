"""Kills commands at random moments, repeats them, and compares what they come to with what they come to undisturbed.

    python tests/soak.py --kills 200

It takes half a minute for each few kills, so it is not a part of `make test`. A command is started, killed after a
random time by SIGKILL, SIGTERM or SIGINT, once to three times in a row, and then left to finish. Its outcome (weights,
rows, results, audio, records) must be, bit for bit, that of the same command that was never killed.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.settings import DEMO, SMALL  # noqa: E402

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMED = ("seconds", "samples_per_second", "evaluation_seconds", "date")  # names of values that differ each time
SWEEP = """
program: PROGRAM
method: grid
metric: {name: score, goal: minimize}
command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
parameters:
  window.samples: {values: [100, 200]}
"""


@dataclass(frozen=True)
class Scenario:
    """A command, in a folder of its own, and what it comes to."""

    name: str
    arrange: Callable[[Path], None]  # before the first start
    command: tuple[str, ...]
    outcome: Callable[[Path], object]


def run_py(*words: str) -> tuple[str, ...]:
    return (sys.executable, str(ROOT / "run.py"), *words)


def training(*words: str) -> tuple[str, ...]:
    steps = ("train.steps=150", "train.checkpoint_interval=20", "train.sample_interval=50", "optim.ema_decay=0.9")
    return run_py(*SMALL, "name=run", *steps, "train.sample_seconds=0.1", *words)


def stable(values: object) -> object:
    """Without what differs each time."""
    if isinstance(values, dict):
        return {name: stable(value) for name, value in values.items() if name.rpartition("/")[2] not in TIMED}
    return [stable(value) for value in values] if isinstance(values, list) else values


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def of_run(run: Path) -> object:
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    state = checkpoint["training"]
    tensors = {**checkpoint["weights"], **{f"now/{name}": weight for name, weight in state["weights"].items()}}
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {
        "weights": digest(b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))),
        "step": state["step"],
        "curves": stable(state["history"]),
        "rows": stable(rows),
        "results": stable(json.loads((run / "results.json").read_text())),
        "files": sorted(path.name for path in run.iterdir()),
    }


def of_training(folder: Path) -> object:
    corpora = sorted(path.name.partition("-")[0] for path in (folder / "prepared").iterdir())
    return {**of_run(folder / "runs" / "run"), "corpora": len(corpora), "runs": os.listdir(folder / "runs")}


def of_generation(folder: Path) -> object:
    return {path.name: digest(path.read_bytes()) for path in sorted((folder / "out").glob("*.wav"))}


def of_pinning(folder: Path) -> object:
    record = folder / "record"
    return {
        "results": stable(json.loads((record / "results.json").read_text())),
        "checkpoint": digest((record / "checkpoint.pt").read_bytes()),
        "files": sorted(path.name for path in record.iterdir()),
    }


def of_sweep(folder: Path) -> object:
    return {run.name: of_run(run) for run in sorted((folder / "runs" / "sweeps" / "soak").glob("0*"))}


def nothing(folder: Path) -> None:
    """The command makes all it needs."""


def arrange_generation(folder: Path) -> None:
    """Five sentences to be inverted by the pinned network."""
    (folder / "in").mkdir()
    for path in sorted(DEMO.glob("*.flac"))[:5]:
        shutil.copy(path, folder / "in")


def arrange_pinning(folder: Path) -> None:
    """A finished run."""
    subprocess.run(training(), check=True, capture_output=True, cwd=folder)


def arrange_sweep(folder: Path) -> None:
    (folder / "soak.yaml").write_text(SWEEP.replace("PROGRAM", str(ROOT / "run.py")))


GENERATE = run_py("experiment=baseline", "mode=generate", "input=in", "output=out")
PIN = run_py("mode=pin", "checkpoint=runs/run", "output=record")
SHORT = ("train.steps=40", "train.checkpoint_interval=10", "train.sample_utterances=0", "train.log_interval=5")
SWEEP_WORDS = ("soak.yaml", "--jobs", "2", *SMALL[:-3], "tracking.mode=disabled", *SHORT)
SCENARIOS = (
    Scenario("train", nothing, training(), of_training),
    Scenario("train with two loaders", nothing, training("train.workers=2"), of_training),
    Scenario("train, offline W&B run", nothing, training("tracking.mode=offline"), of_training),
    Scenario("prepare", nothing, training("data.seconds=null", "train.steps=1"), of_training),
    Scenario("generate", arrange_generation, GENERATE, of_generation),
    Scenario("pin", arrange_pinning, PIN, of_pinning),
    Scenario("sweep", arrange_sweep, (sys.executable, "-m", "mfcc_wavenet.sweep", *SWEEP_WORDS), of_sweep),
)


def start(scenario: Scenario, folder: Path) -> subprocess.Popen:
    output = subprocess.DEVNULL
    return subprocess.Popen(
        scenario.command, stdout=output, stderr=subprocess.PIPE, cwd=folder, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def finish(scenario: Scenario, folder: Path) -> tuple[object, float]:
    """The outcome of the command, left to itself, and the seconds that it took."""
    started = time.monotonic()
    process = start(scenario, folder)
    _, stderr = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{scenario.name} ended with {process.returncode}: {stderr.decode()[-2000:]}")
    return scenario.outcome(folder), time.monotonic() - started


def soak(kills: int, seed: int) -> int:
    """Prints a line for every comparison and a summary; returns how many were not equal."""
    draw = random.Random(seed)
    counts = {scenario.name: [0, 0, 0] for scenario in SCENARIOS}  # kills, comparisons, equal
    expected: dict[str, tuple[object, float]] = {}
    with tempfile.TemporaryDirectory() as top:
        for scenario in SCENARIOS:
            folder = Path(top) / f"{scenario.name} undisturbed"
            folder.mkdir()
            scenario.arrange(folder)
            expected[scenario.name] = finish(scenario, folder)
        while (done := sum(count[0] for count in counts.values())) < kills:
            scenario = min(SCENARIOS, key=lambda scenario: counts[scenario.name][0])
            outcome, seconds = expected[scenario.name]
            folder = Path(tempfile.mkdtemp(dir=top))
            scenario.arrange(folder)
            disturbed, said = [], []
            for _ in range(min(draw.randint(1, 3), kills - done)):
                process, number = start(scenario, folder), draw.choice(SIGNALS)
                time.sleep(draw.uniform(0.1, 1.0) * seconds)
                whole_group = draw.random() < 0.5
                if process.poll() is None:
                    (os.killpg if whole_group else os.kill)(process.pid, number)
                    disturbed.append(f"{signal.Signals(number).name}{' to the group' if whole_group else ''}")
                _, stderr = process.communicate(timeout=120)
                if number != signal.SIGKILL and b"Traceback" in stderr:
                    said.append(f"a traceback: {stderr.decode()[-1500:]}")
            again, _ = finish(scenario, folder)
            same = again == outcome and not said
            count = counts[scenario.name]
            count[:] = [count[0] + len(disturbed), count[1] + 1, count[2] + same]
            print(
                f"{'equal' if same else 'NOT EQUAL'}  {scenario.name}: {', '.join(disturbed + said) or 'too late'}",
                flush=True,
            )
            if not same:
                print(json.dumps({"expected": outcome, "found": again}, indent=1, default=str)[:4000], flush=True)
            shutil.rmtree(folder)
    print(f"\n{'command':<26}{'kills':>7}{'ends':>7}{'equal':>7}")
    for name, (killed, ends, equal) in counts.items():
        print(f"{name:<26}{killed:>7}{ends:>7}{equal:>7}")
    return sum(ends - equal for _, ends, equal in counts.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    given = parser.parse_args()
    sys.exit(1 if soak(given.kills, given.seed) else 0)


if __name__ == "__main__":
    main()
