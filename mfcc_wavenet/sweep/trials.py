"""The runs of a sweep, kept by Optuna in a database that several processes and machines may share.

A run begins as a trial that Optuna draws (or, of a grid, takes from a queue), and is this process's for as long as this
process, or the program that it started, has the run's log file locked. The kernel unlocks it however they end, so
a trial that is running but unlocked was left by a kill, and is taken up again with the same settings and folder.
"""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import slug
from mfcc_wavenet.sweep.file import SweepFile
from mfcc_wavenet.sweep.search_space import points

BUSY_SECONDS = 60.0  # that one process waits for another that writes to the same SQLite file
BEGINNING_SECONDS = 60.0  # after which a trial without a run was left by a process that died while drawing it
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class Run:
    """A trial that is this process's to train."""

    number: int
    name: str  # of its folder
    arguments: dict[str, Any]  # of the program
    trial: Trial
    log: IO[bytes]  # locked while it is open, here or in the program


class Trials:
    """All trials of a sweep. overrides are settings that every run is given beside the drawn ones."""

    def __init__(self, file: SweepFile, folder: Path, storage: str | None, overrides: dict[str, str]):
        self.file = file
        self.folder = folder
        self.overrides = overrides
        self.drawn = [p for p in file.parameters if p.distribution and p.name not in overrides]
        self.study = self._open(storage or f"sqlite:///{folder / 'study.db'}")

    def claim(self, most: int | None, but_not: set[int]) -> Run | None:
        """A run to train: one that was left behind, else a new one, while there are fewer than most in all.

        but_not: numbers of runs to leave alone.
        """
        return self._left_behind(but_not) or self._new(most)

    def under_way(self) -> list[int]:
        """Runs of this machine that are under way, those of this process included, or are just being drawn."""
        running = self._all(TrialState.RUNNING)
        return [trial.number for trial in running if self._is_here(trial) or _is_being_drawn(trial)]

    def begun(self) -> list[FrozenTrial]:
        """The trials that have become runs, whatever came of them."""
        return [trial for trial in self._all() if "run" in trial.user_attrs]

    def values_of_all(self) -> list[list[float]]:
        """Of every run, the metric row by row."""
        return [rows(trial) for trial in self.begun()]

    def close(self, run: Run, state: TrialState, value: float | None, facts: dict[str, Any]) -> None:
        """A run has ended: with what value of the metric, and with what else that the table shows."""
        run.trial.set_user_attr("facts", facts)
        self.study.tell(run.trial, value, state=state)
        run.log.close()

    # --- a run begins -----------------------------------------------------------------------------

    def _left_behind(self, but_not: set[int]) -> Run | None:
        for trial in self._all(TrialState.RUNNING):
            if not self._is_here(trial) or trial.number in but_not:
                continue
            log = self._lock(trial.number)
            if log is None:
                continue
            if self.study.trials[trial.number].state == TrialState.RUNNING:
                return self._run(Trial(self.study, trial._trial_id), log)
            log.close()  # whoever had it has just finished it
        return None

    def _new(self, most: int | None) -> Run | None:
        if (most is not None and self._count() >= most) or self._on_target():
            return None
        grid = self.file.method == "grid"
        if grid and not self._all(TrialState.WAITING):
            return None
        trial = self.study.ask({p.name: p.distribution for p in self.drawn})
        # Machines that share a storage may come here at once; the lower number goes first.
        too_many = most is not None and not grid and self._count(before=trial.number) >= most
        twice = grid and trial.user_attrs.get("point") in [None, *self._points(before=trial.number)]
        if too_many or twice:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        log = self._lock(trial.number)
        settings = {p.name: p.value(trial.params.get(p.name)) for p in self.file.parameters}
        settings |= self.overrides
        name = run_name(trial.number, {p.name: settings[p.name] for p in self.drawn})
        owned = {"tracking.group": self.file.name, "tracking.project": self.file.project}
        owned |= {"tracking.entity": self.file.entity}
        arguments = {key: value for key, value in owned.items() if value is not None} | settings
        arguments |= {"runs": str(self.folder), "name": name}
        # In one piece, so that a trial either is a run that can be taken up again or none at all.
        trial.set_user_attr("run", {"host": socket.gethostname(), "name": name, "arguments": arguments})
        return self._run(trial, log)

    def _run(self, trial: Trial, log: IO[bytes]) -> Run:
        run = trial.user_attrs["run"]
        return Run(trial.number, run["name"], run["arguments"], trial, log)

    def _lock(self, number: int) -> IO[bytes] | None:
        """The run's log, locked by this process; None if another one has it."""
        path = self.folder / "logs" / f"{number:03d}.log"
        path.parent.mkdir(exist_ok=True)
        log = open(path, "ab")  # noqa: SIM115, it stays open as long as the run is ours
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            return None
        return log

    # --- who is there -----------------------------------------------------------------------------

    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _is_here(self, trial: FrozenTrial) -> bool:
        return trial.user_attrs.get("run", {}).get("host") == socket.gethostname()

    def _count(self, before: int | None = None) -> int:
        """Runs in all, those included that are just being drawn; before: with lower numbers alone."""
        trials = self.begun() + [trial for trial in self._all(TrialState.RUNNING) if _is_being_drawn(trial)]
        return sum(before is None or trial.number < before for trial in trials)

    def _points(self, before: int) -> list[int]:
        return [trial.user_attrs["point"] for trial in self._all()[:before] if _keeps_point(trial)]

    def _on_target(self) -> bool:
        target, sign = self.file.target, 1 if self.file.goal == "minimize" else -1
        if target is None:
            return False
        return any(sign * value <= sign * target for values in self.values_of_all() for value in values)

    # --- the study --------------------------------------------------------------------------------

    def _open(self, storage: str) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.file
        searched = {
            "method": file.method, "metric": file.metric, "goal": file.goal, "overrides": self.overrides,
            "parameters": {p.name: p.given for p in file.parameters},
        }  # fmt: skip
        samplers = {"bayes": lambda: optuna.samplers.TPESampler(constant_liar=True)}  # others are at work meanwhile
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(self.folder):
                timeout = {"connect_args": {"timeout": BUSY_SECONDS}} if storage.startswith("sqlite") else {}
                study = optuna.create_study(
                    storage=optuna.storages.RDBStorage(storage, engine_kwargs=timeout),
                    study_name=file.name,
                    direction=file.goal,
                    sampler=samplers.get(file.method, optuna.samplers.RandomSampler)(),
                    pruner=optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
                if study.user_attrs.get("searched", searched) != searched:
                    changed = [key for key in searched if study.user_attrs["searched"].get(key) != searched[key]]
                    raise UserError(
                        f"The sweep {file.name} in {storage} has runs of another {' and '.join(changed)}; "
                        f"--name NAME begins one beside it."
                    )
                study.set_user_attr("searched", searched)
                if file.method == "grid":
                    self._queue(study)
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written to ({error.strerror or error}).") from error
        except (SQLAlchemyError, ImportError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"--storage={storage} cannot be used ({reason}).") from error
        return study

    def _queue(self, study: optuna.Study) -> None:
        """Every point of the grid that is not there yet."""
        there = {trial.user_attrs["point"] for trial in study.get_trials(deepcopy=False) if _keeps_point(trial)}
        for index, point in enumerate(points(tuple(self.drawn))):
            if index not in there:
                study.enqueue_trial(point, user_attrs={"point": index})


def rows(trial: FrozenTrial) -> list[float]:
    """The metric, row by row."""
    return [value for _, value in sorted(trial.intermediate_values.items())]


def run_name(number: int, varied: dict[str, Any]) -> str:
    """Of a run's folder: its number and what makes it differ, in what a shell and Hydra take as it is."""
    settings = (f"{name.rpartition('.')[2]}-{value:.4g}" if isinstance(value, float) else
                f"{name.rpartition('.')[2]}-{value}" for name, value in varied.items())  # fmt: skip
    return slug("+".join([f"{number:03d}", *settings]))


def _is_being_drawn(trial: FrozenTrial) -> bool:
    """It runs, and is no run yet; one whose process died just then counts for nothing."""
    young = trial.datetime_start and datetime.now() - trial.datetime_start < timedelta(seconds=BEGINNING_SECONDS)
    return trial.state == TrialState.RUNNING and "run" not in trial.user_attrs and bool(young)


def _keeps_point(trial: FrozenTrial) -> bool:
    """Whether this trial stands for its point of the grid: it waits, is being drawn, or has become a run."""
    waits = trial.state == TrialState.WAITING or _is_being_drawn(trial)
    return "point" in trial.user_attrs and (waits or "run" in trial.user_attrs)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Processes on this machine take turns: SQLite's tables are made once, and a grid is queued once."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
