"""Threads that work on one thing together, and wait for one another in compiled code.

They meet thousands of times a second, far too often for locks of the operating system: who comes first looks
again and again until the last one is there, and lets other programs run in between.
"""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from mfcc_wavenet.generation.cpu.jit import compiled

PATIENCE = 2000  # looks before the processor is lent to whoever wants it


@compiled
def share(panels, rank, team):
    """(first, stop) of so many panels: what is this thread's."""
    return panels * rank // team, panels * (rank + 1) // team


@njit(forceinline=True)
def meet(arrivals, team):
    """Goes on when all threads of the team have come here. arrivals: (1,) int64, 0 before the first meeting."""
    if team == 1:
        return
    complete = (_arrive(arrivals) // team + 1) * team
    looks = 0
    while _arrived(arrivals) < complete:
        looks += 1
        if looks > PATIENCE:
            _yield_processor()


@intrinsic
def _arrive(_, arrivals):
    """Counts one more, and returns how many there were before."""

    def generate(context, builder, signature, arguments):
        (count,) = _data(context, builder, signature, arguments)
        return builder.atomic_rmw("add", count, ir.IntType(64)(1), "seq_cst")

    return types.int64(arrivals), generate


@intrinsic
def _arrived(_, arrivals):
    def generate(context, builder, signature, arguments):
        (count,) = _data(context, builder, signature, arguments)
        return builder.load_atomic(count, "seq_cst", align=8)

    return types.int64(arrivals), generate


@intrinsic
def _yield_processor(_):
    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.none(), generate


def _data(context, builder, signature, arguments):
    return [context.make_array(kind)(context, builder, value).data for kind, value in zip(signature.args, arguments)]
