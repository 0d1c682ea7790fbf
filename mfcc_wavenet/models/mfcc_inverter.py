"""The MFCC inverter: frames condition the WaveNet directly."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.models.base import Model, Predictions
from mfcc_wavenet.models.embedding import Embedding
from mfcc_wavenet.models.upsampling import Upsampling
from mfcc_wavenet.models.wavenet import WaveNet

WHITENED_WINDOWS = 2000  # whose frames are looked at


class MfccInverter(Model):
    """A WaveNet conditioned on upsampled frames and on the speaker."""

    def __init__(
        self,
        geometry: Geometry,
        upsampling: UpsamplingSettings,
        wavenet: WavenetSettings,
        frame_channels: int,
        speakers: int,
    ):
        """frame_channels: coefficients per frame, deltas included; speakers: how many there are to tell apart.

        The weights are drawn from torch's global generator.
        """
        super().__init__()
        self.geometry = geometry
        self.jitter = upsampling.jitter
        self.upsampling = Upsampling(upsampling, frame_channels)
        self.speaker = Embedding(speakers, wavenet.speaker_channels) if wavenet.speaker_channels else None
        self.wavenet = WaveNet(wavenet, geometry.dilations, upsampling.channels + wavenet.speaker_channels)

    def run(self, batch: Batch) -> Predictions:
        past, target = batch.codes[:, :-1], batch.codes[:, self.geometry.receptive_field :]
        frames = jitter(batch.frames, self.jitter) if self.training and self.jitter else batch.frames
        logits = self(past, self.encode(frames), batch.offsets, batch.speakers, batch.predicted)
        return Predictions(logits.transpose(1, 2), target, batch.mask)

    def encode(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B F K"]:
        """The frames themselves."""
        return frames

    def before_training(self, batches: Iterator[Batch]) -> None:
        """Whitens the frames of the first batches, where the settings ask for it."""
        if self.upsampling.frame_mean is not None:
            first = [next(batches).frames]
            while sum(map(len, first)) < WHITENED_WINDOWS:
                first.append(next(batches).frames)
            self.upsampling.whiten(torch.cat(first))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        modules = {
            "upsampling": [self.upsampling],
            "speaker": [self.speaker] if self.speaker else [],
            "embedding": [self.wavenet.embedding],
            "prediction": [self.wavenet.prediction] if self.wavenet.prediction else [],
            "layers": [self.wavenet.layers],
            "head": [self.wavenet.skip, self.wavenet.post, self.wavenet.logits],
        }
        return {name: [p for part in parts for p in part.parameters()] for name, parts in modules.items() if parts}

    def forward(
        self,
        past: Int[Tensor, "B T"],
        frames: Float[Tensor, "B F K"],
        offsets: Int[Tensor, " B"],
        speakers: Int[Tensor, " B"],
        predicted: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B N Q"]:
        """Logits of every position that has its whole receptive field before it: N = T + 1 - receptive_field.

        predicted: the linear prediction at each position, for a network that takes it.
        """
        conditioning = self.conditioning(frames, offsets, past.shape[1], speakers)
        return self.wavenet(past, conditioning, past.shape[1] + 1 - self.geometry.receptive_field, predicted)

    def conditioning(
        self, frames: Float[Tensor, "B F K"], offsets: Int[Tensor, " B"], samples: int, speakers: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T C"]:
        """(B, samples, channels): the conditioning of each sample, from offsets[b] on."""
        upsampled = self.upsampling(frames)
        places = offsets[:, None] + torch.arange(samples, device=offsets.device)  # B, T
        upsampled = upsampled.gather(1, places[:, :, None].expand(-1, -1, upsampled.shape[2]))
        if self.speaker is None:
            return upsampled
        speaker = self.speaker(speakers)[:, None].expand(-1, samples, -1)
        return torch.cat([upsampled, speaker], dim=-1)


def jitter(frames: Float[Tensor, "B F K"], probability: float) -> Float[Tensor, "B F K"]:
    """Each frame replaced, with that probability, by its left or right neighbour (Chorowski et al. 2019, 2.3).

    The two neighbours are equally likely; beyond an edge the edge frame stands in.
    """
    batch, length, _ = frames.shape
    draw = torch.rand(batch, length, device=frames.device)
    shift = (draw < probability).long() - 2 * (draw < probability / 2).long()  # -1, 0 or 1
    index = (torch.arange(length, device=frames.device) + shift).clamp(0, length - 1)
    return frames.gather(1, index[:, :, None].expand_as(frames))
