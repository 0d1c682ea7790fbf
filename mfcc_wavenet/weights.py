"""A network's weights as the loop over samples reads them: packed, shared out among threads, in the order of use."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mfcc_wavenet.products import PANEL, pack, room
from mfcc_wavenet.team import share
from mfcc_wavenet.wavenet import WaveNet


class Weights(NamedTuple):
    """What one thread of a team multiplies and adds: its panels of every matrix, its rows of every bias.

    C residual, G gate channels; with P, filled up with zeros to whole panels.
    """

    embedding: np.ndarray  # (Q, CP), whole
    conditioning: np.ndarray  # (layers * 2 * panels of GP, conditioning channels, PANEL): filters, then gates
    gates: np.ndarray  # (layers, taps, 2 * panels of GP, C, PANEL): filters, then gates; the oldest tap first
    residuals: np.ndarray  # (layers, panels of CP, G, PANEL); the last layer has none, but zeros
    skip: np.ndarray  # (panels, layers * GP, PANEL)
    post: np.ndarray
    logits: np.ndarray
    gate_biases: np.ndarray  # (layers * 2 * rows of GP,), with what residual biases come to there
    skip_bias: np.ndarray
    post_bias: np.ndarray
    logits_bias: np.ndarray
    dilations: np.ndarray  # (layers,)
    ring_starts: np.ndarray  # (layers + 1,): where each layer's ring begins among all slots, and where the last ends


def lay_out(wavenet: WaveNet, rank: int = 0, team: int = 1) -> Weights:
    """What the thread of that rank in a team multiplies and adds."""
    wavenet = copy.deepcopy(wavenet).cpu().requires_grad_(False)

    def panels(matrix: Tensor) -> np.ndarray:
        """(..., R, columns) to this thread's (..., panels, columns, PANEL)."""
        packed = pack(matrix.numpy())
        return packed[..., slice(*share(packed.shape[-3], rank, team)), :, :]

    def rows(bias: Tensor) -> np.ndarray:
        """(..., R) to this thread's (..., rows)."""
        by_panel = _whole_panels(bias).unflatten(-1, (-1, PANEL)).numpy()
        mine = by_panel[..., slice(*share(by_panel.shape[-2], rank, team)), :]
        return mine.reshape(*mine.shape[:-2], mine.shape[-2] * PANEL)

    layers = list(wavenet.layers)
    kernel_size, channels = layers[0].kernel_size, wavenet.embedding.embedding_dim
    gate_channels = wavenet.skip.in_features // len(layers)
    gates = torch.stack([_halves(layer.gate.weight) for layer in layers])  # layers, 2, G, columns
    taps, conditioning = gates.tensor_split([kernel_size * channels], dim=-1)
    residuals = [layer.residual for layer in layers[:-1]]
    skip = wavenet.skip.weight.unflatten(1, (len(layers), gate_channels))
    dilations = np.array([layer.dilation for layer in layers])
    return Weights(
        embedding=_whole_panels(wavenet.embedding.weight).numpy(),
        **_in_order(
            conditioning=panels(conditioning),
            gates=panels(taps.unflatten(-1, (kernel_size, channels)).movedim(-2, 1)),
            residuals=panels(torch.stack([*(one.weight for one in residuals), torch.zeros(channels, gate_channels)])),
            skip=panels(_whole_panels(skip).flatten(1)),
            post=panels(wavenet.post.weight),
            logits=panels(wavenet.logits.weight),
        ),
        gate_biases=rows(torch.stack([_halves(bias) for bias in _gate_biases(wavenet)])).reshape(-1),
        skip_bias=rows(wavenet.skip.bias),
        post_bias=rows(wavenet.post.bias),
        logits_bias=rows(wavenet.logits.bias),
        dilations=dilations,
        ring_starts=np.cumsum([0, *((kernel_size - 1) * dilations + 1)]),
    )


def _in_order(
    conditioning: np.ndarray,
    gates: np.ndarray,
    residuals: np.ndarray,
    skip: np.ndarray,
    post: np.ndarray,
    logits: np.ndarray,
) -> dict[str, np.ndarray]:
    """All in one piece of memory, as a step goes through them: the processor reads ahead, also across their borders."""
    layers, taps, halves, panels, *panel = gates.shape
    layer = np.dtype(
        [("gates", np.float32, (taps, halves * panels, *panel)), ("residuals", np.float32, residuals.shape[1:])]
    )
    step = room(
        np.dtype(
            [
                ("conditioning", np.float32, (conditioning[..., 0, 0].size, *conditioning.shape[-2:])),
                ("layers", layer, layers),
                ("skip", np.float32, skip.shape),
                ("post", np.float32, post.shape),
                ("logits", np.float32, logits.shape),
            ]
        )
    )
    step["conditioning"][...] = conditioning.reshape(step["conditioning"].shape)
    step["layers"]["gates"][...] = gates.reshape(layers, taps, halves * panels, *panel)
    step["layers"]["residuals"][...] = residuals
    step["skip"][...], step["post"][...], step["logits"][...] = skip, post, logits
    return {
        "gates": step["layers"]["gates"],
        "residuals": step["layers"]["residuals"],
        **{name: step[name] for name in ("conditioning", "skip", "post", "logits")},
    }


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


def _whole_panels(rows: Tensor) -> Tensor:
    """(..., R) with zeros to whole panels."""
    return functional.pad(rows, (0, -rows.shape[-1] % PANEL))


def _halves(gate: Tensor) -> Tensor:
    """(2G, ...), filters and then gates, to (2, G, ...), those times -2 and these times -1.

    What the loop needs of them is e^-2x and e^-x, so the factors are in the weights; neither costs a bit.
    """
    filters, gates = gate.chunk(2)
    return torch.stack([-2 * filters, -gates])
