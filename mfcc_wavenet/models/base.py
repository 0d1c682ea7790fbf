"""What every model under the Chassis offers, so that nobody has to ask which one it is.

All of them are a WaveNet conditioned on upsampled latents and on the speaker; where latents come from is their own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.config.geometry import Geometry
from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.batch import Batch
from mfcc_wavenet.models.bottleneck import CodesInUse
from mfcc_wavenet.models.embedding import Embedding
from mfcc_wavenet.models.upsampling import Upsampling
from mfcc_wavenet.models.wavenet import WaveNet


@dataclass(frozen=True)
class Predictions:
    """What a model makes of a batch: all that its objective and the metrics need."""

    pred: Float[Tensor, "B Q N"]  # logits
    target: Int[Tensor, "B N"]  # the codes that they should point at
    mask: Bool[Tensor, "B N"]  # which samples count
    penalties: dict[str, Float[Tensor, ""]] = field(default_factory=dict)  # nats per sample, not yet weighted
    figures: dict[str, Float[Tensor, ""]] = field(default_factory=dict)  # logged next to the metrics
    kept: dict[str, Tensor] = field(default_factory=dict)  # of each window, without gradients: what after_step needs
    latents: Float[Tensor, "B L C"] | None = None  # what an encoder gave; None: there is none

    def negative_log_likelihood(self) -> Float[Tensor, ""]:
        """Mean over the unmasked samples, in nats per sample."""
        # Rows of contiguous logits: cross_entropy over a middle axis is several times slower.
        nats = functional.cross_entropy(
            self.pred.transpose(1, 2).flatten(0, 1), self.target.flatten(), reduction="none"
        )
        mask = self.mask.flatten()
        return (nats * mask).sum() / mask.sum().clamp(min=1)  # 0 where no sample counts

    def detached(self) -> "Predictions":
        """The same without gradients, and so without all that the network keeps for them."""
        penalties = {name: penalty.detach() for name, penalty in self.penalties.items()}
        tensors = {name: tensor.detach() for name, tensor in self._tensors().items()}
        return replace(self, penalties=penalties, latents=None, **tensors)

    @staticmethod
    def joined(parts: "list[Predictions]") -> "Predictions":
        """Of the parts of a batch as of the whole; penalties, figures and latents are the last part's."""
        if len(parts) == 1:
            return parts[0]
        kept = {name: torch.cat([part.kept[name] for part in parts]) for name in parts[0].kept}
        tensors = [part._tensors() for part in parts]
        joined = {name: torch.cat([one[name] for one in tensors]) for name in tensors[0]}
        return replace(parts[-1], kept=kept, **joined)

    def _tensors(self) -> dict[str, Tensor]:
        return {"pred": self.pred, "target": self.target, "mask": self.mask}


class Model(nn.Module, ABC):
    """A network from frames and past codes to logits of the next code.

    forward is the architecture from latents on; run, objective and the hooks below are how it is trained.
    """

    def __init__(
        self,
        geometry: Geometry,
        upsampling: UpsamplingSettings,
        wavenet: WavenetSettings,
        latent_channels: int,
        speakers: int,
    ):
        """latent_channels: of what is upsampled; speakers: how many there are to tell apart.

        The weights are drawn from torch's global generator.
        """
        super().__init__()
        self.geometry = geometry
        self.encoder, self.bottleneck = None, None  # from frames to latents, where those are not the frames
        self.jitter = upsampling.jitter
        self.upsampling = Upsampling(upsampling, latent_channels)
        self.speaker = Embedding(speakers, wavenet.speaker_channels) if wavenet.speaker_channels else None
        self.wavenet = WaveNet(wavenet, geometry.dilations, upsampling.channels + wavenet.speaker_channels)

    # --- what each model has of its own -----------------------------------------------------------

    @abstractmethod
    def run(self, batch: Batch) -> Predictions:
        """The batch through the network; on the batch's device, without a synchronisation."""

    @abstractmethod
    def encode(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B L C"]:
        """The latents that condition the decoder, from all normalised frames of utterances of one length.

        They are those of evaluation, without noise, whichever mode the model is in: L = EncoderGeometry.latents_of(F).
        """

    def objective(self, predictions: Predictions, step: int) -> Float[Tensor, ""]:
        """What training minimises, in nats per unmasked sample.

        A model with penalties adds each with its weight, which may depend on the step and on nothing else.
        """
        return predictions.negative_log_likelihood()

    def before_training(self, batches: Iterator[Batch]) -> None:
        """Called before the first step of a run, with its training batches from the first on, made when asked for.

        It moves neither the run's position nor the global random state. It is called neither on resume nor where
        training starts from a checkpoint's weights. Of several processes, each sees its own windows, and all of them
        go on with the weights of process 0.
        """

    def after_step(
        self, step: int, finite: Bool[Tensor, ""], predictions: Predictions
    ) -> dict[str, float | Float[Tensor, ""]]:
        """Called after every step of the optimizer; what it returns is logged.

        finite: on the device, whether the step was taken; where it was skipped, nothing may change here either.
        predictions: of the whole step, and what is kept in them of all processes.
        """
        return {}

    def follow(self, model: "Model") -> None:
        """Called of averaged weights before each average with the model's, after its after_step.

        What has not moved there but was replaced by something else is not averaged with what it was.
        """

    def codes_in_use(self) -> CodesInUse | None:
        """The codebook of a model that has one, to be looked at."""
        return None

    def warning(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """A sentence that whoever trains should read after the latest of these rows; before training, of no row."""
        return None

    # --- what they share --------------------------------------------------------------------------

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """All trained parameters by what they do, which is how update_ratio_NAME is logged."""
        modules = self.module_groups().items()
        groups = {name: [p for part in parts for p in part.parameters() if p.requires_grad] for name, parts in modules}
        return {name: parameters for name, parameters in groups.items() if parameters}

    def module_groups(self) -> dict[str, list[nn.Module]]:
        """What the parameters of each group are in."""
        return {
            "upsampling": [self.upsampling],
            "speaker": [self.speaker] if self.speaker else [],
            "embedding": [self.wavenet.embedding],
            "prediction": [self.wavenet.prediction] if self.wavenet.prediction else [],
            "layers": [self.wavenet.layers],
            "head": [self.wavenet.skip, self.wavenet.post, self.wavenet.logits],
        }

    def predict(self, batch: Batch, latents: Float[Tensor, "B L C"]) -> Predictions:
        """What the decoder predicts of a batch from the latents of its windows, which jitter in training."""
        past, target = batch.codes[:, :-1], batch.codes[:, self.geometry.receptive_field :]
        latents = jitter(latents, self.jitter) if self.training and self.jitter else latents
        logits = self(past, latents, batch.offsets, batch.speakers, batch.predicted)
        return Predictions(logits.transpose(1, 2), target, batch.mask)

    def forward(
        self,
        past: Int[Tensor, "B T"],
        latents: Float[Tensor, "B L C"],
        offsets: Int[Tensor, " B"],
        speakers: Int[Tensor, " B"],
        predicted: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B N Q"]:
        """Logits of every position that has its whole receptive field before it: N = T + 1 - receptive_field.

        predicted: the linear prediction at each position, for a network that takes it.
        """
        conditioning = self.conditioning(latents, offsets, past.shape[1], speakers)
        return self.wavenet(past, conditioning, past.shape[1] + 1 - self.geometry.receptive_field, predicted)

    def conditioning(
        self, latents: Float[Tensor, "B L C"], offsets: Int[Tensor, " B"], samples: int, speakers: Int[Tensor, " B"]
    ) -> Float[Tensor, "B T D"]:
        """(B, samples, channels): the conditioning of each sample, from offsets[b] on."""
        upsampled = self.upsampling(latents)
        places = offsets[:, None] + torch.arange(samples, device=offsets.device)  # B, T
        upsampled = upsampled.gather(1, places[:, :, None].expand(-1, -1, upsampled.shape[2]))
        if self.speaker is None:
            return upsampled
        speaker = self.speaker(speakers)[:, None].expand(-1, samples, -1)
        return torch.cat([upsampled, speaker], dim=-1)


def jitter(latents: Float[Tensor, "B L C"], probability: float) -> Float[Tensor, "B L C"]:
    """Each latent replaced, with that probability, by its left or right neighbour (Chorowski et al. 2019, 2.3).

    The two neighbours are equally likely; beyond an edge the edge latent stands in.
    """
    batch, length, _ = latents.shape
    draw = torch.rand(batch, length, device=latents.device)
    shift = (draw < probability).long() - 2 * (draw < probability / 2).long()  # -1, 0 or 1
    index = (torch.arange(length, device=latents.device) + shift).clamp(0, length - 1)
    return latents.gather(1, index[:, :, None].expand_as(latents))
