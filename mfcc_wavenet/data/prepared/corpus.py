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
    """A prepared corpus, opened. Utterances are numbered in the order of their sources."""

    def __init__(self, folder: Path):
        """UserError if the folder does not hold what its index says."""
        try:
            self._open(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"The prepared corpus {folder} is damaged ({error}).") from error

    def _open(self, folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text())
        self.folder = folder
        self.digest: str = index["digest"]  # of the codes and frames themselves
        self.quantization_channels: int = index["quantization_channels"]
        self.names: list[str] = index["names"]
        self.speakers: list[str] = index["speakers"]  # of each utterance
        self.lengths: list[int] = index["samples"]  # of each utterance
        if not 0 < len(self.names) == len(self.speakers) == len(self.lengths) == len(index["frames"]):
            raise ValueError("the lists of the index differ in length")
        self._frame_starts = np.cumsum([0, *index["frames"]])
        self._code_starts = np.cumsum([0, *self.lengths])
        code_type = mulaw.code_type(self.quantization_channels)
        self._codes = np.memmap(folder / CODES, dtype=code_type, mode="r")
        if len(self._codes) != self.samples:
            raise ValueError(f"{CODES} holds {len(self._codes)} of {self.samples} codes")
        self._frames = np.memmap(folder / FRAMES, dtype=np.float32, mode="r")
        self._frames = self._frames.reshape(self._frame_starts[-1], -1)

    def __reduce__(self):
        # A worker process opens the files again; a copy of memory-mapped arrays would be all of the corpus.
        return Corpus, (self.folder,)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def frame_channels(self) -> int:
        """Numbers per frame."""
        return self._frames.shape[1]

    @property
    def samples(self) -> int:
        """Samples of all utterances together."""
        return int(self._code_starts[-1])

    def codes(self, utterance: int) -> Integer[np.ndarray, " samples"]:
        """Mu-law codes, read from disk when looked at."""
        return self._codes[self._code_starts[utterance] : self._code_starts[utterance + 1]]

    def frames(self, utterance: int) -> Float32[np.ndarray, "frames channels"]:
        """MFCCs and deltas, not normalised, read from disk when looked at."""
        return self._frames[self._frame_starts[utterance] : self._frame_starts[utterance + 1]]

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
