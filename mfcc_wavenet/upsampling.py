"""Frames to conditioning: convolutions at frame rate, then transposed convolutions up to one vector per sample."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfcc_wavenet.settings import UpsamplingSettings


class Upsampling(nn.Module):
    """Learned upsampling of the frames, without padding of its own.

    Its output covers Geometry.upsampled_span of its input and nothing else, so a window and the
    whole utterance get the same numbers. The layers at frame rate cost next to nothing (they run
    once per hop), which makes them the place for width.
    """

    def __init__(self, settings: UpsamplingSettings, in_channels: int):
        super().__init__()
        widths = [in_channels, *settings.frame_channels]
        self.frame_layers = nn.ModuleList(
            nn.Conv1d(width, next_width, settings.frame_kernel_size) for width, next_width in pairwise(widths)
        )
        widths = [widths[-1]] + [settings.channels] * len(settings.strides)
        self.stages = nn.ModuleList(
            nn.ConvTranspose1d(width, next_width, kernel_size, stride)
            for width, next_width, kernel_size, stride in zip(
                widths, widths[1:], settings.kernel_sizes, settings.strides
            )
        )

    def forward(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B S C"]:
        """(B, frames, coefficients) to (B, samples, channels)."""
        x = frames.transpose(1, 2)
        for layer in self.frame_layers:
            x = torch.relu(layer(x))
        for index, stage in enumerate(self.stages):
            x = self._complete(torch.relu(x) if index else x, stage)
        return x.transpose(1, 2)

    @staticmethod
    def _complete(x: Tensor, stage: nn.ConvTranspose1d) -> Tensor:
        """The outputs to which no frame beyond the edges would have contributed."""
        kernel_size, stride = stage.kernel_size[0], stage.stride[0]
        edge = kernel_size - stride
        return stage(x)[:, :, edge : x.shape[2] * stride]
