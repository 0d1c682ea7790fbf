"""Files: the names of those that a run leaves, names as file names, writing whole files, and owning a folder."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mfcc_wavenet.config.errors import UserError

# In the folder of a run, and the first two also in a record of experiments/.
CHECKPOINT = "checkpoint.pt"
RESULTS = "results.json"  # written last: the run is finished
CONFIG = "config.yaml"  # all settings of the run
HISTORY = "history.jsonl"  # what was logged, one row per line, for whoever watches the run

LOCK = ".lock"  # names the process that works in the folder, and is locked by it

MAX_NAME_CHARACTERS = 120  # of a folder; file systems take 255 bytes
DIGEST_CHARACTERS = 8  # that tell two long names apart


def slug(name: str) -> str:
    """The name of a folder: what a shell, Hydra and W&B read as it stands, at most MAX_NAME_CHARACTERS of it.

    A longer name is cut and ends with a digest of the whole, so that two of them stay different.
    """
    readable = re.sub(r"[^\w.+-]", "-", name)
    if len(readable) <= MAX_NAME_CHARACTERS:
        return readable
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST_CHARACTERS]
    return f"{readable[: MAX_NAME_CHARACTERS - 1 - DIGEST_CHARACTERS]}-{digest}"


def checkpoint_file(given: Any) -> Path:
    """The checkpoint that is meant: the file itself, or the one in the folder of a run or a record.

    It need not exist. Raises UserError for what is not a path.
    """
    try:
        path = Path(given).expanduser()
        return path / CHECKPOINT if path.is_dir() else path
    except (TypeError, OSError, RuntimeError) as error:  # not a path; a name that is too long; no such user's home
        raise UserError(f"checkpoint={given!r}: it must be the path of a file or of a run's folder.") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which is made; what is written there replaces `path` in the end.

    It does so whole and on disk, or not at all: on an exception, which is passed on, the previous file stays as it was
    and the temporary one is removed. The temporary name is this call's own, whoever else writes the same file. A link
    stays one, and what it leads to is replaced. Raises OSError for what is there but is not a regular file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.unfinished")
    try:
        yield unfinished
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes the file whole or not at all, in UTF-8."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a file that this project wrote; UserError if it is damaged or holds something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: it holds no mapping of names to values.")
    return values


def refuse_overwriting(output: Path, inputs: Iterable[Path]) -> None:
    """UserError if the output is a file that is read, by whatever name."""
    if output.exists():
        for path in inputs:
            if path.exists() and output.samefile(path):
                raise UserError(f"output={output} is what is read ({path}); name another file, nothing was written.")


@contextlib.contextmanager
def owned(lock: Path, what: str, wait: bool = False) -> Iterator[None]:
    """This process alone owns what the lock file stands for, until the context ends or the process does.

    The lock is the operating system's (POSIX, fcntl), so that a process that is killed leaves none behind, and the
    processes that load batches do not inherit it. wait: for another owner to finish; otherwise a UserError names it.
    """
    is_new = not lock.parent.exists()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(lock, what, wait)
    except OSError as error:
        raise UserError(f"{what} could not be written ({error.strerror or error}).") from error
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            if is_new:
                with contextlib.suppress(OSError):  # what it was made for is in it
                    lock.parent.rmdir()


def _locked(lock: Path, what: str, wait: bool) -> IO[str]:
    while True:
        file = open(lock, "a+")  # noqa: SIM115, the caller closes it
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # either may say that it is locked
            file.seek(0)
            owner = file.read().strip() or "another process"
            if not wait:
                file.close()
                raise UserError(f"{what} is in use by {owner}; wait until that is done, or stop it.") from None
            print(f"{what} is in use by {owner}; waiting until that is done.", file=sys.stderr)
            fcntl.lockf(file, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if lock.stat().st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # the owner before has just removed it
