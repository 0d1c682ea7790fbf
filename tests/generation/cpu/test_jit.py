"""The cache on disk is never older than the files that it is compiled from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mfcc_wavenet
from mfcc_wavenet.generation.cpu.jit import COMPILED_FILES, PACKAGE

GEMM = """
import numpy as np
from mfcc_wavenet.generation.cpu.gemm import PANEL, gemm, pack
out = np.zeros((1, PANEL), np.float32)
gemm(out, out, pack(np.ones((PANEL, 3))), np.ones((1, 3), np.float32))
print(out.sum() / PANEL, sum(gemm.stats.cache_hits.values()))
"""


def test_a_change_in_what_is_inlined_counts(tmp_path):
    """gemm groups its vectors with barrier.py's partition; with the old machine code it would keep doing so."""
    package = shutil.copytree(
        Path(mfcc_wavenet.__file__).parent, tmp_path / "mfcc_wavenet", ignore=shutil.ignore_patterns("__pycache__")
    )

    def result_and_cache_hits() -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", GEMM]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout.split()

    assert result_and_cache_hits() == ["3.0", "0"]
    assert result_and_cache_hits() == ["3.0", "1"]
    barrier = package / "generation" / "cpu" / "barrier.py"
    barrier.write_text(barrier.read_text().replace("return count * index // partitions", "return count"))
    assert result_and_cache_hits() == ["0.0", "0"]


def test_every_file_with_compiled_code_counts():
    """A file whose functions numba compiles imports one of its decorators, or the project's own."""
    decorators = ("import njit", "import intrinsic", "import compiled")
    with_decorators = {
        str(path.relative_to(PACKAGE))
        for folder in ("data", "generation")
        for path in (PACKAGE / folder).rglob("*.py")
        if any(decorator in path.read_text() for decorator in decorators)
    }
    assert with_decorators - {"generation/cpu/jit.py"} == set(COMPILED_FILES)
