"""Who is logged in to W&B while a test runs."""

import os
from pathlib import Path

import pytest

from support.wandb_server import Server


def log_nobody_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without credentials, and an environment without wandb's variables."""
    for variable in [name for name in os.environ if name.startswith(("WANDB_", "XDG_")) or name == "NETRC"]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(home))


def log_in(home: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is, at that server."""
    log_nobody_in(home, monkeypatch)
    for variable, value in server.environment.items():
        monkeypatch.setenv(variable, value)
