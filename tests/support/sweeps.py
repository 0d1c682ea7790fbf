"""Sweeps of a program that only pretends to learn: how a sweep manages runs does not depend on the program."""

from pathlib import Path

import optuna

# Six rows, PAUSE seconds each, with scores that approach x; resumes from its last row; logs when it began and ended.
PROGRAM = """\
import json, os, signal, sys, time
from pathlib import Path

settings = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(settings["runs"], settings["name"])
folder.mkdir(parents=True, exist_ok=True)


def log(event):
    with open(folder / "events", "a") as file:
        file.write(f"{event} {time.monotonic()} {os.getpid()}\\n")


def end(*_):
    log("stopped")
    sys.exit(143)


signal.signal(signal.SIGTERM, end)
log("began")
if settings["x"] == settings.get("refused"):
    print("a bar 10%\\ra bar 20%")
    print(f"x={settings['x']} is too large.")
    sys.exit(2)
while "together" in settings and len(list(folder.parent.glob("*/events"))) < 2:
    time.sleep(0.01)
history = folder / "history.jsonl"
done = len(history.read_text().splitlines()) if history.exists() else 0
for step in range(done, 6):
    if (settings["x"], step) == (settings.get("slow"), 3):
        time.sleep(60)
    with open(history, "a") as file:
        file.write(json.dumps({"step": step, "score": float(settings["x"]) + 1 / (step + 1)}) + "\\n")
    time.sleep(float(os.environ.get("PAUSE", 0.01)))
log("ended")
"""
GRID = """\
program: program.py
method: grid
metric: {name: score}
command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
parameters:
  x: {values: [4, 2, 8, 6]}
  y: {value: null}
"""
RANDOM = GRID.replace("grid", "random").replace("{values: [4, 2, 8, 6]}", "{min: 0.0, max: 1.0}") + "run_cap: 5\n"


def written(text: str) -> Path:
    path = Path("sweep.yaml")
    path.write_text(text)
    return path


def logged() -> dict[str, list[list[str]]]:
    """What the program logged in each run's folder: lines of event, time and process."""
    files = sorted(Path("runs/sweeps/sweep").glob("*/events"))
    return {path.parent.name: [line.split() for line in path.read_text().splitlines()] for path in files}


def events() -> list[list[str]]:
    return [[event for event, *_ in lines] for lines in logged().values()]


def trials(name: str = "sweep") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=name, storage=f"sqlite:///runs/sweeps/{name}/study.db").trials
