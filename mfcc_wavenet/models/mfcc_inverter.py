"""The MFCC inverter: frames condition the WaveNet directly."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.models.base import Model, Predictions

WHITENED_WINDOWS = 2000  # whose frames are looked at


class MfccInverter(Model):
    """A WaveNet conditioned on upsampled frames and on the speaker: its latents are the frames themselves."""

    def run(self, batch: Batch) -> Predictions:
        return self.predict(batch, batch.frames)

    def encode(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B F K"]:
        return frames

    def before_training(self, batches: Iterator[Batch]) -> None:
        """Whitens the frames of the first batches, where the settings ask for it."""
        if self.upsampling.frame_mean is not None:
            first = [next(batches).frames]
            while sum(map(len, first)) < WHITENED_WINDOWS:
                first.append(next(batches).frames)
            self.upsampling.whiten(torch.cat(first))
