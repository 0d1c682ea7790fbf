"""Sounds of every kind, not only speech, drawn by a random generator: (random, samples) to a wav (samples or more,)."""

import numpy as np
import scipy.signal
import soundfile

from support.settings import DEMO

RATE = 16000
SENTENCES = [soundfile.read(path, dtype="float32")[0] for path in sorted(DEMO.glob("*.flac"))]


def sirens(random: np.random.Generator, samples: int) -> np.ndarray:
    """A square wave of full scale that glides and swells: as loud as noise, and not like noise."""
    time = np.arange(samples) / RATE
    hertz = random.uniform(50, 2000) * 2 ** (random.uniform(0, 2) * np.sin(2 * np.pi * random.uniform(0.1, 4) * time))
    swell = 1 - random.uniform() * (0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(0.2, 8) * time))
    return np.sign(np.sin(2 * np.pi * np.cumsum(hertz) / RATE)) * swell


def speech(random: np.random.Generator, samples: int) -> np.ndarray:
    sentence = SENTENCES[random.integers(len(SENTENCES))]
    start = random.integers(max(1, len(sentence) - samples))
    return sentence[start : start + samples].astype(np.float64)


def whisper(random: np.random.Generator, samples: int) -> np.ndarray:
    """Speech whose voice is noise: its smoothed spectrum with phases drawn anew."""
    spectrum = scipy.signal.stft(speech(random, samples + 512), RATE, nperseg=512)[2]
    smooth = np.maximum(scipy.signal.savgol_filter(np.abs(spectrum), 31, 2, axis=0), 1e-7)
    return scipy.signal.istft(smooth * np.exp(2j * np.pi * random.uniform(size=smooth.shape)), RATE, nperseg=512)[1]


def music(random: np.random.Generator, samples: int) -> np.ndarray:
    """Struck notes with harmonics, and a drum."""
    time, sound = np.arange(samples) / RATE, np.zeros(samples)
    for _ in range(random.integers(2, 8)):
        onset, hertz = random.integers(samples) / RATE, 55 * 2 ** (random.integers(48) / 12)
        decay = np.exp(-random.uniform(0.5, 20) * np.maximum(time - onset, 0)) * (time >= onset)
        for harmonic in range(1, int(min(30, 7900 / hertz)) + 1):
            sound += decay * np.sin(2 * np.pi * hertz * harmonic * time) / harmonic
    onset = random.integers(samples)
    sound[onset:] += random.normal(size=samples - onset) * np.exp(-40 * time[: samples - onset])
    return sound


SOUNDS = {
    "speech": speech,
    "whisper": whisper,
    "music": music,
    "siren": sirens,
    "white noise": lambda random, samples: random.normal(size=samples),
    "brown noise": lambda random, samples: np.cumsum(random.normal(size=samples)),
    "noise of full scale": lambda random, samples: random.choice([-1.0, 1.0], samples),
    "tones": lambda random, samples: np.sin(np.outer(np.arange(samples), random.uniform(0.01, 3.1, 5))).sum(axis=1),
    "periodic noise": lambda random, samples: np.resize(random.choice([-1.0, 1.0], random.integers(2, 800)), samples),
    "impulses": lambda random, samples: (np.arange(samples) % random.integers(2, 400) == 0).astype(float),
    "silence": lambda random, samples: np.zeros(samples),
    "constant": lambda random, samples: np.ones(samples),
    "speech in silence": lambda random, samples: np.pad(speech(random, samples), 3 * samples // 4),
}
