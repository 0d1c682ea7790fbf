"""Products of a matrix with one vector or with several, at the speed of memory and of arithmetic.

Compiled loops over a matrix as it is leave most of the processor idle, so its rows are packed into panels, and the
innermost loop is spelled out in vector instructions. Every element of a product is the same chain of fused
multiply-adds over the columns, in order: a vector's product does not depend, to the last bit, on what stands beside
it, on how rows are shared out among threads, or on how wide the processor's registers are.
"""

from itertools import product

import numpy as np
from jaxtyping import Float
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from mfcc_wavenet.compiled import compiled
from mfcc_wavenet.team import share

WIDE = binding.get_host_cpu_features().get("avx512f", False)  # 32 registers of 16 floats, or else 16 of 8
REGISTER = 16  # floats; where there are only narrower ones, two stand for it
PANEL = 64 if WIDE else 16  # rows: with more registers, fewer and longer sweeps through memory
HALF_PANEL = PANEL // 2
CACHE_LINE = 64  # bytes
VECTORS_AT_ONCE = 4 if WIDE else 6  # that share what is read of a panel
SUMS_AT_ONCE = 16 if WIDE else 6  # registers of sums; the others hold what is multiplied
PANELS_AT_ONCE = 1 if WIDE else 4  # that share what is read of a vector

_INDEX, _FLOAT, _FLOAT_BYTES = ir.IntType(64), ir.FloatType(), 4
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
    largest_group = -(-out.shape[0] // groups)
    at_once = min(PANELS_AT_ONCE, SUMS_AT_ONCE * REGISTER // (largest_group * PANEL))
    if groups > 1:
        at_once = min(at_once, groups)  # so that a line for each column is enough to fetch all that comes next
    tiles = -(-panels.shape[0] // at_once)
    for tile in range(tiles):
        first_panel, stop_panel = share(panels.shape[0], tile, tiles)
        rows = slice(first_panel * PANEL, stop_panel * PANEL)
        for group in range(groups):
            first, stop = share(out.shape[0], group, groups)
            _multiply_in_registers(
                out[first:stop, rows],
                start[:, rows] if start.shape[0] == 1 else start[first:stop, rows],
                panels[first_panel:stop_panel],
                vectors[first:stop],
                group,
                groups,
            )


@intrinsic
def fused_multiply_add(_, a, b, c):
    """a * b + c, rounded once, and so the same wherever the compiler puts it."""
    return types.float32(types.float32, types.float32, types.float32), lambda context, builder, __, terms: builder.fma(
        *terms
    )


@intrinsic
def _multiply_in_registers(_, out, start, panels, vectors, group, groups):
    """multiply() for so few vectors and panels that their sums stay in registers from the first column to the last.

    Meanwhile each of the groups of vectors fetches its part of the panels that come next in memory.
    """

    def generate(context, builder, signature, arguments):
        *arrays, group, groups = arguments
        arrays = [context.make_array(kind)(context, builder, array) for kind, array in zip(signature.args, arrays)]
        shapes = [cgutils.unpack_tuple(builder, array.shape) for array in arrays]
        vector_count, (panel_count, columns, _) = shapes[0][0], shapes[2]
        operands = [columns]
        for array, (count, *_) in zip(arrays, shapes):
            stride = builder.sdiv(cgutils.unpack_tuple(builder, array.strides)[0], _INDEX(_FLOAT_BYTES))
            alone = builder.icmp_signed("==", count, _INDEX(1))
            operands += [array.data, builder.select(alone, _INDEX(0), stride)]
        operands += [group, groups]
        # One function for each size, chosen by a number that tells both counts.
        many = PANELS_AT_ONCE + 1
        done = builder.append_basic_block()
        choice = builder.switch(builder.add(builder.mul(vector_count, _INDEX(many)), panel_count), done)
        for vectors in range(1, 1 + VECTORS_AT_ONCE):
            for panels in range(1, 1 + min(PANELS_AT_ONCE, SUMS_AT_ONCE * REGISTER // (vectors * PANEL))):
                case = builder.append_basic_block()
                choice.add_case(_INDEX(vectors * many + panels), case)
                with builder.goto_block(case):
                    builder.call(_function(builder.module, vectors, panels), operands)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.none(out, start, panels, vectors, group, groups), generate


def _function(module, vector_count, panel_count):
    """The innermost loop for so many vectors and panels, which a module has once.

    Its arguments: the number of columns; out, start, the panels and the vectors, each followed by its stride in floats;
    which of how many groups of vectors this is.
    """
    kind = ir.FunctionType(ir.VoidType(), [_INDEX] + [_POINTER, _INDEX] * 4 + [_INDEX] * 2)
    function = cgutils.get_or_insert_function(module, kind, f"multiply_{panel_count}_panels_with_{vector_count}")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    columns, *operands, group, groups = function.args

    def rows(operand, count):
        start, stride = operands[2 * operand : 2 * operand + 2]
        return [builder.gep(start, [builder.mul(stride, _INDEX(row))]) for row in range(count)]

    def places(operand):
        registers = range(0, panel_count * PANEL, REGISTER)
        return [_at(builder, row, register) for row in rows(operand, vector_count) for register in registers]

    panels, vectors = rows(2, panel_count), rows(3, vector_count)
    sums = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in places(1)]
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(_REGISTER, [_REGISTER] * 3), f"llvm.fma.v{REGISTER}f32"
    )
    # Floats to fetch for each column, and where the part of this group of vectors begins.
    to_fetch = builder.udiv(_INDEX(panel_count * PANEL), groups)
    fetched = _at(builder, panels[-1], builder.mul(columns, builder.add(_INDEX(PANEL), builder.mul(group, to_fetch))))
    with cgutils.for_range(builder, columns) as loop:
        if vector_count > 2:  # fewer leave no time for more than the processor fetches of itself
            _fetch(builder, _at(builder, fetched, builder.mul(loop.index, to_fetch)))
        place = builder.mul(loop.index, _INDEX(PANEL))
        columns_there = [_at(builder, panel, place) for panel in panels]
        registers = range(0, PANEL, REGISTER)
        weights = [_load(builder, _at(builder, column, row)) for column in columns_there for row in registers]
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
    """Asks for the memory there without waiting; beyond the end of an array this is allowed, and does nothing."""
    flag, byte = ir.IntType(32), ir.IntType(8)
    kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_second_cache, data = flag(0), flag(2), flag(1)
    builder.call(prefetch, [builder.bitcast(pointer, byte.as_pointer()), to_read, into_second_cache, data])
