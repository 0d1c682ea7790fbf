"""The autoencoder: an encoder and a bottleneck make latents of the frames, and these condition the WaveNet.

Chorowski et al. 2019, "Unsupervised speech representation learning using WaveNet autoencoders".
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings, EncoderSettings
from mfcc_wavenet.config.geometry import Geometry, clamped_indices
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.models.base import Model, Predictions
from mfcc_wavenet.models.bottleneck import Ae, CodesInUse, Passed, Vae
from mfcc_wavenet.models.codebook import Vqvae, VqvaeEma
from mfcc_wavenet.models.encoder import Encoder

WHITENED_LATENTS = 1000  # that are looked at
BOTTLENECKS = {"ae": Ae, "vae": Vae, "vqvae": Vqvae, "vqvae-ema": VqvaeEma}


class AutoEncoder(Model):
    """A WaveNet conditioned on what the bottleneck lets pass of the encoded frames, and on the speaker."""

    def __init__(
        self,
        geometry: Geometry,
        encoder: EncoderSettings,
        bottleneck: BottleneckSettings,
        upsampling: UpsamplingSettings,
        wavenet: WavenetSettings,
        frame_channels: int,
        speakers: int,
        seed: int,
    ):
        """frame_channels: coefficients per frame, deltas included; speakers: how many there are to tell apart.

        seed: of the codebook's beginning and of revived codes. The weights are drawn from torch's global generator.
        """
        super().__init__(geometry, upsampling, wavenet, bottleneck.channels, speakers)
        self.speakers = speakers
        self.encoder = Encoder(encoder, frame_channels)
        self.bottleneck = BOTTLENECKS[bottleneck.kind](bottleneck, encoder.channels, geometry.latent_hop, seed)

    def run(self, batch: Batch) -> Predictions:
        passed, zeros = self._passed(batch)
        latents = passed.latents.gather(1, batch.latents[:, :, None].expand(-1, -1, passed.latents.shape[2]))
        figures = {f"encoder_zero_{layer}": zero for layer, zero in enumerate(zeros, start=1)}
        return replace(
            self.predict(batch, latents),
            penalties=passed.penalties,
            figures=figures | passed.figures,
            kept=passed.kept,
            latents=passed.latents,
        )

    def _passed(self, batch: Batch) -> tuple[Passed, Float[Tensor, " layers"]]:
        """What the bottleneck lets pass of each window, and how much of each encoder layer is zero.

        Means over latents are means over the windows' means, in which a window weighs as many as its samples that
        count. So the mean of a step is that of its parts, whichever process computes which.
        """
        hidden, zeros = self.encoder(batch.frames)
        counts = batch.inside & batch.mask.any(1, keepdim=True)
        samples = batch.mask.sum(1, keepdim=True) / batch.mask.sum().clamp(min=1)
        return self.bottleneck(hidden, counts * samples / counts.sum(1, keepdim=True).clamp(min=1)), zeros

    def encode(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B L D"]:
        encoder = self.encoder.geometry
        span = encoder.frame_span((0, encoder.latents_of(frames.shape[1])))
        hidden, _ = self.encoder(frames[:, clamped_indices(span, frames.shape[1])])
        return self.bottleneck.encode(hidden)

    def objective(self, predictions: Predictions, step: int) -> Float[Tensor, ""]:
        return predictions.negative_log_likelihood() + self._penalty(predictions, step)

    def _penalty(self, predictions: Predictions, step: int) -> Float[Tensor, ""]:
        weights = self.bottleneck.penalty_weights(step)
        return sum(weights[name] * penalty for name, penalty in predictions.penalties.items())

    @torch.no_grad()
    def before_training(self, batches: Iterator[Batch]) -> None:
        """Whitens latents by those of the first batches, and makes the codebook of them if it is there from the start.

        Both where the bottleneck asks for it.
        """
        if self.bottleneck.whitens:
            hidden = []
            while sum(map(len, hidden)) < WHITENED_LATENTS:
                batch = next(batches)
                hidden.append(self.encoder(batch.frames)[0][batch.inside])
            self.bottleneck.whiten(torch.cat(hidden))
        self.bottleneck.before_training(self._passed(batch)[0].kept for batch in batches)

    @torch.no_grad()
    def after_step(
        self, step: int, finite: Bool[Tensor, ""], predictions: Predictions
    ) -> dict[str, float | Float[Tensor, ""]]:
        figures = self.bottleneck.after_step(step, finite, predictions.kept)
        return {"penalty": self._penalty(predictions, step), **figures}

    @torch.no_grad()
    def follow(self, model: "AutoEncoder") -> None:
        self.bottleneck.follow(model.bottleneck)

    def codes_in_use(self) -> CodesInUse | None:
        return self.bottleneck.codes_in_use()

    def warning(self, rows: Sequence[dict[str, Any]]) -> str | None:
        if not rows and self.speakers > 1 and self.speaker is None:
            return (
                f"The corpus has {self.speakers} speakers and wavenet.speaker_channels is 0, so latents have to say "
                "who speaks, and no voice can be converted to another; wavenet.speaker_channels=8 conditions the "
                "decoder on the speaker."
            )
        return self.bottleneck.warning(rows)

    def module_groups(self) -> dict[str, list[nn.Module]]:
        return {"encoder": [self.encoder], "bottleneck": [self.bottleneck], **super().module_groups()}
