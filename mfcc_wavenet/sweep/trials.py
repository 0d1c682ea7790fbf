"""The runs of a sweep, kept by Optuna in a database that several processes and machines may use at once.

A run is a trial that Optuna draws (or, in a grid, takes from a queue). It belongs to this process for as long as this
process, or the program that it started, holds the lock on the run's log file. The kernel releases the lock however they
end, so a trial that is running but unlocked was interrupted, and is resumed with the same settings and folder.
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

BUSY_SECONDS = 60.0  # for which a process waits until another has written to the same SQLite file
DRAWING_SECONDS = 60.0  # after which a trial without a run was abandoned by a process that died while drawing it
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class Run:
    """A trial that belongs to this process."""

    number: int
    name: str  # of its folder
    arguments: dict[str, Any]  # of the program
    trial: Trial
    log: IO[bytes]  # locked while it is open, here or in the program


class Trials:
    """All trials of a sweep. overrides: settings that every run gets in addition to the drawn ones."""

    def __init__(self, file: SweepFile, folder: Path, storage: str | None, overrides: dict[str, str]):
        self.file = file
        self.folder = folder
        self.overrides = overrides
        self.drawn = [p for p in file.parameters if p.distribution and p.name not in overrides]
        self.study = self._open(storage or f"sqlite:///{folder / 'study.db'}")

    def claim(self, max_runs: int | None, excluded: set[int]) -> Run | None:
        """A run to train: an interrupted one, else a new one; None if there is none or max_runs have started.

        excluded: numbers of runs not to resume.
        """
        return self._interrupted(excluded) or self._new(max_runs)

    def under_way(self) -> list[int]:
        """Numbers of runs that are running on this machine, those of this process included, or being drawn."""
        running = self._all(TrialState.RUNNING)
        return [trial.number for trial in running if self._is_on_this_machine(trial) or _is_being_drawn(trial)]

    def started(self) -> list[FrozenTrial]:
        """The trials that have become runs, in any state."""
        return [trial for trial in self._all() if "run" in trial.user_attrs]

    def values_of_all(self) -> list[list[float]]:
        """The metric of every run, row by row."""
        return [rows(trial) for trial in self.started()]

    def close(self, run: Run, state: TrialState, value: float | None, facts: dict[str, Any]) -> None:
        """Records that a run has ended: the value of the metric, and the other facts that the table shows."""
        run.trial.set_user_attr("facts", facts)
        self.study.tell(run.trial, value, state=state)
        run.log.close()

    # --- a run starts -----------------------------------------------------------------------------

    def _interrupted(self, excluded: set[int]) -> Run | None:
        for trial in self._all(TrialState.RUNNING):
            if not self._is_on_this_machine(trial) or trial.number in excluded:
                continue
            log = self._lock(trial.number)
            if log is None:
                continue
            if self.study.trials[trial.number].state == TrialState.RUNNING:
                return self._run(Trial(self.study, trial._trial_id), log)
            log.close()  # another process has just finished it
        return None

    def _new(self, max_runs: int | None) -> Run | None:
        if (max_runs is not None and self._count() >= max_runs) or self._on_target():
            return None
        grid = self.file.method == "grid"
        if grid and not self._all(TrialState.WAITING):
            return None
        trial = self.study.ask({p.name: p.distribution for p in self.drawn})
        # Machines with a common storage may come here at the same time; the lower number wins.
        too_many = max_runs is not None and not grid and self._count(before=trial.number) >= max_runs
        twice = grid and trial.user_attrs.get("point") in [None, *self._points(before=trial.number)]
        if too_many or twice:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        log = self._lock(trial.number)
        settings = {p.name: p.value(trial.params.get(p.name)) for p in self.file.parameters}
        settings |= self.overrides
        name = run_name(trial.number, {p.name: settings[p.name] for p in self.drawn})
        own = {"tracking.group": self.file.name, "tracking.project": self.file.project}
        own |= {"tracking.entity": self.file.entity}
        arguments = {key: value for key, value in own.items() if value is not None} | settings
        arguments |= {"runs": str(self.folder), "name": name}
        # In a single write, so that a trial is either a run that can be resumed or not a run at all.
        trial.set_user_attr("run", {"host": socket.gethostname(), "name": name, "arguments": arguments})
        return self._run(trial, log)

    def _run(self, trial: Trial, log: IO[bytes]) -> Run:
        run = trial.user_attrs["run"]
        return Run(trial.number, run["name"], run["arguments"], trial, log)

    def _lock(self, number: int) -> IO[bytes] | None:
        """The run's log, locked by this process; None if another one holds the lock."""
        path = self.folder / "logs" / f"{number:03d}.log"
        path.parent.mkdir(exist_ok=True)
        log = open(path, "ab")  # noqa: SIM115, it stays open as long as the run is this process's
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            return None
        return log

    # --- other processes --------------------------------------------------------------------------

    def _all(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def _is_on_this_machine(self, trial: FrozenTrial) -> bool:
        return trial.user_attrs.get("run", {}).get("host") == socket.gethostname()

    def _count(self, before: int | None = None) -> int:
        """The number of runs, those being drawn included; before: only those with lower numbers."""
        trials = self.started() + [trial for trial in self._all(TrialState.RUNNING) if _is_being_drawn(trial)]
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
        samplers = {
            "bayes": lambda: optuna.samplers.TPESampler(constant_liar=True)
        }  # other runs are training meanwhile
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
                        f"The sweep {file.name} in {storage} has runs with another {' and '.join(changed)}; "
                        f"--name NAME starts a separate one."
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
        """Enqueues every point of the grid that is not in the study yet."""
        present = {trial.user_attrs["point"] for trial in study.get_trials(deepcopy=False) if _keeps_point(trial)}
        for index, point in enumerate(points(tuple(self.drawn))):
            if index not in present:
                study.enqueue_trial(point, user_attrs={"point": index})


def rows(trial: FrozenTrial) -> list[float]:
    """The metric, row by row."""
    return [value for _, value in sorted(trial.intermediate_values.items())]


def run_name(number: int, varied: dict[str, Any]) -> str:
    """The name of a run's folder: its number and the settings that vary, which a shell and Hydra read as it stands."""
    settings = (f"{name.rpartition('.')[2]}-{value:.4g}" if isinstance(value, float) else
                f"{name.rpartition('.')[2]}-{value}" for name, value in varied.items())  # fmt: skip
    return slug("+".join([f"{number:03d}", *settings]))


def _is_being_drawn(trial: FrozenTrial) -> bool:
    """Whether it is running but not a run yet; after DRAWING_SECONDS its process counts as dead."""
    young = trial.datetime_start and datetime.now() - trial.datetime_start < timedelta(seconds=DRAWING_SECONDS)
    return trial.state == TrialState.RUNNING and "run" not in trial.user_attrs and bool(young)


def _keeps_point(trial: FrozenTrial) -> bool:
    """Whether this trial occupies its point of the grid: it is waiting, being drawn, or has become a run."""
    is_waiting = trial.state == TrialState.WAITING or _is_being_drawn(trial)
    return "point" in trial.user_attrs and (is_waiting or "run" in trial.user_attrs)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Processes on this machine take turns: SQLite's tables are created once, and a grid is enqueued once."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
