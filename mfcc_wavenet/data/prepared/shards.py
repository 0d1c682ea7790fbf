"""A corpus in the making: shards of some source files each, prepared apart, and joined in their order.

A shard is a folder that gets its name when it is whole. So a process that is killed loses the shards that it had begun,
and how many processes there are changes no byte of what they are joined to.
"""

import contextlib
import hashlib
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import read_json, write_json
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.prepared.corpus import CODES, FRAMES, INDEX, SUMS
from mfcc_wavenet.data.sources import Source, readable
from mfcc_wavenet.data.statistics import sums

SHARD_FILES, SHARD_BYTES = 256, 2**24  # of sources, at most but for a larger file: 15 min of FLAC at 16 kHz
CLIPPED_PEAK = 1.1  # resampling and lossy codecs exceed full scale by less, and nobody hears that
ARRAYS = (CODES, FRAMES, SUMS)
EVERYTHING = sys.maxsize  # samples


class SourceFile(NamedTuple):
    """A source as it was when the preparation began."""

    source: Source
    size: int  # bytes
    mtime: int  # ns

    @classmethod
    def of(cls, source: Source) -> "SourceFile":
        """UserError where it cannot be looked at."""
        try:
            status = source.path.stat()
        except OSError as error:
            raise UserError(f"{source.path}: cannot be read ({error.strerror}).") from error
        return cls(source, status.st_size, status.st_mtime_ns)

    def refuse_change(self) -> None:
        """UserError where it is another one by now."""
        try:
            status = self.source.path.stat()
            is_same = (status.st_size, status.st_mtime_ns) == (self.size, self.mtime)
        except OSError:
            is_same = False
        if not is_same:
            raise UserError(
                f"{self.source.path} has changed while the corpus was prepared; once its files stay as they are, the "
                "same command prepares it."
            )


@dataclass(frozen=True)
class Recipe:
    """What is made of each file."""

    features: FeatureSettings
    quantization_channels: int
    preemphasis: float


@dataclass
class Contents:
    """What is said of the utterances of a shard, or of several; lists in their order."""

    stems: list[str] = field(default_factory=list)  # of their files' names
    ids: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)  # as the corpus itself says
    samples: list[int] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # sentences, of the files that were left out
    silent: list[str] = field(default_factory=list)  # paths
    loud: dict[str, float] = field(default_factory=dict)  # peaks above CLIPPED_PEAK, by paths

    def add(self, other: "Contents") -> None:
        """Those of the shard that comes next."""
        for name, values in vars(other).items():
            own = getattr(self, name)
            own.update(values) if isinstance(own, dict) else own.extend(values)


def cut(files: list[SourceFile]) -> list[list[SourceFile]]:
    """Into shards, which depend on nothing but the files."""
    shards: list[list[SourceFile]] = []
    size = 0
    for file in files:
        if not shards or size + file.size > SHARD_BYTES or len(shards[-1]) == SHARD_FILES:
            shards.append([])
            size = 0
        shards[-1].append(file)
        size += file.size
    return shards


# --- a shard --------------------------------------------------------------------------------------


def write_shard(folder: Path, files: list[SourceFile], limit: int, recipe: Recipe) -> None:
    """Prepares the files, up to that many samples in all, into a folder that is there once it is whole.

    What cannot be used is left out. UserError where a file has changed, OSError where there is no room.
    """
    unfinished = folder.with_name(f".{folder.name}-{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        # The products here are small: threads, also those of torchaudio, would wait for each other most of the time.
        with threadpool_limits(1):
            contents = _write_arrays(unfinished, files, limit, recipe)
        write_json(unfinished / INDEX, vars(contents) | {"limit": limit})
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.exists():  # by a process whose main one was killed a moment ago
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_arrays(folder: Path, files: list[SourceFile], limit: int, recipe: Recipe) -> Contents:
    contents, hop_length = Contents(), recipe.features.hop_length
    left, silence = limit, mulaw.silence(recipe.quantization_channels)
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(open(folder / name, "wb")) for name in ARRAYS]
        for file in files:
            if left < hop_length:
                break
            source = file.source
            try:
                audio = read_audio(source.path, recipe.features.sample_rate, hop_length)[:left]
            except UserError as error:
                contents.refused.append(str(error))
                continue
            finally:
                file.refuse_change()
            left -= len(audio)
            codes = mulaw.encode(audio, recipe.quantization_channels, recipe.preemphasis)
            if (codes == silence).all():
                contents.silent.append(str(source.path))
            elif (peak := float(np.abs(audio).max())) > CLIPPED_PEAK:
                contents.loud[str(source.path)] = peak
            frames = np.ascontiguousarray(features(audio, recipe.features).T)
            for output, values in zip(outputs, (codes, frames, sums(frames.T))):
                output.write(values.tobytes())
            contents.stems.append(readable(source.path.stem))
            contents.ids.append(source.id)
            contents.speakers.append(source.speaker)
            contents.splits.append(source.split)
            contents.samples.append(len(codes))
            contents.frames.append(len(frames))
    return contents


# --- shards, joined -------------------------------------------------------------------------------


class Joined:
    """The shards so far, one behind the other: arrays in a folder, what is said of them in memory, a digest of codes.

    Where a shard's array is gone, it was joined by a process that is no more. So the sizes of all shards before it say
    where each array continues, whatever a kill has left behind that.
    """

    def __init__(self, folder: Path, recipe: Recipe):
        self.folder = folder
        self.contents = Contents()
        self.digest = hashlib.sha256()
        channels = recipe.features.channels
        code_bytes = mulaw.code_type(recipe.quantization_channels)().itemsize
        self._bytes_each = {CODES: code_bytes, FRAMES: 4 * channels, SUMS: 16 * channels}
        self._ends = dict.fromkeys(ARRAYS, 0)

    @property
    def samples(self) -> int:
        """Of all utterances together."""
        return self._ends[CODES] // self._bytes_each[CODES]

    def add(self, shard: Path, contents: Contents) -> None:
        """The shard that comes next. Its arrays move here; the rest of it stays, to say that they are here.

        UserError where its arrays are not what it says.
        """
        starts = dict(self._ends)
        counts = {CODES: sum(contents.samples), FRAMES: sum(contents.frames), SUMS: len(contents.stems)}
        for name, count in counts.items():
            self._ends[name] += count * self._bytes_each[name]
            if (shard / name).exists():
                _append(shard / name, self.folder / name, starts[name])
            whole = self.folder / name
            if not whole.is_file() or whole.stat().st_size < self._ends[name]:
                raise UserError(
                    f"What was prepared so far in {self.folder} is damaged and removed; the same command begins again."
                )
        with open(self.folder / CODES, "rb") as codes:
            codes.seek(starts[CODES])
            for samples in contents.samples:
                self.digest.update(samples.to_bytes(8, "little"))
                self.digest.update(codes.read(samples * self._bytes_each[CODES]))
        self.contents.add(contents)


def read_contents(shard: Path) -> tuple[Contents, int]:
    """What a shard holds, and the samples that it was limited to; UserError where it cannot be read."""
    values = read_json(shard / INDEX)
    limit = values.pop("limit")
    return Contents(**values), limit


def _append(part: Path, whole: Path, end: int) -> None:
    """Moves a file's content behind that many bytes of another one, so that it is never in neither of them."""
    with open(part, "rb") as source, open(whole, "r+b" if whole.exists() else "w+b") as target:
        target.truncate(end)
        target.seek(end)
        shutil.copyfileobj(source, target, 2**20)
        target.flush()
        os.fsync(target.fileno())
    part.unlink()
