"""One utterance of a corpus before it is prepared: its file, who speaks in it, and what it is called."""

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MAX_LISTED = 8  # names in a sentence


@dataclass(frozen=True)
class Source:
    """One audio file and who speaks in it."""

    path: Path
    speaker: str
    id: str  # within its corpus; stays the same when the corpus moves or grows
    split: str | None = None  # "train", "valid" or "test" where the corpus itself says so


def utterance_id(name: str) -> str:
    """The path as text that every system spells alike, with forward slashes and without its suffix."""
    name = without_suffix(name)
    if not name.isascii():  # macOS decomposes accents; bytes that are not text stay distinct
        name = unicodedata.normalize("NFC", os.fsencode(name).decode(errors="backslashreplace"))
    return name


def without_suffix(name: str) -> str:
    """A path without the suffix of its last part, if it has one; as pathlib's with_suffix, but at once."""
    dot = name.rfind(".")
    return name[:dot] if name.rfind("/") + 1 < dot < len(name) - 1 else name


def first_duplicate(sources: Iterable[Source]) -> tuple[Source, Source] | None:
    """The first two utterances with the same id; None where there are none."""
    seen: dict[str, Source] = {}
    for source in sources:
        if (other := seen.setdefault(source.id, source)) is not source:
            return other, source
    return None


def readable(name: str) -> str:
    """A file name as text; what is not UTF-8 in it is replaced."""
    return os.fsencode(name).decode(errors="replace")


def few(names: list[str], most: int = MAX_LISTED) -> str:
    """Names in a sentence, the first of them if there are many."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
