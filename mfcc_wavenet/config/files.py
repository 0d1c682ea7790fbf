"""Files: the names of those that a run leaves, names as file names, writing them whole, finding and owning them."""

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
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from mfcc_wavenet.config.errors import UserError

# In the folder of a run, and the first two also in a record of experiments/.
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"  # the checkpoint at the best whole pass; in a run's folder alone
RESULTS = "results.json"  # written last: the run is finished
CONFIG = "config.yaml"  # all settings of the run
HISTORY = "history.jsonl"  # what was logged, one row per line, for whoever watches the run

# Of an evaluation, whose results are in a file of that stem: the folder of its clips, and a clip as each system has it.
CLIPS, CLIP, ORIGINAL = "{}.clips", "{}.{}.flac", "original"
CLIPS_INDEX = "clips.json"  # in that folder

UNFINISHED = ".{}.unfinished"  # a file while it is written

MAX_NAME_BYTES = 120  # of a folder; file systems take 255
MAX_STEM_BYTES = 200  # of a file's name without its end
DIGEST_CHARACTERS = 8  # that tell two long names apart


def expanded(path: str | Path) -> Path:
    """With the home folder for ~, which a shell leaves within a word; where there is no such user, the name stays."""
    return Path(os.path.expanduser(path))


def slug(name: str) -> str:
    """The name of a file or folder: what a shell and W&B read as it stands, at most MAX_NAME_BYTES of it.

    A longer name is cut and ends with a digest of the whole, so that two of them stay different.
    """
    readable = re.sub(r"[^\w.+-]|^\.+$", "-", name)
    return readable if len(readable.encode()) <= MAX_NAME_BYTES else _with_digest(readable, name, MAX_NAME_BYTES)


def file_name(name: str, taken: Collection[str] = ()) -> str:
    """The name where that can begin a file's name, also in W&B; otherwise one like it, with a digest of the whole.

    It may fill all that a file system takes, hold control characters or bytes that are not text. taken: names that
    are other files'.
    """
    readable = "".join(letter if letter.isprintable() and letter != "/" else "-" for letter in name)
    if readable == name and name not in taken and len(os.fsencode(name)) <= MAX_STEM_BYTES:
        return name
    return _with_digest(readable, name, MAX_STEM_BYTES)


def _with_digest(readable: str, name: str, most: int) -> str:
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:DIGEST_CHARACTERS]
    start = readable.encode(errors="replace")[: most - 1 - DIGEST_CHARACTERS].decode(errors="ignore")
    return f"{start}-{digest}"


def checkpoint_file(given: Any) -> Path:
    """The checkpoint that is meant: the file itself, or the one in the folder of a run or a record.

    It need not exist. Raises UserError for what is not a path.
    """
    try:
        path = expanded(given)
        return path / CHECKPOINT if path.is_dir() else path
    except (TypeError, OSError) as error:  # not a path; a name that is too long
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
    unfinished = path.with_name(UNFINISHED.format(secrets.token_hex(8)))
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


Identity = tuple[int, int]


def identities(paths: Iterable[Path]) -> dict[Identity, Path]:
    """The files among them that exist, by what makes a file the same under all its names: device and inode."""
    return {(status.st_dev, status.st_ino): path for path in paths if (status := _status(path))}


def refuse_overwriting(output: Path, inputs: dict[Identity, Path]) -> None:
    """UserError if the output is a file or folder that is read, by whatever name."""
    for path in (inputs.get(identity) for identity in identities([output])):
        if path is not None:
            raise UserError(f"output={output} is what is read ({path}); name another, nothing was written.")


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: the name contains a null byte
        return None


def files_below(folder: Path, suffixes: Collection[str], name: str, without: Path | None = None) -> list[Path]:
    """The files with one of these suffixes in a folder and all folders below, sorted.

    Links to folders are followed, each folder once; hidden files and folders are passed over, and counted on stderr.
    name: the folder in words; without: a folder below that is left out. UserError if the folder cannot be read.
    """
    passed_over: Counter[str] = Counter()
    found = _walk(folder, suffixes, name, identities([without] if without else []), passed_over)
    files = sorted(found, key=_parts)
    if passed_over:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(passed_over.items()))
        print(f"{name}: passed over {counts}.", file=sys.stderr)
    return files


def _parts(path: Path) -> str:
    """What orders paths as their parts do, many times quicker than paths are compared: a/x is before a-b/x."""
    return str(path).replace("/", "\0")


def _walk(
    folder: Path, suffixes: Collection[str], name: str, without: Collection[Identity], passed_over: Counter[str]
) -> Iterator[Path]:
    """The files, in any order; passed_over counts what else might have been meant."""
    # Links are followed after all folders that are really here, so that these keep their own names.
    seen, folders, links = set(), deque([folder]), deque()
    while folders or links:
        current = folders.popleft() if folders else links.popleft()
        try:
            status = current.stat()
            if (identity := (status.st_dev, status.st_ino)) in seen:
                passed_over["links to folders that are read already"] += 1
                continue
            if identity in without:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError as error:
            reason = error.strerror or error
            if current == folder:
                raise UserError(f"{name}: the folder cannot be read ({reason}).") from error
            print(f"left out: {current}: the folder cannot be read ({reason}).", file=sys.stderr)
            continue
        for entry in entries:
            path, is_meant = current / entry.name, _suffix(entry.name).lower() in suffixes
            if entry.name.startswith("."):
                if is_meant or _holds(entry.is_dir):
                    passed_over["hidden files or folders"] += 1
            elif _holds(entry.is_dir):
                (links if entry.is_symlink() else folders).append(path)
            elif is_meant and _holds(entry.is_file):
                yield path
            elif is_meant:
                passed_over["broken links, pipes or devices"] += 1


def _suffix(name: str) -> str:
    """That of Path(name), at once."""
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def _holds(test: Callable[[], bool]) -> bool:
    """False where it cannot be told, as of a link to itself."""
    try:
        return test()
    except OSError:
        return False


@contextlib.contextmanager
def owned(folder: Path, what: str, wait: bool = False) -> Iterator[None]:
    """This process alone writes into the folder, until the context ends or the process does.

    The lock lies next to the folder and is the operating system's (POSIX, fcntl), so that a process that is killed
    leaves none behind, and the processes that load batches do not inherit it; what a killed one left unfinished is
    removed. what: the folder in words. wait: for another owner to finish; otherwise a UserError names it.
    """
    folder = folder.resolve()
    lock = folder.with_name(f".{folder.name}.lock")
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
            for leftover in folder.glob(UNFINISHED.format("*")):
                leftover.unlink(missing_ok=True)
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
