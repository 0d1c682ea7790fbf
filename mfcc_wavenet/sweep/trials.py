"""The runs of a sweep, kept by Optuna in a database that several processes and machines may use at once.

A run is a trial that Optuna draws (or, in a grid, takes from a queue). It belongs to this process for as long as this
process, or the program that it started, holds the lock on the run's log file. The kernel releases the lock however they
end, so a trial that is running but unlocked was interrupted, and is resumed with the same settings and folder.
"""

import fcntl
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import slug
from mfcc_wavenet.sweep.command import hydra_text
from mfcc_wavenet.sweep.file import RUN_PY, SweepFile
from mfcc_wavenet.sweep.search_space import num_points, point

BUSY_SECONDS = 60.0  # for which a process waits until another has written to the same SQLite file
DRAWING_SECONDS = 60.0  # after which a trial without a run was abandoned by a process that died while drawing it
DATABASE = "study.db"  # in the sweep's folder
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
        self.study = self._open(storage)

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

    def log_path(self, number: int) -> Path:
        """Of the file with the output of that run."""
        return self.folder / "logs" / f"{number:03d}.log"

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
        while trial := self._draw(max_runs):
            # Machines with a common storage may draw at the same time; the lower number wins.
            if self.file.method == "grid":
                lost = trial.user_attrs.get("point") in [None, *self._points(before=trial.number)]
            else:
                lost = max_runs is not None and self._count(before=trial.number) >= max_runs
            if not lost:
                return self._begin(trial)
            self.study.tell(trial, state=TrialState.FAIL)
        return None

    def _draw(self, max_runs: int | None) -> Trial | None:
        if (max_runs is not None and self._count() >= max_runs) or self._on_target():
            return None
        if self.file.method == "grid" and not self._all(TrialState.WAITING):
            points = set(self._points())
            index = next((i for i in range(num_points(self.drawn)) if i not in points), None)
            if index is None:
                return None
            self.study.enqueue_trial(point(self.drawn, index), user_attrs={"point": index})
        return self.study.ask({p.name: p.distribution for p in self.drawn})

    def _begin(self, trial: Trial) -> Run:
        log = self._lock(trial.number)
        settings = {p.name: p.value(trial.params.get(p.name)) for p in self.file.parameters}
        settings |= self.overrides
        name = run_name(trial.number, {p.name: settings[p.name] for p in self.drawn})
        text = hydra_text if Path(self.file.program).name == RUN_PY else str
        own = {"tracking.group": self.file.name, "tracking.project": self.file.project}
        own |= {"tracking.entity": self.file.entity}
        arguments = {key: text(value) for key, value in own.items() if value is not None} | settings
        arguments |= {"runs": text(str(self.folder)), "name": text(name)}
        # In a single write, so that a trial is either a run that can be resumed or not a run at all.
        trial.set_user_attr("run", {"host": socket.gethostname(), "name": name, "arguments": arguments})
        return self._run(trial, log)

    def _run(self, trial: Trial, log: IO[bytes]) -> Run:
        run = trial.user_attrs["run"]
        return Run(trial.number, run["name"], run["arguments"], trial, log)

    def _lock(self, number: int) -> IO[bytes] | None:
        """The run's log, locked by this process; None if another one holds the lock."""
        path = self.log_path(number)
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

    def _points(self, before: int | None = None) -> list[int]:
        """The points of the grid that are occupied; before: by trials with lower numbers only."""
        return [trial.user_attrs["point"] for trial in self._all()[:before] if _keeps_point(trial)]

    def _on_target(self) -> bool:
        target, sign = self.file.target, 1 if self.file.goal == "minimize" else -1
        if target is None:
            return False
        return any(sign * value <= sign * target for values in self.values_of_all() for value in values)

    # --- the study --------------------------------------------------------------------------------

    def _open(self, storage: str | None) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        file = self.file
        if not file.name.isprintable():
            raise UserError(
                f"{file.name!r} cannot be the name of a sweep; --name gives it one without such characters."
            )
        url = storage or _sqlite_url(self.folder / DATABASE)
        # As the database returns it: mappings have text as keys.
        searched = json.loads(json.dumps({
            "method": file.method, "metric": file.metric, "goal": file.goal, "overrides": self.overrides,
            "parameters": {p.name: p.given for p in file.parameters},
        }))  # fmt: skip
        if file.method == "bayes":
            sampler = optuna.samplers.TPESampler(constant_liar=True)  # as other runs are training meanwhile
        else:
            sampler = optuna.samplers.RandomSampler()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(self.folder):
                timeout = {"connect_args": {"timeout": BUSY_SECONDS}} if url.startswith("sqlite") else {}
                study = optuna.create_study(
                    storage=optuna.storages.RDBStorage(url, engine_kwargs=timeout),
                    study_name=file.name,
                    direction=file.goal,
                    sampler=sampler,
                    pruner=optuna.pruners.NopPruner(),
                    load_if_exists=True,
                )
                former = study.user_attrs.get("searched", searched)
                changed = [key for key in searched if json.dumps(former.get(key)) != json.dumps(searched[key])]
                if changed:
                    raise UserError(
                        f"The sweep {file.name} in {storage or self.folder} has runs with another "
                        f"{' and '.join(changed)}; --name NAME starts a separate one."
                    )
                study.set_user_attr("searched", searched)
        except OSError as error:
            raise UserError(f"{self.folder} cannot be written to ({error.strerror or error}).") from error
        # RuntimeError: the database of another version of Optuna; LookupError: braces in the URL.
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError, LookupError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            database = f"--storage={storage}" if storage else f"{self.folder / DATABASE}, the sweep's database,"
            raise UserError(f"{database} cannot be used ({reason}).") from error
        return study


def _sqlite_url(path: Path) -> str:
    """The URL of a SQLite file in any folder; braces are doubled, as Optuna formats URLs."""
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")


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
    """Processes on this machine take turns, as SQLite's tables can be created once only."""
    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
