"""The figure of speech that was never heard: `python -m docs.speech FOLDER CLIP` draws docs/speech.png.

FOLDER is that of the clips that mode=evaluate has measured, and CLIP the one that is shown, or else the first.
"""

import json
import sys
from pathlib import Path

import librosa
import numpy as np
import soundfile
from matplotlib.figure import Figure

from mfcc_wavenet.config.errors import UserError, exit_codes
from mfcc_wavenet.config.files import CLIPS_INDEX, ORIGINAL
from mfcc_wavenet.runs.plots import save

PICTURE = Path(__file__).with_name("speech.png")
ROWS = {
    ORIGINAL: "original",
    "mu-law": "mu-law,\nthe ceiling",
    "librosa": "librosa,\nfrom MFCCs",
    "ours": "ours,\nfrom MFCCs",
}
WIDTH, HEIGHT, DPI = 8, 6, 100  # inches, and pixels of each
N_FFT, HOP_LENGTH = 512, 64
RANGE = 70  # dB below the loudest point of the original that are shown


def draw(folder: Path, clip: str | None) -> Figure:
    """The spectrograms of a clip, one below the other. UserError where there is no such clip."""
    try:
        index = json.loads((folder / CLIPS_INDEX).read_text())["rows"]
    except OSError as error:
        raise UserError(f"{folder} holds no clips of an evaluation ({error.strerror}).") from error
    names = list(dict.fromkeys(row["clip"] for row in index))
    if clip not in (None, *names):
        raise UserError(f"{folder} has no clip {clip}; there are {', '.join(names)}.")
    audio = {row["system"]: row["audio"] for row in index if row["clip"] == (clip or names[0])}
    figure = Figure((WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    loudest = None
    for ax, (system, label) in zip(figure.subplots(len(ROWS), 1, sharex=True), ROWS.items()):
        wav, rate = soundfile.read(folder / audio[system], dtype="float32")
        magnitudes = np.abs(librosa.stft(wav, n_fft=N_FFT, hop_length=HOP_LENGTH))
        loudest = magnitudes.max() if loudest is None else loudest
        decibels = librosa.amplitude_to_db(magnitudes, ref=loudest, top_db=None)
        extent = (0, len(wav) / rate, 0, rate / 2000)
        ax.imshow(decibels, "magma", aspect="auto", origin="lower", extent=extent, vmin=-RANGE, vmax=0)
        ax.set_ylabel(f"{label}\nkHz")
    ax.set_xlabel("seconds")
    return figure


@exit_codes
def main() -> None:
    given = sys.argv[1:]
    if not 1 <= len(given) <= 2:
        raise UserError("python -m docs.speech takes the folder of clips that an evaluation left, and a clip's name.")
    save(draw(Path(given[0]), *(given[1:] or [None])), PICTURE)


if __name__ == "__main__":
    main()
