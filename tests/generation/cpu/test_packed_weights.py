"""A team's parts are the whole, and each lies in memory as a step goes through it."""

import numpy as np
import pytest
from support.architectures import ARCHITECTURE, Architecture

from mfcc_wavenet.config.settings import UpsamplingSettings, WavenetSettings, WindowSettings
from mfcc_wavenet.generation.cpu.gemm import CACHE_LINE, HALF_PANEL, PANEL
from mfcc_wavenet.generation.cpu.packed_weights import lay_out

# Channels that fill several panels, and not the last one.
WAVENET = (
    Architecture(
        UpsamplingSettings((8,), 3, strides=(16,), kernel_sizes=(16,), channels=6, jitter=0.0),
        WavenetSettings(300, 150, 140, 70, 130, blocks=1, layers_per_block=3, kernel_size=3, speaker_channels=2),
        WindowSettings(samples=20, batch_size=3),
    )
    .model()
    .wavenet
)


def rows(panels: np.ndarray) -> np.ndarray:
    """(..., panels, columns, PANEL) to (..., R, columns)."""
    swapped = panels.swapaxes(-1, -2)
    return swapped.reshape(*swapped.shape[:-3], -1, swapped.shape[-1])


@pytest.mark.parametrize("team", [1, 2, 3, 7])
def test_the_parts_of_a_team_are_the_whole(team):
    parts = [lay_out(WAVENET, rank, team) for rank in range(team)]
    for name, linear in (("skip", WAVENET.skip), ("post", WAVENET.post), ("logits", WAVENET.logits)):
        biases = np.concatenate([getattr(part, f"{name}_bias") for part in parts])
        np.testing.assert_array_equal(biases[: linear.out_features], linear.bias.detach())
    logits = np.concatenate([rows(part.logits) for part in parts])
    np.testing.assert_array_equal(logits[:300], WAVENET.logits.weight.detach())
    assert (logits[300:] == 0).all() and len(logits) == 320
    for layer, gated in enumerate(WAVENET.layers):
        halves = [np.split(rows(part.gates[layer]), 2, axis=1) for part in parts]  # taps, rows, C
        for half, factor, weight in zip((0, 1), (-2, -1), gated.gate.weight.detach().numpy().reshape(2, 140, -1)):
            together = np.concatenate([part[half] for part in halves], axis=1)
            assert together.shape == (3, 140 + -140 % HALF_PANEL, 150)
            np.testing.assert_array_equal(
                together[:, :140].swapaxes(0, 1), factor * weight[:, : 3 * 150].reshape(140, 3, 150)
            )


def test_a_step_goes_through_memory_in_one_sweep():
    """Each matrix begins where the one before it ends."""
    weights = lay_out(ARCHITECTURE.model().wavenet)
    layers = [matrix for pair in zip(weights.gates, weights.residuals) for matrix in pair]
    begin = weights.conditioning.ctypes.data
    assert begin % CACHE_LINE == 0
    for matrix in (weights.conditioning, *layers, weights.skip, weights.post, weights.logits):
        assert matrix.shape[-1] == PANEL and matrix.ctypes.data == begin
        begin += matrix.nbytes


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_gates_begin_with_what_residual_biases_come_to(layer):
    """A residual bias is in the inputs of all later layers, at every tap."""
    before = sum(WAVENET.layers[earlier].residual.bias.detach().double() for earlier in range(layer))
    gate = WAVENET.layers[layer].gate
    taps = gate.weight.detach().double()[:, : 3 * 150].reshape(-1, 3, 150).sum(1)
    expected = gate.bias.detach().double() + taps @ (before if layer else 0 * taps[0])
    biases = lay_out(WAVENET).gate_biases.reshape(3, 2, -1)[layer, :, :140]
    np.testing.assert_allclose(biases / [[-2], [-1]], expected.reshape(2, 140), rtol=1e-5, atol=1e-6)
