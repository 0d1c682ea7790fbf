"""Regenerate the demonstration utterances: one FLAC file per line of sentences.tsv.

Each line of sentences.tsv (next to this script) is a file stem, a tab and a
sentence.  The sentence is spoken by hibari-tts (voice "heart", which is part
of that package), resampled from 24 to 16 kHz, trimmed to EDGE seconds before
and after the speech, scaled to a peak of -3 dBFS and written next to this
script as <stem>.flac (16 kHz, mono, 16 bit).  Existing files are replaced.

hibari-tts is not a dependency of the project; give it an environment of its own:

    python -m venv .tts
    .tts/bin/pip install hibari-tts==0.2.1 soundfile soxr
    .tts/bin/python mfcc_wavenet/data/demo/speak.py
"""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from hibari import Hibari

RATE = 16000  # Hz, of the files written
PEAK = 10 ** (-3 / 20)
EDGE = 0.04  # s of quiet kept at either end
FADE = 0.01  # s of fade at either end
FRAME = 0.005  # s, the trimming's resolution
THRESHOLD = -45.0  # dB below the loudest frame: quieter frames count as silence
SEED = 0  # of the synthesiser's noise


def trim(wave):
    """Cut WAVE to EDGE seconds around its first and last frame above THRESHOLD."""
    frame = round(FRAME * RATE)
    frames = wave[: len(wave) // frame * frame].reshape(-1, frame)
    level = np.sqrt(np.mean(frames**2, axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (THRESHOLD / 20))
    edge = round(EDGE * RATE)
    start = max(loud[0] * frame - edge, 0)
    stop = min((loud[-1] + 1) * frame + edge, len(wave))
    return wave[start:stop]


def fade(wave):
    """Let WAVE begin and end at zero."""
    wave = wave.copy()
    ramp = np.linspace(0, 1, round(FADE * RATE))
    wave[: len(ramp)] *= ramp
    wave[-len(ramp) :] *= ramp[::-1]
    return wave


def speak(tts, sentence):
    """Return SENTENCE as 16-bit samples at RATE."""
    wave = tts(sentence, seed=SEED).astype(np.float64)
    wave = soxr.resample(wave, tts.sample_rate, RATE, quality="VHQ")
    wave = fade(trim(wave))
    wave *= PEAK / np.abs(wave).max()
    return np.round(wave * 32767).astype(np.int16)


def main():
    here = Path(__file__).resolve().parent
    tts = Hibari(voice="heart", threads=1)
    total = 0.0
    for line in (here / "sentences.tsv").read_text(encoding="utf-8").splitlines():
        stem, sentence = line.split("\t")
        samples = speak(tts, sentence)
        soundfile.write(here / f"{stem}.flac", samples, RATE, subtype="PCM_16")
        total += len(samples) / RATE
        print(f"{len(samples) / RATE:6.3f} s  {stem}.flac")
    print(f"{total:6.3f} s  in all")


if __name__ == "__main__":
    main()
