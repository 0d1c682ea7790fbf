"""The loop over samples, compiled by numba: packed gemms, and little else.

It generates a batch of utterances in lock step, on one thread or on several. Results are batch-invariant, and the same
on any number of threads, to the last bit of every logit.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from mfcc_wavenet.data.linear_prediction import predict
from mfcc_wavenet.generation.cpu.barrier import barrier_wait, partition
from mfcc_wavenet.generation.cpu.gemm import HALF_PANEL, PANEL, gemm
from mfcc_wavenet.generation.cpu.gemm import fused_multiply_add as fma
from mfcc_wavenet.generation.cpu.jit import compiled

LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, of which the first has so few bits that its products with whole numbers are exact (Cody and Waite).
LN_2_HIGH, LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
# Beyond +-60, e^-2x and e^-x leave tanh and the sigmoid at what they are in float32 at 60.
MAX_EXPONENT = np.float32(60)


class Prediction(NamedTuple):
    """Linear prediction of a batch for the positions of one call; all threads share it. Letters as in Weights."""

    coefficients: Float64[np.ndarray, "B F order"]
    nearest: Int64[np.ndarray, " positions"]  # the row of coefficients that each position takes
    embedding: Float32[np.ndarray, "Q CP"]  # of the predicted code
    levels: Float64[np.ndarray, " Q"]  # the amplitude of each code
    thresholds: Float64[np.ndarray, " Q-1"]  # the amplitudes at which the code changes


class Buffers(NamedTuple):
    """The state of a batch, and workspace; all threads share it. B utterances; the other letters as in Weights."""

    ring_buffers: Float32[np.ndarray, "ring_positions B CP"]  # each layer's last inputs, the current one included
    gated: Float32[np.ndarray, "B layers GP"]  # tanh * sigmoid
    hidden: Float32[np.ndarray, "B SP"]  # the skip sum, after relu
    hidden_post: Float32[np.ndarray, "B PP"]  # after the post layer and relu
    logits: Float32[np.ndarray, "B QP"]
    arrival_count: Int64[np.ndarray, "1"]  # of the barrier


@intrinsic
def _without_reference_counts(_, arrays):
    """The same tuple of arrays, not reference counted: otherwise every slice costs two atomic operations.

    The caller keeps the arrays alive for as long as the tuple is used.
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
def _float_from_bits(_, bits):
    return types.float32(types.int32), lambda context, builder, __, arguments: builder.bitcast(
        *arguments, ir.FloatType()
    )


@njit(forceinline=True)
def _exp(x):
    """e^x = 2^k e^r with k whole and |r| < 0.35, without a call, so that loops over it are vectorised.

    e^r is its Taylor polynomial of degree 6, exact to 1e-7 there, and 2^k the float whose exponent bits are k.
    """
    y = min(max(x, -MAX_EXPONENT), MAX_EXPONENT)
    whole = np.floor(fma(y, LOG2_E, np.float32(0.5)))
    rest = fma(-whole, LN_2_LOW, fma(-whole, LN_2_HIGH, y))
    series = np.float32(1 / 720)
    for term in (1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        series = fma(series, rest, np.float32(term))
    return series * _float_from_bits((np.int32(whole) + np.int32(127)) << np.int32(23))


@njit(forceinline=True, error_model="numpy")  # Python's checks every divisor for zero, and is not vectorised
def _gate(gated, filters, gates):
    """gated = tanh(filter) * sigmoid(gate), from filters that hold -2 filter, and gates that hold -gate."""
    one = np.float32(1)
    for row in range(gated.shape[0]):
        # tanh(x) = (1 - e^-2x) / (1 + e^-2x), sigmoid(x) = 1 / (1 + e^-x)
        exp_filter, exp_gate = _exp(filters[row]), _exp(gates[row])
        gated[row] = (one - exp_filter) / ((one + exp_filter) * (one + exp_gate))


@njit(forceinline=True)
def _sample_from_logits(logits, temperature, top_k, uniform):
    """The arg-max at temperature 0; above, the code at which the cumulative softmax passes the uniform number."""
    if temperature == 0:
        return np.argmax(logits)
    weights = np.exp((logits - logits.max()) / temperature)
    if 0 < top_k < len(logits):
        weights[logits < np.sort(logits)[-top_k]] = 0
    code = np.searchsorted(np.cumsum(weights), uniform * weights.sum(), side="right")
    return min(code, len(logits) - 1)


@njit(forceinline=True)
def _add_rotated(logits, differences, predicted):
    """Adds logits of each difference from the predicted code, modulo Q, to logits of each code."""
    kept = len(logits) - predicted
    for difference in range(kept):
        logits[predicted + difference] += differences[difference]
    for code in range(predicted):
        logits[code] += differences[kept + code]


@njit(forceinline=True)
def _ring_position(weights, layer, time):
    """Where the input that a layer had at that time is in Buffers.ring_buffers."""
    start = weights.ring_starts[layer]
    return start + time % (weights.ring_starts[layer + 1] - start)


@njit(forceinline=True)
def _dense(out, panels, bias, vectors, relu, thread_id, num_threads):
    """out = vectors @ matrix.T + bias, then relu if asked for: this thread's rows of out."""
    start = partition(out.shape[1] // PANEL, thread_id, num_threads)[0] * PANEL
    stop = start + len(bias)
    gemm(out[:, start:stop], bias.reshape(1, -1), panels, vectors)
    if relu:
        for utterance in range(out.shape[0]):
            for row in range(start, stop):
                out[utterance, row] = max(out[utterance, row], np.float32(0))


@njit(forceinline=True)
def _add_tap(activations, weights, ring_buffers, layer, tap, time):
    """Adds one tap of a layer's dilated convolution to this thread's activations (B, layers, rows)."""
    later_taps = weights.gates.shape[1] - 1 - tap
    inputs = ring_buffers[_ring_position(weights, layer, time - later_taps * weights.dilations[layer])]
    gemm(activations[:, layer], activations[:, layer], weights.gates[layer, tap], inputs)


@compiled
def sample_loop(
    codes,
    past,
    first,
    conditioning,
    prediction,
    of_codes,
    of_differences,
    uniforms,
    temperature,
    top_k,
    weights,
    buffers,
    projection,
    thread_id,
    num_threads,
):
    """Fills in the codes of the positions from first on. Every thread calls it, with its own thread_id.

    codes: (B, positions); those at negative positions are the silence before the utterance, which only has to pass
    through the network, and stay as they are; past: (B, order or 1), the codes before the first position; conditioning:
    (positions * B, channels); prediction: None where the network does without, for which the loop is compiled apart;
    of_codes, of_differences: whose logits there are: of codes, of differences from the predicted codes, or of the first
    and then of the second; uniforms: (B, positions), random numbers in [0, 1). weights and projection are this
    thread's; projection: (rows, layers, rows of gates), workspace for the precomputed conditioning projection of a few
    positions (nv-wavenet's L), rows being a multiple of B.
    """
    weights, buffers = _without_reference_counts(weights), _without_reference_counts(buffers)
    conditioning, uniforms, projection = _without_reference_counts((conditioning, uniforms, projection))
    batch_size, positions = codes.shape
    layers, latest_tap = weights.dilations.shape[0], weights.gates.shape[1] - 1
    projection_rows, _, gate_rows = projection.shape
    half = gate_rows // 2
    quantization_channels = weights.embedding.shape[0]
    first_channel = partition(buffers.ring_buffers.shape[2] // PANEL, thread_id, num_threads)[0] * PANEL
    channels = slice(first_channel, first_channel + weights.residuals.shape[1] * PANEL)  # this thread's
    first_gate = partition(buffers.gated.shape[2] // HALF_PANEL, thread_id, num_threads)[0] * HALF_PANEL
    last = past[:, -1].copy()
    if prediction is not None:
        tables = _without_reference_counts(prediction)  # not assigned to itself: that would hide its type
        order = past.shape[1]
        amplitudes = np.empty((batch_size, order + positions))
        for utterance in range(batch_size):
            for lag in range(order):
                amplitudes[utterance, lag] = tables.levels[past[utterance, lag]]
        predicted, total = np.empty_like(last), np.empty(quantization_channels, np.float32)
    for position in range(positions):
        time = first + position
        inputs = buffers.ring_buffers[_ring_position(weights, 0, time)]
        for utterance in range(batch_size):
            inputs[utterance, channels] = weights.embedding[last[utterance], channels]
            if prediction is not None:
                amplitudes[utterance, order + position - 1] = tables.levels[last[utterance]]
                coefficients = tables.coefficients[utterance, tables.nearest[position]]
                predicted[utterance] = predict(amplitudes[utterance], order + position, coefficients, tables.thresholds)
                for channel in range(channels.start, channels.stop):
                    inputs[utterance, channel] += tables.embedding[predicted[utterance], channel]
        row = position * batch_size % projection_rows
        if row == 0:
            upcoming = conditioning[position * batch_size :][:projection_rows]
            projected = projection[: len(upcoming)].reshape(len(upcoming), -1)
            gemm(projected, weights.gate_biases.reshape(1, -1), weights.conditioning, upcoming)
        activations = projection[row : row + batch_size]
        for layer in range(layers):
            # The other threads may still be writing the current input; the earlier ones are complete.
            for tap in range(latest_tap):
                _add_tap(activations, weights, buffers.ring_buffers, layer, tap, time)
            barrier_wait(buffers.arrival_count, num_threads)
            _add_tap(activations, weights, buffers.ring_buffers, layer, latest_tap, time)
            for utterance in range(batch_size):
                gated = buffers.gated[utterance, layer, first_gate : first_gate + half]
                _gate(gated, activations[utterance, layer, :half], activations[utterance, layer, half:])
            barrier_wait(buffers.arrival_count, num_threads)
            if layer < layers - 1:
                outputs = buffers.ring_buffers[_ring_position(weights, layer + 1, time)]
                residuals = weights.residuals[layer]
                gemm(outputs[:, channels], inputs[:, channels], residuals, buffers.gated[:, layer])
                inputs = outputs
        if time < 0:
            continue
        all_gated = buffers.gated.reshape(batch_size, -1)
        _dense(buffers.hidden, weights.skip, weights.skip_bias, all_gated, True, thread_id, num_threads)
        barrier_wait(buffers.arrival_count, num_threads)
        _dense(buffers.hidden_post, weights.post, weights.post_bias, buffers.hidden, True, thread_id, num_threads)
        barrier_wait(buffers.arrival_count, num_threads)
        _dense(buffers.logits, weights.logits, weights.logits_bias, buffers.hidden_post, False, thread_id, num_threads)
        barrier_wait(buffers.arrival_count, num_threads)
        for utterance in range(batch_size):
            logits = buffers.logits[utterance, :quantization_channels]
            if prediction is not None:  # noqa: SIM102 (only as a condition of its own it is decided by the type)
                if of_differences:
                    differences = buffers.logits[utterance, of_codes * quantization_channels :]
                    for code in range(quantization_channels):  # a loop: slices are checked for overlap
                        total[code] = logits[code] if of_codes else np.float32(0)
                    _add_rotated(total, differences, predicted[utterance])
                    logits = total
            last[utterance] = _sample_from_logits(logits, temperature, top_k, uniforms[utterance, position])
        if thread_id == 0:
            codes[:, position] = last
