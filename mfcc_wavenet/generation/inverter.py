"""The inverse as a library: MFCCs in, audio out. `from mfcc_wavenet import Inverter`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
from jaxtyping import Float, Integer

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Span, clamped_indices
from mfcc_wavenet.data import mfcc as front_end
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.generation.generator import BLOCK_HOPS, Generator, Voices
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint


class Inverter:
    """A trained model, ready to turn MFCCs, as librosa.feature.mfcc returns them, into audio.

    Deltas and normalisation are added clamped_indices. Greedy inversion (temperature 0) of audio that the
    model was trained on to zero error gives that audio back, bit for bit of its mu-law codes.
    """

    def __init__(self, checkpoint: Checkpoint):
        self.settings = checkpoint.settings
        self.speakers = checkpoint.speakers
        self.statistics = checkpoint.statistics
        model = checkpoint.model()
        self.geometry = model.geometry
        self.generator = Generator(model)

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> "Inverter":
        """The model of a checkpoint file; UserError if it is none."""
        return cls(checkpoints.load(Path(path)))

    @classmethod
    def from_experiment(cls, name: str) -> "Inverter":
        """The pinned model of an experiment; UserError if there is none."""
        return cls.from_checkpoint(experiments.pinned_checkpoint(name))

    @property
    def sample_rate(self) -> int:
        """Of the audio that it makes, Hz."""
        return self.settings.features.sample_rate

    @property
    def latency_frames(self) -> int:
        """Frames that have to have arrived after the first of a block before stream() yields the block.

        The block itself, what the upsampling looks ahead, and what the deltas do.
        """
        return BLOCK_HOPS - 1 + self.geometry.lookahead_frames + self._delta_reach

    def features(self, wav: Float[np.ndarray, " samples"], sample_rate: int) -> Float[np.ndarray, "n_mfcc frames"]:
        """The MFCCs of a wav (samples,) in [-1, 1] as the model expects them; other rates are resampled."""
        if sample_rate != self.sample_rate:
            wav = soxr.resample(wav, sample_rate, self.sample_rate, quality="VHQ")
        return front_end.mfcc(wav, self.settings.features)

    def check(self, mfcc: np.ndarray) -> None:
        """UserError for what is no array (n_mfcc, frames) of finite numbers, or no MFCCs of the model's kind."""
        self._refuse_foreign(self._checked(mfcc))

    def invert(
        self,
        mfcc: np.ndarray | list[np.ndarray],
        *,
        samples: int | list[int | None] | None = None,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> np.ndarray | list[np.ndarray]:
        """Audio, float32 (samples,) in [-1, 1], of one array (n_mfcc, frames), or of each in a list.

        The arguments are those of invert_codes.
        """
        codes = self.invert_codes(
            mfcc, samples=samples, speaker=speaker, temperature=temperature, top_k=top_k, seed=seed
        )
        return [self._audio(one) for one in codes] if isinstance(codes, list) else self._audio(codes)

    def invert_codes(
        self,
        mfcc: np.ndarray | list[np.ndarray],
        *,
        samples: int | list[int | None] | None = None,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
        progress: Callable[[int], object] = lambda samples: None,
    ) -> np.ndarray | list[np.ndarray]:
        """Mu-law codes (samples,) of one array (n_mfcc, frames), or of each in a list of any lengths.

        samples: how many to make of each; MFCCs tell that only to a hop, and without it all whole hops
        are made. speaker: one of speakers, by default the first. temperature 0 takes the most likely
        code each time; above, codes are drawn from the softmax of logits / temperature, of the top_k
        most likely ones (0: of all). Every array starts its own generator from the seed, so what is
        drawn for it does not depend on what else is in the list. progress is told how many more samples
        there are, again and again.

        Raises UserError for another shape, values that are no finite numbers or no MFCCs of this kind,
        and an unknown speaker.
        """
        several = isinstance(mfcc, list)
        arrays = mfcc if several else [mfcc]
        lengths = samples if isinstance(samples, list) else [samples] * len(arrays)
        if len(lengths) != len(arrays):
            raise UserError(f"There are {len(arrays)} arrays of MFCCs, but {len(lengths)} numbers of samples.")
        arrays = [self._checked(array) for array in arrays]
        frames = [self._frames(array) for array in arrays]
        wanted = [length or self.geometry.samples_of(len(one)) for length, one in zip(lengths, frames)]
        for one, length in zip(frames, wanted):
            if not 0 < length < (len(one) + 1) * self.geometry.hop_length:
                raise UserError(
                    f"samples={length} does not fit {len(one)} frames of {self.geometry.hop_length} samples."
                )
        index = self._speaker_index(speaker)
        _refuse_choice(temperature, top_k)
        for array in arrays:
            self._refuse_foreign(array)
        codes = self.generator.generate_all(frames, [index] * len(frames), wanted, temperature, seed, top_k, progress)
        return codes if several else codes[0]

    def stream(
        self,
        frames: Iterable[np.ndarray],
        *,
        speaker: str | None = None,
        temperature: float = 0.0,
        top_k: int = 0,
        seed: int = 0,
    ) -> Iterator[np.ndarray]:
        """Audio, a block of BLOCK_HOPS hops at a time, while frames (n_mfcc,) arrive.

        The block that begins at a frame is yielded as soon as latency_frames more have arrived, the
        rest when the frames end. All blocks together are invert() of all frames together, exactly.
        """
        _refuse_choice(temperature, top_k)
        voices = Voices(self.generator, [self._speaker_index(speaker)], temperature, seed, top_k)
        hop_length = self.geometry.hop_length
        arrived: list[np.ndarray] = []  # but for the first ones, which nothing to come depends on
        forgotten = 0

        def speak(stop: int) -> Float[np.ndarray, " samples"]:
            nonlocal forgotten
            (codes,) = voices.speak([stop], lambda _, span: self._frames_of(span, arrived, forgotten))
            next_frame = self.geometry.frame_span((stop, stop + 1))[0]
            first_needed = max(min(next_frame, forgotten + len(arrived) - 1) - self._delta_reach, forgotten)
            del arrived[: first_needed - forgotten]
            forgotten = first_needed
            return self._audio(codes)

        for frame in frames:
            arrived.append(self._checked(np.asarray(frame)[:, None])[:, 0])
            if forgotten + len(arrived) > voices.spoken // hop_length + self.latency_frames:
                yield speak(voices.spoken + BLOCK_HOPS * hop_length)
        if arrived:
            for stop in self.generator.stops(voices.spoken, self.geometry.samples_of(forgotten + len(arrived))):
                yield speak(stop)

    @property
    def _delta_reach(self) -> int:
        """Frames that deltas look ahead, and back."""
        return self.settings.features.delta_width // 2 if self.settings.features.delta_order else 0

    def _frames_of(self, span: Span, arrived: list[np.ndarray], forgotten: int) -> Float[np.ndarray, "F K"]:
        """Normalised frames of a span, from as few of the arrived ones as their deltas depend on."""
        wanted = clamped_indices(span, forgotten + len(arrived))
        first = max(wanted[0] - self._delta_reach, 0)
        near = np.stack(arrived[first - forgotten : wanted[-1] + self._delta_reach + 1 - forgotten], axis=1)
        return self._frames(near)[wanted - first]

    def _frames(self, mfcc: Float[np.ndarray, "n_mfcc F"]) -> Float[np.ndarray, "F K"]:
        """Normalised, with deltas."""
        return np.ascontiguousarray(self.statistics.normalise(front_end.add_deltas(mfcc, self.settings.features)).T)

    def _checked(self, mfcc: np.ndarray) -> Float[np.ndarray, "n_mfcc F"]:
        n_mfcc = self.settings.features.n_mfcc
        if mfcc.ndim != 2 or mfcc.shape[0] != n_mfcc or mfcc.shape[1] < 1:
            raise UserError(
                f"These MFCCs have the shape {mfcc.shape}; the model takes (n_mfcc, frames) = ({n_mfcc}, any number)."
            )
        if mfcc.dtype.kind not in "fiu" or not (np.abs(mfcc) <= np.finfo(np.float32).max).all():
            raise UserError("These MFCCs contain values that are no finite numbers.")
        return mfcc.astype(np.float32)

    def _refuse_foreign(self, mfcc: Float[np.ndarray, "n_mfcc F"]) -> None:
        front_end.refuse_foreign(mfcc, self.settings.features, self.statistics.std)

    def _speaker_index(self, speaker: str | None) -> int:
        if speaker is not None and speaker not in self.speakers:
            raise UserError(f"speaker={speaker}: the model knows {', '.join(self.speakers)}.")
        return 0 if speaker is None else self.speakers.index(speaker)

    def _audio(self, codes: Integer[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
        return mulaw.decode(codes, self.settings.wavenet.quantization_channels)


def _refuse_choice(temperature: float, top_k: int) -> None:
    if not 0 <= temperature < np.inf:
        raise UserError(f"temperature={temperature}: it must be 0 (greedy) or more, and finite.")
    if top_k < 0:
        raise UserError(f"top_k={top_k}: it must be 0 (all codes) or more.")
