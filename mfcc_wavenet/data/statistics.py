"""Mean and standard deviation of the frames of a corpus, by which they are normalised."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from mfcc_wavenet.config.errors import UserError

# Normalisation divides by no less than this. A channel that moves less says nothing that the two
# backends agree on; without a floor, a corpus of silence would divide by zero.
STD_FLOOR = 0.01  # dB


def sums(frames: Float[np.ndarray, "channels _"]) -> Float64[np.ndarray, "2 channels"]:
    """Of each channel over the frames of an utterance: the sum of its values, and that of their squares."""
    frames = frames.astype(np.float64)
    return np.stack([frames.sum(axis=1), np.square(frames).sum(axis=1)])


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and standard deviation of each channel over a corpus: (channels,) each, in dB."""

    mean: Float32[np.ndarray, " channels"]
    std: Float32[np.ndarray, " channels"]

    @classmethod
    def of(cls, utterances: Iterable[Float[np.ndarray, "channels _"]]) -> "Statistics":
        """Statistics of utterances of (channels, frames), of which one at a time is in memory.

        Every frame counts the same. Raises UserError if there is no utterance.
        """
        counts, all_sums = [], []
        for frames in utterances:
            counts.append(frames.shape[1])
            all_sums.append(sums(frames)[None])
        return cls.of_sums(sum(counts), all_sums)

    @classmethod
    def of_sums(cls, count: int, several: Iterable[Float64[np.ndarray, "some 2 channels"]]) -> "Statistics":
        """Statistics of utterances of that many frames together, from the sums() of each, some of them at a time.

        Raises UserError if there is no utterance.
        """
        if count == 0:
            raise UserError("There is no utterance to take the mean of: the corpus is empty.")
        total = 0.0
        for some in several:
            # One after the other, so that the last bits do not depend on how many there are at a time.
            total = np.add.accumulate(np.concatenate([np.broadcast_to(total, some[:1].shape), some]))[-1]
        mean, squares = total / count
        variance = np.maximum(squares - np.square(mean), STD_FLOOR**2)
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

    def normalise(self, frames: Float32[np.ndarray, "channels frames"]) -> Float32[np.ndarray, "channels frames"]:
        """(channels, frames) in dB to the same in standard deviations from the corpus's mean."""
        return ((frames - self.mean[:, None]) / self.std[:, None]).astype(np.float32)
