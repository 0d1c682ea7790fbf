"""Audio files to a prepared corpus: mu-law codes and MFCC frames of every whole utterance, memory-mapped.

A prepared corpus is a folder named by the digest of what it was made from (paths, sizes and times
of the sources, and the front-end settings), so it is reused as long as nothing changed and made
anew when anything did. It is written under a temporary name and renamed when it is whole.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import DataSettings, FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.mfcc import Statistics, features

PACKAGE = Path(__file__).parent
FORMAT = 1  # of the prepared folder; raise it when the layout or the meaning of its files changes
CHANNELS = range(2, 2**16 + 1)  # of mu-law, whose codes are stored in 8 or 16 bits
AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {".oga", ".opus", ".aif", ".sph"}
AUDIO_SUFFIXES -= {".raw"}  # headerless: says neither its rate nor its sample type

# libsndfile believes the length of a WAV, AIFF or AU file rather than its header; its log alone tells
# that the file was cut. A header that promises 2 GiB was written to a pipe, its length not yet known.
CUT = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
PIPED = 0x7FFF0000  # bytes


@dataclass(frozen=True)
class Source:
    """One audio file and who speaks in it."""

    path: Path
    speaker: str


class Corpus:
    """A prepared corpus, opened. Utterances are numbered in the order of their sources."""

    def __init__(self, folder: Path):
        index = json.loads((folder / "index.json").read_text())
        self.folder = folder
        self.digest: str = index["digest"]  # of the codes and frames themselves
        self.quantization_channels: int = index["quantization_channels"]
        self.names: list[str] = index["names"]
        self.speakers: list[str] = index["speakers"]  # of each utterance
        self.lengths: list[int] = index["samples"]  # of each utterance
        self._frame_starts = np.cumsum([0, *index["frames"]])
        self._code_starts = np.cumsum([0, *self.lengths])
        code_type = mulaw.code_type(self.quantization_channels)
        self._codes = np.memmap(folder / "codes.bin", dtype=code_type, mode="r")
        self._frames = np.memmap(folder / "frames.bin", dtype=np.float32, mode="r")
        self._frames = self._frames.reshape(self._frame_starts[-1], -1)

    def __reduce__(self):
        # A worker process opens the files again; a copy of memory-mapped arrays would be all of the corpus.
        return Corpus, (self.folder,)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def samples(self) -> int:
        """Samples of all utterances together."""
        return int(self._code_starts[-1])

    def codes(self, utterance: int) -> np.ndarray:
        """(samples,) mu-law codes, read from disk when looked at."""
        return self._codes[self._code_starts[utterance] : self._code_starts[utterance + 1]]

    def frames(self, utterance: int) -> np.ndarray:
        """(frames, channels) MFCCs and deltas, not normalised, read from disk when looked at."""
        return self._frames[self._frame_starts[utterance] : self._frame_starts[utterance + 1]]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of every coefficient over all frames."""
        return Statistics.of(self.frames(utterance).T for utterance in range(len(self)))

    def speaker_index(self, speakers: tuple[str, ...]) -> list[int]:
        """The index of each utterance's speaker among these; a UserError names one that is missing."""
        unknown = sorted(set(self.speakers) - set(speakers))
        if unknown:
            raise UserError(
                f"The model has not heard the speaker {unknown[0]!r}; it knows {', '.join(speakers)}. "
                "A catalog (speaker TAB path) as data.root names the speakers freely."
            )
        return [speakers.index(speaker) for speaker in self.speakers]


def prepare(data: DataSettings, front_end: FeatureSettings, quantization_channels: int) -> Corpus:
    """The corpus of these sources, prepared now or taken as it was prepared before.

    A file that cannot be used is named on stderr and left out; UserError when nothing is left.
    """
    if quantization_channels not in CHANNELS:
        raise UserError(
            f"wavenet.quantization_channels is {quantization_channels}; it must be {CHANNELS[0]} to {CHANNELS[-1]}."
        )
    sources = find_sources(data.root)
    folder = Path(data.prepared) / _key(sources, data, front_end, quantization_channels)
    if not (folder / "index.json").is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            unfinished = Path(tempfile.mkdtemp(prefix=".preparing-", dir=folder.parent))
            try:
                _write(unfinished, sources, data.seconds, front_end, quantization_channels)
                _rename(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        except OSError as error:
            raise UserError(
                f"The prepared corpus could not be written to {folder.parent} ({error.strerror or error}); "
                "data.prepared=FOLDER names another place."
            ) from error
    return Corpus(folder)


# --- sources --------------------------------------------------------------------------------------


def find_sources(root: tuple[str, ...]) -> list[Source]:
    """The audio files that data.root names, in a fixed order.

    In a folder, the first sub-folder is the speaker; files that lie in it directly are spoken by
    the folder's own name. "package:demo" is the folder demo inside this package.
    """
    if not root:
        raise UserError("data.root is empty; it takes a folder, audio files or a catalog (speaker TAB path).")
    sources = []
    for name in root:
        path = PACKAGE / name.removeprefix("package:") if name.startswith("package:") else Path(name).expanduser()
        if not path.exists():
            raise UserError(f"data.root={name}: there is no such file or folder (looked from {Path.cwd()}).")
        if path.is_dir():
            sources += _folder(path)
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            sources.append(Source(path, path.parent.resolve().name))
        else:
            sources += _catalog(path)
    return sources


def _folder(folder: Path) -> list[Source]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"data.root={folder}: the folder holds no audio file ({_few(sorted(AUDIO_SUFFIXES))}).")
    inside = [path.relative_to(folder).parts for path in files]
    return [Source(path, parts[0] if len(parts) > 1 else folder.resolve().name) for path, parts in zip(files, inside)]


def _catalog(catalog: Path) -> list[Source]:
    try:
        lines = catalog.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"data.root={catalog}: neither audio with a known suffix nor a catalog (text).") from None
    sources = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        speaker, tab, name = line.partition("\t")
        path = catalog.parent / name.strip()
        if not tab or not speaker.strip():
            raise UserError(f"{catalog}, line {number}: {line!r} is not 'speaker TAB path'.")
        if not path.is_file():
            raise UserError(f"{catalog}, line {number}: there is no file {path}.")
        sources.append(Source(path, speaker.strip()))
    if not sources:
        raise UserError(f"data.root={catalog}: the catalog is empty; it takes lines of 'speaker TAB path'.")
    return sources


def _few(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


# --- audio ----------------------------------------------------------------------------------------


def read_audio(path: Path, sample_rate: int, least: int = 1) -> np.ndarray:
    """(samples,) float32 in [-1, 1]: the file mixed down to one channel and resampled.

    UserError, naming the file, if it is no audio, truncated, empty, shorter than that many samples
    or contains NaN or infinities.
    """
    try:
        with soundfile.SoundFile(path) as file:
            promised, rate, cut = file.frames, file.samplerate, CUT.search(file.extra_info)
            audio = file.read(dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].strip().rstrip(".")
        raise UserError(f"{path}: not readable as audio ({reason}).") from error
    if len(audio) < promised:
        raise UserError(f"{path}: truncated, {len(audio)} of {promised} samples are there.")
    if cut and int(cut[2]) < int(cut[1]) < PIPED:
        raise UserError(f"{path}: truncated, {cut[2]} of {cut[1]} bytes of audio are there.")
    if not np.isfinite(audio).all():
        raise UserError(f"{path}: contains NaN or infinite samples.")
    mono = audio.mean(axis=1)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="VHQ").astype(np.float32)
    if len(mono) < least:
        raise UserError(f"{path}: {len(mono)} samples at {sample_rate} Hz; at least {least} (one hop) are needed.")
    return mono


def _utterances(
    sources: list[Source], seconds: float | None, settings: FeatureSettings
) -> Iterator[tuple[Source, np.ndarray]]:
    """Each source with its audio, up to so many seconds in all; what cannot be used is named and left out."""
    left = sys.maxsize if seconds is None else round(seconds * settings.sample_rate)
    if left < settings.hop_length:
        raise UserError(f"data.seconds={seconds}: shorter than one hop of {settings.hop_length} samples.")
    refused = []
    # leave=False: a bar that is done says nothing that the next line does not.
    for source in tqdm(sources, desc="preparing", unit="file", leave=False, disable=None):
        if left < settings.hop_length:
            break
        try:
            audio = read_audio(source.path, settings.sample_rate, settings.hop_length)[:left]
        except UserError as error:
            refused.append(error)
            tqdm.write(f"left out: {error}", file=sys.stderr)
            continue
        left -= len(audio)
        yield source, audio
    if len(refused) == len(sources):
        raise UserError(f"None of {len(sources)} audio files can be used; the first: {refused[0]}")
    if refused:
        print(f"{len(refused)} of {len(sources)} files were left out.", file=sys.stderr)


# --- the prepared folder --------------------------------------------------------------------------


def _key(sources: list[Source], data: DataSettings, front_end: FeatureSettings, quantization_channels: int) -> str:
    files = [(str(s.path.resolve()), s.speaker, s.path.stat().st_size, s.path.stat().st_mtime_ns) for s in sources]
    recipe = [FORMAT, files, data.seconds, asdict(front_end), quantization_channels]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def _write(
    folder: Path, sources: list[Source], seconds: float | None, settings: FeatureSettings, quantization_channels: int
):
    """Codes, frames and the index. The arrays grow on disk, so the corpus may be larger than memory."""
    index = {"quantization_channels": quantization_channels, "names": [], "speakers": [], "samples": [], "frames": []}
    digest = hashlib.sha256()
    taken: set[str] = set()  # names; a list of all would be searched for every file
    with open(folder / "codes.bin", "wb") as codes_file, open(folder / "frames.bin", "wb") as frames_file:
        for source, audio in _utterances(sources, seconds, settings):
            codes = mulaw.encode(audio, quantization_channels)
            frames = np.ascontiguousarray(features(audio, settings).T)
            for array, file in ((codes, codes_file), (frames, frames_file)):
                file.write(array.tobytes())
                digest.update(array.tobytes())
            name = source.path.stem if source.path.stem not in taken else f"{source.path.stem}-{len(taken)}"
            taken.add(name)
            index["names"].append(name)
            index["speakers"].append(source.speaker)
            index["samples"].append(len(codes))
            index["frames"].append(len(frames))
    index["digest"] = digest.hexdigest()
    (folder / "index.json").write_text(json.dumps(index))


def _rename(unfinished: Path, folder: Path):
    try:
        os.rename(unfinished, folder)
    except OSError:
        if not (folder / "index.json").is_file():  # another process was faster: its corpus is the same
            raise
