"""A network's weights as the loop over samples reads them: packed, partitioned among threads, in the order of use."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from mfcc_wavenet.generation.cpu.barrier import partition
from mfcc_wavenet.generation.cpu.gemm import HALF_PANEL, PANEL, aligned_zeros, pack
from mfcc_wavenet.models.wavenet import WaveNet


class Weights(NamedTuple):
    """One thread's partition of the weights: its panels of every matrix, its rows of every bias.

    Q codes, C residual, G gate, S skip, P post and D conditioning channels; with a P appended they are padded with
    zeros, CP, SP, PP and QP to whole panels, GP to half panels. A layer's rows of gates are its filters, times -2, and
    then as many gates, times -1.
    """

    embedding: Float32[np.ndarray, "Q CP"]  # all of it
    conditioning: Float32[np.ndarray, "layers*gate_panels D panel"]
    gates: Float32[np.ndarray, "layers taps gate_panels C panel"]  # the oldest tap first
    residuals: Float32[np.ndarray, "layers channel_panels G panel"]  # zeros in the last layer, which has none
    skip: Float32[np.ndarray, "skip_panels layers*GP panel"]
    post: Float32[np.ndarray, "post_panels S panel"]
    logits: Float32[np.ndarray, "logit_panels P panel"]
    gate_biases: Float32[np.ndarray, " layers*gate_panels*panel"]  # with the residual biases folded in
    skip_bias: Float32[np.ndarray, " skip_panels*panel"]
    post_bias: Float32[np.ndarray, " post_panels*panel"]
    logits_bias: Float32[np.ndarray, " logit_panels*panel"]
    dilations: Int64[np.ndarray, " layers"]
    ring_starts: Int64[np.ndarray, " layers+1"]  # of each layer's ring buffer, and where the last one ends


def pack_weights(wavenet: WaveNet, thread_id: int = 0, num_threads: int = 1) -> Weights:
    """The partition of one of num_threads threads."""
    wavenet = copy.deepcopy(wavenet).cpu().requires_grad_(False)

    def own(rows: Float[Tensor, " R *rest"], unit: int = PANEL) -> Float[Tensor, " own *rest"]:
        """This thread's rows, in whole units."""
        padded = _zero_padded(rows, unit, axis=0)
        start, stop = partition(len(padded) // unit, thread_id, num_threads)
        return padded[start * unit : stop * unit]

    def own_gates(rows: Float[Tensor, " both *rest"]) -> Float[Tensor, " own *rest"]:
        """This thread's filters and gates, scaled for e^-2x and e^-x: by powers of two, which are exact."""
        filters, gates = rows.chunk(2)
        return torch.cat([own(-2 * filters, HALF_PANEL), own(-gates, HALF_PANEL)])

    layers = list(wavenet.layers)
    kernel_size, channels = layers[0].kernel_size, wavenet.embedding.embedding_dim
    gate_channels = wavenet.skip.in_features // len(layers)
    gates = torch.stack([own_gates(layer.gate.weight) for layer in layers])  # layers, rows, columns
    taps, conditioning = gates.tensor_split([kernel_size * channels], dim=-1)
    residuals = [layer.residual.weight for layer in layers[:-1]] + [torch.zeros(channels, gate_channels)]
    skip = _zero_padded(wavenet.skip.weight.unflatten(1, (len(layers), gate_channels)), HALF_PANEL, axis=-1)
    dilations = np.array([layer.dilation for layer in layers])
    return Weights(
        embedding=pack_embedding(wavenet.embedding),
        **_in_order_of_use(
            conditioning=pack(conditioning.flatten(0, 1).numpy()),
            gates=pack(taps.unflatten(-1, (kernel_size, channels)).movedim(-2, 1).numpy()),
            residuals=pack(torch.stack([own(weight) for weight in residuals]).numpy()),
            skip=pack(own(skip.flatten(1)).numpy()),
            post=pack(own(wavenet.post.weight).numpy()),
            logits=pack(own(wavenet.logits.weight).numpy()),
        ),
        gate_biases=torch.cat([own_gates(bias) for bias in _gate_biases(wavenet)]).numpy(),
        skip_bias=own(wavenet.skip.bias).numpy(),
        post_bias=own(wavenet.post.bias).numpy(),
        logits_bias=own(wavenet.logits.bias).numpy(),
        dilations=dilations,
        ring_starts=np.cumsum([0, *((kernel_size - 1) * dilations + 1)]),
    )


def pack_embedding(embedding: nn.Embedding) -> Float32[np.ndarray, "Q CP"]:
    """All of it, which every thread reads."""
    return _zero_padded(embedding.weight.detach().cpu().clone(), PANEL, axis=1).numpy()


def _in_order_of_use(
    gates: Float32[np.ndarray, "layers taps gate_panels C panel"],
    residuals: Float32[np.ndarray, "layers channel_panels G panel"],
    **others: Float32[np.ndarray, "_ _ panel"],
) -> dict[str, Float32[np.ndarray, "..."]]:
    """All matrices in one piece of memory, in the order in which a step reads them.

    The hardware prefetcher then reads ahead across their borders too.
    """
    layer = [("gates", np.float32, gates.shape[1:]), ("residuals", np.float32, residuals.shape[1:])]
    conditioning, *head = [(name, np.float32, matrix.shape) for name, matrix in others.items()]
    step = aligned_zeros(np.dtype([conditioning, ("layers", layer, len(gates)), *head]))
    fields = {**{name: step[name] for name in others}, **{name: step["layers"][name] for name, *_ in layer}}
    for name, matrix in {"gates": gates, "residuals": residuals, **others}.items():
        fields[name][...] = matrix
    return fields


def _gate_biases(wavenet: WaveNet) -> list[Float[Tensor, " _"]]:
    """Each layer's biases of filters and gates, with the residual biases of the earlier layers folded in.

    A residual bias is a constant in the inputs of all later layers. The loop leaves it out, and its product with their
    weights is added here, once.
    """
    biases, constant = [], torch.zeros(wavenet.embedding.embedding_dim, dtype=torch.float64)
    for layer in wavenet.layers:
        taps = layer.gate.weight[:, : layer.kernel_size * len(constant)].double()
        biases.append((layer.gate.bias + taps @ constant.repeat(layer.kernel_size)).float())
        if layer.residual is not None:
            constant = constant + layer.residual.bias
    return biases


def _zero_padded(rows: Float[Tensor, "..."], unit: int, axis: int) -> Float[Tensor, "..."]:
    """Padded to whole units along an axis."""
    return functional.pad(rows.movedim(axis, -1), (0, -rows.shape[axis] % unit)).movedim(-1, axis)
