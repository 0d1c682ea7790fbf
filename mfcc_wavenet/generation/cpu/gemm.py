"""A packed float32 gemm for few vectors, near the bandwidth of memory and the peak of arithmetic.

Compiled loops over a row-major matrix leave most of the processor idle. As in GotoBLAS (Goto and van de Geijn, 2008)
and BLIS, the matrix is packed into panels of rows, and a micro-kernel, written in vector instructions, keeps the sums
of a tile in registers. Every element of the result is one chain of fused multiply-adds over the columns, in order, so
the gemm is batch-invariant: a vector's result is the same to the last bit whatever else is in the batch, however the
rows are partitioned among threads, and however wide the processor's registers are.
"""

from itertools import product

import numpy as np
from jaxtyping import Float, Shaped
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from mfcc_wavenet.generation.cpu.barrier import partition
from mfcc_wavenet.generation.cpu.jit import compiled

_, _, _features = cpu_target.target_context.codegen().magic_tuple()  # of the processor that numba compiles for
AVX512 = "+avx512f" in _features.split(",")  # 32 registers of 16 floats; without it there are 16 of 8
REGISTER = 16  # floats; LLVM splits a register in two where the processor has only narrower ones
PANEL = 4 * REGISTER  # rows
HALF_PANEL = PANEL // 2
CACHE_LINE = 64  # bytes
# Rows of the tile that the micro-kernel keeps in registers, by the number of its vectors (BLIS: MR by NR). More vectors
# reuse each weight more often, and fewer rows leave registers for the weights and elements next to those for the sums.
TILE_ROWS = (64, 64, 64, 64, 64) if AVX512 else (64, 64, 32, 32, 16, 16, 16)
MAX_TILE_VECTORS = len(TILE_ROWS) - 1

_INDEX, _BYTE, _FLOAT, _FLOAT_BYTES = ir.IntType(64), ir.IntType(8), ir.FloatType(), 4
_POINTER, _REGISTER = _FLOAT.as_pointer(), ir.VectorType(_FLOAT, REGISTER)


def pack(matrix: Float[np.ndarray, "*batch R C"]) -> Float[np.ndarray, "*batch panels C panel"]:
    """Panels of PANEL rows, each stored column after column; the last one is padded with zero rows."""
    *batch, rows, columns = matrix.shape
    panels = -(-rows // PANEL)
    padded = np.zeros((*batch, panels * PANEL, columns), np.float32)
    padded[..., :rows, :] = matrix
    return np.ascontiguousarray(padded.reshape(*batch, panels, PANEL, columns).swapaxes(-1, -2))


def aligned_zeros(dtype: DTypeLike) -> Shaped[np.ndarray, "..."]:
    """Zeros of a type, which may have a shape or fields, aligned to a cache line.

    Unaligned, every register would be loaded from two lines.
    """
    memory = np.zeros(np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    return np.ndarray((), dtype, memory, -memory.ctypes.data % CACHE_LINE)


@compiled
def gemm(out, initial, panels, vectors):
    """out = initial + vectors @ matrix.T.

    out: (vectors, panels * PANEL); initial: the same shape, and possibly the same array, or (1, panels * PANEL) for
    all vectors; panels: (panels, columns, PANEL), from pack; vectors: (vectors, columns or more). Last axes are
    contiguous.
    """
    groups = -(-out.shape[0] // MAX_TILE_VECTORS)
    tile_rows = TILE_ROWS[-(-out.shape[0] // groups)]  # of the largest group
    tiles = PANEL // tile_rows
    for panel in range(panels.shape[0]):
        for group in range(groups):
            start, stop = partition(out.shape[0], group, groups)
            for tile in range(tiles):
                row = tile * tile_rows
                rows = slice(panel * PANEL + row, panel * PANEL + row + tile_rows)
                _micro_kernel(
                    out[start:stop, rows],
                    initial[:, rows] if initial.shape[0] == 1 else initial[start:stop, rows],
                    panels[panel, :, row : row + tile_rows],
                    vectors[start:stop],
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
def _micro_kernel(_, out, initial, panel, vectors, prefetch_part, prefetch_parts):
    """gemm of one tile, whose sums stay in registers.

    Meanwhile it prefetches one of prefetch_parts equal parts of the next panel: the panel's tiles fetch all of it.
    """

    def generate(context, builder, signature, arguments):
        *arrays, prefetch_part, prefetch_parts = arguments
        arrays = [context.make_array(kind)(context, builder, array) for kind, array in zip(signature.args, arrays)]
        shapes = [cgutils.unpack_tuple(builder, array.shape) for array in arrays]
        vector_count, (columns, row_count) = shapes[0][0], shapes[2]
        operands = [columns, prefetch_part, prefetch_parts]
        for array, (count, _) in zip(arrays, shapes):
            stride = builder.sdiv(cgutils.unpack_tuple(builder, array.strides)[0], _INDEX(_FLOAT_BYTES))
            broadcast = builder.icmp_signed("==", count, _INDEX(1))
            operands += [array.data, builder.select(broadcast, _INDEX(0), stride)]
        # One function per tile size; the switch is on a single number that encodes both counts.
        done = builder.append_basic_block()
        switch = builder.switch(builder.add(builder.mul(vector_count, _INDEX(1 + PANEL)), row_count), done)
        for vectors in range(1, 1 + MAX_TILE_VECTORS):
            for rows in set(TILE_ROWS[vectors:]):  # a group has the tile rows of the largest group of its gemm
                case = builder.append_basic_block()
                switch.add_case(_INDEX(vectors * (1 + PANEL) + rows), case)
                with builder.goto_block(case):
                    builder.call(_tile_function(builder.module, vectors, rows), operands)
                    builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.none(out, initial, panel, vectors, prefetch_part, prefetch_parts), generate


def _tile_function(module, vector_count, row_count):
    """The micro-kernel for one tile size, defined once in a module.

    Its arguments: columns, prefetch_part and prefetch_parts; then out, initial, panel and vectors, each followed by its
    stride in floats.
    """
    kind = ir.FunctionType(ir.VoidType(), [_INDEX] * 3 + [_POINTER, _INDEX] * 4)
    function = cgutils.get_or_insert_function(module, kind, f"gemm_{row_count}_rows_{vector_count}_vectors")
    if not function.is_declaration:
        return function
    function.linkage = "internal"
    function.attributes.add("noinline")
    builder = ir.IRBuilder(function.append_basic_block())
    columns, prefetch_part, prefetch_parts, *operands = function.args
    registers = range(0, row_count, REGISTER)

    def vector_pointers(operand):
        data, stride = operands[2 * operand : 2 * operand + 2]
        return [builder.gep(data, [builder.mul(stride, _INDEX(vector))]) for vector in range(vector_count)]

    def register_pointers(operand):
        return [_at(builder, vector, row) for vector in vector_pointers(operand) for row in registers]

    panel, vectors = operands[4], vector_pointers(3)
    sums = [cgutils.alloca_once_value(builder, _load(builder, pointer)) for pointer in register_pointers(1)]
    multiply_add = cgutils.get_or_insert_function(
        module, ir.FunctionType(_REGISTER, [_REGISTER] * 3), f"llvm.fma.v{REGISTER}f32"
    )
    next_panel = builder.bitcast(_at(builder, panel, builder.mul(columns, _INDEX(PANEL))), _BYTE.as_pointer())
    bytes_per_column = builder.udiv(_INDEX(PANEL * _FLOAT_BYTES), prefetch_parts)
    prefetched = builder.mul(builder.mul(prefetch_part, columns), bytes_per_column)
    with cgutils.for_range(builder, columns) as loop:
        if vector_count > 2:  # with fewer there is no time for more than the hardware prefetcher loads
            offset = builder.add(prefetched, builder.mul(loop.index, bytes_per_column))
            _prefetch(builder, _at(builder, next_panel, offset))
        column = _at(builder, panel, builder.mul(loop.index, _INDEX(PANEL)))
        weights = [_load(builder, _at(builder, column, row)) for row in registers]
        elements = [_broadcast(builder, _at(builder, vector, loop.index)) for vector in vectors]
        for (element, weight), value in zip(product(elements, weights), sums):
            builder.store(builder.call(multiply_add, [weight, element, builder.load(value)]), value)
    for pointer, value in zip(register_pointers(0), sums):
        builder.store(builder.load(value), builder.bitcast(pointer, _REGISTER.as_pointer())).align = _FLOAT_BYTES
    builder.ret_void()
    return function


def _at(builder, pointer, index):
    return builder.gep(pointer, [_INDEX(index) if isinstance(index, int) else index])


def _load(builder, pointer):
    register = builder.load(builder.bitcast(pointer, _REGISTER.as_pointer()))
    register.align = _FLOAT_BYTES  # slices begin anywhere
    return register


def _broadcast(builder, pointer):
    """One float in all elements of a register."""
    undefined, zero = ir.Constant(_REGISTER, ir.Undefined), ir.IntType(32)(0)
    first = builder.insert_element(undefined, builder.load(pointer), zero)
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), REGISTER), [0] * REGISTER)
    return builder.shuffle_vector(first, undefined, zeros)


def _prefetch(builder, pointer):
    """Starts to load the cache line there; past the end of an array this is allowed, and does nothing."""
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_second_cache, data = flag(0), flag(2), flag(1)
    builder.call(prefetch, [pointer, to_read, into_second_cache, data])
