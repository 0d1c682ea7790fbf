"""Files: the names of those that a run leaves, how a name becomes a file's, and the one way to write a file whole."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# In the folder of a run, and the first two also in a record of experiments/.
CHECKPOINT = "checkpoint.pt"
RESULTS = "results.json"  # written last: the run is finished
CONFIG = "config.yaml"  # all settings of the run
HISTORY = "history.jsonl"  # what was logged, one row per line, for whoever watches the run

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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, which is made; what is written there replaces `path` in the end.

    It does so whole and on disk, or not at all: on an exception, which is passed on, the previous file stays as it was
    and the temporary one is removed. The temporary name is this call's own, whoever else writes the same file.
    """
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
