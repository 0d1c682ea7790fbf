"""The inverse as a library: MFCCs in, audio out. `from mfcc_wavenet import Inverter`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import soxr
from jaxtyping import Float, Float32, Integer

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Span, clamped_indices
from mfcc_wavenet.config.settings import Sampling
from mfcc_wavenet.data import mfcc as front_end
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.generation.generator import BLOCK_HOPS, Generator, StreamState
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

# Shapes of what callers pass. Inverter checks them itself and raises a UserError, so that here they only document.
Mfcc = Annotated[np.ndarray, "n_mfcc frames"]
MfccFrame = Annotated[np.ndarray, "n_mfcc"]

Codes = Integer[np.ndarray, " _"]
Audio = Float32[np.ndarray, " _"]


class Inverter:
    """A trained model, ready to turn MFCCs, as librosa.feature.mfcc returns them, into audio.

    Deltas and normalisation are added inside. Greedy inversion (temperature 0) of audio that the model was trained on
    to zero error reproduces that audio: its mu-law codes, bit for bit.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.settings = checkpoint.settings
        self.speakers = checkpoint.speakers
        self.statistics = checkpoint.statistics
        model = checkpoint.model()
        self.geometry = model.geometry
        linear_prediction = LinearPrediction.of(self.settings.features, self.settings.wavenet, self.statistics)
        self.generator = Generator(model, linear_prediction=linear_prediction)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "Inverter":
        """The model of a checkpoint file. Raises UserError if it is not one."""
        return cls(checkpoints.load(Path(path)))

    @classmethod
    def from_experiment(cls, name: str) -> "Inverter":
        """The pinned model of an experiment. Raises UserError if there is none."""
        return cls.from_checkpoint(experiments.pinned_checkpoint(name))

    @property
    def sample_rate(self) -> int:
        """Hz, of the audio that it generates."""
        return self.settings.features.sample_rate

    @property
    def latency_frames(self) -> int:
        """Frames after a block's first one that must have arrived before stream() yields the block.

        The block itself, what the upsampling looks ahead, and what the deltas do.
        """
        return BLOCK_HOPS - 1 + self.geometry.lookahead_frames + self._delta_reach

    def features(self, wav: Float[np.ndarray, " samples"], sample_rate: int) -> Float32[np.ndarray, "n_mfcc frames"]:
        """The MFCCs (n_mfcc, frames), in dB, of a wav (samples,) in [-1, 1], which is resampled if need be."""
        if sample_rate != self.sample_rate:
            wav = soxr.resample(wav, sample_rate, self.sample_rate, quality="VHQ")
        return front_end.mfcc(wav, self.settings.features)

    def check(self, mfcc: Mfcc) -> None:
        """Raises UserError unless this is an array (n_mfcc, frames) of finite numbers and MFCCs of the model's kind."""
        self._refuse_foreign(self._checked(mfcc))

    def invert(
        self,
        mfcc: Mfcc | list[Mfcc],
        *,
        samples: int | list[int | None] | None = None,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> Audio | list[Audio]:
        """Audio, float32 (samples,) in [-1, 1], of one array (n_mfcc, frames), or of each in a list.

        Arguments and errors are those of invert_codes.
        """
        codes = self.invert_codes(
            mfcc, samples=samples, speaker=speaker, temperature=temperature, top_k=top_k, seed=seed
        )
        return [self._audio(one) for one in codes] if isinstance(codes, list) else self._audio(codes)

    def invert_codes(
        self,
        mfcc: Mfcc | list[Mfcc],
        *,
        samples: int | list[int | None] | None = None,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
        progress: Callable[[int], object] = lambda samples: None,
    ) -> Codes | list[Codes]:
        """Mu-law codes (samples,) of one array (n_mfcc, frames), or of each in a list of arrays of any lengths.

        samples: the length of each, in samples; MFCCs determine it only to a hop, and None generates all whole hops.
        speaker: one of speakers; None is the first. temperature 0 takes the most likely code each time; above, codes
        are sampled from softmax(logits / temperature), restricted to the top_k most likely ones (0: all). The random
        numbers of every array start from the seed, so its codes do not depend on what else is in the list. progress is
        called with the number of samples that were added, after every block.

        Raises UserError for arrays of another shape, values that are not finite, MFCCs of another front end, lengths
        that do not match the frames, an unknown speaker, and temperature, top_k or seed out of range.
        """
        sampling = Sampling(temperature, top_k, seed)
        several = isinstance(mfcc, list)
        arrays = [self._checked(array) for array in (mfcc if several else [mfcc])]
        lengths = samples if isinstance(samples, list) else [samples] * len(arrays)
        if len(lengths) != len(arrays):
            raise UserError(f"samples has {len(lengths)} entries for {len(arrays)} arrays of MFCCs; give one for each.")
        frames = [self._frames(array) for array in arrays]
        lengths = [length or self.geometry.samples_of(len(one)) for length, one in zip(lengths, frames)]
        for one, length in zip(frames, lengths):
            limit = (len(one) + 1) * self.geometry.hop_length
            if not 0 < length < limit:
                raise UserError(f"samples={length} does not match {len(one)} frames; it must be 1 to {limit - 1}.")
        speaker_index = self._speaker_index(speaker)
        for array in arrays:
            self._refuse_foreign(array)
        codes = self.generator.generate_all(frames, [speaker_index] * len(frames), lengths, sampling, progress)
        return codes if several else codes[0]

    def stream(
        self,
        frames: Iterable[MfccFrame],
        *,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> Iterator[Audio]:
        """Audio, a block of BLOCK_HOPS hops at a time, while frames (n_mfcc,) arrive; arguments as in invert_codes.

        The block that begins at a frame is yielded as soon as latency_frames more have arrived, the rest when the
        frames end. All blocks together are invert() of all frames together, exactly.
        """
        state = StreamState(self.generator, [self._speaker_index(speaker)], Sampling(temperature, top_k, seed))
        hop_length = self.geometry.hop_length
        arrived: list[MfccFrame] = []  # without the first ones, which nothing still to come depends on
        dropped = 0  # the number of those

        def generate(end: int) -> Audio:
            nonlocal dropped
            (codes,) = state.generate([end], lambda _, span: self._frames_of(span, arrived, dropped))
            next_frame = self.geometry.frame_span((end, end + 1))[0]
            first_needed = max(min(next_frame, dropped + len(arrived) - 1) - self._delta_reach, dropped)
            del arrived[: first_needed - dropped]
            dropped = first_needed
            return self._audio(codes)

        for frame in frames:
            arrived.append(self._checked(np.asarray(frame)[:, None])[:, 0])
            if dropped + len(arrived) > state.position // hop_length + self.latency_frames:
                yield generate(state.position + BLOCK_HOPS * hop_length)
        if arrived:
            for end in self.generator.block_ends(state.position, self.geometry.samples_of(dropped + len(arrived))):
                yield generate(end)

    @property
    def _delta_reach(self) -> int:
        """Frames that deltas look ahead, and back."""
        return self.settings.features.delta_width // 2 if self.settings.features.delta_order else 0

    def _frames_of(
        self, span: Span, arrived: list[Float32[np.ndarray, " n_mfcc"]], dropped: int
    ) -> Float32[np.ndarray, "F K"]:
        """Normalised frames of a span, from only those of the arrived ones that their deltas depend on."""
        indices = clamped_indices(span, dropped + len(arrived))
        first = max(indices[0] - self._delta_reach, 0)
        near = np.stack(arrived[first - dropped : indices[-1] + self._delta_reach + 1 - dropped], axis=1)
        return self._frames(near)[indices - first]

    def _frames(self, mfcc: Float32[np.ndarray, "n_mfcc F"]) -> Float32[np.ndarray, "F K"]:
        """Normalised, with deltas."""
        return np.ascontiguousarray(self.statistics.normalise(front_end.add_deltas(mfcc, self.settings.features)).T)

    def _checked(self, mfcc: Mfcc) -> Float32[np.ndarray, "n_mfcc F"]:
        n_mfcc = self.settings.features.n_mfcc
        if mfcc.ndim != 2 or mfcc.shape[0] != n_mfcc or mfcc.shape[1] < 1:
            raise UserError(
                f"These MFCCs have the shape {mfcc.shape}; the model expects (n_mfcc, frames) = ({n_mfcc}, 1 or more)."
            )
        if mfcc.dtype.kind not in "fiu" or not (np.abs(mfcc) <= np.finfo(np.float32).max).all():
            raise UserError("These MFCCs contain values that are not finite numbers; the model expects dB.")
        return mfcc.astype(np.float32)

    def _refuse_foreign(self, mfcc: Float32[np.ndarray, "n_mfcc F"]) -> None:
        front_end.refuse_foreign(mfcc, self.settings.features, self.statistics.std)

    def _speaker_index(self, speaker: str | None) -> int:
        if speaker is not None and speaker not in self.speakers:
            raise UserError(f"speaker={speaker} is unknown; the model's speakers are {', '.join(self.speakers)}.")
        return 0 if speaker is None else self.speakers.index(speaker)

    def _audio(self, codes: Codes) -> Audio:
        return mulaw.decode(codes, self.settings.wavenet.quantization_channels)
