"""Whole utterances, shared out among the processes that measure a model together."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mfcc_wavenet.data.prepared.corpus import Corpus

T = TypeVar("T")


class Alone:
    """The only process of its run, which does all by itself; several of them override what they exchange."""

    rank = 0  # this process's number
    size = 1  # how many there are

    def share(self, lengths: Sequence[int]) -> list[int]:
        """Which utterances, whose lengths in samples these are, are this process's: the longest are dealt out first."""
        longest_first = sorted(range(len(lengths)), key=lambda utterance: -lengths[utterance])
        return sorted(longest_first[self.rank :: self.size])

    def collect(self, found: dict[int, T]) -> dict[int, T]:
        """What each process found, by utterance, in the order of the utterances."""
        everything = {utterance: one for process in self.gather(found) for utterance, one in process.items()}
        return dict(sorted(everything.items()))

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in their order."""
        return [value]

    def open_corpus(self, prepare: Callable[[], Corpus]) -> Corpus:
        """The corpus, which the first process prepares before the others open it."""
        return prepare()


ALONE = Alone()
