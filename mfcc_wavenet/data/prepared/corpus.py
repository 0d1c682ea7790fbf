"""A prepared corpus: mu-law codes and MFCC frames of every whole utterance, memory-mapped.

Opening one reads nothing but its index, and takes memory in proportion to the number of utterances alone.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.statistics import Statistics

# In its folder. INDEX holds what all utterances have in common; the folder is whole.
CODES, FRAMES, SUMS, UTTERANCES, TEXTS, INDEX = (
    "codes.bin", "frames.bin", "sums.bin", "utterances.bin", "texts.bin", "index.json",
)  # fmt: skip
# The rows of UTTERANCES: of each utterance the numbers of its speaker and of the part that the corpus has it in, and
# where its first sample, first frame and first byte of its name and id are; these end with where the next would begin.
SPEAKER, PART, SAMPLE, FRAME, NAME, ID = range(6)
NO_PART = -1  # where the corpus does not say
AT_ONCE = 2**14  # utterances whose sums or names are in memory together


class Texts(Sequence[str]):
    """Texts in a file, read when looked at."""

    def __init__(self, content: np.memmap, starts: Integer[np.ndarray, " all_and_one"], chosen: np.ndarray | None):
        self._content, self._starts, self._chosen = content, starts, chosen

    def __len__(self) -> int:
        return len(self._starts) - 1 if self._chosen is None else len(self._chosen)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), AT_ONCE):
            chosen = np.arange(first, min(first + AT_ONCE, len(self)))
            chosen = chosen if self._chosen is None else self._chosen[chosen]
            for start, stop in zip(self._starts[chosen].tolist(), self._starts[chosen + 1].tolist()):
                yield self._content[start:stop].tobytes().decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number = number % len(self) if self._chosen is None else self._chosen[number]
        return self._content[self._starts[number] : self._starts[number + 1]].tobytes().decode()


class Corpus:
    """A prepared corpus, opened, or some of its utterances, which are numbered in the order of their sources."""

    def __init__(self, folder: Path, chosen: Int64[np.ndarray, " utterances"] | None = None):
        """chosen: the utterances of the folder that this corpus has, by their numbers there; None: all.

        UserError if the folder does not hold what its index says.
        """
        try:
            self._open(folder, chosen)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The prepared corpus {folder} is damaged ({error}).") from error

    def _open(self, folder: Path, chosen: np.ndarray | None) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.folder, self._chosen = folder, chosen
        self.digest: str = index["digest"]  # of the audio as codes, of the whole corpus, whatever its frames
        self.quantization_channels: int = index["quantization_channels"]
        self.preemphasis: float = index["preemphasis"]
        self._speaker_names: list[str] = index["speakers"]
        rows = np.asarray(np.memmap(folder / UTTERANCES, dtype=np.int64, mode="r")).reshape(
            ID + 1, index["utterances"] + 1
        )
        every = slice(0, -1) if chosen is None else chosen
        code_type = mulaw.code_type(self.quantization_channels)
        self._codes = np.memmap(folder / CODES, dtype=code_type, mode="r")
        if len(self._codes) != rows[SAMPLE, -1]:
            raise ValueError(f"{CODES} holds {len(self._codes)} of {rows[SAMPLE, -1]} codes")
        self._frames = np.memmap(folder / FRAMES, dtype=np.float32, mode="r").reshape(rows[FRAME, -1], -1)
        if (size := (folder / SUMS).stat().st_size) != (expected := 16 * (rows.shape[1] - 1) * self.frame_channels):
            raise ValueError(f"{SUMS} holds {size} of {expected} bytes")
        texts = np.memmap(folder / TEXTS, dtype=np.uint8, mode="r")
        if len(texts) != rows[ID, -1]:
            raise ValueError(f"{TEXTS} holds {len(texts)} of {rows[ID, -1]} bytes")
        self.names: Sequence[str] = Texts(texts, rows[NAME], chosen)  # unique
        self.ids: Sequence[str] = Texts(texts, rows[ID], chosen)  # as the sources have them
        self._speaker_numbers, self._first_frames = rows[SPEAKER][every], rows[FRAME][every]
        self.own_parts = rows[PART][every]  # of each utterance, by its number in PARTS, or NO_PART
        self.first_samples = rows[SAMPLE][every]  # of each utterance, counted from the beginning of the whole corpus
        counts = np.diff(rows[SAMPLE]) if chosen is None else rows[SAMPLE][chosen + 1] - rows[SAMPLE][chosen]
        self.lengths = array("q", counts.tobytes())  # samples of each utterance, each a plain integer when looked at
        self._frame_ends = rows[FRAME][1:] if chosen is None else rows[FRAME][chosen + 1]

    def __reduce__(self):
        # A worker process opens the files again; a copy of memory-mapped arrays would be all of the corpus.
        return Corpus, (self.folder, self._chosen)

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, utterances: Integer[np.ndarray, " some"]) -> "Corpus":
        """A corpus of these utterances alone, in that order, numbered from 0."""
        return Corpus(self.folder, utterances if self._chosen is None else self._chosen[utterances])

    @property
    def frame_channels(self) -> int:
        """Numbers per frame."""
        return self._frames.shape[1]

    @cached_property
    def samples(self) -> int:
        """Samples of all utterances together."""
        return sum(self.lengths)

    def codes(self, utterance: int) -> Integer[np.ndarray, " samples"]:
        """Mu-law codes, read from disk when looked at."""
        first = self.first_samples[utterance]
        return self._codes[first : first + self.lengths[utterance]]

    def frames(self, utterance: int) -> Float32[np.ndarray, "frames channels"]:
        """MFCCs and deltas, not normalised, read from disk when looked at."""
        return self._frames[self._first_frames[utterance] : self._frame_ends[utterance]]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of every coefficient over all frames, from the sums of each utterance's."""
        return Statistics.of_sums(int((self._frame_ends - self._first_frames).sum()), self._sums())

    def _sums(self) -> Iterator[Float64[np.ndarray, "some 2 channels"]]:
        for first in range(0, len(self), AT_ONCE):
            some = slice(first, min(first + AT_ONCE, len(self)))
            yield self._sums_of(some if self._chosen is None else self._chosen[some])

    def _sums_of(self, utterances: slice | Int64[np.ndarray, " some"]) -> Float64[np.ndarray, "some 2 channels"]:
        """Opened each time, so that what was read of a large corpus does not stay in this process's memory."""
        sums = np.memmap(self.folder / SUMS, dtype=np.float64, mode="r")
        return np.array(sums.reshape(-1, 2, self.frame_channels)[utterances])

    # --- speakers ---------------------------------------------------------------------------------

    @cached_property
    def speakers(self) -> list[str]:
        """Of each utterance."""
        return np.array(self._speaker_names, dtype=object)[self._speaker_numbers].tolist()

    @property
    def speaker_samples(self) -> dict[str, int]:
        """How many samples each speaker has, those who have some, by their names in order."""
        samples = np.bincount(self._speaker_numbers, np.asarray(self.lengths), len(self._speaker_names))
        return {name: int(count) for name, count in sorted(zip(self._speaker_names, samples)) if count}

    def speaker_index(self, speakers: tuple[str, ...] | None) -> Sequence[int]:
        """The index of each utterance's speaker among these; a UserError names one that is missing.

        None: of a model that is not conditioned on the speaker, for which they are all 0.
        """
        if speakers is None:
            return bytes(len(self))
        unknown = sorted(set(self.speaker_samples) - set(speakers))
        if unknown:
            raise UserError(
                f"The model was not trained on the speaker {unknown[0]!r}, but on {', '.join(speakers)}. "
                "A manifest (lines of speaker TAB path) as data.root names the speakers freely."
            )
        known = {name: number for number, name in enumerate(speakers)}
        numbers = np.array([known.get(name, -1) for name in self._speaker_names], np.int32)
        return array("i", numbers[self._speaker_numbers].tobytes())
