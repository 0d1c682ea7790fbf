"""The partitions of all threads are the whole, and each lies in memory in the order in which a step reads it."""

import numpy as np
import pytest
from support.architectures import ARCHITECTURE, DRAWN, PLAIN, Architecture

from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings, WindowSettings
from mfcc_wavenet.generation.cpu.gemm import CACHE_LINE, HALF_PANEL, PANEL
from mfcc_wavenet.generation.cpu.packed_weights import pack_weights

# Channels that fill several panels, and not the last one.
WAVENET = (
    Architecture(
        UpsamplingSettings((8,), 3, strides=(16,), kernel_sizes=(16,), channels=6, jitter=0.0, **DRAWN),
        WavenetSettings(
            300, 150, 140, 70, 130, blocks=1, layers_per_block=3, kernel_size=3, speaker_channels=2, **PLAIN
        ),
        WindowSettings(samples=20, batch_size=3),
    )
    .model()
    .wavenet
)


def rows(panels: np.ndarray) -> np.ndarray:
    """(..., panels, columns, PANEL) to (..., R, columns)."""
    swapped = panels.swapaxes(-1, -2)
    return swapped.reshape(*swapped.shape[:-3], -1, swapped.shape[-1])


@pytest.mark.parametrize("num_threads", [1, 2, 3, 7])
def test_the_partitions_are_the_whole(num_threads):
    partitions = [pack_weights(WAVENET, thread_id, num_threads) for thread_id in range(num_threads)]
    for name, linear in (("skip", WAVENET.skip), ("post", WAVENET.post), ("logits", WAVENET.logits)):
        biases = np.concatenate([getattr(own, f"{name}_bias") for own in partitions])
        np.testing.assert_array_equal(biases[: linear.out_features], linear.bias.detach())
    logits = np.concatenate([rows(own.logits) for own in partitions])
    np.testing.assert_array_equal(logits[:300], WAVENET.logits.weight.detach())
    assert (logits[300:] == 0).all() and len(logits) == 320
    for layer, gated in enumerate(WAVENET.layers):
        halves = [np.split(rows(own.gates[layer]), 2, axis=1) for own in partitions]  # taps, rows, C
        for half, factor, weight in zip((0, 1), (-2, -1), gated.gate.weight.detach().numpy().reshape(2, 140, -1)):
            whole = np.concatenate([own[half] for own in halves], axis=1)
            assert whole.shape == (3, 140 + -140 % HALF_PANEL, 150)
            np.testing.assert_array_equal(
                whole[:, :140].swapaxes(0, 1), factor * weight[:, : 3 * 150].reshape(140, 3, 150)
            )


def test_a_step_reads_memory_in_one_sweep():
    """Each matrix begins where the one before it ends."""
    weights = pack_weights(ARCHITECTURE.model().wavenet)
    layers = [matrix for pair in zip(weights.gates, weights.residuals) for matrix in pair]
    begin = weights.conditioning.ctypes.data
    assert begin % CACHE_LINE == 0
    for matrix in (weights.conditioning, *layers, weights.skip, weights.post, weights.logits):
        assert matrix.shape[-1] == PANEL and matrix.ctypes.data == begin
        begin += matrix.nbytes


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_residual_biases_are_folded_into_gate_biases(layer):
    """A residual bias is in the inputs of all later layers, at every tap."""
    before = sum(WAVENET.layers[earlier].residual.bias.detach().double() for earlier in range(layer))
    gate = WAVENET.layers[layer].gate
    taps = gate.weight.detach().double()[:, : 3 * 150].reshape(-1, 3, 150).sum(1)
    expected = gate.bias.detach().double() + taps @ (before if layer else 0 * taps[0])
    biases = pack_weights(WAVENET).gate_biases.reshape(3, 2, -1)[layer, :, :140]
    np.testing.assert_allclose(biases / [[-2], [-1]], expected.reshape(2, 140), rtol=1e-5, atol=1e-6)
