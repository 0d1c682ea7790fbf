"""The results of a sweep: a table of its runs, and pictures of which settings mattered."""

import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import optuna
from matplotlib.axes import Axes
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as optuna_plots

from mfcc_wavenet.runs import plots
from mfcc_wavenet.sweep.search_space import Parameter
from mfcc_wavenet.sweep.trials import ENDED, Trials, rows

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "interrupted",
}
NUM_BEST = 3  # runs to compare
PICTURES: dict[str, Callable[[optuna.Study], Axes]] = {
    "history": optuna_plots.plot_optimization_history,
    "parallel_coordinates": optuna_plots.plot_parallel_coordinate,
    "importance": optuna_plots.plot_param_importances,
}
INCHES_EACH = 1.4  # of a picture's width for each setting


def conclude(trials: Trials, folder: Path) -> None:
    """Prints the table, and draws the pictures into the sweep's folder."""
    ranked = sorted(trials.started(), key=lambda trial: _rank(trials, trial))
    print(f"\n{table(trials, ranked)}\n")
    drawn, missing = draw(trials, folder)
    folders = [folder / trial.user_attrs["run"]["name"] for trial in ranked]
    rows = {
        "pictures": ", ".join(map(str, drawn)),
        "no picture of": ", ".join(missing) + ", which needs two finished runs that differ" if missing else "",
        "runs": str(folder),
        "compare the best": _compare([path for path in folders if path.is_dir()][:NUM_BEST]),
    }
    print("\n".join(f"{name:<17}{value}" for name, value in rows.items() if value))


def table(trials: Trials, ranked: list[FrozenTrial]) -> str:
    """The runs, best first, each with the settings that vary."""
    metric = trials.file.metric
    varied = [parameter.name for parameter in trials.drawn]
    lines = [["run", "state", metric, "samples to zero", "error", *_headings(varied)]]
    for trial in ranked:
        facts, arguments = trial.user_attrs.get("facts", {}), trial.user_attrs["run"]["arguments"]
        value = _value(trial)
        error = facts.get("error", max(value, 0.0) if metric == "score" and value is not None else None)
        figures = [_short(figure) for figure in (value, facts.get("samples_to_zero"), error)]
        settings = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(arguments.get, varied)]
        lines.append([f"{trial.number:03d}", STATES[trial.state], *figures, *settings])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _headings(names: list[str]) -> list[str]:
    """Without their groups, where that is unambiguous."""
    last = [name.rpartition(".")[2] for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names)]


def draw(trials: Trials, folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures that were drawn, and the names of those for which there are too few runs or too little variation.

    Runs that were stopped early are included, with their last value.
    """
    matplotlib.use("agg")  # optuna draws with pyplot, which would look for a screen
    from matplotlib import pyplot

    study = optuna.create_study(direction=trials.file.goal)
    for trial in trials.started():
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and _value(trial) is not None:
            pairs = {parameter.name: _for_a_picture(parameter, trial) for parameter in trials.drawn}
            params, distributions = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=_value(trial)))
    files, missing = [], []
    for name, plot in PICTURES.items():
        try:
            with warnings.catch_warnings(action="ignore"):  # that plots in matplotlib are experimental
                axes = plot(study, target_name=trials.file.metric) if len(study.trials) > 1 else None
        except (ValueError, RuntimeError):  # all values are the same, or nothing was varied
            axes = None
        if axes is None or not axes.has_data():
            missing.append(name.replace("_", " "))
            continue
        axes.figure.set_size_inches(max(14.0, INCHES_EACH * len(trials.drawn)), 7.0)
        axes.figure.subplots_adjust(bottom=0.25)
        axes.set_title("")
        axes.set_title("", loc="left")
        axes.figure.suptitle(f"{trials.file.name}: {name.replace('_', ' ')}")
        files.append(folder / f"{name}.png")
        plots.save(axes.figure, files[-1])
    pyplot.close("all")
    return files, missing


def _for_a_picture(parameter: Parameter, trial: FrozenTrial) -> tuple[Any, BaseDistribution]:
    """What was drawn, and from what; numeric categories as numbers, so that the picture has them in order."""
    drawn, distribution = trial.params[parameter.name], trial.distributions[parameter.name]
    are_numbers = all(type(choice) in (int, float) for choice in parameter.choices)
    if isinstance(distribution, CategoricalDistribution) and are_numbers:
        return parameter.value(drawn), CategoricalDistribution(sorted(parameter.choices))
    return drawn, distribution


def _rank(trials: Trials, trial: FrozenTrial) -> tuple[bool, float]:
    value, sign = _value(trial), 1 if trials.file.goal == "minimize" else -1
    return value is None, 0.0 if value is None else sign * value


def _value(trial: FrozenTrial) -> float | None:
    """The metric at the end, or its latest value."""
    return trial.value if trial.state in ENDED and trial.value is not None else next(reversed(rows(trial)), None)


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if type(value) is int else f"{value:.4g}" if isinstance(value, float) else str(value)


def _compare(folders: list[Path]) -> str:
    runs = " ".join(shlex.quote(str(folder)) for folder in folders)
    return f"{_python()} -m mfcc_wavenet.compare {runs} -o compare.html" if runs else ""


def _python() -> str:
    return "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)
