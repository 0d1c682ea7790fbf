"""The command that starts a run: the same that W&B's agent would start, and the settings that a person adds to it."""

import sys
from pathlib import Path
from typing import Any

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near, setting_names
from mfcc_wavenet.sweep.file import RUN_PY, SweepFile

OWN_SETTINGS = ("name", "mode", "checkpoint", "restart")  # a sweep sets or forbids these itself


def parse_overrides(overrides: list[str], program: str) -> dict[str, str]:
    """The settings for every run, given as NAME=VALUE; UserError for one that no run can have."""
    given = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"{override!r} is not a setting; settings are given as NAME=VALUE.")
        if key in OWN_SETTINGS:
            raise UserError(f"{override}: {key} cannot be set in a sweep, which trains its runs and names them itself.")
        if Path(program).name == RUN_PY and key not in (names := setting_names()):
            raise UserError(f"{key} is not a setting; {near(key, names)}")
        given[key] = value
    return given


def command(file: SweepFile, arguments: dict[str, Any]) -> list[str]:
    """What W&B's agent would start for these arguments, with this Python."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # takes most of a second

    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in arguments.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [file.program]}
    chunks = create_sweep_command(list(file.command))
    is_macro = [chunk.startswith("${") and chunk.endswith("}") for chunk in chunks]
    return [word for chunk, macro in zip(chunks, is_macro) for word in (macros[chunk[2:-1]] if macro else [chunk])]
