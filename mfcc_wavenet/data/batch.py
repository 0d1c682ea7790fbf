"""A batch of windows, and how far training has come when it is done."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Position:
    """How far training has come: whole epochs, and windows done of the windows in the current one."""

    epoch: int = 0
    done: int = 0
    of: int = 0  # 0: the epoch has not begun, so its windows have not been counted

    @property
    def epochs(self) -> float:
        """Passes over the corpus so far, the started one included in part."""
        return self.epoch + (self.done / self.of if self.of else 0.0)


@dataclass(frozen=True)
class Batch:
    """B windows of N predictions each, with the T = receptive field + N codes that they touch.

    Window b's frames, once upsampled, are complete for a stretch of samples that begins offsets[b]
    before the window's first input.
    """

    codes: Int[Tensor, "B T"]  # int64: the past, then the targets
    frames: Float[Tensor, "B F K"]  # float32, normalised
    offsets: Int[Tensor, " B"]  # int64, samples
    speakers: Int[Tensor, " B"]  # int64
    mask: Bool[Tensor, "B N"]  # False where the window sticks out of its utterance
    predicted: Int[Tensor, "B P"] | None  # int64, codes: the linear prediction at each of the window's inputs
    after: Position  # where training stands once this batch is done

    def to(self, device: torch.device) -> "Batch":
        """On another device; from pinned memory without waiting for the copy."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """In memory that a GPU copies from by itself; DataLoader asks for it by this name."""
        return self._map(Tensor.pin_memory)

    def _map(self, move) -> "Batch":
        tensors = (self.codes, self.frames, self.offsets, self.speakers, self.mask)
        predicted = None if self.predicted is None else move(self.predicted)
        return Batch(*map(move, tensors), predicted=predicted, after=self.after)
