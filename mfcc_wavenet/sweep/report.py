"""The results of a sweep: a table of its runs, and pictures of which settings mattered."""

import shlex
import shutil
import sys
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from mfcc_wavenet.runs import plots
from mfcc_wavenet.sweep import pictures
from mfcc_wavenet.sweep.pictures import PlottedRun, Scale
from mfcc_wavenet.sweep.search_space import Parameter
from mfcc_wavenet.sweep.trials import ENDED, Trials, rows

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "interrupted",
}
VALUED = (TrialState.COMPLETE, TrialState.PRUNED)
NUM_BEST = 3  # runs to compare
MIN_IMPORTANCE_RUNS = 10  # from fewer, importances are chance


def conclude(trials: Trials, folder: Path) -> None:
    """Prints the table, and draws the pictures into the sweep's folder."""
    ranked = sorted(trials.started(), key=lambda trial: _rank(trials, trial))
    print(f"\n{table(trials, ranked)}\n")
    drawn, missing = draw(trials, folder)
    folders = [folder / trial.user_attrs["run"]["name"] for trial in ranked]
    rows = {
        "pictures": ", ".join(map(str, drawn)),
        "no picture of": ", ".join(missing),
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
    """The pictures that were drawn, and a reason for each of those that were not.

    Runs that were stopped early are included, with their latest value.
    """
    valued = [trial for trial in trials.started() if trial.state in VALUED and _value(trial) is not None]
    runs = [_plotted(trials, trial) for trial in valued]
    metric, sweep, sign = trials.file.metric, trials.file.name, _sign(trials)
    varied = {p.name: p for p in trials.drawn if len({str(run.settings[p.name]) for run in runs}) > 1}
    figures, missing = {}, []
    if len(runs) > 1:
        figures["history"] = pictures.history(runs, metric, sign, sweep)
    else:
        missing.append(f"history (needs 2 runs with a {metric}; so far: {len(runs)})")
    if varied:
        scales = {name: _scale(parameter) for name, parameter in varied.items()}
        figures["parallel_coordinates"] = pictures.parallel_coordinates(runs, scales, metric, sign, sweep)
    else:
        missing.append("parallel coordinates (no setting has two values so far)")
    if len(runs) < MIN_IMPORTANCE_RUNS:
        missing.append(f"importance (needs {MIN_IMPORTANCE_RUNS} runs with a {metric}; so far: {len(runs)})")
    elif not varied or len({run.value for run in runs}) == 1:
        missing.append(f"importance (all runs have the same {'settings' if not varied else metric})")
    else:
        importances = _importances(trials, valued, list(varied))
        figures["importance"] = pictures.importance(importances, len(runs), metric, sweep)
    files = [folder / f"{name}.png" for name in figures]
    for figure, file in zip(figures.values(), files):
        plots.save(figure, file)
    return files, missing


def _plotted(trials: Trials, trial: FrozenTrial) -> PlottedRun:
    arguments = trial.user_attrs["run"]["arguments"]
    settings = {parameter.name: arguments[parameter.name] for parameter in trials.drawn}
    return PlottedRun(trial.number, _value(trial), trial.state == TrialState.COMPLETE, settings)


def _scale(parameter: Parameter) -> Scale:
    if parameter.choices:
        return parameter.choices
    return "log" if getattr(parameter.distribution, "log", False) else "linear"


def _importances(trials: Trials, valued: list[FrozenTrial], varied: list[str]) -> dict[str, float]:
    """Optuna's, of the settings that vary; runs that were stopped early count with their latest value."""
    from optuna.importance import get_param_importances  # takes longer to import than all the rest

    study = optuna.create_study(direction=trials.file.goal)
    for trial in valued:
        params, distributions = ({name: of[name] for name in varied} for of in (trial.params, trial.distributions))
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=_value(trial)))
    return get_param_importances(study)


def _rank(trials: Trials, trial: FrozenTrial) -> tuple[bool, float]:
    value = _value(trial)
    return value is None, 0.0 if value is None else _sign(trials) * value


def _sign(trials: Trials) -> int:
    return 1 if trials.file.goal == "minimize" else -1


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
