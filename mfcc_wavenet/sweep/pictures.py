"""Pictures of a sweep: its runs in order, their settings next to their results, and which settings mattered.

Everything is drawn on matplotlib's Figure itself, without pyplot, so that it works on a machine without a screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from textwrap import fill
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

WIDTH, DPI = 12.0, 100  # inches, and pixels in each
HISTORY_HEIGHT = 6.0  # inches, as all that follow
ROW_HEIGHT = 0.62  # of a setting among the parallel coordinates
BAR_HEIGHT = 0.36  # of a setting among the importances
MARGIN_HEIGHT = 1.5  # for title, legend and labels
CHARACTER_WIDTH = 0.09  # of a tick's label, about
LINE_HEIGHT = 0.2  # of a line of a name
AXIS_WIDTH = 7.5  # of a setting's axis, at least
NAME_CHARACTERS = 36  # in a line of a setting's name
TITLE_CHARACTERS = 90  # in a line of a title
VALUE_CHARACTERS = 28  # of a value that is text, the middle of which is left out
MAX_VALUES = 8  # different integers, up to which each has a tick
PAD = 0.12  # at the edges of a picture
EDGE = 0.03  # at both ends of a setting's axis, of its length
BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#70757c"
SHADES = colormaps["viridis"]
LIGHTEST = 0.75  # of these shades: beyond, they can hardly be seen on white
DASHES = (0, (4, 2))
LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}

Scale = str | tuple[Any, ...]  # "linear", "log", or the listed values, which are at equal distances


@dataclass(frozen=True)
class PlottedRun:
    """A run that has a value of the metric."""

    number: int
    value: float  # of the metric at the end or, if the run was stopped early, its latest one
    is_finished: bool
    settings: dict[str, Any]  # those that the sweep varies, by name


def history(runs: Sequence[PlottedRun], metric: str, sign: int, sweep: str) -> Figure:
    """The metric of every run in the order of the runs, and the best one so far.

    sign: 1 if the metric is minimised, -1 if it is maximised; sweep: its name.
    """
    runs = sorted(runs, key=lambda run: run.number)
    numbers = [run.number for run in runs]
    best = [sign * min(sign * former.value for former in runs[: end + 1]) for end in range(len(runs))]
    figure, axes = _figure(HISTORY_HEIGHT, f"{sweep}: {metric} of {_count(runs)}, in the order of the runs")
    axes.step(numbers, best, where="post", color=RED, linewidth=1.6, label="best so far")
    for is_finished, face, label in ((True, BLUE, "finished"), (False, "white", "stopped early, latest value")):
        shown = [(run.number, run.value) for run in runs if run.is_finished == is_finished]
        if shown:
            axes.plot(*zip(*shown), "o", color=BLUE, markerfacecolor=face, markersize=7, zorder=3, label=label)
    if metric == "score" and best[-1] < 0:
        axes.axhline(0, color=GREY, linestyle=DASHES, linewidth=1.2, label="zero error reached below this line")
    axes.xaxis.set_major_locator(MaxNLocator(15, integer=True, min_n_ticks=1))
    axes.set_xlim(numbers[0] - 0.5, numbers[-1] + 0.5)
    axes.set_xlabel("run")
    axes.set_ylabel(_plain(_with_goal(metric, sign)))
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def parallel_coordinates(
    runs: Sequence[PlottedRun], scales: dict[str, Scale], metric: str, sign: int, sweep: str
) -> Figure:
    """A horizontal axis for each setting and, below, one for the metric; a line through all of them for each run.

    scales: of each setting that has an axis; metric, sign and sweep as for history.
    """
    ranked = sorted(runs, key=lambda run: sign * run.value)
    columns = {name: [run.settings[name] for run in ranked] for name in scales}
    rows = [_Row.of(columns[name], scale) for name, scale in scales.items()]
    rows.append(_Row.of([run.value for run in ranked], "linear"))
    heights = list(reversed(range(len(rows))))
    title = f"{sweep}: settings and {metric} of {_count(runs)}"
    figure, axes = _figure(MARGIN_HEIGHT + ROW_HEIGHT * len(rows), title)
    for height, row in zip(heights, rows):
        axes.plot([0, 1], [height, height], color="black", linewidth=0.9, zorder=2)
        for position, label in row.ticks:
            axes.plot([position, position], [height - 0.08, height + 0.08], color="black", linewidth=0.9, zorder=2)
            axes.text(position, height - 0.16, label, ha="center", va="top", fontsize=9, zorder=5, bbox=LABEL_BOX)
    for rank in reversed(range(len(ranked))):  # the best one is drawn last
        style = {"color": SHADES(LIGHTEST * rank / max(1, len(ranked) - 1)), "linewidth": 1.4}
        style |= {} if rank else {"color": RED, "linewidth": 2.8}
        style |= {} if ranked[rank].is_finished else {"linestyle": DASHES}
        axes.plot([row.positions[rank] for row in rows], heights, zorder=3 if rank else 4, **style)
    names = [fill(_plain(name), NAME_CHARACTERS) for name in [*scales, _with_goal(metric, sign)]]
    axes.set_yticks(heights, names)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_xlim(-EDGE, 1 + EDGE)
    axes.set_ylim(-0.7, len(rows) - 0.8)
    axes.spines[:].set_visible(False)
    legend = {f"best run: {ranked[0].number:03d}, {_label(ranked[0].value)}": {"color": RED, "linewidth": 2.8}}
    legend |= {"better": {"color": SHADES(0.0)}, "worse": {"color": SHADES(LIGHTEST)}}
    if not all(run.is_finished for run in runs):
        legend |= {"stopped early, latest value": {"color": GREY, "linestyle": DASHES}}
    lines = [Line2D([], [], **style) for style in legend.values()]
    figure.legend(lines, list(legend), loc="outside lower center", ncols=4, frameon=False)
    return figure


def importance(importances: dict[str, float], num_runs: int, metric: str, sweep: str) -> Figure:
    """Optuna's importances of settings, which add up to 1, the most important setting first."""
    names = sorted(importances, key=lambda name: importances[name])
    values = [importances[name] for name in names]
    labels = [fill(_plain(name), NAME_CHARACTERS) for name in names]
    height = max(BAR_HEIGHT, *(LINE_HEIGHT * (label.count("\n") + 2) for label in labels))
    title = f"{sweep}: importance of each setting for {metric}, from {num_runs} runs"
    figure, axes = _figure(MARGIN_HEIGHT + height * len(names), title)
    bars = axes.barh(labels, values, color=BLUE)
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=4)
    axes.set_xlim(0, 1.1 * values[-1])
    axes.set_xlabel("importance, as a fraction of the sum")
    axes.grid(axis="x", alpha=0.25)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=PAD, h_pad=PAD)
    figure.suptitle(fill(_plain(title), TITLE_CHARACTERS), fontsize=13)
    axes = figure.subplots()
    axes.set_axisbelow(True)
    return figure, axes


def _with_goal(metric: str, sign: int) -> str:
    return f"{metric} ({'lower' if sign > 0 else 'higher'} is better)"


def _count(runs: Sequence[PlottedRun]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs)} runs"


# --- the axis of a setting ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """Where the runs' values of a setting are on its axis, from 0 to 1, and where its ticks are."""

    positions: list[float]
    ticks: list[tuple[float, str]]

    @classmethod
    def of(cls, values: list[Any], scale: Scale) -> "_Row":
        if isinstance(scale, tuple):
            are_numbers = all(type(value) in (int, float) for value in scale)
            texts = list(map(str, values))  # as lists may be values
            listed = [value for value in (sorted(scale) if are_numbers else scale) if str(value) in texts]
            place = {str(value): (index + 0.5) / len(listed) for index, value in enumerate(listed)}
            return cls([place[text] for text in texts], _without_overlaps([(place[str(v)], _label(v)) for v in listed]))
        low, high = min(values), max(values)
        are_integers = all(type(value) is int for value in values)
        if are_integers and len(set(values)) <= MAX_VALUES:
            at = sorted(set(values))
        elif scale == "log":
            subs = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
            at = LogLocator(subs=subs).tick_values(low, high).tolist()
        else:
            at = MaxNLocator(7, integer=are_integers).tick_values(low, high).tolist()
        transform = log if scale == "log" else float
        start, span = transform(low), transform(high) - transform(low)
        position = lambda value: (transform(value) - start) / span if span else 0.5  # noqa: E731
        if are_integers:
            at = [int(tick) for tick in at if int(tick) == tick]
        ticks = [(position(tick), _label(tick)) for tick in at if low <= tick <= high]
        return cls(list(map(position, values)), _without_overlaps(ticks))


def _without_overlaps(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks whose labels have room, from left to right."""
    shown: list[tuple[float, str]] = []
    end = -EDGE
    for position, label in ticks:
        half = (len(label) + 1) * CHARACTER_WIDTH / AXIS_WIDTH / 2
        if position - half >= end:
            shown.append((position, label))
            end = position + half
    return shown


def _label(value: Any) -> str:
    if type(value) is int:
        return f"{value:,}"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    half = VALUE_CHARACTERS // 2
    return _plain(text if len(text) <= VALUE_CHARACTERS else f"{text[: half - 1]}…{text[-half:]}")


def _plain(text: str) -> str:
    """The text with dollars that do not begin a formula."""
    return text.replace("$", r"\$")
