"""Train, valid and test: which part of a corpus an utterance is in follows from its id alone.

So every machine holds out the same utterances, and those that are added later move none of the others.
"""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
from jaxtyping import Bool

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import SPLIT_BY, DataSettings
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.prepared.prepare import size

TRAIN, VALID, TEST = PARTS = ("train", "valid", "test")
ALL = "all"  # of them together


def part_of(key: str, data: DataSettings) -> str:
    """One of PARTS. key: the id of an utterance or, where data.split_by says so, the name of its speaker.

    The first 8 bytes of the SHA-256 of "SEED:KEY" in UTF-8, as a big-endian integer over 2**64, are a number from 0 to
    1: below data.test it is a test, below data.test + data.valid it is of the valid part.
    """
    digest = hashlib.sha256(f"{data.split_seed}:{key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return TEST if place < data.test else VALID if place < data.test + data.valid else TRAIN


def part(corpus: Corpus, data: DataSettings, name: str) -> Corpus:
    """The utterances of that part, or the corpus itself where they are all of it.

    name: one of PARTS, or ALL. UserError, with the setting that decides, where there are none.
    """
    if name == ALL:
        return corpus
    if name != TRAIN and not getattr(data, name):
        raise UserError(f"The corpus has no {name} part, since data.{name} is 0; data.{name}=0.1 would make one.")
    chosen = np.flatnonzero(_in_part(corpus, data, name))
    if not len(chosen):
        raise UserError(
            f"With data.valid={data.valid}, data.test={data.test} and data.split_seed={data.split_seed}, none of the "
            f"corpus's {len(set(_keys(corpus, data)))} {data.split_by}s is in the {name} part; other fractions or "
            "another seed would put some there."
        )
    return corpus if len(chosen) == len(corpus) else corpus.part(chosen)


def parts(corpus: Corpus, data: DataSettings, sample_rate: int) -> dict[str, Corpus]:
    """The training part, and those that are held out, by their names; how large each is stands on stderr.

    UserError where one of them is empty.
    """
    found = {name: part(corpus, data, name) for name in PARTS if name == TRAIN or getattr(data, name)}
    if len(found) > 1:
        sizes = "; ".join(f"{name} {size(one, sample_rate)}" for name, one in found.items())
        print(f"Split by {data.split_by}: {sizes}.", file=sys.stderr)
    return found


def same_audio(one: DataSettings, other: DataSettings) -> bool:
    """Whether both are of the same corpus, however much of it is taken, and however it is split."""
    whole = {"seconds": None, "prepared": "", "valid": 0.0, "test": 0.0, "split_by": SPLIT_BY[0], "split_seed": 0}
    return replace(one, **whole) == replace(other, **whole)


def trained_on(corpus: Corpus, data: DataSettings, sample_rate: int) -> Bool[np.ndarray, " utterances"]:
    """Which utterances of a corpus, or of a part of it, a model has seen that was trained with these settings of it."""
    seen = _in_part(corpus, data, TRAIN)
    return seen if data.seconds is None else seen & (corpus.first_samples < round(data.seconds * sample_rate))


def _in_part(corpus: Corpus, data: DataSettings, name: str) -> np.ndarray:
    if not data.valid + data.test:
        return np.full(len(corpus), name == TRAIN)
    part_of_key = cache(lambda key: part_of(key, data))  # a speaker comes many times
    return np.array([part_of_key(key) == name for key in _keys(corpus, data)])


def _keys(corpus: Corpus, data: DataSettings) -> Iterable[str]:
    return corpus.speakers if data.split_by == "speaker" else corpus.ids
