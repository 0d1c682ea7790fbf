"""Where a run's numbers, sounds and pictures go: W&B. The one place that imports wandb.

Tracking never stops a training: a server that refuses or is silent means an offline run, a value that cannot be
logged means one warning.
"""

import contextlib
import logging
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import wandb
from jaxtyping import Float32
from matplotlib.figure import Figure
from PIL import Image
from wandb.errors import UsageError

from mfcc_wavenet.config.errors import Interrupted, UserError
from mfcc_wavenet.config.files import expanded
from mfcc_wavenet.config.settings import TrackingSettings
from mfcc_wavenet.runs import artifacts, hosted_sweep, plots

LOG_BYTES = 2**16  # that a run takes at the least
FINISH_SECONDS = 30.0  # a server that died may hold up the end of a run this long, not longer
CLOSE_SECONDS = 10.0  # for wandb's own process to end
FLUSH_SECONDS = 2.0  # what a killed process can lose of its run; wandb's own choice is 15
ID_CHARACTERS = 80  # of the name in a run's id, of which wandb allows 128
SLOWEST_UPLOAD = 2**20  # bytes per second that a server may take for an artifact
MAX_ARTIFACT_NAME = 128  # W&B's own limit
SHARE_DECIMALS = 6  # all that float32 has would double the bytes of a histogram
REASON_CHARACTERS = 160  # of wandb's message that fit into our one line
PROJECT, JOB_TYPE = "mfcc_wavenet", "train"  # where neither settings nor W&B's own say otherwise
SAMPLES_SEEN = "train/samples_seen"  # steps of different windows cannot be compared; samples can
AXES = {  # what is drawn over what; none of the patterns overlap, since wandb does not say which would count
    "train/*": SAMPLES_SEEN,
    "eval/*": SAMPLES_SEEN,
    "valid/*": SAMPLES_SEEN,
    "score": SAMPLES_SEEN,
    SAMPLES_SEEN: "step",  # a name counts before a pattern
    "audio/*": "step",
    "spectrogram/*": "step",
    "curves": "step",
}
IN_VENV = str(Path(sys.executable).with_name("wandb"))  # the program of this environment
WANDB = "wandb" if shutil.which("wandb") == IN_VENV else f"{shlex.quote(sys.executable)} -m wandb"
OTHER_NAMES = {"run": "online", "shared": "online", "dryrun": "offline"}  # in WANDB_MODE


class Tracker:
    """One W&B run, opened on construction.

    `run_id` names the run (a checkpoint keeps it, and a resumed training hands it back), `online` says whether a
    server takes the values as they come, and `directory` holds the run's files (None when disabled); its parent is
    the wandb directory that all runs share.

    Raises UserError when settings.dir cannot be written, when "online" is asked for without credentials, or when
    wandb refuses its own settings; RuntimeError while another one is open.
    """

    _current: ClassVar["Tracker | None"] = None
    _opened: ClassVar[bool] = False  # at any time in this process

    def __init__(
        self,
        settings: TrackingSettings,
        *,
        name: str,
        config: dict[str, Any],
        run_id: str | None = None,
        job_type: str = JOB_TYPE,
    ) -> None:
        if Tracker._current is not None:
            raise RuntimeError(f"The run {Tracker._current.run_id} is still open: finish it first.")
        self.run_id = run_id or os.environ.get("WANDB_RUN_ID") or _new_id(name)
        self.online = False
        self.directory: Path | None = None
        self.commands: dict[str, str] = {}  # what a person can do with the run, and how
        self._run: Any = None
        self._warned = False
        if settings.mode == "disabled":
            return
        to_be_numbered = hosted_sweep.swept() and not run_id  # by W&B, which does so where no name is given
        named = os.environ.get("WANDB_NAME") or (None if to_be_numbered else name)
        run = {"name": named, "config": config, "id": self.run_id, "job_type": job_type}
        try:
            self._run, offline_because = _open(settings, run | {"resume": run_id and "allow"})
        except BaseException:
            _close()
            raise
        if self._run is None:
            return
        Tracker._current, Tracker._opened = self, True
        for handler in logging.getLogger("wandb").handlers:  # otherwise a traceback for each line that does not fit
            handler.handleError = lambda _: self._warn("write to W&B's log", sys.exception())
        self.online = offline_because is None
        if named is None:
            self._run.name = (self.online and hosted_sweep.run_name(self._run, config)) or name
        self.run_id = self._run.id
        self.directory = Path(self._run.dir).parent
        # Our step is a value like others. wandb's own step must grow, or it drops the row. They are equal, except
        # after resuming from a checkpoint that is older than the last row: wandb's counts on then. Summaries stay
        # wandb's, the last value: "min" would make a mapping of each, which no sweep could take for its metric.
        self._run.define_metric("step", hidden=True)
        for metrics, axis in AXES.items():
            self._run.define_metric(metrics, step_metric=axis)
        self._step: int | None = None  # ours, of the row being filled
        self._row = self._run.starting_step - 1  # wandb's, of the same row
        runs = shlex.quote(str(self.directory.parent))
        if self.online and self._run.url:
            self.commands |= {"look at it": self._run.url, "in the terminal": f"{WANDB} leet {runs}"}
        else:
            self.commands["look at it"] = f"{WANDB} leet {runs}"
        if not self.online:
            # A resumed run has a directory for each of its parts, and sync joins them in order.
            parts = f"offline-run-*-{self.run_id}" if run_id else self.directory.name
            self.commands["upload it later"] = f"{WANDB} sync {runs}/{parts}"
            ways = ", ".join(f"{what} with `{command}`" for what, command in self.commands.items())
            _say(f"offline ({offline_because}); {ways}")

    def log(self, values: dict[str, float | int], step: int) -> None:
        """Log `values` (keys like "train/loss") at an optimizer step; equal steps share a row."""
        self._log(lambda: values, step)

    def audio(self, name: str, wav: np.ndarray, sample_rate: int, step: int, caption: str | None = None) -> None:
        """Log sound: wav (samples,) in -1 to 1, kept as a 16-bit WAV file; sample_rate in Hz."""
        self._log(lambda: {name: wandb.Audio(wav, sample_rate, caption)}, step)

    def picture(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure as a PNG picture."""
        # wandb would draw with pyplot, and fail where nobody imported it.
        self._log(lambda: {name: wandb.Image(plots.drawn(figure))}, step)

    def histogram(self, name: str, shares: Float32[np.ndarray, " K"], step: int) -> None:
        """Log how often each of K things occurs: a bin for each, or for as many neighbours as make 512 bins enough."""
        in_a_bin = -(-len(shares) // wandb.Histogram.MAX_LENGTH)
        edges = [*range(0, len(shares), in_a_bin), len(shares)]
        bins = np.add.reduceat(shares, edges[:-1], dtype=np.float64).round(SHARE_DECIMALS)
        self._log(lambda: {name: wandb.Histogram(np_histogram=(bins, edges))}, step)

    def table(self, name: str, rows: list[dict[str, Any]], sample_rate: int, step: int) -> None:
        """Log rows of the same keys as a table: sounds (samples,) become players, and images pictures."""

        def cell(value: Any) -> Any:
            if isinstance(value, Image.Image):
                return wandb.Image(value)
            return wandb.Audio(value, sample_rate) if isinstance(value, np.ndarray) else value

        cells = ([cell(value) for value in row.values()] for row in rows)
        self._log(lambda: {name: wandb.Table(list(rows[0]), list(cells))}, step)

    def summarise(self, values: dict[str, Any]) -> None:
        """Set values in the run's summary: its results."""
        if self._run is not None:
            self._guard("log the summary", lambda: self._run.summary.update(values))

    def artifact(self, name: str, kind: str, files: list[Path], metadata: dict[str, Any], aliases: list[str]) -> None:
        """Log files as a version of an artifact; `name` may hold what W&B would refuse in one."""
        if (run := self._run) is None:
            return

        def logged() -> None:
            artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name)[:MAX_ARTIFACT_NAME], kind, metadata=metadata)
            for file in files:
                kept = artifacts.kept(file, self.directory)
                artifact.add_file(str(kept), file.name, policy="immutable", skip_cache=True)
            run.log_artifact(artifact, aliases=aliases)
            if self.online:  # the end of the run does not wait long enough for a large file
                seconds = FINISH_SECONDS + sum(file.stat().st_size for file in files) / SLOWEST_UPLOAD
                artifact.wait(timeout=round(seconds))

        self._guard(f"log the artifact {name}", logged)

    def note(self, text: str) -> None:
        """Write a line to the run's log."""
        if (run := self._run) is not None:
            self._guard("write to the log", lambda: run.write_logs(text))

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, _, error: BaseException | None, __) -> None:
        """The run ends well without an error, and where it was asked to end."""
        if isinstance(error, UserError):
            self.note(str(error))
        self.finish(0 if error is None or isinstance(error, Interrupted) else 1)

    def finish(self, exit_code: int = 0) -> None:
        """Close the run; 0 says that it went well. A second time this does nothing."""
        run, self._run = self._run, None
        if run is None:
            return
        Tracker._current = None
        self._guard("close the run", lambda: run.finish(exit_code=exit_code))
        _close()

    def _log(self, values: Callable[[], dict[str, Any]], step: int) -> None:
        if (run := self._run) is None:
            return
        if step != self._step:
            self._step, self._row = step, max(step, self._row + 1)
        self._guard(f"log step {step}", lambda: run.log(values() | {"step": step}, step=self._row))

    def _guard(self, what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except TimeoutError:
            upload = f"{WANDB} sync --include-online {shlex.quote(str(self.directory))}"
            _say(f"W&B did not take all of the run in time; upload it later with `{upload}`")
        except Exception as error:  # a full disk, a dead wandb process: training matters more
            self._warn(what, error)

    def _warn(self, what: str, error: BaseException) -> None:
        if not self._warned:
            _say(f"could not {what} ({_reason(error)}); training continues; this is said only once")
        self._warned = True


@contextlib.contextmanager
def service(what: str) -> Iterator["wandb.Api"]:  # not looked up, which takes a quarter of a second
    """W&B's service, outside of a run; UserError, which begins with `what`, where it fails or nobody is logged in."""
    _mode("online")
    try:
        if not wandb.login(prompt=False, verify=False):
            raise UserError(f"{what}: no W&B credentials found; use `{WANDB} login` or set WANDB_API_KEY.")
        yield wandb.Api(timeout=hosted_sweep.SERVICE_SECONDS)
    except UserError:
        raise
    except Exception as error:  # wandb has no class for what is refused, missing or unreachable
        host = wandb.setup().settings.base_url
        raise UserError(f"{what}: W&B at {host} refused or is out of reach ({_reason(error)}).") from error
    finally:
        _close()


def refuse(settings: TrackingSettings, sentence: str) -> None:
    """Say in a hosted sweep's run, which an agent has promised to its server, why it ends before it could be opened."""
    if not Tracker._opened:
        tracker = Tracker(settings, name="refused", config={})
        tracker.note(sentence)
        tracker.finish(2)


def _new_id(name: str) -> str:
    """Begins with the name: directories, which the terminal UI lists runs by, are called by the id alone."""
    readable = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[:ID_CHARACTERS].strip("-")
    return f"{readable}-{secrets.token_hex(4)}".lstrip("-")


def _mode(asked: str) -> str:
    """Online, offline or disabled: "auto" leaves it to WANDB_MODE and wandb's settings files."""
    # wandb sends reports about itself, offline too: a silent server holds them up for 10 s.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    chosen = {} if asked == "auto" else {"mode": asked}
    try:
        mode = wandb.setup(wandb.Settings(silent=True, **chosen)).settings.mode
    except (ValueError, UsageError) as error:
        why = " ".join(str(error).split()).partition(" [type=")[0].rstrip(".")
        raise UserError(f"wandb refuses a WANDB_* variable or its settings file: {why}.") from error
    return OTHER_NAMES.get(mode, mode)


def _open(settings: TrackingSettings, run: dict[str, Any]) -> tuple[Any, str | None]:
    """The open run (None: disabled) and why it is offline, if it is. Never asks the user."""
    mode = _mode(settings.mode)
    if mode == "disabled":
        _close()
        return None, None
    # What is None is left to wandb, which looks for WANDB_* variables and settings files. What it would choose itself
    # where there are none is ours.
    others = wandb.setup().settings
    run |= {"project": settings.project or others.project or PROJECT}
    run |= {"job_type": others.run_job_type or run["job_type"]}
    run |= {"entity": settings.entity or None, "group": settings.group or None, "tags": settings.tags or None}
    run |= {"dir": _writable(settings.dir), "reinit": "create_new"}  # never a run that somebody else opened
    options = {"init_timeout": settings.timeout, "finish_timeout": FINISH_SECONDS, "finish_timeout_raises": True}
    options |= {"console": "wrap", "use_dot_wandb": False, "x_transaction_log_flush_interval": FLUSH_SECONDS}

    def start(mode: str) -> Any:
        return wandb.init(**run, mode=mode, settings=wandb.Settings(**options))

    if mode == "offline":
        return start("offline"), "as asked"
    before = set(run["dir"].glob("wandb/run-*"))
    try:
        if wandb.login(prompt=False, verify=False):
            return start("online"), None
        because = "no W&B credentials found"
    except Exception as error:
        because = f"W&B did not take the run: {_reason(error)}"
        _close()  # wandb keeps the id of the run that failed
        _mode(settings.mode)
        for stump in set(run["dir"].glob(f"wandb/run-*-{run['id']}")) - before:
            shutil.rmtree(stump, ignore_errors=True)
    else:
        if settings.mode == "online":
            how = f"use `{WANDB} login`, set WANDB_API_KEY, or go with tracking.mode=auto"
            raise UserError(f"tracking.mode=online, but {because}: {how}.")
    return start("offline"), because


def _close() -> None:
    """End wandb's own process. One that was asked in its first moments may never hear of it: it ends with ours."""

    def end() -> None:
        with contextlib.suppress(Exception, SystemExit):  # it would exit when its own process failed
            wandb.teardown()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(CLOSE_SECONDS)


def _writable(folder: str | None) -> Path:
    variable = os.environ.get("WANDB_DIR")
    named = f"WANDB_DIR={variable}" if variable and not folder else f"tracking.dir={folder or '.'}"
    runs = expanded(folder or variable or ".").absolute() / "wandb"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=runs) as file:
            file.write(bytes(LOG_BYTES))
            file.flush()
            return runs.parent
    except OSError as error:
        why = f"cannot write to {runs} ({error.strerror})"
        how = "name another folder, or use tracking.mode=disabled"
        raise UserError(f"{named}: {why}; {how}.") from error


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:REASON_CHARACTERS]


def _say(text: str) -> None:
    print(f"tracking: {text}", file=sys.stderr, flush=True)
