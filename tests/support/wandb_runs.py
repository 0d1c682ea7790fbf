"""Reading offline W&B runs back, with wandb's own command line."""

import json
import subprocess
import sys
from pathlib import Path


def wandb(*arguments: str) -> str:
    """What wandb's command line prints."""
    command = [sys.executable, "-m", "wandb", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def records(directory: Path) -> list[dict]:
    return [json.loads(line) for line in wandb("leet", "inspect", "--json", str(directory)).splitlines()]


def rows(directory: Path) -> list[dict]:
    return [record["history"]["item"] for record in records(directory) if record["type"] == "history"]
