"""The loop over samples, compiled by numba: products of packed matrices, and little else.

It runs for any number of streams side by side, on one thread or on a team of them. No sum depends on which: every
stream's codes are the same, to the last bit of every logit, in any company.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from mfcc_wavenet.generation.cpu.barrier import meet, share
from mfcc_wavenet.generation.cpu.gemm import HALF_PANEL, PANEL, multiply
from mfcc_wavenet.generation.cpu.gemm import fused_multiply_add as fma
from mfcc_wavenet.generation.cpu.jit import compiled

LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # in two parts, so that no digit is lost


class Memory(NamedTuple):
    """What streams remember, and room to work in, for the whole team; GP and CP as in Weights."""

    rings: np.ndarray  # (slots, streams, CP): each layer's last inputs, the latest included
    gated: np.ndarray  # (streams, layers, GP)
    hidden: np.ndarray  # (streams, ...), as the two below
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


@intrinsic
def _with_bits(_, bits):
    """The float that has these bits."""
    return types.float32(types.int32), lambda context, builder, __, arguments: builder.bitcast(
        *arguments, ir.FloatType()
    )


@njit(forceinline=True)
def _exponential(x):
    """e^x = 2^k e^r with k whole and |r| < 0.35, without a call, so that loops of it fill vector registers.

    e^r is a polynomial of degree 6 (the Taylor series, exact to 1e-7 there), and 2^k a float whose exponent bits are k.
    """
    y = min(max(x, np.float32(-60)), np.float32(60))  # beyond 60, tanh and sigmoid are what they are at 60
    whole = np.floor(fma(y, LOG2_E, np.float32(0.5)))
    rest = fma(-whole, LN_2_LOW, fma(-whole, LN_2_HIGH, y))
    series = np.float32(1 / 720)
    for term in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        series = fma(series, rest, np.float32(term))
    return series * _with_bits((np.int32(whole) + np.int32(127)) << np.int32(23))


@njit(forceinline=True, error_model="numpy")  # asked for a zero before each division, a loop is scalar
def _gate(gated, filters, gates):
    """gated = tanh * sigmoid, from -2x of the filters and -x of the gates."""
    one = np.float32(1)
    for row in range(gated.shape[0]):
        # tanh(x) = (1 - e^-2x) / (1 + e^-2x), sigmoid(x) = 1 / (1 + e^-x)
        tanh, sigmoid = _exponential(filters[row]), _exponential(gates[row])
        gated[row] = (one - tanh) / ((one + tanh) * (one + sigmoid))


@njit(forceinline=True)
def _choose(logits, temperature, top_k, draw):
    """The arg-max, or by inverse transform the code at which the cumulative softmax passes draw."""
    if temperature == 0:
        return np.argmax(logits)
    weights = np.exp((logits - logits.max()) / temperature)
    if 0 < top_k < len(logits):
        weights[logits < np.sort(logits)[-top_k]] = 0
    passed = np.searchsorted(np.cumsum(weights), draw * weights.sum(), side="right")
    return min(passed, len(logits) - 1)


@njit(forceinline=True)
def _slot(weights, layer, time):
    """Where among all slots the input is that a layer had then."""
    start = weights.ring_starts[layer]
    return start + time % (weights.ring_starts[layer + 1] - start)


@njit(forceinline=True)
def _dense(out, panels, bias, vectors, relu, rank, team):
    """out = vectors @ matrix.T + bias, or the positive part of that: this thread's rows of out."""
    begin = share(out.shape[1] // PANEL, rank, team)[0] * PANEL
    end = begin + len(bias)
    multiply(out[:, begin:end], bias.reshape(1, -1), panels, vectors)
    if relu:
        for stream in range(out.shape[0]):
            for row in range(begin, end):
                out[stream, row] = max(out[stream, row], np.float32(0))


@njit(forceinline=True)
def _add_tap(both, weights, rings, layer, tap, time):
    """What one of a layer's inputs adds to this thread's filters and gates, (streams, layers, rows)."""
    later_taps = weights.gates.shape[1] - 1 - tap
    inputs = rings[_slot(weights, layer, time - later_taps * weights.dilations[layer])]
    multiply(both[:, layer], both[:, layer], weights.gates[layer, tap], inputs)


@compiled
def sample(codes, last, first, conditioning, draws, temperature, top_k, weights, memory, ahead, rank, team):
    """Fills in the codes of the positions from first on; every thread of the team calls it, with its rank.

    codes: (streams, positions); those before 0 are the silence that only has to be remembered, and stay as they are;
    last: (streams,), the codes before the first position; conditioning: what the network is told, (positions *
    streams, channels); draws: in [0, 1), as codes. weights and ahead are this thread's; ahead: room for what
    conditioning adds to filters and gates, at a few positions, (positions * streams, layers, rows).
    """
    weights, memory = _uncounted(weights), _uncounted(memory)
    conditioning, draws, ahead = _uncounted((conditioning, draws, ahead))
    streams, positions = codes.shape
    layers, latest_tap = weights.dilations.shape[0], weights.gates.shape[1] - 1
    quantization_channels = weights.embedding.shape[0]
    at_once, _, rows = ahead.shape
    first_channel = share(memory.rings.shape[2] // PANEL, rank, team)[0] * PANEL
    channels = slice(first_channel, first_channel + weights.residuals.shape[1] * PANEL)  # this thread's
    first_gate = share(memory.gated.shape[2] // HALF_PANEL, rank, team)[0] * HALF_PANEL
    last = last.copy()
    for position in range(positions):
        time = first + position
        inputs = memory.rings[_slot(weights, 0, time)]
        for stream in range(streams):
            inputs[stream, channels] = weights.embedding[last[stream], channels]
        here = position * streams % at_once
        if here == 0:
            told = conditioning[position * streams :][:at_once]
            start = weights.gate_biases.reshape(1, -1)
            multiply(ahead[: len(told)].reshape(len(told), -1), start, weights.conditioning, told)
        both = ahead[here : here + streams]
        for layer in range(layers):
            # The other threads still work at the latest input, but not at those before.
            for tap in range(latest_tap):
                _add_tap(both, weights, memory.rings, layer, tap, time)
            meet(memory.arrivals, team)
            _add_tap(both, weights, memory.rings, layer, latest_tap, time)
            for stream in range(streams):
                gated = memory.gated[stream, layer, first_gate : first_gate + rows // 2]
                _gate(gated, both[stream, layer, : rows // 2], both[stream, layer, rows // 2 :])
            meet(memory.arrivals, team)
            if layer < layers - 1:
                outputs = memory.rings[_slot(weights, layer + 1, time)]
                residuals = weights.residuals[layer]
                multiply(outputs[:, channels], inputs[:, channels], residuals, memory.gated[:, layer])
                inputs = outputs
        if time < 0:
            continue
        all_gated = memory.gated.reshape(streams, -1)
        _dense(memory.hidden, weights.skip, weights.skip_bias, all_gated, True, rank, team)
        meet(memory.arrivals, team)
        _dense(memory.hidden_post, weights.post, weights.post_bias, memory.hidden, True, rank, team)
        meet(memory.arrivals, team)
        _dense(memory.logits, weights.logits, weights.logits_bias, memory.hidden_post, False, rank, team)
        meet(memory.arrivals, team)
        for stream in range(streams):
            logits = memory.logits[stream, :quantization_channels]
            last[stream] = _choose(logits, temperature, top_k, draws[stream, position])
        if rank == 0:
            codes[:, position] = last
