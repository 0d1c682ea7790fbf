"""Slaney's mel scale (Auditory Toolbox, 1998), as librosa has it: linear up to 1 kHz, logarithmic above."""

import math

LINEAR_HZ_PER_MEL = 200 / 3
FIRST_LOG_HZ, FIRST_LOG_MEL = 1000.0, 15.0
LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: float) -> float:
    if hz < FIRST_LOG_HZ:
        return hz / LINEAR_HZ_PER_MEL
    return FIRST_LOG_MEL + math.log(hz / FIRST_LOG_HZ) / LOG_STEP


def mel_to_hz(mel: float) -> float:
    if mel < FIRST_LOG_MEL:
        return mel * LINEAR_HZ_PER_MEL
    return FIRST_LOG_HZ * math.exp((mel - FIRST_LOG_MEL) * LOG_STEP)
