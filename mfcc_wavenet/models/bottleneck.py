"""The bottleneck of an autoencoder: what limits the information in its latents.

All of its arithmetic is float32, whatever autocast does. Bottlenecks with a codebook are in codebook.py.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Num
from torch import Tensor, nn

from mfcc_wavenet.config.autoencoder_settings import BottleneckSettings
from mfcc_wavenet.models.upsampling import LEAST_VARIANCE

MAX_LOG_VARIANCE = 10.0  # of a vae's latents, either way


@dataclass(frozen=True)
class Passed:
    """What becomes of encoded frames."""

    latents: Float[Tensor, "B L D"]
    penalties: dict[str, Float[Tensor, ""]]  # not yet weighted
    figures: dict[str, Float[Tensor, ""]]
    kept: dict[str, Tensor] = field(default_factory=dict)  # what after_step needs


@dataclass(frozen=True)
class CodesInUse:
    """A codebook, and how often each of its codes is used."""

    vectors: Float32[np.ndarray, "K D"]
    shares: Float32[np.ndarray, " K"]  # of all latents, in the latest steps

    @property
    def perplexity(self) -> float:
        """How many equally frequent codes would have the same entropy."""
        return 2 ** entropy_bits(self.shares)


def entropy_bits(counts: Num[np.ndarray, " K"]) -> float:
    """Of a unit, by counts or shares of each: from 0, of one alone, to log2 K, of all equally often.

    2 to its power is the perplexity; in each step, where nothing may wait for the device, Vqvae computes that itself.
    What neighbours say of each other is not counted, so it is more than a good model of units would need.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) if len(shares) > 1 else 0.0


class Bottleneck(nn.Module, ABC):
    """A linear map to latents, and what happens to them."""

    outputs = 1  # numbers of the map for each channel of a latent

    def __init__(self, settings: BottleneckSettings, in_channels: int, latent_hop: int, seed: int):
        """latent_hop: samples from one latent to the next; seed: of what is drawn for a codebook."""
        super().__init__()
        self.settings = settings
        self.latent_hop = latent_hop
        self.seed = seed
        self.linear = nn.Linear(in_channels, self.outputs * settings.channels)
        self.codebook = None  # of those that have one

    @property
    def normalises(self) -> bool:
        """Whether latents are normalised over their channels."""
        return self.settings.normalise and self.settings.has_codes

    def evaluated_map(self) -> tuple[Float[Tensor, "D C"], Float[Tensor, " D"]]:
        """Weights and biases of that part of the linear map that latents of evaluation are computed by."""
        channels = self.settings.channels
        return self.linear.weight[:channels], self.linear.bias[:channels]

    def forward(self, hidden: Float[Tensor, "B L C"], weights: Float[Tensor, "B L"]) -> Passed:
        """weights: of each latent in a mean; 0 of those that do not count."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self._passed(self._mapped(hidden), weights)

    def encode(self, hidden: Float[Tensor, "B L C"]) -> Float[Tensor, "B L D"]:
        """The latents of evaluation, without noise."""
        with torch.autocast(hidden.device.type, enabled=False):
            return self._encoded(self._mapped(hidden))

    def _mapped(self, hidden: Float[Tensor, "B L C"]) -> Float[Tensor, "B L M"]:
        return self.linear(hidden.to(self.linear.weight.dtype))

    @abstractmethod
    def _passed(self, mapped: Float[Tensor, "B L M"], weights: Float[Tensor, "B L"]) -> Passed:
        """From what the linear map gives."""

    def _encoded(self, mapped: Float[Tensor, "B L M"]) -> Float[Tensor, "B L D"]:
        return mapped

    @abstractmethod
    def penalty_weights(self, step: int) -> dict[str, float]:
        """Of each penalty in the objective."""

    @property
    def whitens(self) -> bool:
        """Whether latents begin white."""
        return False

    def whiten(self, hidden: Float[Tensor, "N C"]) -> None:
        """Makes the linear map one to white latents: of mean 0, and as independent of each other as there are causes.

        A deep encoder that is not trained gives all frames almost the same vector, of which normalisation would leave
        one direction. hidden: examples of what it gives.
        """
        examples, weights = hidden.cpu().double(), self.linear.weight.cpu().double()
        variances, directions = torch.linalg.eigh(examples.T.cov())
        kept = min(weights.shape)
        whitening = directions[:, -kept:] / (variances[-kept:] + LEAST_VARIANCE * variances[-1]).sqrt()
        rotation, _ = torch.linalg.qr(weights[:, :kept])  # of what was drawn
        weights = rotation @ whitening.T
        self.linear.weight.copy_(weights)
        self.linear.bias.copy_(-weights @ examples.mean(0))

    def before_training(self, steps: Iterator[dict[str, Tensor]]) -> None:
        """steps: what is kept of training batches, from the first on, made when asked for."""

    def after_step(self, step: int, finite: Bool[Tensor, ""], kept: dict[str, Tensor]) -> dict[str, float | Tensor]:
        """As in Model."""
        return {}

    def follow(self, other: "Bottleneck") -> None:
        """As in Model."""

    def codes_in_use(self) -> CodesInUse | None:
        """As in Model."""
        return None

    def warning(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """As in Model."""
        return None


class Ae(Bottleneck):
    """Nothing but few channels; the norm of a latent is held near 1."""

    def _passed(self, mapped: Float[Tensor, "B L D"], weights: Float[Tensor, "B L"]) -> Passed:
        distance = ((mapped.norm(dim=-1) - 1).abs() * weights).sum()
        return Passed(mapped, {"norm": distance}, moments(mapped.detach(), weights))

    def penalty_weights(self, step: int) -> dict[str, float]:
        return {"norm": self.settings.norm_weight}


class Vae(Bottleneck):
    """Normal distributions, and their divergence from the standard one (Kingma and Welling 2014).

    The first bits of it are free, of the mean over a batch (Kingma et al. 2016, "Improving variational inference with
    inverse autoregressive flow", appendix C.8), and its weight rises while training.
    """

    outputs = 2

    def _passed(self, mapped: Float[Tensor, "B L M"], weights: Float[Tensor, "B L"]) -> Passed:
        mean, log_variance = mapped.chunk(2, dim=-1)
        log_variance = log_variance.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)
        latents = mean
        if self.training:
            latents = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2  # nats, B, L
        divergence = (divergence * weights).sum()
        penalty = divergence.clamp(min=self._free_nats) / self.latent_hop
        kl = divergence.detach()
        figures = {"kl": kl, "kl_bits": kl / math.log(2), **moments(mean.detach(), weights)}
        return Passed(latents, {"kl": penalty}, figures)

    def _encoded(self, mapped: Float[Tensor, "B L M"]) -> Float[Tensor, "B L D"]:
        return mapped.chunk(2, dim=-1)[0]

    @property
    def _free_nats(self) -> float:
        """Per latent."""
        return self.settings.free_bits * math.log(2)

    def penalty_weights(self, step: int) -> dict[str, float]:
        return {"kl": min(1.0, (step + 1) / max(self.settings.anneal_steps, 1))}

    def after_step(self, step: int, finite: Bool[Tensor, ""], kept: dict[str, Tensor]) -> dict[str, float | Tensor]:
        return {"kl_weight": self.penalty_weights(step)["kl"], "free_nats": self._free_nats}


def moments(latents: Float[Tensor, "B L D"], weights: Float[Tensor, "B L"]) -> dict[str, Float[Tensor, ""]]:
    """The mean norm of latents, and their deviation around their mean, over channels and latents."""
    mean = (latents * weights[..., None]).sum((0, 1))
    variance = ((latents - mean).square() * weights[..., None]).sum((0, 1)).mean()
    return {"latent_norm": (latents.norm(dim=-1) * weights).sum(), "latent_sd": variance.sqrt()}
