"""The WaveNet: codes and conditioning in, logits of the next code out.

van den Oord et al. 2016, "WaveNet: a generative model for raw audio": embedding, gated residual
layers with dilated causal convolutions (2.3) conditioned locally and globally (2.5), skip sum, head.

Every layer is one matrix product over (B, T, C): the taps of its dilated convolution and the
conditioning are concatenated. The skip connections of all layers are one more product. On a CPU that
is faster than a convolution per term.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from mfcc_wavenet.config.settings import WavenetSettings
from mfcc_wavenet.models.embedding import Embedding

TENSOR_CORE_WIDTH = 8  # GPUs multiply 16-bit matrices at a third of their speed where a row is not a multiple of this


class GatedLayer(nn.Module):
    """tanh(filter) * sigmoid(gate) of the taps and the conditioning, then the residual connection.

    The last layer has no residual connection: only its gated output is used.
    """

    def __init__(self, settings: WavenetSettings, dilation: int, conditioning_channels: int, last: bool):
        super().__init__()
        residual_channels, gate_channels = settings.residual_channels, settings.gate_channels
        self.kernel_size = kernel_size = settings.kernel_size
        self.dilation = dilation
        self.gate = nn.Linear(kernel_size * residual_channels + conditioning_channels, 2 * gate_channels)
        self.residual = None if last else nn.Linear(gate_channels, residual_channels)

    def forward(self, x: Tensor, conditioning: Tensor) -> tuple[Tensor, Tensor]:
        """The residual output (B, T', C) and the gated output (B, T', G), T' = T - (kernel_size - 1) * dilation.

        x: (B, T, C); conditioning: (B, T' or more, D), of which the last T' positions are used.
        """
        length = x.shape[1] - (self.kernel_size - 1) * self.dilation
        taps = [x[:, tap * self.dilation : tap * self.dilation + length] for tap in range(self.kernel_size)]
        inputs = torch.cat([*taps, conditioning[:, -length:]], dim=-1)
        both = linear(inputs, _wider(self.gate.weight, inputs.shape[-1]), self.gate.bias)  # B, T', 2G
        filtered, gate = both.chunk(2, dim=-1)
        gated = torch.tanh(filtered) * torch.sigmoid(gate)  # B, T', G
        return (taps[-1] if self.residual is None else taps[-1] + self.residual(gated)), gated


class WaveNet(nn.Module):
    """The network over the codes; the caller computes the conditioning."""

    def __init__(self, settings: WavenetSettings, dilations: tuple[int, ...], conditioning_channels: int):
        super().__init__()
        codes, channels = settings.quantization_channels, settings.residual_channels
        self.embedding = Embedding(codes, channels)
        self.prediction = None if settings.prediction == "none" else Embedding(codes, channels)
        self.classes = settings.classes
        self.layers = nn.ModuleList(
            GatedLayer(settings, dilation, conditioning_channels, last=layer == len(dilations))
            for layer, dilation in enumerate(dilations, start=1)
        )
        self.skip = nn.Linear(len(dilations) * settings.gate_channels, settings.skip_channels)
        self.post = nn.Linear(settings.skip_channels, settings.post_channels)
        self.logits = nn.Linear(settings.post_channels, codes * (2 if self.classes == "both" else 1))
        if self.classes == "both":  # begins as the network of codes alone
            nn.init.zeros_(self.logits.weight[codes:])
            nn.init.zeros_(self.logits.bias[codes:])

    def forward(
        self,
        codes: Int[Tensor, "B T"],
        conditioning: Float[Tensor, "B T C"],
        predictions: int,
        predicted: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B N Q"]:
        """Logits (B, N, Q) of the last N = predictions positions.

        codes: (B, T), at each position the code of the sample before it; conditioning: (B, T, C); predicted: (B, T), at
        each position the code that linear prediction gives its sample, for a network that takes it.
        T is N plus the receptive field minus 1; the earlier positions are context only.
        """
        x = self.embedding(codes)  # B, T, C
        if self.prediction is not None:
            x = x + self.prediction(predicted)
        inputs = self.layers[0].gate.in_features
        if x.is_cuda and (missing := -inputs % TENSOR_CORE_WIDTH):
            conditioning = _wider(conditioning, conditioning.shape[-1] + missing)
        gated = []
        for layer in self.layers:
            x, z = layer(x, conditioning)
            gated.append(z[:, -predictions:])
        skip = self.skip(torch.cat(gated, dim=-1))  # B, N, S
        logits = self.logits(torch.relu(self.post(torch.relu(skip))))
        if self.classes == "codes":
            return logits
        of_differences = logits[..., -self.embedding.num_embeddings :]
        rotated = _rotated(of_differences, predicted[:, -predictions:])
        return rotated if self.classes == "differences" else logits[..., : rotated.shape[-1]] + rotated


def _wider(values: Float[Tensor, "*rows C"], width: int) -> Float[Tensor, "*rows width"]:
    """The same rows, filled up with zeros to that width."""
    missing = width - values.shape[-1]
    return pad(values, (0, missing)) if missing else values


def _rotated(logits: Float[Tensor, "B N Q"], predicted: Int[Tensor, "B N"]) -> Float[Tensor, "B N Q"]:
    """Logits of each difference from a predicted code, modulo Q, as logits of each code."""
    channels = logits.shape[-1]
    differences = torch.arange(channels, device=logits.device) - predicted[..., None]
    return logits.gather(-1, torch.where(differences < 0, differences + channels, differences))
