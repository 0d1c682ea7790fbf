"""One HTML file that compares runs: `python -m mfcc_wavenet.compare RUN... -o compare.html`.

Curves, settings, results and sounds are all inside it, so that it opens without a server or a network.
"""

import base64
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from jinja2 import Environment, PackageLoader

from mfcc_wavenet.compare.reader import Run, Sound
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.runs.plots import bare_spectrograms

FIRST_SHOWN = ("train/loss", "train/error", "eval/wrong")  # of the metrics, if no others are asked for
AXES = {"step": "step", "samples seen": "train/samples_seen", "epoch": "train/epoch"}
COLOURS, DASHES = 7, ("", "7 4", "2 3")  # in page.css, and of the lines: 21 runs look different
MOST_POINTS = 500_000  # of all curves together, which keeps the page under 5 MB; beyond it they are thinned out
DIGITS = 6  # of a value in the page
RESULTS_FIRST = ("score", "wrong", "samples", "error", "nats", "reproduced", "samples_to_zero", "samples_seen", "steps")


def page(runs: Sequence[Run], metrics: Sequence[str] = (), title: str = "Comparison of runs") -> str:
    """The page as one string of HTML.

    metrics: the ones whose curves are shown at first, each as "train/loss" or just "loss"; a person
    can choose others in the page. Raises UserError for one that no run has.
    """
    known = sorted({name for run in runs for row in run.history for name in row} - set(AXES.values()))
    shown = _chosen(metrics, known)
    environment = Environment(
        loader=PackageLoader("mfcc_wavenet.compare", "template"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": _in_words}
    return environment.get_template("page.html").render(
        title=title,
        runs=[_Look.of(number, run) for number, run in enumerate(runs)],
        axes=list(AXES),
        metrics=[*shown, *(name for name in known if name not in shown)],
        shown=shown,
        curves=_packed([_curves(run, MOST_POINTS // max(1, len(known) * len(runs))) for run in runs]),
        differing=_table([run.settings for run in runs], differing=True),
        shared=_table([run.settings for run in runs], differing=False),
        results=_results(runs),
        utterances=_utterances(runs),
    )


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """How a run is told from the others wherever it appears."""

    number: int
    name: str
    source: str
    colour: int
    dash: str

    @classmethod
    def of(cls, number: int, run: Run) -> "_Look":
        return cls(number, run.name, run.source, number % COLOURS, DASHES[number // COLOURS % len(DASHES)])


def _table(rows: list[dict[str, Any]], differing: bool) -> dict[str, list]:
    """Settings by name, one value per run, None where a run does not tell: all that differ, or all that do not."""
    names = sorted({name for row in rows for name in row})
    different = {name for name in names if len({json.dumps(row[name]) for row in rows if name in row}) > 1}
    return {name: [row.get(name, "") for row in rows] for name in names if (name in different) == differing}


def _results(runs: Sequence[Run]) -> dict[str, list]:
    """Results that are numbers, by name, one value per run; the ones that decide come first."""
    names = {name for run in runs for name, value in run.results.items() if type(value) in (int, float)}
    ordered = [*(name for name in RESULTS_FIRST if name in names), *sorted(names - set(RESULTS_FIRST))]
    return {name: [run.results.get(name, "") for run in runs] for name in ordered}


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else "–" if value is None else json.dumps(value)


# --- curves ---------------------------------------------------------------------------------------


def _chosen(metrics: Sequence[str], known: list[str]) -> list[str]:
    """The metrics that were asked for, in that order, or those that tell most."""
    for name in metrics:
        if not any(_means(name, metric) for metric in known):
            raise UserError(f"No run has the metric {name!r}; there are {', '.join(known) or 'none'}.")
    return [m for name in metrics or FIRST_SHOWN for m in known if _means(name, m)] or known[:2]


def _means(name: str, metric: str) -> bool:
    return metric == name or metric.endswith(f"/{name}")


def _curves(run: Run, most: int) -> dict:
    """What the page draws of a run: for each axis the place of every row, for each metric its rows and values."""
    names = sorted({name for row in run.history for name in row})
    columns = {name: np.array([row.get(name, np.nan) for row in run.history], np.float64) for name in names}
    places = {axis: _everywhere(columns["step"], columns[name]) for axis, name in AXES.items() if name in columns}
    metrics = {name: _rows(columns[name], most) for name in names if name not in AXES.values()}
    return {
        "axes": {axis: _rounded(values) for axis, values in places.items()},
        # Gaps between rows rather than their numbers: nearly all are 1, which packs to nothing.
        "metrics": {
            name: [np.diff(rows, prepend=0).tolist(), _rounded(columns[name][rows])] for name, rows in metrics.items()
        },
    }


def _everywhere(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values that only some rows have, such as the samples seen, at all rows: linear in between."""
    there = np.isfinite(values)
    return np.interp(steps, steps[there], values[there])


def _rows(values: np.ndarray, most: int) -> np.ndarray:
    """The rows in which the values are, thinned out to so many at most: of every stretch its extremes stay."""
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) <= most:
        return rows
    stretches = np.array_split(rows, max(1, most // 2))
    return np.unique([stretch[find(values[stretch])] for stretch in stretches for find in (np.argmin, np.argmax)])


def _rounded(values: np.ndarray) -> list[float | int]:
    """Whole numbers as they are, others to a few digits."""
    return [int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}") for value in values.tolist()]


def _packed(content: Any) -> str:
    """JSON, deflated, in base64: half of its size, and no name in it can be read as a part of the page."""
    return base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode())).decode()


# --- sounds ---------------------------------------------------------------------------------------


def _utterances(runs: Sequence[Run]) -> list[dict]:
    """Each original with what the runs made of it; runs that were trained on other parts of it stand apart."""
    groups: dict[tuple, list[tuple[int, Sound]]] = {}
    for number, run in enumerate(runs):
        for name, sound in run.sounds.items():
            groups.setdefault((name, sound.sample_rate, sound.original.tobytes()), []).append((number, sound))
    return [_utterance(name, rate, group) for (name, rate, _), group in sorted(groups.items(), key=lambda g: g[0][:2])]


def _utterance(name: str, sample_rate: int, group: list[tuple[int, Sound]]) -> dict:
    original = group[0][1].original
    wavs = [original, *(sound.generated for _, sound in group)]
    pictures = [_data("image/png", png) for png in bare_spectrograms(wavs, sample_rate)]
    return {
        "name": name,
        "seconds": max(len(wav) for wav in wavs) / sample_rate,
        "kilohertz": sample_rate / 2000,
        "takes": [
            {
                "run": None if index == 0 else group[index - 1][0],
                "audio": _data("audio/flac", _flac(wav, sample_rate)),
                "picture": picture,
                "verdict": "" if index == 0 else _verdict(original, wav),
            }
            for index, (wav, picture) in enumerate(zip(wavs, pictures))
        ],
    }


def _verdict(original: np.ndarray, generated: np.ndarray) -> str:
    if np.array_equal(original, generated):
        return "identical, sample for sample"
    common = min(len(original), len(generated))
    noise = np.square(generated[:common] - original[:common], dtype=np.float64).sum()
    signal = np.square(original[:common], dtype=np.float64).sum()
    if not (signal and noise):
        return f"{len(generated):,} of {len(original):,} samples"
    return f"signal to difference {10 * np.log10(signal / noise):.1f} dB"


def _flac(wav: np.ndarray, sample_rate: int) -> bytes:
    """Every browser plays it, at half the size of WAV."""
    file = io.BytesIO()
    soundfile.write(file, wav, sample_rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
