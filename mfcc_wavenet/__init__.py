"""A WaveNet that inverts MFCCs to the waveform, trained to zero error."""

import os

# How often an idle OpenMP thread looks for work before it sleeps (libgomp, which torch brings along).
# Its default spins for milliseconds: with another busy process on the machine, two threads then train
# at a twentieth of the speed of one. It has to be set before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
