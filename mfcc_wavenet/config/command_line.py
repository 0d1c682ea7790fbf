"""What a person types after run.py: made fit for Hydra's grammar, and one sentence for what Hydra refuses."""

import re

from omegaconf.errors import OmegaConfBaseException

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import GROUPS, near, setting_names

# Taken as they are typed, whatever Hydra's grammar would make of them: names of files, folders and people.
TEXTS = ("checkpoint", "name", "runs", "input", "output", "speaker", "data.root", "data.prepared", "tracking.dir")
TEXTS += ("tracking.project", "tracking.entity", "tracking.group")
EXISTING = ("checkpoint", "input", "data.root")  # of them, those that name what is there: no ${...} is meant
NOT_TEXT = ("", "null", "None", "???")  # what the grammar has for these
LISTS_AND_QUOTES = ("[", "'", '"')  # how what is spelt for the grammar begins
USED_BY = {  # the modes that make use of a value at the top of conf/config.yaml
    "checkpoint": ("train", "evaluate", "generate", "encode", "decode", "pin"),
    "name": ("train", "pin"),
    "restart": ("train", "generate", "encode", "decode"),
    "split": ("evaluate",),
    "input": ("generate", "encode", "decode"),
    "output": ("evaluate", "generate", "encode", "decode", "pin"),
    "speaker": ("generate", "decode"),
    "temperature": ("generate", "decode", "evaluate", "pin"),
    "top_k": ("generate", "decode", "evaluate"),
    "sampling_seed": ("generate", "decode", "evaluate", "pin"),
    "corrections": ("generate", "evaluate", "pin"),
    "candidates": ("generate", "evaluate"),
    "device": ("generate", "decode"),
    "clips": ("evaluate", "pin"),
    "clip_seconds": ("evaluate", "pin"),
    "weights": ("pin",),
}


def quoted(words: list[str]) -> list[str]:
    """The words of a command line, with quotes around the values that Hydra's grammar would misread or refuse.

    Raises UserError for what it would delete: a run has all settings.
    """
    several = bool({"-m", "--multirun"} & set(words))  # commas then separate values
    return [_quoted(word, several) for word in words]


def _quoted(word: str, several: bool) -> str:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    if word.startswith("~"):
        raise UserError(f"{word}: a run has all settings; NAME=VALUE gives one another value.")
    name, equals, value = word.partition("=")
    if word.startswith("-") or not equals or (several and "," in value):
        return word
    if name in (*GROUPS, "experiment") and not re.fullmatch(r"[\w.-]+", value):
        raise UserError(f"{word}: {name} takes the name of one of its options, as in wavenet=channels64.")
    is_text = name in TEXTS and value not in NOT_TEXT and not value.startswith(LISTS_AND_QUOTES)
    if not is_text:
        try:
            OverridesParser.create().parse_override(word)
            return word
        except HydraException:
            if not re.fullmatch(r"[\w./]+", name):
                return word
    if name in EXISTING:  # OmegaConf looks for what stands in ${...} even inside quotes
        value = value.replace("${", "\\${")
    return f"{name}={QuotedString(value, Quote.single).with_quotes()}"


def refuse_unused(mode: str, overridden: list[str]) -> None:
    """UserError for a value that this mode would accept and ignore."""
    for name in overridden:
        if mode not in USED_BY.get(name, (mode,)):
            modes = " or ".join(f"mode={other}" for other in USED_BY[name])
            raise UserError(f"{name}=... is for {modes}; this is mode={mode}.")


def sentence(error: Exception) -> str:
    """One sentence for what Hydra and OmegaConf refuse (a mistyped key, group or option); ours are sentences."""
    text = str(error)
    if isinstance(error, UserError):
        return " ".join(text.splitlines())  # what was typed can hold line breaks
    if match := re.search(r"UserError raised while resolving interpolation: (.*)", text):
        return match[1]
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key or 'The configuration'}: {text.splitlines()[0].rstrip('.')}."
    if match := re.search(r"Error parsing override '([^']*)'", text):
        return f"{match[1]!r} is not a setting; one is given as NAME=VALUE."
    if match := re.search(r"Could not override '([^']+)'", text):
        return f"{match[1]} is not a setting; {near(match[1], setting_names())}"
    if match := re.search(r"Cannot find primary config '([^']+)'", text):
        return f"--config-name={match[1]}: there is one configuration, conf/config.yaml; leave the option out."
    if match := re.search(r"Error merging override (\S+)", text):
        return f"{match[1]}: the setting does not take such a value."
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = match.groups()
        options = re.findall(r"^\t([^\s=]+)$", text, re.MULTILINE)
        return (
            f"{group}={option}: there is no such option; {near(option, options)}"
            if options
            else f"{group} is not a config group; {near(group, GROUPS)}"
        )
    if text.startswith("Config group override"):  # null, or a number
        return "A group takes the name of one of its options, as in wavenet=channels64."
    return " ".join(text.split()).rstrip(".") + "."
