"""Runs of a hosted sweep: whether this is one, and its name, a number and the settings that the sweep varies."""

import os
import re
import textwrap
import threading
from typing import Any

MAX_CHARACTERS = 120  # of a name; W&B takes 128
SERVICE_SECONDS = 10  # that the service may take for an answer
NUMBERED = re.compile(r"\w+-sweep-(\d+)")  # how W&B calls a sweep's run that nobody has named


def swept() -> bool:
    """Whether an agent of a W&B sweep started this process."""
    return "WANDB_SWEEP_ID" in os.environ


def run_name(run: Any, config: dict[str, Any]) -> str | None:
    """`003 learning_rate=0.002 blocks=2` for an open W&B run of a sweep; None if the service does not say what varies.

    run: opened without a name, so that W&B has numbered it. config: the run's settings under the sweep's names.
    """
    varied = [name for name in _varied(f"{run.entity}/{run.project}/{run.sweep_id}") if name in config]
    if not varied:
        return None
    last = [name.rpartition(".")[2] for name in varied]
    short = [name if last.count(end) > 1 else end for name, end in zip(varied, last)]
    values = [config[name] for name in varied]
    settings = [f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in zip(short, values)]  # fmt: skip
    number = NUMBERED.fullmatch(run.name or "")
    words = [f"{int(number[1]):03d}", *settings] if number else settings
    return textwrap.shorten(" ".join(words), MAX_CHARACTERS, placeholder=" …")


def _varied(path: str) -> list[str]:
    """The parameters with more than one value; none if the service does not answer in time."""
    import wandb  # takes most of a second, which a command that only asks for swept() need not wait for

    names: list[str] = []

    def ask() -> None:
        try:
            parameters = wandb.Api(timeout=SERVICE_SECONDS).sweep(path).config["parameters"]
            names.extend(name for name, given in parameters.items() if not _is_fixed(given))
        except Exception:  # wandb has no class for what is refused or missing; a name is not worth a training
            names.clear()

    asking = threading.Thread(target=ask, daemon=True)  # wandb tries again and again, longer than its timeout
    asking.start()
    asking.join(SERVICE_SECONDS)
    return list(names)


def _is_fixed(given: dict[str, Any]) -> bool:
    return "value" in given or len(given.get("values", "more")) == 1
