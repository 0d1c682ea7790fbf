"""Mean and standard deviation of the frames of a corpus, by which they are normalised."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from mfcc_wavenet.config.errors import UserError

# Normalisation divides by no less than this. A channel that moves less says nothing that the two
# backends agree on; without a floor, a corpus of silence would divide by zero.
STD_FLOOR = 0.01  # dB


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
        count, total, squares = 0, 0.0, 0.0
        for frames in utterances:
            frames = frames.astype(np.float64)
            count += frames.shape[1]
            total += frames.sum(axis=1)
            squares += np.square(frames).sum(axis=1)
        if count == 0:
            raise UserError("There is no utterance to take the mean of: the corpus is empty.")
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), STD_FLOOR**2)
        return cls(mean.astype(np.float32), np.sqrt(variance).astype(np.float32))

    def normalise(self, frames: Float32[np.ndarray, "channels frames"]) -> Float32[np.ndarray, "channels frames"]:
        """(channels, frames) in dB to the same in standard deviations from the corpus's mean."""
        return ((frames - self.mean[:, None]) / self.std[:, None]).astype(np.float32)
