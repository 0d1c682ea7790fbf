"""The figure of speech that was never heard: `python -m docs.speech FOLDER CLIP` draws docs/speech.png.

FOLDER is that of the clips that mode=evaluate has measured, and CLIP the one that is shown, or else the first.
"""

import sys
from pathlib import Path

import soundfile
from matplotlib.figure import Figure

from mfcc_wavenet.config.errors import UserError, exit_codes
from mfcc_wavenet.config.files import CLIPS_INDEX, ORIGINAL, read_json
from mfcc_wavenet.runs.plots import bare_spectrograms, save

PICTURE = Path(__file__).with_name("speech.png")
ROWS = {
    ORIGINAL: "original",
    "mu-law": "mu-law,\nthe ceiling",
    "librosa": "librosa,\nfrom MFCCs",
    "ours": "ours,\nfrom MFCCs",
}
WIDTH, HEIGHT, DPI = 8, 6, 100  # inches, and pixels of each


def draw(folder: Path, clip: str | None) -> Figure:
    """The spectrograms of a clip, one below the other. UserError where there is no such clip."""
    index = read_json(folder / CLIPS_INDEX)["rows"]
    names = list(dict.fromkeys(row["clip"] for row in index))
    if clip not in (None, *names):
        raise UserError(f"{folder} has no clip {clip}; there are {', '.join(names)}.")
    audio = {row["system"]: row["audio"] for row in index if row["clip"] == (clip or names[0])}
    wavs = [soundfile.read(folder / audio[system], dtype="float32")[0] for system in ROWS]
    rate = soundfile.info(folder / audio[ORIGINAL]).samplerate
    extent = (0, max(map(len, wavs)) / rate, 0, rate / 2000)
    figure = Figure((WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(ROWS), 1, sharex=True)
    for ax, picture, label in zip(axes, bare_spectrograms(wavs, rate), ROWS.values()):
        ax.imshow(picture.convert("RGB"), aspect="auto", extent=extent)
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
