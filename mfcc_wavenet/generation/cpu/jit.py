"""Compiled functions, cached on disk until one of the files that they are compiled from changes.

numba's own cache only checks the file that a function is defined in, and would keep using machine code into which an
older version of the other files has been inlined.
"""

import hashlib
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache

PACKAGE = Path(__file__).parents[2]
# All files whose code numba compiles: any function of one may be inlined into a function of another.
COMPILED_FILES = tuple(f"generation/cpu/{name}.py" for name in ("barrier", "gemm", "sample_loop"))
COMPILED_FILES += ("data/linear_prediction.py",)

_digest = hashlib.sha256(b"".join((PACKAGE / name).read_bytes() for name in COMPILED_FILES)).hexdigest()


def compiled(function):
    """njit with this cache, for functions that Python calls; for those that they call, njit(forceinline=True) will do.

    They release the GIL.
    """
    dispatcher = njit(nogil=True)(function)
    dispatcher._cache = _Cache(function)  # where njit(cache=True) puts numba's own
    return dispatcher


class _Cache(FunctionCache):
    def _index_key(self, signature, codegen):
        return *super()._index_key(signature, codegen), _digest
