"""What a run logs while it trains: the rows in its folder, and the one number that ranks runs.

Nothing here needs torch, so that whoever watches runs is there at once.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import RESULTS, read_json, write_text

NEEDED = ("wrong", "samples", "reproduced", "nats", "margin", "samples_seen", "epochs", "steps", "seconds")  # results


def score(history: list[dict], samples: int) -> float | None:
    """What a sweep minimises: one number for "reaches zero error with the fewest samples seen".

    history: rows with "wrong" (samples, of a whole teacher-forced pass) or "error" (a fraction, of the training
    windows since the last such row); samples: of the corpus. None while no row has either.

    Until a pass finds nothing wrong, it is the lowest error of all passes, and before the first pass the lowest error
    while training, which is never taken for less than one wrong sample. From then on it is -1 / (1 + epochs), with
    the epochs, samples seen over samples, that it took: below any error, and the lower the sooner.
    """
    seen = samples_to_zero(history)
    if seen is not None:
        return -1 / (1 + seen / samples)
    passes = [row["wrong"] / samples for row in history if "wrong" in row]
    if passes:
        return min(passes)
    errors = [row["error"] for row in history if "error" in row]
    return max(1 / samples, min(errors)) if errors else None


def samples_to_zero(history: list[dict]) -> int | None:
    """Samples seen when a whole pass first found none wrong; None if none did."""
    return next((row["samples_seen"] for row in history if row.get("wrong") == 0), None)


def worst_jump(history: list[dict]) -> float | None:
    """The largest rise of the loss, in nats per sample: of a row over the lowest of all rows before it.

    history: rows, some with "loss" (nats per sample, of the training windows since the last such row). 0 where no row
    is above all before it, None while there is none.
    """
    losses = [row["loss"] for row in history if "loss" in row]
    lowest = accumulate(losses, min)
    return max((loss - low for loss, low in zip(losses, lowest)), default=None)


def logged_rows(path: Path) -> list[dict]:
    """The rows of a run's history.jsonl so far, under the names that W&B has them under; none if there is no file.

    A last line that is being written, or was when its run was killed, is left out. So is any other line that is not a
    row, about which a line on stderr says so once.
    """
    rows = []
    lines = path.read_text(errors="replace").splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        if not line.endswith("\n"):
            continue
        row = _row(line)
        if row is not None:
            rows.append(row)
        else:
            _warn_once(f"{path}, line {number} is damaged and left out")
    return rows


def _row(line: str) -> dict | None:
    """The row of a line, a JSON object with a step; None if it is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) in (int, float) else None


@cache
def _warn_once(text: str) -> None:
    print(text, file=sys.stderr)  # histories are read again and again while a run is watched


def append_row(path: Path, row: dict) -> None:
    """Adds a line; UserError if there is no room."""
    with _os_errors_as_user_errors(path), open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def read_results(folder: Path) -> dict:
    """What a finished run came to; UserError if the file is damaged."""
    results = read_json(folder / RESULTS)
    missing = [name for name in NEEDED if name not in results]
    if missing:
        raise UserError(
            f"{folder / RESULTS} is damaged: {missing[0]} is missing; without that file, the command that trained the "
            "run writes it again."
        )
    return results


def count_rows(path: Path) -> int:
    """Rows logged so far."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def forget_results(folder: Path) -> None:
    """Removes what the end of a run has left in its folder: results, sounds and pictures, before it trains again."""
    for pattern in (RESULTS, "*.original.wav", "*.generated.wav", "*.png"):
        for path in folder.glob(pattern):
            if path.is_file() or path.is_symlink():
                path.unlink()


def forget_rows_after(path: Path, step: int, count: int | None) -> None:
    """A run that was killed resumes from its checkpoint, and logs what came after that again.

    count: rows when the checkpoint was written; None: it does not say, and its step decides.
    """
    kept = [row for row in logged_rows(path) if row["step"] <= step][:count]
    with _os_errors_as_user_errors(path):
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))


@contextmanager
def _os_errors_as_user_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} could not be written ({error.strerror or error}); the last checkpoint there is "
            "whole, and the same command resumes from it."
        ) from error
