"""Which samples are predicted when: a pure function of (seed, epoch, position), without hidden state.

One epoch predicts every sample of the corpus exactly once. Windows of equal length tile each
utterance with a phase that is drawn anew every epoch, so that no sample always stands at a window's
edge; what sticks out of an utterance is masked. A window never crosses into another utterance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mfcc_wavenet.config.geometry import Geometry, Span
from mfcc_wavenet.data.corpus import Corpus
from mfcc_wavenet.data.mfcc import Statistics
from mfcc_wavenet.data.mulaw import silence


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
    """B windows of N predictions each; R is the receptive field.

    Window b's frames, once upsampled, are complete for a stretch of samples that begins offsets[b]
    before the window's first input.
    """

    codes: Tensor  # (B, R + N) int64: the past, then the targets
    frames: Tensor  # (B, F, K) float32, normalised
    offsets: Tensor  # (B,) int64, samples
    speakers: Tensor  # (B,) int64
    mask: Tensor  # (B, N) bool: False where the window sticks out of its utterance
    after: Position  # where training stands once this batch is done

    def to(self, device: torch.device) -> "Batch":
        moved = (getattr(self, name).to(device) for name in ("codes", "frames", "offsets", "speakers", "mask"))
        return Batch(*moved, after=self.after)


class Windows:
    """The windows of a corpus: windows[position] is the batch that follows that position."""

    def __init__(
        self, corpus: Corpus, geometry: Geometry, statistics: Statistics, speakers: tuple[str, ...], seed: int
    ):
        """speakers: the model's, whose order gives the indices; seed: of the order of the windows."""
        self.corpus = corpus
        self.geometry = geometry
        self.statistics = statistics
        self.seed = seed
        self.speaker_index = corpus.speaker_index(speakers)
        self._drawn: dict[int, np.ndarray] = {}  # the latest epoch; a plain one, since worker processes get a pickle

    def epoch(self, epoch: int) -> np.ndarray:
        """(windows, 2): utterance and first sample of each window, in their order in that epoch."""
        if epoch not in self._drawn:
            self._drawn = {epoch: self._draw_epoch(epoch)}
        return self._drawn[epoch]

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng([self.seed, epoch])
        length = self.geometry.window_samples
        tiles = []
        for utterance, samples in enumerate(self.corpus.lengths):
            starts = np.arange(-generator.integers(length), samples, length)
            starts = starts[starts + length > 0]
            tiles.append(np.stack([np.full_like(starts, utterance), starts], axis=1))
        return generator.permutation(np.concatenate(tiles))

    def __getitem__(self, position: Position) -> Batch:
        position = self.at(position)
        chosen = self.epoch(position.epoch)[position.done : position.done + self.geometry.batch_size]
        after = Position(position.epoch, position.done + len(chosen), position.of)
        if after.done == after.of:
            after = Position(position.epoch + 1)
        return self.assemble(chosen, self.geometry.window_samples, after)

    def at(self, position: Position) -> Position:
        """The position in these windows; one counted in windows of another length keeps its share of the epoch."""
        count = len(self.epoch(position.epoch))
        if position.of in (0, count):
            return Position(position.epoch, position.done, count)
        return Position(position.epoch, position.done * count // position.of, count)

    def positions(self, position: Position) -> Iterator[Position]:
        """This position and all that follow it, without end."""
        while True:
            position = self.at(position)
            yield position
            done = position.done + self.geometry.batch_size
            position = (
                Position(position.epoch, done, position.of) if done < position.of else Position(position.epoch + 1)
            )

    def whole(self, utterance: int, samples: int) -> Iterator[Batch]:
        """The utterance from its first sample to its last, in windows of that many samples."""
        for start in range(0, self.corpus.lengths[utterance], samples):
            yield self.assemble(np.array([[utterance, start]]), samples, Position())

    def assemble(self, chosen: np.ndarray, samples: int, after: Position) -> Batch:
        """The batch of windows (utterance, first sample), each that many samples long."""
        codes, frames, offsets, masks = [], [], [], []
        for utterance, start in chosen.tolist():
            span = (start, start + samples)
            frame_span = self.geometry.window_frame_span(span)
            codes.append(self._codes(utterance, self.geometry.code_span(span)))
            frames.append(self._frames(utterance, frame_span))
            offsets.append(self.geometry.input_span(span)[0] - self.geometry.upsampled_span(frame_span)[0])
            time = np.arange(*span)
            masks.append((time >= 0) & (time < self.corpus.lengths[utterance]))
        return Batch(
            codes=torch.from_numpy(np.stack(codes)),
            frames=torch.from_numpy(np.stack(frames)),
            offsets=torch.tensor(offsets),
            speakers=torch.tensor([self.speaker_index[utterance] for utterance in chosen[:, 0]]),
            mask=torch.from_numpy(np.stack(masks)),
            after=after,
        )

    def _codes(self, utterance: int, span: Span) -> np.ndarray:
        """Codes of the span; silence where it lies outside the utterance."""
        codes = np.full(span[1] - span[0], silence(self.corpus.quantization_channels), dtype=np.int64)
        first, last = max(span[0], 0), min(span[1], self.corpus.lengths[utterance])
        if first < last:
            codes[first - span[0] : last - span[0]] = self.corpus.codes(utterance)[first:last]
        return codes

    def _frames(self, utterance: int, span: Span) -> np.ndarray:
        """Normalised frames of the span; the edge frames go on where it lies outside the utterance."""
        frames = self.corpus.frames(utterance)  # F, K
        return self.statistics.normalise(frames[inside(span, len(frames))].T).T


def inside(span: Span, frames: int) -> np.ndarray:
    """(F,) indices of a span in an utterance of so many frames; where it lies outside, the edge frame's."""
    return np.clip(np.arange(*span), 0, frames - 1)
