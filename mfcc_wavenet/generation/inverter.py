"""The inverse as a library: MFCCs in, audio out. `from mfcc_wavenet import Inverter`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soxr
from jaxtyping import Float32, Integer

from mfcc_wavenet.config import experiments
from mfcc_wavenet.config.command import Sampling
from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.files import checkpoint_file
from mfcc_wavenet.data import mfcc as front_end
from mfcc_wavenet.data import mulaw
from mfcc_wavenet.data.front_ends import warning_or_refusal
from mfcc_wavenet.data.linear_prediction import LinearPrediction
from mfcc_wavenet.generation import arguments, correction
from mfcc_wavenet.generation.arguments import Lengths, Mfcc, Name, Temperature, Units, Wav, Whole
from mfcc_wavenet.generation.arriving import ArrivingFrames, delta_reach
from mfcc_wavenet.generation.generator import BLOCK_HOPS, Generator, StreamState
from mfcc_wavenet.generation.units.checks import checked_units, length_of_units, refuse_without_units
from mfcc_wavenet.models import checkpoint as checkpoints
from mfcc_wavenet.models.checkpoint import Checkpoint

Codes = Integer[np.ndarray, " _"]
Audio = Float32[np.ndarray, " _"]


class Inverter:
    """A trained model, ready to turn MFCCs, as librosa.feature.mfcc returns them, into audio.

    Deltas and normalisation are added inside. Greedy inversion (temperature 0) of audio that the model was trained on
    to zero error reproduces that audio: its mu-law codes, bit for bit. A model of speech in general sounds best at its
    own temperature, which is the default.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu"):
        """device: where samples are generated, "cpu" or a GPU as torch names it, "cuda" or "cuda:1".

        Raises UserError if torch has no such device.
        """
        self.settings = checkpoint.settings
        self.speakers = checkpoint.speakers
        self.statistics = checkpoint.statistics
        self.temperature = checkpoint.temperature
        model = checkpoint.model()
        self.geometry = model.geometry
        linear_prediction = LinearPrediction.of(self.settings.features, self.settings.wavenet, self.statistics)
        self.generator = Generator(model, linear_prediction=linear_prediction, device=arguments.checked_device(device))

    @classmethod
    def from_checkpoint(cls, path: Annotated[Any, str | Path], device: Name = "cpu") -> "Inverter":
        """The model of a checkpoint file, or of the one in the folder of a run or a record.

        Raises UserError if there is none.
        """
        return cls(checkpoints.load(checkpoint_file(path)), device)

    @classmethod
    def from_experiment(cls, name: Name, device: Name = "cpu") -> "Inverter":
        """The pinned model of an experiment. Raises UserError if there is none."""
        return cls.from_checkpoint(experiments.pinned_checkpoint(name), device)

    @property
    def sample_rate(self) -> int:
        """Hz, of the audio that it generates."""
        return self.settings.features.sample_rate

    @property
    def latency_frames(self) -> int:
        """Frames after a block's first one that must have arrived before stream() yields the block.

        The block itself, what upsampling and encoder look ahead, and what the deltas do.
        """
        reach = delta_reach(self.settings.features)
        return BLOCK_HOPS * self.geometry.encoder.stride - 1 + self.geometry.lookahead_frames + reach

    def features(self, wav: Wav, sample_rate: Whole) -> Float32[np.ndarray, "n_mfcc frames"]:
        """The MFCCs (n_mfcc, frames), in dB, of a wav (samples,) in [-1, 1], which is resampled if need be.

        sample_rate: Hz. Raises UserError for anything but floats of one channel, also for integers, and for a rate that
        is not a whole number of Hz.
        """
        wav, sample_rate = arguments.wav_array(wav), arguments.sample_rate_hz(sample_rate)
        if sample_rate != self.sample_rate:
            wav = arguments.wav_array(soxr.resample(wav, sample_rate, self.sample_rate, quality="VHQ"))
        return front_end.mfcc(wav, self.settings.features)

    def check(self, mfcc: Mfcc) -> str | None:
        """A sentence that warns of MFCCs that are probably not of the model's kind, or None.

        Raises UserError unless this is an array (n_mfcc, frames) of finite numbers, and for MFCCs of another front end.
        """
        return warning_or_refusal(self._checked(mfcc), self.settings.features)

    def invert(
        self,
        mfcc: Mfcc | list[Mfcc] | tuple[Mfcc, ...],
        *,
        samples: Lengths = None,
        speaker: Name = None,
        temperature: Temperature = None,
        top_k: Whole = 0,
        seed: Whole = 0,
        corrections: Annotated[Any, int | None] = None,
        candidates: Whole = 1,
    ) -> Audio | list[Audio]:
        """Audio, float32 (samples,) in [-1, 1], of one array (n_mfcc, frames), or of each in a list or tuple.

        corrections: how often its envelope is corrected to the one that the MFCCs describe (generation/correction.py);
        None: 4 times where codes are sampled, never where the temperature is 0 or the model an autoencoder.
        candidates: how many are sampled, with the seeds seed, seed + 1, ...; the first is also corrected to the finer
        envelope that all of them have on average. UserError for more than 1 where nothing is sampled or corrected.
        The other arguments, and errors, are those of invert_codes.
        """
        sampling = self._sampling(temperature, top_k, seed)
        times = correction.checked_corrections(corrections, sampling, self.settings)
        codes = self.invert_candidates(
            mfcc, correction.checked_candidates(candidates, sampling, times, self.settings),
            samples=samples, speaker=speaker, temperature=temperature, top_k=top_k, seed=seed,
        )  # fmt: skip
        if arguments.is_several(mfcc):
            return [self.audio(of_one, array, times) for of_one, array in zip(codes, mfcc)]
        return self.audio(codes, mfcc, times)

    def audio(self, candidates: list[Codes], mfcc: Mfcc, corrections: int) -> Audio:
        """Audio (samples,) of the candidates that were generated from these MFCCs, corrected that many times."""
        wavs = [self.decoder()(codes) for codes in candidates]
        return correction.agreed(wavs, self._checked(mfcc), self.settings.features, corrections)

    def invert_codes(
        self,
        mfcc: Mfcc | list[Mfcc] | tuple[Mfcc, ...],
        *,
        samples: Lengths = None,
        speaker: Name = None,
        temperature: Temperature = None,
        top_k: Whole = 0,
        seed: Whole = 0,
        check_front_end: bool = True,
        progress: Callable[[int], object] = lambda samples: None,
        finished: Callable[[int, Codes], object] = lambda index, codes: None,
    ) -> Codes | list[Codes]:
        """Mu-law codes (samples,) of one array (n_mfcc, frames), or of each in a list or tuple, of any lengths.

        mfcc: an array, a tensor, or lists of numbers; a list of arrays or tensors is a batch, and gives a list.
        samples: the length in samples, of all or a list with one of each; MFCCs determine it only to a hop, None
        generates all whole hops, and 0 nothing.
        speaker: one of speakers; None is the first. temperature 0 takes the most likely code each time; above, codes
        are sampled from softmax(logits / temperature), restricted to the top_k most likely ones (0: all); None is the
        model's own. The random numbers of every array start from the seed, so its codes do not depend on what else is
        in the list.
        check_front_end: False for what features() has computed or check() has seen; otherwise other front ends are
        refused, and one line on stderr warns of arrays that are probably of another. progress is
        called with the number of samples that were added, after every block; finished with the index and the codes of
        an array as soon as these are complete, whatever else is not. Neither is called by two threads at once.

        Raises UserError for arrays of another shape, values that are not finite, MFCCs of another front end, lengths
        that do not match the frames, an unknown speaker, and temperature, top_k or seed out of range.
        """
        codes = self.invert_candidates(
            mfcc, 1, samples=samples, speaker=speaker, temperature=temperature, top_k=top_k, seed=seed,
            check_front_end=check_front_end, progress=progress, finished=lambda index, one: finished(index, *one),
        )  # fmt: skip
        return [one for (one,) in codes] if arguments.is_several(mfcc) else codes[0]

    def invert_candidates(
        self,
        mfcc: Mfcc | list[Mfcc] | tuple[Mfcc, ...],
        candidates: int,
        *,
        samples: Lengths,
        speaker: Name,
        temperature: Temperature,
        top_k: Whole,
        seed: Whole,
        check_front_end: bool = True,
        progress: Callable[[int], object] = lambda samples: None,
        finished: Callable[[int, list[Codes]], object] = lambda index, candidates: None,
    ) -> list[Codes] | list[list[Codes]]:
        """What invert_codes gives with the seeds seed, seed + 1, ..., that many, of one array or of each, in one batch.

        progress counts the candidates of an array as one; finished gets all of them.
        """
        sampling = self._sampling(temperature, top_k, seed)
        several = arguments.is_several(mfcc)
        arrays = [self._checked(array) for array in (mfcc if several else [mfcc])]
        given = arguments.lengths_of(samples, len(arrays))
        frames = [self._frames(array) for array in arrays]
        lengths = [arguments.length_of_frames(len(one), length, self.geometry) for one, length in zip(frames, given)]
        speaker_index = self._speaker_index(speaker)
        if check_front_end:
            self._warn(arrays)
        speakers = [speaker_index] * len(frames)
        latents = [self.generator.encoder(one) for one in frames]
        codes = self.generator.generate_candidates(latents, speakers, lengths, candidates, sampling, progress, finished)
        return codes if several else codes[0]

    # --- units ------------------------------------------------------------------------------------

    @property
    def units_per_second(self) -> float:
        """Of each second of audio, those of encode(). Raises UserError for a model without an encoder."""
        refuse_without_units(self.settings, self.generator.encoder)
        return self.sample_rate / self.geometry.latent_hop

    def encode(
        self, mfcc: Mfcc | list[Mfcc] | tuple[Mfcc, ...], *, check_front_end: bool = True
    ) -> Units | list[Units]:
        """Units, uint16 (J,), of one array (n_mfcc, frames), or of each in a list or tuple.

        A bottleneck without a codebook gives latents, float32 (J, D). check_front_end is that of invert_codes. Raises
        UserError for what that would refuse, and for a model without an encoder, or one that has no codebook yet.
        """
        refuse_without_units(self.settings, self.generator.encoder)
        several = arguments.is_several(mfcc)
        arrays = [self._checked(array) for array in (mfcc if several else [mfcc])]
        if check_front_end:
            self._warn(arrays)
        units = [self.generator.encoder.encode(self._frames(array)) for array in arrays]
        return units if several else units[0]

    def decode(
        self,
        units: Units | list[Units] | tuple[Units, ...],
        *,
        samples: Lengths = None,
        speaker: Name = None,
        temperature: Temperature = None,
        top_k: Whole = 0,
        seed: Whole = 0,
    ) -> Audio | list[Audio]:
        """Audio, float32 (samples,) in [-1, 1], of one array of units (J,), or of each in a list or tuple.

        Arguments and errors are those of decode_codes. Units may be edited, or another model's; those of encode give
        what invert does without corrections.
        """
        codes = self.decode_codes(
            units, samples=samples, speaker=speaker, temperature=temperature, top_k=top_k, seed=seed
        )
        return [self.decoder()(one) for one in codes] if isinstance(codes, list) else self.decoder()(codes)

    def decode_codes(
        self,
        units: Units | list[Units] | tuple[Units, ...],
        *,
        samples: Lengths = None,
        speaker: Name = None,
        temperature: Temperature = None,
        top_k: Whole = 0,
        seed: Whole = 0,
        progress: Callable[[int], object] = lambda samples: None,
        finished: Callable[[int, Codes], object] = lambda index, codes: None,
    ) -> Codes | list[Codes]:
        """Mu-law codes (samples,) of one array of units (J,), or latents (J, D), or of each in a list or tuple.

        samples: a length that so many units can have; None is the longest that is whole hops, and that encodes to as
        many units again. The other arguments are those of invert_codes.

        Raises UserError for a model without an encoder, units that the codebook does not have, lengths that do not
        match, an unknown speaker, and temperature, top_k or seed out of range.
        """
        refuse_without_units(self.settings, self.generator.encoder)
        sampling, speaker_index = self._sampling(temperature, top_k, seed), self._speaker_index(speaker)
        several = arguments.is_several(units)
        arrays = [checked_units(array, self.settings.bottleneck) for array in (units if several else [units])]
        given = arguments.lengths_of(samples, len(arrays))
        lengths = [length_of_units(len(array), length, self.geometry) for array, length in zip(arrays, given)]
        latents = [self.generator.encoder.latents(array) for array in arrays]
        speakers = [speaker_index] * len(arrays)
        codes = self.generator.generate_all(latents, speakers, lengths, sampling, progress, finished)
        return codes if several else codes[0]

    # --- streams ----------------------------------------------------------------------------------

    def stream(
        self,
        frames: Annotated[Any, "iterable of MfccFrame"],
        *,
        speaker: Name = None,
        temperature: Temperature = None,
        top_k: Whole = 0,
        seed: Whole = 0,
    ) -> Iterator[Audio]:
        """Audio, a block at a time, while frames (n_mfcc,) arrive; arguments as in invert_codes.

        A block is BLOCK_HOPS latents long, which are hops without an encoder. The one that begins at a frame is yielded
        as soon as latency_frames more have arrived, the rest when the frames end. All blocks together are invert() of
        all frames together, exactly, without corrections: those look at frames that are still to come.

        Raises UserError, at the frame concerned, for what invert_codes would refuse. The front end is judged by the
        frames that are there: before the first block, after each of CHECKED_AFTER, before the block that needs that
        frame, and, if there were no more than those, at the end. So too loud, c0 last and HTK's yield nothing, other
        logarithms a few blocks, and removed means, which only a whole utterance shows, all but the last ones. What is
        probably of another front end gives one line on stderr, from MIN_SURE_FRAMES frames on or at the end.
        """
        try:
            frames = iter(frames)
        except TypeError as error:
            raise UserError(f"frames={arguments.shown(frames)}: stream() takes frames (n_mfcc,) one by one.") from error
        sampling = self._sampling(temperature, top_k, seed)
        state = StreamState(self.generator, [self._speaker_index(speaker)], sampling)
        geometry, latency = self.geometry, self.latency_frames
        arrived = ArrivingFrames(
            self.settings.features, geometry, self.generator.encoder, self._frames, first_needed=latency + 1
        )
        decoded = self.decoder()

        def generate(end: int) -> Audio:
            (codes,) = state.generate([end], lambda _, span: arrived.latents_of(span))
            arrived.drop_before(end)
            return decoded(codes)

        for frame in frames:
            arrived.append(arguments.mfcc_frame(frame, self.settings.features.n_mfcc))
            if len(arrived) > state.position // geometry.hop_length + latency:
                yield generate(state.position + BLOCK_HOPS * geometry.latent_hop)
        arrived.end()
        if len(arrived):
            for end in self.generator.block_ends(state.position, geometry.samples_of(len(arrived))):
                yield generate(end)

    # --- what is checked and made of arguments ----------------------------------------------------

    def _warn(self, arrays: list[Float32[np.ndarray, "n_mfcc _"]]) -> None:
        """On stderr, of those that are probably of another front end; UserError for those that certainly are."""
        warnings = filter(None, [warning_or_refusal(array, self.settings.features) for array in arrays])
        for warning in dict.fromkeys(warnings):  # one line for each front end
            print(warning, file=sys.stderr)

    def _sampling(self, temperature: Any, top_k: Any, seed: Any) -> Sampling:
        return Sampling(self.temperature if temperature is None else temperature, top_k, seed)

    def _frames(self, mfcc: Float32[np.ndarray, "n_mfcc F"]) -> Float32[np.ndarray, "F K"]:
        """Normalised, with deltas."""
        return np.ascontiguousarray(self.statistics.normalise(front_end.add_deltas(mfcc, self.settings.features)).T)

    def _checked(self, mfcc: Mfcc) -> Float32[np.ndarray, "n_mfcc F"]:
        return arguments.mfcc_array(mfcc, self.settings.features.n_mfcc)

    def _speaker_index(self, speaker: Any) -> int:
        return arguments.speaker_index(speaker, self.speakers, self.settings.wavenet.speaker_channels)

    def decoder(self) -> mulaw.Decoder:
        """Codes to audio, from the beginning."""
        return mulaw.Decoder(*self.settings.wavenet.coding)
