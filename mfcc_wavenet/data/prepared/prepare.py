"""Audio files to a prepared corpus.

A prepared corpus is a folder named by the digest of what it was made from (paths, sizes and times
of the sources, and the front-end settings), so it is reused as long as nothing changed and made
anew when anything did. It is written under a temporary name, shard by shard, and renamed when it is
whole; what a process that was killed has finished of it is used by the next one.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import expanded, owned, replacing, write_text
from mfcc_wavenet.config.settings import PARTS, DataSettings, FeatureSettings
from mfcc_wavenet.data.prepared.corpus import INDEX, NO_PART, TEXTS, UTTERANCES, Corpus
from mfcc_wavenet.data.prepared.shards import (
    EVERYTHING,
    Contents,
    Joined,
    Recipe,
    SourceFile,
    cut,
    read_contents,
    write_shard,
)
from mfcc_wavenet.data.prepared.workers import cores, made
from mfcc_wavenet.data.sources import few, find_sources

LEAST_HOURS = 0.05  # that are given in hours, not in seconds
SHARED_SECONDS = 3600  # of a corpus, from which on it is worth several processes
FORMAT = 6  # of the prepared folder; raise it when the layout or the meaning of its files changes
SHARDS = "shards"  # the folder of them, while a corpus is prepared


def prepare(
    data: DataSettings, front_end: FeatureSettings, quantization_channels: int, preemphasis: float = 0.0
) -> Corpus:
    """The corpus of these sources, prepared now or taken as it was prepared before.

    A file that cannot be used is named on stderr and left out; UserError when nothing is left.
    """
    files = [SourceFile.of(source) for source in find_sources(data.root, data.corpus, data.subsets)]
    recipe = Recipe(front_end, quantization_channels, preemphasis)
    folder = expanded(data.prepared) / _key(files, data, recipe)
    try:
        corpus = _opened(folder, front_end)
        if corpus is None:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with owned(folder, f"The corpus {folder}", wait=True):
                corpus = _opened(folder, front_end)  # another process may just have prepared it
                if corpus is None:
                    corpus = _prepared(folder, files, data, recipe)
    except OSError as error:
        raise UserError(
            f"The prepared corpus could not be written to {data.prepared} ({error.strerror or error}); "
            f"data.prepared=FOLDER names another place{_kept(folder)}."
        ) from error
    except BrokenProcessPool as error:
        raise UserError(
            "A process that prepares the corpus was killed, as happens where memory runs out; data.workers=1 does "
            f"without such processes{_kept(folder)}."
        ) from error
    tqdm.write(speaker_hours(corpus, front_end.sample_rate), file=sys.stderr)
    return corpus


def speaker_hours(corpus: Corpus, sample_rate: int) -> str:
    """Who speaks how long, in one line: "2 speakers, 0.2 h: anna 0.1 h, bob 0.1 h"."""
    samples = corpus.speaker_samples
    each = few([f"{speaker} {_duration(count / sample_rate)}" for speaker, count in samples.items()])
    speakers = "1 speaker" if len(samples) == 1 else f"{len(samples)} speakers"
    return f"{speakers}, {_duration(corpus.samples / sample_rate)}: {each}"


def size(corpus: Corpus, sample_rate: int) -> str:
    """Of a corpus or a part of one, in words: "7 utterances, 20.1 s"."""
    utterances = "1 utterance" if len(corpus) == 1 else f"{len(corpus):,} utterances"
    return f"{utterances}, {_duration(corpus.samples / sample_rate)}"


def _duration(seconds: float) -> str:
    """In hours where that is a few minutes or more: "0.2 h", "24.7 s"."""
    return f"{seconds / 3600:,.1f} h" if seconds >= LEAST_HOURS * 3600 else f"{seconds:.1f} s"


def _key(files: list[SourceFile], data: DataSettings, recipe: Recipe) -> str:
    folders: dict[str, str] = {}  # there are 100,000s of files, and far fewer folders whose real names are asked for

    def real(path: Path) -> str:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        return f"{folders[folder]}/{name}"

    listed = [(real(file.source.path), file.source.id, file.source.speaker, file.size, file.mtime) for file in files]
    ingredients = [FORMAT, listed, data.seconds, asdict(recipe)]
    return hashlib.sha256(json.dumps(ingredients).encode()).hexdigest()[:16]


def _opened(folder: Path, front_end: FeatureSettings) -> Corpus | None:
    """None where it is not prepared, or not as it should be."""
    try:
        corpus = Corpus(folder)
    except UserError:
        return None
    return corpus if corpus.frame_channels == front_end.channels else None


# --- preparing ------------------------------------------------------------------------------------


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".preparing-{folder.name}")


def _kept(folder: Path) -> str:
    """What there is to resume from, for the end of a sentence."""
    is_there = os.path.exists(_unfinished(folder))
    return ", and the same command resumes from what is prepared so far" if is_there else ""


def _prepared(folder: Path, files: list[SourceFile], data: DataSettings, recipe: Recipe) -> Corpus:
    unfinished = _unfinished(folder)
    for remains in (unfinished / SHARDS).glob(".*"):  # of a process that was killed
        shutil.rmtree(remains)
    if folder.exists():
        tqdm.write(f"The prepared corpus {folder} is damaged and prepared again.", file=sys.stderr)
    is_kept = False
    try:
        joined = _joined(unfinished, files, data, recipe)
        _describe(joined.contents, data, len(files))
        _write_index(joined, recipe)
        if folder.exists():  # who has opened it keeps what it had
            shutil.rmtree(folder)
        unfinished.rename(folder)
        shutil.rmtree(folder / SHARDS)  # only now: without them, a process that resumes would begin again
    except UserError:  # about the files, which have to change, and are another corpus then
        raise
    except BaseException:
        is_kept = any((unfinished / SHARDS).glob("[!.]*"))
        raise
    finally:
        if not is_kept:
            shutil.rmtree(unfinished, ignore_errors=True)
    return Corpus(folder)


def _joined(unfinished: Path, files: list[SourceFile], data: DataSettings, recipe: Recipe) -> Joined:
    """All shards of the files, up to data.seconds of audio."""
    rate, hop_length, seconds = recipe.features.sample_rate, recipe.features.hop_length, data.seconds
    limit = EVERYTHING if seconds is None else round(seconds * rate)
    if limit < hop_length:
        raise UserError(f"data.seconds={seconds}: shorter than one hop of {hop_length} samples.")
    shards, joined = cut(files), Joined(unfinished, recipe)
    workers = (data.workers or cores()) if seconds is None or seconds > SHARED_SECONDS else 1
    left = lambda: limit - joined.samples  # noqa: E731
    # leave=False: a bar that is done says nothing that the next line does not.
    with (
        tqdm(total=len(files), desc="preparing", unit="file", leave=False, disable=None) as bar,
        contextlib.closing(made(unfinished / SHARDS, shards, left, recipe, workers)) as several,
    ):
        for shard, of_shard in zip(several, shards):
            contents, limited_to = read_contents(shard)
            if sum(contents.samples) > left() - hop_length and limited_to != left():
                shutil.rmtree(shard)  # the audio ends in this one, and when it was begun nobody knew where
                write_shard(shard, of_shard, left(), recipe)
                contents, _ = read_contents(shard)
            joined.add(shard, contents)
            for sentence in contents.refused:
                tqdm.write(f"left out: {sentence}", file=sys.stderr)
            bar.update(len(of_shard))
            if left() < hop_length:
                break
    return joined


def _describe(contents: Contents, data: DataSettings, files: int) -> None:
    """Says what is odd about the audio; UserError where nothing could be learnt from it."""
    refused, silent, loud = contents.refused, contents.silent, contents.loud
    if len(refused) == files:
        raise UserError(f"None of {files} audio files can be used; the first: {refused[0]}")
    if refused:
        tqdm.write(f"{len(refused)} of {files} files were left out.", file=sys.stderr)
    if len(silent) == len(contents.stems):
        part = "" if data.seconds is None else f", as far as data.seconds={data.seconds} goes,"
        raise UserError(f"Every sample of {few(silent)}{part} is silence once mixed to one channel; nothing is learnt.")
    if silent:
        tqdm.write(f"Silent, every sample of it once mixed to one channel: {few(silent)}.", file=sys.stderr)
    if loud:
        loudest = max(loud, key=loud.get)
        tqdm.write(
            f"{len(loud)} of {len(contents.stems)} files are clipped to full scale, 1; the loudest, {loudest}, has a "
            f"peak of {loud[loudest]:.2f}.",
            file=sys.stderr,
        )


def _write_index(joined: Joined, recipe: Recipe) -> None:
    """All but the arrays, which are there."""
    contents, taken = joined.contents, {}
    speakers = sorted(set(contents.speakers))
    numbers = {speaker: number for number, speaker in enumerate(speakers)}
    names = [_unique(stem, taken).encode() for stem in contents.stems]
    ids = [one.encode() for one in contents.ids]
    texts = b"".join(names), b"".join(ids)
    rows = [
        [*(numbers[speaker] for speaker in contents.speakers), 0],
        [*(NO_PART if split is None else PARTS.index(split) for split in contents.splits), 0],
        [0, *accumulate(contents.samples)],
        [0, *accumulate(contents.frames)],
        [0, *accumulate(map(len, names))],
        [0, *accumulate(map(len, ids))],
    ]
    rows = np.array(rows, np.int64)
    rows[-1] += len(texts[0])
    for name, content in ((UTTERANCES, rows.tobytes()), (TEXTS, b"".join(texts))):
        with replacing(joined.folder / name) as file:
            file.write_bytes(content)
    coded = {"quantization_channels": recipe.quantization_channels, "preemphasis": recipe.preemphasis}
    index = {**coded, "utterances": len(names), "speakers": speakers, "digest": joined.digest.hexdigest()}
    write_text(joined.folder / INDEX, json.dumps(index))


def _unique(stem: str, taken: dict[str, int]) -> str:
    """The stem, or with the first number behind it that no other utterance has.

    taken: the names so far, and how often each was asked for; it grows here.
    """
    name = stem
    while name in taken:
        taken[stem] += 1
        name = f"{stem}-{taken[stem]}"
    taken[name] = 1
    return name
