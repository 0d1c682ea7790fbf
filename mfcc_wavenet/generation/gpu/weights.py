"""A network's weights as the kernel reads them: rows of whole float4, filters and gates in turns."""

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int32
from torch import Tensor
from torch.nn import functional

from mfcc_wavenet.models.wavenet import WaveNet

FLOAT4 = 4  # numbers that a thread loads at once


class Weights(NamedTuple):
    """In the order of the kernel's arguments; letters as in cpu/packed_weights.py, with a P padded with zeros."""

    embedding: Float32[Tensor, "Q C"]
    gates: Float32[Tensor, "layers both KCP"]  # K taps, the oldest first
    residuals: Float32[Tensor, "_ C GP"]  # of all layers but the last one
    residual_biases: Float32[Tensor, "_ C"]
    skip: Float32[Tensor, "S layersGP"]
    skip_bias: Float32[Tensor, " S"]
    post: Float32[Tensor, "P SP"]
    post_bias: Float32[Tensor, " P"]
    logits: Float32[Tensor, "Q PP"]
    logits_bias: Float32[Tensor, " Q"]
    dilations: Int32[Tensor, " layers"]
    ring_starts: Int32[Tensor, " layers+1"]  # of each layer's ring buffer, and where the last one ends


class Projection(NamedTuple):
    """Of the conditioning to what it adds to all layers' filters and gates, their biases included."""

    weight: Float32[Tensor, "rows D"]
    bias: Float32[Tensor, " rows"]


def pack_weights(wavenet: WaveNet, device: torch.device) -> tuple[Weights, Projection]:
    """Copies on the device."""
    layers = list(wavenet.layers)
    inputs = layers[0].kernel_size * wavenet.embedding.embedding_dim
    gates = torch.stack([_in_turns(layer.gate.weight) for layer in layers])
    biases = torch.stack([_in_turns(layer.gate.bias) for layer in layers])
    residuals = [layer.residual for layer in layers[:-1]]
    channels, gate_channels = wavenet.embedding.embedding_dim, wavenet.skip.in_features // len(layers)
    none = [torch.zeros(0, channels, gate_channels), torch.zeros(0, channels)]  # of a network of one layer
    dilations = torch.tensor([layer.dilation for layer in layers])
    lengths = (layers[0].kernel_size - 1) * dilations + 1
    weights = Weights(
        embedding=wavenet.embedding.weight,
        gates=_padded(gates[..., :inputs]),
        residuals=_padded(torch.stack([layer.weight for layer in residuals]) if residuals else none[0]),
        residual_biases=torch.stack([layer.bias for layer in residuals]) if residuals else none[1],
        skip=_padded(wavenet.skip.weight),
        skip_bias=wavenet.skip.bias,
        post=_padded(wavenet.post.weight),
        post_bias=wavenet.post.bias,
        logits=_padded(wavenet.logits.weight),
        logits_bias=wavenet.logits.bias,
        dilations=dilations.int(),
        ring_starts=torch.cat([torch.zeros(1), lengths.cumsum(0)]).int(),
    )
    projection = Projection(gates[..., inputs:].flatten(0, 1), biases.flatten())
    return Weights(*map(_on(device), weights)), Projection(*map(_on(device), projection))


def _in_turns(rows: Float32[Tensor, "both ..."]) -> Float32[Tensor, "both ..."]:
    """Filter 0, gate 0, filter 1, gate 1, ... of all filters and then all gates."""
    return torch.stack(rows.chunk(2), dim=1).flatten(0, 1)


def _padded(matrix: Float32[Tensor, "..."]) -> Float32[Tensor, "..."]:
    return functional.pad(matrix, (0, -matrix.shape[-1] % FLOAT4))


def _on(device: torch.device):
    return lambda tensor: tensor.detach().to(device).contiguous().clone()
