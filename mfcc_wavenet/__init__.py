"""A WaveNet that inverts MFCCs to the waveform, trained to zero error."""

import os

# How often an idle OpenMP thread looks for work before it sleeps (libgomp, which torch brings along).
# Its default spins for milliseconds: with another busy process on the machine, two threads then train
# at a twentieth of the speed of one. It has to be set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

__all__ = ["Inverter"]


def __getattr__(name: str):
    if name == "Inverter":  # torch and librosa take seconds, and only who asks for it waits for them
        from mfcc_wavenet.generation.inverter import Inverter

        return Inverter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
