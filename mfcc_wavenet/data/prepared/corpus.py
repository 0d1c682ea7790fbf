"""A prepared corpus: mu-law codes and MFCC frames of every whole utterance, memory-mapped."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.statistics import Statistics

CODES, FRAMES = "codes.bin", "frames.bin"
INDEX = "index.json"  # in its folder, with names, speakers and lengths; the folder is whole


class Corpus:
    """A prepared corpus, opened, or some of its utterances, which are numbered in the order of their sources."""

    def __init__(self, folder: Path, chosen: Integer[np.ndarray, " utterances"] | None = None):
        """chosen: the utterances of the folder that this corpus has, by their numbers there; None: all.

        UserError if the folder does not hold what its index says.
        """
        try:
            self._open(folder, chosen)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The prepared corpus {folder} is damaged ({error}).") from error

    def _open(self, folder: Path, chosen: np.ndarray | None) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.folder = folder
        self.digest: str = index["digest"]  # of the codes and frames themselves, of the whole corpus
        self.quantization_channels: int = index["quantization_channels"]
        columns = [index[name] for name in ("names", "ids", "speakers", "samples", "frames")]
        if len({len(column) for column in columns}) != 1 or not columns[0]:
            raise ValueError("the lists of the index differ in length")
        samples, frames = (np.cumsum([0, *column]) for column in columns[-2:])
        code_type = mulaw.code_type(self.quantization_channels)
        self._codes = np.memmap(folder / CODES, dtype=code_type, mode="r")
        if len(self._codes) != samples[-1]:
            raise ValueError(f"{CODES} holds {len(self._codes)} of {samples[-1]} codes")
        self._frames = np.memmap(folder / FRAMES, dtype=np.float32, mode="r").reshape(frames[-1], -1)
        self._chosen = np.arange(len(columns[0])) if chosen is None else chosen
        self.first_samples = samples[self._chosen]  # of each utterance, counted from the beginning of the whole corpus
        self._first_frames, self._frame_counts = frames[self._chosen], np.diff(frames)[self._chosen]
        names, ids, speakers, lengths, _ = ([column[number] for number in self._chosen.tolist()] for column in columns)
        self.names: list[str] = names  # unique
        self.ids: list[str] = ids  # as the sources have them
        self.speakers: list[str] = speakers  # of each utterance
        self.lengths: list[int] = lengths  # of each utterance

    def __reduce__(self):
        # A worker process opens the files again; a copy of memory-mapped arrays would be all of the corpus.
        return Corpus, (self.folder, self._chosen)

    def __len__(self) -> int:
        return len(self.lengths)

    def part(self, utterances: Integer[np.ndarray, " some"]) -> "Corpus":
        """A corpus of these utterances alone, in that order, numbered from 0."""
        return Corpus(self.folder, self._chosen[utterances])

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
        first = self._first_frames[utterance]
        return self._frames[first : first + self._frame_counts[utterance]]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of every coefficient over all frames."""
        return Statistics.of(self.frames(utterance).T for utterance in range(len(self)))

    def speaker_index(self, speakers: tuple[str, ...] | None) -> list[int]:
        """The index of each utterance's speaker among these; a UserError names one that is missing.

        None: of a model that is not conditioned on the speaker, for which they are all 0.
        """
        if speakers is None:
            return [0] * len(self)
        unknown = sorted(set(self.speakers) - set(speakers))
        if unknown:
            raise UserError(
                f"The model was not trained on the speaker {unknown[0]!r}, but on {', '.join(speakers)}. "
                "A manifest (lines of speaker TAB path) as data.root names the speakers freely."
            )
        return [speakers.index(speaker) for speaker in self.speakers]
