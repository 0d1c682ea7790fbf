"""The loop over samples, compiled by numba: products of a vector with a matrix, and little else.

Sums run in a fixed order, so the same weights, frames and seed give the same codes.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def _add_product(out, vector, matrix):
    """out += vector @ matrix, row by row."""
    for row in range(vector.shape[0]):
        factor = vector[row]
        for column in range(out.shape[0]):
            out[column] += factor * matrix[row, column]


@njit(cache=True)
def _relu(vector):
    for index in range(vector.shape[0]):
        vector[index] = max(vector[index], np.float32(0))


@njit(cache=True)
def _choose(logits, temperature, draw):
    """The arg-max, or by inverse transform the code at which the cumulative softmax passes draw."""
    if temperature == 0:
        return np.argmax(logits)
    weights = np.exp((logits - logits.max()) / temperature)
    passed = np.searchsorted(np.cumsum(weights), draw * weights.sum(), side="right")
    return min(passed, len(logits) - 1)


@njit(cache=True)
def sample(
    conditioning, first, last, draws, temperature, rings, dilations, kernel_size,
    embedding, gates, residuals, residual_biases, skip, skip_bias, post, post_bias, logit, logit_bias,
):  # fmt: skip
    """Codes of the positions from first on that are not before 0; rings hold each layer's inputs and are updated."""
    positions, layers, both = conditioning.shape
    gate_channels = both // 2
    origin = max(-first, 0)
    codes = np.empty(max(positions - origin, 0), np.int64)
    gated = np.empty((layers, gate_channels), np.float32)
    for position in range(positions):
        x = embedding[last].copy()
        for layer in range(layers):
            dilation = dilations[layer]
            size = (kernel_size - 1) * dilation
            time = first + position
            both_gates = conditioning[position, layer].copy()
            channels = x.shape[0]
            for tap in range(kernel_size - 1):  # the oldest first
                past = rings[layer, (time - size + tap * dilation) % size]
                _add_product(both_gates, past, gates[layer, tap * channels : (tap + 1) * channels])
            _add_product(both_gates, x, gates[layer, (kernel_size - 1) * channels :])
            rings[layer, time % size] = x
            for channel in range(gate_channels):
                sigmoid = 1 / (1 + np.exp(-both_gates[gate_channels + channel]))
                gated[layer, channel] = np.tanh(both_gates[channel]) * sigmoid
            if layer < layers - 1:
                x += residual_biases[layer]
                _add_product(x, gated[layer], residuals[layer])
        if position < origin:
            continue
        hidden = skip_bias.copy()
        _add_product(hidden, gated.reshape(-1), skip)
        _relu(hidden)
        hidden_post = post_bias.copy()
        _add_product(hidden_post, hidden, post)
        _relu(hidden_post)
        logits = logit_bias.copy()
        _add_product(logits, hidden_post, logit)
        last = _choose(logits, temperature, draws[position - origin])
        codes[position - origin] = last
    return codes
