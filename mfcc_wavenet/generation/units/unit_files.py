"""Files of units, one integer for each latent: an .npz for one utterance, or text with a line for each.

A bottleneck without a codebook has no units; an .npz then holds the latents themselves. Nothing in a file is run.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import replacing, write_text
from mfcc_wavenet.data.audio import regular_file
from mfcc_wavenet.generation.arrays import MAX_BYTES, NUMBERS, TEXTS, read_arrays

ARCHIVE, TEXT = ".npz", ".txt"
UNIT_SUFFIXES = {ARCHIVE, TEXT}
WHOLE = re.compile(r"-?[0-9]{1,9}")  # a unit in text


@dataclass(frozen=True, eq=False)
class Encoded:
    """An utterance as units, and what is known of them: a file that others wrote may leave out all but the units."""

    units: Shaped[np.ndarray, "..."]  # (J,) integers, or latents (J, D), floats; not checked yet if they were read
    name: str | None = None
    samples: int | None = None  # of the audio that decoding makes; None: all that so many units stand for
    latent_hop: int | None = None  # samples from one unit to the next
    sample_rate: int | None = None  # Hz
    codebook: str | None = None  # SHA-256 of what units mean

    @property
    def are_latents(self) -> bool:
        return self.units.dtype.kind == "f" and self.units.ndim == 2


def write_archive(path: Path, encoded: Encoded) -> None:
    """Plain arrays by name, the file whole or not at all; the same content gives the same bytes."""
    values = {name: getattr(encoded, name) for name in ("samples", "latent_hop", "sample_rate", "codebook", "name")}
    values = {"latents" if encoded.are_latents else "units": encoded.units, **values}
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, **{name: np.array(value) for name, value in values.items() if value is not None})


def write_lines(path: Path, utterances: Iterable[Encoded]) -> None:
    """Of each utterance its name, a TAB, and its units with spaces between, as language models take them."""
    write_text(path, "".join(f"{shown_name(one.name)}\t{' '.join(map(str, one.units))}\n" for one in utterances))


def shown_name(name: str | None) -> str:
    """A name as text has it: in one line, without TAB."""
    return "".join(letter if letter.isprintable() else "-" for letter in name or "")


def read_units(path: Path) -> list[Encoded]:
    """The utterances of a file, one or more. UserError, naming the file and in text the line, for anything else."""
    return _lines(path) if path.suffix.lower() == TEXT else [_archive(path)]


def _archive(path: Path) -> Encoded:
    arrays = read_arrays(path, "units", NUMBERS + TEXTS)
    if ("units" in arrays) == ("latents" in arrays):
        found = ", ".join(arrays)
        raise UserError(f"{path}: it must hold either units or latents, as mode=encode writes them; it holds {found}.")
    units = arrays["units"] if "units" in arrays else arrays["latents"]
    integers = {name: _integer(path, name, arrays.get(name)) for name in ("samples", "latent_hop", "sample_rate")}
    texts = {name: _text(path, name, arrays.get(name)) for name in ("codebook", "name")}
    return Encoded(units, **texts, **integers)


def _integer(path: Path, name: str, value: Shaped[np.ndarray, "..."] | None) -> int | None:
    if value is not None and (value.size != 1 or value.dtype.kind not in "iu"):
        raise UserError(f"{path}: its {name} is not one whole number, but {value.dtype} of shape {value.shape}.")
    return None if value is None else int(value.item())


def _text(path: Path, name: str, value: Shaped[np.ndarray, "..."] | None) -> str | None:
    if value is None:
        return None
    try:
        if value.size == 1 and value.dtype.kind == TEXTS:
            return value.item()
    except (ValueError, SystemError):  # a number that is no character
        pass
    raise UserError(f"{path}: its {name} is not one text, but {value.dtype} of shape {value.shape}.")


def _lines(path: Path) -> list[Encoded]:
    if (size := regular_file(path).st_size) > MAX_BYTES:
        raise UserError(f"{path}: it has {size / 2**20:,.0f} MiB; {MAX_BYTES // 2**20} can be read at a time.")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # some editors begin with a byte order mark
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8, so no lines of units.") from error
    found: dict[str, int] = {}  # which line has which name
    utterances = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, tab, units = line.partition("\t")
        expected = "a line is a name, a TAB, and whole numbers with spaces between"
        words: list[Any] = units.split()
        if not tab or not words:
            raise UserError(f"{path}, line {number}: {'no units' if tab else 'no TAB'}; {expected}.")
        if wrong := next((word for word in words if not WHOLE.fullmatch(word)), None):
            raise UserError(f"{path}, line {number}: {wrong[:20]!r} is not a unit; {expected}.")
        if name in found:
            raise UserError(f"{path}, line {number}: its name {name!r} is that of line {found[name]}; rename one.")
        found[name] = number
        utterances.append(Encoded(np.array(words, np.int64), name))
    if not utterances:
        raise UserError(f"{path}: it holds no line of units.")
    return utterances
