"""Products of a matrix with one vector, or with LANES vectors side by side, at the speed of memory and of arithmetic.

Compiled loops over a matrix as it is leave most of the processor idle, so its rows are packed into panels that are
read in one sweep, and the innermost loop is spelled out in vector instructions. Every element of a product is the
same chain of fused multiply-adds over the columns, in order: a vector's product does not depend, to the last bit, on
what stands beside it, on how rows are shared out among threads, or on how wide the processor's registers are.
"""

import numpy as np
from jaxtyping import Float
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PANEL = 64  # rows
LANES = 16  # vectors side by side, as many floats as the widest registers hold
# Rows whose sums are kept in registers while the columns pass: there are 32 of 16 floats, or 16 of 8.
ROWS_AT_ONCE = 16 if binding.get_host_cpu_features().get("avx512f") else 4
BLOCK = 64  # columns of a panel that stay, with the vectors' elements there, in the smallest cache while rows pass
AHEAD = 512  # floats of a panel that are fetched before their turn

_INDEX, _FLOAT, _BYTE = ir.IntType(64), ir.FloatType(), ir.IntType(8)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def pack(matrix: Float[np.ndarray, "*many R C"]) -> Float[np.ndarray, "*many panels C panel"]:
    """Panels of PANEL rows, column after column, the last one filled up with zeros."""
    *many, rows, columns = matrix.shape
    panels = -(-rows // PANEL)
    padded = np.zeros((*many, panels * PANEL, columns), np.float32)
    padded[..., :rows, :] = matrix
    return np.ascontiguousarray(padded.reshape(*many, panels, PANEL, columns).swapaxes(-1, -2))


@njit(cache=True, forceinline=True)
def add_product(out, panels, vectors, lanes):
    """out += matrix @ vectors, for lanes = 1 or LANES.

    out: (panels * PANEL * lanes,); panels: (panels, columns, PANEL); vectors: (columns * lanes,) or longer.
    """
    for panel in range(panels.shape[0]):
        rows = out[panel * PANEL * lanes :]
        if lanes == 1:
            _add_to_one(rows, panels[panel], vectors)
            continue
        for column in range(0, panels.shape[1], BLOCK):
            _add_to_lanes(rows, panels[panel, column : column + BLOCK], vectors[column * LANES :])


@intrinsic
def fused_multiply_add(_, a, b, c):
    """a * b + c, rounded once, and so the same wherever the compiler puts it."""
    return types.float32(types.float32, types.float32, types.float32), lambda context, builder, __, terms: builder.fma(
        *terms
    )


@intrinsic
def _add_to_one(_, out, panel, vector):
    """Sums of 16 rows to a register; each column of the panel is multiplied with the vector's element there."""

    def generate(context, builder, signature, arguments):
        out, panel, vector, columns = _pointers(context, builder, signature, arguments)
        sums = _Registers(builder, [_at(builder, out, row) for row in range(0, PANEL, LANES)])
        with cgutils.for_range(builder, columns) as loop:
            element = _spread(builder, _at(builder, vector, loop.index))
            column = builder.gep(panel, [builder.mul(loop.index, _INDEX(PANEL))])
            for register in range(PANEL // LANES):
                weights = _at(builder, column, register * LANES)
                _fetch(builder, _at(builder, weights, AHEAD))
                sums.add_product(register, _load(builder, weights), element)
        sums.store()
        return context.get_dummy_value()

    return types.none(out, panel, vector), generate


@intrinsic
def _add_to_lanes(_, out, block, vectors):
    """Sums of a row's lanes to a register; each weight is multiplied with the vectors' elements in its column.

    Meanwhile the block that comes next in memory is fetched, as many floats at each turn as are multiplied.
    """

    def generate(context, builder, signature, arguments):
        out, block, vectors, columns = _pointers(context, builder, signature, arguments)
        next_block = builder.gep(block, [builder.mul(columns, _INDEX(PANEL))])
        for first in range(0, PANEL, ROWS_AT_ONCE):
            rows = range(first, first + ROWS_AT_ONCE)
            sums = _Registers(builder, [_at(builder, out, row * LANES) for row in rows])
            to_fetch = builder.gep(next_block, [builder.mul(columns, _INDEX(first))])
            with cgutils.for_range(builder, columns) as loop:
                elements = _load(builder, builder.gep(vectors, [builder.mul(loop.index, _INDEX(LANES))]))
                column = builder.gep(block, [builder.mul(loop.index, _INDEX(PANEL))])
                _fetch(builder, builder.gep(to_fetch, [builder.mul(loop.index, _INDEX(ROWS_AT_ONCE))]))
                for register, row in enumerate(rows):
                    sums.add_product(register, _spread(builder, _at(builder, column, row)), elements)
            sums.store()
        return context.get_dummy_value()

    return types.none(out, block, vectors), generate


class _Registers:
    """Sums that stay in vector registers from the first column to the last."""

    def __init__(self, builder, places):
        self.builder, self.places = builder, places
        self.values = [cgutils.alloca_once_value(builder, _load(builder, place)) for place in places]
        multiply_add = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        self.multiply_add = cgutils.get_or_insert_function(builder.module, multiply_add, f"llvm.fma.v{LANES}f32")

    def add_product(self, register, a, b):
        value = self.values[register]
        self.builder.store(self.builder.call(self.multiply_add, [a, b, self.builder.load(value)]), value)

    def store(self):
        for place, value in zip(self.places, self.values):
            pointer = self.builder.bitcast(place, _VECTOR.as_pointer())
            self.builder.store(self.builder.load(value), pointer).align = 4


def _pointers(context, builder, signature, arguments):
    """Where out, panel and vectors begin, and the number of columns."""
    arrays = [
        context.make_array(kind)(context, builder, value) for kind, value in zip(signature.args, arguments, strict=True)
    ]
    return *(array.data for array in arrays), builder.extract_value(arrays[1].shape, 0)


def _at(builder, pointer, index):
    return builder.gep(pointer, [_INDEX(index) if isinstance(index, int) else index])


def _load(builder, pointer):
    vector = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()))
    vector.align = 4  # slices begin anywhere
    return vector


def _spread(builder, pointer):
    """One float in all elements of a vector."""
    undefined, zero = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)(0)
    first = builder.insert_element(undefined, builder.load(pointer), zero)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, everywhere)


def _fetch(builder, pointer):
    """Asks for the memory there without waiting; beyond the end of an array this is allowed, and does nothing."""
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), flag, flag, flag])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, into_all_caches, data = flag(0), flag(3), flag(1)
    builder.call(prefetch, [builder.bitcast(pointer, _BYTE.as_pointer()), to_read, into_all_caches, data])
