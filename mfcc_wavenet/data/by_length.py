"""What zero error takes, from how long the audio is: rules that docs/steps_to_zero.md measured, as ${by_length:NAME}.

Each is a power of the seconds that a run is trained on.
"""

import contextlib
import io
import os
from collections.abc import Mapping
from functools import cache

import soundfile
from omegaconf import OmegaConf

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.parse import near, parse_group
from mfcc_wavenet.config.settings import DataSettings
from mfcc_wavenet.data.audio import UNKNOWN
from mfcc_wavenet.data.sources import Source, find_sources

CHANNELS_MULTIPLE = 64  # widths that processors multiply well

RULES = {
    "frame_channels": lambda seconds: CHANNELS_MULTIPLE * max(4, round(2 * seconds**0.5)),
    "batch_size": lambda seconds: max(1, round(2 * seconds ** (2 / 3))),  # windows of 250 samples
    "learning_rate": lambda seconds: 6e-3 * seconds ** (-1 / 3),
    "muon_learning_rate": lambda seconds: 3e-2 * seconds ** (-1 / 3),
    "epochs": lambda seconds: 7 * seconds**0.4,
}


def register() -> None:
    """Makes ${by_length:NAME} known to Hydra; before @hydra.main runs."""
    OmegaConf.register_new_resolver("by_length", _by_length, replace=True)


def _by_length(name: str, part: float = 1.0, *, _root_: Mapping) -> int | float:
    """The value of a rule for the audio that `data` names.

    "epoch" and "samples" are the samples of one epoch and of all of them, or that part of them.
    """
    data = parse_group(DataSettings, OmegaConf.to_container(_root_["data"], resolve=True), "data")
    seconds = seconds_of_audio(data)
    epoch = seconds * _root_["features"]["sample_rate"]
    values = {name: rule(seconds) for name, rule in RULES.items()}
    values |= {"epoch": round(part * epoch), "samples": round(part * values["epochs"] * epoch)}
    if name not in values:
        raise UserError(f"${{by_length:{name}}} is not a rule; {near(name, list(values))}")
    return values[name]


@cache  # a configuration asks for some twenty values of one rule
def seconds_of_audio(data: DataSettings) -> float:
    """As the headers of the files say, at most data.seconds; UserError where they say nothing."""
    with contextlib.redirect_stderr(io.StringIO()):  # preparation tells what was passed over, once
        sources = find_sources(data.root, data.corpus, data.subsets)
    seconds = sum(_seconds(source) for source in sources)
    if not seconds:
        raise UserError(f"None of the {len(sources)} audio files of data.root says how long it is.")
    return seconds if data.seconds is None else min(seconds, data.seconds)


def _seconds(source: Source) -> float:
    """Zero for what cannot be read, which preparation leaves out and names."""
    try:
        info = soundfile.info(os.fsencode(source.path))  # a name need not be text
    except (soundfile.SoundFileError, RuntimeError):
        return 0.0
    return info.frames % UNKNOWN / info.samplerate
