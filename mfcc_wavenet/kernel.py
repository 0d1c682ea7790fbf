"""The loop over samples, compiled by numba: products of a vector with a matrix, and little else.

Sums run in an order that is fixed when the loop is compiled, so on one machine the same weights,
frames and seed always give the same codes.
"""

import numpy as np
from numba import njit

LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # in two parts, so that no digit is lost


# Sums in any order: what lets a sum run in all lanes of a vector register.
@njit(cache=True, fastmath={"reassoc", "contract"})
def _add_product(out, matrix, vector):
    """out += matrix @ vector."""
    for row in range(matrix.shape[0]):
        total = np.float32(0)
        for column in range(matrix.shape[1]):
            total += matrix[row, column] * vector[column]
        out[row] += total


@njit(cache=True, fastmath={"reassoc", "contract"})
def _gate(gated, both, powers):
    """gated = tanh(first half of both) * sigmoid(second half), in loops without calls, which fill vector registers.

    Both are quotients of exponentials, and e^x = 2^k e^r with k whole and |r| < 0.35: e^r is a polynomial of
    degree 6 (the Taylor series, exact to 1e-7 there) and 2^k a float whose exponent bits are k. powers is
    scratch, int32, of the length of both.
    """
    half = gated.shape[0]
    two_to_the = powers.view(np.float32)
    for index in range(2 * half):
        # tanh(x) = (1 - e^-2x) / (1 + e^-2x), sigmoid(x) = 1 / (1 + e^-x); beyond 60 both are what they are at 60.
        x = min(
            max(both[index] * (np.float32(-2) if index < half else np.float32(-1)), np.float32(-60)), np.float32(60)
        )
        whole = np.floor(x * LOG2_E + np.float32(0.5))
        rest = x - whole * LN_2_HIGH - whole * LN_2_LOW
        series = np.float32(1 / 720)
        for factor in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
            series = series * rest + np.float32(factor)
        both[index] = series
        powers[index] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for index in range(half):
        tanh = both[index] * two_to_the[index]
        sigmoid = both[half + index] * two_to_the[half + index]
        gated[index] = (1 - tanh) / ((1 + tanh) * (1 + sigmoid))


@njit(cache=True)
def _relu(vector):
    for index in range(vector.shape[0]):
        vector[index] = max(vector[index], np.float32(0))


@njit(cache=True)
def _choose(logits, temperature, top_k, draw):
    """The arg-max, or by inverse transform the code at which the cumulative softmax passes draw."""
    if temperature == 0:
        return np.argmax(logits)
    weights = np.exp((logits - logits.max()) / temperature)
    if 0 < top_k < len(logits):
        weights[logits < np.sort(logits)[-top_k]] = 0
    passed = np.searchsorted(np.cumsum(weights), draw * weights.sum(), side="right")
    return min(passed, len(logits) - 1)


@njit(cache=True, nogil=True)
def sample(
    conditioning, first, last, draws, temperature, top_k, rings, dilations, kernel_size,
    embedding, gates, residuals, residual_biases, skip, skip_bias, post, post_bias, logit, logit_bias,
):  # fmt: skip
    """Codes of the positions from first on that are not before 0.

    conditioning: (positions, layers, 2G), its part of every gate, biases included; last: the code
    before the first position; rings: (layers, most dilated taps, C), each layer's last inputs, which
    are updated. Matrices are (out, in).
    """
    positions, layers, _ = conditioning.shape
    channels, gate_channels = embedding.shape[1], gates.shape[1] // 2
    origin = max(-first, 0)
    codes = np.empty(max(positions - origin, 0), np.int64)
    taps = np.empty(kernel_size * channels, np.float32)
    both = np.empty(2 * gate_channels, np.float32)
    powers = np.empty(2 * gate_channels, np.int32)
    gated = np.empty((layers, gate_channels), np.float32)
    x = taps[(kernel_size - 1) * channels :]  # the latest tap is the layer's input itself
    hidden, hidden_post, logits = np.empty_like(skip_bias), np.empty_like(post_bias), np.empty_like(logit_bias)
    for position in range(positions):
        time = first + position
        x[:] = embedding[last]
        for layer in range(layers):
            dilation = dilations[layer]
            size = (kernel_size - 1) * dilation
            for tap in range(kernel_size - 1):  # the oldest first
                taps[tap * channels : (tap + 1) * channels] = rings[layer, (time - size + tap * dilation) % size]
            rings[layer, time % size] = x
            both[:] = conditioning[position, layer]
            _add_product(both, gates[layer], taps)
            _gate(gated[layer], both, powers)
            if layer < layers - 1:
                x += residual_biases[layer]
                _add_product(x, residuals[layer], gated[layer])
        if position < origin:
            continue
        hidden[:] = skip_bias
        _add_product(hidden, skip, gated.reshape(-1))
        _relu(hidden)
        hidden_post[:] = post_bias
        _add_product(hidden_post, post, hidden)
        _relu(hidden_post)
        logits[:] = logit_bias
        _add_product(logits, logit, hidden_post)
        last = _choose(logits, temperature, top_k, draws[position - origin])
        codes[position - origin] = last
    return codes
