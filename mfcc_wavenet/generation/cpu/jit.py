"""Compiled functions that are kept on disk until one of the files changes that they are compiled from.

numba's own cache looks at the file that a function stands in alone, and would go on with what has been inlined from
an older version of the others.
"""

import hashlib
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache

TOGETHER = ("barrier.py", "gemm.py", "sample_loop.py")

_version = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in TOGETHER)).hexdigest()


def compiled(function):
    """For functions that are called from Python; what they call needs no more than njit(forceinline=True)."""
    dispatcher = njit(nogil=True)(function)
    dispatcher._cache = _Cache(function)  # where njit(cache=True) puts numba's own
    return dispatcher


class _Cache(FunctionCache):
    def _index_key(self, signature, codegen):
        return *super()._index_key(signature, codegen), _version
