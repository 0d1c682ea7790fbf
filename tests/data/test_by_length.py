"""Sizes that follow from how long a corpus is."""

import os
import shutil
from dataclasses import replace

import pytest
import soundfile
from support.settings import DEMO, compose_settings

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import DataSettings
from mfcc_wavenet.data.by_length import RULES, seconds_of_audio
from mfcc_wavenet.data.prepared.prepare import prepare

LENGTHS = (0.5, 3.3, 12.0, 68.0, 600.0)


DATA = compose_settings().data


def data(root, seconds=None, prepared="prepared") -> DataSettings:
    return replace(DATA, root=(str(root),), seconds=seconds, prepared=str(prepared))


def test_headers_say_how_long_the_prepared_corpus_is(tmp_path):
    """Of another sample rate, too; what cannot be read counts as nothing in both."""
    sound, rate = soundfile.read(DEMO / "02_tea.flac")
    soundfile.write(tmp_path / "slower.wav", sound, rate // 2)
    shutil.copy(DEMO / "01_lighthouse.flac", tmp_path)
    shutil.copy(DEMO / "03_fog.flac", os.fsencode(tmp_path) + b"/caf\xe9.flac")  # no text
    (tmp_path / "damaged.wav").write_bytes(b"RIFF of nothing")
    settings = compose_settings()
    corpus = prepare(data(tmp_path, prepared=tmp_path / "prepared"), settings.features, 256)
    assert seconds_of_audio(data(tmp_path)) == pytest.approx(corpus.samples / settings.features.sample_rate, abs=1e-3)


def test_data_seconds_is_a_limit():
    whole = seconds_of_audio(data("package:demo"))
    assert seconds_of_audio(data("package:demo", 5.0)) == 5.0
    assert seconds_of_audio(data("package:demo", 2 * whole)) == whole


def test_more_audio_takes_more_of_everything_but_smaller_steps():
    for name, rule in RULES.items():
        values = [rule(seconds) for seconds in LENGTHS]
        assert values == sorted(values, reverse="rate" in name), name
        assert all(value > 0 for value in values), name


@pytest.mark.parametrize("seconds", LENGTHS[:3])
def test_own_audio_is_as_large_as_its_length_asks_for(seconds):
    """Width, windows and rates are the rules', and the schedule ends after the rule's epochs."""
    settings = compose_settings("experiment=own_audio", "data.root=package:demo", f"data.seconds={seconds}")
    assert settings.upsampling.frame_channels == (RULES["frame_channels"](seconds),)
    assert settings.window.batch_size == RULES["batch_size"](seconds)
    assert settings.optim.muon_learning_rate == RULES["muon_learning_rate"](seconds)
    step = settings.window.samples * settings.window.batch_size
    samples = RULES["epochs"](seconds) * seconds * settings.features.sample_rate
    assert settings.train.steps * step == pytest.approx(samples, abs=step)
    assert settings.train.evaluate_interval * step == pytest.approx(samples / RULES["epochs"](seconds), abs=step)


def test_what_the_command_line_says_counts_more():
    words = ("experiment=own_audio", "data.root=package:demo", "upsampling.frame_channels=[96]", "window.batch_size=3")
    settings = compose_settings(*words)
    assert settings.upsampling.frame_channels == (96,)
    assert settings.window.batch_size == 3


def test_audio_that_does_not_say_its_length_is_refused(tmp_path):
    (tmp_path / "damaged.wav").write_bytes(b"RIFF of nothing")
    with pytest.raises(UserError, match=r"None of the 1 audio files of data.root says how long it is"):
        seconds_of_audio(data(tmp_path))
