"""The WaveNet: codes and conditioning in, logits of the next code out.

van den Oord et al. 2016, "WaveNet: a generative model for raw audio": embedding, gated residual
layers with dilated causal convolutions (2.3) conditioned locally and globally (2.5), skip sum, head.

Every layer is written as matrix products over (B, T, C). The taps of the dilated convolution and
the conditioning stand side by side in one product, and the skip products of all layers are one more:
on a processor that is faster than a convolution per term.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mfcc_wavenet.config.settings import WavenetSettings


class GatedLayer(nn.Module):
    """tanh(filter) * sigmoid(gate) of the taps and the conditioning, and the residual step.

    The last layer has no residual step: only its gated output is read.
    """

    def __init__(self, settings: WavenetSettings, dilation: int, conditioning_channels: int, last: bool):
        super().__init__()
        residual_channels, gate_channels = settings.residual_channels, settings.gate_channels
        self.kernel_size = kernel_size = settings.kernel_size
        self.dilation = dilation
        self.gate = nn.Linear(kernel_size * residual_channels + conditioning_channels, 2 * gate_channels)
        self.residual = None if last else nn.Linear(gate_channels, residual_channels)

    def forward(self, x: Tensor, conditioning: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, T, C); conditioning: (B, T' or more, Cc), aligned at its end; to (B, T', C) and gated (B, T', G)."""
        length = x.shape[1] - (self.kernel_size - 1) * self.dilation
        taps = [x[:, tap * self.dilation : tap * self.dilation + length] for tap in range(self.kernel_size)]
        both = self.gate(torch.cat([*taps, conditioning[:, -length:]], dim=-1))  # B, T', 2G
        filtered, gate = both.chunk(2, dim=-1)
        gated = torch.tanh(filtered) * torch.sigmoid(gate)  # B, T', G
        return (taps[-1] if self.residual is None else taps[-1] + self.residual(gated)), gated


class WaveNet(nn.Module):
    """The network over the codes; what it is conditioned on is the caller's business."""

    def __init__(self, settings: WavenetSettings, dilations: tuple[int, ...], conditioning_channels: int):
        super().__init__()
        self.embedding = nn.Embedding(settings.quantization_channels, settings.residual_channels)
        self.layers = nn.ModuleList(
            GatedLayer(settings, dilation, conditioning_channels, last=layer == len(dilations))
            for layer, dilation in enumerate(dilations, start=1)
        )
        self.skip = nn.Linear(len(dilations) * settings.gate_channels, settings.skip_channels)
        self.post = nn.Linear(settings.skip_channels, settings.post_channels)
        self.logits = nn.Linear(settings.post_channels, settings.quantization_channels)

    def forward(
        self, codes: Int[Tensor, "B T"], conditioning: Float[Tensor, "B T C"], predictions: int
    ) -> Float[Tensor, "B N Q"]:
        """Logits (B, N, Q) of the last N = predictions positions.

        codes: (B, T), each one the sample before the position it stands at; conditioning: (B, T, C).
        T is N plus the receptive field less 1; the positions in front serve as the past alone.
        """
        x = self.embedding(codes)  # B, T, C
        gated = []
        for layer in self.layers:
            x, z = layer(x, conditioning)
            gated.append(z[:, -predictions:])
        skip = self.skip(torch.cat(gated, dim=-1))  # B, N, S
        return self.logits(torch.relu(self.post(torch.relu(skip))))
