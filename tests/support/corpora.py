"""Small corpora of real speech, and the sentences that refuse them."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import DataSettings
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import prepare
from support.settings import DEMO, compose_settings

SENTENCES = sorted(DEMO.glob("*.flac"))
DEFAULTS = compose_settings()
FEATURES = DEFAULTS.features
RATE, HOP = FEATURES.sample_rate, FEATURES.hop_length


@cache
def speech(number: int = 0) -> np.ndarray:
    """Half a second of the demonstration corpus."""
    return soundfile.read(SENTENCES[number], dtype="float32")[0][4000 : 4000 + RATE // 2]


def folder_of(tmp_path: Path, *names: str) -> Path:
    """A folder of real speech, each file another sentence."""
    for number, name in enumerate(names):
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "audio" / name, speech(number), RATE)
    return tmp_path / "audio"


def data_settings(folder: Path, *root, **changes) -> DataSettings:
    """Those of audio that is prepared in folder/prepared; changes: of the settings by default."""
    names = tuple(str(name) for name in root)
    return replace(DEFAULTS.data, root=names, prepared=str(folder / "prepared"), **changes)


def prepare_from(tmp_path: Path, *root, seconds=None, channels=256, **changes) -> Corpus:
    return prepare(data_settings(tmp_path, *root, seconds=seconds), replace(FEATURES, **changes), channels)


def refused(action, *arguments, **options) -> str:
    """The sentence with which it is refused."""
    with pytest.raises(UserError) as error:
        action(*arguments, **options)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence
