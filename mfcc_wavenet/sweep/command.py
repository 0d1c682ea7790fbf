"""The command that starts a run: the same that W&B's agent would start, with the settings that this program adds."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near, setting_names
from mfcc_wavenet.sweep.file import RUN_PY, SweepFile

OWN_SETTINGS = ("name", "mode", "checkpoint", "restart")  # a sweep sets or forbids these itself
UNQUOTED = re.compile(r"[\w/.+-]+", re.ASCII)  # what Hydra reads as text without quotes, unless it is a constant
CONSTANTS = ("null", "true", "false")


def parse_overrides(overrides: list[str], program: str) -> dict[str, str]:
    """The settings for every run, given as NAME=VALUE; UserError for one that no run can have."""
    settings = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"{override!r} is not a setting; settings are given as NAME=VALUE.")
        if key in OWN_SETTINGS:
            raise UserError(f"{override}: {key} cannot be set in a sweep, which trains its runs and names them itself.")
        if Path(program).name == RUN_PY and key not in (names := setting_names()):
            raise UserError(f"{key} is not a setting; {near(key, names)}")
        settings[key] = value
    return settings


def command(file: SweepFile, arguments: dict[str, Any]) -> list[str]:
    """What W&B's agent would start for these arguments, with this Python."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # takes most of a second

    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in arguments.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [file.program]}
    words = []
    # Macros are those of the file: the value of an environment variable may look like one.
    for given, with_variables in zip(file.command, create_sweep_command(list(file.command))):
        is_macro = given.startswith("${") and given.endswith("}")
        words += macros.get(given[2:-1], [with_variables]) if is_macro else [with_variables]
    return words


def refuse_missing_programs(path: Path, file: SweepFile) -> None:
    """UserError if a run of the sweep file at that path cannot be started."""
    if not Path(file.program).is_file():
        raise UserError(f"{path}: there is no program {file.program} here ({Path.cwd()}).")
    first = next(iter(command(file, {})), "")
    if shutil.which(first) is None:
        raise UserError(f"{path}: command begins with {first!r}, which is not a program that can be started here.")


def hydra_text(text: str) -> str:
    """The text as Hydra's command line reads it: quoted, unless it is read as the same text without quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if UNQUOTED.fullmatch(text) and text.lower() not in CONSTANTS and not _is_number(text):
        return text
    without_interpolation = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(without_interpolation, Quote.single).with_quotes()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
