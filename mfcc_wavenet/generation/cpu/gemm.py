"""Products of a matrix with one vector or with several, at the speed of memory and of arithmetic.

Compiled loops over a matrix as it is leave most of the processor idle, so its rows are packed into panels, and the
innermost loop is spelled out in vector instructions. Every element of a product is the same chain of fused
multiply-adds over the columns, in order: a vector's product does not depend, to the last bit, on what stands beside
it, on how rows are shared out among threads, or on how wide the processor's registers are.
"""

from itertools import product

import numpy as np
from jaxtyping import Float
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from mfcc_wavenet.generation.cpu.barrier import share
from mfcc_wavenet.generation.cpu.jit import compiled

_, _, _features = cpu_target.target_context.codegen().magic_tuple()  # of the processor that numba compiles for
WIDE = "+avx512f" in _features.split(",")  # 32 registers of 16 floats, or else 16 of 8
REGISTER = 16  # floats; where there are only narrower ones, two stand for it
PANEL = 4 * REGISTER  # rows
HALF_PANEL = PANEL // 2
CACHE_LINE = 64  # bytes
# Rows of a panel that are multiplied with 0, 1, 2, ... vectors at once. They share what is read of the panel, and leave
# registers for what is multiplied beside those of their sums.
ROWS_AT_ONCE = (64, 64, 64, 64, 64) if WIDE else (64, 64, 32, 32, 16, 16, 16)
VECTORS_AT_ONCE = len(ROWS_AT_ONCE) - 1

_INDEX, _BYTE, _FLOAT, _FLOAT_BYTES = ir.IntType(64), ir.IntType(8), ir.FloatType(), 4
_POINTER, _REGISTER = _FLOAT.as_pointer(), ir.VectorType(_FLOAT, REGISTER)


def pack(matrix: Float[np.ndarray, "*many R C"]) -> Float[np.ndarray, "*many panels C panel"]:
    """Panels of PANEL rows, column after column, the last one filled up with zeros."""
    *many, rows, columns = matrix.shape
    panels = -(-rows // PANEL)
    padded = np.zeros((*many, panels * PANEL, columns), np.float32)
    padded[..., :rows, :] = matrix
    return np.ascontiguousarray(padded.reshape(*many, panels, PANEL, columns).swapaxes(-1, -2))


def room(dtype: DTypeLike) -> np.ndarray:
    """Zeros of a type, which may have a shape or fields, in cache lines of their own.

    From anywhere else, every register would be read from two lines.
    """
    memory = np.zeros(np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    return np.ndarray((), dtype, memory, -memory.ctypes.data % CACHE_LINE)


@compiled
def multiply(out, start, panels, vectors):
    """out = start + vectors @ matrix.T, each vector for itself.

    out: (vectors, panels * PANEL); start: the same shape, and maybe the same array, or (1, panels * PANEL) for all
    vectors; panels: (panels, columns, PANEL); vectors: (vectors, columns) or longer ones. Last axes are contiguous.
    """
    groups = -(-out.shape[0] // VECTORS_AT_ONCE)
    at_once = ROWS_AT_ONCE[-(-out.shape[0] // groups)]  # of the largest group
    tiles = PANEL // at_once
    for panel in range(panels.shape[0]):
        for group in range(groups):
            first, stop = share(out.shape[0], group, groups)
            for tile in range(tiles):
                row = tile * at_once
                rows = slice(panel * PANEL + row, panel * PANEL + row + at_once)
                _multiply_in_registers(
                    out[first:stop, rows],
                    start[:, rows] if start.shape[0] == 1 else start[first:stop, rows],
                    panels[panel, :, row : row + at_once],
                    vectors[first:stop],
                    group * tiles + tile,
                    tiles * groups,
                )


@intrinsic
def fused_multiply_add(_, a, b, c):
    """a * b + c, rounded once, and so the same wherever the compiler puts it."""
    return types.float32(types.float32, types.float32, types.float32), lambda context, builder, __, terms: builder.fma(
        *terms
    )


@intrinsic
def _multiply_in_registers(_, out, start, panel, vectors, turn, turns):
    """multiply() of so few vectors, and so few rows of a panel, that their sums stay in registers.

    Meanwhile it fetches its part of the next panel: there are so many turns until it is needed.
    """

    def generate(context, builder, signature, arguments):
        *arrays, turn, turns = arguments
        arrays = [context.make_array(kind)(context, builder, array) for kind, array in zip(signature.args, arrays)]
        shapes = [cgutils.unpack_tuple(builder, array.shape) for array in arrays]
        vector_count, (columns, row_count) = shapes[0][0], shapes[2]
        operands = [columns, turn, turns]
        for array, (count, _) in zip(arrays, shapes):
            stride = builder.sdiv(cgutils.unpack_tuple(builder, array.strides)[0], _INDEX(_FLOAT_BYTES))
            alone = builder.icmp_signed("==", count, _INDEX(1))
            operands += [array.data, builder.select(alone, _INDEX(0), stride)]
        # One function for each size, chosen by a number that tells both counts.
        done = builder.append_basic_block()
        choice = builder.switch(builder.add(builder.mul(vector_count, _INDEX(1 + PANEL)), row_count), done)
        for vectors in range(1, 1 + VECTORS_AT_ONCE):
            for rows in set(ROWS_AT_ONCE[vectors:]):  # a group takes as many as the largest beside it
                case = builder.append_basic_block()
                choice.add_case(_INDEX(vectors * (1 + PANEL) + rows), case)
                with builder.goto_block(case):
                    builder.call(_function(builder.module, vectors, rows), operands)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.none(out, start, panel, vectors, turn, turns), generate


def _function(module, vector_count, row_count):
    """The innermost loop for so many vectors and rows, which a module has once.

    Its arguments: the number of columns, the turn and how many there are; out, start, the panel and the vectors, each
    followed by its stride in floats.
    """
    kind = ir.FunctionType(ir.VoidType(), [_INDEX] * 3 + [_POINTER, _INDEX] * 4)
    function = cgutils.get_or_insert_function(module, kind, f"multiply_{row_count}_rows_with_{vector_count}")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    columns, turn, turns, *operands = function.args
    registers = range(0, row_count, REGISTER)

    def vectors_of(operand):
        start, stride = operands[2 * operand : 2 * operand + 2]
        return [builder.gep(start, [builder.mul(stride, _INDEX(vector))]) for vector in range(vector_count)]

    def places(operand):
        return [_at(builder, vector, row) for vector in vectors_of(operand) for row in registers]

    panel, vectors = operands[4], vectors_of(3)
    sums = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in places(1)]
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(_REGISTER, [_REGISTER] * 3), f"llvm.fma.v{REGISTER}f32"
    )
    next_panel = builder.bitcast(_at(builder, panel, builder.mul(columns, _INDEX(PANEL))), _BYTE.as_pointer())
    to_fetch = builder.udiv(_INDEX(PANEL * _FLOAT_BYTES), turns)  # bytes for each column
    fetched = builder.mul(builder.mul(turn, columns), to_fetch)
    with cgutils.for_range(builder, columns) as loop:
        if vector_count > 2:  # fewer leave no time for more than the processor fetches of itself
            _fetch(builder, _at(builder, next_panel, builder.add(fetched, builder.mul(loop.index, to_fetch))))
        column = _at(builder, panel, builder.mul(loop.index, _INDEX(PANEL)))
        weights = [_load(builder, _at(builder, column, row)) for row in registers]
        elements = [_spread(builder, _at(builder, vector, loop.index)) for vector in vectors]
        for (element, weight), value in zip(product(elements, weights), sums):
            builder.store(builder.call(multiply_add, [weight, element, builder.load(value)]), value)
    for place, value in zip(places(0), sums):
        builder.store(builder.load(value), builder.bitcast(place, _REGISTER.as_pointer())).align = _FLOAT_BYTES
    builder.ret_void()
    return function


def _at(builder, pointer, index):
    return builder.gep(pointer, [_INDEX(index) if isinstance(index, int) else index])


def _load(builder, pointer):
    register = builder.load(builder.bitcast(pointer, _REGISTER.as_pointer()))
    register.align = _FLOAT_BYTES  # slices begin anywhere
    return register


def _spread(builder, pointer):
    """One float in all elements of a register."""
    undefined, zero = ir.Constant(_REGISTER, ir.Undefined), ir.IntType(32)(0)
    first = builder.insert_element(undefined, builder.load(pointer), zero)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), REGISTER), [0] * REGISTER)
    return builder.shuffle_vector(first, undefined, everywhere)


def _fetch(builder, pointer):
    """Asks for the bytes there without waiting; beyond the end of an array this is allowed, and does nothing."""
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_second_cache, data = flag(0), flag(2), flag(1)
    builder.call(prefetch, [pointer, to_read, into_second_cache, data])
