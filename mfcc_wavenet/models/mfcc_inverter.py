"""The model: MFCC frames to conditioning, conditioning and past codes to the next code."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.config.errors import UserError
from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import Settings, UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.windows import Batch
from mfcc_wavenet.models.upsampling import Upsampling
from mfcc_wavenet.models.wavenet import WaveNet


class MfccInverter(nn.Module):
    """A WaveNet conditioned on upsampled frames and on the speaker.

    run(batch) gives what the objective compares; forward is the architecture alone. The Chassis
    asks a model about itself through before_training and after_step, which a model with a codebook
    or an annealed weight overrides.
    """

    def __init__(
        self,
        geometry: Geometry,
        upsampling: UpsamplingSettings,
        wavenet: WavenetSettings,
        frame_channels: int,
        speakers: int,
    ):
        """frame_channels: coefficients per frame, deltas included; speakers: how many there are to tell apart."""
        super().__init__()
        self.geometry = geometry
        self.jitter = upsampling.jitter
        self.upsampling = Upsampling(upsampling, frame_channels)
        self.speaker = nn.Embedding(speakers, wavenet.speaker_channels) if wavenet.speaker_channels else None
        self.wavenet = WaveNet(wavenet, geometry.dilations, upsampling.channels + wavenet.speaker_channels)

    @classmethod
    def of(cls, settings: Settings, speakers: int) -> "MfccInverter":
        """The model that these settings describe, its weights drawn from torch's global generator."""
        if settings.upsampling.jitter > 1:
            raise UserError(f"upsampling.jitter is {settings.upsampling.jitter}; it is a probability, at most 1.")
        geometry = Geometry.of(settings.features, settings.upsampling, settings.wavenet, settings.window)
        return cls(geometry, settings.upsampling, settings.wavenet, settings.features.channels, speakers)

    def run(self, batch: Batch) -> tuple[Float[Tensor, "B Q N"], Int[Tensor, "B N"]]:
        """Logits (B, Q, N) and the codes (B, N) they should point at, aligned; batch.mask says which count."""
        past, target = batch.codes[:, :-1], batch.codes[:, self.geometry.receptive_field :]
        frames = jitter(batch.frames, self.jitter) if self.training and self.jitter else batch.frames
        logits = self(past, frames, batch.offsets, batch.speakers)
        return logits.transpose(1, 2), target

    def forward(
        self,
        past: Int[Tensor, "B T"],
        frames: Float[Tensor, "B F K"],
        offsets: Int[Tensor, " B"],
        speakers: Int[Tensor, " B"],
    ) -> Float[Tensor, "B N Q"]:
        """Logits of every position that has its whole receptive field in front: N = T + 1 - receptive_field."""
        conditioning = self.conditioning(frames, offsets, past.shape[1], speakers)
        return self.wavenet(past, conditioning, past.shape[1] + 1 - self.geometry.receptive_field)

    def conditioning(
        self, frames: Float[Tensor, "B F K"], offsets: Int[Tensor, " B"], samples: int, speakers: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T C"]:
        """(B, samples, channels): what the network is told at each sample, from offsets[b] on."""
        upsampled = self.upsampling(frames)
        upsampled = torch.stack([row[offset : offset + samples] for row, offset in zip(upsampled, offsets.tolist())])
        if self.speaker is None:
            return upsampled
        speaker = self.speaker(speakers)[:, None].expand(-1, samples, -1)
        return torch.cat([upsampled, speaker], dim=-1)

    def objective(
        self, pred: Float[Tensor, "B Q N"], target: Int[Tensor, "B N"], mask: Bool[Tensor, "B N"]
    ) -> Float[Tensor, ""]:
        """Mean negative log likelihood in nats per sample over the unmasked samples."""
        # Rows of contiguous logits: cross_entropy over a middle axis is several times slower.
        nats = functional.cross_entropy(pred.transpose(1, 2).flatten(0, 1), target.flatten(), reduction="none")
        mask = mask.flatten()
        return (nats * mask).sum() / mask.sum()

    def before_training(self) -> None:
        """Called once, when the model and its data stand and no step has been made."""

    def after_step(self, step: int) -> dict[str, float]:
        """Called after every optimiser step; what it returns is logged beside the metrics."""
        return {}


def jitter(frames: Float[Tensor, "B F K"], probability: float) -> Float[Tensor, "B F K"]:
    """Each frame replaced, with that probability, by its left or right neighbour (Chorowski et al. 2019, 2.3).

    The two neighbours are equally likely; beyond an edge the edge frame stands in.
    """
    batch, length, _ = frames.shape
    draw = torch.rand(batch, length, device=frames.device)
    shift = (draw < probability).long() - 2 * (draw < probability / 2).long()  # -1, 0 or 1
    index = (torch.arange(length, device=frames.device) + shift).clamp(0, length - 1)
    return frames.gather(1, index[:, :, None].expand_as(frames))
