"""A signal becomes a question; only a second one acts at once."""

import os
import signal

import pytest

from mfcc_wavenet.config.errors import Interrupted
from mfcc_wavenet.runs.interrupt import Interruption


@pytest.mark.parametrize("number", Interruption.SIGNALS)
def test_the_first_signal_is_noted_and_the_second_acts(number):
    """The step in hand is finished after the first; someone who insists gets out."""
    acted = []
    outside = signal.signal(number, lambda *_: acted.append(number))
    try:
        with Interruption() as interruption:
            assert interruption.signal_number is None
            os.kill(os.getpid(), number)
            assert interruption.signal_number == number and not acted
            os.kill(os.getpid(), number)
            assert acted == [number]
        os.kill(os.getpid(), number)
        assert acted == [number, number]  # outside, the former handler is back
    finally:
        signal.signal(number, outside)


def test_exit_codes_are_the_shells():
    """128 and the number of the signal."""
    assert Interrupted("stopped", signal.SIGTERM).exit_code == 143
    assert Interrupted("stopped", signal.SIGINT).exit_code == 130
