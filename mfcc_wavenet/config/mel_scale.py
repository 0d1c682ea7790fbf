"""Slaney's mel scale (Auditory Toolbox, 1998), as librosa has it: linear up to 1 kHz, logarithmic above."""

import math

_LINEAR_HZ_PER_MEL = 200 / 3
_FIRST_LOG_HZ, _FIRST_LOG_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: float) -> float:
    if hz < _FIRST_LOG_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _FIRST_LOG_MEL + math.log(hz / _FIRST_LOG_HZ) / _LOG_STEP


def mel_to_hz(mel: float) -> float:
    if mel < _FIRST_LOG_MEL:
        return mel * _LINEAR_HZ_PER_MEL
    return _FIRST_LOG_HZ * math.exp((mel - _FIRST_LOG_MEL) * _LOG_STEP)
