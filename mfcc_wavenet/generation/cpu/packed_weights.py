"""A network's weights as the loop over samples reads them: packed, shared out among threads, in the order of use."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mfcc_wavenet.generation.cpu.barrier import share
from mfcc_wavenet.generation.cpu.gemm import HALF_PANEL, PANEL, pack, room
from mfcc_wavenet.models.wavenet import WaveNet


class Weights(NamedTuple):
    """What one thread of a team multiplies and adds: its panels of every matrix, its rows of every bias.

    C residual, G gate channels; with P, filled up with zeros, C to whole panels and G to half ones. A layer's rows of
    gates are those of the filters, times -2, and then as many of the gates, times -1.
    """

    embedding: np.ndarray  # (Q, CP), whole
    conditioning: np.ndarray  # (layers * panels of gates, conditioning channels, PANEL)
    gates: np.ndarray  # (layers, taps, panels of gates, C, PANEL), the oldest tap first
    residuals: np.ndarray  # (layers, panels of CP, G, PANEL); the last layer has none, but zeros
    skip: np.ndarray  # (panels, layers * GP, PANEL)
    post: np.ndarray
    logits: np.ndarray
    gate_biases: np.ndarray  # (layers * rows of gates,), with what residual biases come to there
    skip_bias: np.ndarray
    post_bias: np.ndarray
    logits_bias: np.ndarray
    dilations: np.ndarray  # (layers,)
    ring_starts: np.ndarray  # (layers + 1,): where each layer's ring begins among all slots, and where the last ends


def lay_out(wavenet: WaveNet, rank: int = 0, team: int = 1) -> Weights:
    """What the thread of that rank in a team multiplies and adds."""
    wavenet = copy.deepcopy(wavenet).cpu().requires_grad_(False)

    def mine(rows: Tensor, unit: int = PANEL) -> Tensor:
        """This thread's of (R, ...): whole units."""
        padded = _filled_up(rows, unit, axis=0)
        first, stop = share(len(padded) // unit, rank, team)
        return padded[first * unit : stop * unit]

    def my_gates(both: Tensor) -> Tensor:
        """This thread's of (2G, ...), as the loop needs them: for e^-2x and e^-x. The factors cost no bit."""
        filters, gates = both.chunk(2)
        return torch.cat([mine(-2 * filters, HALF_PANEL), mine(-gates, HALF_PANEL)])

    layers = list(wavenet.layers)
    kernel_size, channels = layers[0].kernel_size, wavenet.embedding.embedding_dim
    gate_channels = wavenet.skip.in_features // len(layers)
    gates = torch.stack([my_gates(layer.gate.weight) for layer in layers])  # layers, rows, columns
    taps, conditioning = gates.tensor_split([kernel_size * channels], dim=-1)
    residuals = [layer.residual.weight for layer in layers[:-1]] + [torch.zeros(channels, gate_channels)]
    skip = _filled_up(wavenet.skip.weight.unflatten(1, (len(layers), gate_channels)), HALF_PANEL, axis=-1)
    dilations = np.array([layer.dilation for layer in layers])
    return Weights(
        embedding=_filled_up(wavenet.embedding.weight, PANEL, axis=1).numpy(),
        **_in_order(
            conditioning=pack(conditioning.flatten(0, 1).numpy()),
            gates=pack(taps.unflatten(-1, (kernel_size, channels)).movedim(-2, 1).numpy()),
            residuals=pack(torch.stack([mine(weight) for weight in residuals]).numpy()),
            skip=pack(mine(skip.flatten(1)).numpy()),
            post=pack(mine(wavenet.post.weight).numpy()),
            logits=pack(mine(wavenet.logits.weight).numpy()),
        ),
        gate_biases=torch.cat([my_gates(bias) for bias in _gate_biases(wavenet)]).numpy(),
        skip_bias=mine(wavenet.skip.bias).numpy(),
        post_bias=mine(wavenet.post.bias).numpy(),
        logits_bias=mine(wavenet.logits.bias).numpy(),
        dilations=dilations,
        ring_starts=np.cumsum([0, *((kernel_size - 1) * dilations + 1)]),
    )


def _in_order(gates: np.ndarray, residuals: np.ndarray, **others: np.ndarray) -> dict[str, np.ndarray]:
    """All in one piece of memory, as a step goes through them: the processor reads ahead, also across their borders."""
    layer = [("gates", np.float32, gates.shape[1:]), ("residuals", np.float32, residuals.shape[1:])]
    conditioning, *head = [(name, np.float32, matrix.shape) for name, matrix in others.items()]
    step = room(np.dtype([conditioning, ("layers", layer, len(gates)), *head]))
    places = {**{name: step[name] for name in others}, **{name: step["layers"][name] for name, *_ in layer}}
    for name, matrix in {"gates": gates, "residuals": residuals, **others}.items():
        places[name][...] = matrix
    return places


def _gate_biases(wavenet: WaveNet) -> list[Tensor]:
    """What each layer's filters and gates begin with.

    A residual bias is a constant in the inputs of all layers behind it. The loop leaves it out, and what it comes to
    there is added here, once.
    """
    biases, constant = [], torch.zeros(wavenet.embedding.embedding_dim, dtype=torch.float64)
    for layer in wavenet.layers:
        taps = layer.gate.weight[:, : layer.kernel_size * len(constant)].double()
        biases.append((layer.gate.bias + taps @ constant.repeat(layer.kernel_size)).float())
        if layer.residual is not None:
            constant = constant + layer.residual.bias
    return biases


def _filled_up(rows: Tensor, unit: int, axis: int) -> Tensor:
    """With zeros to whole units along an axis."""
    return functional.pad(rows.movedim(axis, -1), (0, -rows.shape[axis] % unit)).movedim(-1, axis)
