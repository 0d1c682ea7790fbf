"""A run says when it begins what it will cost."""

import re

import pytest

from mfcc_wavenet.config.size import count_weights, memory_bytes, training_bytes
from mfcc_wavenet.training.chassis import Chassis
from mfcc_wavenet.training.cost import duration, short, size_line, speed_line

GIB = 2**30


def test_the_first_line_is_what_the_settings_come_to():
    """The baseline's, as it is printed."""
    assert size_line(1_904_576, GIB // 25, 24 * GIB, 6400, 500, 53_360) == (
        "Cost: 1.9 M weights, 0.04 of 24 GiB or more; 6,400 steps of 500 samples: 3.2 M samples, 60.0 epochs"
    )


def test_the_second_line_is_what_the_measured_steps_take_for_the_rest():
    """100 of 6,100 steps in 2 s: the other 6,000 take 60 times as long."""
    assert speed_line(50_000, 100, 2.0, 100, 6100) == (
        "Speed: 25,000 samples/s, which takes 2 min to step 6,100, evaluation not counted"
    )


def test_no_line_is_longer_than_a_terminal():
    """Of 120 characters, for a network and a corpus that fill a cluster."""
    line = size_line(98_765_432_100, 9999 * GIB, 9999 * GIB, 9_999_999, 9_999_999, 10**10)
    assert len(line) <= 120
    assert len(speed_line(10**9, 1, 1.0, 1, 99_999_999)) <= 120


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.6, "1 min"),
        (200.0, "3 min 20 s"),
        (7200.0, "2 h"),
        (7265.0, "2 h 1 min"),
        (187_300.0, "2 d 4 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, text):
    """Rounded to seconds first."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(500, "500"), (53_360, "53.4 k"), (1_904_576, "1.9 M"), (2 * 10**9, "2.0 G")]
)
def test_a_count_has_few_digits(count, text):
    """And the unit of thousands that it is of."""
    assert short(count) == text


def test_a_run_says_what_it_costs(small, tmp_path, capsys):
    """One line when it begins, for the steps that are left, and one after a second of its own steps."""
    settings = small("train.steps=60", "train.sample_utterances=0", "window.samples=1600", "window.batch_size=8")
    chassis = Chassis(settings, tmp_path / "run")
    chassis.train()
    err = capsys.readouterr().err
    (size,) = (line for line in re.split(r"[\r\n]+", err) if line.startswith("Cost: "))
    (speed,) = (line for line in re.split(r"[\r\n]+", err) if line.startswith("Speed: "))
    needed = training_bytes(settings, chassis.geometry)
    assert size == size_line(count_weights(settings, 1), needed, memory_bytes(), 60, 12_800, 3200)
    told = re.fullmatch(r"Speed: ([\d,]+) samples/s, which takes .+ to step 60, evaluation not counted", speed)
    rates = [row["samples_per_second"] for row in chassis.history if "loss" in row]
    assert 0.5 * min(rates) < float(told[1].replace(",", "")) < 1.1 * max(rates)


def test_a_run_at_its_end_costs_nothing_more(small, tmp_path, capsys):
    """Nor does one that is over before there is anything to measure say how fast it was."""
    Chassis(small("train.steps=2", "train.sample_utterances=0"), tmp_path / "run").train()
    assert "Cost: " in capsys.readouterr().err
    settings = small("train.steps=0", "train.sample_utterances=0")
    Chassis(settings, tmp_path / "none").train()
    err = capsys.readouterr().err
    assert "Cost: " not in err and "Speed: " not in err
