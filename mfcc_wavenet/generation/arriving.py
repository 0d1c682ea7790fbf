"""The frames of a stream as they arrive: what of them still counts, and whether they are of the model's front end."""

import sys
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from mfcc_wavenet.config.geometry import Geometry, Span, clamped_indices
from mfcc_wavenet.config.settings import FeatureSettings
from mfcc_wavenet.data.front_ends import MIN_FRAMES, MIN_SURE_FRAMES, warning_or_refusal
from mfcc_wavenet.generation.cpu.encoder import PackedEncoder

# Frames of a stream after which its front end is looked at again: patterns show from MIN_FRAMES on, others later.
CHECKED_AFTER = (MIN_FRAMES, 2 * MIN_FRAMES, 4 * MIN_FRAMES, 8 * MIN_FRAMES, 16 * MIN_FRAMES)


def delta_reach(features: FeatureSettings) -> int:
    """Frames that deltas look ahead, and back."""
    return features.delta_width // 2 if features.delta_order else 0


class ArrivingFrames:
    """All frames so far, but for the first ones, which nothing still to come depends on."""

    def __init__(
        self,
        features: FeatureSettings,
        geometry: Geometry,
        encoder: PackedEncoder,
        normalised: Callable[[Float32[np.ndarray, "n_mfcc F"]], Float32[np.ndarray, "F K"]],
        first_needed: int,
    ):
        """normalised: MFCCs with deltas, as the model expects them; first_needed: frames before the first block."""
        self.features, self.geometry, self.encoder, self.normalised = features, geometry, encoder, normalised
        self.first_needed = first_needed
        self.kept: list[Float32[np.ndarray, " n_mfcc"]] = []
        self.dropped = 0  # the number of those that are not kept
        self.first: list[Float32[np.ndarray, " n_mfcc"]] = []  # until they are enough to know the front end
        self.has_warned = False

    def __len__(self) -> int:
        return self.dropped + len(self.kept)

    def append(self, frame: Float32[np.ndarray, " n_mfcc"]) -> None:
        """UserError, and a warning on stderr, as in Inverter.stream."""
        self.kept.append(frame)
        if len(self) > CHECKED_AFTER[-1]:
            self.first.clear()
            return
        self.first.append(frame)
        if len(self) in (self.first_needed, *CHECKED_AFTER):
            self._check(are_all=False)

    def end(self) -> None:
        """No more will come."""
        if self.first:
            self._check(are_all=True)

    def _check(self, *, are_all: bool) -> None:
        warning = warning_or_refusal(np.stack(self.first, axis=1), self.features)
        if warning and not self.has_warned and (are_all or len(self.first) >= MIN_SURE_FRAMES):
            print(warning, file=sys.stderr)
            self.has_warned = True

    def latents_of(self, span: Span) -> Float32[np.ndarray, "L C"]:
        """Latents of a span from the frames that they depend on; without an encoder those frames."""
        geometry = self.encoder.geometry
        indices = clamped_indices(span, geometry.latents_of(len(self)))
        frames = self._frames_of(geometry.frame_span((int(indices[0]), int(indices[-1]) + 1)))
        return self.encoder.latents(self.encoder.encode_span(frames))[indices - indices[0]]

    def _frames_of(self, span: Span) -> Float32[np.ndarray, "F K"]:
        """Normalised frames of a span, from only those of the arrived ones that their deltas depend on."""
        reach = delta_reach(self.features)
        indices = clamped_indices(span, len(self))
        first = max(indices[0] - reach, 0)
        near = np.stack(self.kept[first - self.dropped : indices[-1] + reach + 1 - self.dropped], axis=1)
        return self.normalised(near)[indices - first]

    def drop_before(self, sample: int) -> None:
        """What no sample from that one on depends on."""
        encoder = self.encoder.geometry
        latent = min(self.geometry.latent_span((sample, sample + 1))[0], encoder.latents_of(len(self)) - 1)
        frame = min(encoder.frame_span((latent, latent + 1))[0], len(self) - 1)
        first_needed = max(frame - delta_reach(self.features), self.dropped)
        del self.kept[: first_needed - self.dropped]
        self.dropped = first_needed
