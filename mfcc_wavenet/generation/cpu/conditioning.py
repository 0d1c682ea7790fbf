"""Conditioning, computed before the loop over samples: from latents to one vector per sample.

The layers are those of models/upsampling.py, each as one gemm over windows of its input (im2col without the copy). It
is faster than torch's, and a sample's conditioning is the same to the last bit, whichever block it is computed in.
"""

import copy

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.nn import functional

from mfcc_wavenet.config.geometry import Span
from mfcc_wavenet.generation.cpu.gemm import PANEL, gemm, pack
from mfcc_wavenet.models import upsampling
from mfcc_wavenet.models.base import Model


class Conditioner:
    """The packed upsampling of a model, and its speaker embedding."""

    def __init__(self, model: Model):
        self.geometry = model.geometry
        layers = copy.deepcopy(model.upsampling).cpu().requires_grad_(False)
        self.frame_layers = [Convolution(layer.weight.movedim(1, 2), layer.bias) for layer in layers.frame_layers]
        self.frame_mean = None if layers.frame_mean is None else layers.frame_mean.numpy()
        self.stages = [_TransposedConvolution(stage) for stage in layers.stages]
        self.speakers = None if model.speaker is None else model.speaker.weight.detach().cpu().numpy()

    def __call__(self, latents: Float[np.ndarray, "L K"], speaker: int, samples: Span) -> Float[np.ndarray, "T C"]:
        """The conditioning of each sample of a span.

        latents: (L, K), those of geometry.latent_span(samples), which are normalised frames without an encoder; returns
        (T, C), T = stop - start.
        """
        x = latents
        for layer in self.frame_layers:
            x = np.maximum(layer(x), 0)
        if self.frame_mean is not None:
            x = x - self.frame_mean
        for index, stage in enumerate(self.stages):
            x = stage(np.maximum(x, 0) if index else x)
        offset = samples[0] - self.geometry.upsampled_span(self.geometry.latent_span(samples))[0]
        upsampled = x[offset : offset + samples[1] - samples[0]]
        if self.speakers is None:
            return upsampled
        return np.hstack([upsampled, np.broadcast_to(self.speakers[speaker], (len(upsampled), self.speakers.shape[1]))])


class Convolution:
    """A convolution over (T, C) without padding: one gemm over all windows of W vectors, the first ones of a stride."""

    def __init__(self, weight: Float[Tensor, "R W C"], bias: Float[Tensor, " R"], stride: int = 1):
        self.rows, self.kernel_size, _ = weight.shape
        self.stride = stride
        self.panels = pack(weight.flatten(1).numpy())
        self.bias = np.pad(bias.numpy(), (0, -self.rows % PANEL))[None]

    def __call__(self, x: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "windows R"]:
        _, channels = x.shape
        windows = sliding_window_view(np.ravel(x), self.kernel_size * channels)[:: self.stride * channels]
        out = np.empty((len(windows), self.bias.shape[1]), np.float32)
        gemm(out, self.bias, self.panels, windows)
        return out[:, : self.rows]


class _TransposedConvolution:
    """A transposed convolution as a convolution that makes the samples of one stride from the vectors that they see."""

    def __init__(self, stage: upsampling.TransposedConvolution):
        self.kernel_size, self.stride, self.overlap = stage.kernel_size, stage.stride, stage.overlap
        kernel = stage.kernel.weight.unflatten(0, (stage.kernel_size, -1))  # kernel_size, D, C
        kernel = functional.pad(kernel, (0, 0, 0, 0, 0, stage.overlap * stage.stride - stage.kernel_size))
        taps = kernel.unflatten(0, (stage.overlap, stage.stride)).flip(0)  # overlap, stride, D, C: the latest last
        self.convolution = Convolution(taps.flatten(1, 2).movedim(0, 1), stage.bias.repeat(stage.stride))

    def __call__(self, x: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "S D"]:
        padding = np.zeros((self.overlap - 1, x.shape[1]), np.float32)
        strides = self.convolution(np.concatenate([padding, x]))  # T, stride * D
        samples = strides.reshape(len(x) * self.stride, -1)
        return samples[self.kernel_size - self.stride :]
