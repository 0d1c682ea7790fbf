"""Nested plain values, from Hydra or from a checkpoint, to Settings: typed, complete, nothing unknown."""

from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mfcc_wavenet.config.command import Command
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import Settings

Group = TypeVar("Group")
GROUPS = [field.name for field in fields(Settings)]  # of conf/
MAX_NUMBER = 2**63  # torch holds no larger integer
MAX_LISTED = 12  # names in a sentence


def parse(config: dict[str, Any]) -> Settings:
    """Settings from one mapping per group; UserError names a key that is unknown, missing or of no use."""
    kinds = get_type_hints(Settings)
    _refuse_unknown(config, list(kinds), "")
    return Settings(**{name: parse_group(kind, config.get(name, {}), name) for name, kind in kinds.items()})


def parse_group(kind: type[Group], config: dict[str, Any], name: str) -> Group:
    """One group's dataclass, checked by OmegaConf's structured configs."""
    prefix = f"{name}." if name else ""
    types = get_type_hints(kind)
    _refuse_unknown(config, list(types), prefix)
    missing = [key for key in types if config.get(key, MISSING) == MISSING]
    if missing:
        raise UserError(
            f"{prefix}{missing[0]} has no value; {prefix}{missing[0]}=... on the command line gives it one."
        )
    values = {key: _plain(value, types[key]) for key, value in config.items()}
    try:
        typed = OmegaConf.to_container(OmegaConf.merge(_structured(kind), values))
    except OmegaConfBaseException as error:
        raise UserError(f"{prefix}{error.full_key}: {str(error).splitlines()[0]}.") from error
    for key, value in typed.items():
        _refuse_invalid(f"{prefix}{key}={value}", value, types[key])
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in typed.items()})


@cache
def _structured(kind: type) -> Any:
    """OmegaConf's own form of a dataclass, which takes a third of the time; merging leaves it as it is."""
    return OmegaConf.structured(kind)


def plain(settings: Settings) -> dict[str, dict[str, Any]]:
    """The mapping that parse turns into the same settings again; plain containers alone."""
    return {
        group: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for group, values in asdict(settings).items()
    }


def run_config(settings: Settings, choices: dict[str, str | None]) -> dict[str, Any]:
    """A run's config: every setting by its dotted name, as in a sweep, and the option chosen of each config group."""
    return flat(plain(settings)) | choices


def first_difference(one: Settings, other: Settings, ignored: tuple[str, ...]) -> tuple[str, Any, Any] | None:
    """The first setting in which the two differ, by its dotted name, and its values; None where they are the same.

    ignored: groups, as in "tracking", and settings, as in "train.workers", that may differ.
    """
    theirs = flat(plain(other))
    for name, value in flat(plain(one)).items():
        if value != theirs[name] and not {name, name.partition(".")[0]} & set(ignored):
            return name, value, theirs[name]
    return None


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Nested to flat with dotted keys, as in a sweep: {"optim": {"rate": 1}}, {"optim.rate": 1}."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        below = flat(value) if isinstance(value, dict) else None
        leaves |= {key: value} if below is None else {f"{key}.{k}": v for k, v in below.items()}
    return leaves


def setting_names() -> list[str]:
    """All that the command line of run.py can set: dotted settings, what to do, and the groups, which take options."""
    of_groups = [f"{group}.{key}" for group, kind in get_type_hints(Settings).items() for key in get_type_hints(kind)]
    return [*get_type_hints(Command), *of_groups, *GROUPS, "experiment"]


def near(word: str, known: list[str]) -> str:
    """'did you mean ...?' for a mistyped word, or what there is."""
    last = word.rpartition(".")[2]
    close = [name for name in known if last in (name.rpartition(".")[2], _initials(name))]  # lr, batch_size
    close = close or get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(known) > MAX_LISTED:
        return "`python run.py --cfg job` shows all there are."
    return f"there are {', '.join(sorted(known))}."


def _initials(name: str) -> str:
    """lr of optim.learning_rate; nothing of a single word."""
    parts = name.rpartition(".")[2].split("_")
    return "".join(part[:1] for part in parts) if len(parts) > 1 else ""


def _refuse_unknown(config: dict[str, Any], known: list[str], prefix: str) -> None:
    for key in config:
        if key not in known:
            raise UserError(f"{prefix}{key} is not a setting; {near(key, known)}")


def _refuse_invalid(setting: str, value: Any, kind: Any) -> None:
    """What OmegaConf lets pass: nested lists, missing entries, pairs of three, numbers below 0 or too large."""
    kinds = _entries(kind)
    if isinstance(value, list) and Ellipsis not in kinds and len(value) != len(kinds):
        raise UserError(f"{setting}: it takes {len(kinds)} values.")
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, list | dict):
            raise UserError(f"{setting}: it takes single values, not {entry}.")
        if entry == MISSING:
            raise UserError(f"{setting}: its entry {MISSING} stands for a value that is missing.")
        if isinstance(entry, int | float) and not 0 <= entry < MAX_NUMBER:
            raise UserError(f"{setting}: it must be 0 or more, and less than 2^63.")


def _plain(value: Any, kind: Any) -> Any:
    # A sweep hands over Python reprs, in which null is spelt None.
    if value == "None":
        return None
    if kind is int and isinstance(value, float) and value.is_integer():  # 1e4
        return int(value)
    # One path, or one stride, stands for a list of one.
    if value is not None and _entries(kind) and not isinstance(value, (list, tuple)):
        return [value]
    return value


def _entries(kind: Any) -> tuple[Any, ...]:
    """The types in that of a tuple, or of one that may be null; none of any other type."""
    kinds = [kind, *get_args(kind)] if get_origin(kind) is UnionType else [kind]
    return next((get_args(one) for one in kinds if get_origin(one) is tuple), ())
