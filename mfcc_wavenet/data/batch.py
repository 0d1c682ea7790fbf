"""A batch of windows, and how far training has come when it is done."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

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

    Window b's frames make L latents, which are the frames themselves where there is no encoder. Beyond an end of the
    utterance the latent at that end stands in again. Latents, once upsampled, are complete for a stretch of samples
    that begins offsets[b] before the window's first input.
    """

    codes: Int[Tensor, "B T"]  # int64: the past, then the targets
    frames: Float[Tensor, "B F K"]  # float32, normalised
    latents: Int[Tensor, "B L"]  # int64: which of the window's latents stands at each place
    inside: Bool[Tensor, "B L"]  # False where the place is outside the utterance, and in a window that does not count
    offsets: Int[Tensor, " B"]  # int64, samples
    speakers: Int[Tensor, " B"]  # int64
    mask: Bool[Tensor, "B N"]  # False where the window sticks out of its utterance
    predicted: Int[Tensor, "B P"] | None  # int64, codes: the linear prediction at each of the window's inputs
    after: Position  # where training stands once this batch is done
    step_samples: int | None = None  # unmasked ones of the whole step, which other batches share; None: of no step

    def to(self, device: torch.device) -> "Batch":
        """On another device; from pinned memory without waiting for the copy."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Its memory on a GPU is not used for anything else before that stream has done what it was given by then."""
        for tensor in self._tensors().values():
            tensor.record_stream(stream)

    def padded(self, windows: int) -> "Batch":
        """With that many windows, for code that needs one shape: copies of the first, of which no sample counts."""
        added = windows - len(self.mask)
        if added <= 0:
            return self
        longer = self._map(lambda tensor: torch.cat([tensor, tensor[:1].expand(added, *tensor.shape[1:])]))
        longer.mask[-added:] = False
        longer.inside[-added:] = False
        return longer

    def masked(self) -> "Batch":
        """The same windows, of which no sample counts."""
        return replace(self, mask=torch.zeros_like(self.mask), inside=torch.zeros_like(self.inside))

    def parts(self, count: int) -> list["Batch"]:
        """Its windows in that many parts, of equal size but for the last; in fewer where there are too few windows."""
        size = -(-len(self.mask) // count)
        if size == len(self.mask):
            return [self]
        return [self._slice(slice(first, first + size)) for first in range(0, len(self.mask), size)]

    def pin_memory(self) -> "Batch":
        """In memory that a GPU copies from by itself; DataLoader asks for it by this name."""
        return self._map(Tensor.pin_memory)

    def _slice(self, windows: slice) -> "Batch":
        return self._map(lambda tensor: tensor[windows])

    def _map(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        return replace(self, **{name: move(tensor) for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
