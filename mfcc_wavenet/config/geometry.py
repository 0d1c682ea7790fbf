"""Which frames, latents and samples belong together: integers only, no torch, no audio.

Three lines of time run through the project. Samples count from 0; frame f of an utterance is centred
on sample f * hop_length; latent j, which conditions the decoder, stands at frame j * encoder.stride.
Without an encoder latents are the frames themselves. Everything that relates the three, and everything
that says how much past a prediction needs, is here, so that data, network and generator never have to
ask one another.

A span is a half-open pair (start, stop), as in range().
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod

import numpy as np

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.settings import EncoderSettings, FeatureSettings, UpsamplingSettings, WavenetSettings

Span = tuple[int, int]


@dataclass(frozen=True)
class EncoderGeometry:
    """From frames to latents, by convolutions without padding; without any, latents are the frames."""

    kernel_sizes: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @cached_property
    def stride(self) -> int:
        """Frames from one latent to the next."""
        return prod(self.strides)

    @cached_property
    def receptive_field(self) -> int:
        """Frames that one latent depends on."""
        start, stop = self.frame_span((0, 1))
        return stop - start

    def latents_of(self, frames: int) -> int:
        """Latents of an utterance of that many frames: those that stand at one of them."""
        return -(-frames // self.stride)

    def frame_span(self, latents: Span) -> Span:
        """The frames that these latents depend on, which may lie outside the utterance."""
        start, stop = latents
        for kernel_size, stride in reversed(list(zip(self.kernel_sizes, self.strides))):
            before = (kernel_size - 1) // 2
            start, stop = start * stride - before, (stop - 1) * stride - before + kernel_size
        return start, stop

    def latent_span(self, frames: Span) -> Span:
        """The latents that are complete given these frames: the inverse of frame_span."""
        start, stop = frames
        for kernel_size, stride in zip(self.kernel_sizes, self.strides):
            before = (kernel_size - 1) // 2
            start, stop = -(-(start + before) // stride), (stop - kernel_size + before) // stride + 1
        return start, stop


@dataclass(frozen=True)
class Geometry:
    """The finished geometry of a model: pure numbers, hashable, never part of a state_dict.

    Raises UserError, naming both numbers, when the settings contradict each other.
    """

    hop_length: int  # samples from one frame to the next
    frame_kernel_sizes: tuple[int, ...]  # of the upsampling's convolutions at the rate of latents, in latents
    strides: tuple[int, ...]  # of the transposed convolutions that lead from latents to samples
    kernel_sizes: tuple[int, ...]
    dilations: tuple[int, ...]  # of the WaveNet layers, in samples
    kernel_size: int  # taps of a WaveNet layer
    prediction_order: int = 0  # samples before each that its linear prediction is computed from; 0: there is none
    encoder: EncoderGeometry = EncoderGeometry()

    @classmethod
    def of(
        cls,
        features: FeatureSettings,
        encoder: EncoderSettings,
        upsampling: UpsamplingSettings,
        wavenet: WavenetSettings,
    ) -> "Geometry":
        predicts = wavenet.prediction != "none"
        if predicts and wavenet.prediction_order > features.n_fft // 2:
            raise UserError(
                f"wavenet.prediction_order is {wavenet.prediction_order}, but with features.n_fft {features.n_fft} the "
                f"spectrum tells no more than {features.n_fft // 2} lags; take a lower order or a larger n_fft."
            )
        if encoder.strides and predicts:
            raise UserError(
                f"wavenet.prediction is {wavenet.prediction}, which is computed from MFCCs, but encoder.strides is "
                f"{list(encoder.strides)}, and with an encoder latents alone condition the network; "
                "wavenet.prediction=none or encoder=none would work."
            )
        if encoder.strides and upsampling.frame_whitening:
            raise UserError(
                "upsampling.frame_whitening is true, but what would be whitened are latents, which change while the "
                f"encoder (encoder.strides={list(encoder.strides)}) is trained; upsampling.frame_whitening=false or "
                "encoder=none would work."
            )
        return cls(
            hop_length=features.hop_length,
            frame_kernel_sizes=(upsampling.frame_kernel_size,) * len(upsampling.frame_channels),
            strides=tuple(upsampling.strides),
            kernel_sizes=tuple(upsampling.kernel_sizes),
            dilations=tuple(2**layer for layer in range(wavenet.layers_per_block)) * wavenet.blocks,
            kernel_size=wavenet.kernel_size,
            prediction_order=wavenet.prediction_order if predicts else 0,
            encoder=EncoderGeometry(tuple(encoder.kernel_sizes), tuple(encoder.strides)),
        )

    def __post_init__(self):
        product = prod(self.strides)
        if product != self.latent_hop and not self.encoder.strides:
            raise UserError(
                f"upsampling.strides {list(self.strides)} multiply to {product}, but features.hop_length is "
                f"{self.hop_length}; the two must be equal."
            )
        if product != self.latent_hop:
            raise UserError(
                f"upsampling.strides {list(self.strides)} multiply to {product}, but with features.hop_length "
                f"{self.hop_length} and encoder.strides {list(self.encoder.strides)}, which multiply to "
                f"{self.encoder.stride}, there is a latent every {self.latent_hop} samples; the two must be equal."
            )

    @property
    def latent_hop(self) -> int:
        """Samples from one latent to the next."""
        return self.hop_length * self.encoder.stride

    # --- the past ---------------------------------------------------------------------------------

    @cached_property
    def receptive_field(self) -> int:
        """Positions that one prediction sees, its own included, and so the codes t - receptive_field to t - 1.

        The linear predictions at these positions are computed from prediction_order - 1 codes more.
        """
        return 1 + (self.kernel_size - 1) * sum(self.dilations)

    # --- frames and latents to samples ------------------------------------------------------------

    def frames_of(self, samples: int) -> int:
        """Frames of an utterance of that many samples (librosa's centred framing)."""
        return 1 + samples // self.hop_length

    def samples_of(self, frames: int) -> int:
        """The fewest samples that have that many frames, at least one hop: all that MFCCs say about the length."""
        return max(frames - 1, 1) * self.hop_length

    def nearest_frame(self, sample: int | np.ndarray) -> int | np.ndarray:
        """The frame whose centre is nearest, the earlier one of two; it may lie outside the utterance.

        Of one sample, or of each in an array.
        """
        return (sample + (self.hop_length - 1) // 2) // self.hop_length

    def latent_span(self, samples: Span) -> Span:
        """The latents that conditioning of these samples depends on, and the frames that linear prediction does.

        They may lie outside the utterance.
        """
        start, stop = samples
        for stride, kernel_size in reversed(list(zip(self.strides, self.kernel_sizes))):
            lead = (kernel_size - 1) // 2
            start = (start + lead - kernel_size) // stride + 1
            stop = -(-(stop + lead) // stride)
        for kernel_size in reversed(self.frame_kernel_sizes):
            before = (kernel_size - 1) // 2
            start, stop = start - before, stop + kernel_size - 1 - before
        if not self.prediction_order:
            return start, stop
        return min(start, self.nearest_frame(samples[0])), max(stop, self.nearest_frame(samples[1] - 1) + 1)

    def upsampled_span(self, latents: Span) -> Span:
        """The samples whose conditioning is complete given these latents: the inverse of latent_span."""
        start, stop = latents
        for kernel_size in self.frame_kernel_sizes:
            before = (kernel_size - 1) // 2
            start, stop = start + before, stop - (kernel_size - 1 - before)
        for stride, kernel_size in zip(self.strides, self.kernel_sizes):
            lead = (kernel_size - 1) // 2
            start = (start - 1) * stride + kernel_size - lead
            stop = stop * stride - lead
        return start, stop

    @cached_property
    def lookahead_frames(self) -> int:
        """Frames after a sample's own (sample // hop_length) that it may need."""
        spans = (self.encoder.frame_span(self.latent_span((t, t + 1))) for t in range(self.latent_hop))
        return max(stop - 1 - t // self.hop_length for t, (_, stop) in enumerate(spans))

    # --- windows ----------------------------------------------------------------------------------

    def code_span(self, samples: Span) -> Span:
        """The codes that a window of predictions touches: its past and its targets."""
        return samples[0] - self.receptive_field, samples[1]

    def input_span(self, samples: Span) -> Span:
        """The positions at which the network runs to predict these samples.

        Position t reads code t - 1 and is conditioned on t; the first prediction needs
        receptive_field positions, its own included.
        """
        return samples[0] - self.receptive_field + 1, samples[1]

    def prediction_span(self, samples: Span) -> Span:
        """The codes that the linear predictions at input_span are computed from."""
        first, stop = self.input_span(samples)
        return first - self.prediction_order, stop - 1

    def window_latent_span(self, samples: Span) -> Span:
        """The latents of a window: enough for its inputs, and as many at any start.

        How many latents a span of samples touches depends on where it lies between two of them.
        Windows are stacked into a batch, so the widest case is always taken. If a sample of the window is in the
        utterance, so is one of these latents, which is then the one at the end where others are beyond it.
        """
        first = self._first_latent(self.input_span(samples)[0])
        positions = samples[1] - samples[0] + self.receptive_field - 1
        return first, first + _most_latents(self, positions)

    def _first_latent(self, sample: int) -> int:
        """Of a window whose first input that is."""
        first, _ = self.latent_span((sample, sample + 1))
        return min(first, sample // self.latent_hop) if self.encoder.strides else first

    def window_frame_span(self, samples: Span) -> Span:
        """The frames handed over with a window: those that its latents depend on, as many at any start."""
        return self.encoder.frame_span(self.window_latent_span(samples))


@lru_cache
def _most_latents(geometry: Geometry, positions: int) -> int:
    """The most latents that a span of that many positions touches, wherever it begins."""
    phases = range(geometry.latent_hop)
    return max(geometry.latent_span((t, t + positions))[1] - geometry._first_latent(t) for t in phases)


def clamped_indices(span: Span, length: int) -> np.ndarray:
    """(stop - start,) indices of a span in an array of that length; outside of it, the index of the nearest end."""
    return np.clip(np.arange(*span), 0, length - 1)
