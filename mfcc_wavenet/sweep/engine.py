"""Sweeps without an account: `python -m mfcc_wavenet.sweep sweeps/zero_error.yaml --count 20 --jobs 2`.

The same files that `wandb sweep` takes; each run is the program that the file names, started as W&B's agent would
start it. After Ctrl-C, a kill or a power cut the same command resumes the sweep.
"""

import contextlib
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from mfcc_wavenet.config.errors import Interrupted, UserError
from mfcc_wavenet.config.files import HISTORY, RESULTS
from mfcc_wavenet.runs.history import logged_rows
from mfcc_wavenet.runs.interrupt import Interruption
from mfcc_wavenet.sweep import report
from mfcc_wavenet.sweep.command import command, parse_overrides, refuse_missing_programs
from mfcc_wavenet.sweep.file import SweepFile, read
from mfcc_wavenet.sweep.trials import Run, Trials, rows

POLL_SECONDS = 0.5
KILL_SECONDS = 120.0  # after which a program that has not ended when asked to is killed
INTERRUPTED = (128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)


def sweep(
    path: Path,
    *,
    count: int | None = None,
    jobs: int = 1,
    storage: str | None = None,
    name: str | None = None,
    overrides: list[str] | None = None,
) -> None:
    """Trains the runs of a sweep file, then prints a table of them and draws pictures.

    count: the number of runs, those of earlier calls included; the file's run_cap holds as well. jobs: runs at a time.
    storage: an Optuna storage URL instead of a SQLite file in the sweep's folder. name: instead of the file's.
    overrides: settings for every run, as NAME=VALUE.

    Raises UserError for a mistake in the file or in these arguments, before any run starts, when the database or the
    disk fails, and at the end if every run has failed; Interrupted after Ctrl-C or SIGTERM.
    """
    file = read(path)
    file = replace(file, name=name or file.name)
    settings = parse_overrides(overrides or [], file.program)
    refuse_missing_programs(path, file)
    max_runs = min((bound for bound in (count, file.run_cap) if bound is not None), default=None)
    if max_runs is None and file.method != "grid":
        raise UserError(f"{path} has no run_cap, and {file.method} has no end: --count=20 gives it one.")
    folder = Path(settings.pop("runs", "runs")) / "sweeps" / file.name
    trials = Trials(file, folder, storage, settings)
    try:
        with Interruption() as interruption:
            _Sweep(file, trials, max_runs, jobs, interruption).run()
        report.conclude(trials, folder)
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The sweep's database failed ({reason}); the same command resumes once it works.") from error
    except BrokenPipeError:  # of standard output, which exit_codes handles
        raise
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: {error.strerror or error}; once that works, the same command resumes."
        ) from error
    started = trials.started()
    if started and all(trial.state == TrialState.FAIL for trial in started):
        log = trials.log_path(started[0].number)
        raise UserError(f"Every run of the sweep failed ({len(started)} in total); {log} has the output of the first.")


@dataclass
class _Started:
    """A run whose program is running."""

    run: Run
    folder: Path
    process: subprocess.Popen
    values: list[float] = field(default_factory=list)  # of the metric, row by row
    asked_to_end: float | None = None  # when

    def end(self) -> None:
        """Asks the program to end, so that it saves its checkpoint; kills it if it does not."""
        with contextlib.suppress(ProcessLookupError):
            if self.asked_to_end is None:
                self.asked_to_end = time.monotonic()
                self.process.terminate()
            elif time.monotonic() - self.asked_to_end > KILL_SECONDS:
                self.process.kill()


class _Sweep:
    """The loop: start runs while there are free jobs, watch them, and record their results."""

    def __init__(self, file: SweepFile, trials: Trials, max_runs: int | None, jobs: int, interruption: Interruption):
        self.file = file
        self.trials = trials
        self.max_runs = max_runs
        self.jobs = jobs
        self.interruption = interruption
        self.running: list[_Started] = []
        self.interrupted: set[int] = set()  # numbers of runs that were stopped from outside, for the next call
        self.waiting = False

    def run(self) -> None:
        try:
            while self._start_runs() or self.running or self._others_running():
                time.sleep(POLL_SECONDS)
                for started in list(self.running):
                    self._watch(started)
            if self.interruption.signal_number:
                raise Interrupted("Stopped; the same command resumes the sweep.", self.interruption.signal_number)
        finally:  # a second Ctrl-C, or a failed database: the programs are asked to end, and save their checkpoints
            for started in self.running:
                started.process.terminate()

    def _start_runs(self) -> bool:
        """Fills the free jobs; returns whether it started any run."""
        any_started = False
        while len(self.running) < self.jobs and not self.interruption.signal_number:
            own = {started.run.number for started in self.running}
            run = self.trials.claim(self.max_runs, self.interrupted | own)
            if run is None:
                break
            self._start(run)
            any_started = True
        return any_started

    def _others_running(self) -> bool:
        """Whether programs of a killed sweep, or of another process of this sweep, are still running here."""
        numbers = set(self.trials.under_way()) - self.interrupted
        if numbers and not self.interruption.signal_number and not self.waiting:
            _say(f"waiting for {_listed(numbers)}, which another process trains")
        self.waiting = bool(numbers)
        return bool(numbers) and not self.interruption.signal_number

    def _start(self, run: Run) -> None:
        frozen = self.trials.study.trials[run.number]
        folder = self.trials.folder / run.name
        if frozen.user_attrs.get("stopped"):  # and the sweep was killed before it could record that
            self.trials.close(run, TrialState.PRUNED, None, self._facts(folder))
            return
        _say(f"{run.number:03d} {'resumes' if folder.exists() else 'starts'}: {self._varied(run)}")
        try:
            process = subprocess.Popen(
                command(self.file, run.arguments),
                stdin=subprocess.DEVNULL,
                stdout=run.log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches only this process, which then asks its runs to end
            )
        except OSError:
            run.log.close()  # for the next call, which resumes the run
            raise
        self.running.append(_Started(run, folder, process, rows(frozen)))

    def _watch(self, started: _Started) -> None:
        exit_code = started.process.poll()  # first: the rows that are read next are then complete
        self._report(started)
        if exit_code is not None:
            self.running.remove(started)
            self._conclude(started, exit_code)
        elif self.interruption.signal_number or started.asked_to_end:
            started.end()
        elif self.file.hyperband and self._should_prune(started):
            _say(f"{started.run.number:03d} stops early after {len(started.values)} rows, at {started.values[-1]:.4g}")
            started.run.trial.set_user_attr("stopped", True)
            started.end()

    def _report(self, started: _Started) -> None:
        """Reports the rows that the run has logged since; rows at one step are one row."""
        metric, logged = self.file.metric, logged_rows(started.folder / HISTORY)
        at_step = {row.get("step"): row[metric] for row in logged if _is_number(row.get(metric))}
        values = [float(value) for value in at_step.values()]
        for position in range(len(started.values), len(values)):
            started.run.trial.report(values[position], position)
            started.values.append(values[position])

    def _should_prune(self, started: _Started) -> bool:
        sign = 1 if self.file.goal == "minimize" else -1
        all_values = [[sign * value for value in values] for values in self.trials.values_of_all()]
        return self.file.hyperband.should_prune([sign * value for value in started.values], all_values)

    def _conclude(self, started: _Started, exit_code: int) -> None:
        run, facts = started.run, self._facts(started.folder)
        value = facts.get(self.file.metric)
        if exit_code == 0 and _is_number(value):
            self.trials.close(run, TrialState.COMPLETE, float(value), facts)
            _say(f"{run.number:03d} ended with {self.file.metric} {value:.4g}")
        elif self.trials.study.trials[run.number].user_attrs.get("stopped"):
            self.trials.close(run, TrialState.PRUNED, None, facts)
        elif exit_code in INTERRUPTED or self.interruption.signal_number:
            self.interrupted.add(run.number)
            run.log.close()
            _say(f"{run.number:03d} was interrupted; the next call resumes it")
        else:
            why = _last_line(Path(run.log.name)) if exit_code else f"it ended without a value of {self.file.metric}"
            self.trials.close(run, TrialState.FAIL, None, facts | {"failed": why})
            _say(f"{run.number:03d} failed: {why} ({run.log.name})")

    def _facts(self, folder: Path) -> dict[str, Any]:
        """The last value of everything that the run logged, and its results: W&B's summary."""
        facts: dict[str, Any] = {}
        for row in logged_rows(folder / HISTORY):
            facts |= row
        facts |= _results(folder / RESULTS)
        kept = ("samples_to_zero", "error", "samples_seen", self.file.metric)
        return {key: facts[key] for key in kept if key in facts}

    def _varied(self, run: Run) -> str:
        return ", ".join(f"{p.name}={run.arguments[p.name]}" for p in self.trials.drawn)


def _results(path: Path) -> dict[str, Any]:
    """The results of a run; none if there is no such file, or, with a line on stderr, if it is damaged."""
    try:
        results = json.loads(path.read_text()) if path.is_file() else {}
    except ValueError:
        results = None
    if not isinstance(results, dict):
        print(f"{path} is not a JSON object; it is ignored", file=sys.stderr)
        return {}
    return results


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def _listed(numbers: set[int]) -> str:
    return ", ".join(f"{number:03d}" for number in sorted(numbers))


def _say(text: str) -> None:
    print(text, flush=True)
