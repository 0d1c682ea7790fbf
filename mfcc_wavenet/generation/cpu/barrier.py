"""A spin barrier for compiled code, and the partition of work among threads.

Threads wait for one another thousands of times a second, far too often for the locks of the operating system. Whoever
arrives first spins until the last has arrived, and after a while yields its core to other programs between two looks.
"""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from mfcc_wavenet.generation.cpu.jit import compiled

SPINS_BEFORE_YIELD = 2000


@compiled
def partition(count, index, partitions):
    """(start, stop) of one of the contiguous, nearly equal partitions of range(count).

    With index = thread_id and partitions = num_threads: what is this thread's.
    """
    return count * index // partitions, count * (index + 1) // partitions


@njit(forceinline=True)
def barrier_wait(arrival_count, num_threads):
    """Returns when all num_threads threads have called it.

    arrival_count: (1,) int64, 0 before the first use. It only ever grows, so the barrier needs no reset.
    """
    if num_threads == 1:
        return
    complete = (_arrive(arrival_count) // num_threads + 1) * num_threads
    spins = 0
    while _load(arrival_count) < complete:
        spins += 1
        if spins > SPINS_BEFORE_YIELD:
            _sched_yield()


@intrinsic
def _arrive(_, arrival_count):
    """Atomic fetch-and-add of 1: the count before it."""

    def generate(context, builder, signature, arguments):
        (count,) = _data(context, builder, signature, arguments)
        return builder.atomic_rmw("add", count, ir.IntType(64)(1), "seq_cst")

    return types.int64(arrival_count), generate


@intrinsic
def _load(_, arrival_count):
    """Atomic load."""

    def generate(context, builder, signature, arguments):
        (count,) = _data(context, builder, signature, arguments)
        return builder.load_atomic(count, "seq_cst", align=8)

    return types.int64(arrival_count), generate


@intrinsic
def _sched_yield(_):
    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.none(), generate


def _data(context, builder, signature, arguments):
    """The data pointers of array arguments."""
    return [context.make_array(kind)(context, builder, value).data for kind, value in zip(signature.args, arguments)]
