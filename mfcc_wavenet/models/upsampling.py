"""Frames to conditioning: convolutions at frame rate, then transposed convolutions up to one vector per sample."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.config.settings import UpsamplingSettings

LEAST_VARIANCE = 1e-3  # as a fraction of the largest: whitening lifts no direction beyond that


class Upsampling(nn.Module):
    """Learned upsampling of the frames, without padding.

    Its output covers exactly Geometry.upsampled_span of its input, so a window and the whole
    utterance get the same numbers. The layers at frame rate run only once per hop, so that width
    costs least there.
    """

    def __init__(self, settings: UpsamplingSettings, in_channels: int):
        super().__init__()
        widths = [in_channels, *settings.frame_channels]
        self.frame_layers = nn.ModuleList(
            nn.Conv1d(width, next_width, settings.frame_kernel_size) for width, next_width in pairwise(widths)
        )
        with torch.no_grad():
            for parameter in self.frame_layers.parameters():
                parameter *= settings.frame_gain
        # Buffers are kept like weights, but not trained.
        self.register_buffer("frame_mean", torch.zeros(widths[-1]) if settings.frame_whitening else None)
        widths = [widths[-1]] + [settings.channels] * len(settings.strides)
        self.stages = nn.ModuleList(
            TransposedConvolution(width, settings.channels, kernel_size, stride)
            for width, kernel_size, stride in zip(widths, settings.kernel_sizes, settings.strides)
        )

    @torch.no_grad()
    def whiten(self, frames: Float[Tensor, "B F K"]) -> None:
        """Makes the first layer at frame rate one of whitened frames, and centres what the last one gives.

        Whitened inputs have the covariance of independent ones. Neighbouring frames and their deltas are so correlated
        that random weights see little but what all frames have in common. Each channel keeps the spread that its
        weights would have for independent inputs, and its threshold lies within it.

        What ReLU gives has a mean, by which all frames are alike, so that a step for one frame moves all others too.
        Without it, frames are nearly orthogonal to each other, and what is learnt of one does not disturb the others.

        frames: examples, as normalised as those of training.
        """
        layer = self.frame_layers[0]
        examples = frames.cpu().double().unfold(1, layer.kernel_size[0], 1).flatten(2).flatten(0, 1)  # N, K * kernel
        variances, directions = torch.linalg.eigh(examples.T.cov())
        whitening = directions / (variances + LEAST_VARIANCE * variances[-1]).sqrt()
        centred = (examples - examples.mean(0)) @ whitening
        weights = layer.weight.flatten(1).cpu().double()
        gain = weights.norm(dim=1) / (centred @ weights.T).std(0)
        weights = gain[:, None] * weights @ whitening.T
        thresholds = layer.bias.cpu().double() * (len(variances) / 3) ** 0.5  # uniform within the spread
        layer.weight.copy_(weights.view_as(layer.weight))
        layer.bias.copy_(thresholds - weights @ examples.mean(0))
        self.frame_mean.copy_(self._at_frame_rate(frames.to(layer.weight.device)).mean((0, 1)))

    def forward(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B S C"]:
        """(B, frames, coefficients) to (B, samples, channels), the samples of Geometry.upsampled_span."""
        x = self._at_frame_rate(frames)
        if self.frame_mean is not None:
            x = x - self.frame_mean
        for index, stage in enumerate(self.stages):
            x = stage(torch.relu(x) if index else x)
        return x

    def _at_frame_rate(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B G C"]:
        x = frames.transpose(1, 2)
        for layer in self.frame_layers:
            x = torch.relu(layer(x))
        return x.transpose(1, 2)


class TransposedConvolution(nn.Module):
    """A transposed convolution over (B, T, C) as one matrix product and an overlap-add.

    torch's own is several times slower on a CPU when a few frames make many samples.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.overlap = -(-kernel_size // stride)  # inputs that contribute to one output
        self.kernel = nn.Linear(in_channels, kernel_size * out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        bound = (in_channels * self.overlap) ** -0.5  # 1 / sqrt(terms per output), as in torch's other layers
        nn.init.uniform_(self.kernel.weight, -bound, bound)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B S D"]:
        """The outputs (B, S, D) to which no input beyond the edges contributes, S = (T + 1) * stride - kernel_size."""
        batch, length, _ = x.shape
        parts = self.kernel(x).view(batch, length, self.kernel_size, -1)
        parts = functional.pad(parts, (0, 0, 0, self.overlap * self.stride - self.kernel_size))
        parts = parts.view(batch, length, self.overlap, -1)  # B, T, J, stride * D
        blocks = parts[:, :, 0]
        for late in range(1, self.overlap):
            blocks = blocks + functional.pad(parts[:, : length - late, late], (0, 0, late, 0))
        outputs = blocks.reshape(batch, length * self.stride, -1)
        return outputs[:, self.kernel_size - self.stride :] + self.bias
