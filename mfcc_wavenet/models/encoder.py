"""The encoder: frames to vectors at the rate of latents, by convolutions without padding.

After Chorowski et al. 2019, "Unsupervised speech representation learning using WaveNet autoencoders": ReLU layers with
residual connections wherever a layer keeps rate and width, one or two of them with a stride.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mfcc_wavenet.config.autoencoder_settings import EncoderSettings
from mfcc_wavenet.config.geometry import EncoderGeometry


class Encoder(nn.Module):
    """Its output covers exactly EncoderGeometry.latent_span of its input.

    So a window and the whole utterance get the same numbers.
    """

    def __init__(self, settings: EncoderSettings, in_channels: int):
        """in_channels: numbers per frame."""
        super().__init__()
        self.geometry = EncoderGeometry(tuple(settings.kernel_sizes), tuple(settings.strides))
        widths = [in_channels, *[settings.channels] * len(settings.strides)]
        self.layers = nn.ModuleList(
            nn.Conv1d(width, next_width, kernel_size, stride)
            for (width, next_width), kernel_size, stride in zip(
                pairwise(widths), settings.kernel_sizes, settings.strides
            )
        )

    def forward(self, frames: Float[Tensor, "B F K"]) -> tuple[Float[Tensor, "B L C"], Float[Tensor, " layers"]]:
        """The vectors, and of each layer the fraction of activations that ReLU makes zero: a layer of zeros is dead."""
        x, zeros = frames.transpose(1, 2), []
        for layer in self.layers:
            active = torch.relu(layer(x))
            zeros.append((active.detach() == 0).float().mean())
            if layer.stride == (1,) and layer.in_channels == layer.out_channels:
                before = (layer.kernel_size[0] - 1) // 2
                active = active + x[:, :, before : before + active.shape[2]]
            x = active
        return x.transpose(1, 2), torch.stack(zeros)
