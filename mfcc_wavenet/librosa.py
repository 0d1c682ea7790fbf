"""librosa itself, such that processes neither disturb each other nor get different numbers.

What librosa.util and librosa.core compile when they are loaded for the first time after an install, in some 20 seconds,
numba keeps in two files for each function. Those of two processes that compile at once may not go together, and then
whoever loads them crashes until they are removed (numba's issue 10128). So one process at a time compiles.
"""

import hashlib
import importlib
import os
import sys
import tempfile
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from threadpoolctl import ThreadpoolController

from mfcc_wavenet.config.files import DIGEST_CHARACTERS, owned, write_text

WITH_COMPILED = "librosa.core.pitch"  # the module that loads all others


def __getattr__(name: str) -> Any:
    """What librosa has under that name, loaded when it is first asked for, as librosa itself does."""
    if name.startswith("__"):  # of the import system
        raise AttributeError(name)
    compile_once()
    return getattr(importlib.import_module("librosa"), name)


def one_thread() -> AbstractContextManager:
    """Within it, what librosa computes has the same bits whatever the number of threads, which is how BLAS shares sums.

    Nothing is slower: its products are small, and threads would wait for each other most of the time.
    """
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> ThreadpoolController:
    compile_once()
    importlib.import_module(WITH_COMPILED)  # so that all of it is loaded, NumPy's and SciPy's, and can be found
    return ThreadpoolController()


@cache
def compile_once() -> None:
    """Loads what librosa compiles, where nobody has yet, while all others wait."""
    mark = _mark()
    if not _is_compiled(mark):
        with owned(mark, "What librosa compiles once after an install", wait=True):
            mark.unlink(missing_ok=True)
            utils = importlib.import_module(WITH_COMPILED).util.utils
            write_text(mark, utils.__dict__["__is_unique"].stats.cache_path)


def _mark() -> Path:
    """Of this librosa, a file that tells where numba keeps what one process has compiled."""
    cache, origin = os.environ.get("NUMBA_CACHE_DIR"), find_spec("librosa").origin
    what = f"{cache} {origin} {version('librosa')} {version('numba')} {sys.implementation.cache_tag}"
    digest = hashlib.sha256(what.encode()).hexdigest()[:DIGEST_CHARACTERS]
    return Path(tempfile.gettempdir()) / f"mfcc_wavenet.librosa.{os.getuid()}.{digest}"


def _is_compiled(mark: Path) -> bool:
    """Whether nobody needs to wait: some process has come to the end, and what it left has not been removed."""
    return mark.exists() and any(Path(mark.read_text()).glob("guf-*.nbi"))
