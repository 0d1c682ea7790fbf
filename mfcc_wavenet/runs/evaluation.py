"""The W&B run of an evaluation: its results, and a table of its clips to listen to."""

from itertools import groupby
from typing import Any

from mfcc_wavenet.config.parse import run_config
from mfcc_wavenet.config.settings import Settings
from mfcc_wavenet.runs.plots import bare_spectrograms
from mfcc_wavenet.runs.tracker import Tracker

TABLE = "clips"
JOB_TYPE = "evaluate"


def log_evaluation(settings: Settings, name: str, measured: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Opens a W&B run of that name, logs the results and the rows, with spectrograms, and closes it.

    rows: with "clip", "audio" (samples,) and whatever else; those of a clip follow one another, the first of them is
    the original, below whose loudest point the colours of the spectrograms are.
    """
    rate = settings.features.sample_rate
    with Tracker(settings.tracking, name=name, config=run_config(settings, {}), job_type=JOB_TYPE) as tracker:
        tracker.summarise(measured)
        if rows:
            tracker.table(TABLE, _with_pictures(rows, rate), rate, step=0)


def _with_pictures(rows: list[dict[str, Any]], sample_rate: int) -> list[dict[str, Any]]:
    shown = []
    for _, of_clip in groupby(rows, key=lambda row: row["clip"]):
        takes = list(of_clip)
        pictures = bare_spectrograms([take["audio"] for take in takes], sample_rate)
        shown += [take | {"spectrogram": picture} for take, picture in zip(takes, pictures)]
    return shown
