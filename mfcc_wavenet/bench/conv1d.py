"""The same network as one would write it from the paper, to compare with: torch's Conv1d, one per term.

van den Oord et al. 2016, "WaveNet: a generative model for raw audio", equations 2 and 5 and figure 4, over (B, C, T):
windows are padded with zeros where their past is missing, and every position of a window is predicted. It shares no
layer with mfcc_wavenet.models.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.config.settings import Settings, UpsamplingSettings, WavenetSettings
from mfcc_wavenet.data.windows import Windows
from mfcc_wavenet.training.optimizer import make_optimizer


class Conv1dLayer(nn.Module):
    """z = tanh(W_f * x + V_f * y) sigmoid(W_g * x + V_g * y) of samples x and conditioning y: equation 5."""

    def __init__(self, settings: WavenetSettings, dilation: int, conditioning_channels: int, last: bool):
        super().__init__()
        residual_channels, gate_channels = settings.residual_channels, settings.gate_channels
        self.past = (settings.kernel_size - 1) * dilation
        self.dilated = nn.Conv1d(residual_channels, 2 * gate_channels, settings.kernel_size, dilation=dilation)
        self.conditioning = nn.Conv1d(conditioning_channels, 2 * gate_channels, 1, bias=False)
        self.skip = nn.Conv1d(gate_channels, settings.skip_channels, 1)
        self.residual = None if last else nn.Conv1d(gate_channels, residual_channels, 1)

    def forward(self, x: Float[Tensor, "B C T"], y: Float[Tensor, "B D T"]) -> tuple[Tensor, Tensor]:
        """The residual output (B, C, T) and the skip connection (B, S, T)."""
        both = self.dilated(functional.pad(x, (self.past, 0))) + self.conditioning(y)
        filtered, gate = both.chunk(2, dim=1)
        z = torch.tanh(filtered) * torch.sigmoid(gate)
        return (x if self.residual is None else x + self.residual(z)), self.skip(z)


class Conv1dUpsampling(nn.Module):
    """Frames to conditioning, of the same widths as models/upsampling.py; zeros stand in for frames beyond a window."""

    def __init__(self, settings: UpsamplingSettings, in_channels: int):
        super().__init__()
        size = settings.frame_kernel_size
        self.padding = ((size - 1) // 2, size - 1 - (size - 1) // 2)
        widths = [in_channels, *settings.frame_channels]
        self.frame_layers = nn.ModuleList(nn.Conv1d(width, wider, size) for width, wider in pairwise(widths))
        widths = [widths[-1]] + [settings.channels] * len(settings.strides)
        self.stages = nn.ModuleList(
            nn.ConvTranspose1d(width, settings.channels, kernel_size, stride)
            for width, kernel_size, stride in zip(widths, settings.kernel_sizes, settings.strides)
        )

    def forward(self, frames: Float[Tensor, "B F K"]) -> Float[Tensor, "B D S"]:
        """The conditioning of each sample from the centre of the first frame on, up to half a kernel after the last."""
        x = frames.transpose(1, 2)
        for layer in self.frame_layers:
            x = torch.relu(layer(functional.pad(x, self.padding)))
        for index, stage in enumerate(self.stages):
            lead = (stage.kernel_size[0] - 1) // 2  # samples before its centre that an input contributes to
            x = stage(torch.relu(x) if index else x)[:, :, lead:]
        return x


class Conv1dWaveNet(nn.Module):
    """The whole network, from past codes and frames to logits."""

    def __init__(self, settings: Settings, speakers: int):
        super().__init__()
        wavenet, upsampling = settings.wavenet, settings.upsampling
        dilations = [2**layer for layer in range(wavenet.layers_per_block)] * wavenet.blocks
        self.upsampling = Conv1dUpsampling(upsampling, settings.features.channels)
        self.speaker = nn.Embedding(speakers, wavenet.speaker_channels) if wavenet.speaker_channels else None
        self.embedding = nn.Embedding(wavenet.quantization_channels, wavenet.residual_channels)
        self.layers = nn.ModuleList(
            Conv1dLayer(wavenet, dilation, upsampling.channels + wavenet.speaker_channels, index == len(dilations))
            for index, dilation in enumerate(dilations, start=1)
        )
        self.post = nn.Conv1d(wavenet.skip_channels, wavenet.post_channels, 1)
        self.logits = nn.Conv1d(wavenet.post_channels, wavenet.quantization_channels, 1)

    def forward(
        self, past: Int[Tensor, "B T"], frames: Float[Tensor, "B F K"], speakers: Int[Tensor, " B"]
    ) -> Float[Tensor, "B Q T"]:
        """Logits of the code that follows each past one; the window begins at the centre of its first frame."""
        length = past.shape[1]
        y = self.upsampling(frames)[:, :, :length]
        if self.speaker is not None:
            y = torch.cat([y, self.speaker(speakers)[:, :, None].expand(-1, -1, length)], dim=1)
        x = self.embedding(past).transpose(1, 2)
        skips = []
        for layer in self.layers:
            x, skip = layer(x, y)
            skips.append(skip)
        hidden = torch.relu(self.post(torch.relu(sum(skips))))
        return self.logits(hidden)


def conv1d_steps(
    settings: Settings, windows: Windows, device: torch.device, precision: torch.dtype, compiled: bool
) -> Callable[[], Tensor]:
    """A function that makes one step of training, with the optimizer of the settings, and returns its loss in nats.

    The windows are of the same corpus, as many and as long as the settings say. precision, compiled: as those of
    training.computing.network_pass, for the same on a GPU.
    """
    network = Conv1dWaveNet(settings, len(set(windows.corpus.speakers))).to(device)
    optimizer = make_optimizer(settings.optim, {"network": list(network.parameters())})
    forward = torch.compile(network, dynamic=False) if compiled else network
    batches = _batches(settings, windows)

    def step() -> Tensor:
        past, target, frames, speakers = (tensor.to(device) for tensor in next(batches))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = forward(past, frames, speakers)
        # Rows of contiguous logits, as in our own loss: cross_entropy over a middle axis is several times slower.
        loss = functional.cross_entropy(logits.float().transpose(1, 2).flatten(0, 1), target.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _batches(settings: Settings, windows: Windows) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Past (B, T), target (B, T), frames (B, F, K) and speakers (B,) of windows from anywhere, without end."""
    corpus, hop = windows.corpus, settings.features.hop_length
    samples, batch_size = settings.window.samples, settings.window.batch_size
    count = samples // hop + 2  # frames up to half a hop after the last sample
    long_enough = [index for index, length in enumerate(corpus.lengths) if length >= samples + 3 * hop]
    frames = {utterance: windows.frames(utterance) for utterance in long_enough}
    random = np.random.default_rng(settings.train.seed)
    while True:
        drawn = []
        for utterance in random.choice(long_enough, batch_size).tolist():
            first = int(random.integers(1, (corpus.lengths[utterance] - samples) // hop))  # frame
            codes = corpus.codes(utterance)[first * hop - 1 : first * hop + samples].astype(np.int64)
            speaker = np.int64(windows.speaker_index[utterance])
            drawn.append((codes[:-1], codes[1:], frames[utterance][first : first + count], speaker))
        yield tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*drawn))
