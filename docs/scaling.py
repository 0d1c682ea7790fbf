"""What zero error takes: `python -m docs.scaling FOLDER` writes docs/scaling.json and draws docs/scaling.png.

FOLDER is that of a sweep over lengths of audio and widths, runs/sweeps/scaling.
"""

import sys
from itertools import cycle, groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from docs.model import AMBER, BLUE, GREEN, GREY, PURPLE
from mfcc_wavenet.config.errors import UserError, exit_codes
from mfcc_wavenet.config.files import CHECKPOINT, RESULTS, write_json
from mfcc_wavenet.config.size import count_weights
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.runs.history import read_results
from mfcc_wavenet.runs.plots import save

RECORDED, PICTURE = (Path(__file__).with_name(f"scaling.{suffix}") for suffix in ("json", "png"))
MEASURED = ("samples", "wrong", "margin", "samples_to_zero", "epochs", "steps", "seconds")
COLOURS = (BLUE, GREEN, AMBER, PURPLE)  # of the lengths, one after the other
WIDTH, HEIGHT, DPI = 8, 3.6, 100  # inches, and pixels of each


def rows(folder: Path) -> list[dict]:
    """What each finished run of a sweep came to, by length and width.

    UserError where no two lengths of audio came to zero error, through which a line could be drawn.
    """
    paths = sorted(path for path in folder.glob(f"*/{CHECKPOINT}") if (path.parent / RESULTS).is_file())
    found = sorted((_row(path) for path in paths), key=lambda row: (row["samples"], row["frame_channels"]))
    if len({row["samples"] for row in found if row["samples_to_zero"]}) < 2:
        raise UserError(f"{folder} has no runs of two lengths of audio at zero error; sweeps/scaling.yaml makes them.")
    return found


def _row(path: Path) -> dict:
    checkpoint, results = checkpoints.load(path), read_results(path.parent)
    settings = checkpoint.settings
    described = {
        "audio_seconds": results["samples"] / settings.features.sample_rate,
        "frame_channels": settings.upsampling.frame_channels[-1],
        "weights": count_weights(settings, len(checkpoint.speakers)),
    }
    return described | {name: results[name] for name in MEASURED}


def draw(found: list[dict]) -> Figure:
    """Samples seen until none was wrong: over the length of the audio, and over the weights for each sample of it."""
    figure = Figure((WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    by_length, by_weights = figure.subplots(1, 2, sharey=True)
    reached = [row for row in found if row["samples_to_zero"]]
    exponent = _line(by_length, [(row["audio_seconds"], row["samples_to_zero"]) for row in reached], GREY)
    for colour, (seconds, group) in zip(cycle(COLOURS), groupby(reached, lambda row: row["audio_seconds"])):
        of_length = list(group)
        seen = [row["samples_to_zero"] for row in of_length]
        by_length.scatter([seconds] * len(seen), seen, color=colour, zorder=2)
        density = [row["weights"] / row["samples"] for row in of_length]
        by_weights.scatter(density, seen, color=colour, zorder=2, label=f"{seconds:.1f} s")
        if len(of_length) > 1:
            _line(by_weights, list(zip(density, seen)), colour)
    by_length.set(
        xlabel="seconds of audio", ylabel="samples seen until none is wrong", title=f"∝ seconds^{exponent:.2f}"
    )
    by_weights.set(xlabel="weights for each sample of audio", title="however many weights")
    by_weights.legend(frameon=False)
    for ax in (by_length, by_weights):
        ax.set(xscale="log", yscale="log")
        ax.grid(which="both", linewidth=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _line(ax: Axes, points: list[tuple[float, float]], colour: str) -> float:
    """Draws the power that fits best, by least squares of logarithms, and returns its exponent."""
    x, y = np.log(np.array(points)).T
    exponent, factor = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    ax.plot(np.exp(ends), np.exp(factor + exponent * ends), color=colour, linewidth=1)
    return float(exponent)


@exit_codes
def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("python -m docs.scaling takes the folder of a sweep's runs, runs/sweeps/scaling.")
    found = rows(Path(sys.argv[1]))
    write_json(RECORDED, {"rows": found})
    save(draw(found), PICTURE)


if __name__ == "__main__":
    main()
