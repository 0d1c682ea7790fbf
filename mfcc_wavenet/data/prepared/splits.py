"""Train, valid and test: which part of a corpus an utterance is in follows from its id, or from the corpus's own names.

So every machine holds out the same utterances, and those that are added later move none of the others.
"""

import hashlib
import sys
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int8

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import PARTS, SPLIT_BY, TEST, TRAIN, VALID, DataSettings
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import size

ALL = "all"  # of them together


def part_of(key: str, data: DataSettings) -> str:
    """One of PARTS. key: the id of an utterance or, where data.split_by says so, the name of its speaker.

    The first 8 bytes of the SHA-256 of "SEED:KEY" in UTF-8, as a big-endian integer over 2**64, are a number from 0 to
    1: below data.test it is a test, below data.test + data.valid it is of the valid part.
    """
    place = int.from_bytes(_digest(f"{data.split_seed}:{key}")[:8], "big") / 2**64
    return TEST if place < data.test else VALID if place < data.test + data.valid else TRAIN


def part(corpus: Corpus, data: DataSettings, name: str) -> Corpus:
    """The utterances of that part, or the corpus itself where they are all of it.

    name: one of PARTS, or ALL. UserError, with the setting that decides, where there are none.
    """
    return corpus if name == ALL else _part(corpus, data, name, _assigned(corpus, data))


def parts(corpus: Corpus, data: DataSettings, sample_rate: int) -> dict[str, Corpus]:
    """The training part, and those that are held out, by their names; how large each is stands on stderr.

    UserError where one of them is empty.
    """
    assigned, names = _assigned(corpus, data), [name for name in PARTS if name == TRAIN or name in data.held_out]
    found = {name: _part(corpus, data, name, assigned) for name in names}
    if len(found) > 1:
        sizes = "; ".join(f"{name} {size(one, sample_rate)}" for name, one in found.items())
        print(f"Split by {data.split_by}: {sizes}.", file=sys.stderr)
    return found


def held_out(data: DataSettings) -> str:
    """The part that says most of a model: the tests, or the valid part, or where nothing is held out the other."""
    return (TRAIN, *data.held_out)[-1]


def some(corpus: Corpus, data: DataSettings, samples: int) -> Corpus:
    """Some of its utterances, always the same, in an order of chance: at most that many samples, or one utterance."""
    order = sorted(range(len(corpus)), key=lambda number: _digest(f"{data.split_seed}:some:{corpus.ids[number]}"))
    total = np.cumsum([corpus.lengths[number] for number in order])
    return corpus.part(np.array(order[: max(1, int((total <= samples).sum()))]))


def same_audio(one: DataSettings, other: DataSettings) -> bool:
    """Whether both are of the same corpus, however much of it is taken, and however it is split."""
    whole = {
        "seconds": None,
        "prepared": "",
        "workers": None,
        "valid": 0.0,
        "test": 0.0,
        "split_by": SPLIT_BY[0],
        "split_seed": 0,
    }
    return replace(one, **whole) == replace(other, **whole)


def trained_on(corpus: Corpus, data: DataSettings, sample_rate: int) -> Bool[np.ndarray, " utterances"]:
    """Which utterances of a corpus, or of a part of it, a model has seen that was trained with these settings of it."""
    seen = _assigned(corpus, data) == PARTS.index(TRAIN)
    return seen if data.seconds is None else seen & (corpus.first_samples < round(data.seconds * sample_rate))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _part(corpus: Corpus, data: DataSettings, name: str, assigned: Int8[np.ndarray, " utterances"]) -> Corpus:
    chosen = np.flatnonzero(assigned == PARTS.index(name))
    if data.split_by == "subset" and not len(chosen):
        raise UserError(f"The corpus has no {name} part: data.subsets, {', '.join(data.subsets)}, names none for it.")
    if name != TRAIN and name not in data.held_out:
        raise UserError(f"The corpus has no {name} part, since data.{name} is 0; data.{name}=0.1 would make one.")
    if not len(chosen):
        several = len(corpus) if data.split_by == "utterance" else len(corpus.speaker_samples)
        raise UserError(
            f"With data.valid={data.valid}, data.test={data.test} and data.split_seed={data.split_seed}, none of the "
            f"corpus's {several} {data.split_by}s is in the {name} part; another seed or other fractions may help."
        )
    return corpus if len(chosen) == len(corpus) else corpus.part(chosen)


def _assigned(corpus: Corpus, data: DataSettings) -> Int8[np.ndarray, " utterances"]:
    """Of each utterance the number of its part in PARTS."""
    if data.split_by == "subset":
        return corpus.own_parts.astype(np.int8)
    if not data.held_out:
        return np.zeros(len(corpus), np.int8)
    if data.split_by == "utterance":
        numbers = (PARTS.index(part_of(key, data)) for key in corpus.ids)
    else:
        of_speaker = {speaker: PARTS.index(part_of(speaker, data)) for speaker in corpus.speaker_samples}
        numbers = (of_speaker[speaker] for speaker in corpus.speakers)
    return np.fromiter(numbers, np.int8, len(corpus))
