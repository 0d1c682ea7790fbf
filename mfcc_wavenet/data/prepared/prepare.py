"""Audio files to a prepared corpus.

A prepared corpus is a folder named by the digest of what it was made from (paths, sizes and times
of the sources, and the front-end settings), so it is reused as long as nothing changed and made
anew when anything did. It is written under a temporary name and renamed when it is whole.
"""

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import owned
from mfcc_wavenet.config.settings import DataSettings, FeatureSettings
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.audio import read_audio
from mfcc_wavenet.data.mfcc import features
from mfcc_wavenet.data.prepared.corpus import CODES, FRAMES, INDEX, Corpus
from mfcc_wavenet.data.sources import Source, few, find_sources, readable

CLIPPED_PEAK = 1.1  # resampling and lossy codecs exceed full scale by less, and nobody hears that
LEAST_HOURS = 0.05  # that are given in hours, not in seconds
FORMAT = 3  # of the prepared folder; raise it when the layout or the meaning of its files changes


def prepare(data: DataSettings, front_end: FeatureSettings, quantization_channels: int) -> Corpus:
    """The corpus of these sources, prepared now or taken as it was prepared before.

    A file that cannot be used is named on stderr and left out; UserError when nothing is left.
    """
    sources = find_sources(data.root, data.corpus, data.subsets)
    try:
        folder = Path(data.prepared) / _key(sources, data, front_end, quantization_channels)
        corpus = _opened(folder, front_end)
        if corpus is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with owned(folder, f"The corpus {folder}", wait=True):
                corpus = _opened(folder, front_end)  # another process may just have prepared it
                if corpus is None:
                    corpus = _prepared(folder, sources, data.seconds, front_end, quantization_channels)
    except OSError as error:
        raise UserError(
            f"The prepared corpus could not be written to {data.prepared} ({error.strerror or error}); "
            "data.prepared=FOLDER names another place."
        ) from error
    tqdm.write(speaker_hours(corpus, front_end.sample_rate), file=sys.stderr)
    return corpus


def speaker_hours(corpus: Corpus, sample_rate: int) -> str:
    """Who speaks how long, in one line: "2 speakers, 0.2 h: anna 0.1 h, bob 0.1 h"."""
    samples: Counter[str] = Counter()
    for speaker, length in zip(corpus.speakers, corpus.lengths):
        samples[speaker] += length
    each = few([f"{speaker} {_duration(count / sample_rate)}" for speaker, count in sorted(samples.items())])
    speakers = "1 speaker" if len(samples) == 1 else f"{len(samples)} speakers"
    return f"{speakers}, {_duration(corpus.samples / sample_rate)}: {each}"


def size(corpus: Corpus, sample_rate: int) -> str:
    """Of a corpus or a part of one, in words: "7 utterances, 20.1 s"."""
    utterances = "1 utterance" if len(corpus) == 1 else f"{len(corpus):,} utterances"
    return f"{utterances}, {_duration(corpus.samples / sample_rate)}"


def _duration(seconds: float) -> str:
    """In hours where that is a few minutes or more: "0.2 h", "24.7 s"."""
    return f"{seconds / 3600:,.1f} h" if seconds >= LEAST_HOURS * 3600 else f"{seconds:.1f} s"


def _opened(folder: Path, front_end: FeatureSettings) -> Corpus | None:
    """None where it is not prepared, or not as it should be."""
    try:
        corpus = Corpus(folder)
    except UserError:
        return None
    return corpus if corpus.frame_channels == front_end.channels else None


def _prepared(
    folder: Path, sources: list[Source], seconds: float | None, front_end: FeatureSettings, quantization_channels: int
) -> Corpus:
    unfinished = folder.with_name(f".preparing-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
    unfinished.mkdir()
    if folder.exists():
        tqdm.write(f"The prepared corpus {folder} is damaged and prepared again.", file=sys.stderr)
    try:
        _write(unfinished, sources, seconds, front_end, quantization_channels)
        if folder.exists():  # who has opened it keeps what it had
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Corpus(folder)


def _utterances(
    sources: list[Source], seconds: float | None, settings: FeatureSettings
) -> Iterator[tuple[Source, np.ndarray]]:
    """Each source with its audio, up to that many seconds in all; what cannot be used is named and left out."""
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
        tqdm.write(f"{len(refused)} of {len(sources)} files were left out.", file=sys.stderr)


def _key(sources: list[Source], data: DataSettings, front_end: FeatureSettings, quantization_channels: int) -> str:
    stats = [source.path.stat() for source in sources]
    files = [
        (str(source.path.resolve()), source.id, source.speaker, of_file.st_size, of_file.st_mtime_ns)
        for source, of_file in zip(sources, stats)
    ]
    recipe = [FORMAT, files, data.seconds, asdict(front_end), quantization_channels]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]


def _write(
    folder: Path, sources: list[Source], seconds: float | None, settings: FeatureSettings, quantization_channels: int
):
    """Codes, frames and the index. The arrays grow on disk, so the corpus may be larger than memory."""
    silence = mulaw.silence(quantization_channels)
    index = {"quantization_channels": quantization_channels}
    index |= {name: [] for name in ("names", "ids", "speakers", "samples", "frames")}
    digest = hashlib.sha256()
    taken: dict[str, int] = {}
    silent, loud = [], {}
    with open(folder / CODES, "wb") as codes_file, open(folder / FRAMES, "wb") as frames_file:
        for source, audio in _utterances(sources, seconds, settings):
            codes = mulaw.encode(audio, quantization_channels)
            if (codes == silence).all():
                silent.append(str(source.path))
            elif (peak := float(np.abs(audio).max())) > CLIPPED_PEAK:
                loud[str(source.path)] = peak
            frames = np.ascontiguousarray(features(audio, settings).T)
            for array, file in ((codes, codes_file), (frames, frames_file)):
                file.write(array.tobytes())
                digest.update(array.tobytes())
            index["names"].append(_unique(source.path.stem, taken))
            index["ids"].append(source.id)
            index["speakers"].append(source.speaker)
            index["samples"].append(len(codes))
            index["frames"].append(len(frames))
    if len(silent) == len(index["names"]):
        part = "" if seconds is None else f", as far as data.seconds={seconds} goes,"
        raise UserError(f"Every sample of {few(silent)}{part} is silence once mixed to one channel; nothing is learnt.")
    if silent:
        tqdm.write(f"Silent, every sample of it once mixed to one channel: {few(silent)}.", file=sys.stderr)
    if loud:
        loudest = max(loud, key=loud.get)
        tqdm.write(
            f"{len(loud)} of {len(index['names'])} files are clipped to full scale, 1; the loudest, {loudest}, has a "
            f"peak of {loud[loudest]:.2f}.",
            file=sys.stderr,
        )
    index["digest"] = digest.hexdigest()
    (folder / INDEX).write_text(json.dumps(index))


def _unique(stem: str, taken: dict[str, int]) -> str:
    """The stem, or with the first number behind it that no other utterance has.

    taken: the names so far, and how often each was asked for; it grows here.
    """
    stem = name = readable(stem)
    while name in taken:
        taken[stem] += 1
        name = f"{stem}-{taken[stem]}"
    taken[name] = 1
    return name
