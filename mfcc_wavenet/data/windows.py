"""Which samples are predicted when: a pure function of (seed, epoch, position), without hidden state.

One epoch predicts every sample of the corpus exactly once. Windows of equal length tile each
utterance with a phase that is drawn anew every epoch, so that no sample always stands at a window's
edge; what sticks out of an utterance is masked. A window never crosses into another utterance.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64

from mfcc_wavenet.config.geometry import Geometry, Span, clamped_indices
from mfcc_wavenet.config.settings import WindowSettings
from mfcc_wavenet.data.batch import Batch, Position
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.data.mulaw import silence
from mfcc_wavenet.data.order import permutation
from mfcc_wavenet.data.prepared.corpus import Corpus
from mfcc_wavenet.data.statistics import Statistics


class Epoch:
    """The windows of an epoch, in their order, computed as they are asked for from two numbers of each utterance.

    Windows are numbered from the first one of the first utterance to the last one of the last.
    """

    def __init__(self, lengths: Int64[np.ndarray, " utterances"], samples: int, generator: np.random.Generator):
        """lengths: of the utterances; samples: of a window; generator: draws phases and order."""
        self._samples = samples
        self._phases = generator.integers(samples, size=len(lengths))  # of the first window, before the first sample
        self._ends = np.cumsum(-(-(lengths + self._phases) // samples))  # windows up to the end of each utterance
        self._order = permutation(len(self), generator)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, positions: slice) -> Int64[np.ndarray, "windows 2"]:
        """Utterance and first sample of each window at these positions."""
        numbers = self._order[np.arange(*positions.indices(len(self)))]
        utterances = np.searchsorted(self._ends, numbers, side="right")
        to_the_end = self._ends[utterances] - numbers  # windows, from this one on
        counts = self._ends[utterances] - np.where(utterances, self._ends[utterances - 1], 0)
        return np.stack([utterances, (counts - to_the_end) * self._samples - self._phases[utterances]], axis=1)


class Windows:
    """The windows of a corpus: windows[position] is the batch that follows that position.

    Of several processes that share each batch, this one's windows are in it; where an epoch's last batch has too few of
    them for all, one that does not count.
    """

    def __init__(
        self,
        corpus: Corpus,
        geometry: Geometry,
        window: WindowSettings,
        statistics: Statistics,
        speakers: tuple[str, ...] | None,
        seed: int,
        linear_prediction: LinearPrediction | None,
        share: tuple[int, int] = (0, 1),
    ):
        """speakers: the model's, whose order gives the indices, or None where it is not conditioned on them.

        seed: of the order of the windows; linear_prediction: None where the model does without; share: which one this
        is of how many processes that share the windows of each batch.
        """
        self.corpus = corpus
        self.geometry = geometry
        self.window = window
        self.statistics = statistics
        self.seed = seed
        self.linear_prediction = linear_prediction
        self.share = share
        self.speakers = speakers
        self.speaker_index = corpus.speaker_index(speakers)
        self._move = 0.0  # of every linear prediction outside of training
        self._drawn: dict[int, Epoch] = {}  # the latest epoch; a plain one, since worker processes get a pickle

    def over(self, corpus: Corpus) -> "Windows":
        """The windows of another corpus, all of them for this process, and everything else the same."""
        return Windows(
            corpus, self.geometry, self.window, self.statistics, self.speakers, self.seed, self.linear_prediction
        )

    def moved(self, move: float) -> "Windows":
        """The same, but outside of training linear predictions are moved by that: 1 is up, as far as in training."""
        others = copy.copy(self)
        others._move = move
        return others

    def epoch(self, epoch: int) -> "Epoch":
        """Its windows, in their order."""
        if epoch not in self._drawn:
            generator = np.random.default_rng([self.seed, epoch])
            self._drawn = {epoch: Epoch(np.frombuffer(self.corpus.lengths, np.int64), self.window.samples, generator)}
        return self._drawn[epoch]

    def __getitem__(self, position: Position) -> Batch:
        position = self.at(position)
        chosen = self.epoch(position.epoch)[position.done : position.done + self.window.batch_size]
        after = Position(position.epoch, position.done + len(chosen), position.of)
        if after.done == after.of:
            after = Position(position.epoch + 1)
        number, processes = self.share
        mine = chosen[number::processes]
        batch = self.assemble(mine if len(mine) else chosen[:1], self.window.samples, after, position.epoch)
        return replace(batch if len(mine) else batch.masked(), step_samples=self._count_unmasked(chosen))

    def _count_unmasked(self, chosen: Int[np.ndarray, "B 2"]) -> int:
        """Samples of these windows that lie within their utterances."""
        length, lengths = self.window.samples, self.corpus.lengths
        return sum(min(start + length, lengths[utterance]) - max(start, 0) for utterance, start in chosen.tolist())

    def at(self, position: Position) -> Position:
        """The position in these windows; one counted in windows of another length keeps its fraction of the epoch."""
        count = len(self.epoch(position.epoch))
        if position.of in (0, count):
            return Position(position.epoch, position.done, count)
        return Position(position.epoch, position.done * count // position.of, count)

    def positions(self, position: Position) -> Iterator[Position]:
        """This position and all that follow it, without end."""
        while True:
            position = self.at(position)
            yield position
            done = position.done + self.window.batch_size
            position = (
                Position(position.epoch, done, position.of) if done < position.of else Position(position.epoch + 1)
            )

    def whole(self, utterance: int, samples: int) -> Iterator[Batch]:
        """The utterance from its first sample to its last, in windows of that many samples."""
        for start in range(0, self.corpus.lengths[utterance], samples):
            yield self.assemble(np.array([[utterance, start]]), samples, Position())

    def assemble(
        self, chosen: Int[np.ndarray, "B 2"], samples: int, after: Position, epoch: int | None = None
    ) -> Batch:
        """The batch of windows (utterance, first sample), each that many samples long.

        epoch: of training, in which a linear prediction between two codes is now the one and now the other, since by
        MFCCs that are rounded otherwise it may be either.
        """
        codes, frames, latents, inside, offsets, masks, predicted = [], [], [], [], [], [], []
        for utterance, start in chosen.tolist():
            span = (start, start + samples)
            latent_span = self.geometry.window_latent_span(span)
            codes.append(self._codes(utterance, self.geometry.code_span(span)))
            frames.append(self._frames(utterance, self.geometry.window_frame_span(span)))
            count = self.geometry.encoder.latents_of(len(self.corpus.frames(utterance)))
            latents.append(clamped_indices(latent_span, count) - latent_span[0])
            inside.append(latents[-1] == np.arange(len(latents[-1])))
            offsets.append(self.geometry.input_span(span)[0] - self.geometry.upsampled_span(latent_span)[0])
            time = np.arange(*span)
            masks.append((time >= 0) & (time < self.corpus.lengths[utterance]))
            if self.linear_prediction:
                predicted.append(self._predicted(utterance, span, frames[-1], epoch))
        return Batch(
            codes=torch.from_numpy(np.stack(codes)),
            frames=torch.from_numpy(np.stack(frames)),
            latents=torch.from_numpy(np.stack(latents)),
            inside=torch.from_numpy(np.stack(inside)),
            offsets=torch.tensor(offsets),
            speakers=torch.tensor([self.speaker_index[utterance] for utterance in chosen[:, 0]]),
            mask=torch.from_numpy(np.stack(masks)),
            predicted=torch.from_numpy(np.stack(predicted)) if self.linear_prediction else None,
            after=after,
        )

    def frames(self, utterance: int) -> Float32[np.ndarray, "F K"]:
        """All frames of the utterance, normalised."""
        return self._frames(utterance, (0, len(self.corpus.frames(utterance))))

    def _predicted(
        self, utterance: int, span: Span, frames: Float32[np.ndarray, "F K"], epoch: int | None
    ) -> Int[np.ndarray, " P"]:
        """The linear prediction at each input of a window; frames: those of the window."""
        past = self._codes(utterance, self.geometry.prediction_span(span))
        time, first_frame = np.arange(*self.geometry.input_span(span)), self.geometry.window_frame_span(span)[0]
        nearest = self.geometry.nearest_frame(time) - first_frame
        if epoch is None:
            moves = np.full(len(nearest), self._move)
        else:
            moves = np.random.default_rng([self.seed, epoch, utterance, span[1]]).uniform(-1, 1, len(nearest))
        return self.linear_prediction.codes(past, self.linear_prediction.coefficients(frames), nearest, moves)

    def _codes(self, utterance: int, span: Span) -> Int[np.ndarray, " T"]:
        """Codes of the span; silence where it lies outside the utterance."""
        codes = np.full(span[1] - span[0], silence(self.corpus.quantization_channels), dtype=np.int64)
        first, last = max(span[0], 0), min(span[1], self.corpus.lengths[utterance])
        if first < last:
            codes[first - span[0] : last - span[0]] = self.corpus.codes(utterance)[first:last]
        return codes

    def _frames(self, utterance: int, span: Span) -> Float32[np.ndarray, "F K"]:
        """Normalised frames of the span; the edge frames are repeated where it lies outside the utterance."""
        frames = self.corpus.frames(utterance)  # F, K
        return self.statistics.normalise(frames[clamped_indices(span, len(frames))].T).T
