"""Reading offline W&B runs back, with wandb's own reader."""

import json
import subprocess
import sys
from pathlib import Path

from wandb.util import get_core_path


def wandb(*arguments: str) -> str:
    """What wandb's command line prints."""
    return _printed(sys.executable, "-m", "wandb", *arguments)


def summary_of(directory: Path) -> dict:
    """The state that a run ended in, its summary and more."""
    return json.loads(_inspected(directory, "--summary"))


def records(directory: Path) -> list[dict]:
    return [json.loads(line) for line in _inspected(directory).splitlines()]


def rows(directory: Path) -> list[dict]:
    return [record["history"]["item"] for record in records(directory) if record["type"] == "history"]


def _inspected(directory: Path, *options: str) -> str:
    """By the program behind `wandb leet inspect --json DIRECTORY`, without the seconds in which Python loads wandb."""
    (log,) = directory.glob("run-*.wandb")
    command = (get_core_path(), "leet", "inspect", "--no-observability", "--json", *options)
    return _printed(*command, "--run-file", str(log), str(directory.parent))


def _printed(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
