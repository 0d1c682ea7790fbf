"""Sweeps without an account: `python -m mfcc_wavenet.sweep sweeps/zero_error.yaml --count 20 --jobs 2`.

The same files that `wandb sweep` takes; each run is the program that the file names, started as W&B's agent would
start it. Stop it with Ctrl-C, kill it, switch the machine off: the same command goes on.
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
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from mfcc_wavenet.config.errors import Interrupted, UserError
from mfcc_wavenet.config.files import HISTORY, RESULTS
from mfcc_wavenet.config.parse import near, setting_names
from mfcc_wavenet.runs.history import logged_rows
from mfcc_wavenet.runs.interrupt import Interruption
from mfcc_wavenet.sweep import report
from mfcc_wavenet.sweep.file import OURS, SweepFile, read
from mfcc_wavenet.sweep.trials import Run, Trials, rows

POLL_SECONDS = 0.5
KILL_SECONDS = 120.0  # after which a program that was asked to end is made to
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
    """Trains the runs of a sweep file, and ends with a table and pictures of them.

    count: runs in all, earlier calls' included (the file's run_cap holds beside it); jobs: at a time; storage: an
    Optuna storage URL instead of a SQLite file in the sweep's folder; name: another one than the file's; overrides:
    settings for every run, as NAME=VALUE.
    """
    file = read(path)
    file = replace(file, name=name or file.name)
    settings = _settings(overrides or [], file.program)
    if not Path(file.program).is_file():
        raise UserError(f"{path}: there is no program {file.program} here ({Path.cwd()}).")
    most = min((bound for bound in (count, file.run_cap) if bound is not None), default=None)
    if most is None and file.method != "grid":
        raise UserError(f"{path} has no run_cap, and {file.method} has no end: --count=20 gives it one.")
    folder = Path(settings.pop("runs", "runs")) / "sweeps" / file.name
    trials = Trials(file, folder, storage, settings)
    try:
        with Interruption() as interruption:
            _Sweep(file, trials, most, jobs, interruption).run()
        report.conclude(trials, folder)
    except (StorageInternalError, SQLAlchemyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"The sweep's database has failed ({reason}); the same command goes on once it works."
        ) from error


def _settings(overrides: list[str], program: str) -> dict[str, str]:
    settings = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"{override!r} is no setting; one is given as NAME=VALUE.")
        if key in ("name", "mode", "checkpoint", "restart"):
            raise UserError(f"{override}: a sweep names its runs, and trains them; {key} is none of its settings.")
        if Path(program).name == OURS and key not in (names := setting_names()):
            raise UserError(f"{key} is no setting; {near(key, names)}")
        settings[key] = value
    return settings


def command(file: SweepFile, arguments: dict[str, Any]) -> list[str]:
    """What W&B's agent would start for these arguments, with this Python."""
    words = create_sweep_command_args({"args": {key: {"value": value} for key, value in arguments.items()}})
    words |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [file.program]}
    chunks = create_sweep_command(list(file.command))
    is_macro = [chunk.startswith("${") and chunk.endswith("}") for chunk in chunks]
    return [word for chunk, macro in zip(chunks, is_macro) for word in (words[chunk[2:-1]] if macro else [chunk])]


@dataclass
class _Started:
    """A run whose program is at work."""

    run: Run
    folder: Path
    process: subprocess.Popen
    values: list[float] = field(default_factory=list)  # of the metric, row by row
    asked_to_end: float | None = None  # when

    def end(self) -> None:
        """Politely first: a run saves its checkpoint."""
        with contextlib.suppress(ProcessLookupError):
            if self.asked_to_end is None:
                self.asked_to_end = time.monotonic()
                self.process.terminate()
            elif time.monotonic() - self.asked_to_end > KILL_SECONDS:
                self.process.kill()


class _Sweep:
    """The loop: begin runs while there are jobs for them, watch them, and take down what came of them."""

    def __init__(self, file: SweepFile, trials: Trials, most: int | None, jobs: int, interruption: Interruption):
        self.file = file
        self.trials = trials
        self.most = most
        self.jobs = jobs
        self.interruption = interruption
        self.at_work: list[_Started] = []
        self.left: set[int] = set()  # runs that somebody else stopped, for the next call
        self.waiting = False

    def run(self) -> None:
        try:
            while self._begin() or self.at_work or self._others():
                time.sleep(POLL_SECONDS)
                for started in list(self.at_work):
                    self._watch(started)
            if self.interruption.signal_number:
                raise Interrupted("Stopped; the same command goes on from here.", self.interruption.signal_number)
        finally:  # a second Ctrl-C, or a database that is gone: runs end, and those that were not asked before save
            for started in self.at_work:
                started.process.terminate()

    def _begin(self) -> bool:
        """Fills the jobs; says whether it began anything."""
        begun = False
        while len(self.at_work) < self.jobs and not self.interruption.signal_number:
            mine = {started.run.number for started in self.at_work}
            run = self.trials.claim(self.most, self.left | mine)
            if run is None:
                break
            self._start(run)
            begun = True
        return begun

    def _others(self) -> bool:
        """Whether programs of a sweep that was killed, or of one beside this, are still at work here."""
        numbers = set(self.trials.under_way()) - self.left
        if numbers and not self.interruption.signal_number and not self.waiting:
            _say(f"waiting for {_listed(numbers)}, which another process trains")
        self.waiting = bool(numbers)
        return bool(numbers) and not self.interruption.signal_number

    def _start(self, run: Run) -> None:
        frozen = self.trials.study.trials[run.number]
        folder = self.trials.folder / run.name
        if frozen.user_attrs.get("stopped"):  # and the sweep was killed before it could take that down
            self.trials.close(run, TrialState.PRUNED, None, self._facts(folder))
            return
        _say(f"{run.number:03d} {'goes on' if folder.exists() else 'begins'}: {self._varied(run)}")
        process = subprocess.Popen(
            command(self.file, run.arguments),
            stdin=subprocess.DEVNULL,
            stdout=run.log,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C reaches this process alone, which then asks its runs to end
        )
        self.at_work.append(_Started(run, folder, process, rows(frozen)))

    def _watch(self, started: _Started) -> None:
        ended = started.process.poll()  # first: the rows that are read next are then all there are
        self._report(started)
        if ended is not None:
            self.at_work.remove(started)
            self._conclude(started, ended)
        elif self.interruption.signal_number or started.asked_to_end:
            started.end()
        elif self.file.hyperband and self._falls_behind(started):
            _say(f"{started.run.number:03d} is stopped after {len(started.values)} rows, at {started.values[-1]:.4g}")
            started.run.trial.set_user_attr("stopped", True)
            started.end()

    def _report(self, started: _Started) -> None:
        """The rows that the run has logged since, into the database; rows at one step are one row."""
        metric, logged = self.file.metric, logged_rows(started.folder / HISTORY)
        at_step = {row.get("step"): row[metric] for row in logged if metric in row}
        values = [float(value) for value in at_step.values() if math.isfinite(value)]
        for position in range(len(started.values), len(values)):
            started.run.trial.report(values[position], position)
            started.values.append(values[position])

    def _falls_behind(self, started: _Started) -> bool:
        sign = 1 if self.file.goal == "minimize" else -1
        everyone = [[sign * value for value in values] for values in self.trials.values_of_all()]
        return self.file.hyperband.gives_up([sign * value for value in started.values], everyone)

    def _conclude(self, started: _Started, code: int) -> None:
        run, facts = started.run, self._facts(started.folder)
        value = facts.get(self.file.metric)
        if code == 0 and isinstance(value, int | float):
            self.trials.close(run, TrialState.COMPLETE, float(value), facts)
            _say(f"{run.number:03d} ended: {self.file.metric} {value:.4g}")
        elif self.trials.study.trials[run.number].user_attrs.get("stopped"):
            self.trials.close(run, TrialState.PRUNED, None, facts)
        elif code in INTERRUPTED or self.interruption.signal_number:
            self.left.add(run.number)
            run.log.close()
            _say(f"{run.number:03d} was interrupted; the next call goes on with it")
        else:
            why = _last_line(Path(run.log.name)) if code else f"it ended without a value of {self.file.metric}"
            self.trials.close(run, TrialState.FAIL, None, facts | {"failed": why})
            _say(f"{run.number:03d} failed: {why} ({run.log.name})")

    def _facts(self, folder: Path) -> dict[str, Any]:
        """The last value of everything that the run logged, and its results: what W&B calls a summary."""
        facts: dict[str, Any] = {}
        for row in logged_rows(folder / HISTORY):
            facts |= row
        if (folder / RESULTS).is_file():
            facts |= json.loads((folder / RESULTS).read_text())
        kept = ("samples_to_zero", "error", "samples_seen", self.file.metric)
        return {key: facts[key] for key in kept if key in facts}

    def _varied(self, run: Run) -> str:
        return ", ".join(f"{p.name}={run.arguments[p.name]}" for p in self.trials.drawn)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _listed(numbers: set[int]) -> str:
    return ", ".join(f"{number:03d}" for number in sorted(numbers))


def _say(text: str) -> None:
    print(text, flush=True)
