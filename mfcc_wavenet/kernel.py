"""The loop over samples, compiled by numba: products of packed matrices, and little else.

It runs for one stream or for LANES streams side by side, on one thread or on a team of them. No sum depends on
which: every stream's codes are the same, to the last bit of every logit, in any company.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import cgutils
from numba.extending import intrinsic

from mfcc_wavenet.products import LANES, PANEL, add_product
from mfcc_wavenet.products import fused_multiply_add as fma
from mfcc_wavenet.team import meet, share

LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # in two parts, so that no digit is lost


class Weights(NamedTuple):
    """Matrices are packed, biases as long as the panels; C residual, G gate channels, padded ones P."""

    embedding: np.ndarray  # (Q, C)
    conditioning: np.ndarray  # (layers, panels of 2GP, conditioning channels, PANEL)
    gates: np.ndarray  # (layers, panels of 2GP, taps * C, PANEL): half of filters, times -2, half of gates, times -1
    gate_biases: np.ndarray  # (layers, 2GP), likewise
    residuals: np.ndarray  # (layers - 1, panels of CP, G, PANEL)
    residual_biases: np.ndarray  # (layers - 1, CP)
    skip: np.ndarray  # (panels, layers * G, PANEL)
    skip_bias: np.ndarray
    post: np.ndarray
    post_bias: np.ndarray
    logits: np.ndarray
    logits_bias: np.ndarray
    dilations: np.ndarray  # (layers,)
    ring_starts: np.ndarray  # (layers,): where each layer's ring begins among all slots


class Memory(NamedTuple):
    """What streams remember, and room to work in; every vector stands as (its length * lanes,)."""

    rings: np.ndarray  # (slots, C * lanes): each layer's last inputs
    taps: np.ndarray  # a layer's inputs, the oldest first; the latest, x, has the padding of the residual product
    ahead: np.ndarray  # (LANES, layers, 2GP): the conditioning's part of a single stream's gates, at LANES positions
    ahead_lanes: np.ndarray  # (2GP * LANES,): the same of one layer, as its product leaves it
    both: np.ndarray  # filters and gates
    powers: np.ndarray  # int32, of both
    gated: np.ndarray  # (layers, G * lanes)
    hidden: np.ndarray
    hidden_post: np.ndarray
    logits: np.ndarray
    arrivals: np.ndarray  # (1,) int64, where the team meets


@intrinsic
def _uncounted(_, arrays):
    """The same tuple of arrays, but without counting who refers to them: with it, every slice costs two locked steps.

    The caller keeps the arrays alive for as long as this is used.
    """

    def generate(context, builder, signature, arguments):
        for position, kind in enumerate(arrays):
            array = context.make_array(kind)(context, builder, builder.extract_value(arguments[0], position))
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            arguments = [builder.insert_value(arguments[0], array._getvalue(), position)]
        return arguments[0]

    return arrays(arrays), generate


@njit(cache=True, forceinline=True)
def _exponential(x, powers):
    """e^x = x * 2^(powers - 127) afterwards, in a loop without calls, which fills vector registers.

    e^x = 2^k e^r with k whole and |r| < 0.35: e^r is a polynomial of degree 6 (the Taylor series, exact to 1e-7
    there), and 2^k a float whose exponent bits are k.
    """
    for index in range(x.shape[0]):
        # Beyond 60, tanh and sigmoid are what they are at 60.
        y = min(max(x[index], np.float32(-60)), np.float32(60))
        whole = np.floor(fma(y, LOG2_E, np.float32(0.5)))
        rest = fma(-whole, LN_2_LOW, fma(-whole, LN_2_HIGH, y))
        series = np.float32(1 / 720)
        for term in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
            series = fma(series, rest, np.float32(term))
        x[index] = series
        powers[index] = (np.int32(whole) + np.int32(127)) << np.int32(23)


@njit(cache=True, forceinline=True, error_model="numpy")  # asked for a zero before each division, a loop is scalar
def _gate(gated, filters, gates, filter_scale, gate_scale):
    """gated = tanh * sigmoid, from e^-2x of the filters and e^-x of the gates, each with its power of two beside it."""
    one = np.float32(1)
    for index in range(gated.shape[0]):
        # tanh(x) = (1 - e^-2x) / (1 + e^-2x), sigmoid(x) = 1 / (1 + e^-x)
        tanh, sigmoid = filters[index] * filter_scale[index], gates[index] * gate_scale[index]
        gated[index] = (one - tanh) / ((one + tanh) * (one + sigmoid))


@njit(cache=True, forceinline=True)
def _choose(logits, temperature, top_k, draw):
    """The arg-max, or by inverse transform the code at which the cumulative softmax passes draw."""
    if temperature == 0:
        return np.argmax(logits)
    weights = np.exp((logits - logits.max()) / temperature)
    if 0 < top_k < len(logits):
        weights[logits < np.sort(logits)[-top_k]] = 0
    passed = np.searchsorted(np.cumsum(weights), draw * weights.sum(), side="right")
    return min(passed, len(logits) - 1)


@njit(cache=True, forceinline=True)
def _fill(out, values, lanes):
    """The same values in all lanes."""
    if lanes == 1:
        for row in range(values.shape[0]):
            out[row] = values[row]
        return
    for row in range(values.shape[0]):
        for lane in range(LANES):  # a number that the compiler knows
            out[row * LANES + lane] = values[row]


@njit(cache=True, forceinline=True)
def _add(out, values, lanes):
    """The same values added in all lanes."""
    if lanes == 1:
        for row in range(values.shape[0]):
            out[row] += values[row]
        return
    for row in range(values.shape[0]):
        for lane in range(LANES):
            out[row * LANES + lane] += values[row]


@njit(cache=True, forceinline=True)
def _dense(out, panels, bias, vectors, lanes, relu, rank, team):
    """out = matrix @ vectors + bias, or the positive part of that: this thread's rows."""
    first, stop = share(panels.shape[0], rank, team)
    rows = out[first * PANEL * lanes : stop * PANEL * lanes]
    _fill(rows, bias[first * PANEL : stop * PANEL], lanes)
    add_product(rows, panels[first:stop], vectors, lanes)
    if relu:
        for index in range(rows.shape[0]):
            rows[index] = max(rows[index], np.float32(0))


@njit(cache=True, forceinline=True)
def _look_ahead(memory, weights, conditioning, rank, team):
    """The conditioning's part of every gate, of LANES positions side by side: this thread's panels of every layer."""
    for layer in range(weights.gates.shape[0]):
        first, stop = share(weights.gates.shape[1], rank, team)
        lanes = memory.ahead_lanes[first * PANEL * LANES : stop * PANEL * LANES]
        _fill(lanes, weights.gate_biases[layer, first * PANEL : stop * PANEL], LANES)
        add_product(lanes, weights.conditioning[layer, first:stop], conditioning, LANES)
        ahead = memory.ahead[:, layer, first * PANEL : stop * PANEL]
        for row in range(ahead.shape[1]):
            for lane in range(LANES):
                ahead[lane, row] = lanes[row * LANES + lane]


@njit(cache=True, forceinline=True)
def _gate_layer(memory, weights, conditioning, position, layer, lanes, rank, team):
    """gated of one layer: this thread's channels."""
    first, stop = share(weights.gates.shape[1], rank, team)
    begin, end = first * PANEL, stop * PANEL
    rows = memory.both[begin * lanes : end * lanes]
    # Either way a sum runs over bias, conditioning and taps, in this order.
    if lanes == 1:
        ahead = memory.ahead[position % LANES, layer, begin:end]
        for row in range(rows.shape[0]):
            rows[row] = ahead[row]
    else:
        _fill(rows, weights.gate_biases[layer, begin:end], lanes)
        add_product(rows, weights.conditioning[layer, first:stop], conditioning[position], lanes)
    add_product(rows, weights.gates[layer, first:stop], memory.taps, lanes)
    powers = memory.powers[begin * lanes : end * lanes]
    _exponential(rows, powers)
    scale, half = powers.view(np.float32), PANEL // 2 * lanes
    for panel in range(stop - first):
        filters, gates = 2 * panel * half, (2 * panel + 1) * half
        _gate(
            memory.gated[layer, (first + panel) * half : (first + panel + 1) * half],
            rows[filters : filters + half],
            rows[gates : gates + half],
            scale[filters : filters + half],
            scale[gates : gates + half],
        )


@njit(cache=True, forceinline=True)
def _recall(memory, weights, kernel_size, layer, time, begin, end):
    """The taps of a layer from its ring, which keeps x in the place of the oldest: elements begin to end of each."""
    width = memory.rings.shape[1]
    dilation, start = weights.dilations[layer], weights.ring_starts[layer]
    size = (kernel_size - 1) * dilation
    for tap in range(kernel_size - 1):
        kept = memory.rings[start + (time + tap * dilation) % size]
        for element in range(begin, end):
            memory.taps[tap * width + element] = kept[element]
    oldest, x = memory.rings[start + time % size], memory.taps[(kernel_size - 1) * width :]
    for element in range(begin, end):
        oldest[element] = x[element]


@njit(cache=True, nogil=True)
def sample(codes, last, first, conditioning, draws, temperature, top_k, weights, memory, rank, team):
    """Fills in the codes of the positions from first on; every thread of the team calls it, with its rank.

    codes: (lanes, positions); those before 0 are the silence that only has to be remembered, and stay as they are;
    last: (lanes,), the codes before the first position; draws: in [0, 1), as codes; conditioning: what the network is
    told, of several streams (positions, channels * lanes), of a single one (positions / LANES, channels * LANES),
    LANES positions side by side.
    """
    weights, memory = _uncounted(weights), _uncounted(memory)
    conditioning, draws = _uncounted((conditioning, draws))
    lanes, positions = codes.shape
    layers = weights.dilations.shape[0]
    quantization_channels, channels = weights.embedding.shape
    width = channels * lanes
    kernel_size = weights.gates.shape[2] // channels
    x = memory.taps[(kernel_size - 1) * width :]  # the latest tap is the layer's input itself
    first_panel, stop_panel = share(weights.residuals.shape[1], rank, team)
    begin, end = first_panel * PANEL * lanes, stop_panel * PANEL * lanes  # the elements of x that are this thread's
    inner_end = min(end, width)
    last = last.copy()
    for position in range(positions):
        time = first + position
        for row in range(begin // lanes, inner_end // lanes):
            for lane in range(lanes):
                x[row * lanes + lane] = weights.embedding[last[lane], row]
        _recall(memory, weights, kernel_size, 0, time, begin, inner_end)
        if lanes == 1 and position % LANES == 0:
            _look_ahead(memory, weights, conditioning[position // LANES], rank, team)
        meet(memory.arrivals, team)
        for layer in range(layers):
            _gate_layer(memory, weights, conditioning, position, layer, lanes, rank, team)
            meet(memory.arrivals, team)
            if layer == layers - 1:
                break
            _add(x[begin:end], weights.residual_biases[layer, begin // lanes : end // lanes], lanes)
            add_product(x[begin:end], weights.residuals[layer, first_panel:stop_panel], memory.gated[layer], lanes)
            _recall(memory, weights, kernel_size, layer + 1, time, begin, inner_end)
            meet(memory.arrivals, team)
        if time < 0:
            continue
        all_gated = memory.gated.reshape(-1)
        _dense(memory.hidden, weights.skip, weights.skip_bias, all_gated, lanes, True, rank, team)
        meet(memory.arrivals, team)
        _dense(memory.hidden_post, weights.post, weights.post_bias, memory.hidden, lanes, True, rank, team)
        meet(memory.arrivals, team)
        _dense(memory.logits, weights.logits, weights.logits_bias, memory.hidden_post, lanes, False, rank, team)
        meet(memory.arrivals, team)
        logits = memory.logits.reshape(-1, lanes)[:quantization_channels]
        for lane in range(lanes):
            last[lane] = _choose(logits[:, lane].copy(), temperature, top_k, draws[lane, position])
        if rank == 0:
            codes[:, position] = last
