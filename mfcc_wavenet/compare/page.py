"""One HTML file that compares runs: `python -m mfcc_wavenet.compare RUN... -o compare.html`.

Curves, settings, results and sounds are all embedded in it, so that it opens without a server or a network.
"""

import base64
import io
import json
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32, Float64, Int
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from mfcc_wavenet.compare.reader import Run, Sound
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.runs.plots import bare_spectrograms

DEFAULT_METRICS = ("train/loss", "train/error", "eval/wrong")  # whose curves are shown at first
AXES = {"step": "step", "samples seen": "train/samples_seen", "epoch": "train/epoch"}
NUM_COLOURS = 7  # in page.css
DASHES = ("", "7 4", "2 3")  # of lines: with the colours, 21 different ones
MAX_POINTS = 500_000  # of all curves together, which keeps the page under 5 MB; longer curves are thinned out
PICTURE_QUALITY = 60  # of 100
DIGITS = 6  # significant ones, of a value in the page
GROUP_OF_SETTING = re.compile(r"^[a-z_]+\.(?=[a-z_]+[-=])")  # in the name of a run, such as optim.learning_rate-0.002
MAX_EXACT = 2.0**53  # above which not every integer is a float64
RESULTS_FIRST = ("score", "wrong", "samples", "error", "nats", "reproduced", "samples_to_zero", "samples_seen", "steps")
RANKED_BY = (
    "score",
    "error",
    "wrong",
    "samples_to_zero",
    "nats",
)  # results of which less is better; the next is for ties


def page(runs: Sequence[Run], metrics: Sequence[str] = (), title: str = "Comparison of runs") -> str:
    """The page as one string of HTML.

    metrics: those whose curves are shown at first, each as "train/loss" or just "loss"; others can be chosen in the
    page. Raises UserError for a metric that no run has.
    """
    known = sorted({name for run in runs for row in run.history for name in row} - set(AXES.values()))
    shown = _chosen(metrics, known)
    environment = Environment(
        loader=PackageLoader("mfcc_wavenet.compare", "template"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"value": _formatted, "breakable": _breakable}
    shorts = _short_names([run.name for run in runs])
    ranks = _ranks(runs)
    best_first = sorted(range(len(runs)), key=lambda number: _rank(runs[number], ranks))
    text = environment.get_template("page.html").render(
        title=title,
        runs=[_Style.of(number, run, short) for number, (run, short) in enumerate(zip(runs, shorts))],
        best_first=best_first,
        with_results=[number for number in best_first if not runs[number].is_of_another_system],
        unfinished=any(not run.results for run in runs),
        ranks=ranks,
        axes=list(AXES),
        metrics=[*shown, *(name for name in known if name not in shown)],
        shown=shown,
        curves=_packed([_curves(run, MAX_POINTS // max(1, len(known) * len(runs))) for run in runs]),
        differing=_table([run.settings for run in runs], differing=True),
        shared=_table([run.settings for run in runs], differing=False),
        results=_results(runs),
        quality=_Quality.of(runs),
        utterances=_utterances(runs),
    )
    return text.encode("utf-8", "replace").decode()  # a folder's name may hold bytes that are not text


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Style:
    """The line of a run, by which it is recognised in every part of the page."""

    number: int
    name: str
    short: str  # the name that is shown; the whole one appears on hover
    source: str
    colour: int
    dash: str

    @classmethod
    def of(cls, number: int, run: Run, short: str) -> "_Style":
        dash = DASHES[number // NUM_COLOURS % len(DASHES)]
        return cls(number, run.name, short, run.source, number % NUM_COLOURS, dash)


def _short_names(names: Sequence[str]) -> list[str]:
    """The names without what tells no run from another: words that all of them have, and the groups of settings.

    `default+optim.rate-1+seed-2` and `default+optim.rate-3` become `rate-1+seed-2` and `rate-3`. Words end at a plus or
    a space. A name of common words alone stays whole, and so do all names where two would become equal.
    """
    if len(names) < 2:
        return list(names)
    words = [re.split(r"([+\s]+)", name) for name in names]  # words, and what separates them, in turn
    common = set.intersection(*(set(parts[::2]) for parts in words))
    shorts = []
    for name, parts in zip(names, words):
        kept = [(parts[i - 1] if i else "", parts[i]) for i in range(0, len(parts), 2) if parts[i] not in common]
        joined = "".join(separator + GROUP_OF_SETTING.sub("", word) for separator, word in kept)
        shorts.append(joined.removeprefix(kept[0][0]) if kept else name)
    return shorts if len(set(shorts)) == len(set(names)) else list(names)


def _ranks(runs: Sequence[Run]) -> list[str]:
    """The results by which the runs are ranked: those that every finished run has. Other systems have none of them."""
    finished = [run.results for run in runs if run.results and not run.is_of_another_system]
    return [name for name in RANKED_BY if finished and all(name in results for results in finished)]


def _rank(run: Run, ranks: Sequence[str]) -> list[float]:
    """Less is better; what is missing or is not a number comes last."""
    values = [run.results.get(name) for name in ranks]
    ranked = [float(v) if type(v) in (int, float) and not math.isnan(v) else math.inf for v in values]
    return [0.0 if run.results else math.inf, *ranked]


def _table(rows: list[dict[str, Any]], differing: bool) -> dict[str, list]:
    """Settings by name, one value per run, "" where a run does not have it: all that differ, or all that do not."""
    names = sorted({name for row in rows for name in row})
    different = {name for name in names if len({json.dumps(row[name]) for row in rows if name in row}) > 1}
    return {name: [row.get(name, "") for row in rows] for name in names if (name in different) == differing}


def _results(runs: Sequence[Run]) -> dict[str, list]:
    """Results that are numbers, by name, one value per run; the most important ones come first."""
    names = {name for run in runs for name, value in run.results.items() if type(value) in (int, float)}
    ordered = [*(name for name in RESULTS_FIRST if name in names), *sorted(names - set(RESULTS_FIRST))]
    return {name: [run.results.get(name, "") for run in runs] for name in ordered}


@dataclass(frozen=True)
class _Quality:
    """The speech quality of clips: a row for each system that a run was compared with, itself included."""

    columns: list[str]
    rows: list[tuple[int, str, list[str]]]  # number of the run, the system, and a cell for each column

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "_Quality":
        found = {number: run.results["quality"] for number, run in enumerate(runs) if "quality" in run.results}
        try:
            columns = {name: heading for quality in found.values() for name, heading in quality["columns"].items()}
            rows = [
                (number, quality["rows"][system], [str(quality["clips"]), *(_mean(means.get(n)) for n in columns)])
                for number, quality in found.items()
                for system, means in quality["values"].items()
            ]
        except (AttributeError, KeyError, TypeError) as error:
            names = ", ".join(runs[number].name for number in found)
            raise UserError(f"The quality in the results of {names} is damaged ({error!r}).") from error
        return cls(["clips", *columns.values()], rows)


def _mean(of_clips: dict[str, Any] | None) -> str:
    """With the interval that it is in."""
    if of_clips is None or of_clips["mean"] is None:
        return ""
    mean, interval = (value if value is None else f"{value:.3f}" for value in (of_clips["mean"], of_clips["interval"]))
    return mean if interval is None else f"{mean} ± {interval}"


def _formatted(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else "–" if value is None else json.dumps(value)


def _breakable(name: str) -> Markup:
    """The name of a column, which may break after each of its words."""
    return Markup("<wbr>").join(re.split(r"(?<=[_./])", name))


# --- curves ---------------------------------------------------------------------------------------


def _chosen(metrics: Sequence[str], known: list[str]) -> list[str]:
    """The metrics that were asked for, in that order, or the default ones."""
    for name in metrics:
        if not any(_matches(name, metric) for metric in known):
            raise UserError(f"No run has the metric {name!r}; there are {', '.join(known) or 'none'}.")
    return [m for name in metrics or DEFAULT_METRICS for m in known if _matches(name, m)] or known[:2]


def _matches(name: str, metric: str) -> bool:
    return metric == name or metric.endswith(f"/{name}")


def _curves(run: Run, max_points: int) -> dict:
    """A run's curves: for each axis the position of every row, for each metric its rows and values."""
    names = sorted({name for row in run.history for name in row})
    columns = {name: np.array([row.get(name, np.nan) for row in run.history], np.float64) for name in names}
    known = [name for name in AXES.values() if np.isfinite(columns.get(name, np.nan)).any()]
    positions = {axis: _at_all_rows(columns["step"], columns[name]) for axis, name in AXES.items() if name in known}
    metrics = {name: _rows(columns[name], max_points) for name in names if name not in AXES.values()}
    kept = np.unique(np.concatenate([*metrics.values(), np.empty(0, np.int64)]))  # rows that are drawn
    return {
        "axes": {axis: _rounded(values[kept]) for axis, values in positions.items()},
        # Differences of row numbers: nearly all are 1, which deflates to nothing.
        "metrics": {
            name: [np.diff(np.searchsorted(kept, rows), prepend=0).tolist(), _rounded(columns[name][rows])]
            for name, rows in metrics.items()
        },
    }


def _at_all_rows(
    steps: Float64[np.ndarray, " rows"], values: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " rows"]:
    """Values that only some rows have, such as the samples seen, interpolated linearly at all rows."""
    known = np.isfinite(values)
    return np.interp(steps, steps[known], values[known])


def _rows(values: Float64[np.ndarray, " rows"], max_points: int) -> Int[np.ndarray, " points"]:
    """The rows that have a value, thinned out to at most max_points: each segment keeps its two extremes."""
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) <= max_points:
        return rows
    segments = np.array_split(rows, max(1, max_points // 2))
    return np.unique([segment[find(values[segment])] for segment in segments for find in (np.argmin, np.argmax)])


def _rounded(values: Float64[np.ndarray, " rows"]) -> list[float | int]:
    """Integers exactly, others to DIGITS digits."""
    return [
        int(value) if value.is_integer() and abs(value) < MAX_EXACT else float(f"{value:.{DIGITS}g}")
        for value in values.tolist()
    ]


def _packed(content: Any) -> str:
    """JSON, deflated, in base64: half the size, and no name in it can be taken for markup."""
    return base64.b64encode(zlib.compress(json.dumps(content, separators=(",", ":")).encode())).decode()


# --- sounds ---------------------------------------------------------------------------------------


def _utterances(runs: Sequence[Run]) -> list[dict]:
    """Each original with what the runs generated; runs trained on another part of it form a group of their own."""
    groups: dict[tuple, list[tuple[int, Sound]]] = {}
    for number, run in enumerate(runs):
        for name, sound in run.sounds.items():
            groups.setdefault((name, sound.sample_rate, sound.original.tobytes()), []).append((number, sound))
    return [_utterance(name, rate, group) for (name, rate, _), group in sorted(groups.items(), key=lambda g: g[0][:2])]


def _utterance(name: str, sample_rate: int, group: list[tuple[int, Sound]]) -> dict:
    original = group[0][1].original
    wavs = [original, *(sound.generated for _, sound in group)]
    pictures = [_data("image/webp", _webp(picture)) for picture in bare_spectrograms(wavs, sample_rate)]
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


def _verdict(
    original: Float32[np.ndarray, " original_samples"], generated: Float32[np.ndarray, " generated_samples"]
) -> str:
    if np.array_equal(original, generated):
        return "identical, sample for sample"
    common = min(len(original), len(generated))
    noise = np.square(generated[:common] - original[:common], dtype=np.float64).sum()
    signal = np.square(original[:common], dtype=np.float64).sum()
    if not (signal and noise):
        return f"{len(generated):,} of {len(original):,} samples"
    return f"signal to difference {10 * np.log10(signal / noise):.1f} dB"


def _flac(wav: Float32[np.ndarray, " samples"], sample_rate: int) -> bytes:
    """FLAC, which every browser plays, is half the size of WAV."""
    file = io.BytesIO()
    soundfile.write(file, wav, sample_rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _webp(picture: Image.Image) -> bytes:
    """WebP, which every browser shows, is a third of the size of PNG; what it loses of a spectrogram is not seen."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, format="WebP", quality=PICTURE_QUALITY)
    return file.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
